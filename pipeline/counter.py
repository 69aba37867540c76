"""`python -m pipeline.counter`: the child for what takes long, so that looking at rows never waits for it.

It counts the tokens of every row, looks for what nobody should learn, and makes run folders.
"""

from __future__ import annotations

import threading
from typing import Any

from pipeline import child, sensitive
from pipeline.child import Emit
from pipeline.errors import UserError
from pipeline.reader import count, create, prepared
from pipeline.schema import PARTS, to_json


def scan(emit: Emit, unwanted: threading.Event, source: Any) -> list[dict[str, Any]]:
    """What looks like a key, a password, an e-mail or a phone number. Tells {"rows_done", "rows"} meanwhile."""

    def told(done: int, rows: int) -> None:
        if unwanted.is_set():
            raise UserError("Stopped.")
        emit({"rows_done": done, "rows": rows})

    found = prepared(source)
    rows = {row["row"]: row for part in PARTS for row in found.part(part)}
    return [to_json(problem) for problem in sensitive.scan(list(rows.values()), told)]


if __name__ == "__main__":
    verbs: tuple[child.Handler, ...] = (count, create, scan)
    child.serve({verb.__name__: verb for verb in verbs})
