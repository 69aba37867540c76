"""Will a run fit, and how long will it take: from its settings and its base's config alone, on this machine or another.

Sizes come from the model on the meta device, formulas from estimate.py; earlier runs on this machine correct both.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from pipeline import changes, disk, duration, earlier, estimate, machines, precision, sizes
from pipeline.errors import UserError
from pipeline.estimate import Forecast, Step
from pipeline.machines import Machine
from pipeline.methods import METHODS
from pipeline.schema import Model, TrainConfig
from pipeline.sizes import Base, Lengths

MEASURED_AT = ("activations", "logits", "update")  # the terms that a probe can correct; the others are known exactly
CORRECTED = (0.25, 4.0)  # a correction beyond is one of something else
OFFERED = 4  # changes
COMBINED = 3  # of them at once
KINDS = ("method", "memory")  # settings whose every value is a choice of its own; of the others the mildest is enough
GPU_LIBRARIES = 2 * 10**9  # RAM: CUDA's runtime, cuBLAS and cuDNN, beside what a CPU process has
SHARD = 5 * 10**9  # the largest file a model is usually stored in; it is read whole before it goes to the GPU


class Correction(NamedTuple):
    by: float
    run: str


def of(
    config: TrainConfig, named: Model, lengths: Lengths | None, rows: int | None, machine: str = "here"
) -> dict[str, Any]:
    """The forecast of a run over `rows` rows of these lengths in tokens ({"rows", "tokens", "max", "mean", "p95"}).

    Without lengths every row is taken for the longest that is allowed. Raises UserError when the base can't be had or the
    machine is not known.
    """
    where, base = machines.find(machine), sizes.base_of(named)
    rows = rows or (int(lengths["rows"]) if lengths else None)
    told = correction(known(config, base, where), base, where)
    found = corrected(peak(config, base, lengths, where), told)
    stays = on_disk(config, base)
    return {
        "machine": {
            "key": where.key, "name": where.name, "kind": where.kind, "memory": where.memory, "ram": where.ram,
            "disk": where.disk,
        },
        "micro_batch": estimate.micro_batch(config, where.kind == "cpu"),
        "peak": found.peak,
        "fits": found.peak <= where.memory,
        "terms": found.terms,
        "moment": found.moment,
        "corrected": told and {"by": round(told.by, 3), "run": told.run},
        "ram": {"peak": ram(base, where, found), "of": where.ram},
        "disk": {
            "needed": sum(stays.values()), "free": where.disk, "terms": stays,
            "fits": where.disk is None or sum(stays.values()) <= where.disk,
        },
        "seconds": duration.seconds(config, base, lengths, rows, where),
        "changes": helping(config, base, lengths, where, told) if found.peak > where.memory else [],
        "machines": [elsewhere(config, base, lengths, rows, other) for other in machines.NAMED.values()],
    }  # fmt: skip


def peak(config: TrainConfig, base: Base, lengths: Lengths | None, where: Machine, counted: bool = True) -> Forecast:
    """Peak memory of a step of the longest rows on a machine; roughly where activations are not counted on the model."""
    on_cpu, trains = where.kind == "cpu", sizes.learned(base, config)
    rows, family = estimate.micro_batch(config, on_cpu), METHODS[config.method].family
    lies, computed = (
        sizes.held(config, base.family, where.capability),
        precision.computed(where.capability, base.family, config),
    )
    keeps = adapter_kept(config, trains, estimate.BYTES[computed], on_cpu)
    step = Step(
        rows=rows,
        tokens=sizes.longest(config, base, lengths),
        computed=computed,
        held=lies,
        optimizer=config.optimizer,
        recompute=estimate.recompute(config, on_cpu),
        on_cpu=on_cpu,
        # norms in 32 bit (PEFT's preparation of quantized bases, trained weights) hand on 32-bit numbers
        stream="float32" if lies in ("8-bit", "4-bit", "32-bit") or family == "weights" else computed,
        reached=min(config.last_layers, base.shape.layers) if config.method == "last-layers" else 0,
        kept=sizes.kept(base, config.attention, family == "prompt" or bool(keeps)) if counted else None,
        adapter_kept=keeps,
        transient=3 * 4 * trains.largest if config.method == "dora" else 0,  # its matrix, the base's, and their sum
        learned=float((lengths or {}).get("learned") or 1.0),
        cast=computed != "float32",
        accumulated=config.batch_size > rows,
    )
    context = estimate.LIBRARIES if on_cpu else estimate.CONTEXT
    return estimate.forecast(base.shape, step, trains.shapes, family != "weights", context)


def adapter_kept(config: TrainConfig, trains: sizes.Learned, width: int, on_cpu: bool) -> float:
    """Bytes per token that all adapters keep: their inputs, where dropout makes a copy of each for itself (and its mask:
    numbers on a CPU, bytes on a GPU), what is between their matrices, and the outputs that IA3 and DoRA scale.

    0 where nothing is dropped: then inputs are shared with one another, as where the base itself is trained.
    """
    if config.method == "ia3":
        return trains.out * width
    if not trains.between or not config.dropout or "dropout" not in METHODS[config.method].uses:
        return 0.0
    scaled = 2 * trains.out if config.method == "dora" else 0
    return trains.into * (width + (width if on_cpu else 1)) + (trains.between + scaled) * width


def known(config: TrainConfig, base: Base, where: Machine) -> earlier.Measured | None:
    """What an earlier run's probe measured on this machine; None where there was none."""
    return earlier.measured(base.name, config.method, config.held, where.device) if where.key == machines.HERE else None


def correction(before: earlier.Measured | None, base: Base, where: Machine) -> Correction | None:
    """How far an earlier run's probe was from what is forecast for it."""
    if before is None:
        return None
    then = dataclasses.replace(before.run.config, micro_batch=before.micro_batch)
    found = peak(then, base, {"max": before.longest, "learned": before.learned}, where)
    at_run = sum(size for name, size in found.terms.items() if name in MEASURED_AT)
    if not at_run:
        return None
    by = (before.peak - (found.peak - at_run)) / at_run
    return Correction(min(max(by, CORRECTED[0]), CORRECTED[1]), before.name)


def corrected(found: Forecast, told: Correction | None) -> Forecast:
    """The same forecast with what only a run can tell scaled by what one has told."""
    if told is None:
        return found
    terms = {name: round(size * told.by) if name in MEASURED_AT else size for name, size in found.terms.items()}
    return Forecast(sum(terms.values()), terms, found.moment)


def ram(base: Base, where: Machine, found: Forecast) -> int:
    """The process's own memory: all of it on a CPU; on a GPU its libraries and the file of weights that is being read."""
    if where.kind == "cpu":
        return found.peak
    return estimate.LIBRARIES + GPU_LIBRARIES + min(SHARD, base.stored * base.shape.parameters)


def helping(
    config: TrainConfig, base: Base, lengths: Lengths | None, where: Machine, told: Correction | None
) -> list[dict[str, Any]]:
    """The changes that make a run fit: the mildest of each kind, or the smallest combinations where none does alone."""
    kinds = changes.kinds(config, lengths, where.kind == "cpu")
    for size in range(1, COMBINED + 1):
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        for change in changes.combined(kinds, size):
            needed = _changed(config, change.set, base, lengths, where, told)
            if needed is not None and needed <= where.memory:
                kind = tuple((name, value if name in KINDS else None) for name, value in change.set.items())
                found.setdefault(kind, {**change._asdict(), "peak": needed})
        if found:
            return list(found.values())[:OFFERED]
    return []


def _changed(
    config: TrainConfig, change: dict[str, Any], base: Base, lengths: Lengths | None, where: Machine,
    told: Correction | None,
) -> int | None:  # fmt: skip
    """Peak bytes with a change; None where it can't be combined with the other settings."""
    try:
        return corrected(peak(dataclasses.replace(config, **change), base, lengths, where), told).peak
    except UserError:
        return None


def on_disk(config: TrainConfig, base: Base) -> dict[str, int]:
    """Bytes that a run adds to the disk, by what they are for."""
    trains = sizes.learned(base, config)
    download = 0 if disk.is_here(base.name, base.revision) else base.stored * base.shape.parameters
    states = estimate.optimizer(config.optimizer, trains.shapes)
    return disk.terms(config, download, 4 * base.shape.parameters, 4 * trains.parameters, states)


def elsewhere(
    config: TrainConfig, base: Base, lengths: Lengths | None, rows: int | None, where: Machine
) -> dict[str, Any]:
    """The same settings on a machine of the list."""
    found, told = peak(config, base, lengths, where), duration.seconds(config, base, lengths, rows, where)
    return {
        "key": where.key, "name": where.name, "memory": where.memory, "peak": found.peak,
        "fits": found.peak <= where.memory, "seconds": told and told["total"],
    }  # fmt: skip
