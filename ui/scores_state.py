"""Where the measuring of a run stands: read from its folder, told as a sentence, a bar, and what can be done now."""

from __future__ import annotations

import functools
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import jobs
from pipeline.errors import UserError
from pipeline.events import JobView
from pipeline.terminal import duration
from ui import texts

CUT_OFF = {"stopped": texts.SCORES_STOPPED, "interrupted": texts.SCORES_CUT_OFF}


class Standing(NamedTuple):
    """Where the measuring of a run stands. `able` is whether it could be measured now; `button` is what that is called."""

    sentence: str = ""
    level: str = "plain"  # plain, doing or bad
    done: int = 0
    of: int = 0
    able: bool = False
    button: str = texts.MEASURE_NOW
    measuring: bool = False
    working: bool = False
    stopping: bool = False


def standing(folder: Path, measured: bool) -> Standing:
    """What the run's folder says; `measured` is whether it has a report."""
    run, told = jobs.summary(folder), jobs.view(folder)
    job, state = told.jobs.get("evaluate", JobView()), run["jobs"].get("evaluate", "new")
    named = {"run": run["name"], "status": texts.RUN_STATES.get(run["status"], run["status"])}
    if run["status"] == "running":
        if told.current != "evaluate":
            doing = texts.RUN_PHASES.get(str(run["phase"]), str(run["phase"]))
            return Standing(texts.SCORES_TRAINING.format(run=run["name"], phase=doing), "doing", working=True)
        done, of = (job.step, job.steps) if job.steps else (job.done, job.of)
        stopping = (folder / "control" / "stop").exists()
        return Standing(doing_now(job, done, of), "doing", done, of, False, "", True, True, stopping)
    if not (folder / "adapter").is_dir():
        return Standing(texts.SCORES_NOTHING_LEARNED.format(**named))
    if not (folder / "held_out.jsonl").is_file() or not jobs.after_training(folder):
        return Standing("" if measured else texts.SCORES_NO_ROWS.format(**named))
    if state == "failed":
        return Standing(texts.SCORES_FAILED.format(text=job.text), "bad", able=True, button=texts.MEASURE_AGAIN)
    if state in CUT_OFF:
        return Standing(CUT_OFF[state], able=True, button=texts.MEASURE_ON)
    if measured:
        return Standing(able=True, button=texts.MEASURE_AGAIN)
    return Standing(texts.SCORES_NOT_YET.format(**named), able=True)


def doing_now(job: JobView, done: int, of: int) -> str:
    """What the measuring is at, how far, and how long it will take."""
    bits = [
        texts.SCORES_MEASURING.format(
            phase=texts.SCORES_PHASES.get(job.phase) or texts.RUN_PHASES.get(job.phase, job.phase)
        )
    ]
    if job.phase == "queued" and job.text:
        bits.append(job.text)
    if of:
        bits.append(texts.SCORES_DONE_OF.format(done=done, of=of))
    left = job.values.get("eta_seconds")
    if of and isinstance(left, int | float) and 0 <= left < 1e7:
        bits.append(texts.SCORES_LEFT.format(time=duration(left)))
    return " · ".join(bits)


def state(found: Standing) -> str:
    """Where it stands; a bar while something is measured."""
    if not found.sentence:
        return ""
    name, role = {"bad": ("failed", ' role="alert"'), "doing": ("run-doing", "")}.get(found.level, ("", ""))
    bar = ""
    if found.measuring and found.of:
        share = min(100.0, 100 * found.done / found.of)
        bar = (
            f'<div class="run-bar" role="progressbar" aria-label="{escape(texts.SCORES_BAR)}" aria-valuemin="0" '
            f'aria-valuemax="{found.of}" aria-valuenow="{found.done}"><i style="width:{share:.1f}%"></i></div>'
        )
    return f'<p class="{name}"{role}>{escape(found.sentence)}</p>{bar}'


def report_of(folder: Path) -> dict[str, Any] | None:
    """The run's report, read again when it was written again. Raises UserError when it is damaged."""
    file = folder / "report.json"
    if not file.exists():
        return None
    stamp = file.stat()
    return _read(file, stamp.st_mtime_ns, stamp.st_size, stamp.st_ino)


def report_and_damage(folder: Path) -> tuple[dict[str, Any] | None, str]:
    """The report, None where there is none; and where it is damaged the sentence that says so, otherwise ""."""
    try:
        return report_of(folder), ""
    except UserError as error:
        return None, str(error)


@functools.lru_cache(maxsize=2)
def _read(file: Path, *stamp: int) -> dict[str, Any]:
    try:
        found = jobs.read_json(file)
    except UserError as error:
        raise UserError(texts.REPORT_DAMAGED.format(text=error)) from error
    if not (isinstance(found, dict) and isinstance(found.get("metrics"), dict)):
        raise UserError(texts.NOT_A_REPORT.format(run=file.parent.name))
    return found
