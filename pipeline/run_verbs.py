"""The command line's verbs for what becomes of runs: adopt, import, diff, rename, delete, download."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.table import Table

from pipeline import archive, config, differences, following, jobs, terminal
from pipeline.errors import UserError
from pipeline.schema import MEMORIES, Source
from pipeline.terminal import escape

Answer = tuple[Any, int]
Verb = Callable[[Any], Answer]


def add(verb: Callable[[str, Verb, str], ArgumentParser]) -> None:
    """Each verb with its options; `verb` makes the parser of one."""
    run = {name: verb(name, does, about) for name, does, about in VERBS}
    for name in ("adopt", "diff", "rename", "delete", "download"):
        run[name].add_argument("run", help="a run's id or folder")
    run["adopt"].add_argument("--step", type=int, required=True, metavar="N", help="the step of a checkpoint")
    run["diff"].add_argument("other", metavar="run", help="the run it is compared with")
    run["rename"].add_argument("to", metavar="name", help="its new name; the id stays")
    run["delete"].add_argument("--yes", action="store_true", help="really: it can't be brought back")
    run["download"].add_argument("--out", type=Path, metavar="FILE", help="the zip; named after the run when left out")
    run["download"].add_argument("--rows", action="store_true", help="with the rows of the data, too")
    add_import(run["import"])


def add_import(parser: ArgumentParser) -> None:
    parser.add_argument("adapter", help="its folder, a zip of it, or its name on the Hub")
    parser.add_argument(
        "--base", metavar="MODEL", default="", help="its base; what the adapter itself names when left out"
    )
    parser.add_argument("--revision", help="commit, branch or tag of the base")
    parser.add_argument(
        "--dataset", metavar="FILE", help="rows to judge it on: those a run on this file would hold out"
    )
    parser.add_argument("--name", default="", help="the run's name; the adapter's own when left out")
    parser.add_argument("--memory", choices=MEMORIES, default="auto", help="how the base is held")
    parser.add_argument(
        "--template", default="", help="a template's name; the adapter's own when left out, else its base's"
    )


def adopt_verb(asked: Any) -> Answer:
    folder = jobs.find(asked.run)
    before = following.bytes_told(folder)
    jobs.adopt(folder, asked.step)
    return following.finish(folder, asked, 0.0, before)


def import_verb(asked: Any) -> Answer:
    from pipeline.imports import Wanted, bring, stored_token  # heavy: torch, transformers, peft

    source = config.locate_source(Source(asked.dataset), Path.cwd()) if asked.dataset else None
    wanted = Wanted(asked.adapter, asked.base, asked.revision, asked.name, asked.memory, asked.template)
    folder = bring(wanted, source, stored_token(), tell=_quiet if asked.json else _tell)
    if not asked.json:
        terminal.err.print(f"imported as {folder.name}", markup=False)
    if jobs.after_training(folder):
        jobs.start(folder, "evaluate")
    return following.finish(folder, asked, 0.0)


def _tell(told: dict[str, Any]) -> None:
    terminal.err.print(f"  {told['phase']} {told.get('text', '')}".rstrip(), markup=False)


def _quiet(told: dict[str, Any]) -> None:
    pass


def diff_verb(asked: Any) -> Answer:
    found = differences.beside(jobs.find(asked.run), jobs.find(asked.other))
    if not asked.json:
        show_beside(found)
    return found, 0


def show_beside(found: dict[str, Any]) -> None:
    """What differs between two runs, then their losses and scores."""
    names = [escape(run["run"]) for run in found["runs"]]
    settings = Table("setting", *names, title="What differs", title_justify="left")
    for name, *values in found["differences"]:
        settings.add_row(escape(name), *(escape(_shown(value)) for value in values))
    terminal.out.print(settings if found["differences"] else "The two were asked for the same.")
    scores = Table("", *names, title="What came of them", title_justify="left")
    for key in ("status", "loss", "validation_loss"):
        scores.add_row(key.replace("_", " "), *(_shown(run[key]) for run in found["runs"]))
    for name, pair in found["metrics"].items():
        scores.add_row(name, *(_shown(score and score["tuned"]) for score in pair))
    terminal.out.print(scores)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)[:80]


def rename_verb(asked: Any) -> Answer:
    folder = jobs.find(asked.run)
    archive.rename(folder, asked.to)
    return _summed(asked, folder)


def delete_verb(asked: Any) -> Answer:
    folder = jobs.find(asked.run)
    if not asked.yes:
        raise UserError(f"Deleting {folder.name} can't be undone; say so with --yes.")
    freed = archive.disk_use(folder).whole
    archive.delete(folder)
    if not asked.json:
        terminal.out.print(f"deleted {folder.name}, {freed / 1e6:.1f} MB", markup=False)
    return {"run": folder.name, "deleted": True, "bytes": freed}, 0


def download_verb(asked: Any) -> Answer:
    folder = jobs.find(asked.run)
    file = archive.pack(folder, asked.out or Path(f"{folder.name}.zip"), rows=asked.rows)
    size = file.stat().st_size
    if not asked.json:
        terminal.out.print(f"{file}, {size / 1e6:.1f} MB", markup=False, soft_wrap=True)
    return {"run": folder.name, "file": str(file), "bytes": size}, 0


def _summed(asked: Any, folder: Path) -> Answer:
    found = jobs.summary(folder)
    if not asked.json:
        terminal.show_runs([found])
    return found, 0


VERBS: tuple[tuple[str, Verb, str], ...] = (
    ("adopt", adopt_verb, "make one of its checkpoints a run's adapter, and judge it again"),
    ("import", import_verb, "somebody's adapter as a run: compare it, judge it, merge it"),
    ("diff", diff_verb, "two runs beside each other: settings that differ, losses, scores"),
    ("rename", rename_verb, "give a run another name"),
    ("delete", delete_verb, "remove a run for good"),
    ("download", download_verb, "a run's adapter, settings and scores as a zip"),
)
