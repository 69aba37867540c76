"""A round's votes as a spreadsheet, and as preference pairs to train on. No heavy import.

Both tell the names, so they take votes that are read after the reveal.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.opinions import opinions_of, outcomes_of
from pipeline.rounds import Round, left
from pipeline.schema import Message
from pipeline.votes import CRITERIA, Vote

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a cell a formula when it begins with it; the last four are full-width = + - @."""
UTF8_FOR_EXCEL = "utf-8-sig"

Answers = Sequence[Mapping[str, Mapping[str, Any]]]


def table(asked: Round, cast: Sequence[Vote], answers: Answers) -> bytes:
    """CSV, one line per vote with both answers. A text that a spreadsheet would take for a formula stands behind a '."""
    written = io.StringIO(newline="")
    lines = csv.writer(written)
    lines.writerow(_header(asked))
    stood = left(asked)
    for vote, opinion in zip(cast, opinions_of(asked, cast), strict=True):
        item, given = asked.items[vote.item - 1], answers[vote.item - 1]
        on_left = stood[vote.item - 1]
        on_right = next(column for column in asked.columns if column != on_left)
        scores = [value for name in CRITERIA for value in opinion.scores.get(name, (None, None))]
        texts = [prompt_text(item["messages"]), item["reference"], *(given[column]["text"] for column in asked.columns)]
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(vote.made))
        head = [asked.id, vote.item, item["row"], vote.judge, vote.name, opinion.choice, on_left, on_right]
        lines.writerow([safe(value) for value in (*head, *scores, vote.note, when, *texts)])
    return written.getvalue().encode(UTF8_FOR_EXCEL, errors="replace")


def _header(asked: Round) -> list[str]:
    scored = [f"{name} of {column}" for name in CRITERIA for column in asked.columns]
    head = ["round", "item", "row", "judge", "name", "choice", "left", "right"]
    return [*head, *scored, "note", "time", "prompt", "reference", *asked.columns]


def safe(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def prompt_text(messages: Sequence[Message]) -> str:
    """A lone message as it is, several with who says them."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)


def pairs(asked: Round, cast: Sequence[Vote], answers: Answers) -> Iterator[dict[str, Any]]:
    """{"prompt", "chosen", "rejected"}, TRL's conversational preference format, of each item that a majority decided.

    Two answers with the same text teach nothing and are left out.
    """
    outcomes = outcomes_of(opinions_of(asked, cast))
    for item in asked.items:
        chosen = outcomes.get(item["item"])
        if chosen not in asked.columns:
            continue
        rejected = next(column for column in asked.columns if column != chosen)
        texts = [answers[item["item"] - 1][column]["text"] for column in (chosen, rejected)]
        if texts[0] != texts[1]:
            said = [[{"role": "assistant", "content": text}] for text in texts]
            tools = {"tools": item["tools"]} if "tools" in item else {}
            yield {"prompt": item["messages"], "chosen": said[0], "rejected": said[1], **tools}


def pair_lines(asked: Round, cast: Sequence[Vote], answers: Answers) -> bytes:
    """The pairs as JSON Lines."""
    lines = (json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs(asked, cast, answers))
    return "".join(lines).encode(errors="replace")
