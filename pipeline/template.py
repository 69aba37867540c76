"""Conversation -> text, token ids, labels: the one place where a prompt or a mask is made.

Two templates: `own` makes every prompt at inference and is what gets published; `training` makes ids and labels (marked by
us for a preset, by TRL where it has a variant; None where labels are derived by rendering prefixes with `own`).
"""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from trl.chat_template_utils import get_training_chat_template, has_generation_markers

from pipeline import chat_templates, gates, masks, rendering
from pipeline.chat_templates import Template
from pipeline.conversations import split_answer
from pipeline.errors import UserError
from pipeline.gates import Gate
from pipeline.masks import Rendered, Span
from pipeline.rendering import Text
from pipeline.schema import TEMPLATES, Conversation, Message, Row

IGNORED = -100  # the label of a token that is not learned, torch's ignore_index
TEXT_PROMPT = 64  # tokens of plain text that a model is given to go on with
PROBE_USER: Message = {"role": "user", "content": "Hello"}
PROBE_ANSWER = "Xylophone"


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


@dataclass(frozen=True)
class Tokenized:
    """Rows that are trained on, the numbers of those left out because no learned token fits, and what the gates say.

    `longest` is the length in tokens that would cut no row.
    """

    examples: tuple[Example, ...]
    dropped: tuple[int, ...]
    gates: tuple[tuple[int, Gate], ...]
    longest: int = 0


def choose(tokenizer: Any, model_stop_ids: Iterable[int] = (), pasted: bool = False) -> Template:
    """The templates for a tokenizer. Raises UserError when it has none, or one that allows no mask."""
    own = tokenizer.chat_template
    own = own.get("default") if isinstance(own, dict) else own
    if not own:
        raise UserError(
            "This model has no chat template, so nobody knows where an answer begins; choose a chat model, or the "
            f"template {', '.join(TEMPLATES[1:])}, or a Jinja template of your own."
        )
    guarded = pasted and not chat_templates.known(own)
    training = _training(tokenizer, own, guarded)
    end = end_of_turn(tokenizer, training or own, guarded)
    others = [tokenizer.eos_token_id, *model_stop_ids]
    stops = tuple(dict.fromkeys([end, *(i for i in others if i is not None)]))
    template = Template(own, training, stops, guarded)
    if template.training is None:
        probe: Conversation = {"messages": [PROBE_USER, {"role": "assistant", "content": PROBE_ANSWER}]}
        render(tokenizer, template, probe, "answers")
    return template


def _training(tokenizer: Any, own: str, guarded: bool) -> str | None:
    """The variant with {% generation %} marks: ours of a preset, else exactly as TRL would choose it, else None."""
    if has_generation_markers(own):
        return own
    if guarded or (preset := chat_templates.marked(own)):
        return None if guarded else preset
    try:
        return get_training_chat_template(tokenizer)
    except (ValueError, TemplateError):
        return None


def end_of_turn(tokenizer: Any, own: str, guarded: bool = False) -> int:
    """The special token that the template puts after an answer. Raises UserError when there is none."""
    messages: list[Message] = [PROBE_USER, {"role": "assistant", "content": PROBE_ANSWER}]
    text = rendering.render(own, messages, tokens=tokenizer.special_tokens_map, guarded=guarded).text
    if PROBE_ANSWER not in text:
        raise UserError("The chat template leaves out an answer that is plain text; choose another template.")
    tail = text.rpartition(PROBE_ANSWER)[2]
    special = set(tokenizer.all_special_ids) | {i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    found = [i for i in tokenizer(tail, add_special_tokens=False)["input_ids"] if i in special]
    if not found:
        raise UserError(
            f"The chat template puts no stop token after an answer (it ends in {tail[:80]!r}), so a model could never "
            "learn to stop; choose a template that does: {{ eos_token }} after the answer is one."
        )
    return int(found[0])


def prompt_text(tokenizer: Any, template: Template, messages: Sequence[Message], tools: Any = None) -> str:
    """What the model is asked at inference, ending where its answer begins."""
    return _text(tokenizer, template, template.own, messages, tools, prompt=True).text


def prompt_ids(tokenizer: Any, template: Template, messages: Sequence[Message], tools: Any = None) -> list[int]:
    text = prompt_text(tokenizer, template, messages, tools)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _ids_beside(tokenizer: Any, prompt: str, rendered: Rendered, splitting: Mapping[int, str]) -> list[int]:
    """`prompt_ids` of a prompt with which a rendered text begins, without making tokens of all of it again.

    A text is split at its special tokens before anything else is done with it. So what stands before one is the same in
    both, and only what follows the prompt's last one is made into tokens.
    """
    if rendered.text.startswith(prompt):
        ends = bisect.bisect_right(rendered.offsets, len(prompt), key=lambda span: span[1])
        for place in range(ends - 1, -1, -1):
            start, end = rendered.offsets[place]
            if splitting.get(rendered.ids[place]) == prompt[start:end].strip():  # an unknown word may have such an id
                # as the tokenizer was called for the row just before, without what its wrapper costs a short text
                tail = tokenizer.backend_tokenizer.encode(prompt[start:], add_special_tokens=False).ids
                return rendered.ids[:place] + tail
    return list(tokenizer(prompt, add_special_tokens=False)["input_ids"])


def row_prompt(tokenizer: Any, template: Template, row: Row) -> list[int]:
    """Ids that lead to a row's last answer; of plain text, which nobody asks for, the beginning."""
    if "text" in row:
        ids = render_text(tokenizer, row["text"]).ids
        return ids[: min(max(1, len(ids) // 2), TEXT_PROMPT)]
    return prompt_ids(tokenizer, template, split_answer(_conversation(row))[0], row.get("tools"))


def _text(
    tokenizer: Any, template: Template, jinja: str, messages: Sequence[Message], tools: Any, prompt: bool = False
) -> Text:
    return rendering.render(jinja, messages, tools, tokenizer.special_tokens_map, prompt, template.guarded)


def render(tokenizer: Any, template: Template, conversation: Conversation, loss_on: str) -> Rendered:
    """Text, ids and what is learned of them, uncut. Raises UserError when the template refuses the conversation.

    Where `own` writes earlier turns otherwise than `training` (without their reasoning), the last answer alone is learned
    after the prompt it will be asked with.
    """
    rendered = _render(tokenizer, template, conversation, loss_on)
    if template.training and loss_on == "last answer":
        before = split_answer(conversation)[0]
        asked = prompt_ids(tokenizer, template, before, conversation.get("tools"))
        if rendered.ids[: len(asked)] != asked:
            with contextlib.suppress(UserError):
                return _render(tokenizer, dataclasses.replace(template, training=None), conversation, loss_on)
    return rendered


def _render(tokenizer: Any, template: Template, conversation: Conversation, loss_on: str) -> Rendered:
    messages, tools = conversation["messages"], conversation.get("tools")
    text, marked = _text(tokenizer, template, template.training or template.own, messages, tools)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = list(encoded["input_ids"]), encoded["offset_mapping"]
    if not template.training:
        marked = _answer_spans(tokenizer, template, conversation, text, loss_on == "last answer")
    inside = masks.covered(marked, offsets)
    if not template.training:
        inside = masks.until_stop(inside, ids, template.stop_ids)
    spans = masks.joined(inside)
    if loss_on == "last answer":
        spans = spans[-1:]
    trained = [True] * len(ids) if loss_on == "everything" else masks.flags(spans, len(ids))
    return Rendered(text, ids, trained, spans, offsets)


def _answer_spans(
    tokenizer: Any, template: Template, conversation: Conversation, text: str, last_only: bool
) -> list[Span]:
    """Character spans of the answers, found by rendering ever longer prefixes of the conversation."""
    messages, tools = conversation["messages"], conversation.get("tools")
    spans = []
    for index in _answers(messages)[-1:] if last_only else _answers(messages):
        before = prompt_text(tokenizer, template, messages[:index], tools)
        after = _text(tokenizer, template, template.own, messages[: index + 1], tools).text
        if not (text.startswith(after.rstrip()) and after.startswith(before)):
            raise UserError(
                "This chat template writes earlier turns differently once later ones follow, so no mask can be made "
                'for it; use rows with one answer each, or loss on "last answer".'
            )
        spans.append((len(before), len(after)))
    return spans


def _answers(messages: Sequence[Message]) -> list[int]:
    return [index for index, message in enumerate(messages) if message["role"] == "assistant"]


def render_text(tokenizer: Any, text: str) -> Rendered:
    """Plain text as it is learned, all of it: no template, but a stop token at its end and what the tokenizer begins with."""
    if tokenizer.eos_token is None:
        raise UserError("This model's tokenizer has no end-of-text token, so no text could end; choose another model.")
    whole = (tokenizer.bos_token if chat_templates.begins(tokenizer) else "") + text + tokenizer.eos_token
    encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = list(encoded["input_ids"]), encoded["offset_mapping"]
    return Rendered(whole, ids, [True] * len(ids), [(0, len(ids))], offsets)


def render_row(tokenizer: Any, template: Template, row: Row, loss_on: str) -> tuple[Rendered, list[Gate]]:
    """A row, conversation or plain text, as it is trained on, and what the gates say. Raises UserError as `render`."""
    if "text" in row:
        rendered = render_text(tokenizer, row["text"])
        return rendered, gates.of_text(tokenizer, template, row["text"], rendered)
    conversation = _conversation(row)
    rendered = render(tokenizer, template, conversation, loss_on)
    messages, tools, answers = row["messages"], row.get("tools"), _answers(row["messages"])
    shown = answers[-1:] if len(rendered.spans) < len(answers) else answers
    known = chat_templates.splitting(tokenizer)
    prompts = {
        index: _ids_beside(tokenizer, prompt_text(tokenizer, template, messages[:index], tools), rendered, known)
        for index in shown
    }
    return rendered, gates.of_conversation(tokenizer, template, conversation, rendered, prompts)


def example(row: Row, rendered: Rendered, max_length: int) -> Example:
    """The row as trained on: cut at the end to max_length tokens."""
    labels = [i if flag else IGNORED for i, flag in zip(rendered.ids, rendered.trained, strict=True)]
    return Example(row["row"], rendered.ids[:max_length], labels[:max_length], len(rendered.ids))


def tokenize(tokenizer: Any, template: Template, rows: Iterable[Row], max_length: int, loss_on: str) -> Tokenized:
    """Every row as it is trained on; a row of which no learned token is left after the cut is counted as dropped."""
    examples, dropped, found, longest = [], [], [], 0
    for row in rows:
        try:
            rendered, stops = render_row(tokenizer, template, row, loss_on)
        except rendering.TooSlow:
            raise
        except UserError as error:
            found.append((row["row"], Gate("refused", str(error))))
            continue
        found += [(row["row"], gate) for gate in stops]
        made = example(row, rendered, max_length)
        longest = max(longest, made.length)
        # token 0 is never predicted, so a label there alone teaches nothing
        if any(label != IGNORED for label in made.labels[1:]):
            examples.append(made)
        else:
            dropped.append(row["row"])
    return Tokenized(tuple(examples), tuple(dropped), tuple(found), longest)


def preview(
    tokenizer: Any, template: Template, row: Row, max_length: int, loss_on: str, cut: str = "keep"
) -> dict[str, Any]:
    """The command line's and the page's view of a row. Cut tokens are shown (from `truncated_at` on), never trained; with
    `cut` "drop" nothing of such a row is.

    Plain text is not asked for: its generation prompt is empty.
    """
    rendered, found = render_row(tokenizer, template, row, loss_on)
    asked, tools = None if "text" in row else split_answer(_conversation(row))[0], row.get("tools")
    dropped = cut == "drop" and len(rendered.ids) > max_length
    kept = 0 if dropped else max_length
    return {
        "row": row["row"],
        "text": rendered.text,
        "tokens": rendered.pieces,
        "ids": rendered.ids,
        "trained": [flag and i < kept for i, flag in enumerate(rendered.trained)],
        "truncated_at": max_length if len(rendered.ids) > max_length else None,
        "dropped": dropped,
        "generation_prompt": "" if asked is None else prompt_text(tokenizer, template, asked, tools),
        "generation_ids": [] if asked is None else prompt_ids(tokenizer, template, asked, tools),
        "gates": [gate.sentence for gate in found],
    }


def _conversation(row: Row) -> Conversation:
    return {"messages": row["messages"], "tools": row["tools"]} if row.get("tools") else {"messages": row["messages"]}
