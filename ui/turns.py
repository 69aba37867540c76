"""A conversation as the browser keeps it: per run the turns, each with its prompt and what every column said. Pure.

It is kept as JSON text. Gradio's page applies a stream's next update to the value the component still holds: after
an update that skips it, a dictionary would have become {"__type__": "update"}.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pipeline.schema import Message

SIDES = ("base", "tuned")
THIRDS = ("other", "prompted")  # at most one of them stands beside the two
OWN, THIRD = "own", "third"  # what a conversation goes on from: each column's own answers, or those of one column
KEPT_TURNS, KEPT_RUNS = 40, 8  # in the browser's storage
MOST_KEPT = 5_000_000  # characters of it

# prompt, fresh, system, reference, and by column: text, tokens, seconds, first, stopped (None: unknown); where there are
# such: third {column, key, name}, goes_on (a column), temperature and seed of an answer that was drawn
Turn = dict[str, Any]


def columns(turn: Turn) -> list[str]:
    """The columns that a turn was put to, from left to right."""
    third = turn.get("third")
    return [*SIDES, third["column"]] if third else [*SIDES]


def context(turns: Sequence[Turn]) -> list[Turn]:
    """The turns since the last fresh start."""
    start = max((i for i, turn in enumerate(turns) if turn.get("fresh")), default=0)
    return list(turns[start:])


def anew(said: Sequence[Turn], system: str, third: dict[str, str] | None) -> bool:
    """Whether the next message begins a new conversation: under another system prompt, or to another third column."""
    if not said:
        return True
    first = context(said)[0]
    other = third is not None and third["key"] != (first.get("third") or {}).get("key")
    return other or system != first.get("system", "")


def source(goes_on: str, third: dict[str, str] | None) -> str:
    """The column whose answers all go on from, "" where each goes on from its own."""
    if goes_on == THIRD and third:
        return third["column"]
    return goes_on if goes_on in SIDES else ""


def messages(turns: Sequence[Turn], column: str) -> list[Message]:
    """What a column has been told and has said since the last fresh start, ending in the question.

    Where the last turn goes on from one column, every column reads that one's answers as its own.
    """
    told = context(turns)
    spoken = told[-1].get("goes_on") or column
    system = told[0].get("system")
    found: list[Message] = [{"role": "system", "content": system}] if system else []
    for turn in told[:-1]:
        if "text" in (turn.get(spoken) or {}):
            answer = turn[spoken]["text"]
            found += [{"role": "user", "content": turn["prompt"]}, {"role": "assistant", "content": answer}]
    return [*found, {"role": "user", "content": told[-1]["prompt"]}]


def remembered(conversations: Any, run: str) -> list[Turn]:
    """A run's turns as the browser kept them. It may hold anything: what is no turn is left out."""
    kept = _read(conversations).get(run)
    return [turn for turn in kept[-KEPT_TURNS:] if valid(turn)] if isinstance(kept, list) else []


def valid(turn: Any) -> bool:
    if not (isinstance(turn, dict) and isinstance(turn.get("prompt"), str)):
        return False
    return (
        all(isinstance(turn.get(key, ""), str) for key in ("system", "reference"))
        and all(measured(turn.get(key, 0)) for key in ("seed", "temperature"))
        and turn.get("goes_on", "") in ("", *SIDES, *THIRDS)
        and _is_third(turn.get("third"))
        and all(_is_answer(turn.get(column, {})) for column in (*SIDES, *THIRDS))
    )


def measured(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < 2**31


def remember(conversations: Any, run: str, turns: Sequence[Turn]) -> str:
    """The browser's conversations with this run's newest turns; the oldest ones make room."""
    others = {name: kept for name, kept in _read(conversations).items() if name != run}
    recent = dict(list(others.items())[-(KEPT_RUNS - 1) :])
    return json.dumps({**recent, run: list(turns)[-KEPT_TURNS:]})


def _is_third(third: Any) -> bool:
    if third is None:
        return True
    named = isinstance(third, dict) and all(isinstance(third.get(key), str) for key in ("column", "key", "name"))
    return named and third["column"] in THIRDS


def _is_answer(told: Any) -> bool:
    return (
        isinstance(told, dict)
        and all(isinstance(told.get(key, ""), str) for key in ("text", "opened"))
        and all(measured(told.get(key, 0)) for key in ("tokens", "seconds", "first"))
        and ("tokens" not in told or {"seconds", "stopped"} <= told.keys())
    )


def _read(conversations: Any) -> dict[str, Any]:
    if not isinstance(conversations, str) or len(conversations) > MOST_KEPT:
        return {}
    try:
        kept = json.loads(conversations)
    except (ValueError, RecursionError):
        return {}
    return kept if isinstance(kept, dict) else {}
