"""Watch it learn: the same validation prompts answered by the base, and by the tuned model at every look. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ui import texts

SHOWN_LOOKS = 24  # the newest ones; a run with hundreds would fill the page

# the base stays at the left edge; the newest answer is scrolled to
SCRIPT = """const show = () => element.querySelectorAll('.strip-looks').forEach(
  looks => looks.scrollLeft = looks.scrollWidth);
watch('value', () => requestAnimationFrame(show));
new ResizeObserver(show).observe(element);"""

Look = tuple[int, Sequence[Mapping[str, Any]]]
"""A step, and {row, prompt, reference, base, tuned} of every prompt answered there."""


def strip(looks: Sequence[Look]) -> str:
    """Per prompt one line: what was asked, the base's answer, then the tuned model's by step. Nothing without samples."""
    by_row: dict[Any, list[tuple[int, Mapping[str, Any]]]] = {}
    for step, samples in looks:
        for sample in samples:
            by_row.setdefault(sample.get("row"), []).append((step, sample))
    if not by_row:
        return ""
    lines = "".join(_line(told[-SHOWN_LOOKS:]) for told in by_row.values())
    return f'<section class="strip"><h2>{texts.WATCH_IT_LEARN}</h2><p class="quiet">{texts.WATCH_HELP}</p>{lines}</section>'


def _line(told: Sequence[tuple[int, Mapping[str, Any]]]) -> str:
    asked = told[-1][1]
    wanted = str(asked.get("reference") or "")
    base = _answer("base", texts.SIDES["base"], str(asked.get("base") or ""), wanted)
    tuned = "".join(
        _answer("tuned", texts.AT_STEP.format(step=step), str(sample.get("tuned") or ""), wanted)
        for step, sample in told
    )
    reference = f'<p class="quiet"><b>{texts.WANTED}</b> {escape(wanted)}</p>' if wanted else ""
    return (
        f'<p class="strip-asked">{escape(str(asked.get("prompt") or ""))}</p>{reference}'
        f'<ol class="strip-looks" tabindex="0" aria-label="{texts.WATCH_IT_LEARN}">{base}{tuned}</ol>'
    )


def _answer(side: str, name: str, text: str, wanted: str) -> str:
    """One answer, marked where it is the one in the data."""
    same = f' <span class="good">✓ {texts.AS_WANTED}</span>' if text.strip() and text.strip() == wanted.strip() else ""
    said = escape(text) if text.strip() else f'<span class="quiet">{texts.NO_TEXT}</span>'
    return f'<li class="{side}"><b>{escape(name)}</b>{same}<p>{said}</p></li>'
