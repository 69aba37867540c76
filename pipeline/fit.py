"""What was found out about a run's memory: <run>/fit.json, written by its training, read by all. Standard library only.

{"micro_batch": sequences in memory at once, "batch_size", "device": "cpu" or the GPU's name, "forecast_bytes": what was said
beforehand or null, "measured_bytes": the probe's peak or null, "longest": tokens of the longest row probed,
"seconds_per_step": of the probe or null, "learned": share of the tokens that are learned,
"halved": [{"from", "to", "step", "why": "probe", "step" or "killed"}]}
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.schema import TrainConfig

NAME = "fit.json"


def read(folder: Path) -> dict[str, Any] | None:
    """What fit.json of a run holds; None where there is none, or one that can't be used."""
    try:
        found = json.loads((folder / NAME).read_text(encoding="utf-8"))
        usable = all(type(found[name]) is int and found[name] > 0 for name in ("micro_batch", "batch_size"))
        return found if usable and isinstance(found["device"], str) and all(map(_whole, found["halved"])) else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _whole(halved: Any) -> bool:
    return all(type(halved[name]) is int and halved[name] >= 0 for name in ("from", "to", "step"))


def write(folder: Path, found: dict[str, Any]) -> None:
    files.write_json(folder / NAME, found)


def applied(config: TrainConfig, folder: Path) -> TrainConfig:
    """The config with the micro-batch that was found for this run; unchanged where none was found."""
    found = read(folder)
    if found is None or config.batch_size % found["micro_batch"]:
        return config
    return with_rows(config, found["micro_batch"])


def looked(folder: Path) -> int:
    """Validation rows at once: the same in all of a run, for the loss of a look is an average over what is computed at once.

    0 where nothing was found. Where memory ran out in mid-run that is more than are learned from at once.
    """
    found = read(folder) or {"halved": [], "micro_batch": 0}
    later = [each["from"] for each in found["halved"] if each["step"] > 0]
    return int(later[0] if later else found["micro_batch"])


def halve(folder: Path, found: dict[str, Any], less: int, step: int, why: str) -> dict[str, Any]:
    """Fewer rows from now on: what fit.json then holds. What was measured was so with more."""
    halved = [*found["halved"], {"from": found["micro_batch"], "to": less, "step": step, "why": why}]
    changed = {**found, "micro_batch": less, "measured_bytes": None, "seconds_per_step": None, "halved": halved}
    write(folder, changed)
    return changed


def with_rows(config: TrainConfig, rows: int) -> TrainConfig:
    return dataclasses.replace(config, micro_batch=rows)


def smaller(rows: int, batch_size: int) -> int:
    """The next smaller micro-batch: the largest divisor of the batch of at most half the rows; 0 after 1."""
    return max((n for n in range(1, rows // 2 + 1) if batch_size % n == 0), default=0)
