"""A config file becomes a Run, or one sentence says what is wrong with it and where."""

import json
from pathlib import Path

import pytest

from pipeline import config
from pipeline.errors import UserError
from pipeline.schema import TrainConfig

GOOD = {"model": "user/model", "source": "rows.jsonl"}


def written(folder: Path, content: object) -> Path:
    file = folder / "my-run.json"
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return file


def refusal(folder: Path, content: object) -> str:
    with pytest.raises(UserError) as refused:
        config.read(written(folder, content))
    return str(refused.value)


def test_a_config_names_a_run(tmp_path):
    """Model and source are enough: the name is the file's, paths start at the config's folder, settings are defaults."""
    run = config.read(written(tmp_path, {**GOOD, "rank": 4}))
    assert (run.model, run.name, run.config) == ("user/model", "my-run", TrainConfig(rank=4))
    assert run.source.path == str(tmp_path.resolve() / "rows.jsonl")


def test_overrides_win_over_the_file(tmp_path):
    """What is said on the command line is worth more than what the file says."""
    run = config.read(written(tmp_path, {**GOOD, "rank": 4, "epochs": 2}), {"rank": 8})
    assert run.config == TrainConfig(rank=8, epochs=2.0)


def test_a_model_is_a_folder_beside_the_config_the_bundled_one_or_a_hub_id(tmp_path):
    """A folder wins over the bundled model, the bundled model over the Hub."""
    assert config.locate_model("tiny-chat", tmp_path) == str(config.BUNDLED["tiny-chat"])
    assert config.locate_model("user/model-1.5B", tmp_path) == "user/model-1.5B"
    (tmp_path / "tiny-chat").mkdir()
    assert config.locate_model("tiny-chat", tmp_path) == str(tmp_path.resolve() / "tiny-chat")


@pytest.mark.parametrize(
    "name", ["", "  ", "a b", "../nowhere", "~nobody-is-called-this/x", "x" * 5000 + "/..", "\0", "a/b/c", 5, None]
)
def test_a_model_that_can_be_none_is_refused(tmp_path, name):
    """What is neither a folder nor an id is refused with a sentence that begins with the key."""
    with pytest.raises(UserError, match=r"^model: "):
        config.locate_model(name, tmp_path)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({**GOOD, "leraning_rate": 1}, "my-run.json: unknown key 'leraning_rate'; did you mean 'learning_rate'?"),
        ({**GOOD, "config": {}}, "my-run.json: unknown key 'config'; did you mean"),
        ({"model": "user/model"}, "my-run.json: 'source' is missing"),
        ({"source": "rows.jsonl"}, "my-run.json: 'model' is missing"),
        ({**GOOD, "rank": True}, "my-run.json: config: rank: expected a whole number, found true."),
        ({**GOOD, "epochs": 10**400}, "my-run.json: config: epochs: expected a number"),
        ({**GOOD, "name": 7}, "my-run.json: name: expected a text, found 7."),
        ({**GOOD, "source": ["a"]}, "my-run.json: source: expected a JSON object, found list."),
        ({**GOOD, "source": {"path": "a", "sed": 1}}, "my-run.json: source: unknown key 'sed'; did you mean 'seed'?"),
        ({**GOOD, "source": "a\0b"}, "source: 'a\\x00b' can't be the path of a file"),
        ([], "my-run.json: expected a JSON object with model and source, found list."),
    ],
)
def test_what_is_wrong_is_named(tmp_path, content, found):
    """A mistake in the file is one sentence with the key, the value and the wish."""
    assert refusal(tmp_path, content).startswith(found)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe{\x00}\x00", b"[" * 100_000, b'{"seed": ' + b"9" * 5000 + b"}", b"{'model': 'a'}"],
    ids=["empty", "half", "utf-16", "deep", "huge number", "single quotes"],
)
def test_what_is_not_json_is_said_so(tmp_path, content):
    """No file content ends in a traceback."""
    assert "can't be read as JSON" in refusal(tmp_path, content)


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    """Some editors write one."""
    assert config.read(written(tmp_path, b"\xef\xbb\xbf" + json.dumps(GOOD).encode())).model == "user/model"


def test_a_missing_file_a_folder_and_a_loop_of_links_are_said_so(tmp_path):
    """The path of the config itself may be wrong in every way."""
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "none.json", tmp_path, tmp_path / "loop"):
        with pytest.raises(UserError, match=path.name):
            config.read(path)


def test_relative_paths_start_at_the_config_and_a_home_is_expanded(tmp_path, monkeypatch):
    """`~` is the user's folder; an absolute path stays."""
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    source = {"path": "~/a.csv", "held_out_path": "/b.csv", "validation_path": "sub/../c.csv"}
    found = config.read(written(tmp_path, {**GOOD, "source": source})).source
    assert found.path == str(tmp_path.resolve() / "me" / "a.csv")
    assert found.held_out_path == "/b.csv"
    assert found.validation_path == str(tmp_path.resolve() / "c.csv")
