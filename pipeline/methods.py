"""The ways to train: what each one is, what it needs, and what it can't be combined with. Standard library only.

What fails silently is refused here, when a setting is chosen, not after the start. Sources: PEFT's and TRL's own checks, and
runs of every method on every kind of base (the table is in tests/test_methods.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pipeline.errors import UserError

PLAIN, ANY = ("auto", "32-bit", "16-bit"), ("auto", "32-bit", "16-bit", "8-bit", "4-bit")
LOW_RANK = ("rank", "alpha", "dropout", "target_modules")
VIRTUAL = "its virtual tokens stand before every prompt and are no weights of the base"


class Method(NamedTuple):
    """`family` is how it is held: an adapter on the layers, virtual tokens before the prompt, or the base's own weights.

    `uses` are the settings that only some methods look at. `unmerged` says why it can't become one model with its base.
    """

    label: str
    sentence: str
    family: str = "adapter"
    rate: float = 2e-4
    memories: tuple[str, ...] = ANY
    uses: tuple[str, ...] = LOW_RANK
    unmerged: str = ""


METHODS: dict[str, Method] = {
    "lora": Method("LoRA", "Adds small matrices to the frozen base: right for almost everything."),
    "qlora-4bit": Method(
        "QLoRA 4-bit", "LoRA on a base held in 4 bit (NF4): a quarter of the memory, a little slower.",
        memories=("auto", "4-bit"),
    ),
    "qlora-8bit": Method(
        "QLoRA 8-bit", "LoRA on a base held in 8 bit: half the memory, closer to the base than 4 bit.",
        memories=("auto", "8-bit"),
    ),
    "dora": Method("DoRA", "LoRA that learns size and direction apart: sometimes better at a low rank, slower."),
    "rslora": Method("rsLoRA", "LoRA whose strength does not fade at high ranks (64 and more)."),
    "pissa": Method(
        "PiSSA", "LoRA that starts from the base's strongest directions: often learns faster. Saved as plain LoRA of "
        "twice the rank.", memories=PLAIN, uses=("rank", "alpha", "target_modules"),  # what is dropped would be the base's
    ),
    "lora+": Method(
        "LoRA+", "LoRA with faster steps for one of its two matrices: often learns faster.",
        uses=(*LOW_RANK, "lora_plus_ratio"),
    ),
    "ia3": Method(
        "IA3", "Learns only how strongly parts of the base speak: the smallest adapter.", rate=1e-2, uses=(),
    ),
    "prompt-tuning": Method(
        "Prompt tuning", "Learns a few virtual words that stand before every prompt; the base is not touched.", "prompt",
        rate=3e-2, uses=("virtual_tokens",), unmerged=VIRTUAL,
    ),
    "prefix-tuning": Method(
        "Prefix tuning", "Learns what every layer remembers of a few virtual words before the prompt.", "prompt",
        rate=5e-2, uses=("virtual_tokens",), unmerged=VIRTUAL,
    ),
    "new-tokens": Method(
        "New tokens", "LoRA, and tokens of your own whose meaning is learned with it.", uses=(*LOW_RANK, "new_tokens"),
    ),
    "full": Method(
        "Full fine-tuning", "Every weight of the base is trained: most memory, easiest to overdo.", "weights", rate=2e-5,
        memories=PLAIN, uses=(),
    ),
    "last-layers": Method(
        "Last layers", "Only the last layers of the base are trained, whole.", "weights", rate=5e-5, memories=PLAIN,
        uses=("last_layers",),
    ),
    "continued-pretraining": Method(
        "Continued pretraining", "LoRA that reads on in plain text (books, notes, code) instead of learning answers.",
    ),
}  # fmt: skip


def check(values: Mapping[str, Any]) -> None:
    """Refuse settings that can't be combined. Raises UserError naming both and what to choose."""
    name = values["method"]
    method, memory = METHODS[name], values["memory"]
    if memory not in method.memories:
        raise UserError(
            f"memory: {memory} can't be combined with {method.label}; choose {' or '.join(method.memories)}, or the "
            f"method {_instead(name, memory)}."
        )
    if method.family == "prompt" and values["packing"]:
        raise UserError(f"packing: {method.label} has one prompt per row, and packing joins rows; switch it off.")
    if name == "prefix-tuning" and values["activation_checkpointing"] == "on":
        raise UserError("activation_checkpointing: prefix tuning can't work with it; choose auto or off.")
    if name == "new-tokens" and not tokens(values["new_tokens"]):
        raise UserError('new_tokens is empty; write the tokens to add, such as "<note> </note>", or choose LoRA.')
    if name != "new-tokens" and values["new_tokens"].strip():
        raise UserError(f"new_tokens: {method.label} adds none; choose the method new-tokens, or leave it empty.")


def virtual_tokens(values: Mapping[str, Any]) -> int:
    """How many virtual tokens a config puts before every row."""
    return int(values["virtual_tokens"]) if METHODS[values["method"]].family == "prompt" else 0


def check_rows(name: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Refuse rows that a method can't learn from. Raises UserError naming the first."""
    talk = next((row["row"] for row in rows if "text" not in row), None) if name == "continued-pretraining" else None
    if talk is not None:
        raise UserError(
            f"Row {talk} is a conversation; {METHODS[name].label} reads on in plain text: give rows with text alone, or "
            "choose LoRA, which learns answers."
        )


def _instead(name: str, memory: str) -> str:
    return {"4-bit": "qlora-4bit", "8-bit": "qlora-8bit"}.get(memory, "lora")


def tokens(text: str) -> tuple[str, ...]:
    """The tokens a text names: separated by spaces, commas or lines, each once, in their order."""
    return tuple(dict.fromkeys(filter(None, re.split(r"[\s,]+", text))))
