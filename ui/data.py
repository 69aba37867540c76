"""The Data tab: choose rows, see what they are and what is wrong, and exactly which tokens of each will be learned."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from pipeline import uploads
from pipeline.errors import UserError
from pipeline.schema import Source, TrainConfig
from ui import access, ask_base, chat, errors, form, preview, texts
from ui.reading import INSPECT_SECONDS, READ_AS, ROW_SECONDS, Question, inspect_rows, question, read, source_of

FIRST = {"example": "tiny-yoda"}

# a click on a row's number writes it into the number field, as if somebody had typed it
JUMP = """element.addEventListener('click', (event) => {
  const link = event.target.closest('[data-row]'), field = document.querySelector('#data-row input');
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
    """What the other tabs use of it: `source` is what the next run learns from, {"example": name} or {"upload": id}."""

    source: gr.BrowserState
    model: gr.Dropdown
    system: gr.Textbox
    fields: dict[str, Component]
    example: gr.Radio
    file: gr.File
    refused: gr.HTML
    summary: gr.HTML
    row: gr.Number
    previous: gr.Button
    following: gr.Button
    problem: gr.Button
    view: gr.Radio
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
            summary = gr.HTML(f'<p class="quiet">{texts.READING}</p>', elem_id="data-summary", js_on_load=JUMP)
            walking = _draw_row()
    return Parts(source=source, refused=refused, summary=summary, go_on=go_on, **choosing, **walking)


def _draw_choice() -> dict[str, Any]:
    example = gr.Radio(
        [(words, name) for name, words in texts.EXAMPLES.items()], value=FIRST["example"], interactive=True,
        label=texts.EXAMPLES_LABEL, elem_id="data-example",
    )  # fmt: skip
    file = gr.File(label=texts.UPLOAD, height=84, interactive=True, elem_id="data-file")
    with gr.Accordion(texts.READ_AS, open=False, elem_id="data-read-as"):
        model = form.models(label=texts.DATA_MODEL, info=texts.DATA_MODEL_HELP, elem_id="data-model")
        system = form.draw(Source, ("system",))["system"]
        fields = form.draw(TrainConfig, READ_AS)
    return {"example": example, "file": file, "model": model, "system": system, "fields": fields}


def _draw_row() -> dict[str, Any]:
    with gr.Row(elem_id="data-walk"):
        row = gr.Number(None, label=texts.ROW, precision=0, interactive=True, min_width=90, scale=0, elem_id="data-row")
        previous = gr.Button(texts.PREVIOUS, size="sm", min_width=90, scale=0, elem_id="data-previous")
        following = gr.Button(texts.NEXT, size="sm", min_width=90, scale=0, elem_id="data-following")
        problem = gr.Button(
            texts.NEXT_PROBLEM, size="sm", min_width=160, scale=0, visible=False, elem_id="data-problem"
        )
        view = gr.Radio(
            list(texts.VIEWS.items()), value="text", label=texts.VIEW, interactive=True, min_width=280, scale=0,
            elem_id="data-view",
        )  # fmt: skip
    shown = gr.HTML(f'<p class="quiet">{texts.READING}</p>', elem_id="data-shown")
    with gr.Row(elem_id="data-asking"):
        ask = gr.Button(texts.ASK_BASE, size="sm", scale=0, min_width=240, elem_id="data-ask")
        stop = gr.Button(
            texts.STOP, size="sm", scale=0, min_width=100, variant="stop", visible=False, elem_id="data-stop"
        )
        doing = gr.HTML(ask_base.note(texts.ASK_BASE_HELP), min_width=260, elem_id="data-doing")
    answer = gr.HTML(elem_id="data-answer")
    return {
        "row": row, "previous": previous, "following": following, "problem": problem, "view": view, "shown": shown,
        "ask": ask, "stop": stop, "doing": doing, "answer": answer,
    }  # fmt: skip


def wire(parts: Parts) -> None:
    parts.source.render()  # out here: what is inside a tab nobody has opened yet remembers nothing
    _wire_choice(parts)
    _wire_walk(parts)
    _wire_asking(parts)
    parts.go_on.click(None, js=GO_ON, queue=False, api_visibility="private")


def _asked(parts: Parts) -> list[Component]:
    """What decides how rows are read, in the order of the handlers' arguments."""
    return [parts.source, parts.model, parts.system, *(parts.fields[name] for name in READ_AS)]


def _wire_choice(parts: Parts) -> None:
    inputs = [*_asked(parts), parts.row, parts.view]
    outputs = [parts.example, parts.summary, parts.row, parts.shown, parts.problem, parts.answer]
    opened = gr.on(None, None, js="() => {}", queue=False, api_visibility="private")
    opened.then(look, inputs, outputs, api_name="data_look", api_visibility="undocumented", **READING)
    chosen = [parts.source, parts.row, parts.refused]
    picked = parts.example.input(
        pick, [parts.example], chosen, queue=False, show_progress="hidden",
        api_name="data_pick", api_visibility="undocumented",
    )  # fmt: skip
    taken = parts.file.upload(
        take, [parts.file], [*chosen, parts.file], show_progress="minimal",
        api_name="data_upload", api_visibility="public", concurrency_id="reader", concurrency_limit=1,
    )  # fmt: skip
    for event in (picked, taken):
        event.success(look, inputs, outputs, api_visibility="private", **READING)
    text = (parts.system, parts.fields["max_length"])
    changed = [parts.model.change, parts.fields["loss_on"].change, *(f.blur for f in text), *(f.submit for f in text)]
    gr.on(changed, look, inputs, outputs, trigger_mode="always_last", api_visibility="private", **READING)


def _wire_walk(parts: Parts) -> None:
    inputs = [*_asked(parts), parts.row, parts.view]
    ways = {
        "here": [parts.row.input, parts.view.input],
        "previous": [parts.previous.click],
        "next": [parts.following.click],
        "problem": [parts.problem.click],
    }
    for to, triggers in ways.items():
        gr.on(
            triggers, show, [gr.State(to), *inputs], [parts.row, parts.shown, parts.answer],
            trigger_mode="always_last" if to == "here" else "multiple",
            api_name="data_row" if to == "here" else f"data_{to}_row", api_visibility="undocumented", **READING,
        )  # fmt: skip


def _wire_asking(parts: Parts) -> None:
    controls = [parts.ask, parts.stop, parts.doing]
    asking = parts.ask.click(
        ask_base.ask, [*_asked(parts), parts.row], [parts.answer, *controls], show_progress="hidden",
        concurrency_id="engine", concurrency_limit=1, api_name="data_ask_base", api_visibility="public",
    )  # fmt: skip
    elsewhere = [parts.example.input, parts.file.upload, parts.row.input, parts.view.input]
    clicks = [button.click for button in (parts.stop, parts.previous, parts.following, parts.problem)]
    gr.on(
        [*elsewhere, *clicks], ask_base.rest, None, controls, queue=False, show_progress="hidden",
        cancels=[asking], api_name="data_rest", api_visibility="undocumented",
    )  # fmt: skip


@errors.shown
def pick(request: gr.Request, profile: gr.OAuthProfile | None, example: str | None) -> tuple[Any, ...]:
    """An example is chosen."""
    access.visitor(request, profile, "bring data")
    source_of({"example": example}, None)
    return {"example": example}, None, ""


@errors.shown
def take(request: gr.Request, profile: gr.OAuthProfile | None, file: str | None) -> tuple[Any, ...]:
    """A file was uploaded: it becomes the choice if it can be read; what was chosen before stays if it can't."""
    access.visitor(request, profile, "bring data")
    if not file:
        raise UserError(texts.NOTHING_CHOSEN)
    upload = uploads.keep(Path(file))
    try:
        inspect_rows(source_of({"upload": upload}, None))
    except UserError as error:
        uploads.forget(upload)
        return gr.skip(), gr.skip(), chat.failure(str(error)), None
    return {"upload": upload}, None, "", None


@errors.shown
async def look(
    request: gr.Request,
    profile: gr.OAuthProfile | None,
    choice: Any,
    model: str | None,
    system: str | None,
    loss_on: str | None,
    max_length: float | None,
    number: float | None,
    view: str | None,
) -> AsyncIterator[tuple[Any, ...]]:
    """Everything about the choice: counts and the row at once, the tokens of all rows when they are counted."""
    who = access.visitor(request, profile)
    if not who.owner:
        yield (gr.skip(),) * 6
        return
    example = choice.get("example") if isinstance(choice, dict) else None
    try:
        asked = question(choice, model, system, loss_on, max_length)
        found = await asyncio.to_thread(inspect_rows, asked.source)
    except UserError as error:
        yield example, chat.failure(str(error)), gr.skip(), "", gr.Button(visible=False), ""
        return
    at, shown = await asyncio.to_thread(_row if number else _first_row, asked, number, view)
    yield example, _summary(choice, asked, found, False), at, shown, gr.skip(), ""
    with contextlib.suppress(UserError):  # where the row belongs it is told already
        found = await asyncio.to_thread(read, "inspect", INSPECT_SECONDS, asked)
    has_problem = any(problem["rows"] for problem in found["problems"])
    summary = _summary(choice, asked, found, True)
    yield gr.skip(), summary, gr.skip(), gr.skip(), gr.Button(visible=has_problem), gr.skip()


def _summary(choice: dict[str, Any], asked: Question, found: dict[str, Any], measured: bool) -> str:
    origin = texts.OF_UPLOADS if "upload" in choice else texts.OF_EXAMPLES
    path, judging = asked.source.path, asked.source.held_out_path
    return preview.summary(Path(path).name, origin, judging and Path(judging).name, found, measured)


def _first_row(asked: Question, number: float | None, view: str | None) -> tuple[int | None, str]:
    try:
        first = read("walk", ROW_SECONDS, asked, number=None, to="next")
    except UserError as error:
        return None, chat.failure(str(error))
    return _row(asked, first, view)


def _row(asked: Question, number: float | None, view: str | None) -> tuple[int | None, str]:
    """A row's number, and the row as HTML, or the sentence why it can't be shown."""
    at = int(number) if number else None  # an empty field arrives as 0
    try:
        return at, preview.row(read("preview", ROW_SECONDS, asked, number=at), view or "text")
    except UserError as error:
        return at, chat.failure(str(error))


@errors.shown
def show(
    request: gr.Request,
    profile: gr.OAuthProfile | None,
    to: str,
    choice: Any,
    model: str | None,
    system: str | None,
    loss_on: str | None,
    max_length: float | None,
    number: float | None,
    view: str | None,
) -> tuple[Any, ...]:
    """The row of this number, or the "next", the "previous", the next with a "problem"."""
    access.visitor(request, profile, "look at data")
    asked = question(choice, model, system, loss_on, max_length)
    if to == "here":
        return gr.skip(), _row(asked, number, view)[1], ""
    return *_row(asked, read("walk", ROW_SECONDS, asked, number=int(number) if number else None, to=to), view), ""
