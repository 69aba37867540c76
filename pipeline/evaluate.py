"""`python -m pipeline.evaluate RUN`: held-out rows through base and tuned -> report.json, with intervals.

Reads held_out.jsonl, adapter/, base.json. Every score is against the human reference, never against a model's text.
Plain text asks nothing: it is measured by its loss alone, and has no entry among the report's rows.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # the lock and the first event come before the heavy imports below
    from pipeline import job

    sys.exit(job.main("evaluate"))

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch

from pipeline import dataset, files, generate, interval, metrics, model, sides, template
from pipeline.conversations import split_answer
from pipeline.errors import UserError
from pipeline.generate import Answer
from pipeline.job import Job
from pipeline.sides import Pair
from pipeline.schema import Decoding, Message, Report, Row, Score

BATCH = 16  # prompts answered at once, each on both sides
LONGEST_ANSWER = 1024
LOGITS_AT_ONCE = 1 << 26  # floats held for the loss of one batch, 256 MiB


@dataclass(frozen=True)
class Question:
    """A held-out row as it is asked: prompt ids (none for plain text), the reference, and ids and labels for its loss.

    `base` is the same as the base reads it, where it lacks some of the tokens.
    """

    row: int
    messages: list[Message]
    reference: str
    prompt: list[int]
    ids: list[int]
    labels: list[int]
    base: Question | None = None

    @property
    def length(self) -> int:
        return max(len(self.ids), len(self.base.ids) if self.base else 0)


def work(job: Job) -> tuple[str, dict[str, Any]]:
    """Judge the run's adapter on its held-out rows. Refuses when the self-test says a side is not what it claims."""
    begun = time.monotonic()
    rows = dataset.read_part(job.folder, "held_out")
    if not rows:
        raise UserError("This run has no held-out rows to judge on; start one with more rows or a held_out_path.")
    job.phase("loading model")
    pair = sides.open_trusted(job.folder)
    judged = model.fingerprint(job.folder / "adapter")
    questions, left_out = readable(job, pair, [question(pair, row) for row in rows])
    asked = [q for q in questions if q.prompt]
    decoding = Decoding(max_new_tokens=answer_room(pair, asked))
    job.phase("answering", steps=len(asked))
    answered = answer_all(job, pair, asked, decoding)
    job.phase("measuring loss")
    losses = [losses_of(pair, batch) for batch in loss_batches(pair, questions)]
    report = make_report(pair, questions, answered, numpy.concatenate(losses), decoding, time.monotonic() - begun)
    report = dataclasses.replace(report, left_out=left_out, adapter=judged)
    files.write_json(job.folder / "report.json", dataclasses.asdict(report))
    return "finished", {"n": report.n}


def question(pair: Pair, row: Row) -> Question:
    """A held-out row as prompt and reference; its last answer is the one that is asked for."""
    asked = _question(pair, row, "tuned")
    return asked if pair.same_ids else dataclasses.replace(asked, base=_question(pair, row, "base"))


def _question(pair: Pair, row: Row, side: str) -> Question:
    tokenizer = pair.reader(side)
    if "text" in row:
        rendered = template.render_text(tokenizer, row["text"])
        whole = template.example(row, rendered, sides.context(pair) or len(rendered.ids))  # cut as in training
        return Question(row["row"], [], "", [], whole.input_ids, whole.labels)
    messages, reference = split_answer({"messages": row["messages"]})
    tools = row.get("tools")
    conversation: Any = {"messages": row["messages"], **({"tools": tools} if tools else {})}
    try:
        rendered = template.render(tokenizer, pair.template, conversation, "last answer")
    except UserError as error:
        raise UserError(f"held-out row {row['row']}: {error}") from error
    whole = template.example(row, rendered, len(rendered.ids))
    prompt = template.prompt_ids(tokenizer, pair.template, messages, tools)
    return Question(row["row"], messages, reference, prompt, whole.input_ids, whole.labels)


def readable(job: Job, pair: Pair, questions: Sequence[Question]) -> tuple[list[Question], tuple[int, ...]]:
    """The questions that fit into the model with their reference, and the numbers of the rows that don't."""
    most = sides.context(pair)
    fit = [q for q in questions if most is None or q.length <= most]
    left_out = tuple(q.row for q in questions if q not in fit)
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


def answer_all(
    job: Job, pair: Pair, questions: Sequence[Question], decoding: Decoding
) -> dict[int, tuple[Answer, Answer]]:
    """(base, tuned) by the question's place; batches hold prompts of similar length."""
    order = sorted(range(len(questions)), key=lambda i: len(questions[i].prompt))
    answered: dict[int, tuple[Answer, Answer]] = {}
    for start in range(0, len(order), BATCH):
        job.end_if_stop_asked()
        chosen = order[start : start + BATCH]
        base = None if pair.same_ids else [(questions[i].base or questions[i]).prompt for i in chosen]
        pairs = generate.answers(pair, [questions[i].prompt for i in chosen], decoding, base)
        answered |= dict(zip(chosen, pairs, strict=True))
        job.emit("progress", step=len(answered))
    return answered


def loss_batches(pair: Pair, questions: Sequence[Question]) -> list[list[Question]]:
    """Questions in file order, in batches whose logits for both sides fit LOGITS_AT_ONCE."""
    size = pair.adapted.config.get_text_config().vocab_size
    batches: list[list[Question]] = []
    for q in questions:
        together = [*batches[-1], q] if batches else [q]
        if batches and max(x.length for x in together) * len(together) * 2 * size <= LOGITS_AT_ONCE:
            batches[-1] = together
        else:
            batches.append([q])
    return batches


@torch.no_grad()
def losses_of(pair: Pair, questions: Sequence[Question]) -> numpy.ndarray:
    """Summed negative log-likelihood in nats of each reference's tokens, and their number: (rows, [base, tuned, tokens]).

    Where the base reads other tokens, its sum is over those: the likelihood of the same text.
    """
    batch, labels = _batch(pair, questions)
    if pair.mode == "mixed":
        names = [sides.BASE] * len(questions) + [sides.ADAPTER] * len(questions)
        both = {key: torch.cat([value, value]) for key, value in batch.items()}
        base, tuned = sides.logits(pair.adapted, both, adapter_names=names).chunk(2)
        sums = [_sum(side, labels) for side in (base, tuned)]
    else:
        own, own_labels = (batch, labels) if pair.same_ids else _batch(pair, [q.base or q for q in questions])
        with pair.adapted.disable_adapter():
            sums = [_sum(sides.logits(pair.adapted, own), own_labels)]
        sums.append(_sum(sides.logits(pair.adapted, batch), labels))
    return numpy.stack([*sums, (labels[:, 1:] != template.IGNORED).sum(1).cpu().numpy()], axis=1)


def _batch(pair: Pair, questions: Sequence[Question]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Ids padded on the left, and labels in the same places. The first token is never predicted."""
    batch = sides.pad_left([q.ids for q in questions], pair.tokenizer, pair.adapted.device)
    longest, ignored = batch["input_ids"].shape[1], template.IGNORED
    labels = [[ignored] * (longest - len(q.labels)) + [ignored] + q.labels[1:] for q in questions]
    return batch, torch.tensor(labels).to(pair.adapted.device)


def _sum(scores: torch.Tensor, labels: torch.Tensor) -> numpy.ndarray:
    loss = torch.nn.functional.cross_entropy(
        scores[:, :-1].transpose(1, 2), labels[:, 1:], ignore_index=template.IGNORED, reduction="none"
    )
    return loss.sum(1).cpu().numpy()


def make_report(
    pair: Pair,
    questions: Sequence[Question],
    answered: dict[int, tuple[Answer, Answer]],
    losses: numpy.ndarray,
    decoding: Decoding,
    seconds: float,
) -> Report:
    asked = [q for q in questions if q.prompt]
    references = [q.reference for q in asked]
    ordered = [answered[i] for i in range(len(asked))]
    base, tuned = (
        (metrics.score([a.text for a in s], references) for s in zip(*ordered, strict=True)) if ordered else ({}, {})
    )
    scores: dict[str, Score] = {name: interval.paired(base[name], tuned[name]) for name in base}
    tokens = losses[:, 2]
    per_token = [losses[:, side] / numpy.maximum(tokens, 1) for side in (0, 1)]
    scores["loss"] = interval.paired(*per_token, weights=tokens)
    scores["perplexity"] = interval.paired(*per_token, weights=tokens, transform=numpy.exp)
    rows = tuple(_row(q, *ordered[i], {n: [base[n][i], tuned[n][i]] for n in base}) for i, q in enumerate(asked))
    return Report(len(questions), scores, rows, pair.mode, pair.self_test, dataclasses.asdict(decoding), seconds)


def _row(question: Question, base: Answer, tuned: Answer, scores: dict[str, list[float]]) -> dict[str, Any]:
    return {
        "row": question.row,
        "messages": question.messages,
        "reference": question.reference,
        "base": dataclasses.asdict(base),
        "tuned": dataclasses.asdict(tuned),
        "scores": scores,
    }
