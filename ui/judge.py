"""Judge blind, the owner's side: make a round, see it answered, judge it or send its link, end it, read the result.

Laid out by ui/judge_parts.py; what is shown of a round comes from ui/judge_state.py. The judges' page is ui/judge_page.py.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from pipeline import jobs, judgements, rounds, votes
from pipeline.errors import UserError
from pipeline.rounds import Round
from pipeline.schema import Decoding
from ui import access, errors, judge_state, judge_views, runs, texts
from ui.judge_parts import Parts, draw, updates

__all__ = ["draw", "wire"]
QUIET: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "undocumented"}
PLAIN: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
ASKS_FOR = """source => [
  {__type__: 'update', visible: source === 'pasted'}, {__type__: 'update', visible: source !== 'pasted'},
]"""
LINK = "token => token ? new URL('?judge=' + encodeURIComponent(token), location.origin + location.pathname).href : ''"
HIDE = "() => ({__type__: 'update', visible: false})"
SAVE_FILE = "() => setTimeout(() => document.querySelector('#judge-file').click(), 300)"


def wire(parts: Parts, bar: runs.Bar, page: gr.Blocks, tab: gr.Tab) -> None:
    of_run = [parts.about, parts.owners, parts.form, parts.fields["system"], *parts.of_round]
    which = [bar.run, parts.round]
    gr.on([bar.run.change, tab.select], show, which, of_run, api_name="show_judge", **QUIET)
    parts.round.input(pick, which, parts.of_round, api_name="pick_round", **QUIET)
    parts.timer.tick(tick, which, parts.of_round, api_name="judge_tick", queue=False, **QUIET)
    asks_for = [parts.fields["text"], parts.fields["prompts"]]
    parts.fields["source"].change(None, parts.fields["source"], asks_for, js=ASKS_FOR, **PLAIN)  # type: ignore[attr-defined]
    fields = list(parts.fields.values())
    parts.make.click(make, [bar.run, *fields], [parts.form, *parts.of_round], api_name="make_round", **QUIET)
    clicks = {"go_on_round": (parts.go_on, go_on), "stop_round": (parts.stop, stop),
              "open_round": (parts.open, open_for_judges), "close_link": (parts.close, close),
              "reveal_round": (parts.reveal, reveal)}  # fmt: skip
    for name, (button, does) in clicks.items():
        button.click(does, which, parts.of_round, api_name=name, **QUIET)
    parts.token.change(None, parts.token, parts.link, js=LINK, **PLAIN)
    parts.end.click(ask_to_end, which, [parts.really, parts.sentence], api_name="ask_to_end", **QUIET)
    parts.keep.click(None, None, parts.really, js=HIDE, **PLAIN)
    for button, does in ((parts.votes, save_votes), (parts.pairs, save_pairs)):
        made = button.click(does, which, parts.file, api_name=does.__name__, **QUIET)
        made.success(None, js=SAVE_FILE, **PLAIN)


@errors.shown
def show(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, chosen: str | None) -> tuple[Any, ...]:
    """Another run is chosen, or the tab is opened: its newest round, or the one that was looked at."""
    who = access.visitor(request, profile)
    if not who.owner:
        return judge_views.said(texts.JUDGE_GUEST), gr.Column(visible=False), gr.skip(), gr.skip(), *updates(None, None)
    folder = access.run(who, run) if run else None
    made = rounds.listing(folder) if folder else []
    picked = next((each for each in made if each.id == chosen), made[0] if made else None)
    system = (jobs.load(folder).source.system or "") if folder else ""
    about = judge_views.said(texts.JUDGE_ABOUT)
    return about, gr.Column(visible=True), gr.Accordion(open=not made), system, *updates(folder, picked)


@errors.shown
def pick(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, chosen: str | None) -> tuple[Any, ...]:
    """Another round of this run."""
    who = access.visitor(request, profile, "look at rounds")
    return updates(*round_of(access.run(who, run), chosen))


@errors.shown
def tick(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, chosen: str | None) -> tuple[Any, ...]:
    """Where the round is by now. The list, and a question that waits for its answer, are left alone while it goes on."""
    who = access.visitor(request, profile)
    try:
        if not who.owner:
            return updates(None, None)
        folder, picked = round_of(access.run(who, run), chosen)
    except UserError:  # the run is gone
        return updates(None, None)
    return updates(folder, picked, ticking=True)


@errors.shown
def make(
    request: gr.Request,
    profile: gr.OAuthProfile | None,
    run: str | None,
    source: str,
    text: str | None,
    prompts: float | None,
    criteria: bool | None,
    system: str | None,
    longest: float | None,
    seed: float | None,
) -> tuple[Any, ...]:
    """Fix the prompts of a new round, and have both sides answer them. Without a seed one is drawn; it is kept either way."""
    who = access.visitor(request, profile, "make a round")
    folder = access.run(who, run)
    jobs.refuse_working(folder)
    drawn = secrets.randbelow(2**31) if seed is None else int(seed)
    decoding = Decoding(max_new_tokens=int(longest or 0))
    count = sys.maxsize if source == "pasted" else int(prompts or 0)  # all that were pasted, or a sentence
    wanted = (system or "").strip() or None
    asked = rounds.questions(folder, source, count, drawn, text or "", wanted)
    made = rounds.create(folder, asked, source, who.name, drawn, wanted, decoding, bool(criteria))
    jobs.start(folder, judge_state.JOB)
    return gr.Accordion(open=False), *updates(folder, made)


@errors.shown
def go_on(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, chosen: str | None) -> tuple[Any, ...]:
    """Answer what is not answered yet of this round."""
    who = access.visitor(request, profile, "make a round")
    folder, picked = round_of(access.run(who, run), chosen)
    if judge_state.look(folder, picked).stage == "unanswered":
        jobs.refuse_working(folder)
        rounds.want(folder, picked)
        jobs.start(folder, judge_state.JOB)
    return updates(folder, picked)


@errors.shown
def stop(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, chosen: str | None) -> tuple[Any, ...]:
    """Stop answering; what is answered stays."""
    who = access.visitor(request, profile, "stop a round")
    folder, picked = round_of(access.run(who, run), chosen)
    if judge_state.look(folder, picked).stage == "answering":
        jobs.stop(folder)
    return updates(folder, picked)


@errors.shown
def open_for_judges(
    request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, chosen: str | None
) -> tuple[Any, ...]:
    """Give the round its link."""
    who = access.visitor(request, profile, "open a round")
    folder, picked = round_of(access.run(who, run), chosen)
    if not rounds.ready(folder, picked):
        raise UserError(texts.ROUND_NOT_READY)
    votes.open_round(folder.name, picked.id, len(picked.items))
    return updates(folder, picked)


@errors.shown
def close(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, chosen: str | None) -> tuple[Any, ...]:
    """The link opens nothing any more."""
    who = access.visitor(request, profile, "close a link")
    folder, picked = round_of(access.run(who, run), chosen)
    votes.revoke(picked.id)
    return updates(folder, picked)


@errors.shown
def ask_to_end(
    request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, chosen: str | None
) -> tuple[Any, Any]:
    """What ending means now, before it is done."""
    who = access.visitor(request, profile, "end a round")
    _, picked = round_of(access.run(who, run), chosen)
    found = votes.standing(picked.id)
    of = found.ballot.items
    late = ", ".join(f"{name} ({done} of {of})" for name, done in found.judges if 0 < done < of)
    done = sum(count == of for _, count in found.judges)
    said = texts.END_ASKS_EARLY.format(who=late) if late else texts.END_ASKS.format(n=done)
    if not (late or done):
        raise UserError(texts.NOTHING_TO_END)
    return gr.Row(visible=True), judge_views.said(said, "run-warning")


@errors.shown
def reveal(
    request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, chosen: str | None
) -> tuple[Any, ...]:
    """The names are told, for good."""
    who = access.visitor(request, profile, "end a round")
    folder, picked = round_of(access.run(who, run), chosen)
    votes.reveal(picked.id, early=True)
    return updates(folder, picked)


@errors.shown
def save_votes(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, chosen: str | None) -> Any:
    """Every vote with both answers, for a spreadsheet."""
    who = access.visitor(request, profile, "download votes")
    folder, picked = round_of(access.run(who, run), chosen)
    content = judgements.table(picked, votes.read(picked.id), rounds.answers(folder, picked))
    return file_of(f"votes-{picked.id}.csv", content)


@errors.shown
def save_pairs(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, chosen: str | None) -> Any:
    """What people preferred, as rows to train on."""
    who = access.visitor(request, profile, "download votes")
    folder, picked = round_of(access.run(who, run), chosen)
    content = judgements.pair_lines(picked, votes.read(picked.id), rounds.answers(folder, picked))
    return file_of(f"preferences-{picked.id}.jsonl", content)


def file_of(name: str, content: bytes) -> Any:
    """A file in the page's own cache, from where it is fetched; it is removed there after a day."""
    place = Path(get_upload_folder()) / secrets.token_hex(20)
    place.mkdir(parents=True)
    (place / name).write_bytes(content)
    return gr.DownloadButton(value=place / name)


def round_of(folder: Path, chosen: str | None) -> tuple[Path, Round]:
    if not chosen:
        raise UserError(texts.NO_ROUND_CHOSEN)
    return folder, rounds.read(folder, chosen)
