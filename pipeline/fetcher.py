"""`python -m pipeline.fetcher`: the child that reads datasets on the Hub, so that neither rows nor counts wait for a network.

Tokens are handed in with each question and kept nowhere. It ends itself when nobody has asked it for a while.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any, TypeVar

from pipeline import child, hub_rows
from pipeline.child import Emit

IDLE_SECONDS = 120.0
T = TypeVar("T")


class Fetcher:
    """hub_rows as verbs. A token of None is nobody's, never this machine's."""

    def __init__(self) -> None:
        self._asked = time.monotonic()

    def offer(self, emit: Emit, unwanted: threading.Event, repo: str, token: str | None) -> dict[str, Any]:
        """What a dataset offers: its configs and their splits."""
        return self._after(hub_rows.offer(repo, token))

    def peek(
        self, emit: Emit, unwanted: threading.Event, repo: str, config: str | None, split: str | None,
        token: str | None, sha: str | None,
    ) -> dict[str, Any]:  # fmt: skip
        """Its first rows, without downloading it."""
        return self._after(hub_rows.peek(repo, config, split, token, sha=sha))

    def fetch(
        self, emit: Emit, unwanted: threading.Event, repo: str, config: str | None, split: str | None,
        token: str | None, sha: str | None,
    ) -> str:  # fmt: skip
        """Its rows as an upload, whose id is told. Tells {"rows_done", "rows"} meanwhile, and {"cut"} at the end."""
        return self._after(hub_rows.fetch(repo, config, split, token, emit, unwanted, sha=sha))

    def _after(self, found: T) -> T:
        self._asked = time.monotonic()
        return found

    def leave_when_idle(self) -> None:
        if time.monotonic() - self._asked > IDLE_SECONDS:
            os._exit(0)  # whoever asks next starts another


if __name__ == "__main__":
    fetcher = Fetcher()
    child.serve({"offer": fetcher.offer, "peek": fetcher.peek, "fetch": fetcher.fetch}, fetcher.leave_when_idle)
