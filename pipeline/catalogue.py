"""The models offered by name (models.json), and what a model says of itself before it is downloaded."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.schema import from_json

FILE = Path(__file__).with_name("models.json")


@dataclass(frozen=True)
class Offer:
    """A model to choose: a Hub id, or the name of a bundled one. From its config and its list of files, 2026.

    `parameters` in billions, shared matrices once; `download` is its weights in GB, 0 for a bundled model; `context` in
    tokens; `recommended` are the TrainConfig fields that differ from their defaults with good reason.
    """

    id: str
    parameters: float
    download: float
    licence: str
    context: int
    template: bool
    gated: bool
    safetensors: bool
    run_by_us: bool
    recommended: dict[str, Any] | None = None

    @property
    def label(self) -> str:
        """One line beside the name: size, download, licence, context, and what stands in the way."""
        told = [
            f"{self.parameters:.1f}B" if self.parameters >= 1 else f"{self.parameters * 1000:.0f}M",
            f"{self.download:.1f} GB" if self.download else "no download",
            self.licence,
            f"{self.context // 1024}k context" if self.context >= 1024 else f"{self.context} tokens context",
        ]
        warnings = {
            "gated: needs access": self.gated,
            "no chat template": not self.template,
            "no weights in safetensors": not self.safetensors,
            "not run by us": not self.run_by_us,
        }
        return " · ".join([*told, *(text for text, true in warnings.items() if true)])

    @property
    def usable(self) -> bool:
        """Whether it can be trained here today, once access is given where it is gated."""
        return self.template and self.safetensors


@dataclass(frozen=True)
class ModelFacts:
    """What a model's config and tokenizer say; None where they don't. `vocabulary` counts the tokenizer's tokens."""

    model: str
    parameters: int | None
    context: int | None
    architecture: str
    dtype: str | None
    template: bool
    layers: int | None
    vocabulary: int


@cache
def offers() -> tuple[Offer, ...]:
    """In the order they are shown: the bundled one, then by family and size."""
    return tuple(from_json(Offer, values, FILE.name) for values in json.loads(FILE.read_text(encoding="utf-8")))


def find(model: str) -> Offer | None:
    return next((offer for offer in offers() if offer.id == model), None)


def nearest(model: str) -> str | None:
    """The id of the offer whose name is most like this one, with or without its owner; None when none is like it."""
    names = {name.lower(): offer.id for offer in offers() for name in (offer.id.rpartition("/")[2], offer.id)}
    wanted = [model.lower(), model.lower().rpartition("/")[2]]
    close = [name for text in wanted for name in difflib.get_close_matches(text, list(names), n=1)]
    return names[close[0]] if close else None
