"""One record -> one row, with the roles of its columns known. Pure; text is only joined, unless a choice says otherwise.

A record that can't become a row has none; the notes tell why, and what was found in one that can.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from pipeline import characters, patterns, sensitive
from pipeline.records import turn_keys
from pipeline.schema import Conversation, Message, Row
from pipeline.turns import BadRow, Note, read_history, read_text, read_tools, read_turns, spoken, unreadable
from pipeline.wording import texts, with_texts

BAD_LABELS = {"false", "0", "0.0", "bad", "no"}
SPEAKERS = re.compile(r"(?:\A|\n\n)\s*(Human|User|Assistant): ?")
"""What begins a turn where a whole conversation is one text, as in the hh-rlhf pairs."""

LISTED_TOKENS = 5
ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


class Reading(NamedTuple):
    """How the records of a file are read: the column or the pattern of each role, and the choice for every kind."""

    roles: dict[str, str]
    patterns: dict[str, str]
    system: str | None
    choices: dict[str, str]


class Converted(NamedTuple):
    """The row, or None, the one spelling of what is learned of it (equal bytes, equal example), and the notes."""

    row: Row | None
    content: bytes
    notes: list[Note]


def convert(number: int, values: dict[str, Any], reading: Reading) -> Converted:
    """Convert one record; `number` is its row. Never raises."""
    notes: list[Note] = []
    try:
        _check_label(values, reading)
        row = _cleaned(_read(number, values, reading, notes), reading, notes)
        if "text" in row:
            _check_text(row)
        else:
            row["messages"] = _in_order(_until_answer(row["messages"], reading, notes), reading, notes)
            _check_texts(row["messages"])
        return Converted(row, canonical(row), list(dict.fromkeys(notes)))
    except BadRow as bad:
        return Converted(None, b"", [*dict.fromkeys(notes), bad.note])


def canonical(row: Row) -> bytes:
    """What is learned of a row, as JSON in UTF-8. Raises BadRow for a value that can't be written."""
    content = {key: value for key, value in row.items() if key not in ("row", "rejected")}
    try:
        if "rejected" in row:
            _json(row["rejected"])
        return _json(content)
    except UnicodeEncodeError:
        raise unreadable("holds bytes that are no text") from None
    except (TypeError, ValueError):
        raise unreadable("holds a value that JSON can't hold") from None


def _json(value: Any) -> bytes:
    return ENCODER.encode(value).encode()


def _check_label(values: dict[str, Any], reading: Reading) -> None:
    column = reading.roles.get("label")
    if column is not None and str(values.get(column)).strip().casefold() in BAD_LABELS:
        raise BadRow("rejected-label", f"{column!r:.60} calls it a bad answer")


def _read(number: int, values: dict[str, Any], reading: Reading, notes: list[Note]) -> Row:
    roles = reading.roles
    if "text" in roles or "text" in reading.patterns:
        return {"row": number, "messages": [], "text": _text("text", values, reading)}
    if "messages" in roles:
        row: Row = {"row": number, "messages": read_turns(values.get(roles["messages"]), notes)}
    elif "chosen" in roles:
        row = _pair(number, values, reading, notes)
    else:
        row = {"row": number, "messages": _exchange(values, reading, notes)}
    row["messages"] = _with_system(row["messages"], values, reading)
    if "tools" in roles and (tools := read_tools(values.get(roles["tools"]))):
        row["tools"] = tools
    return row


def _text(role: str, values: dict[str, Any], reading: Reading) -> str:
    if role in reading.patterns:
        return patterns.fill(reading.patterns[role], values)
    column = reading.roles.get(role)
    return read_text(values.get(column), column) if column is not None else ""


def _side(role: str, speaker: str, values: dict[str, Any], reading: Reading, notes: list[Note]) -> list[Message]:
    """One side of an exchange: a list of messages as it is, a text as what the speaker says."""
    value = values.get(reading.roles[role]) if role in reading.roles else None
    if isinstance(value, list):
        return read_turns(value, notes)
    parts = [_text(role, values, reading)] + ([_text("context", values, reading)] if role == "prompt" else [])
    return [spoken(speaker, "\n\n".join(part for part in parts if part.strip()))]


def _before(values: dict[str, Any], reading: Reading) -> list[Message]:
    return read_history(values.get(reading.roles["history"])) if "history" in reading.roles else []


def _exchange(values: dict[str, Any], reading: Reading, notes: list[Note]) -> list[Message]:
    answer = _side("completion", "assistant", values, reading, notes)
    if answer and answer[-1]["role"] == "assistant" and (thought := _text("reasoning", values, reading)).strip():
        answer[-1]["reasoning_content"] = thought
    return [*_before(values, reading), *_side("prompt", "user", values, reading, notes), *answer]


def _pair(number: int, values: dict[str, Any], reading: Reading, notes: list[Note]) -> Row:
    """The chosen conversation to learn from; of the rejected one what comes after the same prompt, or all of it."""
    asked = {"prompt", "context"} & (reading.roles.keys() | reading.patterns.keys())
    prompt = [*_before(values, reading), *(_side("prompt", "user", values, reading, notes) if asked else [])]
    chosen = _answered(prompt, values.get(reading.roles["chosen"]), notes)
    row: Row = {"row": number, "messages": chosen}
    if "rejected" in reading.roles:
        rejected = _answered(prompt, values.get(reading.roles["rejected"]), [])
        shared = len(split_answer({"messages": chosen})[0])
        row["rejected"] = rejected[shared:] if rejected[:shared] == chosen[:shared] else rejected
        if not any(message["content"].strip() or message.get("tool_calls") for message in row["rejected"]):
            notes.append(("no-rejected", "no rejected answer; the chosen one is learned all the same"))
            del row["rejected"]
    return row


def _answered(prompt: list[Message], value: Any, notes: list[Note]) -> list[Message]:
    """The prompt with its answer, which may be a text, messages, or a conversation that holds its prompt itself."""
    turns = _turns_in(value)
    answer = _spoken(read_text(value, "chosen or rejected")) if turns is None else read_turns(turns, notes)
    return answer if any(message["role"] == "user" for message in answer) else [*prompt, *answer]


def _turns_in(value: Any) -> list[Any] | None:
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if turn_keys(value) else None


def _spoken(text: str) -> list[Message]:
    """The turns of a text such as "Human: Hello\\n\\nAssistant: Hi"; of any other text, what the assistant says."""
    marks = list(SPEAKERS.finditer(text))
    if len(marks) < 2 or marks[0].start() or marks[0][1] == "Assistant":
        return [spoken("assistant", text)]
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    return [
        spoken("assistant" if mark[1] == "Assistant" else "user", text[mark.end() : end].strip())
        for mark, end in zip(marks, ends, strict=True)
    ]


def _with_system(messages: list[Message], values: dict[str, Any], reading: Reading) -> list[Message]:
    messages = [message for message in messages if message["role"] != "system" or message["content"].strip()]
    if messages and messages[0]["role"] == "system":
        return messages
    own = _text("system", values, reading)
    prompt = next((text for text in (own, reading.system) if text and text.strip()), None)
    return [spoken("system", prompt), *messages] if prompt else messages


def _cleaned(row: Row, reading: Reading, notes: list[Note]) -> Row:
    """The row as the choices want its text; what was found in it is noted."""
    joined = "\n".join(texts(row))
    if characters.FIRST_LOOK.search(joined):
        for kind in ("special-token", "non-printing"):
            found = [item for text in texts(row) for item in characters.find(text).get(kind, ())]
            said = [f"{item!r} {characters.SAID[kind]}" for item in dict.fromkeys(found)][:LISTED_TOKENS]
            row = _chosen(row, kind, said, reading, notes)
    kinds = [kind for kind in sensitive.KINDS if reading.choices[kind] != "keep"]
    found_by_kind = sensitive.find(joined) if kinds else {}
    for kind in kinds:
        row = _chosen(row, kind, [sensitive.KINDS[kind]] if kind in found_by_kind else [], reading, notes)
    return row


def _chosen(row: Row, kind: str, said: list[str], reading: Reading, notes: list[Note]) -> Row:
    if said and reading.choices[kind] == "drop":
        raise BadRow(kind, said[0])
    notes.extend((kind, found) for found in said)
    if not said or reading.choices[kind] == "keep":
        return row
    remove = sensitive.remove if kind in sensitive.KINDS else characters.remove
    return with_texts(row, lambda text: remove(kind, text))


def _until_answer(messages: list[Message], reading: Reading, notes: list[Note]) -> list[Message]:
    end = len(messages)
    while end and messages[end - 1]["role"] != "assistant":
        end -= 1
    if not end:
        raise BadRow("missing-answer", "no answer to learn from")
    if end < len(messages):
        note = ("last-turn-not-assistant", "the last turn is not the assistant's")
        if reading.choices[note[0]] == "drop":
            raise BadRow(*note)
        notes.append(note)
    return messages[:end]


def _in_order(messages: list[Message], reading: Reading, notes: list[Note]) -> list[Message]:
    fault = _fault(messages)
    if not fault:
        return messages
    mended = _mended(messages) if reading.choices["roles-out-of-order"] == "fix" else messages
    if not mended or _fault(mended):
        raise BadRow("roles-out-of-order", fault)
    notes.append(("roles-out-of-order", fault))
    return mended


def _fault(messages: Sequence[Message]) -> str:
    """What is wrong with the order of the first message that is wrong; empty where none is."""
    previous = "system" if messages[0]["role"] == "system" else ""
    for message in messages[1:] if previous else messages:
        if fault := _fault_after(previous, message["role"]):
            return fault
        previous = "call" if message.get("tool_calls") else message["role"]
    return ""


def _fault_after(previous: str, role: str) -> str:
    if role == "system":
        return "a system message that is not the first"
    if role == "tool":
        return "" if previous in ("call", "tool") else "a tool's result without a call before it"
    if role == "assistant" and previous in ("", "system"):
        return "the assistant speaks first"
    if role == "user" and previous == "user":
        return "two user messages in a row"
    return "two assistant messages in a row" if role == "assistant" and previous in ("assistant", "call") else ""


def _mended(messages: Sequence[Message]) -> list[Message]:
    """Without what comes before the first question, and with two messages of one speaker in a row made one."""
    first = next((i for i, message in enumerate(messages) if message["role"] == "user"), len(messages))
    mended = [message for message in messages[:first] if message["role"] == "system"]
    for message in messages[first:]:
        last = mended[-1] if mended else None
        if last and last["role"] == message["role"] != "tool" and "tool_calls" not in last:
            mended[-1] = _merged(last, message)
        else:
            mended.append(message)
    return mended


def _merged(one: Message, other: Message) -> Message:
    joined = {
        key: "\n\n".join(text for text in (one.get(key), other.get(key)) if text)
        for key in ("content", "reasoning_content")
        if key in one or key in other
    }
    return cast(Message, {**one, **other, **joined})


def _check_texts(messages: Sequence[Message]) -> None:
    for message in messages:
        if message["role"] == "assistant" and not message.get("tool_calls") and not message["content"].strip():
            raise BadRow("missing-answer", "an empty answer")
        if message["role"] == "user" and not message["content"].strip():
            raise BadRow("empty-prompt", "an empty prompt")


def _check_text(row: Row) -> None:
    if not row["text"].strip():
        raise BadRow("empty-text", "no text")


def split_answer(conversation: Conversation) -> tuple[list[Message], str]:
    """The messages before the last answer, and that answer: what a held-out row asks and its reference."""
    messages = conversation["messages"]
    last = max((i for i, message in enumerate(messages) if message["role"] == "assistant"), default=len(messages))
    return messages[:last], messages[last]["content"] if last < len(messages) else ""
