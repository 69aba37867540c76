"""Base and tuned from one copy of the weights, and the proof of which side is which.

Every load measures both sides by their logits before a single answer is shown.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file

from pipeline import jobs, model, template, vocabulary, weights
from pipeline.chat_templates import Template
from pipeline.errors import Refused, UserError
from pipeline.schema import Check, Message, Model

ADAPTER = "default"
BASE = "__base__"
PROBES = ("Hello", "What is the colour of the sky?", "Say this: The door is open.", "Name three things you can do.")
TOLERANCE_32_BIT = 1e-5
TOLERANCE_16_BIT = 1 / 20  # of the median difference between tuned and base

# virtual tokens shift the positions, which PEFT counts anew
warnings.filterwarnings("ignore", message="Position ids are not supported for parameter efficient tuning")


@dataclass(frozen=True)
class Pair:
    """Base and tuned, from one copy of the weights. `mode` is "mixed" or "in turn", or "base only" without an adapter.

    `own_tokenizer` is what the base reads with: another one where the tuned side has tokens that the base lacks.
    """

    adapted: Any
    tokenizer: Any
    template: Template
    mode: str
    self_test: dict[str, Check]
    own_tokenizer: Any = None

    def reader(self, side: str) -> Any:
        """The tokenizer that "base" or "tuned" reads with."""
        return self.own_tokenizer if side == "base" and self.own_tokenizer else self.tokenizer

    @property
    def same_ids(self) -> bool:
        """Whether both sides read the same tokens."""
        return self.own_tokenizer is None

    @property
    def trusted(self) -> bool:
        """Whether each side is what it says. An adapter that changes nothing is no breach of that."""
        return all(check.ok for name, check in self.self_test.items() if name != "tuned_differs")


def open_base(named: Model) -> Pair:
    """The base alone, as it reads by itself, for asking it before anything is trained."""
    named = dataclasses.replace(named, new_tokens="")
    tokenizer, chosen = model.tokenizer_and_template(named)
    return Pair(model.base(named), tokenizer, chosen, "base only", {})


def open_pair(named: Model) -> Pair:
    """Load a base, attach the adapter, and prove which side is which. Raises UserError for an adapter that does not fit."""
    if named.adapter is None:
        raise UserError(
            "This run has no adapter yet; train it to its end, or stop it, which keeps what it has learned."
        )
    tokenizer, chosen = model.tokenizer_and_template(named)
    own = model.tokenizer(dataclasses.replace(named, new_tokens="")) if named.new_tokens else None
    new = vocabulary.new_ids(tokenizer, named.new_tokens)
    base = model.base(named)
    asked: list[list[Message]] = [[{"role": "user", "content": probe}] for probe in PROBES]
    probe = pad_left([template.prompt_ids(own or tokenizer, chosen, a) for a in asked], tokenizer, base.device)
    bare = logits(base, probe)[..., : min(new, default=None)]
    adapted, complete = attach(base, Path(named.adapter), new)
    silence(adapted, new)
    mode, checks = proven(adapted, probe, bare)
    return Pair(adapted, tokenizer, chosen, mode, {**checks, "adapter_complete": complete}, own)


def open_trusted(folder: Path) -> Pair:
    """A run's pair with the run's template. Raises Refused when the self-test says a side is not what it claims."""
    pair = open_pair(of_run(folder))
    check_template(folder, pair.template)
    if not pair.trusted:
        failed = ", ".join(
            f"{name} {check.value:g} > {check.tolerance:g}" for name, check in pair.self_test.items() if not check.ok
        )
        raise Refused(f"The sides can't be trusted, so nothing was done with them: {failed}.")
    return pair


def proven(adapted: Any, probe: dict[str, torch.Tensor], bare: torch.Tensor) -> tuple[str, dict[str, Check]]:
    """The mode to answer in, with its self-test: mixed where the adapter allows it and the test passes, else in turn.

    8-bit layers round by the largest inputs of the whole batch, so that the rows of one side would move the other's.
    """
    if can_mix(peft_config(adapted)) and not getattr(adapted, "is_loaded_in_8bit", False):
        try:
            checks = self_test(adapted, probe, bare, "mixed")
            if checks["base_is_base"].ok and checks["tuned_is_tuned"].ok:
                return "mixed", checks
        except ValueError:  # a model whose layers see another batch than it was given: OPT lays its rows end to end
            for module in adapted.modules():
                module._forward_pre_hooks.clear()  # PEFT leaves them behind when it raises
    return "in turn", self_test(adapted, probe, bare, "in turn")


def of_run(folder: Path) -> Model:
    """The model a run trained, as it is judged. Raises UserError when the base is not the one it was trained on."""
    run = jobs.load(folder)
    adapter = folder / "adapter"
    remembered = jobs.read_json(folder / "base.json") if (folder / "base.json").exists() else None
    revision = remembered and remembered["revision"]
    kept = str(adapter) if adapter.exists() else None
    named = run.named(revision, kept)
    if remembered and model.identity(named)["fingerprint"] != remembered["fingerprint"]:
        raise UserError(f"{run.model} has changed since this run was trained on it; restore it, or train again.")
    return named


def check_template(folder: Path, chosen: Template) -> None:
    """Refuse to judge or merge under another prompt format than the one that was trained."""
    if chosen.hashes() != jobs.read_json(folder / "base.json")["templates"]:
        raise UserError(
            "The model's chat template is not the one this run was trained with; restore it, or train again."
        )


def attach(base: Any, adapter: Path, new_ids: Sequence[int] = ()) -> tuple[Any, Check]:
    """The base with the adapter on it, and the proof that every tensor of the file found its place.

    `new_ids` are those of tokens that were trained and the base does not have. Raises UserError when a tensor found no
    place: half an adapter is another model (unsloth dropped 65 % of one silently).
    """
    if (adapter / weights.FACTS).exists():
        return weights.attach(base, adapter), Check(True, 0.0, 0.0)
    vocabulary.add_rows(base, list(new_ids))
    try:
        saved = load_file(adapter / "adapter_model.safetensors")
    except (OSError, SafetensorError) as error:
        raise UserError(f"{adapter} can't be read ({error}); restore it, or train again.") from error
    try:
        adapted = PeftModel.from_pretrained(base, str(adapter), adapter_name=ADAPTER).eval()
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(f"{adapter} does not fit this base: {' '.join(str(error).split())[:300]}") from error
    embeddings = any(
        "base_layer" in name for name in saved
    )  # "auto" would ask the Hub whether the vocabulary has grown
    found = get_peft_model_state_dict(adapted, adapter_name=ADAPTER, save_embedding_layers=embeddings)
    strays = sorted(set(saved) ^ set(found))
    strays += [n for n in set(saved) & set(found) if not torch.equal(saved[n].float(), found[n].float().cpu())]
    if strays:
        raise UserError(
            f"{len(strays)} of {len(saved)} tensors of {adapter.name} found no place in this base (first: {strays[0]}); "
            "it belongs to another model."
        )
    return adapted, Check(True, 0.0, 0.0)


def silence(adapted: Any, new_ids: Sequence[int]) -> None:
    """While the adapter is off the base can't say tokens it never had: their scores are minus infinity."""

    def hook(module: Any, arguments: Any, output: Any) -> None:
        if not adapted.has_active_enabled_adapter:
            output.logits[..., list(new_ids)] = float("-inf")

    if new_ids:
        adapted.get_base_model().register_forward_hook(hook)


def peft_config(adapted: Any) -> Any:
    """The adapter's config; None where the base's own weights were trained, which is no matter of PEFT's."""
    return None if isinstance(adapted, weights.Tuned) else getattr(adapted, "peft_config", {}).get(ADAPTER)


def virtual_tokens(loaded: Any) -> int:
    """How many virtual tokens stand before each prompt just now: none while the adapter is off."""
    config = peft_config(loaded)
    virtual = config is not None and config.is_prompt_learning and loaded.has_active_enabled_adapter
    return int(config.num_virtual_tokens) if virtual else 0


def context(pair: Pair) -> int | None:
    """Tokens that the model reads, prompt and answer together, where its config says so."""
    most: int | None = getattr(pair.adapted.config.get_text_config(), "max_position_embeddings", None)
    return most and most - virtual_tokens(pair.adapted)


def can_mix(config: Any) -> bool:
    """Whether PEFT switches this adapter per row. An allow-list: other kinds raise, or give the tuned answer on both."""
    plain = type(config) is LoraConfig and not (
        config.use_dora or config.target_parameters or config.modules_to_save or config.trainable_token_indices
    )
    starts = config.init_lora_weights if plain else None
    return plain and starts in (True, False, "gaussian") and not getattr(config, "alora_invocation_tokens", None)


def self_test(adapted: Any, probe: dict[str, torch.Tensor], bare: torch.Tensor, mode: str) -> dict[str, Check]:
    """Like with like: the same batch with the adapter per row, off, on, and as the base gave it before there was one."""
    both = {key: torch.cat([value, value]) for key, value in probe.items()}
    count = len(bare)
    with adapted.disable_adapter():
        off, alone = logits(adapted, both), logits(adapted, probe)
    on = logits(adapted, both)
    names = [BASE] * count + [ADAPTER] * count
    mixed = logits(adapted, both, adapter_names=names) if mode == "mixed" else torch.cat([off[:count], on[count:]])
    off, alone, on, mixed = (scores[..., : bare.shape[-1]] for scores in (off, alone, on, mixed))
    seen = probe["attention_mask"].bool()
    change = (on[count:] - off[:count])[seen].abs()
    half = model.compute_dtype(adapted) != torch.float32
    tolerance = max(TOLERANCE_32_BIT, float(change.median()) * TOLERANCE_16_BIT) if half else TOLERANCE_32_BIT
    far = typical if half else largest
    base_error = max(far(mixed[:count], off[:count], seen), far(alone, bare, seen))
    tuned_error = far(mixed[count:], on[count:], seen)
    return {
        "base_is_base": Check(base_error <= tolerance, base_error, tolerance),
        "tuned_is_tuned": Check(tuned_error <= tolerance, tuned_error, tolerance),
        "tuned_differs": Check(float(change.max()) > TOLERANCE_32_BIT, float(change.max()), TOLERANCE_32_BIT),
    }


def largest(one: torch.Tensor, other: torch.Tensor, seen: torch.Tensor) -> float:
    """Largest absolute difference at the positions that are not padding; not a number counts as infinite."""
    difference = (one - other)[seen].abs().max()
    return float(difference) if torch.isfinite(difference) else float("inf")


def typical(one: torch.Tensor, other: torch.Tensor, seen: torch.Tensor) -> float:
    """The worst row's median absolute difference: 16-bit rounding has wide tails, another model moves the middle."""
    medians = [float((a - b)[s].abs().median()) for a, b, s in zip(one, other, seen, strict=True)]
    return max(m if m == m else float("inf") for m in medians)


@torch.no_grad()
def logits(loaded: Any, batch: dict[str, torch.Tensor], **options: Any) -> torch.Tensor:
    """Scores of every position, in 32 bit: (rows, tokens, vocabulary)."""
    if virtual_tokens(loaded):
        return _unpadded(loaded, batch)
    positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    result: torch.Tensor = loaded(**batch, position_ids=positions, use_cache=False, **options).logits.float()
    return result


def _unpadded(loaded: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The same for prompts with virtual tokens, row by row: padding would stand between those and the prompt."""
    rows = []
    for ids, seen in zip(batch["input_ids"], batch["attention_mask"].bool(), strict=True):
        alone = ids[seen][None]
        told = loaded(input_ids=alone, attention_mask=torch.ones_like(alone), use_cache=False).logits[0].float()
        scores = told.new_zeros(len(ids), told.shape[-1])
        scores[seen] = told[-alone.shape[1] :]
        rows.append(scores)
    return torch.stack(rows)


def pad_left(prompts: Sequence[Sequence[int]], tokenizer: Any, device: torch.device) -> dict[str, torch.Tensor]:
    """Prompts as one batch, padded on the left so that every answer begins at the same column."""
    longest = max(map(len, prompts))
    ids = [[tokenizer.pad_token_id] * (longest - len(p)) + list(p) for p in prompts]
    mask = [[0] * (longest - len(p)) + [1] * len(p) for p in prompts]
    return {"input_ids": torch.tensor(ids, device=device), "attention_mask": torch.tensor(mask, device=device)}
