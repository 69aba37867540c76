"""`inspect` says how long the rows are, what a cut does to them, and what would help, with and without a sample."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from pipeline import counting, dataset, inspection, jobs, tokens
from pipeline import model as models
from pipeline.errors import UserError
from pipeline.job import Job
from pipeline.schema import Model, Run, Source, TrainConfig


@pytest.fixture
def model(tiny) -> Model:
    return Model(str(tiny))


def write(file: Path, rows: list[tuple[str, str]]) -> Source:
    file.write_text("".join(json.dumps({"prompt": q, "completion": a}) + "\n" for q, a in rows))
    return Source(str(file))


def usual(n: int = 40) -> list[tuple[str, str]]:
    return [(f"Question {i}?", f"Answer {i}.") for i in range(n)]


def problem(found: dict, kind: str) -> dict:
    return next(problem for problem in found["problems"] if problem["kind"] == kind)


def test_everything_is_there_with_a_model_and_nothing_is_guessed_without(tmp_path, model):
    """The figures of the command line's contract, and beside them statistics, badge and what would stop a run."""
    source = write(tmp_path / "rows.jsonl", usual())
    found = inspection.inspect(source, model, 64, "answers")
    assert found["lengths"] == found["statistics"]["lengths"]
    assert found["lengths"].keys() == {"p50", "p90", "p95", "p99", "max", "truncated"}
    assert found["trained_token_share"] == found["statistics"]["learned_share"]
    assert found["statistics"]["sample"] is None
    assert found["badge"]["rows"] == 40
    assert found["stops"] is None
    without = inspection.inspect(source, None, 64, "answers")
    assert (without["lengths"], without["trained_token_share"], without["statistics"]) == (None, None, None)


def test_a_broken_answer_is_told_with_row_and_place(tmp_path, model):
    """How many rows, how many of them in the middle of an answer, and of the first how much is left."""
    source = write(tmp_path / "rows.jsonl", [*usual(), ("Say it.", "word " * 60)])
    found = inspection.inspect(source, model, 40, "answers")
    told = problem(found, "cut")
    assert told["rows"] == (41,)
    (place,) = found["statistics"]["cuts"]
    assert (place["row"], place["kept"] + place["lost"]) == (41, place["tokens"] - (40 - place["kept"]) - 1)
    assert "1 row is longer than 40 tokens and loses its end" in told["sentence"]
    assert f"row 41: {place['kept']} of {place['kept'] + place['lost']} tokens are left" in told["sentence"]


def test_a_prompt_that_leaves_no_room_is_told_with_what_is_enough(tmp_path, model):
    """The longest row's length is enough, unless the model reads no more."""
    source = write(tmp_path / "rows.jsonl", [*usual(), ("word " * 60, "Yes.")])
    found = inspection.inspect(source, model, 40, "answers")
    told = problem(found, "cut-away")
    assert told["rows"] == (41,)
    assert f"a max length of {found['lengths']['max']} is enough" in told["sentence"]
    enough = inspection.inspect(source, model, found["lengths"]["max"], "answers")
    assert not {"cut", "cut-away"} & {problem["kind"] for problem in enough["problems"]}
    source = write(tmp_path / "long.jsonl", [*usual(), ("word " * 700, "Yes.")])
    told = problem(inspection.inspect(source, model, 4096, "answers"), "cut-away")
    assert "shorten them, the model reads no more" in told["sentence"]


def test_where_every_row_loses_its_answer_that_is_said(tmp_path, model):
    """Nothing would be left to train on."""
    found = inspection.inspect(write(tmp_path / "rows.jsonl", usual()), model, 8, "answers")
    assert "that is every row: nothing would be left to train on" in problem(found, "cut-away")["sentence"]
    assert found["trained_token_share"] is None


def test_the_model_s_context_is_the_longest_length(tmp_path, model):
    """The bundled model reads 512 tokens; neither the cut nor the suggestion goes beyond."""
    source = write(tmp_path / "rows.jsonl", [(f"{q} {'word ' * 300}", f"{a} {'word ' * 300}") for q, a in usual()])
    told = inspection.inspect(source, model, 4096, "answers")["statistics"]
    assert (told["max_length"], told["context"], told["suggested_max_length"]) == (512, 512, 512)
    assert told["suggested_share"] < 1


def test_a_sample_s_findings_say_that_they_are_a_sample_s(tmp_path, model, monkeypatch):
    """Rows and total in the sentence; whole again once every row was counted."""
    monkeypatch.setattr(counting, "_known", {})
    source = write(tmp_path / "rows.jsonl", [(f"{q} {'word ' * 60}", a) for q, a in usual(100)])
    found = inspection.inspect(source, model, 40, "answers", sample=30)
    assert found["statistics"]["sample"] == {"rows": 30, "of": 100}
    assert problem(found, "cut-away")["sentence"].startswith("Sample of 30 of 100 rows: 30 rows have no room")
    inspection.inspect(source, model, 40, "answers")
    found = inspection.inspect(source, model, 40, "answers", sample=30)
    assert found["statistics"]["sample"] is None
    assert problem(found, "cut-away")["sentence"].startswith("100 rows have no room")


def test_a_number_that_is_no_row_is_a_sentence(tmp_path):
    prepared = inspection.dataset.prepare(write(tmp_path / "rows.jsonl", usual()))
    with pytest.raises(UserError, match="There is no row 99"):
        inspection.find_row(prepared, 99)


def test_a_person_at_a_terminal_reads_it_all(tmp_path, capsys):
    """Bars with the line between them, figures, what is suggested; a finding with what else could be done about it."""
    from pipeline.__main__ import main

    rows = [*usual(), usual()[0], ("Say it.", "word " * 60)]
    source = write(tmp_path / "rows.jsonl", rows)
    assert main(["inspect", source.path, "--model", "tiny-chat", "--max-length", "40"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    told = " ".join(printed.out.split())
    lines = printed.out.splitlines()
    across = next(place for place, line in enumerate(lines) if "max length 40: longer rows are cut" in line)
    assert any(line.endswith(" 1") for line in lines[across:])
    assert "1 answers broken off" not in told
    assert "cut at 40 tokens: 2.4% of the rows, 1 answer broken off" in told
    assert "turns: 1 in 41 of the rows" in told
    assert re.search(r"suggested max length: \d+ holds", told)
    assert "--choices duplicate=keep: " in told


def test_a_sample_is_asked_for_by_name(tmp_path, capsys, monkeypatch):
    """The command line counts every row unless it is told not to."""
    from pipeline.__main__ import main

    monkeypatch.setattr(counting, "_known", {})
    monkeypatch.setattr(counting, "SAMPLE", 30)
    source = write(tmp_path / "rows.jsonl", usual(100))
    for flags, drawn in ((["--sample"], {"rows": 30, "of": 100}), ([], None)):
        assert main(["inspect", source.path, "--model", "tiny-chat", "--json", *flags]) == 0
        assert json.loads(capsys.readouterr().out)["statistics"]["sample"] == drawn


def test_too_long_rows_are_kept_or_dropped_as_chosen(tmp_path, model):
    """The choice with its effect, the preview of such a row, and what a run is fed: without the row, and told so."""
    source = write(tmp_path / "rows.jsonl", [*usual(), ("Say it.", "word " * 60)])
    told = problem(inspection.inspect(source, model, 40, "answers"), "cut")
    assert (tuple(told["choices"]), told["chosen"]) == (("keep", "drop"), "keep")
    assert told["effects"] == {"keep": "keeps what is left of 1 row", "drop": "drops 1 row, 40 stay"}
    assert any(inspection.preview(source, model, 41, 40, "answers")["trained"])
    dropped = dataclasses.replace(source, choices={"cut": "drop"})
    found = inspection.inspect(dropped, model, 40, "answers")
    assert (
        problem(found, "cut")["sentence"] == "1 row is longer than 40 tokens and is left out, to learn and to steer by."
    )
    assert found["trained_token_share"] < told_share(source, model)
    shown = inspection.preview(dropped, model, 41, 40, "answers")
    assert shown["dropped"]
    assert not any(shown["trained"])
    assert any(inspection.preview(dropped, model, 1, 40, "answers")["trained"])


def told_share(source: Source, model: Model) -> float:
    return inspection.inspect(source, model, 40, "answers")["trained_token_share"]


@pytest.mark.parametrize("choice", ["keep", "drop"])
def test_a_run_is_fed_as_the_choice_says(tmp_path, tiny, choice):
    """With "drop" no token of the long row is in tokens/, and the run's notes name it."""
    source = write(tmp_path / "rows.jsonl", [*usual(), ("Say it.", "word " * 60)])
    source = dataclasses.replace(source, choices={"cut": choice}, validation_share=0.0, held_out_share=0.0)
    run = Run(str(tiny), source, "cut", TrainConfig(max_length=40))
    job = Job(jobs.create(run, dataset.prepare(source)), "train")
    tokenizer, chosen = models.tokenizer_and_template(run.named())
    found = tokens.prepare(job, run, run.named(), tokenizer, chosen)
    assert (41 in found["train"]["row"]) == (choice == "keep")
    left_out = [note for note in jobs.view(job.folder).notes if "left out, they are longer" in note]
    assert len(left_out) == (choice == "drop")


@pytest.mark.parametrize(("virtual", "cut"), [(0, 512), (20, 492), (600, 0)])
def test_virtual_tokens_take_their_room(tmp_path, model, virtual, cut):
    """A row is cut where training cuts it: at what they leave of the context, which is nothing if they are more."""
    source = write(tmp_path / "rows.jsonl", [*usual(), ("Say it.", "word " * 700)])
    named = dataclasses.replace(model, virtual_tokens=virtual)
    shown = inspection.preview(source, named, 41, 10_000, "answers")
    assert shown["truncated_at"] == cut
    assert sum(shown["trained"][cut:]) == 0
    run = Run(model.base, source, "x", TrainConfig(method="prompt-tuning", virtual_tokens=max(1, virtual)))
    assert run.named().virtual_tokens == max(1, virtual)
