"""A run as one Python script of plain torch, transformers, TRL and PEFT calls that trains the same adapter.

Reads a run folder (config.json, run.json, base.json, fit.json, tokens/); writes script.py and, beside it, tokens/ and, for
a CPU, a copy of head.py. The settings are those that training itself makes (sft, adapters): what differs from a library's
default is written out.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import torch
from jinja2 import Environment, StrictUndefined
from trl import SFTConfig

from pipeline import (
    adapters,
    files,
    fit,
    head,
    jobs,
    methods,
    model,
    precision,
    python_text,
    sft,
    tokens,
    vocabulary,
    weights,
)
from pipeline.config import BUNDLED, portable_model
from pipeline.errors import UserError
from pipeline.methods import METHODS
from pipeline.schema import Model, Run, TrainConfig

TEMPLATE = Path(__file__).with_name("script.py.jinja")
PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "bitsandbytes")
OURS = {
    "output_dir", "gradient_checkpointing", "logging_first_step", "logging_nan_inf_filter", "run_name", "project",
    "trackio_space_id", "trackio_static_space_id", "disable_tqdm", "do_eval", "dataloader_pin_memory", "greater_is_better",
    "report_to", "metric_for_best_model", "save_strategy", "save_steps", "save_total_limit",
}  # fmt: skip
"""SFTConfig's arguments that only serve our page, repeat another one, or are the script's own."""


def write(folder: Path, out: Path) -> list[str]:
    """script.py and what it needs beside it, in a new or empty folder. Returns the names. Raises UserError."""
    text = standalone(jobs.load(folder), folder)
    beside = [Path(head.__file__)] if model.device().type == "cpu" else []
    try:
        if out.exists() and any(out.iterdir()):
            raise UserError(f"{out} is not empty; give a new folder.")
        with files.whole_folder(out.resolve()) as temporary:
            (temporary / "script.py").write_text(text, encoding="utf-8")
            shutil.copytree(folder / "tokens", temporary / "tokens")
            for file in beside:
                shutil.copy(file, temporary / file.name)
    except OSError as error:
        raise UserError(f"{out} can't be written ({error}); give another folder.") from error
    return sorted(["script.py", "tokens", *(file.name for file in beside)])


def standalone(run: Run, folder: Path) -> str:
    """The script. It asks for the base's config and tokenizer, not for its weights. Raises UserError."""
    rows = _rows(folder)
    named = run.named(jobs.read_json(folder / "base.json")["revision"])
    config = fit.applied(run.config, folder)
    facts = {
        **_told(run, folder),
        **_base(run, named),
        **_method(run, named),
        **_trainer(config, named, rows, fit.looked(folder)),
    }
    facts["imports"] = _imports(facts)
    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined
    )
    environment.filters |= {"literal": python_text.literal, "quoted": lambda text: python_text.literal(text)[1:-1]}
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(facts)


def _rows(folder: Path) -> datasets.DatasetDict:
    """tokens/ of a run. Raises UserError when there are none."""
    if jobs.read_json(folder / "run.json").get("imported"):
        raise UserError(
            f"{folder.name} was imported: the rows it learned from are not here, so no script can repeat it."
        )
    if not (folder / "tokens").exists() or not (folder / "base.json").exists():
        raise UserError(f"{folder.name} has no rows as tokens yet; they are made when training begins. Start it first.")
    return datasets.load_from_disk(str(folder / "tokens"))


def _told(run: Run, folder: Path) -> dict[str, Any]:
    """What the script says of itself."""
    versions = jobs.read_json(folder / "run.json")["versions"]
    needed = [package for package in PACKAGES if package != "bitsandbytes" or _needs_bitsandbytes(run)]
    method = METHODS[run.config.method]
    return {
        "run_name": folder.name,
        "method": method,
        "base": portable_model(run.model),
        "kept": "adapter" if method.family != "weights" else "model",
        "requirements": [f"{package}=={versions[package].partition('+')[0]}" for package in needed],
        **_machine(),
        "notes": _notes(folder),
    }


def _needs_bitsandbytes(run: Run) -> bool:
    return run.config.held in adapters.QUANTIZED or "8bit" in run.config.optimizer


def _machine() -> dict[str, str]:
    """What was chosen for it, how it is started, and how much can be promised there."""
    if not (capability := sft.capability()):
        return {"machine": "a CPU", "command": "python script.py", "sameness": "to the last bit"}
    return {
        "machine": f"a GPU of compute capability {capability[0]}.{capability[1]}",
        "command": "CUDA_VISIBLE_DEVICES=0 python script.py",  # SFTTrainer refuses to see more than one
        "sameness": "but for the rounding of its kernels",
    }


def _notes(folder: Path) -> list[str]:
    """Why the run's own adapter may differ from what the script makes."""
    found = []
    if (folder / "chosen.json").exists():
        step = int(jobs.read_json(folder / "chosen.json")["step"])
        found.append(f"The run's adapter is that of step {step}, chosen by hand; the script keeps the best one.")
    if jobs.job_status(folder, "train") == "stopped":
        found.append("The run was stopped before its end; the script trains to the end.")
    if jobs.read_json(folder / "base.json").get("extended"):
        found.append("The run was made longer on the way; the script trains its whole length in one go.")
    if later := [each["step"] for each in (fit.read(folder) or {"halved": []})["halved"] if each["step"]]:
        text = f"Memory ran out at step {later[-1]} and fewer rows were held at once from a checkpoint on; the script does so"
        found.append(f"{text} from its first step, and its weights differ by a little.")
    return found


def _base(run: Run, named: Model) -> dict[str, Any]:
    """Tokenizer and base, as model.tokenizer and model.base make them."""
    tokenizer = model.tokenizer(named)
    pad = str(tokenizer.pad_token)
    compute = model.dtype(named.memory, model.usable_config(named).model_type)
    arguments: dict[str, Any] = {"revision": named.revision} if named.revision else {}
    arguments["dtype"] = compute
    if model.device().type != "cpu":
        arguments["device_map"] = str(model.device())
    if named.attention != "sdpa":
        arguments["attn_implementation"] = named.attention
    if quantization := model.quantization(named.memory, compute):
        arguments["quantization_config"] = python_text.Call(
            "BitsAndBytesConfig", python_text.different(quantization, type(quantization)())
        )
    return {
        "default_model": "" if portable_model(run.model) in BUNDLED else run.model,
        "revision_argument": f", revision={python_text.literal(named.revision)}" if named.revision else "",
        "chat_template": "" if named.template == "own" else python_text.lines(tokenizer.chat_template),
        "pad_token": pad if str(tokenizer.init_kwargs.get("pad_token")) != pad else "",
        "new_tokens": list(methods.tokens(named.new_tokens)),
        "quantized": named.memory in adapters.QUANTIZED,
        "widened": named.memory in adapters.QUANTIZED or compute != torch.float32,
        "model_arguments": python_text.written(arguments, 4),
    }


def _method(run: Run, named: Model) -> dict[str, Any]:
    """What is trained, as adapters.fresh makes it; on the base without its values."""
    config, family = run.config, METHODS[run.config.method].family
    base = model.empty(model.usable_config(named))
    found: dict[str, Any] = {"peft_class": "", "layers": "", "pissa": 0, "optimizer_class": "", "resized": 0}
    if family == "weights":
        if config.method == "last-layers":
            first = weights.last(base, config.last_layers)[0]
            name = next(name for name, module in base.named_modules() if module is first)
            found |= {"layers": name.rpartition(".")[0], "last_layers": config.last_layers}
        return found
    ids = vocabulary.new_ids(model.tokenizer(named), config.new_tokens) if config.new_tokens else []
    if ids and max(ids) >= base.get_input_embeddings().weight.shape[0]:
        found["resized"] = max(ids) + 1
    vocabulary.add_rows(base, ids)
    settings = adapters.peft_config(base, config, ids)
    found |= {
        "peft_class": type(settings).__name__,
        "peft_arguments": python_text.written(python_text.different(settings, type(settings)()), 4),
    }
    if config.method == "pissa":
        found["pissa"] = 2 * config.rank
    if config.method == "lora+":
        made, options = adapters.optimizer_class(config.optimizer)
        rates = {"lr": config.rate, "loraplus_lr_ratio": config.lora_plus_ratio}
        decay = {"loraplus_weight_decay": config.weight_decay} if config.weight_decay else {}
        found |= {
            "optimizer_class": made.__name__,
            "optimizer_arguments": python_text.written({**rates, **decay, **options}, 4),
        }
        found["optimizer_import"] = python_text.importable(made)
    return found


def _trainer(config: TrainConfig, named: Model, rows: datasets.DatasetDict, looked: int) -> dict[str, Any]:
    """The trainer's arguments, as sft makes them; the best checkpoint is kept by transformers' own rule."""
    validated = len(rows.get("validation", ())) > 0
    sequences = tokens.packed(rows["train"], config.max_length) if config.packing else rows["train"]
    computed = precision.computed(sft.capability(), model.usable_config(named).model_type, config)
    made = sft.sft_config(config, len(sequences), validated, Path("trained"), computed, looked)
    plain = SFTConfig("trained", use_cpu=made.use_cpu, bf16=made.bf16, fp16=made.fp16)
    ours = OURS | (set() if validated else {"per_device_eval_batch_size", "eval_steps"})
    ours |= {"optim"} if config.method == "lora+" else set()
    arguments = {name: value for name, value in python_text.different(made, plain).items() if name not in ours}
    types = {"use_cpu": True} if made.use_cpu else {}
    types |= {"fp16": True} if made.fp16 else {} if made.bf16 else {"bf16": False}  # TRL's default is bfloat16
    kept: dict[str, Any] = {"save_strategy": "best" if validated else "no"}
    if validated:
        kept |= {"save_total_limit": 1, "load_best_model_at_end": True}
    return {
        "trainer_class": "Trainer" if made.use_cpu else "SFTTrainer",
        "packed": config.max_length if config.packing else 0,
        "validated": validated,
        "patience": config.early_stopping if validated else 0,
        "recompute": sft.recompute(config),
        "seed": config.seed,
        "trainer_arguments": python_text.written({**types, **arguments, **kept}, 8),
    }


def _imports(facts: Mapping[str, Any]) -> list[str]:
    """The import lines of what the script names, sorted as ruff and isort do."""
    adapter, quantized = facts["peft_class"], facts["quantized"]
    named = {
        "datasets": {"load_from_disk"},
        "peft": {adapter, "get_peft_model"} if adapter else set(),
        "transformers": {"AutoModelForCausalLM", "AutoTokenizer", "set_seed"},
        "trl": {"SFTConfig"},
    }
    named.setdefault("head" if facts["trainer_class"] == "Trainer" else "trl", set()).add(facts["trainer_class"])
    if quantized:
        named["peft"].add("prepare_model_for_kbit_training")
        named["transformers"].add("BitsAndBytesConfig")
    if facts["patience"]:
        named["transformers"].add("EarlyStoppingCallback")
    if facts["new_tokens"]:
        named["tokenizers"] = {"AddedToken"}
    if facts["packed"]:
        named["trl"].add("pack_dataset")
    if facts["optimizer_class"]:
        named["peft.optimizers"] = {"create_loraplus_optimizer"}
        named.setdefault(facts["optimizer_import"], set()).add(facts["optimizer_class"])
    return [
        "import torch",
        *(python_text.import_line(module, names) for module, names in sorted(named.items()) if names),
    ]
