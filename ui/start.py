"""The start of a run: every row is checked, the run's folder made, its training begun. One start at a time."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline import archive, jobs
from pipeline.errors import UserError
from pipeline.schema import Run, to_json
from ui import access, children, errors, plan, preview, rows, runs, settings, texts
from ui.reading import source_of

CREATE_SECONDS = 600.0

_starting = threading.Lock()
_checking: dict[str, threading.Event] = {}  # starts that still count tokens, by browser session


@errors.shown
async def start(
    request: gr.Request,
    profile: gr.OAuthProfile | None,
    choice: dict[str, str] | None,
    system: str | None,
    model: str | None,
    name: str | None,
    **values: Any,
) -> AsyncIterator[tuple[Any, Any, Any]]:
    """Make a run of the form and start it, one at a time; the bar at the top shows it then.

    Every row's tokens are counted before that, with progress. Updates of the bar's run, the check, and its Stop.
    """
    who = access.visitor(request, profile, "train")
    if not _starting.acquire(blocking=False):
        raise UserError(texts.ALREADY_STARTING)
    session = str(request.session_hash) if request else ""
    try:
        source, wanted, chosen = source_of(choice, system), settings.read(values), plan.located(model)
        run = Run(chosen, source, (name or "").strip() or Path(source.path).stem, wanted)
        helper = children.READER
        rows.make_way(session)
        unwanted = _checking.setdefault(session, threading.Event())
        async with contextlib.aclosing(_check(run, unwanted)) as told:
            async for said in told:
                helper = children.COUNTER
                yield gr.skip(), said, gr.Button(visible=True)
        made = await asyncio.to_thread(helper.ask, "create", CREATE_SECONDS, run=to_json(run), by=who.name)
        folder = access.run(who, made)
        if unwanted.is_set():
            await asyncio.to_thread(archive.delete, folder)
            raise UserError(texts.STOPPED_BEFORE)
        await asyncio.to_thread(jobs.start, folder, "train", then=jobs.after_training(folder))
        yield runs.picker(who, folder.name), "", gr.Button(visible=False)
    except UserError as error:
        yield gr.skip(), f'<p class="run-error" role="alert">{escape(str(error))}</p>', gr.Button(visible=False)
        raise
    finally:
        _checking.pop(session, None)
        _starting.release()


async def _check(run: Run, stop: threading.Event) -> AsyncIterator[str]:
    """How far the rows are counted, where only a sample was. Raises UserError when training would refuse the run."""
    await asyncio.to_thread(plan.describe, run.model, run.config.template)
    found = await asyncio.to_thread(plan.inspected, run.source, run.model, run.config)
    plan.check_shape(run.config, found["shape"])
    if (found["statistics"] or {}).get("sample"):
        yield preview.progress(texts.CHECKING_ROWS, {})  # the counter may be busy with the Data tab's rows
        async with contextlib.aclosing(plan.count(run, stop)) as told:
            async for items in told:
                if "result" in items[-1]:
                    found = items[-1]["result"]
                else:
                    yield preview.progress(texts.CHECKING_ROWS, items[-1])
    if found["stops"]:
        raise UserError(found["stops"])


@errors.shown
def halt(request: gr.Request, profile: gr.OAuthProfile | None) -> None:
    """Stop counting for a start that has not begun; what was counted is remembered."""
    access.visitor(request, profile, "train")
    if unwanted := _checking.get(str(request.session_hash) if request else ""):
        unwanted.set()
