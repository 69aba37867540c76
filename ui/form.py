"""A dataclass -> {name: component}, and back: nothing else knows how to draw settings."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import gradio as gr
from gradio.components import Component

from pipeline import catalogue
from pipeline.errors import UserError
from pipeline.methods import METHODS
from pipeline.schema import Setting, from_json, settings
from ui import texts

T = TypeVar("T")
FIRST_MODEL = "tiny-chat"


def draw(noun: type, names: Iterable[str], values: Mapping[str, Any] | None = None) -> dict[str, Component]:
    """One component per setting, in the current layout, with the dataclass's default, label and help."""
    known = settings(noun)
    return {name: component(noun, name, known[name], (values or {}).get(name, default(noun, name))) for name in names}


def models(**shape: Any) -> gr.Dropdown:
    """The models offered by name; any other Hub id or folder can be typed."""
    offered = [(f"{offer.id} · {offer.label}", offer.id) for offer in catalogue.offers()]
    return gr.Dropdown(offered, value=FIRST_MODEL, allow_custom_value=True, filterable=True, interactive=True, **shape)


def default(noun: type, name: str) -> Any:
    return next(f.default for f in dataclasses.fields(noun) if f.name == name)


def label(name: str) -> str:
    return texts.SETTING_LABELS.get(name) or name.replace("_", " ").capitalize()


def choice_label(name: str, choice: str) -> str:
    """What a choice is called: the ways to train have names of their own."""
    return METHODS[choice].label if name == "method" else choice


def component(noun: type, name: str, wish: Setting, value: Any) -> Component:
    """Bounds are not given to the component: the dataclass checks them, with a better sentence."""
    shape: dict[str, Any] = {
        "label": label(name),
        "info": wish.help,
        "value": value,
        "interactive": True,
        "elem_id": f"{noun.__name__.lower()}-{name}",
    }
    if wish.choices:
        kind = gr.Radio if len(wish.choices) <= 4 else gr.Dropdown
        return kind(choices=[(choice_label(name, choice), choice) for choice in wish.choices], **shape)
    if isinstance(value, bool):
        return gr.Checkbox(**shape)
    if isinstance(value, int | float):
        whole = isinstance(default(noun, name), int)
        return gr.Number(precision=0 if whole else None, step=1 if whole else arrow(value), **shape)
    return gr.Textbox(**shape)


def arrow(value: float) -> float:
    """What one press of a number field's arrow adds: 1, or for a small number a one in its first place."""
    return 1 if value >= 1 else 10.0 ** math.floor(math.log10(value)) if value > 0 else 0.01


def read(noun: type[T], names: Sequence[str], values: Sequence[Any], **more: Any) -> T:
    """The noun made of a form's values. Raises UserError naming the field as the page does."""
    given = {name: _typed(noun, name, value) for name, value in zip(names, values, strict=True)}
    return from_json(noun, {**given, **more}, "The form")


def _typed(noun: type, name: str, value: Any) -> Any:
    """What a component gives, as the field's type; an unvisited text arrives as None."""
    wanted = typing.get_type_hints(noun)[name]
    if value is None or value == "":
        if wanted is str or type(None) in typing.get_args(wanted):
            return default(noun, name) if value is None else (value if wanted is str else None)
        raise UserError(f"{label(name)} is empty; give a value (the usual one is {default(noun, name)}).")
    if wanted is int and isinstance(value, float) and value.is_integer():
        return int(value)
    return value
