"""A run trained in the test's own process, and what it told."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from pipeline import checkpoints, events, fit, train
from pipeline.job import Job
from pipeline.schema import Event


def work(folder: Path) -> str:
    """Train in this process, as the child would."""
    job = Job(folder, "train")
    job.begin()
    ending, found = train.work(job)
    job.emit(ending, **found)
    return ending


def known(folder: Path, rows: int) -> None:
    """A run that was measured before, with a batch of eight: nothing is tried."""
    found = {"micro_batch": rows, "batch_size": 8, "device": "cpu", "measured_bytes": 1, "longest": 1, "halved": []}
    fit.write(folder, found)


def told(folder: Path, kind: str) -> list[Event]:
    return [event for event in events.since(folder / "events.jsonl", 0)[0] if event.kind == kind]


def learned(folder: Path) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """What the trainer counted at every step, times aside, and the weights that came of it."""
    state = json.loads((checkpoints.newest(folder) / checkpoints.STATE).read_text())
    steps = [entry for entry in state["log_history"] if "loss" in entry]
    return steps, load_file(next((folder / "adapter").glob("*.safetensors")))
