"""One device, one user of it: who waits is told for what, is served in order, and the dead neither hold nor wait."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from pipeline import device, home

WANTS = """
import sys
from pipeline import device
with device.use(sys.argv[1], lambda whom: print("waits for", whom, flush=True)) as got:
    print("has it", flush=True)
    sys.stdin.readline()
"""


class Process(subprocess.Popen[str]):
    """Wants the device for a purpose, says what happens to it, and keeps it until it is told to end."""

    def __init__(self, purpose: str) -> None:
        pipe = subprocess.PIPE
        super().__init__([sys.executable, "-c", WANTS, purpose], stdin=pipe, stdout=pipe, text=True, bufsize=1)
        self.said: queue.Queue[str] = queue.Queue()
        threading.Thread(target=lambda: [self.said.put(line.strip()) for line in self.stdout], daemon=True).start()

    def says(self) -> str:
        return self.said.get(timeout=60)

    def end(self) -> None:
        self.stdin.write("\n")
        self.stdin.flush()


@pytest.fixture
def wants():
    """Starts a process that wants the device for a purpose."""
    started: list[Process] = []

    def start(purpose: str) -> Process:
        started.append(Process(purpose))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def until(true: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_the_second_waits_and_is_told_for_what(wants):
    """The first has it at once; the second hears the first's purpose, and has it when the first ends."""
    first = wants("training of a")
    assert first.says() == "has it"
    assert not device.waiting()
    second = wants("merge of b")
    assert second.says() == "waits for training of a"
    assert device.waiting()
    first.end()
    assert second.says() == "has it"
    assert device.purpose() == "merge of b"
    assert not device.waiting()


def test_tickets_are_served_in_order(wants):
    """Who came first is served first, however often the others look."""
    holder = wants("holder")
    assert holder.says() == "has it"
    line = []
    for number in range(4):
        line.append(wants(f"number {number}"))
        assert line[-1].says() == "waits for holder"
    holder.end()
    for number, process in enumerate(line):
        assert process.says() == "has it"
        assert device.purpose() == f"number {number}"
        process.end()


def test_a_killed_holder_and_a_killed_waiter_are_passed_over(wants):
    """The kernel takes lock and ticket from the dead; nobody has to tidy up."""
    holder = wants("holder")
    assert holder.says() == "has it"
    waiter = wants("waiter")
    assert waiter.says() == "waits for holder"
    last = wants("last")
    assert last.says() == "waits for holder"
    os.kill(waiter.pid, signal.SIGKILL)
    os.kill(holder.pid, signal.SIGKILL)
    assert last.says() == "has it"
    until(lambda: not list((home.home() / "device").glob("*.ticket")))


def test_who_gives_up_gets_nothing_and_leaves_no_ticket(wants):
    """`give_up` ends the waiting, and counts even when the device is free."""
    holder, told = wants("holder"), []
    assert holder.says() == "has it"
    deadline = time.monotonic() + 0.3
    with device.use("impatient", told.append, lambda: time.monotonic() > deadline) as got:
        assert got is False
    assert told == ["holder"]
    assert not device.waiting()
    holder.end()
    holder.wait()
    with device.use("nobody", told.append, lambda: True) as got:
        assert got is False
    with device.use("me", told.append) as got:
        assert got is True


def test_an_error_while_holding_gives_the_device_back(wants):
    """The lock is freed by whatever ends the block."""
    with pytest.raises(RuntimeError), device.use("me", print):
        raise RuntimeError
    assert wants("next").says() == "has it"
