"""Plain text -> passages of a few paragraphs each, for continued pretraining. Pure; only line ends are altered."""

from __future__ import annotations

import re
from collections.abc import Iterator

LONGEST = 4000
ENDS = [re.compile(f"(?s).*(?:{end})") for end in (r"\n", r"[.!?…]['\"”’)\]]*\s|[。！？]", r"\s")]
"""Where a paragraph that is too long is cut: the last line end that fits, else the last sentence, else the last word."""

Span = tuple[int, int]


def passages(text: str) -> Iterator[tuple[int, str]]:
    """(line where it begins, text) of whole paragraphs gathered up to LONGEST characters, in order.

    Paragraphs end at blank lines. Nothing but the blank lines between passages is left out.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    line = counted = 0
    for start, end in _gathered(piece for span in _paragraphs(text) for piece in _pieces(text, *span)):
        line += text.count("\n", counted, start)
        counted = start
        yield line + 1, text[start:end]


def _paragraphs(text: str) -> Iterator[Span]:
    start, begun, end = 0, -1, 0
    for line in text.split("\n"):
        if line.strip():
            begun, end = (start if begun < 0 else begun), start + len(line)
        elif begun >= 0:
            yield begun, end
            begun = -1
        start += len(line) + 1
    if begun >= 0:
        yield begun, end


def _pieces(text: str, start: int, end: int) -> Iterator[Span]:
    while end - start > LONGEST:
        cut = _cut(text[start : start + LONGEST])
        yield start, start + cut
        start += cut
    if start < end:
        yield start, end


def _cut(text: str) -> int:
    return next((found.end() for end in ENDS if (found := end.match(text))), len(text))


def _gathered(pieces: Iterator[Span]) -> Iterator[Span]:
    begun: Span | None = None
    for start, end in pieces:
        if begun and end - begun[0] > LONGEST:
            yield begun
            begun = None
        begun = (begun[0] if begun else start, end)
    if begun:
        yield begun
