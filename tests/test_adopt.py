"""Another checkpoint becomes the adapter: whole, without a model being loaded, and judged again."""

import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline import adopt, checkpoints, example, jobs
from pipeline.errors import UserError
from pipeline.job import Job

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def run() -> Path:
    """The run that ships, with two checkpoints that differ from its adapter and from each other."""
    folder = example.install()
    for step, factor in ((24, 0.5), (48, 0.25)):
        checkpoint = folder / checkpoints.FOLDER / f"checkpoint-{step}"
        shutil.copytree(folder / "adapter", checkpoint)
        tensors = {name: tensor * factor for name, tensor in load_file(checkpoint / WEIGHTS).items()}
        save_file(tensors, checkpoint / WEIGHTS, {"format": "pt"})
        checkpoints.seal(checkpoint)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / WEIGHTS)


def test_the_adapter_is_the_checkpoint_that_was_chosen(run):
    """Tensor for tensor, with tokenizer and base named; what was said of the adapter before is gone."""
    (run / "chosen.json").write_text('{"step": 24}')
    (run / "merge.json").write_text("{}")
    ending, values = adopt.work(Job(run, "adopt"))
    assert (ending, values["adopted"]) == ("finished", 24)
    chosen, found = weights(run / checkpoints.FOLDER / "checkpoint-24"), weights(run / "adapter")
    assert chosen.keys() == found.keys()
    assert all(torch.equal(chosen[name], found[name]) for name in chosen)
    assert json.loads((run / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny-chat"
    assert (run / "adapter" / "tokenizer.json").exists()
    assert not [name for name in ("report.json", "merge.json", "merged") if (run / name).exists()]


@pytest.mark.parametrize("damage", ["gone", "half"])
def test_a_checkpoint_that_is_not_whole_changes_nothing(run, damage):
    """Neither by the page's choice nor by the job, should it have gone in between."""
    checkpoint = run / checkpoints.FOLDER / "checkpoint-24"
    (run / "chosen.json").write_text('{"step": 24}')
    if damage == "gone":
        shutil.rmtree(checkpoint)
    else:
        (checkpoint / WEIGHTS).write_bytes(b"half")
    before = (run / "adapter" / WEIGHTS).read_bytes()
    with pytest.raises(UserError, match="not there any more, or not whole"):
        adopt.work(Job(run, "adopt"))
    with pytest.raises(UserError, match="no whole checkpoint of step 24; there are: 48"):
        jobs.adopt(run, 24)
    assert (run / "adapter" / WEIGHTS).read_bytes() == before
    assert (run / "report.json").exists()


@pytest.mark.slow
def test_the_chosen_checkpoint_is_judged(run):
    """The job turns into the evaluation, whose report is of the new adapter."""
    rows = (run / "held_out.jsonl").read_text().splitlines(keepends=True)
    (run / "held_out.jsonl").write_text("".join(rows[:3]))
    before = jobs.read_json(run / "report.json")
    jobs.adopt(run, 48)
    deadline = time.monotonic() + 300
    while jobs.working(run):
        assert time.monotonic() < deadline, jobs.summary(run)
        time.sleep(0.2)
    assert jobs.job_status(run, "evaluate") == "finished", jobs.summary(run)
    report = jobs.read_json(run / "report.json")
    assert report["n"] == 3
    assert report["adapter"] != before["adapter"]
    assert jobs.status(run) == "finished"
