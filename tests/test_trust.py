"""The mark of the self-test explains itself."""

import dataclasses

from pipeline import trust
from pipeline.schema import Check

GOOD, BAD = Check(True, 2e-7, 1e-5), Check(False, 0.58, 1e-5)
PASSED = {
    "base_is_base": GOOD, "tuned_is_tuned": GOOD, "tuned_differs": Check(True, 3.0, 1e-5),
    "adapter_complete": Check(True, 0.0, 0.0),
}  # fmt: skip


def summary(checks, mode="mixed"):
    return trust.self_test_words(checks, mode)[0]


def test_a_passed_test_says_what_each_line_means():
    """A sentence for every line, in the order of the checks, then how the columns are answered."""
    lines = trust.self_test_words(PASSED, "mixed")
    assert [line["name"] for line in lines] == ["summary", *PASSED, "mode"]
    assert all(line["ok"] is True and line["sentence"].endswith(".") for line in lines)
    assert "in one batch" in lines[-1]["sentence"]
    assert "one after the other" in trust.self_test_words(PASSED, "in turn")[-1]["sentence"]
    assert trust.self_test_words({k: dataclasses.asdict(v) for k, v in PASSED.items()}, "mixed") == lines


def test_a_side_that_is_not_what_it_says_is_red():
    """With the numbers that tell how far off it is."""
    for name in ("base_is_base", "tuned_is_tuned", "adapter_complete", "other_is_other"):
        checks = {**PASSED, name: BAD}
        assert summary(checks)["ok"] is False
        assert not trust.trusted(checks)
        (line,) = [line for line in trust.self_test_words(checks, "mixed") if line["name"] == name]
        assert line["ok"] is False
        assert "0.58" in line["sentence"]


def test_an_adapter_that_changes_nothing_is_no_breach():
    """It is said, and the mark is neither green nor red."""
    checks = {**PASSED, "tuned_differs": Check(False, 0.0, 1e-5)}
    assert summary(checks)["ok"] is None
    assert "changes nothing" in summary(checks)["sentence"]
    assert trust.trusted(checks)
    assert summary({**checks, "base_is_base": BAD})["ok"] is False


def test_in_turn_is_explained_whatever_its_reason():
    """An adapter, a base, or a shared batch that failed the test."""
    told = trust.self_test_words(PASSED, "in turn")[-1]["sentence"]
    assert "adapter or base" in told
    assert "did not pass" in told
