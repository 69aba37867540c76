"""`python -m pipeline.counter`: the child for what takes long, so that looking at rows never waits for it.

It counts the tokens of every row, looks for what nobody should learn, makes run folders, and says whether one would fit.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from pipeline import child, sensitive
from pipeline.child import Emit
from pipeline.errors import UserError
from pipeline.reader import count, create, prepared
from pipeline.schema import PARTS, Model, TrainConfig, from_json, to_json


def scan(emit: Emit, unwanted: threading.Event, source: Any) -> list[dict[str, Any]]:
    """What looks like a key, a password, an e-mail or a phone number. Tells {"rows_done", "rows"} meanwhile."""

    def told(done: int, rows: int) -> None:
        if unwanted.is_set():
            raise UserError("Stopped.")
        emit({"rows_done": done, "rows": rows})

    found = prepared(source)
    rows = {row["row"]: row for part in PARTS for row in found.part(part)}
    return [to_json(problem) for problem in sensitive.scan(list(rows.values()), told)]


def parameters(emit: Emit, unwanted: threading.Event, model: Any, config: Any) -> dict[str, int]:
    """How many parameters a run would train, of how many: {"trainable", "total"}. Nothing but the base's config is read."""
    from pipeline import adapters

    named, settings = from_json(Model, model, "model"), from_json(TrainConfig, config, "config")
    trainable, total = adapters.count(named, settings)
    return {"trainable": trainable, "total": total}


def forecast(
    emit: Emit, unwanted: threading.Event, model: Any, config: Any, lengths: Any = None, machine: str = "here"
) -> dict[str, Any]:
    """Whether a run would fit on a machine, and how long it would take: the object of forecast.of.

    `lengths` {"rows", "tokens", "max", "mean", "p95"} of the train part's rows in tokens; without them the longest are
    taken for granted, and the time stays unknown.
    """
    from pipeline import forecast as forecasts

    named, settings = from_json(Model, model, "model"), from_json(TrainConfig, config, "config")
    found: dict[str, Any] = forecasts.of(settings, named, lengths, None, machine)
    return found


def script(emit: Emit, unwanted: threading.Event, folder: str, out: str) -> list[str]:
    """A run as a script of plain library calls, and its tokens, in the folder `out`; the names of what was written."""
    from pipeline import script as scripts

    written: list[str] = scripts.write(Path(folder), Path(out))
    return written


if __name__ == "__main__":
    verbs: tuple[child.Handler, ...] = (count, create, scan, parameters, forecast, script)
    child.serve({verb.__name__: verb for verb in verbs})
