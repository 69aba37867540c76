"""What of a base and of a method decides memory and time, counted on the model without values (the meta device)."""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModelForCausalLM

from pipeline import adapters, estimate, model, precision, vocabulary, weights
from pipeline.errors import UserError
from pipeline.estimate import Shape
from pipeline.methods import METHODS
from pipeline.schema import Model, TrainConfig

Lengths = Mapping[str, Any]
"""Of the rows in tokens: {"rows", "tokens", "max", "mean", "p95"}; {"learned", "validation"} where they are known."""
LIKE_LORA = ("qlora-4bit", "qlora-8bit", "rslora", "pissa", "lora+", "continued-pretraining")


class Base(NamedTuple):
    """What of a base decides. `stored` is the bytes of a weight in its files; `context` the tokens it reads, if it says."""

    name: str
    revision: str | None
    shape: Shape
    family: str
    stored: int
    context: int | None


class Learned(NamedTuple):
    """What a method trains: shapes of its tensors. Of the layers that got an adapter, all together: numbers in, out, and
    between its two matrices, per token; and the numbers of the largest one's weight."""

    shapes: tuple[tuple[int, ...], ...]
    into: int = 0
    out: int = 0
    between: int = 0
    largest: int = 0

    @property
    def parameters(self) -> int:
        return sum(map(math.prod, self.shapes))


@functools.lru_cache(maxsize=32)
def _base(name: str, revision: str | None) -> Base:
    config = model.usable_config(Model(name, revision))
    try:
        shape = estimate.shape_of(config, model.empty(config))
        context = estimate.plain(config.get_text_config(), "max_position_embeddings")
    except model.UNBUILT as error:
        raise _untold(name, "its size", error) from error
    stored = getattr(config.dtype or torch.float32, "itemsize", 4)
    return Base(name, revision, shape, config.model_type, stored, context)


def _untold(name: str, what: str, error: Exception) -> UserError:
    said = " ".join(str(error).split())[:200]
    return UserError(
        f"{name}: {what} can't be told before it is loaded ({said}); check its config.json, or choose another model."
    )


def base_of(named: Model) -> Base:
    """What of a base decides, from its config alone. Raises UserError when it can't be used."""
    return _base(named.base, named.revision)


def learned(base: Base, config: TrainConfig) -> Learned:
    """What a run trains, counted on the model without values; methods whose tensors are LoRA's are counted once.

    Raises UserError where the method can't be put on the base.
    """
    method = "lora" if config.method in LIKE_LORA else config.method
    asked = {name: getattr(config, name) for name in METHODS[method].uses if name not in ("alpha", "lora_plus_ratio")}
    try:
        return _learned(Model(base.name, base.revision, new_tokens=config.new_tokens), TrainConfig(method, **asked))
    except model.UNBUILT as error:
        raise _untold(base.name, f"what {config.method} trains", error) from error


@functools.lru_cache(maxsize=64)
def _learned(named: Model, config: TrainConfig) -> Learned:
    ids = vocabulary.new_ids(model.tokenizer(named), config.new_tokens) if config.new_tokens else []
    base = model.empty(model.usable_config(named))
    with torch.device("meta"):
        if METHODS[config.method].family == "weights":
            adapted = weights.unfreeze(base, config)
        else:
            vocabulary.add_rows(base, ids)
            adapted = adapters.wrapped(base, config, ids)
    shapes = tuple(tuple(p.shape) for p in adapted.parameters() if p.requires_grad)
    below: list[Any] = [layer.get_base_layer() for layer in adapted.modules() if isinstance(layer, BaseTunerLayer)]
    held = [tuple(layer.weight.shape) for layer in below if type(layer).__name__ in estimate.LINEAR]
    down = [p.shape[0] for name, p in adapted.named_parameters() if ".lora_A." in name]
    return Learned(
        shapes,
        sum(w[1] for w in held),
        sum(w[0] for w in held),
        sum(down),
        max((math.prod(w) for w in held), default=0),
    )


def kept(base: Base, attention: str, frozen: bool) -> tuple[float, float] | None:
    """Bytes that one layer keeps for its backward pass in 32 bit: per token, and per token squared. Counted, not run.

    `frozen` is a base through which gradients only flow. None for a model that can't be followed without its values, as
    mixtures of experts, whose way depends on them.
    """
    return _kept(base.name, base.revision, "sdpa" if attention == "flash_attention_2" else attention, frozen)


COUNTED = (64, 128)  # tokens


@functools.lru_cache(maxsize=64)
def _kept(name: str, revision: str | None, attention: str, frozen: bool) -> tuple[float, float] | None:
    config = model.usable_config(Model(name, revision))
    try:
        one, two = (_saved(config, layers, attention, frozen) for layers in (1, 2))
    except model.UNBUILT:
        return None
    short, long = (more - less for less, more in zip(one, two, strict=True))
    square = max(0.0, (long / COUNTED[1] - short / COUNTED[0]) / (COUNTED[1] - COUNTED[0]))
    return short / COUNTED[0] - square * COUNTED[0], square


def _saved(config: Any, layers: int, attention: str, frozen: bool) -> list[int]:
    """Bytes that autograd keeps in 32 bit of so many layers of a model without values, for each number of tokens."""
    config = copy.deepcopy(config)
    text = config.get_text_config()
    text.num_hidden_layers = layers
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:layers]
    with FakeTensorMode(), warnings.catch_warnings(action="ignore"), _quiet():
        made: Any = AutoModelForCausalLM
        base = made.from_config(config, dtype=torch.float32, attn_implementation=attention).train()
        if frozen:
            base.requires_grad_(False)
            base.enable_input_require_grads()
        return [_saved_by(base, tokens) for tokens in COUNTED]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What can't be followed is told by its error; torch would write a traceback as well."""
    told = logging.getLogger("torch._subclasses.fake_tensor")
    before = told.level
    told.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        told.setLevel(before)


def _saved_by(base: Any, tokens: int) -> int:
    own = {tensor.untyped_storage()._cdata for tensor in (*base.parameters(), *base.buffers())}
    found: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            found[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        base.base_model(input_ids=torch.zeros(1, tokens, dtype=torch.long), use_cache=False)
    return sum(storage.nbytes() for storage in found.values())


def longest(config: TrainConfig, base: Base, lengths: Lengths | None) -> int:
    """Tokens of the longest row that is computed, virtual ones among them."""
    most = config.max_length
    if lengths and not config.packing:
        most = min(most, int(lengths["max"]))
    virtual = config.virtual_tokens if METHODS[config.method].family == "prompt" else 0
    return max(1, min(most, base.context - virtual) if base.context else most) + virtual


def held(config: TrainConfig, family: str, capability: precision.Capability | None) -> str:
    """How the base lies in memory on such a machine: "32-bit", "16-bit", "8-bit" or "4-bit"; as model.dtype decides."""
    if config.held in ("8-bit", "4-bit", "32-bit"):
        return config.held
    if capability is None and config.held != "16-bit":
        return "32-bit"
    return "32-bit" if precision.half(capability, family) == "float32" else "16-bit"
