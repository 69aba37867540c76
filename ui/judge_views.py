"""Blind rounds as HTML: how far one is, its result in words, bars and a table. Pure; everything foreign is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pipeline.opinions import opinions_of, outcomes_of
from pipeline.rounds import Item, Round
from pipeline.votes import Standing, Vote
from ui import fits, texts

Result = Mapping[str, Any]
Answers = Sequence[Mapping[str, Mapping[str, Any]]]

# Of the result alone: it is shown on the judge's page, too, which has no other style sheet of ours. Each part of the
# bar has a pattern of its own, so that colour alone says nothing.
CSS = """
.judged { --one: var(--side-tuned, var(--act)); --two: var(--side-base, var(--faint)); }
.judged h3 { font-size: 1rem; font-weight: 600; margin: 1rem 0 .3rem; }
.judged p { margin: .4rem 0; } .judged ul { margin: .4rem 0; padding-left: 1.2rem; list-style: disc; } .judged li { margin: .2rem 0; }
.judged .verdict { font-weight: 600; font-size: 1.1rem; border-left: .3rem solid var(--two); padding: .3rem 0 .3rem .8rem; }
.judged .verdict.settled { border-left-color: var(--one); }
.judged .wins { display: flex; height: 1.8rem; border: 1px solid var(--line); border-radius: .4rem; overflow: hidden; margin: .8rem 0 .4rem; }
.judged .wins i + i { border-left: 2px solid var(--line); }
.judged .key { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; list-style: none; padding: 0; margin: 0 0 .8rem; }
.judged .key li { display: flex; align-items: center; gap: .4rem; margin: 0; } .judged .key i { width: 1.3rem; height: 1rem; border: 1px solid var(--line); border-radius: .2rem; }
.judged .tuned, .judged .other { background: var(--one); }
.judged .base, .judged .prompted { background: repeating-linear-gradient(45deg, var(--two) 0 3px, transparent 3px 7px); }
.judged .tie { background: radial-gradient(var(--two) 1.5px, transparent 1.8px) 0 0 / 7px 7px; }
.judged .bad { background: repeating-linear-gradient(90deg, var(--two) 0 1px, transparent 1px 6px); }
.judged .scale { position: relative; height: 2rem; margin: .3rem .5rem 0; border-bottom: 1px solid var(--two); }
.judged .scale::before { content: ""; position: absolute; left: 50%; top: .2rem; bottom: 0; border-left: 1px dashed var(--two); }
.judged .scale i { position: absolute; top: .95rem; height: .3rem; background: var(--one); }
.judged .scale b { position: absolute; top: .65rem; width: .9rem; height: .9rem; margin-left: -.45rem; border-radius: 50%; background: var(--one); border: 2px solid var(--body-background-fill, var(--ground)); }
.judged .ends { display: grid; grid-template-columns: 1fr auto 1fr; font-size: .85rem; color: var(--faint); } .judged .ends :last-child { text-align: right; }
.judged summary { cursor: pointer; padding: .5rem 0; }
.judged .prompt { border-top: 1px solid var(--line); padding: .7rem 0; overflow-wrap: anywhere; }
.judged .prompt p { white-space: pre-wrap; } .judged .prompt .asked { font-weight: 600; }
.judged .both { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 18rem), 1fr)); gap: .3rem 1rem; }
.judged .both section { border-left: 3px solid var(--two); padding-left: .7rem; } .judged .both section.won { border-left: 6px double var(--one); }
.judged .votes { font-size: .9rem; color: var(--faint); }
"""


def said(sentence: str, kind: str = "quiet") -> str:
    role = ' role="alert"' if kind == "run-error" else ""
    return f'<p class="{kind}"{role}>{escape(sentence)}</p>'


def answering(done: int, of: int, seconds: float | None) -> str:
    """How far the answers of a round are; nothing is counted while the model is loaded."""
    if not of:
        return f'{said(texts.ROUND_GETTING_READY, "run-doing")}<div class="run-bar"><i class="unknown"></i></div>'
    words = [texts.ROUND_ANSWERED.format(done=done, of=of)]
    if seconds is not None:
        words.append(texts.ROUND_LEFT.format(time=fits.about(seconds)))
    return (
        f'{said(" · ".join(words), "run-doing")}<div class="run-bar" role="progressbar" aria-valuemin="0" '
        f'aria-valuemax="{of}" aria-valuenow="{done}" aria-label="{escape(texts.ROUND_COUNTED)}">'
        f'<i style="width:{100 * done / of:.1f}%"></i></div>'
    )


def judges(found: Standing) -> str:
    """Who has judged how much; never what."""
    if not found.judges:
        return said(texts.NOBODY_JUDGED)
    of = found.ballot.items
    rows = "".join(
        f'<li><b>{escape(name)}</b><span class="share" aria-hidden="true"><i style="width:{100 * done / of:.0f}%"></i></span>'
        f"<span>{escape(texts.JUDGE_DONE.format(done=done, of=of))}</span></li>"
        for name, done in found.judges
    )
    return f'{said(texts.JUDGES_SO_FAR.format(of=of))}<ul class="judges">{rows}</ul>'


def here(token: str) -> str:
    """The way to judge in this browser: the same page everybody else gets."""
    if not token:
        return ""
    return f'<a class="judge-here" href="?judge={escape(token)}" target="_blank" rel="noopener">{escape(texts.JUDGE_HERE)}</a>'


def result(told: Result, columns: Sequence[str], table: str) -> str:
    """The verdict first, then pictures of it, the other sentences, and the prompts themselves."""
    first, *more = told["sentences"]
    settled = " settled" if (told["preference"] or {}).get("settled") else ""
    others = "".join(f"<li>{escape(sentence)}</li>" for sentence in more)
    return (
        f'<section class="judged"><p class="verdict{settled}">{escape(first)}</p>'
        f"{wins(told, columns)}{scale(told['preference'], columns)}<ul>{others}</ul>{table}</section>"
    )


def wins(told: Result, columns: Sequence[str]) -> str:
    """How many prompts each won, as one bar with its key."""
    base, tuned = columns
    counted = {name: told["outcomes"][name] for name in (tuned, "tie", "bad", base)}
    parts = "".join(f'<i class="{name}" style="flex:{count}"></i>' for name, count in counted.items() if count)
    key = "".join(
        f'<li><i class="{name}"></i>{escape(texts.OUTCOMES.get(name, name))}: <b>{count}</b></li>'
        for name, count in counted.items()
    )
    return f'<div class="wins" aria-hidden="true">{parts}</div><ul class="key">{key}</ul>'


def scale(found: Mapping[str, Any] | None, columns: Sequence[str]) -> str:
    """The tuned side's share of what was decided, with its interval; on the dashed line both are as good."""
    if not found:
        return ""
    base, tuned = (texts.OUTCOMES.get(name, name) for name in columns)
    share, low, high = (100 * found[name] for name in ("share", "low", "high"))
    words = texts.SHARE_SAID.format(name=tuned, share=share, low=low, high=high)
    return (
        f'<div class="scale" role="img" aria-label="{escape(words)}"><i style="left:{low:.1f}%;width:{high - low:.1f}%"></i>'
        f'<b style="left:{share:.1f}%"></b></div><div class="ends"><span>{escape(base)} 100 %</span>'
        f"<span>{escape(texts.AS_GOOD)}</span><span>{escape(tuned)} 100 %</span></div>{said(words)}"
    )


def prompts(asked: Round, answers: Answers, cast: Sequence[Vote]) -> str:
    """Every prompt with both answers, now named, and who chose which."""
    opinions = opinions_of(asked, cast)
    outcomes = outcomes_of(opinions)
    said_of: dict[int, list[str]] = {item["item"]: [] for item in asked.items}
    for vote, opinion in zip(cast, opinions, strict=True):
        said_of[vote.item].append(_vote(vote, opinion.choice))
    drawn = "".join(
        _prompt(item, given, outcomes.get(item["item"]), said_of[item["item"]])
        for item, given in zip(asked.items, answers, strict=True)
    )
    return f"<details><summary>{escape(texts.ALL_PROMPTS.format(n=len(asked.items)))}</summary>{drawn}</details>"


def _prompt(item: Item, given: Mapping[str, Mapping[str, Any]], outcome: str | None, votes: Sequence[str]) -> str:
    both = "".join(
        f"<section{' class=won' if name == outcome else ''}><h3>{escape(texts.OUTCOMES.get(name, name))}"
        f"{escape(texts.PREFERRED) if name == outcome else ''}</h3><p>{escape(answer['text'].strip() or texts.NO_TEXT)}</p></section>"
        for name, answer in given.items()
    )
    asked = item["messages"][-1].get("content") or ""
    return (
        f'<div class="prompt"><p class="asked">{item["item"]}. {escape(asked)}</p><div class="both">{both}</div>'
        f'<p class="votes">{escape("; ".join(votes) or texts.NOT_JUDGED_PROMPT)}</p></div>'
    )


def _vote(vote: Vote, name: str) -> str:
    told = texts.VOTE_SAID.format(name=vote.name, choice=texts.OUTCOMES.get(name, name))
    return f"{told} (“{vote.note}”)" if vote.note else told
