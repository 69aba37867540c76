"""What the tests of faults share: a run that is waited for, killed, finished, and compared with one nobody touched."""

import contextlib
import importlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

from pipeline import checkpoints, device, events, jobs
from pipeline.job import Job

PATIENCE = 180.0


def wait_for(happened: Callable[[], bool], what: str, poll: float = 0.001) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, f"{what} did not happen in {PATIENCE:.0f} s"
        time.sleep(poll)


def kill(folder: Path) -> None:
    told = jobs.view(folder)
    with contextlib.suppress(ProcessLookupError):  # it ended by itself a moment ago
        os.kill(told.jobs[told.current].pid, signal.SIGKILL)
    wait_for(lambda: not jobs.alive(folder), "the lock's release")
    with contextlib.suppress(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def ended(folder: Path) -> str:
    wait_for(lambda: jobs.status(folder) != "running", "the end of the run", 0.05)
    return jobs.status(folder)


def finished(folder: Path) -> None:
    jobs.resume(folder)
    assert ended(folder) == "finished", jobs.log_tail(folder)


def here(folder: Path, name: str) -> None:
    """Do a job in this process, without a child: what an undisturbed one comes to."""
    events.mend(folder / "events.jsonl")
    job = Job(folder, name)
    job.emit("started", pid=os.getpid(), from_step=jobs.checkpoint_step(folder))
    ending, values = importlib.import_module(f"pipeline.{name}").work(job)
    job.emit(ending, **values)


def half_written(folder: Path) -> bool:
    return any(not checkpoints.is_whole(each) for each in checkpoints.all_of(folder))


def device_is_free() -> bool:
    deadline = time.monotonic() + 5
    with device.use("a test", lambda whom: None, lambda: time.monotonic() > deadline) as got:
        return got


def whole_events(folder: Path) -> bool:
    """Whether every line but a last one without its newline is an event."""
    lines = (folder / "events.jsonl").read_bytes().split(b"\n")[:-1]
    return all(events.parse(line) for line in lines)


def assert_same(broken: Path, unbroken: Path) -> None:
    """The same losses and the same adapter, to the last bit."""
    ours, theirs = jobs.view(broken), jobs.view(unbroken)
    assert ours.curve == theirs.curve
    assert ours.validation_curve == theirs.validation_curve
    found, expected = adapter(broken), adapter(unbroken)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def adapter(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter" / "adapter_model.safetensors")
