"""Settings go out as a file and come back the same; a run gives its settings and its rows back to the form."""

import dataclasses
import json
import shutil
import zipfile
from pathlib import Path

import gradio as gr
import pytest

from pipeline import config, jobs, uploads
from pipeline.schema import Source, TrainConfig, to_json
from ui import children, reading, saved, settings, texts

FIELDS = settings.FIELDS


def skipped(update):
    return isinstance(update, dict) and set(update) == {"__type__"}


def written(folder, values):
    file = folder / "settings.json"
    file.write_text(values if isinstance(values, str) else json.dumps(values))
    return str(file)


def test_what_is_saved_is_loaded_again(tmp_path):
    """Every field, the model by its name; no preset, so that none overwrites it, and no token or path of this machine."""
    asked = {**to_json(TrainConfig(method="dora", rank=4, learning_rate=1e-3)), "template": "chatml"}
    told = json.loads(saved.save(None, None, "tiny-chat", "mine", **asked))
    assert str(config.ROOT) not in told["text"]
    model, other, preset, template, *values, emptied = saved.load(None, None, written(tmp_path, told["text"]))
    assert (model, other, preset, template, emptied) == ("tiny-chat", "tiny-chat", None, "chatml", None)
    assert dict(zip(FIELDS, values, strict=True)) == asked


def test_a_learning_rate_of_0_is_shown_as_what_is_used(tmp_path):
    """In a file 0 is what suits the method; the page shows the number."""
    _, _, _, _, *values, _ = saved.load(None, None, written(tmp_path, {"method": "full"}))
    assert dict(zip(FIELDS, values, strict=True))["learning_rate"] == 2e-5


def test_a_config_of_the_command_line_is_loaded(tmp_path):
    """Its source is left to the Data tab; a file without a model leaves the model alone."""
    example = config.ROOT / "examples" / "tiny-yoda.json"
    model, *_ = saved.load(None, None, str(example))
    assert model == "tiny-chat"
    assert skipped(saved.load(None, None, written(tmp_path, {"rank": 4}))[0])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"rnak": 4}, "unknown key 'rnak'; did you mean 'rank'"),
        ({"rank": "4"}, "rank: expected a whole number"),
        ({"method": "full", "memory": "4-bit"}, "can't be combined"),
        ("[1, 2]", "holds no settings"),
        ("{", "holds no settings"),
        ("[" * 100_000, "holds no settings"),
        ("\u0000", "holds no settings"),
        (" " * (saved.LARGEST + 1), "holds no settings"),
    ],
)
def test_a_file_that_holds_no_settings_is_a_sentence(tmp_path, content, sentence):
    """It names the file, the key, and what would be right."""
    with pytest.raises(gr.Error, match=sentence):
        saved.load(None, None, written(tmp_path, content))


def test_a_run_gives_its_settings_back(make_run):
    """Every field as that run had it, its model by name, its rows on the Data tab."""
    folder = make_run(rank=4, memory="32-bit", target_modules="q_proj", template="chatml")
    shutil.copyfile(config.ROOT / "examples" / "tiny-yoda-held-out.jsonl", folder / "x")
    model, other, preset, template, *values, choice, row, system, said = saved.reuse(None, None, folder.name)
    assert (model, other, preset, template) == ("tiny-chat", "tiny-chat", None, "chatml")
    asked = dataclasses.asdict(jobs.load(folder).config)
    assert dict(zip(FIELDS, values, strict=True)) == {name: asked[name] for name in FIELDS}
    assert (choice, row) == ({"example": "tiny-yoda"}, 0)
    assert system == ""
    assert "tiny-yoda.jsonl" in said


def test_rows_come_back_from_where_they_were(home, tmp_path):
    """An upload by its id with what was corrected; a file from elsewhere is taken in; what is gone is told."""
    file = tmp_path / "mine.jsonl"
    file.write_text('{"a": "x", "b": "y"}\n')
    upload = {"upload": uploads.keep(file), "columns": {"a": "prompt", "b": "completion"}}
    source = reading.source_of(upload, "Be kind.")
    assert saved.choice_of(source) == upload
    taken = saved.choice_of(Source(str(file)))
    assert reading.source_of(taken, None).path != str(file)
    assert saved.choice_of(Source(str(file), held_out_path=str(file))) is None
    file.unlink()
    assert saved.choice_of(Source(str(file))) is None


def test_rows_that_are_gone_leave_the_choice_alone(make_run):
    """The settings come back all the same, and the line above the form says so."""
    folder = make_run(rank=4)
    source = json.loads((folder / "source.json").read_text())
    (folder / "source.json").write_text(json.dumps({**source, "path": "/nowhere/gone.jsonl"}))
    *_, choice, _row, system, said = saved.reuse(None, None, folder.name, {"example": "tiny-yoda"})
    assert skipped(choice)
    assert skipped(system)
    assert texts.ROWS_GONE.format(file="gone.jsonl") in said
    assert texts.ROWS_UNTIL_THEN.format(file="tiny-yoda.jsonl") in said


@pytest.fixture
def counter(home):
    """The child that writes scripts, started anew: it lives in the home it was started with."""
    children.COUNTER.end()
    yield children.COUNTER
    children.COUNTER.end()


def test_a_run_is_exported_as_a_script(trained_run, home, make_run, counter):
    """With the tokens it learns from, as a zip named after it; it is Python. Before any tokens, a sentence."""
    folder = shutil.copytree(trained_run, home / "runs" / trained_run.name)
    packed = Path(saved.script(None, None, folder.name).value["path"])
    with zipfile.ZipFile(packed) as archive:
        compile(archive.read("script.py"), "script.py", "exec")
        assert any(name.startswith("tokens/train/") for name in archive.namelist())
    assert packed.name.startswith(folder.name)
    with pytest.raises(gr.Error, match="no rows as tokens yet"):
        saved.script(None, None, make_run().name)
