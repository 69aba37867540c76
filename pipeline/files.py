"""Files and folders written whole or not at all: under another name first, then renamed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def write_json(file: Path, values: Any) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(json.dumps(values, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
    os.replace(temporary, file)


@contextlib.contextmanager
def whole_folder(final: Path) -> Iterator[Path]:
    """A new folder to fill, which takes the place of `final` when the block ends well and vanishes when it does not."""
    temporary, old = final.with_name(f".{final.name}.new"), final.with_name(f".{final.name}.old")
    for leftover in (temporary, old):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if final.exists():
            os.rename(final, old)
        os.rename(temporary, final)
    finally:
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)
