"""A run of any method that goes on from a checkpoint ends with the same weights, to the last bit."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipeline import checkpoints, jobs, train
from pipeline.job import Job

SETTINGS = {"max_steps": 4, "batch_size": 4, "eval_steps": 2, "save_steps": 2, "dropout": 0.1}
OF_METHOD = {"new-tokens": {"new_tokens": "<note>"}}
QUICK = ("pissa", "full", "lora+")
THOROUGH = ("dora", "ia3", "prompt-tuning", "prefix-tuning", "new-tokens", "last-layers", "qlora-4bit", "qlora-8bit")
METHODS = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in THOROUGH)]


def work(folder: Path) -> dict[str, torch.Tensor]:
    job = Job(folder, "train")
    job.emit("started", pid=os.getpid(), from_step=jobs.checkpoint_step(folder))
    ending, values = train.work(job)
    job.emit(ending, **values)
    (file,) = (folder / "adapter").glob("*.safetensors")
    return load_file(file)


@pytest.mark.parametrize("method", METHODS)
def test_going_on_from_a_checkpoint_ends_at_the_same_weights(make_run, tmp_path, method):
    """The run of four steps, and the same one with all lost after its second step: equal tensors, equal losses."""
    whole = make_run(rows=16, method=method, **SETTINGS, **OF_METHOD.get(method, {}))
    expected = work(whole)
    broken = tmp_path / "home" / "runs" / f"{whole.name}-broken"
    shutil.copytree(whole, broken)
    shutil.rmtree(broken / "adapter")
    shutil.rmtree(broken / "checkpoints" / "checkpoint-4")
    assert checkpoints.step(checkpoints.newest(broken)) == 2
    found = work(broken)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert jobs.view(broken).curve == jobs.view(whole).curve
