"""`python -m pipeline`: the whole journey without a page. Readable text, or `--json`: one object on standard output.

Exit code 0 done; 1 the job failed; 2 the user's mistake, told in one line on standard error.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from pipeline import (
    config,
    counting,
    dataset,
    evaluate_verb,
    following,
    hub_verb,
    inspection,
    jobs,
    options,
    round_verbs,
    run_verbs,
    terminal,
)
from pipeline import estimate_verb as estimates
from pipeline.errors import UserError
from pipeline.schema import Decoding, Publication, TrainConfig, settings

STOP_SECONDS = 120.0


class Parser(argparse.ArgumentParser):
    """argparse that tells a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog}: {message}")


def main(arguments: list[str] | None = None) -> int:
    for name, value in jobs.environment().items():
        os.environ.setdefault(name, value)
    try:
        asked = make_parser().parse_args(arguments)
        result, code = asked.verb(asked)
    except UserError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted; a run that was started goes on, `python -m pipeline list` shows it.", file=sys.stderr)
        return 130
    if asked.json:
        print(one_object(result))
    return int(code)


def one_object(result: Any) -> str:
    """JSON for any reader and any terminal: ASCII only, and null for what is no number (NaN, infinity)."""
    text = json.dumps(result, default=dataclasses.asdict)
    return json.dumps(json.loads(text, parse_constant=lambda _: None))


def make_parser() -> Parser:
    parser = Parser(prog="python -m pipeline", description="Examples -> preview -> train -> compare -> merge.")
    verbs = parser.add_subparsers(dest="name", required=True, metavar="VERB", parser_class=Parser)

    def verb(name: str, does: Callable[[Any], tuple[Any, int]], about: str) -> Parser:
        added = verbs.add_parser(name, help=about, description=about)
        added.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
        added.set_defaults(verb=does)
        return added

    for name, about in (
        ("inspect", "what a dataset holds and what is wrong with it"),
        ("preview", "one row as it will be trained on"),
    ):
        added = verb(name, inspect_verb if name == "inspect" else preview_verb, about)
        added.add_argument("--model", required=name == "preview", help="Hub id, folder, or tiny-chat")
        options.add_dataset(added)
    added.add_argument("--row", type=int, help="row number, counted from 1 in file order")
    told = f"count the tokens of {counting.SAMPLE:,} rows drawn at random instead of all"
    verbs.choices["inspect"].add_argument("--sample", action="store_true", help=told)
    added = verb("run", run_verb, "train, then judge, what a config file asks for")
    added.add_argument("config", type=Path)
    added.add_argument("--detach", action="store_true", help="return once training has begun")
    for name, wish in settings(TrainConfig).items():
        options.add_setting(added, TrainConfig, name, wish)
    for name, does, about in RUN_VERBS:
        verb(name, does, about).add_argument("run", help="a run's id or folder")
    verb("list", list_verb, "every run, newest first")
    hub_verb.add_arguments(verb("fetch", hub_verb.fetch, "the rows of a dataset on the Hub, as a file"))
    verbs.choices["stop"].add_argument("--cancel", action="store_true", help="end at once and keep only checkpoints")
    told = "train on until so many epochs in all, more than before"
    verbs.choices["resume"].add_argument("--epochs", type=float, metavar="N", help=told)
    add_compare(verbs.choices["compare"])
    evaluate_verb.add_arguments(verbs.choices["evaluate"])
    add_publish(verbs.choices["publish"])
    verbs.choices["script"].add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder for it")
    run_verbs.add(verb)
    round_verbs.add(verb)
    estimates.add(verb)
    return parser


def add_compare(parser: Parser) -> None:
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--system", help='system prompt; the run\'s own by default, "" is none')
    for name, wish in settings(Decoding).items():
        options.add_setting(parser, Decoding, name, wish)
    parser.add_argument("--with-run", metavar="RUN", help="a third column: another run of the same base")
    parser.add_argument("--with-checkpoint", type=int, metavar="STEP", help="a third column: a checkpoint of this run")
    parser.add_argument("--examples", type=int, metavar="K", help="a third column: the base with K examples before it")


def add_publish(parser: Parser) -> None:
    wishes = settings(Publication)
    parser.add_argument("--repo", required=True, metavar="USER/NAME", help=wishes["repo"].help)
    parser.add_argument("--what", choices=wishes["what"].choices, default="adapter", help=wishes["what"].help)
    parser.add_argument("--public", action="store_true", help="for everybody; without it only you can see it")


def inspect_verb(asked: Any) -> tuple[Any, int]:
    sample = counting.SAMPLE if asked.sample else 0
    with terminal.Counting(quiet=asked.json) as told:
        found = inspection.inspect(
            options.source(asked), options.model(asked), asked.max_length, asked.loss_on, sample, told
        )
    if not asked.json:
        terminal.show_inspection(found)
    return found, 0


def preview_verb(asked: Any) -> tuple[Any, int]:
    model = options.model(asked)
    assert model is not None
    found = inspection.preview(options.source(asked), model, asked.row, asked.max_length, asked.loss_on)
    if not asked.json:
        terminal.show_preview(found)
    return found, 0


def run_verb(asked: Any) -> tuple[Any, int]:
    begun = time.monotonic()
    overrides = {name: value for name in settings(TrainConfig) if (value := getattr(asked, name)) is not None}
    run = config.read(asked.config, overrides)
    prepared = dataset.prepare(run.source)
    folder = jobs.create(run, prepared)
    print(folder.name, file=sys.stderr, flush=True)
    if not asked.json:
        terminal.show_problems(prepared.problems)
    prepare_seconds = time.monotonic() - begun
    jobs.start(folder, "train", then=jobs.after_training(folder))
    if asked.detach:
        return {**following.outcome(folder, prepare_seconds), "status": "running"}, 0
    return following.finish(folder, asked, prepare_seconds)


def resume_verb(asked: Any) -> tuple[Any, int]:
    folder = jobs.find(asked.run)
    if asked.epochs is None:
        jobs.resume(folder)
    else:
        jobs.extend(folder, asked.epochs)
    return following.finish(folder, asked, 0.0)


def status_verb(asked: Any) -> tuple[Any, int]:
    found = jobs.summary(jobs.find(asked.run))
    if not asked.json:
        terminal.show_runs([found])
    return found, 0


def list_verb(asked: Any) -> tuple[Any, int]:
    found = jobs.listing()
    if not asked.json:
        terminal.show_runs(found)
    return {"runs": found}, 0


def stop_verb(asked: Any) -> tuple[Any, int]:
    folder = jobs.find(asked.run)
    if asked.cancel:
        jobs.cancel(folder)
    else:
        jobs.stop(folder)
    deadline = time.monotonic() + STOP_SECONDS
    while jobs.status(folder) == "running" and time.monotonic() < deadline:
        time.sleep(0.1)
    return status_verb(asked)


def compare_verb(asked: Any) -> tuple[Any, int]:
    from pipeline import comparison  # heavy: torch, transformers, peft

    found = comparison.compare(jobs.find(asked.run), asked, None if asked.json else terminal.Sides())
    failed = [name for name, check in found["self_test"].items() if not check.ok and not name.endswith("_differs")]
    if failed:
        print(f"The self-test failed ({', '.join(failed)}): do not trust which side is which.", file=sys.stderr)
    return found, 1 if failed else 0


def merge_verb(asked: Any) -> tuple[Any, int]:
    folder = following.work(asked, "merge")
    code = following.code_of(folder)
    check = jobs.read_json(folder / "merge.json") if (folder / "merge.json").exists() else None
    found = {"run": folder.name, "folder": str(folder / "merged") if code == 0 else None, "check": check}
    if not asked.json and check:
        terminal.show_merge(found)
    return found, code


def publish_verb(asked: Any) -> tuple[Any, int]:
    from pipeline import publish  # the Hub's client takes a moment to import

    wanted = Publication(asked.repo, asked.what, private=not asked.public)
    folder = following.work(asked, "publish", lambda run: publish.start(run, wanted, publish.stored_token()))
    code = following.code_of(folder)
    values = jobs.view(folder).jobs["publish"].values
    found = {"run": folder.name, **{key: values.get(key) for key in ("url", "revision", "files")}}
    if not asked.json and found["url"]:
        terminal.show_publication(found)
    return found, code


def script_verb(asked: Any) -> tuple[Any, int]:
    from pipeline import script  # heavy: torch, transformers, trl, peft

    folder = jobs.find(asked.run)
    found = {"run": folder.name, "folder": str(asked.out), "files": script.write(folder, asked.out)}
    if not asked.json:
        terminal.out.print(f"{asked.out}: {', '.join(found['files'])}", markup=False, soft_wrap=True)
    return found, 0


RUN_VERBS = (
    ("status", status_verb, "where a run stands"),
    ("stop", stop_verb, "save what was learned and end"),
    ("resume", resume_verb, "go on from the newest whole checkpoint, to the end"),
    ("compare", compare_verb, "base and tuned answer one prompt"),
    ("evaluate", evaluate_verb.evaluate, "judge base against tuned on the held-out rows"),
    ("merge", merge_verb, "base + adapter as one model, checked against the one that was judged"),
    ("publish", publish_verb, "the adapter or the merged model, with its model card, to the Hub"),
    (
        "script",
        script_verb,
        "a run as a script of plain torch, transformers, TRL and PEFT calls, with its rows as tokens",
    ),
)


if __name__ == "__main__":
    # libraries speak of themselves; what a person must know is told by our sentences
    warnings.simplefilter("ignore")
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a terminal without Chinese
    sys.exit(main())
