"""A small Hub: the HTTP endpoints that huggingface_hub uses for repositories, in memory, on 127.0.0.1.

Tokens `hf_write` and `hf_read` belong to alice, `hf_other` to somebody else, every other one is unknown. `python -m tests.hub.server --port 8000` serves
until it is interrupted.
"""

import argparse
import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import uvicorn
import yaml
from fastapi import FastAPI, Request, Response

from tests.hub.access import content_of, readable, role, writer
from tests.hub.dataset_repos import add_datasets
from tests.hub.repos import USER, Fault, Hub, Refusal, Repo, apply, entry, planned, sha256


def build(hub: Hub) -> Any:
    """The ASGI application over a Hub."""
    app = FastAPI(openapi_url=None)

    @app.exception_handler(Refusal)
    async def refuse(request: Request, refusal: Refusal) -> Response:
        headers = {"X-Error-Message": refusal.message, **({"X-Error-Code": refusal.code} if refusal.code else {})}
        return Response(json.dumps({"error": refusal.message}), refusal.status, headers, "application/json")

    add_accounts(app, hub)
    add_reading(app, hub)
    add_writing(app, hub)
    add_datasets(app, hub)
    return Front(hub, app)


class Front:
    """Before the application: writes the log and makes the faults happen."""

    def __init__(self, hub: Hub, app: FastAPI) -> None:
        self.hub, self.app = hub, app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        line = f"{scope['method']} {scope['path']}"
        fault = next((fault for fault in self.hub.faults if fault.wanted(line)), None)

        headers = dict(scope["headers"])
        self.hub.bearers.append(headers.get(b"authorization", b"").decode().removeprefix("Bearer "))

        async def logged(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.hub.log.append(f"{line} {message['status']}")
            self.hub.sent += len(message.get("body", b"")) if scope["method"] != "HEAD" else 0
            await send(message)

        await (broken(fault, self.app) if fault else self.app)(scope, receive, logged)


def broken(fault: Fault, app: FastAPI) -> Any:
    """The application of one request that goes wrong."""
    if fault.delay:
        return late(app, fault)
    if fault.broken_off is not None:
        return broken_off(app, fault.broken_off)
    if fault.cut is None and not fault.lost:
        body = json.dumps({"error": fault.message}) if fault.message else ""
        return Response(body, fault.status, fault.headers, "application/json")

    async def nobody(message: Any) -> None:
        pass

    async def end(scope: Any, receive: Any, send: Any) -> None:
        if fault.lost:
            await app(scope, receive, nobody)
        await cut(receive, fault.cut or 0)

    return end


def late(app: FastAPI, fault: Fault) -> Any:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        until = time.monotonic() + fault.delay
        while time.monotonic() < until and not fault.over:
            await asyncio.sleep(0.05)
        await app(scope, receive, send)

    return answer


def broken_off(app: FastAPI, size: int) -> Any:
    """The answer's head, which promises all of it, and that many bytes of its body."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        async def some(message: Any) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": message["body"][:size], "more_body": True}
            await send(message)

        await app(scope, receive, some)
        receive.__self__.transport.close()

    return answer


async def cut(receive: Any, size: int) -> None:
    """Close the socket, which uvicorn's request cycle holds, once that much of the body is there."""
    came, more = 0, True
    while more and came < size:
        message = await receive()
        came, more = came + len(message.get("body", b"")), message.get("more_body", False)
    receive.__self__.transport.abort()


def add_accounts(app: FastAPI, hub: Hub) -> None:
    @app.get("/api/whoami-v2")
    async def whoami(request: Request) -> dict[str, Any]:
        if not (found := role(hub, request)):
            raise Refusal(401, "Invalid username or password.")
        access = {"type": "access_token", "accessToken": {"displayName": "test", "role": found}}
        return {"type": "user", "name": USER, "fullname": "Alice", "isPro": False, "orgs": [], "auth": access}

    @app.post("/api/repos/create")
    async def create(request: Request) -> Response:
        asked = await request.json()
        owner = asked.get("organization") or USER
        writer(hub, request, owner)
        name = f"{owner}/{asked['name']}"
        there = name in hub.repos
        if not there:
            hub.repos[name] = Repo(private=asked.get("visibility") == "private")
            hub.repos[name].commit({".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"})
        told = {"url": f"{hub.url}/{name}", **({"error": "You already created this model repo"} if there else {})}
        return Response(json.dumps(told), 409 if there else 200, media_type="application/json")

    @app.delete("/api/repos/delete")
    async def delete(request: Request) -> dict[str, Any]:
        asked = await request.json()
        owner = asked.get("organization") or USER
        writer(hub, request, owner)
        readable(hub, request, f"{owner}/{asked['name']}")
        del hub.repos[f"{owner}/{asked['name']}"]
        return {}

    @app.get("/api/models/{owner}/{name}/auth-check/write")
    async def may_write(request: Request, owner: str, name: str) -> dict[str, Any]:
        readable(hub, request, f"{owner}/{name}")
        writer(hub, request, owner)
        return {}

    @app.get("/api/models/{owner}/{name}/auth-check")
    async def may_read(request: Request, owner: str, name: str) -> dict[str, Any]:
        readable(hub, request, f"{owner}/{name}")
        return {}


def add_reading(app: FastAPI, hub: Hub) -> None:
    @app.get("/api/models/{owner}/{name}")
    @app.get("/api/models/{owner}/{name}/revision/{revision}")
    async def model_info(request: Request, owner: str, name: str, revision: str = "main") -> dict[str, Any]:
        repo = readable(hub, request, f"{owner}/{name}")
        commit, files = repo.at(revision)
        told = {"id": f"{owner}/{name}", "modelId": f"{owner}/{name}", "author": owner, "sha": commit, "tags": []}
        return {**told, "private": repo.private, "siblings": [{"rfilename": file} for file in sorted(files)]}

    @app.get("/api/models/{owner}/{name}/tree/{revision}")
    @app.get("/api/models/{owner}/{name}/tree/{revision}/{folder:path}")
    async def tree(request: Request, owner: str, name: str, revision: str, folder: str = "") -> list[dict[str, Any]]:
        _, files = readable(hub, request, f"{owner}/{name}").at(revision)
        start = f"{folder}/" if folder else ""
        if folder and not any(file.startswith(start) for file in files):
            raise Refusal(404, f"{folder} does not exist", "EntryNotFound")
        return [entry(file, content) for file, content in sorted(files.items()) if file.startswith(start)]

    @app.post("/api/models/{owner}/{name}/paths-info/{revision}")
    async def paths_info(request: Request, owner: str, name: str, revision: str) -> list[dict[str, Any]]:
        _, files = readable(hub, request, f"{owner}/{name}").at(revision)
        asked = (await request.form()).getlist("paths") or (await request.json())["paths"]
        return [entry(file, files[file]) for file in asked if file in files]

    @app.api_route("/{owner}/{name}/resolve/{revision}/{file:path}", methods=["GET", "HEAD"])
    async def resolve(request: Request, owner: str, name: str, revision: str, file: str) -> Response:
        commit, files = readable(hub, request, f"{owner}/{name}").at(revision)
        if file not in files:
            raise Refusal(404, "Entry not found", "EntryNotFound")
        return content_of(request, commit, file, files[file])


def add_writing(app: FastAPI, hub: Hub) -> None:
    @app.post("/api/validate-yaml")
    async def validate(request: Request) -> Any:
        front = (await request.json())["content"].split("\n---\n")[0].removeprefix("---\n")
        with contextlib.suppress(yaml.YAMLError):
            if isinstance(yaml.safe_load(front), dict):
                return {"errors": [], "warnings": []}
        told = {"errors": [{"message": "the metadata is no YAML mapping"}], "warnings": []}
        return Response(json.dumps(told), 400, media_type="application/json")

    @app.post("/api/models/{owner}/{name}/preupload/{revision}")
    async def preupload(request: Request, owner: str, name: str, revision: str) -> dict[str, Any]:
        writer(hub, request, owner)
        _, files = readable(hub, request, f"{owner}/{name}").at(revision)
        return {"files": [planned(file, files) for file in (await request.json())["files"]]}

    @app.post("/{owner}/{name}.git/info/lfs/objects/batch")
    async def batch(request: Request, owner: str, name: str) -> dict[str, Any]:
        writer(hub, request, owner)
        objects = (await request.json())["objects"]
        for asked in objects:
            if asked["oid"] not in hub.stored:
                links = {"upload": f"{hub.url}/lfs/{asked['oid']}", "verify": f"{hub.url}/lfs-verify"}
                asked["actions"] = {name: {"href": href} for name, href in links.items()}
        return {"transfer": "basic", "objects": objects}

    @app.put("/lfs/{oid}")  # the link itself is the permission, as with the Hub's storage
    async def store(request: Request, oid: str) -> Response:
        content = await request.body()
        if sha256(content) != oid:
            return Response("the content has another hash", 400)
        hub.stored[oid] = content
        return Response()

    @app.post("/lfs-verify")
    async def verify(request: Request) -> Response:
        asked = await request.json()
        return Response(status_code=200 if len(hub.stored.get(asked["oid"], b"")) == asked["size"] else 404)

    @app.post("/api/models/{owner}/{name}/commit/{revision}")
    async def commit(request: Request, owner: str, name: str, revision: str) -> dict[str, Any]:
        writer(hub, request, owner)
        repo = readable(hub, request, f"{owner}/{name}")
        files = dict(repo.at(revision)[1])
        for line in (await request.body()).splitlines():
            operation = json.loads(line)
            apply(hub, files, operation["key"], operation["value"])
        made = repo.commit(files)
        return {"success": True, "commitOid": made, "commitUrl": f"{hub.url}/{owner}/{name}/commit/{made}"}


@contextlib.contextmanager
def serve(port: int = 0) -> Iterator[Hub]:
    """A Hub that answers until the block ends; its address is `url`."""
    hub = Hub()
    # said to be TCP, or asyncio leaves Nagle's delay on: 40 ms for every answer
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    hub.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(build(hub), log_level="critical", http="h11", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield hub
    finally:
        server.should_exit = True
        thread.join(timeout=5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    with serve(parser.parse_args().port) as hub:
        print(hub.url, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
