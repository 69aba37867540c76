"""A file -> numbered records: CSV, JSON, JSONL and Parquet, in the encodings people really have.

Reads one file, writes nothing. A row that can't be read becomes a finding; only a file that can't be read is an error.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import UserError

Findings = dict[tuple[str, str], list[int]]
"""(kind, what was found and what happens) -> the rows it was found in."""

BOMS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
LONGEST_NAME = 200


class Records(NamedTuple):
    """`records` are (row, values by column). `rows` counts every row of the file, readable or not."""

    records: list[tuple[int, dict[str, Any]]]
    rows: int
    findings: Findings


def read_records(path: str) -> Records:
    """Read a file by its suffix. Raises UserError when the file is missing, empty or not what its suffix says.

    Rows count from 1: in CSV the records below the header (blank lines don't count), in JSON the array's items, in
    Parquet the rows, in JSONL the line of the file, blank lines counted, so that an editor's "go to line" finds it.
    """
    name = file_name(path)
    reader = READERS.get(Path(path).suffix.lower())
    if reader is None:
        raise UserError(f"{name}: can't tell its format by its name; give a {', '.join(READERS)} file.")
    read = reader(name, _content(path, name))
    if not read.rows:
        raise UserError(f"{name}: holds no rows; add at least one example.")
    return read


def file_name(path: str) -> str:
    return Path(path).name.encode("utf-8", "replace").decode()


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


def _content(path: str, name: str) -> bytes:
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise UserError(f"{name}: no such file ({path!r}); check the path.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{name}: can't be read ({error}); check the file.") from None
    if not content.strip(b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n"):
        raise UserError(f"{name}: the file is empty; add at least one example.")
    return content


def _decode(name: str, content: bytes, findings: Findings) -> str:
    """Bytes that are no text become lone surrogates: only the rows that hold one fall out, where text is checked."""
    for bom, encoding in BOMS:
        if content.startswith(bom):
            errors = "surrogateescape" if encoding == "utf-8" else "surrogatepass"
            try:
                return content[len(bom) :].decode(encoding, errors)
            except UnicodeDecodeError:
                raise UserError(f"{name}: not whole {encoding.upper()} text; save it again as UTF-8.") from None
    text = content.decode("utf-8", "surrogateescape")
    damaged = len(re.findall("[\udc80-\udcff]", text)) if not text.isascii() else 0
    if not damaged or len(re.findall("[^\x00-\x7f]", text)) > 2 * damaged:
        return text
    findings["encoding", "not UTF-8; read as Windows-1252. Check the accents, or save it as UTF-8"] = []
    return content.decode("cp1252", "surrogateescape")


def _read_csv(name: str, content: bytes) -> Records:
    findings: Findings = {}
    lines = list(io.StringIO(_decode(name, content, findings), newline=""))
    csv.field_size_limit(sys.maxsize)
    table = (fields for fields in _csv_records(lines, _delimiter(lines)) if fields != [])
    header = _header(name, next(table, []))
    records: list[tuple[int, dict[str, Any]]] = []
    row = 0
    for row, fields in enumerate(table, start=1):
        if fields is None:
            add_unreadable(findings, "a quote that is opened and not closed", row)
        elif len(fields) < len(header) or any(field.strip() for field in fields[len(header) :]):
            add_unreadable(findings, f"{len(fields)} fields where the header names {len(header)}", row)
        else:
            records.append((row, {column: field for column, field in zip(header, fields, strict=False) if column}))
    return Records(records, row, findings)


def _header(name: str, fields: list[str] | None) -> list[str]:
    header = [field.strip() for field in fields or []]
    seen: set[str] = set()
    for column in filter(None, header):
        if len(column) > LONGEST_NAME or "\n" in column:
            raise UserError(f"{name}: the first line looks like an example; put a line with column names above it.")
        if column in seen:
            raise UserError(f"{name}: two columns are called {column!r}; rename one.")
        seen.add(column)
    return header


def _delimiter(lines: list[str]) -> str:
    """The delimiter under which most of the first records are as wide as the header, and the header widest."""

    def fit(delimiter: str) -> tuple[float, int]:
        widths = [len(fields) for fields in islice(csv.reader(lines, delimiter=delimiter), 50) if fields]
        return (widths.count(widths[0]) / len(widths), widths[0]) if widths and widths[0] > 1 else (0, 0)

    return max(",;\t", key=fit)


def _csv_records(lines: list[str], delimiter: str) -> Iterator[list[str] | None]:
    """Records in file order. A quote never closed swallows lines up to the next quote: that record is None, and reading
    goes on one line below its first, unless that has already cost twenty times the file."""
    start, patience = 0, 20 * len(lines)
    while start < len(lines):
        reader, begin = csv.reader(map(lines.__getitem__, range(start, len(lines))), delimiter=delimiter), start
        for fields in reader:
            end = start + reader.line_num
            if (end > begin + 1 or end == len(lines)) and _is_torn(lines[begin:end], delimiter):
                yield None
                patience -= end - begin
                begin = begin + 1 if patience > 0 else end
                break
            yield fields
            begin = end
        start = begin


def _is_torn(lines: list[str], delimiter: str) -> bool:
    try:
        list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error:
        return len(lines) > 1 or "".join(lines).count('"') % 2 == 1
    return False


def _read_json(name: str, content: bytes) -> Records:
    """An array of rows, an object holding one, or one row per line: what the file is counts, not only its suffix."""
    findings: Findings = {}
    text = _decode(name, content, findings)
    by_line = not name.lower().endswith(".json")
    if by_line and not text.lstrip().startswith("["):
        return _json_lines(text, findings)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        if by_line or _starts_with_object_line(text):
            return _json_lines(text, findings)
        reason = "nested too deep" if isinstance(error, RecursionError) else error
        raise UserError(f"{name}: not valid JSON ({reason}); mend it there, or give one object per line.") from None
    return _json_items(_array(name, value), findings)


def _starts_with_object_line(text: str) -> bool:
    try:
        return isinstance(json.loads(text.lstrip().partition("\n")[0]), dict)
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


def _json_items(items: Iterable[Any], findings: Findings) -> Records:
    read = Records([], 0, findings)
    row = 0
    for row, item in enumerate(items, start=1):
        _add_item(read, row, item)
    return read._replace(rows=row)


def _json_lines(text: str, findings: Findings) -> Records:
    read = Records([], 0, findings)
    rows = 0
    for number, line in enumerate(io.StringIO(text), start=1):
        if not line.strip():
            continue
        rows += 1
        try:
            _add_item(read, number, json.loads(line))
        except RecursionError:
            add_unreadable(findings, "JSON nested too deep", number)
        except ValueError as error:
            add_unreadable(findings, f"not valid JSON ({getattr(error, 'msg', 'a number too long to read')})", number)
    return read._replace(rows=rows)


def _add_item(read: Records, row: int, item: Any) -> None:
    if isinstance(item, dict):
        read.records.append((row, item))
    else:
        add_unreadable(read.findings, f"{kind_of(item)} where an object belongs", row)


def kind_of(value: Any) -> str:
    words = {str: "text", dict: "an object", list: "a list", bool: "true or false", int: "a number", float: "a number"}
    return "nothing" if value is None else words.get(type(value), f"a {type(value).__name__}")


def _read_parquet(name: str, content: bytes) -> Records:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content))
        columns = file.schema_arrow.names
        batches = list(file.iter_batches(use_threads=False))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UserError(
            f"{name}: not a whole Parquet file ({str(error).partition(chr(10))[0]}); save it again."
        ) from None
    if len(set(columns)) < len(columns):
        raise UserError(f"{name}: two columns have the same name; rename one.")
    findings: Findings = {}
    records: list[tuple[int, dict[str, Any]]] = []
    row = 0
    for row, values in enumerate((values for batch in batches for values in _parquet_rows(batch)), start=1):
        if values is None:
            add_unreadable(findings, "a value that is no valid text, number or date", row)
        else:
            records.append((row, {column: _without_nulls(value) for column, value in values.items()}))
    return Records(records, row, findings)


def _parquet_rows(batch: Any) -> Iterator[dict[str, Any] | None]:
    try:
        yield from batch.to_pylist()
    except (ValueError, OverflowError):
        if len(batch) == 1:
            yield None
            return
        for part in (batch.slice(0, len(batch) // 2), batch.slice(len(batch) // 2)):
            yield from _parquet_rows(part)


def _without_nulls(value: Any) -> Any:
    """Parquet gives every object of a column every key that any of them has: a null inside one means "not there"."""
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value


READERS = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".json": _read_json,
    ".jsonl": _read_json,
    ".ndjson": _read_json,
    ".parquet": _read_parquet,
}
