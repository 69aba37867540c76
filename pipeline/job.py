"""One job seen from inside its own process: the lock held for life, events told, stop and cancel heard.

A job's module starts, before any heavy import, with `if __name__ == "__main__": sys.exit(job.main("train"))`; main takes
the run's lock, writes the first event, waits for the device, and only then imports the module and calls its `work(job)`.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline import checkpoints, device, events, fit, oom, startup
from pipeline.errors import Refused, UserError
from pipeline.events import JobView
from pipeline.schema import FINAL_KINDS, Event

CANCEL_POLL_SECONDS = 0.2
NOT_ALONE = 3  # exit code of a job that found another at work
FULL = ("no space left on device", "failed writing file")  # the system's words, and torch's
LOCK_SECONDS = 0.5  # longer than anybody looks whether the lock is held


class Stopped(Exception):
    """Somebody asked this job to end, and it has nothing half done that is worth keeping."""


class Job:
    """A run folder being worked on by this process."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self._tell, self._ended = threading.Lock(), False

    def emit(self, kind: str, step: int | None = None, text: str = "", **values: Any) -> None:
        """Append one event. After a final one nothing more is told."""
        with self._tell:
            if self._ended:
                return
            self._ended = kind in FINAL_KINDS
            event = Event(kind=kind, job=self.name, time=time.time(), step=step, values=values, text=text)
            events.append(self.folder / "events.jsonl", event)

    def begin(self) -> None:
        """Tell that the job begins, or begins again, at the newest whole checkpoint.

        Where the kernel ended it the last time for lack of memory, with how many rows it goes on, too.
        """
        before = events.read(self.folder / "events.jsonl")
        state = before.jobs.get(self.name, JobView())
        gone = before.current == self.name and not state.ended and state.pid != os.getpid()
        rows, less = oom.next_rows(self.folder, state) if gone and oom.killed(self.folder, state) else (0, 0)
        values: dict[str, Any] = {}
        if less < rows and (found := fit.read(self.folder)):
            values = {"killed_step": state.step, "next_rows": less}
            fit.halve(self.folder, found, less, state.step, "killed")
        (self.folder / "control" / oom.ENDED).unlink(missing_ok=True)
        checkpoint = checkpoints.newest(self.folder)
        from_step = checkpoints.step(checkpoint) if checkpoint else 0
        self.emit("started", pid=os.getpid(), from_step=from_step, **oom.noted(), **values)

    def phase(self, name: str, steps: int = 0, text: str = "") -> None:
        self.emit("phase", text=text, phase=name, steps=steps)

    def stop_asked(self) -> bool:
        """Whether somebody wants this job to save what it has and end."""
        return (self.folder / "control" / "stop").exists()

    def end_if_stop_asked(self) -> None:
        """For a job that keeps nothing half done. Raises Stopped."""
        if self.stop_asked():
            raise Stopped

    def watch_for_cancel(self) -> None:
        """End this process at once when `control/cancel` appears, whatever it is doing then (loading, too)."""
        threading.Thread(target=self._end_when_cancelled, daemon=True).start()

    def _end_when_cancelled(self) -> None:
        while not (self.folder / "control" / "cancel").exists():
            time.sleep(CANCEL_POLL_SECONDS)
        self.emit("stopped", text="Cancelled; nothing since the last checkpoint was kept.", kept=False)
        os._exit(1)


def main(name: str, on_device: bool = True) -> int:
    """Do one job on the run folder named on the command line. Exit code: 0 done, 1 a bug, 2 a mistake, 3 not alone.

    A job that computes no model (`on_device=False`) does not wait for the device.
    """
    if len(sys.argv) < 2 or not (Path(sys.argv[1]) / "run.json").is_file():
        print(f"usage: python -m pipeline.{name} FOLDER, the folder of a run", file=sys.stderr)
        return 2
    folder = Path(sys.argv[1]).resolve()
    then = sys.argv[2] if len(sys.argv) > 2 else ""
    try:
        with FileLock(folder / "lock", timeout=LOCK_SECONDS, is_singleton=False):
            code = _locked(Job(folder, name), then, on_device)
    except Timeout:
        print(f"{folder.name}: another job is working on this run.", file=sys.stderr)
        return NOT_ALONE
    if code == 0 and then and events.read(folder / "events.jsonl").jobs[name].ended == "finished":
        os.execv(sys.executable, [sys.executable, "-m", f"pipeline.{then}", str(folder)])
    return code


def _locked(job: Job, then: str, on_device: bool) -> int:
    events.mend(job.folder / "events.jsonl")
    job.begin()
    job.watch_for_cancel()
    try:
        with _device(job) if on_device else contextlib.nullcontext(True) as got:
            if not got:
                raise Stopped
            job.phase("loading libraries")
            with startup.undisturbed():
                module = importlib.import_module(f"pipeline.{job.name}")
            ending, values = module.work(job)
    except Stopped:
        job.emit("stopped", text="Stopped before anything was made; start it again when you like.", kept=False)
        return 0
    except UserError as error:
        job.emit("failed", text=str(error), mistake=not isinstance(error, Refused))
        return 2
    except Exception as error:
        traceback.print_exc()
        checkpoints.sweep(job.folder)  # on a full disk, half of one has taken the room for the next line
        job.emit("failed", text=explain(error))
        return 1
    job.emit(ending, **values, then=then)
    return 0


def _device(job: Job) -> contextlib.AbstractContextManager[bool]:
    return device.use(f"{job.name} of {job.folder.name}", lambda whom: _queued(job, whom), job.stop_asked)


def _queued(job: Job, whom: str) -> None:
    job.phase("queued", text=f"Waiting for the device: {whom}.")


def explain(error: Exception) -> str:
    """A sentence for a failure that was not foreseen."""
    text = " ".join(str(error).split())[:300]
    code = error.errno if isinstance(error, OSError) else None
    if oom.meant(error) or code == errno.ENOMEM:
        return "Out of memory; start a new run with a smaller base, memory 4-bit or a smaller max_length."
    if code in (errno.ENOSPC, errno.EDQUOT) or any(words in text.lower() for words in FULL):
        return "The disk is full; free some space and resume, nothing before the last checkpoint is lost."
    return f"{type(error).__name__}: {text} (log.txt in the run's folder has the whole story)."
