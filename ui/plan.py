"""What the next run comes to, before it starts: the model, its rows and steps, how much is trained, what can't be."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline import config, earlier, home, inspection, methods
from pipeline.errors import UserError
from pipeline.schema import Model, Run, Source, TrainConfig, to_json
from ui import access, children, errors, fits, live, settings, texts
from ui.reading import INSPECT_SECONDS, inspect_rows, source_of

DESCRIBE_SECONDS, COUNT_SECONDS = 120.0, 600.0
BY_HEART = 10  # epochs; beyond it the same rows are learned by heart


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
    """Rows, epochs and steps of the next run, or which settings can't be; nothing while the rows can't be read."""
    who = access.visitor(request, profile)
    if not who.owner:
        return ""
    try:
        wanted = settings.read(values)
    except UserError as error:
        return f'<p class="run-error" role="alert">{escape(str(error))}</p>'
    try:
        found = inspect_rows(source_of(choice, system))
        rows = int(found["train"])
    except UserError:  # the Data tab says why
        return ""
    try:
        check_shape(wanted, found["shape"])
    except UserError as error:
        return f'<p class="run-error" role="alert">{escape(str(error))}</p>'
    said = [f"<b>{escape(live.plan(rows, wanted.epochs, wanted.steps(rows)))}</b>"]
    passes = min(wanted.epochs, wanted.steps(rows) * wanted.batch_size / rows)
    if passes > BY_HEART:
        said.append(f'<span class="warn">{escape(texts.BY_HEART.format(epochs=passes))}</span>')
    return f"<p>{'<br>'.join(said)}</p>"


def check_shape(wanted: TrainConfig, shape: str) -> None:
    """Raises UserError when the method can't learn from rows of this shape."""
    if shape != "text":
        methods.check_rows(wanted.method, [{"row": 1}])


def takes(source: Source | None, model: str, wanted: TrainConfig) -> str:
    """How long the steps will take, going by an earlier run here; nothing where there is none, or rows are packed."""
    before = earlier.pace(model, wanted.method)
    if not before or not source or wanted.packing:
        return ""
    try:
        found = inspected(source, model, wanted)
    except UserError:  # the Data tab says what is wrong with the rows
        return ""
    told = inspection.lengths(found)
    tokens = min(told["mean"], wanted.max_length) if told else None
    seconds = wanted.steps(int(found["train"])) * earlier.step_seconds(before, wanted.batch_size, tokens)
    return texts.TIME_KNOWN.format(time=fits.about(seconds), run=before.run)


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
