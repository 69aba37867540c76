"""What the page asks the reader about: rows that were chosen, the model whose tokens they become, how they are learned."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from pipeline import config, home, uploads
from pipeline.errors import UserError
from pipeline.methods import METHODS
from pipeline.schema import Message, Model, Source, TrainConfig, from_json, to_json
from ui import children, form, texts

EXAMPLES = config.ROOT / "examples"
FILES = {
    "tiny-yoda": "tiny-yoda.jsonl", "yoda": "yoda.jsonl", "support": "support.csv", "summaries": "summaries.jsonl",
    "sharegpt": "sharegpt.json", "alpaca": "alpaca.json",
}  # fmt: skip
ADDS = ("method", "new_tokens", "virtual_tokens")
READ_AS = ("loss_on", "max_length", "template")
CORRECTED = ("columns", "patterns", "choices")  # what somebody said against the guess, kept with the choice
INSPECT_SECONDS = 180.0
ROW_SECONDS = 180.0  # the file may have to be read again


@dataclass(frozen=True)
class Question:
    source: Source
    model: Model
    max_length: int
    loss_on: str


def source_of(choice: Any, system: str | None) -> Source:
    """What a choice of the Data tab means. Raises UserError when nothing is chosen, or what was is gone."""
    chosen = choice if isinstance(choice, dict) else {}
    name, more = chosen.get("example"), chosen.get("more")
    if "upload" in chosen:
        others = tuple(str(uploads.find(upload)) for upload in more) if isinstance(more, list) else ()
        source = Source(str(uploads.find(chosen["upload"])), more_paths=others)
    elif name == "tiny-yoda":
        source = config.read(EXAMPLES / "tiny-yoda.json").source  # it has a held-out file of its own
    elif isinstance(name, str) and name in FILES:
        source = Source(str(EXAMPLES / FILES[name]))
    else:
        raise UserError(texts.NOTHING_CHOSEN)
    said = {name: chosen[name] for name in CORRECTED if chosen.get(name)}
    return from_json(Source, {**to_json(source), **said, "system": (system or "").strip() or None}, texts.DATA_TAB)


def question(choice: Any, model: str | None, system: str | None, *settings: Any) -> Question:
    """`settings` are the values of READ_AS, then those of ADDS. Raises UserError for a choice that is gone, a model that
    can't be one, or a setting outside its bounds."""
    wanted = form.read(TrainConfig, READ_AS, settings[: len(READ_AS)])
    base = config.locate_model((model or "").strip(), home.home())
    named = Model(base, template=wanted.template, **added(*settings[len(READ_AS) :]))
    return Question(source_of(choice, system), named, wanted.max_length, wanted.loss_on)


def added(method: Any = "", new_tokens: Any = "", virtual_tokens: Any = 0) -> dict[str, Any]:
    """The tokens that the Train tab's method adds to every text or to the tokenizer, as Model has them.

    What can't be trained like that is said there, not here.
    """
    uses = METHODS[method].uses if method in METHODS else ()
    virtual = virtual_tokens if "virtual_tokens" in uses and isinstance(virtual_tokens, int | float) else 0
    return {
        "new_tokens": str(new_tokens or "") if "new_tokens" in uses else "", "virtual_tokens": max(0, int(virtual))
    }  # fmt: skip


def read(verb: str, seconds: float, asked: Question, **values: Any) -> Any:
    return children.READER.ask(verb, seconds, **dataclasses.asdict(asked), **values)


def inspect_rows(source: Source) -> dict[str, Any]:
    """Shape, counts and problems of a source, without a model: nothing is made into tokens."""
    settings = {"max_length": TrainConfig.max_length, "loss_on": TrainConfig.loss_on}
    found: dict[str, Any] = children.READER.ask(
        "inspect", INSPECT_SECONDS, source=to_json(source), model=None, **settings
    )
    return found


def columns(source: Source) -> dict[str, Any]:
    """The file's columns with their first values, the roles they play, and the first conversations, as far as it goes."""
    found: dict[str, Any] = children.READER.ask("columns", INSPECT_SECONDS, source=to_json(source))
    return found


def split_answer(shown: dict[str, Any]) -> tuple[list[Message], str]:
    """The messages before a row's last answer, and that answer. Raises UserError where there is none."""
    answers = [place for place, message in enumerate(shown["messages"]) if message["role"] == "assistant"]
    if not answers:
        raise UserError(texts.NO_ANSWER_IN_ROW.format(row=shown["row"]))
    return shown["messages"][: answers[-1]], shown["messages"][answers[-1]]["content"]
