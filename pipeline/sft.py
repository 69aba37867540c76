"""Our settings in TRL's words: the one place where the two vocabularies meet."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from trl import SFTConfig

from pipeline import checkpoints, estimate, model, precision, trackers
from pipeline.schema import TrainConfig

LOGGED_POINTS = 1000  # points of the loss curve; shorter runs tell every step


def capability() -> precision.Capability | None:
    """The GPU's compute capability, None on a CPU."""
    return torch.cuda.get_device_capability() if model.device().type == "cuda" else None


def recompute(config: TrainConfig) -> bool:
    """Whether activations are computed again in the backward pass instead of kept, on this machine."""
    return estimate.recompute(config, model.device().type == "cpu")


def micro_batch(config: TrainConfig) -> int:
    """Sequences in memory at once, on this machine: a divisor of the batch."""
    return estimate.micro_batch(config, model.device().type == "cpu")


def sft_config(
    config: TrainConfig, sequences: int, validated: bool, folder: Path, computed: str, looked: int = 0
) -> SFTConfig:
    """TRL's arguments for so many training sequences (rows, or packed rows), with a validation part or without.

    `computed` is what precision.computed says. Rows come ready-made: TRL cuts nothing (max_length) and packs nothing
    (packing), but keeps packed ones apart (padding_free). `looked`: validation rows at once, 0 for as many as in training.
    """
    total, micro = config.steps(sequences), micro_batch(config)
    every = config.eval_steps or max(1, round(total / estimate.EVALUATIONS))
    on_cpu = model.device().type == "cpu"
    return SFTConfig(
        output_dir=str(folder / checkpoints.FOLDER),
        use_cpu=on_cpu,
        bf16=computed == "bfloat16",
        fp16=computed == "float16",
        activation_checkpointing=recompute(config),
        per_device_train_batch_size=micro,
        per_device_eval_batch_size=looked or micro,
        gradient_accumulation_steps=config.batch_size // micro,
        num_train_epochs=config.epochs,
        max_steps=total if config.max_steps else -1,
        learning_rate=config.rate,
        lr_scheduler_type=config.scheduler,
        warmup_steps=config.warmup if total > 1 else 0,  # rounded up to a step, of which the rate is 0
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        optim=config.optimizer,
        neftune_noise_alpha=config.neftune or None,
        train_sampling_strategy="group_by_length" if config.length_grouping and not config.packing else "random",
        seed=config.seed,
        logging_first_step=True,
        logging_steps=max(1, math.ceil(total / LOGGED_POINTS)),
        logging_nan_inf_filter=False,
        eval_strategy="steps" if validated else "no",
        eval_steps=every,
        metric_for_best_model="loss" if validated else None,
        save_strategy="steps",
        save_steps=config.save_steps or every,
        save_total_limit=max(2, config.keep_checkpoints),  # the newest is what a stopped run goes on from
        dataloader_pin_memory=not on_cpu,
        max_length=None,
        packing=False,
        padding_free=config.packing,
        report_to=config.tracker,
        run_name=folder.name,
        project=trackers.PROJECT,
        trackio_space_id=None,
        trackio_static_space_id=False,
        disable_tqdm=True,
    )
