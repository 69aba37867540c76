"""What a person at a terminal sees: tables, progress bars, coloured tokens. Results go to standard output, progress to error."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape as escape_markup
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from pipeline import events, jobs, measures, trust, verdict
from pipeline.schema import Event, Problem

POLL_SECONDS = 0.1
SHOWN_ROWS = 12
BAR_WIDTH = 40
LOWER_IS_BETTER = ("loss", "perplexity")
COLOURS = {"good": "green", "warning": "yellow", "bad": "red", "plain": ""}

# emoji=False: ":smile:" in a row or an answer is seven characters, not a picture
out = Console(highlight=False, emoji=False)
err = Console(stderr=True, highlight=False, emoji=False)


# control characters (ESC above all) in rows or answers are shown as their pictures, never obeyed by the terminal
CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | dict.fromkeys(
    range(127, 160), 65533
)


def visible(text: str) -> str:
    return text.translate(CONTROLS)


def escape(text: str) -> str:
    """Somebody's text as it may stand between our own markup."""
    return escape_markup(visible(text))


def follow(folder: Path, quiet: bool, offset: int = 0) -> None:
    """Show a run's events from byte `offset` on to the end of its last job. Interrupting this does not stop the run."""
    file = folder / "events.jsonl"
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=Console(quiet=True) if quiet else err, transient=True) as progress:
        progress.add_task("starting", total=None, text="")
        while True:
            running = jobs.status(folder) == "running"
            told, offset = events.since(file, offset)
            for event in told:
                _show_event(progress, event)
            if not running:
                return
            time.sleep(POLL_SECONDS)


def _show_event(progress: Progress, event: Event) -> None:
    values, task = event.values, progress.task_ids[-1]
    if event.kind == "phase":  # a bar of its own, for a phase may have no known end
        progress.remove_task(task)
        name = f"{event.job}: {values.get('phase', '')}"
        progress.add_task(name, total=values.get("steps") or None, text=escape(event.text))
    elif event.kind == "loss":
        text = f"loss {values['loss']:.3f}, {values['tokens_per_second']:.0f} tokens/s, {duration(values['eta_seconds'])} left"
        progress.update(task, completed=event.step, text=text)
    elif event.kind == "progress":
        done = values.get("done") if event.step is None else event.step
        progress.update(task, completed=done, total=values.get("of"), text=_sent(values) if "file" in values else "")
    elif event.kind == "validation":
        progress.console.print(f"  step {event.step}: validation loss {values['loss']:.3f}")
    elif event.text and event.kind != "failed":  # told by whoever followed, with the run's name
        progress.console.print(f"  {event.job}: {escape(event.text)}")


def _sent(values: dict[str, Any]) -> str:
    return f"{escape(values['file'])}: {values['done'] / 1e6:.1f} of {values['total'] / 1e6:.1f} MB"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def show_problems(problems: Sequence[Problem]) -> None:
    for problem in problems:
        err.print(f"  {escape(problem.sentence)}", style="yellow")


class Counting:
    """A bar for {"rows_done", "rows"}, drawn from the first of them on and gone in the end."""

    def __init__(self, quiet: bool) -> None:
        columns = (TextColumn("counting tokens"), BarColumn(), MofNCompleteColumn(), TextColumn("rows"))
        silent = quiet or not err.is_terminal
        self.progress = Progress(*columns, console=Console(quiet=True) if silent else err, transient=True)

    def __enter__(self) -> Counting:
        return self

    def __exit__(self, *failure: object) -> None:
        if self.progress.task_ids:  # else it would leave an empty line
            self.progress.stop()

    def __call__(self, told: dict[str, int]) -> None:
        self.progress.start()
        task = self.progress.task_ids[0] if self.progress.task_ids else self.progress.add_task("")
        self.progress.update(task, completed=told["rows_done"], total=told["rows"])


def show_inspection(found: dict[str, Any]) -> None:
    out.print(f"[bold]{found['shape']}[/]: {found['conversations']} conversations from {found['rows']} rows")
    out.print(f"columns: {escape(', '.join(f'{column} = {role}' for column, role in found['columns'].items()))}")
    if found["evidence"]:
        out.print(escape(found["evidence"]))
    out.print(f"train {found['train']}, validation {found['validation']}, held-out {found['held_out']}")
    out.print(f"{found['badge']['rows']:,} rows: {found['badge']['words']}")
    if found["statistics"]:
        show_statistics(found["statistics"])
    for problem in found["problems"]:
        out.print(f"- {escape(problem['sentence'])}", style="yellow")
        for choice, effect in problem["effects"].items():
            if choice != problem["chosen"]:
                out.print(f"  --choices {problem['kind']}={choice}: {escape(effect)}", style="dim")


def show_statistics(counted: dict[str, Any]) -> None:
    """The histogram of the token lengths with max length in it, and the figures below."""
    drawn, cut = counted["sample"], counted["max_length"]
    of = f", a sample of {drawn['rows']:,} of {drawn['of']:,} rows" if drawn else ""
    out.print(f"\ntokens per row{of}:")
    out.print("\n".join(_bars(counted["histogram"], cut)), markup=False)
    out.print("\n" + ", ".join(f"{name} {value:,}" for name, value in counted["lengths"].items()))
    broken = "1 answer" if counted["broken"] == 1 else f"{counted['broken']:,} answers"
    out.print(f"cut at {cut:,} tokens: {counted['truncated_share']:.1%} of the rows, {broken} broken off")
    if counted["learned_share"] is not None:
        out.print(f"learned: {counted['learned_share']:.1%} of the tokens")
    out.print("turns: " + ", ".join(f"{entry['turns']} in {entry['rows']:,} of the rows" for entry in counted["turns"]))
    out.print(
        f"suggested max length: {counted['suggested_max_length']:,} holds {counted['suggested_share']:.1%} of the rows"
    )


def _bars(bins: Sequence[dict[str, Any]], cut: int) -> list[str]:
    """One line per bin from the first that holds a row; a line across where rows are cut."""
    block = "\u2588" if out.encoding.lower().startswith("utf") else "#"
    most = max(each["rows"] for each in bins)
    width = len(f"{bins[-1]['low']:,}")
    bins = bins[next(place for place, each in enumerate(bins) if each["rows"]) :]
    lines = []
    for place, each in enumerate(bins):
        if each["low"] >= cut and (place == 0 or bins[place - 1]["low"] < cut):
            lines.append(f"{'':{width}}  {'-' * 12} max length {cut:,}: longer rows are cut {'-' * 12}")
        size = max(1 if each["rows"] else 0, round(BAR_WIDTH * each["rows"] / most))
        more = "+" if each["high"] is None else " "
        lines.append(f"{each['low']:>{width},}{more} {block * size} {each['rows'] or ''}".rstrip())
    return lines


def show_preview(found: dict[str, Any]) -> None:
    """The row's text with learned tokens underlined in green, cut ones struck through."""
    cut = found["truncated_at"]
    text = Text()
    for place, (piece, trained) in enumerate(zip(found["tokens"], found["trained"], strict=True)):
        text.append(
            visible(piece),
            style="strike dim" if cut is not None and place >= cut else "underline green" if trained else "",
        )
    out.print(text)
    learned = sum(found["trained"])
    out.print(
        f"\n{len(found['ids'])} tokens, {learned} learned (underlined)"
        + (f", cut after {cut}" if cut is not None else "")
        + (" and left out, as was chosen" if found["dropped"] else "")
    )
    out.print("\nWhat the model is asked at inference:", style="bold")
    out.print(escape(found["generation_prompt"]))
    for sentence in found["gates"]:
        out.print(f"- {escape(sentence)}", style="red")


def show_runs(runs: Sequence[dict[str, Any]]) -> None:
    """One line per run, whole whatever the width of the terminal: an ellipsis would hide the id that other verbs need."""
    if not runs:
        out.print("No runs yet; `python -m pipeline run examples/tiny-yoda.json` makes one.")
        return
    lines = [("run", "status", "step", "loss", "validation", "checkpoint", "")]
    for run in runs:
        numbers = (_number(run["loss"]), _number(run["validation_loss"]))
        told = run["status"] == "failed" or run["phase"] == "queued"
        doing = run["text"] if told else run["phase"] if run["status"] == "running" else ""
        lines.append(
            (run["run"], run["status"], f"{run['step']}/{run['steps']}", *numbers, run["checkpoint"] or "", doing)
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)][:-1]
    for place, line in enumerate(lines):
        cells = [cell.ljust(width) for cell, width in zip(line, [*widths, 0], strict=True)]
        text = visible("  ".join(cells).rstrip())
        out.print(text, style="bold" if place == 0 else "", markup=False, soft_wrap=True)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def show_report(folder: Path) -> None:
    """Prompts with both answers beside the reference, the scores with their intervals, and what they mean."""
    report = jobs.read_json(folder / "report.json")
    answers = Table("prompt", "reference", "base", "tuned", title="Held-out rows: base against tuned", show_lines=True)
    for row in report["rows"][:SHOWN_ROWS]:
        cells = (row["messages"][-1]["content"], row["reference"], row["base"]["text"], row["tuned"]["text"])
        answers.add_row(*(escape(_short(cell)) for cell in cells))
    out.print(answers)
    heads = ("metric", "base", "tuned", "difference", "95 % interval")
    scores = Table(*heads, title=f"Scores over {report['n']} held-out rows")
    for name, score in (report["metrics"] | report.get("measures", {})).items():
        scores.add_row(*_score(name, score), style=_colour(name, score))
    out.print(scores)
    if report["n"] > SHOWN_ROWS:
        told = f"{SHOWN_ROWS} of {report['n']} rows are shown; all are in {folder / 'report.json'}"
        out.print(told, style="dim", markup=False, soft_wrap=True)
    for place, finding in enumerate(verdict.of(report)):
        style = COLOURS[finding["level"]] + ("" if place else " bold")
        out.print(f"{'- ' if place else ''}{finding['sentence']}", style=style.strip(), markup=False, soft_wrap=True)


def _score(name: str, score: dict[str, float]) -> tuple[str, ...]:
    label = f"{escape(name)} (lower is better)" if measures.better(name) < 0 else escape(name)
    interval = f"{score['low']:+.3f} to {score['high']:+.3f}"
    return label, f"{score['base']:.3f}", f"{score['tuned']:.3f}", f"{score['difference']:+.3f}", interval


def _colour(name: str, score: dict[str, float]) -> str:
    """Green and red for what surely moved, and of which it is known which way is better."""
    gain = score["difference"] * measures.better(name)
    return "" if not gain or not verdict.sure(score) else "green" if gain > 0 else "red"


def _short(text: str, limit: int = 160) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def show_merge(found: dict[str, Any]) -> None:
    check = found["check"]
    verdict = f"merged into {found['folder']}" if check["ok"] else "refused"
    out.print(f"{verdict}, checked against {check['against']}", soft_wrap=True)
    out.print(
        f"{check['prompts']} prompts: largest logit difference {check['max_logit_difference']:.3g}, KL {check['kl']:.3g}, "
        f"{check['identical_answers']:.0%} of the answers identical ({check['dtype']})",
        soft_wrap=True,
    )


def show_publication(found: dict[str, Any]) -> None:
    out.print(f"published: {found['url']}", soft_wrap=True)
    out.print(f"{len(found['files'])} files, revision {found['revision']}", style="dim", soft_wrap=True)


class Sides:
    """Both answers of `compare`, each piece printed as it comes, one side after the other switches."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.progress = Progress(SpinnerColumn(), TextColumn("{task.description}"), console=err, transient=True)
        self.tasks: dict[str, Any] = {}
        self.progress.start()

    def __call__(self, side: str, piece: str) -> None:
        if side not in self.texts:
            self.texts[side], self.tasks[side] = "", self.progress.add_task(f"[bold]{side}[/]")
        self.texts[side] += piece
        self.progress.update(self.tasks[side], description=f"[bold]{side}[/] {escape(self.texts[side][-200:])}")

    def wait(self, whom: str) -> None:
        err.print(f"Waiting for the device: {whom}.", markup=False)

    def close(self, found: dict[str, Any], pair: Any) -> None:
        self.progress.stop()
        names = [escape(pair.third.label) if pair.third and c == pair.third.column else c for c in pair.columns]
        table = Table(*names, title="Same prompt, same settings, one copy of the weights")
        table.add_row(*(escape(found[column]["text"].strip()) for column in pair.columns))
        table.add_row(*(Text(_footer(found[column]), style="dim") for column in pair.columns))
        out.print(table)
        for line in trust.self_test_words(pair.self_test, pair.mode):
            style = "red" if line["ok"] is False else "" if line["name"] == "summary" else "dim"
            out.print(line["sentence"], style=style, markup=False, soft_wrap=True)


def _footer(answer: dict[str, Any]) -> str:
    speed = answer["tokens"] / max(answer["seconds"], 1e-9)
    return f"{answer['tokens']} tokens, {speed:.0f}/s, {'stopped by itself' if answer['stopped'] else 'hit the limit'}"
