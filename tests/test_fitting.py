"""Rows in memory at once: as many as fit, fewer where memory runs out, and the same is learned from all of them."""

import dataclasses
import json
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import MambaConfig
from trl import SFTTrainer

from pipeline import checkpoints, fit, fitting, jobs, sizes
from pipeline.errors import Refused
from tests.training import known, learned, told, work

EVERYTHING = 1 << 50  # bytes that no machine has


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch):
    """short(lacks): steps ask for bytes that no machine has where `lacks(rows)`, a real allocator's real error, once gradients
    were computed. Returns a list: how many earlier models were still in memory whenever a new one made its first step."""
    step, models, left = SFTTrainer.training_step, [], []

    def short_of_memory(lacks: Callable[[int], bool]) -> list[int]:
        def training_step(self: SFTTrainer, model: torch.nn.Module, inputs: dict, *rest: object) -> torch.Tensor:
            there = [ref() for ref in models]
            if not any(each is model for each in there):
                left.append(sum(each is not None for each in there))
                models.append(weakref.ref(model))
            loss = step(self, model, dict(inputs), *rest)
            if lacks(len(inputs["input_ids"])):
                torch.empty(EVERYTHING, dtype=torch.uint8)
            return loss

        monkeypatch.setattr(SFTTrainer, "training_step", training_step)
        return left

    return short_of_memory


class From:
    """Memory is short from the n-th step on that is made with more than `most` rows at once."""

    def __init__(self, time: int, most: int) -> None:
        self.left, self.most = time, most

    def __call__(self, rows: int) -> bool:
        self.left -= rows > self.most
        return rows > self.most and self.left <= 0


@pytest.mark.parametrize("asked", [0, 8])
def test_what_does_not_fit_is_halved_before_the_first_step(make_run, short, asked):
    """Two of eight rows fit: that is found, said and kept; all is learned as by a run that was asked for two."""
    settings = {"rows": 24, "max_steps": 2, "dropout": 0.2}
    folder, plain = make_run(micro_batch=asked, **settings), make_run(micro_batch=2, **settings)
    work(plain)
    short(lambda rows: rows > 2)
    assert work(folder) == "finished"
    found = fit.read(folder)
    assert (found["micro_batch"], found["batch_size"], found["device"]) == (2, 8, "cpu")
    assert found["halved"] == [{"from": 8, "to": 2, "step": 0, "why": "probe"}]
    assert min(found["measured_bytes"], found["forecast_bytes"]) > 10**8
    assert 0 < found["learned"] < 1
    assert found["seconds_per_step"] > 0
    (event,) = told(folder, "fit")
    assert event.values == found
    assert "Instead of 8 rows only 2" in event.text
    assert f"({found['longest']} tokens, 2 at a time) training needs" in event.text
    assert event.text in jobs.view(folder).notes
    assert learned(folder)[0] == learned(plain)[0]


@pytest.mark.parametrize("optimizer", ["adamw_torch", "adamw_8bit"])
def test_memory_that_runs_out_half_way_ends_no_run(make_run, short, tmp_path, optimizer):
    """From the last whole checkpoint it goes on with half the rows, as if it had been resumed with these, to the last bit;
    what was in memory before is gone by then, and the page's curve has every step once."""
    folder = make_run(rows=24, max_steps=5, epochs=9, eval_steps=2, dropout=0.2, optimizer=optimizer)
    left = short(From(6, most=4))  # two for the probe, three steps, then the fourth
    assert work(folder) == "finished"
    assert left == [0, 0]
    assert fit.read(folder)["halved"] == [{"from": 8, "to": 4, "step": 4, "why": "step"}]
    assert [event.values["from_step"] for event in told(folder, "started")] == [0, 2]
    view = jobs.view(folder)
    assert [step for step, _ in view.curve] == [1, 2, 3, 4, 5]
    assert any("Memory ran out at step 4. Instead of 8 rows only 4" in note for note in view.notes)

    resumed = Path(shutil.copytree(folder, tmp_path / "resumed"))
    for later in checkpoints.all_of(resumed)[1:]:
        shutil.rmtree(later)
    for file in ("events.jsonl", "fit.json"):
        (resumed / file).unlink()
    known(resumed, 4)
    work(resumed)
    (steps, weights), (others, other_weights) = learned(folder), learned(resumed)
    assert steps[-3:] == others[-3:]
    assert steps[-1]["step"] == 5
    assert all(torch.equal(tensor, other_weights[name]) for name, tensor in weights.items())


def test_where_not_one_row_fits_the_run_ends_with_a_sentence(make_run, short):
    """Before the first step and in the middle: what is too little, and what would help; no traceback."""
    short(lambda rows: True)
    with pytest.raises(Refused, match=r"Not even one row .* Start a new run with"):
        work(make_run(rows=16, max_steps=3))
    short(From(4, most=0))
    with pytest.raises(Refused, match=r"ran out at step 1 with one row .* new run with"):
        work(make_run(rows=16, max_steps=3, micro_batch=1))


def test_another_error_is_not_taken_for_lack_of_memory(make_run, short):
    """Only what an allocator says leads to fewer rows."""
    folder = make_run(rows=16, max_steps=1)

    def fail(rows: int) -> bool:
        raise RuntimeError("shapes don't match")

    short(fail)
    with pytest.raises(RuntimeError, match="shapes"):
        work(folder)
    assert fit.read(folder)["halved"] == []


def test_what_is_forecast_to_be_too_much_is_not_tried_on_a_cpu(make_run):
    """Linux would give the memory and then kill: rows are left out until they fit, but one row is always tried."""
    folder = make_run(batch_size=8, max_length=4096)
    asked = jobs.load(folder)
    assert list(fitting.Said(asked, {"max": 32}).to_try(8)) == [8, 4, 2, 1]
    huge = fitting.Said(asked, {"max": 32})
    huge.peak = lambda rows, counted=True: rows << 45
    assert list(huge.to_try(8)) == [1]


def test_a_start_with_plenty_of_memory_counts_no_activations(make_run, monkeypatch):
    """Counting takes half a second: it waits for the end, where it is noted beside what was measured."""
    folder, counted = make_run(rows=16, max_steps=1), []
    plainly = sizes.kept
    monkeypatch.setattr(sizes, "kept", lambda *asked: counted.append(told(folder, "loss")) or plainly(*asked))
    work(folder)
    assert counted
    assert all(counted)  # never before the first step
    (event,) = told(folder, "fit")
    assert event.values["forecast_bytes"] is None
    assert fit.read(folder)["forecast_bytes"] > 10**8


def test_training_needs_no_forecast(make_run, tiny, tmp_path):
    """Neither a base that can't be counted nor one that the method can't be put on raises anything: all rows are tried."""
    damaged, other = (Path(shutil.copytree(tiny, tmp_path / name)) for name in ("damaged", "mamba"))
    config = json.loads((tiny / "config.json").read_text())
    (damaged / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 0}))
    MambaConfig(vocab_size=500, hidden_size=64, num_hidden_layers=2).save_pretrained(other)
    for folder in (damaged, other):
        said = fitting.Said(dataclasses.replace(jobs.load(make_run()), model=str(folder)), {"max": 32})
        assert said.peak(8) is None
        assert list(said.to_try(8)) == [8, 4, 2, 1]
        assert "Choose a smaller base" in str(said.refusal("Nothing fits"))


def test_a_run_that_was_measured_is_not_measured_again(make_run):
    """A resumed run goes on with what was found, on this device; on another it is tried again."""
    folder = make_run(rows=16, max_steps=2, micro_batch=4)
    known(folder, 2)
    work(folder)
    assert not told(folder, "fit")
    (folder / "config.json").write_text(
        json.dumps({**json.loads((folder / "config.json").read_text()), "max_steps": 3})
    )
    fit.write(folder, {**fit.read(folder), "device": "Tesla T4"})
    work(folder)
    (event,) = told(folder, "fit")
    assert (event.values["device"], event.values["micro_batch"]) == ("cpu", 2)


LIMITED = """
import re, resource, sys
from pathlib import Path
from trl import SFTTrainer
from tests.training import work
step = SFTTrainer.training_step
def limited(self, *rest):
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        size = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
        resource.setrlimit(resource.RLIMIT_AS, (size + 100 * 2**20,) * 2)
    return step(self, *rest)
SFTTrainer.training_step = limited
print(work(Path(sys.argv[1])))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux only")
def test_a_process_with_little_memory_finds_what_fits_into_it(make_run):
    """With 100 MB more than it has at its first step, a run of 64 rows at once goes on with fewer, and ends well."""
    folder = make_run(rows=64, batch_size=64, max_steps=2)
    code = [sys.executable, "-W", "ignore", "-c", LIMITED, str(folder)]
    done = subprocess.run(code, cwd=jobs.ROOT, env=jobs.environment(), capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("finished"), done.stderr
    assert 1 <= fit.read(folder)["micro_batch"] < 64
    assert {each["why"] for each in fit.read(folder)["halved"]} <= {"probe", "step"}
