"""Training the base's own weights: which of them, what adapter/ holds of them, and both sides from one model.

adapter/ holds tuned.safetensors (the trained tensors, named as in the loaded base) and tuned.json (what they belong to).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from pipeline import files, jobs
from pipeline.errors import UserError
from pipeline.schema import TrainConfig

TENSORS, FACTS = "tuned.safetensors", "tuned.json"


class Tuned:
    """A base whose trained tensors take the place of its own, and step back while it is asked for the base.

    Both sets stay in memory: what could be trained here, with gradients and the optimizer's two moments, fits twice.
    """

    def __init__(self, loaded: Any, tuned: Mapping[str, torch.Tensor]) -> None:
        self.model = loaded
        places = dict(loaded.named_parameters())
        self._own = {name: places[name].data for name in tuned}
        self._tuned = {name: tensor.to(places[name]) for name, tensor in tuned.items()}
        self._put(self._tuned)

    def _put(self, tensors: Mapping[str, torch.Tensor]) -> None:
        places = dict(self.model.named_parameters())
        for name, tensor in tensors.items():
            places[name].data = tensor

    @contextlib.contextmanager
    def disable_adapter(self) -> Iterator[None]:
        """The base, bit for bit, until the block ends."""
        self._put(self._own)
        try:
            yield
        finally:
            self._put(self._tuned)

    def merge_and_unload(self, safe_merge: bool = True) -> Any:
        """The tuned model alone; it is whole already."""
        return self.model

    def tensors(self) -> dict[str, torch.Tensor]:
        return self._tuned

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self.model(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    @property
    def generation_config(self) -> Any:
        return self.model.generation_config

    @generation_config.setter
    def generation_config(self, settings: Any) -> None:
        self.model.generation_config = settings


def unfreeze(base: Any, config: TrainConfig) -> Any:
    """The base with only the chosen weights left to train: all of them, or its last layers. Raises UserError."""
    chosen = [base] if config.method == "full" else last(base, config.last_layers)
    base.requires_grad_(False)
    for module in chosen:
        module.requires_grad_(True)
    return base


def last(base: Any, count: int) -> list[torch.nn.Module]:
    """The last layers of a decoder. Raises UserError when it has fewer."""
    total = base.config.get_text_config().num_hidden_layers
    layers = next(m for m in base.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == total)
    if count > total:
        raise UserError(f"last_layers: {count} can't be trained, the base has {total}; choose at most {total}.")
    return list(layers)[-count:]


def trained(base: Any) -> dict[str, torch.Tensor]:
    """The tensors that are trained; a matrix that two parts share is named once."""
    return {name: p.detach().cpu().contiguous() for name, p in base.named_parameters() if p.requires_grad}


def from_checkpoint(checkpoint: Path, names: list[str]) -> dict[str, torch.Tensor]:
    """These tensors of a checkpoint, which holds the whole model. Raises UserError when one is missing."""
    found: dict[str, torch.Tensor] = {}
    for file in sorted(checkpoint.glob("model*.safetensors")):
        with safe_open(file, framework="pt") as stored:
            found |= {name: stored.get_tensor(name) for name in names if name in stored.keys()}  # noqa: SIM118
    if missing := [name for name in names if name not in found]:
        raise UserError(
            f"{checkpoint.name} lacks {len(missing)} of {len(names)} trained tensors (first: {missing[0]}); "
            "use another checkpoint."
        )
    return found


def write(folder: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
    """tuned.safetensors and tuned.json; `facts` say the method and the base."""
    save_file(dict(tensors), folder / TENSORS, {"format": "pt"})
    files.write_json(folder / FACTS, {**facts, "tensors": sorted(tensors)})


def attach(base: Any, adapter: Path) -> Tuned:
    """The base with its tuned weights. Raises UserError unless every tensor that was trained is there and fits."""
    try:
        tuned = load_file(adapter / TENSORS)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{adapter} can't be read ({error}); restore it, or train again.") from error
    places = {name: parameter.shape for name, parameter in base.named_parameters()}
    wanted = set(jobs.read_json(adapter / FACTS).get("tensors", ()))
    strays = wanted ^ set(tuned) | {name for name, tensor in tuned.items() if places.get(name) != tensor.shape}
    if strays:
        raise UserError(
            f"{len(strays)} of {len(wanted | set(tuned))} tensors of {adapter.name} found no place in this base (first: "
            f"{min(strays)}); it belongs to another model."
        )
    return Tuned(base, tuned)
