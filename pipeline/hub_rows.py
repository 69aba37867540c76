"""Rows of a dataset on the Hub: the first ones to look at, then all of them as an upload, so that no run needs the Hub.

They are streamed, nothing is installed. Writes <home>/uploads/<id>/<user>__<name>-<config>-<split>.jsonl.
"""

from __future__ import annotations

import contextlib
import os
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pipeline import home, hub_dataset, hub_lines, uploads
from pipeline.child import Emit
from pipeline.contents import MOST_BYTES, size_in_words
from pipeline.errors import UserError
from pipeline.hub_dataset import in_words
from pipeline.hub_lines import Pace

SILENCE_SECONDS = 120.0  # how long the Hub may send nothing
TOLD_SECONDS = 0.3
LEAVE_SECONDS = 1.0  # how long a thread that is not wanted any more is waited for
MOST_ROWS = 200_000
BATCH_BYTES = 1 << 20


class Found(NamedTuple):
    """A split that is about to be streamed, and how many rows its card says it has."""

    repo: str
    sha: str
    config: str
    split: str
    total: int | None


def offer(repo: str, token: str | None) -> dict[str, Any]:
    """What can be chosen: {"repo", "sha", "gated", "configs": {config: [splits]}, "usual": config or None}."""

    def items() -> Iterator[dict[str, Any]]:
        with tempfile.TemporaryDirectory() as cache:
            yield hub_dataset.find(repo, token, cache)._asdict()

    with in_words(repo, token), contextlib.closing(_behind(items)) as found:
        return dict(_first(found))


def peek(
    repo: str, config: str | None, split: str | None, token: str | None, rows: int = 20, sha: str | None = None
) -> dict[str, Any]:
    """{"rows", "columns", "total", "sha"}: the first rows as they would be fetched, without downloading the rest.

    `total` is what the card says, None where it says nothing; `fetch` can be held to the commit `sha`.
    """
    taken: list[dict[str, Any]] = []
    with in_words(repo, token), contextlib.closing(_stream(repo, config, split, token, sha, hub_lines.PEEK)) as lines:
        found = _first(lines)
        for line in chain.from_iterable(filter(None, lines)):
            if row := hub_lines.row_of(line):
                taken.append(row)
            if len(taken) == rows:
                break
    columns = list(dict.fromkeys(column for row in taken for column in row))
    return {"rows": taken, "columns": columns, "total": found.total, "sha": found.sha}


def fetch(
    repo: str, config: str | None, split: str | None, token: str | None, emit: Emit, unwanted: threading.Event,
    most: int = MOST_ROWS, sha: str | None = None,
) -> str:  # fmt: skip
    """`fetch_to` a file that is kept like an uploaded one; its id."""
    folder = home.home() / "uploads"  # on the same disk, and swept like an upload should this process be killed
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix=".hub-", dir=folder) as temporary:
        return uploads.keep(fetch_to(Path(temporary), repo, config, split, token, emit, unwanted, most, sha))


def fetch_to(
    path: Path, repo: str, config: str | None = None, split: str | None = None, token: str | None = None,
    emit: Emit = lambda told: None, unwanted: threading.Event | None = None, most: int = MOST_ROWS,
    sha: str | None = None,
) -> Path:  # fmt: skip
    """Stream the rows into this file, or into one named after them where `path` is a folder; the file, one row per line.

    Tells {"rows_done", "rows": how many it will be, or None} three times a second, and at the end {"cut": a sentence or ""} with it.
    Raises UserError, and leaves nothing, when it is stopped or the dataset can't be read to its end.
    """
    watch = Watch(repo, emit, unwanted or threading.Event())
    with in_words(repo, token), contextlib.closing(_stream(repo, config, split, token, sha, hub_lines.FETCH)) as lines:
        found = _first(lines, watch)
        name = f"{found.repo.replace('/', '__')}-{found.config}-{found.split}.jsonl"
        file = path / uploads.flat_name(name) if path.is_dir() else path
        with _whole_file(file) as out:
            _write(out, lines, found, watch, most)
    return file


class Watch:
    """Tells how far a fetch is, and hears that it is not wanted any more."""

    def __init__(self, repo: str, emit: Emit, unwanted: threading.Event) -> None:
        self.repo, self.emit, self.unwanted, self._told = repo, emit, unwanted, time.monotonic()

    def __call__(self, done: int = 0, total: int | None = None) -> None:
        if self.unwanted.is_set():
            raise UserError(f"Fetching {self.repo} was stopped; nothing of it was kept.")
        if time.monotonic() - self._told > TOLD_SECONDS:
            self._told = time.monotonic()
            self.emit({"rows_done": done, "rows": total})


def _write(out: BinaryIO, batches: Iterator[list[bytes] | None], found: Found, watch: Watch, most: int) -> None:
    done, cut = 0, ""
    wanted = min(found.total, most) if found.total else None
    for line in chain.from_iterable(batch or [b""] for batch in batches):
        watch(done, wanted)
        if line and (cut := _too_much(done, out.tell() + len(line), most)):
            break
        if line:
            out.write(line + b"\n")
            done += 1
    if not done:
        raise UserError(f"{found.repo} holds no rows in {found.config}, {found.split}; choose another split.")
    watch.emit({"rows_done": done, "rows": wanted, "cut": cut})


def _too_much(rows: int, size: int, most: int) -> str:
    if rows == most:
        return f"Only the first {rows:,} rows were taken; a thousand good ones can do."
    if size >= MOST_BYTES:
        return f"Only the first {rows:,} rows were taken: more would make a file of over {size_in_words(MOST_BYTES)}."
    return ""


@contextlib.contextmanager
def _whole_file(file: Path) -> Iterator[BinaryIO]:
    """A file to write, which has its name only when the block ended well. Raises UserError where the disk refuses."""
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with part.open("wb") as out:
            yield out
        os.replace(part, file)
    except OSError as error:
        if error.errno is None or isinstance(error, ConnectionError):  # not of this disk
            raise
        raise UserError(
            f"{file.name} can't be written ({error.strerror}); make room, or choose another place."
        ) from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _stream(
    repo: str, config: str | None, split: str | None, token: str | None, sha: str | None, pace: Pace
) -> Generator[Any]:
    """First what was found, then the rows as lines of JSON, many at a time; None where nothing came for a moment."""

    def items() -> Iterator[Any]:
        with tempfile.TemporaryDirectory() as cache:
            offered = hub_dataset.find(repo, token, cache, sha)
            named, part = hub_dataset.chosen(offered, config, split)
            builder = hub_dataset.open_config(offered, named, token, cache, pace.block)
            told = (builder.info.splits or {}).get(part)
            yield Found(offered.repo, offered.sha, named, part, (told and told.num_examples) or None)
            yield from _batches(hub_lines.lines(builder, part, token, pace), pace.rows)

    return _behind(items)


def _batches(lines: Iterator[bytes], most: int) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for line in lines:
        batch.append(line)
        size += len(line)
        if len(batch) == most or size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
    yield batch


def _first(items: Iterator[Any], watch: Callable[[], None] = lambda: None) -> Any:
    while (item := next(items)) is None:
        watch()
    return item


def _behind(items: Callable[[], Iterator[Any]]) -> Generator[Any]:
    """What `items` gives, made in a thread that is left to itself when it hangs; None while nothing comes.

    So a stop is heard while the library waits for the Hub, and no silence lasts for ever.
    """
    made: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=4)
    left = threading.Event()

    def put(kind: str, value: Any = None) -> None:
        while not left.is_set():
            with contextlib.suppress(queue.Full):
                made.put((kind, value), timeout=0.1)
                return

    def make() -> None:
        try:
            with contextlib.closing(items()) as wanted:  # type: ignore[type-var]
                for item in wanted:
                    put("item", item)
                    if left.is_set():
                        return
            put("end")
        except Exception as error:  # raised again where it is waited for
            put("error", error)

    thread = threading.Thread(target=make, name="hub-rows", daemon=True)
    thread.start()
    try:
        yield from _heard(made)
    finally:
        left.set()
        thread.join(LEAVE_SECONDS)


def _heard(made: queue.Queue[tuple[str, Any]]) -> Iterator[Any]:
    heard = time.monotonic()
    while time.monotonic() - heard < SILENCE_SECONDS:
        try:
            kind, value = made.get(timeout=0.1)
        except queue.Empty:
            yield None
            continue
        if kind == "error":
            raise value
        if kind == "end":
            return
        yield value
        heard = time.monotonic()
    raise UserError(f"The Hub sent nothing for {SILENCE_SECONDS:.0f} s; try again later, or upload the rows as a file.")
