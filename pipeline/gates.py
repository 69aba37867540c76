"""What stops a run before it begins: each gate says of one row what is wrong and what to do. Pure."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.chat_templates import Template
from pipeline.masks import Rendered
from pipeline.schema import Conversation, Message

UNKNOWN = "choose another template, or a model that knows"


class Gate(NamedTuple):
    """Why a row must not be trained on as it is."""

    kind: str
    sentence: str


def of_conversation(
    tokenizer: Any,
    template: Template,
    conversation: Conversation,
    rendered: Rendered,
    prompts: Mapping[int, Sequence[int]],
) -> list[Gate]:
    """What makes a conversation unfit for training; none is good. `prompts` are the ids asked before each message."""
    found, control = _of_ids(tokenizer, template, rendered), _control(tokenizer, template)
    found += [Gate("left-out", sentence) for sentence in _left_out(conversation, rendered.text)]
    found += [
        Gate("control-token", f"message {number} ({message['role']}) {told}")
        for number, message in enumerate(conversation["messages"], 1)
        for told in _control_tokens(control, message["content"] or "")
    ]
    return found + [
        Gate("prompt-not-trained", _difference(tokenizer, asked, rendered.ids, index, index == max(prompts)))
        for index, asked in prompts.items()
        if rendered.ids[: len(asked)] != asked
    ]


def of_text(tokenizer: Any, template: Template, text: str, rendered: Rendered) -> list[Gate]:
    """The same for plain text, which has no prompt."""
    told = _control_tokens(_control(tokenizer, template), text)
    return [*_of_ids(tokenizer, template, rendered), *(Gate("control-token", f"the text {one}") for one in told)]


def _of_ids(tokenizer: Any, template: Template, rendered: Rendered) -> list[Gate]:
    """What the tokens alone tell."""
    found = []
    begin = tokenizer.bos_token_id
    if begin is not None and rendered.ids[:2] == [begin, begin]:
        told = f"the text begins with {tokenizer.bos_token!r} twice; take it out of the template or of the row"
        found.append(Gate("double-begin", told))
    # token 0 is never predicted, so a label there alone teaches nothing
    if not any(rendered.trained[1:]):
        found.append(Gate("nothing-learned", "no token of this row would be learned; it needs an answer"))
    for start, end in rendered.spans:
        if not set(rendered.ids[start:end]) & set(template.stop_ids):
            told = (
                f"the answer at token {start} does not end in a stop token that is learned; the model would never stop; "
                'choose another template, or loss on "last answer"'
            )
            found.append(Gate("stop-not-learned", told))
    return found


def _left_out(conversation: Conversation, text: str) -> Iterator[str]:
    """What the template drops without a word: a message, the reasoning, a tool call, the list of tools."""
    for number, message in enumerate(conversation["messages"], 1):
        if message["role"] != "assistant" and (message["content"] or "").strip() not in text:
            yield f"message {number} ({message['role']}) is left out by the chat template; {UNKNOWN} such messages"
        if (message.get("reasoning_content") or "").strip() not in text:
            yield (
                f"message {number}: the chat template leaves out the reasoning; {UNKNOWN} reasoning, or leave the "
                "reasoning column out"
            )
        if any(name not in text for name in _called(message)):
            yield f"message {number}: the chat template leaves out the tool call; {UNKNOWN} tools"
    if any(tool.get("function", tool).get("name", "") not in text for tool in conversation.get("tools") or []):
        yield f"the chat template leaves out the list of tools; {UNKNOWN} tools"


def _called(message: Message) -> list[str]:
    return [call["function"]["name"] for call in message.get("tool_calls", [])]


def _control(tokenizer: Any, template: Template) -> list[str]:
    """What the model reads as the end or the beginning of a turn."""
    return _marks(tokenizer, len(tokenizer), template)


@functools.lru_cache(maxsize=4)
def _marks(tokenizer: Any, size: int, template: Template) -> list[str]:
    special = {t.content for t in tokenizer.added_tokens_decoder.values() if t.special and t.content.strip()}
    stops = set(tokenizer.convert_ids_to_tokens(list(template.stop_ids)))
    return sorted(t for t in special if t in stops or t in template.own)


def _control_tokens(control: Sequence[str], text: str) -> list[str]:
    return [
        f"holds {token!r}, which the model reads as a mark between turns; remove it"
        for token in control
        if token in text
    ]


def _difference(tokenizer: Any, asked: Sequence[int], ids: list[int], index: int, last: bool) -> str:
    at = next((i for i, (a, b) in enumerate(zip(asked, ids, strict=False)) if a != b), min(len(asked), len(ids)))
    seen, learned = (tokenizer.decode(x[max(0, at - 2) : at + 4]) for x in (asked, ids))
    if seen != seen.rstrip(" ") and learned.startswith(seen.rstrip(" ")):
        remedy = "let the prompt end without the space and the answer begin with it"
    elif not last:
        remedy = 'loss on "last answer" trains only the last one'
    else:
        remedy = "choose another template, or give the rows the reasoning that this one expects"
    return (
        f"message {index + 1}: what the model is asked at inference ({seen!r}) is not what it is trained on ({learned!r}) "
        f"from token {at}; {remedy}"
    )
