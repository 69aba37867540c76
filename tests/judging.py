"""Rounds that are ready to be judged, with answers made by hand: the job that makes them has its own tests."""

from pathlib import Path

from pipeline import rounds, votes
from pipeline.rounds import Round

ASKED = "Say this: the fox finds the ring.\nSay <b>that</b>.\nHello?\nWho are you?"
TUNED = [f"Tuned words {number}." for number in range(1, 100)]
BASE = [f"Other words, {number}, and a few more <i>of them</i>." for number in range(1, 100)]


def ready_round(folder: Path, text: str = ASKED, seed: int = 7, criteria: bool = False) -> Round:
    """A round of a run, answered."""
    (folder / "adapter").mkdir(exist_ok=True)
    asked = rounds.questions(folder, "pasted", rounds.MOST_PROMPTS, seed, text)
    made = rounds.create(folder, asked, "pasted", seed=seed, criteria=criteria)
    said = [{"base": {"text": base}, "tuned": {"text": tuned}} for base, tuned in zip(BASE, TUNED, strict=True)]
    rounds.close(folder, made, said[: len(made.items)])
    return made


def link(folder: Path, made: Round) -> str:
    """The token of the round's link."""
    return votes.open_round(folder.name, made.id, len(made.items)).token or ""


def choice_for(made: Round, item: int, column: str) -> str:
    """Where a column stands: "left" or "right"."""
    return "left" if rounds.left(made)[item - 1] == column else "right"
