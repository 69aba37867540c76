"""Many prompts through the columns of a pair, for jobs: in batches, resumable, with what the base is remembered to say.

Writes one line per finished answer, {"name", "column", "key", "answer"}, to a file in the run's folder. The key is a digest
of all an answer depends on, so that a line is used again only where the same would be generated.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from pipeline import events, generate, model, oom, remembered, sides
from pipeline.generate import Answer
from pipeline.job import Job, Stopped
from pipeline.schema import Decoding, Model
from pipeline.sides import Pair

MOST_ROWS = 64  # in one batch, over all columns
MEMORY_SHARE = 1 / 4  # of what is free, for the keys and values of one batch
OF_THE_BASE = ("base", "prompted")  # columns that every adapter leaves as they are: their answers are remembered
STOP_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Asked:
    """One question: the prompt's token ids for each column. `name` is its name in the file, one of its own."""

    name: str
    prompts: Mapping[str, Sequence[int]]

    @property
    def length(self) -> int:
        return max(map(len, self.prompts.values()))


@dataclass(frozen=True)
class _Open:
    """A question as it is still to be answered: by which columns, and with the room that its own prompts leave."""

    asked: Asked
    keys: Mapping[str, str]
    decoding: Decoding
    columns: tuple[str, ...]

    @property
    def tokens(self) -> int:
        """Of all its columns, prompt and longest answer."""
        return (self.asked.length + self.decoding.max_new_tokens) * len(self.columns)


def all_of(
    job: Job,
    pair: Pair,
    named: Model,
    asked: Sequence[Asked],
    decoding: Decoding,
    file: Path,
    phase: str = "answering",
    other: Model | None = None,
) -> list[dict[str, Answer]]:
    """Each question's answers by column, in the order asked. `other` is the model of the column of that name, if any.

    Answers that stand in `file` or are remembered of the base are not generated again; every new one is appended to `file`
    with its batch, so that a job that was killed goes on where it was. Tells `phase` with the number of questions, then a
    progress event per batch with `step` and `done` (questions answered), `of` and `eta_seconds`. Under greedy decoding in
    32 bit the answers are those of one question at a time.

    Raises job.Stopped within a token of being asked to stop (what ended by itself is kept), UserError when a prompt leaves
    no room for an answer.
    """
    job.phase(phase, steps=len(asked))
    whose = _whose(pair, named, other)
    opened = [_opened(pair, q, whose, decoding) for q in asked]
    kept = _Kept(file, remembers=bool(whose["base"]))
    kept.look_up(opened)
    waiting = [dataclasses.replace(q, columns=columns) for q in opened if (columns := kept.missing(q))]
    begun, before = time.monotonic(), len(asked) - len(waiting)
    done = before
    with _stop_of(job) as stop:
        for batch, found in _batches(pair, waiting, stop):
            kept.add(batch, found, stop.is_set())
            if stop.is_set():
                raise Stopped
            done += len(batch)
            left = (time.monotonic() - begun) / (done - before) * (len(asked) - done)
            job.emit("progress", step=done, done=done, of=len(asked), eta_seconds=round(left, 1))
    return [{column: kept.known[q.keys[column]] for column in q.asked.prompts} for q in opened]


def _whose(pair: Pair, named: Model, other: Model | None) -> dict[str, str]:
    """What each column's answers depend on beside prompt and settings."""
    base = remembered.whose(pair, named)
    adapters = {"tuned": named.adapter, "other": other and other.adapter}
    marks = {column: model.fingerprint(Path(folder)) for column, folder in adapters.items() if folder}
    return {**dict.fromkeys(OF_THE_BASE, base), **{column: f"{base} {mark}" for column, mark in marks.items()}}


def _opened(pair: Pair, asked: Asked, whose: Mapping[str, str], decoding: Decoding) -> _Open:
    """The limit is what this question's prompts leave of the context: another one's in its batch must not shorten it."""
    most = sides.context(pair)
    room = decoding.max_new_tokens if most is None else max(1, min(decoding.max_new_tokens, most - asked.length))
    own = dataclasses.replace(decoding, max_new_tokens=room)
    keys = {column: remembered.key(whose[column], prompt, own) for column, prompt in asked.prompts.items()}
    return _Open(asked, keys, own, tuple(asked.prompts))


class _Kept:
    """The answers there are by key: those of the file, and of the base what is remembered, which are written there, too."""

    def __init__(self, file: Path, remembers: bool) -> None:
        self.file, self.remembers = file, remembers
        self.known = read(file)

    def missing(self, question: _Open) -> tuple[str, ...]:
        return tuple(column for column in question.columns if question.keys[column] not in self.known)

    def look_up(self, questions: Sequence[_Open]) -> None:
        if not self.remembers:
            return
        wanted = [(q, column) for q in questions for column in self.missing(q) if column in OF_THE_BASE]
        found = remembered.read([q.keys[column] for q, column in wanted])
        told = [(q, column, found[q.keys[column]]) for q, column in wanted if q.keys[column] in found]
        self._write(told)

    def add(self, batch: Sequence[_Open], found: Mapping[str, Sequence[Answer]], stopping: bool) -> None:
        """A batch's answers. Of one that was stopped, only those which ended by themselves before."""
        told = [
            (q, column, answer)
            for column, answers in found.items()
            for q, answer in zip(batch, answers, strict=True)
            if answer.stopped or not stopping
        ]
        self._write(told)
        if self.remembers:
            remembered.write({q.keys[column]: answer for q, column, answer in told if column in OF_THE_BASE})

    def _write(self, told: Sequence[tuple[_Open, str, Answer]]) -> None:
        lines = [
            {"name": q.asked.name, "column": column, "key": q.keys[column], "answer": dataclasses.asdict(answer)}
            for q, column, answer in told
        ]
        append(self.file, lines)
        self.known |= {q.keys[column]: answer for q, column, answer in told}


def read(file: Path) -> dict[str, Answer]:
    """The answers in such a file, by key. A last line that a kill cut short is cut off; only the run's job may ask."""
    if not file.exists():
        return {}
    events.mend(file)
    lines = (json.loads(line) for line in file.read_bytes().splitlines())
    return {line["key"]: Answer(**line["answer"]) for line in lines}


def append(file: Path, lines: Sequence[Mapping[str, object]]) -> None:
    """Add lines with one write; those of a file that is cut short by a kill or a full disk are mended when it is read."""
    if lines:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        with file.open("ab", buffering=0) as stream:
            written = stream.write(text.encode())
        if written != len(text):
            raise OSError(28, os.strerror(28), str(file))


def _batches(
    pair: Pair, waiting: Sequence[_Open], stop: threading.Event
) -> Iterator[tuple[Sequence[_Open], dict[str, list[Answer]]]]:
    """Batches with their answers. Those that ask the same columns with the same room go together, the longest first.

    So the batch that needs most memory is the first one; where it does not fit, it and all later ones are halved.
    """
    room = tokens_at_once(pair)
    left = sorted(waiting, key=lambda q: (q.columns, q.decoding.max_new_tokens, q.asked.length), reverse=True)
    while left:
        batch = _next(left, room)
        prompts = {column: [q.asked.prompts[column] for q in batch] for column in batch[0].columns}
        try:
            found = generate.of_columns(pair, prompts, batch[0].decoding, stop)
        except RuntimeError as error:
            if len(batch) == 1 or not oom.meant(error):
                raise
            found = {}
        if found:
            left = left[len(batch) :]
            yield batch, found
        else:
            room = batch[0].tokens * len(batch) // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def _next(left: Sequence[_Open], room: int) -> Sequence[_Open]:
    """The first question and as many of its kind behind it as fit into `room` tokens and MOST_ROWS."""
    first = left[0]
    fit = max(1, min(room // first.tokens, MOST_ROWS // len(first.columns)))
    kind = (first.columns, first.decoding)
    alike = next((n for n, q in enumerate(left[:fit]) if (q.columns, q.decoding) != kind), fit)
    return left[: min(alike, len(left))]


def tokens_at_once(pair: Pair) -> int:
    """Tokens, prompts and answers of all rows together, whose keys and values take MEMORY_SHARE of the free memory."""
    device = pair.adapted.device
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    config = pair.adapted.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None) or 1  # a state space model has none
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    kept = (getattr(config, "num_key_value_heads", None) or heads) * width
    each = 2 * config.num_hidden_layers * kept * model.compute_dtype(pair.adapted).itemsize
    return int(free * MEMORY_SHARE / each)


@contextlib.contextmanager
def _stop_of(job: Job) -> Iterator[threading.Event]:
    """A flag that is set as soon as the job is asked to stop."""
    asked, over = threading.Event(), threading.Event()

    def watch() -> None:
        while not over.is_set():
            if job.stop_asked():
                asked.set()
                return
            over.wait(STOP_POLL_SECONDS)

    job.end_if_stop_asked()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        over.set()
        thread.join()
