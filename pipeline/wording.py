"""Every text of a row, to look at or to change: contents, thoughts, arguments of tool calls, the rejected answer. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

from pipeline.schema import Message, Row

TEXTS = ("content", "reasoning_content")


def texts(row: Row) -> Iterator[str]:
    for message in (*row["messages"], *row.get("rejected", ())):
        yield message["content"]
        if "reasoning_content" in message:
            yield message["reasoning_content"]
        for call in message.get("tool_calls", ()):
            yield from _strings(call["function"]["arguments"])
    if "text" in row:
        yield row["text"]


def with_texts(row: Row, change: Callable[[str], str]) -> Row:
    """A row whose every text has been changed; the row given stays as it is."""
    changed = cast(Row, {**row, "messages": [_changed(message, change) for message in row["messages"]]})
    if "rejected" in row:
        changed["rejected"] = [_changed(message, change) for message in row["rejected"]]
    if "text" in row:
        changed["text"] = change(row["text"])
    return changed


def _changed(message: Message, change: Callable[[str], str]) -> Message:
    new = cast(Message, {key: change(str(value)) if key in TEXTS else value for key, value in message.items()})
    if "tool_calls" in message:
        new["tool_calls"] = [
            {**call, "function": {**call["function"], "arguments": _mapped(call["function"]["arguments"], change)}}
            for call in message["tool_calls"]
        ]
    return new


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(item, change) for key, item in value.items()}
    return [_mapped(item, change) for item in value] if isinstance(value, list) else value
