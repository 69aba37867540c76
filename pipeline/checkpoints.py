"""Checkpoints of a run: sealed once whole, found again newest first, removed when there are too many. Standard library only.

transformers writes a checkpoint file by file and picks a half-written one for resuming, or goes on silently without its
optimizer. So each one is sealed with the sizes of its files after the last byte, and only a seal that fits counts.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

SEAL = "sealed.json"
FOLDER = "checkpoints"
STATE = "trainer_state.json"
ORDER = "epoch_rng.pth"  # torch's random numbers that put the rows of the epoch in order
BY_THE_CLOCK = "by_the_clock"
"""A file in a checkpoint that was made because time had passed: it is for going on from, and nothing to choose from."""


@dataclass(frozen=True)
class Kept:
    """A whole checkpoint on disk: its size in bytes, and the validation loss of its step where there was a look at it.

    `best` is the one with the lowest validation loss of those that are kept, the earlier one of equals.
    """

    folder: Path
    step: int
    size: int
    validation_loss: float | None
    best: bool = False


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


def mark(checkpoint: Path) -> None:
    """Say, before it is sealed, that a checkpoint was made by the clock."""
    (checkpoint / BY_THE_CLOCK).touch()


def rotate(run: Path, keep: int) -> None:
    """Remove whole checkpoints until `keep` are left, the oldest steps first; never the newest, or the best.

    Those made by the clock count for none: the newest may be one, older ones go. transformers does this by the folders'
    dates, and throws the newest away where the clock was set back.
    """
    whole = kept(run)
    chosen = [each for each in whole if not (each.folder / BY_THE_CLOCK).exists()]
    spare = [each for each in chosen if not each.best and each not in whole[-1:]][: max(0, len(chosen) - keep)]
    clocked = [each for each in whole[:-1] if each not in chosen]
    for each in [*clocked, *spare]:
        shutil.rmtree(each.folder)


def sweep(run: Path) -> list[str]:
    """Remove what was not written to its end, for transformers would trip over it; the names. Only under the run's lock."""
    half = [checkpoint for checkpoint in all_of(run) if not is_whole(checkpoint)]
    for checkpoint in half:
        shutil.rmtree(checkpoint)
    return [checkpoint.name for checkpoint in half]


def room(run: Path) -> tuple[int, int]:
    """Bytes the next checkpoint takes, as the newest did (0 where there is none), and bytes that are free."""
    last = newest(run)
    return size(last) if last else 0, shutil.disk_usage(run).free


def step(checkpoint: Path) -> int:
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


def all_of(run: Path) -> list[Path]:
    """Every checkpoint folder of a run, whole or not, oldest step first."""
    return sorted((p for p in (run / FOLDER).glob("checkpoint-*") if p.is_dir() and step(p) >= 0), key=step)


def newest(run: Path) -> Path | None:
    """The newest whole checkpoint of a run, or None."""
    return next((c for c in reversed(all_of(run)) if is_whole(c)), None)


def looks(checkpoint: Path) -> list[tuple[int, float]]:
    """(step, validation loss in nats per learned token) of every look at the validation rows up to a checkpoint."""
    try:
        told = json.loads((checkpoint / STATE).read_text())["log_history"]
        return [(int(entry["step"]), float(entry["eval_loss"])) for entry in told if "eval_loss" in entry]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return []


def kept(run: Path) -> list[Kept]:
    """Every whole checkpoint of a run, oldest step first."""
    found = []
    for checkpoint in filter(is_whole, all_of(run)):
        at = step(checkpoint)
        loss = next((loss for looked, loss in looks(checkpoint) if looked == at and math.isfinite(loss)), None)
        found.append(Kept(checkpoint, at, size(checkpoint), loss))
    if not (measured := [each for each in found if each.validation_loss is not None]):
        return found
    lowest = min(measured, key=lambda each: each.validation_loss or 0.0)
    return [dataclasses.replace(each, best=each is lowest) for each in found]


def best(run: Path) -> Kept | None:
    """The kept checkpoint that did best on the validation rows; None where no kept one was looked at."""
    return next((each for each in kept(run) if each.best), None)


def size(checkpoint: Path) -> int:
    """Bytes on disk."""
    return sum(file.stat().st_size for file in checkpoint.rglob("*") if file.is_file())
