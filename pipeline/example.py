"""The finished run that ships, examples/tiny-yoda-run: copied into the home's runs, so that a first visit can compare."""

from __future__ import annotations

import shutil
from pathlib import Path

from filelock import FileLock

from pipeline import config, files, home

NAME = "tiny-yoda-example"
SHIPPED = config.ROOT / "examples" / "tiny-yoda-run"


def install() -> Path:
    """The example as a run of this home; copied, whole or not at all, when it is not there yet."""
    folder = home.runs() / NAME
    if not _there(folder):
        with FileLock(home.home() / "example.lock", is_singleton=False):  # two apps may be started at once
            if not _there(folder):
                _copy(folder)
    return folder


def _there(folder: Path) -> bool:
    return (folder / "run.json").is_file()


def _copy(folder: Path) -> None:
    """Contents only: where the project is installed read-only, the run must not be."""
    with files.whole_folder(folder) as temporary:
        for file in (p for p in SHIPPED.rglob("*") if p.is_file()):
            copy = temporary / file.relative_to(SHIPPED)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
