"""`python -m pipeline.train RUN`: config -> a trained adapter/, told event by event.

Reads config.json, source.json, train.jsonl, validation.jsonl. Writes base.json, tokens/, checkpoints/, adapter/.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # the lock and the first event come before the heavy imports below
    from pipeline import job

    sys.exit(job.main("train"))

import dataclasses
import math
import traceback
from pathlib import Path
from typing import Any

import datasets
from transformers import PrinterCallback, set_seed
from trl import SFTTrainer

from pipeline import adapters, checkpoints, dataset, files, fit, fitting, head, jobs, model, precision, probe, samples
from pipeline import sft, symptoms, tokens, trackers
from pipeline.chat_templates import Template
from pipeline.config import portable_model
from pipeline.errors import UserError
from pipeline.job import Job
from pipeline.progress import Pace, Progress
from pipeline.schema import Model, Run, TrainConfig, to_json

MAY_CHANGE = ("activation_checkpointing", "keep_checkpoints", "samples", "tracker", "early_stopping")
"""Settings of a resumed run that don't touch what is learned from a row."""
CHECKED = 5  # answers looked at after training
MOST_TOKENS = 2**20
CANDIDATES = 64  # rows of which they are chosen


def work(job: Job) -> tuple[str, dict[str, Any]]:
    """Train as the run asks, from its newest whole checkpoint if there is one. Returns how it ended, and values.

    What is kept is the checkpoint that did best on the validation rows, or what was learned last where there are none.
    """
    run = jobs.load(job.folder)
    trackers.prepare(run.config.tracker, job.folder)
    named = run.named()
    fitting.go_on_after_kill(job)
    job.phase("tokenizing")
    tokenizer, chosen = model.tokenizer_and_template(named)
    parts = tokens.prepare(job, run, named, tokenizer, chosen)
    since = _remember_base(job.folder, named, chosen, run.config)
    while not (learned := _learned(job, run, parts, tokenizer, chosen, since)):  # fewer rows fit than were tried
        probe.free()
    trainer, early = learned
    job.phase("saving")
    kept = keep(job, run, trainer, tokenizer)
    stopped = job.stop_asked() and not early and trainer.state.global_step < trainer.state.max_steps
    if not stopped:
        computed = precision.computed(sft.capability(), trainer.model.config.model_type, run.config)
        _check_answers(job, run, trainer, tokenizer, chosen, computed, kept["kept_step"])
    values = {"kept": True, "last_step": trainer.state.global_step, "ended_early": early, **kept}
    return ("stopped" if stopped else "finished"), values


def _learned(
    job: Job, run: Run, parts: datasets.DatasetDict, tokenizer: Any, chosen: Template, since: int
) -> tuple[SFTTrainer, bool] | None:
    """The trainer once all is learned, and whether it ended early; None where it has to be made anew with fewer rows.

    All that takes memory is made here and held by nothing else, so that it is free again when this returns None.
    """
    job.phase("loading model")
    set_seed(run.config.seed)
    base = model.base(run.named())
    watched = _watch(job, run.named(), base, tokenizer, chosen)
    adapted = adapters.fresh(base, tokenizer, run.config, sft.recompute(run.config))
    adapters.begin(adapted, run.config, job.folder)
    computed = precision.computed(sft.capability(), adapted.config.model_type, run.config)
    look = (lambda: watched.look(adapted, tokenizer, chosen, computed)) if watched else None
    pace = Pace(len(parts["validation"]) / run.config.batch_size / 3, watched.seconds if watched else 0.0)
    progress, fits = Progress(job, run.config, computed, look, pace, since), fitting.Fitting(job, run)
    fits.trainer = trainer = make_trainer(adapted, tokenizer, parts, run.config, job.folder, [fits, progress])
    _tell(job, trainer, len(parts["train"]), run.config)
    resume_point = _resume_point(job)
    if _had_enough(resume_point, run.config, since):  # killed between its last look and its end
        trainer.state.global_step = trainer.state.max_steps = checkpoints.step(resume_point)
        trainer._load_from_checkpoint(str(resume_point))
        return trainer, True
    try:
        trainer.train(resume_from_checkpoint=resume_point and str(resume_point))
    except fitting.Smaller:
        return None
    except Exception as error:
        if not probe.lacked(error):
            raise
        traceback.clear_frames(error.__traceback__)
    else:
        return trainer, progress.ended_early
    fitting.go_on_with_fewer(job, run, fits.step)
    return None


def _remember_base(folder: Path, named: Model, chosen: Template, config: TrainConfig) -> int:
    """base.json: what the adapter belongs to. A resumed run must find the same base, template and settings again.

    Returns the step at which the run was made longer, 0 for one that never was.
    """
    found = {**model.identity(named), "templates": chosen.hashes(), "stop_ids": list(chosen.stop_ids)}
    asked = {name: value for name, value in to_json(config).items() if name not in MAY_CHANGE}
    file, extended = folder / "base.json", 0
    if file.exists():
        before = jobs.read_json(file)
        then = {**to_json(TrainConfig()), **before.pop("settings", asked)}  # older runs know fewer settings
        extended = before.pop("extended", 0)
        changed = [name for name, value in asked.items() if then[name] != value]
        for name in changed:
            if not _longer(name, then[name], asked[name]):
                raise UserError(
                    f"config.json: {name} is {asked[name]!r}, but the run began with {then[name]!r}; put it back, or "
                    "start a new run."
                )
        if {**before, "model": portable_model(before["model"])} != found:
            raise UserError(f"{named.base} is not the base this run began with (see base.json); start a new run.")
        extended = jobs.checkpoint_step(folder) if changed else extended
    files.write_json(file, {**found, "settings": asked, "extended": extended})
    return extended


def _longer(name: str, before: Any, now: Any) -> bool:
    """Whether a changed setting only lets the run go on: more epochs, or a later last step (0 is none)."""
    return (name == "epochs" and now > before) or (name == "max_steps" and 0 < before < (now or math.inf))


def make_trainer(
    adapted: Any, tokenizer: Any, parts: datasets.DatasetDict, config: TrainConfig, folder: Path, callbacks: list[Any]
) -> SFTTrainer:
    """TRL's trainer over ready-made ids and labels, proven to hold exactly those; on a CPU with a faster loss."""
    config = fit.applied(config, folder)
    rows = tokens.packed(parts["train"], config.max_length) if config.packing else parts["train"]
    validation = parts["validation"] if len(parts["validation"]) else None
    computed = precision.computed(sft.capability(), adapted.config.model_type, config)
    kind = head.Trainer if model.device().type == "cpu" else SFTTrainer
    trainer = kind(
        model=adapted,
        args=sft.sft_config(config, len(rows), validation is not None, folder, computed, fit.looked(folder)),
        train_dataset=rows,
        eval_dataset=validation,
        processing_class=tokenizer,
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)  # it would fill log.txt with what the events tell
    # TRL casts a quantized model's adapter to bfloat16, which a T4's grad scaler can't take
    for parameter in filter(lambda p: p.requires_grad, adapted.parameters()):
        parameter.data = parameter.data.float()
    trainer.optimizer = adapters.optimizer(adapted, config)  # None: the one the arguments name
    tokens.assert_same(parts["train"], trainer.train_dataset)
    return trainer


def _watch(job: Job, named: Model, base: Any, tokenizer: Any, chosen: Template) -> samples.Watch | None:
    """The validation prompts that are watched, answered by the base while it is still nothing but the base."""
    config = jobs.load(job.folder).config
    rows = dataset.read_part(job.folder, "validation") if config.samples else ()
    asked = samples.chosen(
        rows, tokenizer, chosen, _longest_prompt(named, config, samples.LONGEST_ANSWER), config.samples
    )
    if not asked:
        return None
    own = model.tokenizer_and_template(dataclasses.replace(named, new_tokens="")) if named.new_tokens else None
    return samples.Watch(asked, base, *(own or (tokenizer, chosen)))


def _longest_prompt(named: Model, config: TrainConfig, answer: int) -> int:
    """Tokens a prompt may have so that it was not cut in training and leaves room for an answer."""
    return min(config.max_length, model.readable(named, MOST_TOKENS) - answer)


def _tell(job: Job, trainer: SFTTrainer, rows: int, config: TrainConfig) -> None:
    trainable, total = adapters.counted(trainer.model)
    sequences = len(trainer.train_dataset)
    job.emit("note", text=f"{trainable:,} of {total:,} parameters are trained ({100 * trainable / total:.3g} %).")
    if sentence := head.told(trainer):
        job.emit("note", text=sentence)
    if config.packing:
        text = f"{rows} rows are packed into {sequences} sequences; a step learns from {config.batch_size} of these."
        job.emit("note", text=text)
    if sentence := symptoms.repeating(config.steps(sequences), config.batch_size, sequences):
        job.emit("note", text=sentence, warning=True)


def _resume_point(job: Job) -> Path | None:
    """The newest whole checkpoint; half-written ones are swept away, transformers would trip over them."""
    for name in checkpoints.sweep(job.folder):
        job.emit("note", text=f"{name} was not written to its end and was removed.")
    return checkpoints.newest(job.folder)


def _had_enough(checkpoint: Path | None, config: TrainConfig, since: int) -> bool:
    """Whether a checkpoint is the one at which the run ended early."""
    patience = config.early_stopping
    return bool(checkpoint and patience and symptoms.stale(checkpoints.looks(checkpoint), since) >= patience)


def keep(job: Job, run: Run, trainer: SFTTrainer, tokenizer: Any) -> dict[str, Any]:
    """adapter/ of the checkpoint that did best on the validation rows, else of what is in memory. Returns what is told."""
    best, last = checkpoints.best(job.folder), trainer.state.global_step
    if best is None:
        adapters.save(trainer.model, tokenizer, run, job.folder)
        return {"kept_step": last}
    adapters.from_checkpoint(run, job.folder, best.folder)
    looks = checkpoints.looks(checkpoints.newest(job.folder) or best.folder)
    step, loss = looks[-1]
    later = f"; the last look, at step {step}, had {loss:.3g}" if step != best.step else ""
    text = f"Kept step {best.step}, the best of {len(looks)} looks at the validation rows (loss {best.validation_loss:.3g})"
    job.emit("note", text=f"{text}{later}.")
    return {"kept_step": best.step, "validation_loss": best.validation_loss}


def _check_answers(
    job: Job, run: Run, trainer: SFTTrainer, tokenizer: Any, chosen: Template, computed: str, kept: int
) -> None:
    """Ask what was kept a few prompts, and say so when the answers look broken whatever was asked."""
    rows = dataset.read_part(job.folder, "validation") or dataset.read_part(job.folder, "train")
    some = rows[:: math.ceil(len(rows) / CANDIDATES)]
    longest = _longest_prompt(run.named(), run.config, samples.LONGEST_CHECKED)
    asked = samples.chosen(some, tokenizer, chosen, longest, CHECKED)
    if not asked:
        return
    job.phase("evaluating")
    if kept != trainer.state.global_step:
        trainer._load_from_checkpoint(str(job.folder / checkpoints.FOLDER / f"checkpoint-{kept}"))
    room = samples.answer_room(asked, tokenizer)
    found = samples.answers(trainer.model, tokenizer, chosen, [q.ids for q in asked], room, computed)
    if sentence := samples.verdict(found, endless="text" not in some[0]):
        job.emit("note", text=sentence, warning=True)
