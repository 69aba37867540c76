"""Which tokens of a rendered text are learned: character spans -> tokens, by offsets, never by searching text. Pure."""

from __future__ import annotations

import bisect
import itertools
import operator
from collections.abc import Collection, Sequence
from dataclasses import dataclass

Span = tuple[int, int]
END = operator.itemgetter(1)


@dataclass(frozen=True)
class Rendered:
    """A row as it is trained on, before any cut.

    `spans` are the trained runs [start, end) in tokens, `offsets` the characters of each token.
    """

    text: str
    ids: list[int]
    trained: list[bool]
    spans: list[Span]
    offsets: list[Span]

    @property
    def pieces(self) -> list[str]:
        """The text in as many pieces as there are tokens; joined they are the text (up to what the last token covers)."""
        found, done = [], 0
        for _, end in self.offsets:
            found.append(self.text[done:end])
            done = max(done, end)
        return found


def covered(spans: Sequence[Span], offsets: Sequence[Span]) -> list[Span]:
    """The tokens [first, end) that cover a character of each span (in characters).

    A tokenizer may leave the white space before a word out of its offsets; it counts to the token that follows it.
    """
    dones = list(itertools.accumulate(map(END, offsets), max))

    def first(place: int) -> int:
        before = dones[place - 1] if place else 0
        start, end = offsets[place]
        return min(start, before) if end > start else before

    count = range(len(offsets))
    return [(bisect.bisect_right(dones, a), bisect.bisect_left(count, b, key=first)) for a, b in spans if a < b]


def until_stop(spans: Sequence[Span], ids: Sequence[int], stops: Collection[int]) -> list[Span]:
    """The same tokens without those after the last stop token of each span."""
    last = ((a, max((i for i in range(a, b) if ids[i] in stops), default=b - 1)) for a, b in spans)
    return [(a, end + 1) for a, end in last]


def flags(spans: Sequence[Span], count: int) -> list[bool]:
    """Of each of so many tokens, whether it is in a span."""
    found = [False] * count
    for a, b in spans:
        found[a:b] = [True] * (b - a)
    return found


def joined(spans: Sequence[Span]) -> list[Span]:
    """The same tokens as spans that don't touch, in order."""
    found: list[Span] = []
    for a, b in sorted(spans):
        if found and a <= found[-1][1]:
            found[-1] = (found[-1][0], max(b, found[-1][1]))
        elif a < b:
            found.append((a, b))
    return found
