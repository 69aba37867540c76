"""What earlier runs on this machine tell of the next: how long a step took, how much memory it needed. Reads run folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import events, example, fit, jobs
from pipeline.errors import UserError
from pipeline.schema import Event, Run

LOOKED_AT = 20  # runs whose files are read, the newest first


class Pace(NamedTuple):
    """How fast an earlier run of the same model and method went here. `tokens` are those of one step, if they were told."""

    run: str
    seconds: float
    batch_size: int
    tokens: float | None


class Measured(NamedTuple):
    """What the probe of an earlier run measured here: its name, what was asked, bytes, rows in memory, their tokens, and
    the share of all its tokens that is learned."""

    name: str
    run: Run
    peak: int
    micro_batch: int
    longest: int
    learned: float = 1.0


def runs(model: str, method: str) -> Iterator[tuple[str, Path, Run]]:
    """(name, folder, what was asked) of this home's newest runs of a model and a method, the newest first.

    The example that ships was trained elsewhere.
    """
    for told in [run for run in jobs.listing() if run["run"] != example.NAME][:LOOKED_AT]:
        folder = Path(told["folder"])
        try:
            asked = jobs.load(folder)
        except UserError:  # a damaged run tells nothing
            continue
        if (asked.model, asked.config.method) == (model, method):
            yield told["name"], folder, asked


def pace(model: str, method: str, device: str = "") -> Pace | None:
    """The newest run on this machine with this model and method that has told its pace.

    `device` is "cpu" or a GPU's name, as fit.json has it: a run that is known to have had another is passed over.
    """
    for name, folder, asked in runs(model, method):
        if device and (fit.read(folder) or {}).get("device", device) != device:
            continue
        told, _ = events.since(folder / "events.jsonl", 0)
        if seconds := seconds_per_step(told):
            speeds = [event.values.get("tokens_per_second") for event in told if event.kind == "loss"]
            known = [float(speed) for speed in speeds if speed]
            tokens = seconds * sum(known) / len(known) if known else None
            return Pace(name, seconds, asked.config.batch_size, tokens)
    return None


def seconds_per_step(told: Iterable[Event]) -> float | None:
    """Of a training's steps so far, looks at the validation rows and checkpoints among them; None before two were told.

    What was resumed counts by its own steps; the time in between does not, nor does a clock that was set back.
    """
    seconds, steps = 0.0, 0
    before: Event | None = None
    for event in told:
        if event.job == "train" and event.kind == "started":
            before = None
        elif event.job == "train" and event.kind == "loss" and event.step is not None:
            if before and before.step is not None and event.step > before.step and event.time > before.time:
                seconds, steps = seconds + event.time - before.time, steps + event.step - before.step
            before = event
    return seconds / steps if steps else None


def step_seconds(before: Pace, batch_size: int, row_tokens: float | None) -> float:
    """Seconds of a step with this batch, by the tokens in it where both are known, else by its rows. Pure."""
    if row_tokens and before.tokens:
        return before.seconds * batch_size * row_tokens / before.tokens
    return before.seconds * batch_size / before.batch_size


def measured(model: str, method: str, held: str, device: str) -> Measured | None:
    """The newest run of this model, method and way to hold the base whose probe measured its memory on this device.

    `device` is "cpu" or a GPU's name, as fit.json has it.
    """
    for name, folder, asked in runs(model, method):
        found: dict[str, Any] = fit.read(folder) or {}
        peak, longest = found.get("measured_bytes"), found.get("longest")
        if peak and longest and asked.config.held == held and found.get("device") == device:
            share = float(found.get("learned") or 1.0)  # a run of an older version does not tell it
            return Measured(name, asked, int(peak), int(found["micro_batch"]), int(longest), share)
    return None
