"""`python -m pipeline fetch REPO`: a dataset on the Hub as a file of rows, which every other verb takes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from pipeline import terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("repo", help="user/name, or the address of the dataset's page")
    parser.add_argument("--config", help="which of its configs; the usual one by default")
    parser.add_argument("--split", help="which of its splits; train by default")
    parser.add_argument("--out", type=Path, default=Path(), help="the file to write, or a folder for it")


def fetch(asked: Any) -> tuple[dict[str, Any], int]:
    """Fetch with this machine's own login, if it has one: {"file", "rows", "cut"} and the exit code."""
    from huggingface_hub import get_token  # the Hub's client takes a moment to import

    from pipeline import hub_rows

    with Fetching(quiet=asked.json) as told:
        file = hub_rows.fetch_to(asked.out, asked.repo, asked.config, asked.split, get_token(), told)
    found = {"file": str(file), "rows": told.last["rows_done"], "cut": told.last["cut"]}
    if not asked.json:
        terminal.out.print(terminal.escape(f"{found['rows']:,} rows in {file}"))
        if found["cut"]:
            terminal.err.print(terminal.escape(found["cut"]), style="yellow")
    return found, 0


class Fetching:
    """A line with a bar, as far as it is known how many rows there are; gone in the end. `last` is what was told last."""

    def __init__(self, quiet: bool) -> None:
        self.last: dict[str, Any] = {}
        columns = (TextColumn("{task.description}"), BarColumn())
        silent = quiet or not terminal.err.is_terminal
        self.progress = Progress(*columns, console=Console(quiet=True) if silent else terminal.err, transient=True)

    def __enter__(self) -> Fetching:
        self.progress.start()
        self.progress.add_task("asking the Hub", total=None)
        return self

    def __exit__(self, *failure: object) -> None:
        self.progress.stop()

    def __call__(self, told: dict[str, Any]) -> None:
        self.last = told
        done, rows = told["rows_done"], told["rows"]
        words = f"{done:,} of {rows:,} rows" if rows else f"{done:,} rows"
        self.progress.update(self.progress.task_ids[0], description=words, completed=done, total=rows)
