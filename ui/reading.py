"""What the page asks the reader about: rows that were chosen, the model whose tokens they become, how they are learned."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from pipeline import config, home, uploads
from pipeline.errors import UserError
from pipeline.schema import Message, Model, Source, TrainConfig, to_json
from ui import children, form, texts

EXAMPLES = config.ROOT / "examples"
FILES = {
    "tiny-yoda": "tiny-yoda.jsonl", "yoda": "yoda.jsonl", "support": "support.csv", "summaries": "summaries.jsonl",
    "sharegpt": "sharegpt.json", "alpaca": "alpaca.json",
}  # fmt: skip
READ_AS = ("loss_on", "max_length")
INSPECT_SECONDS = 180.0
ROW_SECONDS = 180.0  # the file may have to be read again


@dataclass(frozen=True)
class Question:
    source: Source
    model: Model
    max_length: int
    loss_on: str


def source_of(choice: dict[str, Any] | None, system: str | None) -> Source:
    """What a choice of the Data tab means. Raises UserError when nothing is chosen, or what was is gone."""
    chosen = choice if isinstance(choice, dict) else {}
    name = chosen.get("example")
    if "upload" in chosen:
        source = Source(str(uploads.find(chosen["upload"])))
    elif name == "tiny-yoda":
        source = config.read(EXAMPLES / "tiny-yoda.json").source  # it has a held-out file of its own
    elif isinstance(name, str) and name in FILES:
        source = Source(str(EXAMPLES / FILES[name]))
    else:
        raise UserError(texts.NOTHING_CHOSEN)
    return dataclasses.replace(source, system=(system or "").strip() or None)


def question(
    choice: Any, model: str | None, system: str | None, loss_on: str | None, max_length: float | None
) -> Question:
    """Raises UserError for a choice that is gone, a model that can't be one, or a setting outside its bounds."""
    settings = form.read(TrainConfig, READ_AS, (loss_on, max_length))
    base = config.locate_model((model or "").strip(), home.home())
    return Question(source_of(choice, system), Model(base), settings.max_length, settings.loss_on)


def read(verb: str, seconds: float, asked: Question, **values: Any) -> Any:
    return children.READER.ask(verb, seconds, **dataclasses.asdict(asked), **values)


def inspect_rows(source: Source) -> dict[str, Any]:
    """Shape, counts and problems of a source, without a model: nothing is made into tokens."""
    settings = {"max_length": TrainConfig.max_length, "loss_on": TrainConfig.loss_on}
    found: dict[str, Any] = children.READER.ask(
        "inspect", INSPECT_SECONDS, source=to_json(source), model=None, **settings
    )
    return found


def split_answer(shown: dict[str, Any]) -> tuple[list[Message], str]:
    """The messages before a row's last answer, and that answer. Raises UserError where there is none."""
    answers = [place for place, message in enumerate(shown["messages"]) if message["role"] == "assistant"]
    if not answers:
        raise UserError(texts.NO_ANSWER_IN_ROW.format(row=shown["row"]))
    return shown["messages"][: answers[-1]], shown["messages"][answers[-1]]["content"]
