"""Rows -> their token counts: a sample at once, or every row in two processes. Nothing is counted twice.

What was counted is remembered by content: the row, the tokenizer, both templates, what is learned; in memory, and of many
rows on disk, too (counted.py). How long a row may be is no part of it: counts are made before any cut, so that another
longest length costs nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import itertools
import json
import os
import pickle
import random
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, BinaryIO

from pipeline import counted
from pipeline.errors import UserError
from pipeline.schema import Row
from pipeline.statistics import Count

SAMPLE = 2000
CHUNK = 25  # rows between two looks at whether the answer is still wanted
TELL_SECONDS = 0.3
WORKERS = 2
FEWEST_TO_SHARE = 1000  # rows below which a second process is not worth its start
REMEMBERED = 500_000  # rows; about 300 bytes each
UNCUT = sys.maxsize
DIE_WITH_PARENT = 1  # prctl's PR_SET_PDEATHSIG

Emit = Callable[[Any], None]
Tokens = tuple[int, tuple[tuple[int, int], ...], tuple[tuple[str, str], ...]]
"""(length, learned runs, gates) of a row: what is remembered, and what comes back from another process."""

_known: dict[bytes, Tokens] = {}


def identity(tokenizer: Any, template: Any, loss_on: str) -> bytes:
    """What decides, beside a row itself, how it becomes tokens."""
    made_of = [tokenizer.backend_tokenizer.to_str(), *template.hashes().values(), repr(template.stop_ids), loss_on]
    return hashlib.sha256("\0".join(made_of).encode(errors="surrogatepass")).digest()


def sample(rows: Sequence[Row], seed: int, size: int = SAMPLE) -> list[Row]:
    """The same rows for the same seed, in their order; all of them where there are no more than `size`."""
    places = sorted(random.Random(seed).sample(range(len(rows)), size)) if len(rows) > size else range(len(rows))
    return [rows[place] for place in places]


def known(rows: Sequence[Row], how: bytes) -> bool:
    """Whether every one of these rows was counted before."""
    keys = [_key(row, how) for row in rows]
    _recall(keys)
    return all(key in _known for key in keys)


def count(
    tokenizer: Any, template: Any, rows: Sequence[Row], loss_on: str,
    emit: Emit = lambda item: None, unwanted: threading.Event | None = None,
) -> list[Count]:  # fmt: skip
    """One Count per row, in their order.

    Tells {"rows_done", "rows"} about three times a second, and at the end. Raises UserError once `unwanted` is set; what was
    counted until then is remembered.
    """
    how = identity(tokenizer, template, loss_on)
    keys = [_key(row, how) for row in rows]
    _recall(keys)
    found = {key: _known[key] for key in keys if key in _known}
    missing = {key: row for key, row in zip(keys, rows, strict=True) if key not in found}
    left, told = len(missing), time.monotonic()
    made_by = _shared if left >= FEWEST_TO_SHARE and _can_share(template) else _alone
    with contextlib.closing(made_by(tokenizer, template, missing, loss_on)) as chunks:
        for made in chunks:
            found |= made
            left -= len(made)
            _remember(made)
            if unwanted and unwanted.is_set():
                raise UserError(f"Stopped after {len(rows) - left:,} of {len(rows):,} rows; these are remembered.")
            if time.monotonic() - told >= TELL_SECONDS:
                told = time.monotonic()
                emit({"rows_done": len(rows) - left, "rows": len(rows)})
    emit({"rows_done": len(rows), "rows": len(rows)})
    if missing and len(keys) >= FEWEST_TO_SHARE:
        counted.keep(found, keys)
    return [Count(row["row"], turns(row), *found[key]) for row, key in zip(rows, keys, strict=True)]


def _can_share(template: Any) -> bool:
    """A pasted template is rendered by a process of its own, which can't be asked by two; macOS forbids the fork."""
    return not template.guarded and sys.platform == "linux" and (os.cpu_count() or 1) > 1


def turns(row: Row) -> int:
    return sum(message["role"] == "user" for message in row["messages"])


def _key(row: Row, how: bytes) -> bytes:
    content = [row["messages"], row.get("tools"), row.get("text")]
    return hashlib.blake2b(json.dumps(content).encode(), key=how, digest_size=16).digest()


def _recall(keys: Sequence[bytes]) -> None:
    """Bring back from disk what another process, or one before this, has counted of them."""
    if len(keys) >= FEWEST_TO_SHARE and any(key not in _known for key in keys):
        _remember(counted.recall(keys))


def _remember(made: dict[bytes, Tokens]) -> None:
    _known.update(made)
    for oldest in list(itertools.islice(_known, max(0, len(_known) - REMEMBERED))):
        del _known[oldest]


def _alone(
    tokenizer: Any, template: Any, missing: dict[bytes, Row], loss_on: str
) -> Generator[dict[bytes, Tokens], None, None]:
    """Counts made here, a chunk at a time."""
    keys = list(missing)
    for place in range(0, len(keys), CHUNK):
        chunk = keys[place : place + CHUNK]
        yield dict(zip(chunk, _tokens(tokenizer, template, [missing[key] for key in chunk], loss_on), strict=True))


def _tokens(tokenizer: Any, template: Any, rows: Sequence[Row], loss_on: str) -> list[Tokens]:
    """What training would be fed, uncut, as counts. Rows are numbered by place: those of two files share numbers."""
    from pipeline.template import IGNORED, tokenize

    numbered: list[Row] = [{**row, "row": place} for place, row in enumerate(rows)]
    tokenized = tokenize(tokenizer, template, numbered, UNCUT, loss_on)
    examples = {example.row: example for example in tokenized.examples}
    gates: dict[int, list[tuple[str, str]]] = {place: [] for place in range(len(rows))}
    for place, gate in tokenized.gates:
        gates[place].append((gate.kind, gate.sentence))
    found: list[Tokens] = []
    for place, stopped in gates.items():
        example = examples.get(place)
        flags = bytes(map(IGNORED.__ne__, example.labels)) if example else b""
        runs = tuple(run.span() for run in re.finditer(b"\x01+", flags))
        found.append((len(flags), runs, tuple(stopped)))
    return found


def _shared(
    tokenizer: Any, template: Any, missing: dict[bytes, Row], loss_on: str
) -> Generator[dict[bytes, Tokens], None, None]:
    """The same counts, made by forked copies of this process: they have the rows and the tokenizer without loading any.

    What a copy that ended too early has left undone is made here.
    """
    keys, left = list(missing), dict(missing)
    shares = [{key: missing[key] for key in keys[first::WORKERS]} for first in range(WORKERS)]
    copies = [_fork(_alone(tokenizer, template, share, loss_on)) for share in shares]
    reading = [pipe for _, pipe in copies]
    try:
        while reading:
            for pipe in list(reading):
                try:
                    made = pickle.load(pipe)
                except (EOFError, pickle.UnpicklingError):
                    reading.remove(pipe)
                    continue
                for key in made:
                    del left[key]
                yield made
    finally:
        for pid, pipe in copies:
            os.kill(pid, signal.SIGKILL)  # it has ended already unless nobody wants the answer any more
            os.waitpid(pid, 0)
            pipe.close()
    yield from _alone(tokenizer, template, left, loss_on)


def _fork(chunks: Generator[dict[bytes, Tokens], None, None]) -> tuple[int, BinaryIO]:
    """A copy of this process that makes the chunks, and the pipe they come through. It dies when this process does."""
    ours, theirs = os.pipe()
    parent, pid = os.getpid(), os.fork()
    if pid:
        os.close(theirs)
        return pid, os.fdopen(ours, "rb")
    try:
        gc.freeze()  # a collection would touch, and so copy, every page of the parent
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() == parent:
            with os.fdopen(theirs, "wb") as pipe:
                for made in chunks:
                    pickle.dump(made, pipe)
                    pipe.flush()
    finally:
        os._exit(0)  # neither the parent's clean-up nor its handlers belong to this copy
