"""The judged rows as a table: nothing is lost on the way, and no spreadsheet runs a text."""

import csv

import pyarrow.parquet
import pytest

from pipeline import exported

ANSWER = {"tokens": 3, "seconds": 0.1, "stopped": True}
ROW = {
    "row": 7,
    "messages": [{"role": "user", "content": 'Say "é", 我\nand more'}],
    "reference": "=1+1",
    "base": {**ANSWER, "text": "-2, then \ud800"},
    "tuned": {**ANSWER, "text": "plain"},
    "scores": {"chrf": [0.25, 0.75]},
}
REPORT = {"rows": [ROW, {**ROW, "row": 8}]}


def test_a_row_is_flat():
    """Number, texts, and each score as base, tuned and difference."""
    row = exported.rows(REPORT)[0]
    assert (row["row"], row["prompt"], row["tuned"], row["tuned_stopped"]) == (
        7,
        'Say "é", 我\nand more',
        "plain",
        True,
    )
    assert (row["chrf_base"], row["chrf_tuned"], row["chrf_difference"]) == (0.25, 0.75, pytest.approx(0.5))


def test_csv_opens_in_a_spreadsheet_and_runs_nothing(tmp_path):
    """UTF-8 with its mark; quotes and lines survive; what begins like a formula begins with an apostrophe."""
    file = tmp_path / "rows.csv"
    exported.write_csv(REPORT, file)
    assert file.read_bytes().startswith(b"\xef\xbb\xbf")
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["row"] for row in rows] == ["7", "8"]
    assert rows[0]["prompt"] == ROW["messages"][0]["content"]
    assert (rows[0]["reference"], rows[0]["base"]) == ("'=1+1", "'-2, then \\ud800")
    assert rows[0]["chrf_difference"] == "0.5"


@pytest.mark.parametrize("start", exported.FORMULA)
def test_no_text_is_a_formula(start):
    """Half and full width, and behind a line break."""
    row = {**ROW, "reference": f"{start}1+1"}
    assert f"'{start}1+1" in exported.csv_text({"rows": [row]})


@pytest.mark.parametrize("start", ["\n", "＝", "＋", "－", "＠"])
def test_what_spreadsheets_take_for_a_formula(start):
    assert start in exported.FORMULA


def test_parquet_holds_the_texts_as_they_are(tmp_path):
    """The same columns with their types."""
    file = tmp_path / "rows.parquet"
    exported.write_parquet(REPORT, file)
    table = pyarrow.parquet.read_table(file)
    assert table.column_names == list(exported.rows(REPORT)[0])
    assert table["reference"].to_pylist() == ["=1+1", "=1+1"]


def test_a_report_without_rows_is_an_empty_table(tmp_path):
    """Plain text has no answers to show."""
    exported.write_csv({"rows": []}, tmp_path / "rows.csv")
    exported.write_parquet({"rows": []}, tmp_path / "rows.parquet")
    assert exported.csv_text({"rows": []}).strip() == "row"
