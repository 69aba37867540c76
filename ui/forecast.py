"""Will the next run fit, and how long will it take: said beside Start before anything is loaded, for this machine and others.

The counter works it out (pipeline/forecast.py); what it says becomes HTML in fits.py.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple

import gradio as gr
from gradio.components import Component

from pipeline import earlier, inspection, jobs, machines
from pipeline.errors import UserError
from pipeline.schema import Source, TrainConfig, to_json
from ui import access, children, data, errors, fits, plan, settings, texts
from ui.reading import source_of

FORECAST_SECONDS = 120.0
PATIENCE_SECONDS = 0.5  # how long the forecast before this one may stand there
FRESH_SECONDS = 20.0  # other programs take and free memory, runs end
MOST_TOLD = 64
# the settings that change nothing of memory, disk and time
IDLE = (
    "learning_rate",
    "alpha",
    "lora_plus_ratio",
    "scheduler",
    "warmup",
    "weight_decay",
    "max_grad_norm",
    "seed",
    "tracker",
)
# a click on a change is told to a button nobody sees: the fields themselves may not be drawn yet
CHANGE = """element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-change]');
  if (!button) return;
  document.body.dataset.change = button.dataset.change;
  document.querySelector('#train-change').click();
});"""
# a page that shows another tab starts no counter for it: the machine's place is empty then (Gradio refuses any text that is no choice)
WHERE_IT_SHOWS = """(...form) => {
  if (document.querySelector('#tab-train-button')?.getAttribute('aria-selected') !== 'true') form[3] = null;
  return form;
}"""
PENDING = '<i class="pending"></i>'
CHANGED = "(said, ...form) => [document.body.dataset.change, ...form]"


@dataclass(frozen=True)
class Parts:
    """`verdict` stands beside Start and is of this machine; the rest is of the machine that is chosen."""

    verdict: gr.HTML
    machine: gr.Dropdown
    memory: gr.HTML
    details: gr.HTML
    said: gr.Textbox
    change: gr.Button

    @property
    def shown(self) -> list[Any]:
        return [self.verdict, self.memory, self.details]


def draw_verdict() -> gr.HTML:
    return gr.HTML(elem_id="train-fits", padding=False)


def draw(verdict: gr.HTML) -> Parts:
    with gr.Column(elem_id="train-forecast"):
        memory = gr.HTML(elem_id="train-memory", padding=False, js_on_load=CHANGE)
        with gr.Accordion(texts.FORECAST_DETAILS, open=False, elem_id="train-room"):
            machine = gr.Dropdown(
                choices(), value=machines.HERE, label=texts.MACHINE, info=texts.MACHINE_HELP, interactive=True,
                elem_id="train-machine",
            )  # fmt: skip
            details = gr.HTML(elem_id="train-room-details", padding=False)
        said = gr.Textbox(show_label=False, elem_id="train-change-said", elem_classes="plumbing", interactive=True)
        change = gr.Button(elem_id="train-change", elem_classes="plumbing")
    return Parts(verdict, machine, memory, details, said, change)


def choices() -> list[tuple[str, str]]:
    """(label, key) of this machine and of the others by name."""
    named = machines.NAMED.values()
    others = [
        (texts.MACHINE_CHOICE.format(name=each.name, memory=machines.in_words(each.memory)), each.key) for each in named
    ]
    return [(texts.HERE, machines.HERE), *others]


def wire(
    parts: Parts, dataset: data.Parts, model: gr.Dropdown, preset: gr.Radio, whole: dict[str, Component],
    here: gr.Tab, moments: list[Any], planning: dict[str, Any],
) -> None:  # fmt: skip
    """`whole` is every setting; at `moments` something changes that is none; `here` is the tab, which is drawn when it is
    opened. `planning` is the event that tells the steps."""
    forecasting: dict[str, Any] = {
        "fn": forecast, "inputs": [dataset.source, dataset.system, model, parts.machine], "outputs": parts.shown,
        "inputs_kwargs": whole, "trigger_mode": "always_last", "concurrency_limit": None, "show_progress": "hidden",
    }  # fmt: skip
    changes = [field.change for name, field in whole.items() if name not in IDLE]
    here.select(**forecasting, api_name="forecast", api_visibility="undocumented")
    gr.on([*moments, parts.machine.input, *changes], **forecasting, js=WHERE_IT_SHOWS, api_visibility="private")
    changed = parts.change.click(
        change, [parts.said, model], [preset, *(whole[name] for name in settings.FIELDS)], inputs_kwargs=whole, js=CHANGED,
        api_name="change_to_fit", api_visibility="undocumented", queue=False, show_progress="hidden",
    )  # fmt: skip
    # fields in an accordion that was never opened tell nobody that they have changed
    changed.success(**planning, queue=False, show_progress="hidden", api_visibility="private")
    changed.success(**forecasting, api_visibility="private")
    looked = changed.success(**data.looking(dataset), api_visibility="private")
    looked.then(**data.counting(dataset), api_visibility="private")


@errors.shown
async def forecast(
    request: gr.Request,
    profile: gr.OAuthProfile | None,
    choice: dict[str, str] | None,
    system: str | None,
    model: str | None,
    machine: str | None,
    **values: Any,
) -> AsyncIterator[tuple[Any, Any, Any]]:
    """Whether the next run fits, as far as it can be said; the plan and the model's own line say what is wrong with them.

    HTML of the verdict on this machine, and of the bar and the details for the machine that is chosen.
    """
    who = access.visitor(request, profile)
    if machine is None:  # nobody is looking
        yield gr.skip(), gr.skip(), gr.skip()
        return
    if not who.owner:
        yield "", "", ""
        return
    try:
        asked = Question(_source(choice, system), plan.located(model), settings.read(values))
    except UserError:
        yield "", "", ""
        return
    asking = asyncio.ensure_future(asyncio.to_thread(_shown, asked, machine))
    if not (await asyncio.wait({asking}, timeout=PATIENCE_SECONDS))[0]:
        # what was said before stays, but pale: the page does not jump
        yield _said(texts.FORECASTING, await asyncio.to_thread(plan.takes, *asked)) + PENDING, gr.skip(), gr.skip()
    yield await asking


class Question(NamedTuple):
    """Rows (None: none that can be read are chosen), the base's id or path, the settings."""

    source: Source | None
    model: str
    config: TrainConfig


def _source(choice: dict[str, str] | None, system: str | None) -> Source | None:
    try:
        return source_of(choice, system)
    except UserError:
        return None


def _shown(asked: Question, machine: str) -> tuple[str, str, str]:
    try:
        here = told(asked, machines.HERE)
        there = told(asked, machine)
    except UserError:
        return _said(texts.NO_FORECAST, plan.takes(*asked) or texts.TIME_UNKNOWN), "", ""
    fewer = any(each["set"].keys() == {"micro_batch"} for each in here["changes"])
    anyway = texts.START_ALL_THE_SAME if fewer else ""
    verdict = f'<div role="status">{fits.verdict(here)}<p>{escape(fits.takes(here))}</p>{_said(anyway)}</div>'
    ours = fits.changes(here) + fits.verdict(there) if machine != machines.HERE else ""
    return verdict, ours + fits.changes(there) + fits.bar(there), fits.details(here, there)


def _said(*lines: str) -> str:
    return "".join(f'<p class="quiet">{escape(line)}</p>' for line in lines if line)


_told: dict[str, tuple[float, dict[str, Any]]] = {}
"""What was forecast and when (monotonic seconds), by what was asked."""


def told(asked: Question, machine: str) -> dict[str, Any]:
    """The counter's forecast, one that is fresh if there is one. Raises UserError where none can be made."""
    question = {
        "model": to_json(plan.named(asked.model, asked.config)), "config": to_json(asked.config), "lengths": _lengths(asked),
        "machine": machine,
    }  # fmt: skip
    runs = [(run["run"], run["status"]) for run in jobs.listing()[: earlier.LOOKED_AT]]  # what tells pace and memory
    key, now = json.dumps([question, runs]), time.monotonic()
    when, found = _told.get(key, (-FRESH_SECONDS, {}))
    if now - when > FRESH_SECONDS or not found:
        found = children.COUNTER.ask("forecast", FORECAST_SECONDS, **question)
        if len(_told) >= MOST_TOLD:
            _told.clear()
        _told[key] = now, found
    return found


def _lengths(asked: Question) -> dict[str, float] | None:
    try:
        return inspection.lengths(plan.inspected(*asked)) if asked.source else None
    except UserError:  # the Data tab says what is wrong with them
        return None


@errors.shown
def change(
    request: gr.Request, profile: gr.OAuthProfile | None, said: str | None, model: str | None, **values: Any
) -> list[Any]:
    """A change that makes it fit, as JSON {setting: value}, put into the form. Updates of the preset and every field.

    Another method learns at its own rate; a preset whose values are changed is none any more.
    """
    access.visitor(request, profile, "train")
    wanted = read_change(said)
    settings.read({**values, **wanted})
    if "method" in wanted and not wanted.get("learning_rate"):
        wanted["learning_rate"] = settings.usual_rate(wanted["method"], model)
    preset = None if set(wanted) & set(settings.PRESET_FIELDS) - {"learning_rate"} else gr.skip()
    return [preset, *(wanted.get(name, gr.skip()) for name in settings.FIELDS)]


def read_change(said: str | None) -> dict[str, Any]:
    """Raises UserError for what the page never offers."""
    try:
        wanted = json.loads(said or "")
    except (ValueError, RecursionError):
        wanted = None
    if not isinstance(wanted, dict) or not wanted or not wanted.keys() <= set(settings.FIELDS):
        raise UserError(texts.BAD_FIELD)
    return wanted
