"""Votes on blind rounds: who may judge by which link, who said what, and when the names are told. No heavy import.

A vote is kept in <home>/votes.sqlite, on the disk, before it is acknowledged.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline import ledger
from pipeline.errors import UserError

CHOICES = ("left", "right", "tie", "bad")
CRITERIA = ("fluency", "relevance", "correctness")
LONGEST_NAME, LONGEST_NOTE = 60, 2000
MOST_JUDGES = 500
TOKEN_BYTES = 24

Scores = Mapping[str, tuple[int | None, int | None]]
"""1 to 5 for (left, right) by criterion; None where nothing was said."""


@dataclass(frozen=True)
class Ballot:
    """A round that is judged. `token` is the secret of its link, None while nobody may judge."""

    round: str
    run: str
    items: int
    token: str | None
    revealed: bool


@dataclass(frozen=True)
class Progress:
    """How far one judge is; `next` is the first prompt without a vote, None when all have one."""

    done: int
    of: int
    next: int | None


@dataclass(frozen=True)
class Standing:
    """What may be known of a round before the reveal: who has voted on how many prompts, never on what."""

    ballot: Ballot
    judges: list[tuple[str, int]]

    @property
    def complete(self) -> bool:
        """Whether somebody has voted, and whoever voted at all has voted on every prompt."""
        voted = [done for _, done in self.judges if done]
        return bool(voted) and min(voted) == self.ballot.items


@dataclass(frozen=True)
class Vote:
    """One judge's answer to one item. Judges are numbered from 1 in the order they joined: what they keep is a secret."""

    item: int
    judge: int
    name: str
    choice: str
    scores: Scores = field(default_factory=dict)
    note: str = ""
    made: float = 0.0


def open_round(run: str, name: str, items: int) -> Ballot:
    """Let a round be judged by its link, or again by a new one after `revoke`. An open one stays as it is.

    The token has 192 random bits. It is kept as it is, not hashed, because its owner must be able to show the link again,
    and whoever can read this file has what the token protects. Raises UserError when the names have been told.
    """
    with ledger.opened() as kept:
        kept.execute(
            "insert into rounds (round, run, items, opened) values (?, ?, ?, ?) on conflict do nothing",
            (name, run, items, time.time()),
        )
        if _ballot(kept, name).revealed:
            raise UserError("The names of this round have been told; open a new round to judge again.")
        token = secrets.token_urlsafe(TOKEN_BYTES)
        kept.execute("update rounds set token = ? where round = ? and token is null", (token, name))
        return _ballot(kept, name)


def revoke(name: str) -> None:
    """End a round's link: whoever has it can do nothing with it from now on. Votes stay."""
    with ledger.opened() as kept:
        kept.execute("update rounds set token = null where round = ?", (name,))


def by_link(token: str) -> Ballot:
    """The round of a link. Raises UserError for one that was never given or has been revoked."""
    with ledger.opened(write=False) as kept:
        return _linked(kept, token)


def join(token: str, name: str, judge: str = "") -> str:
    """The judge's secret for this round, made here and kept by the browser; `judge` is the one it has kept, if any.

    One that is known, from this round or another, goes on being used; any other is replaced. Raises UserError for a name
    that shows nothing, and for a link that is not valid.
    """
    plain = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    if not 1 <= len(plain) <= LONGEST_NAME:
        raise UserError(f"A judge's name has 1 to {LONGEST_NAME} characters; this one has {len(plain)}.")
    with ledger.opened() as kept:
        ballot = _linked(kept, token)
        known = kept.execute("select 1 from judges where judge = ?", (judge,)).fetchone()
        judge = judge if known else secrets.token_urlsafe(TOKEN_BYTES)
        _refuse_crowd(kept, ballot, judge)
        kept.execute(
            "insert into judges (round, judge, name, joined) values (?, ?, ?, ?) "
            "on conflict (round, judge) do update set name = excluded.name",
            (ballot.round, judge, plain, time.time()),
        )
    return judge


def _refuse_crowd(kept: sqlite3.Connection, ballot: Ballot, judge: str) -> None:
    """Who joined and never voted keeps nobody out."""
    others = "select count(distinct judge) from votes where round = ? and judge != ?"
    if kept.execute(others, (ballot.round, judge)).fetchone()[0] >= MOST_JUDGES:
        raise UserError(
            f"{MOST_JUDGES} judges vote in this round already; ask whoever sent the link for another round."
        )


def cast(token: str, judge: str, item: int, choice: str, scores: Scores | None = None, note: str = "") -> Progress:
    """Keep a vote. The same vote again changes nothing: a browser may have to send it twice.

    Raises UserError for another vote on an item that has one (undo it first), after the reveal, and for what is no vote.
    """
    vote = (choice, json.dumps(_checked(choice, scores or {}), sort_keys=True), _checked_note(note))
    with ledger.opened() as kept:
        ballot = _judging(kept, token, judge)
        _refuse_crowd(kept, ballot, judge)
        if not isinstance(item, int) or not 1 <= item <= ballot.items:
            raise UserError(f"This round has {ballot.items} prompts; there is no prompt {item}.")
        before = kept.execute(
            "select choice, scores, note from votes where round = ? and item = ? and judge = ?",
            (ballot.round, item, judge),
        ).fetchone()
        if before is not None and before != vote:
            raise UserError(f"You have voted on prompt {item} already; undo that vote to change it.")
        if before is None:
            kept.execute(
                "insert into votes (round, item, judge, choice, scores, note, made) values (?, ?, ?, ?, ?, ?, ?)",
                (ballot.round, item, judge, *vote, time.time()),
            )
        return _progress(kept, ballot, judge)


def _checked(choice: str, scores: Scores) -> dict[str, list[int | None]]:
    if choice not in CHOICES:
        raise UserError(f"A vote is one of {', '.join(CHOICES)}; not {choice!r:.40}.")
    for name, pair in scores.items():
        if name not in CRITERIA or not isinstance(pair, list | tuple) or len(pair) != 2:
            raise UserError(f"Scores are pairs, left and right, for {', '.join(CRITERIA)}; not {name!r:.40}.")
        if not all(value is None or (type(value) is int and 1 <= value <= 5) for value in pair):
            raise UserError(f"{name}: give 1 to 5 for the left and for the right answer, or leave it out.")
    return {name: list(pair) for name, pair in scores.items() if any(value is not None for value in pair)}


def _checked_note(note: str) -> str:
    if len(note) > LONGEST_NOTE:
        raise UserError(f"A note has at most {LONGEST_NOTE:,} characters; this one has {len(note):,}.")
    return note.encode(errors="replace").decode()  # half a surrogate pair is no text


def undo(token: str, judge: str) -> int | None:
    """Take back this judge's last vote; its item, or None where there is none. Raises UserError after the reveal."""
    with ledger.opened() as kept:
        ballot = _judging(kept, token, judge)
        last = kept.execute(
            "select number, item from votes where round = ? and judge = ? order by number desc limit 1",
            (ballot.round, judge),
        ).fetchone()
        if last is None:
            return None
        kept.execute("delete from votes where number = ?", (last[0],))
        return int(last[1])


def progress(token: str, judge: str) -> Progress:
    """How far this judge is."""
    with ledger.opened(write=False) as kept:
        return _progress(kept, _joined(kept, token, judge), judge)


def standing(name: str) -> Standing:
    """A round's judges in the order they joined, each with the number of prompts voted on. Raises UserError for no round."""
    with ledger.opened(write=False) as kept:
        return _standing(kept, name)


def reveal(name: str, early: bool = False) -> Standing:
    """Tell the names: no vote is taken or changed from now on. It is the owner's to do, and can't be taken back.

    A round must be complete (see Standing) unless its owner ends it early. Then every vote that was given counts: no
    score was seen before, so none can have chosen the moment; what is missing is said with the result. Raises UserError,
    naming who is not done, when it is not complete, and when nobody has voted.
    """
    with ledger.opened() as kept:
        found = _standing(kept, name)
        if not any(done for _, done in found.judges):
            raise UserError("Nobody has voted in this round yet, so there is nothing to tell.")
        if not found.complete and not early:
            items = found.ballot.items
            waiting = ", ".join(f"{who} ({done} of {items})" for who, done in found.judges if 0 < done < items)
            raise UserError(f"Not all votes are in: {waiting}. Wait for them, or end the round early.")
        kept.execute("update rounds set revealed = ? where round = ? and revealed is null", (time.time(), name))
        return _standing(kept, name)


def read(name: str) -> list[Vote]:
    """Every vote of a round, by item and judge. Raises UserError before the reveal: there is no running score."""
    with ledger.opened(write=False) as kept:
        if not _ballot(kept, name).revealed:
            raise UserError("The votes of this round are secret until its names are told.")
        numbers = {judge: place for place, (judge, _) in enumerate(_judges(kept, name), start=1)}
        rows = kept.execute(
            "select item, votes.judge, name, choice, scores, note, made from votes "
            "join judges using (round, judge) where votes.round = ? order by item, judges.number",
            (name,),
        ).fetchall()
    return [
        Vote(
            item,
            numbers[judge],
            who,
            choice,
            {key: tuple(pair) for key, pair in json.loads(scores).items()},
            note,
            made,
        )
        for item, judge, who, choice, scores, note, made in rows
    ]


def forget(run: str) -> None:
    """Remove everything that is known of a run's rounds, when it is deleted."""
    if ledger.exists():
        with ledger.opened() as kept:
            kept.execute("delete from rounds where run = ?", (run,))


def _ballot(kept: sqlite3.Connection, name: str) -> Ballot:
    return _found(kept, "round", name, f"Round {name} has not been opened for judges.")


def _linked(kept: sqlite3.Connection, token: str) -> Ballot:
    return _found(kept, "token", token, "This link is not valid, or no longer; ask whoever sent it for a new one.")


def _found(kept: sqlite3.Connection, column: str, value: str, sentence: str) -> Ballot:
    row = kept.execute(
        f"select round, run, items, token, revealed from rounds where {column} = ?", (str(value),)
    ).fetchone()
    if row is None:
        raise UserError(sentence)
    name, run, items, token, revealed = row
    return Ballot(name, run, items, token, revealed is not None)


def _joined(kept: sqlite3.Connection, token: str, judge: str) -> Ballot:
    ballot = _linked(kept, token)
    if not kept.execute("select 1 from judges where round = ? and judge = ?", (ballot.round, str(judge))).fetchone():
        raise UserError("You have not joined this round; give a name first.")
    return ballot


def _judging(kept: sqlite3.Connection, token: str, judge: str) -> Ballot:
    ballot = _joined(kept, token, judge)
    if ballot.revealed:
        raise UserError("The names of this round have been told; no vote is taken any more.")
    return ballot


def _judges(kept: sqlite3.Connection, name: str) -> list[tuple[str, str]]:
    return kept.execute("select judge, name from judges where round = ? order by number", (name,)).fetchall()


def _progress(kept: sqlite3.Connection, ballot: Ballot, judge: str) -> Progress:
    rows = kept.execute("select item from votes where round = ? and judge = ?", (ballot.round, judge))
    voted = {item for (item,) in rows}
    return Progress(len(voted), ballot.items, next((i for i in range(1, ballot.items + 1) if i not in voted), None))


def _standing(kept: sqlite3.Connection, name: str) -> Standing:
    ballot = _ballot(kept, name)
    counted: dict[str, int] = dict(
        kept.execute("select judge, count(*) from votes where round = ? group by judge", (name,)).fetchall()
    )
    return Standing(ballot, [(who, counted.get(judge, 0)) for judge, who in _judges(kept, name)])
