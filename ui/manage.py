"""The list of all runs and what can be done with the one that is chosen: open, rename, download, delete, compare."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from pipeline import archive, differences, jobs
from pipeline.errors import UserError
from pipeline.schema import Visitor
from ui import access, beside, bring, data, errors, runs, runs_table, texts

QUIET: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "undocumented"}
TO_THE_RUN = "() => document.querySelector('#train-run')?.scrollIntoView({block: 'center'})"
SAVE_FILE = "() => setTimeout(() => document.querySelector('#runs-zip').click(), 300)"


@dataclass(frozen=True)
class Parts:
    """`table` is drawn by whoever watches a run, too: `runs_table.draw`."""

    table: gr.HTML
    asked: gr.Textbox
    open: gr.Button
    owners: gr.Column
    about: gr.HTML
    name: gr.Textbox
    rename: gr.Button
    rows: gr.Checkbox
    download: gr.Button
    zip: gr.DownloadButton
    delete: gr.Button
    really: gr.Row
    sentence: gr.HTML
    gone: gr.Button
    keep: gr.Button
    other: gr.Dropdown
    compare: gr.Button
    found: gr.HTML
    bring: bring.Parts

    @property
    def of_run(self) -> list[Any]:
        """What `look` fills."""
        return [self.owners, self.about, self.name, self.other, self.really, self.found]


def draw() -> Parts:
    table = gr.HTML(
        runs_table.table([], None), css_template=runs_table.CSS, js_on_load=runs_table.OPEN, elem_id="train-table"
    )
    asked = gr.Textbox(show_label=False, elem_id="runs-asked", elem_classes="plumbing", interactive=True)
    opened = gr.Button(elem_id="runs-open", elem_classes="plumbing")
    with gr.Column(visible=not access.on_space(), elem_id="runs-owners") as owners:
        about = gr.HTML(elem_id="runs-about", padding=False)
        with gr.Row():
            name = gr.Textbox(label=texts.NEW_NAME, max_lines=1, interactive=True, elem_id="runs-name")
            other = gr.Dropdown(
                [], label=texts.BESIDE_WITH, allow_custom_value=True, interactive=True, elem_id="runs-other"
            )
        with gr.Row():
            rename, compare, download, delete = (
                gr.Button(words, size="sm", min_width=130, elem_id=f"runs-{action}")
                for action, words in texts.RUN_ACTIONS.items()
            )
        rows = gr.Checkbox(label=texts.WITH_ROWS, container=False, elem_id="runs-rows")
        zipped = gr.DownloadButton(elem_id="runs-zip", elem_classes="plumbing")
        with gr.Row(visible=False, elem_id="runs-really") as really:
            sentence = gr.HTML(elem_id="runs-sentence")
            gone = gr.Button(
                texts.DELETE_REALLY, variant="stop", size="sm", scale=0, min_width=150, elem_id="runs-gone"
            )
            keep = gr.Button(texts.KEEP_RUN, size="sm", scale=0, min_width=110, elem_id="runs-keep")
        found = gr.HTML(css_template=beside.CSS, elem_id="runs-found")
        brought = bring.draw()
    return Parts(
        table, asked, opened, owners, about, name, rename, rows, download, zipped, delete, really, sentence, gone, keep,
        other, compare, found, brought,
    )  # fmt: skip


def wire(parts: Parts, dataset: data.Parts, bar: runs.Bar) -> Any:
    """The event of a new name: who shows the old one draws again then."""
    bar.run.change(look, [bar.run], parts.of_run, api_name="look_at_run", **QUIET)
    opened = parts.open.click(open_run, [parts.asked], [bar.run], api_name="open_run", **QUIET)
    opened.success(None, js=TO_THE_RUN, queue=False, api_visibility="private")
    renamed = gr.on(
        [parts.rename.click, parts.name.submit], rename, [bar.run, parts.name], [bar.run, parts.table, parts.about],
        api_name="rename_run", **QUIET,
    )  # fmt: skip
    packed = parts.download.click(
        download, [bar.run, parts.rows], [parts.zip], api_name="download_run",
        **{**QUIET, "show_progress": "minimal"}, show_progress_on=parts.download,
    )  # fmt: skip
    packed.success(None, js=SAVE_FILE, queue=False, api_visibility="private")
    parts.delete.click(ask, [bar.run], [parts.really, parts.sentence], api_name="ask_to_delete", **QUIET)
    parts.keep.click(None, None, [parts.really], js="() => ({__type__: 'update', visible: false})", queue=False,
                     api_visibility="private")  # fmt: skip
    parts.gone.click(delete, [bar.run], [bar.run, parts.table, parts.really], api_name="delete_run", **QUIET)
    parts.compare.click(compare, [bar.run, parts.other], [parts.found], api_name="compare_runs", **QUIET)
    bring.wire(parts.bring, dataset, bar)
    return renamed


@errors.shown
def look(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None) -> tuple[Any, ...]:
    """Another run is chosen: what can be done with it. Nothing for guests; for no run, or one that is gone, an import."""
    who = access.visitor(request, profile)
    try:
        folder = access.run(who, run) if who.owner else None
    except UserError:
        folder = None
    if folder is None:
        return gr.Column(visible=who.owner), "", "", gr.Dropdown(choices=[], value=None), gr.Row(visible=False), ""
    others = [choice for choice in runs.choices(who) if choice[1] != run]
    name = jobs.summary(folder)["name"]
    return (
        gr.Column(visible=True),
        about(folder),
        name,
        gr.Dropdown(choices=others, value=None),
        gr.Row(visible=False),
        "",
    )


def about(folder: Path) -> str:
    """Which run the buttons are about, and what it takes on the disk."""
    used = archive.disk_use(folder)
    whole, kept = runs_table.in_words(used.whole), runs_table.in_words(used.checkpoints)
    said = texts.RUN_TAKES.format(name=jobs.summary(folder)["name"], whole=whole, checkpoints=kept)
    return f'<p class="quiet">{escape(said)}</p>'


@errors.shown
def open_run(request: gr.Request, profile: gr.OAuthProfile | None, asked: str | None) -> Any:
    """A run of the table was clicked: the whole page shows it."""
    who = access.visitor(request, profile)
    return runs.picker(who, access.run(who, asked).name)


@errors.shown
def rename(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, name: str | None) -> tuple[Any, ...]:
    """Its name everywhere on the page; its id, and so its address, stays."""
    who = access.visitor(request, profile, "rename a run")
    folder = access.run(who, run)
    archive.rename(folder, name or "")
    return runs.picker(who, folder.name), runs_table.draw(who, folder.name), about(folder)


@errors.shown
def download(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, rows: bool | None) -> Any:
    """A zip of the run in the page's own cache, from where it is fetched; it is removed there after a day."""
    who = access.visitor(request, profile, "download a run")
    folder = access.run(who, run)
    place = Path(get_upload_folder()) / secrets.token_hex(20)
    place.mkdir(parents=True)
    return gr.DownloadButton(value=archive.pack(folder, place / f"{folder.name}.zip", bool(rows)))


@errors.shown
def ask(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None) -> tuple[Any, Any]:
    """What would be lost, before anything is."""
    who = access.visitor(request, profile, "delete a run")
    folder = access.run(who, run)
    jobs.refuse_working(folder)
    found = jobs.summary(folder)
    size = runs_table.in_words(archive.disk_use(folder).whole)
    said = texts.DELETE_ASKS.format(name=found["name"], size=size)
    return gr.Row(visible=True), f'<p role="alert">{escape(said)}</p>'


@errors.shown
def delete(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None) -> tuple[Any, ...]:
    """The run is gone; the newest of the others is chosen."""
    who = access.visitor(request, profile, "delete a run")
    archive.delete(access.run(who, run))
    chosen = newest(who)
    return runs.picker(who, chosen), runs_table.draw(who, chosen), gr.Row(visible=False)


def newest(who: Visitor) -> str | None:
    return next((run for _, run in runs.choices(who)), None)


@errors.shown
def compare(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, other: str | None) -> str:
    """The chosen run and another one: curves, scores, and what was asked differently."""
    who = access.visitor(request, profile, "compare runs")
    folder = access.run(who, run)
    if not other:
        raise UserError(texts.NO_OTHER_RUN)
    return beside.section(differences.beside(folder, access.run(who, other)))
