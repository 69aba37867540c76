"""The chat template a conversation is written with: the model's own, one of four presets, or a pasted one. Text only.

A preset carries the marks that TRL's training templates have ({% generation %}); without them it is what is published.
"""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from typing import Any

from pipeline.errors import UserError

MARKS = re.compile(r"\{%- (?:end)?generation -%\}")
BEGIN = "{{- bos_token -}}"  # before every preset, for a tokenizer that puts it before every text
IM_END = "<|im_end|>"
ANSWER = "{%- generation -%}{{- message['content'] | trim + eos_token -}}{%- endgeneration -%}"
ONLY_TALK = (
    "{%- if message['role'] not in ['system', 'user', 'assistant'] -%}"
    "{{- raise_exception('it has no place for a ' + message['role'] + ' message; choose chatml') -}}"
    "{%- endif -%}"
)


def _turns(gap: str, user: str, assistant: str, answer: str = ANSWER) -> str:
    """Turns with `gap` between them; `user` and `assistant` are what stands before the text of each, as Jinja strings."""
    return (
        "{%- for message in messages -%}" + ONLY_TALK + "{%- if not loop.first -%}{{- '" + gap + "' -}}{%- endif -%}"
        "{%- if message['role'] == 'assistant' -%}{{- '" + assistant + "' -}}" + answer + "{%- else -%}"
        "{{- ('" + user + "' if message['role'] == 'user' else '') + message['content'] | trim -}}"
        "{%- endif -%}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- '" + gap + assistant + "' -}}{%- endif -%}"
    )


MARKED = {
    "chatml": (
        "{%- for message in messages -%}{{- '<|im_start|>' + message['role'] + '\\n' -}}"
        "{%- if message['role'] == 'assistant' -%}" + ANSWER + "{%- else -%}"
        "{{- message['content'] | trim + eos_token -}}{%- endif -%}{{- '\\n' -}}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
    ),
    "instruction": _turns("\\n\\n", "### Instruction:\\n", "### Response:\\n"),
    # the space belongs to the answer: " Paris" is one token, and a prompt that ends in a space would never lead to it
    "phi-2": _turns("\\n", "Instruct: ", "Output:", ANSWER.replace("{{- ", "{{- ' ' + ", 1)),
    "plain": _turns("\\n\\n", "", ""),
}


@dataclass(frozen=True)
class Template:
    """A model's templates. `own` makes every prompt, `training` (None: derived by prefixes) makes ids and labels.

    `stop_ids` end an answer: the template's own end of turn first, then the model's others. One that was pasted is
    `guarded`: rendered in a process of its own, which ends when it hangs.
    """

    own: str
    training: str | None
    stop_ids: tuple[int, ...]
    guarded: bool = False

    def hashes(self) -> dict[str, str]:
        return {"own": _sha256(self.own), "training": _sha256(self.training or self.own)}


def put_on(tokenizer: Any, choice: str) -> None:
    """Make the chosen template the tokenizer's; "own" leaves it as it came. Raises UserError without a stop token.

    A model that knows ChatML's end of turn ends its turns with it: it becomes the tokenizer's stop token, so that
    whoever opens what is saved with the adapter stops there too.
    """
    if choice == "own":
        return
    if choice not in MARKED:
        tokenizer.chat_template = choice
        return
    if choice == "chatml" and IM_END in {t.content for t in tokenizer.added_tokens_decoder.values() if t.special}:
        tokenizer.eos_token = IM_END
    if tokenizer.eos_token is None:
        raise UserError(
            "This model's tokenizer has no end-of-text token, so no answer could end; choose another model."
        )
    tokenizer.chat_template = MARKS.sub("", (BEGIN if begins(tokenizer) else "") + MARKED[choice])


def begins(tokenizer: Any) -> bool:
    """Whether the tokenizer puts a token before every text by itself."""
    first = tokenizer("a")["input_ids"][0]
    return tokenizer.bos_token_id is not None and first == tokenizer.bos_token_id


def splitting(tokenizer: Any) -> dict[int, str]:
    """The tokens, by id, at which a text is split before anything else is done with it, whatever stands around them."""
    return _splitting(tokenizer, len(tokenizer))


@functools.lru_cache(maxsize=4)
def _splitting(tokenizer: Any, size: int) -> dict[int, str]:  # some have thousands: too many to look at for every row
    added = tokenizer.added_tokens_decoder.items()
    return {number: token.content for number, token in added if not (token.normalized or token.single_word)}


def marked(own: str) -> str | None:
    """The preset that `own` is, with its marks; None for any other template."""
    both = [begin + preset for preset in MARKED.values() for begin in ("", BEGIN)]
    return next((preset for preset in both if MARKS.sub("", preset) == own), None)


def known(own: str) -> bool:
    """Whether a template is a preset or one that TRL ships, and so can be rendered without a guard."""
    return marked(own) is not None or own in _shipped()


@functools.lru_cache(maxsize=1)
def _shipped() -> frozenset[str]:
    files = resources.files("trl").joinpath("chat_templates").iterdir()
    return frozenset(file.read_text(encoding="utf-8") for file in files if file.name.endswith(".jinja"))


@functools.lru_cache(maxsize=64)
def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
