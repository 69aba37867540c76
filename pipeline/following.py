"""A run followed at the terminal to its end: what came of it, and the exit code. Interrupting it stops no run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import jobs, terminal


def bytes_told(folder: Path) -> int:
    """How many bytes of events there are: what is told from now on comes after them."""
    file = folder / "events.jsonl"
    return file.stat().st_size if file.exists() else 0


def finish(folder: Path, asked: Any, prepare_seconds: float, offset: int = 0) -> tuple[Any, int]:
    """Follow a run from byte `offset` of its events to its end.

    Starts the evaluation when whoever should have done it was killed in between.
    """
    terminal.follow(folder, asked.json, offset)
    if (
        jobs.status(folder) == "finished"
        and jobs.after_training(folder)
        and jobs.job_status(folder, "evaluate") == "new"
    ):
        jobs.start(folder, "evaluate")
        terminal.follow(folder, quiet=asked.json)
    result, code = outcome(folder, prepare_seconds), code_of(folder)
    if not asked.json and result["metrics"]:
        terminal.show_report(folder)
    return result, code


def outcome(folder: Path, prepare_seconds: float) -> dict[str, Any]:
    """The command line's object for a run: its summary, the seconds of each stage, its scores."""
    told = jobs.view(folder)
    seconds = {"prepare": prepare_seconds, **{name: state.seconds for name, state in told.jobs.items()}}
    report = folder / "report.json"
    metrics = jobs.read_json(report)["metrics"] if report.exists() else {}
    seconds = {stage: round(value, 2) for stage, value in seconds.items()}
    return {**jobs.summary(folder), "seconds": seconds, "metrics": metrics}


def code_of(folder: Path) -> int:
    """The exit code for how the last job of a run ended; a failure is told on standard error."""
    told = jobs.view(folder)
    last = told.jobs[told.current]
    if jobs.job_status(folder, told.current) in ("finished", "stopped"):
        return 0
    sentence = (
        last.text
        if last.ended == "failed"
        else f"the process was killed; `python -m pipeline resume {folder.name}` goes on."
    )
    print(f"{folder.name}: {told.current}: {sentence}", file=sys.stderr)
    return 2 if last.values.get("mistake") else 1


def work(asked: Any, job: str, start: Callable[[Path], None] | None = None) -> Path:
    """Start a job of the run that was asked for, and follow it to its end; the run's folder."""
    folder = jobs.find(asked.run)
    before = bytes_told(folder)
    if start:
        start(folder)
    else:
        jobs.start(folder, job)
    terminal.follow(folder, asked.json, before)
    return folder
