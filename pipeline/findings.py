"""What was found in the data -> problems: the rows, the sentence, what can be done about it and what that would come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.records import place
from pipeline.schema import FINDINGS, Problem

LISTED_REASONS = 5
HAPPENS = {
    "drop": "left out",
    "keep": "kept as it is",
    "fix": "taken out of the text",
}
SPECIAL_CASES = {
    ("last-turn-not-assistant", "fix"): "kept up to the last answer",
    ("roles-out-of-order", "fix"): "put in order",
    ("duplicate", "drop"): "kept once",
    ("different-answers", "drop"): "only the first row is kept",
    ("different-answers", "keep"): "kept, and always on one side of the split",
    ("secret", "fix"): "written as [removed]",
    ("email", "fix"): "written as [removed]",
    ("phone", "fix"): "written as [removed]",
}
VERBS = {"last-turn-not-assistant": "cuts", "roles-out-of-order": "mends"}


def default_choices() -> dict[str, str]:
    return {kind: choices[0] for kind, choices in FINDINGS.items()}


def problem(
    name: str,
    kind: str,
    reasons: Mapping[str, Sequence[int]],
    chosen: str = "",
    effects: Mapping[str, str] | None = None,
    files: Sequence[tuple[str, int]] = (),
) -> Problem:
    """One finding of a kind; `reasons` are the sentences of what was found, each with its rows. `files` as in Records."""
    rows = sorted({row for found in reasons.values() for row in found})
    where = f"{name}{', ' * bool(rows)}{rows_in_words(rows, files)}"
    happens = SPECIAL_CASES.get((kind, chosen), HAPPENS.get(chosen, ""))
    told = f"{where}: {_reasons_in_words(reasons)}{'; ' * bool(happens)}{happens}."
    return Problem(kind, tuple(rows), told, len(rows), FINDINGS.get(kind, ()), chosen, dict(effects or {}))


def effect(kind: str, choice: str, rows: int, kept: int, stay: int) -> str:
    """What a choice comes to: of the finding's `rows` so many are `kept`, and `stay` rows of the file are used."""
    if choice == "drop":
        return f"drops {_count(rows - kept)}, {stay:,} stay"
    if choice == "keep":
        return f"keeps {_count(kept)}, {stay:,} stay"
    lost = f"; {_count(rows - kept)} can't be used even so" if rows > kept else ""
    return f"{VERBS.get(kind, 'cleans')} {_count(kept)}, {stay:,} stay{lost}"


def rows_in_words(rows: Sequence[int], files: Sequence[tuple[str, int]] = ()) -> str:
    if len(rows) <= 1:
        return "".join(place(files, row) for row in rows)
    listed = ", ".join(place(files, row).removeprefix("row ") for row in rows[:5])
    more = f" and {len(rows) - 5:,} more" if len(rows) > 5 else ""
    return f"{len(rows):,} rows ({listed}{more})"


def _count(rows: int) -> str:
    return f"{rows:,} row{'s' * (rows != 1)}"


def _reasons_in_words(reasons: Mapping[str, Sequence[int]]) -> str:
    """A file can be wrong in as many ways as it has rows: the commonest ones are told."""
    if len(reasons) == 1:
        return next(iter(reasons))
    listed = sorted(reasons, key=lambda found: -len(reasons[found]))[:LISTED_REASONS]
    told = "; ".join(f"{found}{_first(reasons[found])}" for found in listed)
    other = len(reasons) - len(listed)
    return told + (f"; {other:,} other reason{'s' * (other != 1)}" if other else "")


def _first(rows: Sequence[int]) -> str:
    return f" (row {rows[0]})" if len(rows) == 1 else f" ({len(rows):,} rows, the first is {rows[0]})" if rows else ""
