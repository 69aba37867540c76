"""What two answers share, word by word. Standard library only."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter

MOST_PAIRS = 30_000  # of equal words, one in each text, that are looked at; about 0.15 s on a slow machine
WORD = re.compile(r"(\w+|[^\w\s]|^)(\s*)")
"""A word or a sign, and the blank after it: a blank of its own would be everywhere and tie nothing together."""

Part = tuple[str, str]


def parts(left: str, right: str) -> list[Part]:
    """[(kind, text)] in reading order: "same", or what only "left" or only "right" has.

    The texts of "same" and "left" together are the left text, those of "same" and "right" the right one, to the last
    blank. Scripts without spaces are compared character by character.
    """
    found: list[Part] = []
    for same, one, other in _aligned(words(left), words(right)):
        before, one, other, after = ("", one, "", "") if same else _trimmed(one, other)
        changed = [("same", one)] if same else [("left", one), ("right", other)]
        found += [part for part in (("same", before), *changed, ("same", after)) if part[1]]
    return _joined(found)


def words(text: str) -> list[str]:
    """The text in pieces that are compared whole; joined they are the text."""
    found: list[str] = []
    for word, blank in WORD.findall(text):
        pieces = list(word) if _unspaced(word) else [word]
        found += [*pieces[:-1], pieces[-1] + blank] if pieces[-1] + blank else []
    return found


def _trimmed(left: str, right: str) -> tuple[str, str, str, str]:
    """(before, left, right, after) of two texts that differ: words and blanks that are the same at their ends come off."""
    one, other = ([piece for piece in re.split(r"(\s+|\b)", text) if piece] for text in (left, right))
    start = _same(one, other)
    end = _same(one[start:][::-1], other[start:][::-1])
    parts = [("".join(text[:start]), "".join(text[start : len(text) - end])) for text in (one, other)]
    return parts[0][0], parts[0][1], parts[1][1], "".join(one[len(one) - end :])


def _same(one: list[str], other: list[str]) -> int:
    """How many pieces two lists begin with in common."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _unspaced(piece: str) -> bool:
    """Whether a word is of a script that puts no spaces between words."""
    return any("\u0e00" <= sign <= "\u0eff" or "\u1000" <= sign <= "\u109f" or _wide(sign) for sign in piece)


def _wide(sign: str) -> bool:
    return sign > "\u1780" and (unicodedata.east_asian_width(sign) in "WF" or "\u1780" <= sign <= "\u17ff")


def _aligned(left: list[str], right: list[str]) -> list[tuple[bool, str, str]]:
    """(same, left text, right text) of every stretch; what is the same at both ends costs nothing."""
    start = _same(left, right)
    end = _same(left[start:][::-1], right[start:][::-1])
    middle = _matched(left[start : len(left) - end], right[start : len(right) - end])
    first, last = "".join(left[:start]), "".join(left[len(left) - end :])
    return [(True, first, first), *middle, (True, last, last)]


def _matched(left: list[str], right: list[str]) -> list[tuple[bool, str, str]]:
    """By words; by sentences first where that would take too long, and by words within those that changed."""
    if _pairs(left, right) <= MOST_PAIRS:
        return _stretches(left, right)
    found, looked_at = [], 0
    for same, one, other in _stretches(_sentences(left), _sentences(right)):
        again = words(one), words(other)
        looked_at += 0 if same else _pairs(*again)
        found += [(same, one, other)] if same or looked_at > MOST_PAIRS else _stretches(*again)
    return found


def _stretches(left: list[str], right: list[str]) -> list[tuple[bool, str, str]]:
    # what is very often in a long text ties nothing together: autojunk leaves it out at first
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=True)
    codes = matcher.get_opcodes()
    return [(how == "equal", "".join(left[a:b]), "".join(right[c:d])) for how, a, b, c, d in codes]


def _pairs(left: list[str], right: list[str]) -> int:
    """Pairs of equal words that difflib would look at: those that are popular in a long text it leaves out."""
    ours, theirs = Counter(left), Counter(right)
    often = len(right) // 100 + 1 if len(right) >= 200 else len(right)
    return sum(count * theirs[word] for word, count in ours.items() if theirs[word] <= often)


def _sentences(pieces: list[str]) -> list[str]:
    return re.findall(r"[^.!?\n。！？]*[.!?\n。！？]+\s*|[^.!?\n。！？]+$", "".join(pieces))


def _joined(found: list[Part]) -> list[Part]:
    """Neighbours of one kind as one; within a change the left text stands before the right one."""
    joined: list[Part] = []
    for kind, text in found:
        if joined and joined[-1][0] == kind:
            joined[-1] = (kind, joined[-1][1] + text)
        elif kind == "left" and joined and joined[-1][0] == "right":
            _before_right(joined, text)
        else:
            joined.append((kind, text))
    return joined


def _before_right(joined: list[Part], text: str) -> None:
    if len(joined) > 1 and joined[-2][0] == "left":
        joined[-2] = ("left", joined[-2][1] + text)
    else:
        joined.insert(-1, ("left", text))
