"""<home>/votes.sqlite: its tables, and one transaction at a time for any number of processes and threads.

In WAL mode, so that readers and a writer don't wait for each other; written through to the disk with each transaction
(synchronous FULL): it costs milliseconds, and a vote is seconds of a person's care.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from pipeline import home
from pipeline.errors import UserError

FILE = "votes.sqlite"
BUSY_SECONDS = 30.0
TABLES = """
create table rounds (
    round text primary key, run text not null, items integer not null, token text unique, opened real not null,
    revealed real);
create table judges (
    number integer primary key autoincrement, round text not null references rounds on delete cascade,
    judge text not null, name text not null, joined real not null, unique (round, judge));
create table votes (
    number integer primary key autoincrement, round text not null, item integer not null, judge text not null,
    choice text not null check (choice in ('left', 'right', 'tie', 'bad')), scores text not null, note text not null,
    made real not null, unique (round, item, judge),
    foreign key (round, judge) references judges (round, judge) on delete cascade);
pragma user_version = 1;
"""


def exists() -> bool:
    """Whether anybody was ever asked to vote here."""
    return (home.home() / FILE).exists()


@contextlib.contextmanager
def opened(write: bool = True) -> Iterator[sqlite3.Connection]:
    """One transaction on a connection of its own; undone unless the block ends well. Writers wait for each other.

    A writer begins as one: a transaction that read first could not wait, what it had read might be out of date.
    """
    file = home.home() / FILE
    try:
        _make(file)
        with contextlib.closing(sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
            connection.execute("pragma synchronous = full")
            connection.execute("pragma foreign_keys = on")
            connection.execute("begin immediate" if write else "begin")
            yield connection
            connection.execute("commit")
    except sqlite3.Error as error:
        raise UserError(
            f"{FILE} in the home folder can't be used ({error}); nothing was kept just now. {_remedy(error)}"
        ) from error


def _remedy(error: sqlite3.Error) -> str:
    if isinstance(error, sqlite3.OperationalError):
        return "Free some space or make it writable, and try again."
    return "Put a copy of it back, or move it away to begin with no votes."


def _make(file: Path) -> None:
    """The file with its tables, whole or not at all: WAL mode can't be set while another process looks."""
    if file.exists():
        return
    with FileLock(file.with_name(f".{FILE}.lock"), is_singleton=False):
        if file.exists():
            return
        temporary = file.with_name(f".{FILE}.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(temporary)) as connection:
            connection.execute("pragma journal_mode = wal")
            connection.executescript(TABLES)
        temporary.chmod(0o600)
        os.replace(temporary, file)
