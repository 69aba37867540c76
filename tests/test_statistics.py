"""Token statistics say what training would do: the same cuts, the same left out rows, the same share; and in plain figures."""

import random

import pytest

from pipeline import statistics
from pipeline.statistics import Count


def count(length: int, *learned: tuple[int, int], row: int = 1) -> Count:
    return Count(row, 1, length, learned or ((length // 2, length),))


def lengths_like(kind: str) -> list[int]:
    rng = random.Random(3)
    made = {
        "one row": [7],
        "all the same": [64] * 50,
        "short": [rng.randint(1, 12) for _ in range(300)],
        "usual": [int(rng.lognormvariate(5.5, 0.6)) for _ in range(2000)],
        "far outlier": [rng.randint(50, 150) for _ in range(999)] + [400_000],
        "two groups": [rng.randint(10, 20) for _ in range(100)] + [rng.randint(5000, 5010) for _ in range(100)],
    }
    return sorted(made[kind])


KINDS = ("one row", "all the same", "short", "usual", "far outlier", "two groups")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_length", [1, 64, 1024, 2**20])
def test_a_histogram_holds_every_row_in_at_most_thirty_round_bins(kind, max_length):
    """Bins meet without a gap from 0 on, each row is in the one that its length says, and edges are 1, 2 or 5 times a ten."""
    lengths = lengths_like(kind)
    bins = statistics.histogram(lengths, max_length)
    assert 1 <= len(bins) <= 30
    assert sum(entry["rows"] for entry in bins) == len(lengths)
    assert [entry["low"] for entry in bins] == [0, *(entry["high"] for entry in bins[:-1])]
    width = bins[0]["high"]
    assert str(width).rstrip("0") in ("1", "2", "5")
    for entry in bins:
        high = entry["high"] or lengths[-1] + 1
        assert entry["rows"] == sum(entry["low"] <= length < high for length in lengths)


def test_one_far_row_does_not_flatten_the_others():
    """It stands in an open last bin, and the rest still has many bars."""
    bins = statistics.histogram(lengths_like("far outlier"), 1024)
    assert bins[-1]["high"] is None
    assert bins[-1]["rows"] == 1
    assert sum(entry["rows"] > 0 for entry in bins) > 10


def test_the_line_stays_within_the_bins_where_it_divides_rows():
    """With a far row, the closed bins still reach as far as a max length not much beyond the usual ones."""
    bins = statistics.histogram(lengths_like("far outlier"), 300)
    assert max(entry["high"] for entry in bins if entry["high"]) >= 300


@pytest.mark.parametrize(
    ("lengths", "context", "suggested"),
    [
        ([64] * 10, None, 64),
        ([65] * 10, None, 128),
        ([100] * 980 + [220] * 20, None, 256),  # within twice what most need: every row
        ([100] * 985 + [200] * 10 + [5000] * 5, None, 256),  # five far ones are not worth it, ten near ones are
        ([100] * 960 + [500] * 40, None, 128),
        ([3000] * 10, 2048, 2048),
        ([3000] * 10, 512, 512),
    ],
)
def test_the_suggested_length_holds_what_is_worth_its_price(lengths, context, suggested):
    """All rows, else 99, else 95 of 100; a multiple of 64; never beyond what the model reads."""
    assert statistics.suggest(sorted(lengths), context) == suggested
    assert context or statistics.share_within(lengths, suggested) >= 0.95


def test_percentiles_are_lengths_that_occur():
    assert statistics.percentiles(list(range(1, 101))) == {"p50": 51, "p90": 91, "p95": 96, "p99": 100}
    assert statistics.percentiles([7]) == {"p50": 7, "p90": 7, "p95": 7, "p99": 7}


def test_a_cut_is_told_with_its_place():
    """Row 5 loses 30 of the 50 tokens of its second answer; rows cut elsewhere lose no half answer."""
    rows = [
        count(100, (10, 40), (50, 100), row=5),
        count(100, (10, 70), (70, 71), row=6),  # the cut falls between its answers
        count(100, (90, 100), row=7),  # left out whole
        count(70, (10, 70), row=8),  # just fits
    ]
    assert statistics.cuts(rows, 70) == [{"row": 5, "tokens": 100, "answer": 2, "answers": 2, "kept": 20, "lost": 30}]
    told = statistics.describe(rows, 70, None, 4)
    assert (told["broken"], told["lengths"]["truncated"], told["truncated_share"]) == (1, 3, 0.75)


def test_token_0_alone_teaches_nothing():
    """It is never predicted: a row whose only learned token it would be is left out."""
    assert statistics.lost(count(10, (0, 10)), 1)
    assert not statistics.lost(count(10, (0, 10)), 2)


def test_the_learned_share_counts_what_stays():
    """Cut tokens and rows left out count neither as read nor as learned; with nothing left there is no share."""
    rows = [count(100, (40, 100)), count(50, (40, 50)), count(200, (150, 200))]
    assert statistics.learned_share(rows, 80) == (40 + 10) / (80 + 50)
    assert statistics.learned_share(rows, 30) is None


def test_rows_without_tokens_are_in_no_figure():
    """What the template refuses has no length; where it refuses all there is nothing to show."""
    refused = Count(2, 3, 0, (), (("refused", "no"),))
    told = statistics.describe([count(10), refused], 64, None, 2)
    assert (told["rows"], told["lengths"]["max"]) == (1, 10)
    assert statistics.describe([refused], 64, None, 1) is None


def test_a_sample_says_that_it_is_one():
    assert statistics.describe([count(10)], 64, None, 500)["sample"] == {"rows": 1, "of": 500}
    assert statistics.describe([count(10)], 64, None, 1)["sample"] is None


@pytest.mark.parametrize(
    ("rows", "level"),
    [(1, "bad"), (49, "bad"), (50, "warn"), (499, "warn"), (500, "plain"), (999, "plain"), (1000, "good")],
)
def test_the_badge_has_a_level_and_words(rows, level):
    """Under 50 is a warning; about 1,000 good rows can be enough."""
    told = statistics.badge(rows)
    assert told["level"] == level
    assert told["words"]
