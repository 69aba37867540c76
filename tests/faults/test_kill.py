"""Kill anything at any moment: no run is lost, and a resumed run is the unbroken one, bit for bit."""

import importlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipeline import checkpoints, jobs
from pipeline.job import Job

PATIENCE = 180.0
SETTINGS = {"epochs": 3, "save_steps": 4, "eval_steps": 6, "dropout": 0.1, "keep_checkpoints": 20}


def wait_for(happened: Callable[[], bool], what: str, poll: float = 0.001) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, f"{what} did not happen in {PATIENCE:.0f} s"
        time.sleep(poll)


def kill(folder: Path) -> None:
    told = jobs.view(folder)
    os.kill(told.jobs[told.current].pid, signal.SIGKILL)
    wait_for(lambda: not jobs.alive(folder), "the lock's release")
    os.waitpid(-1, os.WNOHANG)


def finished(folder: Path) -> None:
    jobs.resume(folder)
    wait_for(lambda: jobs.status(folder) != "running", "the end of the run", 0.05)
    assert jobs.status(folder) == "finished", jobs.log_tail(folder)


def here(folder: Path, name: str) -> None:
    """Do a job in this process, without a child: what an undisturbed one comes to."""
    job = Job(folder, name)
    job.emit("started", pid=os.getpid(), from_step=0)
    ending, values = importlib.import_module(f"pipeline.{name}").work(job)
    job.emit(ending, **values)


def half_written(folder: Path) -> bool:
    return any(c.name != "checkpoint-4" and not checkpoints.is_whole(c) for c in checkpoints.all_of(folder))


def adapter(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter" / "adapter_model.safetensors")


def without_held_out(folder: Path) -> Path:
    """Judging is not what is killed here; without held-out rows a run ends with its training."""
    (folder / "held_out.jsonl").write_text("")
    return folder


def test_killed_three_times_a_run_ends_as_if_unbroken(make_run):
    """SIGKILL while loading, between two checkpoints, and while one is written: same losses, same weights, to the bit."""
    unbroken, broken = (without_held_out(make_run(rows=64, **SETTINGS)) for _ in range(2))
    here(unbroken, "train")

    jobs.start(broken, "train")
    wait_for(lambda: "loading" in jobs.view(broken).jobs["train"].phase, "loading")
    kill(broken)
    assert jobs.status(broken) == "interrupted"

    jobs.start(broken, "train")
    wait_for(lambda: jobs.view(broken).jobs["train"].step >= 6, "step 6")
    kill(broken)
    assert jobs.status(broken) == "interrupted"
    assert jobs.checkpoint_step(broken) >= 4

    jobs.start(broken, "train")
    wait_for(lambda: half_written(broken), "a checkpoint being written", 0.0)
    kill(broken)
    last = jobs.checkpoint_step(broken)
    if not half_written(broken):  # the kill came a moment after the last byte: undo the last bytes
        newest = checkpoints.newest(broken)
        (newest / checkpoints.SEAL).unlink()
        os.truncate(newest / "trainer_state.json", 10)

    finished(broken)
    assert any("not written to its end" in note for note in jobs.view(broken).notes)
    assert last > 0
    assert jobs.view(broken).curve == jobs.view(unbroken).curve
    assert jobs.view(broken).validation_curve == jobs.view(unbroken).validation_curve
    ours, theirs = adapter(broken), adapter(unbroken)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_killed_command_line_loses_nothing(tiny, home, tmp_path):
    """The run a killed command line began goes on by itself, through its evaluation; `resume` joins it and reports."""
    examples = tiny.parent
    config = tmp_path / "config.json"
    config.write_text(
        f'{{"model": "tiny-chat", "source": {{"path": "{examples}/tiny-yoda.jsonl", "held_out_path": '
        f'"{examples}/tiny-yoda-held-out.jsonl"}}, "max_steps": 6, "batch_size": 4, "learning_rate": 0.003}}'
    )
    command = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", str(config)], stderr=subprocess.PIPE, text=True
    )
    name = command.stderr.readline().strip()
    folder = home / "runs" / name
    wait_for(lambda: bool(jobs.view(folder).curve), "the first step")
    command.kill()
    command.wait()
    assert jobs.status(folder) == "running"
    resumed = subprocess.run(
        [sys.executable, "-m", "pipeline", "resume", name, "--json"], capture_output=True, text=True, timeout=PATIENCE
    )
    assert resumed.returncode == 0, resumed.stderr
    assert '"status": "finished"' in resumed.stdout
    assert '"exact_match"' in resumed.stdout
    assert jobs.job_status(folder, "evaluate") == "finished"
    told = [step for step, _ in jobs.view(folder).curve]
    assert told == list(range(1, 7))


@pytest.mark.parametrize("job", ["evaluate", "merge"])
def test_killed_judge_or_merge_leaves_nothing_half_done(trained_run, tmp_path, job):
    """Killed at work, an evaluation leaves no report and a merge no folder that looks whole; done again, both finish."""
    folder = Path(shutil.copytree(trained_run, tmp_path / "run"))
    few = (folder / "held_out.jsonl").read_text()
    (folder / "held_out.jsonl").write_text((folder / "train.jsonl").read_text())  # enough work to be killed in
    jobs.start(folder, job)
    wait_for(lambda: jobs.view(folder).jobs[job].phase in ("answering", "merging", "checking"), "work")
    kill(folder)
    assert not (folder / "report.json").exists()
    assert not (folder / "merged").exists()
    assert jobs.status(folder) == "finished"
    assert jobs.job_status(folder, job) == "interrupted"
    (folder / "held_out.jsonl").write_text(few)
    here(folder, job)
    assert (folder / {"evaluate": "report.json", "merge": "merged/model.safetensors"}[job]).exists()
