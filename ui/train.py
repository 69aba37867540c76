"""The Train tab: what is learned with which settings, and the start.

What the settings are is in settings.py, what the next run comes to in plan.py, files of settings in saved.py; how the
chosen run fares is in watch.py, its checkpoints in kept.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from pipeline.methods import METHODS
from pipeline.schema import TrainConfig
from pipeline.schema import settings as settings_of
from ui import data, forecast, form, kept, live, manage, plan, runs, saved, settings, start, strip, texts, watch

CURVE_SCRIPT = (Path(__file__).parent / "curve.js").read_text()

SAME = "(value) => value"
NONE = "() => null"
NOTHING = "() => ''"
SAY_STARTING = f"() => ({{__type__: 'update', value: '{texts.STARTING_RUN}', interactive: false}})"
GO_TO_COMPARE = "() => document.querySelector('#tab-compare-button').click()"
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
PRIVATE: dict[str, Any] = {"api_visibility": "private", **QUIET}
PLUMBING: dict[str, Any] = {"api_visibility": "undocumented", **QUIET}


@dataclass(frozen=True)
class Parts:
    """The tab's components. `model` and `fields` are the form; the rest shows the chosen run."""

    model: gr.Dropdown
    model_facts: gr.HTML
    explained: gr.HTML
    fields: dict[str, Component]
    timer: gr.Timer
    learns_from: gr.HTML
    planned: gr.HTML
    trained: gr.HTML
    checked: gr.HTML
    forecast: forecast.Parts
    preset: gr.Radio
    name: gr.Textbox
    start: gr.Button
    halt: gr.Button
    save: gr.Button
    load: gr.UploadButton
    download: gr.Textbox
    zip: gr.DownloadButton
    panel: gr.HTML
    curve: gr.HTML
    strip: gr.HTML
    stop: gr.Button
    cancel: gr.Button
    resume: gr.Button
    reuse: gr.Button
    script: gr.Button
    compare: gr.Button
    kept: kept.Parts
    manage: manage.Parts
    seen: gr.State

    @property
    def shown(self) -> list[Any]:
        """What `watch` fills, in its order."""
        drawn = {**vars(self), **self.kept.drawn}
        return [*(drawn[name] for name in watch.DRAWN), self.manage.table, self.timer, self.seen]


def draw() -> Parts:
    drawn: dict[str, Any] = {}
    with gr.Row(elem_id="train"):
        with gr.Column(scale=6, min_width=320):
            drawn |= _draw_form()
        with gr.Column(scale=5, min_width=320):
            drawn |= _draw_run()
    with gr.Accordion(texts.ALL_RUNS, open=True, elem_id="train-runs"):
        drawn["manage"] = manage.draw()
    return Parts(**drawn, timer=gr.Timer(1, active=False), seen=gr.State(None))


def _draw_form() -> dict[str, Any]:
    values = settings.preset_values(settings.FIRST_PRESET, form.FIRST_MODEL)
    learns_from = gr.HTML(elem_id="train-learns-from")
    with gr.Row(elem_id="train-what"):
        with gr.Column(min_width=280):
            model = form.models(label=texts.MODEL, info=texts.MODEL_HELP, elem_id="train-model")
            model_facts = gr.HTML(elem_id="train-model-facts", padding=False)
        with gr.Column(min_width=280):
            fields = form.draw(TrainConfig, ("method",))
            fields["method"].info = ""  # type: ignore[attr-defined]  # the chosen one's own sentence stands below
            explained = gr.HTML(settings.explained(settings.FIRST_METHOD), elem_id="train-method", padding=False)
    preset = gr.Radio(
        [(label, name) for name, label in texts.PRESETS.items()], value=settings.FIRST_PRESET, interactive=True,
        label=texts.PRESET, info=texts.PRESET_HELP, elem_id="train-preset",
    )  # fmt: skip
    with gr.Row(elem_id="train-settings"):
        fields |= _draw_fields(settings.IN_SIGHT, values)
        name = gr.Textbox(
            label=texts.RUN_NAME, info=texts.RUN_NAME_HELP, interactive=True, max_lines=1, elem_id="train-name"
        )
    with gr.Row(elem_id="train-go"):
        begin = gr.Button(texts.START, variant="primary", size="lg", scale=1, elem_id="train-start")
        with gr.Column(min_width=240, scale=2, elem_id="train-comes-to"):
            planned = gr.HTML(elem_id="train-plan", padding=False)
            verdict = forecast.draw_verdict()
            trained = gr.HTML(elem_id="train-trained", padding=False)
            checked = gr.HTML(elem_id="train-checked", padding=False)
        halt = gr.Button(texts.STOP, scale=0, min_width=90, visible=False, elem_id="train-halt")
    forecasted = forecast.draw(verdict)
    with gr.Accordion(texts.TRAIN_ADVANCED, open=False, elem_id="train-advanced"):
        fields |= _draw_advanced(set(fields), values)
    with gr.Row(elem_id="train-files"):
        save = gr.Button(texts.SAVE_SETTINGS, size="sm", elem_id="train-save")
        load = gr.UploadButton(texts.LOAD_SETTINGS, size="sm", file_types=[".json"], elem_id="train-load")
    download = gr.Textbox(show_label=False, elem_id="train-download", elem_classes="plumbing", interactive=True)
    zipped = gr.DownloadButton(elem_id="train-zip", elem_classes="plumbing")
    return {
        "learns_from": learns_from, "planned": planned, "trained": trained, "checked": checked, "forecast": forecasted,
        "model": model, "model_facts": model_facts, "explained": explained, "fields": fields, "preset": preset, "name": name, "start": begin, "halt": halt,
        "save": save, "load": load, "download": download, "zip": zipped,
    }  # fmt: skip


def _draw_fields(names: Any, values: dict[str, Any]) -> dict[str, Component]:
    """These settings; those that the first method does not look at are hidden."""
    fields = form.draw(TrainConfig, names, values)
    for name, field in fields.items():
        if name in settings.OWN:
            field.visible = name in METHODS[settings.FIRST_METHOD].uses
    return fields


def _draw_advanced(drawn: set[str], values: dict[str, Any]) -> dict[str, Component]:
    """Every other setting, under its group's heading."""
    known, fields = settings_of(TrainConfig), {}
    left = [name for name in known if name not in drawn and name not in settings.ON_DATA_TAB]
    for group in dict.fromkeys(known[name].group for name in left):
        with gr.Column(elem_classes="settings"):  # not shown where the method looks at none of them
            gr.Markdown(f"## {texts.SETTING_GROUPS[group]}")
            with gr.Row():
                fields |= _draw_fields([name for name in left if known[name].group == group], values)
    return fields


def _draw_run() -> dict[str, Any]:
    panel = gr.HTML(live.empty(), elem_id="train-run")
    with gr.Row(elem_id="train-actions"):
        compare = gr.Button(texts.NEXT_COMPARE, variant="primary", visible=False, elem_id="train-compare")
        resume = gr.Button(texts.RESUME, variant="primary", visible=False, elem_id="train-resume")
        stop = gr.Button(texts.STOP_AND_KEEP, visible=False, elem_id="train-stop")
        cancel = gr.Button(texts.CANCEL, variant="stop", visible=False, elem_id="train-cancel")
        reuse = gr.Button(texts.REUSE, visible=False, elem_id="train-reuse")
        script = gr.Button(texts.AS_SCRIPT, visible=False, elem_id="train-script")
    legend = f'<p class="run-legend"><i class="train"></i>{texts.CURVE_TRAIN}<i class="validation"></i>{texts.CURVE_VALIDATION}</p>'
    curve = gr.HTML(
        live.curve(None), html_template=f'{legend}<canvas role="img"></canvas>', js_on_load=CURVE_SCRIPT,
        elem_id="train-curve",
    )  # fmt: skip
    strip_of = gr.HTML(elem_id="train-strip", padding=False, js_on_load=strip.SCRIPT)
    return {
        "panel": panel, "curve": curve, "strip": strip_of, "stop": stop, "cancel": cancel, "resume": resume,
        "reuse": reuse, "script": script, "compare": compare, "kept": kept.draw(),
    }  # fmt: skip


def wire(parts: Parts, dataset: data.Parts, bar: runs.Bar, page: gr.Blocks) -> None:
    whole = {**parts.fields, **dataset.fields}
    _wire_form(parts)
    here = next(tab for tab in page.blocks.values() if isinstance(tab, gr.Tab) and tab.id == "train")
    _wire_model(parts, dataset, here)
    _wire_plan(parts, dataset, whole, page, here)
    _wire_start(parts, dataset, whole, bar)
    _wire_run(parts, bar)
    renamed = manage.wire(parts.manage, dataset, bar)
    renamed.success(watch.show, [bar.run], parts.shown, **PRIVATE)
    saved.wire(parts, dataset, {name: whole[name] for name in settings.FIELDS}, bar)


def _wire_form(parts: Parts) -> None:
    suited = [parts.fields[name] for name in settings.PRESET_FIELDS]
    method, rate = parts.fields["method"], parts.fields["learning_rate"]
    for source in (parts.preset.input, parts.model.change):
        source(settings.fill, [parts.preset, parts.model, method], suited, api_name="fill", **PLUMBING)
    for field in suited:
        field.input(None, None, parts.preset, js=NONE, **PRIVATE)
    gr.on([method.input, parts.model.input], settings.suit, [parts.model, method], [rate], api_name="suit", **PLUMBING)
    own = [parts.explained, *(parts.fields[name] for name in settings.OWN)]
    method.change(settings.show_method, [method], own, api_name="show_method", **PLUMBING)


def _wire_model(parts: Parts, dataset: data.Parts, here: gr.Tab) -> None:
    parts.model.input(None, parts.model, dataset.model, js=SAME, **PRIVATE)
    elsewhere = dataset.model.input(None, dataset.model, parts.model, js=SAME, **PRIVATE)
    suited = [parts.fields["learning_rate"]]
    elsewhere.then(settings.suit, [parts.model, parts.fields["method"]], suited, **PRIVATE)
    gr.on(
        [here.select, parts.model.change, dataset.fields["template"].change], plan.about_model,
        [parts.model, dataset.fields["template"]], parts.model_facts, trigger_mode="always_last",
        api_name="about_model", api_visibility="undocumented", show_progress="minimal", concurrency_limit=None,
    )  # fmt: skip


def _wire_plan(parts: Parts, dataset: data.Parts, whole: dict[str, Component], page: gr.Blocks, here: gr.Tab) -> None:
    """What the next run comes to follows every setting; the last change counts."""
    chosen = [dataset.source, dataset.system]
    told = gr.on(
        [page.load, dataset.source.change], plan.learns_from, chosen, [parts.learns_from], api_name="learns_from",
        **PLUMBING,
    )  # fmt: skip
    planning: dict[str, Any] = {
        "fn": plan.plan, "inputs": [*chosen, parts.model], "outputs": [parts.planned], "inputs_kwargs": whole,
    }  # fmt: skip
    told.then(**planning, **PRIVATE)
    changes = [here.select, parts.manage.table.change, parts.model.change, *(field.change for field in whole.values())]
    gr.on(changes, None, None, parts.checked, js=NOTHING, **PRIVATE)  # why a start was refused may be mended now
    gr.on(changes, **planning, trigger_mode="always_last", api_name="plan", **PLUMBING)
    moments = [parts.manage.table.change, parts.model.change, parts.learns_from.change, dataset.counted.change]
    forecast.wire(parts.forecast, dataset, parts.model, parts.preset, whole, here, moments, planning)
    sizes = [parts.fields[name].change for name in ("method", *settings.OWN)]
    gr.on(
        [here.select, parts.model.change, *sizes], plan.parameters, [parts.model], [parts.trained], inputs_kwargs=whole,
        trigger_mode="always_last", api_name="parameters", concurrency_limit=None, api_visibility="undocumented",
        show_progress="hidden",
    )  # fmt: skip


def _wire_start(parts: Parts, dataset: data.Parts, whole: dict[str, Component], bar: runs.Bar) -> None:
    clicked = parts.start.click(None, None, parts.start, js=SAY_STARTING, **PRIVATE)
    started = clicked.then(
        start.start, [dataset.source, dataset.system, parts.model, parts.name], [bar.run, parts.checked, parts.halt],
        inputs_kwargs=whole, api_name="train", concurrency_limit=None, trigger_mode="once", show_progress="hidden",
    )  # fmt: skip
    # a run that was started is drawn by the bar's change; one that was not leaves the button to be put back
    started.failure(watch.show, [bar.run], parts.shown, **PRIVATE)
    parts.halt.click(start.halt, None, None, api_name="halt_start", **PLUMBING)


def _wire_run(parts: Parts, bar: runs.Bar) -> None:
    bar.run.change(watch.show, [bar.run], parts.shown, api_name="show_run", **PLUMBING)
    watch.wire(parts, bar)
    clicking: dict[str, Any] = {"concurrency_limit": None, "trigger_mode": "once", "show_progress": "minimal"}
    for button, verb in ((parts.stop, watch.stop), (parts.cancel, watch.cancel), (parts.resume, watch.resume)):
        button.click(
            verb, [bar.run], parts.shown, api_name=f"{verb.__name__}_training", show_progress_on=button, **clicking
        )
    parts.kept.use.click(
        watch.use_checkpoint, [bar.run, parts.kept.step], parts.shown, api_name="use_checkpoint",
        show_progress_on=parts.kept.use, **clicking,
    )  # fmt: skip
    parts.kept.extend.click(
        watch.extend, [bar.run, parts.kept.epochs], parts.shown, api_name="extend",
        show_progress_on=parts.kept.extend, **clicking,
    )  # fmt: skip
    parts.compare.click(None, js=GO_TO_COMPARE, api_visibility="private")
