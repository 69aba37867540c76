"""Where a run's blind rounds stand, read from its folder and from the votes: what the Judge tab shows of them."""

from __future__ import annotations

import contextlib
import json
import time
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline import jobs, judged, rounds, votes
from pipeline.errors import UserError
from pipeline.rounds import Round
from pipeline.votes import Standing
from ui import judge_views, texts

JOB = "round"


@dataclass(frozen=True)
class Seen:
    """One round at one moment. `stage` is one of texts.ROUND_STATES; `standing` is None before it was first opened."""

    folder: Path
    round: Round
    stage: str
    standing: Standing | None

    @property
    def token(self) -> str:
        return (self.standing.ballot.token if self.standing else None) or ""


def look(folder: Path, chosen: Round) -> Seen:
    found = standing(chosen.id)
    if found and found.ballot.revealed:
        stage = "told"
    elif not rounds.ready(folder, chosen):
        answered = jobs.job_status(folder, JOB) == "running" and rounds.waiting(folder) == chosen
        stage = "answering" if answered else "unanswered"
    else:
        stage = "open" if found and found.ballot.token else "ready"
    return Seen(folder, chosen, stage, found)


def standing(name: str) -> Standing | None:
    try:
        return votes.standing(name)
    except UserError:  # never opened for judges
        return None


def choices(folder: Path) -> list[tuple[str, str]]:
    """(label, id) of every round of a run, newest first."""
    return [(label(look(folder, each)), each.id) for each in rounds.listing(folder)]


def label(seen: Seen) -> str:
    made = time.strftime("%d %b %H:%M", time.localtime(seen.round.made))
    source = texts.ROUND_SHORT_SOURCES.get(seen.round.source, seen.round.source)
    state = texts.ROUND_STATES[seen.stage]
    return texts.ROUND_LABEL.format(when=made, n=len(seen.round.items), source=source, state=state)


def status(seen: Seen) -> str:
    """Where the round is and what to do next, as HTML."""
    of = len(seen.round.items)
    if seen.stage in ("answering", "unanswered"):
        return _answers(seen, of)
    if seen.stage == "ready":
        if seen.standing is None:
            return judge_views.said(texts.ROUND_READY.format(of=of), "")
        return judge_views.said(texts.LINK_CLOSED, "run-warning") + judge_views.judges(seen.standing)
    return judge_views.judges(seen.standing) if seen.stage == "open" and seen.standing else ""


def _answers(seen: Seen, of: int) -> str:
    told = jobs.view(seen.folder).jobs.get(JOB)
    if seen.stage == "answering" and told:
        left = told.values.get("eta_seconds")
        return judge_views.answering(_done(seen), told.steps and of, left)
    if told and told.ended == "failed" and rounds.waiting(seen.folder) == seen.round:  # it was this one's
        return judge_views.said(texts.ROUND_FAILED.format(text=told.text), "run-error")
    return judge_views.said(texts.ROUND_STOPPED.format(done=_done(seen), of=of), "run-warning")


def _done(seen: Seen) -> int:
    """How many of the round's prompts both sides have answered by now."""
    columns: dict[str, set[str]] = defaultdict(set)
    with contextlib.suppress(OSError):
        for line in (rounds.place(seen.folder, seen.round.id) / rounds.UNDER_WAY).read_bytes().splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # a last line that is being written
                told = json.loads(line)
                columns[told["name"]].add(told["column"])
    return sum(answered >= set(seen.round.columns) for answered in columns.values())


@lru_cache(maxsize=32)
def result(folder: Path, name: str) -> str:
    """The result of a round whose names are told, as HTML; nothing about it changes any more."""
    asked = rounds.read(folder, name)
    cast, answers = votes.read(name), rounds.answers(folder, asked)
    table = judge_views.prompts(asked, answers, cast)
    return judge_views.result(judged.of(asked, cast, answers), asked.columns, table)
