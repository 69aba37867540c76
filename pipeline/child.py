"""A helper process of the page: start, ask, stream, time out, end. JSON lines over a socketpair.

Reads and writes nothing but <home>/<name>.log, where the child's own output goes. A fault of the GPU, a kill for memory
or a hostile template costs one child, never the page.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator
from typing import Any, NoReturn

from pipeline import home, jobs, startup
from pipeline.errors import UserError

IDLE_SECONDS = 0.2
GONE_SECONDS = 5.0
QUEUE_SECONDS = 1800.0  # how long a question may wait for those before it
LOG_BYTES = 1 << 20
Emit = Callable[[Any], None]
Handler = Callable[..., Any]


class Ended(Exception):
    """The child is gone before it had answered."""


class Child:
    """One process of `python -m pipeline.<name>` (see startup), started when it is needed. Any thread may ask."""

    def __init__(self, name: str, package: str = "pipeline") -> None:
        self.name, self.module = name, f"{package}.{name}"
        self._guard = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._waiting: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._last = 0

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process unless it runs already; returns at once."""
        with self._guard:
            self._start()

    def _start(self) -> None:
        if self.alive and self._socket:
            return
        self._let_go()
        ours, theirs = socket.socketpair()
        file = home.home() / f"{self.name}.log"
        mode = "wb" if not file.exists() or file.stat().st_size > LOG_BYTES else "ab"
        with theirs, file.open(mode) as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.startup", self.module, str(theirs.fileno())],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=jobs.environment(),
                pass_fds=[theirs.fileno()], start_new_session=True,
            )  # fmt: skip
        self._socket = ours
        waiting: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._waiting = waiting
        threading.Thread(target=_dispatch, args=(ours, waiting), daemon=True).start()

    def ask(self, verb: str, seconds: float, **values: Any) -> Any:
        """The child's one answer. Raises UserError for its sentence or when `seconds` are over (the child is ended then)."""
        items = self.stream(verb, seconds, **values)
        while True:
            try:
                next(items)
            except StopIteration as end:
                return end.value

    def stream(
        self, verb: str, seconds: float, stop: threading.Event | None = None, **values: Any
    ) -> Generator[Any, None, Any]:
        """What the child tells while it works, piece by piece; its result is the generator's return value.

        Setting `stop`, or closing the generator, asks the child to stop; it then tells what it has. `seconds` is the
        longest silence once it has begun: then the child is ended.
        A child that just went of its own accord (somebody else wanted the device) is started again.
        """
        for again in (True, False):
            try:
                return (yield from self._stream(verb, seconds, stop, values))
            except Ended:
                if not (again and self._left()):
                    break
        raise UserError(
            f"The {self.name} process ended before it had answered: memory ran out, or the question before took too "
            "long. Try again."
        )

    def _left(self) -> bool:
        """Whether the process that ended did so of its own accord."""
        process = self._process
        try:
            return process is not None and process.wait(timeout=GONE_SECONDS) == 0
        except subprocess.TimeoutExpired:  # another question has started the next one already
            return True

    def _stream(
        self, verb: str, seconds: float, stop: threading.Event | None, values: dict[str, Any]
    ) -> Generator[Any, None, Any]:
        number, told = self._send(verb, values)
        begun = done = False
        try:
            while True:
                message = self._hear(number, told, seconds if begun else QUEUE_SECONDS, stop)
                if not message:
                    self._give_up(begun, seconds)
                begun, done = True, not {"begun", "item"} & message.keys()
                if "item" in message:
                    yield message["item"]
                elif "done" in message:
                    return message["done"]
                elif message.get("ended"):
                    raise Ended(self.name)
                elif "error" in message:
                    raise UserError(message["error"])
        finally:
            if not done:
                self._post({"cancel": number})
            self._waiting.pop(number, None)

    def _hear(
        self, number: int, told: queue.SimpleQueue[dict[str, Any]], seconds: float, stop: threading.Event | None
    ) -> dict[str, Any]:
        """The next message, or nothing when there is none in time. Passes a wish to stop on to the child once."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if stop and stop.is_set():
                self._post({"cancel": number})
                stop = None
            with contextlib.suppress(queue.Empty):
                return told.get(timeout=IDLE_SECONDS if stop else max(0.0, deadline - time.monotonic()))
        return {}

    def _give_up(self, begun: bool, seconds: float) -> NoReturn:
        """A question that hangs takes its child with it; one that still waits for its turn takes only itself back."""
        if not begun:
            raise UserError(f"The {self.name} is busy with something else; try again in a while.")
        self.end()
        raise UserError(f"No answer within {seconds:.0f} s, so it was stopped; try again with less.")

    def _send(self, verb: str, values: dict[str, Any]) -> tuple[int, queue.SimpleQueue[dict[str, Any]]]:
        with self._guard:
            self._start()
            self._last += 1
            number, told = self._last, queue.SimpleQueue[dict[str, Any]]()
            self._waiting[number] = told
        if not self._post({"id": number, "verb": verb, "values": values}):
            told.put({"ended": True})
        return number, told

    def _post(self, message: dict[str, Any]) -> bool:
        line = json.dumps(message).encode() + b"\n"
        with self._guard:
            try:
                if self._socket:
                    self._socket.sendall(line)
                    return True
            except OSError:
                pass
        return False

    def end(self) -> None:
        """End the process now; the next question starts another."""
        with self._guard:
            self._let_go()

    def _let_go(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
        if self._socket:
            with contextlib.suppress(OSError):  # the dispatcher's read ends with it
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
        self._process = self._socket = None


def _dispatch(source: socket.socket, waiting: dict[int, queue.SimpleQueue[dict[str, Any]]]) -> None:
    """Hand every line of a child to whoever asked; when it is gone, say so to all who still wait."""
    with contextlib.suppress(OSError, ValueError), source.makefile("rb") as lines:
        for line in lines:
            message = json.loads(line)
            asker = waiting.get(message["id"])
            if asker:
                asker.put(message)
    for asker in list(waiting.values()):
        asker.put({"ended": True})


def serve(handlers: dict[str, Handler], idle: Callable[[], None] = lambda: None) -> None:
    """The child's side: answer what is asked, in order, until the page is gone.

    A handler gets `emit(item)` and a threading.Event that is set when nobody wants the answer any more, then the values.
    """
    startup.settle()
    pipe = socket.socket(fileno=int(sys.argv[1]))
    asked: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    unwanted: dict[int, threading.Event] = {}
    threading.Thread(target=_listen, args=(pipe, asked, unwanted), daemon=True).start()
    while True:
        try:
            question = asked.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            idle()
            continue
        number = question["id"]
        if unwanted[number].is_set():
            answer = {"error": "Stopped before it began."}
        else:
            answer = _answer(handlers, question, unwanted[number], pipe)
        with contextlib.suppress(OSError):  # the page is gone; the listener is about to end this process
            pipe.sendall(json.dumps({"id": number, **answer}).encode() + b"\n")
        del unwanted[number]


def _answer(
    handlers: dict[str, Handler], question: dict[str, Any], unwanted: threading.Event, pipe: socket.socket
) -> dict[str, Any]:
    def tell(**message: Any) -> None:
        pipe.sendall(json.dumps({"id": question["id"], **message}).encode() + b"\n")

    def emit(item: Any) -> None:
        tell(item=item)

    try:
        tell(begun=True)
        return {"done": handlers[question["verb"]](emit, unwanted, **question["values"])}
    except UserError as error:
        return {"error": str(error)}
    except Exception as error:
        from pipeline.job import explain

        traceback.print_exc()
        return {"error": explain(error)}


def _listen(
    pipe: socket.socket, asked: queue.SimpleQueue[dict[str, Any]], unwanted: dict[int, threading.Event]
) -> None:
    with contextlib.suppress(OSError, ValueError), pipe.makefile("rb") as lines:
        for line in lines:
            message = json.loads(line)
            if "cancel" in message:
                if message["cancel"] in unwanted:
                    unwanted[message["cancel"]].set()
                continue
            unwanted[message["id"]] = threading.Event()
            asked.put(message)
    os._exit(0)  # the page is gone: whatever is being computed, nobody waits for it
