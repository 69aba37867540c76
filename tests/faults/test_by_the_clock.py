"""Checkpoints made because time has passed: they change nothing that is learned, and push no chosen one out."""

import shutil

from pipeline import checkpoints, events, jobs, progress
from tests.faults import runs

SETTINGS = {"max_steps": 6, "batch_size": 4, "save_steps": 3, "eval_steps": 3, "dropout": 0.1, "keep_checkpoints": 2}


def told(folder) -> list[int]:
    return [each.step for each in events.since(folder / "events.jsonl", 0)[0] if each.kind == "checkpoint"]


def test_a_long_run_is_saved_by_the_clock(make_run, monkeypatch):
    """Between the steps that are asked for, too; on disk at the end are those that were asked for, and going on is exact."""
    plain, clocked = (make_run(rows=16, **SETTINGS) for _ in range(2))
    runs.here(plain, "train")
    assert told(plain) == [3, 6]
    monkeypatch.setattr(progress, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(progress, "SAVE_SHARE", 0)
    runs.here(clocked, "train")
    assert told(clocked) == [1, 2, 3, 4, 5, 6]
    assert [checkpoints.step(each) for each in checkpoints.all_of(clocked)] == [3, 6]
    runs.assert_same(clocked, plain)


def test_a_run_goes_on_from_a_checkpoint_of_the_clock(make_run, monkeypatch):
    """The newest whole one is what counts, whoever asked for it; nothing writes over it."""
    plain, clocked = (make_run(rows=16, **{**SETTINGS, "keep_checkpoints": 9}) for _ in range(2))
    runs.here(plain, "train")
    monkeypatch.setattr(progress, "SAVE_SHARE", 0)
    monkeypatch.setattr(progress, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "rotate", lambda run, keep: None)  # each stays, to be gone on from
    runs.here(clocked, "train")
    monkeypatch.undo()
    shutil.rmtree(clocked / "adapter")
    for step in (5, 6):
        shutil.rmtree(clocked / checkpoints.FOLDER / f"checkpoint-{step}")
    newest = checkpoints.newest(clocked)
    assert (newest.name, (newest / checkpoints.BY_THE_CLOCK).exists()) == ("checkpoint-4", True)
    runs.here(clocked, "train")
    runs.assert_same(clocked, plain)
    assert jobs.checkpoint_step(clocked) == 6


def test_a_slow_disk_is_not_kept_busy(make_run, monkeypatch):
    """Where saving takes long, it is done more rarely than the clock would have it."""
    folder = make_run(rows=16, **SETTINGS)
    monkeypatch.setattr(progress, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(progress, "SAVE_SHARE", 10**9)
    runs.here(folder, "train")
    assert told(folder) == [1, 3, 6], "the first is not known to be slow"
