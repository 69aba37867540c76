"""A report as HTML: what came of it in sentences, the scores, what became of everyday tasks. Pure; foreign text is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pipeline import verdict
from ui import scores_picture, scores_rows, texts


def report(found: Mapping[str, Any]) -> str:
    """The verdict, the dumbbells and the everyday tasks."""
    left_out = texts.LEFT_OUT.format(n=len(found["left_out"])) if found.get("left_out") else ""
    return (
        f"<section><h2>{escape(texts.VERDICT_TITLE)}</h2>{sentences(verdict.of(found))}</section>"
        f"<section><h2>{escape(texts.SCORES_TITLE)}</h2>"
        f'<p class="quiet">{escape(texts.SCORES_OF.format(n=found["n"]))} {escape(left_out)}</p>'
        f"{scores_picture.scores(found)}<p class='quiet'>{escape(texts.INTERVAL)}</p></section>"
        f"<section><h2>{escape(texts.GENERAL_TITLE)}</h2>{general(found.get('general') or [])}</section>"
    )


def sentences(told: Sequence[Mapping[str, str]]) -> str:
    """The summary, and below it what it rests on, each with its sign and its word."""
    lines = [f'<li class="{level(each)}">{chip(each)} <span>{escape(each["sentence"])}</span></li>' for each in told]
    summary = f'<ul class="verdict summary">{lines[0]}</ul>' if lines else ""
    return summary + (f'<ul class="verdict">{"".join(lines[1:])}</ul>' if lines[1:] else "")


def level(told: Mapping[str, str]) -> str:
    return told["level"] if told["level"] in texts.VERDICT_LEVELS else "plain"


def chip(told: Mapping[str, str]) -> str:
    sign, word = texts.VERDICT_LEVELS[level(told)]
    kind = {"warning": "warn"}.get(level(told), level(told))
    return f'<span class="chip {kind}">{sign} {escape(word)}</span>'


def general(tasks: Sequence[Mapping[str, Any]]) -> str:
    """How many everyday tasks each side solves, and every one that is answered otherwise."""
    if not tasks:
        return f'<p class="quiet">{escape(texts.GENERAL_MISSING)}</p>'
    kinds = [change(task) for task in tasks]
    before, after = (sum(bool(task[f"{side}_passes"]) for task in tasks) for side in scores_rows.SIDES)
    said = texts.GENERAL_SAID.format(n=len(tasks), before=before, after=after)
    chips = "".join(tally(kind, kinds.count(kind)) for kind in texts.GENERAL_CHANGES if kind in kinds)
    order = [kind for kind in texts.GENERAL_CHANGES if kind != "same"]
    turned = sorted((task for task in tasks if change(task) != "same"), key=lambda task: order.index(change(task)))
    shown = "".join(map(everyday, turned)) or f'<p class="quiet">{escape(texts.GENERAL_ALL_SAME)}</p>'
    return f'<p>{escape(said)}</p><p class="badges">{chips}</p>{shown}'


def change(task: Mapping[str, Any]) -> str:
    """broken, mended, reworded or same."""
    if task["base_passes"] != task["tuned_passes"]:
        return "broken" if task["base_passes"] else "mended"
    return "same" if task["base"]["text"].strip() == task["tuned"]["text"].strip() else "reworded"


def tally(kind: str, n: int) -> str:
    sign, word, means = texts.GENERAL_CHANGES[kind]
    looks = {"broken": "bad", "mended": "good"}.get(kind, "plain")
    words = texts.GENERAL_COUNT.format(sign=sign, n=n, word=word)
    return f'<span class="chip {looks}" title="{escape(means)}">{escape(words)}</span>'


def everyday(task: Mapping[str, Any]) -> str:
    """One everyday task with both answers, folded."""
    sign, word, means = texts.GENERAL_CHANGES[change(task)]
    looks = {"broken": "bad", "mended": "good"}.get(change(task), "plain")
    asked = scores_rows.content(task["messages"][-1]) if task["messages"] else ""
    wanted = str(task.get("reference") or "")
    reference = f'<p class="quiet">{escape(texts.GENERAL_WANTED.format(text=wanted))}</p>' if wanted else ""
    answers = "".join(scores_rows.side(task, name) for name in scores_rows.SIDES)
    return (
        f'<details class="everyday"><summary><span class="chip {looks}" title="{escape(means)}">{sign} {escape(word)}</span> '
        f'{scores_rows.short(asked)}</summary><p class="answer">{escape(asked)}</p>{reference}<div class="pair">{answers}</div></details>'
    )
