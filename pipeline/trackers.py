"""Where the curves are sent besides our own events: trackio, tensorboard or wandb, each only if its package is there."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from pipeline.errors import UserError

FOLDER = "tracked"  # in the run's folder: what tensorboard and wandb write
PROJECT = "tuning-fork"


def check(tracker: str) -> None:
    """Raises UserError when a tracker's package is missing; it is looked for, not imported."""
    if tracker != "none" and importlib.util.find_spec(tracker) is None:
        raise UserError(
            f"tracker: {tracker} is not installed here; install it with `pip install {tracker}`, or choose none. Our "
            "own curves are drawn in any case."
        )


def prepare(tracker: str, folder: Path) -> None:
    """Tell a tracker, in the way it listens to, that its files stay on this machine and in the run's folder.

    A wandb that nobody has logged in would end the run with a question; it writes to disk instead.
    """
    check(tracker)
    if tracker == "tensorboard":
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(folder / FOLDER)
    if tracker == "trackio":
        os.environ.pop("TRACKIO_SPACE_ID", None)
    if tracker == "wandb":
        os.environ.setdefault("WANDB_PROJECT", PROJECT)
        os.environ["WANDB_DIR"] = str(folder)
        if not os.environ.get("WANDB_API_KEY"):
            os.environ.setdefault("WANDB_MODE", "offline")
