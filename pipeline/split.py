"""Which rows are learned from, which steer and which judge: equal prompts stay together, and the order is a seeded hash.

What is stable: a row's place in the order depends on its own prompt and the seed alone, so neither shuffling rows nor
adding some changes it. Only the cut moves. From 80 to 320 rows and from 2,560 rows on (at a share of 5 %, one row per
prompt) a part has a fixed size: added rows can push a held-out row into train, never a trained row into held-out. In
between a part grows with the file, and a few rows at the cut change sides in either direction.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.schema import Row

LEAST, MOST = 16, 128
FEWEST_GROUPS = 5


class Split(NamedTuple):
    """Positions of the rows in each part, ascending, and the (kind, sentence) of what could not be done."""

    train: list[int]
    validation: list[int]
    held_out: list[int]
    shortages: list[tuple[str, str]]


def prompt_key(row: Row, seed: int) -> bytes:
    """Equal for rows whose prompts (all messages before the last; of plain text the whole) differ in case, width or
    white space only.

    Its value decides the row's part: a seeded hash, so that it does not depend on the other rows.
    """
    words = [str(seed)]
    for message in row["messages"][:-1]:
        calls = json.dumps(message["tool_calls"], sort_keys=True) if "tool_calls" in message else ""
        words.append(f"{message['role']}:{_plain(message['content'])}{calls}")
    if "text" in row:
        words.append(_plain(row["text"]))
    return hashlib.sha256("\n".join(words).encode()).digest()


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def split_by_prompt(keys: Sequence[bytes], validation_share: float, held_out_share: float) -> Split:
    """Held-out takes the groups of equal keys with the lowest hashes, validation the highest, the rest is learned from.

    Each takes its share, at least 16 and at most 128 rows, never more than a fifth of the rows or groups, unless its only
    group is larger. With fewer than five groups validation is a copy of training rows; with one nothing is held out.
    """
    groups: defaultdict[bytes, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        groups[key].append(position)
    shortages: list[tuple[str, str]] = []
    order = sorted(groups)
    judging = _take(order, groups, _wanted(held_out_share, len(keys)), len(keys))
    rest = [key for key in reversed(order) if key not in judging]
    wanted = _wanted(validation_share, len(keys))
    enough = len(groups) >= FEWEST_GROUPS or not judging
    steering = _take(rest, groups, wanted, len(keys)) if enough else set()
    held_out, validation, train = (
        sorted(position for key in part for position in groups[key])
        for part in (judging, steering, set(rest) - steering)
    )
    if held_out_share and not held_out:
        shortages.append(
            ("no-held-out", "a single prompt can't be split, so no row is held out; supply a held-out file")
        )
    if wanted and not validation:
        validation = sorted([position for key in rest for position in groups[key]][: min(wanted, LEAST)])
        found = f"too few prompts for a validation part of its own, so training rows steer ({len(validation)})"
        shortages.append(("validation-from-train", f"{found}; their loss says nothing about unseen rows"))
    return Split(train, validation, held_out, shortages)


def _wanted(share: float, rows: int) -> int:
    return min(max(round(share * rows), LEAST), MOST) if share else 0


def _take(order: Sequence[bytes], groups: dict[bytes, list[int]], wanted: int, rows: int) -> set[bytes]:
    """The first groups that fit; the smallest one where none does; never the only one."""
    taken: set[bytes] = set()
    if not wanted or len(order) < 2:
        return taken
    limit, most_groups, count = min(wanted, max(1, rows // 5)), max(1, len(groups) // 5), 0
    for key in order:
        if count + len(groups[key]) <= limit and len(taken) < most_groups:
            taken.add(key)
            count += len(groups[key])
    return taken or {min(order, key=lambda key: len(groups[key]))}
