"""What is trained on top of a base, for every method: made fresh, its start kept, written to a run's adapter/ folder.

The start (start/ in the run folder) is kept only where what was learned can't be told without it: PiSSA's first matrices,
which are subtracted again, and the names of the base's own weights that are trained.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import (
    IA3Config,
    LoraConfig,
    PeftConfig,
    PrefixTuningConfig,
    PromptTuningConfig,
    get_peft_model,
    get_peft_model_state_dict,
    prepare_model_for_kbit_training,
)
from peft.optimizers import create_loraplus_optimizer
from safetensors.torch import load_file, save_file

from pipeline import checkpoints, files, jobs, model, vocabulary, weights
from pipeline.config import portable_model
from pipeline.errors import UserError
from pipeline.methods import METHODS
from pipeline.schema import Model, Run, TrainConfig

START = "start"
TENSORS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
QUANTIZED = ("8-bit", "4-bit")
NOT_TOKENIZER = {CONFIG, "config.json", "generation_config.json", "trainer_state.json", checkpoints.SEAL}


def fresh(base: Any, tokenizer: Any, config: TrainConfig, recompute: bool) -> Any:
    """The base with what the method trains on it, everything else frozen.

    `tokenizer` has the new tokens, if the method adds some. Raises UserError when the base has no such layers.
    """
    ids = vocabulary.new_ids(tokenizer, config.new_tokens)
    vocabulary.check(base, tokenizer, len(ids))
    if METHODS[config.method].family == "weights":
        # transformers renames the experts of a mixture when it saves; checkpoints keep the names that are loaded here
        base.save_pretrained = functools.partial(base.save_pretrained, save_original_format=False)
        return weights.unfreeze(base, config)
    if config.held in QUANTIZED:
        base = prepare_model_for_kbit_training(base, use_gradient_checkpointing=recompute)
    vocabulary.add_rows(base, ids)
    return wrapped(base, config, ids)


def wrapped(base: Any, config: TrainConfig, new_ids: list[int]) -> Any:
    """PEFT's model of an adapter method. Raises UserError for layers that the base does not have."""
    try:
        adapted = get_peft_model(base, peft_config(base, config, new_ids))
    except ValueError as error:
        said = " ".join(str(error).split())[:300]
        what = f"target_modules {config.target_modules!r}" if "target_modules" in uses(config) else config.method
        raise UserError(f"{what}: {said}") from error
    adapted.peft_config[
        "default"
    ].base_model_name_or_path = ""  # or every checkpoint asks the Hub how large the base is
    if new_ids:  # the trainer reads the head's bias, which PEFT's wrapper of a head does not hand on
        head = adapted.get_output_embeddings()
        head.__dict__["bias"] = head.original_module.bias
    return adapted


def uses(config: TrainConfig) -> tuple[str, ...]:
    return METHODS[config.method].uses


def peft_config(base: Any, config: TrainConfig, new_ids: list[int]) -> PeftConfig:
    """Our settings in PEFT's words."""
    if config.method == "ia3":
        return IA3Config(target_modules="all-linear", feedforward_modules=[], task_type="CAUSAL_LM")
    if config.method == "prompt-tuning":
        return PromptTuningConfig(
            num_virtual_tokens=config.virtual_tokens, prompt_tuning_init="SAMPLE_VOCAB", task_type="CAUSAL_LM"
        )
    if config.method == "prefix-tuning":
        return PrefixTuningConfig(num_virtual_tokens=config.virtual_tokens, task_type="CAUSAL_LM")
    names = config.target_modules.strip()
    return LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout if "dropout" in uses(config) else 0.0,
        target_modules=names if names == "all-linear" else [n.strip() for n in names.split(",") if n.strip()],
        use_dora=config.method == "dora",
        use_rslora=config.method == "rslora",
        init_lora_weights="pissa" if config.method == "pissa" else True,
        trainable_token_indices=vocabulary.token_rows(base, new_ids) if new_ids else None,
        bias="none",
        task_type="CAUSAL_LM",
    )


def optimizer(adapted: Any, config: TrainConfig) -> torch.optim.Optimizer | None:
    """The optimizer of a method that needs one of its own: LoRA+ has two learning rates. None: the trainer's choice."""
    if config.method != "lora+":
        return None
    made, options = optimizer_class(config.optimizer)
    return create_loraplus_optimizer(
        adapted,
        made,
        lr=config.rate,
        loraplus_lr_ratio=config.lora_plus_ratio,
        loraplus_weight_decay=config.weight_decay,
        **options,
    )


def optimizer_class(name: str) -> tuple[Any, dict[str, Any]]:
    """The class and the options the trainer would choose for a name."""
    if name == "adafactor":
        from transformers.optimization import Adafactor

        return Adafactor, {"scale_parameter": False, "relative_step": False}
    if name in ("adamw_8bit", "paged_adamw_8bit"):
        from bitsandbytes.optim import AdamW

        return AdamW, {"optim_bits": 8, "is_paged": name.startswith("paged")}
    return {"adamw_torch": torch.optim.AdamW, "sgd": torch.optim.SGD}[name], {}


def counted(adapted: Any) -> tuple[int, int]:
    """(trained, all) parameters, by PEFT's own counter where PEFT holds them."""
    if hasattr(adapted, "get_nb_trainable_parameters"):
        trainable, total = adapted.get_nb_trainable_parameters()
        return int(trainable), int(total)
    sizes = [(p.numel(), p.requires_grad) for p in adapted.parameters()]
    return sum(n for n, learned in sizes if learned), sum(n for n, _ in sizes)


def begin(adapted: Any, config: TrainConfig, folder: Path) -> None:
    """Keep what is needed to tell what was learned, before the first step; a resumed run keeps what it began with."""
    if (folder / START).exists():
        return
    if METHODS[config.method].family == "weights":
        with files.whole_folder(folder / START) as temporary:
            files.write_json(temporary / weights.FACTS, {"tensors": sorted(weights.trained(adapted))})
    if config.method == "pissa":
        with files.whole_folder(folder / START) as temporary:
            tensors = {name: tensor.cpu().contiguous() for name, tensor in get_peft_model_state_dict(adapted).items()}
            save_file(tensors, temporary / TENSORS, {"format": "pt"})


def save(adapted: Any, tokenizer: Any, run: Run, folder: Path) -> None:
    """adapter/ of what is in memory: weights, a config that names the base, tokenizer and chat template."""
    with _replaced(folder) as temporary:
        tokenizer.save_pretrained(str(temporary))
        if METHODS[run.config.method].family == "weights":
            weights.write(temporary, weights.trained(adapted), _facts(run, folder))
            return
        # "auto" would ask the Hub whether the vocabulary has grown
        adapted.save_pretrained(str(temporary), safe_serialization=True, save_embedding_layers=False)
        _finish(temporary, run, folder)


def from_checkpoint(run: Run, folder: Path, checkpoint: Path) -> None:
    """adapter/ of one of the run's checkpoints, without loading the base. Raises UserError when it is damaged."""
    if not checkpoints.is_whole(checkpoint):
        raise UserError(f"{checkpoint.name} is not there or was not written to its end; use another checkpoint.")
    with _replaced(folder) as temporary:
        for file in sorted(checkpoint.iterdir()):
            if file.suffix in (".json", ".jinja", ".model", ".txt") and file.name not in NOT_TOKENIZER:
                shutil.copy(file, temporary)
        if METHODS[run.config.method].family == "weights":
            names = jobs.read_json(folder / START / weights.FACTS)["tensors"]
            weights.write(temporary, weights.from_checkpoint(checkpoint, names), _facts(run, folder))
            return
        for name in (TENSORS, CONFIG):
            shutil.copy(checkpoint / name, temporary)
        _finish(temporary, run, folder)


@contextlib.contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """A new adapter/ to fill. Once it is whole, what was said about the older one goes, and it takes its place."""
    with files.whole_folder(folder / "adapter") as temporary:
        yield temporary
        for said in ("report.json", "merge.json"):
            (folder / said).unlink(missing_ok=True)
        shutil.rmtree(folder / "merged", ignore_errors=True)


def _facts(run: Run, folder: Path) -> dict[str, Any]:
    revision = jobs.read_json(folder / "base.json")["revision"]
    return {
        "method": run.config.method,
        "base_model_name_or_path": portable_model(run.model),
        "revision": revision,
    }


def _finish(adapter: Path, run: Run, folder: Path) -> None:
    """An adapter as PEFT wrote it becomes ours: it names its base, holds nothing of it, and PiSSA is plain LoRA."""
    settings = jobs.read_json(adapter / CONFIG)
    tensors = {name: tensor for name, tensor in load_file(adapter / TENSORS).items() if ".base_layer." not in name}
    if run.config.method == "pissa":
        tensors = without_start(tensors, load_file(folder / START / TENSORS))
        settings |= {"init_lora_weights": True, "r": 2 * settings["r"], "lora_alpha": 2 * settings["lora_alpha"]}
    named = {key: value for key, value in _facts(run, folder).items() if key != "method"}
    save_file(tensors, adapter / TENSORS, {"format": "pt"})
    files.write_json(adapter / CONFIG, {**settings, **named})
    (adapter / "README.md").unlink(missing_ok=True)  # PEFT's card names a local path; ours is made when publishing


def without_start(tensors: dict[str, torch.Tensor], start: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """PiSSA as plain LoRA of twice the rank: BA - B0 A0 = [B | -B0] [A ; A0], for its base was W - B0 A0.

    Meng et al. 2024 (arXiv 2404.02948), appendix on converting to LoRA.
    """
    found = {}
    for name, tensor in tensors.items():
        first = start[name].to(tensor)
        found[name] = torch.cat([tensor, first], 0) if ".lora_A." in name else torch.cat([tensor, -first], 1)
    return found


@functools.lru_cache(maxsize=32)
def count(named: Model, config: TrainConfig) -> tuple[int, int]:
    """(trained, all) parameters of a run, from the base's config alone: nothing is downloaded but that."""
    tokenizer = model.tokenizer(named) if config.new_tokens else None
    return count_on(model.empty(model.usable_config(named)), config, vocabulary.new_ids(tokenizer, config.new_tokens))


def count_on(base: Any, config: TrainConfig, new_ids: list[int] | None = None) -> tuple[int, int]:
    """The same for a model without values (on the meta device)."""
    ids = new_ids or []
    with torch.device("meta"):
        if METHODS[config.method].family == "weights":
            return counted(weights.unfreeze(base, config))
        vocabulary.add_rows(base, ids)
        return counted(wrapped(base, config, ids))
