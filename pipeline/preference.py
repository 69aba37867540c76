"""Which of two is preferred: a share with an interval, an exact test, and the prompts a next round needs. Pure, numpy only.

Counts are (items, 2): an item's votes for the one and for the other. With one judge these are ones and zeros.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy

ERROR = 0.05  # of the rounds of two equal models, at most so many may have a winner
POWER = 0.8
MOST_NEEDED = 2000
RESAMPLES = 4000
Z = 1.959963984540054  # 97.5 % of a normal distribution lie below it
Z_POWER = 0.8416212335729143  # 80 %


@dataclass(frozen=True)
class Preference:
    """The one's share of the votes for either, with its 95 % interval; p of so large a difference between equals.

    `needed` is the number of prompts with which a next round would settle it with POWER; None where it is settled, or where
    it would be more than MOST_NEEDED.
    """

    share: float
    low: float
    high: float
    p: float
    settled: bool
    needed: int | None


def of(counts: numpy.ndarray) -> Preference | None:
    """None where nobody preferred either. One judge: Wilson's interval; several: Wilson's on as many votes as theirs weigh."""
    one, votes = int(counts[:, 0].sum()), int(counts.sum())
    if votes == 0:
        return None
    weight = effective_votes(counts)
    low, high = wilson(one / votes * weight, weight)
    p = exact(counts[:, 0] - counts[:, 1])
    settled = p <= ERROR
    return Preference(
        one / votes, low, high, p, settled, None if settled else _prompts(one / votes, weight, len(counts))
    )


def wilson(won: float, of: float) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927, J. Am. Stat. Assoc. 22:209). Never of zero width, also at 60 of 60."""
    share, square = won / of, Z * Z / of
    middle = (share + square / 2) / (1 + square)
    half = Z / (1 + square) * math.sqrt(share * (1 - share) / of + square / (4 * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def effective_votes(counts: numpy.ndarray) -> float:
    """How many independent votes these are worth: as many as there are with one judge, fewer where judges agree on items.

    By the bootstrap over items, each with the votes of all its judges (Davison & Hinkley 1997, section 3.8: clusters are
    drawn whole); the variance of the share against that of independent votes is Kish's design effect. Two made-up items,
    one for each side, are drawn with them: sixty unanimous items must not look like certainty.
    """
    votes = int(counts.sum())
    if counts.sum(1).max() <= 1:
        return votes
    judges = max(1, round(votes / max(1, int((counts.sum(1) > 0).sum()))))
    pool = numpy.vstack([counts, [[judges, 0], [0, judges]]])
    items, random = len(pool), numpy.random.default_rng(0)
    drawn = random.multinomial(items, numpy.full(items, 1 / items), RESAMPLES) @ pool
    said = drawn.sum(1)
    variance = float((drawn[said > 0, 0] / said[said > 0]).var())
    share = pool[:, 0].sum() / pool.sum()
    return float(min(votes, share * (1 - share) / variance))


def exact(differences: numpy.ndarray) -> float:
    """How likely so large a sum would be if each item's difference had either sign with the same chance; both sides.

    With one judge it is the exact sign test (two-sided binomial), with several the same for whole items, so that judges who
    see the same texts are not taken for independent. Under balanced random sides it never declares too often.
    """
    chances = numpy.ones(1)  # of sums from -reach to +reach
    sizes, counts = numpy.unique(abs(differences[differences != 0]), return_counts=True)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        spread = numpy.zeros(2 * size * count + 1)
        spread[:: 2 * size] = coins(count)
        chances = numpy.convolve(chances, spread)
    reach = len(chances) // 2
    far = abs(numpy.arange(len(chances)) - reach) >= abs(int(differences.sum()))
    return float(min(1.0, chances[far].sum()))


@cache
def coins(count: int) -> numpy.ndarray:
    """The chance of each number of heads, 0 to count, among fair coins."""
    return _heads(count, 0.5)


def _heads(count: int, share: float) -> numpy.ndarray:
    heads = numpy.arange(count + 1)
    products = numpy.concatenate([[0.0], numpy.cumsum(numpy.log(numpy.arange(1, count + 1)))])
    ways = products[-1] - products - products[::-1]
    chances: numpy.ndarray = numpy.exp(ways + heads * math.log(share) + (count - heads) * math.log1p(-share))
    return chances


def power(share: float, decided: int) -> float:
    """The chance that the exact test settles a round of so many decided votes, if one is preferred in this share of them.

    `share` is above 0 and below 1.
    """
    least = int((2 * numpy.cumsum(coins(decided)) <= ERROR).sum())  # fewer than this for one: settled for the other
    chances = _heads(decided, share)
    return float(chances[:least].sum() + chances[len(chances) - least :].sum())


def decided_needed(share: float) -> int | None:
    """About the fewest decided votes with which the exact test has POWER; None beyond MOST_NEEDED.

    By halving, around the normal approximation: an exact test's power goes up in steps and a little down between them.
    """
    distance = abs(share - 0.5)
    if distance == 0:
        return None
    near = ((Z / 2 + Z_POWER * math.sqrt(share * (1 - share))) / distance) ** 2
    if near > MOST_NEEDED:
        return None
    few, enough = 1, int(1.5 * near) + 10
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if power(share, middle) >= POWER else (middle, enough)
    return enough


def _prompts(share: float, weight: float, prompts: int) -> int | None:
    """Prompts of a next round that decides as many per prompt as this one did. One vote is added to each side before the
    share is taken as the truth, so that few votes promise less."""
    shrunk = (share * weight + 1) / (weight + 2)
    decided = decided_needed(shrunk)
    needed = None if decided is None else math.ceil(decided * prompts / weight)
    return needed if needed is not None and needed <= MOST_NEEDED else None
