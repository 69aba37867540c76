"""What the votes of a round say, in numbers and in plain words. Pure; JSON values come out.

Everything counts prompts, not clicks: judges of the same prompt see the same two texts, so their votes belong together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import krippendorff
import numpy

from pipeline import interval, preference
from pipeline.opinions import Opinion, by_item, opinions_of, outcomes_of
from pipeline.rounds import Round
from pipeline.votes import CHOICES, CRITERIA, Vote

SIMILAR = 0.8  # answers whose shorter one has at least this share of the longer one's characters
FEWEST_SCORED = 6  # prompts; an interval from fewer says nothing
STRONG, FAIR = 0.8, 2 / 3  # Krippendorff's own bounds: rely on it; tentative conclusions only

Answers = Sequence[Mapping[str, Mapping[str, Any]]]


def of(asked: Round, cast: Sequence[Vote], answers: Answers) -> dict[str, Any]:
    """The result of a round whose names are told; `cast` are its votes, `answers` both answers to each item.

    {"prompts", "judges", "votes", "outcomes": {column | "tie" | "bad": prompts}, "preference": {...} | None, "agreement",
    "position", "length", "criteria", "sentences"}; the first sentence is the verdict. Raises ValueError without a vote.
    """
    opinions = opinions_of(asked, cast)
    if not opinions:
        raise ValueError("a result needs a vote")
    outcomes = outcomes_of(opinions)
    found = preference_of(opinions, asked.columns)
    counted = {name: list(outcomes.values()).count(name) for name in (*asked.columns, "tie", "bad")}
    result = {
        "prompts": len(outcomes),
        "judges": len({opinion.judge for opinion in opinions}),
        "votes": len(opinions),
        "outcomes": counted,
        "preference": found,
        "agreement": agreement(opinions),
        "position": position(opinions),
        "length": length(outcomes, answers, asked.columns),
        "criteria": criteria(opinions),
    }
    return {**result, "sentences": sentences(result, asked.columns, len(asked.items))}


def _counts(opinions: Sequence[Opinion], name: str, one: str, other: str) -> numpy.ndarray:
    """How often either was said, for each item that was judged: (items, 2)."""
    said = by_item(opinions, name).values()
    return numpy.array([(values.count(one), values.count(other)) for values in said])


def preference_of(opinions: Sequence[Opinion], columns: Sequence[str]) -> dict[str, Any] | None:
    """The second column's share of the votes for either, how sure that is, and how many prompts would settle it."""
    found = preference.of(_counts(opinions, "choice", columns[1], columns[0]))
    if found is None:
        return None
    better = columns[1] if found.share > 0.5 else columns[0]
    return {**dataclasses.asdict(found), "better": better if found.share != 0.5 else None}


def agreement(opinions: Sequence[Opinion]) -> dict[str, Any] | None:
    """Krippendorff's alpha (nominal) of the judges' choices over prompts that two or more judged; None without such.

    Alpha is None where all said the same of every prompt: chance agreement is not defined then.
    """
    judges = sorted({opinion.judge for opinion in opinions})
    shared = [item for item, said in by_item(opinions, "judge").items() if len(said) > 1]
    if not shared:
        return None
    names = sorted({opinion.choice for opinion in opinions})
    table = numpy.full((len(judges), len(shared)), numpy.nan)
    for opinion in opinions:
        if opinion.item in shared:
            table[judges.index(opinion.judge), shared.index(opinion.item)] = names.index(opinion.choice)
    return {"alpha": alpha(table), "prompts": len(shared)}


def alpha(table: numpy.ndarray) -> float | None:
    """Krippendorff's nominal alpha of (judges, items), not a number where a judge said nothing."""
    pairable = table[:, (~numpy.isnan(table)).sum(0) > 1]
    if len(numpy.unique(pairable[~numpy.isnan(pairable)])) < 2:
        return None
    return float(krippendorff.alpha(reliability_data=table, level_of_measurement="nominal"))


def position(opinions: Sequence[Opinion]) -> dict[str, Any]:
    """How often left and right were preferred, whatever stood there, and how likely that is if no side were."""
    counts = _counts(opinions, "side", CHOICES[0], CHOICES[1])
    on_left, on_right = map(int, counts.sum(0))
    return {"left": on_left, "right": on_right, "p": preference.exact(counts[:, 0] - counts[:, 1])}


def length(outcomes: Mapping[int, str], answers: Answers, columns: Sequence[str]) -> dict[str, Any]:
    """Of the decided prompts: where the longer answer (in characters) won, and who won where both are about as long."""
    longer, similar = [], []
    for item, outcome in outcomes.items():
        if outcome not in columns:
            continue
        won = len(answers[item - 1][outcome]["text"])
        lost = len(answers[item - 1][next(c for c in columns if c != outcome)]["text"])
        if won != lost:
            longer.append(won > lost)
        if min(won, lost) >= SIMILAR * max(won, lost):
            similar.append(outcome)
    low, high = preference.wilson(sum(longer), len(longer)) if longer else (0.0, 1.0)
    told = {name: similar.count(name) for name in columns}
    p = preference.exact(2 * numpy.array(longer, int) - 1)
    return {"longer_won": sum(longer), "of": len(longer), "low": low, "high": high, "p": p, "similar": told}


def criteria(opinions: Sequence[Opinion]) -> dict[str, Any]:
    """For each criterion that was scored on both sides: averages over prompts of the judges' averages, and intervals."""
    found = {}
    for name in CRITERIA:
        scored: dict[int, list[tuple[int, int]]] = {}
        for opinion in opinions:
            first, second = opinion.scores.get(name, (None, None))
            if first is not None and second is not None:
                scored.setdefault(opinion.item, []).append((first, second))
        if scored:
            means = numpy.array([numpy.mean(pairs, axis=0) for pairs in scored.values()])
            first, second = ((means.T - 1) / 4).tolist()
            unit = dataclasses.asdict(interval.paired(first, second, bounded=True))
            score = {k: v if k == "n" else 4 * v + (k in ("base", "tuned")) for k, v in unit.items()}
            sure = {} if len(means) >= FEWEST_SCORED else {"low": None, "high": None}
            found[name] = {**score, **sure, "prompts": len(means)}
    return found


def sentences(result: Mapping[str, Any], columns: Sequence[str], items: int) -> list[str]:
    """The result as it is told to people, the verdict first."""
    told = [_verdict(result, columns), *_next_round(result["preference"]), *_bias(result, columns)]
    if (found := result["agreement"]) is not None:
        told.append(_agreement(found))
    for name, score in result["criteria"].items():
        told.append(_criterion(name, score, columns))
    if result["prompts"] < items or result["votes"] < result["prompts"] * result["judges"]:
        whole = items * result["judges"]
        told.append(
            f"The round was ended early: {result['votes']} of {whole} votes were given, and each of them counts."
        )
    return told


def _verdict(result: Mapping[str, Any], columns: Sequence[str]) -> str:
    found, outcomes = result["preference"], result["outcomes"]
    base, tuned = columns
    who = "Judges" if result["judges"] == 1 else f"{result['judges']} judges, by majority,"
    ties = "1 tie" if outcomes["tie"] == 1 else f"{outcomes['tie']} ties"
    bad = f", {outcomes['bad']} both bad" if outcomes["bad"] else ""
    counted = f"{who} preferred {tuned} in {outcomes[tuned]} of {result['prompts']} prompts, {base} in {outcomes[base]}, {ties}{bad}"
    if found is None:
        return f"Not settled. {counted}: no prompt was decided."
    of = "decided prompts" if result["judges"] == 1 else "the votes for either"
    better = found["better"] or tuned
    share, low, high = (found[name] for name in ("share", "low", "high"))
    if better != tuned:
        share, low, high = 1 - share, 1 - high, 1 - low
    told = f"{better} wins {_percent(share)} of {of} (95 % interval {_range(low, high)})"
    other = base if better == tuned else tuned
    if outcomes[other] > outcomes[better] and found["better"]:
        told += f", though {other} has more prompts, each by a narrower majority"
    if found["settled"]:
        return f"{counted}: {told}."
    return (
        f"Not settled. {counted}: {told}; two equal models would be this far apart in {_percent(found['p'])} of rounds."
    )


def _next_round(found: Mapping[str, Any] | None) -> list[str]:
    if found is None or found["settled"]:
        return []
    if found["needed"] is None:
        return [
            f"A next round would need more than {preference.MOST_NEEDED:,} prompts to settle so small a difference: most "
            "likely there is none that people notice."
        ]
    return [
        f"If the preference is as strong as it looks, a next round of about {found['needed']} prompts would settle it four "
        "times in five."
    ]


def _bias(result: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    place, size = result["position"], result["length"]
    told = []
    if place["left"] + place["right"]:
        sure = "more than chance would do" if place["p"] <= preference.ERROR else "no more than chance would do"
        told.append(f"The left answer was preferred {place['left']} times, the right one {place['right']}: {sure}.")
    if size["of"]:
        near = ", ".join(f"{name} in {count}" for name, count in reversed(size["similar"].items()))
        told.append(
            f"The longer answer won {size['longer_won']} of {size['of']} decided prompts (95 % interval "
            f"{_range(size['low'], size['high'])}); where both were about as long, {near}."
        )
    return told


def _agreement(found: Mapping[str, Any]) -> str:
    value, over = found["alpha"], f"over {found['prompts']} prompts that several judged"
    if value is None:
        return f"The judges said the same of every prompt, {over}."
    words = (
        "they agree well" if value >= STRONG else "they agree somewhat" if value >= FAIR else "they see it differently"
    )
    return f"Agreement between judges: {words} (Krippendorff's alpha {value:.2f}, {over}; 1 is always, 0 is chance)."


def _criterion(name: str, score: Mapping[str, Any], columns: Sequence[str]) -> str:
    told = f"{name.capitalize()}, 1 to 5: {columns[1]} {score['tuned']:.1f}, {columns[0]} {score['base']:.1f}"
    if score["low"] is None:
        return f"{told} over {score['prompts']} prompts, too few for an interval."
    low, high = f"{score['low']:+.1f}", f"{score['high']:+.1f}"
    return f"{told}, difference {score['difference']:+.1f} (95 % interval {low} to {high}) over {score['prompts']} prompts."


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _range(low: float, high: float) -> str:
    return f"{100 * low:.0f}-{100 * high:.0f} %"
