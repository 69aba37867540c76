"""The Train tab's settings: which are in sight, what a method uses, what suits it and the model, what a preset fills in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from pipeline import catalogue
from pipeline.methods import METHODS
from pipeline.schema import TrainConfig, settings
from ui import access, errors, form, texts
from ui.reading import READ_AS

ON_DATA_TAB = READ_AS  # drawn where their effect is seen, in the preview
FIELDS = tuple(settings(TrainConfig))
OWN = tuple(dict.fromkeys(name for method in METHODS.values() for name in method.uses))  # of some methods only
SIZES = (
    "rank",
    "virtual_tokens",
    "last_layers",
    "new_tokens",
)  # what decides how much is trained: one of them in sight
IN_SIGHT = ("epochs", "learning_rate", "batch_size", *SIZES, "memory")
PRESET_FIELDS = ("epochs", "learning_rate", "batch_size", "rank", "alpha", "early_stopping")
FIRST_PRESET, FIRST_METHOD = "balanced", TrainConfig.method
# what a preset changes of the settings that suit the model
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"epochs": 1.0, "rank": 8, "alpha": 16},
    "balanced": {},
    "thorough": {"epochs": 6.0, "rank": 32, "alpha": 64, "early_stopping": 3},
}


def read(values: Mapping[str, Any]) -> TrainConfig:
    """The form's settings. What the method does not look at is left at its default, so that a hidden field refuses nothing.

    Raises UserError for what can't be, alone or together.
    """
    uses = METHODS[values["method"]].uses if values.get("method") in METHODS else OWN
    used = {name: value for name, value in values.items() if name not in OWN or name in uses}
    return form.read(TrainConfig, tuple(used), tuple(used.values()))


def suited_settings(model: str | None) -> dict[str, Any]:
    """The settings a model is known to learn well with, of those a preset fills in; the learning rate is LoRA's."""
    offer = catalogue.find(model or "")
    recommended = (offer and offer.recommended) or {}
    return {name: value for name, value in recommended.items() if name in PRESET_FIELDS}


def usual_rate(method: str, model: str | None) -> float:
    """The learning rate that suits a method, on this model.

    A model that wants faster steps with LoRA wants them with the others as well, as far as they touch its layers.
    """
    usual, lora = METHODS[method], METHODS[FIRST_METHOD]
    faster = suited_settings(model).get("learning_rate", lora.rate) / lora.rate
    return float(f"{usual.rate * (faster if usual.family != 'prompt' and usual.rate <= lora.rate else 1):.3g}")


def preset_values(preset: str, model: str | None, method: str = FIRST_METHOD) -> dict[str, Any]:
    """What a preset puts into its fields for this model and method."""
    usual = {name: form.default(TrainConfig, name) for name in PRESET_FIELDS}
    return {**usual, **suited_settings(model), "learning_rate": usual_rate(method, model), **PRESETS[preset]}


def known(method: str | None) -> str:
    """The method, or the first one where somebody sends what the page never offers."""
    return method if method in METHODS else FIRST_METHOD


@errors.shown
def fill(
    request: gr.Request, profile: gr.OAuthProfile | None, preset: str | None, model: str | None, method: str | None
) -> Any:
    """The preset's values for the model and method; where settings were changed by hand, they stay."""
    access.visitor(request, profile)
    if preset not in PRESETS:
        return [gr.skip()] * len(PRESET_FIELDS)
    values = preset_values(preset, model, known(method))
    return [values[name] for name in PRESET_FIELDS]


@errors.shown
def suit(request: gr.Request, profile: gr.OAuthProfile | None, model: str | None, method: str | None) -> float:
    """Another method was chosen: the learning rate that suits it."""
    access.visitor(request, profile)
    return usual_rate(known(method), model)


@errors.shown
def show_method(request: gr.Request, profile: gr.OAuthProfile | None, method: str | None) -> list[Any]:
    """What the method is, and only the settings it looks at. Updates of its sentence and of the OWN fields."""
    access.visitor(request, profile)
    uses = METHODS[known(method)].uses
    return [explained(known(method)), *(gr.update(visible=name in uses) for name in OWN)]


def explained(method: str) -> str:
    """The plain sentence of a method, and what it can't do."""
    told = METHODS[method]
    warning = texts.NEVER_MERGED.format(why=told.unmerged) if told.unmerged else ""
    return f'<p class="quiet">{" ".join(filter(None, [told.sentence, warning]))}</p>'
