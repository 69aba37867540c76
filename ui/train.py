"""The Train tab: what is learned with which settings, and the start. How the chosen run fares is in `watch`."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from pipeline import catalogue, config, home, jobs
from pipeline.errors import UserError
from pipeline.schema import Run, Source, TrainConfig, Visitor, settings, to_json
from ui import access, children, data, errors, form, live, runs, texts, watch
from ui.reading import READ_AS, source_of

CURVE_SCRIPT = (Path(__file__).parent / "curve.js").read_text()
CREATE_SECONDS, COUNT_SECONDS, DESCRIBE_SECONDS = 600.0, 60.0, 120.0

IN_SIGHT = PRESET_FIELDS = ("epochs", "learning_rate", "batch_size", "rank", "alpha")
ON_DATA_TAB = READ_AS  # drawn where their effect is seen, in the preview
COUNTED = ("epochs", "batch_size", "max_steps")  # what the number of steps depends on
FIELDS = tuple(name for name, wish in settings(TrainConfig).items() if len(wish.choices) != 1)  # no choice, no question
# what a preset changes of the settings that suit the model
FIRST_PRESET = "balanced"
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"epochs": 1.0, "rank": 8, "alpha": 16},
    "balanced": {},
    "thorough": {"epochs": 6.0, "rank": 32, "alpha": 64},
}

SAME = "(value) => value"
NONE = "() => null"
SAY_STARTING = f"() => ({{__type__: 'update', value: '{texts.STARTING_RUN}', interactive: false}})"
GO_TO_COMPARE = "() => document.querySelector('#tab-compare-button').click()"
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden"}

_starting = threading.Lock()


@dataclass(frozen=True)
class Parts:
    """The tab's components. `model` and `fields` are the form; the rest shows the chosen run."""

    model: gr.Dropdown
    model_facts: gr.HTML
    fields: dict[str, Component]
    timer: gr.Timer
    learns_from: gr.HTML
    planned: gr.HTML
    preset: gr.Radio
    name: gr.Textbox
    start: gr.Button
    panel: gr.HTML
    curve: gr.HTML
    stop: gr.Button
    cancel: gr.Button
    resume: gr.Button
    reuse: gr.Button
    compare: gr.Button
    table: gr.HTML
    seen: gr.State

    @property
    def shown(self) -> list[Any]:
        """What `watch` fills, in its order."""
        return [*(getattr(self, name) for name in watch.DRAWN), self.table, self.timer, self.seen]


def draw() -> Parts:
    drawn: dict[str, Any] = {}
    with gr.Row(elem_id="train"):
        with gr.Column(scale=6, min_width=320):
            drawn |= _draw_form()
        with gr.Column(scale=5, min_width=320):
            drawn |= _draw_run()
    with gr.Accordion(texts.ALL_RUNS, open=True, elem_id="train-runs"):
        drawn["table"] = gr.HTML(live.table([], None), elem_id="train-table")
    return Parts(**drawn, timer=gr.Timer(1, active=False), seen=gr.State(None))


def _draw_form() -> dict[str, Any]:
    learns_from = gr.HTML(elem_id="train-learns-from")
    with gr.Row(elem_id="train-what"):
        model = form.models(label=texts.MODEL, info=texts.MODEL_HELP, elem_id="train-model", scale=3, min_width=300)
        preset = gr.Radio(
            [(label, name) for name, label in texts.PRESETS.items()], value=FIRST_PRESET, interactive=True,
            label=texts.PRESET, info=texts.PRESET_HELP, elem_id="train-preset", scale=3, min_width=330,
        )  # fmt: skip
    model_facts = gr.HTML(elem_id="train-model-facts", padding=False)
    values = preset_values(FIRST_PRESET, form.FIRST_MODEL)
    with gr.Row(elem_id="train-settings"):
        fields = form.draw(TrainConfig, IN_SIGHT, values)
        name = gr.Textbox(
            label=texts.RUN_NAME, info=texts.RUN_NAME_HELP, interactive=True, max_lines=1, elem_id="train-name"
        )
    fields |= form.draw(TrainConfig, ("memory",))
    with gr.Row(elem_id="train-go"):
        start = gr.Button(texts.START, variant="primary", size="lg", scale=1, elem_id="train-start")
        planned = gr.HTML(elem_id="train-plan")
    with gr.Accordion(texts.TRAIN_ADVANCED, open=False, elem_id="train-advanced"):
        fields |= _draw_advanced(set(fields))
    return {
        "learns_from": learns_from, "planned": planned, "model": model, "model_facts": model_facts, "fields": fields,
        "preset": preset, "name": name, "start": start,
    }  # fmt: skip


def _draw_advanced(drawn: set[str]) -> dict[str, Component]:
    """Every other setting, under its group's heading."""
    known, fields = settings(TrainConfig), {}
    for group, heading in texts.SETTING_GROUPS.items():
        names = [
            name
            for name, wish in known.items()
            if wish.group == group and name in FIELDS and name not in drawn and name not in ON_DATA_TAB
        ]
        gr.Markdown(f"## {heading}")
        with gr.Row():
            fields |= form.draw(TrainConfig, names)
    return fields


def _draw_run() -> dict[str, Any]:
    panel = gr.HTML(live.empty(), elem_id="train-run")
    with gr.Row(elem_id="train-actions"):
        compare = gr.Button(texts.NEXT_COMPARE, variant="primary", visible=False, elem_id="train-compare")
        resume = gr.Button(texts.RESUME, variant="primary", visible=False, elem_id="train-resume")
        stop = gr.Button(texts.STOP_AND_KEEP, visible=False, elem_id="train-stop")
        cancel = gr.Button(texts.CANCEL, variant="stop", visible=False, elem_id="train-cancel")
        reuse = gr.Button(texts.REUSE, visible=False, elem_id="train-reuse")
    legend = f'<p class="run-legend"><i class="train"></i>{texts.CURVE_TRAIN}<i class="validation"></i>{texts.CURVE_VALIDATION}</p>'
    curve = gr.HTML(
        live.curve(None), html_template=f'{legend}<canvas role="img"></canvas>', js_on_load=CURVE_SCRIPT,
        elem_id="train-curve",
    )  # fmt: skip
    return {
        "panel": panel, "curve": curve, "stop": stop, "cancel": cancel, "resume": resume, "reuse": reuse,
        "compare": compare,
    }  # fmt: skip


def wire(parts: Parts, dataset: data.Parts, bar: runs.Bar, page: gr.Blocks) -> None:
    _wire_form(parts, dataset, page)
    settings_drawn = {**parts.fields, **dataset.fields}
    clicked = parts.start.click(None, None, parts.start, js=SAY_STARTING, api_visibility="private", **QUIET)
    started = clicked.then(
        start, [dataset.source, dataset.system, parts.model, parts.name], [bar.run], inputs_kwargs=settings_drawn,
        api_name="train", concurrency_limit=None, trigger_mode="once", show_progress="hidden",
    )  # fmt: skip
    # a run that was started is drawn by the bar's change; one that was not leaves the button to be put back
    started.failure(watch.show, [bar.run], parts.shown, api_visibility="private", **QUIET)
    bar.run.change(watch.show, [bar.run], parts.shown, api_name="show_run", api_visibility="undocumented", **QUIET)
    parts.timer.tick(
        watch.tick, [bar.run, parts.seen], [*parts.shown, bar.run],
        api_name="tick_run", api_visibility="undocumented", **QUIET,
    )  # fmt: skip
    for button, verb in ((parts.stop, watch.stop), (parts.cancel, watch.cancel), (parts.resume, watch.resume)):
        button.click(
            verb, [bar.run], parts.shown, api_name=f"{verb.__name__}_training", concurrency_limit=None,
            trigger_mode="once", show_progress="minimal", show_progress_on=button,
        )  # fmt: skip
    parts.reuse.click(
        reuse, [bar.run], [parts.model, dataset.model, parts.preset, *(settings_drawn[name] for name in FIELDS)],
        api_name="settings_of_run", api_visibility="undocumented", show_progress="hidden", concurrency_limit=None,
    )  # fmt: skip
    parts.compare.click(None, js=GO_TO_COMPARE, api_visibility="private")


def _wire_form(parts: Parts, dataset: data.Parts, page: gr.Blocks) -> None:
    private: dict[str, Any] = {"api_visibility": "private", **QUIET}
    parts.model.input(None, parts.model, dataset.model, js=SAME, **private)
    dataset.model.input(None, dataset.model, parts.model, js=SAME, **private)
    parts.model.change(
        about_model, parts.model, parts.model_facts, trigger_mode="always_last", api_name="about_model",
        api_visibility="undocumented", show_progress="minimal", concurrency_limit=None,
    )  # fmt: skip
    suited = [parts.fields[name] for name in PRESET_FIELDS]
    for source in (parts.preset.input, parts.model.change):
        source(fill, [parts.preset, parts.model], suited, api_name="fill", api_visibility="undocumented", **QUIET)
    for field in suited:
        field.input(None, None, parts.preset, js=NONE, **private)
    chosen, plumbing = [dataset.source, dataset.system], {"api_visibility": "undocumented", **QUIET}
    told = gr.on(
        [page.load, dataset.source.change], learns_from, chosen, [parts.learns_from], api_name="learns_from", **plumbing
    )
    counted = [parts.fields[name] for name in COUNTED]
    told.then(plan, [*chosen, *counted], [parts.planned], api_visibility="private", **QUIET)
    gr.on(
        [field.change for field in counted], plan, [*chosen, *counted], [parts.planned],
        trigger_mode="always_last", api_name="plan", **plumbing,
    )  # fmt: skip


def suited_settings(model: str | None) -> dict[str, Any]:
    """The settings a model is known to learn well with, of those a preset fills in."""
    offer = catalogue.find(model or "")
    recommended = (offer and offer.recommended) or {}
    return {name: value for name, value in recommended.items() if name in PRESET_FIELDS}


def preset_values(preset: str, model: str | None) -> dict[str, Any]:
    """What a preset puts into its fields for this model."""
    usual = {name: form.default(TrainConfig, name) for name in PRESET_FIELDS}
    return {**usual, **suited_settings(model), **PRESETS[preset]}


@errors.shown
def fill(request: gr.Request, profile: gr.OAuthProfile | None, preset: str | None, model: str | None) -> Any:
    """The preset's values for the model; where settings were changed by hand, they stay."""
    access.visitor(request, profile)
    if preset not in PRESETS:
        return [gr.skip()] * len(PRESET_FIELDS)
    values = preset_values(preset, model)
    return [values[name] for name in PRESET_FIELDS]


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
def plan(
    request: gr.Request,
    profile: gr.OAuthProfile | None,
    choice: dict[str, str] | None,
    system: str | None,
    epochs: float | None,
    batch_size: float | None,
    max_steps: float | None,
) -> str:
    """How many steps the next run takes, or which number can't be; nothing while the rows can't be read."""
    who = access.visitor(request, profile)
    if not who.owner:
        return ""
    try:
        wanted = form.read(TrainConfig, COUNTED, (epochs, batch_size, max_steps))
    except UserError as error:
        return f'<p class="run-error">{escape(str(error))}</p>'
    try:
        rows = _rows(source_of(choice, system))
    except UserError:  # the Data tab says why
        return ""
    return f'<p class="quiet">{live.plan(rows, wanted.epochs, wanted.steps(rows))}</p>'


def _rows(source: Source) -> int:
    """Rows to learn from, counted without making tokens of them."""
    asked = {
        "source": to_json(source),
        "model": None,
        "max_length": TrainConfig.max_length,
        "loss_on": TrainConfig.loss_on,
    }
    return int(children.READER.ask("inspect", COUNT_SECONDS, **asked)["train"])


@errors.shown
def start(
    request: gr.Request,
    profile: gr.OAuthProfile | None,
    choice: dict[str, str] | None,
    system: str | None,
    model: str | None,
    name: str | None,
    **values: Any,
) -> Any:
    """Make a run of the form and start it; the bar at the top shows it then. One at a time."""
    who = access.visitor(request, profile, "train")
    if not _starting.acquire(blocking=False):
        raise UserError(texts.ALREADY_STARTING)
    try:
        folder = _create(who, source_of(choice, system), model, name, values)
        jobs.start(folder, "train", then=jobs.after_training(folder))
    finally:
        _starting.release()
    return runs.picker(who, folder.name)


def _create(who: Visitor, source: Source, model: str | None, name: str | None, values: dict[str, Any]) -> Path:
    wanted = form.read(TrainConfig, tuple(values), tuple(values.values()))
    chosen = located(model)
    children.READER.ask("describe", DESCRIBE_SECONDS, model={"base": chosen})
    run = Run(chosen, source, (name or "").strip() or Path(source.path).stem, wanted)
    made = children.READER.ask("create", CREATE_SECONDS, run=to_json(run), by=who.name)
    return access.run(who, made)


def located(model: str | None) -> str:
    """What somebody chose or typed, as a Hub id or a folder's path."""
    if not (model or "").strip():
        raise UserError(texts.NO_MODEL)
    return config.locate_model(str(model).strip(), home.home())


@errors.shown
def about_model(request: gr.Request, profile: gr.OAuthProfile | None, model: str | None) -> str:
    """What the chosen model says of itself, without downloading it, or why it can't be used."""
    who = access.visitor(request, profile)
    if not who.owner:
        return ""
    try:
        facts = children.READER.ask("describe", DESCRIBE_SECONDS, model={"base": located(model)})
    except UserError as error:
        return f'<p class="run-error" role="alert">{escape(str(error))}</p>'
    return f'<p class="quiet">{escape(live.model_facts(facts))}</p>'


@errors.shown
def reuse(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None) -> list[Any]:
    """The form as it was when this run was made; no preset, so that none overwrites it."""
    who = access.visitor(request, profile, "train")
    asked = jobs.load(access.run(who, run))
    model, values = config.portable_model(asked.model), to_json(asked.config)
    return [model, model, None, *(values[name] for name in FIELDS)]
