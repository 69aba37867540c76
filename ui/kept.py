"""The checkpoints of a run: which are kept, which is the best and which is in use, and going on from them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from pipeline import checkpoints
from pipeline.events import View
from ui import texts

MORE_EPOCHS = 3


class Checkpoint(NamedTuple):
    """A whole checkpoint. `loss` is its validation loss, None where there was no look at its step; `size` is in bytes."""

    step: int
    loss: float | None
    size: int
    best: bool
    used: bool


@dataclass(frozen=True)
class Parts:
    group: gr.Accordion
    listed: gr.HTML
    step: gr.Dropdown
    use: gr.Button
    more: gr.Row
    epochs: gr.Number
    extend: gr.Button

    @property
    def drawn(self) -> dict[str, Any]:
        """What `watch` fills, by its names."""
        return {"checkpoints": self.group, "listed": self.listed, "step": self.step, "more": self.more}


def draw() -> Parts:
    with gr.Accordion(texts.CHECKPOINTS, open=False, visible=False, elem_id="train-checkpoints") as group:
        listed = gr.HTML(elem_id="train-kept", padding=False)
        with gr.Row(elem_id="train-use"):
            step = gr.Dropdown([], label=texts.CHECKPOINT, interactive=True, min_width=180, elem_id="train-step")
            use = gr.Button(texts.USE_CHECKPOINT, min_width=150, elem_id="train-use-checkpoint")
        with gr.Row(elem_id="train-more", visible=False) as more:
            epochs = gr.Number(
                MORE_EPOCHS,
                label=texts.MORE_EPOCHS,
                info=texts.MORE_EPOCHS_HELP,
                interactive=True,
                min_width=120,
                elem_id="train-more-epochs",
            )
            extend = gr.Button(texts.GO_ON, min_width=150, elem_id="train-extend")
    return Parts(group, listed, step, use, more, epochs, extend)


def kept(folder: Path, told: View, used: int | None) -> list[Checkpoint]:
    """The whole checkpoints of a run, oldest first. `used` is the step of the adapter, if it is known."""
    losses = {step: loss for step, loss in told.validation_curve if math.isfinite(loss)}
    whole = [each for each in checkpoints.all_of(folder) if checkpoints.is_whole(each)]
    steps = [checkpoints.step(each) for each in whole]
    best = min((step for step in steps if step in losses), key=lambda step: losses[step], default=None)
    return [
        Checkpoint(step, losses.get(step), _size(each), step == best, step == used)
        for step, each in zip(steps, whole, strict=True)
    ]


def _size(checkpoint: Path) -> int:
    """Bytes on disk, from its seal."""
    try:
        return sum(json.loads((checkpoint / checkpoints.SEAL).read_text()).values())
    except (OSError, ValueError):  # it is being rotated away
        return 0


def listed(found: Sequence[Checkpoint]) -> str:
    """A line per checkpoint, and what they take on disk together."""
    heads = "".join(f'<th scope="col">{head}</th>' for head in texts.CHECKPOINT_HEADS)
    lines = "".join(
        f'<tr><th scope="row">{each.step:,}</th><td>{_loss(each)}</td><td>{_megabytes(each.size)}</td><td>{_marks(each)}</td></tr>'
        for each in found
    )
    total = escape(texts.CHECKPOINTS_TAKE.format(size=_megabytes(sum(each.size for each in found))))
    return (
        f'<div class="run-table"><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'
        f'<p class="quiet">{total}</p>'
    )


def _loss(each: Checkpoint) -> str:
    return "" if each.loss is None else f"{each.loss:.3f}"


def _megabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _marks(each: Checkpoint) -> str:
    marks = [("good", texts.IS_BEST)] * each.best + [("plain", texts.IS_USED)] * each.used
    return " ".join(f'<span class="chip {kind}">{text}</span>' for kind, text in marks)


def choices(found: Sequence[Checkpoint]) -> list[tuple[str, int]]:
    """(label, step), the newest first."""
    return [(texts.CHECKPOINT_LABEL.format(step=each.step) + _said(each), each.step) for each in reversed(found)]


def _said(each: Checkpoint) -> str:
    loss = "" if each.loss is None else texts.CHECKPOINT_LOSS.format(loss=each.loss)
    return loss + (f" · {texts.IS_BEST}" if each.best else "")
