"""Imports that the garbage collector leaves alone; `python -m pipeline.startup MODULE ...` runs a module with such ones.

torch, transformers and trl make millions of objects that stay for good. The collector goes through all of them again and
again while they are made (2 of 9.5 seconds here), and at each of its rounds afterwards. Standard library only.
"""

from __future__ import annotations

import contextlib
import gc
import runpy
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """What is made in the block is taken for something that stays."""
    gc.disable()
    try:
        yield
    finally:
        settle()


def settle() -> None:
    """All that there is stays: the collector never looks at it again, and works on with what comes."""
    gc.freeze()
    gc.enable()


if __name__ == "__main__":  # the module says settle() once it has imported what it needs
    gc.disable()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
