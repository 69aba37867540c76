"""Blind rounds: prompts fixed when a round opens, both answers to each, and which of them stands on the left.

Reads and writes <run>/rounds/<id>/: round.json and, once the job `round` has them all, answers.json; each is written once.
The time of the file `wanted` says when somebody last asked for its answers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import random
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from pipeline import dataset, files, general
from pipeline.conversations import split_answer
from pipeline.errors import UserError
from pipeline.run_folder import load, read_json
from pipeline.schema import Decoding, Message, from_json
from pipeline.turns import BadRow, read_turns

SOURCES = ("held-out", "pasted", "general")
COLUMNS = ("base", "tuned")
PROMPTS = 50
MOST_PROMPTS = 1000
MOST_CHARACTERS = 2_000_000
FOLDER, ROUND, ANSWERS = "rounds", "round.json", "answers.json"
UNDER_WAY = "answers.jsonl"  # what the job has of them, answer by answer
WANTED = "wanted"
PROMPT_KEYS, REFERENCE_KEYS = ("messages", "prompt", "question", "instruction"), ("reference", "completion", "answer")


class Item(TypedDict):
    """One prompt of a round, counted from 1; `row` is that of the data set, where it came from there."""

    item: int
    row: int | None
    messages: list[Message]
    reference: str | None
    tools: NotRequired[list[dict[str, Any]]]


@dataclass(frozen=True)
class Round:
    """What round.json says. `adapter` is the fingerprint of the one whose answers are judged; `seed` decides the sides."""

    id: str
    made: float
    by: str
    seed: int
    source: str
    system: str | None
    decoding: Decoding
    criteria: bool
    adapter: str
    items: list[Item]
    columns: tuple[str, str] = COLUMNS


def create(
    folder: Path, asked: Sequence[Item], source: str, by: str = "owner", seed: int | None = None,
    system: str | None = None, decoding: Decoding | None = None, criteria: bool = False,
) -> Round:  # fmt: skip
    """Open a round of a run: its folder appears whole, by a rename, and nothing in round.json changes after that.

    Raises UserError without an adapter, without a prompt and with too many.
    """
    if not (folder / "adapter").is_dir():
        raise UserError(f"{folder.name} has no adapter yet, so there is nothing to judge; train it first.")
    if not 1 <= len(asked) <= MOST_PROMPTS:
        raise UserError(f"A round has 1 to {MOST_PROMPTS:,} prompts; this one would have {len(asked):,}.")
    name = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(8)}"
    made = Round(
        name, time.time(), by, new_seed() if seed is None else seed, source, system,
        decoding or Decoding(), criteria, files.fingerprint(folder / "adapter"), list(asked),
    )  # fmt: skip
    with files.told_when_full(), files.whole_folder(folder / FOLDER / name) as temporary:
        files.write_json(temporary / ROUND, dataclasses.asdict(made))
    return made


def new_seed() -> int:
    """One that no judge can guess: it decides the sides."""
    return secrets.randbelow(2**31)


def questions(
    folder: Path,
    source: str,
    prompts: int = PROMPTS,
    seed: int | None = None,
    text: str = "",
    system: str | None = None,
) -> list[Item]:
    """The prompts of a round to be: held-out rows that ask something, pasted ones, or everyday tasks.

    More than `prompts` of them are drawn at random by the seed, and stay in their order. `system` is put before pasted
    prompts and tasks; held-out rows bring their own. Raises UserError when there is nothing to ask.
    """
    if source not in SOURCES:
        raise UserError(f"A round asks {', '.join(SOURCES)}; not {source!r}.")
    if source == "held-out":
        found = held_out(folder)
    else:
        found = pasted(text) if source == "pasted" else tasks(folder)
        found = [{**each, "messages": with_system(each["messages"], system)} for each in found]
    chosen = sorted(random.Random(seed).sample(range(len(found)), max(0, min(prompts, len(found)))))
    return [{**found[place], "item": number} for number, place in enumerate(chosen, start=1)]


def held_out(folder: Path) -> list[Item]:
    """Every held-out row that asks something; plain text does not."""
    found: list[Item] = []
    for row in dataset.read_part(folder, "held_out"):
        messages, reference = split_answer({"messages": row["messages"]})
        if messages:
            item = _item(messages, reference, row["row"])
            found.append({**item, "tools": row["tools"]} if "tools" in row else item)
    if not found:
        raise UserError(
            f"{folder.name} has no held-out rows that ask something; paste prompts, or use the general ones."
        )
    return found


def tasks(folder: Path) -> list[Item]:
    return [_item(task["messages"], task.get("reference")) for task in general.tasks(load(folder).model)]


def pasted(text: str) -> list[Item]:
    """One prompt per line; or JSON Lines, each {"prompt": text} or {"messages": [...]}, with a reference if there is one.

    Raises UserError, which names the line.
    """
    if len(text) > MOST_CHARACTERS:
        raise UserError(f"These prompts have {len(text):,} characters; paste at most {MOST_CHARACTERS:,}.")
    pieces = re.split(r"\r\n|\r|\n", text.encode(errors="replace").decode())
    lines = [(number, line.strip()) for number, line in enumerate(pieces, start=1) if line.strip()]
    if not lines:
        raise UserError("There are no prompts; write one per line.")
    if lines[0][1].startswith("{"):
        return [_from_json(number, line) for number, line in lines]
    return [_item([{"role": "user", "content": line}], None) for _, line in lines]


def _from_json(number: int, line: str) -> Item:
    try:
        values = json.loads(json.dumps(json.loads(line), ensure_ascii=False).encode(errors="replace"))  # no half a pair
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"line {number}: no JSON object ({error}); write one prompt per line, or JSON in each."
        ) from None
    key = next((key for key in PROMPT_KEYS if isinstance(values, dict) and str(values.get(key) or "").strip()), None)
    if key is None:
        raise UserError(f'line {number}: asks nothing; write {{"prompt": "..."}} or {{"messages": [...]}}.')
    told = next((str(values[key]) for key in REFERENCE_KEYS if values.get(key)), None)
    if isinstance(values[key], str):
        return _item([{"role": "user", "content": values[key]}], told)
    try:
        messages = read_turns(values[key], [])
    except BadRow as bad:
        raise UserError(f"line {number}: {bad.note[1]}; correct it, or write the prompt as text.") from None
    if messages and messages[-1]["role"] == "assistant":
        messages, answer = split_answer({"messages": messages})
        told = told or answer
    last = messages[-1] if messages else None
    if not last or last["role"] not in ("user", "tool") or not str(last.get("content") or "").strip():
        raise UserError(f"line {number}: asks nothing before its last answer; end it with what the user says.")
    return _item(messages, told)


def _item(messages: list[Message], reference: str | None, row: int | None = None) -> Item:
    return {"item": 0, "row": row, "messages": messages, "reference": reference}


def with_system(messages: list[Message], system: str | None) -> list[Message]:
    """The messages behind a system prompt, unless they have one or there is none."""
    if not system or messages[0]["role"] == "system":
        return messages
    return [{"role": "system", "content": system}, *messages]


def place(folder: Path, name: str) -> Path:
    """The folder of a round. Raises UserError when there is none of that name."""
    here = folder / FOLDER
    found = here / name
    if found.parent != here or name.startswith(".") or not (found / ROUND).is_file():
        raise UserError(f"{folder.name} has no round {name!r}.")
    return found


def read(folder: Path, name: str) -> Round:
    """One round of a run. Raises UserError when it is not there or can't be read."""
    file = place(folder, name) / ROUND
    found: Round = from_json(Round, read_json(file), f"{name}/{ROUND}")
    with contextlib.suppress(TypeError, KeyError):
        if found.id == name and [each["item"] for each in found.items] == list(range(1, len(found.items) + 1)):
            return found
    raise UserError(f"{name}/{ROUND} is not as it was written; the round is damaged, open a new one.")


def listing(folder: Path) -> list[Round]:
    """Every round of a run that can be read, newest first."""
    found = []
    for file in (folder / FOLDER).glob(f"[!.]*/{ROUND}"):
        with contextlib.suppress(UserError):
            found.append(read(folder, file.parent.name))
    return sorted(found, key=lambda each: (each.made, each.id), reverse=True)


def waiting(folder: Path) -> Round | None:
    """The round whose answers are made next: of those without, the one that was last made or asked for."""
    open_ones = [each for each in listing(folder) if not ready(folder, each)]
    return max(open_ones, key=lambda each: _wanted(folder, each), default=None)


def want(folder: Path, asked: Round) -> None:
    """Have this round's answers made before those of any other."""
    now = time.time()
    with files.told_when_full():
        file = place(folder, asked.id) / WANTED
        file.touch()
        os.utime(file, (now, now))


def _wanted(folder: Path, asked: Round) -> float:
    file = place(folder, asked.id) / WANTED
    return file.stat().st_mtime if file.exists() else asked.made


def ready(folder: Path, asked: Round) -> bool:
    """Whether both answers to every prompt are there, so that it can be judged."""
    return (place(folder, asked.id) / ANSWERS).exists()


def close(folder: Path, asked: Round, given: Sequence[Mapping[str, Mapping[str, Any]]]) -> None:
    """Make a round ready: both answers to each item in order, written whole, once."""
    if [set(each) for each in given] != [set(asked.columns)] * len(asked.items):
        raise ValueError("each item of a round needs an answer of each column")
    with files.told_when_full():
        files.write_json(place(folder, asked.id) / ANSWERS, list(given))


def answers(folder: Path, asked: Round) -> list[dict[str, dict[str, Any]]]:
    """{column: answer} of each item in order. Raises UserError when they are not there yet, or can't be read."""
    file = place(folder, asked.id) / ANSWERS
    if not file.exists():
        raise UserError(f"Round {asked.id} is not ready: its answers are still being made.")
    found: list[dict[str, dict[str, Any]]] = read_json(file)
    with contextlib.suppress(TypeError, KeyError):
        texts = [each[column]["text"] for each in found for column in asked.columns]
        if len(found) == len(asked.items) and all(isinstance(text, str) for text in texts):
            return found
    raise UserError(f"{asked.id}/{ANSWERS} is not as it was written; the round is damaged, open a new one.")


def left(asked: Round) -> list[str]:
    """The column that stands on the left, for each item.

    A random permutation of a list with as many of one as of the other (one more where the number is odd): whoever
    prefers a side whatever stands there then gives each column the same, where coin flips would favour one by chance.
    By hashes of the seed, so that every version of Python draws the same.
    """
    one, other = asked.columns if _draw(asked.seed, 0) % 2 else asked.columns[::-1]
    count = len(asked.items)
    order = sorted(range(count), key=lambda index: _draw(asked.seed, index + 1))
    chosen = set(order[: (count + 1) // 2])
    return [one if index in chosen else other for index in range(count)]


def _draw(seed: int, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{number}".encode()).digest())


def shown(folder: Path, asked: Round, item: int) -> dict[str, Any]:
    """All that a judge may be sent of an item before the reveal: the prompt, and two texts that say not whose they are.

    Raises UserError when there is no such item, or its answers are not there yet.
    """
    if not 1 <= item <= len(asked.items):
        raise UserError(f"This round has {len(asked.items)} prompts; there is no prompt {item}.")
    given = answers(folder, asked)[item - 1]
    first = left(asked)[item - 1]
    second = next(column for column in asked.columns if column != first)
    return {
        "item": item,
        "of": len(asked.items),
        "messages": asked.items[item - 1]["messages"],
        "left": given[first]["text"],
        "right": given[second]["text"],
    }
