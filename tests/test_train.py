"""Training: the weights change, the loss falls, the folder holds what it should, and nothing depends on luck."""

import json
import math
import shutil
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline import checkpoints, events, jobs, template, train
from pipeline.errors import UserError
from pipeline.job import Job

RUN_FILES = {"config.json", "source.json", "run.json", "base.json", "train.jsonl", "validation.jsonl", "held_out.jsonl"}
RUN_FILES |= {"events.jsonl", "control", "tokens", "checkpoints", "adapter", "fit.json"}
ADAPTER_FILES = {
    "adapter_config.json",
    "adapter_model.safetensors",
    "chat_template.jinja",
    "tokenizer.json",
    "tokenizer_config.json",
}


def work(folder: Path):
    """Train in this process, as the child would."""
    job = Job(folder, "train")
    job.emit("started", pid=0, from_step=jobs.checkpoint_step(folder))
    ending, found = train.work(job)
    job.emit(ending, **found)
    return ending


def adapter(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter" / "adapter_model.safetensors")


def test_training_learns_and_leaves_its_files(trained_run):
    """Weights changed, validation loss fell, every step is told, and the folder holds exactly its files."""
    told = jobs.view(trained_run)
    assert all(tensor.abs().max() > 0 for name, tensor in adapter(trained_run).items() if "lora_B" in name)
    validation = dict(told.validation_curve)
    assert validation[max(validation)] < validation[min(validation)]
    assert [step for step, _ in told.curve] == list(range(1, told.jobs["train"].step + 1))
    assert {p.name for p in trained_run.iterdir()} == RUN_FILES
    assert {p.name for p in (trained_run / "adapter").iterdir()} == ADAPTER_FILES


def test_events_tell_what_a_page_needs(trained_run):
    """Loss, time left, speed, memory, learning rate with every step; phases and checkpoints in between."""
    told, _ = events.since(trained_run / "events.jsonl", 0)
    losses = [e.values for e in told if e.kind == "loss"]
    wanted = {"loss", "eta_seconds", "tokens_per_second", "memory_bytes", "learning_rate", "grad_norm", "epoch"}
    assert all(wanted <= values.keys() and all(math.isfinite(values[k]) for k in wanted) for values in losses)
    etas = [values["eta_seconds"] for values in losses]
    assert etas[-1] < etas[len(etas) // 2] < sum(e.time for e in told[-1:]) - told[0].time
    phases = [e.values["phase"] for e in told if e.kind == "phase"]
    look = ["evaluating", "saving", "training"]
    assert phases[:7] == ["tokenizing", "loading model", "measuring memory", "training", *look]
    assert phases[-4:] == ["evaluating", "saving", "saving", "evaluating"]
    rows = [e.values for e in told if e.kind == "progress" and e.values["of"] == 168]
    assert rows[-1]["done"] == 168, "160 rows and 8 that steer were made into tokens"
    assert checkpoints.newest(trained_run).name == jobs.view(trained_run).checkpoint


def test_tokens_on_disk_are_what_was_trained(trained_run):
    """tokens/ holds every training row once, with ids and labels of the preview."""
    from datasets import load_from_disk

    from pipeline import dataset, model
    from pipeline.schema import Model

    run = jobs.load(trained_run)
    tokenizer = model.tokenizer(Model(run.model))
    chosen = template.choose(tokenizer)
    stored = {r["row"]: (r["input_ids"], r["labels"]) for r in load_from_disk(str(trained_run / "tokens"))["train"]}
    rows = dataset.read_part(trained_run, "train")
    assert stored.keys() == {r["row"] for r in rows}
    for r in rows[:20]:
        shown = template.preview(tokenizer, chosen, r, run.config.max_length, run.config.loss_on)
        ids, labels = stored[r["row"]]
        assert (ids, [label != template.IGNORED for label in labels]) == (shown["ids"], shown["trained"])


def test_trainer_that_got_other_tokens_is_refused(make_run, monkeypatch):
    """The last gate before training: a trainer that shifted its labels by one place trains nothing."""

    class Shifting(train.head.Trainer):
        def __init__(self, **arguments):
            super().__init__(**arguments)
            self.train_dataset = self.train_dataset.map(lambda r: {"labels": [-100, *r["labels"][:-1]]})

    monkeypatch.setattr(train.head, "Trainer", Shifting)
    folder = make_run(max_steps=1)
    with pytest.raises(AssertionError, match="labels"):
        work(folder)
    assert not jobs.view(folder).curve


def test_qlora_trains_on_a_4_bit_base(make_run):
    """The base is NF4, the adapter 32 bit, and it learns."""
    folder = make_run(memory="4-bit", epochs=1, max_steps=12, eval_steps=6, samples=1)
    assert work(folder) == "finished"
    losses = [loss for _, loss in jobs.view(folder).curve]
    assert sum(losses[-3:]) < sum(losses[:3])
    assert {t.dtype for t in adapter(folder).values()} == {torch.float32}


def test_accumulated_batches_learn_the_same(make_run):
    """Four micro-batches of two are one batch of eight, up to rounding."""
    whole, split = (
        make_run(max_steps=4, batch_size=8, micro_batch=m, dropout=0.0, length_grouping=False, samples=0)
        for m in (8, 2)
    )
    for folder in (whole, split):
        work(folder)
    for (_, a), (_, b) in zip(jobs.view(whole).curve, jobs.view(split).curve, strict=True):
        assert a == pytest.approx(b, rel=1e-4)


def test_stop_keeps_what_was_learned_and_goes_on(make_run):
    """A stop saves a whole checkpoint and an adapter; going on ends where an unbroken run ends."""
    folder = make_run(epochs=20, max_steps=16, micro_batch=2, batch_size=4, samples=0)

    def stop_after_a_few_steps():
        while len(jobs.view(folder).curve) < 4:
            time.sleep(0.01)
        (folder / "control" / "stop").touch()

    threading.Thread(target=stop_after_a_few_steps, daemon=True).start()
    assert work(folder) == "stopped"
    stopped = jobs.view(folder).jobs["train"].step
    assert 4 <= stopped < 16
    assert checkpoints.step(checkpoints.newest(folder)) == stopped
    assert adapter(folder)
    (folder / "control" / "stop").unlink()
    (folder / "merged").mkdir()
    assert work(folder) == "finished"
    assert not (folder / "merged").exists(), "a merge of the older adapter"
    assert [step for step, _ in jobs.view(folder).curve] == list(range(1, 17))


def test_a_base_that_gives_no_number_is_refused_at_the_first_step(make_run, tiny, tmp_path):
    """Weights that are damaged are said to be, before anything is learned from them."""
    broken = tmp_path / "broken"
    shutil.copytree(tiny, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"step 1: nothing was learned yet.*damaged"):
        work(make_run(model=broken, max_steps=2))


def test_unknown_target_modules_are_a_sentence(make_run):
    """A layer name that is not there is the user's to correct."""
    with pytest.raises(UserError, match="target_modules"):
        work(make_run(target_modules="no_such_layer", max_steps=1))


def test_rows_too_long_to_teach_are_refused(make_run):
    """When max_length cuts every answer away, nothing is trained and the reason is told."""
    with pytest.raises(UserError, match="max_length"):
        work(make_run(max_length=8))


def test_adapter_config_names_base_not_a_temporary_path(trained_run):
    """The adapter says which base it belongs to."""
    config = json.loads((trained_run / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny-chat"


@pytest.mark.parametrize(("key", "value"), [("learning_rate", 1e-4), ("loss_on", "everything"), ("micro_batch", 2)])
def test_settings_edited_half_way_are_refused(trained_run, tmp_path, key, value):
    """A resumed run trains as it began: no number of its config changes behind its back."""
    folder = Path(shutil.copytree(trained_run, tmp_path / "run"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(UserError, match=f"{key} is .* the run began with"):
        work(folder)


def test_damaged_tokens_are_a_sentence(trained_run, tmp_path):
    """Tokens that can't be read are neither guessed nor a traceback."""
    folder = Path(shutil.copytree(trained_run, tmp_path / "run"))
    next((folder / "tokens" / "train").glob("*.arrow")).write_bytes(b"half")
    with pytest.raises(UserError, match="delete it and resume"):
        work(folder)


def test_a_new_adapter_takes_the_old_verdict_away(trained_run, tmp_path):
    """Report and merge check spoke of the adapter that was replaced; the run is to be judged again."""
    folder = Path(shutil.copytree(trained_run, tmp_path / "run"))
    for said in ("report.json", "merge.json"):
        (folder / said).write_text("{}")
    Job(folder, "evaluate").emit("started", pid=0)
    Job(folder, "evaluate").emit("finished")
    work(folder)
    assert not (folder / "report.json").exists()
    assert not (folder / "merge.json").exists()
    assert jobs.job_status(folder, "evaluate") == "new"
