"""Fixtures of the tests of faults: toy jobs, a disk that is soon full."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_jobs import run, toy  # noqa: F401


class Disk:
    """A small disk of its own with the home on it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.filler = folder, folder / "filler"

    def leave(self, room: int) -> None:
        """Fill it until so many bytes are free, or give room back."""
        self.filler.unlink(missing_ok=True)
        with self.filler.open("wb") as stream, contextlib.suppress(OSError):
            os.posix_fallocate(stream.fileno(), 0, shutil.disk_usage(self.folder).free - room)

    def writable(self, yes: bool) -> None:
        subprocess.run(["mount", "-o", f"remount,{'rw' if yes else 'ro'}", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """32 MB in memory; only where we may mount it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("no disk may be mounted here")
    monkeypatch.setenv("TUNING_FORK_HOME", str(folder / "home"))
    yield Disk(folder)
    subprocess.run(["umount", "-l", str(folder)], check=True)
