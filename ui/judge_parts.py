"""How the owner's side of Judge blind is laid out, and what each of its components shows of a round."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from pipeline import files, rounds
from pipeline.rounds import Round
from pipeline.schema import Decoding
from ui import access, judge_state, judge_views, texts

PROMPTS = 30
TICK_SECONDS = 2.0
WATCHED = ("answering", "open")  # stages that go on without a click here


@dataclass(frozen=True)
class Parts:
    about: gr.HTML
    owners: gr.Column
    form: gr.Accordion
    fields: dict[str, Component]
    make: gr.Button
    round: gr.Dropdown
    status: gr.HTML
    go_on: gr.Button
    stop: gr.Button
    open: gr.Button
    links: gr.Column
    token: gr.Textbox
    link: gr.Textbox
    here: gr.HTML
    close: gr.Button
    end: gr.Button
    really: gr.Row
    sentence: gr.HTML
    reveal: gr.Button
    keep: gr.Button
    result: gr.HTML
    files: gr.Column
    votes: gr.Button
    pairs: gr.Button
    file: gr.DownloadButton
    timer: gr.Timer

    @property
    def of_round(self) -> list[Any]:
        """What `updates` fills."""
        return [
            self.round, self.really, self.status, self.go_on, self.stop, self.open, self.links, self.token, self.here, self.end,
            self.result, self.files, self.timer,
        ]  # fmt: skip


def draw() -> Parts:
    about = gr.HTML(judge_views.said(texts.JUDGE_ABOUT), elem_id="judge-about", padding=False)
    with gr.Column(visible=not access.on_space(), elem_id="judge-owners") as owners:
        with gr.Accordion(texts.NEW_ROUND, open=True, elem_id="judge-new") as form:
            fields = draw_form()
            make = gr.Button(texts.MAKE_ROUND, variant="primary", elem_id="judge-make")
        chosen = gr.Dropdown(
            [], label=texts.ROUND_PICKED, info=texts.ROUND_PICKED_HELP, visible=False, interactive=True, elem_id="judge-round"
        )  # fmt: skip
        status = gr.HTML(elem_id="judge-status", padding=False)
        with gr.Row():
            go_on = gr.Button(texts.GO_ON_ROUND, variant="primary", visible=False, elem_id="judge-go-on")
            stop = gr.Button(texts.STOP_ROUND, visible=False, elem_id="judge-stop")
            opened = gr.Button(texts.OPEN_ROUND, variant="primary", visible=False, elem_id="judge-open")
        result = gr.HTML(css_template=judge_views.CSS, elem_id="judge-result", padding=False)
        with gr.Column(visible=False, elem_id="judge-files") as files:
            with gr.Row():
                save_votes = gr.Button(texts.SAVE_VOTES, size="sm", elem_id="judge-save-votes")
                save_pairs = gr.Button(texts.SAVE_PAIRS, size="sm", elem_id="judge-save-pairs")
            gr.HTML(judge_views.said(texts.SAVE_HELP), padding=False)
            file = gr.DownloadButton(elem_id="judge-file", elem_classes="plumbing")
        links = draw_links()
    return Parts(
        about, owners, form, fields, make, chosen, status, go_on, stop, opened, *links, result, files, save_votes, save_pairs, file,
        gr.Timer(TICK_SECONDS, active=False),
    )  # fmt: skip


def draw_form() -> dict[str, Component]:
    """What a round is made of, in the order `make` gets it."""
    sources = [(words, source) for source, words in texts.ROUND_SOURCES.items()]
    source = gr.Radio(sources, value="held-out", label=texts.ROUND_SOURCE, interactive=True, elem_id="judge-source")
    text = gr.Textbox(
        label=texts.ROUND_TEXT, info=texts.ROUND_TEXT_HELP, lines=5, max_lines=15, visible=False, interactive=True,
        elem_id="judge-text",
    )  # fmt: skip
    prompts = gr.Number(
        PROMPTS, label=texts.ROUND_PROMPTS, info=texts.ROUND_PROMPTS_HELP, precision=0, minimum=1,
        maximum=rounds.MOST_PROMPTS, interactive=True, elem_id="judge-prompts",
    )  # fmt: skip
    criteria = gr.Checkbox(
        label=texts.ROUND_CRITERIA, info=texts.ROUND_CRITERIA_HELP, interactive=True, elem_id="judge-criteria"
    )
    with gr.Accordion(texts.ROUND_MORE, open=False, elem_id="judge-more"):
        system = gr.Textbox(
            label=texts.ROUND_SYSTEM, info=texts.ROUND_SYSTEM_HELP, lines=2, interactive=True, elem_id="judge-system"
        )
        with gr.Row():
            longest = gr.Number(
                Decoding().max_new_tokens, label=texts.ROUND_LONGEST, info=texts.ROUND_LONGEST_HELP, precision=0,
                interactive=True, elem_id="judge-longest",
            )  # fmt: skip
            seed = gr.Number(
                None, label=texts.ROUND_SEED, info=texts.ROUND_SEED_HELP, precision=0, interactive=True, elem_id="judge-seed"
            )  # fmt: skip
    return {
        "source": source, "text": text, "prompts": prompts, "criteria": criteria, "system": system, "longest": longest,
        "seed": seed,
    }  # fmt: skip


Links = tuple[
    gr.Column, gr.Textbox, gr.Textbox, gr.HTML, gr.Button, gr.Button, gr.Row, gr.HTML, gr.Button, gr.Button
]  # fmt: skip


def draw_links() -> Links:
    """What an open round offers: its link, judging here, and its end, which asks once more."""
    with gr.Column(visible=False, elem_id="judge-links") as links:
        token = gr.Textbox(show_label=False, elem_id="judge-token", elem_classes="plumbing", interactive=True)
        link = gr.Textbox(
            label=texts.ROUND_LINK, info=texts.ROUND_LINK_HELP if access.on_space() else texts.ROUND_LINK_HERE,
            buttons=["copy"], max_lines=1, interactive=False, elem_id="judge-link",
        )  # fmt: skip
        with gr.Row(elem_id="judge-next"):
            here = gr.HTML(elem_id="judge-here", padding=False)
            close = gr.Button(texts.CLOSE_LINK, scale=0, min_width=130, elem_id="judge-close")
            end = gr.Button(texts.END_ROUND, scale=0, min_width=130, elem_id="judge-end")
    with gr.Row(visible=False, elem_id="judge-really") as really:
        sentence = gr.HTML(elem_id="judge-sentence", padding=False)
        reveal = gr.Button(texts.END_REALLY, variant="stop", scale=0, min_width=210, elem_id="judge-reveal")
        keep = gr.Button(texts.KEEP_OPEN, scale=0, min_width=130, elem_id="judge-keep")
    return links, token, link, here, close, end, really, sentence, reveal, keep


def updates(folder: Path | None, picked: Round | None, ticking: bool = False) -> tuple[Any, ...]:
    """Of round, really, status, go_on, stop, open, links, token, here, end, result, files, timer.

    `ticking` leaves the first two alone while the round goes on by itself: the list reads every round.
    """
    hidden = gr.Button(visible=False)
    if not folder or not picked:
        return (
            gr.Dropdown(choices=[], value=None, visible=False), gr.Row(visible=False), "", hidden, hidden, hidden,
            gr.Column(visible=False), "", "", hidden, "", gr.Column(visible=False), gr.Timer(active=False),
        )  # fmt: skip
    seen = judge_state.look(folder, picked)
    told = seen.stage == "told"
    unlisted = ticking and seen.stage in WATCHED
    return (
        gr.skip() if unlisted else gr.Dropdown(choices=judge_state.choices(folder), value=picked.id, visible=True),
        gr.skip() if unlisted else gr.Row(visible=False),
        judge_state.status(seen),
        gr.Button(visible=seen.stage == "unanswered"),
        gr.Button(visible=seen.stage == "answering"),
        gr.Button(visible=seen.stage == "ready"),
        gr.Column(visible=bool(seen.token)),  # after the end, too: judges see the result by it, until it is closed
        seen.token,
        judge_views.here(seen.token) if seen.stage == "open" else "",
        gr.Button(visible=seen.stage == "open"),
        other_weights(folder, picked) + judge_state.result(folder, picked.id) if told else "",
        gr.Column(visible=told),
        gr.Timer(active=seen.stage in WATCHED),
    )


def other_weights(folder: Path, picked: Round) -> str:
    """Said above a result whose adapter the run no longer has."""
    adapter = folder / "adapter"
    same = adapter.is_dir() and files.fingerprint(adapter) == picked.adapter
    return "" if same else judge_views.said(texts.ROUND_OTHER_WEIGHTS, "run-warning")
