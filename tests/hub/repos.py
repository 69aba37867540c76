"""What the small Hub of the tests holds: repositories with their commits, large files, and faults to come."""

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

USER = "alice"
LARGE = 10_000_000  # bytes from which a file is stored by its SHA-256, as .safetensors always are
FILES = dict[str, bytes]


@dataclass
class Repo:
    """A repository: its commits, oldest first, each with all its files. The first one is made with the repository.

    What a gated dataset holds may be read with the tokens it was `granted` to.
    """

    private: bool
    gated: bool = False
    commits: list[tuple[str, FILES]] = field(default_factory=list)
    granted: set[str] = field(default_factory=set)

    def commit(self, files: FILES) -> str:
        names = json.dumps([len(self.commits), sorted((name, sha256(content)) for name, content in files.items())])
        self.commits.append((hashlib.sha1(names.encode()).hexdigest(), files))
        return self.commits[-1][0]

    def at(self, revision: str) -> tuple[str, FILES]:
        if revision == "main":
            return self.commits[-1]
        found = [commit for commit in self.commits if commit[0] == revision]
        if not found:
            raise Refusal(404, "Invalid rev id", "RevisionNotFound")
        return found[0]


@dataclass
class Fault:
    """What goes wrong: answers `status` to the next `times` requests whose "METHOD path" matches `pattern`.

    With `cut` the connection is closed instead, once that many bytes of the request's body have come in; with `lost` when
    everything was done and only the answer is missing; with `broken_off` in the answer, after that many bytes of its body.
    With `delay` the answer is a right one that many seconds late, or as late as when the fault is `over`.
    """

    pattern: str
    status: int = 503
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    message: str = ""
    cut: int | None = None
    lost: bool = False
    broken_off: int | None = None
    delay: float = 0.0
    over: bool = False

    def wanted(self, line: str) -> bool:
        self.times -= 1 if (hit := self.times > 0 and re.search(self.pattern, line) is not None) else 0
        return hit


class Refusal(Exception):
    """An error as the Hub words it: status, message, and the code that tells the client which of its errors to raise."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        self.status, self.message, self.code = status, message, code


class Hub:
    """Repositories, stored large files, faults to come and the log of requests, all of one server."""

    def __init__(self) -> None:
        self.url = ""
        self.repos: dict[str, Repo] = {}
        self.stored: FILES = {}
        self.faults: list[Fault] = []
        self.log: list[str] = []
        self.bearers: list[str] = []  # the token of every request, "" where there was none
        self.sent = 0  # bytes of all answers' bodies
        self.damaged: set[str] = set()  # names of files that are stored with their last byte changed
        self.roles = {"hf_write": "write", "hf_read": "read", "hf_other": "read"}  # tokens: two of USER's, a stranger's

    def fault(self, pattern: str, **what: Any) -> Fault:
        self.faults.append(Fault(pattern, **what))
        return self.faults[-1]

    def files(self, repo: str, revision: str = "main") -> FILES:
        return self.repos[repo].at(revision)[1]

    def dataset(self, name: str, files: FILES, private: bool = False, gated: bool = False) -> Repo:
        """A new dataset; several may differ in their user only by name, as on the Hub itself."""
        repo = self.repos[f"datasets/{name}"] = Repo(private, gated)
        repo.commit(files)
        return repo

    def asked(self, pattern: str) -> list[str]:
        """The logged requests, as "METHOD path status", that match."""
        return [line for line in self.log if re.search(pattern, line)]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_large(name: str, size: int) -> bool:
    return name.endswith(".safetensors") or size >= LARGE


def entry(name: str, content: bytes) -> dict[str, Any]:
    large = {"lfs": {"oid": sha256(content), "size": len(content), "pointerSize": 134}}
    told = {"type": "file", "path": name, "size": len(content), "oid": git_hash(content)}
    return {**told, **(large if is_large(name, len(content)) else {})}


def planned(file: dict[str, Any], there: FILES) -> dict[str, Any]:
    """How a file is to be uploaded, and the hash of the one that is there already."""
    name = file["path"]
    large = is_large(name, file["size"])
    old = (sha256 if large else git_hash)(there[name]) if name in there else None
    return {"path": name, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": old}


def apply(hub: Hub, files: FILES, key: str, value: dict[str, Any]) -> None:
    """One line of a commit."""
    if key == "file":
        files[value["path"]] = base64.b64decode(value["content"])
    elif key == "lfsFile":
        if value["oid"] not in hub.stored:
            raise Refusal(400, f"{value['path']} was not uploaded")
        files[value["path"]] = hub.stored[value["oid"]]
    elif key == "deletedFile":
        if files.pop(value["path"], None) is None:
            raise Refusal(404, "A file with this name doesn't exist", "EntryNotFound")
    elif key == "deletedFolder":
        for name in [name for name in files if name.startswith(value["path"].rstrip("/") + "/")]:
            del files[name]
    if value.get("path") in hub.damaged:
        files[value["path"]] = files[value["path"]][:-1] + bytes([files[value["path"]][-1] ^ 1])
