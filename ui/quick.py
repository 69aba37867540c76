"""Gradio without what it need not do, at its start and at each answer.

Imported before it, this halves the time until the page is there; the garbage collector rests until startup.settle().

For each component class Gradio parses its own source and rewrites a .pyi file beside it, for editors, at every start
(2 of 5 seconds here). If a later Gradio does that elsewhere, nothing breaks: it only takes its time again.
"""

from __future__ import annotations

import copy
import functools
import gc
import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MODULE, WRITES_STUBS = "gradio.component_meta", "create_or_modify_pyi"
PLOTS = "matplotlib"
SKIPPED = {"__type__": "update"}  # what gr.skip() makes
REST = 0.02  # seconds between two looks at an empty queue; Gradio's 0.001 cost an idle page 8 % of a core


class _WithoutStubs(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != MODULE:
            return None
        sys.meta_path.remove(self)  # once, and the search below is the usual one
        spec = importlib.util.find_spec(name)
        if spec and spec.loader:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                if hasattr(module, WRITES_STUBS):
                    setattr(module, WRITES_STUBS, _nothing)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def calm(page: Any) -> Any:
    """The page, whose queue rests between two looks, and whose answers cost what they change.

    Gradio makes each component anew, and its description twice, for an update that says nothing; and it looks on the disk
    for matplotlib before and after each handler.
    """
    page._queue.sleep_when_free = REST
    page.postprocess_data = functools.partial(_changes, page.postprocess_data)
    if importlib.util.find_spec(PLOTS) is None:
        sys.modules[PLOTS] = None  # type: ignore[assignment]  # an import fails at once
    return page


async def _changes(postprocess: Callable[..., Any], block_fn: Any, predictions: Any, state: Any) -> list[Any]:
    """Gradio's postprocess_data, of the components that are not skipped."""
    outputs = block_fn.outputs
    if _skipped(predictions):
        predictions = [SKIPPED] * len(outputs)
    several = isinstance(predictions, list | tuple)
    changed = [n for n, each in enumerate(predictions) if not _skipped(each)] if several else []
    if len(outputs) < 2 or not several or len(predictions) != len(outputs) or len(changed) == len(outputs):
        made: list[Any] = await postprocess(block_fn, predictions, state)
        return made
    found: list[Any] = [None if block.stateful else SKIPPED for block in outputs]
    if changed:
        fewer, values = copy.copy(block_fn), [predictions[n] for n in changed]
        fewer.outputs = [outputs[n] for n in changed]
        told = await postprocess(fewer, values if len(values) > 1 else values[0], state)
        for n, each in zip(changed, told, strict=True):
            found[n] = each
    return found


def _skipped(value: Any) -> bool:
    return isinstance(value, dict) and value == SKIPPED


def _nothing(*_: Any) -> None:
    """Gradio's three arguments: the class, its name, its events."""


if MODULE not in sys.modules:
    gc.disable()
    sys.meta_path.insert(0, _WithoutStubs())
