"""Checkpoints of a run: sealed once whole, found again newest first. Standard library only.

transformers writes a checkpoint file by file and picks a half-written one for resuming, or goes on silently without its
optimizer. So each one is sealed with the sizes of its files after the last byte, and only a seal that fits counts.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

SEAL = "sealed.json"
FOLDER = "checkpoints"


def seal(checkpoint: Path) -> None:
    """Write down the size in bytes of every file of a checkpoint that is completely written."""
    files = [p for p in checkpoint.rglob("*") if p.is_file() and p.name not in (SEAL, f".{SEAL}")]
    sizes = {p.relative_to(checkpoint).as_posix(): p.stat().st_size for p in files}
    temporary = checkpoint / f".{SEAL}"
    temporary.write_text(json.dumps(sizes))
    os.replace(temporary, checkpoint / SEAL)


def is_whole(checkpoint: Path) -> bool:
    """Whether it was sealed and every file still has the size it had then."""
    try:
        sizes = json.loads((checkpoint / SEAL).read_text())
        return bool(sizes) and all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def step(checkpoint: Path) -> int:
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


def all_of(run: Path) -> list[Path]:
    """Every checkpoint folder of a run, whole or not, oldest step first."""
    return sorted((p for p in (run / FOLDER).glob("checkpoint-*") if p.is_dir() and step(p) >= 0), key=step)


def newest(run: Path) -> Path | None:
    """The newest whole checkpoint of a run, or None."""
    return next((c for c in reversed(all_of(run)) if is_whole(c)), None)
