"""The life of a run folder, seen from outside: create, start, stop, cancel, resume, extend, adopt. No heavy import.

Jobs are child processes started by module name; nothing here owns one. Where a run stands is told by `run_folder`, whose
names are these, too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import os
import platform
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import checkpoints, config, dataset, files, home, locks, methods, oom
from pipeline.errors import UserError
from pipeline.job import NOT_ALONE
from pipeline.run_folder import (
    after_training,
    alive,
    checkpoint_step,
    find,
    job_status,
    listing,
    load,
    log_tail,
    phase,
    read_json,
    share,
    shared,
    status,
    summary,
    view,
    working,
)
from pipeline.schema import Prepared, Run, to_json

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "accelerate", "huggingface_hub")
FIRST_EVENT_SECONDS = 60.0
CANCEL_SECONDS = 3.0

__all__ = [
    "adopt", "after_training", "alive", "cancel", "checkpoint_step", "create", "environment", "extend", "find",
    "job_status", "listing", "load", "log_tail", "phase", "read_json", "refuse_working", "resume", "share", "shared",
    "start", "status", "stop", "summary", "view", "working",
]  # fmt: skip


@files.told_when_full()
def create(
    run: Run, prepared: Prepared, by: str = "owner", more: dict[str, Any] | None = None,
    fill: Callable[[Path], None] = lambda folder: None,
) -> Path:  # fmt: skip
    """Make the folder of a new run, whole or not at all. Its id is never reused.

    `more` is told in run.json, too; `fill` may put more into the folder before it is a run.
    """
    methods.check_rows(run.config.method, prepared.train + prepared.validation)
    slug = re.sub(r"[^a-z0-9]+", "-", run.name.lower()).strip("-")[:40] or "run"
    name = f"{slug}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"
    folder = home.runs() / name
    with files.whole_folder(folder) as temporary:
        dataset.write_parts(prepared, temporary)
        told = config.portable(run)
        files.write_json(
            temporary / "config.json",
            {"model": told.model, "revision": told.revision, "name": told.name, **to_json(told.config)},
        )
        files.write_json(temporary / "source.json", to_json(told.source))
        asked = {"id": name, "by": by, "created": time.time(), **_provenance(prepared), **(more or {})}
        files.write_json(temporary / "run.json", asked)
        (temporary / "control").mkdir()
        fill(temporary)
    return folder


def _provenance(prepared: Prepared) -> dict[str, Any]:
    return {
        "fingerprint": prepared.fingerprint,
        "counts": {part: len(prepared.part(part)) for part in ("train", "validation", "held_out")},
        "problems": [to_json(problem) for problem in prepared.problems],
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


@files.told_when_full()
def start(folder: Path, job: str, then: str = "", token: str = "") -> None:
    """Start a job and return once it has told its first event. `then` is the job its process turns into when finished.

    `token` is handed over in the child's environment only: arguments, files and logs can be read by others.
    Raises UserError when the run is being worked on, when the child ended before its first event, when the disk is full.
    """
    refuse_working(folder)
    locks.free(folder / "lock")
    for file in (folder / "control").glob("*"):
        if file.name != oom.ENDED:  # the job itself reads how it ended the last time
            file.unlink(missing_ok=True)
    arguments = [sys.executable, "-m", f"pipeline.{job}", str(folder), *([then] if then else [])]
    secret = {"HF_TOKEN": token} if token else {}
    with (folder / "log.txt").open("ab") as log:
        child = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**environment(), **secret},
            start_new_session=True,
        )
    threading.Thread(target=oom.see_off, args=(folder, child), daemon=True).start()
    _wait_for_first_event(folder, job, child)


def refuse_working(folder: Path) -> None:
    """Raises UserError when a job works on this run."""
    if working(folder):
        raise UserError(_busy(folder))


def _busy(folder: Path) -> str:
    return f"{folder.name} is being worked on ({phase(folder)}); wait for it or stop it first."


def _wait_for_first_event(folder: Path, job: str, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + FIRST_EVENT_SECONDS
    while time.monotonic() < deadline:
        ended = child.poll() is not None
        told = view(folder).jobs.get(job)
        if told and told.pid == child.pid:
            return
        if ended and child.returncode == NOT_ALONE:
            raise UserError(_busy(folder))
        if ended:
            files.refuse_full(folder)
            raise UserError(
                f"{folder.name}: the job ended before it began (exit {child.returncode}): {log_tail(folder)}"
            )
        time.sleep(0.02)
    child.kill()
    raise UserError(f"{folder.name}: the job gave no sign of life in {FIRST_EVENT_SECONDS:.0f} s: {log_tail(folder)}")


def environment() -> dict[str, str]:
    """What every child of ours finds in its environment (facts: passive OpenMP waits, no telemetry, one GPU)."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    ours = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    defaults = {
        "OMP_WAIT_POLICY": "passive",
        "PYTHONWARNINGS": "ignore",  # a library's warning is no last word for log.txt
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "CUDA_VISIBLE_DEVICES": "0",
    }
    return {**defaults, **os.environ, **ours}


@files.told_when_full()
def stop(folder: Path) -> None:
    """Ask the run's job to save what it has learned and end. Seen after every micro-step."""
    _control(folder, "stop")


def cancel(folder: Path) -> None:
    """End the run's job now: by asking, then SIGTERM, then SIGKILL to its group. Returns when it is gone."""
    with contextlib.suppress(OSError):  # where the disk is too full for a word, the signals speak
        _control(folder, "cancel")
    for force in (None, signal.SIGTERM, signal.SIGKILL):
        if force and alive(folder):
            told = view(folder)
            _signal_group(told.jobs[told.current].pid, force)
        deadline = time.monotonic() + CANCEL_SECONDS
        while working(folder) and time.monotonic() < deadline:
            time.sleep(0.05)


def _signal_group(pid: int, force: signal.Signals) -> None:
    """Signal a job's group, and only that: a damaged event may say 1 (every process there is), 0 or -1 (our own)."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if pid > 1 and os.getpgid(pid) == pid != os.getpgid(0):
            os.killpg(pid, force)


def _control(folder: Path, word: str) -> None:
    if not working(folder):
        raise UserError(f"{folder.name} is not running ({status(folder)}); there is nothing to {word}.")
    (folder / "control").mkdir(exist_ok=True)
    (folder / "control" / word).touch()


def resume(folder: Path) -> str:
    """Go on where the run is: training from its newest whole checkpoint, else an adoption or evaluation that was cut off.

    Returns the job, or ''.
    """
    if working(folder):
        return view(folder).current
    if job_status(folder, "train") != "finished":
        _train(folder)
        return "train"
    if job_status(folder, "adopt") == "interrupted":
        start(folder, "adopt", then=after_training(folder))
        return "adopt"
    if after_training(folder) and job_status(folder, "evaluate") != "finished":
        start(folder, "evaluate")
        return "evaluate"
    return ""


def _train(folder: Path) -> None:
    (folder / "chosen.json").unlink(missing_ok=True)  # training chooses anew which checkpoint is the adapter
    start(folder, "train", then=after_training(folder))


@files.told_when_full()
def extend(folder: Path, epochs: float) -> None:
    """Train on until `epochs` in all, from the newest whole checkpoint; a limit of steps is lifted.

    run.json keeps what was asked when, under "extended". Raises UserError where that is no more than before, and where
    somebody else's adapter was imported: its rows are not here.
    """
    refuse_working(folder)
    asked, wanted = read_json(folder / "run.json"), load(folder).config
    if asked.get("imported"):
        raise UserError(f"{folder.name} was imported: the rows it learned from are not here; train a run of its own.")
    if not epochs > wanted.epochs:
        raise UserError(
            f"epochs: {epochs:g} is not more than the {wanted.epochs:g} of this run; give the number in all."
        )
    dataclasses.replace(wanted, epochs=float(epochs), max_steps=0)  # refuses what can't be trained
    before = {name: read_json(folder / name) for name in ("config.json", "run.json")}
    extended = [*asked.get("extended", []), {"time": time.time(), "epochs": float(epochs)}]
    files.write_json(folder / "config.json", {**before["config.json"], "epochs": float(epochs), "max_steps": 0})
    files.write_json(folder / "run.json", {**asked, "extended": extended})
    try:
        _train(folder)
    except UserError:
        for name, values in before.items():
            files.write_json(folder / name, values)
        raise


@files.told_when_full()
def adopt(folder: Path, step: int) -> None:
    """Make the checkpoint of this step the run's adapter, then judge it again. Raises UserError when it is not there."""
    refuse_working(folder)
    kept = [checkpoints.step(each) for each in checkpoints.all_of(folder) if checkpoints.is_whole(each)]
    if step not in kept:
        there = ", ".join(map(str, kept)) or "none"
        raise UserError(f"{folder.name} has no whole checkpoint of step {step}; there are: {there}.")
    files.write_json(folder / "chosen.json", {"step": step})
    start(folder, "adopt", then=after_training(folder))
