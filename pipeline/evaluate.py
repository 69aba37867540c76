"""`python -m pipeline.evaluate RUN`: held-out rows through base and tuned -> report.json, with intervals.

Reads held_out.jsonl, adapter/, base.json, evaluate.json. Every score is against the human reference, never against a model's
text. Plain text asks nothing: it is measured by its loss alone, and has no entry among the report's rows. The general pack
is asked beside: what the base can do and the tuned model can't any more is no score, but is told.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # the lock and the first event come before the heavy imports below
    from pipeline import job

    sys.exit(job.main("evaluate"))

import contextlib
import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy

from pipeline import answering, dataset, files, general, interval, metrics, model, sides, template, thinking
from pipeline.answering import Asked
from pipeline.errors import UserError
from pipeline.generate import Answer
from pipeline.job import Job
from pipeline.losses import loss_batches, losses_of
from pipeline.questions import Question, question
from pipeline.schema import Decoding, Model, Report, Row, Score
from pipeline.sides import Pair

LONGEST_ANSWER = 1024
LONGEST_GENERAL_ANSWER = 256
SIDES = ("base", "tuned")
ANSWERS = "answers.jsonl"  # what was answered by now; gone when there is a report
WISHES = "evaluate.json"  # {"metrics": [id on the Hub, ...]}; gone, too


def work(job: Job) -> tuple[str, dict[str, Any]]:
    """Judge the run's adapter on its held-out rows. Refuses when the self-test says a side is not what it claims."""
    begun = time.monotonic()
    rows = dataset.read_part(job.folder, "held_out")
    if not rows:
        raise UserError("This run has no held-out rows to judge on; start one with more rows or a held_out_path.")
    try:
        report = judge(job, rows, {name: metrics.of_hub(name) for name in wishes(job.folder)})
    finally:  # a job that was killed keeps them for the next one, a failed one would fail again
        (job.folder / WISHES).unlink(missing_ok=True)
    report = dataclasses.replace(report, seconds=time.monotonic() - begun)
    files.write_json(job.folder / "report.json", dataclasses.asdict(report))
    (job.folder / ANSWERS).unlink(missing_ok=True)
    return "finished", {"n": report.n}


def wishes(folder: Path) -> list[str]:
    """Ids of metrics on the Hub that were asked for beside ours. None where the file is no list of them."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        return [str(name) for name in json.loads((folder / WISHES).read_text(encoding="utf-8"))["metrics"]]
    return []


def judge(job: Job, rows: Sequence[Row], from_hub: Mapping[str, Any]) -> Report:
    """Both sides' answers to the rows and to the general pack, and the likelihood of the references."""
    job.phase("loading model")
    pair, named = sides.open_trusted(job.folder), sides.of_run(job.folder)
    judged = model.fingerprint(job.folder / "adapter")
    questions, left_out = readable(job, pair, [question(pair, row) for row in rows])
    asked = [q for q in questions if q.prompt]
    decoding = Decoding(max_new_tokens=answer_room(pair, asked))
    kept = job.folder / ANSWERS
    answered = answering.all_of(job, pair, named, [q.asked for q in asked], decoding, kept) if asked else []
    everyday = general_rows(job, pair, named, kept)
    job.phase("measuring loss")
    losses = numpy.concatenate([losses_of(pair, batch) for batch in loss_batches(pair, questions)])
    texts = [spoken(pair, q.asked, sides_of) for q, sides_of in zip(asked, answered, strict=True)]
    by_row = row_scores(asked, texts)
    return Report(
        n=len(questions),
        metrics={name: interval.paired(*both, bounded=True) for name, both in by_row.items()} | loss_scores(losses),
        rows=tuple(
            _row(q, sides_of, {name: [both[0][i], both[1][i]] for name, both in by_row.items()})
            for i, (q, sides_of) in enumerate(zip(asked, answered, strict=True))
        ),
        mode=pair.mode,
        self_test=pair.self_test,
        settings=dataclasses.asdict(decoding),
        seconds=0.0,
        left_out=left_out,
        adapter=judged,
        measures=measured(asked, answered, texts, from_hub),
        identical={"n": sum(a["base"].text == a["tuned"].text for a in answered), "of": len(answered)},
        general=tuple(everyday),
    )


def readable(job: Job, pair: Pair, questions: Sequence[Question]) -> tuple[list[Question], tuple[int, ...]]:
    """The questions that fit into the model with their reference, and the numbers of the rows that don't."""
    most = sides.context(pair)
    fit = [q for q in questions if most is None or q.length <= most]
    left_out = tuple(q.row for q in questions if most is not None and q.length > most)
    told = f"{len(left_out)} held-out rows are longer than the {most} tokens the model reads and were not judged"
    if not fit:
        raise UserError(f"{told}; none is left, hold out shorter ones.")
    if left_out:
        job.emit("note", text=f"{told} (rows {', '.join(map(str, left_out))}).")
    return fit, left_out


def answer_room(pair: Pair, questions: Sequence[Question]) -> int:
    """Tokens an answer may have: twice the longest reference and a little more, so that rambling shows."""
    lengths = [len(pair.tokenizer(q.reference, add_special_tokens=False)["input_ids"]) for q in questions]
    return min(LONGEST_ANSWER, 2 * max(lengths, default=0) + 16)


def general_rows(job: Job, pair: Pair, named: Model, file: Path) -> list[dict[str, Any]]:
    """The tasks of the general pack that this template and context allow, with both answers and whether each passes."""
    asked = {}
    for place, task in enumerate(general.tasks(named.base)):
        with contextlib.suppress(UserError):  # a template that has no place for a system prompt
            prompts = {side: template.prompt_ids(pair.reader(side), pair.template, task["messages"]) for side in SIDES}
            asked[place] = (task, Asked(f"general {place + 1}", prompts))
    most = sides.context(pair)
    fit = [(task, q) for task, q in asked.values() if most is None or q.length < most]
    if not fit:
        return []
    decoding = Decoding(max_new_tokens=LONGEST_GENERAL_ANSWER)
    answered = answering.all_of(job, pair, named, [q for _, q in fit], decoding, file, "asking everyday things")
    return [
        {
            **task,
            **{side: dataclasses.asdict(found[side]) for side in SIDES},
            **{f"{side}_passes": general.passes(task, text) for side, text in spoken(pair, q, found).items()},
        }
        for (task, q), found in zip(fit, answered, strict=True)
    ]


def spoken(pair: Pair, asked: Asked, answers: Mapping[str, Answer]) -> dict[str, str]:
    """What each side says after its thoughts, which are no part of the answer: "" where it thinks to the limit."""
    opened = {side: thinking.opened_by(pair.reader(side).decode(asked.prompts[side])) for side in SIDES}
    return {side: thinking.split(answers[side].text, opened[side], growing=False)[1] for side in SIDES}


def wanted(question: Question) -> str:
    """The reference without the thoughts that the data may have."""
    return thinking.split(question.reference, growing=False)[1] or question.reference


def row_scores(
    questions: Sequence[Question], texts: Sequence[Mapping[str, str]]
) -> dict[str, tuple[list[float], list[float]]]:
    """Each metric's scores of base and tuned, row by row."""
    if not questions:
        return {}
    references = [wanted(q) for q in questions]
    base, tuned = (metrics.score([said[side] for said in texts], references) for side in SIDES)
    return {name: (base[name], tuned[name]) for name in base}


def loss_scores(losses: numpy.ndarray) -> dict[str, Score]:
    """Of (rows, [base, tuned, tokens]): averages over tokens, intervals over rows."""
    tokens = losses[:, 2]
    per_token = [losses[:, side] / numpy.maximum(tokens, 1) for side in (0, 1)]
    return {
        "loss": interval.paired(*per_token, weights=tokens),
        "perplexity": interval.paired(*per_token, weights=tokens, transform=numpy.exp),
    }


def measured(
    questions: Sequence[Question],
    answered: Sequence[Mapping[str, Answer]],
    texts: Sequence[Mapping[str, str]],
    from_hub: Mapping[str, Any],
) -> dict[str, Score]:
    """What is not simply better when higher, and what somebody else's metrics say."""
    if not questions:
        return {}
    references = [wanted(q) for q in questions]
    both = [[said[side] for said in texts] for side in SIDES]
    words = numpy.maximum(metrics.lengths(references), 1)
    found = {
        "length_ratio": interval.paired(*(metrics.lengths(side) / words for side in both), weights=words),
        "repetition": interval.paired(*([metrics.repetition(t) for t in side] for side in both), bounded=True),
        "stopped": interval.paired(*([a[side].stopped for a in answered] for side in SIDES), bounded=True),
    }
    for name, metric in from_hub.items():
        base, tuned = (metrics.hub_scores(name, metric, side, references) for side in both)
        found |= {key: interval.paired(base[key], tuned[key]) for key in base if key in tuned}
    return found


def _row(question: Question, answers: Mapping[str, Answer], scores: dict[str, list[float]]) -> dict[str, Any]:
    return {
        "row": question.row,
        "messages": question.messages,
        "reference": question.reference,
        **{side: dataclasses.asdict(answers[side]) for side in SIDES},
        "scores": scores,
    }
