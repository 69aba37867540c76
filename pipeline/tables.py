"""CSV, XLSX and Parquet -> rows: a number and the values by column, or a sentence why the row can't be read. Pure."""

from __future__ import annotations

import csv
import datetime
import io
import sys
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from pipeline.contents import CHUNK, MOST_BYTES, refuse_too_many, size_in_words
from pipeline.errors import UserError


class Told(NamedTuple):
    """What is told of a whole file: the kind of the finding, and what was found."""

    kind: str
    found: str


Item = tuple[int, dict[str, Any] | str] | Told
"""(row number, values by column), or (row number, why it can't be read)."""

DELIMITERS = ",;\t|"
LONGEST_NAME = 200
MOST_COLUMNS = 10_000
FIRST_LINES = 50
MOST_SHEET_ROWS = 2**20
BATCH = 1000


def csv_items(name: str, content: bytes) -> Iterator[Item]:
    """The records below the header, numbered from 1; blank lines don't count. `content` is UTF-8."""
    csv.field_size_limit(sys.maxsize)
    refuse_too_many(name, content, b"\n\r")
    lines = text_lines(content)
    delimiter, _ = delimiter_of(first_lines(content, CHUNK))
    refuse_too_many(name, content, delimiter.encode())
    table = (fields for fields in _csv_records(lines, delimiter) if fields != [])
    first = next(table, None)
    header = _header(name, first or [])
    for row, fields in enumerate(table, start=1):
        yield row, "a quote that is opened and not closed" if fields is None else _by_column(header, fields)


def text_lines(content: bytes) -> list[str]:
    return list(io.TextIOWrapper(io.BytesIO(content), "utf-8", "surrogateescape", newline=""))


def first_lines(content: bytes, size: int) -> list[str]:
    """The lines of the first bytes, without a last one that was cut."""
    lines = text_lines(content[:size])
    return lines[:-1] if len(content) > size and len(lines) > 1 else lines


def delimiter_of(lines: Sequence[str]) -> tuple[str, float]:
    """The delimiter under which most of the first records are as wide as the header, and the header widest; that share."""

    def fit(delimiter: str) -> tuple[float, int]:
        records = islice(csv.reader(lines, delimiter=delimiter), FIRST_LINES)
        widths = [len(fields) for fields in records if fields]
        return (widths.count(widths[0]) / len(widths), widths[0]) if widths and widths[0] > 1 else (0, 0)

    fits = {delimiter: fit(delimiter) for delimiter in DELIMITERS}
    best = max(fits, key=fits.__getitem__)
    return best, fits[best][0]


def _header(name: str, fields: Sequence[Any]) -> list[str]:
    """Column names without the spaces around them; a column without a name is called by its place."""
    if len(fields) > MOST_COLUMNS:
        raise UserError(f"{name}: has more than {MOST_COLUMNS:,} columns; keep those with the prompts and answers.")
    header = [str("" if field is None else field).strip() for field in fields]
    header = [column or f"unnamed: {place}" for place, column in enumerate(header, start=1)]
    seen: set[str] = set()
    for column in header:
        if len(column) > LONGEST_NAME or "\n" in column:
            raise UserError(f"{name}: the first line looks like an example; put a line with column names above it.")
        if column in seen:
            raise UserError(f"{name}: two columns are called {column!r}; rename one.")
        seen.add(column)
    return header


def _by_column(header: Sequence[str], fields: Sequence[Any]) -> dict[str, Any] | str:
    surplus = (field for field in fields[len(header) :] if field is not None)
    if len(fields) < len(header) or any(str(field).strip() for field in surplus):
        return f"{len(fields)} fields where the header names {len(header)}"
    return dict(zip(header, fields, strict=False))


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


def xlsx_items(name: str, content: bytes) -> list[Item]:
    """The rows below the header of the first sheet that holds any, numbered as the sheet numbers them.

    A formula is what it came to when the file was saved.
    """
    import openpyxl

    _refuse_large_parts(name, content)
    try:
        with warnings.catch_warnings(action="ignore"):
            book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True, keep_links=False)
            sheets = [sheet for sheet in book.worksheets if len(list(islice(_sheet_rows(sheet), 2))) == 2]
            items = list(_sheet_items(name, _sheet_rows(sheets[0]))) if sheets else []
    except (UserError, MemoryError):
        raise
    except Exception as error:  # a damaged workbook can fail anywhere in openpyxl, with anything
        said = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{name}: not a whole Excel workbook ({said:.100}); save it again as .xlsx.") from None
    if others := [sheet.title for sheet in sheets[1:]]:
        found = f"only the sheet {sheets[0].title!r} was read; {', '.join(map(repr, others[:5]))} also hold rows"
        items.append(Told("other-sheets", f"{found}, save each as its own file"))
    return items


def _refuse_large_parts(name: str, content: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(part.file_size for part in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(f"{name}: not a whole Excel workbook ({error}); save it again as .xlsx.") from None
    if size > MOST_BYTES:
        raise UserError(f"{name}: unpacks to more than {size_in_words(MOST_BYTES)}; give a part of it.")


def _sheet_rows(sheet: Any) -> Iterator[tuple[int, list[Any]]]:
    """(row of the sheet, cells up to the last that is not empty), of the rows that are not empty."""
    sheet.reset_dimensions()  # what a file says of its own size is not to be trusted
    for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
        values = [_cell(value) for value in cells]
        while values and values[-1] in (None, ""):
            values.pop()
        if values:
            yield number, values
        if number > MOST_SHEET_ROWS:
            raise ValueError("more rows than Excel knows")


def _cell(value: Any) -> Any:
    """Excel's own escape for the carriage return before a line end goes; the line end stays."""
    return value.replace("_x000D_", "") if isinstance(value, str) else _plain(value)


def _sheet_items(name: str, rows: Iterator[tuple[int, list[Any]]]) -> Iterator[Item]:
    from openpyxl.cell.cell import ERROR_CODES

    header = _header(name, next(rows)[1])
    for number, values in rows:
        failed = next((value for value in values if value in ERROR_CODES), None)
        padded = values + [None] * (len(header) - len(values))
        yield number, f"the formula error {failed}" if failed else _by_column(header, padded)


def parquet_items(name: str, content: bytes) -> Iterator[Item]:
    """The rows, numbered from 1."""
    import pyarrow
    import pyarrow.parquet

    row = size = 0
    try:
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content))
        columns = file.schema_arrow.names
        if len(set(columns)) < len(columns):
            raise UserError(f"{name}: two columns have the same name; rename one.")
        for batch in file.iter_batches(batch_size=BATCH, use_threads=False):
            size += batch.nbytes
            if size > MOST_BYTES:
                raise UserError(f"{name}: unpacks to more than {size_in_words(MOST_BYTES)}; give a part of it.")
            for values in _parquet_rows(batch):
                row += 1
                yield row, _with_plain_values(values)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        said = str(error).partition("\n")[0]
        raise UserError(f"{name}: not a whole Parquet file ({said}); save it again.") from None


def _with_plain_values(values: dict[str, Any] | None) -> dict[str, Any] | str:
    if values is None:
        return "a value that is no valid text, number or date"
    return {column: _plain(value) for column, value in values.items()}


def _parquet_rows(batch: Any) -> Iterable[dict[str, Any] | None]:
    try:
        yield from batch.to_pylist()
    except (ValueError, OverflowError):
        if len(batch) == 1:
            yield None
            return
        for part in (batch.slice(0, len(batch) // 2), batch.slice(len(batch) // 2)):
            yield from _parquet_rows(part)


def _plain(value: Any) -> Any:
    """Dates as ISO text. Parquet gives every object of a column every key that any of them has: null is "not there"."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, datetime.datetime) and value.time() == datetime.time() and not value.tzinfo:
        return value.date().isoformat()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value) if isinstance(value, datetime.timedelta) else value
