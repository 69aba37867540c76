"""Which converted rows are used: what is there twice, and prompts that have different answers. Pure."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.conversations import Reading, convert
from pipeline.schema import Row
from pipeline.split import prompt_key
from pipeline.turns import Note


class Candidate(NamedTuple):
    """A record after conversion. `content` and `key` are hashes: of what is learned, and of its prompt."""

    number: int
    row: Row | None
    content: bytes
    key: bytes
    notes: tuple[Note, ...]


class Weeded(NamedTuple):
    """Positions of the candidates that are used, and the row numbers of both findings."""

    kept: list[int]
    duplicates: list[int]
    different: list[int]


def candidate(number: int, values: dict[str, Any], reading: Reading, seed: int) -> Candidate:
    row, content, notes = convert(number, values, reading)
    if row is None:
        return Candidate(number, None, b"", b"", tuple(notes))
    return Candidate(number, row, hashlib.sha256(content).digest(), prompt_key(row, seed), tuple(notes))


def weed(candidates: Sequence[Candidate], choices: Mapping[str, str]) -> Weeded:
    """What the choices for duplicates and for different answers leave, in file order."""
    seen: set[bytes] = set()
    kept, duplicates = [], []
    for position, one in enumerate(candidates):
        if one.row is None:
            continue
        if one.content in seen:
            duplicates.append(one.number)
        if one.content not in seen or choices["duplicate"] == "keep":
            kept.append(position)
        seen.add(one.content)
    groups = [group for group in _by_prompt(candidates, kept) if _differ([candidates[i] for i in group])]
    different = sorted(candidates[position].number for group in groups for position in group)
    if choices["different-answers"] == "drop":
        dropped = {position for group in groups for position in group[1:]}
        kept = [position for position in kept if position not in dropped]
    return Weeded(kept, duplicates, different)


def _by_prompt(candidates: Sequence[Candidate], kept: Sequence[int]) -> list[list[int]]:
    groups: defaultdict[bytes, list[int]] = defaultdict(list)
    for position in kept:
        groups[candidates[position].key].append(position)
    return [group for group in groups.values() if len(group) > 1]


def _differ(group: Sequence[Candidate]) -> bool:
    answers = {str(one.row["messages"][-1]) for one in group if one.row and one.row["messages"]}
    return len(answers) > 1
