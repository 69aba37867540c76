"""The page a judge's link opens, `/?judge=<token>`, and the four things it can ask for: a page of its own.

Nothing of the app is in it: no run, no tab, no component. Before the reveal its answers are `rounds.shown(...)` and
how far this judge is, byte by byte the same whatever stands on which side, but for the two texts.
"""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Match, Route

from pipeline import rounds, votes
from pipeline.errors import UserError
from pipeline.votes import Ballot
from ui import access, judge_state, judge_views, texts

TEMPLATE = Path(__file__).with_name("judge.html")
MOST_BYTES = 1 << 16  # of what a judge's browser sends: a vote with its note is far smaller
UNSEEN = {"cache-control": "no-store"}
Asked = Mapping[str, Any]


def _page() -> str:
    """The template with its words: those of the markup escaped, those of the script as JSON."""
    words = json.dumps(texts.JUDGE_SCRIPT, ensure_ascii=False).replace("<", "\\u003c")
    given = {name: escape(text) for name, text in texts.JUDGE_PAGE.items()} | {"words": words}
    return re.sub(r"\{\{(\w+)\}\}", lambda found: given[found[1]], TEMPLATE.read_text())


PAGE = _page()


async def page(request: Request) -> Response:
    """The same bytes for every link, valid or not."""
    return HTMLResponse(PAGE, headers=UNSEEN)


async def act(request: Request) -> Response:
    """One of VERBS with what the browser sent; {"error": sentence} where it can't be done."""
    verb = VERBS[request.url.path.rpartition("/")[2]]
    try:
        asked = _read(await _body(request))
        told = await run_in_threadpool(verb, asked)
    except UserError as error:
        return JSONResponse({"error": str(error)}, 400, UNSEEN)
    except Exception as error:  # this page's border, as errors.shown is the app's
        traceback.print_exception(error)
        return JSONResponse({"error": texts.BUG.format(kind=type(error).__name__)}, 500, UNSEEN)
    return JSONResponse(told, headers=UNSEEN)


async def _body(request: Request) -> bytes:
    received = b""
    async for chunk in request.stream():
        received += chunk
        if len(received) > MOST_BYTES:
            raise UserError(texts.JUDGE_SENT_TOO_MUCH)
    return received


def _read(body: bytes) -> Asked:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        raise UserError(texts.JUDGE_SENT_NOTHING)
    return asked


def look(asked: Asked) -> dict[str, Any]:
    """Where this judge is: "begin", at an "item", "done", or at the "result" once the names are told."""
    ballot, folder = access.by_link(_text(asked, "token"))
    if ballot.revealed:
        shown = judge_state.result(folder, ballot.round)
        return {"state": "result", "result": f"<style>{judge_views.CSS}</style>{shown}"}
    asked_round = rounds.read(folder, ballot.round)
    try:
        at = votes.progress(ballot.token or "", _text(asked, "judge"))
    except UserError:  # nobody yet: the browser keeps no judge, or one of another round
        return {"state": "begin", "of": ballot.items}
    if at.next is None:
        return {"state": "done", "done": at.done, "of": at.of}
    item = rounds.shown(folder, asked_round, at.next)
    return {"state": "item", "done": at.done, "criteria": asked_round.criteria, "item": item}


def join(asked: Asked) -> dict[str, Any]:
    """Begin to judge. `judge` in the answer is the secret the browser keeps: it goes on with it after a reload."""
    token = _text(asked, "token")
    _open(token)
    name = " ".join(_text(asked, "name").split()) or texts.NAMELESS_JUDGE
    judge = votes.join(token, name, _text(asked, "judge"))
    return {**look({"token": token, "judge": judge}), "judge": judge}


def vote(asked: Asked) -> dict[str, Any]:
    """Keep a vote; then the next prompt."""
    token, judge = _text(asked, "token"), _text(asked, "judge")
    _open(token)
    item, choice, scores = asked.get("item"), _text(asked, "choice"), asked.get("scores")
    if not isinstance(item, int) or not isinstance(scores, dict):
        raise UserError(texts.JUDGE_SENT_NOTHING)
    votes.cast(token, judge, item, choice, scores, _text(asked, "note"))
    return look(asked)


def undo(asked: Asked) -> dict[str, Any]:
    """Take the last vote back; its prompt is there again."""
    token = _text(asked, "token")
    _open(token)
    votes.undo(token, _text(asked, "judge"))
    return look(asked)


def _open(token: str) -> Ballot:
    return access.by_link(token)[0]


def _text(asked: Asked, name: str) -> str:
    """A text the browser sent; "" where it sent none, or something else."""
    value = asked.get(name)
    return value.encode(errors="replace").decode() if isinstance(value, str) else ""  # half a pair can't be kept


VERBS: dict[str, Callable[[Asked], dict[str, Any]]] = {"look": look, "join": join, "vote": vote, "undo": undo}


class Linked(Route):
    """The page's own address where it is asked for with `?judge=`; without it, the app's."""

    def matches(self, scope: Any) -> tuple[Match, Any]:
        if not re.search(rb"(^|&)judge=", scope.get("query_string", b"")):
            return Match.NONE, {}
        return super().matches(scope)


ROUTES = [Linked("/", page, methods=["GET"]), *(Route(f"/judge/{verb}", act, methods=["POST"]) for verb in VERBS)]
