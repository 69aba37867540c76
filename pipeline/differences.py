"""Two runs beside each other: the settings that differ, both curves, both scores. No heavy import."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from pipeline.config import portable
from pipeline.curves import Point, thin
from pipeline.run_folder import load, read_json, summary, view
from pipeline.schema import to_json

POINTS = 300  # of a curve
OF_AN_ADAPTER = (
    "method", "memory", "rank", "alpha", "dropout", "target_modules", "virtual_tokens", "new_tokens", "template",
)  # fmt: skip

Difference = tuple[str, Any, Any]


def beside(one: Path, other: Path) -> dict[str, Any]:
    """{"runs": [both summaries], "differences", "curves": [{"train", "validation"}], "metrics": {name: [both scores]}}.

    Raises UserError where one of the folders is damaged.
    """
    folders = (one, other)
    scores = [_scores(folder) for folder in folders]
    return {
        "runs": [summary(folder) for folder in folders],
        "differences": differences(asked(one), asked(other)),
        "curves": [curves(folder) for folder in folders],
        "metrics": {name: [each.get(name) for each in scores] for name in dict.fromkeys([*scores[0], *scores[1]])},
    }


def asked(folder: Path) -> dict[str, Any]:
    """Everything that was asked of a run, flat, in the order of its settings; and the fingerprint of its rows.

    Of an adapter that was imported only what the adapter itself says is known.
    """
    run, made = portable(load(folder)), read_json(folder / "run.json")
    settings = to_json(run.config) | {"learning_rate": run.config.rate}
    source = {f"source: {name}": value for name, value in to_json(run.source).items()}
    if made.get("imported"):
        settings, source = {name: settings[name] for name in OF_AN_ADAPTER}, {}
    told = {f"rows: {part}": count for part, count in (made.get("counts") or {}).items()}
    fingerprint = {"fingerprint of the rows": made.get("fingerprint")}
    return {"model": run.model, "revision": run.revision, **settings, **source, **told, **fingerprint}


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[Difference]:
    """(setting, one's value, the other's) of all that both have and that are not the same, in their order. Pure."""
    return [(name, value, other[name]) for name, value in one.items() if name in other and value != other[name]]


def curves(folder: Path) -> dict[str, list[Point]]:
    """Both curves of a run's training, without what is no number, thinned to what a picture can show."""
    told = view(folder)
    finite = ([point for point in points if math.isfinite(point[1])] for points in (told.curve, told.validation_curve))
    train, validation = (thin(points, POINTS) for points in finite)
    return {"train": train, "validation": validation}


def _scores(folder: Path) -> dict[str, Any]:
    """The tuned side's scores by metric, with the base's: {name: {"base", "tuned", ...}}; none where it was not judged."""
    report = folder / "report.json"
    found: dict[str, Any] = read_json(report)["metrics"] if report.exists() else {}
    return found
