"""How long rows are in tokens, what a longest length does to them, how much is learned. Pure; JSON values come out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

PERCENTILES = (50, 90, 95, 99)
MOST_BINS = 30
STEP = 64  # a suggested length is a multiple of it
LISTED_CUTS = 100
FAR = 3  # a longest row beyond this many times the 99th percentile is gathered in the last, open bin


class Count(NamedTuple):
    """One row's tokens before any cut: how many, and the runs [start, end) of them that are learned.

    `length` is 0 where the template refuses the row or nothing in it is learned. `turns` are the user's messages.
    `gates` are (kind, sentence), as template.Gate.
    """

    row: int
    turns: int
    length: int
    learned: tuple[tuple[int, int], ...]
    gates: tuple[tuple[str, str], ...] = ()


def lost(count: Count, max_length: int) -> bool:
    """Whether the cut leaves no token to learn. Token 0 is never predicted, so one there teaches nothing."""
    return not any(max(start, 1) < min(end, max_length) for start, end in count.learned)


def describe(counts: Sequence[Count], max_length: int, context: int | None, of: int) -> dict[str, Any] | None:
    """Statistics of rows cut at `max_length` tokens; None where no row can be counted.

    `context` is the longest text the model reads, in tokens, if it is known; `of` is the number of rows these are of:
    where it is more than were counted, they are a sample.
    """
    rows = [count for count in counts if count.length]
    if not rows:
        return None
    lengths = sorted(count.length for count in rows)
    truncated = sum(length > max_length for length in lengths)
    suggested, broken = suggest(lengths, context), cuts(rows, max_length)
    return {
        "sample": {"rows": len(counts), "of": of} if len(counts) < of else None,
        "rows": len(rows),
        "tokens": sum(lengths),
        "max_length": max_length,
        "context": context,
        "lengths": {**percentiles(lengths), "max": lengths[-1], "truncated": truncated},
        "truncated_share": truncated / len(lengths),
        "learned_share": learned_share(rows, max_length),
        "histogram": histogram(lengths, max_length),
        "turns": [{"turns": n, "rows": k} for n, k in sorted(Counter(count.turns for count in counts).items())],
        "broken": len(broken),
        "cuts": broken[:LISTED_CUTS],
        "suggested_max_length": suggested,
        "suggested_share": share_within(lengths, suggested),
    }


def percentile(lengths: Sequence[int], percent: int) -> int:
    """The length that `percent` of 100 of the ascending lengths do not exceed, and one of them."""
    return lengths[min(len(lengths) - 1, len(lengths) * percent // 100)]


def percentiles(lengths: Sequence[int]) -> dict[str, int]:
    return {f"p{percent}": percentile(lengths, percent) for percent in PERCENTILES}


def share_within(lengths: Sequence[int], limit: int) -> float:
    return sum(length <= limit for length in lengths) / len(lengths)


def learned_share(rows: Sequence[Count], max_length: int) -> float | None:
    """Of the tokens that stay in rows that stay; None where no row does."""
    left = [count for count in rows if not lost(count, max_length)]
    kept = sum(min(count.length, max_length) for count in left)
    learned = sum(max(0, min(end, max_length) - start) for count in left for start, end in count.learned)
    return learned / kept if kept else None


def histogram(lengths: Sequence[int], max_length: int) -> list[dict[str, int | None]]:
    """At most 30 bins low <= length < high from 0 on, their edges round numbers; the last may be open (high is None)."""
    top, far = lengths[-1], FAR * percentile(lengths, 99)
    if top > far:
        top = max(far // FAR, max_length) if max_length <= far else far // FAR
    width = round_width((top + 1) / (MOST_BINS - 1))
    bins = top // width + 1
    held = Counter(min(length // width, bins) for length in lengths)
    made: list[dict[str, int | None]] = [
        {"low": place * width, "high": (place + 1) * width, "rows": held[place]} for place in range(bins)
    ]
    return [*made, {"low": bins * width, "high": None, "rows": held[bins]}] if held[bins] else made


def round_width(least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50, ... that is at least this."""
    ten: int = 10 ** math.floor(math.log10(max(least, 1)))
    return next(factor * ten for factor in (1, 2, 5, 10) if factor * ten >= least)


def suggest(lengths: Sequence[int], context: int | None) -> int:
    """A longest length: of those that hold 100, 99 or 95 % of the rows, the largest within twice the last of these.

    So every row is held, unless a few far longer ones would make all of training pay for them. A multiple of 64,
    never beyond the model's context.
    """
    holds = [
        STEP * math.ceil(length / STEP) for length in (lengths[-1], percentile(lengths, 99), percentile(lengths, 95))
    ]
    best = next(limit for limit in holds if limit <= 2 * holds[-1])
    return min(best, context) if context else best


def cuts(rows: Sequence[Count], max_length: int) -> list[dict[str, int]]:
    """The rows whose answer is broken off: which answer of how many, after how many of its tokens, how many are lost."""
    found = []
    for count in rows:
        if count.length <= max_length or lost(count, max_length):
            continue
        for number, (start, end) in enumerate(count.learned, 1):
            if start < max_length < end:
                found.append(
                    {
                        "row": count.row, "tokens": count.length, "answer": number, "answers": len(count.learned),
                        "kept": max_length - start, "lost": end - max_length,
                    }
                )  # fmt: skip
    return found


def badge(rows: int) -> dict[str, Any]:
    """Whether so many rows are enough: a level (bad, warn, plain or good) and what it means."""
    levels = (
        (50, "bad", "too few to learn or judge by; add more"),
        (500, "warn", "enough to try; about 1,000 good ones can be enough"),
        (1000, "plain", "a fair start; about 1,000 good ones can be enough"),
    )
    level, words = next(((level, words) for below, level, words in levels if rows < below), ("good", "plenty"))
    return {"rows": rows, "level": level, "words": words}
