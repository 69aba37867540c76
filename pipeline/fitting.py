"""How many rows fit into memory at once: tried before a run goes on, and again with fewer where memory runs out later.

Writes fit.json. A step learns from as many rows as before: the gradients of more, smaller parts are added up.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pyarrow.compute
from transformers import TrainerCallback

from pipeline import fit, forecast, jobs, machines, probe, sizes, template
from pipeline.errors import Refused, UserError
from pipeline.job import Job
from pipeline.schema import Run

PLENTY = 8  # times what is roughly forecast: far more than it is ever wrong by


class Smaller(Exception):
    """Fewer rows fit at once than were tried: the trainer has to be made anew, with what fit.json holds."""


class Fitting(TrainerCallback):
    """Tries the longest rows as soon as model, optimizer and checkpoint are in place, unless fit.json knows this device.

    `trainer` is set once it is made; `step` is the step being made. Raises Smaller, or Refused where not even one row fits.
    """

    trainer: Any = None

    def __init__(self, job: Job, run: Run) -> None:
        self.job, self.run, self.step = job, run, 0
        self.said: Said | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **_: Any) -> None:
        rows, known = args.per_device_train_batch_size, fit.read(self.job.folder)
        if known and known.get("measured_bytes") and (known["device"], known["micro_batch"]) == (probe.device(), rows):
            return
        self.job.phase("measuring memory")
        begun = time.monotonic()
        with probe.randomness():
            found = self._search(rows, train_dataloader, known["halved"] if known else [])
        fit.write(self.job.folder, found)
        fewer = f"{_fewer(rows, found)} " if found["micro_batch"] < rows else ""
        text = f"{fewer}{_needs(found)}; trying it out took {time.monotonic() - begun:.1f} s."
        tell(self.job, found, text, bool(fewer))
        if fewer:
            raise Smaller

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.step = state.global_step + 1

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """What was forecast is noted beside what was measured: for who looks back, so it takes no time at the start."""
        found = fit.read(self.job.folder)
        if self.said and found and found["forecast_bytes"] is None:
            fit.write(self.job.folder, {**found, "forecast_bytes": self.said.peak(found["micro_batch"])})

    def _search(self, rows: int, loader: Any, before: list[dict[str, Any]]) -> dict[str, Any]:
        """fit.json of the largest micro-batch from `rows` down that fits. Raises Refused where not even one row does."""
        batch, told = self.run.config.batch_size, lengths(loader.dataset)
        self.said = said = Said(self.run, told)
        for tried in said.to_try(rows):
            smaller = [{"from": rows, "to": tried, "step": 0, "why": "probe"}] if tried < rows else []
            found = {
                "micro_batch": tried, "batch_size": batch, "device": probe.device(), "forecast_bytes": said.peak(tried) if smaller else None,  # else it is told in the end
                "measured_bytes": None, "longest": told["max"], "learned": round(told["learned"], 4),
                "seconds_per_step": None, "halved": [*before, *smaller],
            }  # fmt: skip
            fit.write(self.job.folder, found)  # who finds this process killed knows with how many rows it was
            if needed := probe.measured(self.trainer, longest(loader, tried), tried < batch):
                seconds = round(needed.seconds * batch / tried, 4)
                return {**found, "measured_bytes": needed.peak, "seconds_per_step": seconds}
        raise said.refusal(f"Not even one row of the longest ({told['max']:,} tokens) fits")


class Said:
    """What is forecast of a run on this machine: nothing where it can't be counted without loading its base. Never an error."""

    def __init__(self, run: Run, lengths: dict[str, Any]) -> None:
        self.run, self.lengths, self.where = run, lengths, machines.here()
        self.base = self.before = None
        with contextlib.suppress(UserError):
            self.base = sizes.base_of(run.named())
            self.before = forecast.known(run.config, self.base, self.where)

    def peak(self, rows: int, counted: bool = True) -> int | None:
        """Bytes with so many rows in memory at once; roughly where a layer's activations need not be counted."""
        if self.base is not None:
            with contextlib.suppress(UserError):
                config = fit.with_rows(self.run.config, rows)
                found = forecast.peak(config, self.base, self.lengths, self.where, counted)
                return forecast.corrected(found, self.correction()).peak if counted else found.peak
        return None

    def correction(self) -> forecast.Correction | None:
        return forecast.correction(self.before, self.base, self.where) if self.base else None

    def to_try(self, rows: int) -> Iterator[int]:
        """Micro-batches from `rows` down to 1.

        Linux gives memory that it does not have and kills who uses it: on a CPU those are left out that would need more
        than there is, except for a single row.
        """
        on_cpu, room = self.where.kind == "cpu", machines.available() + psutil.Process().memory_info().rss
        while rows:
            less = fit.smaller(rows, self.run.config.batch_size)
            if not (on_cpu and less and self._more_than(room, rows)):
                yield rows
            rows = less

    def _more_than(self, room: int, rows: int) -> bool:
        """Counting takes half a second, which is spent only where a rough forecast is not far below."""
        return PLENTY * (self.peak(rows, counted=False) or 0) > room and (self.peak(rows) or 0) > room

    def refusal(self, what: str) -> Refused:
        """Not even one row at a time: how much memory there is, and the changes that would help."""
        config, changes = fit.with_rows(self.run.config, 1), []
        if self.base is not None:
            with contextlib.suppress(UserError):
                changes = forecast.helping(config, self.base, self.lengths, self.where, self.correction())
        said = " Or: ".join(f"{change['sentence']}." for change in changes)
        said = said or "Choose a smaller base, memory 4-bit or a smaller max_length."
        return Refused(
            f"{what}: {machines.in_words(probe.room())} of memory are too little. Start a new run with a change: {said}"
        )


def lengths(rows: Any) -> dict[str, Any]:
    """Of the sequences a trainer holds: the longest in tokens, and the share of all tokens that is learned."""
    labels = rows.with_format("arrow")[:]["labels"]
    every = pyarrow.compute.list_flatten(labels)
    learned = pyarrow.compute.sum(pyarrow.compute.not_equal(every, template.IGNORED)).as_py()
    longest = pyarrow.compute.max(pyarrow.compute.list_value_length(labels)).as_py()
    return {"max": longest, "learned": learned / len(every)}


def longest(loader: Any, rows: int) -> Any:
    """The longest sequences as a trainer's loader hands them on."""
    ids = loader.dataset.with_format("arrow")[:]["input_ids"]
    chosen = pyarrow.compute.list_value_length(ids).to_numpy().argsort(kind="stable")[-rows:]
    return loader.collate_fn([loader.dataset[int(index)] for index in chosen])


def go_on_with_fewer(job: Job, run: Run, step: int) -> None:
    """Memory ran out in the middle of a step: half the rows from the newest whole checkpoint on. Raises Refused after 1."""
    found = fit.read(job.folder)
    less = fit.smaller(found["micro_batch"], run.config.batch_size) if found else 0
    if not found or not less:
        told = {"max": found["longest"], "learned": found.get("learned", 1.0)} if found else {}
        said = Said(run, told)
        raise said.refusal(f"Memory ran out at step {step} with one row at a time")
    job.begin()
    changed = fit.halve(job.folder, found, less, step, "step")
    tell(job, changed, f"Memory ran out at step {step}. {_fewer(found['micro_batch'], changed)}", True)


def go_on_after_kill(job: Job) -> None:
    """Tell of the fewer rows with which a run goes on that the kernel ended; its first event says so."""
    state, found = jobs.view(job.folder).jobs.get("train"), fit.read(job.folder)
    less, step = (state.values.get(name) for name in ("next_rows", "killed_step")) if state else (None, None)
    if found and found["halved"] and less == found["micro_batch"]:
        where = f"at step {step}" if step else "before its first step"
        what = f"The system ended it for lack of memory {where}"
        tell(job, found, f"{what}. {_fewer(found['halved'][-1]['from'], found)}", True)


def tell(job: Job, found: dict[str, Any], text: str, note: bool) -> None:
    """The event, and where something was changed a note, which stays."""
    job.emit("fit", text=text, **found)
    if note:
        job.emit("note", text=text)


def _needs(found: dict[str, Any]) -> str:
    what = f"At the longest rows ({found['longest']:,} tokens, {found['micro_batch']} at a time)"
    return f"{what} training needs {machines.in_words(found['measured_bytes'])} of {machines.in_words(probe.room())}"


def _fewer(rows: int, found: dict[str, Any]) -> str:
    parts = found["batch_size"] // found["micro_batch"]
    return (
        f"Instead of {rows} rows only {found['micro_batch']} at a time are held in memory, and the gradients of {parts} such "
        f"parts are added up: a step learns from {found['batch_size']} rows as before."
    )
