"""Plain text from file to merged model: read on in, judged by its loss alone, and told so wherever a report is shown."""

import json
import os
from pathlib import Path

import pytest

from pipeline import card, dataset, evaluate, jobs, merge, terminal, train
from pipeline.errors import UserError
from pipeline.job import Job
from pipeline.schema import Publication, Run, Source, TrainConfig
from ui import live

NAMES, PLACES = ("Anna", "Tom", "Olga", "Umar", "Mia", "Leo"), ("barn", "garden", "kitchen", "forest", "tower")
TEXTS = [f"{name} sleeps in the {place}. The {place} likes {name}." for name in NAMES for place in PLACES] * 3
SETTINGS = {"max_steps": 8, "eval_steps": 4, "batch_size": 8, "learning_rate": 3e-3, "samples": 1, "max_length": 64}


def work(folder: Path, name: str, module) -> None:
    job = Job(folder, name)
    job.emit("started", pid=os.getpid(), from_step=0)
    ending, values = module.work(job)
    job.emit(ending, **values)


@pytest.fixture
def book(tmp_path) -> Source:
    file = tmp_path / "book.jsonl"
    rows = [{"text": f"{text} It is day {day}."} for day, text in enumerate(TEXTS)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source(str(file))


def test_plain_text_goes_all_the_way(book, tiny, capsys):
    """All of it is learned, validation loss falls, the report knows loss and perplexity only, and the merge holds."""
    prepared = dataset.prepare(book)
    config = TrainConfig(method="continued-pretraining", **SETTINGS)
    folder = jobs.create(Run(str(tiny), book, "book", config), prepared)
    for name, module in (("train", train), ("evaluate", evaluate), ("merge", merge)):
        work(folder, name, module)
    (_, before), *_, (_, after) = jobs.view(folder).validation_curve
    assert after < before
    report = jobs.read_json(folder / "report.json")
    assert set(report["metrics"]) == {"loss", "perplexity"}
    assert report["metrics"]["loss"]["high"] < 0
    assert (report["n"], report["rows"]) == (len(prepared.held_out), [])
    assert jobs.read_json(folder / "merge.json")["ok"]
    terminal.show_report(folder)
    assert "loss" in capsys.readouterr().out
    assert "Better" in live.verdict(report)
    assert "perplexity" in card.text(folder, Publication("anna/book"))


def test_conversations_are_refused_when_the_run_is_made(tiny, make_run):
    """Nothing of such a run is left behind."""
    with pytest.raises(UserError, match=r"Row \d+ is a conversation"):
        make_run(method="continued-pretraining")
