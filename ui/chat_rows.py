"""Held-out rows as messages for the chat: those that ask one thing, each with the answer that a person wrote."""

from __future__ import annotations

from pathlib import Path

from pipeline import dataset
from pipeline.conversations import split_answer
from ui.turns import Turn

MOST = 60  # offered as prompts
GUESTS_ROWS = 200  # held-out rows of a shared run that a guest may see


def offered(folder: Path) -> list[Turn]:
    """The first of them: prompt, system prompt, and reference."""
    return [turn for _, turn in single_questions(folder)][:MOST]


def single_questions(folder: Path, most: int | None = None) -> list[tuple[int, Turn]]:
    """(row, turn) of every held-out row that asks one thing; with `most`, of the first so many that ask anything."""
    found: list[tuple[int, Turn]] = []
    looked_at = 0
    if not (folder / "held_out.jsonl").exists():
        return found
    for row in dataset.read_part(folder, "held_out"):
        if not row["messages"]:  # plain text asks nothing
            continue
        looked_at += 1
        if most is not None and looked_at > most:
            break
        before, reference = split_answer({"messages": row["messages"]})
        system = before[0]["content"] if before and before[0]["role"] == "system" else ""
        asked = [message for message in before if message["role"] != "system"]
        if len(asked) == 1 and asked[0]["role"] == "user" and not row.get("tools"):
            found.append((row["row"], {"prompt": asked[0]["content"], "system": system, "reference": reference}))
    return found
