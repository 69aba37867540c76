"""What one value of a record says: text, a list of messages in the spellings people have, tool calls, tools. Pure.

A value that can't be read raises BadRow; what is left out of one that can is told in `notes`.
"""

from __future__ import annotations

import json
import math
from typing import Any

from pipeline.records import kind_of
from pipeline.schema import Message

ROLE_NAMES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model", "ai"), "assistant"),
    **dict.fromkeys(("tool", "observation", "function", "tool_response", "function_response"), "tool"),
}
CALL_NAMES = ("function_call", "tool_call")
KNOWN_KEYS = {"role", "from", "content", "value", "tool_calls", "function_call", "id", "tool_call_id"}
REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
DEEPEST = 100

Note = tuple[str, str]
"""(kind, what was found), as in records.Findings."""


class BadRow(Exception):
    """Why a record is no conversation: the kind of the finding, and what was found."""

    def __init__(self, kind: str, found: str) -> None:
        super().__init__(kind, found)
        self.note: Note = (kind, found)


def unreadable(found: str) -> BadRow:
    return BadRow("unreadable-row", found)


def spoken(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def read_history(value: Any) -> list[Message]:
    pairs = parsed(value, "the history")
    if pairs is None:
        return []
    if not isinstance(pairs, list) or any(not isinstance(pair, list) or len(pair) != 2 for pair in pairs):
        raise unreadable("the history is no list of [prompt, answer] pairs")
    speakers = ("user", "assistant")
    return [
        spoken(role, read_text(text, "history")) for pair in pairs for role, text in zip(speakers, pair, strict=True)
    ]


def read_turns(value: Any, notes: list[Note]) -> list[Message]:
    turns = parsed(value, "the list of messages")
    if turns is None:
        return []
    if not isinstance(turns, list):
        raise unreadable(f"{kind_of(turns)} where a list of messages belongs")
    messages: list[Message] = []
    for turn in turns:
        if not isinstance(turn, dict):
            raise unreadable(f"{kind_of(turn)} where a message belongs")
        message, called = _turn(turn)
        notes.extend(_ignored(turn, message["role"]))
        if called and messages and messages[-1]["role"] == "assistant":
            messages[-1]["tool_calls"] = messages[-1].get("tool_calls", []) + message["tool_calls"]
        else:
            messages.append(message)
    return messages


def _turn(turn: dict[str, Any]) -> tuple[Message, bool]:
    """The message, and whether it is a ShareGPT function call, which belongs to the assistant message before it."""
    role = turn.get("role", turn.get("from"))
    content = turn.get("content", turn.get("value"))
    word = role.strip().casefold() if isinstance(role, str) else ""
    if word in CALL_NAMES:
        return {**spoken("assistant", ""), "tool_calls": _calls(content)}, True
    if word not in ROLE_NAMES:
        raise unreadable(f"unknown role {role!r:.40}")
    message = spoken(ROLE_NAMES[word], read_text(content, "content"))
    if message["role"] == "assistant" and (thought := next(filter(None, map(turn.get, REASONING_KEYS)), None)):
        message["reasoning_content"] = read_text(thought, "reasoning_content")
    calls = turn.get("tool_calls") or turn.get("function_call")
    if calls and message["role"] == "assistant":
        message["tool_calls"] = _calls(calls)
    return message, False


def _ignored(turn: dict[str, Any], role: str) -> list[Note]:
    known = KNOWN_KEYS.union(REASONING_KEYS) if role == "assistant" else KNOWN_KEYS
    keys = [key for key in turn if key not in known and turn[key] not in (None, "", [], {})]
    return [
        ("ignored-field", f"the message field {key!r:.40} is not learned from; move it into the content")
        for key in keys
    ]


def read_text(value: Any, where: str) -> str:
    """Text, a number as JSON writes it, or a list of text parts, joined as chat templates join them: without a gap."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):  # pandas' word for "missing"
        return ""
    if isinstance(value, int | float):
        return json.dumps(value)
    if isinstance(value, list):
        return "".join(_part(part, where) for part in value)
    raise unreadable(f"{kind_of(value)} in {where!r} where text belongs")


def _part(part: Any, where: str) -> str:
    text = part.get("text") if isinstance(part, dict) and part.get("type", "text") == "text" else part
    if not isinstance(text, str):
        raise unreadable(f"a part in {where!r} that is not text")
    return text


def parsed(value: Any, what: str) -> Any:
    """JSON, where a column could only hold it as text; an empty text is None."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.strip() else None
    except (ValueError, RecursionError):
        raise unreadable(f"{what} is not valid JSON") from None


def _calls(value: Any) -> list[dict[str, Any]]:
    calls = parsed(value, "a function call")
    return [_call(call) for call in (calls if isinstance(calls, list) else [calls])]


def _call(call: Any) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(name := function.get("name"), str) or not name.strip():
        raise unreadable("a function call without a name")
    arguments = parsed(function.get("arguments", function.get("parameters")), "a function call's arguments")
    arguments = {} if arguments is None else arguments
    if not isinstance(arguments, dict):
        raise unreadable("a function call whose arguments are no object")
    _check_depth(arguments)
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def read_tools(value: Any) -> list[dict[str, Any]]:
    tools = parsed(value, "the tools column")
    if not tools:
        return []
    _check_depth(tools)
    return [_tool(tool) for tool in (tools if isinstance(tools, list) else [tools])]


def _tool(tool: Any) -> dict[str, Any]:
    if isinstance(tool, dict) and isinstance(tool.get("function"), dict):
        return {"type": "function", **tool}
    if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
        raise unreadable("a tool without a name")
    return {"type": "function", "function": tool}


def _check_depth(value: Any, levels: int = DEEPEST) -> None:
    if levels == 0:
        raise unreadable(f"nested deeper than {DEEPEST} levels")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        if isinstance(item, dict | list):
            _check_depth(item, levels - 1)
