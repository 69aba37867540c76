"""What a run's folder tells, as the Train tab shows it: facts and scores in HTML, the points of the curve.

`look` reads the folder; everything else is pure. Every text that comes from a run is escaped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from pipeline import fit, jobs, machines
from pipeline.curves import packed, thin
from pipeline.events import JobView, View
from pipeline.methods import METHODS
from pipeline.schema import TrainConfig
from pipeline.terminal import LOWER_IS_BETTER, duration
from ui import fits, kept, texts

STEPPED = ("training", "answering", "uploading")  # phases told in steps from their first one on
POINTS = 600  # of a curve, as many as a canvas of that many pixels can show
NOTES_SHOWN = 5
LOG_BYTES = 8192  # of the log's end, where its last line is looked for
SHOWN_SCORES = ("exact_match", "rougeL", "loss")
SHARE_THAT_TELLS = 0.05  # below it on both sides, "exactly right" says little about free text
PLACE = re.compile(r"^\S+\.py:\d+: ")  # where in a library a warning was raised
CHIPS = {"finished": "good", "failed": "bad", "stopped": "warn", "interrupted": "warn"}


@dataclass(frozen=True)
class Picture:
    """A run at one moment. `resume_from` is the step it would go on from; `log` is the last line of its log, `fit` its fit.json."""

    run: dict[str, Any]
    told: View
    rows: int
    config: TrainConfig
    report: dict[str, Any] | None
    resume_from: int
    resumable: bool
    stopping: bool
    adapter: bool
    imported: bool
    checkpoints: list[kept.Checkpoint]
    log: str
    fit: Mapping[str, Any] | None = None

    @property
    def working(self) -> bool:
        return self.run["status"] == "running"

    @property
    def train(self) -> JobView:
        return self.told.jobs.get("train", JobView())


def look(folder: Path) -> Picture:
    """The run as its folder is now. Raises UserError when the folder is damaged."""
    run, told = jobs.summary(folder), jobs.view(folder)
    judged = not jobs.after_training(folder) or run["jobs"].get("evaluate") == "finished"
    asked = jobs.read_json(folder / "run.json")
    counts = asked.get("counts")
    report = folder / "report.json"
    return Picture(
        run,
        told,
        rows=counts.get("train", 0) if isinstance(counts, dict) else 0,
        config=jobs.load(folder).config,
        report=jobs.read_json(report) if report.exists() else None,
        resume_from=jobs.checkpoint_step(folder),
        resumable=run["status"] != "running" and not (run["status"] == "finished" and judged),
        stopping=(folder / "control" / "stop").exists(),
        adapter=(folder / "adapter").is_dir(),
        imported=bool(asked.get("imported")),
        checkpoints=kept.kept(folder, told, used_step(told)),
        log=last_line(folder / "log.txt"),
        fit=fit.read(folder),
    )


def used_step(told: View) -> int | None:
    """The step whose weights are the adapter, if the events tell it."""
    adopted = told.jobs.get("adopt", JobView())
    trained = told.jobs.get("train", JobView()).values
    if adopted.ended == "finished":
        return adopted.values.get("adopted")
    return trained.get("kept_step", trained.get("last_step"))


def last_line(file: Path) -> str:
    """The newest line of a log that says something: Python puts a line of source, indented, under every warning."""
    if not file.exists():
        return ""
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - LOG_BYTES))
        lines = stream.read().decode(errors="replace").splitlines()
    said = next((line for line in reversed(lines) if line.strip() and not line[0].isspace()), "")
    return PLACE.sub("", said)


def panel(seen: Picture, now: float, owner: bool) -> str:
    """Everything of the run but its curve. A guest is not shown the log: it may name places of this machine."""
    parts = [_head(seen), _doing(seen, now) if seen.working else _outcome(seen), _facts(seen)]
    parts += [fits.measured(seen.fit), _notes(seen.told)]
    if owner and seen.log and seen.run["status"] != "finished":
        parts.append(f'<p class="run-log">{escape(texts.LAST_LOG_LINE.format(line=seen.log[:300]))}</p>')
    return f'<section class="run-panel">{"".join(parts)}</section>'


def empty() -> str:
    return f'<section class="run-panel"><h2>{texts.NOTHING_TRAINED}</h2><p>{texts.NOTHING_TRAINED_HELP}</p></section>'


def damaged(sentence: str) -> str:
    return f'<section class="run-panel"><p class="run-error">{escape(texts.RUN_DAMAGED.format(text=sentence))}</p></section>'


def plan(rows: int, epochs: float, steps: int) -> str:
    """How much is learned: "423 rows, 3 epochs = 159 steps"; the steps are left out while they are unknown."""
    wording = texts.RUN_PLAN if steps else texts.RUN_PLAN_SHORT
    return wording.format(rows=rows, epochs=texts.EPOCHS[epochs == 1].format(epochs=epochs), steps=steps)


def short_model(model: str | None) -> str:
    """A folder by its name, a Hub id as it is."""
    return Path(model).name if model and model.startswith("/") else model or ""


def _head(seen: Picture) -> str:
    learned = texts.IMPORTED if seen.imported else plan(seen.rows, seen.config.epochs, seen.train.steps)
    line = f"{short_model(seen.run['model'])} · {METHODS[seen.config.method].label} · {learned}"
    return f"<h2>{escape(seen.run['name'])} {chip(seen.run['status'])}</h2><p class='quiet'>{escape(line)}</p>"


def chip(status: str) -> str:
    return f'<span class="chip {CHIPS.get(status, "plain")}">{texts.RUN_STATES.get(status, status)}</span>'


def _doing(seen: Picture, now: float) -> str:
    """What it does right now, and how far it is."""
    job = seen.told.jobs.get(seen.told.current, JobView())
    if job.ended:
        return f'<p class="run-doing">{texts.HANDING_OVER}</p>{_bar(0, 0, texts.BAR_ROWS)}'
    said = texts.RUN_PHASES.get(job.phase) or texts.RUN_JOBS.get(seen.told.current, "") + job.phase
    if job.phase == "saving" and 0 < job.step < job.steps:
        said = texts.SAVING_CHECKPOINT
    bits = [said if job.phase != "queued" or not job.text else f"{said}. {job.text}"]
    begun = job.steps > 0 and (
        job.step > 0 or job.phase in STEPPED
    )  # a training that looks or saves is as far as it was
    if job.of:
        bits.append(texts.DONE_OF.format(done=job.done, of=job.of))
    if begun:
        wording = texts.ROW_OF if job.phase == "answering" else texts.STEP_OF
        bits.append(wording.format(step=job.step, steps=job.steps))
    left = job.values.get("eta_seconds")
    if seen.told.current == "train" and begun and left is not None and job.step:
        bits.append(texts.TIME_LEFT.format(time=duration(max(0.0, left - (now - seen.told.last_time)))))
    elif not begun:
        bits.append(texts.TIME_SO_FAR.format(time=duration(max(0.0, now - seen.told.last_time))))
    bar = _bar(job.step, job.steps, texts.CURVE_X) if begun else _bar(job.done, job.of, texts.BAR_ROWS)
    return f'<p class="run-doing">{escape(" · ".join(bits))}</p>{bar}'


def _bar(step: int, steps: int, counted: str) -> str:
    """A progress bar; without a known end it says only that something goes on."""
    if not steps:
        return f'<div class="run-bar" role="progressbar" aria-label="{counted}"><i class="unknown"></i></div>'
    share = min(100.0, 100 * step / steps)
    return (
        f'<div class="run-bar" role="progressbar" aria-label="{counted}" aria-valuemin="0" '
        f'aria-valuemax="{steps}" aria-valuenow="{step}"><i style="width:{share:.1f}%"></i></div>'
    )


def _outcome(seen: Picture) -> str:
    """What came of it, and what to do."""
    status, train = seen.run["status"], seen.train
    where = {"step": train.step, "steps": train.steps, "point": seen.resume_from}
    begun = train.steps > 0
    wordings = (texts.STOPPED_AT, texts.INTERRUPTED_AT) if begun else (texts.STOPPED_EARLY, texts.INTERRUPTED_EARLY)
    if status == "failed":
        return f'<p class="run-error" role="alert">{escape(train.text)}</p><p class="quiet">{texts.FAILED_HELP}</p>'
    if status == "interrupted" and seen.run["out_of_memory"]:
        return f'<p class="run-warning">{escape(seen.run["text"])}</p>'
    if status == "interrupted":
        return f'<p class="run-warning">{wordings[1].format(**where)}</p>'
    if status == "stopped":
        text = texts.STOPPED_KEPT if train.values.get("kept") else train.text
        return f'<p class="run-warning">{escape(wordings[0].format(**where, text=text))}</p>'
    if status == "new":
        return f"<p>{texts.NOT_STARTED}</p>"
    return verdict(seen.report) if seen.report else _not_judged(seen)


def _not_judged(seen: Picture) -> str:
    state, told = seen.run["jobs"].get("evaluate"), seen.told.jobs.get("evaluate", JobView())
    if state == "failed":
        return f'<p class="run-error" role="alert">{escape(texts.JUDGING_FAILED.format(text=told.text))}</p>'
    sentence = {"interrupted": texts.INTERRUPTED_JUDGING, "stopped": texts.JUDGING_STOPPED}.get(str(state))
    fallback = texts.INTERRUPTED_JUDGING if seen.resumable else texts.NOT_JUDGED
    return f'<p class="run-warning">{sentence or fallback}</p>'


def verdict(report: Mapping[str, Any]) -> str:
    """The conclusion, and the scores that say most."""
    scores = {name: score for name in SHOWN_SCORES if (score := report["metrics"].get(name))}
    exact = scores.get("exact_match")
    if exact and max(exact["base"], exact["tuned"]) < SHARE_THAT_TELLS:
        del scores["exact_match"]
    facts = "".join(_score(name, score) for name, score in scores.items())
    said = f'<p class="quiet">{texts.SCORES_SAID}</p>' if facts else ""
    kind, sentence = conclusion(report)
    return f'<p class="run-verdict {kind}">{escape(sentence)}</p><ul class="facts">{facts}</ul>{said}'


def conclusion(report: Mapping[str, Any]) -> tuple[str, str]:
    """(good, bad or plain, a sentence) from all measures whose interval leaves zero out; they may disagree."""
    found: dict[str, list[str]] = {"good": [], "bad": []}
    for name, score in report["metrics"].items():
        low, high = (-score["high"], -score["low"]) if name in LOWER_IS_BETTER else (score["low"], score["high"])
        if low > 0 or high < 0:
            found["good" if low > 0 else "bad"].append(texts.SHORT_METRICS.get(name, name))
    better, worse = (", ".join(dict.fromkeys(names)) for names in found.values())
    if better and worse:
        return "plain", texts.IS_MIXED.format(n=report["n"], better=better, worse=worse)
    if better or worse:
        wording = texts.IS_BETTER if better else texts.IS_WORSE
        return "good" if better else "bad", wording.format(n=report["n"], measures=better or worse)
    return "plain", texts.IS_UNDECIDED.format(n=report["n"])


def _score(name: str, score: dict[str, float]) -> str:
    base, tuned, difference, low, high = (score[part] for part in ("base", "tuned", "difference", "low", "high"))
    shown = "{:.3f}" if name in LOWER_IS_BETTER else "{:.0%}"
    signed = "{:+.3f}" if name in LOWER_IS_BETTER else "{:+.0%}"
    value = texts.SCORE.format(base=shown.format(base), tuned=shown.format(tuned))
    bounds = {"difference": signed.format(difference), "low": signed.format(low), "high": signed.format(high)}
    return _fact(value, texts.SCORE_NAMES[name], texts.SCORE_CHANGE.format(**bounds))


def _facts(seen: Picture) -> str:
    values, found = seen.train.values, []
    if seen.told.loss is not None:
        found.append(_fact(f"{seen.told.loss:.3f}", texts.FACT_LOSS))
    validation = values.get("validation_loss", seen.told.validation_loss)  # of what is kept, once that is decided
    if _is_number(validation):
        found.append(_fact(f"{validation:.3f}", texts.FACT_VALIDATION))
    if seen.working:
        figures = (("learning_rate", texts.FACT_RATE), ("grad_norm", texts.FACT_GRADIENT))
        found += [_fact(f"{values[name]:.3g}", wording) for name, wording in figures if _is_number(values.get(name))]
    if not seen.working and seen.run["status"] == "finished" and not seen.imported:
        found.append(_fact(duration(seen.train.seconds), texts.FACT_TIME))
    elif values.get("tokens_per_second"):
        found.append(_fact(f"{values['tokens_per_second']:,.0f}", texts.FACT_SPEED))
    for name, wording in (("memory_bytes", texts.FACT_MEMORY), ("gpu_bytes", texts.FACT_GPU)):
        if values.get(name):
            found.append(_fact(machines.in_words(values[name]), wording))
    return f'<ul class="facts">{"".join(found)}</ul>' if found else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _fact(value: str, *meaning: str) -> str:
    return f"<li><b>{escape(value)}</b>{''.join(f'<span>{escape(line)}</span>' for line in meaning)}</li>"


def _notes(told: View) -> str:
    """The newest warnings and notes, each once: a resumed job says the same again."""
    warnings = list(dict.fromkeys(told.warnings))[-NOTES_SHOWN:]
    notes = [note for note in dict.fromkeys(told.notes) if note not in told.warnings][-NOTES_SHOWN:]
    warned = "".join(f'<p class="run-warning">{escape(warning)}</p>' for warning in warnings)
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return warned + (f'<ul class="run-notes" aria-label="{texts.NOTES}">{items}</ul>' if notes else "")


def curve(told: View | None, imported: bool = False) -> dict[str, Any]:
    """What the canvas draws: both curves thinned, the whole run's steps as its width, and the same in words."""
    train = [point for point in (told.curve if told else ()) if math.isfinite(point[1])]
    validation = [point for point in (told.validation_curve if told else ()) if math.isfinite(point[1])]
    job = told.jobs.get("train", JobView()) if told else JobView()
    said = [
        texts.CURVE_LAST.format(name=name, step=points[-1][0], loss=points[-1][1])
        for name, points in ((texts.CURVE_TRAIN, train), (texts.CURVE_VALIDATION, validation))
        if points
    ]
    return {
        "train": packed(thin(train, POINTS)),
        "validation": packed(thin(validation, POINTS)),
        "steps": job.steps,
        "x": texts.CURVE_X,
        "y": texts.CURVE_Y,
        "said": texts.CURVE_SAID + "".join(said) if said else texts.CURVE_IMPORTED if imported else texts.CURVE_EMPTY,
    }
