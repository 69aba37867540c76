"""What the engine is asked for the chat, and what it tells while every column answers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.schema import to_json
from ui import texts, turns
from ui.chat_how import How
from ui.turns import Turn


def call(folder: Path, how: How, said: Sequence[Turn], columns: Iterable[str]) -> dict[str, Any]:
    """The engine's `compare`: what each column has been told and is asked."""
    third = {"third": how.third} if how.third else {}
    told = {column: turns.messages(said, column) for column in columns}
    return {"folder": str(folder), "asked": told, "decoding": to_json(how.decoding), **third}


def heard(
    frame: Sequence[dict[str, Any]], growing: dict[str, dict[str, str]], doing: str
) -> tuple[str, dict[str, Any] | None]:
    """What is going on and, at the end, the result, after what the engine has told; the answers grow by it."""
    result = None
    for item in frame:
        doing = state(item) if "phase" in item or "waiting" in item else doing
        result = item.get("result")
        for column in growing:
            growing[column]["text"] += "" if result else item.get(column, "")
        for column, mark in (item.get("opened") or {}).items():
            if column in growing:
                growing[column]["opened"] = mark
    return doing, result


def state(item: dict[str, Any]) -> str:
    """What the engine is doing, in words."""
    if "waiting" in item:
        return texts.WAITING.format(whom=item["waiting"])
    return texts.PHASES.get(item["phase"], item["phase"])
