"""`python -m pipeline.engine`: the child that holds a model for the page's chat, one at a time.

Reads run folders. It takes the device with the first model and gives it up by ending itself as soon as somebody else
waits for it and no answer is being given.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import child, device, startup
from pipeline.child import Emit
from pipeline.errors import UserError
from pipeline.schema import Decoding, Message, Model, from_json

if TYPE_CHECKING:
    from pipeline.sides import Pair

PURPOSE = "answers on the page"
TOLD_EVERY_SECONDS = 5.0


class Engine:
    """The model that is loaded, and the device it is on."""

    def __init__(self) -> None:
        self._device = contextlib.ExitStack()
        self._key: Any = None
        self._pair: Pair | None = None
        self._third: tuple[Any, Pair] | None = None

    def leave_if_waited_for(self) -> None:
        if self._key is not None and device.waiting():
            sys.exit(0)

    def warm(self, emit: Emit, unwanted: threading.Event) -> None:
        """Import what every answer needs, so that the first one does not wait for it. Takes no device."""
        with startup.undisturbed():
            from pipeline import generate, sides  # noqa: F401

    def open(
        self, emit: Emit, unwanted: threading.Event, folder: str, third: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Load a run's pair unless it is here already, and a third column beside it (as third.beside says).

        The result is {mode, self_test, third?: {column, label, examples}}.
        """
        from pipeline import sides

        run = Path(folder)
        named = sides.of_run(run)

        def load() -> Pair:
            pair = sides.open_pair(named)
            sides.check_template(run, pair.template)
            return pair

        pair = self._hold((named, _version(named)), load, emit, unwanted)
        if third:
            pair = self._beside(pair, run, third, emit)
        found = {"mode": pair.mode, "self_test": {k: dataclasses.asdict(v) for k, v in pair.self_test.items()}}
        if pair.third is None:
            return found
        told = {"column": pair.third.column, "label": pair.third.label, "examples": len(pair.third.examples)}
        return {**found, "third": told}

    def compare(
        self,
        emit: Emit,
        unwanted: threading.Event,
        folder: str,
        asked: dict[str, list[Message]],
        decoding: Any,
        third: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """All columns answer: {column: text} as they grow; the result has each column's whole Answer.

        Of the "prompted" column it says in third["examples"] how many examples left room for an answer. Where prompts end
        with the mark of a thought, "opened" has it by column (for thinking.split).
        """
        opened = self.open(emit, unwanted, folder, third)
        if "prompted" in asked and third and self._third:
            from pipeline import third as columns

            settings = from_json(Decoding, decoding, "decoding")
            asked["prompted"], taken = columns.asked(self._third[1], asked["prompted"], settings)
            opened["third"]["examples"] = taken
        return {**opened, **self._answer(emit, unwanted, asked, decoding, bool(third))}

    def ask_base(
        self, emit: Emit, unwanted: threading.Event, model: dict[str, Any], messages: list[Message], decoding: Any
    ) -> dict[str, Any]:
        """The base alone answers, before anything was trained."""
        from pipeline import sides

        named = from_json(Model, model, "model")
        if not (self._pair and self._key[0].base == named.base and self._key[0].memory == named.memory):
            self._hold((named, None), lambda: sides.open_base(named), emit, unwanted)
        return self._answer(emit, unwanted, {"base": messages}, decoding)

    def _hold(self, key: Any, load: Any, emit: Emit, unwanted: threading.Event) -> Any:
        if self._key == key and self._pair:
            return self._pair
        if self._key is None:
            wait = Wait(emit, unwanted)
            got = self._device.enter_context(device.use(PURPOSE, wait.tell, wait.over))
            if not got:
                self._device.close()
                raise UserError("Stopped while waiting for the device.")
        self._key, self._pair, self._third = (), None, None
        _forget()
        emit({"phase": "loading the model"})
        self._pair = load()
        self._key = key
        return self._pair

    def _beside(self, pair: Pair, run: Path, wish: dict[str, Any], emit: Emit) -> Pair:
        from pipeline import third as columns

        source = run / "checkpoints" / f"checkpoint-{wish.get('step')}"
        if wish.get("kind") == "run":
            source = Path(str(wish.get("folder"))) / "adapter"
        key = (str(run), sorted(wish.items()), _files(source))
        if self._third is None or self._third[0] != key:
            self._third = None
            emit({"phase": "loading the third column"})
            self._third = (key, columns.beside(pair, run, wish))
        return self._third[1]

    def _answer(
        self,
        emit: Emit,
        unwanted: threading.Event,
        asked: dict[str, Sequence[Message]],
        decoding: Any,
        beside: bool = False,
    ) -> dict[str, Any]:
        from pipeline import generate, template, thinking
        from pipeline.generate import Answer

        assert self._pair is not None
        pair = self._third[1] if beside and self._third else self._pair
        settings = from_json(Decoding, decoding, "decoding")
        emit({"phase": "answering"})
        found: dict[str, Any] = {}
        ends = {c: template.prompt_text(pair.reader(c), pair.template, said) for c, said in asked.items()}
        if opened := {column: mark for column, text in ends.items() if (mark := thinking.opened_by(text))}:
            emit({"opened": opened})
            found["opened"] = opened
        for side, piece in generate.stream(pair, asked, settings, unwanted):
            if isinstance(piece, Answer):
                found[side] = dataclasses.asdict(piece)
            else:
                emit({side: piece})
        return found


class Wait:
    """Tells the page now and then whom we wait for, so that it knows we are there, until nobody wants us to."""

    def __init__(self, emit: Emit, unwanted: threading.Event) -> None:
        self.emit, self.unwanted, self.told = emit, unwanted, time.monotonic()

    def tell(self, whom: str) -> None:
        self.emit({"waiting": whom})
        self.told = time.monotonic()

    def over(self) -> bool:
        if time.monotonic() - self.told > TOLD_EVERY_SECONDS:
            self.tell(device.purpose())
        return self.unwanted.is_set()


def _version(named: Model) -> Any:
    """Changes when the adapter of a run is trained further."""
    return _files(Path(str(named.adapter)))


def _files(adapter: Path) -> list[tuple[int, ...]]:
    found = [file.stat() for file in sorted(adapter.glob("*.safetensors"))]
    return [(status.st_mtime_ns, status.st_size, status.st_ino) for status in found]


def _forget() -> None:
    """Give back the memory of a model that nobody refers to any more."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


if __name__ == "__main__":
    engine = Engine()
    child.serve(
        {"warm": engine.warm, "open": engine.open, "compare": engine.compare, "ask_base": engine.ask_base},
        engine.leave_if_waited_for,
    )
