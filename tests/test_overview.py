"""What is known of a file before anybody knows what its columns mean."""

import json

import pytest

from pipeline.errors import UserError
from pipeline.overview import overview
from pipeline.schema import Source


def table(folder, *lines):
    file = folder / "t.csv"
    file.write_text("\n".join(lines) + "\n")
    return str(file)


def test_columns_nobody_knows_are_shown_with_their_first_values(tmp_path):
    """Each value once, empty ones not; no role is made up, and no row."""
    file = table(tmp_path, "a,b,c", "x,1,", "x,2,", "y,3,z", "w,4,v")
    found = overview(Source(file))
    assert found["samples"] == {"a": ["x", "y", "w"], "b": ["1", "2", "3"], "c": ["z", "v"]}
    assert (found["roles"], found["first"]) == ({}, [])


def test_roles_given_by_hand_make_rows(tmp_path):
    file = table(tmp_path, "a,b,c", "x,1,Hi", "y,2,Ho", "z,3,Hu", "w,4,He")
    found = overview(Source(file, columns={"a": "ignore", "b": "prompt", "c": "completion"}))
    assert found["roles"] == {"a": "ignore", "b": "prompt", "c": "completion"}
    assert [row["messages"][-1]["content"] for row in found["first"]] == ["Hi", "Ho", "Hu"]


def test_roles_that_make_no_sense_stand_as_they_were_given(tmp_path):
    """So that they can be corrected once more."""
    file = table(tmp_path, "a,b,c", "x,1,Hi")
    assert overview(Source(file, columns={"b": "prompt"}))["roles"] == {"b": "prompt"}


def test_values_that_are_no_text_are_shown_as_json(tmp_path):
    file = tmp_path / "t.jsonl"
    file.write_text(json.dumps({"m": [{"role": "user", "content": "ü"}], "n": None, "o": 3}) + "\n")
    assert overview(Source(str(file)))["samples"] == {"m": ['[{"role": "user", "content": "ü"}]'], "n": [], "o": ["3"]}


def test_a_file_that_can_not_be_read_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r"gone\.csv"):
        overview(Source(str(tmp_path / "gone.csv")))
