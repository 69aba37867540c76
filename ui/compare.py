"""The Compare tab: Chat, where every side answers one message beside the others, Judge blind, and Scores.

The conversation lives in the visitor's browser: it survives a reload and nobody else sees it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from pipeline import jobs
from ui import access, asking, chat, chat_how, chat_mark, chat_rows, errors, judge, runs, scores, texts, turns

DOWNLOAD = """(run, all) => {
  const file = new Blob([JSON.stringify({run, turns: JSON.parse(all || '{}')[run] || []}, null, 2)], {type: 'application/json'});
  const link = document.createElement('a');
  link.href = URL.createObjectURL(file);
  link.download = `conversation-${run}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}"""
ENTER_SENDS = """() => document.addEventListener('keydown', event => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing && event.target.closest('#prompt')) {
    event.preventDefault();
    event.target.dispatchEvent(new Event('input', {bubbles: true}));
    setTimeout(() => document.querySelector('#ask')?.click(), 50);
  }
}, true)"""
# the buttons within the conversation are told to buttons that nobody sees; what they say goes along in the body's data
CLICKS = """element.addEventListener('click', (event) => {
  const change = event.target.closest('[data-change-turn]'), again = event.target.closest('[data-again]');
  if (change) {
    document.body.dataset.changeTurn = change.dataset.changeTurn;
    document.querySelector('#chat-change').click();
  }
  if (again) document.querySelector('#chat-again').click();
});"""
LISTENED_TO = "element.setAttribute('aria-live', 'polite');"
CHANGE_TURN = "(number, ...more) => [document.body.dataset.changeTurn, ...more]"
ASK_HELD_OUT = "(number, ...more) => [document.body.dataset.askHeldOut, ...more]"
TO_THE_BOX = """() => setTimeout(() => {
  const box = document.querySelector('#prompt textarea');
  box?.focus();
  box?.scrollIntoView({block: 'center'});
}, 100)"""
QUIET: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "undocumented"}
AT_ONCE: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "undocumented"}


@dataclass(frozen=True)
class Chat:
    about: gr.HTML
    mark: gr.HTML
    history: gr.HTML
    live: gr.HTML
    note: gr.HTML
    prompt: gr.Textbox
    ask: gr.Button
    stop: gr.Button
    rows: gr.Dataset
    clear: gr.Button
    download: gr.Button
    marked: gr.Checkbox
    how: chat_how.Parts
    changing: gr.State
    conversations: gr.BrowserState
    named: gr.Textbox
    change: gr.Button
    again: gr.Button
    held_out: gr.Button


@dataclass(frozen=True)
class Parts:
    chat: Chat
    judge: judge.Parts
    judge_tab: gr.Tab
    scores: scores.Parts
    scores_tab: gr.Tab


def draw() -> Parts:
    with gr.Tabs(selected="chat", elem_id="compare-parts"):
        with gr.Tab(texts.CHAT_PART, id="chat", elem_id="compare-chat"):
            talk = draw_chat()
        with gr.Tab(texts.JUDGE_PART, id="judge", elem_id="compare-judge") as judge_tab:
            blind = judge.draw()
        with gr.Tab(texts.SCORES_PART, id="scores", elem_id="compare-scores") as scores_tab:
            measured = scores.draw()
    return Parts(talk, blind, judge_tab, measured, scores_tab)


def draw_chat() -> Chat:
    conversations = gr.BrowserState("{}", storage_key="tuning-fork-conversations", secret="tuning-fork", render=False)
    with gr.Row(equal_height=False):
        about = gr.HTML(elem_id="compare-about", padding=False)
        mark = gr.HTML(chat_mark.mark(None), elem_id="compare-mark", padding=False)
    with gr.Column(elem_id="conversation"):
        history = gr.HTML(chat.conversation([]), elem_id="history", padding=False, js_on_load=CLICKS)
        live = gr.HTML(elem_id="live", padding=False)
        note = gr.HTML(elem_id="chat-note", padding=False, js_on_load=CLICKS + LISTENED_TO)
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
    with gr.Row(elem_id="chat-tools"):
        clear = gr.Button(texts.CLEAR, size="sm", scale=0, min_width=190, elem_id="clear")
        download = gr.Button(texts.DOWNLOAD, size="sm", scale=0, min_width=210, elem_id="download")
        marked = gr.Checkbox(label=texts.MARK_WORDS, container=False, interactive=True, elem_id="chat-marked")
        named = gr.Textbox(show_label=False, elem_id="chat-named", elem_classes="plumbing", interactive=True)
        change, again, held_out = (
            gr.Button(elem_id=name, elem_classes="plumbing") for name in ("chat-change", "chat-again", "chat-held-out")
        )
    return Chat(
        about, mark, history, live, note, prompt, ask, stop, rows, clear, download, marked, chat_how.draw(),
        gr.State(None), conversations, named, change, again, held_out,
    )  # fmt: skip


def wire(parts: Parts, bar: runs.Bar, page: gr.Blocks, tab: gr.Tab) -> None:
    parts.chat.conversations.render()
    judge.wire(parts.judge, bar, page, parts.judge_tab)
    scores.wire(parts.scores, bar, page, parts.scores_tab)
    chat_how.wire(parts.chat.how, bar)
    wire_chat(parts.chat, bar)
    talk = parts.chat
    of_run = [talk.about, talk.rows, talk.how.share]
    tab.select(look, [bar.run], of_run, api_name="look_compare", **QUIET)
    page.load(None, None, None, js=ENTER_SENDS)
    bar.run.change(
        show, [bar.run, talk.conversations, talk.marked],
        [*of_run, talk.how.system, *talk.how.third, talk.mark, talk.history, talk.live, talk.ask, talk.stop, talk.note, talk.changing],
        api_name="show_compare", **QUIET,
    )  # fmt: skip
    talk.how.share.input(share, [bar.run, talk.how.share], None, api_name="share", **QUIET)


def wire_chat(talk: Chat, bar: runs.Bar) -> None:
    shown: list[Component] = [
        talk.history, talk.live, talk.prompt, talk.conversations, talk.mark, talk.ask, talk.stop, talk.note, talk.changing,
        talk.how.fields["seed"],
    ]  # fmt: skip
    engine: dict[str, Any] = {
        "show_progress": "hidden", "concurrency_id": "engine", "concurrency_limit": 1, "api_visibility": "undocumented",
    }  # fmt: skip
    said, how = [bar.run, talk.conversations], [*talk.how.choices, talk.marked]
    typed = [bar.run, talk.prompt, talk.conversations, talk.how.system, talk.changing, *how]
    talk.ask.click(asking.ask, typed, shown, api_name="ask", **engine)
    talk.rows.click(asking.ask_row, [talk.rows, *said, *how], shown, api_name="ask_row", **engine)
    talk.again.click(asking.again, [*said, *how], shown, api_name="again", **engine)
    talk.held_out.click(
        asking.ask_held_out, [talk.named, *said, *how], shown, api_name="ask_held_out", js=ASK_HELD_OUT, **engine
    )
    talk.stop.click(asking.stop, None, None, queue=False, api_name="stop_answer", api_visibility="undocumented")
    talk.change.click(
        asking.change, [talk.named, *said], [talk.prompt, talk.note, talk.changing], api_name="change_turn",
        js=CHANGE_TURN, **AT_ONCE,
    ).then(None, js=TO_THE_BOX, api_visibility="private")  # fmt: skip
    talk.clear.click(
        asking.clear, said,
        [talk.history, talk.live, talk.conversations, talk.note, talk.changing, talk.ask, talk.stop], api_name="clear", **AT_ONCE,
    )  # fmt: skip
    talk.marked.input(asking.redraw, [*said, talk.marked], [talk.history], api_name="mark_words", **AT_ONCE)
    talk.download.click(None, said, None, js=DOWNLOAD)


@errors.shown
def show(
    request: gr.Request,
    profile: gr.OAuthProfile | None,
    run: str | None,
    conversations: Any,
    marked: bool | None = False,
) -> tuple[Any, ...]:
    """Another run is chosen: what it is, its rows, its system prompt, its conversation so far.

    An answer of the run before is taken back first: not a word of it may appear under the new one.
    """
    who = access.visitor(request, profile)
    asking.look_at(asking.session(request), run or "")
    rest = "", *asking.controls(False), "", None
    if not run:
        return *of_no_run(), "", *chat_how.none(), chat_mark.mark(None), chat.conversation([]), *rest
    folder = access.run(who, run)
    system = jobs.load(folder).source.system or ""
    said = chat.conversation(turns.remembered(conversations, run), marked=bool(marked))
    return *of_run(folder), system, *chat_how.none(), chat_mark.mark(None), said, *rest


@errors.shown
def look(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None) -> tuple[Any, ...]:
    """The tab is opened: the run may have been trained since."""
    who = access.visitor(request, profile)
    return of_run(access.run(who, run)) if run else (gr.skip(),) * 3


def of_run(folder: Path) -> tuple[Any, ...]:
    """Updates of about, rows, share."""
    prompts = [[row["prompt"]] for row in chat_rows.offered(folder)]
    run = {**jobs.summary(folder), "adapter": (folder / "adapter").is_dir()}
    return chat.about(run), gr.Dataset(samples=prompts), jobs.shared(folder)


def of_no_run() -> tuple[Any, ...]:
    return chat.about(None), gr.Dataset(samples=[]), False


@errors.shown
def share(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, on: bool) -> None:
    """Let guests chat with a run, or no longer."""
    who = access.visitor(request, profile, "share")
    jobs.share(access.run(who, run), bool(on))
