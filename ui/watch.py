"""The chosen run on the Train tab: drawn once a second where something changed; stop, cancel, resume.

Everything shown is read from the run's folder, so a reload, another browser or a restarted app shows the same. Whoever
watches the same run shares a drawing of it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import gradio as gr

from pipeline import jobs
from pipeline.errors import UserError
from pipeline.schema import Visitor
from ui import access, errors, kept, live, runs, runs_table, strip, texts

BUTTONS = ("start", "stop", "cancel", "resume", "reuse", "script", "compare")
DRAWN = ("panel", "curve", "strip", "checkpoints", "listed", "step", "more", *BUTTONS)
MOVING = ("panel", "curve")  # what changes with every step
TURNS = ("status", "validation")  # what the table of all runs is drawn again for
LATELY_SECONDS = 0.5  # as old as a shared drawing may be
PER_LOOK = 30  # pages for which a look a second costs little; of twice as many each looks every other second
SLOWEST = 5  # seconds between two looks, however many there are, or say that they are
CROWD_SECONDS = 10  # for so long a page counts as one that looks, and for so long the pace stays
HIDDEN: dict[str, Any] = {"checkpoints": gr.Accordion, "more": gr.Row}  # only shown or not
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "undocumented"}
Seen = dict[str, int]
NO_RUN: dict[str, Any] = {
    "panel": "", "curve": live.curve(None), "strip": "", "checkpoints": False, "listed": "", "step": [], "more": False,
    **dict.fromkeys(BUTTONS), "start": texts.START, "working": False, "pace": 1, "status": None, "validation": None,
}  # fmt: skip


def wire(parts: Any, bar: runs.Bar) -> None:
    """Once a second what moves; all of it when the curve's pulse (see curve.js) says that something else has changed.

    Two events, since Gradio takes its time for each component that an event may change, changed or not; and values as
    they are, since it hands each to a thread to look at it.
    """
    behind = gr.Button(elem_id="train-behind", elem_classes="plumbing")
    moving = [*(getattr(parts, name) for name in MOVING), parts.seen]
    parts.timer.tick(
        tick, [bar.run, parts.seen], moving, api_name="tick_run", preprocess=False, postprocess=False, **QUIET
    )
    behind.click(catch_up, [bar.run, parts.seen], [*parts.shown, bar.run], api_name="catch_up", **QUIET)


@errors.shown
def stop(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None) -> list[Any]:
    who = access.visitor(request, profile, "stop a training")
    folder = access.run(who, run)
    jobs.stop(folder)
    return _draw(who, run)


@errors.shown
def cancel(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None) -> list[Any]:
    who = access.visitor(request, profile, "cancel a training")
    folder = access.run(who, run)
    jobs.cancel(folder)
    return _draw(who, run)


@errors.shown
def resume(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None) -> list[Any]:
    who = access.visitor(request, profile, "resume a training")
    folder = access.run(who, run)
    jobs.resume(folder)
    return _draw(who, run)


@errors.shown
def use_checkpoint(
    request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, step: float | None
) -> list[Any]:
    """Make a checkpoint the run's adapter, and judge it."""
    who = access.visitor(request, profile, "choose a checkpoint")
    folder = access.run(who, run)
    if step is None:
        raise UserError(texts.NO_CHECKPOINT)
    jobs.adopt(folder, int(step))
    return _draw(who, run)


@errors.shown
def extend(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, more: float | None) -> list[Any]:
    """Go on for more epochs from where the run is."""
    who = access.visitor(request, profile, "go on with a training")
    folder = access.run(who, run)
    if not more or not 0 < more < math.inf:
        raise UserError(texts.NO_EPOCHS)
    jobs.extend(folder, jobs.load(folder).config.epochs + more)
    return _draw(who, run)


@errors.shown
def show(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None) -> list[Any]:
    """Another run was chosen, or the page was opened: draw all of it."""
    who = access.visitor(request, profile)
    return _draw(who, run)


@errors.shown
def tick(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, seen: Seen | None) -> list[Any]:
    """Once a second while the chosen run works: what moves, where it moved; with a pulse where more has changed."""
    who = access.visitor(request, profile)
    before = seen or {}
    _crowd.joins(request and request.session_hash)
    drawn, now = _shared(who, run)
    after = {**before, **{name: now[name] for name in MOVING}}
    moved = {name: drawn[name] if before.get(name) != now[name] else gr.skip() for name in MOVING}
    if after != now or not drawn["working"]:
        moved["curve"] = {**drawn["curve"], "pulse": time.time()}
    return [*moved.values(), after]


@errors.shown
def catch_up(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, seen: Seen | None) -> list[Any]:
    """Whatever has changed since, the list of runs at the top with it."""
    who = access.visitor(request, profile)
    before = seen or {}
    updates = _updates(who, run, before, *_shared(who, run))
    turned = updates[-1]["status"] != before.get("status")
    offered = _lately(("choices", who.owner, updates[-1]["status"]), lambda: runs.choices(who)) if turned else ()
    return [*updates, gr.Dropdown(choices=offered) if turned else gr.skip()]


def _draw(who: Visitor, run: str | None) -> list[Any]:
    """All of it as it is now: something was done, or another run was chosen."""
    return _updates(who, run, {}, *_lately(_key(who, run), lambda: _looks(who, run), anew=True))


def _updates(who: Visitor, run: str | None, before: Seen, drawn: dict[str, Any], now: Seen) -> list[Any]:
    """An update for each of `Parts.shown`: what looks as it did `before` is skipped."""
    updates = [gr.skip() if before.get(name) == now[name] else _update(name, drawn) for name in DRAWN]
    table, ticking = gr.skip(), all(before.get(name) == now[name] for name in ("working", "pace"))
    if any(now[name] != before.get(name) for name in TURNS):
        turns = tuple(now[name] for name in TURNS)
        table = _lately(("table", *_key(who, run), *turns), lambda: runs_table.draw(who, run), anew=not before)
    timer = gr.skip() if drawn["working"] and ticking else gr.Timer(drawn["pace"], active=drawn["working"])
    return [*updates, table, timer, now]


def _shared(who: Visitor, run: str | None) -> tuple[dict[str, Any], Seen]:
    """What all see who look at this run, a moment old at most: sixty visitors cost two drawings a second."""
    return _lately(_key(who, run), lambda: _looks(who, run))


def _key(who: Visitor, run: str | None) -> tuple[Any, ...]:
    """What a drawing depends on: a guest is shown less, and of shared runs only."""
    return who.owner, str(run)


class Crowd:
    """How many pages look once in a while, and so how often each should: the more, the less."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._seen: dict[str, float] = {}
        self._pace, self._until = 1, 0.0

    def joins(self, page: str | None) -> None:
        with self._guard:
            self._seen[page or ""] = time.monotonic()

    def pace(self) -> int:
        """Seconds between two looks of a page; new after CROWD_SECONDS at the earliest, since every page is told."""
        with self._guard:
            now = time.monotonic()
            if now > self._until:
                self._seen = {page: seen for page, seen in self._seen.items() if now - seen < CROWD_SECONDS}
                crowd = round(len(self._seen) / PER_LOOK)
                self._pace, self._until = min(max(1, crowd), SLOWEST), now + CROWD_SECONDS
            return self._pace


_crowd = Crowd()
_made: dict[tuple[Any, ...], tuple[float, Any]] = {}
_making = threading.Lock()


def _lately(key: tuple[Any, ...], make: Callable[[], Any], anew: bool = False) -> Any:
    """What was made under this key less than LATELY_SECONDS ago; else, or where it must be `anew`, made now."""
    with _making:
        now = time.monotonic()
        for old in [each for each, (made, _) in _made.items() if (anew and each == key) or now - made > LATELY_SECONDS]:
            del _made[old]
        if key not in _made:
            made = make()
            _made[key] = (time.monotonic(), made)
        return _made[key][1]


def _looks(who: Visitor, run: str | None) -> tuple[dict[str, Any], Seen]:
    """A drawing, and what it looks like in short."""
    drawn = _drawing(who, run)
    return drawn, {name: hash(repr(value)) for name, value in drawn.items()}


def _drawing(who: Visitor, run: str | None) -> dict[str, Any]:
    """What the tab shows of a run, as plain values: texts, the curve's points, and each button's label (None: hidden)."""
    if not run:
        return {**NO_RUN, "panel": live.empty()}
    try:
        seen = live.look(access.run(who, run))
    except UserError as error:
        return {**NO_RUN, "panel": live.damaged(str(error))}
    return {
        **NO_RUN,
        **(_buttons(seen) if who.owner else {}),
        "panel": live.panel(seen, time.time(), who.owner),
        "curve": live.curve(seen.told, seen.imported),
        "strip": strip.strip(seen.told.samples) if who.owner else "",  # rows that were not shared
        **(_checkpoints(seen) if who.owner else {}),
        "working": seen.working,
        "pace": _crowd.pace(),
        "status": (run, seen.run["status"]),
        "validation": seen.told.validation_loss,
    }


def _checkpoints(seen: live.Picture) -> dict[str, Any]:
    """What is kept of a run that does not work at the moment, and whether it can be gone on with."""
    found = seen.checkpoints
    return {
        "checkpoints": bool(found) and not seen.working,
        "listed": kept.listed(found) if found else "",
        "step": kept.choices(found),
        "more": seen.run["status"] == "finished" and not seen.imported,
    }


def _buttons(seen: live.Picture) -> dict[str, str | None]:
    """Only what makes sense for a run in this state."""
    working = seen.working
    return {
        "start": texts.START_ANOTHER if working else texts.START,
        "stop": (texts.STOPPING if seen.stopping else texts.STOP_AND_KEEP) if working else None,
        "cancel": texts.CANCEL if working else None,
        "resume": _resume(seen) if seen.resumable else None,
        "reuse": texts.REUSE if not seen.imported else None,
        "script": texts.AS_SCRIPT if not seen.imported else None,
        "compare": texts.NEXT_COMPARE if seen.adapter and not working else None,
    }


def _resume(seen: live.Picture) -> str:
    """What resuming a run means in its state."""
    if seen.resume_from and seen.run["status"] != "finished":
        return texts.RESUME_FROM.format(step=seen.resume_from)
    words = {"finished": texts.JUDGE_AGAIN, "new": texts.START_IT, "failed": texts.TRY_AGAIN}
    return words.get(seen.run["status"], texts.RESUME)


def _update(name: str, drawn: dict[str, Any]) -> Any:
    """The value; for a button its label and looks: the next step is the one that stands out."""
    value = drawn[name]
    if name in HIDDEN:
        return HIDDEN[name](visible=value)
    if name == "step":
        return gr.Dropdown(choices=value, value=value[0][1] if value else None)
    if name not in BUTTONS:
        return value
    if value is None:
        return gr.Button(visible=False)
    aside = value == texts.START_ANOTHER or (name == "resume" and (drawn["compare"] or value == texts.TRY_AGAIN))
    looks: dict[str, Any] = {"variant": "secondary" if aside else "primary"} if name in ("start", "resume") else {}
    return gr.Button(value, visible=True, interactive=value != texts.STOPPING, **looks)
