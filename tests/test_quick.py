"""Gradio's import leaves its editor stubs alone, its answers cost what they change, and it is otherwise the same."""

import asyncio
import subprocess
import sys

import gradio as gr
import pytest
from gradio.state_holder import SessionState

from ui import quick


def importing(*modules: str) -> str:
    """What a fresh process says after importing these: does Gradio write stubs, and is an event still there."""
    code = f"import {', '.join(modules)}\nimport gradio\nfrom gradio import component_meta as meta\n"
    told = (
        "print(meta.create_or_modify_pyi.__module__, callable(gradio.Textbox.submit), gradio.Textbox.submit.__name__)"
    )
    return subprocess.run([sys.executable, "-c", code + told], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("modules", "writer"), [(["ui.quick"], "ui.quick"), (["gradio", "ui.quick"], "gradio.component_meta")]
)
def test_the_stubs_are_left_alone_when_it_comes_first(modules, writer):
    """Imported too late it changes nothing. A Gradio that writes its stubs elsewhere turns this red: look again."""
    assert importing(*modules).split()[:2] == [writer, "True"]


def answers(predictions, calm: bool):
    """What Gradio makes of a handler's answers, how many descriptions it wrote, and what it remembers of the state."""
    with gr.Blocks() as page:
        outputs = [gr.Textbox("a"), gr.Textbox("b"), gr.State(1), gr.Number(3)]
        gr.Button().click(lambda: None, None, outputs)
    if calm:
        quick.calm(page.queue())
    described: list[int] = []
    describe = page.default_config.config_for_block
    state = SessionState(page)
    state.blocks_config.config_for_block = lambda *values: described.append(1) or describe(*values)
    made = asyncio.run(page.postprocess_data(page.fns[0], predictions, state))
    return made, len(described), state[outputs[2]._id]


@pytest.mark.parametrize(
    "predictions",
    [
        [gr.skip(), "new", 5, 4],
        [gr.skip(), gr.skip(), 5, gr.skip()],
        [gr.skip()] * 4,
        ["x", gr.skip(), gr.skip(), gr.Number(7, visible=False)],
        [gr.skip(), gr.update(label="other"), 2, gr.skip()],
        ("x", "y", 2, 4),
        gr.skip(),
    ],
)
def test_what_is_skipped_costs_nothing(predictions):
    """The answer is Gradio's own; only components that change are described anew."""
    (plain, much, kept), (ours, less, same) = answers(predictions, False), answers(predictions, True)
    assert (ours, same) == (plain, kept)
    assert less <= much
    assert (less < much) == (predictions == gr.skip() or gr.skip() in predictions)


def test_the_wrong_number_of_answers_is_gradios_error():
    for calm in (False, True):
        with pytest.raises(ValueError, match="enough output values"):
            answers([gr.skip(), "x"], calm)
