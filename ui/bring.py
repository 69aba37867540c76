"""Somebody's adapter becomes a run: its folder, a zip or its name on the Hub; the base it names, or another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from pipeline import jobs
from pipeline.child import Child
from pipeline.errors import UserError
from pipeline.schema import MEMORIES, to_json
from ui import access, children, data, errors, runs, texts
from ui.reading import source_of

IMPORTER = Child("imports")  # it holds a model while it checks, so it is ended afterwards


@dataclass(frozen=True)
class Parts:
    adapter: gr.Textbox
    file: gr.File
    base: gr.Textbox
    memory: gr.Dropdown
    token: gr.Textbox
    judge: gr.Checkbox
    go: gr.Button
    stop: gr.Button
    doing: gr.HTML


def draw() -> Parts:
    with gr.Accordion(texts.BRING, open=False, elem_id="runs-bring"):
        with gr.Row():
            with gr.Column(min_width=280):
                adapter = gr.Textbox(
                    label=texts.BRING_WHAT, info=texts.BRING_WHAT_HELP, max_lines=1, interactive=True,
                    elem_id="bring-adapter",
                )  # fmt: skip
                file = gr.File(
                    label=texts.BRING_FILE, file_types=[".zip"], height=130, interactive=True, elem_id="bring-file"
                )
            with gr.Column(min_width=280):
                base = gr.Textbox(
                    label=texts.BRING_BASE, info=texts.BRING_BASE_HELP, max_lines=1, interactive=True,
                    elem_id="bring-base",
                )  # fmt: skip
                with gr.Row():
                    memory = gr.Dropdown(
                        list(MEMORIES), value="auto", label=texts.BRING_MEMORY, interactive=True, min_width=140,
                        elem_id="bring-memory",
                    )  # fmt: skip
                    token = gr.Textbox(
                        label=texts.TOKEN, info=texts.BRING_TOKEN_HELP, type="password", interactive=True,
                        min_width=140, elem_id="bring-token",
                    )  # fmt: skip
        judge = gr.Checkbox(label=texts.BRING_JUDGE, info=texts.BRING_JUDGE_HELP, elem_id="bring-judge")
        with gr.Row():
            go = gr.Button(texts.BRING_GO, variant="primary", scale=0, min_width=190, elem_id="bring-go")
            stop = gr.Button(texts.STOP, scale=0, min_width=100, visible=False, elem_id="bring-stop")
        doing = gr.HTML(elem_id="bring-doing", padding=False)
    return Parts(adapter, file, base, memory, token, judge, go, stop, doing)


def wire(parts: Parts, dataset: data.Parts, bar: runs.Bar) -> None:
    asked = [parts.adapter, parts.file, parts.base, parts.memory, parts.token, parts.judge]
    working = parts.go.click(
        bring, [*asked, dataset.source, dataset.system],
        [bar.run, parts.doing, parts.token, parts.go, parts.stop], api_name="import_adapter",
        concurrency_limit=1, trigger_mode="once", show_progress="hidden",
    )  # fmt: skip
    rest = "() => ['', {__type__: 'update', interactive: true}, {__type__: 'update', visible: false}]"
    at_rest = [parts.doing, parts.go, parts.stop]
    plain: dict[str, Any] = {"queue": False, "api_visibility": "private"}
    working.failure(None, None, at_rest, js=rest, **plain)
    parts.stop.click(None, None, at_rest, js=rest, cancels=[working], **plain)


@errors.shown
async def bring(
    request: gr.Request,
    profile: gr.OAuthProfile | None,
    adapter: str | None,
    file: str | None,
    base: str | None,
    memory: str | None,
    token: str | None,
    judge: bool | None,
    choice: Any,
    system: str | None,
) -> AsyncIterator[tuple[Any, ...]]:
    """Updates of the run at the top, what is being done, the token (emptied at once), start, stop.

    The new run is chosen in the end, and judged where rows were given. Or nothing is left but the sentence why not.
    """
    who = access.visitor(request, profile, "import an adapter")
    if file and (adapter or "").strip():
        raise UserError(texts.BRING_BOTH)
    where = (file or adapter or "").strip()
    if not where:
        raise UserError(texts.BRING_NOTHING)
    wanted = {"adapter": where, "base": (base or "").strip(), "memory": memory or "auto"}
    source = to_json(source_of(choice, system)) if judge else None
    busy = (gr.Button(interactive=False), gr.Button(visible=True))
    yield gr.skip(), doing("starting"), "", *busy
    told = children.follow(
        IMPORTER, "bring_in", wanted=wanted, source=source, token=(token or "").strip() or None, by=who.name
    )
    try:
        async with contextlib.aclosing(told):
            async for items in told:
                if "result" in items[-1]:
                    run = access.run(who, items[-1]["result"])
                    if jobs.after_training(run):
                        await asyncio.to_thread(jobs.start, run, "evaluate")
                    yield runs.picker(who, run.name), "", "", gr.Button(interactive=True), gr.Button(visible=False)
                else:
                    yield gr.skip(), doing(**items[-1]), "", *busy
    finally:
        await asyncio.to_thread(IMPORTER.end)


def doing(phase: str, text: str = "") -> str:
    said = texts.BRING_PHASES.get(phase, phase).format(whom=text)
    return f'<p class="quiet" role="status">{escape(said)}</p>'
