"""Validation prompts answered while a model learns: by the base once, by the tuned model at every look.

Greedy, and with the random numbers put back, so that the run is the same to the last bit with or without.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig

from pipeline import sides, template
from pipeline.chat_templates import Template
from pipeline.conversations import split_answer
from pipeline.schema import Row

LONGEST_ANSWER = 48  # tokens of an answer that is watched
LONGEST_TEXT = 400  # characters that an event holds of a text
LONGEST_CHECKED = 256  # tokens of an answer that is checked after training
MANY_TOKENS = 8  # one token, so often in an answer that is nothing else


@dataclass(frozen=True)
class Question:
    """A row as it is asked: what a person reads as its prompt, the reference answer, and the prompt's ids."""

    row: Row
    prompt: str
    reference: str
    ids: list[int]


@dataclass(frozen=True)
class Answer:
    """Ids without the stop token, and whether there was one within the limit."""

    text: str
    ids: tuple[int, ...]
    stopped: bool


def chosen(rows: Sequence[Row], tokenizer: Any, made: Template, most: int, count: int) -> list[Question]:
    """`count` questions, evenly chosen among the rows whose prompt has at most `most` tokens."""
    fit = [q for q in (question(row, tokenizer, made) for row in rows) if len(q.ids) <= most]
    return [fit[i * len(fit) // count] for i in range(count)] if len(fit) > count else fit


def question(row: Row, tokenizer: Any, made: Template) -> Question:
    """What leads to a row's last answer; of plain text, its beginning."""
    ids = template.row_prompt(tokenizer, made, row)
    if "text" in row:
        whole = template.render_text(tokenizer, row["text"]).ids
        rest = tokenizer.decode(whole[len(ids) :], skip_special_tokens=True)
        return Question(row, tokenizer.decode(ids, skip_special_tokens=True), rest, ids)
    before, reference = split_answer({"messages": row["messages"]})
    return Question(row, before[-1]["content"] if before else "", reference, ids)


def answer_room(asked: Sequence[Question], tokenizer: Any) -> int:
    """Tokens in which an answer like the references should have ended, and no more than LONGEST_CHECKED."""
    lengths = [len(tokenizer(q.reference, add_special_tokens=False)["input_ids"]) for q in asked]
    return min(LONGEST_CHECKED, 2 * max(lengths, default=0) + 16)


@torch.no_grad()
def answers(
    asked: Any, tokenizer: Any, made: Template, prompts: Sequence[Sequence[int]], most: int, computed: str = "float32"
) -> list[Answer]:
    """Greedy answers of at most `most` tokens by a model as it stands, which is left as it was found."""
    settings = GenerationConfig(
        max_new_tokens=most,
        do_sample=False,
        eos_token_id=list(made.stop_ids),
        pad_token_id=tokenizer.pad_token_id,
    )
    with _untouched(asked, settings), _autocast(asked.device.type, computed):
        # padding would stand between virtual tokens and the prompt
        batches = [[prompt] for prompt in prompts] if sides.virtual_tokens(asked) else [prompts]
        return [
            _answer(tokenizer, ids, made.stop_ids)
            for together in batches
            for ids in _generated(asked, sides.pad_left(together, tokenizer, asked.device), settings)
        ]


def _generated(asked: Any, batch: dict[str, torch.Tensor], settings: GenerationConfig) -> list[list[int]]:
    found: list[list[int]] = asked.generate(**batch, generation_config=settings)[
        :, batch["input_ids"].shape[1] :
    ].tolist()
    return found


@contextlib.contextmanager
def _untouched(asked: Any, settings: GenerationConfig) -> Iterator[None]:
    """In eval mode and with other generation settings for a while; the random numbers go on as if nothing had been."""
    core = asked.get_base_model() if hasattr(asked, "get_base_model") else asked
    training, before = asked.training, core.generation_config
    asked.eval()
    asked.generation_config = settings  # the model's own would fill what is left open, a penalty for example
    try:
        with torch.random.fork_rng():
            yield
    finally:
        asked.generation_config = core.generation_config = before
        asked.train(training)


def _autocast(device: str, computed: str) -> contextlib.AbstractContextManager[Any]:
    """The one the trainer computes under: weights that are trained in 32 bit are asked as they are trained."""
    if computed == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device, dtype=getattr(torch, computed))


def _answer(tokenizer: Any, ids: Sequence[int], stop_ids: Sequence[int]) -> Answer:
    end = next((place for place, token in enumerate(ids) if token in stop_ids), len(ids))
    return Answer(tokenizer.decode(ids[:end], skip_special_tokens=True), tuple(ids[:end]), end < len(ids))


class Watch:
    """The same few prompts at every look: what the base said before training, and what the tuned model says now.

    `tokenizer` and `made` are the base's own: without the tokens that are only being learned. `seconds` is what one look
    took the base.
    """

    def __init__(self, asked: Sequence[Question], base: Any, tokenizer: Any, made: Template) -> None:
        self.asked, begun = list(asked), time.monotonic()
        prompts = [question(each.row, tokenizer, made).ids for each in asked]
        self.base = answers(base, tokenizer, made, prompts, LONGEST_ANSWER)
        self.seconds = time.monotonic() - begun

    def look(self, adapted: Any, tokenizer: Any, made: Template, computed: str) -> list[dict[str, Any]]:
        """One entry per prompt for an event of kind "samples"; each text has at most LONGEST_TEXT characters."""
        tuned = answers(adapted, tokenizer, made, [each.ids for each in self.asked], LONGEST_ANSWER, computed)
        return [
            {
                "row": each.row["row"],
                "prompt": _cut(each.prompt),
                "reference": _cut(each.reference),
                "base": _cut(base.text),
                "tuned": _cut(answer.text),
            }
            for each, base, answer in zip(self.asked, self.base, tuned, strict=True)
        ]


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def complaint(answer: Answer) -> str:
    """What is wrong with an answer whatever was asked, or nothing."""
    if not answer.text.strip():
        return "empty"
    if len(answer.ids) >= MANY_TOKENS and Counter(answer.ids).most_common(1)[0][1] > 0.9 * len(answer.ids):
        return "one word over and over"
    if "\ufffd" in (answer.text if answer.stopped else answer.text[:-1]):  # a cut may go through a character
        return "broken characters"
    return "" if answer.stopped else "without an end"


def verdict(found: Sequence[Answer], endless: bool = True) -> str:
    """A sentence on answers that look broken, or nothing. One that goes on to the limit is no news; most of them are.

    `endless` is False for plain text, which goes on.
    """
    counted = Counter(filter(None, map(complaint, found)))
    if not endless or counted["without an end"] <= len(found) / 2:
        del counted["without an end"]
    if not counted:
        return ""
    said = ", ".join(f"{n} {what}" for what, n in counted.most_common())
    return (
        f"{len(found)} validation prompts were asked once more after training: {said}. Look at the answers before you "
        "trust this model; a smaller learning rate or fewer epochs often help."
    )
