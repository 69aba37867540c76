"""A fresh home for every test, the bundled model, and one run that was trained once for all who look at it."""

import dataclasses
import json
import os
from pathlib import Path

import pytest

ENVIRONMENT = {
    "OMP_WAIT_POLICY": "passive",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
os.environ.update(ENVIRONMENT)
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
    """Makes small runs: make_run(rows=48, model=folder, **TrainConfig fields)."""
    return lambda rows=48, model=tiny, **settings: new_run(model, rows, **settings)


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
