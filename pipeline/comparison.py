"""One prompt to both sides of a run, for the command line: both answers, and the proof of which is which."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from pipeline import device, generate, jobs, sides
from pipeline.errors import UserError
from pipeline.generate import Answer
from pipeline.schema import Decoding, Message, settings


def compare(folder: Path, asked: Any, show: Any = None) -> dict[str, Any]:
    """The contract's object for `compare`. `show(side, piece)` is told every piece as it streams."""
    if not asked.prompt.strip():
        raise UserError("--prompt is empty; ask something.")
    decoding = Decoding(**{name: getattr(asked, name) for name in settings(Decoding)})
    system = jobs.load(folder).source.system if asked.system is None else asked.system
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": asked.prompt})
    with device.use(f"compare of {folder.name}", lambda whom: print_wait(show, whom)):
        pair = sides.open_pair(sides.of_run(folder))
        sides.check_template(folder, pair.template)
        found: dict[str, Any] = {}
        for side, piece in generate.stream(pair, {"base": messages, "tuned": messages}, decoding):
            if isinstance(piece, Answer):
                found[side] = dataclasses.asdict(piece)
            elif show:
                show(side, piece)
    if show:
        show.close(found, pair)
    return {**found, "self_test": pair.self_test, "mode": pair.mode}


def print_wait(show: Any, whom: str) -> None:
    if show:
        show.wait(whom)
