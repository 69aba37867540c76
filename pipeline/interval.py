"""How sure a difference is: the paired bootstrap. Pure, numpy only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy

from pipeline.schema import Score

RESAMPLES = 10_000
DRAWN_AT_ONCE = 1 << 20  # rows drawn in one go, which bounds memory


def paired(
    base: Sequence[float],
    tuned: Sequence[float],
    weights: Sequence[float] | None = None,
    transform: Callable[[numpy.ndarray], numpy.ndarray] = numpy.asarray,
    seed: int = 0,
) -> Score:
    """Both averages over n rows, and tuned minus base with its 95 % percentile interval from resampling rows.

    Rows are drawn with replacement, each with both of its values (Efron & Tibshirani 1993, ch. 13; for scores of two
    systems on one test set: Koehn 2004, "Statistical Significance Tests for Machine Translation Evaluation").
    `weights` makes the average sum(w*x)/sum(w) (tokens for a loss); `transform` maps averages to what is reported.
    """
    values = numpy.array([base, tuned], dtype=float)
    weight = numpy.ones(values.shape[1]) if weights is None else numpy.asarray(weights, dtype=float)
    if values.shape[1] == 0 or weight.sum() <= 0:
        raise ValueError("an average needs at least one row")
    average = transform((values * weight).sum(1) / weight.sum())
    drawn = _resampled(values, weight, numpy.random.default_rng(seed))
    differences = numpy.subtract(*transform(drawn)[::-1])
    low, high = numpy.percentile(differences, [2.5, 97.5])
    return Score(float(average[0]), float(average[1]), float(average[1] - average[0]), float(low), float(high))


def _resampled(values: numpy.ndarray, weight: numpy.ndarray, random: numpy.random.Generator) -> numpy.ndarray:
    """Averages of (2, RESAMPLES) resamples."""
    rows, chunks = values.shape[1], []
    size = max(1, DRAWN_AT_ONCE // rows)
    for start in range(0, RESAMPLES, size):
        chosen = random.integers(0, rows, (min(size, RESAMPLES - start), rows))
        total = weight[chosen].sum(1)
        chunks.append((values * weight)[:, chosen].sum(2) / numpy.where(total > 0, total, 1))
    return numpy.concatenate(chunks, axis=1)
