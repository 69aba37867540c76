"""What text holds that a reader does not see as text: marks between turns, and characters that print nothing. Pure.

Emoji, Arabic and Indic scripts join letters with zero-width characters, and right-to-left text is steered by marks: those
belong to the text and are not counted.
"""

from __future__ import annotations

import re

SPECIAL_TOKEN = re.compile(
    r"<\|[A-Za-z][\w .:/-]{0,48}\|>|<｜[^｜<>\n]{1,48}｜>"  # <|im_end|>, <|eot_id|>, DeepSeek's with wide bars
    r"|</?s>|\[/?INST\]|<</?SYS>>|\[(?:BOS|EOS|PAD|CLS|SEP|MASK|UNK|TOOL_CALLS|AVAILABLE_TOOLS|TOOL_RESULTS)\]"
    r"|<(?:bos|eos|pad|unk|mask|start_of_turn|end_of_turn|endoftext|turn\||\|turn)>"
)
HIDDEN = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # control characters; tab and line breaks are text
    "\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
)
FIRST_LOOK = re.compile(rf"[<\[{HIDDEN}]")
"""What every finding begins with: four times as fast as looking for what follows."""

FLAG = "\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f"
JOINED = (
    "\u0600-\u109f\u1780-\u18af\ua800-\uabff\ufb50-\ufe0f\ufe70-\ufefc\U00010a00-\U00011fff"  # joining scripts
    "\u200d\u2190-\u2bff\U0001f000-\U0001faff"  # emoji
)
RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
NON_PRINTING = re.compile(f"(?P<text>{FLAG}|(?<=[{JOINED}])[\u200c\u200d])|[{HIDDEN}]")
SAID = {
    "special-token": "inside the text, which some models read as the end or the beginning of a turn",
    "non-printing": "inside the text, a character that nobody sees",
}
DIRECTIONS = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def find(text: str) -> dict[str, list[str]]:
    """What was found by kind of finding: special-token, non-printing; nothing for ordinary text."""
    if not FIRST_LOOK.search(text):
        return {}
    found = {"special-token": SPECIAL_TOKEN.findall(text), "non-printing": _non_printing(text)}
    return {kind: list(dict.fromkeys(items)) for kind, items in found.items() if items}


def remove(kind: str, text: str) -> str:
    """The text without what `find` found of a kind; what only appears by taking something out is taken out as well."""
    if kind == "non-printing":
        steering = RIGHT_TO_LEFT.search(text) is not None
        return NON_PRINTING.sub(lambda match: match[0] if _belongs(match, steering) else "", text)
    while (shorter := SPECIAL_TOKEN.sub("", text)) != text:
        text = shorter
    return text


def named(character: str) -> str:
    return f"U+{ord(character):04X}"


def _non_printing(text: str) -> list[str]:
    steering = RIGHT_TO_LEFT.search(text) is not None
    return [named(match[0]) for match in NON_PRINTING.finditer(text) if not _belongs(match, steering)]


def _belongs(match: re.Match[str], steering: bool) -> bool:
    return match["text"] is not None or (steering and DIRECTIONS.match(match[0]) is not None)
