"""Every process that is started for the app finds what two busy cores need in its environment."""

import ast
from pathlib import Path

import psutil
import pytest

from pipeline import jobs
from pipeline.child import Child

ROOT = Path(__file__).parents[1]
WITHOUT_TORCH = {"pipeline/rendering.py"}  # renders hostile templates; what it is given is its own affair


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    """As whoever starts the app without `make` has it."""
    monkeypatch.delenv("OMP_WAIT_POLICY")


def test_a_helper_and_a_job_wait_without_spinning(make_run):
    """A spinning OpenMP thread takes the core of whoever computes: a third of the speed on two busy cores."""
    helper = Child("echo", package="tests")
    try:
        assert psutil.Process(helper.ask("pid", 60)).environ()["OMP_WAIT_POLICY"] == "passive"
    finally:
        helper.end()
    folder = make_run()
    jobs.start(folder, "train")
    try:
        assert psutil.Process(jobs.view(folder).jobs["train"].pid).environ()["OMP_WAIT_POLICY"] == "passive"
    finally:
        jobs.cancel(folder)


def starts(file: Path) -> list[ast.Call]:
    """Every call that starts a process in a file."""
    calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    return [call for call in calls if ast.unparse(call.func) in ("subprocess.Popen", "subprocess.run")]


def test_every_process_gets_that_environment():
    """Whoever adds a way to start one gives it `environment()`."""
    found = {f"{folder}/{file.name}": starts(file) for folder in ("pipeline", "ui") for file in (ROOT / folder).glob("*.py")}  # fmt: skip
    given = {
        name: [ast.unparse(word.value) for call in calls for word in call.keywords if word.arg == "env"]
        for name, calls in found.items()
        if calls and name not in WITHOUT_TORCH
    }
    assert {"pipeline/jobs.py", "pipeline/child.py"} <= set(given)
    for name, words in given.items():
        assert len(words) == len(found[name]), f"{name} starts a process without env"
        assert all("environment()" in word for word in words), name
