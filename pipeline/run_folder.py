"""What a run's folder says, without a heavy import: what was asked, where it stands, the list of all runs.

A run is alive while its lock is held; everything else is what its events add up to.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from pipeline import checkpoints, config, events, files, home, locks, oom
from pipeline.errors import UserError
from pipeline.events import JobView, View
from pipeline.schema import Run, from_json

LATEST = 2**33  # seconds since 1970; a later date is damage


def load(folder: Path) -> Run:
    """What was asked of a run, from its config.json and source.json."""
    values = read_json(folder / "config.json")
    if not isinstance(values, dict):
        raise UserError(f"{folder.name}/config.json holds no JSON object; the run's folder is damaged.")
    head = {key: values.pop(key) for key in ("model", "revision", "name") if key in values}
    source = read_json(folder / "source.json")
    return config.located(from_json(Run, {**head, "source": source, "config": values}, f"{folder.name}/config.json"))


def find(name: str) -> Path:
    """The folder of a run given by its id or its path."""
    for folder in (Path(os.path.expanduser(name)), home.runs() / name):
        with contextlib.suppress(OSError):  # a name too long for a file name, a folder nobody may look into
            if (folder / "run.json").is_file():
                return folder.resolve()
    raise UserError(f"There is no run {name!r}; `python -m pipeline list` shows those there are.")


def read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error  # which would name the whole path
        raise UserError(
            f"{file.parent.name}/{file.name} can't be read ({reason}); the run's folder is damaged."
        ) from error


def _readable(file: Path) -> dict[str, Any]:
    """What a JSON file of a run says; nothing when it is damaged."""
    with contextlib.suppress(UserError):
        values = read_json(file)
        return values if isinstance(values, dict) else {}
    return {}


def shared(folder: Path) -> bool:
    return _readable(folder / "run.json").get("shared") is True


def share(folder: Path, on: bool) -> None:
    """Let guests chat with this run, or no longer."""
    files.write_json(folder / "run.json", {**read_json(folder / "run.json"), "shared": on})


def view(folder: Path) -> View:
    return events.read(folder / "events.jsonl")


def alive(folder: Path) -> bool:
    """Whether a job works on this run: its lock is held. A pid would lie; the kernel frees a lock even after kill -9."""
    return locks.held(folder / "lock")


def working(folder: Path) -> bool:
    """Whether a job works on this run, or is just about to follow one that finished."""
    return _works(*_at_once(folder))


def _works(told: View, held: bool) -> bool:
    return held or told.handing_over(time.time())


def _at_once(folder: Path) -> tuple[View, bool]:
    """What was told and whether the lock is held, both of one moment: nothing was told while the lock was looked at."""
    told = view(folder)
    while True:
        held, before = alive(folder), told
        told = view(folder)
        if held or told == before:
            return told, held


def status(folder: Path) -> str:
    """running, finished, stopped, failed, interrupted or new: what the training of this run has come to."""
    return _status(folder, *_at_once(folder))


def _status(folder: Path, told: View, held: bool) -> str:
    return "running" if _works(told, held) else _job_status(folder, "train", told, held)


def job_status(folder: Path, job: str) -> str:
    """The same for one job of the run; new when it was never started, or worked on an adapter that was given up."""
    return _job_status(folder, job, *_at_once(folder))


def _job_status(folder: Path, job: str, told: View, held: bool) -> str:
    state, order = told.jobs.get(job), list(told.jobs)
    if state is None or (job != "train" and "adopt" in order and order.index(job) < order.index("adopt")):
        return "new"
    if state.ended:
        return state.ended
    if told.current != job:
        return "interrupted"
    return "running" if held else "stopped" if (folder / "control" / "cancel").exists() else "interrupted"


def phase(folder: Path) -> str:
    told = view(folder)
    state = told.jobs.get(told.current)
    return f"{told.current}: {state.phase}" if state else "starting"


def after_training(folder: Path) -> str:
    """The job that follows training: evaluation, if there are held-out rows to judge on."""
    try:
        return "evaluate" if (folder / "held_out.jsonl").stat().st_size else ""
    except FileNotFoundError as error:
        raise UserError(f"{folder.name} has no held_out.jsonl; the run's folder is damaged.") from error


def checkpoint_step(folder: Path) -> int:
    """The step a resumed training would go on from; 0 is from the start."""
    newest = checkpoints.newest(folder)
    return checkpoints.step(newest) if newest else 0


def log_tail(folder: Path, lines: int = 3) -> str:
    file = folder / "log.txt"
    content = file.read_text(errors="replace").strip().splitlines() if file.exists() else []
    return " / ".join(content[-lines:]) or "log.txt is empty"


def summary(folder: Path) -> dict[str, Any]:
    """The command line's object for a run, and a row of the list of runs: a damaged one has its row as well."""
    (told, held), asked, wanted = _at_once(folder), _readable(folder / "run.json"), _readable(folder / "config.json")
    train, current = told.jobs.get("train"), told.jobs.get(told.current)
    created, counts = asked.get("created"), asked.get("counts")
    lacked = _lacked_memory(folder, told, held)
    return {
        "run": folder.name,
        "folder": str(folder),
        "name": str(wanted.get("name") or folder.name),
        "model": config.portable_model(str(wanted.get("model") or "")),
        "by": str(asked.get("by") or ""),
        "method": str(wanted.get("method") or "lora"),
        "rows": counts.get("train", 0) if isinstance(counts, dict) else 0,
        "imported": asked.get("imported") is True,
        "created": created if isinstance(created, int | float) and 0 <= created < LATEST else 0.0,
        "shared": asked.get("shared") is True,
        "status": _status(folder, told, held),
        "step": train.step if train else 0,
        "steps": train.steps if train else 0,
        "loss": told.loss,
        "validation_loss": told.validation_loss,
        "checkpoint": told.checkpoint,
        "job": told.current or None,
        "phase": current.phase if current else None,
        "out_of_memory": lacked,
        "text": _text(folder, told, lacked),
        "jobs": {name: _job_status(folder, name, told, held) for name in told.jobs},
    }


def _lacked_memory(folder: Path, told: View, held: bool) -> bool:
    """Whether the current job was interrupted by the kernel, for lack of memory."""
    current = told.jobs.get(told.current)
    interrupted = _job_status(folder, told.current, told, held) == "interrupted"
    return bool(current and interrupted) and oom.killed(folder, current or JobView())


def _text(folder: Path, told: View, out_of_memory: bool) -> str:
    """What the current job told last, or what can be told of it where the kernel ended it for lack of memory."""
    current = told.jobs.get(told.current)
    if current and out_of_memory:
        return oom.sentence(folder, told.current, current, checkpoint_step(folder))
    return current.text if current else ""


def listing() -> list[dict[str, Any]]:
    """Every run, newest first."""
    folders = [f for f in home.runs().iterdir() if not f.name.startswith(".") and (f / "run.json").is_file()]
    return sorted(map(summary, folders), key=lambda run: run["created"], reverse=True)
