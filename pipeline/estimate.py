"""Will it fit: peak memory of a training step, term by term, from sizes alone. Pure; bytes throughout, tokens where lengths are.

A step has three moments that can be its peak: the logits, the backward pass through one layer, the optimizer's update. The
forecast is the largest of the three; every constant says where it comes from, and none is fitted to a row of anchors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.schema import TrainConfig

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
LINEAR = ("Linear", "Conv1D")
NF4_BLOCK, NESTED_BLOCK = 64, 256  # weights per scale, scales per scale of scales: bitsandbytes' double quantization
NF4_TABLES = 16 * 4 + 256 * 4 + 4  # per tensor: both code books and the mean that is taken off the scales
STATE_BLOCK, SMALLEST_STATE = 256, 4096  # bitsandbytes' 8-bit optimizer states; smaller tensors keep 32-bit ones
CONTEXT = 450 * 10**6  # CUDA's own memory and cuBLAS' workspace: 300 to 500 MB on a T4, of which torch counts nothing
TILE_TOKENS, TILE_VOCABULARY = 4096, 32768  # of TRL's fused head, in 32 bit; read in its source (trl 1.16)
PIECE = 1 << 27  # scores that head.py holds at once on a CPU
LIBRARIES = 600 * 10**6  # of a training process on a CPU before its model: VmHWM after the imports (torch, TRL, PEFT)
MICRO_BATCH_ON_GPU = 4
EVALUATIONS = 8  # looks at the validation rows in a run whose config leaves eval_steps at 0


@dataclass(frozen=True)
class Shape:
    """What of a model decides its memory. `linears` are (out, in, how many) of its linear layers without the head;
    `active` the weights in stacks of matrices, as a mixture's experts are, that each token goes through."""

    layers: int
    hidden: int
    keys: int
    intermediate: int
    gated: bool
    vocabulary: int
    linears: tuple[tuple[int, int, int], ...]
    others: int
    active: int = 0

    @property
    def linear(self) -> int:
        return sum(out * into * count for out, into, count in self.linears)

    @property
    def parameters(self) -> int:
        return self.linear + self.others


@dataclass(frozen=True)
class Step:
    """How one step is computed: sequences in memory at once, their length, the type of activations, what is kept."""

    rows: int
    tokens: int
    computed: str = "float16"
    held: str = "16-bit"
    optimizer: str = "adamw_torch"
    recompute: bool = True
    full_logits: bool = False
    on_cpu: bool = False
    stream: str = ""  # type of what goes from layer to layer, where it is not the computed one
    reached: int = 0  # layers that the backward pass goes through; 0 is all
    kept: tuple[float, float] | None = (
        None  # bytes a layer keeps per token, and per token squared, as counted in 32 bit
    )
    adapter_kept: float = 0.0  # bytes per token that all adapters together keep for themselves
    transient: int = 0  # bytes that one layer needs for a moment whatever the tokens
    learned: float = 1.0  # share of the tokens that are learned
    cast: bool = False  # autocast keeps a copy of what is trained in the computed type while a forward pass lasts
    accumulated: bool = False  # gradients of earlier rows of the batch lie there while later ones are computed
    trained_bytes: int = 4  # per trained weight and its gradient; mixed precision trains in 32 bit
    count_paged: bool = True  # torch's own counter leaves out what bitsandbytes keeps in paged memory


@dataclass(frozen=True)
class Forecast:
    """Peak bytes, the terms that stand at the peak, and which moment it is: "logits", "backward" or "update"."""

    peak: int
    terms: dict[str, int]
    moment: str


def shape_of(config: Any, base: Any) -> Shape:
    """The shape of a model, from its config and itself on the meta device: no weight is read.

    Raises ValueError for a size below 1.
    """
    text = config.get_text_config()
    head, linear = base.get_output_embeddings(), 0
    found: dict[tuple[int, ...], int] = {}
    for module in base.modules():
        if type(module).__name__ in LINEAR and module is not head:
            size = tuple(module.weight.shape)
            found[size] = found.get(size, 0) + 1
            linear += size[0] * size[1]
    layers, hidden, vocabulary = (_size(text, name) for name in ("num_hidden_layers", "hidden_size", "vocab_size"))
    heads = plain(text, "num_attention_heads") or 1
    keys = (plain(text, "num_key_value_heads") or heads) * (plain(text, "head_dim") or hidden // heads)
    wide = next((w for n in ("intermediate_size", "ffn_dim", "n_inner") if (w := plain(text, n))), 4 * hidden)
    return Shape(
        layers=layers, hidden=hidden, keys=keys, intermediate=wide,
        gated=any("gate" in name for name, _ in base.named_modules()), vocabulary=vocabulary,
        linears=tuple((out, into, count) for (out, into), count in sorted(found.items())),
        others=sum(p.numel() for p in base.parameters()) - linear,
        active=_active(base, plain(text, "num_experts_per_tok") or plain(text, "top_k_experts")),
    )  # fmt: skip


def plain(text: Any, name: str) -> int | None:
    """A size in a config: the largest where each layer has its own; None where it says none, or none for all layers."""
    try:
        found = getattr(text, name, None)
    except RuntimeError:  # of layers that differ
        return None
    if isinstance(found, list | tuple):
        return max(map(int, found), default=None)
    return None if found is None else int(found)


def _size(text: Any, name: str) -> int:
    found = plain(text, name)
    if found is None or found < 1:
        raise ValueError(f"its config says {name} {found}")
    return found


def _active(base: Any, chosen: int | None) -> int:
    """Weights in stacks of matrices that a token goes through: of experts, one matrix each, the chosen ones."""
    stacks = [p for p in base.parameters() if p.dim() == 3]
    return sum(p.numel() // p.shape[0] * min(chosen or p.shape[0], p.shape[0]) for p in stacks)


def weights(shape: Shape, held: str) -> int:
    """The base as it lies in memory. Quantized, only the linear layers are small: the rest is cast to 32 bit for training
    (PEFT's prepare_model_for_kbit_training)."""
    if held in ("8-bit", "4-bit"):
        return (
            sum(math.ceil(o * i * (1 if held == "8-bit" else 0.5)) * n for o, i, n in shape.linears) + 4 * shape.others
        )
    return shape.parameters * (4 if held == "32-bit" else 2)


def quantization(shape: Shape, held: str) -> int:
    """What is needed to read quantized weights: scales per block of 64, quantized again (NF4), or per row (8-bit)."""
    if held == "8-bit":
        return sum(4 * out * count for out, _, count in shape.linears)
    if held != "4-bit":
        return 0
    found = 0
    for out, into, count in shape.linears:
        blocks = math.ceil(out * into / NF4_BLOCK)
        found += count * (blocks + 4 * math.ceil(blocks / NESTED_BLOCK) + NF4_TABLES)
    return found


def optimizer(name: str, trained: Iterable[Sequence[int]], width: int = 4) -> int:
    """The states of the tensors that are trained: for Adam two numbers a weight, of `width` bytes as the weight itself; in
    8 bit two bytes and their scales; for Adafactor (Shazeer and Stern 2018) a row and a column; none for SGD."""
    found = 0
    for size in trained:
        count = math.prod(size)
        if name == "adafactor":
            found += 4 * (count // size[-1] + count // size[-2]) if len(size) > 1 else 4 * count
        elif name == "adamw_torch":
            found += 2 * width * count
        elif name.endswith("8bit") and count < SMALLEST_STATE:
            found += 8 * count
        elif name.endswith("8bit"):
            found += 2 * (count + 4 * math.ceil(count / STATE_BLOCK))
    return found


def layer_activations(shape: Shape, step: Step) -> int:
    """What one layer keeps for its backward pass, as counted, in the types of this step; or, not counted, 34 bytes per token and width in 16 bit with a plain MLP of four times the
    width and fused attention (Korthikanti et al. 2022, arXiv 2205.05198, without the scores); a gated MLP keeps four
    intermediates instead of two, fewer key heads less."""
    inner = (4 if shape.gated else 2) * shape.intermediate
    stream, computed = 4 * shape.hidden, 3 * shape.hidden + 2 * shape.keys + inner
    per_token = float(stream * BYTES[step.stream or step.computed] + computed * BYTES[step.computed])
    if step.kept:
        linear, square = step.kept
        per_token *= linear / (4 * (stream + computed))
        per_token += square * step.tokens * BYTES[step.computed] / 4
    return round(step.rows * step.tokens * (per_token + step.adapter_kept / shape.layers)) + step.transient


def logits(shape: Shape, step: Step) -> int:
    """Scores of every position: as computed, in 32 bit, and their gradient; or the tiles of TRL's fused head; or head.py's
    pieces of learned positions: their logarithms, and the gradients of these and of the scores."""
    tokens = step.rows * step.tokens
    if step.on_cpu:
        return 3 * 4 * min(math.ceil(tokens * step.learned), max(1, PIECE // shape.vocabulary)) * shape.vocabulary
    if step.full_logits:
        return tokens * shape.vocabulary * (BYTES[step.computed] + 4 + 4)
    return 2 * 4 * min(math.ceil(tokens * step.learned), TILE_TOKENS) * min(shape.vocabulary, TILE_VOCABULARY)


def forecast(
    shape: Shape, step: Step, trained: Sequence[Sequence[int]], adapter: bool = True, context: int = CONTEXT
) -> Forecast:
    """Peak memory of a step. `trained` are the shapes of the trained tensors, which an adapter adds to the base's."""
    count, largest = sum(map(math.prod, trained)), max(map(math.prod, trained), default=0)
    states = optimizer(step.optimizer, trained, step.trained_bytes)
    if step.optimizer.startswith("paged") and not step.count_paged:
        states = 0
    kept = {
        # the base's own trained weights are held in the type they are trained in
        "weights": weights(shape, step.held)
        + (0 if adapter or step.held != "16-bit" else (step.trained_bytes - 2) * count),
        "quantization state": quantization(shape, step.held),
        "adapter": step.trained_bytes * count if adapter else 0,
        "optimizer": states,
        "libraries" if step.on_cpu else "CUDA context": context,
    }
    reached = step.reached or shape.layers
    inputs = reached * step.rows * step.tokens * shape.hidden * BYTES[step.stream or step.computed]
    one = layer_activations(shape, step)
    stored = inputs if step.recompute else reached * one
    gradients, cast = step.trained_bytes * count, BYTES[step.computed] * count if step.cast else 0
    # torch's fused-by-list Adam holds one more copy of what it updates (torch.optim, foreach); on a CPU it goes one by one
    copy = 0 if step.optimizer != "adamw_torch" else step.trained_bytes * largest if step.on_cpu else gradients
    moments: dict[str, dict[str, int]] = {
        "logits": {
            "gradients": gradients if step.accumulated else 0,
            "activations": stored + cast,
            "logits": logits(shape, step),
        },
        "backward": {"gradients": gradients, "activations": stored + (one if step.recompute else cast)},
        "update": {"gradients": gradients, "update": copy},
    }
    moment = max(moments, key=lambda name: sum(moments[name].values()))
    terms = {name: size for name, size in {**kept, **moments[moment]}.items() if size}
    return Forecast(sum(terms.values()), terms, moment)


def recompute(config: TrainConfig, on_cpu: bool) -> bool:
    """Whether activations are computed again in the backward pass instead of kept. Prefix tuning can't."""
    if config.activation_checkpointing == "auto":
        return not on_cpu and config.method != "prefix-tuning"
    return config.activation_checkpointing == "on"


def micro_batch(config: TrainConfig, on_cpu: bool) -> int:
    """Sequences in memory at once: a divisor of the batch. Packed ones go one by one, for attention without its package
    is computed over all of them laid end to end, and costs the square of that.
    """
    if config.micro_batch:
        return config.micro_batch
    if config.packing:
        return 1
    most = config.batch_size if on_cpu else MICRO_BATCH_ON_GPU
    return max(n for n in range(1, most + 1) if config.batch_size % n == 0)
