"""The run at the top of the page: Train, Compare and Publish show the one that is chosen here.

The choice is in the address (?run=) and in the browser, so a reload or another tab finds it again; so is the open tab.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from pipeline import jobs
from pipeline.schema import Visitor
from ui import access, errors, texts

REMEMBER = """(run) => {
  const address = new URL(location);
  if (run) address.searchParams.set('run', run); else address.searchParams.delete('run');
  history.replaceState(null, '', address);
  return run;
}"""

# Gradio tells of the tab it begins with, too, and late: so what is written is the tab that is open, once REOPEN has run.
OPENED = """() => setTimeout(() => {
  const open = document.querySelector('[role=tab][aria-selected=true][id^=tab-]');
  if (!open || !document.documentElement.dataset.reopened) return;
  const address = new URL(location);
  address.searchParams.set('tab', open.id.split('-')[1]);
  history.replaceState(null, '', address);
})"""
REOPEN = """() => {
  const tab = new URL(location).searchParams.get('tab');
  document.documentElement.dataset.reopened = 'yes';
  if (/^[a-z]+$/.test(tab || '')) document.querySelector(`#tab-${tab}-button`)?.click();
}"""


@dataclass(frozen=True)
class Bar:
    """What the tabs use of it: `run` holds a run's id; listen to its `change`. `who` is the note for guests."""

    run: gr.Dropdown
    saved: gr.BrowserState
    guest: gr.Markdown


def draw() -> Bar:
    with gr.Row(elem_id="bar", equal_height=True):
        with gr.Column(scale=3, min_width=280):
            gr.Markdown(f"# {texts.TITLE}\n{texts.HELLO}", elem_id="title")
        with gr.Column(scale=2, min_width=280):
            run = gr.Dropdown(
                label=texts.RUN,
                info=texts.RUN_HELP,
                choices=[],
                allow_custom_value=True,
                interactive=True,
                elem_id="run",
            )
            if access.can_sign_in():
                gr.LoginButton()
    guest = gr.Markdown(texts.GUEST, visible=False, elem_id="guest")
    return Bar(run, gr.BrowserState(None, storage_key="tuning-fork-run", secret="tuning-fork"), guest)


def wire(bar: Bar, page: gr.Blocks, tabs: Sequence[gr.Tab]) -> None:
    page.load(
        attach, [bar.saved], [bar.run, bar.guest], show_progress="hidden", queue=False, api_visibility="undocumented"
    )
    bar.run.change(None, bar.run, bar.saved, js=REMEMBER, queue=False, show_progress="hidden", api_visibility="private")
    gr.on(
        [tab.select for tab in tabs], refresh, [bar.run], [bar.run], show_progress="hidden", concurrency_limit=None,
        api_name="runs", api_visibility="undocumented",
    )  # fmt: skip
    gr.on([tab.select for tab in tabs], None, js=OPENED, queue=False, api_visibility="private")
    page.load(None, js=REOPEN, queue=False, api_visibility="private").then(None, js=OPENED, api_visibility="private")


@errors.shown
def attach(request: gr.Request, profile: gr.OAuthProfile | None, saved: str | None) -> tuple[Any, Any]:
    """The page opens: the run of the address, else the one looked at last, else the newest."""
    who = access.visitor(request, profile)
    offered = choices(who)
    ids = [run for _, run in offered]
    asked = (request.query_params or {}).get("run") if request else None
    chosen = next((run for run in (asked, saved) if run in ids), ids[0] if ids else None)
    return gr.Dropdown(choices=offered, value=chosen), gr.Markdown(visible=not who.owner)


@errors.shown
def refresh(request: gr.Request, profile: gr.OAuthProfile | None, chosen: str | None) -> Any:
    """The list as it is now. What is chosen is left alone: a page that just opens has not been told yet."""
    who = access.visitor(request, profile)
    return gr.Dropdown(choices=choices(who))


def picker(who: Visitor, chosen: str | None) -> Any:
    """The update that shows the runs there are now, with this one chosen."""
    return gr.Dropdown(choices=choices(who), value=chosen)


def choices(who: Visitor) -> list[tuple[str, str]]:
    """(label, id) of every run this visitor may see, newest first."""
    return [(_label(run), run["run"]) for run in jobs.listing() if who.owner or run["shared"]]


def _label(run: dict[str, Any]) -> str:
    begun = time.strftime("%d %b %H:%M", time.localtime(run["created"]))
    return f"{run['name']} · {run['status']} · {begun}"
