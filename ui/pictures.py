"""Statistics of token lengths as pictures: HTML and SVG out of the answer of `inspect`. Pure; everything foreign is escaped.

A picture is as wide as its place and its letters stay as large as they are. What colour says, a pattern and words say too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ui import texts

HEIGHT, TOP, BOTTOM = 196, 40, 164  # pixels: the picture, the tallest bar's top, the axis
MOST_TICKS = 5
LISTED_CUTS = 12
SIGNS = {"bad": "✗", "warn": "!", "plain": "✓", "good": "✓"}
# a click on the suggested max length is told to a button nobody sees: the field itself may not be drawn yet
SUGGEST = """element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-suggested]');
  if (!button) return;
  document.body.dataset.suggested = button.dataset.suggested;
  document.querySelector('#data-suggested').click();
});"""
SUGGESTED = "() => Number(document.body.dataset.suggested)"
# the statistics stay open when what they show is drawn anew
STAY_OPEN = """let open = false;
element.addEventListener('toggle', (event) => { if (event.target.matches('.lengths')) open = event.target.open; }, true);
new MutationObserver(() => {
  const lengths = element.querySelector('.lengths');
  if (lengths && lengths.open !== open) lengths.open = open;
}).observe(element, {childList: true, subtree: true});"""
HATCH = (
    '<defs><pattern id="cut-off" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="6" height="6" class="bar-cut-ground"></rect><rect width="2.5" height="6" class="bar-cut"></rect>'
    "</pattern></defs>"
)


def statistics(found: Mapping[str, Any]) -> str:
    """Everything `inspect` knows of the tokens; nothing where it has counted none."""
    counted = found["statistics"]
    if not counted:
        return ""
    return (
        f'<section class="statistics" aria-label="{escape(texts.TOKENS_PER_ROW)}"><h2>{escape(texts.TOKENS_PER_ROW)}</h2>'
        f"{sample(counted)}"
        f"{histogram(counted)}{percentiles(counted)}{suggestion(counted)}{share(counted)}{turns(counted)}{cuts(counted)}</section>"
    )


def badges(found: Mapping[str, Any]) -> str:
    """Whether the rows are enough, and what else is to be known before anything is trained, each by sign and words."""
    rows = found["badge"]
    chips = [chip(rows["level"], f"{number(rows['rows'], texts.USABLE_ROW)}: {rows['words']}")]
    if found.get("stops"):
        chips.append(chip("bad", texts.RUN_WOULD_STOP))
    if any(problem["kind"] == "classification" for problem in found["problems"]):
        chips.append(chip("warn", texts.LOOKS_LIKE_CLASSES))
    return f'<div class="badges">{"".join(chips)}</div>'


def chip(level: str, words: str) -> str:
    return f'<span class="chip {escape(level)}">{SIGNS.get(level, "")} {escape(words)}</span>'


def sample(counted: Mapping[str, Any]) -> str:
    """That these figures are of some of the rows only, where they are."""
    drawn = counted["sample"]
    if not drawn:
        return ""
    words = texts.SAMPLE_OF.format(rows=drawn["rows"], of=drawn["of"])
    return f'<p class="sampled">{chip("warn", texts.SAMPLE)} {escape(words)}</p>'


def histogram(counted: Mapping[str, Any]) -> str:
    """How many rows are how long, and where they are cut: what lies behind the line is hatched."""
    bins, cut = counted["histogram"], counted["max_length"]
    most = max(entry["rows"] for entry in bins)
    drawn = "".join(bar(place, entry, len(bins), most, cut) for place, entry in enumerate(bins))
    tallest = next(entry for entry in bins if entry["rows"] == most)
    told = texts.TALLEST_BAR.format(rows=number(most, texts.ONE_ROW), span=span(tallest))
    return (
        f'<figure class="histogram"><svg role="img" aria-label="{escape(in_words(counted))}" width="100%" '
        f'height="{HEIGHT}">{HATCH}{drawn}{axis(bins)}{limit(counted)}</svg>'
        f"<figcaption>{escape(told)}</figcaption></figure>"
    )


def in_words(counted: Mapping[str, Any]) -> str:
    """The histogram for somebody who does not see it."""
    lengths, cut = counted["lengths"], counted["max_length"]
    truncated = f"{number(lengths['truncated'], texts.ONE_ROW)} ({percent(counted['truncated_share'])})"
    said = texts.CUTS_SOME.format(rows=truncated) if lengths["truncated"] else texts.CUTS_NONE
    rows = number(counted["rows"], texts.ONE_ROW)
    told = texts.HISTOGRAM_SAID.format(rows=rows, half=lengths["p50"], most=lengths["p95"], longest=lengths["max"])
    return f"{told} {texts.CUT_SAID.format(cut=cut, said=said)}"


def bar(place: int, entry: Mapping[str, Any], bins: int, most: int, cut: int) -> str:
    """One bin, in two parts where the cut goes through it; its figures are told on hovering."""
    if not entry["rows"]:
        return ""
    height = max(2.0, (BOTTOM - TOP) * entry["rows"] / most)
    left, width = 100 * place / bins, 90 / bins
    kept = min(width, share_kept(entry, cut) * 100 / bins)
    parts = [("bar-kept", left, kept), ("bar-lost", left + kept, width - kept)]
    drawn = "".join(
        f'<rect class="{name}" x="{x:.2f}%" y="{BOTTOM - height:.1f}" width="{wide:.2f}%" height="{height:.1f}"></rect>'
        for name, x, wide in parts
        if wide > 0
    )
    return f"<g><title>{escape(f'{span(entry)}: ' + number(entry['rows'], texts.ONE_ROW))}</title>{drawn}</g>"


def share_kept(entry: Mapping[str, Any], cut: int) -> float:
    """How much of a bin's width lies before the cut, from 0 to 1; of an open bin all or nothing."""
    low, high = int(entry["low"]), entry["high"]
    share = float(low < cut) if high is None else (cut - low) / (int(high) - low)
    return min(1.0, max(0.0, share))


def span(entry: Mapping[str, Any]) -> str:
    if entry["high"] is None:
        return texts.SPAN_OPEN.format(low=entry["low"])
    return texts.SPAN.format(low=entry["low"], high=entry["high"] - 1)


def axis(bins: Sequence[Mapping[str, Any]]) -> str:
    """A line and three to five round numbers below it."""
    step = next((n for n in (1, 2, 3, 4, 5, 6, 8, 10) if len(bins) / n <= MOST_TICKS), 10)
    line = f'<line x1="0" x2="100%" y1="{BOTTOM + 0.5}" y2="{BOTTOM + 0.5}" class="axis"></line>'
    places = [place for place in range(0, len(bins), step) if place < 0.8 * len(bins)]
    last = texts.AXIS if closed(bins) == len(bins) else texts.AXIS_OPEN.format(low=bins[-1]["low"])
    ticks = "".join(
        label(100 * place / len(bins), BOTTOM + 18, f"{bins[place]['low']:,}", "start" if place == 0 else "middle")
        for place in places
    )
    return line + ticks + label(100, BOTTOM + 18, last, "end")


def closed(bins: Sequence[Mapping[str, Any]]) -> int:
    """How many of the bins have an end: all, or all but the last."""
    return len(bins) - (bins[-1]["high"] is None)


def limit(counted: Mapping[str, Any]) -> str:
    """The line where rows are cut, named above it; only its name where every row is shorter."""
    bins, cut, lengths = counted["histogram"], counted["max_length"], counted["lengths"]
    at = 100 * cut / bins[0]["high"] / len(bins)
    told = texts.SHARE_CUT.format(share=percent(counted["truncated_share"])) if lengths["truncated"] else texts.NONE_CUT
    named = texts.MAX_LENGTH.format(n=cut)
    if at > 100 * closed(bins) / len(bins):
        return label(100, 14, f"{named} →", "end", "limit") + label(100, 30, told, "end")
    side, gap = ("end", -6) if at > 50 else ("start", 6)
    return (
        f'<line x1="{at:.2f}%" x2="{at:.2f}%" y1="2" y2="{BOTTOM}" class="limit"></line>'
        f"{label(at, 14, named, side, 'limit', gap)}{label(at, 30, told, side, gap=gap)}"
    )


def label(x: float, y: float, words: str, anchor: str, name: str = "", gap: int = 0) -> str:
    kind = f' class="{name}"' if name else ""
    return f'<text x="{x:.2f}%" y="{y}" dx="{gap}" text-anchor="{anchor}"{kind}>{escape(words)}</text>'


def percentiles(counted: Mapping[str, Any]) -> str:
    """How many tokens hold how many of the rows."""
    heads = "".join(f'<th scope="col">{escape(words)}</th>' for words in texts.PERCENTILES.values())
    cells = "".join(f"<td>{counted['lengths'][name]:,}</td>" for name in texts.PERCENTILES)
    return (
        f'<table class="percentiles"><thead><tr><th scope="col">{escape(texts.OF_THE_ROWS)}</th>{heads}</tr></thead>'
        f'<tbody><tr><th scope="row">{escape(texts.AT_MOST)}</th>{cells}</tr></tbody></table>'
    )


def suggestion(counted: Mapping[str, Any]) -> str:
    """The max length that suits the rows, with a button that sets it; said also where it is the one that is set."""
    held, suggested = counted["suggested_share"], counted["suggested_max_length"]
    holds = texts.HOLDS_ALL if held == 1 else texts.HOLDS_SHARE.format(share=percent(held))
    why = "" if held == 1 else texts.HOLDS_ENOUGH
    if counted["context"] == suggested and held < 1:
        why = texts.HOLDS_CONTEXT
    told = texts.SUGGESTED.format(n=suggested, holds=holds, why=why)
    words = texts.SET_SUGGESTED.format(n=suggested)
    button = f'<button type="button" class="suggested" data-suggested="{suggested}">{escape(words)}</button>'
    return f"<p>{escape(told)} {button if suggested != counted['max_length'] else escape(texts.SUGGESTED_IS_SET)}</p>"


def share(counted: Mapping[str, Any]) -> str:
    """How much of what the model reads it also learns, as a bar with words."""
    learned = counted["learned_share"]
    if learned is None:
        return f"<p>{escape(texts.NOTHING_LEARNED)}</p>"
    told = texts.SHARES.format(learned=percent(learned), read=percent(1 - learned))
    return (
        f'<p class="share-words">{escape(told)}</p><div class="share" role="img" aria-label="{escape(told)}">'
        f'<i style="width:{100 * learned:.1f}%"></i></div>'
    )


def turns(counted: Mapping[str, Any]) -> str:
    """How many conversations have how many turns, as bars with words; one sentence where all have the same."""
    entries = [entry for entry in counted["turns"] if entry["turns"]]
    if len(entries) < 2:
        same = texts.TURNS_EACH.format(turns=number(entries[0]["turns"], texts.ONE_TURN)) if entries else ""
        return f"<p>{escape(same)}</p>" if same else ""
    most, shown = max(entry["rows"] for entry in entries), entries[:8]
    lines = [turn_line(number(e["turns"], texts.ONE_TURN), e["rows"], most) for e in shown]
    if rest := sum(entry["rows"] for entry in entries[8:]):
        lines.append(turn_line(texts.MORE_TURNS, rest, max(most, rest)))
    return f'<ul class="turns" aria-label="{escape(texts.TURNS_TITLE)}">{"".join(lines)}</ul>'


def turn_line(name: str, rows: int, most: int) -> str:
    width = f"width:{max(1.0, 100 * rows / most):.1f}%"
    return (
        f'<li><span>{escape(name)}</span><i><i style="{width}"></i></i><span>{number(rows, texts.ONE_ROW)}</span></li>'
    )


def cuts(counted: Mapping[str, Any]) -> str:
    """The rows whose answer is broken off, and where; their numbers lead to them."""
    if not counted["broken"]:
        return ""
    lines = "".join(f"<li>{cut_line(entry)}</li>" for entry in counted["cuts"][:LISTED_CUTS])
    left = counted["broken"] - min(len(counted["cuts"]), LISTED_CUTS)
    more = f"<li>{escape(texts.AND_MORE.format(rows=number(left, texts.ONE_MORE_ROW)))}</li>" if left else ""
    title = texts.BROKEN_OFF.format(n=counted["broken"])
    return f'<details class="cuts"><summary>{escape(title)}</summary><ul>{lines}{more}</ul></details>'


def cut_line(entry: Mapping[str, Any]) -> str:
    row, answers = entry["row"], entry["answers"]
    which = texts.WHICH_ANSWER.format(n=entry["answer"], of=answers) if answers > 1 else texts.THE_ANSWER
    told = texts.ENDS_AFTER.format(which=which, kept=entry["kept"], of=entry["kept"] + entry["lost"])
    link = f'<a href="#row" data-row="{row}">{row}</a>'
    return f"{escape(texts.ROW_TITLE).format(row=link)}: {escape(told)}"


def number(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def percent(part: float) -> str:
    """Whole per cents, but never a rounded nothing or a rounded everything."""
    if 0 < part < 0.01:
        return texts.UNDER_ONE
    return texts.OVER_99 if 0.99 < part < 1 else f"{part:.0%}".replace("%", " %")
