"""The line-by-line story of a run: append one event with one write, read new lines, fold them into a View.

Reads and writes <run>/events.jsonl. There is no status field to forget: a run's state is what its events add up to.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import stat
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.schema import FINAL_KINDS, Event

HANDOVER_SECONDS = 15.0
TYPES: dict[str, Any] = {"kind": str, "job": str, "time": int | float, "step": int | None, "values": dict, "text": str}
VALUE_TYPES: dict[str, Any] = {
    "pid": int,
    "from_step": int,
    "steps": int,
    "phase": str,
    "name": str,
    "loss": int | float,
    "done": int,
    "of": int,
    "samples": list,
    "warning": bool,
}
MOST_SAMPLES = 200  # looks whose answers a view keeps, the newest


@dataclass(frozen=True)
class JobView:
    """What one job of a run (train, evaluate, merge) has told so far. `ended` is a final kind, or empty.

    `done` of `of` is how far the present phase is where that is not told in steps (rows tokenized, batches evaluated).
    """

    ended: str = ""
    pid: int = 0
    phase: str = ""
    step: int = 0
    steps: int = 0
    done: int = 0
    of: int = 0
    text: str = ""
    started: float = 0.0
    seconds: float = 0.0
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class View:
    """A run as its events tell it. Losses are nats per trained token; `curve` holds (step, loss) in step order.

    `warnings` are those of the `notes` that call for a decision. `samples` holds (step, answers) per look at the validation
    rows; an answer is {"row", "prompt", "reference", "base", "tuned"}.
    """

    jobs: dict[str, JobView] = field(default_factory=dict)
    current: str = ""
    loss: float | None = None
    validation_loss: float | None = None
    checkpoint: str | None = None
    curve: tuple[tuple[int, float], ...] = ()
    validation_curve: tuple[tuple[int, float], ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    samples: tuple[tuple[int, list[dict[str, Any]]], ...] = ()
    last_time: float = 0.0

    def handing_over(self, now: float) -> bool:
        """True in the moment between a finished job and the one it was told to start next."""
        job = self.jobs.get(self.current)
        return (
            bool(job and job.ended == "finished" and job.values.get("then"))
            and abs(now - self.last_time) < HANDOVER_SECONDS
        )


def append(file: Path, event: Event) -> None:
    """Add one event as one line with one write, so that a kill leaves whole lines and at most one half line.

    Where the disk takes only a part, that part is taken back: the next event would be glued to it and lost as well.
    """
    text = json.dumps(dataclasses.asdict(event), ensure_ascii=False, separators=(",", ":"), allow_nan=True) + "\n"
    line = text.encode(errors="backslashreplace")  # half a surrogate pair becomes the JSON escape it is
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        written = os.write(descriptor, line)
        if written < len(line):
            os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
    finally:
        os.close(descriptor)


def mend(file: Path) -> None:
    """Cut off a last line that a kill left without its newline. Only the holder of the run's lock may do this."""
    if not file.exists():
        return
    with file.open("r+b") as stream:
        content = stream.read()
        stream.truncate(content.rfind(b"\n") + 1)


def parse(line: bytes) -> Event | None:
    """The event in one line, or None for a line that holds none that `fold` could use (damaged, written by hand)."""
    try:
        event = Event(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None
    fits = all(isinstance(getattr(event, name), wanted) for name, wanted in TYPES.items()) and all(
        isinstance(event.values[name], wanted) for name, wanted in VALUE_TYPES.items() if name in event.values
    )
    return event if fits and math.isfinite(event.time) else None


def fold(view: View, event: Event) -> View:
    """The view after one more event. Pure."""
    job = view.jobs.get(event.job, JobView())
    if event.kind == "started":
        job = JobView(pid=event.values.get("pid", 0), phase="starting", started=event.time)
    changes: dict[str, Any] = {"text": event.text} if event.text else {}
    if event.kind == "phase":
        steps = event.values.get("steps") or job.steps
        changes |= {"phase": event.values.get("phase", ""), "steps": steps, "done": 0, "of": 0}
    if event.kind == "progress":
        changes |= {"done": event.values.get("done", 0), "of": event.values.get("of", job.of)}
    if event.step is not None:
        changes["step"] = event.step
    if event.kind in FINAL_KINDS:
        changes["ended"] = event.kind
    values = job.values if event.kind == "samples" else {**job.values, **event.values}
    job = dataclasses.replace(job, **changes, seconds=event.time - job.started, values=values)
    others = {} if event.kind == "started" and event.job == "train" else view.jobs  # they worked on another adapter
    view = dataclasses.replace(view, jobs={**others, event.job: job}, current=event.job, last_time=event.time)
    return _fold_curves(view, event)


def _fold_curves(view: View, event: Event) -> View:
    loss, step = event.values.get("loss"), event.step
    if event.kind == "loss" and loss is not None and step is not None:
        return dataclasses.replace(view, loss=loss, curve=(*view.curve, (step, loss)))
    if event.kind == "validation" and loss is not None and step is not None:
        return dataclasses.replace(view, validation_loss=loss, validation_curve=(*view.validation_curve, (step, loss)))
    if event.kind == "checkpoint":
        return dataclasses.replace(view, checkpoint=event.values.get("name"))
    if event.kind == "samples" and step is not None:
        told = [answer for answer in event.values.get("samples", []) if isinstance(answer, dict)]
        return dataclasses.replace(view, samples=(*view.samples, (step, told))[-MOST_SAMPLES:])
    if event.kind == "note":
        warnings = (*view.warnings, event.text) if event.values.get("warning") else view.warnings
        return dataclasses.replace(view, notes=(*view.notes, event.text), warnings=warnings)
    if event.kind == "started" and event.job == "train":
        return _rewind(view, event.values.get("from_step", 0))
    return view


def _rewind(view: View, step: int) -> View:
    """A resumed training starts again at `step`: what an interrupted one told beyond it did not happen."""
    curve = tuple(point for point in view.curve if point[0] <= step)
    validation = tuple(point for point in view.validation_curve if point[0] <= step)
    return dataclasses.replace(
        view,
        curve=curve,
        validation_curve=validation,
        samples=tuple(look for look in view.samples if look[0] <= step),
        loss=curve[-1][1] if curve else None,
        validation_loss=validation[-1][1] if validation else None,
        checkpoint=f"checkpoint-{step}" if step else None,
    )


_folded: dict[Path, tuple[int, int, View]] = {}
_lock = threading.Lock()


def read(file: Path) -> View:
    """The fold of every whole line so far. What was read before is kept per file, so many watchers cost one."""
    with _lock:
        try:
            status = file.stat()
        except OSError:  # not there yet, or no file
            _folded.pop(file, None)
            return View()
        if not stat.S_ISREG(status.st_mode):
            return View()
        inode, offset, view = _folded.get(file, (status.st_ino, 0, View()))
        if inode != status.st_ino or offset > status.st_size:
            offset, view = 0, View()
        if status.st_size > offset:
            with file.open("rb") as stream:
                stream.seek(offset)
                new = stream.read()
            whole = new[: new.rfind(b"\n") + 1]
            for event in filter(None, map(parse, whole.splitlines())):
                view = fold(view, event)
            offset += len(whole)
        _folded[file] = (status.st_ino, offset, view)
        return view


def since(file: Path, offset: int) -> tuple[list[Event], int]:
    """Whole events after byte `offset`, and the offset to ask with next time."""
    try:
        with file.open("rb") as stream:
            stream.seek(offset)
            new = stream.read()
    except FileNotFoundError:
        return [], offset
    whole = new[: new.rfind(b"\n") + 1]
    return [event for event in map(parse, whole.splitlines()) if event], offset + len(whole)
