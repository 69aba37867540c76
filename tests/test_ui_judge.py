"""Judge blind on the page: what the owner's handlers show of a round, and what its downloads hold."""

import csv
import json
import time
from pathlib import Path

import gradio as gr
import pytest

from pipeline import home, jobs, rounds, votes
from tests.judging import ASKED, choice_for, link, ready_round
from ui import judge, judge_parts, judge_state, judge_views, texts

NAMES = (
    "round", "really", "status", "go_on", "stop", "open", "links", "token", "here", "end", "result", "files", "timer",
)  # fmt: skip
PASTED = ("pasted", ASKED, None, False, "", 16, 3)


@pytest.fixture
def run(make_run):
    """A run that is not trained, with a folder for an adapter: enough for a round that is answered by hand."""
    folder = make_run(rows=4)
    (folder / "adapter").mkdir()
    return folder


def named(updates) -> dict:
    return dict(zip(NAMES, updates[-len(NAMES) :], strict=True))


def visible(shown: dict) -> set[str]:
    """Which of the buttons and groups can be seen."""
    return {name for name in ("go_on", "stop", "open", "links", "end", "files") if shown[name].visible}


def judged_by(folder: Path, made: rounds.Round, name: str, *wanted: str) -> None:
    """Somebody votes: "base" and "tuned" for whichever side that is, or a choice as it is."""
    token = link(folder, made)
    judge = votes.join(token, name)
    for item, want in enumerate(wanted, start=1):
        votes.cast(token, judge, item, want if want in votes.CHOICES else choice_for(made, item, want))


def test_a_run_without_a_round_offers_to_make_one(run):
    """The form is open and nothing else is there; without a run, too."""
    for name in (run.name, None):
        shown = judge.show(None, None, name, None)
        assert shown[2].open
        assert visible(named(shown)) == set()
        assert not named(shown)["timer"].active


def test_a_round_shows_one_next_step_at_a_time(run):
    """Answer the rest, open it, judge it, read it: each stage has its own button, and says where it is."""
    made = rounds.create(run, rounds.questions(run, "pasted", 9, 1, ASKED), "pasted")
    shown = named(judge.pick(None, None, run.name, made.id))
    assert visible(shown) == {"go_on"}
    assert "0 of 4" in shown["status"]
    ready = ready_round(run)
    shown = named(judge.show(None, None, run.name, None))
    assert shown["round"].value == ready.id
    assert visible(shown) == {"open"}
    shown = named(judge.open_for_judges(None, None, run.name, ready.id))
    assert visible(shown) == {"links", "end"}
    assert shown["token"] in shown["here"]
    assert shown["timer"].active
    judged_by(run, ready, "Ann", "tuned", "tuned", "tie", "base")
    shown = named(judge.reveal(None, None, run.name, ready.id))
    assert visible(shown) == {"links", "files"}
    assert shown["here"] == ""
    assert not shown["timer"].active
    assert visible(named(judge.close(None, None, run.name, ready.id))) == {"files"}


def test_before_the_end_it_is_told_who_judged_and_never_what(run):
    """Counts only: with other votes the owner's page is the same, byte by byte."""
    shown = []
    for wanted in (("tuned", "tuned", "tuned"), ("base", "bad", "tie")):
        made = ready_round(run)
        judged_by(run, made, "Ann <b>", *wanted)
        shown.append(named(judge.tick(None, None, run.name, made.id)))
    assert shown[0]["status"] == shown[1]["status"]
    assert "3 of 4" in shown[0]["status"]
    assert "Ann &lt;b&gt;" in shown[0]["status"]
    assert shown[0]["result"] == ""
    for handler in (judge.save_votes, judge.save_pairs):
        with pytest.raises(gr.Error, match="secret until"):
            handler(None, None, run.name, made.id)


def test_a_tick_leaves_the_list_and_a_waiting_question_alone(run):
    made = ready_round(run)
    link(run, made)
    first, second, *_ = judge.tick(None, None, run.name, made.id)
    assert first == second == gr.skip()
    assert not judge.tick(None, None, "gone", made.id)[-1].active


def test_the_round_that_is_chosen_is_answered_and_told_of(run):
    """Whatever newer one waits, too; its count is of prompts that both sides answered, and another's failure is not told."""
    first, second = (rounds.create(run, rounds.questions(run, "pasted", 9, 1, ASKED), "pasted") for _ in range(2))
    lines = [{"name": "1", "column": "base"}, {"name": "1", "column": "tuned"}, *[{"name": "2", "column": "base"}] * 2]
    text = "\n".join(map(json.dumps, lines)) + '\n{"name": "2", "col'
    (rounds.place(run, second.id) / rounds.UNDER_WAY).write_text(text)
    assert visible(named(judge.go_on(None, None, run.name, first.id))) == {"stop"}
    deadline = time.monotonic() + 120
    while jobs.job_status(run, "round") == "running":  # there is nothing in the adapter: it fails
        assert time.monotonic() < deadline
        time.sleep(0.2)
    shown = [named(judge.pick(None, None, run.name, each.id))["status"] for each in (first, second)]
    failed = texts.ROUND_FAILED.partition("{")[0]
    assert [failed in each for each in shown] == [True, False]
    assert "1 of 4" in shown[1]


def test_a_result_of_weights_that_are_gone_says_so(run):
    made = ready_round(run)
    judged_by(run, made, "Ann", "tuned", "tuned", "tie", "base")
    assert texts.ROUND_OTHER_WEIGHTS not in named(judge.reveal(None, None, run.name, made.id))["result"]
    (run / "adapter" / "adapter_config.json").write_text("{}")
    assert texts.ROUND_OTHER_WEIGHTS in named(judge.pick(None, None, run.name, made.id))["result"]


def test_a_link_says_what_it_opens_where_it_is(monkeypatch):
    """Off a Space everybody who reaches the page is its owner."""
    with gr.Blocks():
        assert judge_parts.draw().link.info == texts.ROUND_LINK_HERE
        monkeypatch.setenv("SPACE_ID", "ann/tuning-fork")
        assert judge_parts.draw().link.info == texts.ROUND_LINK_HELP


def test_ending_says_first_who_is_not_done(run):
    """Nothing is told by asking; with nobody's vote there is nothing to end."""
    made = ready_round(run)
    link(run, made)
    with pytest.raises(gr.Error, match="Nobody has voted"):
        judge.ask_to_end(None, None, run.name, made.id)
    judged_by(run, made, "Ann", *["tie"] * 4)
    assert judge_views.escape(texts.END_ASKS.format(n=1)) in judge.ask_to_end(None, None, run.name, made.id)[1]
    judged_by(run, made, "Ben", "tie")
    assert "Ben (1 of 4)" in judge.ask_to_end(None, None, run.name, made.id)[1]
    assert not votes.standing(made.id).ballot.revealed


def test_a_closed_link_opens_nothing_and_the_round_can_be_opened_again(run):
    made = ready_round(run)
    old = link(run, made)
    judged_by(run, made, "Ann", "tuned")
    shown = named(judge.close(None, None, run.name, made.id))
    assert visible(shown) == {"open"}
    assert "Ann" in shown["status"]
    new = named(judge.open_for_judges(None, None, run.name, made.id))["token"]
    assert new not in ("", old)
    assert votes.standing(made.id).judges == [("Ann", 1)]


def test_the_result_is_told_in_words_bars_and_a_table(run):
    """The sentence first; what comes from people and models is escaped."""
    made = ready_round(run)
    judged_by(run, made, "Ann", "tuned", "tuned", "tie", "base")
    shown = named(judge.reveal(None, None, run.name, made.id))["result"]
    assert shown.index("preferred tuned in 2 of 4 prompts, base in 1, 1 tie") < shown.index('class="wins"')
    assert "Ann: Tuned" in shown
    assert "Ann: Tie" in shown
    assert "&lt;i&gt;of them" in shown
    assert "<i>of them" not in shown
    assert "Say &lt;b&gt;that" in shown
    assert shown == judge_state.result(run, made.id)


def test_a_result_that_decided_nothing_has_no_interval():
    """All ties: there is no share to draw."""
    told = {
        "sentences": ["Not settled."], "preference": None, "outcomes": {"base": 0, "tuned": 0, "tie": 2, "bad": 0},
    }  # fmt: skip
    shown = judge_views.result(told, ("base", "tuned"), "")
    assert 'class="scale"' not in shown
    assert 'class="tie" style="flex:2"' in shown


def test_votes_and_preferences_are_downloaded(run):
    """From a place of the page's own; the pairs are the decided prompts, chosen before rejected."""
    made = ready_round(run)
    judged_by(run, made, "=cmd()", "tuned", "base", "tie", "bad")
    judge.reveal(None, None, run.name, made.id)
    table = Path(judge.save_votes(None, None, run.name, made.id).value["path"])
    with table.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["choice"] for row in rows] == ["tuned", "base", "tie", "bad"]
    assert rows[0]["name"] == "'=cmd()"
    pairs = Path(judge.save_pairs(None, None, run.name, made.id).value["path"]).read_text().splitlines()
    chosen = [json.loads(line)["chosen"][0]["content"] for line in pairs]
    assert chosen == ["Tuned words 1.", "Other words, 2, and a few more <i>of them</i>."]
    assert home.home() not in table.parents


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({0: "pasted", 1: "  "}, "no prompts"),
        ({0: "elsewhere"}, "not 'elsewhere'"),
        ({0: "held-out", 2: 0}, "1 to 1,000 prompts"),
        ({1: "Why?\n" * 1001}, "1,001"),
        ({5: 0}, "max_new_tokens: 0 is outside"),
    ],
)
def test_a_round_that_can_not_be_made_is_a_sentence(run, changed, sentence):
    """And leaves no half of one."""
    values = [changed.get(place, value) for place, value in enumerate(PASTED)]
    with pytest.raises(gr.Error, match=sentence):
        judge.make(None, None, run.name, *values)
    assert rounds.listing(run) == []


def test_a_guest_of_a_space_makes_and_sees_no_round(run, monkeypatch):
    """Whatever the page shows or hides: an event can be called by hand."""
    made = ready_round(run)
    judged_by(run, made, "Ann", "tuned", "tuned", "tie", "base")
    votes.reveal(made.id)
    monkeypatch.setenv("SPACE_ID", "ann/tuning-fork")
    about, owners, *_, _ = judge.show(None, None, run.name, made.id)
    assert texts.JUDGE_GUEST in about
    assert not owners.visible
    assert named(judge.tick(None, None, run.name, made.id))["result"] == ""
    clicks = (
        judge.pick, judge.go_on, judge.stop, judge.open_for_judges, judge.close, judge.ask_to_end, judge.reveal,
        judge.save_votes, judge.save_pairs,
    )  # fmt: skip
    for handler in clicks:
        with pytest.raises(gr.Error, match="Only the owner may"):
            handler(None, None, run.name, made.id)
    with pytest.raises(gr.Error, match="Only the owner may make a round"):
        judge.make(None, None, run.name, *PASTED)
