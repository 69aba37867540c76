"""How sure a difference is: the paired bootstrap. Pure, numpy only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy

from pipeline.schema import Score

RESAMPLES = 10_000
LUMPY = 1 / 3  # share of the rows with one and the same difference, from which on two imaginary rows are added
DRAWN_AT_ONCE = 1 << 20  # rows drawn in one go, which bounds memory


def paired(
    base: Sequence[float],
    tuned: Sequence[float],
    weights: Sequence[float] | None = None,
    transform: Callable[[numpy.ndarray], numpy.ndarray] = numpy.asarray,
    seed: int = 0,
    bounded: bool = False,
) -> Score:
    """Both averages over n rows, and tuned minus base with its 95 % percentile interval from resampling rows.

    Rows are drawn with replacement, each with both of its values (Efron & Tibshirani 1993, ch. 13; for scores of two
    systems on one test set: Koehn 2004, "Statistical Significance Tests for Machine Translation Evaluation").
    `weights` makes the average sum(w*x)/sum(w) (tokens for a loss); `transform` maps averages to what is reported.

    Drawing from 60 rows that all went the same way gives the same average every time, though the 61st may well go the other
    way. So where scores are `bounded` by 0 and 1 and LUMPY rows have one difference, as those of right and wrong always do,
    two imaginary rows are drawn from as well, one better and one worse by 1 (Bonett & Price 2012, "Adjusted Wald confidence
    interval for a difference of binomial proportions based on paired data"). They are in the interval, not in the averages.
    """
    values = numpy.array([base, tuned], dtype=float)
    weight = numpy.ones(values.shape[1]) if weights is None else numpy.asarray(weights, dtype=float)
    count = values.shape[1]
    if count == 0 or weight.sum() <= 0:
        raise ValueError("an average needs at least one row")
    average = transform((values * weight).sum(1) / weight.sum())
    difference = float(average[1] - average[0])
    if bounded and _lumpy(values):
        values = numpy.concatenate([values, [[0, 1], [1, 0]]], axis=1)
        weight = numpy.append(weight, [weight.mean()] * 2)
    drawn = _resampled(values, weight, numpy.random.default_rng(seed))
    low, high = map(float, numpy.percentile(numpy.subtract(*transform(drawn)[::-1]), [2.5, 97.5]))
    low, high = min(low, difference), max(high, difference)  # of very skewed rows, and by rounding
    return Score(float(average[0]), float(average[1]), difference, low, high, count)


def _lumpy(values: numpy.ndarray) -> bool:
    alike = numpy.unique(numpy.round(values[1] - values[0], 9), return_counts=True)[1]
    return bool(alike.max() >= LUMPY * values.shape[1])


def _resampled(values: numpy.ndarray, weight: numpy.ndarray, random: numpy.random.Generator) -> numpy.ndarray:
    """Averages of (2, RESAMPLES) resamples."""
    rows, chunks = values.shape[1], []
    size = max(1, DRAWN_AT_ONCE // rows)
    for start in range(0, RESAMPLES, size):
        chosen = random.integers(0, rows, (min(size, RESAMPLES - start), rows))
        total = weight[chosen].sum(1)
        chunks.append((values * weight)[:, chosen].sum(2) / numpy.where(total > 0, total, 1))
    return numpy.concatenate(chunks, axis=1)
