"""Which checkpoint becomes the adapter, when a run ends before its last step, and how it goes on for longer."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipeline import checkpoints, events, jobs, train
from pipeline.errors import UserError
from pipeline.job import Job
from tests.conftest import new_run


def work(folder: Path) -> dict:
    """Train in this process; what its last event tells."""
    job = Job(folder, "train")
    job.emit("started", pid=0, from_step=jobs.checkpoint_step(folder))
    ending, values = train.work(job)
    job.emit(ending, **values)
    return {"ending": ending, **values}


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def change(folder: Path, **values) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


SETTINGS = {
    "epochs": 16, "learning_rate": 0.02, "scheduler": "constant", "eval_steps": 2, "save_steps": 3,
    "keep_checkpoints": 2, "early_stopping": 2, "samples": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def overlearned(tiny, tmp_path_factory) -> Path:
    """Eight rows learned far too fast: validation is best after a few steps, and training ends early. Look, don't touch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNING_FORK_HOME", str(tmp_path_factory.mktemp("overlearned")))
        folder = new_run(tiny, rows=8, **SETTINGS)
    work(folder)
    return folder


def test_the_adapter_is_the_best_checkpoint_not_the_last(overlearned):
    """The step with the lowest validation loss is kept on disk, is what adapter/ holds, and is told."""
    told, last = jobs.view(overlearned), checkpoints.newest(overlearned)
    step, loss = min(told.validation_curve, key=lambda look: look[1])
    assert step < checkpoints.step(last)
    best = checkpoints.best(overlearned)
    assert (best.step, best.validation_loss) == (step, pytest.approx(loss))
    ours, theirs, newest = tensors(overlearned / "adapter"), tensors(best.folder), tensors(last)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert any(not torch.equal(ours[name], newest[name]) for name in newest)
    values = told.jobs["train"].values
    assert (values["kept_step"], values["last_step"]) == (step, checkpoints.step(last))
    assert any(note.startswith(f"Kept step {step}, the best of") for note in told.notes)


def test_a_run_ends_early_when_looks_no_longer_get_better(overlearned):
    """Two looks without a better one end it, as its last event says: finished, not stopped."""
    told = jobs.view(overlearned)
    losses = [loss for _, loss in told.validation_curve]
    assert min(losses) == losses[-3]
    train_told = told.jobs["train"]
    assert (train_told.ended, train_told.values["ended_early"]) == ("finished", True)
    assert train_told.step == told.validation_curve[-1][0] < train_told.steps == 16


def test_checkpoints_on_disk_are_the_best_and_the_newest(overlearned):
    """As many as asked for, each with its size and, where there was a look at it, its loss."""
    kept = checkpoints.kept(overlearned)
    told = {e.step: e.values for e in events.since(overlearned / "events.jsonl", 0)[0] if e.kind == "checkpoint"}
    assert len(kept) == 2
    assert [each.best for each in kept] == [True, False]
    assert all(told[each.step]["bytes"] == each.size > 1_000_000 for each in kept)
    assert [told[each.step]["validation_loss"] for each in kept] == [each.validation_loss for each in kept]
    assert [told[each.step]["best"] for each in kept] == [True, False]


def test_a_run_killed_before_its_end_ends_where_it_would_have(overlearned, tmp_path):
    """Resumed from the checkpoint at which it ended early, it makes no more steps and keeps the same weights."""
    folder = Path(shutil.copytree(overlearned, tmp_path / "run"))
    shutil.rmtree(folder / "adapter")
    found = work(folder)
    assert (found["ending"], found["ended_early"]) == ("finished", True)
    assert found["last_step"] == jobs.view(overlearned).jobs["train"].step
    assert jobs.view(folder).curve == jobs.view(overlearned).curve
    ours, theirs = tensors(folder / "adapter"), tensors(overlearned / "adapter")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_finished_run_goes_on_when_it_is_given_more_epochs(overlearned, tmp_path):
    """From its last checkpoint to the new end, with the learning rate of the longer run, patience begun anew."""
    folder = Path(shutil.copytree(overlearned, tmp_path / "run"))
    before = jobs.view(folder)
    last = before.jobs["train"].step
    change(folder, epochs=24.0)
    found = work(folder)
    told = jobs.view(folder)
    assert found["last_step"] >= last + 2, "looks from before are forgiven"
    assert told.jobs["train"].steps == 24
    assert told.curve[: len(before.curve)] == before.curve
    assert [step for step, _ in told.curve] == list(range(1, found["last_step"] + 1))
    assert json.loads((folder / "base.json").read_text())["extended"] == last


def test_a_longer_run_has_the_learning_rate_of_the_whole(make_run):
    """No step is made with the rate that the shorter run ended on."""
    folder = make_run(rows=8, epochs=2, scheduler="linear", warmup=0.0, samples=0, learning_rate=1e-3)
    work(folder)
    change(folder, epochs=4.0)
    work(folder)
    told = [e.values["learning_rate"] for e in events.since(folder / "events.jsonl", 0)[0] if e.kind == "loss"]
    assert told == pytest.approx([1e-3, 5e-4, 5e-4, 2.5e-4])


@pytest.mark.parametrize(("key", "value"), [("epochs", 1.0), ("max_steps", 1), ("eval_steps", 7)])
def test_a_run_can_only_be_made_longer(overlearned, tmp_path, key, value):
    """Fewer epochs, a limit where there was none, or another interval is no going on."""
    folder = Path(shutil.copytree(overlearned, tmp_path / "run"))
    change(folder, **{key: value})
    with pytest.raises(UserError, match=f"{key} is .* but the run began with"):
        work(folder)


def test_without_validation_rows_the_last_step_is_kept(make_run):
    """There is nothing to choose by."""
    folder = make_run(rows=8, epochs=2, save_steps=1)
    (folder / "validation.jsonl").write_text("")
    found = work(folder)
    assert (found["kept_step"], found["last_step"]) == (2, 2)
    assert checkpoints.best(folder) is None
    ours, theirs = tensors(folder / "adapter"), tensors(checkpoints.newest(folder))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_long_run_is_logged_at_its_first_and_last_step(make_run, monkeypatch):
    """However few points of the curve are asked for, it is never empty and ends at the end."""
    monkeypatch.setattr("pipeline.sft.LOGGED_POINTS", 1)
    folder = make_run(rows=16, epochs=2.5, samples=0)
    work(folder)
    assert [step for step, _ in jobs.view(folder).curve] == [1, 5]
