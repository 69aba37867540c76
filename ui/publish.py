"""The Publish tab: merge with its check's numbers, the model card, and the way to the Hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from pipeline import card, jobs
from pipeline import publish as publishing
from pipeline.errors import UserError
from pipeline.schema import Publication, settings
from ui import access, errors, form, release, runs, texts

FIELDS = tuple(settings(Publication))
JOBS = ("merge", "publish")
TICK_SECONDS = 1.0


@dataclass(frozen=True)
class Parts:
    merge: gr.Button
    merged: gr.HTML
    fields: dict[str, Component]
    token: gr.Textbox
    publish: gr.Button
    cancel: gr.Button
    published: gr.HTML
    card: gr.HTML
    timer: gr.Timer


def draw() -> Parts:
    gr.Markdown(f"## {texts.MERGE_TITLE}\n{texts.MERGE_HELP}")
    merged = gr.HTML(release.merging("new", "", "", None), elem_id="merge-state", padding=False)
    with gr.Row():
        merge = gr.Button(texts.MERGE, variant="primary", scale=0, min_width=190, elem_id="merge")
        cancel = gr.Button(texts.STOP_JOB, scale=0, min_width=110, visible=False, elem_id="cancel-publish")
    gr.Markdown(f"## {texts.PUBLISH_TITLE}")
    with gr.Row():
        with gr.Column(scale=1):
            fields = form.draw(Publication, FIELDS)
            fields["repo"].placeholder = texts.REPO_HINT
            about = texts.TOKEN_SIGNED_IN if access.can_sign_in() else texts.TOKEN_HELP
            token = gr.Textbox(label=texts.TOKEN, info=about, type="password", interactive=True, elem_id="hub-token")
            publish = gr.Button(texts.PUBLISH, variant="primary", elem_id="publish")
            published = gr.HTML(elem_id="publish-state", padding=False)
        with gr.Column(scale=2):
            gr.Markdown(f"### {texts.CARD}")
            preview = gr.HTML(release.card(""), elem_id="card", padding=False)
    return Parts(
        merge, merged, fields, token, publish, cancel, published, preview, gr.Timer(TICK_SECONDS, active=False)
    )


def wire(parts: Parts, bar: runs.Bar, tab: gr.Tab) -> None:
    state = [parts.merged, parts.published, parts.merge, parts.publish, parts.cancel, parts.timer]
    fields = list(parts.fields.values())
    quiet: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "undocumented"}
    shown = [bar.run, *fields]
    bar.run.change(name, [bar.run], [parts.fields["repo"]], api_name="published_name", **quiet)
    bar.run.change(show, shown, [*state, parts.card], api_name="show_publish", **quiet)
    tab.select(look, shown, [*state, parts.card], api_name="look_publish", **quiet)
    for field in fields:
        field.change(preview, shown, parts.card, trigger_mode="always_last", api_name="card", **quiet)
    parts.timer.tick(tick, [bar.run], state, queue=False, api_name="publish_tick", **quiet)
    parts.merge.click(merge, [bar.run], state, api_name="merge", **quiet)
    parts.publish.click(
        publish, [bar.run, parts.token, *fields], [parts.token, *state], api_name="publish", **quiet
    )  # fmt: skip
    parts.cancel.click(cancel, [bar.run], state, api_name="cancel_publish", **quiet)


@errors.shown
def show(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, *fields: Any) -> tuple[Any, ...]:
    """Another run is chosen: its merge, its publication, its model card."""
    who = access.visitor(request, profile)
    if not run or not who.owner:
        return *nothing(), release.card("")
    folder = access.run(who, run)
    return *state(folder), card_of(folder, fields)


@errors.shown
def look(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, *fields: Any) -> tuple[Any, ...]:
    """The tab is opened: the run may have been trained since. A page that just opens has not been told its run yet."""
    who = access.visitor(request, profile)
    if not run or not who.owner:
        return (gr.skip(),) * 7
    folder = access.run(who, run)
    return *state(folder), card_of(folder, fields)


@errors.shown
def name(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None) -> str:
    """Another run is chosen: where it was published, if it was; another run's name would be overwritten."""
    who = access.visitor(request, profile)
    file = access.run(who, run) / "publish.json" if run and who.owner else None
    return str(jobs.read_json(file).get("repo", "")) if file and file.exists() else ""


@errors.shown
def preview(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, *fields: Any) -> str:
    """The model card for what is filled in now."""
    who = access.visitor(request, profile, "publish")
    return card_of(access.run(who, run), fields) if run else release.card("")


@errors.shown
def tick(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None) -> tuple[Any, ...]:
    """Where merging and publishing stand; the timer stops when neither is at work, or the run is gone."""
    who = access.visitor(request, profile)
    try:
        return state(access.run(who, run)) if who.owner else nothing()
    except UserError:
        return nothing()


@errors.shown
def merge(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None) -> tuple[Any, ...]:
    """Start the merge job."""
    who = access.visitor(request, profile, "merge")
    folder = access.run(who, run)
    jobs.start(folder, "merge")
    return state(folder)


@errors.shown
def publish(
    request: gr.Request,
    profile: gr.OAuthProfile | None,
    oauth: gr.OAuthToken | None,
    run: str | None,
    token: str | None,
    *fields: Any,
) -> tuple[Any, ...]:
    """Start the publish job, with the visitor's own token, else the typed one, else this machine's. The box is emptied."""
    who = access.visitor(request, profile, "publish")
    folder = access.run(who, run)
    chosen = (oauth.token if oauth else None) or (token or "").strip() or publishing.stored_token()
    if not chosen:
        raise UserError(texts.NO_TOKEN)
    publishing.start(folder, form.read(Publication, FIELDS, fields), chosen)
    return "", *state(folder)


@errors.shown
def cancel(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None) -> tuple[Any, ...]:
    """End the merge or the upload now."""
    who = access.visitor(request, profile, "cancel")
    folder = access.run(who, run)
    current = jobs.view(folder).current
    if current not in JOBS or jobs.job_status(folder, current) != "running":
        raise UserError(texts.NOT_ITS_JOB if jobs.working(folder) else texts.NOTHING_TO_CANCEL)
    jobs.cancel(folder)
    return state(folder)


def state(folder: Path) -> tuple[Any, ...]:
    """Updates of merged, published, merge, publish, cancel, timer."""
    told = jobs.view(folder)
    at = {name: jobs.job_status(folder, name) for name in JOBS}
    merging, uploading = (told.jobs.get(name) for name in JOBS)
    check = jobs.read_json(folder / "merge.json") if (folder / "merge.json").exists() else None
    ours = "running" in at.values()
    free = (folder / "adapter").is_dir() and not jobs.working(folder)
    return (
        release.merging(at["merge"], merging.phase if merging else "", merging.text if merging else "", check),
        release.uploading(at["publish"], uploading.phase, uploading.text, uploading.values) if uploading else "",
        gr.Button(interactive=free),
        gr.Button(interactive=free),
        gr.Button(visible=ours),
        gr.Timer(active=ours),
    )


def nothing() -> tuple[Any, ...]:
    idle = gr.Button(interactive=False)
    return release.merging("new", "", "", None), "", idle, idle, gr.Button(visible=False), gr.Timer(active=False)


def card_of(folder: Path, fields: tuple[Any, ...]) -> str:
    """The card as it would be written; while what is typed is no name yet, with a stand-in for it."""
    if not (folder / "adapter").is_dir():
        return release.card("")
    try:
        wanted = form.read(Publication, FIELDS, fields)
    except UserError:
        typed = dict(zip(FIELDS, fields, strict=True))
        wanted = Publication(texts.REPO_HINT, typed["what"] or "adapter", bool(typed["private"]))
    return release.card(card.text(folder, wanted))
