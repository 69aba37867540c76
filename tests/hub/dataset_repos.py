"""The small Hub's datasets: the endpoints that huggingface_hub and the `datasets` library use to read them as a stream.

A dataset is a repository called "datasets/<user>/<name>". One whose user is left out is answered by a redirect, as the Hub
does for the datasets that once had none.
"""

from typing import Any

from fastapi import FastAPI, Request, Response

from tests.hub.access import bearer, content_of, role, stranger
from tests.hub.repos import FILES, Hub, Refusal, Repo, entry


def visible(hub: Hub, request: Request, name: str) -> Repo:
    """A dataset that may be seen: anybody may see that a gated one is there, and what it says of itself."""
    found, repo = role(hub, request), hub.repos.get(f"datasets/{name}")
    if repo is None or (repo.private and (not found or stranger(request))):
        raise Refusal(404 if found else 401, "Repository not found", "RepoNotFound")
    return repo


def opened(hub: Hub, request: Request, name: str) -> Repo:
    """A dataset whose files may be read."""
    repo = visible(hub, request, name)
    if repo.gated and bearer(request) not in repo.granted:
        told = f"Access to dataset {name} is restricted"
        raise Refusal(403 if role(hub, request) else 401, told, "GatedRepo")
    return repo


def listing(files: FILES, folder: str, recursive: bool) -> list[dict[str, Any]]:
    """Files and folders below a folder, as the Hub lists them."""
    start = f"{folder}/" if folder else ""
    below = {name: content for name, content in files.items() if name.startswith(start)}
    if folder and not below:
        raise Refusal(404, f"{folder} does not exist", "EntryNotFound")
    depth = start.count("/")
    folders = {"/".join(name.split("/")[:end]) for name in below for end in range(depth + 1, name.count("/") + 1)}
    told = [{"type": "directory", "path": name, "size": 0, "oid": "0" * 40} for name in sorted(folders)]
    told += [entry(name, content) for name, content in sorted(below.items())]
    return [item for item in told if recursive or item["path"].count("/") == depth]


def add_datasets(app: FastAPI, hub: Hub) -> None:
    @app.get("/api/datasets/{name}")
    @app.get("/api/datasets/{name}/revision/{revision}")
    async def moved(name: str, revision: str = "") -> Response:
        found = [repo for repo in hub.repos if repo.startswith("datasets/") and repo.endswith(f"/{name}")]
        if not found:
            raise Refusal(401, "Repository not found", "RepoNotFound")
        place = f"/api/{found[0]}" + (f"/revision/{revision}" if revision else "")
        return Response(status_code=307, headers={"Location": place})

    @app.get("/api/datasets/{owner}/{name}")
    @app.get("/api/datasets/{owner}/{name}/revision/{revision}")
    async def info(request: Request, owner: str, name: str, revision: str = "main") -> dict[str, Any]:
        repo = visible(hub, request, f"{owner}/{name}")
        commit, files = repo.at(revision)
        told = {"_id": name, "id": f"{owner}/{name}", "author": owner, "sha": commit, "tags": [], "downloads": 0}
        gated = "auto" if repo.gated else False
        return {**told, "private": repo.private, "gated": gated, "siblings": [{"rfilename": file} for file in files]}

    @app.get("/api/datasets/{owner}/{name}/auth-check")
    async def may_read(request: Request, owner: str, name: str) -> dict[str, Any]:
        opened(hub, request, f"{owner}/{name}")
        return {}

    @app.get("/api/datasets/{owner}/{name}/tree/{revision}")
    @app.get("/api/datasets/{owner}/{name}/tree/{revision}/{folder:path}")
    async def tree(
        request: Request, owner: str, name: str, revision: str, folder: str = "", recursive: bool = False
    ) -> list[dict[str, Any]]:
        return listing(visible(hub, request, f"{owner}/{name}").at(revision)[1], folder, recursive)

    @app.post("/api/datasets/{owner}/{name}/paths-info/{revision}")
    async def paths_info(request: Request, owner: str, name: str, revision: str) -> list[dict[str, Any]]:
        _, files = visible(hub, request, f"{owner}/{name}").at(revision)
        asked = (await request.form()).getlist("paths") or (await request.json())["paths"]
        return [entry(file, files[file]) for file in asked if file in files]

    @app.api_route("/datasets/{owner}/{name}/resolve/{revision}/{file:path}", methods=["GET", "HEAD"])
    async def resolve(request: Request, owner: str, name: str, revision: str, file: str) -> Response:
        commit, files = visible(hub, request, f"{owner}/{name}").at(revision)
        if file not in files:
            raise Refusal(404, "Entry not found", "EntryNotFound")
        if file != "README.md":
            opened(hub, request, f"{owner}/{name}")
        return content_of(request, commit, file, files[file])
