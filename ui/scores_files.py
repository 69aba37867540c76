"""The judged rows of a run as files: made when somebody asks, in the page's own cache, from where they are fetched."""

from __future__ import annotations

import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from pipeline import exported, jobs
from pipeline.errors import UserError
from ui import access, errors, scores_state, texts

WRITE_PARQUET = """import json, sys, pathlib
from pipeline import exported
exported.write_parquet(json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")), pathlib.Path(sys.argv[2]))"""
PARQUET_SECONDS = 120.0


@errors.shown
def save_csv(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None) -> Any:
    """A table for spreadsheets."""
    who = access.visitor(request, profile, "download scores")
    folder = access.run(who, run)
    report = measured(folder)
    file = place(folder, "csv")
    exported.write_csv(report, file)
    return gr.DownloadButton(value=file)


@errors.shown
def save_parquet(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None) -> Any:
    """A table for programs. What writes it is large, so it is a process of its own that does."""
    who = access.visitor(request, profile, "download scores")
    folder = access.run(who, run)
    measured(folder)
    file = place(folder, "parquet")
    written = subprocess.run(
        [sys.executable, "-c", WRITE_PARQUET, str(folder / "report.json"), str(file)], env=jobs.environment(),
        capture_output=True, text=True, timeout=PARQUET_SECONDS, check=False,
    )  # fmt: skip
    if written.returncode:
        raise UserError(texts.NOT_SAVED.format(text=(written.stderr.strip().splitlines() or [""])[-1][:200]))
    return gr.DownloadButton(value=file)


def measured(folder: Path) -> dict[str, Any]:
    """The report with its rows. Raises UserError where there is none."""
    report = scores_state.report_of(folder)
    if report is None or not report.get("rows"):
        raise UserError(texts.NOTHING_TO_SAVE)
    return report


def place(folder: Path, kind: str) -> Path:
    """Where the file goes: a name nobody can guess; it is removed there after a day."""
    home = Path(get_upload_folder()) / secrets.token_hex(20)
    home.mkdir(parents=True)
    return home / f"{folder.name}-scores.{kind}"
