"""`python -m pipeline.train RUN`: config -> TRL arguments -> adapter/, told event by event.

Reads config.json, source.json, train.jsonl, validation.jsonl. Writes base.json, tokens/, checkpoints/, adapter/.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # the lock and the first event come before the heavy imports below
    from pipeline import job

    sys.exit(job.main("train"))

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
from transformers import PrinterCallback, set_seed
from trl import SFTConfig, SFTTrainer

from pipeline import adapters, checkpoints, dataset, files, jobs, model, template
from pipeline.chat_templates import Template
from pipeline.config import portable_model
from pipeline.errors import UserError
from pipeline.job import Job
from pipeline.progress import Progress
from pipeline.schema import Model, Run, TrainConfig, to_json

TRAINED_PARTS = ("train", "validation")
EVALUATIONS = 8  # looks at the validation rows in a run whose config leaves eval_steps at 0
MAY_CHANGE = ("activation_checkpointing", "keep_checkpoints")  # in a resumed run: they don't touch what is learned
LOGGED_POINTS = 1000  # points of the loss curve; shorter runs tell every step

datasets.disable_progress_bars()


def work(job: Job) -> tuple[str, dict[str, Any]]:
    """Train the run's adapter, from its newest whole checkpoint if there is one. Returns how it ended, and values."""
    run = jobs.load(job.folder)
    named = run.named()
    job.phase("tokenizing")
    tokenizer, chosen = model.tokenizer_and_template(named)
    parts = prepare_tokens(job, run, named, tokenizer, chosen)
    _remember_base(job.folder, named, chosen, run.config)
    job.phase("loading model")
    set_seed(run.config.seed)
    base = model.base(named)
    model.check_vocabulary(base, tokenizer)
    adapted = adapters.fresh(base, run.config, recompute(run.config))
    trainer = make_trainer(adapted, tokenizer, parts, run.config, job.folder, [Progress(job)])
    job.emit("note", text=_trainable(adapted))
    trainer.train(resume_from_checkpoint=_resume_point(job))
    job.phase("saving")
    adapters.save(adapted, tokenizer, run, job.folder)
    stopped = job.stop_asked() and trainer.state.global_step < trainer.state.max_steps
    return ("stopped" if stopped else "finished"), {"kept": True, "last_step": trainer.state.global_step}


def prepare_tokens(job: Job, run: Run, named: Model, tokenizer: Any, chosen: Template) -> datasets.DatasetDict:
    """The rows as they will be trained on, from tokens/ if it is there. Raises UserError when a gate stops the run."""
    folder = job.folder / "tokens"
    if not folder.exists():
        made, longest, limit = {}, 0, model.readable(named, run.config.max_length)
        because = "max_length" if limit == run.config.max_length else f"the {limit} tokens that the model reads"
        for part in TRAINED_PARTS:
            rows = dataset.read_part(job.folder, part)
            tokenized = template.tokenize(tokenizer, chosen, rows, limit, run.config.loss_on)
            _refuse(part, tokenized)
            _tell(job, part, tokenized, because)
            made[part], longest = _as_dataset(tokenized.examples), max(longest, tokenized.longest)
        if not len(made["train"]):
            raise UserError(
                f"No row is left to train on: every answer lies beyond {because}; {longest} tokens would cut no row. "
                + ("Raise max_length." if because == "max_length" else "Use shorter rows, or a model that reads more.")
            )
        with files.whole_folder(folder) as temporary:
            datasets.DatasetDict(made).save_to_disk(str(temporary))
    try:
        return datasets.load_from_disk(str(folder))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} can't be read ({error}); delete it and resume, it is made again.") from error


def _refuse(part: str, tokenized: template.Tokenized) -> None:
    if tokenized.gates:
        row, gate = tokenized.gates[0]
        others = len({r for r, _ in tokenized.gates}) - 1
        more = f" ({others} more rows have such a problem)" if others else ""
        raise UserError(f"{part} row {row}: {gate.sentence}{more}; nothing was trained.")


def _tell(job: Job, part: str, tokenized: template.Tokenized, limit: str) -> None:
    cut = [e.row for e in tokenized.examples if e.cut]
    if cut:
        job.emit(
            "note",
            text=f"{part}: {len(cut)} rows are longer than {limit} and were cut at the end (rows {_some(cut)}).",
        )
    if tokenized.dropped:
        text = f"{part}: {len(tokenized.dropped)} rows were left out, their whole answer is beyond {limit} (rows {_some(tokenized.dropped)})."
        job.emit("note", text=text)


def _some(rows: Sequence[int]) -> str:
    return ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")


def _as_dataset(examples: Sequence[template.Example]) -> datasets.Dataset:
    features = datasets.Features(
        {
            "row": datasets.Value("int64"),
            "input_ids": datasets.List(datasets.Value("int32")),
            "labels": datasets.List(datasets.Value("int32")),
        }
    )
    columns = {key: [getattr(e, key) for e in examples] for key in features}
    return datasets.Dataset.from_dict(columns, features=features)


def _remember_base(folder: Path, named: Model, chosen: Template, config: TrainConfig) -> None:
    """base.json: what the adapter belongs to. A resumed run must find the same base, template and settings again."""
    found = {**model.identity(named), "templates": chosen.hashes(), "stop_ids": list(chosen.stop_ids)}
    asked = {name: value for name, value in to_json(config).items() if name not in MAY_CHANGE}
    file = folder / "base.json"
    if file.exists():
        before = jobs.read_json(file)
        then = {"template": "own", **before.pop("settings", asked)}  # what began before there was a choice
        if changed := [name for name, value in asked.items() if then.get(name) != value]:
            raise UserError(
                f"config.json: {changed[0]} is {asked[changed[0]]!r}, but the run began with {then.get(changed[0])!r}; "
                "put it back, or start a new run."
            )
        if {**before, "model": portable_model(before["model"])} != found:
            raise UserError(f"{named.base} is not the base this run began with (see base.json); start a new run.")
    files.write_json(file, {**found, "settings": asked})


def recompute(config: TrainConfig) -> bool:
    """Whether activations are computed again in the backward pass instead of kept."""
    if config.activation_checkpointing == "auto":
        return model.device().type == "cuda"
    return config.activation_checkpointing == "on"


def micro_batch(config: TrainConfig) -> int:
    """Rows in memory at once: a divisor of the batch."""
    if config.micro_batch:
        return config.micro_batch
    most = config.batch_size if model.device().type == "cpu" else 4
    return max(n for n in range(1, most + 1) if config.batch_size % n == 0)


def sft_config(config: TrainConfig, rows: int, has_validation: bool, folder: Path) -> SFTConfig:
    """Our settings in TRL's words. The one place where the two vocabularies meet."""
    total, micro = config.steps(rows), micro_batch(config)
    every = config.eval_steps or max(1, total // EVALUATIONS)
    on_cpu = model.device().type == "cpu"
    compute = model.dtype(config.held)
    return SFTConfig(
        output_dir=str(folder / checkpoints.FOLDER),
        use_cpu=on_cpu,
        bf16=compute == torch.bfloat16,
        fp16=compute == torch.float16,
        activation_checkpointing=recompute(config),
        per_device_train_batch_size=micro,
        per_device_eval_batch_size=micro,
        gradient_accumulation_steps=config.batch_size // micro,
        num_train_epochs=config.epochs,
        max_steps=total if config.max_steps else -1,
        learning_rate=config.rate,
        lr_scheduler_type=config.scheduler,
        warmup_steps=config.warmup,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        optim=config.optimizer,
        train_sampling_strategy="group_by_length" if config.length_grouping else "random",
        seed=config.seed,
        logging_steps=max(1, total // LOGGED_POINTS),
        logging_nan_inf_filter=False,
        eval_strategy="steps" if has_validation else "no",
        eval_steps=every,
        save_strategy="steps",
        save_steps=config.save_steps or every,
        save_total_limit=config.keep_checkpoints,
        dataloader_pin_memory=not on_cpu,
        max_length=None,
        packing=False,
        report_to="none",
        disable_tqdm=True,
    )


def make_trainer(
    adapted: Any, tokenizer: Any, parts: datasets.DatasetDict, config: TrainConfig, folder: Path, callbacks: list[Any]
) -> SFTTrainer:
    """TRL's trainer over ready-made ids and labels, proven to hold exactly those."""
    validation = parts["validation"] if len(parts["validation"]) else None
    trainer = SFTTrainer(
        model=adapted,
        args=sft_config(config, len(parts["train"]), validation is not None, folder),
        train_dataset=parts["train"],
        eval_dataset=validation,
        processing_class=tokenizer,
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)  # it would fill log.txt with what the events tell
    # TRL casts a quantized model's adapter to bfloat16, which a T4's grad scaler can't take
    for parameter in filter(lambda p: p.requires_grad, adapted.parameters()):
        parameter.data = parameter.data.float()
    assert_same_tokens(parts["train"], trainer.train_dataset)
    return trainer


def assert_same_tokens(shown: datasets.Dataset, trained: datasets.Dataset) -> None:
    """What is trained on is what tokens/ holds and the preview shows, token for token."""
    for column in ("input_ids", "labels"):
        if not shown.data.column(column).equals(trained.data.column(column)):
            raise AssertionError(f"the trainer's {column} differ from tokens/; nothing was trained")


def _trainable(adapted: Any) -> str:
    trainable, total = adapted.get_nb_trainable_parameters()
    return f"{trainable:,} of {total:,} parameters are trained ({100 * trainable / total:.3g} %)."


def _resume_point(job: Job) -> str | None:
    """The newest whole checkpoint; half-written ones are swept away, transformers would trip over them."""
    for checkpoint in checkpoints.all_of(job.folder):
        if not checkpoints.is_whole(checkpoint):
            job.emit("note", text=f"{checkpoint.name} was not written to its end and was removed.")
            shutil.rmtree(checkpoint)
    newest = checkpoints.newest(job.folder)
    return str(newest) if newest else None
