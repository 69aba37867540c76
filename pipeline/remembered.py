"""What the base answered before: <home>/answers.sqlite, so that judging a second run of a base asks its tuned side only.

A key is a digest of the base, how it is computed, its template, the prompt and the settings: who does not have the prompt
can't find its answer. A file that is damaged or can't be written is no error: then nothing is remembered.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import home, model
from pipeline.generate import Answer
from pipeline.schema import Decoding, Model
from pipeline.sides import Pair

MOST = 100_000  # answers kept, the newest
ASKED_AT_ONCE = 500  # keys in one query
BUSY_SECONDS = 5.0
TABLE = "create table if not exists answers (key text primary key, answer text not null)"


def whose(pair: Pair, named: Model) -> str:
    """What a base's answers depend on beside prompt and settings; "" where nothing tells it from another one.

    That is its commit or fingerprint, how it is held and computed, the template's hashes and stop tokens.
    """
    base = model.identity(named)
    if not (base["fingerprint"] or base["revision"]):
        return ""
    dtype, device = model.compute_dtype(pair.adapted), pair.adapted.device.type
    return json.dumps(
        [base, named.memory, named.attention, str(dtype), device, pair.template.hashes(), list(pair.template.stop_ids)]
    )


def key(whose: str, prompt: Sequence[int], decoding: Decoding) -> str:
    """The name of one answer: 64 hexadecimal digits."""
    told = json.dumps([whose, list(prompt), dataclasses.asdict(decoding)], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def read(keys: Sequence[str]) -> dict[str, Answer]:
    """The answers that are known, by key."""
    found: dict[str, Answer] = {}
    with contextlib.suppress(sqlite3.Error, OSError, ValueError, TypeError), _opened() as connection:
        for start in range(0, len(keys), ASKED_AT_ONCE):
            asked = keys[start : start + ASKED_AT_ONCE]
            places = ",".join("?" * len(asked))
            rows = connection.execute(f"select key, answer from answers where key in ({places})", asked)
            found |= {name: Answer(**json.loads(text)) for name, text in rows}
    return found


def write(answers: Mapping[str, Answer]) -> None:
    """Keep these; beyond MOST the oldest go."""
    rows = [(name, json.dumps(dataclasses.asdict(answer))) for name, answer in answers.items()]
    with contextlib.suppress(sqlite3.Error, OSError), _opened() as connection, connection:
        connection.executemany("insert or replace into answers values (?, ?)", rows)
        connection.execute("delete from answers where rowid <= (select max(rowid) from answers) - ?", [MOST])


def file() -> Path:
    return home.home() / "answers.sqlite"


@contextlib.contextmanager
def _opened() -> Iterator[Any]:
    connection = sqlite3.connect(file(), timeout=BUSY_SECONDS)
    try:
        connection.execute("pragma journal_mode=wal")
        connection.execute("pragma synchronous=normal")  # a lost one is asked again
        connection.execute(TABLE)
        yield connection
    finally:
        connection.close()
