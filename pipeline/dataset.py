"""A file of examples -> the three parts: what is learned, what steers, what judges. Every finding is counted and said.

Reads the files a Source names (records.py), recognises their shape (shapes.py), converts their rows (conversations.py);
writes and reads train.jsonl, validation.jsonl and held_out.jsonl of a run folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.conversations import BadRow, canonical, to_conversation
from pipeline.errors import UserError
from pipeline.records import Findings, add_finding, file_name, read_records
from pipeline.schema import PARTS, Message, Prepared, Problem, Row, Source
from pipeline.shapes import Guess, recognise

FEW_ROWS = 20
LEAST, MOST = 16, 128
FEWEST_GROUPS = 5
LISTED_REASONS = 20


class Usable(NamedTuple):
    """One file's conversations in file order, each with its key (see `prompt_key`), and what was found on the way."""

    name: str
    rows: list[Row]
    keys: list[bytes]
    findings: Findings
    guess: Guess
    total: int


class Split(NamedTuple):
    """Positions of the rows in each part, ascending, and the (kind, sentence) of what could not be done."""

    train: list[int]
    validation: list[int]
    held_out: list[int]
    shortages: list[tuple[str, str]]


def prepare(source: Source) -> Prepared:
    """Read, convert, review and split. A supplied validation or held-out file is that part, whole.

    Raises UserError for a file that is missing, empty, unreadable, of unknown shape or without a usable row, and when a
    prompt stands in two of the files.
    """
    learned = _usable(source.path, source)
    steering = _usable(source.validation_path, source) if source.validation_path is not None else None
    judging = _usable(source.held_out_path, source) if source.held_out_path is not None else None
    supplied = [usable for usable in (steering, judging) if usable]
    for usable in supplied:
        _refuse_shared_prompts(usable, learned)
    if steering and judging:
        _refuse_shared_prompts(judging, steering)
    split = split_by_prompt(
        learned.keys, 0 if steering else source.validation_share, 0 if judging else source.held_out_share
    )
    train, validation, held_out = (tuple(learned.rows[i] for i in part) for part in split[:3])
    validation = tuple(steering.rows) if steering else validation
    held_out = tuple(judging.rows) if judging else held_out
    problems = [problem for usable in (learned, *supplied) for problem in _problems(usable)]
    problems += [Problem(kind, (), f"{learned.name}: {sentence}.") for kind, sentence in split.shortages]
    return Prepared(
        train=train,
        validation=validation,
        held_out=held_out,
        problems=tuple(problems),
        shape=learned.guess.shape,
        columns=learned.guess.columns,
        rows=learned.total,
        fingerprint=fingerprint(train, validation, held_out),
    )


def _usable(path: str, source: Source) -> Usable:
    name = file_name(path)
    read = read_records(path)
    records = [values for _, values in read.records]
    guess = recognise(name, records, source.shape, _given(source, path, records)) if records else Guess("", {})
    roles = {role: column for column, role in guess.columns.items() if role != "ignore"}
    usable = Usable(name, [], [], read.findings, guess, read.rows)
    seen: set[bytes] = set()
    for number, values in read.records:
        _add(usable, seen, number, values, roles, source)
    if not usable.rows:
        reasons = " ".join(problem.sentence for problem in _problems(usable)[:3])
        raise UserError(f"{name}: no row can be used. {reasons}")
    _find_different_answers(usable)
    if path == source.path and len(usable.rows) < FEW_ROWS:
        found = f"few usable rows ({len(usable.rows)}); add more, a thousand good ones can be enough"
        usable.findings["few-rows", found] = []
    return usable


def _given(source: Source, path: str, records: list[dict[str, Any]]) -> dict[str, str] | None:
    """The roles given hold for the training file; in a supplied file those count whose columns are there."""
    if path == source.path or not source.columns:
        return source.columns
    present = set().union(*records)
    return {column: role for column, role in source.columns.items() if column in present}


def _add(
    usable: Usable, seen: set[bytes], number: int, values: dict[str, Any], roles: dict[str, str], source: Source
) -> None:
    try:
        conversation, notes = to_conversation(values, roles, source.system)
        content = hashlib.sha256(canonical(conversation)).digest()
    except BadRow as bad:
        add_finding(usable.findings, *bad.note, number)
        return
    if content in seen:
        add_finding(usable.findings, "duplicate", "the same as an earlier row; kept once", number)
        return
    seen.add(content)
    for note in dict.fromkeys(notes):
        add_finding(usable.findings, *note, number)
    usable.rows.append({"row": number, **conversation})
    usable.keys.append(prompt_key(conversation["messages"], source.seed))


def prompt_key(messages: Sequence[Message], seed: int) -> bytes:
    """Equal for rows whose prompts (all messages before the last) differ in case, width or white space only.

    Its value decides the row's part: a seeded hash, so that it does not depend on the other rows.
    """
    words = [str(seed)]
    for message in messages[:-1]:
        content = " ".join(unicodedata.normalize("NFKC", message["content"]).casefold().split())
        calls = json.dumps(message["tool_calls"], sort_keys=True) if "tool_calls" in message else ""
        words.append(f"{message['role']}:{content}{calls}")
    return hashlib.sha256("\n".join(words).encode()).digest()


def _find_different_answers(usable: Usable) -> None:
    groups: defaultdict[bytes, list[Row]] = defaultdict(list)
    for key, row in zip(usable.keys, usable.rows, strict=True):
        groups[key].append(row)
    rows = [
        row["row"] for group in groups.values() if len({str(row["messages"][-1]) for row in group}) > 1 for row in group
    ]
    if rows:
        found = "a prompt that has different answers; kept, and always on one side of the split"
        usable.findings["different-answers", found] = sorted(rows)


def _refuse_shared_prompts(usable: Usable, other: Usable) -> None:
    shared = set(usable.keys) & set(other.keys)
    if shared:
        here, there = (
            _rows_in_words([row["row"] for key, row in zip(u.keys, u.rows, strict=True) if key in shared])
            for u in (usable, other)
        )
        raise UserError(
            f"{usable.name}: {len(shared)} of its prompts also stand in {other.name} ({here} here, {there} there); "
            "take them out of one of the two, or the scores will lie."
        )


def _problems(usable: Usable) -> list[Problem]:
    guessed = [Problem("guessed-columns", (), f"{usable.name}: {usable.guess.told}.")] if usable.guess.told else []
    return guessed + [
        Problem(kind, tuple(rows), f"{usable.name}{', ' * bool(rows)}{_rows_in_words(rows)}: {found}.")
        for (kind, found), rows in _without_rare_reasons(usable.findings).items()
    ]


def _without_rare_reasons(findings: Findings) -> Findings:
    """A file can be wrong in as many ways as it has rows: beyond the first twenty, a kind's reasons become one."""
    kept: Findings = {}
    reasons: Counter[str] = Counter()
    for (kind, found), rows in findings.items():
        reasons[kind] += 1
        told = found if reasons[kind] <= LISTED_REASONS else "other reasons than the ones above"
        kept.setdefault((kind, told), []).extend(rows)
    return {key: sorted(rows) for key, rows in kept.items()}


def _rows_in_words(rows: Sequence[int]) -> str:
    if len(rows) <= 1:
        return "".join(f"row {row}" for row in rows)
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return f"{len(rows)} rows ({', '.join(map(str, rows[:5]))}{more})"


def split_by_prompt(keys: Sequence[bytes], validation_share: float, held_out_share: float) -> Split:
    """Held-out takes the groups of equal keys with the lowest hashes, validation the highest, the rest is learned from.

    Each takes its share, at least 16 and at most 128 rows, never more than a fifth of the rows or groups, unless its only
    group is larger. With fewer than five groups validation is a copy of training rows; with one nothing is held out.
    """
    groups: defaultdict[bytes, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        groups[key].append(position)
    shortages: list[tuple[str, str]] = []
    order = sorted(groups)
    judging = _take(order, groups, _wanted(held_out_share, len(keys)), len(keys))
    rest = [key for key in reversed(order) if key not in judging]
    wanted = _wanted(validation_share, len(keys))
    enough = len(groups) >= FEWEST_GROUPS or not judging
    steering = _take(rest, groups, wanted, len(keys)) if enough else set()
    held_out, validation, train = (
        sorted(position for key in part for position in groups[key])
        for part in (judging, steering, set(rest) - steering)
    )
    if held_out_share and not held_out:
        shortages.append(
            ("no-held-out", "a single prompt can't be split, so no row is held out; supply a held-out file")
        )
    if wanted and not validation:
        validation = sorted([position for key in rest for position in groups[key]][: min(wanted, LEAST)])
        found = f"too few prompts for a validation part of its own, so training rows steer ({len(validation)})"
        shortages.append(("validation-from-train", f"{found}; their loss says nothing about unseen rows"))
    return Split(train, validation, held_out, shortages)


def _wanted(share: float, rows: int) -> int:
    return min(max(round(share * rows), LEAST), MOST) if share else 0


def _take(order: Sequence[bytes], groups: dict[bytes, list[int]], wanted: int, rows: int) -> set[bytes]:
    """The first groups that fit; the smallest one where none does; never the only one."""
    taken: set[bytes] = set()
    if not wanted or len(order) < 2:
        return taken
    limit, most_groups, count = min(wanted, max(1, rows // 5)), max(1, len(groups) // 5), 0
    for key in order:
        if count + len(groups[key]) <= limit and len(taken) < most_groups:
            taken.add(key)
            count += len(groups[key])
    return taken or {min(order, key=lambda key: len(groups[key]))}


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
