"""`python -m pipeline estimate CONFIG`: will the run fit, and how long will it take, as a table or as one JSON object."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from pipeline import config, counting, inspection, machines, options, terminal
from pipeline.schema import TrainConfig, settings
from pipeline.terminal import out

Answer = tuple[Any, int]
GB, ON_DISK = machines.GIB, 10**9


def add(verb: Callable[[str, Callable[[Any], Answer], str], ArgumentParser]) -> None:
    parser = verb("estimate", estimate_verb, "whether a run would fit on a machine, and how long it would take")
    parser.add_argument("config", type=Path)
    parser.add_argument("--machine", choices=machines.KEYS, default=machines.HERE, help="this one when left out")
    for name, wish in settings(TrainConfig).items():
        options.add_setting(parser, TrainConfig, name, wish)


def estimate_verb(asked: Any) -> Answer:
    from pipeline import forecast  # heavy: torch, transformers, peft

    overrides = {name: value for name in settings(TrainConfig) if (value := getattr(asked, name)) is not None}
    run = config.read(asked.config, overrides)
    wanted, named = run.config, run.named()
    rows = inspection.inspect(run.source, named, wanted.max_length, wanted.loss_on, counting.SAMPLE)
    found = forecast.of(wanted, named, inspection.lengths(rows), rows["train"], asked.machine)
    if not asked.json:
        show(found)
    return found, 0


def show(found: Mapping[str, Any]) -> None:
    machine, ram, disk = found["machine"], found["ram"], found["disk"]
    fits = "fits" if found["fits"] else "does not fit"
    out.print(
        f"{machine['name']}: {fits}, {found['peak'] / GB:.2f} of {machine['memory'] / GB:.2f} GB; "
        f"{found['micro_batch']} rows in memory at once",
        style="green" if found["fits"] else "red",
    )
    terms = Table("term", "GB", title="Memory of a step of the longest rows")
    terms.columns[1].justify = "right"
    for name, size in found["terms"].items():
        terms.add_row(name, f"{size / GB:.3f}")
    out.print(terms)
    if told := found["corrected"]:
        out.print(f"as the probe of {told['run']} measured it", style="dim", markup=False)
    out.print(
        f"RAM {ram['peak'] / GB:.2f} GB{_of(ram['of'])}, disk {disk['needed'] / ON_DISK:.2f} GB{_of(disk['free'], ON_DISK)}"
    )
    if seconds := found["seconds"]:
        by = f"by {seconds['run']}" if seconds["run"] else "by formula"
        out.print(f"time {terminal.duration(seconds['total'])} ({by})", markup=False)
    for change in found["changes"]:
        values = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in change["set"].items())
        out.print(f"would fit: {change['sentence']} ({values}), {change['peak'] / GB:.2f} GB", markup=False)
    others = Table("machine", "GB", "needs", "", "time", title="Elsewhere")
    for other in found["machines"]:
        time = terminal.duration(other["seconds"]) if other["seconds"] else ""
        needs, has = f"{other['peak'] / GB:.2f}", f"{other['memory'] / GB:.1f}"
        others.add_row(other["name"], has, needs, "fits" if other["fits"] else "does not fit", time)
    out.print(others)


def _of(size: int | None, unit: int = GB) -> str:
    return "" if size is None else f" of {size / unit:.2f}"
