"""A file's columns with their first values, the roles they play, and its first rows: what a wrong guess is corrected by."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pipeline import dataset
from pipeline.errors import UserError
from pipeline.records import read_all
from pipeline.schema import Row, Source
from pipeline.shapes import recognise

LOOKED_AT = 200
VALUES, LONGEST_VALUE = 3, 200
ROWS = 3


def overview(source: Source, read: dataset.Read = read_all) -> dict[str, Any]:
    """{"samples": column -> its first values, "roles": column -> role, "first": rows}; the last two as far as they are known.

    `read` reads the files, once. Raises UserError for a file that can't be read at all. Columns are those of the first 200
    records.
    """
    found = read((source.path, *source.more_paths))
    records = [values for _, values in found.records]
    first = _first(source, lambda paths: found)
    return {"samples": samples(records[:LOOKED_AT]), "roles": _roles(source, records), "first": first}


def samples(records: Iterable[dict[str, Any]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for record in records:
        for column, value in record.items():
            kept = found.setdefault(column, [])
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            short = text[:LONGEST_VALUE]
            if value is not None and text.strip() and len(kept) < VALUES and short not in kept:
                kept.append(short)
    return found


def _roles(source: Source, records: list[dict[str, Any]]) -> dict[str, str]:
    try:
        return recognise("", records, source.shape, source.columns, source.patterns).columns if records else {}
    except UserError:  # told where the rows are looked at; here what was said by hand still stands
        return source.columns or {}


def _first(source: Source, read: dataset.Read) -> list[Row]:
    try:
        return dataset.first(source, ROWS, read)
    except UserError:
        return []
