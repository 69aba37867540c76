"""Who is asking, and what they may do: the first line of every handler that matters.

Locally the one user is the owner. On a Space its author (and the ids in TUNING_FORK_OWNERS) are, once signed in;
everybody else is a guest, who chats with shared runs and does nothing else. A judge's link opens its one round to
whoever has it, and nothing else.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import gradio as gr

from pipeline import home, jobs, votes
from pipeline.errors import UserError
from pipeline.schema import Visitor
from pipeline.votes import Ballot
from ui import texts

RUN_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
GUESTS_MAY = frozenset({"look", "chat"})


def visitor(request: gr.Request | None, profile: gr.OAuthProfile | None, to: str = "look") -> Visitor:
    """Who this is. Raises UserError when they may not do what they want to: look, chat, or one of the owner's verbs."""
    who = identify(profile)
    if not who.owner and to not in GUESTS_MAY:
        raise UserError(texts.NOT_FOR_GUESTS.format(to=to))
    return who


def identify(profile: gr.OAuthProfile | None) -> Visitor:
    if not on_space():
        return Visitor("owner", True)
    if profile is None:
        return Visitor("guest", False)
    owners = {os.environ.get("SPACE_AUTHOR_NAME", ""), *os.environ.get("TUNING_FORK_OWNERS", "").split(",")}
    return Visitor(profile.username, profile.username in {name.strip() for name in owners} - {""})


def on_space() -> bool:
    return bool(os.environ.get("SPACE_ID"))


def can_sign_in() -> bool:
    """Whether this Space offers signing in with Hugging Face (hf_oauth in the README's front matter)."""
    return on_space() and os.environ.get("SYSTEM") == "spaces" and bool(os.environ.get("OAUTH_CLIENT_ID"))


def run(who: Visitor, name: str | None) -> Path:
    """The folder of a run this visitor may see. The page names runs by id only, never by a path."""
    if not name:
        raise UserError(texts.NO_RUN_CHOSEN)
    if isinstance(name, str) and RUN_ID.fullmatch(name):
        folder = home.runs() / name
        if (folder / "run.json").is_file() and may_see(who, folder):
            return folder
    raise UserError(texts.NO_SUCH_RUN.format(name=str(name)[:80]))


def may_see(who: Visitor, folder: Path) -> bool:
    return who.owner or jobs.shared(folder)


def by_link(token: str) -> tuple[Ballot, Path]:
    """The round a judge's link opens, and the folder of its run. Raises UserError for a link that opens nothing."""
    ballot = votes.by_link(token)
    folder = home.runs() / ballot.run
    if not (folder / "run.json").is_file():
        raise UserError(texts.ROUND_GONE)
    return ballot, folder
