"""A fresh home for every test, the bundled model, and one run that was trained once for all who look at it."""

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest

ENVIRONMENT = {
    "OMP_WAIT_POLICY": "passive",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
os.environ.update(ENVIRONMENT)
ELSEWHERE = tempfile.TemporaryDirectory(
    prefix="tuning-fork-"
)  # what a fixture of a whole module makes is not the user's
os.environ.setdefault("TUNING_FORK_HOME", f"{ELSEWHERE.name}/home")
EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs of a test live and die with it."""
    folder = tmp_path / "home"
    monkeypatch.setenv("TUNING_FORK_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def tiny() -> Path:
    """The bundled model."""
    return EXAMPLES / "tiny-chat"


def new_run(tiny: Path, rows: int, **settings):
    """A run folder over the first rows of the bundled example, ready to be trained."""
    from pipeline import dataset, jobs
    from pipeline.schema import Prepared, Run, Source, TrainConfig

    source = Source(str(EXAMPLES / "tiny-yoda.jsonl"), str(EXAMPLES / "tiny-yoda-held-out.jsonl"))
    whole = dataset.prepare(source)
    parts = {"train": whole.train[:rows], "validation": whole.validation[:8], "held_out": whole.held_out[:12]}
    prepared: Prepared = dataclasses.replace(whole, **parts)
    defaults = {"learning_rate": 3e-3, "batch_size": 8, "epochs": 2, "max_length": 128}
    return jobs.create(Run(str(tiny), source, "test", TrainConfig(**{**defaults, **settings})), prepared)


@pytest.fixture
def make_run(tiny: Path):
    """Makes small runs that nobody watches: make_run(rows=48, model=folder, **TrainConfig fields)."""
    return lambda rows=48, model=tiny, **settings: new_run(model, rows, **{"samples": 0, **settings})


@pytest.fixture(scope="session")
def trained_run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the bundled model, trained once in this process. Look, don't touch."""
    from pipeline import jobs, train
    from pipeline.job import Job

    before = os.environ.get("TUNING_FORK_HOME")
    os.environ["TUNING_FORK_HOME"] = str(tmp_path_factory.mktemp("trained"))
    try:
        folder = new_run(tiny, rows=160)
    finally:
        if before is not None:
            os.environ["TUNING_FORK_HOME"] = before
    job = Job(folder, "train")
    job.emit("started", pid=os.getpid(), from_step=0)
    ending, values = train.work(job)
    job.emit(ending, **values)
    assert json.loads((folder / "run.json").read_text())["id"] == jobs.find(str(folder)).name
    return folder


@pytest.fixture(scope="module")
def helpers():
    """The page's reader and counter, once per test file."""
    from ui import children

    for helper in (children.READER, children.COUNTER):
        helper.end()
    yield
    for helper in (children.READER, children.COUNTER):
        helper.end()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory):
    """The real app in its own process and home, once per test file: (url, home folder)."""
    home = tmp_path_factory.mktemp("served") / "home"
    with serve_app(home) as url:
        yield url, home


@contextlib.contextmanager
def serve_app(home: Path, port: int = 0, **environment: str):
    """`python app.py` on a free port until the block ends; its output is in app.log beside the home."""
    port = port or free_port()
    values = {"TUNING_FORK_HOME": str(home), "GRADIO_SERVER_PORT": str(port), **environment}
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / "app.log").open("ab") as log:
        app = subprocess.Popen(
            [sys.executable, str(EXAMPLES.parent / "app.py")], cwd=EXAMPLES.parent, env={**os.environ, **values},
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        try:
            wait_for(url, app, home.parent / "app.log")
            yield url
        finally:
            app.kill()  # the hardest way to end: what it started must end by itself, and runs must go on
            app.wait()


def wait_for(url: str, app: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert app.poll() is None, log.read_text()
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            assert answer.status == 200
            return
        time.sleep(0.1)
    raise AssertionError(f"no page at {url}: {log.read_text()}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Bytes have no name of their own: an archive holds the time of its making, its very size changes with it, and two
    workers must agree on names."""
    return "bytes" if isinstance(val, bytes) else None
