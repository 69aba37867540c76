"""Two runs beside each other as HTML: both curves over one another, losses and scores, the settings that differ. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pipeline import measures
from pipeline.curves import Point
from ui import texts
from ui.runs_table import moment, polyline, span
from ui.scores_picture import metric

WIDTH, HEIGHT = 640, 220
SIDES = ("one", "other")
LONGEST = 120

CSS = """
.beside svg { width: 100%; height: auto; border: 1px solid var(--line); border-radius: .5rem; }
.beside polyline { fill: none; stroke-width: 1.5; stroke: var(--side-base); vector-effect: non-scaling-stroke; }
.beside polyline.other { stroke: var(--side-tuned); }
.beside polyline.validation { stroke-width: 3; }
.beside polyline.other, .beside i.other { stroke-dasharray: 6 3; }
.beside i { display: inline-block; width: 1.6rem; border-top: 3px solid var(--side-base); vertical-align: .25rem; margin: 0 .4rem 0 0; }
.beside i.other { border-top: 3px dashed var(--side-tuned); }
.beside .legend span { margin-right: 1.2rem; }
.beside table { border-collapse: collapse; width: 100%; font-size: .9rem; margin: .6rem 0; }
.beside th, .beside td { text-align: left; padding: .3rem .6rem; border: 0 !important; border-bottom: 1px solid var(--line) !important; vertical-align: top; overflow-wrap: anywhere; }
.beside caption { text-align: left; font-weight: 600; padding: .3rem 0; }
.beside .wide { overflow-x: auto; contain: inline-size; }
.beside .wide table { min-width: 34rem; table-layout: fixed; }
.beside th:first-child { width: 12rem; }
"""


def section(found: Mapping[str, Any]) -> str:
    """Everything `differences.beside` found."""
    names = [run["name"] for run in found["runs"]]
    if names[0] == names[1]:
        names = [f"{run['name']} ({moment(run['created'])})" for run in found["runs"]]
    return (
        f'<section class="beside">{legend(names)}{picture(found["curves"])}'
        f"{table(texts.BESIDE_CAME, names, came(found))}{table(texts.BESIDE_ASKED, names, asked(found))}</section>"
    )


def legend(names: Sequence[str]) -> str:
    marks = "".join(
        f'<span><i class="{side}"></i>{escape(name)}</span>' for side, name in zip(SIDES, names, strict=True)
    )
    return f'<p class="legend">{marks}</p><p class="quiet">{escape(texts.BESIDE_LINES)}</p>'


def picture(curves: Sequence[Mapping[str, Sequence[Point]]]) -> str:
    """The curves of both, drawn to one scale; thick lines are validation."""
    everything = [point for curve in curves for points in curve.values() for point in points]
    if len(everything) < 2:
        return f'<p class="quiet">{texts.BESIDE_NO_CURVES}</p>'
    whole = span(everything)
    drawn = "".join(
        polyline(points, whole, WIDTH, HEIGHT, f"{side} {kind}")
        for side, curve in zip(SIDES, curves, strict=True)
        for kind, points in curve.items()
        if points
    )
    steps, low, high = whole
    said = escape(texts.BESIDE_SAID.format(steps=steps, low=low, high=high))
    return (
        f'<svg role="img" aria-label="{said}" viewBox="0 0 {WIDTH} {HEIGHT}">{drawn}</svg><p class="quiet">{said}</p>'
    )


def came(found: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """State, losses, and the tuned side's scores."""
    one, other = found["runs"]
    lines = [
        (texts.BESIDE_STATE, *(texts.RUN_STATES.get(run["status"], run["status"]) for run in (one, other))),
        (texts.FACT_LOSS, one["loss"], other["loss"]),
        (texts.FACT_VALIDATION, one["validation_loss"], other["validation_loss"]),
    ]
    for name, pair in found["metrics"].items():
        better = texts.BESIDE_LESS if measures.better(name) < 0 else ""
        lines.append((metric(name)[0] + better, *(score and score["tuned"] for score in pair)))
    return lines


def asked(found: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(name.replace("_", " "), *values) for name, *values in found["differences"]]


def table(title: str, names: Sequence[str], lines: Sequence[tuple[str, Any, Any]]) -> str:
    if not lines:
        return f'<p class="quiet">{escape(texts.BESIDE_SAME)}</p>'
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in ("", *names))
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{shown(one)}</td><td>{shown(other)}</td></tr>'
        for name, one, other in lines
    )
    return (
        f'<div class="wide"><table><caption>{escape(title)}</caption><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def shown(value: Any) -> str:
    """A value as a person reads it; nothing where there is none."""
    if value is None or value == "":
        return '<span class="quiet">–</span>'
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return escape(text if len(text) <= LONGEST else text[:LONGEST] + " …")
