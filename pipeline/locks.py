"""Whether somebody holds a lock, without being taken for a holder oneself. Standard library only.

The kernel takes a lock from the dead, unless a process they forked lives on with the same open file (filelock closes it in
a fork of Python's, a library's own fork nobody can tell). Such a leftover is no holder; who needs the lock ends it first.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")  # Linux; elsewhere nobody tells who took a lock, and held is held
TAKEN = re.compile(r"FLOCK\s+ADVISORY\s+WRITE\s+(\d+) \S*:(\d+) ")  # process, inode
FREE_SECONDS = 2.0


def held(file: Path) -> bool:
    """Whether a living process took the exclusive lock (filelock's, which is flock) on this file.

    Asked with a shared lock, so that two who look at once don't see each other; the file is never made.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return not _left_over(os.fstat(descriptor).st_ino)
    finally:
        os.close(descriptor)
    return False


def free(file: Path) -> None:
    """End what outlived the process that took this lock and keeps it from everybody. A living holder is left alone."""
    with contextlib.suppress(FileNotFoundError):
        inode = file.stat().st_ino
        if not _left_over(inode):
            return
        for process in _keepers(file):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        deadline = time.monotonic() + FREE_SECONDS
        while _takers(inode) and time.monotonic() < deadline:
            time.sleep(0.01)


def _left_over(inode: int) -> bool:
    """Whether all who took a lock on this file are known, and dead. Process 0 is one of another container's."""
    takers = _takers(inode)
    return bool(takers) and not any(taker == 0 or _alive(taker) for taker in takers)


def _takers(inode: int) -> set[int]:
    return {process for process, locked in _taken(PROC / "locks") if locked == inode}


def _keepers(file: Path) -> set[int]:
    """The processes that have this file open, and keep its lock by that."""
    return {
        int(process.name)
        for process in PROC.glob("[1-9]*")
        for opened in _listed(process / "fdinfo")
        if any(_taken(opened)) and _same(process / "fd" / opened.name, file)
    }


def _same(opened: Path, file: Path) -> bool:
    with contextlib.suppress(OSError):
        return opened.samefile(file)
    return False


def _listed(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):  # it ended, or is somebody else's
        return list(folder.iterdir())
    return []


def _taken(file: Path) -> Iterator[tuple[int, int]]:
    """(process that took it, inode) of every exclusive lock that a file of the kernel's tells of."""
    with contextlib.suppress(OSError):
        for process, inode in TAKEN.findall(file.read_text(errors="replace")):
            yield int(process), int(inode)


def _alive(process: int) -> bool:
    """Whether it runs: a zombie only waits for its parent to notice."""
    try:
        state = (PROC / str(process) / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
