"""How long a run takes: by its operations and a machine's speed, or by an earlier run's pace. Seconds.

A forward pass takes two operations per weight and token, the backward pass as many for what flows through and as many again
for what is learned (Kaplan et al. 2020, arXiv 2001.08361, table 1); what is computed again is one more forward pass.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from pipeline import earlier, estimate, machines, precision, sizes, split
from pipeline.estimate import Shape
from pipeline.machines import Machine
from pipeline.schema import TrainConfig
from pipeline.sizes import Base, Lengths

ON_GPU = 0.23
"""Share of a GPU's peak that training reaches: a published QLoRA of Phi-2 on a T4, four rows of 2,048 tokens, recomputed, took
9 s a step: 6 x 2.78e9 x 8,192 operations, 15.2 of 65 TFLOPS. Rows shorter than that would make it less."""
ON_CPU = 0.5  # of its matrix product's speed: a guess until a run here has told its pace
CALLS = 100  # kernels of one layer in one pass, with its seven adapters: counted as calls of operators (94 forward, 103 back)
LAUNCH = 1e-5  # seconds of each: what Python, PEFT's wrappers and CUDA take to start one, however small it is
DEQUANTIZED = {"8-bit": 1, "4-bit": 0.5}  # bytes of a weight that are read before it is a 16-bit one again
QUANTIZED_ON_CPU = 1.2  # times as long as in 32 bit, forward and backward: measured with LoRA on NF4


class Work(NamedTuple):
    """What a step computes: tokens of its batch, of an average row, of a micro-batch; what of the model is trained."""

    tokens: float
    row: float
    micro: float
    trained: int
    recompute: bool
    held: str
    reached: float = 1.0
    """Share of the layers that the backward pass goes through."""


def operations(shape: Shape, work: Work) -> float:
    """Of one step: of the weights and of attention, which looks back at half of the row on average."""
    weights = shape.linear + shape.active + shape.vocabulary * shape.hidden
    forward = 2 * weights + 2 * shape.layers * shape.hidden * work.row
    passes = 1 + work.reached + (work.reached if work.recompute else 0)
    return work.tokens * (passes * forward + 2 * min(work.trained, weights))


def step_on_gpu(shape: Shape, work: Work, flops: float, bandwidth: float) -> float:
    """Operations at the speed that is reached, and every pass of a micro-batch reads the weights once; or, for a small
    model, what starting all of it takes."""
    passes = 2 + work.recompute
    launches = passes * work.tokens / work.micro * shape.layers * CALLS * LAUNCH
    small = DEQUANTIZED.get(work.held)
    read = 2.0 if small is None else small + 2 * 2  # written as 16-bit numbers, and read as such
    traffic = passes * work.tokens / work.micro * shape.parameters * read
    return max(operations(shape, work) / (ON_GPU * flops) + traffic / bandwidth, launches)


def step_on_cpu(shape: Shape, work: Work, flops: float) -> float:
    return operations(shape, work) / (ON_CPU * flops) * (QUANTIZED_ON_CPU if work.held in DEQUANTIZED else 1.0)


def seconds(
    config: TrainConfig, base: Base, lengths: Lengths | None, rows: int | None, where: Machine
) -> dict[str, Any] | None:
    """How long the whole run takes: by an earlier run on this machine, else by formula; None where the rows or the
    machine's speed are not known."""
    if not rows:
        return None
    steps, mean = config.steps(sequences(config, lengths, rows)), row_tokens(config, lengths)
    before = earlier.pace(base.name, config.method, where.device) if where.key == machines.HERE else None
    if before:
        step = earlier.step_seconds(before, config.batch_size, mean)
        return {"total": steps * step, "per_step": step, "from": "earlier run", "run": before.run}
    one = step_seconds(config, base, mean or sizes.longest(config, base, lengths), where)
    if one is None:
        return None
    # a look computes each validation row forward only; what is watched meanwhile is not foreseen
    looks = steps // config.eval_steps if config.eval_steps else min(estimate.EVALUATIONS, steps)
    looked = looks * (lengths or {}).get("validation", validation_rows(rows)) / config.batch_size * one / 3
    return {"total": steps * one + looked, "per_step": one, "from": "formula", "run": None}


def step_seconds(config: TrainConfig, base: Base, row: float, where: Machine) -> float | None:
    """Seconds of a step over rows of so many tokens, by formula; None where the machine's speed is not known."""
    on_cpu, shape = where.kind == "cpu", base.shape
    rows, lies = estimate.micro_batch(config, on_cpu), sizes.held(config, base.family, where.capability)
    work = Work(
        tokens=config.batch_size * row,
        row=row,
        micro=rows * row,
        trained=sizes.learned(base, config).parameters,
        recompute=estimate.recompute(config, on_cpu),
        held=lies,
        reached=min(1.0, config.last_layers / shape.layers) if config.method == "last-layers" else 1.0,
    )
    if on_cpu:
        return step_on_cpu(shape, work, machines.cpu_speed())
    single = precision.computed(where.capability, base.family, config) == "float32"
    flops = where.single if single else where.half
    return step_on_gpu(shape, work, flops, where.bandwidth) if flops and where.bandwidth else None


def row_tokens(config: TrainConfig, lengths: Lengths | None) -> float | None:
    """Tokens of an average sequence that a step computes: what is cut off is not among them."""
    if not lengths:
        return None
    return float(config.max_length if config.packing else min(lengths["tokens"] / lengths["rows"], config.max_length))


def sequences(config: TrainConfig, lengths: Lengths | None, rows: int) -> int:
    """What steps are made of: rows, or the sequences that they are packed into."""
    if not config.packing or not lengths:
        return rows
    mean = min(float(lengths["tokens"]) / int(lengths["rows"]), config.max_length)
    return max(1, math.ceil(rows * mean / config.max_length))


def validation_rows(rows: int) -> int:
    """As the split takes them by default (split.py): a twentieth, at least 16, at most 128, never more than a fifth."""
    return int(min(max(split.LEAST, min(split.MOST, rows // 20)), rows // 5))
