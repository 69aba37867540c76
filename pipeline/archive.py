"""What becomes of a run folder as a whole: its name, its size on disk, its download as a zip, its end. No heavy import."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import threading
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from pipeline import checkpoints, files, home, rounds, votes
from pipeline.errors import UserError
from pipeline.run_folder import phase, read_json, summary, view, working
from pipeline.schema import PARTS

LONGEST_NAME = 120
TOLD = ("config.json", "source.json", "run.json", "base.json", "merge.json")
GONE = ".deleted-"


class DiskUse(NamedTuple):
    """Bytes of a run folder's files, and of those among them that are checkpoints."""

    whole: int
    checkpoints: int


def rename(folder: Path, name: str) -> None:
    """Give a run another name; its id, and so its address, stays. Raises UserError for a name that shows nothing."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    if not plain or len(plain) > LONGEST_NAME:
        raise UserError(f"A run's name has 1 to {LONGEST_NAME} characters; this one has {len(plain)}.")
    values = read_json(folder / "config.json")
    if not isinstance(values, dict):
        raise UserError(f"{folder.name}/config.json holds no JSON object; the run's folder is damaged.")
    files.write_json(folder / "config.json", {**values, "name": plain})


def delete(folder: Path) -> None:
    """Remove a run for good: out of sight at once, then from the disk. Raises UserError while it is worked on."""
    if working(folder):
        raise UserError(f"{folder.name} is being worked on ({phase(folder)}); cancel it first, then delete it.")
    hidden = folder.with_name(f"{GONE}{folder.name}-{secrets.token_hex(4)}")
    try:
        with FileLock(folder / "lock", timeout=0, is_singleton=False):  # no job begins meanwhile
            os.rename(folder, hidden)
    except Timeout:
        raise UserError(f"A job has just begun on {folder.name}; cancel it first, then delete it.") from None
    for leftover in (hidden, *home.runs().glob(f"{GONE}*")):  # this one, and what a kill left of another
        shutil.rmtree(leftover, ignore_errors=True)
    votes.forget(folder.name)  # after the folder: a kill in between leaves votes nobody reaches, no round without them


def pack(folder: Path, file: Path, rows: bool = False) -> Path:
    """Write a run as a zip: adapter, settings, source, scores. No checkpoints, tokens, lock, log or events.

    Rows of the data, the report's answers to them, and rounds only with `rows`; votes never. Raises UserError where there is no adapter yet.
    """
    if working(folder):
        raise UserError(f"{folder.name} is being worked on ({phase(folder)}); download it when that is done.")
    if not (folder / "adapter").is_dir():
        raise UserError(f"{folder.name} has no adapter yet, so there is nothing to download; train it first.")
    told = [folder / name for name in TOLD] + ([folder / f"{part}.jsonl" for part in PARTS] if rows else [])
    kept = (rounds.ROUND, rounds.ANSWERS) if rows else ()
    told += [each for name in kept for each in sorted(folder.glob(f"{rounds.FOLDER}/[!.]*/{name}"))]
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as packed:
            for each in [*filter(Path.is_file, told), *sorted((folder / "adapter").iterdir())]:
                if each.is_file() and not each.is_symlink():
                    stored = each.suffix == ".safetensors"  # weights hardly shrink
                    kind = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
                    packed.write(each, f"{folder.name}/{each.relative_to(folder)}", kind)
            for name, values in _written(folder, rows).items():
                packed.writestr(f"{folder.name}/{name}", json.dumps(values, indent=2, ensure_ascii=False) + "\n")
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)
    return file


def _written(folder: Path, rows: bool) -> dict[str, Any]:
    """What is in the zip in another form than in the folder: the scores, and how the training went."""
    told = view(folder)
    hidden = {"folder", "text"}  # where it lies on this machine; a last word may name a place, too
    summed = {key: value for key, value in summary(folder).items() if key not in hidden}
    curves = {"curve": told.curve, "validation_curve": told.validation_curve}
    found: dict[str, Any] = {"summary.json": {**summed, **curves}}
    if (folder / "report.json").exists():
        report = read_json(folder / "report.json")
        found["report.json"] = (
            report if rows else {key: value for key, value in report.items() if key not in ("rows", "general")}
        )
    return found


_measured: dict[Path, tuple[tuple[int, int], DiskUse]] = {}
_lock = threading.Lock()


def disk_use(folder: Path) -> DiskUse:
    """How much of the disk a run takes; walked through again only when something has been told or put into its folder."""
    try:
        version = (_size(folder / "events.jsonl"), folder.stat().st_mtime_ns)
    except OSError:
        return DiskUse(0, 0)
    with _lock:
        if folder not in _measured or _measured[folder][0] != version:
            kept = _bytes_in(folder / checkpoints.FOLDER)
            _measured[folder] = (version, DiskUse(_bytes_in(folder), kept))
        return _measured[folder][1]


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _bytes_in(folder: Path) -> int:
    """Bytes of all files below a folder; one that goes meanwhile counts nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118 -- a Path each is twice as slow
            except FileNotFoundError:
                continue
    return total
