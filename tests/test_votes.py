"""Votes: kept at once and for good, one per judge and item, by nobody else, and told to nobody before the reveal."""

import multiprocessing
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline import ledger, votes
from pipeline.errors import UserError
from pipeline.votes import Progress

ROOT = Path(__file__).parents[1]


@pytest.fixture
def token() -> str:
    """The link of a round of three prompts."""
    return votes.open_round("run", "round", 3).token


def test_a_vote_is_kept_for_good(token):
    """Everything that was said is read again after the reveal, by item, with the judge's number and name."""
    anna, ben = votes.join(token, "Anna"), votes.join(token, "  Ben \x07 B. ")
    assert votes.cast(token, ben, 2, "bad") == Progress(1, 3, 1)
    for number in (1, 3):
        votes.cast(token, ben, number, "tie")
    scores = {"fluency": (5, 1), "correctness": (None, 2), "relevance": (None, None)}
    assert votes.cast(token, anna, 1, "left", scores, "=1+1 \ud800") == Progress(1, 3, 2)
    votes.cast(token, anna, 2, "right")
    assert votes.cast(token, anna, 3, "right") == Progress(3, 3, None)
    votes.reveal("round")
    found = votes.read("round")
    assert [(v.item, v.judge, v.name, v.choice) for v in found] == [
        (1, 1, "Anna", "left"), (1, 2, "Ben B.", "tie"), (2, 1, "Anna", "right"), (2, 2, "Ben B.", "bad"),
        (3, 1, "Anna", "right"), (3, 2, "Ben B.", "tie"),
    ]  # fmt: skip
    assert found[0].scores == {"fluency": (5, 1), "correctness": (None, 2)}
    assert found[0].note == "=1+1 ?"
    assert abs(found[0].made - time.time()) < 60


def test_one_vote_per_judge_and_item(token):
    """The same vote may be sent twice; another one is refused until the first is undone."""
    anna = votes.join(token, "Anna")
    votes.cast(token, anna, 1, "left")
    assert votes.cast(token, anna, 1, "left") == Progress(1, 3, 2)
    for other in (
        {"choice": "right"},
        {"choice": "left", "note": "x"},
        {"choice": "left", "scores": {"fluency": (1, 1)}},
    ):
        with pytest.raises(UserError, match="prompt 1 already; undo"):
            votes.cast(token, anna, 1, **other)
    assert votes.undo(token, anna) == 1
    votes.cast(token, anna, 1, "right")
    votes.reveal("round", early=True)
    assert [vote.choice for vote in votes.read("round")] == ["right"]


def test_undo_takes_back_the_judges_own_last_vote(token):
    """In the order the votes came, whatever their items and whoever voted in between."""
    anna, ben = votes.join(token, "Anna"), votes.join(token, "Ben")
    for judge, number in ((anna, 3), (anna, 1), (ben, 2)):
        votes.cast(token, judge, number, "tie")
    assert [votes.undo(token, anna) for _ in range(3)] == [1, 3, None]
    assert (votes.progress(token, anna).done, votes.progress(token, ben).done) == (0, 1)


@pytest.mark.parametrize("judge", ["", "Anna", "1", None])
def test_nobody_votes_for_another(token, judge):
    """Without the judge's own secret there is no vote, no undo and no look at how far anybody is."""
    votes.join(token, "Anna")
    for act in (
        lambda: votes.cast(token, judge, 1, "left"),
        lambda: votes.undo(token, judge),
        lambda: votes.progress(token, judge),
    ):
        with pytest.raises(UserError, match="not joined"):
            act()
    assert votes.standing("round").judges == [("Anna", 0)]


def test_a_judge_is_who_the_browser_remembers(token):
    """A known secret stays, here and in the next round, and may change its name; a made-up one is replaced."""
    anna = votes.join(token, "Anna")
    assert votes.join(token, "Anna B.", anna) == anna
    assert votes.join(token, "Anna", "made up") != "made up"
    other = votes.open_round("run", "other", 2).token
    assert votes.join(other, "Anna", anna) == anna
    assert votes.standing("round").judges == [("Anna B.", 0), ("Anna", 0)]
    votes.cast(other, anna, 1, "left")
    assert votes.progress(token, anna).done == 0


@pytest.mark.parametrize("name", ["", "  ", "\x00\u200b", "x" * 61])
def test_a_judge_has_a_name(token, name):
    """One that can be read, and not too long."""
    with pytest.raises(UserError, match="1 to 60 characters"):
        votes.join(token, name)


@pytest.mark.parametrize(
    ("vote", "sentence"),
    [
        ((0, "left"), "no prompt 0"),
        ((4, "left"), "no prompt 4"),
        (("1", "left"), "no prompt 1"),
        ((1, "base"), "one of left, right, tie, bad"),
        ((1, "left", {"beauty": (1, 2)}), "fluency, relevance, correctness"),
        ((1, "left", {"fluency": (0, 2)}), "give 1 to 5"),
        ((1, "left", {"fluency": (True, 2)}), "give 1 to 5"),
        ((1, "left", {"fluency": (1, 2, 3)}), "pairs"),
        ((1, "left", {}, "x" * 2001), "at most 2,000 characters"),
    ],
)
def test_what_is_no_vote_is_refused(token, vote, sentence):
    """With what was found and what would be one; nothing is kept."""
    anna = votes.join(token, "Anna")
    with pytest.raises(UserError, match=sentence):
        votes.cast(token, anna, *vote)
    assert votes.progress(token, anna).done == 0


def test_no_vote_is_told_before_the_reveal(token):
    """Only how far each judge is; and there is nothing to tell of before anybody has voted."""
    anna = votes.join(token, "Anna")
    with pytest.raises(UserError, match="Nobody has voted"):
        votes.reveal("round", early=True)
    votes.cast(token, anna, 1, "left")
    with pytest.raises(UserError, match="secret until"):
        votes.read("round")
    assert votes.standing("round").judges == [("Anna", 1)]


def test_a_round_is_complete_when_all_who_began_are_done(token):
    """Who has joined and never voted holds up nobody; who has begun is named."""
    anna, ben, _ = (votes.join(token, name) for name in ("Anna", "Ben", "Cara"))
    assert not votes.standing("round").complete
    for number in (1, 2, 3):
        votes.cast(token, anna, number, "left")
    assert votes.standing("round").complete
    votes.cast(token, ben, 1, "left")
    assert not votes.standing("round").complete
    with pytest.raises(UserError, match=r"Not all votes are in: Ben \(1 of 3\)"):
        votes.reveal("round")
    assert votes.reveal("round", early=True).ballot.revealed
    assert len(votes.read("round")) == 4


def test_after_the_reveal_no_vote_changes(token):
    """None is added, none taken back, and the round is not opened again; the link still shows it."""
    anna = votes.join(token, "Anna")
    votes.cast(token, anna, 1, "left")
    votes.reveal("round", early=True)
    for act in (
        lambda: votes.cast(token, anna, 2, "left"),
        lambda: votes.undo(token, anna),
        lambda: votes.open_round("run", "round", 3),
    ):
        with pytest.raises(UserError, match="names of this round have been told"):
            act()
    assert votes.by_link(token).revealed
    assert [vote.item for vote in votes.read("round")] == [1]


def test_a_link_can_be_revoked(token):
    """Whoever has it can do nothing more; a new one goes on with the same judges and votes. It can't be guessed."""
    anna = votes.join(token, "Anna")
    votes.cast(token, anna, 1, "left")
    assert votes.open_round("run", "round", 3).token == token
    votes.revoke("round")
    for act in (
        votes.by_link,
        lambda t: votes.join(t, "B"),
        lambda t: votes.cast(t, anna, 2, "left"),
        lambda t: votes.undo(t, anna),
    ):
        with pytest.raises(UserError, match="link is not valid"):
            act(token)
    new = votes.open_round("run", "round", 3).token
    assert new != token
    assert len(new) * 6 >= 128
    assert votes.cast(new, anna, 2, "left").done == 2


@pytest.mark.parametrize("token", ["", "none", None, "' or 1=1 --", "%"])
def test_a_link_is_whole_or_nothing(token):
    """Also where a round's link was revoked: None is nobody's."""
    votes.open_round("run", "round", 3)
    votes.revoke("round")
    with pytest.raises(UserError, match="link is not valid"):
        votes.by_link(token)


def test_a_deleted_run_takes_its_votes_along(token):
    """All of its own and nobody else's; where nobody ever voted, nothing is made."""
    other = votes.open_round("other", "other round", 1).token
    for link in (token, other):
        votes.cast(link, votes.join(link, "Anna"), 1, "left")
    votes.forget("run")
    with sqlite3.connect(ledger.home.home() / ledger.FILE) as kept:
        left = [kept.execute(f"select count(*) from {table}").fetchone()[0] for table in ("rounds", "judges", "votes")]
    assert left == [1, 1, 1]
    assert votes.by_link(other).round == "other round"


def test_nothing_is_made_where_nobody_voted(home):
    """Forgetting a run without rounds leaves no file."""
    votes.forget("run")
    assert not (home / ledger.FILE).exists()


def test_the_file_is_its_owners(token, home):
    """Nobody else on the machine reads votes or links; it is in WAL mode."""
    assert stat.S_IMODE((home / ledger.FILE).stat().st_mode) == 0o600
    with sqlite3.connect(home / ledger.FILE) as kept:
        assert kept.execute("pragma journal_mode").fetchone() == ("wal",)


def test_a_damaged_file_is_a_sentence(token, home):
    """It is told, and not written over."""
    (home / ledger.FILE).write_bytes(b"no database at all, " * 100)
    with pytest.raises(UserError, match=r"votes\.sqlite in the home folder can't be used"):
        votes.by_link(token)
    assert (home / ledger.FILE).read_bytes().startswith(b"no database")


def vote_on_all(token: str, judge: str, items: range) -> None:
    for number in items:
        votes.cast(token, judge, number, "left", note=f"{os.getpid()}")


def test_many_may_vote_at_once():
    """Two processes of two threads each, and the file made by whoever comes first: every vote is there, once."""
    context = multiprocessing.get_context("spawn")
    token = votes.open_round("run", "round", 40).token
    judges = [votes.join(token, f"judge {n}") for n in range(2)]
    processes = [context.Process(target=hammer, args=(token, judge, sys.path)) for judge in judges for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert votes.reveal("round").judges == [("judge 0", 40), ("judge 1", 40)]
    assert sorted((vote.item, vote.judge) for vote in votes.read("round")) == [
        (i, j) for i in range(1, 41) for j in (1, 2)
    ]


def hammer(token: str, judge: str, path: list[str]) -> None:
    """The same votes from two threads; the same vote twice is one."""
    threads = [threading.Thread(target=each, args=(token, judge)) for each in (forwards, backwards)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def forwards(token: str, judge: str) -> None:
    for number in range(1, 41):
        votes.cast(token, judge, number, "left")


def backwards(token: str, judge: str) -> None:
    for number in range(40, 0, -1):
        votes.cast(token, judge, number, "left")


VOTER = """
import sys
from pipeline import votes
token, judge = sys.argv[1:]
for number in range(1, 100_000):
    votes.cast(token, judge, number, "left")
    print(number, flush=True)
"""


def test_a_kill_loses_no_vote_that_was_acknowledged():
    """A voter is killed in the middle, three times over; all it was told are there, at most one more, and voting goes on."""
    token = votes.open_round("run", "round", 100_000).token
    for time_over in range(3):
        judge = votes.join(token, f"judge {time_over}")
        told = killed_voter(token, judge)
        done = votes.progress(token, judge).done
        assert told <= done <= told + 1
        assert votes.cast(token, judge, done + 1, "tie").done == done + 1


def killed_voter(token: str, judge: str) -> int:
    """The last vote that was acknowledged to a process before it was killed."""
    voter = subprocess.Popen([sys.executable, "-c", VOTER, token, judge], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    for _ in range(10):
        voter.stdout.readline()
    voter.send_signal(signal.SIGKILL)
    told = voter.stdout.read().split()
    voter.wait()
    return max(10, *map(int, told)) if told else 10


def test_whoever_only_joins_keeps_nobody_out(monkeypatch, token):
    """Judges are counted by their votes; those who have voted may go on."""
    monkeypatch.setattr(votes, "MOST_JUDGES", 2)
    anna, ben, cara = (votes.join(token, name) for name in ("Anna", "Ben", "Cara"))
    for judge in (anna, ben):
        votes.cast(token, judge, 1, "left")
    with pytest.raises(UserError, match="another round"):
        votes.cast(token, cara, 1, "left")
    with pytest.raises(UserError, match="another round"):
        votes.join(token, "Dan")
    assert votes.join(token, "Anna B.", anna) == anna
    assert votes.cast(token, anna, 2, "left").done == 2
