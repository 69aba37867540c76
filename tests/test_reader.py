"""The reader answers what the command line answers, remembers what it read, and sees that a file has changed."""

import json
import threading
from dataclasses import asdict
from pathlib import Path

import pytest

from pipeline import counting, inspection, reader
from pipeline.errors import UserError
from pipeline.schema import Model, Source

ROWS = [{"prompt": f"Question {i}?", "completion": f"Answer {i}."} for i in range(1, 41)]
ASKED = {"max_length": 64, "loss_on": "answers"}


def write(file: Path, rows: list) -> dict:
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return asdict(Source(str(file)))


def ask(verb, **values):
    return verb(lambda item: None, threading.Event(), **values)


@pytest.fixture
def model(tiny) -> dict:
    return asdict(Model(str(tiny)))


def test_it_says_what_the_command_line_says(tmp_path, model):
    """`inspect` and `preview` with a model: the same object, with the row's messages and its part beside it."""
    source = write(tmp_path / "rows.jsonl", ROWS)
    asked = {"source": source, "model": model, **ASKED}
    assert ask(reader.inspect, **asked) == inspection.inspect(Source(**source), Model(**model), 64, "answers")
    shown = ask(reader.preview, number=3, **asked)
    straight = inspection.preview(Source(**source), Model(**model), 3, 64, "answers")
    assert {key: shown[key] for key in straight} == straight
    assert shown["messages"][0]["content"] == "Question 3?"
    assert shown["part"] in ("train", "validation", "held_out")


def test_without_a_model_nothing_is_tokenized(tmp_path):
    """Counts and problems are there at once; lengths are not."""
    found = ask(reader.inspect, source=write(tmp_path / "rows.jsonl", ROWS), model=None, **ASKED)
    assert (found["rows"], found["lengths"]) == (40, None)


def test_a_changed_file_is_read_again(tmp_path, model):
    """What is remembered belongs to the file as it was."""
    file = tmp_path / "rows.jsonl"
    asked = {"source": write(file, ROWS), "model": model, "number": 1, **ASKED}
    before = ask(reader.preview, **asked)
    write(file, [{"prompt": "A new question?", "completion": "Yes."}, *ROWS])
    after = ask(reader.preview, **asked)
    assert before["messages"][0]["content"] == "Question 1?"
    assert after["messages"][0]["content"] == "A new question?"


def test_other_settings_are_another_question(tmp_path, model):
    """The cut, and what is learned, are part of what is remembered."""
    source = write(tmp_path / "rows.jsonl", ROWS)
    shares = {
        ask(reader.inspect, source=source, model=model, max_length=length, loss_on=on)["trained_token_share"]
        for length, on in ((64, "answers"), (64, "everything"), (12, "answers"))
    }
    assert len(shares) == 3


def test_another_role_reads_no_file_again(tmp_path):
    """What a column is taken for, and what is done about a finding, change what is made of the rows, not the rows."""
    source = write(
        tmp_path / "rows.jsonl", [{"a": "Question", "b": f"Answer {i}", "c": f"Other {i}"} for i in range(9)]
    )
    found = ask(reader.columns, source=source)
    read, answers = reader._records.cache_info().misses, []
    for answer, other in ("bc", "cb"):
        said = {**source, "columns": {"a": "prompt", answer: "completion", other: "ignore"}}
        answers.append(ask(reader.columns, source=said)["first"][0]["messages"][-1]["content"])
        assert ask(reader.inspect, source={**said, "choices": {"duplicate": "keep"}}, model=None, **ASKED)["rows"] == 9
    assert reader._records.cache_info().misses == read
    assert answers == ["Answer 0", "Other 0"]
    assert ask(reader.columns, source=source) == found


def test_it_remembers_little(tmp_path, model):
    """However many files are looked at, a few stay in memory."""
    for place in range(6):
        source = write(tmp_path / f"{place}.jsonl", ROWS)
        ask(reader.preview, source=source, model=model, number=1, **ASKED)
    assert reader._prepared.cache_info().currsize <= 2
    assert reader._records.cache_info().currsize <= 3


def test_walking_stays_within_the_rows_that_can_be_used(tmp_path, model):
    """Next and previous skip what was left out, and go round at the ends."""
    rows = [*ROWS[:3], {"prompt": "No answer", "completion": ""}, *ROWS[4:10]]
    asked = {"source": write(tmp_path / "rows.jsonl", rows), "model": model, **ASKED}

    def walk(number, to):
        return ask(reader.walk, number=number, to=to, **asked)

    assert walk(3, "next") == 5
    assert walk(5, "previous") == 3
    assert walk(10, "next") == 1
    assert walk(1, "previous") == 10
    assert walk(1, "problem") == 4


def test_the_way_begins_at_a_row_that_is_learned_from(tmp_path, model):
    """From nowhere, the first row of the training part."""
    asked = {"source": write(tmp_path / "rows.jsonl", ROWS), "model": model, **ASKED}
    first = ask(reader.walk, number=None, to="next", **asked)
    assert ask(reader.preview, number=first, **asked)["part"] == "train"


def test_where_nothing_is_wrong_no_way_leads_to_a_problem(tmp_path, model):
    asked = {"source": write(tmp_path / "rows.jsonl", ROWS), "model": model, **ASKED}
    with pytest.raises(UserError, match="No row has a problem"):
        ask(reader.walk, number=1, to="problem", **asked)


def test_no_row_is_shown_longer_than_the_model_reads(tmp_path, model):
    """The bundled model reads 512 tokens: what is beyond is shown as cut, whatever max_length says."""
    long = [{"prompt": "Say it.", "completion": "word " * 700}, *ROWS]
    asked = {"source": write(tmp_path / "rows.jsonl", long), "model": model, "max_length": 4096, "loss_on": "answers"}
    assert ask(reader.preview, number=1, **asked)["truncated_at"] == 512


@pytest.fixture
def many(tmp_path, monkeypatch) -> dict:
    """More rows than a sample holds, one of them far longer than the others, and nothing counted yet."""
    monkeypatch.setattr(counting, "_known", {})
    monkeypatch.setattr(counting, "SAMPLE", 30)
    long = {"prompt": "Say it.", "completion": "word " * 60}
    rows = [{"prompt": f"Question {i}?", "completion": f"Answer {i}."} for i in range(1, 100)]
    reader._inspected.cache_clear()
    return write(tmp_path / "many.jsonl", [*rows, long])


def test_many_rows_are_sampled_at_once_and_counted_in_the_background(many, model):
    """The sample says so; `count` tells how far it is and gives the exact figures; the next look has them, too."""
    asked, told = {"source": many, "model": model, **ASKED}, []
    first = ask(reader.inspect, **asked)
    assert first["statistics"]["sample"] == {"rows": 30, "of": 100}
    counted = reader.count(told.append, threading.Event(), **asked)
    assert told[-1] == {"rows_done": 100, "rows": 100}
    assert (counted["statistics"]["sample"], counted["lengths"]["truncated"]) == (None, 1)
    assert ask(reader.inspect, **asked) == counted
    assert counted == inspection.inspect(Source(**many), Model(**model), 64, "answers")


def test_counting_that_is_not_wanted_any_more_goes_on_later(many, model):
    """A sentence ends it; what was counted is not counted again."""
    asked, unwanted, told = {"source": many, "model": model, **ASKED}, threading.Event(), []
    unwanted.set()
    with pytest.raises(UserError, match="of 100 rows; these are remembered"):
        reader.count(told.append, unwanted, **asked)
    assert told == []
    reader.count(told.append, threading.Event(), **asked)
    assert told[-1]["rows_done"] == 100


def test_a_run_that_is_known_to_stop_is_not_made(tmp_path, model, home):
    """Where a gate was found, `create` tells its sentence; with what mends it, the run is made."""
    source = write(tmp_path / "rows.jsonl", [*ROWS, {"prompt": "Say it.", "completion": "a<|im_end|>b"}])
    found = ask(reader.inspect, source=source, model=model, **ASKED)
    assert found["stops"].startswith("Row 41: ")
    run = {"model": model["base"], "source": source, "name": "x", "config": {}, "revision": None}
    with pytest.raises(UserError, match=r"Row 41: .*<\|im_end\|>.*a run would stop here"):
        ask(reader.create, run=run, by="owner")
    assert not (home / "runs").exists() or not list((home / "runs").iterdir())
    write(tmp_path / "rows.jsonl", ROWS)
    assert ask(reader.create, run=run, by="owner").startswith("x-")


def test_a_gate_in_a_row_that_only_judges_stops_no_training(tmp_path, model):
    """It is told among the findings."""
    source = write(tmp_path / "rows.jsonl", ROWS)
    held_out = tmp_path / "held-out.jsonl"
    write(held_out, [{"prompt": f"Another {i}?", "completion": "a<|im_end|>b"} for i in range(20)])
    found = ask(reader.inspect, source={**source, "held_out_path": str(held_out)}, model=model, **ASKED)
    assert found["stops"] is None
    assert any("<|im_end|>" in problem["sentence"] for problem in found["problems"])


def test_a_further_file_that_changed_is_read_again(tmp_path, model):
    """What is remembered belongs to every file it came from."""
    source = write(tmp_path / "rows.jsonl", ROWS)
    more = tmp_path / "more.jsonl"
    write(more, [{"prompt": "More?", "completion": "Yes."}])
    asked = {"source": {**source, "more_paths": [str(more)]}, "model": None, **ASKED}
    before = ask(reader.inspect, **asked)
    write(more, [{"prompt": "More?", "completion": "Yes."}, {"prompt": "Even more?", "completion": "No."}])
    assert ask(reader.inspect, **asked)["conversations"] == before["conversations"] + 1
