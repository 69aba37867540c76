"""Wherever a run goes on, it learns what one that was never interrupted learns: the same rows in the same order, to the bit."""

import shutil
from pathlib import Path

import pytest
import torch

from pipeline import checkpoints, fit, jobs
from pipeline.progress import Progress
from tests.training import known, learned, work

SETTINGS = {"rows": 32, "epochs": 2, "batch_size": 8, "save_steps": 1, "eval_steps": 4, "keep_checkpoints": 50, "samples": 0,
            "dropout": 0.1, "learning_rate": 3e-3}  # fmt: skip


def steps_of_an_epoch(folder: Path) -> int:
    return len((folder / "train.jsonl").read_text().splitlines()) // SETTINGS["batch_size"]


def cut_off(folder: Path, step: int) -> None:
    """As a kill right after this step's checkpoint would leave it."""
    for each in checkpoints.all_of(folder):
        if checkpoints.step(each) > step:
            shutil.rmtree(each)
    shutil.rmtree(folder / "adapter", ignore_errors=True)


def assert_same(folder: Path, whole: Path) -> None:
    """Losses, gradients, looks and weights."""
    (ours, found), (theirs, expected) = learned(folder), learned(whole)
    assert [(each["loss"], each["grad_norm"]) for each in ours] == [
        (each["loss"], each["grad_norm"]) for each in theirs
    ]
    assert jobs.view(folder).validation_curve == jobs.view(whole).validation_curve
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("asked", [{}, {"micro_batch": 4}, {"length_grouping": False}], ids=str)
def test_a_run_goes_on_as_if_unbroken_from_any_step(make_run, tmp_path, asked):
    """In the middle of any epoch and between two, again and again; grouped by length, accumulated, in random order."""
    whole = make_run(**SETTINGS, **asked)
    (whole / "held_out.jsonl").write_text("")
    work(whole)
    broken, epoch = Path(shutil.copytree(whole, tmp_path / "run")), steps_of_an_epoch(whole)
    assert epoch > 3
    for step in (epoch, epoch + 2, 2):
        cut_off(broken, step)
        work(broken)
        assert_same(broken, whole)


def test_a_stop_within_a_step_costs_nothing(make_run, tmp_path, monkeypatch):
    """The step is made again from its beginning; before the first there is no checkpoint to go on from."""
    whole = make_run(**{**SETTINGS, "save_steps": 4}, micro_batch=2)
    (whole / "held_out.jsonl").write_text("")
    broken = Path(shutil.copytree(whole, tmp_path / "run"))
    work(whole)
    hear = Progress.on_substep_end

    def stopping(self, args, state, control, **more):
        if (state.global_step, state.epoch) in stops:
            (self.job.folder / "control" / "stop").touch()
        hear(self, args, state, control, **more)

    monkeypatch.setattr(Progress, "on_substep_end", stopping)
    for stop in (0, 2):
        stops = {(stop, stop / steps_of_an_epoch(whole))}
        assert work(broken) == "stopped"
        assert jobs.checkpoint_step(broken) == stop
        (broken / "control" / "stop").unlink()
    stops = set()
    assert work(broken) == "finished"
    assert_same(broken, whole)


def test_looks_stay_comparable_where_fewer_rows_fit_later(make_run):
    """The loss of a look is an average over batches: validation rows are looked at as many at once as from the first."""
    folder = make_run(**SETTINGS)
    known(folder, 8)
    assert fit.looked(folder) == 8
    fit.halve(folder, fit.read(folder), 4, 3, "step")
    found = fit.halve(folder, fit.read(folder), 2, 5, "killed")
    assert (found["micro_batch"], fit.looked(folder)) == (2, 8)
    known(folder, 8)
    fit.halve(folder, fit.read(folder), 4, 0, "probe")
    assert fit.looked(folder) == 4, "nobody has looked yet"
