"""What is trained on top of a base: made fresh, and written to a run's adapter/ folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

from pipeline import files, jobs
from pipeline.config import portable_model
from pipeline.errors import UserError
from pipeline.schema import Run, TrainConfig


def fresh(base: Any, config: TrainConfig, recompute: bool) -> Any:
    """The base with a fresh adapter on it, everything else frozen."""
    if config.held == "4-bit":
        base = prepare_model_for_kbit_training(base, use_gradient_checkpointing=recompute)
    names = config.target_modules.strip()
    targets = names if names == "all-linear" else [n.strip() for n in names.split(",") if n.strip()]
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=targets,
        bias="none",
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(base, lora)
    except ValueError as error:
        raise UserError(f"target_modules {names!r}: {' '.join(str(error).split())[:300]}") from error


def save(adapted: Any, tokenizer: Any, run: Run, folder: Path) -> None:
    """adapter/: weights, config naming the base, tokenizer and chat template."""
    adapted.peft_config["default"].base_model_name_or_path = portable_model(run.model)
    adapted.peft_config["default"].revision = jobs.read_json(folder / "base.json")["revision"]
    for said in ("report.json", "merge.json"):  # about the adapter that this one replaces
        (folder / said).unlink(missing_ok=True)
    shutil.rmtree(folder / "merged", ignore_errors=True)
    with files.whole_folder(folder / "adapter") as temporary:
        # "auto" would ask the Hub whether the vocabulary has grown; ours never does
        adapted.save_pretrained(str(temporary), safe_serialization=True, save_embedding_layers=False)
        tokenizer.save_pretrained(str(temporary))
        # PEFT's card names a local path; ours is made when publishing
        (temporary / "README.md").unlink(missing_ok=True)
