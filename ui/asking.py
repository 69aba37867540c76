"""What can be asked under Chat: a message, a held-out row, the same again, an earlier message changed; and Stop.

Every column answers at once, from one copy of the weights. What is shown while they do is in UPDATES' order.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline.errors import UserError
from pipeline.schema import Visitor
from ui import access, chat, chat_how, chat_mark, chat_rows, children, errors, texts, turns
from ui.chat_engine import call, heard
from ui.chat_how import How, marks, reseeded
from ui.turns import Turn

UPDATES = ("history", "live", "prompt", "conversations", "mark", "ask", "stop", "note", "changing", "seed")
NOTHING_MORE = (gr.skip(),) * len(UPDATES)  # Gradio sends the last update once more when a stream ends
PACE_SECONDS = 0.1  # a busy browser that is told more often has no time left to hear Stop
MOST_CHARACTERS = 200_000  # of a message with its system prompt
MOST_SESSIONS = 1000
_stops: dict[str, threading.Event] = {}  # answers being given, by browser session
_shown: dict[str, str] = {}  # the run that each browser session looks at


@dataclass(frozen=True)
class Asked:
    """A turn to be answered after those of `said`. `before` is the whole conversation, which a failure gives back."""

    folder: Path
    before: list[Turn]
    said: list[Turn]
    how: How
    marked: bool
    conversations: Any
    session: str
    turn: Turn = field(default_factory=dict)

    def kept(self, said: Sequence[Turn]) -> str:
        return turns.remember(self.conversations, self.folder.name, said)


def begin(
    who: Visitor, run: str | None, conversations: Any, choices: Sequence[Any], request: gr.Request | None
) -> Asked:
    """What every question knows: the conversation so far, and how the answers are wanted."""
    folder = access.run(who, run)
    *settings, marked = choices
    said = turns.remembered(conversations, folder.name)
    how = chat_how.read(who, folder, settings)
    return Asked(folder, said, said, how, bool(marked), conversations, session(request))


@errors.shown
async def ask(
    request: gr.Request,
    profile: gr.OAuthProfile | None,
    run: str | None,
    prompt: str | None,
    conversations: Any,
    system: str | None,
    changing: int | None,
    *choices: Any,
) -> AsyncIterator[tuple[Any, ...]]:
    """What somebody typed, to every column; it continues the conversation, or takes the place of a message in it."""
    who = access.visitor(request, profile, "chat")
    if not (prompt or "").strip():
        access.run(who, run)
        raise UserError(texts.NOTHING_TO_ASK)
    if (length := len(prompt or "") + len(system or "")) > MOST_CHARACTERS:
        raise UserError(texts.TOO_LONG_TO_ASK.format(n=length, most=MOST_CHARACTERS))
    asked = begin(who, run, conversations, choices, request)
    changed: Turn = {}
    if changing is not None and is_place(changing, asked.before):
        changed = asked.before[changing]
        asked = replace(asked, said=asked.before[:changing])
    system = (system or "").strip()
    fresh = bool(changed.get("fresh")) or turns.anew(asked.said, system, asked.how.column)
    turn = {"prompt": prompt, "fresh": fresh, "system": system}
    if prompt == changed.get("prompt") and "reference" in changed:
        turn["reference"] = changed["reference"]
    async for update in answer(replace(asked, turn=turn)):
        yield update


@errors.shown
async def ask_row(
    request: gr.Request,
    profile: gr.OAuthProfile | None,
    index: int,
    run: str | None,
    conversations: Any,
    *choices: Any,
) -> AsyncIterator[tuple[Any, ...]]:
    """One of the offered held-out rows, as it stands in the data: without what was said before."""
    who = access.visitor(request, profile, "chat")
    rows = chat_rows.offered(access.run(who, run))
    if not isinstance(index, int) or not 0 <= index < len(rows):
        raise UserError(texts.NO_SUCH_ROW)
    asked = begin(who, run, conversations, choices, request)
    async for update in answer(replace(asked, turn={**rows[index], "fresh": True})):
        yield update


@errors.shown
async def ask_held_out(
    request: gr.Request,
    profile: gr.OAuthProfile | None,
    number: str | int | None,
    run: str | None,
    conversations: Any,
    *choices: Any,
) -> AsyncIterator[tuple[Any, ...]]:
    """Any held-out row by its number in the file, as the scores name it; for a guest, one of those they are shown."""
    who = access.visitor(request, profile, "chat")
    rows = chat_rows.single_questions(access.run(who, run), None if who.owner else chat_rows.GUESTS_ROWS)
    found = [turn for row, turn in rows if str(row) == str(number)]
    if not found:
        raise UserError(texts.NO_SINGLE_QUESTION.format(row=str(number)[:20]))
    asked = begin(who, run, conversations, choices, request)
    async for update in answer(replace(asked, turn={**found[0], "fresh": True})):
        yield update


@errors.shown
async def again(
    request: gr.Request,
    profile: gr.OAuthProfile | None,
    run: str | None,
    conversations: Any,
    *choices: Any,
) -> AsyncIterator[tuple[Any, ...]]:
    """The last message once more with the next seed, in place of its answers; one without answers, as it was."""
    who = access.visitor(request, profile, "chat")
    asked = begin(who, run, conversations, choices, request)
    if not asked.before:
        raise UserError(texts.NOTHING_TO_REPEAT)
    said, last = asked.before[:-1], asked.before[-1]
    how = reseeded(asked.how, last) if any(last.get(column) for column in turns.columns(last)) else asked.how
    fresh = bool(last.get("fresh")) or turns.anew(said, last.get("system", ""), how.column)
    turn: Turn = {key: last[key] for key in ("prompt", "system", "reference") if key in last}
    async for update in answer(replace(asked, said=said, how=how, turn={**turn, "fresh": fresh})):
        yield update


async def answer(asked: Asked) -> AsyncIterator[tuple[Any, ...]]:
    """UPDATES while every column answers."""
    turn = asked.turn | marks(asked.how)
    said, columns = asked.said, turns.columns(turn)
    growing: dict[str, dict[str, str]] = {column: {"text": ""} for column in columns}
    doing, opened, drawn = texts.STARTING, None, 0.0
    history = await asyncio.to_thread(chat.conversation, said, False, asked.marked) if said else ""
    seed = asked.how.decoding.seed
    pending = asked.kept([*said, turn])
    run = asked.folder.name
    if asked.session and _shown.get(asked.session, run) != run:  # another was chosen while this question waited
        yield NOTHING_MORE
        return
    stop = _stops[asked.session] = threading.Event()
    yield history, chat.turn(turn, len(said), doing), "", pending, gr.skip(), *controls(True), "", None, seed
    try:
        told = children.follow(
            children.ENGINE, "compare", stop, **call(asked.folder, asked.how, [*said, turn], columns)
        )
        async with aclosing(told):
            async for frame in told:
                if _stops.get(asked.session) is not stop:  # it was taken back
                    yield NOTHING_MORE
                    return
                before = doing
                doing, opened = heard(frame, growing, doing)
                if not opened and (doing != before or time.monotonic() - drawn > PACE_SECONDS):
                    drawn = time.monotonic()
                    live = chat.turn({**turn, **growing}, len(said), doing)
                    yield gr.skip(), live, *NOTHING_MORE[2:]
        assert opened is not None
        ended = await asyncio.to_thread(finished, asked, turn, columns, opened, stop.is_set())
        yield ended if _stops.get(asked.session) is stop else NOTHING_MORE
    except UserError as error:
        ended = await asyncio.to_thread(failed, asked, str(error))
        yield ended if _stops.get(asked.session) is stop else NOTHING_MORE
    finally:
        if _stops.get(asked.session) is stop:
            del _stops[asked.session]


def finished(
    asked: Asked, turn: Turn, columns: Sequence[str], opened: dict[str, Any], stopped: bool
) -> tuple[Any, ...]:
    """UPDATES once every column has answered, or was stopped."""
    cut = {"cut": True} if stopped else {}
    answers = {column: {**opened[column], **({} if opened[column]["stopped"] else cut)} for column in columns}
    for column, mark in opened.get("opened", {}).items():  # its thought was begun by the template
        answers[column]["opened"] = mark
    if opened.get("third", {}).get("column") == "prompted":  # so many left room for an answer
        turn = {**turn, "third": {**turn["third"], "name": chat_how.prompted(opened["third"]["examples"])}}
    said = [*asked.said, {**turn, **answers}]
    shown = chat.conversation(said, marked=asked.marked)
    note = chat.heard(texts.ANSWERED)
    return shown, "", gr.skip(), asked.kept(said), chat_mark.mark(opened), *controls(False), note, None, gr.skip()


def failed(asked: Asked, sentence: str) -> tuple[Any, ...]:
    """UPDATES when nothing was answered: the conversation as it was, the message to be sent again."""
    shown, kept = chat.conversation(asked.before, marked=asked.marked), asked.kept(asked.before)
    place = len(asked.said) if len(asked.said) < len(asked.before) else None
    note = "" if place is None else chat.changing(place, len(asked.before))
    box = asked.turn["prompt"]
    return shown, chat.failure(sentence), box, kept, gr.skip(), *controls(False), note, place, gr.skip()


@errors.shown
def stop(request: gr.Request, profile: gr.OAuthProfile | None) -> None:
    """End the answer this browser is waiting for, within a token; what was said so far stays."""
    access.visitor(request, profile, "chat")
    if answering := _stops.get(session(request)):
        answering.set()


def take_back(session: str) -> None:
    """End an answer that nobody is to see any more."""
    if unwanted := _stops.pop(session, None):
        unwanted.set()


def look_at(session: str, run: str) -> None:
    """The browser shows this run from now on: a question about another that still waits for its turn is dropped."""
    take_back(session)
    _shown.pop(session, None)
    _shown[session] = run
    while len(_shown) > MOST_SESSIONS:
        _shown.pop(next(iter(_shown)), None)


@errors.shown
def change(
    request: gr.Request, profile: gr.OAuthProfile | None, number: str | None, run: str | None, conversations: Any
) -> tuple[Any, str, int | None]:
    """An earlier message into the box, to be changed and sent again; "" leaves it as it was."""
    access.visitor(request, profile, "chat")
    said = turns.remembered(conversations, run or "")
    if not number:
        return "", "", None
    if not (str(number).isdecimal() and is_place(int(number), said)):
        raise UserError(texts.NO_SUCH_TURN)
    return said[int(number)]["prompt"], chat.changing(int(number), len(said)), int(number)


@errors.shown
def clear(
    request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, conversations: Any
) -> tuple[str, str, str, str, None, Any, Any]:
    """Forget this run's conversation in this browser, with the answer that is being given."""
    access.visitor(request, profile, "chat")
    take_back(session(request))
    return chat.conversation([]), "", turns.remember(conversations, run or "", []), "", None, *controls(False)


@errors.shown
def redraw(
    request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, conversations: Any, marked: bool | None
) -> str:
    """The conversation with the words marked that differ, or without."""
    access.visitor(request, profile)
    return chat.conversation(turns.remembered(conversations, run or ""), marked=bool(marked))


def is_place(number: Any, said: Sequence[Turn]) -> bool:
    return isinstance(number, int) and 0 <= number < len(said)


def controls(working: bool) -> tuple[Any, Any]:
    """Updates of ask and stop."""
    return gr.Button(visible=not working), gr.Button(visible=working)


def session(request: gr.Request | None) -> str:
    return str(request.session_hash) if request else ""
