"""One record -> one conversation, with the roles of its columns known. Pure; text is never altered, only joined.

A record that can't become a conversation raises BadRow; what was left out of one that can is told in its notes.
"""

from __future__ import annotations

import json
import math
from typing import Any, cast

from pipeline.records import kind_of
from pipeline.schema import Conversation, Message

ROLE_NAMES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model", "ai"), "assistant"),
    **dict.fromkeys(("tool", "observation", "function", "tool_response", "function_response"), "tool"),
}
CALL_NAMES = ("function_call", "tool_call")
KNOWN_KEYS = {"role", "from", "content", "value", "tool_calls", "function_call", "id", "tool_call_id"}
DEEPEST = 100

Note = tuple[str, str]
"""(kind, what was found and what happens), as in records.Findings."""


class BadRow(Exception):
    """Why a record is no conversation: the kind of the finding, and what was found and what happens."""

    def __init__(self, kind: str, found: str) -> None:
        super().__init__(kind, found)
        self.note: Note = (kind, found)


def to_conversation(
    values: dict[str, Any], roles: dict[str, str], system: str | None = None
) -> tuple[Conversation, list[Note]]:
    """Convert one record; `roles` maps a role of schema.COLUMN_ROLES to its column. Raises BadRow."""
    notes: list[Note] = []
    if "messages" in roles:
        messages = _turns(values.get(roles["messages"]), notes)
    else:
        messages = _from_columns(values, roles, notes)
    messages = [message for message in messages if message["role"] != "system" or message["content"].strip()]
    if not messages or messages[0]["role"] != "system":
        own = _text(values.get(roles["system"]), roles["system"]) if "system" in roles else ""
        prompt = next((text for text in (own, system) if text and text.strip()), None)
        messages = [_message("system", prompt), *messages] if prompt else messages
    messages = _until_answer(messages, notes)
    _check_order(messages)
    _check_texts(messages)
    conversation: Conversation = {"messages": messages}
    if "tools" in roles and (tools := _tools(values.get(roles["tools"]))):
        conversation["tools"] = tools
    return conversation, notes


def canonical(conversation: Conversation) -> bytes:
    """The one spelling of a conversation as JSON, in UTF-8: equal bytes, equal example. Raises BadRow."""
    content = {"messages": conversation["messages"]}
    if "tools" in conversation:
        content["tools"] = cast(Any, conversation["tools"])
    try:
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except UnicodeEncodeError:
        raise _unreadable("holds bytes that are no text") from None
    except (TypeError, ValueError):
        raise _unreadable("holds a value that JSON can't hold") from None


def _unreadable(found: str) -> BadRow:
    return BadRow("unreadable-row", f"{found}; left out")


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _from_columns(values: dict[str, Any], roles: dict[str, str], notes: list[Note]) -> list[Message]:
    def text(role: str) -> str:
        return _text(values.get(roles[role]), roles[role]) if role in roles else ""

    def side(role: str, speaker: str) -> list[Message]:
        value = values.get(roles[role]) if role in roles else None
        if isinstance(value, list):
            return _turns(value, notes)
        parts = [text(role)] + ([text("context")] if role == "prompt" else [])
        return [_message(speaker, "\n\n".join(part for part in parts if part.strip()))]

    history = _history(values.get(roles["history"])) if "history" in roles else []
    return [*history, *side("prompt", "user"), *side("completion", "assistant")]


def _history(value: Any) -> list[Message]:
    pairs = _parsed(value, "the history")
    if pairs is None:
        return []
    if not isinstance(pairs, list) or any(not isinstance(pair, list) or len(pair) != 2 for pair in pairs):
        raise _unreadable("the history is no list of [prompt, answer] pairs")
    speakers = ("user", "assistant")
    return [_message(role, _text(text, "history")) for pair in pairs for role, text in zip(speakers, pair, strict=True)]


def _turns(value: Any, notes: list[Note]) -> list[Message]:
    turns = _parsed(value, "the list of messages")
    if turns is None:
        return []
    if not isinstance(turns, list):
        raise _unreadable(f"{kind_of(turns)} where a list of messages belongs")
    messages: list[Message] = []
    for turn in turns:
        if not isinstance(turn, dict):
            raise _unreadable(f"{kind_of(turn)} where a message belongs")
        message, called = _turn(turn)
        notes.extend(_ignored(turn))
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
        return {**_message("assistant", ""), "tool_calls": _calls(content)}, True
    if word not in ROLE_NAMES:
        raise _unreadable(f"unknown role {role!r:.40}")
    message = _message(ROLE_NAMES[word], _text(content, "content"))
    calls = turn.get("tool_calls") or turn.get("function_call")
    if calls and message["role"] == "assistant":
        message["tool_calls"] = _calls(calls)
    return message, False


def _ignored(turn: dict[str, Any]) -> list[Note]:
    keys = [key for key in turn if key not in KNOWN_KEYS and turn[key] not in (None, "", [], {})]
    return [
        ("ignored-field", f"the message field {key!r:.40} is not learned from; move it into the content")
        for key in keys
    ]


def _text(value: Any, where: str) -> str:
    """Text, a number as JSON writes it, or a list of text parts, joined as chat templates join them: without a gap."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):  # pandas' word for "missing"
        return ""
    if isinstance(value, int | float):
        return json.dumps(value)
    if isinstance(value, list):
        return "".join(_part(part, where) for part in value)
    raise _unreadable(f"{kind_of(value)} in {where!r} where text belongs")


def _part(part: Any, where: str) -> str:
    text = part.get("text") if isinstance(part, dict) and part.get("type", "text") == "text" else part
    if not isinstance(text, str):
        raise _unreadable(f"a part in {where!r} that is not text")
    return text


def _parsed(value: Any, what: str) -> Any:
    """JSON, where a column could only hold it as text; an empty text is None."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.strip() else None
    except (ValueError, RecursionError):
        raise _unreadable(f"{what} is not valid JSON") from None


def _calls(value: Any) -> list[dict[str, Any]]:
    calls = _parsed(value, "a function call")
    return [_call(call) for call in (calls if isinstance(calls, list) else [calls])]


def _call(call: Any) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(name := function.get("name"), str) or not name.strip():
        raise _unreadable("a function call without a name")
    arguments = _parsed(function.get("arguments", function.get("parameters")), "a function call's arguments")
    arguments = {} if arguments is None else arguments
    if not isinstance(arguments, dict):
        raise _unreadable("a function call whose arguments are no object")
    _check_depth(arguments)
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def _tools(value: Any) -> list[dict[str, Any]]:
    tools = _parsed(value, "the tools column")
    if not tools:
        return []
    _check_depth(tools)
    return [_tool(tool) for tool in (tools if isinstance(tools, list) else [tools])]


def _tool(tool: Any) -> dict[str, Any]:
    if isinstance(tool, dict) and isinstance(tool.get("function"), dict):
        return {"type": "function", **tool}
    if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
        raise _unreadable("a tool without a name")
    return {"type": "function", "function": tool}


def _check_depth(value: Any, levels: int = DEEPEST) -> None:
    if levels == 0:
        raise _unreadable(f"nested deeper than {DEEPEST} levels")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        if isinstance(item, dict | list):
            _check_depth(item, levels - 1)


def _until_answer(messages: list[Message], notes: list[Note]) -> list[Message]:
    end = len(messages)
    while end and messages[end - 1]["role"] != "assistant":
        end -= 1
    if not end:
        raise BadRow("missing-answer", "no answer to learn from; left out")
    if end < len(messages):
        notes.append(("last-turn-not-assistant", "the last turn is not the assistant's; kept up to the last answer"))
    return messages[:end]


def _check_order(messages: list[Message]) -> None:
    previous = "system" if messages[0]["role"] == "system" else ""
    for message in messages[1:] if previous else messages:
        role = message["role"]
        if fault := _fault(previous, role):
            raise BadRow("roles-out-of-order", f"{fault}; left out, mend the order or drop the row")
        previous = "call" if message.get("tool_calls") else role


def _fault(previous: str, role: str) -> str:
    if role == "system":
        return "a system message that is not the first"
    if role == "tool":
        return "" if previous in ("call", "tool") else "a tool's result without a call before it"
    if role == "assistant" and previous in ("", "system"):
        return "the assistant speaks first"
    if role == "user" and previous == "user":
        return "two user messages in a row"
    return "two assistant messages in a row" if role == "assistant" and previous in ("assistant", "call") else ""


def _check_texts(messages: list[Message]) -> None:
    for message in messages:
        if message["role"] == "assistant" and not message.get("tool_calls") and not message["content"].strip():
            raise BadRow("missing-answer", "an empty answer; left out")
        if message["role"] == "user" and not message["content"].strip():
            raise BadRow("empty-prompt", "an empty prompt; left out")


def split_answer(conversation: Conversation) -> tuple[list[Message], str]:
    """The messages before the last answer, and that answer: what a held-out row asks and its reference."""
    messages = conversation["messages"]
    last = max((i for i, message in enumerate(messages) if message["role"] == "assistant"), default=len(messages))
    return messages[:last], messages[last]["content"] if last < len(messages) else ""
