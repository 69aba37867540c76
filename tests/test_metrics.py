"""Scores against the reference: between 0 and 1 for any text of any script, and the textbook's where there is one."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from pipeline import metrics
from pipeline.metrics import ROUGES, score

ODD = st.sampled_from(
    ["", " ", "\n", "!?", "\U0001f600", "\U0001f622", "我爱你", "日本語です", "สวัสดี", "नमस्ते", "ß", "\0", "a_b"]
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | ODD | st.lists(ODD).map(" ".join)
ENGLISH = st.lists(st.from_regex(r"\A[A-Za-z0-9']{1,12}[.,!?]?\Z"), min_size=1, max_size=12).map(" ".join)
SENTENCES = [
    ("The quick brown foxes were jumping over lazy dogs.", "A quick brown fox jumped over the lazy dog!"),
    ("Running, runner's and ran: it's 42 things.", "He runs 42 miles; the runner was running."),
    ("one\ntwo three\nfour", "two one\nthree four five"),
    ("all ads and a gas", "an ad, all cats"),  # words of three letters keep their s
]


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6))
@example([("", ""), ("", "a"), ("a", ""), ("!!", "??"), ("\U0001f600", "\U0001f622"), ("我爱你", "我恨你")])
@settings(max_examples=60, deadline=None)
def test_every_score_of_every_text_is_between_0_and_1(pairs):
    """One score per row and metric, never outside the range, and 1 for a text compared with itself."""
    predictions, references = map(list, zip(*pairs, strict=True))
    found = score(predictions, references)
    assert set(found) == {"exact_match", *ROUGES, "token_f1"}
    assert all(len(scores) == len(pairs) and all(0 <= s <= 1 for s in scores) for scores in found.values())
    assert all(set(scores) == {1.0} for scores in score(references, references).values())


@pytest.mark.parametrize(("prediction", "reference"), SENTENCES)
def test_rouge_is_rouge_score_on_english(prediction, reference):
    """On plain English our words are rouge_score's own, stemmed."""
    theirs = RougeScorer(list(ROUGES), use_stemmer=True).score(reference, prediction)
    ours = score([prediction], [reference])
    assert {name: ours[name][0] for name in ROUGES} == {name: theirs[name].fmeasure for name in ROUGES}


@given(ENGLISH, ENGLISH)
@settings(max_examples=60, deadline=None)
def test_rouge_is_rouge_score_on_any_ascii(prediction, reference):
    """The same for any words and punctuation, wherever two texts differ and have words."""
    theirs = RougeScorer(["rouge1", "rougeL"], use_stemmer=True).score(reference, prediction)
    ours = metrics._rouge(RougeScorer(["rouge1", "rougeL"], tokenizer=metrics._Stems()), prediction, reference)
    if prediction != reference:
        assert {name: ours[name] for name in theirs} == {name: s.fmeasure for name, s in theirs.items()}


@pytest.mark.parametrize(
    ("prediction", "reference", "f1"),
    [
        ("a cat sat", "the cat sat down", 4 / 7),  # 2 in common of 3 and 4
        ("the the the", "the cat", 2 / 5),  # a word counts as often as it is there on both sides
        ("Cat, SAT.", "cat sat", 1.0),
        ("dog", "cat", 0.0),
        ("", "cat", 0.0),
        ("cat", "", 0.0),
        ("", " ", 1.0),
        ("!!", "??", 0.0),
        ("我爱你", "我恨你", 2 / 3),  # each character is a word
    ],
)
def test_token_f1_by_hand(prediction, reference, f1):
    """Twice what is in common over what both have."""
    assert score([prediction], [reference])["token_f1"] == [pytest.approx(f1)]


@pytest.mark.parametrize(
    ("prediction", "reference", "exact"),
    [("a b", " a b\n", 1.0), ("A b", "a b", 0.0), ("a  b", "a b", 0.0), ("", "", 1.0), ("a.", "a", 0.0)],
)
def test_exact_match_forgives_white_space_around_only(prediction, reference, exact):
    """Everything else has to be the same, letter by letter."""
    assert score([prediction], [reference])["exact_match"] == [exact]


def test_scores_are_in_row_order():
    """Row i's score is about row i's texts, whatever stands beside it."""
    predictions, references = ["same", "x", "half same"], ["same", "y", "half other"]
    whole = score(predictions, references)
    for i in range(3):
        alone = score(predictions[i : i + 1], references[i : i + 1])
        assert {name: [scores[i]] for name, scores in whole.items()} == alone


def test_chinese_is_not_scored_zero():
    """rouge_score's own words are a-z and 0-9 only; ours know other scripts."""
    assert RougeScorer(["rouge1"]).score("我爱北京", "我爱上海")["rouge1"].fmeasure == 0
    assert score(["我爱上海"], ["我爱北京"])["rouge1"] == [0.5]
