"""The conversation of Compare as HTML: each message above the answers of its columns. Pure; everything foreign is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from html import escape
from typing import Any

from pipeline import thinking, word_difference
from ui import texts
from ui.turns import THIRDS, Turn, columns

MOST_MARKED = 20_000  # characters of an answer whose words are held against another's
parts = lru_cache(maxsize=256)(word_difference.parts)  # asked for by both sides, and with every redrawing


def about(run: Mapping[str, Any] | None) -> str:
    """Who is who: the base as it came, and the same weights with what this run has learned."""
    if not run:
        return f'<p class="quiet">{escape(texts.NO_RUN_YET)}</p>'
    words = texts.ABOUT.format(model=run["model"].rstrip("/").rpartition("/")[2], run=run["name"])
    if not run["adapter"]:
        words = texts.ABOUT_NOTHING.format(run=run["name"], status=texts.RUN_STATES.get(run["status"], run["status"]))
    return f"<p>{escape(words)}</p>"


def failure(sentence: str) -> str:
    return f'<p class="failed" role="alert">{escape(sentence)}</p>'


def heard(sentence: str) -> str:
    """For those who listen to the page: what the others see."""
    return f'<p class="only-heard">{escape(sentence)}</p>'


def changing(number: int, of: int) -> str:
    """What sending an earlier message once more drops, with a way back. `number` counts from 0."""
    after = of - number - 1
    dropped = texts.CHANGING_ONLY if not after else texts.CHANGING_MORE.format(messages=several(after))
    words = texts.CHANGING.format(n=number + 1, dropped=dropped)
    leave = f'<button type="button" class="small" data-change-turn="">{escape(texts.CHANGING_LEAVE)}</button>'
    return f'<p class="changing">{escape(words)} {leave}</p>'


def several(messages: int) -> str:
    return texts.ONE_MESSAGE if messages == 1 else texts.SEVERAL_MESSAGES.format(n=messages)


def conversation(turns: Sequence[Turn], tools: bool = True, marked: bool = False) -> str:
    """All turns; with `tools` each can be changed and the last be answered again, `marked` shows the words that differ."""
    if not turns:
        return f'<p class="quiet empty">{escape(texts.NOTHING_ASKED)}</p>'
    legend = f'<p class="quiet">{escape(texts.MARKED_LEGEND)}</p>' if marked else ""
    told = [
        turn(each, number, tools=tools, last=tools and number == len(turns) - 1, marked=marked)
        for number, each in enumerate(turns)
    ]
    return legend + "".join(told)


def turn(
    told: Turn, number: int = 0, doing: str = "", tools: bool = False, last: bool = False, marked: bool = False
) -> str:
    """One message and its answers; `doing` says what is going on while they grow. `number` counts from 0."""
    answered = any(told.get(name) for name in columns(told))
    return (
        f'{setting(told, number)}<div class="turn">{asked(told, number, tools)}{answers(told, bool(doing), marked)}'
        f"{drawn(told, answered, last)}{state(doing)}{original(told)}</div>"
    )


def setting(told: Turn, number: int) -> str:
    """What a message is said under: a fresh start, a system prompt, another column's answers."""
    fresh = told.get("fresh") or not number
    parted = f'<p class="parted"><span>{escape(texts.FRESH_TURN)}</span></p>' if told.get("fresh") and number else ""
    system = told.get("system") if fresh else None
    under = f'<p class="system quiet">{escape(texts.SYSTEM_PROMPT)}: {escape(system)}</p>' if system else ""
    goes_on = told.get("goes_on") if not fresh else None
    after = f'<p class="quiet">{escape(texts.WENT_ON.format(name=label(told, goes_on)))}</p>' if goes_on else ""
    return parted + under + after


def asked(told: Turn, number: int, tools: bool) -> str:
    change = (
        f'<button type="button" class="small" data-change-turn="{number}" '
        f'aria-label="{escape(texts.CHANGE_TURN_LABEL.format(n=number + 1))}">{escape(texts.CHANGE_TURN)}</button>'
        if tools
        else ""
    )
    return f'<div class="asking"><p class="asked">{escape(told["prompt"])}</p>{change}</div>'


def answers(told: Turn, growing: bool, marked: bool) -> str:
    """The columns beside each other."""
    names = columns(told)
    if not growing and not any(told.get(name) for name in names):  # the page was closed, or another run was chosen
        return f'<p class="quiet">{escape(texts.UNANSWERED)}</p>'
    shown = "".join(
        side(name, told.get(name) or {}, label(told, name), opposite(told, name) if marked and not growing else None)
        for name in names
    )
    return f'<div class="pair columns-{len(names)}">{shown}</div>'


def label(told: Turn, name: str) -> str:
    """What a column is called: the third one by what it is."""
    return str(told["third"]["name"]) if name in THIRDS and told.get("third") else texts.SIDES.get(name, name)


def drawn(told: Turn, answered: bool, last: bool) -> str:
    """How an answer was drawn, and below the last one the way to another."""
    words = (
        texts.DRAWN.format(temperature=told["temperature"], seed=int(told["seed"])) if told.get("temperature") else ""
    )
    once_more = texts.ANSWER_AGAIN if answered else texts.ASK_ONCE_MORE
    button = f'<button type="button" class="small" data-again>{escape(once_more)}</button>' if last else ""
    return f'<p class="quiet drawn">{escape(words)} {button}</p>' if words or button else ""


def state(doing: str) -> str:
    return f'<p class="quiet doing" role="status">{escape(doing)}</p>' if doing else ""


def original(told: Turn) -> str:
    """What the data says, folded."""
    if not told.get("reference"):
        return ""
    return (
        f"<details><summary>{escape(texts.REFERENCE)}</summary>"
        f"<p class='answer'>{escape(told['reference'])}</p></details>"
    )


def opposite(told: Turn, name: str) -> str:
    """The answer that a column's words are held against: Tuned's for Base, Base's for the others."""
    other = told.get("tuned" if name == "base" else "base") or {}
    return thinking.split(other.get("text", ""), other.get("opened"))[1]


def side(name: str, answer: Mapping[str, Any], called: str = "", against: str | None = None) -> str:
    """One column's answer with its name, and how it ended; words that `against` does not say are marked."""
    called = called or texts.SIDES.get(name, name)
    return (
        f'<section class="side {name}" aria-label="{escape(called)}"><b class="name">{escape(called)}</b>'
        f'{spoken(name, answer, against)}<p class="quiet">{escape(how_it_ended(answer))}</p></section>'
    )


def spoken(name: str, answer: Mapping[str, Any], against: str | None = None) -> str:
    """What was said, below what was thought first, which is folded; while it grows, how much that is."""
    thought, text = thinking.split(answer.get("text", ""), answer.get("opened"))
    growing, words = "tokens" not in answer, len(thought.split())
    if growing and thought and not text:
        return f'<div class="answer quiet">{escape(texts.THINKING.format(n=words))}</div>'
    folded = (
        f'<details class="thought"><summary>{escape(texts.THOUGHT.format(n=words))}</summary>'
        f'<p class="answer">{escape(thought)}</p></details>'
        if thought
        else ""
    )
    if text.strip():
        shown = escape(text) if against is None else differing(name, text, against)
    else:
        shown = "…" if growing else f'<i class="quiet">{escape(texts.NO_TEXT)}</i>'
    return f'{folded}<div class="answer">{shown}</div>'


def differing(name: str, text: str, against: str) -> str:
    """The text with the words marked that the other one does not say; none where one of them is very long."""
    if max(len(text), len(against)) > MOST_MARKED:
        return escape(text)
    own = "left" if name == "base" else "right"
    both = (text, against) if own == "left" else (against, text)
    return "".join(
        marked(piece) if kind == own else escape(piece) for kind, piece in parts(*both) if kind in ("same", own)
    )


def marked(piece: str) -> str:
    """The piece underlined, without the blank around it."""
    words = piece.strip()
    before, _, after = piece.partition(words) if words else (piece, "", "")
    return f"{before}<mark>{escape(words)}</mark>{after}" if words else before


def how_it_ended(answer: Mapping[str, Any]) -> str:
    """Tokens, speed, the wait for the first token, and why it ended, in words."""
    if "tokens" not in answer:
        return ""
    speed = answer["tokens"] / answer["seconds"] if answer["seconds"] else 0.0
    ended = texts.CUT_SHORT if answer.get("cut") else texts.BY_ITSELF if answer["stopped"] else texts.HIT_LIMIT
    facts = texts.ANSWER_FACTS.format(tokens=answer["tokens"], speed=speed, ended=ended)
    return f"{facts} · {texts.FIRST_AFTER.format(first=answer['first'])}" if answer.get("first") else facts
