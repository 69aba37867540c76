"""Settings in TRL's words, and what the trainer makes of them: packing, padding, stops, optimizers, trackers."""

from pathlib import Path

import pytest
import torch

from pipeline import adapters, dataset, jobs, model, precision, samples, sft, sides, tokens, trackers, train
from pipeline.errors import UserError
from pipeline.job import Job
from pipeline.schema import Model, TrainConfig


def work(folder: Path) -> tuple[str, dict]:
    job = Job(folder, "train")
    job.emit("started", pid=0, from_step=0)
    ending, values = train.work(job)
    job.emit(ending, **values)
    return ending, values


@pytest.fixture
def make_trainer(make_run):
    """The trainer of a small run as train.work makes it, with the tokens it was given."""

    def made(**settings):
        folder = make_run(rows=24, **settings)
        run = jobs.load(folder)
        named = run.named()
        tokenizer, chosen = model.tokenizer_and_template(named)
        parts = tokens.prepare(Job(folder, "train"), run, named, tokenizer, chosen)
        adapted = adapters.fresh(model.base(named), tokenizer, run.config, sft.recompute(run.config))
        return train.make_trainer(adapted, tokenizer, parts, run.config, folder, []), parts

    return made


def test_settings_reach_the_trainer(tmp_path):
    """Each of ours in TRL's words; what TRL would choose otherwise is chosen here."""
    config = TrainConfig(
        learning_rate=0.003, batch_size=12, micro_batch=3, epochs=2, warmup=0.1, weight_decay=0.2, max_grad_norm=0.5,
        optimizer="adafactor", scheduler="cosine", neftune=5.0, seed=7, eval_steps=4, save_steps=6, keep_checkpoints=5,
    )  # fmt: skip
    args = sft.sft_config(config, 100, True, tmp_path, "float32")
    expected = {
        "learning_rate": 0.003, "per_device_train_batch_size": 3, "gradient_accumulation_steps": 4,
        "num_train_epochs": 2, "max_steps": -1, "warmup_steps": 0.1, "weight_decay": 0.2, "max_grad_norm": 0.5,
        "optim": "adafactor", "lr_scheduler_type": "cosine", "neftune_noise_alpha": 5.0, "seed": 7, "eval_steps": 4,
        "save_steps": 6, "save_total_limit": 5, "logging_steps": 1, "logging_first_step": True, "bf16": False,
        "fp16": False, "max_length": None, "packing": False, "padding_free": False, "report_to": [],
        "metric_for_best_model": "loss", "greater_is_better": False, "trackio_static_space_id": False,
        "trackio_space_id": None, "train_sampling_strategy": "group_by_length",
    }  # fmt: skip
    assert {name: getattr(args, name) for name in expected} == expected


def test_what_is_left_open_is_chosen(tmp_path):
    """About eight looks, a checkpoint at each; no noise; a rate that suits the method; long runs log a thousand points."""
    args = sft.sft_config(TrainConfig(epochs=3), 160, True, tmp_path, "float32")
    assert (args.eval_steps, args.save_steps, args.learning_rate, args.neftune_noise_alpha) == (4, 4, 2e-4, None)
    assert sft.sft_config(TrainConfig(method="full"), 160, True, tmp_path, "float32").learning_rate == 2e-5
    assert sft.sft_config(TrainConfig(), 10**6, True, tmp_path, "float32").logging_steps > 1
    unjudged = sft.sft_config(TrainConfig(), 160, False, tmp_path, "float32")
    assert (unjudged.eval_strategy, unjudged.metric_for_best_model) == ("no", None)


def test_packed_sequences_go_one_by_one(tmp_path):
    """Attention without FlashAttention costs the square of what is laid end to end; the batch is accumulated."""
    args = sft.sft_config(TrainConfig(packing=True, batch_size=6), 60, True, tmp_path, "float32")
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps, args.padding_free) == (1, 6, True)
    assert args.train_sampling_strategy == "random"


def test_packed_rows_are_the_rows(make_trainer):
    """Every row is in one sequence once, none is cut, and the sequences are fewer; an exchanged label is found."""
    trainer, parts = make_trainer(packing=True, max_length=96)
    packed = trainer.train_dataset
    assert len(packed) < len(parts["train"]) / 2
    assert sum(map(len, packed["seq_lengths"])) == len(parts["train"])
    assert max(map(len, packed["input_ids"])) <= 96
    tokens.assert_same(parts["train"], packed)

    def broken(sequence):
        return {"labels": [-100, *sequence["labels"][:-1]]}

    with pytest.raises(AssertionError, match="differ from tokens"):
        tokens.assert_same(parts["train"], packed.map(broken, keep_in_memory=True))
    with pytest.raises(AssertionError, match="differ from tokens"):
        tokens.assert_same(parts["train"], packed.select(range(len(packed) - 1)))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_rows_do_not_see_each_other(make_trainer, attention):
    """The loss of packed sequences is that of their rows alone, summed over learned tokens."""
    trainer, parts = make_trainer(packing=True, max_length=96, attention=attention, dropout=0.0)
    trainer.model.eval()
    seen = [{key: s[key] for key in ("input_ids", "labels", "seq_lengths")} for s in trainer.train_dataset]
    rows = [
        {**{key: r[key] for key in ("input_ids", "labels")}, "seq_lengths": [len(r["input_ids"])]}
        for r in parts["train"]
    ]

    @torch.no_grad()
    def loss(examples):
        one = torch.tensor(1)
        return sum(
            float(trainer.compute_loss(trainer.model, trainer.data_collator([e]), num_items_in_batch=one))
            for e in examples
        )

    assert loss(seen) == pytest.approx(loss(rows), rel=1e-4)


def test_a_packed_run_learns(make_run):
    """And says how many rows share a sequence."""
    folder = make_run(rows=64, packing=True, batch_size=2, epochs=3, samples=0)
    assert work(folder)[0] == "finished"
    told = jobs.view(folder)
    assert told.validation_curve[-1][1] < told.validation_curve[0][1] / 2
    assert any(note.startswith("64 rows are packed into") for note in told.notes)


def test_training_pads_on_the_right_and_asking_on_the_left(make_trainer):
    """A row begins at the first column in training, an answer at the same column in generation; no pad is learned."""
    trainer, parts = make_trainer()
    pair = sorted(parts["train"], key=lambda row: len(row["input_ids"]))[:: len(parts["train"]) - 1]
    batch = trainer.data_collator([{key: row[key] for key in ("input_ids", "labels")} for row in pair])
    short = len(pair[0]["input_ids"])
    assert batch["attention_mask"][0].tolist() == [1] * short + [0] * (batch["input_ids"].shape[1] - short)
    assert set(batch["labels"][0, short:].tolist()) == {-100}
    asked = sides.pad_left([[5], [5, 6, 7]], trainer.processing_class, torch.device("cpu"))
    assert asked["attention_mask"].tolist() == [[0, 0, 1], [1, 1, 1]]


def test_every_answer_ends_in_a_token_that_stops_and_is_learned(make_trainer, tiny):
    """The last learned token of a row is one generation stops at, and the pad token is none of these."""
    trainer, parts = make_trainer()
    _, chosen = model.tokenizer_and_template(Model(str(tiny)))
    assert {[label for label in row["labels"] if label != -100][-1] for row in parts["train"]} <= set(chosen.stop_ids)
    assert trainer.processing_class.pad_token_id not in chosen.stop_ids


def test_a_trained_model_stops_by_itself(trained_run):
    """What was learned includes the end: answers of the adapter end well before their limit."""
    pair = sides.open_trusted(trained_run)
    rows = dataset.read_part(trained_run, "validation")
    asked = samples.chosen(rows, pair.tokenizer, pair.template, 100, 4)
    found = samples.answers(pair.adapted, pair.tokenizer, pair.template, [q.ids for q in asked], 60)
    assert all(answer.stopped for answer in found)


def test_what_is_trained_is_held_in_32_bit(make_trainer):
    """On a base in 16 bit and in 4 bit: a grad scaler can't take less, and TRL would make it bfloat16."""
    for memory in ("16-bit", "4-bit"):
        trainer, _ = make_trainer(memory=memory)
        trained = {p.dtype for p in trainer.model.parameters() if p.requires_grad}
        assert trained == {torch.float32}, memory


@pytest.mark.parametrize("optimizer", ["adamw_8bit", "paged_adamw_8bit", "adafactor", "sgd"])
def test_every_optimizer_takes_a_step(make_trainer, optimizer):
    """On the CPU, too."""
    trainer, _ = make_trainer(optimizer=optimizer, max_steps=1, learning_rate=0.1, warmup=0.0)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters() if p.requires_grad}
    trainer.train()
    assert any(not torch.equal(p, before[name]) for name, p in trainer.model.named_parameters() if name in before)


def test_noise_on_the_embeddings_changes_what_is_learned(make_run):
    """NEFTune is there while training, and gone when the model is asked."""
    noisy, plain = (make_run(rows=8, max_steps=2, neftune=n, samples=0, dropout=0.0) for n in (5.0, 0.0))
    for folder in (noisy, plain):
        work(folder)
    first, second = (dict(jobs.view(folder).curve) for folder in (noisy, plain))
    assert first[1] != second[1]


@pytest.mark.parametrize("tracker", ["trackio", "tensorboard", "wandb"])
def test_a_tracker_that_is_not_installed_is_a_sentence(make_run, tracker, monkeypatch):
    """Before anything is loaded, with what to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    folder = make_run(rows=8, tracker=tracker)
    with pytest.raises(UserError, match=f"pip install {tracker}"):
        train.work(Job(folder, "train"))
    assert not (folder / "events.jsonl").exists()


def test_a_tracker_keeps_its_files_in_the_run(tmp_path, monkeypatch):
    """tensorboard and wandb write into the run's folder, trackio asks no Space, and wandb no account."""
    monkeypatch.setattr("pipeline.trackers.check", lambda tracker: None)
    monkeypatch.setenv("TRACKIO_SPACE_ID", "somebody/space")
    for name in ("TENSORBOARD_LOGGING_DIR", "WANDB_DIR", "WANDB_MODE", "WANDB_API_KEY", "WANDB_PROJECT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for tracker in ("trackio", "tensorboard", "wandb"):
        trackers.prepare(tracker, tmp_path)
    import os

    assert "TRACKIO_SPACE_ID" not in os.environ
    assert os.environ["TENSORBOARD_LOGGING_DIR"] == str(tmp_path / "tracked")
    assert (os.environ["WANDB_DIR"], os.environ["WANDB_MODE"]) == (str(tmp_path), "offline")


def test_a_gpu_without_bfloat16_trains_in_float16_with_a_scaler(tmp_path):
    """What precision says is what TRL is told; its own default, bfloat16, is never left standing."""
    for capability, expected in (((7, 5), (True, False)), ((8, 0), (False, True)), (None, (False, False))):
        computed = precision.computed(capability, "llama", TrainConfig())
        args = sft.sft_config(TrainConfig(), 10, True, tmp_path, computed)
        assert (args.fp16, args.bf16) == expected
