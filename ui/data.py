"""The Data tab: choose rows, see what they are and what is wrong, and exactly which tokens of each will be learned.

What happens on it is in rows.py, what the columns mean in columns.py, a dataset on the Hub in hub_choice.py, what the base
says to a row in ask_base.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from pipeline.schema import Source, TrainConfig
from ui import ask_base, columns, form, hub_choice, pictures, preview, rows, texts
from ui.reading import ADDS, READ_AS

FIRST = {"example": "tiny-yoda"}
MOST_ROWS = 10_000_000

# a click on a row's number writes it into the number field, as if somebody had typed it
JUMP = """element.addEventListener('click', (event) => {
  const link = event.target.closest('[data-row]'), field = document.querySelector('#data-row input[type=number]');
  if (!link || !field) return;
  event.preventDefault();
  field.value = link.dataset.row;
  field.dispatchEvent(new Event('input', {bubbles: true}));
  document.querySelector('#data-shown').scrollIntoView({block: 'center'});
});"""
READING: dict[str, Any] = {"show_progress": "hidden", "concurrency_id": "reader", "concurrency_limit": 1}
GO_ON = "() => { document.querySelector('#tab-train-button').click(); window.scrollTo(0, 0); }"


@dataclass(frozen=True)
class Parts:
    """What the other tabs use of it: `source` is what the next run learns from, see reading.source_of."""

    source: gr.BrowserState
    model: gr.Dropdown
    system: gr.Textbox
    fields: dict[str, Component]
    adds: tuple[Component, ...]
    templates: gr.Radio
    example: gr.Radio
    file: gr.File
    typed: gr.Dataframe
    use_typed: gr.Button
    hub: hub_choice.Parts
    roles: gr.Textbox
    roles_said: gr.Button
    patterns: dict[str, gr.Textbox]
    decision: gr.Textbox
    decided: gr.Button
    refused: gr.HTML
    correct: gr.Accordion
    table: gr.HTML
    first: gr.HTML
    summary: gr.HTML
    counted: gr.HTML
    suggested: gr.Button
    scan: gr.Button
    scanned: gr.HTML
    row: gr.Slider
    at: gr.State
    previous: gr.Button
    following: gr.Button
    problem: gr.Button
    words: gr.Textbox
    view: gr.Radio
    spaces: gr.Checkbox
    shown: gr.HTML
    ask: gr.Button
    stop: gr.Button
    doing: gr.HTML
    answer: gr.HTML
    go_on: gr.Button


def draw() -> Parts:
    source = gr.BrowserState(FIRST, storage_key="tuning-fork-data", secret="tuning-fork", render=False)
    with gr.Row():
        with gr.Column(scale=2, min_width=340):
            choosing = _draw_choice()
            go_on = gr.Button(texts.NEXT_TRAIN, variant="primary", elem_id="data-next")
        with gr.Column(scale=4, min_width=340):
            refused = gr.HTML(elem_id="data-refused")
            summary = gr.HTML(
                f'<p class="quiet">{texts.READING}</p>', elem_id="data-summary",
                js_on_load=JUMP + pictures.SUGGEST + pictures.STAY_OPEN,
            )  # fmt: skip
            suggested = gr.Button(elem_id="data-suggested", elem_classes="plumbing")
            counted = gr.HTML(elem_id="data-counted")
            with gr.Row(elem_id="data-scanning"):
                scan = gr.Button(texts.SCAN, size="sm", scale=0, min_width=300, elem_id="data-scan")
                gr.HTML(preview.note(texts.SCAN_HELP), min_width=260, elem_id="data-scan-help")
            scanned = gr.HTML(elem_id="data-scanned", js_on_load=JUMP)
            decision = gr.Textbox(show_label=False, elem_id="data-decision", elem_classes="plumbing", interactive=True)
            decided = gr.Button(elem_id="data-decision-said", elem_classes="plumbing")
            correcting = _draw_columns()
            walking = _draw_row()
    return Parts(
        adds=(), source=source, refused=refused, summary=summary, counted=counted, suggested=suggested, scan=scan, scanned=scanned,
        decision=decision, decided=decided, go_on=go_on,
        **choosing, **correcting, **walking,
    )  # fmt: skip


def _draw_choice() -> dict[str, Any]:
    example = gr.Radio(
        [(words, name) for name, words in texts.EXAMPLES.items()], value=FIRST["example"], interactive=True,
        label=texts.EXAMPLES_LABEL, elem_id="data-example",
    )  # fmt: skip
    file = gr.File(label=texts.UPLOAD, height=84, file_count="multiple", interactive=True, elem_id="data-file")
    with gr.Accordion(texts.TYPE_ROWS, open=False, elem_id="data-type"):
        typed = gr.Dataframe(
            value=[["", ""] for _ in range(3)], headers=list(texts.TYPED_HEADS), type="array", column_count=2, interactive=True, wrap=True,
            label=texts.TYPED_LABEL, elem_id="data-typed",
        )  # fmt: skip
        use_typed = gr.Button(texts.USE_ROWS, size="sm", elem_id="data-use-typed")
    hub = hub_choice.draw()
    with gr.Accordion(texts.READ_AS, open=False, elem_id="data-read-as"):
        model = form.models(label=texts.DATA_MODEL, info=texts.DATA_MODEL_HELP, elem_id="data-model")
        templates = gr.Radio(
            list(texts.TEMPLATES.items()), value="own", interactive=True, label=texts.TEMPLATE_CHOICE,
            info=texts.TEMPLATE_CHOICE_HELP, elem_id="data-templates",
        )  # fmt: skip
        fields = form.draw(TrainConfig, ("template",))
        fields["template"].lines, fields["template"].max_lines = 2, 12  # type: ignore[attr-defined]  # room to paste one
        system = form.draw(Source, ("system",))["system"]
        fields |= form.draw(TrainConfig, [name for name in READ_AS if name != "template"])
    return {
        "example": example, "file": file, "typed": typed, "use_typed": use_typed, "hub": hub, "model": model,
        "templates": templates, "system": system, "fields": {name: fields[name] for name in READ_AS},
    }  # fmt: skip


def _draw_columns() -> dict[str, Any]:
    with gr.Accordion(texts.CORRECT, open=False, elem_id="data-columns") as correct:
        table = gr.HTML(elem_id="data-table")
        roles = gr.Textbox(show_label=False, elem_id="data-roles", elem_classes="plumbing", interactive=True)
        roles_said = gr.Button(elem_id="data-roles-said", elem_classes="plumbing")
        with gr.Row():
            patterns = {
                role: gr.Textbox(
                    label=texts.PATTERN_LABELS[role], info=texts.PATTERN_HELP[role], interactive=True,
                    elem_id=f"data-pattern-{role}",
                )
                for role in columns.PATTERNS
            }  # fmt: skip
        first = gr.HTML(elem_id="data-first")
    return {
        "correct": correct, "table": table, "roles": roles, "roles_said": roles_said, "patterns": patterns, "first": first,
    }  # fmt: skip


def _draw_row() -> dict[str, Any]:
    with gr.Row(elem_id="data-walk"):
        row = gr.Slider(
            0, MOST_ROWS, value=0, step=1, label=texts.ROW, interactive=True, min_width=220, scale=2, elem_id="data-row"
        )
        previous = gr.Button(texts.PREVIOUS, size="sm", min_width=90, scale=0, elem_id="data-previous")
        following = gr.Button(texts.NEXT, size="sm", min_width=70, scale=0, elem_id="data-following")
        problem = gr.Button(
            texts.NEXT_PROBLEM, size="sm", min_width=150, scale=0, visible=False, elem_id="data-problem"
        )
        words = gr.Textbox(
            label=texts.FIND, placeholder=texts.FIND_HINT, max_lines=1, interactive=True, min_width=160, scale=1,
            elem_id="data-find",
        )  # fmt: skip
    with gr.Row(elem_id="data-views"):
        view = gr.Radio(
            list(texts.VIEWS.items()), value="text", show_label=False, container=False, interactive=True, min_width=220,
            scale=0, elem_id="data-view",
        )  # fmt: skip
        spaces = gr.Checkbox(label=texts.SPACES, container=False, interactive=True, scale=0, elem_id="data-spaces")
    shown = gr.HTML(f'<p class="quiet">{texts.READING}</p>', elem_id="data-shown")
    with gr.Row(elem_id="data-asking"):
        ask = gr.Button(texts.ASK_BASE, size="sm", scale=0, min_width=240, elem_id="data-ask")
        stop = gr.Button(
            texts.STOP, size="sm", scale=0, min_width=100, variant="stop", visible=False, elem_id="data-stop"
        )
        doing = gr.HTML(preview.note(texts.ASK_BASE_HELP), min_width=260, elem_id="data-doing")
    answer = gr.HTML(elem_id="data-answer")
    return {
        "row": row, "at": gr.State(0), "previous": previous, "following": following, "problem": problem, "words": words, "view": view,
        "spaces": spaces, "shown": shown, "ask": ask, "stop": stop, "doing": doing, "answer": answer,
    }  # fmt: skip


def wire(parts: Parts, training: Mapping[str, Component]) -> Parts:
    """The parts with those of the Train tab's settings that add tokens: what is shown is what its method trains on."""
    parts = dataclasses.replace(parts, adds=tuple(training[name] for name in ADDS))
    parts.source.render()  # out here: what is inside a tab nobody has opened yet remembers nothing
    _wire_choice(parts)
    _wire_walk(parts)
    _wire_asking(parts)
    parts.go_on.click(None, js=GO_ON, queue=False, api_visibility="private")
    parts.templates.input(
        None, parts.templates, parts.fields["template"], js="name => name", queue=False, api_visibility="private"
    )
    return parts


def _asked(parts: Parts) -> list[Component]:
    """What decides how rows are read, in the order of the handlers' arguments."""
    return [parts.source, parts.model, parts.system, *(parts.fields[name] for name in READ_AS), *parts.adds]


def looking(parts: Parts) -> dict[str, Any]:
    """The event that looks at what is chosen. The last wish counts: one that comes while the page looks is looked at next."""
    inputs = [parts.at, parts.row, parts.view, parts.spaces, *_asked(parts)]
    outputs = [
        parts.example, parts.summary, parts.table, parts.first, parts.row, parts.shown, parts.problem, parts.answer,
        parts.at,
    ]  # fmt: skip
    return {"fn": rows.look, "inputs": inputs, "outputs": outputs, "trigger_mode": "always_last", **READING}


def counting(parts: Parts) -> dict[str, Any]:
    """The event that counts every row, where a look only drew some."""
    outputs = [parts.counted, parts.summary]
    return {
        "fn": rows.count, "inputs": _asked(parts), "outputs": outputs, "show_progress": "hidden", "concurrency_limit": None,
    }  # fmt: skip


def _wire_choice(parts: Parts) -> None:
    look, count = looking(parts), counting(parts)
    opened = gr.on(None, None, js=columns.TELL, queue=False, api_visibility="private")
    looked = opened.then(**look, api_name="data_look", api_visibility="undocumented")
    looked.then(**count, api_name="data_count", api_visibility="undocumented")
    chosen = [parts.source, parts.row, parts.refused]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "undocumented"}
    picked = parts.example.input(rows.pick, [parts.example], chosen, queue=False, api_name="data_pick", **quiet)
    taken = parts.file.upload(
        rows.take, [parts.file], [*chosen, parts.file, parts.correct], show_progress="minimal",
        api_name="data_upload", api_visibility="public", concurrency_id="reader", concurrency_limit=1,
    )  # fmt: skip
    typed = parts.use_typed.click(rows.use_typed, [parts.typed], chosen, api_name="data_type", **quiet)
    written = list(parts.patterns.values())
    assigned = gr.on(
        [parts.roles_said.click, *(pattern.blur for pattern in written), *(pattern.submit for pattern in written)],
        rows.assign, [parts.source, parts.roles, *written], [parts.source, parts.refused], api_name="data_assign",
        trigger_mode="always_last", **quiet,
    )  # fmt: skip
    decided = parts.decided.click(
        rows.decide, [parts.source, parts.decision], [parts.source], api_name="data_decide", trigger_mode="always_last",
        **quiet,
    )  # fmt: skip
    fetched = hub_choice.wire(parts.hub, [*chosen, parts.correct])
    for event in (picked, taken, typed, fetched, assigned, decided):
        event.success(**look, api_visibility="private").then(**count, api_visibility="private")
    texts_changed = (parts.system, parts.fields["max_length"], parts.fields["template"])
    changed = [
        parts.model.change, parts.fields["loss_on"].change, parts.templates.input, *(part.change for part in parts.adds[:1]),
        *(event for part in parts.adds[1:] for event in (part.blur, part.submit)),
        *(field.blur for field in texts_changed), *(field.submit for field in texts_changed),
    ]  # fmt: skip
    suggested = parts.suggested.click(
        None, None, parts.fields["max_length"], js=pictures.SUGGESTED, queue=False, api_visibility="private"
    )
    for looked in (
        gr.on(changed, **look, api_visibility="private"),
        suggested.then(**look, api_visibility="private"),
    ):
        looked.then(**count, api_visibility="private")
    parts.scan.click(
        rows.scan, [parts.source, parts.system], [parts.scanned], show_progress="hidden", trigger_mode="once",
        concurrency_id="counter", concurrency_limit=1, api_name="data_scan", api_visibility="undocumented",
    )  # fmt: skip


def _wire_walk(parts: Parts) -> None:
    inputs = [parts.row, parts.view, parts.spaces, parts.words, *_asked(parts)]
    ways = {
        "here": [parts.row.input, parts.view.input, parts.spaces.input],
        "previous": [parts.previous.click],
        "next": [parts.following.click],
        "problem": [parts.problem.click],
        "find": [parts.words.submit],
    }
    for to, triggers in ways.items():
        gr.on(
            triggers, rows.show, [gr.State(to), *inputs], [parts.row, parts.shown, parts.answer, parts.at],
            trigger_mode="always_last" if to == "here" else "multiple",
            api_name="data_row" if to == "here" else f"data_{to}_row", api_visibility="undocumented", **READING,
        )  # fmt: skip


def _wire_asking(parts: Parts) -> None:
    controls = [parts.ask, parts.stop, parts.doing]
    asking = parts.ask.click(
        ask_base.ask, [parts.row, *_asked(parts)], [parts.answer, *controls], show_progress="hidden",
        concurrency_id="engine", concurrency_limit=1, api_name="data_ask_base", api_visibility="public",
    )  # fmt: skip
    elsewhere = [parts.example.input, parts.file.upload, parts.row.input, parts.view.input, parts.words.submit]
    clicks = [button.click for button in (parts.stop, parts.previous, parts.following, parts.problem)]
    gr.on(
        [*elsewhere, *clicks], ask_base.rest, None, controls, queue=False, show_progress="hidden",
        cancels=[asking], api_name="data_rest", api_visibility="undocumented",
    )  # fmt: skip
