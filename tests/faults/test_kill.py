"""Whoever is killed, the command line or a job after training: nothing half done is left, and what was begun goes on."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import jobs
from tests.faults.runs import PATIENCE, here, kill, wait_for


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
