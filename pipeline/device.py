"""Who uses the one device: a lock, and tickets so that those who wait are served in order.

Reads and writes <home>/device/. Locks belong to the kernel: whoever dies, even by kill -9, waits and holds no more.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline import home, locks

POLL_SECONDS = 0.1


@contextlib.contextmanager
def use(purpose: str, on_wait: Callable[[str], None], give_up: Callable[[], bool] = lambda: False) -> Iterator[bool]:
    """Hold the device. Yields True, or False when `give_up` said so first. `on_wait` is told once whom it waits for."""
    folder = home.home() / "device"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock", is_singleton=False)
    with _ticket(folder) as ticket:
        got = _wait(lock, ticket, on_wait, give_up)
    try:
        if got:
            with contextlib.suppress(OSError):  # a full disk; it is only what others are told they wait for
                (folder / "purpose").write_text(purpose)
        yield got
    finally:
        lock.release()


def purpose() -> str:
    """What the device is used for by whoever took it last."""
    file = home.home() / "device" / "purpose"
    return (file.read_text() if file.exists() else "") or "something else"


def waiting() -> bool:
    """True while somebody holds a ticket for the device: its present user should end soon."""
    return any(_alive(ticket) for ticket in (home.home() / "device").glob("*.ticket"))


def _wait(lock: FileLock, ticket: Path, on_wait: Callable[[str], None], give_up: Callable[[], bool]) -> bool:
    told = False
    while not give_up():
        with contextlib.suppress(Timeout):
            if _first(ticket):
                lock.acquire(timeout=0)
                return True
        locks.free(Path(lock.lock_file))
        if not told:
            on_wait(purpose())
            told = True
        time.sleep(POLL_SECONDS)
    return False


def _first(mine: Path) -> bool:
    return not any(_alive(ticket) for ticket in sorted(mine.parent.glob("*.ticket")) if ticket.name < mine.name)


@contextlib.contextmanager
def _ticket(folder: Path) -> Iterator[Path]:
    """A locked file whose name says when it came. It gets its name once locked, so that it is never seen unlocked.

    It comes after those that are there, even when the clock was set back.
    """
    numbers = [each.name.partition("-")[0] for each in folder.glob("*.ticket")]
    number = max([time.time_ns(), *(int(each) + 1 for each in numbers if each.isdecimal())])
    name = f"{number:020d}-{os.getpid()}"
    hidden, ticket = folder / f".{name}", folder / f"{name}.ticket"
    with FileLock(hidden, timeout=0, is_singleton=False):
        os.rename(hidden, ticket)
        try:
            yield ticket
        finally:
            ticket.unlink(missing_ok=True)


def _alive(ticket: Path) -> bool:
    """Whether its owner lives. A ticket nobody locks is swept away; no later one has its name."""
    if locks.held(ticket):
        return True
    with contextlib.suppress(OSError):  # a disk that became read-only
        ticket.unlink(missing_ok=True)
    return False
