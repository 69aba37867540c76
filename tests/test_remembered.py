"""What the base said before is found again under the same circumstances only, and a broken memory is no memory."""

import dataclasses
import threading

import pytest

from pipeline import remembered
from pipeline.generate import Answer
from pipeline.schema import Decoding

ANSWER = Answer("Half a pair \ud800, and 我.", 5, 0.5, True)


def test_what_is_written_is_read_again():
    """Every field of it, for the keys that are known; also of more keys than one query takes."""
    answers = {f"{n:064x}": dataclasses.replace(ANSWER, tokens=n) for n in range(1200)}
    remembered.write(answers)
    assert remembered.read([*answers, "unknown"]) == answers


@pytest.mark.parametrize(
    ("whose", "prompt", "decoding"),
    [
        ("another", [1, 2], Decoding()),
        ("base", [1, 3], Decoding()),
        ("base", [1, 2], Decoding(max_new_tokens=7)),
        ("base", [1, 2], Decoding(temperature=0.5)),
        ("base", [1, 2], Decoding(seed=1)),
    ],
)
def test_a_key_knows_all_that_an_answer_depends_on(whose, prompt, decoding):
    """Another base, prompt or setting is another key; the same is the same."""
    assert remembered.key(whose, prompt, decoding) != remembered.key("base", [1, 2], Decoding())
    assert remembered.key(whose, prompt, decoding) == remembered.key(whose, tuple(prompt), decoding)


@pytest.mark.parametrize("damage", ["text", "folder", "other table"])
def test_a_damaged_file_is_no_error(damage):
    """Nothing is known then, and nothing is kept."""
    file = remembered.file()
    if damage == "folder":
        file.mkdir()
    elif damage == "text":
        file.write_text("this is no database " * 500)
    else:
        remembered.write({"a": ANSWER})
        connection = remembered.sqlite3.connect(file)
        connection.executescript("drop table answers; create table answers (other)")
        connection.close()
    remembered.write({"a": ANSWER})
    assert remembered.read(["a"]) == {}


def test_the_oldest_are_forgotten(monkeypatch):
    """The file does not grow for ever."""
    monkeypatch.setattr(remembered, "MOST", 3)
    for name in "abcde":
        remembered.write({name: ANSWER})
    assert set(remembered.read(list("abcde"))) == set("cde")


def test_many_write_at_once():
    """Two jobs that finish a batch in the same moment both keep it."""
    names = [[f"{thread}-{n}" for n in range(20)] for thread in range(4)]
    threads = [threading.Thread(target=lambda own=own: [remembered.write({n: ANSWER}) for n in own]) for own in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(remembered.read([name for own in names for name in own])) == 80
