"""What a dataset holds, what is wrong with it, and how one row will be trained on, before anything runs.

Heavy imports (the tokenizer) happen only when a model is named.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline import counting, dataset, statistics
from pipeline.errors import UserError
from pipeline.schema import FINDINGS, PARTS, Model, Prepared, Problem, Row, Source, to_json
from pipeline.statistics import Count

SAMPLE_SEED = 42
Emit = Callable[[Any], None]


def inspect(
    source: Source, model: Model | None, max_length: int, loss_on: str, sample: int = 0,
    emit: Emit = lambda item: None,
) -> dict[str, Any]:  # fmt: skip
    """The command line's object: counts, problems, and with a model token lengths and the share that is learned.

    A `sample` is of that many rows, and says so; 0 counts the tokens of every row, and emits how far it is.
    """
    return summarise(dataset.prepare(source), model, max_length, loss_on, sample, emit)


def summarise(
    prepared: Prepared, model: Model | None, max_length: int, loss_on: str, sample: int = 0,
    emit: Emit = lambda item: None, unwanted: threading.Event | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The same of rows that were read before. Raises UserError when it is `unwanted` before they are counted."""
    counted: dict[str, Any] | None = None
    found: list[Problem] = []
    stops: str | None = None
    if model:
        counted, found, stops = measure(prepared, model, max_length, loss_on, sample, SAMPLE_SEED, emit, unwanted)
    conversations = sum(len(prepared.part(part)) for part in PARTS if not copied(prepared, part))
    return {
        "shape": prepared.shape,
        "columns": prepared.columns,
        "evidence": prepared.evidence,
        "files": [list(file) for file in prepared.files],
        "rows": prepared.rows,
        "conversations": conversations,
        **{part: len(prepared.part(part)) for part in PARTS},
        "problems": [to_json(problem) for problem in (*prepared.problems, *found)],
        "stops": stops,
        "badge": statistics.badge(conversations),
        "lengths": counted["lengths"] if counted else None,
        "trained_token_share": counted["learned_share"] if counted else None,
        "statistics": counted,
        "fingerprint": prepared.fingerprint,
    }


def copied(prepared: Prepared, part: str) -> bool:
    """Whether the validation rows are some of the training rows (there were too few for a part of their own)."""
    return part == "validation" and any(problem.kind == "validation-from-train" for problem in prepared.problems)


def measure(
    prepared: Prepared, model: Model, max_length: int, loss_on: str, sample: int = counting.SAMPLE,
    seed: int = SAMPLE_SEED, emit: Emit = lambda item: None, unwanted: threading.Event | None = None,
) -> tuple[dict[str, Any] | None, list[Problem], str | None]:  # fmt: skip
    """statistics.describe of the rows, what the template and the cut say of them, and why a run would be refused, if so.

    No sample is drawn where every row is counted already.
    """
    from pipeline import model as models
    from pipeline import template

    tokenizer, chosen = models.tokenizer_and_template(model)
    context = models.readable(model, counting.UNCUT)
    limit = min(max_length, context)
    rows = [row for part in PARTS if not copied(prepared, part) for row in prepared.part(part)]
    whole = not sample or counting.known(rows, counting.identity(tokenizer, chosen, loss_on))
    counted = rows if whole else counting.sample(rows, seed, sample)
    counts = counting.count(tokenizer, chosen, counted, loss_on, emit, unwanted)
    described = statistics.describe(counts, limit, context if context < counting.UNCUT else None, len(rows))
    gates = [(count.row, template.Gate(*gate)) for count in counts for gate in count.gates]
    problems = [*gate_problems(gates), *cut_problems(counts, limit, described, prepared.cut)]
    if described and prepared.cut == "drop":
        described["learned_share"] = statistics.learned_share([c for c in counts if 0 < c.length <= limit], limit)
    judging = set(map(id, prepared.held_out))
    stops = (_stop(count) for row, count in zip(counted, counts, strict=True) if count.gates and id(row) not in judging)
    return described, problems, next(stops, None)


def _stop(count: Count) -> str:
    return f"Row {count.row}: {count.gates[0][1]}; a run would stop here."


def cut_problems(
    counts: Sequence[Count], limit: int, described: dict[str, Any] | None, chosen: str = "keep"
) -> list[Problem]:
    """The rows longer than `limit` tokens: which lose their end and where, which their whole answer, and what would help."""
    if not described:
        return []
    drawn, longest, context = described["sample"], described["lengths"]["max"], described["context"]
    among = f"Sample of {drawn['rows']:,} of {drawn['of']:,} rows: " if drawn else ""
    long = [count for count in counts if count.length > limit]
    lost = tuple(count.row for count in long if statistics.lost(count, limit))
    cut = tuple(count.row for count in long if not statistics.lost(count, limit))
    found = []
    if cut:
        one, rest = len(cut) == 1, len(counts) - len(cut) - len(lost)
        happens = f"{'loses its' if one else 'lose their'} end; {_broken(described)}"
        if chosen == "drop":
            happens = f"{'is' if one else 'are'} left out, to learn and to steer by"
        said = f"{among}{_rows(cut, 'is', 'are')} longer than {limit:,} tokens and {happens}."
        effects = {
            "keep": f"keeps what is left of {_number(cut)}",
            "drop": f"drops {_number(cut)}, {rest:,}{' of the sample' if drawn else ''} stay",
        }
        found.append(Problem("cut", cut, said, len(cut), FINDINGS["cut"], chosen, effects))
    if lost:
        every = " (that is every row: nothing would be left to train on)" if len(lost) == described["rows"] else ""
        enough = longest if context is None else min(longest, context)
        advice = f"a max length of {enough:,} is enough" if enough > limit else "shorten them, the model reads no more"
        said = f"{among}{_rows(lost, 'has', 'have')} no room for the answer within {limit:,} tokens{every}"
        found.append(Problem("cut-away", lost, f"{said} and {'is' if len(lost) == 1 else 'are'} left out; {advice}."))
    return found


def _number(rows: Sequence[int]) -> str:
    return f"{len(rows):,} row{'s' * (len(rows) != 1)}"


def _rows(rows: Sequence[int], one: str, many: str) -> str:
    return f"1 row {one}" if len(rows) == 1 else f"{len(rows):,} rows {many}"


def _broken(described: dict[str, Any]) -> str:
    if not described["broken"]:
        return "no answer is broken off in the middle"
    first = described["cuts"][0]
    where = f"row {first['row']}: {first['kept']:,} of {first['kept'] + first['lost']:,} tokens are left"
    return f"an answer is broken off in {described['broken']:,} of them, which teaches no ending ({where})"


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
    from pipeline import model as models
    from pipeline import template

    prepared = dataset.prepare(source)
    row = find_row(prepared, number)
    tokenizer, chosen = models.tokenizer_and_template(model)
    shown: dict[str, Any] = template.preview(
        tokenizer, chosen, row, models.readable(model, max_length), loss_on, prepared.cut
    )
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


def lengths(inspected: Mapping[str, Any]) -> dict[str, float] | None:
    """What an inspection counted of the rows that are learned from, as a forecast wants it, in tokens. None where nothing was
    counted. A sample stands for all, but for the longest: of that only the limit is known."""
    counted, rows = inspected["statistics"], int(inspected["train"])
    if not counted or not rows:
        return None
    mean = counted["tokens"] / counted["rows"]
    told = {"rows": rows, "tokens": round(mean * rows), "mean": mean, "validation": inspected["validation"]}
    longest = {name: counted["lengths"][name] for name in ("p90", "p95", "p99", "max")}
    if counted["sample"]:
        longest["max"] = max(longest["max"], counted["max_length"])
    return {**told, **longest, "learned": counted["learned_share"] or 1.0}
