"""A verdict's sentences are made of a report's numbers: what was learned is said, and so is what broke."""

import copy
import json
import math
from pathlib import Path

import numpy
import pytest
import scipy.stats

from pipeline import interval, measures, verdict

EXAMPLE = Path(__file__).parents[1] / "examples" / "tiny-yoda-run" / "report.json"


def score(base, tuned, low, high, n=60):
    return {"base": base, "tuned": tuned, "difference": tuned - base, "low": low, "high": high, "n": n}


def task(before: bool, after: bool):
    said = {side: {"text": f"{side} {before} {after}"} for side in ("base", "tuned")}
    if before and after:
        said["tuned"] = said["base"]
    return {"task": "fact", "messages": [], **said, "base_passes": before, "tuned_passes": after}


GOOD = {
    "n": 60,
    "metrics": {
        "exact_match": score(0, 0.9, 0.8, 0.96),
        "chrf": score(0.41, 0.83, 0.37, 0.47),
        "loss": score(2.5, 0.4, -2.3, -1.9),
    },
    "measures": {
        "length_ratio": score(1.4, 1.0, -0.5, -0.3),
        "repetition": score(0.01, 0.0, -0.05, 0.05),
        "stopped": score(0.9, 1.0, 0.0, 0.2),
    },
    "identical": {"n": 3, "of": 60},
    "general": [task(True, True)] * 17 + [task(True, False), task(False, False), task(False, True)],
}


def changed(**parts):
    report = copy.deepcopy(GOOD)
    for name, value in parts.items():
        report[name] = {**report[name], **value} if isinstance(value, dict) else value
    return {finding["name"]: finding for finding in verdict.of(report)}


def test_a_good_run_is_called_good():
    """The summary first, no alarm anywhere, and the numbers are the report's."""
    found = verdict.of(GOOD)
    assert (found[0]["name"], found[0]["level"]) == ("summary", "good")
    assert not {finding["level"] for finding in found} & {"bad", "warning"}
    told = {finding["name"]: finding["sentence"] for finding in found}
    assert "exactly right from 0% to 90%" in told["style"]
    assert "+80 to +96 points" in told["style"]
    assert "60 held-out rows" in told["style"]
    assert told["identical"].startswith("3 of 60 answers")
    assert told["stops"].startswith("60 of 60 answers stopped by themselves, of the base 54")
    assert "the base did 18 of 20, the tuned model still does 17 of these and 1 more" in told["general"]


@pytest.mark.parametrize(
    ("parts", "name", "level", "summary"),
    [
        ({"identical": {"n": 60, "of": 60}}, "identical", "bad", "bad"),
        ({"identical": {"n": 40, "of": 60}}, "identical", "warning", "good"),
        ({"measures": {"stopped": score(1.0, 0.3, -0.8, -0.6)}}, "stops", "bad", "bad"),
        ({"measures": {"stopped": score(1.0, 0.85, -0.3, 0.05)}}, "stops", "warning", "warning"),
        ({"measures": {"repetition": score(0.0, 0.4, 0.3, 0.5)}}, "repeats", "bad", "bad"),
        ({"measures": {"repetition": score(0.5, 0.3, -0.3, -0.1)}}, "repeats", "good", "good"),
        ({"measures": {"length_ratio": score(1.0, 3.0, 1.5, 2.5)}}, "length", "warning", "warning"),
        ({"general": [task(True, False)] * 16 + [task(True, True)] * 4}, "general", "bad", "bad"),
        ({"general": [task(True, False)] * 10 + [task(True, True)] * 10}, "general", "warning", "warning"),
        ({"general": [task(True, False)] * 3 + [task(False, True)] * 3}, "general", "good", "good"),
        ({"general": [task(True, True)] * 20}, "general", "good", "good"),
        ({"metrics": {"loss": score(2.0, 3.0, 0.5, 1.5)}}, "likelihood", "warning", "warning"),
        ({"n": 8}, "few", "warning", "good"),
        ({"metrics": {"exact_match": score(0.5, 0.1, -0.5, -0.3), "chrf": score(0.8, 0.3, -0.6, -0.4)}}, "style", "bad", "bad"),
        ({"metrics": {"chrf": score(0.8, 0.3, -0.6, -0.4)}}, "style", "warning", "warning"),
    ],
)  # fmt: skip
def test_what_broke_is_named(parts, name, level, summary):
    """One number changed on a good run changes its sentence, and the summary where it matters."""
    found = changed(**parts)
    assert (found[name]["level"], found["summary"]["level"]) == (level, summary), found


def test_nothing_that_moved_is_not_settled():
    """Intervals that hold zero are no finding, whatever the averages are."""
    unsure = {name: {**each, "low": -1.0, "high": 1.0} for name, each in GOOD["metrics"].items()}
    found = changed(metrics=unsure)
    assert (found["style"]["level"], found["summary"]["level"]) == ("plain", "plain")
    assert "Not settled" in found["summary"]["sentence"]


def test_plain_text_is_judged_by_its_loss():
    """A run without questions has nothing to answer; loss decides."""
    found = verdict.of(
        {"n": 40, "metrics": {"loss": score(3, 2, -1.2, -0.8)}, "measures": {}, "identical": {"n": 0, "of": 0}}
    )
    assert [(each["name"], each["level"]) for each in found] == [("summary", "good"), ("style", "good")]


def test_an_older_report_says_less():
    """Without the newer parts, and with those of one that shipped: still a verdict."""
    older = {"n": 60, "metrics": GOOD["metrics"], "rows": []}
    assert [each["name"] for each in verdict.of(older)] == ["summary", "style"]
    assert verdict.of(json.loads(EXAMPLE.read_text()))[0]["level"] in ("good", "warning")


def test_sixty_of_sixty_is_told_with_room_for_doubt():
    """All wrong before and all right after: the interval is not zero wide, and the sentence holds it."""
    found = interval.paired([0.0] * 60, [1.0] * 60, bounded=True)
    assert (found.difference, found.high) == (1, 1)
    assert 0.85 < found.low < 0.97
    told = verdict.told("exact_match", vars(found))
    assert f"{100 * found.low:+.0f} to +100 points" in told


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (5, 0), (6, 1), (10, 3), (1, 9)])
def test_the_sign_test_is_scipys(lost, gained):
    """The chance of losing so many or more when losing and winning are equally likely."""
    theirs = scipy.stats.binomtest(lost, lost + gained, alternative="greater").pvalue if lost + gained else 1.0
    assert verdict.one_sided(lost, gained) == pytest.approx(theirs)


def test_numbers_that_are_none_break_nothing():
    """A perplexity beyond all numbers, or one that is not a number, is not sure."""
    report = {"n": 30, "metrics": {"perplexity": score(1.0, math.inf, math.nan, math.inf)}}
    assert verdict.of(report)[1]["level"] == "plain"


def test_every_leading_score_has_a_name():
    assert set(verdict.LEADING) <= set(measures.MEASURES)


def equals(rows: int, random: numpy.random.Generator):
    """A report of two models that are equally good: what a row's scores are made of is drawn alike for both."""
    quality = random.random((2, rows))
    drawn = {name: (quality + random.random((2, rows))) / 2 for name in verdict.LEADING} | {
        "exact_match": quality > 0.7
    }
    return {"n": rows, "metrics": {n: vars(interval.paired(*both, bounded=True)) for n, both in drawn.items()}}


@pytest.mark.parametrize(("rows", "most"), [(5, 0), (10, 15)])
def test_equal_models_are_seldom_told_apart(monkeypatch, rows, most):
    """Nine scores are looked at, and still no more than a few of 100 pairs of equal models are called better or worse."""
    monkeypatch.setattr(interval, "RESAMPLES", 1000)
    random = numpy.random.default_rng(7)
    levels = [verdict.of(equals(rows, random))[0]["level"] for _ in range(100)]
    assert levels.count("plain") >= 100 - most


def test_a_score_beside_the_deciding_ones_decides_nothing():
    """Unless none of those is there, as of another report's."""
    more = {
        "bleu": score(0.2, 0.4, 0.1, 0.3),
        "chrf": score(0.4, 0.5, -0.1, 0.3),
        "exact_match": score(0, 0.1, -0.1, 0.3),
    }
    assert verdict.style({"n": 60, "metrics": more}).level == "plain"
    assert verdict.style({"n": 60, "metrics": {"bleu": more["bleu"]}}).level == "good"


def test_nothing_changed_and_nothing_to_lose():
    """Equal answers are called that, whatever the loss did; a base that did no everyday task lost none."""
    assert "changed no answer" in changed(identical={"n": 60, "of": 60})["summary"]["sentence"]
    assert changed(general=[task(False, False)] * 20)["general"]["level"] == "plain"
