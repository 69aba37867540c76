"""A conversation as the browser keeps it: per run the turns, each with its prompt and what both sides said. Pure.

It is kept as JSON text. Gradio's page applies a stream's next update to the value the component still holds: after
an update that skips it, a dictionary would have become {"__type__": "update"}.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pipeline.schema import Message
from ui.chat import SIDES, Turn

KEPT_TURNS, KEPT_RUNS = 40, 8  # in the browser's storage


def context(turns: Sequence[Turn]) -> list[Turn]:
    """The turns since the last fresh start."""
    start = max((i for i, turn in enumerate(turns) if turn.get("fresh")), default=0)
    return list(turns[start:])


def messages(turns: Sequence[Turn], side: str) -> list[Message]:
    """What one side has been told and has said since the last fresh start, ending in the question."""
    told = context(turns)
    system = told[0].get("system")
    found: list[Message] = [{"role": "system", "content": system}] if system else []
    for turn in told[:-1]:
        if "text" in (turn.get(side) or {}):
            found += [{"role": "user", "content": turn["prompt"]}, {"role": "assistant", "content": turn[side]["text"]}]
    return [*found, {"role": "user", "content": told[-1]["prompt"]}]


def remembered(conversations: Any, run: str) -> list[Turn]:
    """A run's turns as the browser kept them. It may hold anything: what is no turn is left out."""
    kept = _read(conversations).get(run)
    return [turn for turn in kept if valid(turn)] if isinstance(kept, list) else []


def valid(turn: Any) -> bool:
    if not (isinstance(turn, dict) and isinstance(turn.get("prompt"), str)):
        return False
    return all(isinstance(turn.get(key, ""), str) for key in ("system", "reference")) and all(
        isinstance(told := turn.get(side, {}), dict)
        and isinstance(told.get("text", ""), str)
        and measured(told.get("tokens", 0))
        and measured(told.get("seconds", 0))
        and ("tokens" not in told or {"seconds", "stopped"} <= told.keys())
        for side in SIDES
    )


def measured(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < 1e9


def remember(conversations: Any, run: str, turns: Sequence[Turn]) -> str:
    """The browser's conversations with this run's newest turns; the oldest ones make room."""
    others = {name: kept for name, kept in _read(conversations).items() if name != run}
    recent = dict(list(others.items())[-(KEPT_RUNS - 1) :])
    return json.dumps({**recent, run: list(turns)[-KEPT_TURNS:]})


def _read(conversations: Any) -> dict[str, Any]:
    try:
        kept = json.loads(conversations)
    except (TypeError, ValueError, RecursionError):
        return {}
    return kept if isinstance(kept, dict) else {}
