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
NUMBER = (int, float)  # a tuple is looked through faster than a union
TYPES: dict[str, Any] = {
    "kind": str,
    "job": str,
    "time": NUMBER,
    "step": (int, type(None)),
    "values": dict,
    "text": str,
}
VALUE_TYPES: dict[str, Any] = {
    "pid": int,
    "from_step": int,
    "steps": int,
    "phase": str,
    "name": str,
    "loss": NUMBER,
    "done": int,
    "of": int,
    "samples": list,
    "warning": bool,
}
CURVES = {"loss": ("loss", "curve"), "validation": ("validation_loss", "validation_curve")}
"""By kind of event: the fields of a View that hold its latest loss and all of them."""
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
        return _event(json.loads(line.decode()))
    except (ValueError, RecursionError):
        return None


def parse_all(lines: bytes) -> list[Event]:
    """The events in whole lines. Where all of them are whole they are read as one list, which takes half the time."""
    each = lines.splitlines()
    try:
        found = json.loads(b"[%s]" % b",".join(each))
    except (ValueError, RecursionError):
        found = []
    told = map(_event, found) if len(found) == len(each) else map(parse, each)
    return [event for event in told if event]


def _event(values: Any) -> Event | None:
    try:
        event = Event(**values)
    except TypeError:
        return None
    fits = _fit(values, TYPES) and _fit(event.values, VALUE_TYPES)
    return event if fits and math.isfinite(event.time) else None


def _fit(values: dict[str, Any], types: dict[str, Any]) -> bool:
    """Whether each value that has a type here is of it."""
    return all(name not in types or isinstance(value, types[name]) for name, value in values.items())


def fold(view: View, *told: Event) -> View:
    """The view after these events. Pure; many at once cost no more than their number, however long the curves are."""
    if not told:
        return view
    jobs = {name: {**vars(job), "values": dict(job.values)} for name, job in view.jobs.items()}
    changed = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(view).items()}
    for event in told:
        if event.kind == "started" and event.job == "train":
            jobs.clear()  # they worked on another adapter
            _rewind(changed, event.values.get("from_step", 0))
        if event.kind == "started" or event.job not in jobs:
            jobs.pop(event.job, None)  # the order of the jobs is that of their starts, whatever the clock did
            jobs[event.job] = {**vars(JobView()), "values": {}}
        _go_on(jobs[event.job], event)
        _add(changed, event)
    closed: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in changed.items()
    }
    done = {name: JobView(**job) for name, job in jobs.items()}
    closed |= {"jobs": done, "current": told[-1].job, "last_time": told[-1].time}
    return View(**closed)


def _go_on(job: dict[str, Any], event: Event) -> None:
    """One job after one more event of it."""
    if event.kind == "started":
        job |= {"pid": event.values.get("pid", 0), "phase": "starting", "started": event.time}
    elif event.kind == "phase":
        job |= {"phase": event.values.get("phase", ""), "done": 0, "of": 0}
        job["steps"] = event.values.get("steps") or job["steps"]
    elif event.kind == "progress":
        job |= {"done": event.values.get("done", 0), "of": event.values.get("of", job["of"])}
    elif event.kind in FINAL_KINDS:
        job["ended"] = event.kind
    if event.text:
        job["text"] = event.text
    if event.step is not None:
        job["step"] = event.step
    if event.kind != "samples":
        job["values"].update(event.values)
    job["seconds"] = max(job["seconds"], event.time - job["started"])


def _add(changed: dict[str, Any], event: Event) -> None:
    """What an event adds to the curves, notes and samples of a view."""
    loss, step = event.values.get("loss"), event.step
    if event.kind in CURVES and loss is not None and step is not None:
        latest, curve = CURVES[event.kind]
        changed[latest] = loss
        changed[curve].append((step, loss))
    elif event.kind == "checkpoint":
        changed["checkpoint"] = event.values.get("name")
    elif event.kind == "samples" and step is not None:
        answers = [answer for answer in event.values.get("samples", []) if isinstance(answer, dict)]
        changed["samples"] = [*changed["samples"], (step, answers)][-MOST_SAMPLES:]
    elif event.kind == "note":
        changed["notes"].append(event.text)
        changed["warnings"] += [event.text] if event.values.get("warning") else []


def _rewind(changed: dict[str, Any], step: int) -> None:
    """A resumed training starts again at `step`: what an interrupted one told beyond it did not happen."""
    for latest, curve in CURVES.values():
        changed[curve] = [point for point in changed[curve] if point[0] <= step]
        changed[latest] = changed[curve][-1][1] if changed[curve] else None
    changed["samples"] = [look for look in changed["samples"] if look[0] <= step]
    changed["checkpoint"] = f"checkpoint-{step}" if step else None


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
            view = fold(view, *parse_all(whole))
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
    return parse_all(whole), offset + len(whole)
