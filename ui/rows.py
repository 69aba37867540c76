"""What happens on the Data tab: rows are chosen, brought, typed, corrected, looked at one by one."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import tempfile
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline import uploads
from pipeline.errors import UserError
from pipeline.schema import Source, to_json
from ui import access, chat, children, columns, errors, preview, reading, texts
from ui.reading import INSPECT_SECONDS, ROW_SECONDS, Question, inspect_rows, question, read, source_of

LOOKED = 9  # outputs of `look`
PATIENCE_SECONDS = 0.5  # how long nothing may be said of a file that is being read
_counting: dict[str, threading.Event] = {}  # counts that are going on, by browser session


@errors.shown
def pick(request: gr.Request, profile: gr.OAuthProfile | None, example: str | None) -> tuple[Any, ...]:
    """An example is chosen."""
    access.visitor(request, profile, "bring data")
    source_of({"example": example}, None)
    return {"example": example}, 0, ""


@errors.shown
def take(request: gr.Request, profile: gr.OAuthProfile | None, files: Any) -> tuple[Any, ...]:
    """Files were uploaded: they become the choice if they can be read; what was chosen before stays if they can't.

    Rows whose columns say nothing to us become the choice, too: the roles are given by hand then.
    """
    access.visitor(request, profile, "bring data")
    paths = [Path(file) for file in ([files] if isinstance(files, str) else files or [])]
    if not paths:
        raise UserError(texts.NOTHING_CHOSEN)
    try:
        choice, refusal = accepted(*[uploads.keep(path) for path in paths])
    except UserError as error:
        return gr.skip(), gr.skip(), chat.failure(str(error)), None, gr.skip()
    return choice, 0, refusal, None, gr.Accordion(open=True) if refusal else gr.skip()


def accepted(first: str, *more: str) -> tuple[dict[str, Any], str]:
    """The choice of these uploads, and as HTML what is still to be said by hand; where they can't be read they are
    forgotten, and UserError is raised."""
    choice = {"upload": first, **({"more": list(more)} if more else {})}
    try:
        return choice, _refusal(source_of(choice, None))
    except UserError:
        for upload in (first, *more):
            uploads.forget(upload)
        raise


def _refusal(source: Source) -> str:
    """Nothing for rows that can be used; the sentence for rows whose columns have to be named by hand."""
    try:
        inspect_rows(source)
    except UserError:
        if len(reading.columns(source)["samples"]) < 2:
            raise
        return chat.failure(texts.MAP_BY_HAND)  # what is wrong stands where the counts would
    return ""


@errors.shown
def use_typed(request: gr.Request, profile: gr.OAuthProfile | None, table: Any) -> tuple[Any, ...]:
    """Rows typed or pasted into the table become the choice, as a file of their own."""
    access.visitor(request, profile, "bring data")
    rows = [dict(zip(texts.TYPED_HEADS, map(_cell, row), strict=False)) for row in table or []]
    rows = [row for row in rows if len(row) == len(texts.TYPED_HEADS) and all(cell.strip() for cell in row.values())]
    if not rows:
        raise UserError(texts.NOTHING_TYPED)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / texts.TYPED_FILE
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return {"upload": uploads.keep(file)}, 0, ""


def _cell(value: Any) -> str:
    return "" if value is None or value != value else str(value)


@errors.shown
def assign(
    request: gr.Request, profile: gr.OAuthProfile | None, choice: Any, roles: str | None, *patterns: str | None
) -> tuple[Any, ...]:
    """A column is something else than it was taken for, or columns are joined by a pattern."""
    access.visitor(request, profile, "bring data")
    return columns.assigned(choice, roles, *patterns), ""


@errors.shown
def decide(request: gr.Request, profile: gr.OAuthProfile | None, choice: Any, decision: str | None) -> Any:
    """Something is to be done about a finding: its rows kept, left out or mended."""
    access.visitor(request, profile, "bring data")
    return columns.decided(choice, decision)


@errors.shown
async def look(
    request: gr.Request,
    profile: gr.OAuthProfile | None,
    at: int | None,
    number: float | None,
    view: str | None,
    spaces: bool | None,
    choice: Any,
    *asked: Any,
) -> AsyncIterator[tuple[Any, ...]]:
    """Everything about the choice: counts and the row at once, the tokens of all rows when they are counted.

    `number` is the row that was shown when this was asked, 0 for the first of another choice; `at` is the one shown by now:
    a search may have ended since. Updates of example, summary, columns, first rows, row, shown, problem, answer, at.
    """
    who = access.visitor(request, profile)
    if not who.owner:
        yield tuple(gr.skip() for _ in range(LOOKED))
        return
    example = choice.get("example") if isinstance(choice, dict) else None
    hidden = gr.Button(visible=False)
    try:
        question_asked = question(choice, *asked)
        opening = asyncio.ensure_future(asyncio.to_thread(reading.columns, question_asked.source))
        if not (await asyncio.wait({opening}, timeout=PATIENCE_SECONDS))[0]:
            yield _still_reading(example, question_asked.source, bool(number))
        known = await opening
    except UserError as error:
        yield example, chat.failure(str(error)), gr.skip(), gr.skip(), gr.skip(), "", hidden, "", 0
        return
    table = columns.table(known["roles"], known["samples"])
    first = columns.conversations(known["first"])
    try:
        found = await asyncio.to_thread(inspect_rows, question_asked.source)
    except UserError as error:
        yield example, chat.failure(str(error)), table, first, gr.skip(), "", hidden, "", 0
        return
    wanted = (at or number) if number else None
    at, shown = await asyncio.to_thread(_row if wanted else _first_row, question_asked, wanted, view, spaces)
    slider = gr.Slider(value=at or 0, maximum=max(2, found["rows"]))
    summary = _summary(choice, question_asked, found, False)
    yield example, summary, table, first, slider, shown, gr.skip(), "", at or 0
    with contextlib.suppress(UserError):  # where the row belongs it is told already
        found = await asyncio.to_thread(read, "inspect", INSPECT_SECONDS, question_asked)
    has_problem = any(problem["rows"] for problem in found["problems"])
    summary = _summary(choice, question_asked, found, True)
    same = [gr.skip() for _ in range(LOOKED)]
    same[1], same[6] = summary, gr.Button(visible=has_problem)
    yield tuple(same)


def _still_reading(example: str | None, source: Source, same_rows: bool) -> tuple[Any, ...]:
    """What `look` says of a file that takes its time; the row of another one goes."""
    told = preview.waiting(texts.READING_FILE.format(name=Path(source.path).name))
    quiet = [gr.skip() for _ in range(LOOKED)]
    quiet[0], quiet[1] = example, told
    return tuple(quiet) if same_rows else (*quiet[:5], "", *quiet[6:])


def make_way(session: str) -> None:
    """End the count of this page that is going on, if there is one; what was counted is remembered."""
    if unwanted := _counting.pop(session, None):
        unwanted.set()


@errors.shown
async def count(
    request: gr.Request, profile: gr.OAuthProfile | None, choice: Any, *asked: Any
) -> AsyncIterator[tuple[Any, Any]]:
    """Where the tokens of a sample were counted only: those of every row, with progress. Updates of progress, summary.

    Another look, or leaving the page, ends it; what was counted until then is remembered.
    """
    who = access.visitor(request, profile)
    if not who.owner:
        yield gr.skip(), gr.skip()
        return
    session = str(request.session_hash) if request else ""
    make_way(session)
    stop = _counting[session] = threading.Event()
    try:
        wanted = question(choice, *asked)
        found = await asyncio.to_thread(read, "inspect", INSPECT_SECONDS, wanted)
        if not (found["statistics"] or {}).get("sample"):
            yield "", gr.skip()
            return
        told = children.follow(children.COUNTER, "count", stop, **dataclasses.asdict(wanted))
        async with contextlib.aclosing(told):
            async for items in told:
                if "result" in items[-1]:
                    yield "", _summary(choice, wanted, items[-1]["result"], True)
                else:
                    yield preview.progress(texts.COUNTING_ROWS, items[-1]), gr.skip()
    except UserError:  # the look says what is wrong
        yield "", gr.skip()
    finally:
        if _counting.get(session) is stop:
            del _counting[session]


@errors.shown
async def scan(
    request: gr.Request, profile: gr.OAuthProfile | None, choice: Any, system: str | None
) -> AsyncIterator[Any]:
    """Look for keys, passwords, e-mail addresses and phone numbers in all rows, with progress."""
    access.visitor(request, profile, "look at data")
    told = children.follow(children.COUNTER, "scan", source=to_json(source_of(choice, system)))
    yield preview.progress(texts.SCANNING, {})
    async with contextlib.aclosing(told):
        async for items in told:
            if "result" in items[-1]:
                yield preview.problems(items[-1]["result"], texts.SCAN_TITLE, texts.SCAN_NOTHING)
            else:
                yield preview.progress(texts.SCANNING, items[-1])


def _summary(choice: dict[str, Any], asked: Question, found: dict[str, Any], measured: bool) -> str:
    origin = texts.OF_UPLOADS if "upload" in choice else texts.OF_EXAMPLES
    judging = asked.source.held_out_path
    names = [Path(path).name for path in (asked.source.path, *asked.source.more_paths)]
    return preview.summary(", ".join(names), origin, judging and Path(judging).name, found, measured)


def _first_row(asked: Question, number: float | None, view: str | None, spaces: bool | None) -> tuple[int | None, str]:
    try:
        first = read("walk", ROW_SECONDS, asked, number=None, to="next")
    except UserError as error:
        return None, chat.failure(str(error))
    return _row(asked, first, view, spaces)


def _row(asked: Question, number: float | None, view: str | None, spaces: bool | None) -> tuple[int | None, str]:
    """A row's number, and the row as HTML, or the sentence why it can't be shown."""
    at = int(number) if number else None  # nothing chosen yet arrives as 0
    try:
        return at, preview.row(read("preview", ROW_SECONDS, asked, number=at), view or "text", bool(spaces))
    except UserError as error:
        return at, chat.failure(str(error))


@errors.shown
def show(
    request: gr.Request,
    profile: gr.OAuthProfile | None,
    to: str,
    number: float | None,
    view: str | None,
    spaces: bool | None,
    words: str | None,
    *asked: Any,
) -> tuple[Any, ...]:
    """The row of this number ("here"), the "next", the "previous", the next with a "problem", or that holds these words.

    Updates of row, shown, answer, at.
    """
    access.visitor(request, profile, "look at data")
    wanted = question(*asked)
    if to == "here":
        at, shown = _row(wanted, number, view, spaces)
        return gr.skip(), shown, "", at or 0
    at = int(number) if number else None
    more: dict[str, Any] = {"words": (words or "").strip()} if to == "find" else {}
    at, shown = _row(wanted, read("walk", ROW_SECONDS, wanted, number=at, to=to, **more), view, spaces)
    return at, shown, "", at or 0
