"""Counts outlive the process that made them, belong to their rows, template and code, and take little room."""

import json
import os
from pathlib import Path

import pytest

from pipeline import counted, counting
from tests.test_counting import loaded, make_rows

_ = loaded  # the tokenizer and the templates of the bundled model


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch):
    """Already sixty rows are worth a file; each is counted in this process."""
    monkeypatch.setattr(counting, "_known", {})
    monkeypatch.setattr(counting, "FEWEST_TO_SHARE", 50)
    monkeypatch.setattr(counting, "_can_share", lambda template: False)


@pytest.fixture
def restart(monkeypatch):
    """What a new process knows: nothing. Counting anything then is an error."""

    def forget(may_count: bool = False) -> None:
        monkeypatch.setattr(counting, "_known", {})
        if not may_count:
            monkeypatch.setattr(counting, "_tokens", lambda *given: pytest.fail("counted again"))

    return forget


def files(home: Path) -> list[Path]:
    return list((home / "cache").glob("*")) if (home / "cache").exists() else []


def test_a_restarted_app_need_not_count_again(loaded, restart, home):
    """The same counts, gates included, and nothing is made into tokens; nor are the rows thought uncounted."""
    rows = [*make_rows(60), {"row": 61, "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "a<|im_end|>b"}]}]  # fmt: skip
    before = counting.count(*loaded, rows, "answers")
    assert any(count.gates for count in before)
    assert len(files(home)) == 1
    restart()
    assert counting.count(*loaded, rows, "answers") == before
    restart()
    assert counting.known(rows, counting.identity(*loaded, "answers"))


@pytest.mark.parametrize("change", ["row", "learned", "code"])
def test_what_is_kept_belongs_to_what_it_was_made_of(loaded, restart, monkeypatch, change):
    """A changed row, another part that is learned, another version of the code: it is counted anew."""
    rows = make_rows(60)
    counting.count(*loaded, rows, "answers")
    restart(may_count=True)
    if change == "row":
        rows[7] = {**rows[7], "messages": [*rows[7]["messages"][:-1], {"role": "assistant", "content": "Other."}]}
    if change == "code":
        monkeypatch.setattr(counted, "_code", lambda: b"another version")
    assert not counting.known(rows, counting.identity(*loaded, "everything" if change == "learned" else "answers"))


@pytest.mark.parametrize("content", ["", "[", "{}", "[[1]]", '[["a",[],[]]]', "[3]"])
def test_a_damaged_file_is_counted_over(loaded, restart, home, content):
    """As if it were not there, and then it is whole again."""
    rows = make_rows(60)
    before = counting.count(*loaded, rows, "answers")
    (file,) = files(home)
    file.write_text(content)
    restart(may_count=True)
    assert counting.count(*loaded, rows, "answers") == before
    assert len(json.loads(file.read_text())) == 60


def test_only_the_newest_are_kept(monkeypatch, home):
    """One that was used lately stays, the oldest goes; nothing half written is left."""
    monkeypatch.setattr(counted, "KEPT", 3)
    counts = {b"%d" % n: (n, ((0, n),), ()) for n in range(5)}
    for n in range(3):
        counted.keep(counts, [b"%d" % n])
    for place, file in enumerate(sorted(files(home), key=lambda file: json.loads(file.read_text())[0][0])):
        os.utime(file, (1000 + place, 1000 + place))
    assert counted.recall([b"0"]) == {b"0": counts[b"0"]}
    counted.keep(counts, [b"3"])
    assert sorted(json.loads(file.read_text())[0][0] for file in files(home)) == [0, 2, 3]


def test_few_rows_leave_no_file(loaded, home):
    """They are counted in no time."""
    counting.count(*loaded, make_rows(10), "answers")
    assert not files(home)


def test_a_disk_that_refuses_costs_nothing_else(loaded, monkeypatch, home):
    """The counts are told all the same."""
    home.mkdir()
    (home / "cache").write_text("no folder")
    assert len(counting.count(*loaded, make_rows(60), "answers")) == 60
