"""The folder everything lives in: where it is, and whether it can be trusted with runs.

TUNING_FORK_HOME, else the user's data folder. A local disk; never the working folder, the temp folder or a bucket.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from functools import cache
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from pipeline.errors import UserError


def home() -> Path:
    """The home folder, made and checked on first use. Raises UserError when runs would not be safe in it."""
    asked = os.environ.get("TUNING_FORK_HOME") or platformdirs.user_data_dir("tuning-fork")
    return _checked(Path(os.path.expanduser(asked)))


def runs() -> Path:
    folder = home() / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@cache
def _checked(folder: Path) -> Path:
    if not folder.is_absolute():
        raise UserError(f"TUNING_FORK_HOME is {str(folder)!r}; give an absolute path on a local disk.")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(prefix=".check-", dir=folder) as check:
            _check_lock(Path(check))
            _check_rename(Path(check))
            _check_sqlite(Path(check))
    except (OSError, sqlite3.Error) as error:
        raise UserError(
            f"The home folder {folder} can't hold runs ({error}); set TUNING_FORK_HOME to a writable local folder."
        ) from error
    return folder


def _check_lock(folder: Path) -> None:
    # fallback_to_soft: where the kernel has no locks, filelock would make do with ones that outlive a kill -9
    with FileLock(folder / "lock", timeout=0, is_singleton=False, fallback_to_soft=False):
        try:
            FileLock(folder / "lock", timeout=0, is_singleton=False, fallback_to_soft=False).acquire()
        except Timeout:
            return
    raise OSError("a lock could be taken twice")


def _check_rename(folder: Path) -> None:
    (folder / "old").write_text("old")
    (folder / "new").write_text("new")
    os.replace(folder / "new", folder / "old")
    if (folder / "old").read_text() != "new":
        raise OSError("a file can't be replaced by a rename")


def _check_sqlite(folder: Path) -> None:
    connection = sqlite3.connect(folder / "check.sqlite")
    try:
        mode = connection.execute("pragma journal_mode=wal").fetchone()[0]
        if mode != "wal":
            raise OSError(f"SQLite gave journal mode {mode}, not wal")
        connection.execute("create table rows (value)")
        connection.commit()
    finally:
        connection.close()
