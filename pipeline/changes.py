"""What could be changed in a run that does not fit, the least harmful first. Pure; forecast.py tries them out."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pipeline import estimate
from pipeline.methods import METHODS
from pipeline.schema import TrainConfig

BITS = ("32-bit", "16-bit", "8-bit", "4-bit")
SHORTEST = 64  # tokens; rows cut shorter teach little


class Change(NamedTuple):
    """Settings and the sentence that says what they do."""

    set: dict[str, Any]
    sentence: str


def kinds(config: TrainConfig, lengths: Mapping[str, float] | None, on_cpu: bool) -> list[list[Change]]:
    """The changes that could help, one list for each thing that can be changed; in each the mildest first."""
    asked = (
        fewer_rows(config, on_cpu), recomputed(config, on_cpu), held_smaller(config, on_cpu), small_states(config),
        shorter(config, lengths), adapter_instead(config),
    )  # fmt: skip
    return [found for found in asked if found]


def combined(found: list[list[Change]], size: int) -> Iterator[Change]:
    """Every way to make `size` of the changes at once, each of another kind and of another setting."""
    for chosen in itertools.combinations(found, size):
        for changes in itertools.product(*chosen):
            names = [name for change in changes for name in change.set]
            if len(names) == len(set(names)):
                first, *rest = (change.sentence for change in changes)
                told = " and ".join([first, *(sentence[0].lower() + sentence[1:] for sentence in rest)])
                yield Change({name: value for change in changes for name, value in change.set.items()}, told)


def fewer_rows(config: TrainConfig, on_cpu: bool) -> list[Change]:
    """Fewer rows in memory at once; what a step learns from stays the same."""
    now = estimate.micro_batch(config, on_cpu)
    fewer = [n for n in range(now - 1, 0, -1) if config.batch_size % n == 0]
    return [
        Change({"micro_batch": n}, f"Hold {n} row{'s' if n > 1 else ''} in memory at once instead of {now}")
        for n in fewer
    ]


def recomputed(config: TrainConfig, on_cpu: bool) -> list[Change]:
    if estimate.recompute(config, on_cpu) or config.method == "prefix-tuning":
        return []
    return [Change({"activation_checkpointing": "on"}, "Compute activations again instead of keeping them")]


def held_smaller(config: TrainConfig, on_cpu: bool) -> list[Change]:
    """The base in fewer bits. On a CPU 16 bit is much slower than 8 or 4; a method that can't is LoRA instead."""
    method = METHODS[config.method]
    if method.family == "weights":
        return []
    now = config.held if config.held != "auto" else "32-bit" if on_cpu else "16-bit"
    wanted = [bits for bits in BITS[BITS.index(now) + 1 :] if not (on_cpu and bits == "16-bit")]
    made = []
    for bits in wanted:
        sentence = f"Hold the base in {bits.replace('-', ' ')}"
        if bits in method.memories:
            made.append(Change({"memory": bits}, sentence))
        elif bits in ("8-bit", "4-bit"):
            other = f"qlora-{bits.replace('-', '')}"
            made.append(
                Change({"method": other, "memory": "auto", "new_tokens": ""}, f"{sentence} ({METHODS[other].label})")
            )
    return made


def small_states(config: TrainConfig) -> list[Change]:
    """An optimizer that remembers less, where every weight has its states."""
    if METHODS[config.method].family != "weights" or config.optimizer != "adamw_torch":
        return []
    return [
        Change({"optimizer": "adamw_8bit"}, "Keep the optimizer's memory in 8 bit"),
        Change({"optimizer": "paged_adamw_8bit"}, "Keep the optimizer's memory in 8 bit, outside the GPU when it is full"),
    ]  # fmt: skip


def shorter(config: TrainConfig, lengths: Mapping[str, float] | None) -> list[Change]:
    """Rows cut earlier, where it is known how many would be."""
    found = []
    for key, value in sorted((lengths or {}).items(), key=lambda item: -float(item[1] or 0)):
        share = re.fullmatch(r"p(\d\d)", key)
        tokens = 8 * -(-int(value or 0) // 8)
        if share and SHORTEST <= tokens < min(
            config.max_length, float((lengths or {}).get("max") or config.max_length)
        ):
            cut = 100 - int(share[1])
            found.append(
                Change({"max_length": tokens}, f"Cut rows at {tokens} tokens ({cut} % of the rows are longer)")
            )
    return found


def adapter_instead(config: TrainConfig) -> list[Change]:
    if METHODS[config.method].family != "weights":
        return []
    asked = {"memory": "auto", "learning_rate": 0.0}
    return [
        Change({"method": "lora", **asked}, "Train an adapter (LoRA) instead of the base's own weights"),
        Change({"method": "qlora-4bit", **asked}, "Train an adapter on a base held in 4 bit (QLoRA)"),
    ]
