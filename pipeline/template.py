"""Conversation -> text, token ids, labels: the one place where a prompt or a mask is made.

Two templates: `own` makes every prompt at inference and is what gets published; `training` makes ids and labels (TRL's
marked variant where there is one; None where labels are derived by rendering prefixes with `own`).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jinja2 import TemplateError
from trl.chat_template_utils import get_training_chat_template, has_generation_markers

from pipeline.conversations import split_answer
from pipeline.errors import UserError
from pipeline.schema import Conversation, Message, Row

IGNORED = -100  # the label of a token that is not learned, torch's ignore_index
PROBE_USER: Message = {"role": "user", "content": "Hello"}
PROBE_ANSWER = "Xylophone"


@dataclass(frozen=True)
class Template:
    """A model's templates. `stop_ids` end an answer: the template's own end of turn first, then the model's others."""

    own: str
    training: str | None
    stop_ids: tuple[int, ...]

    def hashes(self) -> dict[str, str]:
        return {"own": _sha256(self.own), "training": _sha256(self.training or self.own)}


@dataclass(frozen=True)
class Rendered:
    """A conversation as it is trained on, before any cut. `spans` are the trained runs [start, end) in tokens."""

    text: str
    ids: list[int]
    trained: list[bool]
    spans: list[tuple[int, int]]
    pieces: list[str]


@dataclass(frozen=True)
class Example:
    """One row as the trainer gets it: labels are ids, or -100 where nothing is learned. `length` is before the cut."""

    row: int
    input_ids: list[int]
    labels: list[int]
    length: int

    @property
    def cut(self) -> bool:
        return self.length > len(self.input_ids)


class Gate(NamedTuple):
    """Why a row must not be trained on as it is."""

    kind: str
    sentence: str


@dataclass(frozen=True)
class Tokenized:
    """Rows that are trained on, the numbers of those left out because no learned token fits, and what the gates say."""

    examples: tuple[Example, ...]
    dropped: tuple[int, ...]
    gates: tuple[tuple[int, Gate], ...]


def choose(tokenizer: Any, model_stop_ids: Iterable[int] = ()) -> Template:
    """The templates for a tokenizer. Raises UserError when it has none, or one that allows no mask."""
    own = tokenizer.chat_template
    own = own.get("default") if isinstance(own, dict) else own
    if not own:
        raise UserError("This model has no chat template, so nobody knows where an answer begins; choose a chat model.")
    end = end_of_turn(tokenizer, own)
    others = [tokenizer.eos_token_id, *model_stop_ids]
    stops = tuple(dict.fromkeys([end, *(i for i in others if i is not None)]))
    template = Template(own, _training(tokenizer, own), stops)
    if template.training is None:
        probe: Conversation = {"messages": [PROBE_USER, {"role": "assistant", "content": PROBE_ANSWER}]}
        render(tokenizer, template, probe, "answers")
    return template


def _training(tokenizer: Any, own: str) -> str | None:
    """The variant with {% generation %} markers, exactly as TRL would choose it, or None if there is none."""
    if has_generation_markers(own):
        return own
    try:
        return get_training_chat_template(tokenizer)
    except (ValueError, TemplateError):
        return None


def end_of_turn(tokenizer: Any, own: str) -> int:
    """The special token that the template puts after an answer. Raises UserError when there is none."""
    messages: list[Message] = [PROBE_USER, {"role": "assistant", "content": PROBE_ANSWER}]
    tail = _text(tokenizer, own, messages).rpartition(PROBE_ANSWER)[2]
    special = set(tokenizer.all_special_ids) | {i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    found = [i for i in tokenizer(tail, add_special_tokens=False)["input_ids"] if i in special]
    if not found:
        raise UserError(
            f"The chat template puts no stop token after an answer (it ends in {tail!r}), so a model could never learn "
            "to stop; choose a model whose template does."
        )
    return int(found[0])


def prompt_text(tokenizer: Any, template: Template, messages: Sequence[Message], tools: Any = None) -> str:
    """What the model is asked at inference, ending where its answer begins."""
    return _text(tokenizer, template.own, messages, tools, add_generation_prompt=True)


def prompt_ids(tokenizer: Any, template: Template, messages: Sequence[Message], tools: Any = None) -> list[int]:
    text = prompt_text(tokenizer, template, messages, tools)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _text(tokenizer: Any, chat_template: str, messages: Sequence[Message], tools: Any = None, **options: Any) -> str:
    try:
        return str(
            tokenizer.apply_chat_template(
                list(messages), tools=tools or None, chat_template=chat_template, tokenize=False, **options
            )
        )
    except (TemplateError, TypeError, ValueError, KeyError) as error:
        raise UserError(f"The chat template refuses this conversation: {error}") from error


def render(tokenizer: Any, template: Template, conversation: Conversation, loss_on: str) -> Rendered:
    """Text, ids and what is learned of them, uncut. Raises UserError when the template refuses the conversation."""
    messages, tools = conversation["messages"], conversation.get("tools")
    chat_template = template.training or template.own
    text = _text(tokenizer, chat_template, messages, tools)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = list(encoded["input_ids"]), encoded["offset_mapping"]
    if template.training:
        trained = _marked(tokenizer, template.training, messages, tools, ids)
    else:
        answers = _answer_spans(tokenizer, template.own, conversation, text, loss_on == "last answer")
        trained = _between(answers, ids, offsets, template.stop_ids)
    spans = _runs(trained)
    if loss_on == "last answer":
        spans = spans[-1:]
    trained = [loss_on == "everything" or any(a <= i < b for a, b in spans) for i in range(len(ids))]
    return Rendered(text, ids, trained, spans, _pieces(text, offsets))


def _marked(tokenizer: Any, training: str, messages: Sequence[Message], tools: Any, ids: list[int]) -> list[bool]:
    encoded = tokenizer.apply_chat_template(
        list(messages), tools=tools or None, chat_template=training, return_dict=True, return_assistant_tokens_mask=True
    )
    if list(encoded["input_ids"]) != ids:
        raise UserError("This tokenizer gives other tokens for the same text when it renders the template itself.")
    return [bool(flag) for flag in encoded["assistant_masks"]]


def _answer_spans(
    tokenizer: Any, own: str, conversation: Conversation, text: str, last_only: bool
) -> list[tuple[int, int]]:
    """Character spans of the answers, found by rendering ever longer prefixes of the conversation."""
    messages, tools = conversation["messages"], conversation.get("tools")
    answers = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    spans = []
    for index in answers[-1:] if last_only else answers:
        before = _text(tokenizer, own, messages[:index], tools, add_generation_prompt=True)
        after = _text(tokenizer, own, messages[: index + 1], tools)
        if not (text.startswith(after.rstrip()) and after.startswith(before)):
            raise UserError(
                "This chat template writes earlier turns differently once later ones follow, so no mask can be made "
                'for it; use rows with one answer each, or loss on "last answer".'
            )
        spans.append((len(before), len(after)))
    return spans


def _between(
    spans: list[tuple[int, int]], ids: list[int], offsets: list[tuple[int, int]], stops: tuple[int, ...]
) -> list[bool]:
    """Trained flags for character spans; nothing after an answer's last stop token is learned."""
    trained = [False] * len(ids)
    for start, end in spans:
        inside = [i for i, (a, b) in enumerate(offsets) if a >= start and b <= end and b > a]
        last = max((i for i in inside if ids[i] in stops), default=inside[-1] if inside else -1)
        for i in inside:
            trained[i] = i <= last
    return trained


def _runs(flags: list[bool]) -> list[tuple[int, int]]:
    edges = [i for i in range(len(flags) + 1) if (i < len(flags) and flags[i]) != (i > 0 and flags[i - 1])]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _pieces(text: str, offsets: list[tuple[int, int]]) -> list[str]:
    """The text in as many pieces as there are tokens; joined they are the text (up to what the last token covers)."""
    pieces, done = [], 0
    for _, end in offsets:
        pieces.append(text[done:end])
        done = max(done, end)
    return pieces


def gates(tokenizer: Any, template: Template, conversation: Conversation, rendered: Rendered) -> list[Gate]:
    """What makes a row unfit for training; none is good."""
    found = []
    if not rendered.spans:
        found.append(Gate("nothing-learned", "no token of this row would be learned; it needs an answer"))
    for start, end in rendered.spans:
        if not set(rendered.ids[start:end]) & set(template.stop_ids):
            told = (
                f"the answer at token {start} does not end in a stop token that is learned; the model would never stop"
            )
            found.append(Gate("stop-not-learned", told))
    found += [Gate("left-out", sentence) for sentence in _left_out(conversation, rendered.text)]
    found += [Gate("control-token", sentence) for sentence in _control_tokens(tokenizer, template, conversation)]
    answers = [i for i, message in enumerate(conversation["messages"]) if message["role"] == "assistant"]
    for index in answers[-1:] if len(rendered.spans) < len(answers) else answers:
        asked = prompt_ids(tokenizer, template, conversation["messages"][:index], conversation.get("tools"))
        if rendered.ids[: len(asked)] != asked:
            found.append(Gate("prompt-not-trained", _difference(tokenizer, asked, rendered.ids, index)))
    return found


def _left_out(conversation: Conversation, text: str) -> list[str]:
    """What the template drops without a word: a system prompt, a tool's result, a tool call, the list of tools."""
    found = []
    for number, message in enumerate(conversation["messages"], 1):
        if message["role"] != "assistant" and (message["content"] or "").strip() not in text:
            found.append(f"message {number} ({message['role']}) is left out by the chat template; choose another model")
        calls = [call["function"]["name"] for call in message.get("tool_calls", [])]
        if any(name not in text for name in calls):
            found.append(
                f"message {number}: the chat template leaves out the tool call; choose a model that knows tools"
            )
    if any(tool.get("function", tool).get("name", "") not in text for tool in conversation.get("tools") or []):
        found.append("the chat template leaves out the list of tools; choose a model that knows tools")
    return found


def _control_tokens(tokenizer: Any, template: Template, conversation: Conversation) -> list[str]:
    """Messages whose text holds what the model reads as the end or the beginning of a turn."""
    special = {t.content for i, t in tokenizer.added_tokens_decoder.items() if t.special and t.content.strip()}
    stops = set(tokenizer.convert_ids_to_tokens(list(template.stop_ids)))
    control = {t for t in special if t in stops or t in template.own}
    return [
        f"message {number} ({message['role']}) holds {token!r}, which the model reads as a mark between turns; remove it"
        for number, message in enumerate(conversation["messages"], 1)
        for token in sorted(control)
        if token in (message["content"] or "")
    ]


def _difference(tokenizer: Any, asked: list[int], ids: list[int], index: int) -> str:
    at = next((i for i, (a, b) in enumerate(zip(asked, ids, strict=False)) if a != b), min(len(asked), len(ids)))
    seen, learned = (tokenizer.decode(x[max(0, at - 2) : at + 4]) for x in (asked, ids))
    return (
        f"message {index + 1}: what the model is asked at inference ({seen!r}) is not what it is trained on ({learned!r}) "
        f'from token {at}; loss on "last answer" trains only the last one'
    )


def example(row: Row, rendered: Rendered, max_length: int) -> Example:
    """The row as trained on: cut at the end to max_length tokens."""
    labels = [i if flag else IGNORED for i, flag in zip(rendered.ids, rendered.trained, strict=True)]
    return Example(row["row"], rendered.ids[:max_length], labels[:max_length], len(rendered.ids))


def tokenize(tokenizer: Any, template: Template, rows: Iterable[Row], max_length: int, loss_on: str) -> Tokenized:
    """Every row as it is trained on; a row of which no learned token is left after the cut is counted as dropped."""
    examples, dropped, found = [], [], []
    for row in rows:
        try:
            rendered = render(tokenizer, template, _conversation(row), loss_on)
            found += [(row["row"], gate) for gate in gates(tokenizer, template, _conversation(row), rendered)]
        except UserError as error:
            found.append((row["row"], Gate("refused", str(error))))
            continue
        made = example(row, rendered, max_length)
        # token 0 is never predicted, so a label there alone teaches nothing
        if any(label != IGNORED for label in made.labels[1:]):
            examples.append(made)
        else:
            dropped.append(row["row"])
    return Tokenized(tuple(examples), tuple(dropped), tuple(found))


def preview(tokenizer: Any, template: Template, row: Row, max_length: int, loss_on: str) -> dict[str, Any]:
    """The command line's and the page's view of a row. Cut tokens are shown (from `truncated_at` on), never trained."""
    conversation = _conversation(row)
    rendered = render(tokenizer, template, conversation, loss_on)
    before = split_answer(conversation)[0]
    tools = conversation.get("tools")
    cut = len(rendered.ids) > max_length
    return {
        "row": row["row"],
        "text": rendered.text,
        "tokens": rendered.pieces,
        "ids": rendered.ids,
        "trained": [flag and i < max_length for i, flag in enumerate(rendered.trained)],
        "truncated_at": max_length if cut else None,
        "generation_prompt": prompt_text(tokenizer, template, before, tools),
        "generation_ids": prompt_ids(tokenizer, template, before, tools),
        "gates": [gate.sentence for gate in gates(tokenizer, template, conversation, rendered)],
    }


def _conversation(row: Row) -> Conversation:
    return {"messages": row["messages"], "tools": row["tools"]} if row.get("tools") else {"messages": row["messages"]}


@functools.lru_cache(maxsize=64)
def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
