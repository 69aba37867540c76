"""What an adapter that was made elsewhere says of itself, in our words: its method, its template, its new tokens.

Reads adapter_config.json (PEFT's) or tuned.json (ours of trained weights), and the tokenizer saved beside it. Nothing it
says is run: what PEFT could be made to import or to fetch by it is taken out before PEFT reads it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline import files, methods
from pipeline.chat_templates import BEGIN, MARKED, MARKS
from pipeline.errors import UserError
from pipeline.methods import METHODS
from pipeline.schema import TrainConfig
from pipeline.schema import settings as bounds_of

KINDS = {"IA3": "ia3", "PROMPT_TUNING": "prompt-tuning", "PREFIX_TUNING": "prefix-tuning"}
# names of modules to import, of models to fetch, of data to start from: an adapter that is only used needs none
DROPPED = (
    "auto_mapping", "megatron_config", "megatron_core", "loftq_config", "eva_config", "corda_config", "lora_ga_config",
    "runtime_config", "tokenizer_name_or_path", "tokenizer_kwargs", "prompt_tuning_init_text",
)  # fmt: skip


def settings(adapter: Path) -> dict[str, Any]:
    """The adapter's own config. Raises UserError where it can't be read."""
    file = next((adapter / name for name in ("adapter_config.json", "tuned.json") if (adapter / name).exists()), None)
    try:
        values = json.loads(file.read_text(encoding="utf-8")) if file else None
    except (ValueError, RecursionError) as error:
        raise UserError(f"The adapter's config is not valid JSON ({str(error)[:100]}); get it again.") from error
    if not isinstance(values, dict):
        raise UserError("The adapter's config holds no JSON object; get it again.")
    return values


def config_of(adapter: Path, told: dict[str, Any]) -> dict[str, Any]:
    """TrainConfig fields: the method, and what is known of its size. Raises UserError for a kind that can't be judged here."""
    if (adapter / "tuned.json").exists() and METHODS.get(str(told.get("method"))) is not None:
        return {"method": told["method"]}
    kind = str(told.get("peft_type"))
    if kind in KINDS:
        return {"method": KINDS[kind], **_within({"virtual_tokens": told.get("num_virtual_tokens")})}
    if kind != "LORA":
        offered = ", ".join(["LORA", *KINDS])
        raise UserError(f"This is an adapter of the kind {kind[:40]}; those that can be judged here are {offered}.")
    method = "dora" if told.get("use_dora") else "rslora" if told.get("use_rslora") else "lora"
    targets = told.get("target_modules")
    names = ", ".join(map(str, targets)) if isinstance(targets, list) else str(targets or "all-linear")
    sizes = {"rank": told.get("r"), "alpha": told.get("lora_alpha"), "dropout": told.get("lora_dropout")}
    return {"method": method, "target_modules": names, **_within(sizes)}


def _within(values: dict[str, Any]) -> dict[str, Any]:
    """Numbers as our settings take them; what is no number, or beyond, is left to its default: PEFT reads its own file."""
    known, found = bounds_of(TrainConfig), {}
    for name, value in values.items():
        wanted = type(getattr(TrainConfig, name))
        low, high = known[name].low or 0, known[name].high or 0
        if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
            found[name] = wanted(value)
    return found


def template_of(adapter: Path, own: Any) -> str:
    """The template the adapter brings, by its name where it has one: "own" is the base tokenizer's `own`."""
    brought = _template_text(adapter)
    if not brought or brought == own.chat_template:
        return "own"
    named = {MARKS.sub("", begin + preset): name for name, preset in MARKED.items() for begin in ("", BEGIN)}
    return named.get(brought, brought)


def _template_text(adapter: Path) -> str:
    file = adapter / "chat_template.jinja"
    if file.exists():
        return file.read_text(encoding="utf-8", errors="replace")
    told = _json(adapter / "tokenizer_config.json").get("chat_template")
    return told if isinstance(told, str) else ""


def new_tokens(adapter: Path, told: dict[str, Any], own: Any) -> str:
    """The tokens the adapter learned that its base's tokenizer does not have, in the order of their ids."""
    if not told.get("trainable_token_indices"):
        return ""
    known = own.get_vocab()
    added = _json(adapter / "tokenizer.json").get("added_tokens")
    listed = [each for each in added if isinstance(each, dict)] if isinstance(added, list) else []
    fresh = sorted((each.get("id", 0), str(each.get("content"))) for each in listed if each.get("content") not in known)
    named = [content for _, content in fresh]
    ids = list(range(len(own), len(own) + len(fresh)))
    if list(methods.tokens(" ".join(named))) != named or [number for number, _ in fresh] != ids:
        raise UserError(
            "The adapter's new tokens can't be had as it learned them (a space or comma in one, or other ids)."
        )
    return " ".join(named)


def name_base(adapter: Path, told: dict[str, Any], base: str, revision: str | None) -> None:
    """Write the config with the base it was found to belong to, and without what PEFT might act upon."""
    kept = {key: value for key, value in told.items() if key not in DROPPED}
    kept |= {"base_model_name_or_path": base, "revision": revision}
    if "prompt_tuning_init" in kept:
        kept["prompt_tuning_init"] = "RANDOM"
    peft = (adapter / "adapter_config.json").exists()
    files.write_json(adapter / ("adapter_config.json" if peft else "tuned.json"), kept | {"inference_mode": True})


def _json(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
