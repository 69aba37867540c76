"""The Compare tab: one message, both answers side by side from one copy of the weights, and the scores.

The conversation lives in the visitor's browser: it survives a reload and nobody else sees it.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from pipeline import dataset, jobs
from pipeline.conversations import split_answer
from pipeline.errors import UserError
from pipeline.schema import Decoding, settings, to_json
from ui import access, chat, children, errors, form, runs, texts, turns
from ui.chat import Turn

MOST_ROWS = 60  # held-out rows offered as prompts
FIELDS = tuple(settings(Decoding))
DOWNLOAD = """(run, all) => {
  const file = new Blob([JSON.stringify({run, turns: JSON.parse(all || '{}')[run] || []}, null, 2)], {type: 'application/json'});
  const link = document.createElement('a');
  link.href = URL.createObjectURL(file);
  link.download = `conversation-${run}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}"""
NOTHING_MORE = (gr.skip(),) * 7  # Gradio sends the last update once more when a stream ends
_stops: dict[str, threading.Event] = {}  # answers being given, by browser session


@dataclass(frozen=True)
class Parts:
    about: gr.HTML
    mark: gr.HTML
    history: gr.HTML
    live: gr.HTML
    prompt: gr.Textbox
    ask: gr.Button
    stop: gr.Button
    rows: gr.Dataset
    clear: gr.Button
    download: gr.Button
    system: gr.Textbox
    fields: dict[str, Component]
    share: gr.Checkbox
    scores: gr.HTML
    conversations: gr.BrowserState


def draw() -> Parts:
    conversations = gr.BrowserState("{}", storage_key="tuning-fork-conversations", secret="tuning-fork", render=False)
    with gr.Row(equal_height=False):
        about = gr.HTML(elem_id="compare-about", padding=False)
        mark = gr.HTML(chat.mark(None), elem_id="compare-mark", padding=False)
    with gr.Column(elem_id="conversation"):
        history = gr.HTML(chat.conversation([]), elem_id="history", padding=False)
        live = gr.HTML(elem_id="live", padding=False)
    with gr.Row(elem_id="ask-row", equal_height=True):
        prompt = gr.Textbox(
            label=texts.PROMPT, placeholder=texts.PROMPT_HINT, lines=2, max_lines=8, scale=5, elem_id="prompt",
            interactive=True, min_width=280,
        )  # fmt: skip
        ask = gr.Button(texts.ASK, variant="primary", scale=1, min_width=110, elem_id="ask")
        stop = gr.Button(texts.STOP, variant="stop", scale=1, min_width=110, visible=False, elem_id="stop-answer")
    rows = gr.Dataset(
        components=[gr.Textbox(visible=False)], samples=[], type="index", label=texts.ROWS_OFFERED, samples_per_page=6,
        elem_id="held-out-prompts",
    )  # fmt: skip
    with gr.Row():
        clear = gr.Button(texts.CLEAR, size="sm", scale=0, min_width=190, elem_id="clear")
        download = gr.Button(texts.DOWNLOAD, size="sm", scale=0, min_width=210, elem_id="download")
    with gr.Accordion(texts.HOW_THEY_ANSWER, open=False, elem_id="decoding"):
        system = gr.Textbox(
            label=texts.SYSTEM_PROMPT, info=texts.SYSTEM_HELP, lines=2, interactive=True, elem_id="chat-system"
        )
        with gr.Row():
            fields = form.draw(Decoding, FIELDS)
        share = gr.Checkbox(label=texts.SHARE, info=texts.SHARE_HELP, visible=access.on_space(), interactive=True)
    gr.Markdown(f"## {texts.SCORES_TITLE}")
    scores = gr.HTML(elem_id="scores", padding=False)
    return Parts(
        about, mark, history, live, prompt, ask, stop, rows, clear, download, system, fields, share, scores,
        conversations,
    )  # fmt: skip


def wire(parts: Parts, bar: runs.Bar, page: gr.Blocks, tab: gr.Tab) -> None:
    parts.conversations.render()
    of_run = [parts.about, parts.rows, parts.share, parts.scores]
    quiet: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "undocumented"}
    tab.select(look, [bar.run], of_run, api_name="look_compare", **quiet)
    page.load(None, None, None, js=ENTER_SENDS)
    answering = [
        parts.history, parts.live, parts.prompt, parts.conversations, parts.mark, parts.ask, parts.stop,
    ]  # fmt: skip
    decoding = list(parts.fields.values())
    how: dict[str, Any] = {
        "show_progress": "hidden", "concurrency_id": "engine", "concurrency_limit": 1, "api_visibility": "undocumented",
    }  # fmt: skip
    asked = [bar.run, parts.prompt, parts.conversations, parts.system, *decoding]
    parts.ask.click(ask, asked, answering, api_name="ask", **how)
    parts.rows.click(
        ask_row, [parts.rows, bar.run, parts.conversations, *decoding], answering, api_name="ask_row", **how
    )
    bar.run.change(
        show, [bar.run, parts.conversations],
        [*of_run, parts.system, parts.mark, parts.history, parts.live, parts.ask, parts.stop],
        api_name="show_compare", **quiet,
    )  # fmt: skip
    parts.stop.click(stop, None, None, queue=False, api_name="stop_answer", api_visibility="undocumented")
    parts.clear.click(
        clear, [bar.run, parts.conversations], [parts.history, parts.live, parts.conversations],
        queue=False, show_progress="hidden", api_name="clear", api_visibility="undocumented",
    )  # fmt: skip
    parts.download.click(None, [bar.run, parts.conversations], None, js=DOWNLOAD)
    parts.share.input(share, [bar.run, parts.share], None, api_name="share", **quiet)


ENTER_SENDS = """() => document.addEventListener('keydown', event => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing && event.target.closest('#prompt')) {
    event.preventDefault();
    event.target.dispatchEvent(new Event('input', {bubbles: true}));
    setTimeout(() => document.querySelector('#ask')?.click(), 50);
  }
}, true)"""


@errors.shown
def show(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, conversations: Any) -> tuple[Any, ...]:
    """Another run is chosen: what it is, its rows and scores, its system prompt, its conversation so far.

    An answer of the run before is taken back first: not a word of it may appear under the new one.
    """
    who = access.visitor(request, profile)
    if unwanted := _stops.pop(session(request), None):
        unwanted.set()
    if not run:
        return *of_no_run(), "", chat.mark(None), chat.conversation([]), "", *controls(False)
    folder = access.run(who, run)
    system = jobs.load(folder).source.system or ""
    said = chat.conversation(turns.remembered(conversations, run))
    return *of_run(folder), system, chat.mark(None), said, "", *controls(False)


@errors.shown
def look(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None) -> tuple[Any, ...]:
    """The tab is opened: the run may have been trained and judged since."""
    who = access.visitor(request, profile)
    return of_run(access.run(who, run)) if run else (gr.skip(),) * 4


def of_run(folder: Path) -> tuple[Any, ...]:
    """Updates of about, rows, share, scores."""
    report = report_of(folder)
    prompts = [[row["prompt"]] for row in offered(folder)]
    return (
        chat.about({**jobs.summary(folder), "adapter": (folder / "adapter").is_dir()}),
        gr.Dataset(samples=prompts),
        jobs.shared(folder),
        chat.scores(report) + chat.judged_rows(report),
    )


def of_no_run() -> tuple[Any, ...]:
    return chat.about(None), gr.Dataset(samples=[]), False, ""


@errors.shown
async def ask(
    request: gr.Request,
    profile: gr.OAuthProfile | None,
    run: str | None,
    prompt: str | None,
    conversations: Any,
    system: str | None,
    *decoding: Any,
) -> AsyncIterator[tuple[Any, ...]]:
    """What somebody typed, to both sides; it continues the conversation unless the system prompt has changed."""
    who = access.visitor(request, profile, "chat")
    folder = access.run(who, run)
    if not (prompt or "").strip():
        raise UserError(texts.NOTHING_TO_ASK)
    said = turns.remembered(conversations, folder.name)
    system = (system or "").strip()
    fresh = not said or system != turns.context(said)[0].get("system", "")
    turn = {"prompt": prompt, "fresh": fresh, "system": system}
    async for update in answer(folder, said, turn, conversations, decoding, session(request)):
        yield update


@errors.shown
async def ask_row(
    request: gr.Request,
    profile: gr.OAuthProfile | None,
    index: int,
    run: str | None,
    conversations: Any,
    *decoding: Any,
) -> AsyncIterator[tuple[Any, ...]]:
    """A held-out row to both sides, as it stands in the data: without what was said before."""
    who = access.visitor(request, profile, "chat")
    folder = access.run(who, run)
    rows = offered(folder)
    if not isinstance(index, int) or not 0 <= index < len(rows):
        raise UserError(texts.NO_SUCH_ROW)
    said = turns.remembered(conversations, folder.name)
    async for update in answer(folder, said, {**rows[index], "fresh": True}, conversations, decoding, session(request)):
        yield update


async def answer(
    folder: Path, said: list[Turn], turn: Turn, conversations: Any, decoding: Sequence[Any], session: str
) -> AsyncIterator[tuple[Any, ...]]:
    """Updates of history, live, prompt, conversations, mark, ask, stop while both sides answer."""
    chosen = form.read(Decoding, FIELDS, decoding)
    asked = {side: turns.messages([*said, turn], side) for side in chat.SIDES}
    shown, later, opened = chat.conversation(said) if said else "", bool(said), None
    stop = _stops[session] = threading.Event()
    pending = turns.remember(conversations, folder.name, [*said, turn])
    yield shown, chat.turn(turn, later, texts.STARTING), "", pending, gr.skip(), *controls(True)
    try:
        growing = {side: {"text": ""} for side in chat.SIDES}
        doing = texts.STARTING
        told = children.follow(
            children.ENGINE, "compare", stop, folder=str(folder), asked=asked, decoding=to_json(chosen)
        )
        async with aclosing(told):
            async for frame in told:
                if _stops.get(session) is not stop:  # the page shows another run by now
                    yield NOTHING_MORE
                    return
                for item in frame:
                    doing = state(item) if "phase" in item or "waiting" in item else doing
                    for side in chat.SIDES:
                        growing[side]["text"] += item.get(side, "")
                    opened = item.get("result")
                if not opened:
                    live = chat.turn({**turn, **growing}, later, doing)
                    yield gr.skip(), live, gr.skip(), gr.skip(), gr.skip(), *([gr.skip()] * 2)
        assert opened is not None
        cut = {"cut": True} if stop.is_set() else {}
        finished = {side: {**opened[side], **({} if opened[side]["stopped"] else cut)} for side in chat.SIDES}
        said = [*said, {**turn, **finished}]
        kept = turns.remember(conversations, folder.name, said)
        yield chat.conversation(said), "", gr.skip(), kept, chat.mark(opened), *controls(False)
    except UserError as error:
        if _stops.get(session) is not stop:
            yield NOTHING_MORE
            return
        kept = turns.remember(conversations, folder.name, said)
        yield chat.conversation(said), chat.failure(str(error)), turn["prompt"], kept, gr.skip(), *controls(False)
    finally:
        if _stops.get(session) is stop:
            del _stops[session]


@errors.shown
def stop(request: gr.Request, profile: gr.OAuthProfile | None) -> None:
    """End the answer this browser is waiting for, within a token; what was said so far stays."""
    access.visitor(request, profile, "chat")
    if answering := _stops.get(session(request)):
        answering.set()


@errors.shown
def clear(
    request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, conversations: Any
) -> tuple[str, str, str]:
    """Forget this run's conversation in this browser."""
    access.visitor(request, profile, "chat")
    return chat.conversation([]), "", turns.remember(conversations, run or "", [])


@errors.shown
def share(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, on: bool) -> None:
    """Let guests chat with a run, or no longer."""
    who = access.visitor(request, profile, "share")
    jobs.share(access.run(who, run), bool(on))


def controls(working: bool) -> tuple[Any, Any]:
    """Updates of ask and stop."""
    return gr.Button(visible=not working), gr.Button(visible=working)


def session(request: gr.Request | None) -> str:
    return str(request.session_hash) if request else ""


def state(item: dict[str, Any]) -> str:
    """What the engine is doing, in words."""
    if "waiting" in item:
        return texts.WAITING.format(whom=item["waiting"])
    return texts.PHASES.get(item["phase"], item["phase"])


def report_of(folder: Path) -> Any:
    return jobs.read_json(folder / "report.json") if (folder / "report.json").exists() else None


def offered(folder: Path) -> list[Turn]:
    """Held-out rows that ask one thing: prompt, system prompt, and the reference a person wrote."""
    found = []
    if not (folder / "held_out.jsonl").exists():
        return found
    for row in dataset.read_part(folder, "held_out"):
        if not row["messages"]:  # plain text asks nothing
            continue
        before, reference = split_answer({"messages": row["messages"]})
        system = before[0]["content"] if before and before[0]["role"] == "system" else ""
        asked = [message for message in before if message["role"] != "system"]
        if len(asked) == 1 and asked[0]["role"] == "user" and not row.get("tools"):
            found.append({"prompt": asked[0]["content"], "system": system, "reference": reference})
    return found[:MOST_ROWS]
