"""The job that answers a round ahead, and the command line's round and votes."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import events, example, jobs, rounds, votes
from pipeline.__main__ import main
from pipeline.errors import UserError
from pipeline.job import Job
from pipeline.rounds import Round
from pipeline.schema import Decoding

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run() -> Path:
    return example.install()


def opened(run: Path, count: int, room: int = 8) -> Round:
    items = rounds.questions(run, "held-out", count, seed=1)
    return rounds.create(run, items, "held-out", seed=1, decoding=Decoding(max_new_tokens=room))


def work(run: Path) -> tuple[str, dict]:
    from pipeline import round as answered

    return answered.work(Job(run, "round"))


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_both_answers_are_those_of_the_chat(run):
    """Each prompt of the round as base and tuned answer it one at a time; the same prompt twice has both."""
    from pipeline import generate, sides

    items = rounds.questions(run, "held-out", 3, seed=1)
    made = rounds.create(run, [*items, {**items[0], "item": 4}], "held-out", decoding=Decoding(max_new_tokens=12))
    assert work(run) == ("finished", {"round": made.id, "prompts": 4})
    found = rounds.answers(run, made)
    pair = sides.open_trusted(run)
    for item, given in zip(made.items, found, strict=True):
        asked = dict.fromkeys(made.columns, item["messages"])
        told = [piece for piece in generate.stream(pair, asked, made.decoding) if isinstance(piece[1], generate.Answer)]
        assert {column: answer.text for column, answer in told} == {c: answer["text"] for c, answer in given.items()}
    assert found[0]["base"]["text"] == found[3]["base"]["text"]
    assert any(given["base"]["text"] != given["tuned"]["text"] for given in found)


def test_the_newest_waiting_round_is_answered(run):
    """One round per job; with none that waits there is nothing to do."""
    old, new = opened(run, 1), opened(run, 1)
    work(run)
    assert [rounds.ready(run, each) for each in (old, new)] == [False, True]
    work(run)
    with pytest.raises(UserError, match="no round that waits"):
        work(run)


def test_another_adapter_answers_no_round(run):
    """A round is about the adapter it was opened for: a run that was trained on refuses."""
    opened(run, 1)
    file = run / "adapter" / "adapter_config.json"
    file.write_text(file.read_text() + " ")
    with pytest.raises(UserError, match="opened for another adapter"):
        work(run)


def test_another_template_answers_no_round(run):
    """Nor does the base under another prompt format than the one that was trained."""
    made = opened(run, 1)
    values = jobs.read_json(run / "base.json")
    values["templates"] = dict.fromkeys(values["templates"], "another")
    (run / "base.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match="chat template"):
        work(run)
    assert not rounds.ready(run, made)


def test_a_prompt_without_room_is_told_before_anything_is_answered(run):
    """With its number, its length, and what the model reads."""
    items = rounds.pasted("Short?\n" + "word " * 3000)
    made = rounds.create(run, [{**item, "item": n} for n, item in enumerate(items, start=1)], "pasted")
    with pytest.raises(UserError, match=r"the first is prompt 2 with \d+ tokens, the model reads \d+"):
        work(run)
    assert not (rounds.place(run, made.id) / rounds.UNDER_WAY).exists()


def test_a_killed_round_goes_on_where_it_was(run, monkeypatch):
    """SIGKILL in the middle: what was answered stays word for word and is not generated again."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    made = opened(run, 40, room=64)
    file = rounds.place(run, made.id) / rounds.UNDER_WAY
    child = subprocess.Popen([sys.executable, "-m", "pipeline.round", str(run)], cwd=ROOT, env=jobs.environment())
    deadline = time.monotonic() + 120
    while not (file.exists() and file.stat().st_size) and time.monotonic() < deadline:
        assert child.poll() is None
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not rounds.ready(run, made)
    kept = file.read_bytes()
    kept = kept[: kept.rfind(b"\n") + 1]
    jobs.start(run, "round")
    while jobs.working(run):
        time.sleep(0.05)
    assert jobs.job_status(run, "round") == "finished"
    assert rounds.ready(run, made)
    assert file.read_bytes().startswith(kept)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert len({(line["name"], line["column"]) for line in lines}) == len(lines) == 80
    told = [
        event for event in events.since(run / "events.jsonl", 0)[0] if event.kind == "progress" and event.job == "round"
    ]
    assert told[-1].values["of"] == 40
    assert "eta_seconds" in told[-1].values


def test_a_round_from_the_first_prompt_to_the_pairs(capsys, run, tmp_path):
    """The command line opens one; judges vote by its link; names, spreadsheet and pairs come with the reveal."""
    source = tmp_path / "prompts.txt"
    source.write_text("Who are you?\nWhere does the bear live?\n")
    found = as_json(capsys, "round", run.name, "--source", str(source), "--seed", "7", "--max-new-tokens", "8")
    assert (found["prompts"], found["source"], found["seed"], found["ready"]) == (2, "pasted", 7, True)
    token = found["judge"].removeprefix("?judge=")
    anna = votes.join(token, "Anna")
    votes.cast(token, anna, 1, "left")
    before = as_json(capsys, "votes", run.name)
    assert (before["judges"], before["complete"], before["revealed"], before["result"]) == (
        [{"name": "Anna", "done": 1, "of": 2}], False, False, None,
    )  # fmt: skip
    assert main(["votes", run.name, "--reveal"]) == 2
    assert main(["votes", run.name, "--csv", str(tmp_path / "early.csv")]) == 2
    assert "Anna (1 of 2)" in capsys.readouterr().err
    votes.cast(token, anna, 2, "tie")
    files = [tmp_path / "votes.csv", tmp_path / "pairs.jsonl"]
    assert main(["votes", run.name, "--reveal", "--csv", str(tmp_path / "nowhere" / "votes.csv")]) == 2
    assert not votes.standing(found["round"]).ballot.revealed
    told = as_json(capsys, "votes", run.name, "--reveal", "--csv", str(files[0]), "--pairs", str(files[1]))
    left = rounds.left(rounds.read(run, found["round"]))[0]
    assert told["result"]["outcomes"] == {"base": 0, "tuned": 0, "bad": 0, left: 1, "tie": 1}
    assert len(files[0].read_text("utf-8-sig").splitlines()) >= 3
    assert len(files[1].read_text().splitlines()) <= 1
    assert not (tmp_path / "early.csv").exists()
    assert main(["votes", run.name]) == 0
    assert "Not settled. Judges preferred" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["round", "none"], "There is no run 'none'"),
        (["round", "RUN", "--source", "no.txt"], "--source 'no.txt' is no text"),
        (["round", "RUN", "--prompts", "0"], "--prompts is 0"),
        (["round", "RUN", "--seed", "-1"], "seed: -1 is outside"),
        (["round", "RUN", "--resume"], "no round that waits"),
        (["votes", "RUN"], "has no round to judge"),
        (["votes", "RUN", "--round", "x"], "has no round 'x'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(capsys, run, arguments, sentence):
    """And no round is made."""
    assert main([run.name if argument == "RUN" else argument for argument in arguments]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert sentence in printed.err
    assert rounds.listing(run) == []


def test_a_copied_run_has_its_rounds(run, tmp_path):
    """A round is a folder in the run's: it goes where the run goes."""
    made = opened(run, 2)
    assert rounds.listing(Path(shutil.copytree(run, tmp_path / "copy"))) == [made]
