"""The page's helper processes: the engine answers, the reader reads what was uploaded, the counter does what takes long."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator
from typing import Any

from pipeline.child import Child
from pipeline.errors import UserError

ENGINE = Child("engine")
READER = Child("reader")
COUNTER = Child("counter")  # started when there is something to count
WARM_SECONDS = 300.0
SILENCE_SECONDS = 900.0  # a large model may take minutes to load; waiting for the device is told again and again
FRAME_SECONDS = 0.05  # the page is redrawn at most twenty times a second; it knows no back-pressure


def warm() -> None:
    """Start the first two in the background, one after the other: their imports are hidden behind the first look at the page."""
    threading.Thread(target=_warm, daemon=True).start()


def _warm() -> None:
    for helper in (ENGINE, READER):
        try:
            helper.ask("warm", WARM_SECONDS)
        except UserError as error:  # whoever asks it something will be told then
            print(error)


async def follow(
    helper: Child, verb: str, stop: threading.Event | None = None, **values: Any
) -> AsyncIterator[list[dict[str, Any]]]:
    """What a child tells, gathered per frame; the last item is {"result": ...}.

    Setting `stop` asks the child for what it has; leaving the loop early stops it, too.
    """
    stop, finished = stop or threading.Event(), False
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(helper, verb, values, stop, told), daemon=True).start()
    try:
        while True:
            await asyncio.sleep(FRAME_SECONDS)
            items = []
            while not told.empty():
                items.append(told.get())
            if items and isinstance(items[-1], Exception):
                raise items[-1]
            finished = bool(items) and "result" in items[-1]
            if items:
                yield items
            if finished:
                return
    finally:
        if not finished:
            stop.set()


def _listen(
    helper: Child, verb: str, values: dict[str, Any], stop: threading.Event, told: queue.SimpleQueue[Any]
) -> None:
    items = helper.stream(verb, SILENCE_SECONDS, stop, **values)
    try:
        while True:
            told.put(next(items))
    except StopIteration as end:
        told.put({"result": end.value})
    except Exception as error:  # it belongs to whoever follows
        told.put(error)
