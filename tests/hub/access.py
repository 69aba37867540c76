"""Who may see what on the small Hub, and how a file's content is answered: the same for models and datasets."""

import re

from fastapi import Request, Response

from tests.hub.repos import USER, Hub, Refusal, Repo, git_hash, is_large, sha256


def bearer(request: Request) -> str:
    return request.headers.get("authorization", "").removeprefix("Bearer ").strip()


def stranger(request: Request) -> bool:
    """Whether it is asked with a token that is known, but not USER's."""
    return bearer(request) == "hf_other"


def role(hub: Hub, request: Request) -> str:
    """write, read, or nothing for somebody without a token."""
    token = bearer(request)
    if token and token not in hub.roles:
        raise Refusal(401, "Invalid credentials in Authorization header")
    return hub.roles.get(token, "")


def writer(hub: Hub, request: Request, owner: str) -> None:
    if not (found := role(hub, request)):
        raise Refusal(401, "Invalid username or password.")
    if found != "write":
        raise Refusal(403, "Forbidden: you must use a write token to do this")
    if owner != USER:
        raise Refusal(403, f'You don\'t have the rights to create a model under the namespace "{owner}"')


def readable(hub: Hub, request: Request, name: str) -> Repo:
    found, repo = role(hub, request), hub.repos.get(name)
    if repo is None or (repo.private and (not found or stranger(request))):
        raise Refusal(404 if found else 401, "Repository not found", "RepoNotFound")
    if repo.gated:
        raise Refusal(403 if found else 401, f"Access to model {name} is restricted", "GatedRepo")
    return repo


def content_of(request: Request, commit: str, file: str, content: bytes) -> Response:
    """The file, or the part of it that is asked for."""
    etag = f'"{sha256(content) if is_large(file, len(content)) else git_hash(content)}"'
    headers = {"X-Repo-Commit": commit, "ETag": etag, "X-Linked-Etag": etag, "X-Linked-Size": str(len(content))}
    headers["Accept-Ranges"] = "bytes"
    if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", "")):
        first, last = int(wanted[1]), int(wanted[2] or len(content) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return Response(content[first : last + 1], 206, headers, "application/octet-stream")
    return Response(content, 200, headers, "application/octet-stream")
