"""What looks like a key, a password, an e-mail address or a phone number: found, masked in sentences, removed if chosen.

A hint and no proof: it misses what has no known form, and values made up for an example are found as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from pipeline.findings import effect, problem
from pipeline.schema import FINDINGS, Problem, Row
from pipeline.wording import texts

KINDS = {
    "secret": "what looks like a key or a password",
    "email": "what looks like an e-mail address",
    "phone": "what looks like a phone number",
}
REMOVED = "[removed]"
SHOWN = 3
HINTS = (
    "sk-", "sk_", "rk_", "akia", "asia", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "hf_",
    "aiza", "npm_", "pypi-", "sg.", "eyj", "private key", "://", "pass", "pwd", "secret", "api", "token",
)  # fmt: skip
"""One of these, in lower case, stands in every text in which SECRET can find anything: cheaper to look for."""

SECRET = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)"
    r"|\b(?:[sr]k[-_](?:live|test|proj|ant|or|svcacct)?[-_]?\w[\w-]{18,}\w|A(?:KI|SI)A[0-9A-Z]{16}\b|gh[pousr]_\w{36,}"
    r"|github_pat_\w{22,}|glpat-[\w-]{20,}|xox[abprs]-[\w-]{10,}|hf_[A-Za-z0-9]{30,}|AIza[\w-]{35}|npm_[A-Za-z0-9]{36}"
    r"|pypi-[\w-]{50,}|SG\.[\w-]{16,}\.[\w-]{16,}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,})"
    r"|://[^\s/:@]{1,64}:(?P<login>[^\s/@]{3,64})@"
    r"|(?i:pass(?:word|wd|phrase)|\bpwd|secret(?:[ _-]?key)?|api[ _-]?key|token)[\"'`*]{0,3}(?:\s{0,3}[:=]|\s{1,3}is:?)"
    r"\s{0,3}[\"'`*]{0,3}(?P<named>[^\s\"'`*,;<>(){}\[\]]{6,64})",
    re.DOTALL,
)
EMAIL = re.compile(
    r"(?<![\w.%+-])(?!your)[A-Za-z0-9][\w.%+-]{0,63}@(?!(?:[\w-]+\.)?(?:example|test|invalid|localhost)\b)"
    r"(?:[A-Za-z0-9-]{1,63}\.){1,4}[A-Za-z]{2,24}\b",
    re.ASCII,
)
"""Addresses, but not those that are set aside for examples (RFC 2606)."""

PHONE = re.compile(
    r"(?<![\w+./=-])(?:\+\d[\d ().-]{6,18}\d|(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4})(?![\w/=-]|\.\d)", re.ASCII
)

Span = tuple[int, int]


def find(text: str) -> dict[str, list[Span]]:
    """Where something of each kind stands; kinds of which nothing was found are not in it."""
    found = {"secret": list(_secrets(text)), "email": list(_emails(text)), "phone": list(_phones(text))}
    return {kind: spans for kind, spans in found.items() if spans}


def remove(kind: str, text: str) -> str:
    pieces, done = [], 0
    for start, end in find(text).get(kind, ()):
        pieces += [text[done:start], REMOVED]
        done = end
    return "".join([*pieces, text[done:]])


def scan(
    rows: Sequence[Row], progress: Callable[[int, int], None] | None = None, name: str = "The rows"
) -> list[Problem]:
    """One problem for each kind that was found, with up to three values, masked.

    `progress` is called with the rows done and their number, every thousand rows and at the end.
    """
    values: dict[str, dict[str, None]] = {kind: {} for kind in KINDS}
    numbers: dict[str, list[int]] = {kind: [] for kind in KINDS}
    for done, row in enumerate(rows, start=1):
        text = "\n\n".join(texts(row))
        for kind, spans in find(text).items():
            numbers[kind].append(row["row"])
            if len(values[kind]) < SHOWN:
                values[kind].update(dict.fromkeys(masked(text[start:end]) for start, end in spans[:SHOWN]))
        if progress and (done % 1000 == 0 or done == len(rows)):
            progress(done, len(rows))
    return [_problem(name, kind, numbers[kind], values[kind], len(rows)) for kind in KINDS if numbers[kind]]


def masked(value: str) -> str:
    """Enough to recognise one's own value by, too little to use it."""
    return f"{value[:3]}…{value[-2:]}" if len(value) >= 16 else f"{value[:1]}…"


def _problem(name: str, kind: str, rows: list[int], values: Iterable[str], total: int) -> Problem:
    effects = {
        choice: effect(
            kind, choice, len(rows), 0 if choice == "drop" else len(rows), total - len(rows) * (choice == "drop")
        )
        for choice in FINDINGS[kind]
    }
    shown = ", ".join(list(values)[:SHOWN])
    return problem(name, kind, {f"{KINDS[kind]} ({shown})": rows}, FINDINGS[kind][0], effects)


def _secrets(text: str) -> Iterator[Span]:
    lower = text.lower()
    if any(hint in lower for hint in HINTS):
        for match in SECRET.finditer(text):
            group = match.lastgroup or 0
            if group != "named" or _is_password(match["named"]):
                yield match.span(group)


def _is_password(value: str) -> bool:
    """Letters mixed with digits, as people choose them: words, numbers and placeholders follow the word password too."""
    value = value.rstrip(".:!?")
    letters, digits = sum(map(str.isalpha, value)), sum(map(str.isdigit, value))
    return letters >= 2 and digits >= 1 and not re.match(r"(?i)your|my_?|example|xxx|\$|https?:", value)


def _emails(text: str) -> Iterator[Span]:
    if "@" in text:
        yield from (match.span() for match in EMAIL.finditer(text))


def _phones(text: str) -> Iterator[Span]:
    """Numbers that are valid where they belong: international ones, and those of North America as people write them."""
    for match in PHONE.finditer(text):
        import phonenumbers

        try:
            if phonenumbers.is_valid_number(phonenumbers.parse(match[0], "US")):
                yield match.span()
        except phonenumbers.NumberParseException:
            continue
