"""What a dataset holds, what is wrong with it, and how one row will be trained on, before anything runs.

Heavy imports (the tokenizer) happen only when a model is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline import dataset
from pipeline.errors import UserError
from pipeline.schema import PARTS, Model, Prepared, Problem, Row, Source, to_json

PERCENTILES = (50, 90, 95, 99)


def inspect(source: Source, model: Model | None, max_length: int, loss_on: str) -> dict[str, Any]:
    """The command line's object: counts, problems, and with a model token lengths and the share that is learned."""
    return summarise(dataset.prepare(source), model, max_length, loss_on)


def summarise(prepared: Prepared, model: Model | None, max_length: int, loss_on: str) -> dict[str, Any]:
    """The same of rows that were read before."""
    problems = list(prepared.problems)
    lengths: dict[str, Any] | None = None
    share: float | None = None
    if model:
        lengths, share, found = measure(prepared, model, max_length, loss_on)
        problems += found
    return {
        "shape": prepared.shape,
        "columns": prepared.columns,
        "rows": prepared.rows,
        "conversations": sum(len(prepared.part(part)) for part in PARTS if not copied(prepared, part)),
        **{part: len(prepared.part(part)) for part in PARTS},
        "problems": [to_json(problem) for problem in problems],
        "lengths": lengths,
        "trained_token_share": share,
        "fingerprint": prepared.fingerprint,
    }


def copied(prepared: Prepared, part: str) -> bool:
    """Whether the validation rows are some of the training rows (there were too few for a part of their own)."""
    return part == "validation" and any(problem.kind == "validation-from-train" for problem in prepared.problems)


def measure(
    prepared: Prepared, model: Model, max_length: int, loss_on: str
) -> tuple[dict[str, Any] | None, float | None, list[Problem]]:
    """Token lengths before any cut, the share of the kept tokens that is learned, and what the template says of rows."""
    from pipeline import model as models
    from pipeline import template

    tokenizer = models.tokenizer(model)
    chosen = template.choose(tokenizer, models.stop_ids(model))
    max_length = models.readable(model, max_length)
    rows = [row for part in PARTS if not copied(prepared, part) for row in prepared.part(part)]
    tokenized = template.tokenize(tokenizer, chosen, rows, max_length, loss_on)
    problems = gate_problems(tokenized.gates)
    cut = tuple(e.row for e in tokenized.examples if e.cut)
    if cut:
        problems.append(Problem("cut", cut, f"{len(cut)} rows are longer than {max_length} tokens and lose their end."))
    if tokenized.dropped:
        sentence = f"{len(tokenized.dropped)} rows lose their whole answer beyond {max_length} tokens and are left out."
        problems.append(Problem("cut-away", tokenized.dropped, sentence))
    lengths = sorted(e.length for e in tokenized.examples)
    if not lengths:
        return None, None, problems
    at = {f"p{p}": lengths[min(len(lengths) - 1, len(lengths) * p // 100)] for p in PERCENTILES}
    learned = sum(label != template.IGNORED for e in tokenized.examples for label in e.labels)
    total = sum(len(e.labels) for e in tokenized.examples)
    return {**at, "max": lengths[-1], "truncated": len(cut) + len(tokenized.dropped)}, learned / total, problems


def gate_problems(gates: Sequence[tuple[int, Any]]) -> list[Problem]:
    """One problem per kind of gate, told by its first row; a run stops at any of them."""
    found = []
    for kind in dict.fromkeys(gate.kind for _, gate in gates):
        first = next((number, gate) for number, gate in gates if gate.kind == kind)
        rows = tuple(dict.fromkeys(number for number, gate in gates if gate.kind == kind))
        more = f" (and {len(rows) - 1} more rows)" if len(rows) > 1 else ""
        found.append(Problem(kind, rows, f"row {first[0]}: {first[1].sentence}{more}; a run would stop here."))
    return found


def preview(source: Source, model: Model, number: int | None, max_length: int, loss_on: str) -> dict[str, Any]:
    """Row `number` (the first usable one when None) as it will be trained on and asked."""
    return preview_row(find_row(dataset.prepare(source), number), model, max_length, loss_on)


def preview_row(row: Row, model: Model, max_length: int, loss_on: str) -> dict[str, Any]:
    from pipeline import model as models
    from pipeline import template

    tokenizer = models.tokenizer(model)
    chosen = template.choose(tokenizer, models.stop_ids(model))
    shown: dict[str, Any] = template.preview(tokenizer, chosen, row, models.readable(model, max_length), loss_on)
    return shown


def find_row(prepared: Prepared, number: int | None) -> Row:
    rows = {row["row"]: row for part in reversed(PARTS) for row in prepared.part(part)}
    if number is None:
        return rows[min(rows)]
    if number in rows:
        return rows[number]
    said = next((problem.sentence for problem in prepared.problems if number in problem.rows), None)
    if said:
        raise UserError(f"Row {number} is not used: {said}")
    raise UserError(f"There is no row {number}; the file has rows 1 to {prepared.rows}.")
