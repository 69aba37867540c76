"""tokens/ of a run: its rows as ids and labels, made once, laid into sequences, and proven to be what is trained on.

Reads train.jsonl and validation.jsonl, writes tokens/ (Arrow: row, input_ids, labels).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import datasets
import numpy
from trl import pack_dataset

from pipeline import dataset, files, methods, model, template
from pipeline.chat_templates import Template
from pipeline.errors import UserError
from pipeline.job import Job
from pipeline.schema import Model, Row, Run

PARTS = ("train", "validation")
ROWS_AT_ONCE = 256  # tokenized between two words on how far it is

datasets.disable_progress_bars()


def prepare(job: Job, run: Run, named: Model, tokenizer: Any, chosen: Template) -> datasets.DatasetDict:
    """The rows as they will be trained on, from tokens/ if it is there. Raises UserError when a gate stops the run."""
    folder = job.folder / "tokens"
    if not folder.exists():
        made = _make(job, run, named, tokenizer, chosen)
        with files.whole_folder(folder) as temporary:
            written = {part: rows for part, rows in made.items() if len(rows)}  # none at all can't be read again
            datasets.DatasetDict(written).save_to_disk(str(temporary))
    try:
        found = datasets.load_from_disk(str(folder))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} can't be read ({error}); delete it and resume, it is made again.") from error
    return datasets.DatasetDict({part: found.get(part, as_dataset(())) for part in PARTS})


def _make(job: Job, run: Run, named: Model, tokenizer: Any, chosen: Template) -> dict[str, datasets.Dataset]:
    limit = model.readable(named, run.config.max_length)
    because = "max_length" if limit == run.config.max_length else f"the {limit} tokens that the model reads"
    parts = {part: dataset.read_part(job.folder, part) for part in PARTS}
    methods.check_rows(run.config.method, (row for rows in parts.values() for row in rows))
    of, drop_cut = sum(map(len, parts.values())), (run.source.choices or {}).get("cut") == "drop"
    made, done, longest = {}, 0, 0
    for part, rows in parts.items():
        examples: list[template.Example] = []
        dropped: list[int] = []
        unwanted: list[int] = []
        for some in _slices(rows):
            tokenized = template.tokenize(tokenizer, chosen, some, limit, run.config.loss_on)
            _refuse(part, tokenized)
            long = {e.row for e in tokenized.examples if e.cut} if drop_cut else set()
            unwanted += sorted(long)
            examples += [e for e in tokenized.examples if e.row not in long]
            dropped += tokenized.dropped
            done, longest = done + len(some), max(longest, tokenized.longest)
            job.emit("progress", done=done, of=of)
        _tell(job, part, examples, dropped, because)
        if unwanted:
            text = (
                f"{part}: {len(unwanted)} rows were left out, they are longer than {because} (rows {_some(unwanted)})."
            )
            job.emit("note", text=text)
        made[part] = as_dataset(examples)
    if not len(made["train"]):
        raise UserError(
            f"No row is left to train on: every answer lies beyond {because}; {longest} tokens would cut no row. "
            + ("Raise max_length." if because == "max_length" else "Use shorter rows, or a model that reads more.")
        )
    return made


def _slices(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    return (rows[start : start + ROWS_AT_ONCE] for start in range(0, len(rows), ROWS_AT_ONCE))


def _refuse(part: str, tokenized: template.Tokenized) -> None:
    if tokenized.gates:
        row, gate = tokenized.gates[0]
        others = len({r for r, _ in tokenized.gates}) - 1
        more = f" (at least {others} more rows have such a problem)" if others else ""
        raise UserError(f"{part} row {row}: {gate.sentence}{more}; nothing was trained.")


def _tell(job: Job, part: str, examples: Sequence[template.Example], dropped: Sequence[int], limit: str) -> None:
    if cut := [e.row for e in examples if e.cut]:
        text = f"{part}: {len(cut)} rows are longer than {limit} and were cut at the end (rows {_some(cut)})."
        job.emit("note", text=text)
    if dropped:
        text = (
            f"{part}: {len(dropped)} rows were left out, their whole answer is beyond {limit} (rows {_some(dropped)})."
        )
        job.emit("note", text=text)


def _some(rows: Sequence[int]) -> str:
    return ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")


def as_dataset(examples: Sequence[template.Example]) -> datasets.Dataset:
    features = datasets.Features(
        {
            "row": datasets.Value("int64"),
            "input_ids": datasets.List(datasets.Value("int32")),
            "labels": datasets.List(datasets.Value("int32")),
        }
    )
    columns = {key: [getattr(e, key) for e in examples] for key in features}
    return datasets.Dataset.from_dict(columns, features=features)


def packed(rows: datasets.Dataset, length: int) -> datasets.Dataset:
    """Rows laid into sequences of at most `length` tokens (none may be longer), with `seq_lengths` to keep them apart.

    TRL's collator makes position ids that begin anew with every row, and from those transformers makes attention that
    does not cross them, with sdpa and eager as well.
    """
    in_memory = {"keep_in_memory": True, "load_from_cache_file": False}
    return pack_dataset(rows.select_columns(["input_ids", "labels"]), length, "bfd", in_memory)


def assert_same(shown: datasets.Dataset, trained: datasets.Dataset) -> None:
    """What is trained on is what tokens/ holds and the preview shows: token for token, packed or not."""
    if "seq_lengths" in trained.column_names:
        if _fingerprints(shown) != _fingerprints(trained):
            raise AssertionError("the trainer's packed input_ids and labels differ from tokens/; nothing was trained")
        return
    for column in ("input_ids", "labels"):
        if not shown.data.column(column).equals(trained.data.column(column)):
            raise AssertionError(f"the trainer's {column} differ from tokens/; nothing was trained")


def _fingerprints(sequences: datasets.Dataset) -> Counter[bytes]:
    """How often each row occurs, whatever the order: rows of a packed sequence are looked at one by one."""
    found: Counter[bytes] = Counter()
    for sequence in sequences:
        both = numpy.array([sequence["input_ids"], sequence["labels"]], dtype=numpy.int64)
        ends = numpy.cumsum(sequence.get("seq_lengths") or [both.shape[1]])
        found.update(hashlib.sha256(row.tobytes()).digest() for row in numpy.split(both, ends[:-1], axis=1))
        if ends[-1] != both.shape[1]:
            raise AssertionError("a packed sequence is longer than the rows in it; nothing was trained")
    return found
