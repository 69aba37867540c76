"""What the next run comes to, before it starts: the model, its rows, steps and time, how much is trained, what can't be."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from pipeline import config, events, example, home, jobs, methods
from pipeline.errors import UserError
from pipeline.schema import Event, Model, Run, Source, TrainConfig, to_json
from pipeline.terminal import duration
from ui import access, children, errors, live, settings, texts
from ui.reading import INSPECT_SECONDS, inspect_rows, source_of

DESCRIBE_SECONDS, COUNT_SECONDS = 120.0, 600.0
BY_HEART = 10  # epochs; beyond it the same rows are learned by heart
LOOKED_AT = 20  # runs whose events are read for their pace, the newest first


class Pace(NamedTuple):
    """How fast an earlier run of the same model and method went here. `tokens` are those of one step, if they were told."""

    run: str
    seconds: float
    batch_size: int
    tokens: float | None


def seconds_per_step(told: Iterable[Event]) -> float | None:
    """Of a training's steps so far, looks at the validation rows and checkpoints among them; None before two were told.

    What was resumed counts by its own steps; the time in between does not.
    """
    seconds, steps = 0.0, 0
    before: Event | None = None
    for event in told:
        if event.job == "train" and event.kind == "started":
            before = None
        elif event.job == "train" and event.kind == "loss" and event.step is not None:
            if before and before.step is not None and event.step > before.step:
                seconds, steps = seconds + event.time - before.time, steps + event.step - before.step
            before = event
    return seconds / steps if steps else None


def pace(model: str, method: str) -> Pace | None:
    """The newest run on this machine with this model and method that has told its pace."""
    runs = [run for run in jobs.listing() if run["step"] > 1 and run["run"] != example.NAME]
    for run in runs[:LOOKED_AT]:
        folder = Path(run["folder"])
        try:
            asked = jobs.load(folder)
        except UserError:  # a damaged run tells nothing
            continue
        if (asked.model, asked.config.method) != (model, method):
            continue
        told, _ = events.since(folder / "events.jsonl", 0)
        if seconds := seconds_per_step(told):
            speeds = [event.values.get("tokens_per_second") for event in told if event.kind == "loss"]
            known = [float(speed) for speed in speeds if speed]
            tokens = seconds * sum(known) / len(known) if known else None
            return Pace(run["name"], seconds, asked.config.batch_size, tokens)
    return None


def step_seconds(before: Pace, batch_size: int, row_tokens: float | None) -> float:
    """Seconds of a step with this batch, by the tokens in it where both are known, else by its rows. Pure."""
    if row_tokens and before.tokens:
        return before.seconds * batch_size * row_tokens / before.tokens
    return before.seconds * batch_size / before.batch_size


def row_tokens(statistics: Mapping[str, Any] | None) -> float | None:
    """Tokens of an average row that a step computes: what is cut off is not among them."""
    if not statistics:
        return None
    return min(statistics["tokens"] / statistics["rows"], statistics["max_length"])


def located(model: str | None) -> str:
    """What somebody chose or typed, as a Hub id or a folder's path."""
    if not (model or "").strip():
        raise UserError(texts.NO_MODEL)
    return config.locate_model(str(model).strip(), home.home())


def named(model: str, wanted: TrainConfig) -> Model:
    """What makes tokens of the rows: the model's own, the template, and the tokens that are added."""
    return Model(
        model,
        template=wanted.template,
        new_tokens=wanted.new_tokens,
        virtual_tokens=methods.virtual_tokens(vars(wanted)),
    )


def inspected(source: Source, model: str, wanted: TrainConfig) -> dict[str, Any]:
    """The Data tab's findings for these settings; what was counted there is not counted again."""
    found: dict[str, Any] = children.READER.ask(
        "inspect", INSPECT_SECONDS, source=to_json(source), model=to_json(named(model, wanted)),
        max_length=wanted.max_length, loss_on=wanted.loss_on,
    )  # fmt: skip
    return found


@errors.shown
def learns_from(
    request: gr.Request, profile: gr.OAuthProfile | None, choice: dict[str, str] | None, system: str | None
) -> str:
    """The line that says which rows the next run learns from."""
    access.visitor(request, profile)
    try:
        file = Path(source_of(choice, system).path).name
    except UserError:
        return f'<p class="run-source none">{texts.LEARNS_FROM_NOTHING}</p>'
    return f'<p class="run-source">{escape(texts.LEARNS_FROM.format(file=file))}</p>'


@errors.shown
def about_model(request: gr.Request, profile: gr.OAuthProfile | None, model: str | None, template: str | None) -> str:
    """What the chosen model says of itself, without downloading it, or why it can't be used with this template."""
    who = access.visitor(request, profile)
    if not who.owner:
        return ""
    try:
        facts = describe(located(model), template)
    except UserError as error:
        return f'<p class="run-error" role="alert">{escape(str(error))}</p>'
    return f'<p class="quiet">{escape(model_facts(facts))}</p>'


def model_facts(facts: Mapping[str, Any]) -> str:
    """What a model's own files say of it, in a line."""
    size = facts["parameters"] and texts.PARAMETERS.format(millions=facts["parameters"] / 1e6)
    context = facts["context"] and texts.READS.format(tokens=facts["context"])
    layers = facts["layers"] and texts.LAYERS.format(n=facts["layers"])
    return " · ".join(filter(None, [size, layers, context, facts["architecture"]]))


def describe(model: str, template: str | None) -> dict[str, Any]:
    """Raises UserError when the model can't be trained, or its conversations not be made text with this template."""
    asked = Model(model, template=template or TrainConfig.template)
    facts: dict[str, Any] = children.READER.ask("describe", DESCRIBE_SECONDS, model=to_json(asked))
    return facts


@errors.shown
def plan(
    request: gr.Request,
    profile: gr.OAuthProfile | None,
    choice: dict[str, str] | None,
    system: str | None,
    model: str | None,
    **values: Any,
) -> str:
    """Rows, epochs, steps and time of the next run, or which settings can't be; nothing while the rows can't be read."""
    who = access.visitor(request, profile)
    if not who.owner:
        return ""
    try:
        wanted = settings.read(values)
    except UserError as error:
        return f'<p class="run-error" role="alert">{escape(str(error))}</p>'
    try:
        source = source_of(choice, system)
        found = inspect_rows(source)
        rows = int(found["train"])
    except UserError:  # the Data tab says why
        return ""
    try:
        check_shape(wanted, found["shape"])
    except UserError as error:
        return f'<p class="run-error" role="alert">{escape(str(error))}</p>'
    said = [
        f"<b>{escape(live.plan(rows, wanted.epochs, wanted.steps(rows)))}</b>",
        escape(_time(source, model, wanted, rows)),
    ]
    passes = min(wanted.epochs, wanted.steps(rows) * wanted.batch_size / rows)
    if passes > BY_HEART:
        said.append(f'<span class="warn">{escape(texts.BY_HEART.format(epochs=passes))}</span>')
    return f"<p>{'<br>'.join(said)}</p>"


def check_shape(wanted: TrainConfig, shape: str) -> None:
    """Raises UserError when the method can't learn from rows of this shape."""
    if shape != "text":
        methods.check_rows(wanted.method, [{"row": 1}])


def _time(source: Source, model: str | None, wanted: TrainConfig, rows: int) -> str:
    """How long the steps will take, going by an earlier run, or that nothing is known yet."""
    try:
        name = located(model)
        before = pace(name, wanted.method)
        statistics = inspected(source, name, wanted)["statistics"] if before else None
    except UserError:  # the model's own line says what is wrong with it
        return texts.TIME_UNKNOWN
    if not before:
        return texts.TIME_UNKNOWN
    seconds = wanted.steps(rows) * step_seconds(before, wanted.batch_size, row_tokens(statistics))
    return texts.TIME_KNOWN.format(time=duration(seconds), run=before.run)


def count(run: Run, stop: threading.Event) -> AsyncIterator[list[dict[str, Any]]]:
    """Every row's tokens, counted by the child for what takes long; what children.follow tells."""
    wanted = run.config
    return children.follow(
        children.COUNTER, "count", stop, source=to_json(run.source), model=to_json(named(run.model, wanted)), max_length=wanted.max_length,
        loss_on=wanted.loss_on,
    )  # fmt: skip


@errors.shown
def parameters(request: gr.Request, profile: gr.OAuthProfile | None, model: str | None, **values: Any) -> str:
    """How many of the model's parameters the next run trains, or why that can't be told yet."""
    who = access.visitor(request, profile)
    if not who.owner:
        return ""
    try:
        wanted = settings.read(values)
    except UserError:  # the plan says what can't be
        return ""
    try:
        found = _parameters(located(model), wanted)
    except UserError as error:
        return f'<p class="quiet">{escape(texts.TRAINS_UNKNOWN.format(why=error))}</p>'
    share = 100 * found["trainable"] / found["total"]
    return f'<p class="quiet">{escape(texts.TRAINS.format(**found, share=share))}</p>'


_counted: dict[str, dict[str, int]] = {}
"""What was counted before, by what was asked."""


def _parameters(model: str, wanted: TrainConfig) -> dict[str, int]:
    """{"trainable", "total"} by PEFT's own counter, on a model without weights."""
    shape = {name: getattr(wanted, name) for name in ("method", *settings.OWN)}
    asked = json.dumps([model, shape])
    if asked not in _counted:
        _counted[asked] = children.COUNTER.ask(
            "parameters", COUNT_SECONDS, model=to_json(named(model, wanted)), config=to_json(wanted)
        )
    return _counted[asked]
