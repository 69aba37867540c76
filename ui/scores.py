"""The Scores part of Compare: what came of the run in sentences and pictures, every judged row, and measuring itself.

Everything is read from the run's folder; measuring is a job of its own, which goes on when the page is closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline import jobs
from pipeline.errors import UserError
from pipeline.schema import Visitor
from ui import access, chat_rows, errors, runs, scores_files, scores_rows, scores_state, scores_views, texts
from ui.scores_rows import Wish

TICK_SECONDS, SLOW_SECONDS = 1.0, 5.0  # while it is measured; while something else goes on
QUIET: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "undocumented"}
TELLS = "element.setAttribute('aria-live', 'polite');"
ASKS = (Path(__file__).parent / "scores.js").read_text(encoding="utf-8")
ASKED = (
    "(run, order, show, words) => [run, order, show, words, ...JSON.parse(document.body.dataset.judged || '[1, 0]')]"
)
SAVE_FILE = "() => setTimeout(() => document.querySelector('#scores-file').click(), 300)"


@dataclass(frozen=True)
class Parts:
    state: gr.HTML
    measure: gr.Button
    stop: gr.Button
    report: gr.HTML
    rows: gr.Column
    count: gr.HTML
    table: gr.HTML
    save: gr.Row
    timer: gr.Timer
    order: gr.Dropdown
    show: gr.Dropdown
    words: gr.Textbox
    page: gr.Number
    opened: gr.Number
    turn: gr.Button
    csv: gr.Button
    parquet: gr.Button
    file: gr.DownloadButton

    @property
    def shown(self) -> list[Any]:
        """What is drawn of a run."""
        return [
            self.state, self.measure, self.stop, self.report, self.rows, self.count, self.table, self.save, self.timer,
        ]  # fmt: skip

    @property
    def wish(self) -> list[Any]:
        """How its rows are looked at: with page and opened, the fields of a Wish."""
        return [self.order, self.show, self.words]


def draw() -> Parts:
    with gr.Row(elem_id="scores-doing", equal_height=True):
        state = gr.HTML(elem_id="scores-state", padding=False, js_on_load=TELLS)
        measure = gr.Button(
            texts.MEASURE_NOW, variant="primary", visible=False, scale=0, min_width=190, elem_id="measure"
        )
        stop = gr.Button(
            texts.STOP_MEASURING, variant="stop", visible=False, scale=0, min_width=190, elem_id="stop-measuring"
        )
    report = gr.HTML(elem_id="scores", padding=False)
    with gr.Column(visible=False, elem_id="judged-rows") as rows:
        gr.Markdown(f"## {texts.ROWS_TITLE}")
        with gr.Row(elem_id="judged-wish"):
            order = gr.Dropdown(
                orders(), value="changed", label=texts.SORT_ROWS, interactive=True, elem_id="judged-order"
            )
            those = [(words, name) for name, words in texts.SHOWN_ROWS_THAT.items()]
            show = gr.Dropdown(those, value="all", label=texts.SHOW_ROWS_THAT, interactive=True, elem_id="judged-show")
            words = gr.Textbox(
                label=texts.FIND_JUDGED, placeholder=texts.FIND_JUDGED_HINT, max_lines=1, interactive=True,
                elem_id="judged-words",
            )  # fmt: skip
        count = gr.HTML(elem_id="judged-count", padding=False, js_on_load=TELLS)
        table = gr.HTML(elem_id="judged", padding=False, js_on_load=ASKS)
        page, opened = (
            gr.Number(start, precision=0, elem_classes="plumbing", interactive=True, elem_id=f"judged-{name}")
            for name, start in (("page", 1), ("opened", 0))
        )
        turn = gr.Button(elem_id="scores-turn", elem_classes="plumbing")
        with gr.Row(visible=False, elem_id="scores-save") as save:
            csv = gr.Button(texts.SAVE_CSV, size="sm", scale=0, min_width=190, elem_id="scores-csv")
            parquet = gr.Button(texts.SAVE_PARQUET, size="sm", scale=0, min_width=190, elem_id="scores-parquet")
            file = gr.DownloadButton(elem_id="scores-file", elem_classes="plumbing")
    timer = gr.Timer(TICK_SECONDS, active=False)
    return Parts(
        state, measure, stop, report, rows, count, table, save, timer, order, show, words, page, opened, turn, csv,
        parquet, file,
    )  # fmt: skip


def orders() -> list[tuple[str, str]]:
    by_metric = [(texts.SORT_BY_METRIC.format(name=texts.METRICS[name][0]), name) for name in scores_rows.SCORES]
    return [*((words, name) for name, words in texts.SORTS.items()), *by_metric]


def wire(parts: Parts, bar: runs.Bar, page: gr.Blocks, tab: gr.Tab) -> None:
    asked = [bar.run, *parts.wish]
    gr.on([bar.run.change, tab.select], show, asked, parts.shown, api_name="show_scores", **QUIET)
    parts.timer.tick(tick, asked, parts.shown, queue=False, api_name="tick_scores", **QUIET)
    parts.measure.click(measure, asked, parts.shown, api_name="measure", **QUIET)
    parts.stop.click(stop, asked, parts.shown, api_name="stop_measuring", **QUIET)
    drawn = [parts.count, parts.table]
    everything = [*asked, parts.page, parts.opened]
    gr.on(
        [parts.order.input, parts.show.input, parts.words.change], look, everything, drawn, trigger_mode="always_last",
        api_name="judged_rows", **QUIET,
    )  # fmt: skip
    parts.turn.click(look, everything, drawn, js=ASKED, queue=False, api_name="judged_page", **QUIET)
    for button, save, name in (
        (parts.csv, scores_files.save_csv, "scores_csv"),
        (parts.parquet, scores_files.save_parquet, "scores_parquet"),
    ):
        saved = button.click(
            save,
            [bar.run],
            [parts.file],
            api_name=name,
            **{**QUIET, "show_progress": "minimal"},
            show_progress_on=button,
        )
        saved.success(None, js=SAVE_FILE, queue=False, api_visibility="private")


@errors.shown
def show(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, *wish: Any) -> tuple[Any, ...]:
    """Another run is chosen, or the part is opened: the run may have been measured since."""
    who = access.visitor(request, profile)
    return drawing(who, access.run(who, run), wish) if run else nothing(texts.SCORES_NO_RUN)


@errors.shown
def tick(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, *wish: Any) -> tuple[Any, ...]:
    """Where measuring is, once a second while it goes on; then all of it. A run that is gone is left alone."""
    who = access.visitor(request, profile)
    try:
        folder = access.run(who, run)
    except UserError:
        return nothing("")
    found = scores_state.standing(folder, scores_state.report_and_damage(folder)[0] is not None)
    if not found.working:
        return drawing(who, folder, wish)
    state, able, stopping, timer = of_state(who, found)
    return state, able, stopping, *[gr.skip()] * 5, timer


@errors.shown
def measure(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, *wish: Any) -> tuple[Any, ...]:
    """Measure the run, or go on where that was stopped."""
    who = access.visitor(request, profile, "measure a run")
    folder = access.run(who, run)
    found = scores_state.standing(folder, scores_state.report_and_damage(folder)[0] is not None)
    if not found.able and not found.working:
        raise UserError(found.sentence)
    jobs.start(folder, "evaluate")
    return drawing(who, folder, wish)


@errors.shown
def stop(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, *wish: Any) -> tuple[Any, ...]:
    """End the measuring; the answers given so far stay."""
    who = access.visitor(request, profile, "stop the measuring")
    folder = access.run(who, run)
    if not scores_state.standing(folder, False).measuring:
        raise UserError(texts.NOT_MEASURING)
    jobs.stop(folder)
    return drawing(who, folder, wish)


@errors.shown
def look(
    request: gr.Request,
    profile: gr.OAuthProfile | None,
    run: str | None,
    order: str | None,
    show: str | None,
    words: str | None,
    page: float | None,
    opened: float | None,
) -> tuple[str, str]:
    """Other rows, another page, or a row opened."""
    who = access.visitor(request, profile)
    wish = Wish(order or "changed", show or "all", words or "", int(page or 1), int(opened or 0))
    return of_rows(rows_of(who, scores_state.report_of(access.run(who, run))), wish)


def drawing(who: Visitor, folder: Path, wish: Any) -> tuple[Any, ...]:
    """Updates of `Parts.shown`; the rows are shown from their first page on."""
    report, damage = scores_state.report_and_damage(folder)
    try:
        found = scores_state.standing(folder, report is not None)
    except UserError as error:
        return nothing(str(error))
    if damage and not found.working:
        found = found._replace(sentence=damage, level="bad")
    rows = rows_of(who, report)
    order, show, words = wish
    drawn = of_rows(rows, Wish(order or "changed", show or "all", words or ""))
    state, able, stopping, timer = of_state(who, found)
    told = scores_views.report(report) if report else ""
    if report and not rows:
        told += f'<p class="quiet">{texts.NO_JUDGED_ROWS}</p>'
    return state, able, stopping, told, gr.Column(visible=bool(rows)), *drawn, gr.Row(visible=who.owner), timer


def of_state(who: Visitor, found: scores_state.Standing) -> tuple[Any, ...]:
    """Updates of state, measure, stop and timer: what there is to do is the owner's."""
    again = found.button == texts.MEASURE_AGAIN
    measure = gr.Button(
        found.button or texts.MEASURE_NOW, variant="secondary" if again else "primary", visible=found.able and who.owner
    )
    words = texts.STOPPING_MEASURING if found.stopping else texts.STOP_MEASURING
    stop = gr.Button(words, visible=found.measuring and who.owner, interactive=not found.stopping)
    pace = TICK_SECONDS if found.measuring else SLOW_SECONDS
    return scores_state.state(found), measure, stop, gr.Timer(pace, active=found.working)


def nothing(sentence: str) -> tuple[Any, ...]:
    """Updates of `Parts.shown` where there is no run to tell of."""
    found = scores_state.Standing(sentence)
    state, measure, stop, timer = of_state(Visitor("guest", False), found)
    return state, measure, stop, "", gr.Column(visible=False), "", "", gr.Row(visible=False), timer


def of_rows(rows: list[Any], wish: Wish) -> tuple[str, str]:
    """Updates of count and table."""
    return scores_rows.draw(rows, wish) if rows else ("", "")


def rows_of(who: Visitor, report: dict[str, Any] | None) -> list[Any]:
    """The judged rows this visitor may see: a guest as many as are shown of a shared run."""
    rows = list((report or {}).get("rows") or [])
    return rows if who.owner else rows[: chat_rows.GUESTS_ROWS]
