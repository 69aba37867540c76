"""`python -m pipeline.round RUN`: both answers to every prompt of the newest round that waits for them.

Reads rounds/<id>/round.json and adapter/, writes rounds/<id>/answers.json. Killed, it goes on where it was.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # the lock and the first event come before the heavy imports below
    from pipeline import job

    sys.exit(job.main("round"))

import dataclasses
from typing import Any

from pipeline import answering, model, rounds, sides, template
from pipeline.answering import Asked
from pipeline.errors import UserError
from pipeline.job import Job
from pipeline.rounds import Item, Round
from pipeline.sides import Pair


def work(job: Job) -> tuple[str, dict[str, Any]]:
    """Answer ahead, so that judges wait for nothing and no side shows by its speed.

    Refuses when the self-test says a side is not what it claims, and when the adapter is another than the round's.
    """
    waiting = rounds.waiting(job.folder)
    if waiting is None:
        raise UserError(f"{job.folder.name} has no round that waits for answers; open one first.")
    if model.fingerprint(job.folder / "adapter") != waiting.adapter:
        raise UserError(f"Round {waiting.id} was opened for another adapter than this run has now; open a new one.")
    job.phase("loading model")
    pair = sides.open_trusted(job.folder)
    asked = [_asked(pair, waiting, item) for item in waiting.items]
    refuse_too_long(pair, asked)
    file = rounds.place(job.folder, waiting.id) / rounds.UNDER_WAY
    found = answering.all_of(job, pair, sides.of_run(job.folder), asked, waiting.decoding, file)
    given = [{column: dataclasses.asdict(answer) for column, answer in each.items()} for each in found]
    rounds.close(job.folder, waiting, given)
    return "finished", {"round": waiting.id, "prompts": len(given)}


def _asked(pair: Pair, waiting: Round, item: Item) -> Asked:
    prompts = {
        column: template.prompt_ids(pair.reader(column), pair.template, item["messages"], item.get("tools"))
        for column in waiting.columns
    }
    return Asked(str(item["item"]), prompts)


def refuse_too_long(pair: Pair, asked: list[Asked]) -> None:
    """Raises UserError, before anything is answered, for prompts that leave the model no room for an answer."""
    most = sides.context(pair)
    long = [question for question in asked if most is not None and question.length >= most]
    if long:
        raise UserError(
            f"{len(long)} prompts leave no room for an answer (the first is prompt {long[0].name} with {long[0].length} "
            f"tokens, the model reads {most}); open a new round with shorter ones."
        )
