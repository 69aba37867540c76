"""What a run puts on the disk: the download of its base, its checkpoints, its adapter. Bytes; a merged model comes later."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from pipeline.methods import METHODS
from pipeline.schema import TrainConfig

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


def terms(config: TrainConfig, download: int, whole: int, trained: int, states: int) -> dict[str, int]:
    """Bytes by what they are for: `download` 0 for a base that is here, `whole` those of the model in memory, `trained` of
    what is learned, `states` of the optimizer.

    A checkpoint holds the whole model where its own weights are trained. One more than is kept lies there while the newest
    is written; transformers keeps two at least.
    """
    full = METHODS[config.method].family == "weights"
    kept = max(2, config.keep_checkpoints) + 1
    found = {
        "base download": download,
        "checkpoints": kept * ((whole if full else trained) + states),
        # PiSSA is saved as plain LoRA of twice the rank, and needs its start for that
        "adapter": trained * (3 if config.method == "pissa" else 1),
    }
    return {name: size for name, size in found.items() if size}


def is_here(name: str, revision: str | None) -> bool:
    """Whether a base's weights need no download: a folder, or in the Hub's cache."""
    if Path(name).is_dir():
        return True
    found = (try_to_load_from_cache(name, file, revision=revision) for file in WEIGHTS)
    return any(isinstance(path, str) for path in found)
