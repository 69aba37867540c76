"""A newest checkpoint that lost a file, or its end: the run goes on from the one before, and ends as if unbroken."""

import os
import shutil
from pathlib import Path

import pytest

from pipeline import checkpoints, files, jobs
from tests.conftest import new_run
from tests.faults import runs

SETTINGS = {"max_steps": 6, "batch_size": 4, "save_steps": 2, "eval_steps": 6, "dropout": 0.1, "keep_checkpoints": 9}
DAMAGE = {
    "optimizer.pt": "missing",
    "adapter_model.safetensors": "truncated",
    "trainer_state.json": "missing",
    "rng_state.pth": "truncated",
    checkpoints.SEAL: "missing",
}
QUICK = ("optimizer.pt", "adapter_model.safetensors")


@pytest.fixture(scope="module")
def unbroken(tiny, tmp_path_factory) -> Path:
    """Look, don't touch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNING_FORK_HOME", str(tmp_path_factory.mktemp("unbroken")))
        folder = new_run(tiny, rows=16, samples=0, **SETTINGS)
    runs.here(folder, "train")
    return folder


def cut_off(unbroken: Path, home: Path, at: int) -> Path:
    """The same run as it was when it was killed after this step."""
    folder = home / "runs" / f"{unbroken.name}-cut"
    shutil.copytree(unbroken, folder)
    shutil.rmtree(folder / "adapter")
    for checkpoint in checkpoints.all_of(folder):
        if checkpoints.step(checkpoint) > at:
            shutil.rmtree(checkpoint)
    lines = (folder / "events.jsonl").read_text().splitlines(keepends=True)
    told = next(number for number, line in enumerate(lines) if f'"checkpoint-{at}"' in line)
    (folder / "events.jsonl").write_text("".join(lines[: told + 1]) + '{"kind":"loss","job":"tr')
    return folder


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(each, marks=pytest.mark.slow) for each in DAMAGE if each not in QUICK)]
)
def test_a_damaged_newest_checkpoint_is_passed_over(unbroken, home, name):
    """It is removed and said so; the one before it is what the run goes on from, to the same losses and weights."""
    broken = cut_off(unbroken, home, at=4)
    assert jobs.status(broken) == "interrupted"
    file = broken / checkpoints.FOLDER / "checkpoint-4" / name
    os.truncate(file, file.stat().st_size // 2) if DAMAGE[name] == "truncated" else file.unlink()
    assert jobs.checkpoint_step(broken) == 2
    runs.here(broken, "train")
    assert "checkpoint-4 was not written to its end and was removed." in jobs.view(broken).notes
    runs.assert_same(broken, unbroken)


def test_without_any_whole_checkpoint_a_run_begins_again(unbroken, home):
    """And ends the same."""
    broken = cut_off(unbroken, home, at=2)
    (broken / checkpoints.FOLDER / "checkpoint-2" / checkpoints.SEAL).write_text("{")
    assert jobs.checkpoint_step(broken) == 0
    runs.here(broken, "train")
    runs.assert_same(broken, unbroken)


def test_newest_is_newest_when_the_clock_was_set_back(unbroken, home):
    """What was written before it was set back lies in the future: what comes now is not taken for the oldest."""
    broken = cut_off(unbroken, home, at=4)
    config = jobs.read_json(broken / "config.json")
    files.write_json(broken / "config.json", {**config, "keep_checkpoints": 2})
    for days, checkpoint in enumerate(checkpoints.all_of(broken), 1):
        os.utime(checkpoint, (checkpoint.stat().st_mtime + days * 86400,) * 2)
    runs.here(broken, "train")
    assert [checkpoints.step(each) for each in checkpoints.all_of(broken)] == [4, 6]
    runs.assert_same(broken, unbroken)
