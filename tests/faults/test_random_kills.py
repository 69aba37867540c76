"""Kill anything at any moment: no run is lost, none is shown as what it is not, and each ends as if unbroken, bit for bit."""

import collections
import itertools
import random
import sys
import time
from pathlib import Path

import pytest

from pipeline import jobs
from tests.faults import runs

SETTINGS = {"epochs": 2, "save_steps": 3, "eval_steps": 4, "dropout": 0.1, "keep_checkpoints": 20}
VARIANTS = {
    "accumulation": {"micro_batch": 2},
    "packing": {"packing": True, "batch_size": 2},
    "length grouping": {"length_grouping": True},
}
PHASES = (
    "train: starting", "train: loading libraries", "train: tokenizing", "train: loading model", "train: training",
    "a checkpoint half written", "train: evaluating", "train: saving", "evaluate: loading model", "evaluate: answering",
    "evaluate: measuring loss",
)  # fmt: skip
JITTER = 0.25  # seconds after the moment that was waited for; a step of the bundled model takes a fifth of it
MOST = 8  # kills of one run


def phase(folder: Path) -> str:
    """Where the run is, in the words of PHASES where it is one of these."""
    told = jobs.phase(folder)
    writing = told in ("train: training", "train: evaluating", "train: saving") and runs.half_written(folder)
    return "a checkpoint half written" if writing else told


def reached(folder: Path, moment: str) -> bool:
    """Whether the job is at this moment, or beyond it: a resumed one may have no such moment left."""
    now = phase(folder)
    return moment == now or (now in PHASES[4:] and moment in PHASES[:4]) or not jobs.working(folder) or (
        now.startswith("evaluate") and moment.startswith(("train", "a checkpoint"))
    )  # fmt: skip


def killed(folder: Path, moment: str, seconds: float) -> str:
    """Go on with the run, and end it so long after a moment. Returns where it was then, "" when it had ended."""
    if not jobs.resume(folder):
        return ""
    runs.wait_for(lambda: reached(folder, moment), moment)
    time.sleep(seconds)
    now = phase(folder) if jobs.alive(folder) else ""
    runs.kill(folder)
    return now


def survives(folder: Path, expected: dict[int, float]) -> bool:
    """Whether the run is there, says what it is, shows no loss that did not happen, and has let go of the device."""
    runs.wait_for(lambda: not jobs.working(folder), "the end of a handover", 0.05)
    [shown] = [each for each in jobs.listing() if each["run"] == folder.name]
    told = jobs.view(folder)
    assert shown["status"] == ("finished" if told.jobs["train"].ended == "finished" else "interrupted")
    assert all(expected[step] == loss for step, loss in told.curve)
    assert runs.whole_events(folder)
    assert runs.device_is_free()
    return jobs.load(folder).name == "test"


def unbroken(make_run, **settings) -> Path:
    folder = make_run(rows=48, **SETTINGS, **settings)
    runs.here(folder, "train")
    return folder


def kills(make_run, seed: int, number: int) -> collections.Counter:
    """Kill runs of all variants so often in all, finish each, and compare it. Returns where they were killed."""
    chance, moments = random.Random(seed), collections.Counter()
    variants = itertools.cycle(chance.sample(list(VARIANTS.values()), len(VARIANTS)))
    while moments.total() < number:
        settings = next(variants)
        whole, broken = unbroken(make_run, **settings), make_run(rows=48, **SETTINGS, **settings)
        expected = dict(jobs.view(whole).curve)
        for moment in sorted(chance.choices(PHASES, k=min(MOST, number - moments.total())), key=PHASES.index):
            if now := killed(broken, moment, chance.random() * JITTER):
                moments[now] += 1
                assert survives(broken, expected), f"lost when killed at {now}"
        runs.finished(broken)
        runs.assert_same(broken, whole)
        assert (broken / "report.json").exists()
    return moments


def test_four_random_kills_lose_nothing(make_run):
    """A run that was killed four times ends with the losses and the weights of one that was not."""
    assert kills(make_run, seed=4, number=4).total() == 4


@pytest.mark.slow
def test_fifty_random_kills_lose_nothing(make_run, capsys):
    """Nor do fifty, in runs that accumulate, pack, or group by length; where each came is printed."""
    moments = kills(make_run, seed=50, number=50)
    with capsys.disabled():
        where = ", ".join(f"{count} x {moment}" for moment, count in moments.most_common())
        print(f"\n{moments.total()} kills, 0 runs lost ({where})", file=sys.stderr)
    assert moments.total() == 50
