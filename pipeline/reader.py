"""`python -m pipeline.reader`: the child that opens uploads, tokenizes and previews. No GPU, no weights.

It is ended on a time-out, so a hostile file or template costs nothing but itself. What was read last is kept in memory
until its files change: the files' rows, so that another role for a column reads nothing again, and what was made of them,
so that walking through rows costs milliseconds.
"""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import child, counting, dataset, inspection, jobs, overview, wording
from pipeline.child import Emit
from pipeline.errors import UserError
from pipeline.records import Records, read_all
from pipeline.schema import PARTS, Model, Prepared, Row, Run, Source, from_json, to_json

Version = tuple[tuple[str, int, int], ...]
"""(name, time of change, size) of files: another value when one of them has changed."""


def inspect(
    emit: Emit, unwanted: threading.Event, source: Any, model: Any, max_length: int, loss_on: str
) -> dict[str, Any]:
    """The command line's `inspect`, for a source and a model given as JSON; without a model (None) nothing is tokenized.

    Where there are many rows, token counts are of a sample and say so, until `count` has counted them all.
    """
    if model is None:
        max_length, loss_on = 0, ""  # they change nothing then, so what was found before is the answer
    return _inspected(*_key(source), *_model_key(model), max_length, loss_on)


def count(
    emit: Emit, unwanted: threading.Event, source: Any, model: Any, max_length: int, loss_on: str
) -> dict[str, Any]:
    """`inspect` with every row counted. Tells {"rows_done", "rows"} meanwhile; what was counted when it is stopped is kept."""
    named = from_json(Model, model, "model")
    try:
        found = inspection.summarise(_prepared(*_key(source)), named, max_length, loss_on, emit=emit, unwanted=unwanted)
    finally:
        _inspected.cache_clear()  # the next look knows more than a sample told
    _remember_gates(found, named, loss_on)
    return found


def preview(
    emit: Emit, unwanted: threading.Event, source: Any, model: Any, number: int | None, max_length: int, loss_on: str
) -> dict[str, Any]:
    """The command line's `preview`, with the row's conversation and the part it is in."""
    from pipeline import model as models
    from pipeline import template

    prepared = _prepared(*_key(source))
    row = inspection.find_row(prepared, number)
    named = from_json(Model, model, "model")
    tokenizer, chosen = _template(*_model_key(model))
    shown = template.preview(tokenizer, chosen, row, models.readable(named, max_length), loss_on, prepared.cut)
    part = next(part for part in PARTS if row in prepared.part(part))
    return {**shown, "messages": row["messages"], "tools": row.get("tools"), "part": part}


def walk(
    emit: Emit, unwanted: threading.Event, source: Any, model: Any, number: int | None, max_length: int, loss_on: str,
    to: str, words: str = "",
) -> int:  # fmt: skip
    """The number of the "next" or "previous" row that can be used, of the next with a "problem", or of the next one to
    "find" by its words, in any case; round at the ends.

    From nowhere (None) the way leads to the first row that is learned from.
    """
    if number is None and to != "find":
        return prepared(source).train[0]["row"]
    number = number or 0
    rows: list[int]
    if to == "problem":
        found = _inspected(*_key(source), *_model_key(model), max_length, loss_on)
        rows = sorted({row for problem in found["problems"] for row in problem["rows"]})
    else:
        parts = (prepared(source).part(part) for part in PARTS)
        rows = sorted({row["row"] for part in parts for row in part if to != "find" or _holds(row, words)})
    if not rows:
        raise UserError(f"No row that can be used holds {words!r}." if to == "find" else "No row has a problem.")
    if to == "previous":
        return next((row for row in reversed(rows) if row < number), rows[-1])
    return next((row for row in rows if row > number), rows[0])


def _holds(row: Row, words: str) -> bool:
    return any(words.casefold() in text.casefold() for text in wording.texts(row))


def columns(emit: Emit, unwanted: threading.Event, source: Any) -> dict[str, Any]:
    """The file's columns, their first values and roles, and the first rows."""
    return overview.overview(from_json(Source, source, "source"), _read)


def prepared(source: Any) -> Prepared:
    """The parts of a source given as JSON; remembered until its files change."""
    return _prepared(*_key(source))


def describe(emit: Emit, unwanted: threading.Event, model: Any) -> dict[str, Any]:
    """What a model says of itself before it is downloaded; a UserError says why it can't be used."""
    from pipeline import model as models

    return to_json(models.describe(from_json(Model, model, "model")))


def create(emit: Emit, unwanted: threading.Event, run: Any, by: str) -> str:
    """Read the source, make a run folder of it, and tell its id. Refused where it is known already that training would be."""
    asked = from_json(Run, run, "run")
    prepared = dataset.prepare(asked.source, read=_read)
    stop = _stops.get(_made_of(prepared.fingerprint, asked.named(), asked.config.loss_on))
    if stop:
        raise UserError(stop)
    return jobs.create(asked, prepared, by).name


def warm(emit: Emit, unwanted: threading.Event) -> None:
    """Import what a preview needs, so that the first one does not wait for it."""
    from pipeline import model, template  # noqa: F401


@functools.lru_cache(maxsize=2)
def _prepared(source: str, version: Version) -> Prepared:
    return dataset.prepare(from_json(Source, json.loads(source), "source"), read=_read)


def _read(paths: Sequence[str]) -> Records:
    return _records(tuple(paths), _version([Path(path) for path in paths]))


@functools.lru_cache(maxsize=3)  # what is learned from, what steers, what judges
def _records(paths: tuple[str, ...], version: Version) -> Records:
    """The rows as they stand in these files; nobody who is given them changes them."""
    return read_all(paths)


@functools.lru_cache(maxsize=16)
def _inspected(
    source: str, version: Version, model: str, files: Version, max_length: int, loss_on: str
) -> dict[str, Any]:
    named = json.loads(model)
    wanted = from_json(Model, named, "model") if named else None
    found = inspection.summarise(_prepared(source, version), wanted, max_length, loss_on, counting.SAMPLE)
    if wanted:
        _remember_gates(found, wanted, loss_on)
    return found


_stops: dict[tuple[str | None, ...], str | None] = {}
"""Why a run would be refused, as far as its rows were counted, by what its tokens are made of."""


def _remember_gates(found: dict[str, Any], model: Model, loss_on: str) -> None:
    _stops[_made_of(found["fingerprint"], model, loss_on)] = found["stops"]


def _made_of(fingerprint: str, model: Model, loss_on: str) -> tuple[str | None, ...]:
    return fingerprint, model.base, model.revision, model.template, model.new_tokens, loss_on


@functools.lru_cache(maxsize=2)
def _template(model: str, files: Version) -> tuple[Any, Any]:
    """A model's tokenizer and its templates."""
    from pipeline import model as models

    found: tuple[Any, Any] = models.tokenizer_and_template(from_json(Model, json.loads(model), "model"))
    return found


def _key(source: Any) -> tuple[str, Version]:
    """What a source is remembered by: the JSON it came as, and the state of its files."""
    asked = from_json(Source, source, "source")
    paths = [path for path in (asked.path, *asked.more_paths, asked.held_out_path, asked.validation_path) if path]
    return json.dumps(source, sort_keys=True), _version([Path(path) for path in paths])


def _model_key(model: Any) -> tuple[str, Version]:
    """What a model is remembered by. Nothing tells when one on the Hub has changed; this process keeps what it loaded."""
    folder = Path(model["base"]) if model else None
    return json.dumps(model, sort_keys=True), _version(sorted(folder.iterdir()) if folder and folder.is_dir() else [])


def _version(paths: list[Path]) -> Version:
    found = [(path, path.stat()) for path in paths if path.exists()]
    return tuple((str(path), status.st_mtime_ns, status.st_size) for path, status in found)


if __name__ == "__main__":
    verbs: tuple[child.Handler, ...] = (
        inspect,
        count,
        preview,
        walk,
        columns,
        describe,
        create,
        warm,
    )
    child.serve({verb.__name__: verb for verb in verbs})
