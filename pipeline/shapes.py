"""Which shape the rows have, and which column plays which role: guessed from names and values, with evidence. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from pipeline.errors import UserError
from pipeline.records import LONGEST_NAME, turn_keys
from pipeline.schema import nearest, pattern_columns

NAMES = {
    "messages": ("messages", "conversations", "conversation"),
    "system": ("system", "system_prompt", "system prompt", "system_message"),
    "tools": ("tools",),
    "history": ("history",),
    "prompt": ("instruction", "prompt", "question", "query", "input", "user", "human", "request", "problem"),
    "completion": ("completion", "output", "answer", "response", "target", "reply", "assistant", "solution"),
    "context": ("input", "context"),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
    "reasoning": ("reasoning_content", "reasoning", "thinking"),
    "label": ("label",),
    "text": ("text", "content", "document", "body"),
}
"""The names a role's column goes by, the most telling first."""

METADATA = {"url", "source", "date", "timestamp", "language", "lang", "license", "author", "meta"}
"""Columns that say something about a text and are no answer to it."""

TURNS = ("messages", "sharegpt")
FAMILIES = {
    **dict.fromkeys(TURNS, "conversations"),
    **dict.fromkeys(("alpaca", "prompt/completion"), "prompts and answers"),
    "preference": "pairs of answers",
    "text": "plain text",
}
NEEDED = {
    "conversations": ("messages",),
    "prompts and answers": ("prompt", "completion"),
    "pairs of answers": ("prompt", "chosen", "rejected"),
    "plain text": ("text",),
}
"""The roles that every row of a shape needs, in the order the evidence names them (pairs may do without a prompt)."""

OPTIONAL = ("system", "history", "context", "reasoning", "tools", "label")
SAMPLE = 200
WISH = "name the columns prompt and completion, or messages, or say which column has which role"


class Guess(NamedTuple):
    """`columns` gives every column of the file its role; `evidence` is the sentence that says why, `told` the one that
    owns up to a bold guess."""

    shape: str
    columns: dict[str, str]
    evidence: str = ""
    told: str = ""


def recognise(
    name: str,
    records: Sequence[dict[str, Any]],
    shape: str | None = None,
    given: dict[str, str] | None = None,
    patterns: dict[str, str] | None = None,
    rows: int | None = None,
) -> Guess:
    """The shape and column roles of the records. What is given wins; given roles that name no answers are completed.

    `rows` counts the file's rows, those that can't be read among them. Raises UserError, naming the columns it found,
    where the rows have no shape known here.
    """
    forms = _forms(records)
    given, made = given or {}, _made(name, patterns or {}, forms)
    roles = {role: column for column, role in given.items() if role != "ignore"}
    _check_given(name, given, roles, forms, made)
    roles.update(dict.fromkeys(made, ""))
    told = ""
    if not _enough(roles):
        used = set(given).union(*made.values())
        free = {column: form for column, form in forms.items() if column not in used}
        told = _complete(name, roles, free, shape)
    found = _shape(roles, forms)
    if shape and FAMILIES[shape] != FAMILIES[found]:
        raise UserError(f"{name}: the shape {shape!r} does not fit the columns {_listed(forms)}; {WISH}.")
    by_column = {column: role for role, column in roles.items() if role not in made}
    columns = {column: by_column.get(column, "ignore") for column in forms}
    evidence = _evidence(found, roles, made, records, len(records) if rows is None else rows)
    return Guess(shape or found, columns, evidence, told)


def _made(name: str, patterns: dict[str, str], forms: dict[str, str]) -> dict[str, list[str]]:
    """The roles that are made from patterns, each with the columns its pattern names."""
    made = {role: pattern_columns(role, pattern) for role, pattern in patterns.items()}
    for role, columns in made.items():
        for column in columns:
            _check_column(name, column, forms, f"the pattern for the {role} names ")
    return made


def _check_given(
    name: str, given: dict[str, str], roles: dict[str, str], forms: dict[str, str], made: dict[str, list[str]]
) -> None:
    for column, role in given.items():
        _check_column(name, column, forms)
        if role in made:
            raise UserError(f"{name}: column {column!r} and a pattern both have the role {role!r}; choose one.")
        if role != "ignore" and roles[role] != column:
            raise UserError(f"{name}: columns {column!r} and {roles[role]!r} both have the role {role!r}; choose one.")


def _check_column(name: str, column: str, forms: dict[str, str], where: str = "") -> None:
    if column not in forms:
        wish = nearest(column, forms)
        raise UserError(f"{name}: {where}there is no column {column!r} among {_listed(forms)}; {wish}.")


def _enough(roles: dict[str, str]) -> bool:
    return bool({"messages", "chosen", "text"} & roles.keys()) or {"prompt", "completion"} <= roles.keys()


def _complete(name: str, roles: dict[str, str], free: dict[str, str], shape: str | None) -> str:
    """Add to `roles` what the names and forms of the free columns tell; the sentence, where that was a bold guess."""
    for role in ("system", "tools"):
        _take(role, roles, free)
    wanted = FAMILIES[shape] if shape else None
    if wanted in (None, "pairs of answers") and all(any(_named(r, c) for c in free) for r in ("chosen", "rejected")):
        for role in ("chosen", "rejected", "prompt", "context", "history"):
            _take(role, roles, free)
        return ""
    turns = [column for column, form in free.items() if form in TURNS]
    if turns and wanted in (None, "conversations"):
        named = [column for column in turns if _named("messages", column)]
        if named or not (any(_named("prompt", c) for c in free) and any(_named("completion", c) for c in free)):
            roles["messages"] = _only(name, named or turns)
            return ""
    if wanted == "plain text" or (wanted is None and _is_plain(roles, free)):
        roles["text"] = _plain(name, roles, free)
        return ""
    return _complete_pair(name, roles, free)


def _complete_pair(name: str, roles: dict[str, str], free: dict[str, str]) -> str:
    for role in ("prompt", "completion", "context", "history"):
        _take(role, roles, free)
    if not {"prompt", "completion"} <= roles.keys():
        return _two_texts(name, roles, free)
    _take("reasoning", roles, free)
    if any(_named("label", column) and form == "flag" for column, form in free.items()):
        _take("label", roles, free)
    return ""


def _is_plain(roles: dict[str, str], free: dict[str, str]) -> bool:
    """Whether there is one column of text, named like one or alone, and nothing beside it that could be an answer."""
    rest = {column: form for column, form in free.items() if form != "missing" and not _is_index(column)}
    texts = [column for column, form in rest.items() if form == "text" and column.strip().casefold() not in METADATA]
    if len(texts) != 1 or {"prompt", "completion"} & roles.keys():
        return False
    if _named("text", texts[0]):
        return all(rest[column] == "other" or column.strip().casefold() in METADATA for column in rest.keys() - texts)
    return len(rest) == 1 and not _named("prompt", texts[0]) and not _named("completion", texts[0])


def _plain(name: str, roles: dict[str, str], free: dict[str, str]) -> str:
    texts = [column for column, form in free.items() if form == "text"]
    column = next((column for column in texts if _named("text", column)), texts[0] if len(texts) == 1 else None)
    if column is None:
        raise UserError(f"{name}: found no single text in the columns {_listed(free)}; give one the role text.")
    del free[column]
    return column


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
    if len(columns) != len(missing) or not set(columns.values()) <= {"text", "number", "flag"}:
        lack = " and ".join({"prompt": "prompts", "completion": "answers"}[role] for role in missing)
        known = _listed([*filter(None, roles.values()), *free])
        raise UserError(f"{name}: found no {lack} in the columns {known}; {WISH}.")
    roles.update(zip(missing, columns, strict=True))
    words = {"prompt": "the prompt", "completion": "the answer"}
    taken = " and ".join(f"{roles[role]!r} was taken for {words[role]}" for role in missing)
    return f"column {taken}; change it if not"


def _shape(roles: dict[str, str], forms: dict[str, str]) -> str:
    if "messages" in roles:
        form = forms[roles["messages"]]
        return form if form in TURNS else "messages"
    if "chosen" in roles:
        return "preference"
    if "text" in roles:
        return "text"
    names = (roles["prompt"].strip().casefold(), roles["completion"].strip().casefold())
    return (
        "alpaca" if names == ("instruction", "output") or {"context", "history"} & roles.keys() else "prompt/completion"
    )


def _evidence(
    shape: str, roles: dict[str, str], made: dict[str, list[str]], records: Sequence[dict[str, Any]], rows: int
) -> str:
    """How many of the rows have what their shape needs, and how many have more."""
    columns = {role: made.get(role) or [column] for role, column in roles.items()}
    needed = list(dict.fromkeys(c for role in NEEDED[FAMILIES[shape]] for c in columns.get(role, [])))
    full = sum(all(_is_filled(record.get(column)) for column in needed) for record in records)
    have = "has" if rows == 1 else "have"
    held = f" ({'role and content' if shape == 'messages' else 'from and value'})" if shape in TURNS else ""
    also = []
    for role in OPTIONAL:
        names = columns.get(role, [])
        count = sum(any(_is_filled(record.get(column)) for column in names) for record in records) if names else 0
        also += [f"{count:,} also have {_and(names)}"] if count else []
    return "; ".join([f"{full:,} of {rows:,} row{'s' * (rows != 1)} {have} {_and(needed)}{held}", *also])


def _and(columns: Sequence[str]) -> str:
    names = [f"{column:.60}" if column.isprintable() else f"{column!r:.60}" for column in columns]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _is_filled(value: Any) -> bool:
    return bool(value.strip()) if isinstance(value, str) else value is not None and value != [] and value != {}


def _forms(records: Sequence[dict[str, Any]]) -> dict[str, str]:
    """What most values of each column are, over a sample: messages, sharegpt, text, number, flag, other, or missing."""
    names = dict.fromkeys(column for record in records for column in record)
    columns: dict[str, Counter[str]] = {name: Counter() for name in names if _is_name(name)}
    for record in records[:: max(1, len(records) // SAMPLE)]:
        for column in record.keys() & columns.keys():
            columns[column][_form(record[column])] += 1
    for forms in columns.values():
        del forms["missing"]
    return {column: forms.most_common(1)[0][0] if forms else "missing" for column, forms in columns.items()}


def _form(value: Any) -> str:
    if value is None or value in ("", [], {}):
        return "missing"
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return _form_of_text(value)
    return turn_keys(value) or "other"


def _form_of_text(value: str) -> str:
    if value.lstrip().startswith("["):
        try:
            turns = json.loads(value)
            return turn_keys(turns) or ("missing" if turns == [] else "text")
        except (ValueError, RecursionError):
            return "text"
    word = value.strip()
    if word.casefold() in ("true", "false"):
        return "flag"
    return "number" if word.replace(".", "", 1).isdecimal() else "text"


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
