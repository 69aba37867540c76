"""All runs as a table: state, model, method, rows, loss, the curve at a glance, disk, date. HTML and SVG; no script in it."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from pipeline import archive, jobs
from pipeline.curves import Point, thin
from pipeline.methods import METHODS
from pipeline.schema import Visitor
from ui import live, texts

SPARK_WIDTH, SPARK_HEIGHT, SPARK_POINTS = 96, 24, 48

CSS = """
.all-runs { overflow: auto; max-height: 22rem; contain: inline-size; }
.all-runs table { width: 100%; border: 0 !important; border-collapse: collapse; font-size: .9rem; }
.all-runs tr { border: 0 !important; }
.all-runs th, .all-runs td { border: 0 !important; border-bottom: 1px solid var(--line) !important; text-align: left;
  padding: .3rem .6rem; white-space: nowrap; }
.all-runs tbody th { font-weight: 400; min-width: 7rem; white-space: normal; overflow-wrap: anywhere; }
.all-runs button { background: none; border: 0; padding: 0; color: var(--side-tuned); font: inherit; text-align: left;
  text-decoration: underline; cursor: pointer; overflow-wrap: anywhere; }
.all-runs tr[aria-current] button { font-weight: 700; }
.all-runs .number { text-align: right; font-variant-numeric: tabular-nums; }
.all-runs svg { display: block; }
.all-runs polyline { fill: none; stroke: var(--side-tuned); stroke-width: 1.5; vector-effect: non-scaling-stroke; }
@media (max-width: 640px) {
  .all-runs .aside { display: none; }
  .all-runs table { font-size: .85rem; }
  .all-runs th, .all-runs td { white-space: normal; padding: .3rem; }
}
"""
# a click on a run's name writes its id into a field nobody sees, then a button nobody sees is clicked
OPEN = """element.addEventListener('click', (event) => {
  const asked = event.target.closest('[data-run]'), field = document.querySelector('#runs-asked :is(textarea, input)');
  if (!asked || !field) return;
  field.value = asked.dataset.run;
  field.dispatchEvent(new Event('input', {bubbles: true}));
  setTimeout(() => document.querySelector('#runs-open').click(), 50);
});"""


def draw(who: Visitor, chosen: str | None) -> str:
    """Every run this visitor may see, newest first, as it is now."""
    return table([each for each in jobs.listing() if who.owner or each["shared"]], chosen)


def table(runs: Sequence[dict[str, Any]], chosen: str | None) -> str:
    """A line per run; its name is what opens it."""
    if not runs:
        return f"<p class='quiet'>{texts.NO_RUNS}</p>"
    heads = "".join(f'<th scope="col" class="{name}">{words}</th>' for name, words in texts.RUN_HEADS)
    lines = "".join(line(run, run["run"] == chosen) for run in runs)
    return f'<div class="all-runs"><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'


def line(run: dict[str, Any], chosen: bool) -> str:
    folder = Path(run["folder"])
    loss, method = run["validation_loss"], METHODS.get(run["method"])
    state = live.chip(run["status"]) + (f" {escape(texts.IMPORTED)}" if run["imported"] else "")
    cells = (
        ("", state),
        ("aside", escape(live.short_model(run["model"]))),
        ("aside", escape(method.label if method else run["method"])),
        ("aside number", f"{run['rows']:,}" if run["rows"] else ""),
        ("number", "" if loss is None or not math.isfinite(loss) else f"{loss:.3f}"),
        ("aside", sparkline(jobs.view(folder).curve)),
        ("aside number", size(archive.disk_use(folder))),
        ("", escape(moment(run["created"]))),
    )
    tail = "".join(f'<td class="{name}">{cell}</td>' for name, cell in cells)
    mark = ' aria-current="true"' if chosen else ""
    name = f'<button type="button" data-run="{escape(run["run"])}">{escape(run["name"])}</button>'
    return f'<tr{mark}><th scope="row">{name}</th>{tail}</tr>'


@functools.lru_cache(maxsize=512)
def sparkline(curve: tuple[Point, ...]) -> str:
    """The loss of a training at a glance; nothing where there are fewer than two points."""
    points = thin([point for point in curve if math.isfinite(point[1])], SPARK_POINTS)
    if len(points) < 2:
        return ""
    said = texts.SPARK.format(first=points[0][1], last=points[-1][1])
    drawn = polyline(points, span(points), SPARK_WIDTH, SPARK_HEIGHT)
    return (
        f'<svg role="img" aria-label="{escape(said)}" width="{SPARK_WIDTH}" height="{SPARK_HEIGHT}">'
        f"<title>{escape(said)}</title>{drawn}</svg>"
    )


def span(points: Sequence[Point]) -> tuple[float, float, float]:
    """(last step, lowest, highest loss) of a curve: what a picture of it is wide and high."""
    losses = [loss for _, loss in points]
    return float(max(step for step, _ in points)), min(losses), max(losses)


def polyline(
    points: Sequence[Point], of: tuple[float, float, float], width: float, height: float, name: str = ""
) -> str:
    """A curve within a picture of this size, one pixel from its edges; `of` is the span of what the picture shows."""
    steps, low, high = of
    tall = (height - 2) / (high - low) if high > low else 0.0
    told = " ".join(
        f"{width * step / max(1.0, steps):.1f},{height - 1 - (loss - low) * tall:.1f}" for step, loss in points
    )
    kind = f' class="{name}"' if name else ""
    return f'<polyline{kind} points="{told}"></polyline>'


def size(used: archive.DiskUse) -> str:
    """Bytes of a run; how much of them are checkpoints is told on hovering."""
    title = escape(texts.CHECKPOINTS_SIZE.format(size=in_words(used.checkpoints)))
    return f'<span title="{title}">{in_words(used.whole)}</span>' if used.checkpoints else in_words(used.whole)


def in_words(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def moment(seconds: float) -> str:
    return time.strftime("%d %b %H:%M", time.localtime(seconds)) if seconds else ""
