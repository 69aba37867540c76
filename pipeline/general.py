"""Twenty everyday tasks that no tuning should break: one pack for real models, one for what the bundled model knows.

Reads examples/general.jsonl and examples/tiny-general.jsonl: one {"task", "messages", "reference"? or "check"?} per line.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from pipeline import config
from pipeline.schema import Message

PACK = config.ROOT / "examples" / "general.jsonl"
TINY_PACK = config.ROOT / "examples" / "tiny-general.jsonl"


class Check(TypedDict, total=False):
    """What a good answer to an open question shows; texts are found whatever their case."""

    contains: list[str]
    any: list[str]
    json: list[str]
    lines: int
    most_words: int


class Task(TypedDict):
    """A prompt, and the one right answer or what to look for in one."""

    task: str
    messages: list[Message]
    reference: NotRequired[str]
    check: NotRequired[Check]


def pack(model: str) -> Path:
    """The pack for a model given by its id, its name or its folder: the bundled one knows its own small world only."""
    bundled = {*config.BUNDLED, *map(str, config.BUNDLED.values())}
    return TINY_PACK if model in bundled or os.path.realpath(model) in bundled else PACK


def tasks(model: str) -> list[Task]:
    with pack(model).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def passes(task: Task, answer: str) -> bool:
    """Whether an answer is the reference, or shows what the check asks for; any answer will do where there is neither."""
    if "reference" in task:
        return answer.strip() == task["reference"]
    check, said = task.get("check", {}), answer.casefold()
    return (
        all(text.casefold() in said for text in check.get("contains", []))
        and any(text.casefold() in said for text in check.get("any", [""]))
        and len(said.split()) <= check.get("most_words", len(said.split()))
        and _lines(answer) == check.get("lines", _lines(answer))
        and ("json" not in check or check["json"] == list(_object(answer)))
    )


def _lines(answer: str) -> int:
    return sum(bool(line.strip()) for line in answer.splitlines())


def _object(answer: str) -> dict[str, Any]:
    """The JSON object an answer is, with or without a code fence around it; empty for any other."""
    text = re.sub(r"\A\s*```\w*|```\s*\Z", "", answer)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
