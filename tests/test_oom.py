"""A job that the kernel ended for lack of memory is told from one that was killed by hand, and goes on with fewer rows."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import fit, job, jobs, oom
from pipeline.events import JobView
from tests.training import known, told, work

pytestmark = pytest.mark.skipif(
    oom.count() is None, reason="this system does not count what it ends for lack of memory"
)


def events_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def blame_the_kernel(folder: Path) -> None:
    """As if the kernel had ended a process since the job began: its count was one less then."""
    lines = events_of(folder)
    for line in lines:
        if "oom_kills" in line["values"]:
            line["values"]["oom_kills"] -= 1
    (folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def gone(make_run):
    """A run that was in its second step, with eight rows in memory, when its process went away without a word."""
    folder = make_run(rows=16, max_steps=3)
    known(folder, 8)
    begun = job.Job(folder, "train")
    begun.emit("started", pid=2**22 + 1, from_step=0, **oom.noted())
    begun.phase("training", steps=3)
    begun.emit("loss", step=1, loss=3.0)
    return folder


def test_a_run_ended_by_the_kernel_says_so_and_goes_on_with_half_the_rows(gone):
    """The summary tells it, and resuming really halves; what a step learns from stays."""
    blame_the_kernel(gone)
    found = jobs.summary(gone)
    assert (found["status"], found["out_of_memory"]) == ("interrupted", True)
    assert found["text"] == (
        "The system ended it for lack of memory at step 1; resume goes on from the start with 4 rows in memory instead of 8."
    )
    assert work(gone) == "finished"
    assert fit.read(gone)["halved"] == [{"from": 8, "to": 4, "step": 1, "why": "killed"}]
    halving, measured = told(gone, "fit")
    assert halving.text.startswith("The system ended it for lack of memory at step 1. Instead of 8 rows only 4")
    assert (measured.values["micro_batch"], len(measured.values["halved"])) == (4, 1)
    assert [step for step, _ in jobs.view(gone).curve] == [1, 2, 3]


def test_a_run_killed_by_hand_goes_on_as_it_was(gone):
    """Without the kernel's count there is no evidence: interrupted, and all eight rows again."""
    found = jobs.summary(gone)
    assert (found["status"], found["out_of_memory"]) == ("interrupted", False)
    assert "memory" not in found["text"]
    work(gone)
    assert fit.read(gone)["halved"] == []


def test_what_ran_out_of_memory_later_is_no_evidence(gone):
    """Who saw the process end noted the count of that moment, and the signal: both speak against the kernel."""
    before = oom.noted()["oom_kills"] - 1
    blame_the_kernel(gone)
    seen = {"pid": 2**22 + 1, "code": -signal.SIGKILL, **oom.noted()}
    for there, blamed in [
        ({}, True),
        ({"oom_kills": before}, False),
        ({"code": -signal.SIGSEGV}, False),
        ({"pid": 7}, True),
    ]:
        (gone / "control" / oom.ENDED).write_text(json.dumps({**seen, **there}))
        assert jobs.summary(gone)["out_of_memory"] == blamed, there
    (gone / "control" / oom.ENDED).write_text("{")
    assert jobs.summary(gone)["out_of_memory"]


def test_after_a_restart_of_the_machine_counts_are_not_compared(gone):
    """The kernel counts from 0 again, so a higher count may be of anything."""
    blame_the_kernel(gone)
    text = (gone / "events.jsonl").read_text()
    (gone / "events.jsonl").write_text(text.replace(oom.noted()["oom_over"], "another boot"))
    assert not jobs.summary(gone)["out_of_memory"]


@pytest.mark.parametrize(
    ("found", "phase", "rows"),
    [
        ({}, "training", (8, 4)),
        ({}, "measuring memory", (8, 4)),
        ({}, "loading model", (8, 8)),
        ({"micro_batch": 1}, "training", (1, 1)),
        ({"device": "Tesla T4"}, "training", (8, 8)),
        (None, "loading model", (0, 0)),
    ],
)
def test_rows_are_halved_only_where_that_helps(tmp_path, found, phase, rows):
    """Not while the base is loaded, not below one row, and not where rows lie on a GPU; the sentence fits."""
    if found is not None:
        known(tmp_path, 8)
        fit.write(tmp_path, {**fit.read(tmp_path), **found})
    state = JobView(phase=phase)
    assert oom.next_rows(tmp_path, state) == rows
    sentence = oom.sentence(tmp_path, "train", state, 0)
    assert sentence.startswith(f"The system ended it for lack of memory while {phase}; ")
    assert ("instead of" in sentence) == (rows[1] < rows[0])


def test_the_end_of_a_child_is_seen_and_no_zombie_stays(tmp_path):
    """A signal is noted with the count; an end of its own, or one that was asked for, is not."""
    (tmp_path / "control").mkdir()
    ended = tmp_path / "control" / oom.ENDED
    for code, asked, noted in [("pass", False, False), (KILL_ITSELF, True, False), (KILL_ITSELF, False, True)]:
        (tmp_path / "control" / "cancel").unlink(missing_ok=True)
        if asked:
            (tmp_path / "control" / "cancel").touch()
        child = subprocess.Popen([sys.executable, "-c", code])
        oom.see_off(tmp_path, child)
        assert not Path(f"/proc/{child.pid}").exists()
        assert ended.exists() == noted
    assert json.loads(ended.read_text()) == {"pid": child.pid, "code": -9, **oom.noted()}


KILL_ITSELF = "import os; os.kill(os.getpid(), 9)"


@pytest.mark.slow
def test_a_child_killed_by_hand_is_noted_and_resumed_with_all_its_rows(make_run):
    """The real thing: started, killed while it trains, seen off by who started it, resumed with what it had."""
    folder = make_run(rows=48, epochs=50)
    jobs.start(folder, "train")
    deadline = time.monotonic() + 120
    while not jobs.view(folder).curve:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pid = jobs.view(folder).jobs["train"].pid
    os.kill(pid, signal.SIGKILL)
    while not (folder / "control" / oom.ENDED).exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
    assert not jobs.summary(folder)["out_of_memory"]
    jobs.resume(folder)
    assert not (folder / "control" / oom.ENDED).exists()
    jobs.cancel(folder)
    assert fit.read(folder)["halved"] == []
