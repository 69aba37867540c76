"""Files -> numbered records: CSV, JSON, JSONL, Parquet, Excel and plain text, in the encodings people really have.

Reads files, writes nothing. A row that can't be read becomes a finding; only a file that can't be read is an error.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from pipeline.contents import as_utf8, read_bytes, refuse_too_many
from pipeline.contents import file_name as file_name
from pipeline.errors import UserError
from pipeline.formats import FORMATS, recognise_binary, recognise_text, suffix
from pipeline.passages import passages
from pipeline.tables import LONGEST_NAME as LONGEST_NAME
from pipeline.tables import Item, Told, csv_items, parquet_items, xlsx_items

Findings = dict[tuple[str, str], list[int]]
"""(kind, what was found and what happens) -> the rows it was found in."""

MOST_ROWS = 1_000_000
UNNAMED = re.compile(r"|unnamed: ?\d+|__index_level_\d+__", re.IGNORECASE)


class Records(NamedTuple):
    """`records` are (row, values by column). `rows` counts every row of the files, readable or not.

    `files` are (name, the row before its first): rows of the second file go on after the last of the first.
    """

    records: list[tuple[int, dict[str, Any]]]
    rows: int
    findings: Findings
    files: tuple[tuple[str, int], ...] = ()


def read_all(paths: Sequence[str]) -> Records:
    """Read several files as if they were one. Raises UserError, naming the file, as read_records does."""
    whole = Records([], 0, {})
    last = 0
    for path in paths:
        read, own_last = _read(path)
        name = file_name(path)
        whole.records.extend(read.records if not last else [(last + row, values) for row, values in read.records])
        for (kind, found), rows in read.findings.items():
            told = found if rows or len(paths) == 1 else f"{name}: {found}"
            whole.findings.setdefault((kind, told), []).extend(last + row for row in rows)
        whole = whole._replace(rows=whole.rows + read.rows, files=(*whole.files, (name, last)))
        last += own_last
        _refuse_too_many_rows(name, whole.rows)
    return whole


def read_records(path: str) -> Records:
    """Read one file, gzipped or not. Raises UserError when it is missing, empty, too large or not what can be read.

    Rows count from 1: in CSV the records below the header (blank lines don't count), in JSON the array's items, in
    Parquet the rows; in JSONL and plain text the line of the file, and in Excel the row of the sheet, so that an
    editor's "go to line" finds it.
    """
    return read_all([path])


def place(files: Sequence[tuple[str, int]], row: int) -> str:
    """A row in words: "row 105 (row 5 of b.csv)", or "row 105" where there is only one file."""
    if len(files) < 2:
        return f"row {row}"
    name, before = next((name, before) for name, before in reversed(files) if before < row or not before)
    return f"row {row} (row {row - before} of {name})"


def _read(path: str) -> tuple[Records, int]:
    """The records of one file, and the number of its last row."""
    name = file_name(path)
    content = read_bytes(path)
    told: list[Item] = []
    form = recognise_binary(name, content)
    if not form:
        content, encoding = as_utf8(name, content)
        told += [Told("encoding", encoding)] if encoding else []
        form = recognise_text(name, content)
    if FORMATS.get(suffix(name)) != form:
        told.append(Told("read-as", f"read as {form}, because that is what it holds, whatever its name says"))
    return _collected(name, [*told], READERS[form](name, content))


def _collected(name: str, told: Iterable[Item], items: Iterable[Item]) -> tuple[Records, int]:
    read = Records([], 0, {})
    rows = row = 0
    for part in (told, items):
        for item in part:
            if isinstance(item, Told):
                read.findings[item] = []
                continue
            row, values = item
            rows += 1
            _refuse_too_many_rows(name, rows)
            if isinstance(values, str):
                add_unreadable(read.findings, values, row)
            else:
                read.records.append((row, values))
    if not rows:
        raise UserError(f"{name}: holds no rows; add at least one example.")
    _leave_out_index(read)
    return read._replace(rows=rows), row


def _refuse_too_many_rows(name: str, rows: int) -> None:
    if rows > MOST_ROWS:
        raise UserError(f"{name}: that makes more than {MOST_ROWS:,} rows; give fewer, a thousand good ones can do.")


def _leave_out_index(read: Records) -> None:
    """Spreadsheets and data frames save the numbers of their rows as a column without a name of its own."""
    columns = [column for column in (read.records[0][1] if read.records else ()) if UNNAMED.fullmatch(column)]
    for column in columns:
        values = [record.get(column) for _, record in read.records]
        given = [str(value) for value in values if value not in (None, "")]
        numbered = len(given) == len(values) == len(set(given)) and all(map(str.isdecimal, given))
        if numbered:
            read.findings["index-column", f"the column {column!r} only numbers the rows; left out"] = []
        if numbered or not given:
            for _, record in read.records:
                record.pop(column, None)


def add_finding(findings: Findings, kind: str, found: str, row: int) -> None:
    findings.setdefault((kind, found), []).append(row)


def add_unreadable(findings: Findings, found: str, row: int) -> None:
    add_finding(findings, "unreadable-row", f"{found}; left out", row)


def turn_keys(value: Any) -> str | None:
    """Which shape's turns a value holds: messages (role), sharegpt (from), or None where it holds no turns."""
    first = value[0] if isinstance(value, list) and value else None
    if not isinstance(first, dict):
        return None
    return "messages" if "role" in first else "sharegpt" if "from" in first else None


def kind_of(value: Any) -> str:
    words = {str: "text", dict: "an object", list: "a list", bool: "true or false", int: "a number", float: "a number"}
    return "nothing" if value is None else words.get(type(value), f"a {type(value).__name__}")


def _json_items(name: str, content: bytes) -> Iterator[Item]:
    """An array of rows, an object holding one, or one row per line: what the file is counts, not only its suffix."""
    refuse_too_many(name, content, b"[{,")
    by_line = suffix(name) in (".jsonl", ".ndjson")
    if by_line and not re.match(rb"\s*(\[|\{\s*\n)", content):
        return _json_lines(content)
    try:
        value = json.loads(content.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        if by_line or _starts_with_object_line(content):
            return _json_lines(content)
        raise UserError(f"{name}: {_fault(error)}; mend it there, or give one object per line.") from None
    return ((row, _item(value)) for row, value in enumerate(_array(name, value), start=1))


def _json_lines(content: bytes) -> Iterator[Item]:
    for number, line in enumerate(io.BytesIO(content), start=1):
        if not line.isspace():
            try:
                yield number, _item(json.loads(line.decode("utf-8", "surrogateescape")))
            except (ValueError, RecursionError) as error:
                yield number, _fault(error, where=False)


def _item(value: Any) -> dict[str, Any] | str:
    return value if isinstance(value, dict) else f"{kind_of(value)} where an object belongs"


def _fault(error: Exception, where: bool = True) -> str:
    if isinstance(error, RecursionError):
        return "JSON nested too deep"
    if not isinstance(error, json.JSONDecodeError):
        return "not valid JSON (a number too long to read)"
    return f"not valid JSON ({error if where else error.msg})"


def _starts_with_object_line(content: bytes) -> bool:
    first = re.match(rb"\s*([^\n]*)", content)
    try:
        return isinstance(json.loads(first[1].decode("utf-8", "surrogateescape")), dict) if first else False
    except (ValueError, RecursionError):
        return False


def _array(name: str, value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        raise UserError(f"{name}: holds {kind_of(value)} where an array of objects belongs.")
    if any(turn_keys(item) for item in value.values()):
        return [value]
    arrays = {key: item for key, item in value.items() if isinstance(item, list) and item and isinstance(item[0], dict)}
    if len(arrays) > 1:
        raise UserError(
            f"{name}: holds {len(arrays)} arrays ({', '.join(map(repr, arrays))}); save each as its own file."
        )
    return next(iter(arrays.values()), [value])


def _text_items(name: str, content: bytes) -> Iterator[Item]:
    """Numbered by the line where a passage begins, or by the next free number where one line makes several."""
    row = 0
    for line, text in passages(content.decode("utf-8", "surrogateescape")):
        row = max(line, row + 1)
        yield row, {"text": text}


READERS: dict[str, Callable[[str, bytes], Iterable[Item]]] = {
    "CSV": csv_items,
    "JSON": _json_items,
    "Parquet": parquet_items,
    "Excel": xlsx_items,
    "text": _text_items,
}
