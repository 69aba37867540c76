"""The life of a run folder, seen from outside: create, start, stop, cancel, view, list. No heavy import.

Jobs are child processes started by module name; nothing here owns one. A run is alive while its lock is held.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pipeline import checkpoints, config, dataset, events, files, home, locks
from pipeline.errors import UserError
from pipeline.events import View
from pipeline.job import NOT_ALONE
from pipeline.schema import Prepared, Run, from_json, to_json

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "accelerate", "huggingface_hub")
FIRST_EVENT_SECONDS = 60.0
CANCEL_SECONDS = 3.0
LATEST = 2**33  # seconds since 1970; a later date is damage


def create(run: Run, prepared: Prepared, by: str = "owner") -> Path:
    """Make the folder of a new run, whole or not at all. Its id is never reused."""
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
        asked = {"id": name, "by": by, "created": time.time(), **_provenance(prepared)}
        files.write_json(temporary / "run.json", asked)
        (temporary / "control").mkdir()
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


def start(folder: Path, job: str, then: str = "", token: str = "") -> None:
    """Start a job and return once it has told its first event. `then` is the job its process turns into when finished.

    `token` is handed over in the child's environment only: arguments, files and logs can be read by others.
    Raises UserError when the run is being worked on, or when the child ended before its first event.
    """
    refuse_working(folder)
    for file in (folder / "control").glob("*"):
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


def alive(folder: Path) -> bool:
    """Whether a job works on this run: its lock is held. A pid would lie; the kernel frees a lock even after kill -9."""
    return locks.held(folder / "lock")


def working(folder: Path) -> bool:
    """Whether a job works on this run, or is just about to follow one that finished."""
    told, held = _at_once(folder)
    return held or told.handing_over(time.time())


def view(folder: Path) -> View:
    return events.read(folder / "events.jsonl")


def status(folder: Path) -> str:
    """running, finished, stopped, failed, interrupted or new: what the training of this run has come to."""
    return "running" if working(folder) else job_status(folder, "train")


def job_status(folder: Path, job: str) -> str:
    """The same for one job of the run; new when it was never started."""
    told, held = _at_once(folder)
    state = told.jobs.get(job)
    if state is None or state.ended:
        return state.ended if state else "new"
    if told.current != job:
        return "interrupted"
    return "running" if held else "stopped" if (folder / "control" / "cancel").exists() else "interrupted"


def _at_once(folder: Path) -> tuple[View, bool]:
    """What was told and whether the lock is held, both of one moment: nothing was told while the lock was looked at."""
    told = view(folder)
    while True:
        held, before = alive(folder), told
        told = view(folder)
        if held or told == before:
            return told, held


def phase(folder: Path) -> str:
    told = view(folder)
    state = told.jobs.get(told.current)
    return f"{told.current}: {state.phase}" if state else "starting"


def summary(folder: Path) -> dict[str, Any]:
    """The command line's object for a run, and a row of the list of runs: a damaged one has its row as well."""
    told, asked, wanted = view(folder), _readable(folder / "run.json"), _readable(folder / "config.json")
    train, current = told.jobs.get("train"), told.jobs.get(told.current)
    created = asked.get("created")
    return {
        "run": folder.name,
        "folder": str(folder),
        "name": str(wanted.get("name") or folder.name),
        "model": config.portable_model(str(wanted.get("model") or "")),
        "by": str(asked.get("by") or ""),
        "created": created if isinstance(created, int | float) and 0 <= created < LATEST else 0.0,
        "shared": shared(folder),
        "status": status(folder),
        "step": train.step if train else 0,
        "steps": train.steps if train else 0,
        "loss": told.loss,
        "validation_loss": told.validation_loss,
        "checkpoint": told.checkpoint,
        "job": told.current or None,
        "phase": current.phase if current else None,
        "text": current.text if current else "",
        "jobs": {name: job_status(folder, name) for name in told.jobs},
    }


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


def stop(folder: Path) -> None:
    """Ask the run's job to save what it has learned and end. Seen after every micro-step."""
    _control(folder, "stop")


def cancel(folder: Path) -> None:
    """End the run's job now: by asking, then SIGTERM, then SIGKILL to its group. Returns when it is gone."""
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
    """Go on where the run is: training from its newest whole checkpoint, else evaluation. Returns the job, or ''."""
    if working(folder):
        return view(folder).current
    if job_status(folder, "train") != "finished":
        start(folder, "train", then=after_training(folder))
        return "train"
    if after_training(folder) and job_status(folder, "evaluate") != "finished":
        start(folder, "evaluate")
        return "evaluate"
    return ""


def after_training(folder: Path) -> str:
    """The job that follows training: evaluation, if there are held-out rows to judge on."""
    try:
        return "evaluate" if (folder / "held_out.jsonl").stat().st_size else ""
    except FileNotFoundError as error:
        raise UserError(f"{folder.name} has no held_out.jsonl; the run's folder is damaged.") from error


def listing() -> list[dict[str, Any]]:
    """Every run, newest first."""
    folders = [f for f in home.runs().iterdir() if not f.name.startswith(".") and (f / "run.json").is_file()]
    return sorted(map(summary, folders), key=lambda run: run["created"], reverse=True)


def checkpoint_step(folder: Path) -> int:
    """The step a resumed training would go on from; 0 is from the start."""
    newest = checkpoints.newest(folder)
    return checkpoints.step(newest) if newest else 0


def log_tail(folder: Path, lines: int = 3) -> str:
    file = folder / "log.txt"
    content = file.read_text(errors="replace").strip().splitlines() if file.exists() else []
    return " / ".join(content[-lines:]) or "log.txt is empty"


def read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error  # which would name the whole path
        raise UserError(
            f"{file.parent.name}/{file.name} can't be read ({reason}); the run's folder is damaged."
        ) from error
