"""A model's reasoning apart from its answer, in texts that are whole or still growing. Standard library only."""

from __future__ import annotations

MARKS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<seed:think>", "</seed:think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
)
"""What models write before and after their reasoning."""


def split(text: str, opened: str | None = None, growing: bool = True) -> tuple[str, str]:
    """(thought, answer), both without the marks and the blank around them; no thought is "".

    Thinking that has not ended is still thought, and so is, while the text is `growing`, a mark that has only begun to be
    written. Only the beginning of an answer is looked at: marks that are quoted later are text. `opened` is the mark with which the prompt ended
    (`opened_by`): such an answer begins inside the thought.
    """
    begun = text.lstrip()
    for opening, closing in MARKS:
        if begun.startswith(opening):
            return _parted(begun.removeprefix(opening), closing)
        if opening == opened:
            return _parted(text, closing)
        if growing and begun and opening.startswith(begun):
            return "", ""
    return "", text


def opened_by(prompt: str) -> str | None:
    """The mark that a template wrote at the end of a prompt so that the model thinks first."""
    return next((opening for opening, _ in MARKS if prompt.rstrip().endswith(opening)), None)


def _parted(text: str, closing: str) -> tuple[str, str]:
    thought, found, answer = text.partition(closing)
    if not found:
        thought = without_beginning(thought, closing)
    return thought.strip(), answer.lstrip() if found else ""


def without_beginning(text: str, mark: str) -> str:
    """A growing text without the first characters of a mark at its end, so that no half mark is shown."""
    for length in range(min(len(mark) - 1, len(text)), 0, -1):
        if text.endswith(mark[:length]):
            return text[:-length]
    return text
