"""`python -m pipeline fetch`: rows of a dataset on the Hub become a file that every other verb reads."""

import json

import pytest

from pipeline import dataset, hub_rows
from pipeline.__main__ import main
from pipeline.schema import Source
from tests.hub import fixture
from tests.hub.repos import Hub
from tests.test_hub_rows import CARD, QA, lines, noise, parquet

hub, dataset_hub = fixture.hub, fixture.dataset_hub


@pytest.fixture
def qa(dataset_hub: Hub, tmp_path, monkeypatch) -> Hub:
    """alice/qa with two configs, asked for in an empty working folder."""
    files = {"small/a.jsonl": lines(QA[:5]), "large/train.jsonl": lines(QA), "large/test.jsonl": lines(QA[:3])}
    dataset_hub.dataset("alice/qa", {"README.md": CARD.encode(), **files})
    monkeypatch.chdir(tmp_path)
    return dataset_hub


def test_rows_become_a_file_here(qa, tmp_path, capsys):
    """Named after the dataset, its config and its split; said in one line on standard output."""
    assert main(["fetch", "alice/qa"]) == 0
    told = capsys.readouterr()
    assert told.out == "30 rows in alice__qa-large-train.jsonl\n"
    assert (tmp_path / "alice__qa-large-train.jsonl").read_bytes() == lines(QA)
    assert dataset.prepare(Source(str(tmp_path / "alice__qa-large-train.jsonl"))).rows == 30


def test_what_is_asked_for_is_fetched(qa, tmp_path, capsys):
    """A config, a split, a file of one's own; with --json one object and not a word beside it."""
    assert main(["fetch", "alice/qa", "--config", "large", "--split", "test", "--out", "mine.jsonl", "--json"]) == 0
    told = capsys.readouterr()
    assert (json.loads(told.out), told.err) == ({"file": "mine.jsonl", "rows": 3, "cut": ""}, "")
    assert (tmp_path / "mine.jsonl").read_bytes() == lines(QA[:3])


def test_rows_that_were_left_are_told(qa, capsys, monkeypatch):
    """A set of more rows than are taken: the sentence stands on standard error, and in the object."""
    qa.dataset("alice/big", {"train.parquet": parquet(noise(300))})
    monkeypatch.setattr(hub_rows, "MOST_BYTES", 100_000)
    assert main(["fetch", "alice/big", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert 0 < found["rows"] < 100
    assert found["cut"].startswith(f"Only the first {found['rows']} rows were taken")
    assert main(["fetch", "alice/big"]) == 0
    assert " ".join(capsys.readouterr().err.split()) == found["cut"]


def test_the_own_login_is_used(qa, monkeypatch):
    """It is this machine's owner who asks; a login that may not see a private set is told so."""
    qa.dataset("alice/private", {"train.jsonl": lines(QA)}, private=True)
    monkeypatch.setenv("HF_TOKEN", "hf_read")
    assert main(["fetch", "alice/private"]) == 0
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert main(["fetch", "alice/private"]) == 2


@pytest.mark.parametrize(
    "words", [["alice/none"], ["alice/qa", "--split", "dev"], ["alice/qa", "--out", "no/where.jsonl"]]
)
def test_what_can_not_be_fetched_is_one_line(qa, words, capsys, tmp_path):
    """Exit code 2, a sentence, and no file."""
    assert main(["fetch", *words]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "Traceback" not in told
    assert not [file for file in tmp_path.iterdir() if file.suffix == ".jsonl" or "qa" in file.name]
