"""A dataset on the Hub as the choice of the Data tab: what it offers, its first rows, all of them fetched as an upload.

A child of its own speaks with the Hub, so that neither the rows on the page nor the counts wait for it. A token is handed
on with each question and kept nowhere; an empty field is nobody's token, never this machine's.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import gradio as gr

from pipeline.child import Child
from pipeline.errors import UserError
from ui import access, chat, children, errors, preview, rows, texts

FETCHER = Child("fetcher")  # started when somebody looks at a dataset
ASK_SECONDS = 60.0
_fetching: dict[str, threading.Event] = {}  # fetches that are going on, by browser session


@dataclass(frozen=True)
class Parts:
    """`offered` is what was looked at last: {"repo", "sha", "configs"}, kept by the server for this page."""

    offered: gr.State
    repo: gr.Textbox
    token: gr.Textbox
    look: gr.Button
    config: gr.Dropdown
    split: gr.Dropdown
    shown: gr.HTML
    use: gr.Button
    stop: gr.Button
    doing: gr.HTML


def draw() -> Parts:
    with gr.Accordion(texts.HUB_DATASET, open=False, elem_id="data-hub"):
        repo = gr.Textbox(
            label=texts.HUB_REPO, placeholder=texts.HUB_REPO_HINT, max_lines=1, interactive=True, elem_id="hub-repo"
        )
        token = gr.Textbox(
            label=texts.HUB_TOKEN, info=texts.HUB_TOKEN_HELP, type="password", max_lines=1, interactive=True,
            html_attributes=gr.InputHTMLAttributes(autocomplete="off"), elem_id="hub-read-token",
        )  # fmt: skip
        look = gr.Button(texts.HUB_LOOK, size="sm", elem_id="hub-look")
        with gr.Row(elem_id="hub-part"):
            config, split = (
                gr.Dropdown([], label=label, visible=False, interactive=True, min_width=120, elem_id=name)
                for label, name in ((texts.HUB_CONFIG, "hub-config"), (texts.HUB_SPLIT, "hub-split"))
            )
        shown = gr.HTML(elem_id="hub-shown")
        with gr.Row():
            use = gr.Button(texts.HUB_USE, size="sm", variant="primary", visible=False, elem_id="hub-use")
            stop = gr.Button(texts.HUB_STOP, size="sm", variant="stop", visible=False, elem_id="hub-stop")
        doing = gr.HTML(elem_id="hub-doing")
    return Parts(gr.State(None), repo, token, look, config, split, shown, use, stop, doing)


def wire(parts: Parts, chosen: list[Any]) -> Any:
    """`chosen` are the outputs source, row, refused, columns of whatever becomes the choice. The event of a fetch."""
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "undocumented"}
    asking: dict[str, Any] = {**quiet, "concurrency_id": "hub", "concurrency_limit": 4}
    seen = [parts.config, parts.split, parts.shown, parts.use, parts.doing]
    gr.on(
        [parts.look.click, parts.repo.submit, parts.token.submit], look, [parts.repo, parts.token],
        [parts.offered, *seen], trigger_mode="once", api_name="data_hub_look", **asking,
    )  # fmt: skip
    part = [parts.offered, parts.config, parts.split, parts.token]
    gr.on(
        [parts.config.input, parts.split.input], peek, part, seen, trigger_mode="always_last",
        api_name="data_hub_peek", **asking,
    )  # fmt: skip
    fetched = parts.use.click(
        fetch, part, [*chosen, parts.token, parts.look, parts.use, parts.stop, parts.doing], trigger_mode="once",
        api_name="data_hub_fetch", **asking,
    )  # fmt: skip
    parts.stop.click(stop, None, [parts.doing], queue=False, api_name="data_hub_stop", **quiet)
    return fetched


@errors.shown
async def look(
    request: gr.Request, profile: gr.OAuthProfile | None, repo: str | None, token: str | None
) -> AsyncIterator[tuple[Any, ...]]:
    """What a dataset offers, and the first rows of its usual part. Updates of offered, config, split, shown, use, doing."""
    access.visitor(request, profile, "bring data")
    hidden = gr.Dropdown(visible=False)
    none = None, hidden, hidden, "", gr.Button(visible=False)
    yield *none, preview.waiting(texts.HUB_LOOKING)
    try:
        offered = await _ask("offer", repo=repo or "", token=_token(token))
        if offered["usual"] is None:
            yield offered, *choices(offered, None, None), "", gr.Button(visible=False), preview.note(texts.HUB_CHOOSE)
            return
        yield offered, *await _seen(offered, offered["usual"], None, token)
    except UserError as error:
        yield *none, chat.failure(str(error))


@errors.shown
async def peek(
    request: gr.Request,
    profile: gr.OAuthProfile | None,
    offered: Any,
    config: str | None,
    split: str | None,
    token: str | None,
) -> AsyncIterator[tuple[Any, ...]]:
    """The first rows of another config or split. Updates of config, split, shown, use, doing."""
    access.visitor(request, profile, "bring data")
    same = gr.skip(), gr.skip()
    yield *same, "", gr.Button(visible=False), preview.waiting(texts.HUB_LOOKING)
    try:
        yield await _seen(offered, config, split, token)
    except UserError as error:
        yield *same, "", gr.Button(visible=False), chat.failure(str(error))


async def _seen(offered: Any, config: str | None, split: str | None, token: str | None) -> tuple[Any, ...]:
    part = _part(offered, config, split)
    found = await _ask("peek", **part, token=_token(token))
    table = preview.first_rows(part["repo"], part["config"], part["split"], found)
    return *choices(offered, part["config"], part["split"]), table, gr.Button(visible=True), ""


def choices(offered: dict[str, Any], config: str | None, split: str | None) -> tuple[Any, Any]:
    """Both dropdowns, each only where there is something to choose."""
    configs = offered["configs"]
    splits = configs.get(config, [])
    return (
        gr.Dropdown(list(configs), value=config, visible=len(configs) > 1),
        gr.Dropdown(splits, value=split, visible=len(splits) > 1),
    )


def _part(offered: Any, config: str | None, split: str | None) -> dict[str, Any]:
    """The part of a dataset that was looked at; a split of another config gives way to the usual one of this."""
    configs = offered["configs"] if isinstance(offered, dict) else {}
    config = config or next(iter(configs), None)
    if config not in configs:
        raise UserError(texts.HUB_LOOK_FIRST)
    splits = configs[config]
    if split not in splits:
        split = "train" if "train" in splits else next(iter(splits), None)
    return {"repo": offered["repo"], "config": config, "split": split, "sha": offered["sha"]}


@errors.shown
async def fetch(
    request: gr.Request,
    profile: gr.OAuthProfile | None,
    offered: Any,
    config: str | None,
    split: str | None,
    token: str | None,
) -> AsyncIterator[tuple[Any, ...]]:
    """The rows as they were looked at become the choice. Updates of source, row, refused, columns, token, look, use, stop,
    doing."""
    access.visitor(request, profile, "bring data")
    session = str(request.session_hash) if request else ""
    stopped = _fetching[session] = threading.Event()
    same = tuple(gr.skip() for _ in range(5))
    upload, cut = "", ""
    try:
        yield *same, *_working(True), preview.progress(texts.HUB_FETCHING, {})
        part = _part(offered, config, split)
        told = children.follow(FETCHER, "fetch", stopped, **part, token=_token(token))
        async with aclosing(told):
            async for items in told:
                upload = items[-1].get("result", "")
                cut = next((item["cut"] for item in items if item.get("cut")), cut)
                if not upload:
                    yield *same, *_working(True), preview.progress(texts.HUB_FETCHING, items[-1])
        choice, refusal = await asyncio.to_thread(rows.accepted, upload)
    except UserError as error:
        words = preview.note(str(error)) if stopped.is_set() else chat.failure(str(error))
        yield *same, *_working(False), words
    else:
        correct = gr.Accordion(open=True) if refusal else gr.skip()
        yield choice, 0, refusal, correct, "", *_working(False), preview.note(cut or texts.HUB_FETCHED)
    finally:
        if _fetching.get(session) is stopped:
            del _fetching[session]


def _working(yes: bool) -> tuple[Any, Any, Any]:
    """Look, Use and Stop, as they can be used while a fetch goes on or not."""
    return gr.Button(interactive=not yes), gr.Button(visible=not yes), gr.Button(visible=yes)


@errors.shown
def stop(request: gr.Request, profile: gr.OAuthProfile | None) -> str:
    """The fetch of this page is not wanted any more."""
    access.visitor(request, profile, "bring data")
    stopped = _fetching.get(str(request.session_hash) if request else "")
    if not stopped:
        return ""
    stopped.set()
    return preview.waiting(texts.HUB_STOPPING)


async def _ask(verb: str, **values: Any) -> Any:
    return await asyncio.to_thread(FETCHER.ask, verb, ASK_SECONDS, **values)


def _token(typed: str | None) -> str | None:
    return (typed or "").strip() or None
