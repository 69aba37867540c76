"""The command line's `evaluate`: judge a run, with metrics of the Hub if asked for, and the judged rows as a table."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from pipeline import exported, files, following, jobs, terminal, verdict
from pipeline.errors import UserError


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="ID",
        help="a metric of the Hub, too; its code is fetched and run",
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="the judged rows with every score, for a spreadsheet")
    parser.add_argument("--parquet", type=Path, metavar="FILE", help="the same for a notebook")


def evaluate(asked: Any) -> tuple[Any, int]:
    """Raises UserError, before anything is computed, where a table can't be written."""
    for file in (asked.csv, asked.parquet):
        if file and not file.absolute().parent.is_dir():
            raise UserError(f"{file}: there is no folder {file.absolute().parent}; make it, or name another one.")

    def start(folder: Path) -> None:
        if asked.metric and jobs.status(folder) != "running":
            files.write_json(folder / "evaluate.json", {"metrics": asked.metric})
        jobs.start(folder, "evaluate")

    folder = following.work(asked, "evaluate", start)
    code = following.code_of(folder)
    report = None if code else fresh(folder)
    if report is None:
        return {"run": folder.name, "n": None, "metrics": {}}, code
    for file, write in ((asked.csv, exported.write_csv), (asked.parquet, exported.write_parquet)):
        if file:
            write(report, file)
    if not asked.json:
        terminal.show_report(folder)
    told = {name: report.get(name, {}) for name in ("n", "metrics", "measures", "identical")}
    return {"run": folder.name, **told, "verdict": verdict.of(report)}, 0


def fresh(folder: Path) -> dict[str, Any] | None:
    """The report, if the run's last evaluation came to its end: one that was stopped leaves an older one in its place."""
    file = folder / "report.json"
    finished = jobs.job_status(folder, "evaluate") == "finished" and file.exists()
    return dict(jobs.read_json(file)) if finished else None
