"""Whether somebody holds a lock, without being taken for a holder oneself. Standard library only."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def held(file: Path) -> bool:
    """Whether a process holds the exclusive lock (filelock's, which is flock) on this file.

    Asked with a shared lock, so that two who look at once don't see each other; the file is never made.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
