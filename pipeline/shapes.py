"""Which shape the rows have, and which column plays which role: guessed from names and values. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from pipeline.errors import UserError
from pipeline.records import LONGEST_NAME, turn_keys
from pipeline.schema import nearest

NAMES = {
    "messages": ("messages", "conversations", "conversation"),
    "system": ("system", "system_prompt", "system prompt", "system_message"),
    "tools": ("tools",),
    "history": ("history",),
    "prompt": ("instruction", "prompt", "question", "query", "input", "user", "human", "request", "problem"),
    "completion": ("completion", "output", "answer", "response", "target", "reply", "assistant", "solution"),
    "context": ("input", "context"),
}
"""The names a role's column goes by, the most telling first."""

TURNS = ("messages", "sharegpt")
SAMPLE = 200
WISH = "name the columns prompt and completion, or messages, or say which column has which role"


class Guess(NamedTuple):
    """`columns` gives every column of the file its role; `told` is the sentence that owns up to a bold guess."""

    shape: str
    columns: dict[str, str]
    told: str = ""


def recognise(
    name: str, records: Sequence[dict[str, Any]], shape: str | None = None, given: dict[str, str] | None = None
) -> Guess:
    """The shape and column roles of the records. What is given wins; given roles that name no answers are completed.

    Raises UserError, naming the columns it found, where the rows have no shape known here.
    """
    forms = _forms(records)
    roles = {role: column for column, role in (given or {}).items() if role != "ignore"}
    _check_given(name, given or {}, roles, forms)
    told = ""
    if "messages" not in roles and not {"prompt", "completion"} <= roles.keys():
        free = {column: form for column, form in forms.items() if column not in (given or {})}
        told = _complete(name, roles, free, shape)
    found = _shape(roles, forms)
    if shape and (shape in TURNS) != (found in TURNS):
        raise UserError(f"{name}: the shape {shape!r} does not fit the columns {_listed(forms)}; {WISH}.")
    by_column = {column: role for role, column in roles.items()}
    return Guess(shape or found, {column: by_column.get(column, "ignore") for column in forms}, told)


def _check_given(name: str, given: dict[str, str], roles: dict[str, str], forms: dict[str, str]) -> None:
    for column, role in given.items():
        if column not in forms:
            wish = nearest(column, forms)
            raise UserError(f"{name}: there is no column {column!r} among {_listed(forms)}; {wish}.")
        if role != "ignore" and roles[role] != column:
            raise UserError(f"{name}: columns {column!r} and {roles[role]!r} both have the role {role!r}; choose one.")


def _complete(name: str, roles: dict[str, str], free: dict[str, str], shape: str | None) -> str:
    """Add to `roles` what the names and forms of the free columns tell; the sentence, where that was a bold guess."""
    for role in ("system", "tools"):
        _take(role, roles, free)
    turns = [column for column, form in free.items() if form in TURNS]
    if turns and shape not in ("alpaca", "prompt/completion"):
        named = [column for column in turns if _named("messages", column)]
        if named or not (any(_named("prompt", c) for c in free) and any(_named("completion", c) for c in free)):
            roles["messages"] = _only(name, named or turns)
            return ""
    for role in ("prompt", "completion", "context", "history"):
        _take(role, roles, free)
    if {"prompt", "completion"} <= roles.keys():
        return ""
    return _two_texts(name, roles, free)


def _take(role: str, roles: dict[str, str], free: dict[str, str]) -> None:
    known = {column.strip().casefold(): column for column in free}
    for column in NAMES[role]:
        if role not in roles and column in known:
            roles[role] = known[column]
            del free[known[column]]


def _named(role: str, column: str) -> bool:
    return column.strip().casefold() in NAMES[role]


def _only(name: str, turns: list[str]) -> str:
    if len(turns) > 1:
        raise UserError(f"{name}: columns {_listed(turns)} all hold conversations; say which one is learned from.")
    return turns[0]


def _two_texts(name: str, roles: dict[str, str], free: dict[str, str]) -> str:
    """Whatever the last two columns are called, two texts are a prompt and its answer, in that order."""
    missing = [role for role in ("prompt", "completion") if role not in roles]
    columns = {column: form for column, form in free.items() if form != "missing" and not _is_index(column)}
    if len(columns) != len(missing) or not set(columns.values()) <= {"text", "number"}:
        lack = " and ".join({"prompt": "prompts", "completion": "answers"}[role] for role in missing)
        raise UserError(f"{name}: found no {lack} in the columns {_listed([*roles.values(), *free])}; {WISH}.")
    roles.update(zip(missing, columns, strict=True))
    prompt, completion = roles["prompt"], roles["completion"]
    return f"column {prompt!r} was taken for the prompt and {completion!r} for its answer; change it if not"


def _shape(roles: dict[str, str], forms: dict[str, str]) -> str:
    if "messages" in roles:
        form = forms[roles["messages"]]
        return form if form in TURNS else "messages"
    names = (roles["prompt"].strip().casefold(), roles["completion"].strip().casefold())
    return (
        "alpaca" if names == ("instruction", "output") or {"context", "history"} & roles.keys() else "prompt/completion"
    )


def _forms(records: Sequence[dict[str, Any]]) -> dict[str, str]:
    """What most values of each column are, over a sample: messages, sharegpt, text, number, other, or missing."""
    names = dict.fromkeys(column for record in records for column in record)
    columns: dict[str, Counter[str]] = {name: Counter() for name in names if _is_name(name)}
    for record in records[:: max(1, len(records) // SAMPLE)]:
        for column in record.keys() & columns.keys():
            columns[column][_form(record[column])] += 1
    for forms in columns.values():
        del forms["missing"]
    return {column: forms.most_common(1)[0][0] if forms else "missing" for column, forms in columns.items()}


def _form(value: Any) -> str:
    if value is None or value == "":
        return "missing"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return _form_of_text(value)
    return turn_keys(value) or "other"


def _form_of_text(value: str) -> str:
    if value.lstrip().startswith("["):
        try:
            return turn_keys(json.loads(value)) or "text"
        except (ValueError, RecursionError):
            return "text"
    return "number" if value.strip().replace(".", "", 1).isdecimal() else "text"


def _is_name(column: str) -> bool:
    return len(column) <= LONGEST_NAME and not any("\ud800" <= letter <= "\udfff" for letter in column)


def _is_index(column: str) -> bool:
    word = column.strip().casefold()
    return (
        word in ("", "id", "idx", "index", "uuid", "__index_level_0__")
        or word.endswith("_id")
        or word.startswith("unnamed:")
    )


def _listed(columns: Sequence[str] | dict[str, str]) -> str:
    shown = ", ".join(f"{column!r:.60}" for column in list(columns)[:12])
    return shown + (f" and {len(columns) - 12} more" if len(columns) > 12 else "")
