"""Measurements, each with its bar: `python -m tests.benchmarks.NAME`, on a machine that does nothing else."""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path


def run(main: Callable[..., int]) -> None:
    """Measure in a home of its own, with the command line's numbers, and end with the exit code."""
    with tempfile.TemporaryDirectory() as place:
        os.environ["TUNING_FORK_HOME"] = str(Path(place) / "home")
        code = main(*map(int, sys.argv[1:]))
    sys.exit(code)
