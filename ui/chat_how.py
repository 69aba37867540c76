"""How they answer: the system prompt, the settings of an answer, what a conversation goes on from, a third column."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from pipeline import checkpoints, jobs
from pipeline.errors import UserError
from pipeline.schema import Decoding, Visitor, settings
from ui import access, errors, form, runs, texts, turns

FIELDS = tuple(settings(Decoding))
NO_THIRD = "none"
EXAMPLES, MOST_EXAMPLES = 3, 32
GUESTS_TOKENS = 2048  # in one answer


@dataclass(frozen=True)
class Parts:
    system: gr.Textbox
    fields: dict[str, Component]
    goes_on: gr.Radio
    kind: gr.Radio
    step: gr.Dropdown
    other: gr.Dropdown
    examples: gr.Number
    share: gr.Checkbox

    @property
    def choices(self) -> list[Component]:
        """What `read` reads, in its order."""
        return [*self.fields.values(), self.goes_on, *self.third]

    @property
    def third(self) -> list[Component]:
        return [self.kind, self.step, self.other, self.examples]


@dataclass(frozen=True)
class How:
    """`third` is what the engine is told of the third column, `column` what is kept of it with a turn; None for none.

    `goes_on` is the column whose answers all go on from, "" where each goes on from its own.
    """

    decoding: Decoding
    goes_on: str = ""
    third: dict[str, Any] | None = None
    column: dict[str, str] | None = None


def draw() -> Parts:
    with gr.Accordion(texts.HOW_THEY_ANSWER, open=False, elem_id="decoding"):
        system = gr.Textbox(
            label=texts.SYSTEM_PROMPT, info=texts.SYSTEM_HELP, lines=2, interactive=True, elem_id="chat-system"
        )
        with gr.Row():
            fields = form.draw(Decoding, FIELDS)
        kind = gr.Radio(
            [(label, name) for name, label in texts.THIRD_KINDS.items()], value=NO_THIRD, label=texts.THIRD_COLUMN,
            info=texts.THIRD_HELP, interactive=True, elem_id="chat-third",
        )  # fmt: skip
        step = gr.Dropdown([], label=texts.THIRD_STEP, visible=False, interactive=True, elem_id="chat-third-step")
        other = gr.Dropdown([], label=texts.THIRD_RUN, visible=False, interactive=True, elem_id="chat-third-run")
        examples = gr.Number(
            value=EXAMPLES, precision=0, step=1, label=texts.THIRD_EXAMPLES, info=texts.THIRD_EXAMPLES_HELP, visible=False,
            interactive=True, elem_id="chat-third-examples",
        )  # fmt: skip
        goes_on = gr.Radio(
            [(label, name) for name, label in texts.GOES_ON_CHOICES.items()], value=turns.OWN, label=texts.GOES_ON,
            info=texts.GOES_ON_HELP, interactive=True, elem_id="chat-goes-on",
        )  # fmt: skip
        share = gr.Checkbox(label=texts.SHARE, info=texts.SHARE_HELP, visible=access.on_space(), interactive=True)
    return Parts(system, fields, goes_on, kind, step, other, examples, share)


def wire(parts: Parts, bar: runs.Bar) -> None:
    quiet: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "undocumented"}
    parts.kind.input(offer, [bar.run, parts.kind], parts.third, api_name="third_column", **quiet)


@errors.shown
def offer(
    request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, kind: str | None
) -> tuple[Any, Any, Any, Any]:
    """The fields that this kind of third column needs; none, and why, where the run has nothing of the kind."""
    who = access.visitor(request, profile, "chat")
    folder = access.run(who, run)
    steps = [(texts.THIRD_STEPS.format(step=step), step) for step in steps_of(folder)]
    others = siblings(who, folder)
    if why := missing(who, folder, kind, steps, others):
        gr.Warning(why, duration=errors.SECONDS)
        return none()
    return (
        gr.skip(),
        gr.Dropdown(choices=steps, value=steps[0][1] if steps else None, visible=kind == "checkpoint"),
        gr.Dropdown(choices=others, value=others[0][1] if others else None, visible=kind == "run"),
        gr.Number(visible=kind == "examples"),
    )


def missing(who: Visitor, folder: Path, kind: str | None, steps: Sequence[Any], others: Sequence[Any]) -> str:
    """Why a kind of third column can't be offered, "" where it can."""
    if kind == "checkpoint" and not steps:
        return texts.THIRD_NO_STEP
    if kind == "run" and not others:
        return texts.THIRD_NO_RUN
    return no_examples(who, folder) if kind == "examples" else ""


def none() -> tuple[Any, Any, Any, Any]:
    """The updates of `Parts.third` for a run that was just chosen: no third column."""
    hidden = gr.Dropdown(choices=[], value=None, visible=False)
    return gr.Radio(value=NO_THIRD), hidden, hidden, gr.Number(visible=False)


def steps_of(folder: Path) -> list[int]:
    """The steps of the whole checkpoints that a run keeps, newest first."""
    whole = [each for each in checkpoints.all_of(folder) if checkpoints.is_whole(each)]
    return sorted(map(checkpoints.step, whole), reverse=True)


def siblings(who: Visitor, folder: Path) -> list[tuple[str, str]]:
    """(label, id) of the other runs this visitor may see with an adapter on the same base, under the same template."""
    base = _base(folder)
    others = [(label, run) for label, run in runs.choices(who) if run != folder.name]
    return [(label, run) for label, run in others if base and _base(folder.with_name(run)) == base]


def _base(folder: Path) -> Any:
    """Which base a run's adapter stands on, as it was remembered; None without an adapter, or where that can't be read."""
    if not ((folder / "base.json").is_file() and (folder / "adapter").is_dir()):
        return None
    with contextlib.suppress(UserError, KeyError, TypeError):
        told = jobs.read_json(folder / "base.json")
        return told["fingerprint"], told["templates"]
    return None


def read(who: Visitor, folder: Path, values: Sequence[Any]) -> How:
    """The values of `Parts.choices`. Raises UserError for a setting, a step, a number or a run that is none."""
    *decoding, goes_on, kind, step, other, examples = values
    third, column = third_of(who, folder, kind, step, other, examples)
    if goes_on == turns.THIRD and not column:
        raise UserError(texts.GOES_ON_NOTHING)
    wanted = form.read(Decoding, FIELDS, decoding)
    if not who.owner and wanted.max_new_tokens > GUESTS_TOKENS:
        raise UserError(texts.GUESTS_ANSWER.format(most=GUESTS_TOKENS, name=form.label("max_new_tokens")))
    return How(wanted, turns.source(str(goes_on), column), third, column)


def reseeded(how: How, last: turns.Turn) -> How:
    """The same with the next seed. Raises UserError at temperature 0, where no seed matters."""
    if not how.decoding.temperature:
        raise UserError(texts.GREEDY_AGAIN)
    seed = (int(last.get("seed", how.decoding.seed)) + 1) % 2**31
    return replace(how, decoding=replace(how.decoding, seed=seed))


def marks(how: How) -> turns.Turn:
    """What is kept with a turn of how it was answered."""
    found: turns.Turn = {"third": how.column} if how.column else {}
    if how.goes_on:
        found["goes_on"] = how.goes_on
    if how.decoding.temperature:
        found |= {"temperature": how.decoding.temperature, "seed": how.decoding.seed}
    return found


def third_of(
    who: Visitor, folder: Path, kind: Any, step: Any, other: Any, examples: Any
) -> tuple[dict[str, Any] | None, dict[str, str] | None]:
    """What the engine is told of the third column, and what is kept of it with a turn."""
    if kind == "checkpoint":
        if step not in steps_of(folder):
            raise UserError(texts.THIRD_NO_SUCH_STEP)
        return {"kind": kind, "step": step}, named("other", f"step {step}", texts.THIRD_STEPS.format(step=step))
    if kind == "run":
        sibling = access.run(who, other)
        name = texts.THIRD_RUN_NAME.format(name=jobs.summary(sibling)["name"])
        return {"kind": kind, "folder": str(sibling)}, named("other", f"run {sibling.name}", name)
    if kind == "examples":
        if why := no_examples(who, folder):
            raise UserError(why)
        if not (isinstance(examples, int | float) and 1 <= examples <= MOST_EXAMPLES and examples == int(examples)):
            raise UserError(texts.THIRD_HOW_MANY.format(most=MOST_EXAMPLES))
        return {"kind": kind, "k": int(examples)}, named(
            "prompted", f"examples {int(examples)}", prompted(int(examples))
        )
    return None, None


def no_examples(who: Visitor, folder: Path) -> str:
    """Why no rows may stand in a prompt: a guest's questions could make the base recite them, or there are none left."""
    if not who.owner:
        return texts.THIRD_NOT_FOR_GUESTS
    return "" if (folder / "train.jsonl").is_file() else texts.THIRD_NO_ROWS


def prompted(examples: int) -> str:
    """What the base with so many examples in its prompt is called."""
    return texts.PROMPTED_WITH_ONE if examples == 1 else texts.PROMPTED_WITH.format(k=examples)


def named(column: str, key: str, name: str) -> dict[str, str]:
    return {"column": column, "key": key, "name": name}
