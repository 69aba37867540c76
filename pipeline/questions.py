"""Held-out rows as they are asked, and as the likelihood of their references is measured."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from pipeline import sides, template
from pipeline.answering import Asked
from pipeline.conversations import split_answer
from pipeline.errors import UserError
from pipeline.schema import Message, Row
from pipeline.sides import Pair


@dataclass(frozen=True)
class Question:
    """A held-out row as it is asked: prompt ids (none for plain text), the reference, and ids and labels for its loss.

    `base` is the same as the base reads it, where it lacks some of the tokens.
    """

    row: int
    messages: list[Message]
    reference: str
    prompt: list[int]
    ids: list[int]
    labels: list[int]
    base: Question | None = None

    @property
    def asked(self) -> Asked:
        return Asked(f"row {self.row}", {"base": (self.base or self).prompt, "tuned": self.prompt})

    @property
    def length(self) -> int:
        return max(len(self.ids), len(self.base.ids) if self.base else 0)


def question(pair: Pair, row: Row) -> Question:
    """A held-out row as prompt and reference; its last answer is the one that is asked for."""
    asked = _question(pair, row, "tuned")
    return asked if pair.same_ids else dataclasses.replace(asked, base=_question(pair, row, "base"))


def _question(pair: Pair, row: Row, side: str) -> Question:
    tokenizer = pair.reader(side)
    if "text" in row:
        rendered = template.render_text(tokenizer, row["text"])
        whole = template.example(row, rendered, sides.context(pair) or len(rendered.ids))  # cut as in training
        return Question(row["row"], [], "", [], whole.input_ids, whole.labels)
    messages, reference = split_answer({"messages": row["messages"]})
    tools = row.get("tools")
    conversation: Any = {"messages": row["messages"], **({"tools": tools} if tools else {})}
    try:
        rendered = template.render(tokenizer, pair.template, conversation, "last answer")
    except UserError as error:
        raise UserError(f"held-out row {row['row']}: {error}") from error
    whole = template.example(row, rendered, len(rendered.ids))
    prompt = template.prompt_ids(tokenizer, pair.template, messages, tools)
    return Question(row["row"], messages, reference, prompt, whole.input_ids, whole.labels)
