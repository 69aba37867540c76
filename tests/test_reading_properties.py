"""Reading under any input: only a UserError comes out, every row is kept or told, and what is well formed is intact."""

import csv
import gzip
import io
import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.dataset import prepare
from pipeline.errors import UserError
from pipeline.formats import FORMATS
from pipeline.passages import LONGEST, passages
from pipeline.records import Records, read_all, read_records
from pipeline.schema import Source
from tests.test_records import FILES, ROWS, file, parquet, values, workbook

SUFFIXES = [*FORMATS, *(f"{suffix}.gz" for suffix in (".csv", ".jsonl")), ".dat", ""]


def fuzz(examples: int) -> settings:
    unchecked = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=examples, deadline=None, database=None, suppress_health_check=unchecked)


def is_one_line(error: UserError) -> None:
    assert str(error).encode()
    assert "\n" not in str(error)


def read_or_refused(path: str) -> Records | None:
    """Every row of what is read is a record or told, once, in file order; every sentence is one line."""
    try:
        result = read_records(path)
    except UserError as error:
        is_one_line(error)
        return None
    told = [row for rows in result.findings.values() for row in rows]
    rows = [row for row, _ in result.records]
    assert rows == sorted(set(rows))
    assert len(set(rows) | set(told)) == len(rows) + len(told) == result.rows > 0
    assert all(isinstance(column, str) for _, record in result.records for column in record)
    return result


def prepared_or_refused(path: str) -> None:
    try:
        result = prepare(Source(path, system="s"))
    except UserError as error:
        is_one_line(error)
        return
    assert result.train
    assert all(problem.sentence.encode() for problem in result.problems)


@given(content=st.binary(max_size=400), suffix=st.sampled_from(SUFFIXES), packed=st.booleans())
@fuzz(300)
def test_any_bytes(tmp_path: Path, content: bytes, suffix: str, packed: bool) -> None:
    """Random bytes under any name, gzipped or not."""
    path = file(tmp_path, f"a{suffix}", gzip.compress(content) if packed else content)
    read_or_refused(path)
    prepared_or_refused(path)


MAGIC = [
    b"PAR1",
    b"PK\x03\x04",
    b"\x1f\x8b\x08",
    b"\xff\xfe",
    b"\xfe\xff",
    b"\xef\xbb\xbf",
    b"%PDF-",
    b"{",
    b"[{",
    b"<html",
]


@given(start=st.sampled_from(MAGIC), rest=st.binary(max_size=200), suffix=st.sampled_from(SUFFIXES))
@fuzz(200)
def test_any_bytes_behind_a_known_beginning(tmp_path: Path, start: bytes, rest: bytes, suffix: str) -> None:
    """A file that begins like a known one and goes on as it likes."""
    read_or_refused(file(tmp_path, f"a{suffix}", start + rest))


def stored(workbook: bytes) -> bytes:
    """The same workbook unpacked, so that a change hits its XML and not only the packing."""
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(workbook)) as old, zipfile.ZipFile(content, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return content.getvalue()


NESTED = [{"messages": [{"role": "user", "content": "é" * i}], "n": i * 1.5} for i in range(30)]
VALID = {
    **{name: content for name, content in FILES.items() if name != "a.xlsx"},
    "nested.parquet": parquet(NESTED),
    "a.csv.gz": gzip.compress(FILES["a.csv"]),
    "wide.csv": FILES["a.csv"].decode().encode("utf-16-le"),
    "a.txt": b"One.\n\nTwo.\n" * 20,
}
PIECES = st.binary(max_size=4) | st.sampled_from([b"9" * 13, b"1e999", b"<", b"\0", b'"', b"[[", b"\xff\xff\xff\x7f"])
CHANGES = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 30), PIECES), min_size=1, max_size=5)


def changed(content: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for place, cut, piece in changes:
        place %= len(content) + 1
        content = content[:place] + piece + content[place + cut :]
    return content


@given(name=st.sampled_from(list(VALID)), changes=CHANGES, torn=st.integers(0, 3000))
@fuzz(400)
def test_damaged_files(tmp_path: Path, name: str, changes: list[tuple[int, int, bytes]], torn: int) -> None:
    """A good file with bytes changed, lost, put in, or its end missing."""
    content = changed(VALID[name], changes)
    path = file(tmp_path, name, content[:torn] if torn % 3 == 0 else content)
    read_or_refused(path)
    prepared_or_refused(path)


@given(part=st.integers(0, 50), changes=CHANGES, inside=st.booleans())
@fuzz(120)
def test_damaged_workbooks(tmp_path: Path, part: int, changes: list[tuple[int, int, bytes]], inside: bool) -> None:
    """A workbook damaged as a file, or whole as an archive and damaged in one of its parts."""
    whole = workbook([["question", "answer"], ["q", 1], ["r", 2.5]])
    damaged = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(damaged, "w") as new:
        names = old.namelist()
        for name in names:
            hit = name == names[part % len(names)]
            new.writestr(name, changed(old.read(name), changes) if hit else old.read(name))
    read_or_refused(file(tmp_path, "a.xlsx", damaged.getvalue() if inside else changed(stored(whole), changes)))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["user", "gpt", "["]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from("messages role content from value prompt completion tools".split()) | st.text(max_size=3),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(value=JSON, suffix=st.sampled_from(SUFFIXES), indent=st.sampled_from([None, 1]))
@fuzz(200)
def test_any_json(tmp_path: Path, value: object, suffix: str, indent: int | None) -> None:
    """A JSON value of any form under any name."""
    path = file(tmp_path, f"a{suffix}", json.dumps(value, indent=indent))
    read_or_refused(path)
    prepared_or_refused(path)


@given(rows=st.lists(st.dictionaries(st.text("abc", min_size=1), JSON, min_size=1, max_size=3), min_size=1, max_size=4))
@fuzz(60)
def test_good_json_is_intact(tmp_path: Path, rows: list[dict[str, object]]) -> None:
    """Objects written as an array or by line come back equal, whatever they hold."""
    expected = [json.dumps(row) for row in rows]
    as_lines = read_or_refused(file(tmp_path, "a.jsonl", "\n".join(expected)))
    as_array = read_or_refused(file(tmp_path, "a.json", json.dumps(rows)))
    assert as_lines
    assert as_array
    assert [json.dumps(row) for row in values(as_lines)] == [json.dumps(row) for row in values(as_array)] == expected


CELLS = st.text("ab ,;\t|\"\n\r'\\é中", max_size=8)


@given(
    cells=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
@fuzz(300)
def test_good_csv_is_intact(
    tmp_path: Path, cells: list[tuple[str, str]], delimiter: str, quoting: int, encoding: str
) -> None:
    """Whatever quotes, delimiters and line ends the cells hold, a well-formed table comes back as it was."""
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quoting=quoting).writerows([("question", "answer"), *cells])
    result = read_or_refused(file(tmp_path, "a.csv", text.getvalue().encode(encoding)))
    assert result
    assert [tuple(row.values()) for row in values(result)] == cells


@given(body=st.text('ab,;\t|"\n\r é\0', max_size=200), header=st.sampled_from(["q,a\n", "question;answer\r\n", ""]))
@fuzz(300)
def test_any_csv(tmp_path: Path, body: str, header: str) -> None:
    """Ragged records and quotes that are never closed."""
    path = file(tmp_path, "a.csv", header + body)
    read_or_refused(path)
    prepared_or_refused(path)


@given(text=st.text("ab. \n\r", max_size=300), unit=st.sampled_from([1, 40, 3000]))
@fuzz(200)
def test_passages_lose_nothing(text: str, unit: int) -> None:
    """Passages hold all that is not blank, in order, none is too long, and each begins at its line."""
    text = "".join(letter * unit if letter == "a" else letter for letter in text)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    found = list(passages(text))
    assert "".join("".join(passage for _, passage in found).split()) == "".join(text.split())
    for line, passage in found:
        assert 0 < len(passage) <= LONGEST
        assert passage.split("\n")[0] in lines[line - 1]


@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=4))
@fuzz(50)
def test_files_read_together(tmp_path: Path, counts: list[int]) -> None:
    """Several files hold the rows of each, in order, and no number twice."""
    paths = [file(tmp_path, f"{i}.json", json.dumps(ROWS * count)) for i, count in enumerate(counts)]
    whole = read_all(paths)
    assert values(whole) == [row for path in paths for row in values(read_records(path))]
    assert [row for row, _ in whole.records] == list(range(1, 2 * sum(counts) + 1))
    assert [name for name, _ in whole.files] == [Path(path).name for path in paths]


@pytest.mark.parametrize("levels", [50, 200, 2000, 20_000])
@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"content":', "[null,"])
@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".txt", ""])
def test_any_depth(tmp_path: Path, levels: int, opening: str, suffix: str) -> None:
    """Nesting of any depth, closed or torn, is read or refused, in a file of its own or in a row."""
    ending = "".join({"[": "]", "{": "}"}[letter] for letter in reversed(opening) if letter in "[{")
    for deep in (opening * levels + "1" + ending * levels, opening * levels):
        for content in (deep, f'{{"prompt": "q", "completion": {deep}}}\n{{"prompt": "q", "completion": "a"}}'):
            read_or_refused(file(tmp_path, f"a{suffix}", content))
            prepared_or_refused(file(tmp_path, f"a{suffix}", content))
