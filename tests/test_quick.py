"""Gradio's import leaves its editor stubs alone, and is otherwise the same."""

import subprocess
import sys

import pytest


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
