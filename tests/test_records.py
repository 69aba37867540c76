"""Reading: whatever a file is called and however it is encoded, its rows come out as they were put in."""

import contextlib
import csv
import datetime
import gzip
import io
import json
import re
import time
import zipfile
from pathlib import Path

import openpyxl
import pyarrow
import pyarrow.parquet
import pytest

from pipeline import contents, records, tables
from pipeline.errors import UserError
from pipeline.passages import LONGEST
from pipeline.records import Records, place, read_all, read_records

SHARED = Path(__file__).parents[2] / "shared" / "data"
ROWS = [{"question": "a, b", "answer": "c\nd|"}, {"question": "é", "answer": " f"}]


def file(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def read(folder: Path, name: str, content: str | bytes) -> Records:
    return read_records(file(folder, name, content))


def values(result: Records) -> list[dict[str, object]]:
    return [values for _, values in result.records]


def numbers(result: Records) -> list[int]:
    return [row for row, _ in result.records]


def kinds(result: Records) -> dict[str, list[int]]:
    return {kind: rows for (kind, _), rows in result.findings.items()}


def table(delimiter: str = ",", rows: list[dict[str, str]] = ROWS) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def workbook(*sheets: list[list[object]]) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for sheet in sheets:
        page = book.create_sheet()
        for cells in sheet:
            page.append(cells)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def parquet(rows: list[dict[str, object]]) -> bytes:
    content = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), content)
    return content.getvalue()


SHEET = [list(ROWS[0]), *(list(row.values()) for row in ROWS)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
FILES = {
    "a.csv": table().encode(),
    "a.tsv": table("\t").encode(),
    "a.json": json.dumps(ROWS, indent=1).encode(),
    "a.jsonl": LINES.encode(),
    "a.ndjson": LINES.encode(),
    "a.parquet": parquet(ROWS),
    "a.xlsx": workbook(SHEET),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("packed", [False, True])
def test_every_format(tmp_path: Path, name: str, packed: bool) -> None:
    """The same rows come out of every format, gzipped or not, with nothing to tell."""
    content = gzip.compress(FILES[name]) if packed else FILES[name]
    result = read(tmp_path, name + ".gz" * packed, content)
    assert values(result) == ROWS
    assert (result.rows, result.findings) == (2, {})
    assert result.files == ((name + ".gz" * packed, 0),)


@pytest.mark.parametrize("delimiter", list(",;\t|"))
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_delimiters_and_encodings(tmp_path: Path, delimiter: str, encoding: str) -> None:
    """Delimiters, and the encodings of Unicode with their mark or without, are seen without asking."""
    result = read(tmp_path, "a.csv", table(delimiter).encode(encoding))
    assert values(result) == ROWS
    assert not result.findings


ZH = "人工智能是什么？它是计算机科学的一个分支。"


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "Où est la bibliothèque ? L’été, “là-bas” – à côté."),
        ("cp1252", "it’s"),
        ("cp1252", "Jürgen heißt nicht Größe"),
        ("gb18030", ZH),
        ("big5", "台灣的首都在哪裡？台北市是首都。"),
        ("cp932", "日本の首都はどこですか。ありがとう。"),
        ("cp949", "수도는 어디입니까? 서울입니다."),
        ("cp1251", "Как тебя зовут? Меня зовут Иван."),
    ],
)
@pytest.mark.parametrize("times", [1, 20_000])
def test_old_encodings(tmp_path: Path, encoding: str, text: str, times: int) -> None:
    """Text from before Unicode is read by what its bytes look like, and the guess is told."""
    rows = [{"question": f"{i} {text}", "answer": "English, too"} for i in range(times // 500 + 1)]
    result = read(tmp_path, "a.csv", table(rows=rows).encode(encoding))
    assert values(result) == rows
    assert kinds(result) == {"encoding": []}


def test_a_damaged_byte_in_utf8(tmp_path: Path) -> None:
    """One broken byte does not make a UTF-8 file another encoding; it stays in its own row."""
    result = read(tmp_path, "a.csv", table(rows=ROWS * 3).encode() + b"x\xff,y\n")
    assert values(result)[:-1] == ROWS * 3
    assert values(result)[-1]["question"] == "x\udcff"
    assert not result.findings


def test_a_real_chinese_table(tmp_path: Path) -> None:
    """A table as people have it, saved by an old spreadsheet in GB18030, is the same table."""
    if not (SHARED / "zh_instructions.csv").exists():
        pytest.skip("no zh_instructions.csv beside the project")
    real = read_records(str(SHARED / "zh_instructions.csv"))
    content = (SHARED / "zh_instructions.csv").read_text("utf-8-sig").encode("gb18030")
    assert values(read(tmp_path, "a.csv", content)) == values(real)


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("a.csv", FILES["a.jsonl"], "JSON"),
        ("a.csv", FILES["a.json"], "JSON"),
        ("a.csv", FILES["a.xlsx"], "Excel"),
        ("a.xlsx", FILES["a.csv"], "CSV"),
        ("a.xlsx", FILES["a.jsonl"], "JSON"),
        ("a.xls", FILES["a.tsv"], "CSV"),
        ("a.parquet", FILES["a.json"], "JSON"),
        ("a.json", FILES["a.parquet"], "Parquet"),
        ("a.jsonl", FILES["a.csv"], "CSV"),
        ("a.json.gz", gzip.compress(FILES["a.csv"]), "CSV"),
        ("a.txt", FILES["a.jsonl"], "JSON"),
        ("a.md", FILES["a.json"], "JSON"),
        ("data", FILES["a.json"], "JSON"),
        ("data.2024", FILES["a.csv"], "CSV"),
        ("data.bin", FILES["a.parquet"], "Parquet"),
    ],
)
def test_a_name_that_lies(tmp_path: Path, name: str, content: bytes, form: str) -> None:
    """What a file holds counts, not what it is called; that it was so is told."""
    result = read(tmp_path, name, content)
    assert values(result) == ROWS
    assert [kind for kind, found in result.findings if form in found] == ["read-as"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("lines.json", FILES["a.jsonl"]),
        ("array.jsonl", FILES["a.json"]),
        ("object.jsonl", json.dumps({"v": 1, "rows": ROWS}, indent=1).encode()),
        ("a.jsonl", LINES.encode("utf-16")),
        ("A.JSONL.GZ", gzip.compress(FILES["a.jsonl"][:40]) + gzip.compress(FILES["a.jsonl"][40:])),
        ("plain.gz", FILES["a.jsonl"]),
    ],
)
def test_names_that_nearly_fit(tmp_path: Path, name: str, content: bytes) -> None:
    """JSON by line or whole, in capitals, in two gzip members, or named .gz and not packed."""
    assert values(read(tmp_path, name, content)) == ROWS


def test_damage_stays_in_its_rows(tmp_path: Path) -> None:
    """A quote that is never closed swallows no rows below it; a broken first line makes JSONL no table."""
    torn = read(tmp_path, "a.csv", 'q,a\n1,"x\n2,y\n3,z\n4,"end')
    assert (numbers(torn), kinds(torn), torn.rows) == ([2, 3], {"unreadable-row": [1, 4]}, 4)
    broken = read(tmp_path, "a.jsonl", 'oops, "a": 2}\n{"q": 1, "a": 2}\n')
    assert (broken.records, kinds(broken)) == ([(2, {"q": 1, "a": 2})], {"unreadable-row": [1]})


def zipped(**parts: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.pdf", b"%PDF-1.7 x", "is a PDF; copy its text"),
        ("a.txt", b"%PDF-1.7 x", "is a PDF"),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1xx", "old Office document"),
        ("a.xlsx", b"<html><table><tr><td>question</td></tr></table>", "is a web page"),
        ("a.csv", b"\xef\xbb\xbf\n <!DOCTYPE html>\n<p>a,b\n<p>c,d", "is a web page"),
        ("a.docx", zipped(word="x"), "is a ZIP archive and no Excel workbook"),
        ("a.xlsx", zipped(word="x")[:-9], "not a whole Excel workbook or ZIP"),
        ("a.xlsx", FILES["a.xlsx"][:-40], "not a whole Excel workbook or ZIP"),
        ("a.xlsx", zipped(**{"xl/workbook.xml": "<a"}), "not a whole Excel workbook"),
        ("a.xlsx", b"PK", "is not what its name says"),
        ("a.parquet", FILES["a.parquet"][:-9], "not a whole Parquet file"),
        ("a.parquet", b"one line of text", "is not what its name says"),
        ("a.zst", b"\x28\xb5\x2f\xfdxx", "packed; unpack it"),
        ("a.arrow", b"ARROW1\0\0xx", "save it as .parquet"),
        ("a.pkl", b"\x80\x04xx", "a Python object"),
        ("data", b"some words and no more", "can't tell its format .* give a .csv, .*, .txt or .md file"),
        ("a.csv.gz", gzip.compress(FILES["a.csv"])[:-9], "not a whole gzip file"),
        ("a.csv.gz", b"\x1f\x8bxx", "not a whole gzip file"),
        ("a.csv.gz", gzip.compress(b""), "the file is empty"),
        ("a.txt", bytes(range(128, 256)) * 9 + bytes(range(9)) * 99, "holds neither text nor"),
        ("a.txt", b"\xff\xfea", "not whole UTF-16-LE text"),
        ("a.txt", b"\0 \n\0\n", "the file is empty"),
        ("a.xlsx", workbook([]), "holds no rows"),
        ("a.xlsx", workbook([["question", "answer"]]), "holds no rows"),
        ("a.xlsx", workbook([["a", "a"], ["b", "c"]]), "two columns are called 'a'"),
        ("a.csv", b"," * 20_000, "more than 10,000 columns"),
        ("a.json", b"[" + b"9" * 5000 + b"]", "a number too long to read"),
    ],
)
def test_what_is_refused(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    """What can't be read ends in one sentence that names the file, what it is and what to do."""
    with pytest.raises(UserError, match=words) as caught:
        read(tmp_path, name, content)
    assert str(caught.value).startswith(f"{name}: ")
    assert "\n" not in str(caught.value)


def test_large_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, what it unpacks to, its rows and its values have limits, and each is told."""
    for module in (contents, tables):
        monkeypatch.setattr(module, "MOST_BYTES", 1_000_000)
    monkeypatch.setattr(records, "MOST_ROWS", 1000)
    monkeypatch.setattr(contents, "MOST_VALUES", 100_000)
    sheet = workbook([["text"], ["x" * 30_000]])
    large = [[f"{i}" * 3000] for i in range(400)]
    for name, content, words in [
        ("a.txt", b"x" * 1_000_001, "larger than 1 MB"),
        ("a.txt.gz", gzip.compress(bytes(10_000_000)), "unpacks to more than 1 MB"),
        ("a.xlsx", workbook([["text"], *large]), "unpacks to more than 1 MB"),
        ("a.parquet", parquet([{"text": f"{i % 5}" * 9000} for i in range(200)]), "unpacks to more than 1 MB"),
        ("a.jsonl", b"{}\n" * 1001, "more than 1,000 rows"),
        ("a.csv", b"a\n" + b"x\n" * 1001, "more than 1,000 rows"),
        ("a.json", b"[" + b"1," * 100_000 + b"1]", "more than 100,000 values"),
        ("a.csv", b"\n" * 100_001 + b"a", "more than 100,000 values"),
    ]:
        with pytest.raises(UserError, match=words):
            read(tmp_path, name, content)
    assert read(tmp_path, "b.xlsx", sheet).rows == 1


def test_excel_cells(tmp_path: Path) -> None:
    """Dates are ISO text, numbers stay numbers, spaces around a header go, rows are numbered as the sheet does."""
    day, moment = datetime.datetime(2024, 2, 29), datetime.datetime(2024, 2, 29, 8, 30)
    sheet = [
        [],
        [" question ", "answer", "n"],
        ["day", day, 1],
        [],
        ["moment", moment, 2.5],
        ["time", day.time(), True],
    ]
    result = read(tmp_path, "a.xlsx", workbook(sheet))
    assert numbers(result) == [3, 5, 6]
    assert [list(row.values()) for row in values(result)] == [
        ["day", "2024-02-29", 1],
        ["moment", "2024-02-29T08:30:00", 2.5],
        ["time", "00:00:00", True],
    ]
    assert list(values(result)[0]) == ["question", "answer", "n"]


def test_parquet_values(tmp_path: Path) -> None:
    """Dates are ISO text, and a key that only other rows have is not invented."""
    rows = [{"m": [{"a": 1}], "at": datetime.datetime(2024, 2, 29)}, {"m": [{"b": 2}], "at": None}]
    assert values(read(tmp_path, "a.parquet", parquet(rows))) == [
        {"m": [{"a": 1}], "at": "2024-02-29"},
        {"m": [{"b": 2}], "at": None},
    ]


def test_excel_formulas(tmp_path: Path) -> None:
    """A formula is what it last came to; one that failed costs its row, and so do cells beyond the header."""
    written = workbook([["q", "a"], ["x", "=6*7"], ["x", "#REF!"], ["x", "y", "z"], ["x", "y"]])
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(written)) as old, zipfile.ZipFile(content, "w") as new:
        for part in old.namelist():
            new.writestr(part, re.sub(rb"</f><v ?(/>|></v>)", b"</f><v>42</v>", old.read(part)))
    result = read(tmp_path, "a.xlsx", content.getvalue())
    assert [row["a"] for row in values(result)] == [42, "y"]
    assert {found: rows for (_, found), rows in result.findings.items()} == {
        "the formula error #REF!; left out": [3],
        "3 fields where the header names 2; left out": [4],
    }


def test_excel_sheets(tmp_path: Path) -> None:
    """The first sheet that holds rows is read; that another holds some as well is told."""
    one = read(tmp_path, "a.xlsx", workbook([], [["notes"]], SHEET))
    assert (values(one), kinds(one)) == (ROWS, {})
    two = read(tmp_path, "a.xlsx", workbook([], SHEET, SHEET))
    assert (values(two), kinds(two)) == (ROWS, {"other-sheets": []})


@pytest.mark.parametrize("column", ["", "Unnamed: 0", " unnamed: 0 "])
@pytest.mark.parametrize("order", [[0, 1, 2], [1, 2, 3], [7, 2, 9]])
def test_an_index_is_no_column(tmp_path: Path, column: str, order: list[int]) -> None:
    """A nameless column that only numbers the rows is left out, and told."""
    rows = [{column: str(i), "question": f"q{i}", "answer": "3"} for i in order]
    for name, content in [
        ("a.csv", table(rows=rows)),
        ("a.json", json.dumps(rows)),
        ("a.xlsx", workbook([list(rows[0]), *([int(row[column]), *list(row.values())[1:]] for row in rows)])),
    ]:
        result = read(tmp_path, name, content)
        if name != "a.json" or column == column.strip():
            assert all(list(row) == ["question", "answer"] for row in values(result))
            assert kinds(result) == {"index-column": []}


def test_a_nameless_column_that_says_something_stays(tmp_path: Path) -> None:
    """Only empty cells and row numbers go; text under no header is called by its place."""
    result = read(tmp_path, "a.csv", "question,,answer,\nq,note,a,\nr,,b,\n")
    assert values(result)[0] == {"question": "q", "unnamed: 2": "note", "answer": "a"}
    assert not result.findings
    assert values(read(tmp_path, "b.csv", ",q,a\n1,x,y\n1,z,w\n"))[0] == {"unnamed: 1": "1", "q": "x", "a": "y"}


def test_several_files_are_one(tmp_path: Path) -> None:
    """Rows of the second file go on after the last of the first, blank lines and unreadable rows counted."""
    one = file(tmp_path, "a.jsonl", '{"q": 1}\n\n{"q": 2}\nbroken\n')
    two = file(tmp_path, "b.csv", "x;y\nü;2\n3\n".encode("cp1252"))
    result = read_all([one, two, one])
    assert result.records == [(1, {"q": 1}), (3, {"q": 2}), (5, {"x": "ü", "y": "2"}), (7, {"q": 1}), (9, {"q": 2})]
    assert result.rows == 8
    assert result.files == (("a.jsonl", 0), ("b.csv", 4), ("a.jsonl", 6))
    assert sorted(rows for (kind, _), rows in result.findings.items() if kind == "unreadable-row") == [[4, 10], [6]]
    assert any(found.startswith("b.csv: not UTF-8; read as Windows-1252") for _, found in result.findings)
    assert place(result.files, 4) == "row 4 (row 4 of a.jsonl)"
    assert place(result.files, 5) == "row 5 (row 1 of b.csv)"
    assert place(result.files, 10) == "row 10 (row 4 of a.jsonl)"
    assert place(read_all([one]).files, 3) == "row 3"
    with pytest.raises(UserError, match=r"^no\.csv: no such file"):
        read_all([one, "no.csv"])


def test_plain_text(tmp_path: Path) -> None:
    """Paragraphs are gathered into rows of up to 4,000 characters, each known by the line where it begins."""
    paragraphs = [f"Paragraph {i}.\n" + "word " * 300 for i in range(7)]
    text = "\n\n" + "\n\n \n".join(paragraphs) + "\n"
    for name, content in (("a.txt", text), ("a.md", text.replace("\n", "\r\n"))):
        result = read(tmp_path, name, content)
        assert [row["text"].count("Paragraph") for row in values(result)] == [2, 2, 2, 1]
        assert "\n\n \n".join(row["text"] for row in values(result)) == "\n\n \n".join(paragraphs)
        assert [text.split("\n")[row - 1] for row in numbers(result)] == [f"Paragraph {i}." for i in (0, 2, 4, 6)]


@pytest.mark.parametrize(
    ("unit", "end"),
    [
        ("A line of verse\n", "verse\n"),
        ("One sentence. ", "sentence. "),
        ("word ", "word "),
        ("这是一句话。", "。"),
        ("x", "x"),
    ],
)
def test_a_long_paragraph_is_cut_where_it_can_be(tmp_path: Path, unit: str, end: str) -> None:
    """At a line end, else after a sentence, else after a word, and nothing of it is lost."""
    text = unit * (15_000 // len(unit))
    result = read(tmp_path, "a.txt", text)
    texts = [str(row["text"]) for row in values(result)]
    assert "".join(texts) == text.rstrip("\n")
    assert len(set(numbers(result))) == len(texts) > 3
    assert all(text.endswith(end) for text in texts[:-1])
    assert all(LONGEST - len(unit) <= len(text) <= LONGEST for text in texts[:-1])


def test_text_that_looks_like_rows(tmp_path: Path) -> None:
    """Prose with commas, tables and JSON in it is prose."""
    for content in (
        "a,b\nc,d\ne,f\n",
        "# Title\n\n| a | b |\n|---|---|\n",
        '{"a": 1}, he said.\n',
        '{"a":\n no',
        "[1] see",
    ):
        assert values(read(tmp_path, "a.md", content)) == [{"text": content.rstrip("\n")}]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "json", "jsonl", "parquet", "xlsx", "txt", "dat"])
@pytest.mark.parametrize(
    "pattern",
    [b"a", b" ", b'"', b",", b"[", b'{"a":', b"\\", b"\xe9", b"\xed\xa0\x80", b"a\0", "中".encode("gbk"), b"{},"],
)
def test_one_long_line(tmp_path: Path, suffix: str, pattern: bytes) -> None:
    """A line of 2 MB is read or refused in a moment."""
    content = b"x" + pattern * (2_000_000 // len(pattern)) + b"x"
    begun = time.process_time()
    with contextlib.suppress(UserError):
        assert read(tmp_path, f"a.{suffix}", content).rows > 0
    assert time.process_time() - begun < 5
