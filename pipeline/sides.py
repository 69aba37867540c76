"""Base and tuned from one copy of the weights, and the proof of which side is which.

Every load measures both sides by their logits before a single answer is shown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file

from pipeline import jobs, model, self_test, switch, template, trust, vocabulary, weights
from pipeline.chat_templates import Template
from pipeline.errors import Refused, UserError
from pipeline.forward import logits, pad_left, virtual_tokens
from pipeline.schema import Check, Message, Model

ADAPTER, BASE = switch.ADAPTER, switch.BASE
PROBES = ("Hello", "What is the colour of the sky?", "Say this: The door is open.", "Name three things you can do.")


@dataclass(frozen=True)
class Third:
    """A column beside base and tuned: "other", a second adapter, or "prompted", the base after `examples` of the data."""

    column: str
    label: str
    examples: tuple[list[Message], ...] = ()


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
    third: Third | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        return (
            "base",
            *(() if self.mode == "base only" else ("tuned",)),
            *((self.third.column,) if self.third else ()),
        )

    def adapter(self, column: str) -> str:
        """The adapter that a column's rows run through. Raises UserError for a column the pair does not have."""
        if column not in self.columns:
            raise UserError(f"There is no column {column!r} here; this comparison has {', '.join(self.columns)}.")
        return {"tuned": ADAPTER, "other": switch.OTHER}.get(column, BASE)

    def reader(self, column: str) -> Any:
        """The tokenizer that a column reads with."""
        return self.own_tokenizer if self.own_tokenizer and self.adapter(column) == BASE else self.tokenizer

    @property
    def same_ids(self) -> bool:
        """Whether both sides read the same tokens."""
        return self.own_tokenizer is None

    @property
    def trusted(self) -> bool:
        """Whether each side is what it says. An adapter that changes nothing is no breach of that."""
        return trust.trusted(self.self_test)


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
    probe = probes(own or tokenizer, chosen, tokenizer, base.device)
    bare = logits(base, probe)[..., : min(new, default=None)]
    adapted, complete = attach(base, Path(named.adapter), new)
    silence(adapted, new)
    mode, checks = self_test.proven(adapted, probe, bare)
    return Pair(adapted, tokenizer, chosen, mode, {**checks, "adapter_complete": complete}, own)


def probes(reader: Any, chosen: Template, tokenizer: Any, device: Any) -> dict[str, torch.Tensor]:
    """What the self-test asks, as one batch."""
    asked: list[list[Message]] = [[{"role": "user", "content": probe}] for probe in PROBES]
    return pad_left([template.prompt_ids(reader, chosen, messages) for messages in asked], tokenizer, device)


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
    stored(adapter)
    try:
        adapted = PeftModel.from_pretrained(base, str(adapter), adapter_name=ADAPTER).eval()
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(f"{adapter} does not fit this base: {' '.join(str(error).split())[:300]}") from error
    return adapted, complete(adapted, adapter, ADAPTER)


def stored(adapter: Path) -> dict[str, torch.Tensor]:
    """The tensors of an adapter's file. Raises UserError when it can't be read."""
    try:
        return dict(load_file(adapter / "adapter_model.safetensors"))
    except (OSError, SafetensorError) as error:
        raise UserError(f"{adapter} can't be read ({error}); restore it, or train again.") from error


def complete(adapted: Any, adapter: Path, name: str) -> Check:
    """The proof that every tensor of an adapter's file is in the model under a name. Raises UserError otherwise."""
    saved = stored(adapter)
    # "auto" would ask the Hub whether the vocabulary has grown
    embeddings = any("base_layer" in tensor for tensor in saved)
    found = get_peft_model_state_dict(adapted, adapter_name=name, save_embedding_layers=embeddings)
    strays = sorted(set(saved) ^ set(found))
    strays += [n for n in set(saved) & set(found) if not torch.equal(saved[n].float(), found[n].float().cpu())]
    if strays:
        raise UserError(
            f"{len(strays)} of {len(saved)} tensors of {adapter.name} found no place in this base (first: {strays[0]}); "
            "it belongs to another model."
        )
    return Check(True, 0.0, 0.0)


def silence(adapted: Any, new_ids: Sequence[int]) -> None:
    """While the adapter is off the base can't say tokens it never had: their scores are minus infinity."""

    def hook(module: Any, arguments: Any, output: Any) -> None:
        if not adapted.has_active_enabled_adapter:
            output.logits[..., list(new_ids)] = float("-inf")

    if new_ids:
        adapted.get_base_model().register_forward_hook(hook)


def context(pair: Pair) -> int | None:
    """Tokens that the model reads, prompt and answer together, where its config says so."""
    most: int | None = getattr(pair.adapted.config.get_text_config(), "max_position_embeddings", None)
    return most and most - virtual_tokens(pair.adapted)
