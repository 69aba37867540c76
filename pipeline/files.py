"""Files and folders written whole or not at all: under another name first, then renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import UserError

BLOCK, BLOCKS = (
    1 << 20,
    64,
)  # what a fingerprint reads of a file: all of a small one, evenly spread blocks of a large one
PROBED = 1 << 16  # bytes; less room than this is none
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
FINGERPRINTED = {".safetensors", ".json", ".jinja", ".model", ".txt"}


def write_json(file: Path, values: Any) -> None:
    """Half a surrogate pair, which UTF-8 can't hold, is written as the JSON escape it is."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    content = json.dumps(values, indent=2, ensure_ascii=False, default=str) + "\n"
    try:
        temporary.write_text(content, encoding="utf-8", errors="backslashreplace")
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(final: Path) -> Iterator[Path]:
    """A new folder to fill, which takes the place of `final` when the block ends well and vanishes when it does not."""
    temporary, old = final.with_name(f".{final.name}.new"), final.with_name(f".{final.name}.old")
    if old.exists() and not final.exists():  # killed between the two renames below
        os.rename(old, final)
    for leftover in (temporary, old):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if final.exists():
            os.rename(final, old)
        os.rename(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def told_when_full() -> Iterator[None]:
    """A disk that takes nothing more, because it is full or read-only, becomes a UserError."""
    try:
        yield
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        where = f" ({error.filename})" if error.filename else ""
        raise UserError(
            f"The disk can't be written to: {error.strerror}{where}. Free some space, or make it writable, and try again; "
            "nothing that was there is lost."
        ) from error


def refuse_full(folder: Path) -> None:
    """Raises UserError when nothing can be written into this folder."""
    probe = folder / f".room.{os.getpid()}"
    with told_when_full():
        try:
            probe.write_bytes(bytes(PROBED))
        finally:
            with contextlib.suppress(OSError):
                probe.unlink(missing_ok=True)


def fingerprint(folder: Path) -> str:
    """SHA-256 over names, sizes and 64 MiB (all, where there is less) of each of a folder's weights, configs, tokenizer."""
    digest = hashlib.sha256()
    for file in sorted(p for p in folder.iterdir() if p.suffix in FINGERPRINTED):
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}:".encode())
        with file.open("rb") as stream:
            for number in range(BLOCKS):
                stream.seek(max(0, size - BLOCK) * number // (BLOCKS - 1) if size > BLOCK * BLOCKS else BLOCK * number)
                digest.update(stream.read(BLOCK))
    return digest.hexdigest()
