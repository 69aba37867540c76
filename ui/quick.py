"""Gradio without what it need not do: the editor stubs it writes at every start, and looking for work without a pause.

Imported before it, this halves the time until the page is there; the garbage collector rests until startup.settle().

For each component class Gradio parses its own source and rewrites a .pyi file beside it, for editors, at every start
(2 of 5 seconds here). If a later Gradio does that elsewhere, nothing breaks: it only takes its time again.
"""

from __future__ import annotations

import gc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MODULE, WRITES_STUBS = "gradio.component_meta", "create_or_modify_pyi"
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
    """The page, whose queue rests between two looks."""
    page._queue.sleep_when_free = REST
    return page


def _nothing(*_: Any) -> None:
    """Gradio's three arguments: the class, its name, its events."""


if MODULE not in sys.modules:
    gc.disable()
    sys.meta_path.insert(0, _WithoutStubs())
