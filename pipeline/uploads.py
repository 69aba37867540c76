"""Uploaded files: <home>/uploads/<id>/<its own name>. Outside, an upload is known by its id only, never by a path."""

from __future__ import annotations

import re
import secrets
import shutil
import time
from pathlib import Path

from pipeline import files, home
from pipeline.errors import UserError

KEPT_DAYS = 30
LONGEST_NAME = 100
ID = re.compile(r"[0-9a-f]{32}")
UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\:*?\"<>|]")


def keep(file: Path) -> str:
    """Copy a file in, whole or not at all, and tell the id it is known by from now on: 128 random bits."""
    upload = secrets.token_hex(16)
    with files.whole_folder(_folder() / upload) as temporary:
        shutil.copyfile(file, temporary / flat_name(file.name))
    return upload


def find(upload: object) -> Path:
    """The file of an upload. Raises UserError when there is none by this id."""
    if isinstance(upload, str) and ID.fullmatch(upload):
        found = sorted((_folder() / upload).glob("[!.]*"))
        if len(found) == 1:
            return found[0]
    raise UserError(
        f"The uploaded file is not here any more (uploads are kept for {KEPT_DAYS} days); upload it again under Data."
    )


def forget(upload: str) -> None:
    if ID.fullmatch(upload):
        shutil.rmtree(_folder() / upload, ignore_errors=True)


def sweep(days: float = KEPT_DAYS) -> None:
    """Remove uploads older than this. A run has its own copy of the rows, so no run needs them."""
    for folder in _folder().iterdir():
        if folder.stat().st_mtime < time.time() - days * 86400:
            shutil.rmtree(folder, ignore_errors=True)


def flat_name(name: str) -> str:
    """One part of a path, visible and short, with the ending that tells the format."""
    plain = UNSAFE.sub("_", name).lstrip(". ") or "upload"
    stem, dot, ending = plain.rpartition(".")
    if ending.casefold() == "gz" and "." in stem:  # what is packed tells the format
        stem, dot, inner = stem.rpartition(".")
        ending = f"{inner}.{ending}"
    return f"{stem[: LONGEST_NAME - len(ending)]}{dot}{ending}" if dot and len(ending) < 12 else plain[:LONGEST_NAME]


def _folder() -> Path:
    folder = home.home() / "uploads"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
