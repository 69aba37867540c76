"""Scores as dumbbells: base, tuned and the interval of their difference, each as SVG with the same in words. Pure.

What a colour says, a shape and a word say too. A picture is as wide as its place; its letters stay as large as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any, NamedTuple

from pipeline import measures
from ui import texts

HEIGHT, MIDDLE = 26, 13  # pixels
EDGE = 2.0  # per cent of the width that a mark at 0 or at the top takes
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
SHAPES = {  # around the middle, in pixels
    "base": '<circle r="5.5" class="mark-base"></circle>',
    "better": '<path d="M0 -7 L7 5 L-7 5 Z" class="mark-better"></path>',
    "worse": '<path d="M0 7 L7 -5 L-7 -5 Z" class="mark-worse"></path>',
    "open": '<path d="M0 -7 L7 0 L0 7 L-7 0 Z" class="mark-open"></path>',
}
SIGNS = {"better": "✓", "worse": "✗", "open": "?", "same": "="}
KINDS = {"better": "good", "worse": "bad", "open": "plain", "same": "plain"}


class Outcome(NamedTuple):
    """What a score has come to: better, worse, open or same; and the word for it."""

    kind: str
    word: str


def scores(report: Mapping[str, Any]) -> str:
    """Every score of the report: those that are better when higher, those when lower, then how the sides answer."""
    metrics, answering = report["metrics"], report.get("measures") or {}
    more = {name: score for name, score in metrics.items() if measures.better(name) >= 0}
    less = {name: score for name, score in metrics.items() if name not in more}
    groups = (("", more), (texts.LESS_IS_BETTER_TITLE, less), (texts.MEASURES_TITLE, answering))
    return legend() + "".join(group(title, found) for title, found in groups if found)


def metric(name: str) -> tuple[str, str]:
    """What a score is called and how it is written; one that we don't know by the name it came with."""
    return texts.METRICS.get(name, (name, "{:.3f}"))


def legend() -> str:
    shown = {"base": "base", "better": "better", "worse": "worse", "open": "open"}
    marks = "".join(
        f'<li><svg width="18" height="18" aria-hidden="true"><g transform="translate(9 9)">{SHAPES[shape]}</g></svg>'
        f"{escape(texts.SCORES_LEGEND[name])}</li>"
        for name, shape in shown.items()
    )
    span = (
        '<li><svg width="26" height="18" aria-hidden="true"><rect class="span" x="1" y="5" width="24" height="8" rx="2"></rect></svg>'
        f"{escape(texts.SCORES_LEGEND['span'])}</li>"
    )
    return f'<ul class="dumbbell-legend">{marks}{span}</ul>'


def group(title: str, found: Mapping[str, Mapping[str, float]]) -> str:
    """Lines below each other; where all have the same scale, it stands below the last."""
    head = f"<h3>{escape(title)}</h3>" if title else ""
    shares = " shares" if all(metric(name)[1].endswith("%}") for name in found) else ""
    return f'{head}<ul class="dumbbells{shares}">{"".join(dumbbell(name, score) for name, score in found.items())}</ul>'


def outcome(score: Mapping[str, float], better: int = 1) -> Outcome:
    """Better or worse where the interval leaves zero out, else not settled.

    `better` is 1 where higher is better, -1 where lower is; where it is 0, higher is no better: it is told as higher.
    """
    if score["base"] == score["tuned"] and not score["low"] < 0 < score["high"]:
        return Outcome("same", texts.SAME)
    low, high = sorted((score["low"], score["high"]))
    if low <= 0 <= high:
        return Outcome("open", texts.NOT_SETTLED)
    if not better:
        return Outcome("open", texts.HIGHER if low > 0 else texts.LOWER)
    return Outcome("better", texts.BETTER) if (low > 0) == (better > 0) else Outcome("worse", texts.WORSE)


def dumbbell(name: str, score: Mapping[str, float]) -> str:
    """One line: the name, the picture, the numbers and what they mean."""
    label, form = metric(name)
    found = outcome(score, measures.better(name))
    words = in_words(score, form)
    said = texts.DUMBBELL_SAID.format(name=label, verdict=found.word, **words)
    told = texts.DUMBBELL_BY if score.get("n") else texts.DUMBBELL_BY_UNKNOWN
    hint = f'<span class="quiet">{escape(texts.METRIC_HINTS[name])}</span>' if name in texts.METRIC_HINTS else ""
    sign = {texts.HIGHER: "↑", texts.LOWER: "↓"}.get(found.word, SIGNS[found.kind])
    return (
        f'<li><p class="named"><b>{escape(label)}</b>{hint}</p>{picture(score, form, found, said)}'
        f'<p class="told"><span class="chip {KINDS[found.kind]}">{sign} {escape(found.word)}</span>'
        f'<b>{escape(texts.DUMBBELL.format(**words))}</b><span class="quiet">{escape(told.format(**words))}</span></p></li>'
    )


def in_words(score: Mapping[str, float], form: str) -> dict[str, Any]:
    """Both values, the difference and its interval as they are read; differences of shares in points."""
    percent = form.endswith("%}")
    signed = form.replace("{:", "{:+")
    steps = {part: score[part] for part in ("difference", "low", "high")}
    told = {
        part: texts.POINTS.format(100 * value) if percent and part == "difference" else
        f"{100 * value:+.1f}" if percent else signed.format(value)
        for part, value in steps.items()
    }  # fmt: skip
    return {
        "base": form.format(score["base"]),
        "tuned": form.format(score["tuned"]),
        **told,
        "n": score.get("n") or "?",
    }


def picture(score: Mapping[str, float], form: str, found: Outcome, said: str) -> str:
    """Base and tuned on a line, and where tuned would lie by the interval of the difference."""
    share = form.endswith("%}")
    top = 1.0 if share else rounded_up(max(score["base"], score["tuned"], score["base"] + score["high"]))
    low, high = (at(score["base"] + score[end], top) for end in ("low", "high"))
    base, tuned = at(score["base"], top), at(score["tuned"], top)
    ticks = "".join(
        f'<line class="tick" x1="{at(t * top, top):.2f}%" x2="{at(t * top, top):.2f}%" y1="0" y2="{HEIGHT}"></line>'
        for t in TICKS
    )
    drawn = (
        f'<rect class="span {found.kind}" x="{low:.2f}%" y="{MIDDLE - 4}" width="{max(0.4, high - low):.2f}%" height="8" rx="2"></rect>'
        f'<line class="bar-between" x1="{base:.2f}%" x2="{tuned:.2f}%" y1="{MIDDLE}" y2="{MIDDLE}"></line>'
        f"{mark('base', base)}{mark(found.kind if found.kind in SHAPES else 'open', tuned)}"
    )
    ends = ("0%", "100%") if share else ("0", f"{top:g}")
    scale = f'<div class="scale" aria-hidden="true"><span>{ends[0]}</span><span>{ends[1]}</span></div>'
    return (
        f'<div class="on-scale"><svg role="img" aria-label="{escape(said)}" width="100%" height="{HEIGHT}">{ticks}{drawn}</svg>'
        f"{scale}</div>"
    )


def mark(shape: str, x: float) -> str:
    """A shape at a place in per cent of the width."""
    return f'<svg x="{x:.2f}%" y="{MIDDLE}" class="mark-at">{SHAPES[shape]}</svg>'


def at(value: float, top: float) -> float:
    """The place of a value between 0 and top, in per cent of the width."""
    part = value / top if math.isfinite(value) else 1.0
    return EDGE + (100 - 2 * EDGE) * min(1.0, max(0.0, part))


def rounded_up(value: float) -> float:
    """The next larger number that reads well: 1, 2 or 5 times a power of ten; 1 where there is nothing to draw."""
    if not (math.isfinite(value) and value > 0):
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(step * unit for step in (1, 2, 5, 10) if value <= step * unit * (1 + 1e-9))
