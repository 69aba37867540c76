"""Words of any script: what the metrics count. Pure."""

from __future__ import annotations

import re
import unicodedata

# scripts that are written without spaces: a character of them is a word. Kana, Han, Hangul, Thai, Lao, Tibetan, Burmese, Khmer
SPACELESS = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)


def _marks() -> str:
    """Combining marks, as ranges for a character class: they belong to the letter before, and `\\w` leaves them out."""
    places = [c for c in range(0x300, 0x1F000) if unicodedata.category(chr(c)).startswith("M")]
    ranges: list[list[int]] = []
    for place in places:
        if ranges and place == ranges[-1][1] + 1:
            ranges[-1][1] = place
        else:
            ranges.append([place, place])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


MARKS = _marks()
CHARACTER = rf"[{SPACELESS}][{MARKS}]*"
WORD = re.compile(rf"(?=\w){CHARACTER}|(?:[^\W_{SPACELESS}][{MARKS}]*)+")
ALONE = re.compile(CHARACTER)


def words(text: str) -> list[str]:
    """Lower-case words of any script (rouge_score's own tokenizer knows a-z and 0-9 only, and scores Chinese 0)."""
    return WORD.findall(unicodedata.normalize("NFKC", text).lower())


def apart(text: str) -> str:
    """The text with spaces around each character of a script without them, for tokenizers that split at spaces."""
    return ALONE.sub(r" \g<0> ", text)
