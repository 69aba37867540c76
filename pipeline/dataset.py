"""A file of examples -> the three parts: what is learned, what steers, what judges. Every finding is counted and said.

Reads the files a Source names (records.py), recognises their shape (shapes.py), converts their rows (conversations.py),
weeds them (weeding.py) and splits them (split.py); writes and reads train.jsonl, validation.jsonl and held_out.jsonl of a
run folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.conversations import Reading, convert
from pipeline.errors import UserError
from pipeline.findings import default_choices, effect, problem, rows_in_words
from pipeline.records import Records, file_name, read_all
from pipeline.schema import FINDINGS, PARTS, Prepared, Problem, Row, Source, pattern_columns
from pipeline.shapes import Guess, recognise
from pipeline.split import split_by_prompt
from pipeline.weeding import Candidate, candidate, weed

FEW_ROWS = 50
FEWEST_LABELLED, MOST_LABELS, LONGEST_LABEL = 50, 20, 3
WEEDED = ("duplicate", "different-answers")
Progress = Callable[[int, int], None]
Read = Callable[[Sequence[str]], Records]


class Opened(NamedTuple):
    """Records of one part's files, and how they are read."""

    name: str
    read: Records
    guess: Guess
    reading: Reading


class Usable(NamedTuple):
    """One part's rows in file order, each with its key (see split.prompt_key), and what was found on the way."""

    name: str
    rows: list[Row]
    keys: list[bytes]
    problems: list[Problem]


def prepare(source: Source, progress: Progress | None = None, read: Read = read_all) -> Prepared:
    """Read, convert, review and split. A supplied validation or held-out file is that part, whole.

    `progress` is called with the rows converted and their number, file by file; `read` reads the files. Raises UserError for a file that is
    missing, empty, unreadable, of unknown shape or without a usable row, and when a prompt stands in two of the files.
    """
    opened = _open(source, (source.path, *source.more_paths), read)
    learned = _usable(opened, source, progress)
    steering = _supplied(source.validation_path, source, progress, read)
    judging = _supplied(source.held_out_path, source, progress, read)
    if steering and judging:
        steering = _without_shared(steering, judging, source)
    for usable in filter(None, (steering, judging)):
        learned = _without_shared(learned, usable, source)
    split = split_by_prompt(
        learned.keys, 0 if steering else source.validation_share, 0 if judging else source.held_out_share
    )
    train, validation, held_out = (tuple(learned.rows[i] for i in part) for part in split[:3])
    validation = tuple(steering.rows) if steering else validation
    held_out = tuple(judging.rows) if judging else held_out
    problems = [*learned.problems, *_remarks(learned)]
    problems += [found for usable in (steering, judging) if usable for found in usable.problems]
    problems += [problem(learned.name, kind, {told: ()}) for kind, told in split.shortages]
    return Prepared(
        train=train,
        validation=validation,
        held_out=held_out,
        problems=tuple(problems),
        shape=opened.guess.shape,
        columns=opened.guess.columns,
        rows=opened.read.rows,
        fingerprint=fingerprint(train, validation, held_out),
        evidence=opened.guess.evidence,
        files=opened.read.files,
        cut=opened.reading.choices["cut"],
    )


def first(source: Source, n: int = 3, read: Read = read_all) -> list[Row]:
    """The first n rows that can be used, as they would be learned from: converts no more than it needs."""
    opened = _open(source, (source.path, *source.more_paths), read)
    converted = (convert(number, values, opened.reading).row for number, values in opened.read.records)
    return list(islice((row for row in converted if row is not None), n))


def _open(source: Source, paths: Sequence[str], read: Read) -> Opened:
    name = file_name(paths[0]) + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
    found = read(paths)
    records = [values for _, values in found.records]
    given, patterns = _given(source, paths[0], records)
    guess = recognise(name, records, source.shape, given, patterns, found.rows) if records else Guess("", {})
    roles = {role: column for column, role in guess.columns.items() if role != "ignore"}
    choices = {**default_choices(), **(source.choices or {})}
    return Opened(name, found, guess, Reading(roles, patterns, source.system, choices))


def _given(source: Source, path: str, records: list[dict[str, Any]]) -> tuple[dict[str, str] | None, dict[str, str]]:
    """Roles and patterns given hold for the training file; in a supplied file those count whose columns are there."""
    patterns = source.patterns or {}
    if path == source.path or not (source.columns or patterns):
        return source.columns, patterns
    present = set().union(*records)
    roles = {column: role for column, role in (source.columns or {}).items() if column in present}
    return roles, {role: text for role, text in patterns.items() if present.issuperset(pattern_columns(role, text))}


def _supplied(path: str | None, source: Source, progress: Progress | None, read: Read) -> Usable | None:
    return _usable(_open(source, (path,), read), source, progress) if path is not None else None


def _usable(opened: Opened, source: Source, progress: Progress | None) -> Usable:
    candidates = []
    records = opened.read.records
    for done, (number, values) in enumerate(records, start=1):
        candidates.append(candidate(number, values, opened.reading, source.seed))
        if progress and (done % 1000 == 0 or done == len(records)):
            progress(done, len(records))
    weeded = weed(candidates, opened.reading.choices)
    kept = [candidates[position] for position in weeded.kept]
    problems = _problems(opened, candidates, source.seed)
    if not kept:
        reasons = " ".join(found.sentence for found in problems[:3])
        raise UserError(f"{opened.name}: no row can be used. {reasons}")
    return Usable(opened.name, [one.row for one in kept if one.row], [one.key for one in kept], problems)


def _problems(opened: Opened, candidates: list[Candidate], seed: int) -> list[Problem]:
    reasons, files = _reasons(opened, candidates), opened.read.files
    told = [problem(opened.name, "guessed-columns", {opened.guess.told: ()})] if opened.guess.told else []
    order = [*(kind for kind in reasons if kind not in FINDINGS), *(kind for kind in FINDINGS if kind in reasons)]
    for kind in order:
        rows = {row for found in reasons[kind].values() for row in found}
        effects = {choice: _effect(kind, choice, rows, opened, candidates, seed) for choice in FINDINGS.get(kind, ())}
        told.append(problem(opened.name, kind, reasons[kind], opened.reading.choices.get(kind, ""), effects, files))
    return told


def _reasons(opened: Opened, candidates: list[Candidate]) -> dict[str, dict[str, list[int]]]:
    """kind -> what was found -> its rows. Of a row that is left out only the reason for that is told."""
    reasons: defaultdict[str, dict[str, list[int]]] = defaultdict(dict)
    for (kind, found), rows in opened.read.findings.items():
        said = found.removesuffix("; left out") if kind in FINDINGS else found
        reasons[kind].setdefault(said, []).extend(rows)
    weeded = weed(candidates, opened.reading.choices)
    duplicates = set(weeded.duplicates)
    for one in candidates:
        for kind, found in () if one.number in duplicates else one.notes if one.row else one.notes[-1:]:
            reasons[kind].setdefault(found, []).append(one.number)
    if weeded.duplicates:
        reasons["duplicate"]["the same as an earlier row"] = weeded.duplicates
    if weeded.different:
        reasons["different-answers"]["a prompt that has different answers"] = weeded.different
    return reasons


def _effect(kind: str, choice: str, rows: set[int], opened: Opened, candidates: list[Candidate], seed: int) -> str:
    """What a choice would come to, exactly: the rows it concerns are converted anew, and all are weeded anew."""
    reading = opened.reading._replace(choices={**opened.reading.choices, kind: choice})
    others = candidates
    if reading != opened.reading and kind not in WEEDED:
        others = _otherwise(kind, reading, opened, candidates, seed)
    kept = {others[position].number for position in weed(others, reading.choices).kept}
    return effect(kind, choice, len(rows), len(rows & kept), len(kept))


def _otherwise(kind: str, reading: Reading, opened: Opened, candidates: list[Candidate], seed: int) -> list[Candidate]:
    """The candidates under another choice for a kind; only rows of that kind can differ."""

    def changed(one: Candidate, number: int, values: dict[str, Any]) -> Candidate:
        dropped = reading.choices[kind] == "drop"
        return one._replace(row=None) if dropped else candidate(number, values, reading, seed)

    return [
        changed(one, number, values) if any(kind == found for found, _ in one.notes) else one
        for one, (number, values) in zip(candidates, opened.read.records, strict=True)
    ]


def _remarks(learned: Usable) -> list[Problem]:
    """What can be said of the rows as a whole: too few, or labels instead of answers."""
    remarks = {}
    rows = len(learned.rows)
    if rows < FEW_ROWS:
        remarks["few-rows"] = f"few usable rows ({rows}); add more, 1,000 good ones can be enough"
    answers = [row["messages"][-1]["content"].strip() for row in learned.rows if row["messages"]]
    labels = set(answers)
    if (
        len(answers) >= FEWEST_LABELLED
        and 2 <= len(labels) <= MOST_LABELS
        and all(len(label.split()) <= LONGEST_LABEL and len(label) <= 40 for label in labels)
    ):
        found = f"{len(labels)} short answers for {rows:,} rows"
        remarks["classification"] = f"{found}; this looks like classification: try a small encoder first"
    return [problem(learned.name, kind, {found: ()}) for kind, found in remarks.items()]


def _without_shared(usable: Usable, other: Usable, source: Source) -> Usable:
    """The rows whose prompts do not also stand in the other file, which judges or steers them."""
    shared = set(usable.keys) & set(other.keys)
    if not shared:
        return usable
    here, there = (
        [row["row"] for key, row in zip(u.keys, u.rows, strict=True) if key in shared] for u in (other, usable)
    )
    if not (source.choices or {}).get("shared-prompt"):
        raise UserError(
            f"{other.name}: {len(shared):,} of its prompts also stand in {usable.name} ({rows_in_words(here)} here, "
            f"{rows_in_words(there)} there); take them out of one of the two, or the scores will lie."
        )
    kept = [(row, key) for row, key in zip(usable.rows, usable.keys, strict=True) if key not in shared]
    if not kept:
        raise UserError(f"{usable.name}: every prompt also stands in {other.name}, so nothing is left to learn from.")
    effects = {"drop": effect("shared-prompt", "drop", len(there), 0, len(kept))}
    found = problem(usable.name, "shared-prompt", {f"their prompts also stand in {other.name}": there}, "drop", effects)
    return Usable(usable.name, [row for row, _ in kept], [key for _, key in kept], [*usable.problems, found])


def fingerprint(*parts: Iterable[Row]) -> str:
    """sha256 over the parts' conversations in order, not their row numbers: it changes if what is learned changes."""
    digest = hashlib.sha256()
    for name, rows in zip(PARTS, parts, strict=True):
        digest.update(f"{name}\n".encode())
        for row in rows:
            digest.update(_line(row, numbered=False))
    return digest.hexdigest()


def write_parts(prepared: Prepared, folder: str | Path) -> None:
    """Write train.jsonl, validation.jsonl and held_out.jsonl, each whole or not at all."""
    for name in PARTS:
        path = Path(folder) / f"{name}.jsonl"
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        with temporary.open("wb") as file:
            file.writelines(_line(row) for row in prepared.part(name))
        os.replace(temporary, path)


def read_part(folder: str | Path, name: str) -> list[Row]:
    """The rows of one part of a run folder, in file order. Raises UserError where the file is not there."""
    path = Path(folder) / f"{name}.jsonl"
    try:
        with path.open("rb") as file:
            return [json.loads(line) for line in file]
    except FileNotFoundError:
        raise UserError(f"{path.parent.name}: no such file; the run folder has lost its {name} rows.") from None
    except ValueError as error:
        raise UserError(f"{path.parent.name}/{path.name} can't be read; the run's folder is damaged.") from error


def _line(row: Row, numbered: bool = True) -> bytes:
    content = row if numbered else {key: value for key, value in row.items() if key != "row"}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
