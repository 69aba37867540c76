"""How sure a difference is: our interval is the textbook's, and covers what it claims to cover."""

import numpy
import pytest
import scipy.stats

from pipeline import interval
from pipeline.interval import paired

RANDOM = numpy.random.default_rng(7)
BASE = RANDOM.uniform(0, 1, 60)
TUNED = numpy.clip(BASE + RANDOM.normal(0.1, 0.3, 60), 0, 1)


def test_the_interval_is_scipys():
    """Ends within Monte-Carlo error (a tenth of the width is far more than that) of scipy's paired percentile bootstrap."""
    ours = paired(BASE, TUNED)
    theirs = scipy.stats.bootstrap(
        (BASE, TUNED),
        lambda a, b, axis: (b - a).mean(axis),
        paired=True,
        method="percentile",
        n_resamples=20_000,
        rng=1,
    ).confidence_interval
    width = theirs.high - theirs.low
    assert (ours.base, ours.tuned) == pytest.approx((BASE.mean(), TUNED.mean()))
    assert ours.difference == pytest.approx((TUNED - BASE).mean())
    assert ours.low == pytest.approx(theirs.low, abs=width / 25)
    assert ours.high == pytest.approx(theirs.high, abs=width / 25)


def test_weights_are_tokens():
    """A loss per token is the sum of all losses over the sum of all tokens; the interval resamples whole rows."""
    tokens = RANDOM.integers(1, 50, 60)

    def difference(a, b, w, axis):
        return ((b - a) * w).sum(axis) / w.sum(axis)

    ours = paired(BASE, TUNED, weights=tokens)
    theirs = scipy.stats.bootstrap(
        (BASE, TUNED, tokens), difference, paired=True, method="percentile", n_resamples=20_000, rng=1
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.base == pytest.approx((BASE * tokens).sum() / tokens.sum())
    assert ours.low == pytest.approx(theirs.low, abs=width / 25)
    assert ours.high == pytest.approx(theirs.high, abs=width / 25)


def test_perplexity_is_transformed_after_the_average():
    """exp of the average, not average of exp; and its interval follows the loss."""
    plain, transformed = paired(BASE, TUNED), paired(BASE, TUNED, transform=numpy.exp)
    assert transformed.base == pytest.approx(numpy.exp(plain.base))
    assert transformed.difference == pytest.approx(numpy.exp(plain.tuned) - numpy.exp(plain.base))
    assert (transformed.low > 0) == (plain.low > 0)


def test_same_scores_are_no_difference():
    """Identical lists give 0, surely."""
    found = paired(BASE, BASE)
    assert (found.difference, found.low, found.high) == (0, 0, 0)


@pytest.mark.parametrize(("base", "tuned"), [(0.0, 1.0), (1.0, 0.0), (0.5, 0.5)])
def test_rows_that_all_went_the_same_way_leave_room_for_doubt(base, tuned):
    """Sixty of sixty is no proof of all: the interval has a width, less with more rows, and stays between -1 and 1."""
    found = [paired([base] * n, [tuned] * n, bounded=True) for n in (6, 60, 600)]
    widths = [score.high - score.low for score in found]
    assert widths == sorted(widths, reverse=True)
    assert widths[1] > 0.05 > widths[2]
    assert all(-1 <= score.low <= score.difference <= score.high <= 1 for score in found)
    assert [score.n for score in found] == [6, 60, 600]


@pytest.mark.parametrize(("rarely", "n"), [(0.02, 30), (0.05, 60), (0.4, 30)])
def test_the_interval_of_right_and_wrong_covers_what_it_says(monkeypatch, rarely, n):
    """Where base is always wrong and tuned is wrong now and then, 95 % hold the truth; resampling alone missed half of them."""
    monkeypatch.setattr(interval, "RESAMPLES", 1000)
    random = numpy.random.default_rng(5)
    drawn = (random.uniform(size=(300, n)) >= rarely).astype(float)
    found = [paired(numpy.zeros(n), tuned, bounded=True) for tuned in drawn]
    assert numpy.mean([score.low <= 1 - rarely <= score.high for score in found]) >= 0.93


def test_scores_that_vary_are_left_to_the_bootstrap():
    """Bounds change nothing where the rows differ anyway."""
    assert paired(BASE, TUNED, bounded=True) == paired(BASE, TUNED)


def test_the_same_rows_give_the_same_interval():
    """A report can be made again to the last digit."""
    assert paired(BASE, TUNED) == paired(BASE, TUNED)


def test_rows_stay_together():
    """Pairing matters: a constant gain over very different rows has no spread at all."""
    found = paired(BASE * 100, BASE * 100 + 1)
    assert (found.low, found.high) == pytest.approx((1, 1))


def test_the_interval_covers_the_truth_as_often_as_it_says(monkeypatch):
    """Over 400 simulated data sets of 40 rows, 95 % +- 4 % of the intervals hold the true difference."""
    monkeypatch.setattr(interval, "RESAMPLES", 1000)
    random, truth = numpy.random.default_rng(3), 0.2
    found = [paired(base, base + random.normal(truth, 1, 40)) for base in random.normal(0, 5, (400, 40))]
    assert 0.91 < numpy.mean([score.low <= truth <= score.high for score in found]) < 0.98


def test_many_rows_are_drawn_in_bounded_memory(monkeypatch):
    """How many rows are drawn at once changes nothing in the result, also where it does not divide evenly."""
    whole = paired(BASE, TUNED)
    monkeypatch.setattr(interval, "DRAWN_AT_ONCE", 60 * 700)
    assert paired(BASE, TUNED) == whole
    monkeypatch.setattr(interval, "RESAMPLES", 5)
    monkeypatch.setattr(interval, "DRAWN_AT_ONCE", 1)
    assert paired(BASE, TUNED).low < paired(BASE, TUNED).high


@pytest.mark.parametrize(("base", "tuned", "weights"), [([], [], None), ([1.0], [1.0], [0]), ([1.0, 2.0], [1.0], None)])
def test_no_rows_have_no_average(base, tuned, weights):
    """Nothing to average, or two lists that are not about the same rows, is an error and not a number."""
    with pytest.raises(ValueError):  # noqa: PT011  numpy's own words where lengths differ
        paired(base, tuned, weights)
