"""One prompt to both sides of a run, for the command line: both answers, and the proof of which is which."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from pipeline import device, generate, jobs, sides
from pipeline.errors import UserError
from pipeline.generate import Answer, Decoding
from pipeline.schema import Message


def compare(folder: Path, asked: Any, show: Any = None) -> dict[str, Any]:
    """The contract's object for `compare`. `show(side, piece)` is told every piece as it streams."""
    if not asked.prompt.strip():
        raise UserError("--prompt is empty; ask something.")
    decoding = Decoding(asked.max_new_tokens, asked.temperature, asked.top_p, asked.seed)
    if decoding.max_new_tokens < 1 or not 0 <= decoding.temperature < math.inf or not 0 < decoding.top_p <= 1:
        raise UserError("--max-new-tokens must be 1 or more, --temperature 0 or more, --top-p above 0 and at most 1.")
    system = jobs.load(folder).source.system if asked.system is None else asked.system
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": asked.prompt})
    with device.use(f"compare of {folder.name}", lambda whom: print_wait(show, whom)):
        pair = sides.open_pair(sides.of_run(folder))
        sides.check_template(folder, pair.template)
        found: dict[str, Any] = {}
        for side, piece in generate.stream(pair, messages, decoding):
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
