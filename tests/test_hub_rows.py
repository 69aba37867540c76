"""A dataset on the Hub is looked at without being downloaded, and fetched whole or not at all: over real HTTP."""

import bz2
import datetime
import gzip
import io
import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from huggingface_hub import constants

from pipeline import dataset, hub_dataset, hub_rows, uploads
from pipeline.errors import UserError
from pipeline.schema import Source
from tests.hub import fixture
from tests.hub.repos import Hub

hub, dataset_hub = fixture.hub, fixture.dataset_hub
ROOT = Path(__file__).parents[1]
QA = [{"question": f"Question {i}?", "answer": f"Answer {i}."} for i in range(30)]
CARD = """---
license: mit
configs:
- config_name: small
  data_files: small/*.jsonl
- config_name: large
  default: true
  data_files:
  - split: train
    path: large/train.jsonl
  - split: test
    path: large/test.jsonl
dataset_info:
- config_name: large
  splits:
  - name: train
    num_examples: 30
---
Questions and answers.
"""


def lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def parquet(rows: list[dict[str, Any]], row_group: int | None = None, schema: Any = None) -> bytes:
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema), out, row_group_size=row_group)
    return out.getvalue()


def noise(count: int, size: int = 1000) -> list[dict[str, Any]]:
    """Rows with two texts of so many letters that hardly can be packed."""
    draw = random.Random(1)
    return [{"prompt": letters(draw, size), "completion": letters(draw, size), "n": i} for i in range(count)]


def letters(draw: random.Random, size: int) -> str:
    return draw.randbytes(size // 2).hex()


def fetched(repo: str, split: str = "train", token: str | None = None, **options: Any) -> list[Any]:
    upload = hub_rows.fetch(repo, None, split, token, options.pop("emit", print), threading.Event(), **options)
    return [json.loads(line) for line in uploads.find(upload).read_bytes().split(b"\n")[:-1]]


def sentence(call: Any, *values: Any) -> str:
    with pytest.raises(UserError) as told:
        call(*values)
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.fixture
def qa(dataset_hub: Hub) -> Hub:
    """alice/qa: two configs, of which one is the usual one, with two splits."""
    files = {"small/a.jsonl": lines(QA[:5]), "large/train.jsonl": lines(QA), "large/test.jsonl": lines(QA[:3])}
    dataset_hub.dataset("alice/qa", {"README.md": CARD.encode(), **files})
    return dataset_hub


def test_what_can_be_chosen(qa):
    """Configs with their splits, the usual one first, and the commit that was looked at."""
    found = hub_rows.offer("alice/qa", None)
    assert found["configs"] == {"large": ["train", "test"], "small": ["train"]}
    assert next(iter(found["configs"])) == found["usual"] == "large"
    assert (found["repo"], found["sha"], found["gated"]) == (
        "alice/qa",
        qa.repos["datasets/alice/qa"].commits[0][0],
        False,
    )


@pytest.mark.parametrize("text", ["alice/qa", " alice/qa/ ", "qa", "{url}/datasets/alice/qa", "{host}/datasets/alice/qa/",
    "{url}/datasets/alice/qa/viewer/large/test?row=3", "{url}/datasets/qa", "{url}/datasets/qa/viewer", "datasets/alice/qa",
    "hf://datasets/alice/qa", constants.HUGGINGFACE_CO_URL_HOME + "datasets/alice/qa"])  # fmt: skip
def test_a_dataset_goes_by_its_name_or_by_its_page(qa, text):
    """With the user or, for those that once had none, without."""
    text = text.format(url=qa.url, host=qa.url.partition("://")[2])
    assert hub_rows.offer(text, None)["repo"] == "alice/qa"


@pytest.mark.parametrize("text", ["", " ", "a/b/c", "alice/my data", "../qa", "/tmp", "alice/qa\n--x", "https://example.com/datasets/a/b",
    "{url}/alice/some-model", "{url}", "a" * 200, "alice/..", "ünder/the"])  # fmt: skip
def test_anything_else_is_no_dataset(dataset_hub, text):
    """Said without asking the Hub."""
    assert "is not the " in sentence(hub_rows.offer, text.format(url=dataset_hub.url), None)
    assert not dataset_hub.log


def test_a_dataset_that_may_not_be_read(dataset_hub):
    """Private or gated: the sentence says how to get in, with a token that is not let in, too. With the right one it is read."""
    files = {"train.jsonl": lines(QA)}
    dataset_hub.dataset("alice/private", files, private=True)
    dataset_hub.dataset("alice/gated", files, gated=True).granted |= {"hf_read"}
    nothing = "There is no dataset 'alice/{}' on the Hub, or "
    for name in ("nowhere", "private"):
        assert sentence(hub_rows.offer, f"alice/{name}", None).startswith(
            nothing.format(name) + "it is private: then give"
        )
        told = sentence(hub_rows.peek, f"alice/{name}", None, None, "hf_other")
        assert told.startswith(nothing.format(name) + "this token may not see it")
    for token in (None, "hf_other"):
        told = sentence(hub_rows.offer, "alice/gated", token)
        assert told.startswith(
            f"alice/gated is gated: ask for access on its page, {dataset_hub.url}/datasets/alice/gated, then"
        )
    assert "does not accept this token" in sentence(hub_rows.offer, "alice/private", "hf_unknown")
    assert hub_rows.peek("alice/private", None, None, "hf_read")["rows"] == QA[:20]
    assert fetched("alice/gated", token="hf_read") == QA


def test_without_a_token_nobody_s_is_used(dataset_hub):
    """This machine's own is not for everybody who asks; a token that was given goes with every request, and no further."""
    dataset_hub.dataset("alice/rows", {"train.parquet": parquet(QA), "README.md": b"hello"})
    for token in ("hf_read", None):
        dataset_hub.bearers.clear()
        fetched("alice/rows", token=token)
        hub_rows.offer("alice/rows", token)
        assert set(dataset_hub.bearers) == {token or ""}
    assert os.environ["HF_TOKEN"] == "hf_write"


def test_a_token_is_told_to_nobody(dataset_hub, tmp_path, home, capfd):
    """Neither in a failure, whoever quotes it, nor in a file, nor in what is printed."""
    dataset_hub.dataset("alice/rows", {"train.jsonl": lines(QA)})
    assert "(token)" in sentence(hub_rows.peek, "alice/rows", "hf_read", None, "hf_read")
    assert "holds characters that no token has" in sentence(hub_rows.offer, "alice/rows", "hf read")
    fetched("alice/rows", token="hf_read")
    dataset_hub.fault("resolve/.*/train.jsonl", status=403, times=99, message="not with hf_read")
    sentence(hub_rows.peek, "alice/rows", None, None, "hf_read")
    found = [file.read_bytes() for folder in (tmp_path, home) for file in folder.rglob("*") if file.is_file()]
    assert found
    assert not [content for content in found if b"hf_read" in content]
    assert "hf_read" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            {"set.py": b"print('hello')", "train.jsonl": lines(QA)},
            "needs a Python script of its own, which is never run here",
        ),
        ({}, "holds no files that can be read as rows"),
        ({"README.md": b"words"}, "holds no files that can be read as rows"),
        ({"weights.bin": b"1234"}, "holds no files that can be read as rows"),
        ({"train/a.png": b"\x89PNG", "train/b.png": b"\x89PNG"}, "holds files for 'imagefolder', not rows of text"),
        ({"README.md": b"---\nconfigs: 3\n---\n", "train.csv": b"a,b\n1,2\n"}, "can't be read as rows (ValueError"),
    ],
    ids=["script", "empty", "only-a-card", "no-data", "pictures", "broken-card"],
)
def test_a_dataset_without_rows(dataset_hub, files, told):
    """It is said before anything is downloaded."""
    dataset_hub.dataset("alice/set", files)
    assert told in sentence(hub_rows.offer, "alice/set", None)


@pytest.mark.parametrize("path", ["/etc/hostname", "file:///etc/hostname", "~/rows.txt", "../other/rows.txt", "a/../../rows.txt",
    "http://127.0.0.1:1/rows.txt", "hf://datasets/alice/private/train.txt", "x::/etc/hostname", "zip://a.txt::/tmp/x.zip"])  # fmt: skip
@pytest.mark.parametrize("card", ["README.md", ".huggingface.yaml"])
def test_a_card_leads_nowhere_else(dataset_hub, path, card):
    """A file of this machine, of its network or of another dataset would be read into somebody's rows. Nothing is asked for."""
    values = json.dumps({"configs": [{"config_name": "a", "data_files": [{"split": "train", "path": [path]}]}]})
    text = f"---\n{values}\n---\n" if card == "README.md" else values
    dataset_hub.dataset("alice/set", {card: text.encode(), "train.txt": b"a\n"})
    told = sentence(hub_rows.peek, "alice/set", None, None, None)
    assert told == f"alice/set: its card names {path!r}, which is no file of this dataset; choose another one."
    assert not dataset_hub.asked("tree|train.txt")


def test_a_folder_of_the_same_name_is_not_the_dataset(qa, tmp_path, monkeypatch):
    """The library would take it."""
    (tmp_path / "alice" / "qa").mkdir(parents=True)
    (tmp_path / "alice" / "qa" / "train.jsonl").write_bytes(lines([{"question": "mine?", "answer": "mine"}]))
    monkeypatch.chdir(tmp_path)
    assert hub_rows.peek("alice/qa", None, None, None)["rows"] == QA[:20]


def test_what_is_not_offered_is_named(qa):
    """A config or split that is not there, or one that must be chosen."""
    assert (
        sentence(hub_rows.peek, "alice/qa", "huge", None, None)
        == "alice/qa has no config 'huge'; choose one of large, small."
    )
    assert (
        sentence(hub_rows.peek, "alice/qa", None, "dev", None)
        == "alice/qa has no split 'dev'; choose one of train, test."
    )
    two = CARD.partition("dataset_info")[0].replace("  default: true\n", "").encode() + b"---\n"
    qa.repos["datasets/alice/qa"].commit({**qa.files("datasets/alice/qa"), "README.md": two})
    assert (
        sentence(hub_rows.peek, "alice/qa", None, None, None)
        == "alice/qa has several configs; choose one of small, large."
    )


def test_without_a_network_it_is_said_at_once(monkeypatch, dataset_hub):
    """Nobody there, nobody answering, or the Hub switched off."""
    dataset_hub.dataset("alice/rows", {"train.jsonl": lines(QA)})
    monkeypatch.setattr(hub_dataset, "ASK_SECONDS", 0.3)
    begun = time.monotonic()
    dataset_hub.fault("GET /api/datasets/alice/rows", delay=8.0)
    assert "upload the rows as a file" in sentence(hub_rows.offer, "alice/rows", None)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "There is no connection to the Hub at http://127.0.0.1:9" in sentence(hub_rows.offer, "alice/rows", None)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "switched off here by HF_HUB_OFFLINE" in sentence(hub_rows.offer, "alice/rows", None)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("name", ["train.parquet", "train.jsonl"])
def test_a_look_downloads_nearly_nothing(dataset_hub, name):
    """The first 20 rows of 48 MB cost less than an eighth of it, although a row group is half of it."""
    rows = noise(12_000, size=2000)
    content = parquet(rows, row_group=6000) if name == "train.parquet" else lines(rows)
    assert len(content) > 48_000_000
    dataset_hub.dataset("alice/big", {name: content})
    found = hub_rows.peek("alice/big", None, None, None)
    assert found["rows"] == rows[:20]
    assert found["columns"] == ["prompt", "completion", "n"]
    assert dataset_hub.sent < len(content) / 8


def test_a_look_knows_how_many_there_are(qa):
    """Where the card says it; and it is held to the commit that was looked at."""
    found = hub_rows.peek("alice/qa", "large", "train", None, rows=2)
    assert (len(found["rows"]), found["total"]) == (2, 30)
    assert hub_rows.peek("alice/qa", "small", None, None)["total"] is None
    qa.repos["datasets/alice/qa"].commit({"train.jsonl": lines([{"question": "new?", "answer": "new"}])})
    assert fetched("alice/qa", sha=found["sha"]) == QA
    assert len(fetched("alice/qa")) == 1
    assert "has changed on the Hub" in sentence(hub_rows.peek, "alice/qa", None, None, None, 20, "0" * 40)


def test_values_stay_what_they_are(dataset_hub):
    """Numbers, lists and objects; dates become text, labels the names they stand for, and keys of other rows' objects go."""
    import datasets

    features = datasets.Features({"label": datasets.ClassLabel(names=["no", "yes"]), "mixed": datasets.Json()})
    values = {
        "n": [1, 2], "x": [0.5, None], "ok": [True, False], "on": [datetime.date(2026, 1, 2)] * 2, "tags": [["a"], []],
        "turns": [[{"role": "user", "content": "q", "name": None}], [{"role": "user", "content": "r", "name": "Al"}]],
        "at": [datetime.datetime(2026, 1, 2, 3, 4, 5)] * 2,
    }  # fmt: skip
    whole = datasets.Dataset.from_dict({"label": [1, -1], "mixed": [{"a": [1, "b"]}, 3]}, features=features)
    table = whole.data.table
    for column, cells in values.items():
        table = table.append_column(column, pyarrow.array(cells))
    out = io.BytesIO()
    features.update(datasets.Features.from_arrow_schema(table.select(list(values)).schema))
    pyarrow.parquet.write_table(table.cast(features.arrow_schema), out)
    dataset_hub.dataset("alice/values", {"train.parquet": out.getvalue()})
    first, second = fetched("alice/values")
    assert first == {
        "label": "yes", "mixed": {"a": [1, "b"]}, "n": 1, "x": 0.5, "ok": True, "on": "2026-01-02", "tags": ["a"],
        "turns": [{"role": "user", "content": "q"}], "at": "2026-01-02T03:04:05",
    }  # fmt: skip
    assert (second["label"], second["mixed"], second["x"]) == (None, 3, None)
    assert hub_rows.peek("alice/values", None, None, None)["rows"] == [first, second]


@pytest.mark.parametrize("kind", ["bytes", "image"])
def test_a_column_that_is_no_text_is_named(dataset_hub, kind):
    """Bytes, or pictures, however deep."""
    import datasets

    if kind == "bytes":
        content = parquet([{"text": "a", "deep": [{"raw": b"\x00"}]}])
    else:
        features = datasets.Features({"text": datasets.Value("string"), "deep": datasets.List(datasets.Image())})
        content = parquet(
            [{"text": "a", "deep": [{"bytes": b"x", "path": "/etc/hostname"}]}], schema=features.arrow_schema
        )
    dataset_hub.dataset("alice/media", {"train.parquet": content})
    told = sentence(hub_rows.peek, "alice/media", None, None, None)
    assert told == f"The column 'deep' holds {kind}, not text; choose a dataset of text."


ODD = [{"a": "2026-01-02 03:04:05", "b": 1}, {"a": 7, "c": {"x": None}}, {"a": ["007", None]}, {"a": "None \u2028"}]


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("train.jsonl", lines(ODD), ODD),
        ("train.json", lines(ODD), ODD),
        ("train.jsonl", b"\xef\xbb\xbf" + lines(ODD).replace(b"\n", b"\r\n\n"), ODD),
        ("train.jsonl.gz", gzip.compress(lines(ODD)), ODD),
        ("train.json", json.dumps(ODD).encode(), ODD),
        ("train.json", json.dumps(ODD, indent=1).encode(), ODD),
        ("train.json", json.dumps({"version": 1, "data": ODD}, indent=1).encode(), ODD),
        ("train.csv", b"n,answer\n7,None\n8,NA\n", [{"n": 7, "answer": "None"}, {"n": 8, "answer": "NA"}]),
        ("train.tsv", b"q\ta\n\xc3\xa9\tb, c\n", [{"q": "é", "a": "b, c"}]),
        ("train.jsonl.bz2", bz2.compress(lines(QA)), QA),
        ("train.txt", b"one\ntwo\n", [{"text": "one"}, {"text": "two"}]),
    ],
    ids=[
        "lines",
        "lines-in-json",
        "bom-and-blank-lines",
        "gzip",
        "array",
        "array-on-lines",
        "object",
        "csv",
        "tsv",
        "bzip2",
        "text",
    ],
)
def test_rows_of_every_format(dataset_hub, name, content, rows):
    """What was written is fetched: no text becomes a date or nothing, and rows may differ in their columns."""
    dataset_hub.dataset("alice/odd", {name: content})
    assert fetched("alice/odd") == rows
    assert hub_rows.peek("alice/odd", None, None, None)["rows"] == rows[:20]


def test_a_fetched_dataset_is_an_upload_like_any_other(dataset_hub):
    """All its files one after the other, under its own name; what can't be read is still there to be counted."""
    dataset_hub.dataset("alice/qa", {"train-0.jsonl": lines(QA[:20]) + b"broken\n", "train-1.jsonl": lines(QA[20:])})
    told: list[dict[str, Any]] = []
    upload = hub_rows.fetch("alice/qa", "default", "train", None, told.append, threading.Event())
    file = uploads.find(upload)
    assert file.name == "alice__qa-default-train.jsonl"
    assert told[-1] == {"rows_done": 31, "rows": None, "cut": ""}
    prepared = dataset.prepare(Source(str(file)))
    assert prepared.rows == 31
    assert [problem.rows for problem in prepared.problems if problem.kind == "unreadable-row"] == [(21,)]
    assert [folder.name for folder in file.parents[1].iterdir()] == [upload]


def test_progress_is_told_and_so_is_a_cut(dataset_hub, monkeypatch):
    """By rows or by size, whichever comes first."""
    dataset_hub.dataset("alice/big", {"train.parquet": parquet(noise(3000))})
    monkeypatch.setattr(hub_rows, "TOLD_SECONDS", 0.0)
    told: list[dict[str, Any]] = []
    assert fetched("alice/big", most=2500, emit=told.append) == noise(2500)
    assert told[-1]["cut"] == "Only the first 2,500 rows were taken; a thousand good ones can do."
    counts = [item["rows_done"] for item in told]
    assert counts == sorted(counts)
    assert len(set(counts)) > 2
    assert fetched("alice/big", most=3000, emit=told.append) == noise(3000)
    assert told[-1]["cut"] == ""
    monkeypatch.setattr(hub_rows, "MOST_BYTES", 1_000_000)
    assert 0 < len(fetched("alice/big", emit=told.append)) < 500
    assert told[-1]["cut"].endswith("rows were taken: more would make a file of over 1 MB.")


def test_a_stop_leaves_nothing(dataset_hub, home, monkeypatch):
    """In the midst of the rows, and while the Hub keeps silent."""
    monkeypatch.setattr(hub_rows, "TOLD_SECONDS", 0.0)
    dataset_hub.dataset("alice/big", {"train.parquet": parquet(noise(3000))})
    unwanted = threading.Event()
    begun = time.monotonic()
    told = sentence(
        hub_rows.fetch, "alice/big", None, None, None, lambda item: item["rows_done"] and unwanted.set(), unwanted
    )
    assert told == "Fetching alice/big was stopped; nothing of it was kept."
    dataset_hub.fault("resolve/.*/train.parquet", delay=20.0)
    threading.Timer(0.5, unwanted.set).start()
    unwanted.clear()
    assert "was stopped" in sentence(hub_rows.fetch, "alice/big", None, None, None, print, unwanted)
    assert time.monotonic() - begun < 10
    assert not list((home / "uploads").iterdir())


def test_a_silent_hub_is_not_waited_for_for_ever(dataset_hub, monkeypatch, home):
    """A sentence after a while, and nothing left."""
    monkeypatch.setattr(hub_rows, "SILENCE_SECONDS", 1.0)
    dataset_hub.dataset("alice/rows", {"train.jsonl": lines(QA)})
    dataset_hub.fault("resolve/.*/train.jsonl", delay=20.0)
    assert "The Hub sent nothing for 1 s" in sentence(fetched, "alice/rows")
    assert not list((home / "uploads").iterdir())


@pytest.mark.parametrize("name", ["train.parquet", "train.jsonl"])
def test_a_broken_connection(dataset_hub, home, name):
    """One that passes costs nothing; one that lasts is told in a sentence, and nothing half is kept."""
    dataset_hub.dataset("alice/big", {name: (parquet if name == "train.parquet" else lines)(noise(3000))})
    dataset_hub.fault("GET .*/resolve/.*/train", broken_off=1000, times=2)
    dataset_hub.fault("GET .*/resolve/.*/train", status=503, times=1)
    assert fetched("alice/big") == noise(3000)
    assert len(list((home / "uploads").iterdir())) == 1
    dataset_hub.fault("GET .*/resolve/.*/train", broken_off=1000, times=999)
    assert "The connection to the Hub broke" in sentence(fetched, "alice/big")
    assert len(list((home / "uploads").iterdir())) == 1


def test_a_file_that_is_not_whole(dataset_hub, home):
    """The failure of whatever reads it is told in a sentence."""
    dataset_hub.dataset("alice/cut", {"train.parquet": parquet(noise(3000))[:-2000]})
    dataset_hub.dataset("alice/none", {"train.jsonl": b"\n\n"})
    dataset_hub.dataset("alice/wide", {"train.json": b"[" + b" " * 300})
    dataset_hub.dataset("alice/odd", {"train.jsonl": lines(QA)})
    dataset_hub.fault("alice/odd/resolve/.*/README.md", status=500, times=99)
    assert "The connection to the Hub broke" in sentence(fetched, "alice/odd")
    for name in ("cut", "wide"):
        assert f"alice/{name} can't be read as rows (" in sentence(fetched, f"alice/{name}")
    assert sentence(fetched, "alice/none") == "alice/none holds no rows in default, train; choose another split."
    assert not list((home / "uploads").iterdir())


def test_a_file_of_ones_own(qa, tmp_path):
    """The command line's way: whole under its name or not there; a folder gets a file named after the rows."""
    assert hub_rows.fetch_to(tmp_path, "alice/qa") == tmp_path / "alice__qa-large-train.jsonl"
    assert hub_rows.fetch_to(tmp_path / "qa.jsonl", "alice/qa", "small").read_bytes() == lines(QA[:5])
    assert "can't be written" in sentence(hub_rows.fetch_to, tmp_path / "nowhere" / "qa.jsonl", "alice/qa")
    unwanted = threading.Event()
    unwanted.set()
    sentence(hub_rows.fetch_to, tmp_path / "b.jsonl", "alice/qa", None, None, None, print, unwanted)
    assert {file.name for file in tmp_path.iterdir()} >= {"alice__qa-large-train.jsonl", "qa.jsonl"}
    assert not list(tmp_path.glob("*b.jsonl*"))


ALONE = """
import json, sys
from pipeline import hub_rows
light = not {"datasets", "pyarrow", "pandas", "torch", "transformers"} & {*sys.modules}
print(json.dumps([light, len(hub_rows.peek("alice/big", None, None, None)["rows"]), "torch" in sys.modules]))
"""


def test_a_process_of_its_own_looks_and_ends(dataset_hub, tmp_path):
    """Nothing heavy before it is asked, no word on its standard error, nothing that reads on and keeps it from ending."""
    dataset_hub.dataset("alice/big", {"train.parquet": parquet(noise(12_000), row_group=6000)})
    done = subprocess.run(
        [sys.executable, "-c", ALONE], cwd=ROOT, env={**os.environ, "HF_HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert (json.loads(done.stdout), done.stderr) == ([True, 20, False], "")
    assert not list((tmp_path / "datasets").rglob("*"))
