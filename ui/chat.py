"""The conversation, the self-test and the scores of Compare as HTML. Pure functions; everything foreign is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ui import live, texts

SIDES = ("base", "tuned")
Turn = dict[str, Any]  # prompt, fresh, system, reference, and by side: text, tokens, seconds, stopped (None: unknown)


def about(run: Mapping[str, Any] | None) -> str:
    """Who is who: the base as it came, and the same weights with what this run has learned."""
    if not run:
        return f'<p class="quiet">{escape(texts.NO_RUN_YET)}</p>'
    words = texts.ABOUT.format(model=run["model"].rstrip("/").rpartition("/")[2], run=run["name"])
    if not run["adapter"]:
        words = texts.ABOUT_NOTHING.format(run=run["name"], status=texts.RUN_STATES.get(run["status"], run["status"]))
    return f"<p>{escape(words)}</p>"


def failure(sentence: str) -> str:
    return f'<p class="failed" role="alert">{escape(sentence)}</p>'


def conversation(turns: Sequence[Turn]) -> str:
    """All turns, each prompt above its two answers."""
    if not turns:
        return f'<p class="quiet empty">{escape(texts.NOTHING_ASKED)}</p>'
    return "".join(turn(told, number > 0) for number, told in enumerate(turns))


def turn(told: Turn, later: bool = False, doing: str = "") -> str:
    """One prompt and both answers; `doing` says what is going on while they grow."""
    parted = f'<p class="parted"><span>{escape(texts.FRESH_TURN)}</span></p>' if told.get("fresh") and later else ""
    system = told.get("system") if told.get("fresh") or not later else None
    asked = f'<p class="system quiet">{escape(texts.SYSTEM_PROMPT)}: {escape(system)}</p>' if system else ""
    answers = "".join(side(name, told.get(name) or {}) for name in SIDES)
    if not doing and not any(told.get(name) for name in SIDES):  # the page was closed, or another run was chosen
        answers = f'<p class="quiet">{escape(texts.UNANSWERED)}</p>'
    reference = told.get("reference")
    original = (
        f"<details><summary>{escape(texts.REFERENCE)}</summary><p class='answer'>{escape(reference)}</p></details>"
        if reference
        else ""
    )
    state = f'<p class="quiet doing">{escape(doing)}</p>' if doing else ""
    return (
        f'{parted}{asked}<div class="turn"><p class="asked">{escape(told["prompt"])}</p>'
        f'<div class="pair">{answers}</div>{state}{original}</div>'
    )


def side(name: str, answer: Mapping[str, Any]) -> str:
    text = answer.get("text", "")
    shown = (
        escape(text) if text.strip() else f'<i class="quiet">{escape(texts.NO_TEXT)}</i>' if "tokens" in answer else "…"
    )
    return (
        f'<section class="side {name}" aria-label="{escape(texts.SIDES[name])}"><b class="name">{escape(texts.SIDES[name])}</b>'
        f'<div class="answer">{shown}</div><p class="quiet">{escape(how_it_ended(answer))}</p></section>'
    )


def how_it_ended(answer: Mapping[str, Any]) -> str:
    """Tokens, speed and why it ended, in words."""
    if "tokens" not in answer:
        return ""
    speed = answer["tokens"] / answer["seconds"] if answer["seconds"] else 0.0
    ended = texts.CUT_SHORT if answer.get("cut") else texts.BY_ITSELF if answer["stopped"] else texts.HIT_LIMIT
    return texts.ANSWER_FACTS.format(tokens=answer["tokens"], speed=speed, ended=ended)


def mark(opened: Mapping[str, Any] | None) -> str:
    """The self-test as a chip that explains itself when it is opened."""
    if not opened:
        return f'<p class="quiet">{escape(texts.NOT_TESTED_YET)}</p>'
    checks = opened["self_test"]
    broken = [name for name, check in checks.items() if not check["ok"]]
    if not broken:
        kind, words = "good", texts.TRUSTED
    elif broken == ["tuned_differs"]:
        kind, words = "warn", texts.CHANGES_NOTHING
    else:
        kind, words = "bad", texts.NOT_TRUSTED
    lines = "".join(
        f"<li>{escape(texts.CHECKS[name])} {escape(texts.CHECK_OK if check['ok'] else texts.CHECK_BROKEN)} "
        f'<span class="quiet">{escape(measured(name, check))}</span></li>'
        for name, check in checks.items()
    )
    mode = texts.MODES.get(opened["mode"], opened["mode"])
    return (
        f'<details class="mark"><summary><span class="chip {kind}">{escape(words)}</span></summary>'
        f"<p>{escape(texts.SELF_TEST)}</p><ul>{lines}</ul><p>{escape(mode)}</p></details>"
    )


def measured(name: str, check: Mapping[str, Any]) -> str:
    if name == "adapter_complete":
        return ""
    words = texts.MEASURED_AT_LEAST if name == "tuned_differs" else texts.MEASURED_AT_MOST
    return words.format(value=check["value"], tolerance=check["tolerance"])


def scores(report: Mapping[str, Any] | None) -> str:
    """The evaluation: each metric of base and tuned, the difference with its interval, and what that means."""
    if not report:
        return f'<p class="quiet">{escape(texts.NO_REPORT)}</p>'
    rows = "".join(score(name, value) for name, value in report["metrics"].items())
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in texts.SCORE_HEADS)
    left_out = texts.LEFT_OUT.format(n=len(report["left_out"])) if report.get("left_out") else ""
    kind, sentence = live.conclusion(report)
    return (
        f'<p class="run-verdict {kind}">{escape(sentence)}</p>'
        f"<p>{escape(texts.SCORES.format(n=report['n']))} {escape(left_out)}</p>"
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(texts.SCORES_LABEL)}">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
        f"<p class='quiet'>{escape(texts.INTERVAL)}</p>"
    )


def score(name: str, value: Mapping[str, float]) -> str:
    word, form, lower_is_better = texts.METRICS.get(name, (name, "{:.3f}", False))
    sign = -1 if lower_is_better else 1
    low, high = sorted((sign * value["low"], sign * value["high"]))
    kind, verdict = "plain", texts.SAME if value["base"] == value["tuned"] else texts.NOT_SETTLED
    if low > 0 or high < 0:
        kind, verdict = ("good", texts.BETTER) if low > 0 else ("bad", texts.WORSE)
    signed = form.replace("{:", "{:+")
    interval = f"{signed.format(value['low'])} … {signed.format(value['high'])}"
    cells = [form.format(value["base"]), form.format(value["tuned"]), signed.format(value["difference"]), interval]
    numbers = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f'<tr><th scope="row">{escape(word)}</th>{numbers}<td><span class="chip {kind}">{escape(verdict)}</span></td></tr>'


def judged_rows(report: Mapping[str, Any] | None, most: int = 200) -> str:
    """Every judged row with its reference and both answers."""
    if not report:
        return ""
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in texts.ROW_HEADS)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in (
            row["row"], row["messages"][-1]["content"], row["reference"], row["base"]["text"], row["tuned"]["text"]
        )) + "</tr>"
        for row in report["rows"][:most]
    )  # fmt: skip
    return (
        f"<details><summary>{escape(texts.ALL_ROWS.format(n=min(most, len(report['rows']))))}</summary>"
        f'<div class="wide scroll" tabindex="0" role="region" aria-label="{escape(texts.ROWS_LABEL)}">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div></details>"
    )
