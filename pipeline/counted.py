"""Token counts that outlive the process that made them: <home>/cache/<hash>.counts, so that no restart counts again.

The hash is of the rows, of everything that makes them into tokens, and of the code that does it: what is found under it
is still true. The newest 64 files are kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from pipeline import home
from pipeline.errors import UserError

KEPT = 64
MADE_BY = ("chat_templates", "counting", "gates", "masks", "rendering", "template")
LIBRARIES = ("tokenizers", "transformers", "trl")


def recall(keys: Iterable[bytes]) -> dict[bytes, Any]:
    """What was kept of exactly these rows, by their keys, which say how they were counted, too; nothing where nothing was."""
    wanted = list(dict.fromkeys(keys))
    with contextlib.suppress(OSError, ValueError, TypeError, UserError):  # it can be counted again
        file = _file(wanted)
        rows = json.loads(file.read_bytes())
        os.utime(file)  # in use, so among the last to go
        return {key: _frozen(*row) for key, row in zip(wanted, rows, strict=True)}
    return {}


def keep(found: Mapping[bytes, Any], keys: Iterable[bytes]) -> None:
    """Write the counts of these rows, whole or not at all. A disk that refuses costs nothing but the next count."""
    wanted = list(dict.fromkeys(keys))
    with contextlib.suppress(OSError, UserError):
        file = _file(wanted)
        file.parent.mkdir(exist_ok=True, mode=0o700)
        part = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            part.write_text(json.dumps([found[key] for key in wanted], separators=(",", ":")))
            os.replace(part, file)
        finally:
            part.unlink(missing_ok=True)
        _sweep(file.parent)


def _frozen(length: int, learned: list[list[int]], gates: list[list[str]]) -> tuple[Any, ...]:
    return length, tuple((start, end) for start, end in learned), tuple((kind, told) for kind, told in gates)


def _file(keys: list[bytes]) -> Path:
    return home.home() / "cache" / f"{hashlib.blake2b(b''.join(keys), key=_code(), digest_size=16).hexdigest()}.counts"


@cache
def _code() -> bytes:
    """What changes when rows may become other tokens although nothing about them or their template did."""
    here = Path(__file__).parent
    digest = hashlib.blake2b(digest_size=32)
    for module in MADE_BY:
        digest.update((here / f"{module}.py").read_bytes())
    digest.update(repr([metadata.version(name) for name in LIBRARIES]).encode())
    return digest.digest()


def _sweep(folder: Path) -> None:
    files = sorted(folder.glob("*.counts"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files[KEPT:]:
        file.unlink(missing_ok=True)
