"""Votes with the names told: what each judge said of base and tuned, and what most said of a prompt. Pure, light."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.rounds import Round, left
from pipeline.votes import Vote


@dataclass(frozen=True)
class Opinion:
    """A vote with the names told: `choice` is a column, "tie" or "bad"; `scores` are (first column, second) by criterion."""

    item: int
    judge: int
    choice: str
    side: str
    scores: Mapping[str, tuple[int | None, int | None]]


def opinions_of(asked: Round, cast: Sequence[Vote]) -> list[Opinion]:
    """Left and right become names."""
    stood = left(asked)
    found = []
    for vote in cast:
        on_left = stood[vote.item - 1]
        names = {"left": on_left, "right": next(c for c in asked.columns if c != on_left)}
        scores = vote.scores if on_left == asked.columns[0] else {k: (b, a) for k, (a, b) in vote.scores.items()}
        found.append(Opinion(vote.item, vote.judge, names.get(vote.choice, vote.choice), vote.choice, scores))
    return found


def outcomes_of(opinions: Sequence[Opinion]) -> dict[int, str]:
    """What more than half of an item's judges said, by item; "tie" where no choice has so many."""
    found: dict[int, str] = {}
    for item, choices in by_item(opinions, "choice").items():
        choice, count = Counter(choices).most_common(1)[0]
        found[item] = choice if 2 * count > len(choices) else "tie"
    return found


def by_item(opinions: Sequence[Opinion], name: str) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for opinion in opinions:
        found.setdefault(opinion.item, []).append(getattr(opinion, name))
    return found
