"""The proof of which side is which: each side's scores in the batch that answers, against those it gives by itself.

pipeline/trust.py puts its lines into words.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch

from pipeline import model, switch, trust
from pipeline.forward import logits, peft_config
from pipeline.schema import Check
from pipeline.switch import ADAPTER, BASE

TOLERANCE_32_BIT = 1e-5
TOLERANCE_16_BIT = 1 / 20  # of the median difference between tuned and base


def proven(
    adapted: Any, probe: dict[str, torch.Tensor], bare: torch.Tensor, adapters: Sequence[str] = (ADAPTER,)
) -> tuple[str, dict[str, Check]]:
    """The mode to answer in, with its self-test: mixed where the adapters allow it and the test passes, else in turn.

    8-bit layers round by the largest inputs of the whole batch, so that the rows of one side would move the other's.
    """
    plain = switch.switchable(adapted) and all(switch.can_mix(peft_config(adapted, name)) for name in adapters)
    if plain and not getattr(adapted, "is_loaded_in_8bit", False):
        with contextlib.suppress(ValueError):  # a model whose layers see another batch than it was given
            checks = measure(adapted, probe, bare, "mixed", adapters)
            if trust.trusted(checks):
                return "mixed", checks
    return "in turn", measure(adapted, probe, bare, "in turn", adapters)


def measure(
    adapted: Any,
    probe: dict[str, torch.Tensor],
    bare: torch.Tensor,
    mode: str,
    adapters: Sequence[str] = (ADAPTER,),
) -> dict[str, Check]:
    """Like with like: the same batch with the adapter per row, off, on, and as the base gave it before there was one."""
    count, names = len(bare), (BASE, *adapters)
    every = {key: value.repeat(len(names), 1) for key, value in probe.items()}
    rows = {name: slice(place * count, (place + 1) * count) for place, name in enumerate(names)}

    def asked(batch: dict[str, torch.Tensor], **options: Any) -> torch.Tensor:
        return logits(adapted, batch, **options)[..., : bare.shape[-1]]

    apart, alone = {}, bare
    for name in names:
        with switch.only(adapted, name):
            apart[name] = asked(every)[rows[name]]
            alone = asked(probe) if name == BASE else alone
    whose = [name for name in names for _ in range(count)]
    mixed = asked(every, adapter_names=whose) if mode == "mixed" else torch.cat(list(apart.values()))
    return _checks(adapted, probe["attention_mask"].bool(), apart, {n: mixed[rows[n]] for n in names}, bare, alone)


def _checks(
    adapted: Any,
    seen: torch.Tensor,
    apart: dict[str, torch.Tensor],
    mixed: dict[str, torch.Tensor],
    bare: torch.Tensor,
    alone: torch.Tensor,
) -> dict[str, Check]:
    """Scores of each adapter by itself and in the batch that answers, as lines of the self-test."""
    half = model.compute_dtype(adapted) != torch.float32
    far = typical if half else largest
    changes = {name: (apart[name] - apart[BASE])[seen].abs() for name in apart if name != BASE}
    found, tolerances = {}, []
    for name, change in changes.items():
        tolerance = max(TOLERANCE_32_BIT, float(change.median()) * TOLERANCE_16_BIT) if half else TOLERANCE_32_BIT
        error, most, column = far(mixed[name], apart[name], seen), float(change.max()), switch.NAMES[name]
        found[f"{column}_is_{column}"] = Check(error <= tolerance, error, tolerance)
        found[f"{column}_differs"] = Check(most > TOLERANCE_32_BIT, most, TOLERANCE_32_BIT)
        tolerances.append(tolerance)
    error = max(far(mixed[BASE], apart[BASE], seen), far(alone, bare, seen))
    return {"base_is_base": Check(error <= min(tolerances), error, min(tolerances)), **found}


def largest(one: torch.Tensor, other: torch.Tensor, seen: torch.Tensor) -> float:
    """Largest absolute difference at the positions that are not padding; not a number counts as infinite."""
    difference = (one - other)[seen].abs().max()
    return float(difference) if torch.isfinite(difference) else float("inf")


def typical(one: torch.Tensor, other: torch.Tensor, seen: torch.Tensor) -> float:
    """The worst row's median absolute difference: 16-bit rounding has wide tails, another model moves the middle."""
    medians = [float((a - b)[s].abs().median()) for a, b, s in zip(one, other, seen, strict=True)]
    return max(m if m == m else float("inf") for m in medians)
