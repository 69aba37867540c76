"""Values, settings and imports as Python source text, laid out as a formatter would."""

from __future__ import annotations

import enum
import importlib
import inspect
from collections.abc import Mapping
from typing import Any

LINE = 88  # characters, as formatters have it
COMMENTS = {
    "lora_alpha": "strength; divided by r",
    "bf16": "compute in 32 bit",
    "fp16": "compute in 16 bit",
    "gradient_accumulation_steps": "micro-batches in one step",
    "max_steps": "whatever the epochs say",
    "warmup_steps": "below 1: a share of the steps",
    "max_length": "the rows are cut already",
    "padding_free": "keeps packed rows apart",
    "train_sampling_strategy": "less padding",
    "activation_checkpointing": "faster, more memory",
    "neftune_noise_alpha": "noise on the embeddings while training",
    "save_strategy": "at each lowest validation loss so far",
    "trainable_token_indices": "the rows of the new tokens",
    "load_in_4bit": "QLoRA",
}
"""Where a newcomer would wonder."""


def import_line(module: str, names: set[str]) -> str:
    """Classes before functions, as ruff and isort sort them; wrapped where it is long."""
    ordered = sorted(names, key=_order)
    line = f"from {module} import {', '.join(ordered)}"
    return line if len(line) <= LINE else "\n".join([f"from {module} import (", *(f"    {n}," for n in ordered), ")"])


def _order(name: str) -> tuple[bool, str]:
    return name[0].islower(), name


class Call(dict[str, Any]):
    """Arguments that are written as a call of `name`."""

    def __init__(self, name: str, arguments: Mapping[str, Any]) -> None:
        super().__init__(arguments)
        self.name = name


def importable(kind: type) -> str:
    """The shortest module that offers a class: torch.optim for torch.optim.adamw.AdamW."""
    names = kind.__module__.split(".")
    modules = [".".join(names[: n + 1]) for n in range(len(names))]
    return next(name for name in modules if getattr(importlib.import_module(name), kind.__name__, None) is kind)


def different(made: Any, plain: Any) -> dict[str, Any]:
    """The arguments that made a settings object, where they differ from those of a plain one of its class."""
    names = [name for name, told in inspect.signature(type(made)).parameters.items() if told.kind != told.VAR_KEYWORD]
    return {name: getattr(made, name) for name in names if getattr(made, name) != getattr(plain, name)}


def written(arguments: Mapping[str, Any], indent: int) -> str:
    """Keyword arguments, one per line."""
    lines = []
    for name, value in arguments.items():
        if isinstance(value, Call):
            inner = written(value, indent + 4)
            lines.append(f"{' ' * indent}{name}={value.name}(\n{inner}{' ' * indent}),\n")
            continue
        comment = f"  # {COMMENTS[name]}" if name in COMMENTS else ""
        lines.append(f"{' ' * indent}{name}={literal(value)},{comment}\n")
    return "".join(lines)


def lines(text: str) -> str:
    """A long text as Python text, line by line."""
    pieces = [literal(line) for line in text.splitlines(keepends=True)]
    return pieces[0] if len(pieces) == 1 else "\n".join(["(", *(f"    {piece}" for piece in pieces), ")"])


def literal(value: Any) -> str:
    """A value as Python text, on one line, whatever is in it."""
    if isinstance(value, enum.Enum):
        return literal(value.value)
    if isinstance(value, str):
        quoted = repr(value + '"')[1:-2]  # a quote of each kind makes repr choose the single ones
        return '"' + quoted.replace("\\'", "'").replace('"', '\\"') + '"'
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(key)}: {literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple | set | frozenset):
        return "[" + ", ".join(map(literal, sorted(value) if isinstance(value, set | frozenset) else value)) + "]"
    return repr(value)
