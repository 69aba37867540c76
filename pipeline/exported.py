"""The judged rows of a report as a table, for a spreadsheet (CSV) or a notebook (Parquet)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import files

FORMULA = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "＝",
    "＋",
    "－",
    "＠",
)  # what a spreadsheet takes for the beginning of a formula


def rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One flat row per judged row: number, prompt, reference, both answers, and each score as base, tuned, difference."""
    return [_flat(row) for row in report["rows"]]


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    flat = {
        "row": row["row"],
        "prompt": row["messages"][-1]["content"] if row["messages"] else "",
        "messages": json.dumps(row["messages"], ensure_ascii=False),
        "reference": row["reference"],
    }
    for side in ("base", "tuned"):
        flat |= {
            side: row[side]["text"],
            f"{side}_tokens": row[side]["tokens"],
            f"{side}_stopped": row[side]["stopped"],
        }
    for name, (base, tuned) in row["scores"].items():
        flat |= {f"{name}_base": base, f"{name}_tuned": tuned, f"{name}_difference": tuned - base}
    return {name: _whole(value) if isinstance(value, str) else value for name, value in flat.items()}


def _whole(text: str) -> str:
    """Half a surrogate pair, which UTF-8 can't hold, as the escape it is."""
    return text.encode(errors="backslashreplace").decode()


def csv_text(report: Mapping[str, Any]) -> str:
    """The table as CSV. A text that a spreadsheet would run as a formula begins with an apostrophe."""
    table, stream = rows(report), io.StringIO()
    writer = csv.DictWriter(stream, list(table[0]) if table else ["row"])
    writer.writeheader()
    writer.writerows({name: _safe(value) for name, value in row.items()} for row in table)
    return stream.getvalue()


def _safe(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def write_csv(report: Mapping[str, Any], file: Path) -> None:
    """With a mark at its beginning, without which Excel reads UTF-8 as something else. Raises UserError on a full disk."""
    with files.told_when_full():
        file.write_text(csv_text(report), encoding="utf-8-sig", newline="")


def write_parquet(report: Mapping[str, Any], file: Path) -> None:
    """Texts as they are. Raises UserError on a full disk."""
    import pyarrow  # heavy; for whoever asks for this format
    import pyarrow.parquet

    with files.told_when_full():
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows(report)), file)
