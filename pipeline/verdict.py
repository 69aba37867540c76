"""What a report means, in sentences made of its numbers: did it learn, and did it break? Pure, standard library only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline import measures

LEADING = ("exact_match", "chrf", "rougeL", "bleu", "meteor", "token_f1", "rouge1", "rouge2", "rougeLsum")
"""Scores of a text by how plainly they say what was learned: the first that surely moved is named."""
DECIDING = ("exact_match", "chrf")
"""The scores that say whether anything was learned; nine would find something by chance much too often."""
FEW_ROWS = 20
FEWEST_SURE = 6  # rows; an interval from fewer says nothing
MOSTLY = 0.5  # share of answers that are the base's, from which on it is a warning
RAMBLING = 0.9  # share that stopped by itself, below which answers run on
REPEATING = 0.1  # share of repeated runs of words that readers see
UNLIKE = (0.5, 2.0)  # answer words over reference words, outside of which length is odd
LOST = 0.6  # share of the everyday tasks the base could do, beyond which it is ruined; a very small model loses some at once
CHANCE = 0.05


class Finding(NamedTuple):
    """One sentence. `level` is good, warning, bad or plain; `name` says what it is about."""

    name: str
    level: str
    sentence: str


def of(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """[{"name", "level", "sentence"}]: the summary first, then what it is made of. An older report says less."""
    found = [finding for rule in RULES if (finding := rule(report))]
    return [each._asdict() for each in [summary(found), *found]]


def summary(found: list[Finding]) -> Finding:
    """Learned or not, broken or not: the words for the four corners, and for what lies between."""
    style = next((f.level for f in found if f.name == "style"), "plain")
    harm = [f for f in found if f.name in HARMS and f.level in ("bad", "warning")]
    broken = any(f.level == "bad" for f in harm)
    nothing = any(f.name == "identical" and f.level == "bad" for f in found)
    if nothing:
        return Finding(
            "summary", "bad", "It changed no answer: the tuned model answers as its base does, word for word."
        )
    if style == "bad":
        return Finding("summary", "bad", "It got worse: its answers are further from the references than the base's.")
    if broken:
        learned = "It learned from the examples, but" if style == "good" else "It did not surely learn, and"
        about = " and ".join(HARMS[f.name] for f in harm)
        advice = "Train fewer epochs or with a lower learning rate, or mix everyday examples in."
        return Finding("summary", "bad", f"{learned} {about}. {advice}")
    if style != "good":
        return Finding("summary", style if style == "warning" else "plain", UNSETTLED)
    if harm:
        about = " and ".join(HARMS[f.name] for f in harm)
        return Finding("summary", "warning", f"It learned from the examples; look at one thing: {about}.")
    return Finding("summary", "good", "It learned from the examples, and nothing that was looked at broke.")


UNSETTLED = (
    "Not settled: on these rows nobody can say that it got better or worse. Hold out more rows, or train longer."
)
HARMS = {
    "general": "it lost everyday things it could do before",
    "stops": "its answers run on",
    "repeats": "it repeats itself",
    "length": "its answers have an odd length",
    "likelihood": "it finds the right answers less likely than before",
}


def style(report: Mapping[str, Any]) -> Finding:
    """Whether it says what the references say: by the first score that surely moved, if one of DECIDING did; else by the loss."""
    texts = {name: score for name in LEADING if (score := report["metrics"].get(name))}
    moved = {name: score for name, score in texts.items() if sure(score)}
    if not moved.keys() & set([name for name in DECIDING if name in texts] or list(texts)[:1]):
        moved = {}
    rows = rows_of(report["n"])
    if moved:
        name = next(iter(moved))
        up = {n for n, score in moved.items() if score["difference"] > 0}
        against = sorted(measures.label(n) for n in (set(moved) - up if name in up else up))
        level = "warning" if against else "good" if name in up else "bad"
        verb = "nearer to" if name in up else "further from"
        but = f"; but {', '.join(against)} moved the other way" if against else ""
        return Finding(
            "style", level, f"Its answers are {verb} the references: {told(name, moved[name])} on {rows}{but}."
        )
    loss = report["metrics"].get("loss")
    if loss and sure(loss):
        better = loss["difference"] < 0
        if not texts:
            words = "more" if better else "less"
            return Finding(
                "style",
                "good" if better else "bad",
                f"It finds such texts {words} likely: {told('loss', loss)} on {rows}.",
            )
        words = "likelier, but its answers are not surely nearer to them" if better else "less likely"
        return Finding("style", "warning", f"The references became {words}: {told('loss', loss)} on {rows}.")
    return Finding("style", "plain", f"No score moved by more than chance allows on {rows}.")


def likelihood(report: Mapping[str, Any]) -> Finding | None:
    """Held-out references that become less likely while answers improve: learned by heart, too sure of itself."""
    loss = report["metrics"].get("loss")
    if not (loss and sure(loss) and loss["difference"] > 0 and report["metrics"].keys() & set(LEADING)):
        return None
    return Finding(
        "likelihood",
        "warning",
        f"The references became less likely ({told('loss', loss)}): it learned its examples by heart; fewer epochs would do.",
    )


def identical(report: Mapping[str, Any]) -> Finding | None:
    count = report.get("identical") or {}
    if not count.get("of"):
        return None
    n, of = count["n"], count["of"]
    level = "bad" if n == of else "warning" if n > MOSTLY * of else "plain"
    return Finding("identical", level, f"{n} of {of} answers are the base's, word for word.")


def stops(report: Mapping[str, Any]) -> Finding | None:
    score = report.get("measures", {}).get("stopped")
    if not score:
        return None
    n, tuned = score["n"], score["tuned"]
    worse = tuned < RAMBLING and score["difference"] < 0
    level = "bad" if worse and score["high"] < 0 else "warning" if tuned < RAMBLING else "good"
    return Finding(
        "stops",
        level,
        f"{round(tuned * n)} of {n} answers stopped by themselves, of the base {round(score['base'] * n)}.",
    )


def repeats(report: Mapping[str, Any]) -> Finding | None:
    score = report.get("measures", {}).get("repetition")
    if not score:
        return None
    seen = score["tuned"] > REPEATING and score["difference"] > 0
    level = "bad" if seen and score["low"] > 0 else "warning" if seen else "good"
    verb = "It repeats itself" if seen else "It does not repeat itself more than is natural"
    shares = f"{score['tuned']:.0%} of the runs of four words were said before in the same answer, in the base's {score['base']:.0%}"
    return Finding("repeats", level, f"{verb}: {shares}.")


def length(report: Mapping[str, Any]) -> Finding | None:
    score = report.get("measures", {}).get("length_ratio")
    if not score:
        return None
    odd = not UNLIKE[0] <= score["tuned"] <= UNLIKE[1]
    return Finding(
        "length",
        "warning" if odd else "plain",
        f"Its answers have {score['tuned']:.2f} times the words of the references, the base's {score['base']:.2f} times.",
    )


def everyday(report: Mapping[str, Any]) -> Finding | None:
    """What the base could do and the tuned model can't: ruin where most is gone and that is no coin toss, else a warning."""
    rows = report.get("general") or ()
    if not rows:
        return None
    before = [row for row in rows if row["base_passes"]]
    lost = sum(not row["tuned_passes"] for row in before)
    gained = sum(row["tuned_passes"] for row in rows if not row["base_passes"])
    changed = sum(row["base"]["text"] != row["tuned"]["text"] for row in rows)
    much = lost > LOST * len(before)
    level = "bad" if much and one_sided(lost, gained) <= CHANCE else "warning" if lost > gained else "good"
    level = level if before else "plain"
    learned = f" and {gained} more" if gained else ""
    return Finding(
        "general",
        level,
        f"Everyday tasks: the base did {len(before)} of {len(rows)}, the tuned model still does {len(before) - lost} of "
        f"these{learned}; {changed} of {len(rows)} answers changed.",
    )


def few(report: Mapping[str, Any]) -> Finding | None:
    if report["n"] >= FEW_ROWS:
        return None
    return Finding(
        "few", "warning", f"Only {rows_of(report['n'])} were judged; another {FEW_ROWS} may say something else."
    )


RULES = (style, identical, likelihood, stops, repeats, length, everyday, few)


def sure(score: Mapping[str, float]) -> bool:
    """Whether the interval leaves out zero, and is of enough rows. An older report does not say of how many."""
    return (score.get("n") or FEWEST_SURE) >= FEWEST_SURE and (score["low"] > 0 or score["high"] < 0)


def told(name: str, score: Mapping[str, float]) -> str:
    """ "chrF from 41 % to 83 % (95 % interval of the difference +37 to +47 points)"."""
    label = measures.label(name)
    if measures.MEASURES[name].share:
        low, high = (f"{100 * score[end]:+.0f}" for end in ("low", "high"))
        return f"{label} from {score['base']:.0%} to {score['tuned']:.0%} (95 % interval of the difference {low} to {high} points)"
    return (
        f"{label} from {score['base']:.3g} to {score['tuned']:.3g} (95 % interval of the difference {score['low']:+.3g} to "
        f"{score['high']:+.3g})"
    )


def rows_of(n: int) -> str:
    return "1 held-out row" if n == 1 else f"{n} held-out rows"


def one_sided(lost: int, gained: int) -> float:
    """How often a coin would lose so many of them or more: the exact sign test of McNemar's pairs."""
    total = lost + gained
    return float(sum(math.comb(total, k) for k in range(lost, total + 1)) / 2**total)
