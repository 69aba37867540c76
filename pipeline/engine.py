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

    def leave_if_waited_for(self) -> None:
        if self._key is not None and device.waiting():
            sys.exit(0)

    def warm(self, emit: Emit, unwanted: threading.Event) -> None:
        """Import what every answer needs, so that the first one does not wait for it. Takes no device."""
        with startup.undisturbed():
            from pipeline import generate, sides  # noqa: F401

    def open(self, emit: Emit, unwanted: threading.Event, folder: str) -> dict[str, Any]:
        """Load a run's pair unless it is here already: {mode, self_test}."""
        from pipeline import sides

        run = Path(folder)
        named = sides.of_run(run)

        def load() -> Pair:
            pair = sides.open_pair(named)
            sides.check_template(run, pair.template)
            return pair

        pair = self._hold((named, _version(named)), load, emit, unwanted)
        return {"mode": pair.mode, "self_test": {k: dataclasses.asdict(v) for k, v in pair.self_test.items()}}

    def compare(
        self, emit: Emit, unwanted: threading.Event, folder: str, asked: dict[str, list[Message]], decoding: Any
    ) -> dict[str, Any]:
        """Both sides answer: {"base": text} and {"tuned": text} as they grow; the result has each side's whole Answer."""
        opened = self.open(emit, unwanted, folder)
        return {**opened, **self._answer(emit, unwanted, asked, decoding)}

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
        self._key, self._pair = (), None
        _forget()
        emit({"phase": "loading the model"})
        self._pair = load()
        self._key = key
        return self._pair

    def _answer(
        self, emit: Emit, unwanted: threading.Event, asked: dict[str, Sequence[Message]], decoding: Any
    ) -> dict[str, Any]:
        from pipeline import generate
        from pipeline.generate import Answer

        assert self._pair is not None
        emit({"phase": "answering"})
        found = {}
        settings = from_json(Decoding, decoding, "decoding")
        for side, piece in generate.stream(self._pair, asked, settings, unwanted):
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
    found = [file.stat() for file in sorted(Path(str(named.adapter)).glob("*.safetensors"))]
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
