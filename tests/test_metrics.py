"""Scores against the reference: between 0 and 1 for any text of any script, and the textbook's where there is one."""

import pytest
import sacrebleu
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from pipeline import measures, metrics
from pipeline.errors import UserError
from pipeline.metrics import ROUGES, score
from pipeline.word_pieces import words

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
@settings(max_examples=40, deadline=None)
def test_every_score_of_every_text_is_between_0_and_1(pairs):
    """One score per row and metric, never outside the range, and 1 for a text compared with itself."""
    predictions, references = map(list, zip(*pairs, strict=True))
    found = score(predictions + references, references * 2)
    assert set(found) == {"exact_match", *ROUGES, "bleu", "chrf", "meteor", "token_f1"}
    assert all(len(scores) == 2 * len(pairs) and all(0 <= s <= 1 for s in scores) for scores in found.values())
    assert all(set(scores[len(pairs) :]) == {1.0} for scores in found.values())
    assert all(0 <= metrics.repetition(text) <= 1 for text in predictions)


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
    theirs = RougeScorer(list(ROUGES), use_stemmer=True).score(reference, prediction)
    ours = metrics.Rouge().row(prediction, reference)
    if prediction != reference:
        assert dict(zip(ROUGES, ours, strict=True)) == {name: s.fmeasure for name, s in theirs.items()}


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


@pytest.mark.parametrize(
    ("prediction", "reference", "meteor"),
    [
        # precision 6/7, recall 1: F = 10PR / (R + 9P) = 60/61; 2 pieces of 6 matches: 1 - 0.5 (2/6)^3
        ("the cat was sat on the mat", "the cat sat on the mat", 60 / 61 * (1 - 0.5 / 27)),
        # both words by their stems: precision 1, recall 2/3, one piece of two
        ("Cats sleep.", "The cat sleeps", 2 / 3 / (0.9 + 0.1 * 2 / 3) * (1 - 0.5 / 8)),
        # "b a": two pieces of two matches
        ("mother father", "father mother", 0.5),
        ("he is big", "he is large", 2 / 3 * (1 - 0.5 / 8)),  # no synonyms: two of three
        ("dog", "cat", 0.0),
        ("", "cat", 0.0),
        ("The CAT sat!", "the cat sat", 1.0),
        ("我爱你", "我恨你", 2 / 3 * (1 - 0.5)),
    ],
)
def test_meteor_without_wordnet_by_hand(prediction, reference, meteor):
    """Recall weighs nine times precision; each further piece of the alignment takes something off."""
    assert score([prediction], [reference])["meteor"] == [pytest.approx(meteor)]


@pytest.mark.parametrize(("prediction", "reference"), SENTENCES)
def test_bleu_and_chrf_are_sacrebleus(prediction, reference):
    """A row's scores as sacrebleu's own functions give them, with its usual tokenizer and smoothing."""
    ours = score([prediction], [reference])
    assert ours["bleu"] == [pytest.approx(sacrebleu.sentence_bleu(prediction, [reference]).score / 100)]
    assert ours["chrf"] == [pytest.approx(sacrebleu.sentence_chrf(prediction, [reference]).score / 100)]


def test_bleu_takes_chinese_apart_as_sacrebleu_does_for_chinese():
    """Not as one long word, which would score 0 for a sentence that differs in one character."""
    prediction, reference = "我爱北京天安门广场", "我爱北京天安门"
    theirs = sacrebleu.sentence_bleu(prediction, [reference], tokenize="zh").score / 100
    assert theirs > 0.5
    assert score([prediction], [reference])["bleu"] == [pytest.approx(theirs)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("iPhone手机 2", ["iphone", "手", "机", "2"]),
        ("की के", ["की", "के"]),  # vowel signs tell words apart
        ("cafe\u0301", ["café"]),
        ("กำ", ["กำ"[0] + "ํ", "า"]),
        ("a_b, c!", ["a", "b", "c"]),
    ],
)
def test_words_of_many_scripts(text, found):
    """A letter keeps its marks; a character of a script without spaces stands alone, beside Latin words, too."""
    assert words(text) == found


@pytest.mark.parametrize(
    ("text", "share"),
    [("a b c d e", 0.0), ("a b c", 0.0), ("", 0.0), ("a b c d a b c d", 1 / 5), ("no no no no no no", 2 / 3)],
)
def test_repetition_by_hand(text, share):
    """Runs of four words that were there before, over all runs of four words."""
    assert metrics.repetition(text) == pytest.approx(share)


HUB_METRIC = """
import datasets
import evaluate
class Letters(evaluate.Metric):
    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")})
        return evaluate.MetricInfo(description="", citation="", features=features)
    def _compute(self, predictions, references):
        return {"off": sum(abs(len(p) - len(r)) for p, r in zip(predictions, references)), "unit": "letters"}
"""


def test_a_metric_of_the_hub_is_averaged_row_by_row(tmp_path):
    """evaluate.load's own path, from a folder; what is no number in its result is left out."""
    folder = tmp_path / "letters"
    folder.mkdir()
    (folder / "letters.py").write_text(HUB_METRIC)
    metric = metrics.of_hub(str(folder))
    assert metrics.hub_scores("letters", metric, ["ab", ""], ["a", "abc"]) == {"letters": [1.0, 3.0]}


def test_a_metric_that_cannot_be_fetched_is_a_sentence():
    """Offline, or under a name that nobody has."""
    with pytest.raises(UserError, match=r"--metric nobody-has-this: it can't be had"):
        metrics.of_hub("nobody-has-this")


def test_every_score_has_a_name_for_people():
    """Those of the metrics, and METEOR says what it does without."""
    assert set(score(["a"], ["a"])) <= set(measures.MEASURES)
    assert "without WordNet" in measures.label("meteor")
    assert measures.better("from-the-hub") == 0


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


def test_a_list_of_one_number_is_a_number():
    """As of metrics that score row by row themselves, beside what is no number."""
    assert metrics.hub_scores("m", Told({"f1": [0.5], "version": "1"}), ["a", "b"], ["a", "b"]) == {"m": [0.5, 0.5]}


@pytest.mark.parametrize("told", [None, [0.5], {}, {"version": "1"}, {"f1": [0.5, 0.6]}])
def test_a_metric_without_numbers_is_a_sentence(told):
    """Whatever somebody else's code returns; said before anything is generated."""
    with pytest.raises(UserError, match="leave it out"):
        metrics.hub_scores("m", Told(told), ["a"], ["a"])


class Told:
    """A metric that says the same of everything."""

    def __init__(self, told):
        self.told = told

    def compute(self, predictions, references):
        return self.told
