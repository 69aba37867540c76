"""One prompt to the columns of a run, for the command line: all answers, and the proof of which is which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline import device, generate, jobs, sides, third
from pipeline.errors import UserError
from pipeline.generate import Answer
from pipeline.schema import Decoding, Message, settings

TOLD = ("text", "tokens", "seconds", "stopped")  # of an answer: the contract's four


def compare(folder: Path, asked: Any, show: Any = None) -> dict[str, Any]:
    """The contract's object for `compare`. `show(column, piece)` is told every piece as it streams."""
    if not asked.prompt.strip():
        raise UserError("--prompt is empty; ask something.")
    decoding = Decoding(**{name: getattr(asked, name) for name in settings(Decoding)})
    system = jobs.load(folder).source.system if asked.system is None else asked.system
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": asked.prompt})
    with device.use(f"compare of {folder.name}", lambda whom: print_wait(show, whom)):
        pair = sides.open_pair(sides.of_run(folder))
        sides.check_template(folder, pair.template)
        if wish := wished(asked):
            pair = third.beside(pair, folder, wish)
        told = dict.fromkeys(pair.columns, messages)
        found: dict[str, Any] = {}
        if "prompted" in told:
            told["prompted"], found["examples"] = third.asked(pair, messages, decoding)
        for column, piece in generate.stream(pair, told, decoding):
            if isinstance(piece, Answer):
                found[column] = {name: getattr(piece, name) for name in TOLD}
            elif show:
                show(column, piece)
    if show:
        show.close(found, pair)
    return {**found, "self_test": pair.self_test, "mode": pair.mode}


def wished(asked: Any) -> dict[str, Any] | None:
    """The third column that the command line asks for. Raises UserError for more than one."""
    wishes = [
        *([{"kind": "run", "folder": str(jobs.find(asked.with_run))}] if asked.with_run else []),
        *([{"kind": "checkpoint", "step": asked.with_checkpoint}] if asked.with_checkpoint is not None else []),
        *([{"kind": "examples", "k": asked.examples}] if asked.examples is not None else []),
    ]
    if len(wishes) > 1:
        raise UserError("There is room for one third column: --with-run, --with-checkpoint or --examples.")
    return wishes[0] if wishes else None


def print_wait(show: Any, whom: str) -> None:
    if show:
        show.wait(whom)
