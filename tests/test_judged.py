"""What votes say: textbook intervals and tests, few false winners, and sentences whose numbers can be counted by hand."""

import csv
import io
import json

import numpy
import pytest
import scipy.stats

from pipeline import judged, judgements, preference, rounds
from pipeline.rounds import Round
from pipeline.schema import Decoding
from pipeline.votes import Vote

NAN = float("nan")


def made(count: int, seed: int = 1) -> Round:
    items = [
        {"item": n, "row": n + 10, "messages": [{"role": "user", "content": f"q{n}"}], "reference": None}
        for n in range(1, count + 1)
    ]
    return Round("id", 1.0, "owner", seed, "pasted", None, Decoding(), True, "", items)


def answers(count: int, base: str = "short", tuned: str = "much longer answer") -> list[dict]:
    return [{"base": {"text": f"{base} {n}"}, "tuned": {"text": f"{tuned} {n}"}} for n in range(1, count + 1)]


def said(asked: Round, *choices: str, judge: int = 1, name: str = "Anna", **more) -> list[Vote]:
    """Votes of one judge by what is preferred: the side is where that column stands."""
    stood = rounds.left(asked)
    side = lambda n, c: c if c not in asked.columns else "left" if stood[n] == c else "right"  # noqa: E731
    return [Vote(n + 1, judge, name, side(n, c), **more) for n, c in enumerate(choices) if c]


def result(*judges: list[str]) -> dict:
    asked = made(len(judges[0]))
    cast = [vote for number, choices in enumerate(judges, start=1) for vote in said(asked, *choices, judge=number)]
    return judged.of(asked, cast, answers(len(judges[0])))


def test_the_result_in_plain_words():
    """34 for tuned, 9 for base, 7 ties: 79 % of decided prompts, 65-89 %."""
    found = result(["tuned"] * 34 + ["base"] * 9 + ["tie"] * 7)
    assert found["sentences"][0] == (
        "Judges preferred tuned in 34 of 50 prompts, base in 9, 7 ties: tuned wins 79 % of decided prompts (95 % interval "
        "65-89 %)."
    )
    assert found["outcomes"] == {"base": 9, "tuned": 34, "tie": 7, "bad": 0}
    assert found["preference"]["better"] == "tuned"
    assert not any("next round" in sentence for sentence in found["sentences"])


def test_the_base_may_win():
    """Then the share and the interval are the base's."""
    told = result(["base"] * 34 + ["tuned"] * 9 + ["tie"] + ["bad"] * 6)["sentences"][0]
    assert "base in 34, 1 tie, 6 both bad: base wins 79 % of decided prompts (95 % interval 65-89 %)." in told
    assert told.startswith("Judges preferred tuned in 9 of 50 prompts")


def test_a_difference_that_chance_makes_is_not_settled():
    """It says so first, how often chance does the same, and how many prompts a next round would need."""
    found = result(["tuned"] * 14 + ["base"] * 6)
    assert not found["preference"]["settled"]
    assert found["sentences"][0].startswith("Not settled. Judges preferred tuned in 14 of 20 prompts")
    assert "two equal models would be this far apart in 12 % of rounds." in found["sentences"][0]
    assert f"a next round of about {found['preference']['needed']} prompts would settle it" in found["sentences"][1]


def test_no_difference_needs_no_number():
    """At half and half, and close to it, no number of prompts is promised; with ties alone there is nothing to share."""
    assert result(["tuned", "base"] * 10)["preference"]["needed"] is None
    assert result(["tuned", "base"] * 10)["preference"]["better"] is None
    assert "more than 2,000 prompts" in result(["tuned", "base"] * 10)["sentences"][1]
    found = result(["tie"] * 3 + ["bad"])
    assert found["preference"] is None
    assert found["sentences"] == [
        "Not settled. Judges preferred tuned in 0 of 4 prompts, base in 0, 3 ties, 1 both bad: no prompt was decided."
    ]


@pytest.mark.parametrize(("won", "of"), [(0, 1), (1, 1), (34, 43), (60, 60), (0, 60), (7, 20), (1999, 4000)])
def test_the_interval_of_one_judge_is_wilsons(won, of):
    """As scipy has it, and never of zero width."""
    theirs = scipy.stats.binomtest(won, of).proportion_ci(method="wilson")
    assert preference.wilson(won, of) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    low, high = preference.wilson(won, of)
    assert 0 <= low < high <= 1


@pytest.mark.parametrize(
    ("won", "lost", "ties"), [(34, 9, 7), (14, 6, 0), (1, 0, 3), (0, 5, 0), (10, 10, 2), (700, 600, 9)]
)
def test_the_test_of_one_judge_is_the_binomial(won, lost, ties):
    """The exact two-sided one of scipy; ties say nothing."""
    ours = preference.exact(numpy.array([1] * won + [-1] * lost + [0] * ties))
    assert ours == pytest.approx(scipy.stats.binomtest(won, won + lost).pvalue, rel=1e-9)


def test_the_test_of_several_judges_is_the_permutation_of_signs():
    """Of whole items: scipy's exact paired permutation test of the same differences."""
    differences = numpy.array([3, 3, 1, -1, 2, 2, -3, 1, 0, 3])
    theirs = scipy.stats.permutation_test(
        (differences, numpy.zeros(10)), lambda a, b, axis: (a - b).sum(axis), permutation_type="samples", vectorized=True,
        n_resamples=numpy.inf,
    ).pvalue  # fmt: skip
    assert preference.exact(differences) == pytest.approx(theirs, rel=1e-9)


def clustered(random: numpy.random.Generator, items: int, share: float, same: float, judges: int = 3) -> numpy.ndarray:
    """Votes for either of judges who follow the item's own better side with chance `same`, else decide for themselves."""
    of_item = random.random((items, 1)) < share
    alone = random.random((items, judges)) < share
    ones = numpy.where(random.random((items, judges)) < same, of_item, alone).sum(1)
    return numpy.stack([ones, judges - ones], axis=1)


def test_the_interval_of_several_judges_is_the_bootstraps():
    """Close to scipy's bootstrap of whole items, where that is at its best: many items, a share in the middle."""
    counts = clustered(numpy.random.default_rng(5), 200, 0.6, 0.5)
    theirs = scipy.stats.bootstrap(
        (counts[:, 0], counts.sum(1)), lambda a, b, axis: a.sum(axis) / b.sum(axis), paired=True, method="percentile", rng=1
    ).confidence_interval  # fmt: skip
    ours = preference.of(counts)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.012)


@pytest.mark.parametrize("same", [0.0, 0.6, 1.0])
def test_the_interval_of_several_judges_covers_the_truth(monkeypatch, same):
    """In 95 of 100 rounds, whether judges see the same or not: votes are not taken for independent."""
    monkeypatch.setattr(preference, "RESAMPLES", 500)
    random = numpy.random.default_rng(3)
    found = [preference.of(clustered(random, 40, 0.7, same)) for _ in range(300)]
    covered = numpy.mean([each.low <= 0.7 <= each.high for each in found])
    assert 0.915 < covered <= 0.99


def test_agreeing_judges_weigh_as_one():
    """Three who always say the same are worth one of them; unanimous prompts leave an interval."""
    one = preference.of(numpy.array([[1, 0]] * 30 + [[0, 1]] * 20))
    three = preference.of(numpy.array([[3, 0]] * 30 + [[0, 3]] * 20))
    assert (three.low, three.high) == pytest.approx((one.low, one.high), abs=0.01)
    assert three.p == one.p
    whole = preference.of(numpy.array([[3, 0]] * 60))
    assert whole.low < 0.96
    assert whole.low < preference.of(numpy.array([[3, 0]] * 200)).low < 1


@pytest.mark.parametrize("judges", [1, 3])
@pytest.mark.parametrize("ties", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("items", [9, 20, 50, 120])
def test_base_against_base_seldom_has_a_winner(judges, ties, items):
    """1,000 simulated rounds with real sides: judges who share a taste for one of two equal texts, and for a side, declare
    a winner in at most 6 % of them."""
    random = numpy.random.default_rng(items)
    sides = [numpy.array(rounds.left(made(items, seed))) == "tuned" for seed in range(20)]
    winners = sum(settled(random, sides[n % 20], ties, judges, leaning) for leaning in (0.0, 0.15) for n in range(500))
    assert winners <= 60


def settled(random: numpy.random.Generator, stood: numpy.ndarray, ties: float, judges: int, leaning: float) -> bool:
    """One round: whether something was declared. Each item's texts are drawn from one model, so either may be better."""
    better = random.normal(0, 1, len(stood))  # of the tuned text over the base's
    towards = numpy.where(stood, 1, -1)[:, None]
    seen = better[:, None] * towards + random.normal(leaning, 0.7, (len(stood), judges))
    for_left = numpy.where(random.random(seen.shape) < ties, 0, numpy.sign(seen))
    return preference.exact((for_left * towards).sum(1).astype(int)) <= preference.ERROR


def test_settled_is_what_the_exact_test_declares():
    """Also where Wilson's interval alone would leave out one half: 32 of 50, which equals reach in 6.5 % of rounds."""
    found = preference.of(numpy.array([[1, 0]] * 32 + [[0, 1]] * 18))
    assert found.low > 0.5
    assert found.p == pytest.approx(0.0649, abs=1e-4)
    assert not found.settled
    assert preference.of(numpy.array([[1, 0]] * 33 + [[0, 1]] * 17)).settled


def test_a_real_difference_is_settled_as_often_as_promised():
    """Rounds of the size that is asked for settle it in about 80 of 100, and rounds of half of it seldom."""
    random, share = numpy.random.default_rng(1), 0.7
    needed = preference.decided_needed(share)
    won = random.binomial(needed, share, 2000)
    declared = [n for n in range(needed + 1) if scipy.stats.binomtest(n, needed).pvalue <= 0.05]
    assert 0.77 < numpy.isin(won, declared).mean() < 0.86
    assert preference.power(share, needed // 2) < 0.6
    for other in numpy.arange(0.54, 0.99, 0.03):
        found = preference.decided_needed(other)
        assert preference.power(other, found) >= 0.8
        assert preference.power(other, int(found * 0.8) - 2) < 0.8


@pytest.mark.parametrize(
    ("share", "decided"), [(0.7, 50), (0.6, 200), (0.9, 6), (0.5, 100), (0.8, 5), (0.3, 41), (0.52, 500)]
)
def test_power_is_the_binomials(share, decided):
    """The chance, by scipy's distribution, of all outcomes that scipy's exact test declares."""
    declared = [n for n in range(decided + 1) if scipy.stats.binomtest(n, decided).pvalue <= 0.05]
    theirs = scipy.stats.binom.pmf(declared, decided, share).sum()
    assert preference.power(share, decided) == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize(
    ("table", "published"),
    [
        ([[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]], 0.095),
        (
            [
                [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
                [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
                [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
                [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
            ],
            0.743,
        ),
    ],
)
def test_agreement_is_krippendorffs(table, published):
    """His own two examples: binary data of two observers, and nominal data of four with gaps."""
    assert judged.alpha(numpy.array(table, dtype=float)) == pytest.approx(published, abs=5e-4)


def test_agreement_is_over_prompts_that_several_judged():
    """By names, not by sides; undefined where all say the same; none with one judge."""
    two = result(["tuned", "base", "tuned", ""], ["tuned", "base", "tie", "bad"])
    assert two["agreement"]["prompts"] == 3
    table = numpy.array([[2, 0, 2, NAN], [2, 0, 1, NAN]])
    assert two["agreement"]["alpha"] == pytest.approx(judged.alpha(table))
    assert result(["tuned"] * 4, ["tuned"] * 4)["agreement"] == {"alpha": None, "prompts": 4}
    assert result(["tuned"] * 4)["agreement"] is None
    assert "see it differently" in " ".join(result(["tuned", "base"] * 4, ["base", "tuned"] * 4)["sentences"])


def test_several_judges_are_counted_by_majority():
    """A prompt is a column's when more than half say so, both bad likewise; everything else is a tie."""
    found = result(
        ["tuned", "tuned", "bad", "base", "tuned"],
        ["tuned", "base", "bad", "tie", "tuned"],
        ["base", "tie", "base", "base", ""],
    )
    assert found["outcomes"] == {"base": 1, "tuned": 2, "tie": 1, "bad": 1}
    assert (found["prompts"], found["judges"], found["votes"]) == (5, 3, 14)
    assert (
        "3 judges, by majority, preferred tuned in 2 of 5 prompts, base in 1, 1 tie, 1 both bad"
        in found["sentences"][0]
    )
    assert found["sentences"][-1] == "The round was ended early: 14 of 15 votes were given, and each of them counts."


def test_whoever_always_says_left_decides_nothing():
    """Sides are in balance, so both columns get half; the bias itself is found."""
    asked = made(50)
    found = judged.of(asked, [Vote(n, 1, "Anna", "left") for n in range(1, 51)], answers(50))
    assert found["outcomes"]["tuned"] == found["outcomes"]["base"] == 25
    assert (found["position"]["left"], found["position"]["right"]) == (50, 0)
    assert found["position"]["p"] < 1e-9
    assert "The left answer was preferred 50 times, the right one 0: more than chance would do." in found["sentences"]


def test_whether_the_winner_was_simply_longer():
    """Counted over decided prompts; those whose answers are about as long are told apart."""
    asked, given = made(6), answers(6)
    for place in (0, 1):
        given[place] = {"base": {"text": "a" * 100}, "tuned": {"text": "b" * 85}}
    given[2] = {"base": {"text": "same"}, "tuned": {"text": "size"}}
    found = judged.of(asked, said(asked, "base", "tuned", "tuned", "tuned", "tuned", "tie"), given)
    assert (found["length"]["longer_won"], found["length"]["of"]) == (3, 4)
    assert found["length"]["similar"] == {"base": 1, "tuned": 2}
    assert any("The longer answer won 3 of 4 decided prompts" in told for told in found["sentences"])
    assert any(told.endswith("where both were about as long, tuned in 2, base in 1.") for told in found["sentences"])


def test_scores_go_with_their_column():
    """Left and right become base and tuned; averages over prompts of the judges' own; half a pair is left out."""
    asked = made(8)
    stood = rounds.left(asked)
    cast = []
    for judge, (base, tuned) in ((1, (2, 5)), (2, (2, 3))):
        for n in range(8):
            pair = (tuned, base) if stood[n] == "tuned" else (base, tuned)
            cast.append(Vote(n + 1, judge, "x", "tie", {"fluency": pair, "correctness": (1, None)}))
    found = judged.of(asked, cast, answers(8))["criteria"]
    assert found.keys() == {"fluency"}
    assert (found["fluency"]["base"], found["fluency"]["tuned"], found["fluency"]["prompts"]) == (2, 4, 8)
    few = judged.of(made(2), said(made(2), "tie", "tie", scores={"relevance": (3, 3)}), answers(2))
    assert few["criteria"]["relevance"]["low"] is None
    assert "Relevance, 1 to 5: tuned 3.0, base 3.0 over 2 prompts, too few for an interval." in few["sentences"]


def test_the_result_is_json():
    """Plain numbers and texts only."""
    found = result(["tuned", "base", "tie"] * 4, ["tuned", "tuned", "bad"] * 4)
    assert json.loads(json.dumps(found)) == found


def test_the_spreadsheet_has_every_vote_with_both_answers():
    """Names told, scores by column, one line per vote; line ends inside a text stay inside."""
    asked = made(2)
    cast = [
        *said(asked, "tuned", "tie", scores={"fluency": (5, 1)}),
        *said(asked, "base", "", judge=2, name="Ben", note="n,\n"),
    ]
    lines = list(csv.DictReader(io.StringIO(judgements.table(asked, cast, answers(2)).decode("utf-8-sig"))))
    assert [(line["item"], line["name"], line["choice"]) for line in lines] == [
        ("1", "Anna", "tuned"), ("2", "Anna", "tie"), ("1", "Ben", "base"),
    ]  # fmt: skip
    assert lines[0]["base"] == "short 1"
    assert lines[0]["tuned"] == "much longer answer 1"
    assert (lines[0]["prompt"], lines[0]["row"], lines[2]["note"]) == ("q1", "11", "n,\n")
    for line in lines[:2]:
        assert line[f"fluency of {line['left']}"] == "5"
        assert line[f"fluency of {line['right']}"] == "1"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", "\n=", "＝"])
def test_no_cell_is_a_formula(start):
    """Whatever a model, a judge or a name begins with; what is a number stays one."""
    asked, text = made(1), f'{start}HYPERLINK("http://x")'
    cast = said(asked, "tuned", name=text, note=text)
    written = judgements.table(asked, cast, [{"base": {"text": text}, "tuned": {"text": text}}])
    line = next(csv.DictReader(io.StringIO(written.decode("utf-8-sig"), newline="")))
    assert {line[name] for name in ("name", "note", "base", "tuned")} == {f"'{text}"}
    assert line["item"] == "1"


def test_pairs_can_be_trained_on(tmp_path, tiny):
    """`datasets` reads them and TRL renders them as DPO's prompt, chosen and rejected; only what a majority decided."""
    from datasets import load_dataset
    from transformers import AutoTokenizer
    from trl.data_utils import is_conversational, maybe_apply_chat_template, maybe_extract_prompt

    asked, given = made(4), answers(4)
    given[3]["base"] = given[3]["tuned"]
    cast = [*said(asked, "tuned", "base", "tie", "tuned"), *said(asked, "tuned", "base", "tuned", "tuned", judge=2)]
    file = tmp_path / "pairs.jsonl"
    file.write_bytes(judgements.pair_lines(asked, cast, given))
    rows = load_dataset("json", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    assert [row["chosen"][0]["content"] for row in rows] == ["much longer answer 1", "short 2"]
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    for row in rows:
        assert is_conversational(row)
        assert maybe_extract_prompt(row) == row
        rendered = maybe_apply_chat_template(row, tokenizer)
        assert rendered.keys() == {"prompt", "chosen", "rejected"}
        assert row["chosen"][0]["content"] in rendered["chosen"]
        assert row["rejected"][0]["content"] in rendered["rejected"]


def test_scores_that_all_moved_alike_leave_room_for_doubt():
    """Ten prompts, each 4 for one side and 5 for the other: the interval is not a point."""
    asked = made(10)
    stood = rounds.left(asked)
    cast = [
        vote
        for n, vote in enumerate(said(asked, *["tuned"] * 10))
        for vote in [Vote(vote.item, 1, "Anna", vote.choice, {"fluency": (4, 5) if stood[n] == "base" else (5, 4)})]
    ]
    found = judged.of(asked, cast, answers(10))["criteria"]["fluency"]
    assert (found["base"], found["tuned"], found["difference"], found["n"]) == (4, 5, 1, 10)
    assert found["low"] < 1


def test_a_winner_with_fewer_prompts_is_explained():
    """One prompt with five votes for the base, two with three to two for the tuned: votes and prompts point apart."""
    first, others = ["base", "tuned", "tuned"], ["base", "base", "base"]
    told = result(first, first, first, others, others)["sentences"][0]
    assert "base wins" not in told or "though tuned has more prompts" in told
    assert "though" in told
