"""The rows of one split of a dataset on the Hub as lines of JSON, streamed, each value as it is in the dataset's files."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pipeline import hub_dataset
from pipeline.contents import size_in_words
from pipeline.errors import UserError
from pipeline.tables import _plain

LONGEST_LINE = 50_000_000
MOST_ARRAY_BYTES = 200_000_000  # a JSON array can't be read in part
ENDINGS = (".parquet", ".jsonl", ".ndjson", ".json", ".jsonl.gz", ".json.gz")  # of what we read without the library
PLAIN = {"Value", "ClassLabel", "Json", "Translation", "TranslationVariableLanguages"}


class Pace(NamedTuple):
    """How much is read at once: bytes of a file, bytes of each column of Parquet, bytes or rows to tell types from."""

    block: int
    column: int
    chunk: int
    rows: int


PEEK = Pace(1 << 16, 1 << 16, 1 << 18, 20)
FETCH = Pace(1 << 20, 1 << 22, 10 << 20, 1000)


def lines(builder: Any, split: str, token: str | None, pace: Pace) -> Iterator[bytes]:
    """The rows of a split, as `builder` (hub_dataset.open_config) finds them. Raises UserError where they aren't text.

    JSON and Parquet are read by us: of JSON the library makes dates of texts, adds keys, and wants all rows to have the
    first ones' types; of Parquet it reads on in threads that keep a process from ending when only the first rows are
    wanted (apache/arrow#45214).
    """
    files = list(builder.config.data_files[split])
    read = READERS.get(builder.__module__.rpartition(".")[2])
    if read and all(file.endswith(ENDINGS) for file in files) and not getattr(builder.config, "field", None):
        hub_files = hub_dataset.file_system(token, pace.block)
        return (line for file in files for line in read(hub_files, file, builder.info.features, pace))
    _set_pace(builder.config, pace)
    rows = builder.as_streaming_dataset(split)
    line_of = _line_maker(rows.features or {})
    return (line_of(row) for row in rows)


def row_of(line: bytes) -> dict[str, Any] | None:
    """None for a line that is no object; whoever reads the file counts it among the unreadable ones."""
    try:
        value = json.loads(line.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _json_lines(hub_files: Any, file: str, features: Any, pace: Pace) -> Iterator[bytes]:
    with contextlib.ExitStack() as opened:
        stream: Any = opened.enter_context(io.BufferedReader(opened.enter_context(hub_files.open(file, "rb"))))
        if file.endswith(".gz"):
            stream = opened.enter_context(io.BufferedReader(opened.enter_context(gzip.GzipFile(fileobj=stream))))
        start = stream.peek(1).removeprefix(b"\xef\xbb\xbf").lstrip()
        if start.startswith(b"[") or start[1:].lstrip(b" \t\r").startswith(b"\n"):
            yield from _array(_name(file), stream)
            return
        while line := stream.readline(LONGEST_LINE):
            if len(line) == LONGEST_LINE:
                raise UserError(
                    f"{_name(file)} has a line of more than {size_in_words(LONGEST_LINE)}; choose another split."
                )
            if line := line.removeprefix(b"\xef\xbb\xbf").strip():
                yield line


def _array(name: str, stream: Any) -> Iterator[bytes]:
    content = stream.read(MOST_ARRAY_BYTES)
    if len(content) == MOST_ARRAY_BYTES:
        told = f"{name} is one piece of JSON of more than {size_in_words(MOST_ARRAY_BYTES)}, which can't be streamed"
        raise UserError(f"{told}; choose a dataset in Parquet or JSON lines.")
    value = json.loads(content.decode("utf-8-sig"))
    arrays = [item for item in value.values() if isinstance(item, list)] if isinstance(value, dict) else [value]
    for item in arrays[0] if len(arrays) == 1 else [value]:
        yield json.dumps(item, ensure_ascii=False).encode(errors="backslashreplace")


def _name(file: str) -> str:
    return file.rpartition("/")[2]


def _parquet_lines(hub_files: Any, file: str, features: Any, pace: Pace) -> Iterator[bytes]:
    """Column by column, piece by piece: a row group can be a gigabyte."""
    import datasets  # type: ignore[import-untyped]
    import pyarrow.parquet

    options = {"buffer_size": pace.column, "pre_buffer": False}
    with hub_files.open(file, "rb") as stream, pyarrow.parquet.ParquetFile(stream, **options) as table:
        own = datasets.Features.from_arrow_schema(table.schema_arrow)
        line_of = _line_maker({**own, **{column: features[column] for column in _named("ClassLabel", features or {})}})
        packed = datasets.Features({column: own[column] for column in _named("Json", own)})
        for batch in table.iter_batches(pace.rows, use_threads=False):
            for row in batch.to_pylist():
                yield line_of({**row, **packed.decode_example({column: row[column] for column in packed})})


READERS: dict[str, Callable[[Any, str, Any, Pace], Iterator[bytes]]] = {"json": _json_lines, "parquet": _parquet_lines}


def _set_pace(config: Any, pace: Pace) -> None:
    if hasattr(config, "keep_default_na"):  # of CSV, where "None" and "NA" are texts like any other
        config.keep_default_na, config.na_values = False, [""]
        config.chunksize = pace.rows
    elif hasattr(config, "chunksize"):
        config.chunksize = pace.chunk


def _line_maker(features: Any) -> Callable[[dict[str, Any]], bytes]:
    """Makes a row a line of JSON: a label as the name it stands for, a date as ISO text, no keys that only other rows have.

    Raises UserError where a column holds no text.
    """
    for column, feature in features.items():
        if found := next(filter(None, map(_not_text, _leaves(feature))), ""):
            raise UserError(f"The column {column!r} holds {found}, not text; choose a dataset of text.")
    labels = [column for column in _named("ClassLabel", features) if type(features[column]).__name__ == "ClassLabel"]

    def line_of(row: dict[str, Any]) -> bytes:
        values = {column: _plain(value) for column, value in row.items()}
        for column in labels:
            number = values.get(column)
            values[column] = features[column].int2str(number) if isinstance(number, int) and number >= 0 else None
        return json.dumps(values, ensure_ascii=False, default=str).encode(errors="backslashreplace")

    return line_of


def _named(kind: str, features: Any) -> list[str]:
    """The columns that hold this type, however deep."""
    return [name for name, feature in features.items() if kind in (type(leaf).__name__ for leaf in _leaves(feature))]


def _leaves(feature: Any) -> Iterator[Any]:
    """The types of a column's values, however deep in lists and objects."""
    inside = feature.values() if isinstance(feature, dict) else feature if isinstance(feature, list) else None
    if type(feature).__name__ in ("List", "LargeList"):
        inside = [feature.feature]
    if inside is None:
        yield feature
    for item in inside or ():
        yield from _leaves(item)


def _not_text(feature: Any) -> str:
    kind = type(feature).__name__
    return kind.lower() if kind not in PLAIN else "bytes" if "binary" in str(getattr(feature, "dtype", "")) else ""
