"""The command line's verbs for judging blind: `round` opens one and answers it, `votes` tells what came of it."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import following, judgements, options, rounds, terminal, votes
from pipeline.errors import UserError
from pipeline.rounds import Round
from pipeline.run_folder import find, load
from pipeline.schema import Decoding, settings
from pipeline.votes import Standing

Answer = tuple[Any, int]
Verb = Callable[[Any], Answer]


def add(verb: Callable[[str, Verb, str], ArgumentParser]) -> None:
    """Each verb with its options; `verb` makes the parser of one."""
    opened = verb("round", round_verb, "open a blind round: prompts that are fixed, answered by both sides ahead")
    opened.add_argument("run", help="a run's id or folder")
    told = "held-out rows, everyday tasks (general), or a file: a prompt per line, or JSON Lines"
    opened.add_argument("--source", default="held-out", metavar="held-out|general|FILE", help=told)
    opened.add_argument("--prompts", type=int, default=rounds.PROMPTS, metavar="N", help="how many, at most")
    opened.add_argument(
        "--system", help='system prompt of tasks and pasted prompts; the run\'s own by default, "" is none'
    )
    opened.add_argument("--criteria", action="store_true", help=f"ask for 1 to 5 as well: {', '.join(votes.CRITERIA)}")
    opened.add_argument("--resume", action="store_true", help="answer the newest round that is not ready, open none")
    opened.add_argument(
        "--seed", type=int, metavar="N", help="draws the prompts and the sides; drawn itself when left out"
    )
    for name, wish in settings(Decoding).items():
        if name != "seed":
            options.add_setting(opened, Decoding, name, wish)
    counted = verb("votes", votes_verb, "what the judges of a blind round said")
    counted.add_argument("run", help="a run's id or folder")
    counted.add_argument("--round", metavar="ID", help="the newest one that is ready when left out")
    counted.add_argument(
        "--reveal", action="store_true", help="end the round and tell the names: it can't be taken back"
    )
    counted.add_argument("--early", action="store_true", help="with --reveal: though not all votes are in")
    counted.add_argument("--csv", type=Path, metavar="FILE", help="every vote with both answers, as a spreadsheet")
    counted.add_argument("--pairs", type=Path, metavar="FILE", help="preference pairs to train on, as JSON Lines")


def round_verb(asked: Any) -> Answer:
    """{"run", "round", "prompts", "source", "seed", "ready", "judge"}: `judge` is what a link ends with, a secret."""
    folder = find(asked.run)
    made = rounds.waiting(folder) if asked.resume else _open(folder, asked)
    if made is None:
        raise UserError(f"{folder.name} has no round that waits for answers; leave --resume out to open one.")
    following.work(asked, "round")
    code = following.code_of(folder)
    ready = rounds.ready(folder, made)
    link = f"?judge={votes.open_round(folder.name, made.id, len(made.items)).token}" if ready else None
    if link and not asked.json:
        terminal.out.print(f"{made.id}: {len(made.items)} prompts are ready to be judged: {link}", markup=False)
    counted = {"prompts": len(made.items), "source": made.source, "seed": made.seed, "ready": ready, "judge": link}
    return {"run": folder.name, "round": made.id, **counted}, code


def _open(folder: Path, asked: Any) -> Round:
    source, text = (asked.source, "") if asked.source in rounds.SOURCES else ("pasted", _text(asked.source))
    if asked.prompts < 1:
        raise UserError(f"--prompts is {asked.prompts}; give a number from 1 on.")
    system = load(folder).source.system if asked.system is None else asked.system
    seed = rounds.new_seed() if asked.seed is None else asked.seed
    decoding = Decoding(**{name: seed if name == "seed" else getattr(asked, name) for name in settings(Decoding)})
    items = rounds.questions(folder, source, asked.prompts, seed, text, system)
    return rounds.create(folder, items, source, "owner", seed, system or None, decoding, asked.criteria)


def _text(file: str) -> str:
    try:
        return Path(file).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise UserError(
            f"--source {file!r} is no text that can be read ({error}); give held-out, general or a file."
        ) from None


def votes_verb(asked: Any) -> Answer:
    """{"run", "round", "judges", "complete", "revealed", "result"}; the result is null until the names are told."""
    for file in (asked.csv, asked.pairs):  # before the names are told, which can't be taken back
        if file and not file.absolute().parent.is_dir():
            raise UserError(f"{file}: there is no folder {file.absolute().parent}; make it, or name another one.")
    folder = find(asked.run)
    judged_round = rounds.read(folder, asked.round) if asked.round else newest_ready(folder)
    found = votes.reveal(judged_round.id, asked.early) if asked.reveal else votes.standing(judged_round.id)
    result = _result(folder, judged_round, asked) if found.ballot.revealed else None
    if result is None and (asked.csv or asked.pairs):
        raise UserError("The votes are secret until the names are told; say so with --reveal.")
    if not asked.json:
        show(found, result)
    judges = [{"name": who, "done": done, "of": found.ballot.items} for who, done in found.judges]
    told = {"judges": judges, "complete": found.complete, "revealed": found.ballot.revealed, "result": result}
    return {"run": folder.name, "round": judged_round.id, **told}, 0


def newest_ready(folder: Path) -> Round:
    """The newest round with all its answers. Raises UserError when there is none."""
    found = next((each for each in rounds.listing(folder) if rounds.ready(folder, each)), None)
    if found is None:
        raise UserError(f"{folder.name} has no round to judge; open one with `python -m pipeline round {folder.name}`.")
    return found


def _result(folder: Path, asked_round: Round, asked: Any) -> dict[str, Any]:
    from pipeline import judged  # numpy, which takes a moment

    cast, given = votes.read(asked_round.id), rounds.answers(folder, asked_round)
    for file, written in ((asked.csv, judgements.table), (asked.pairs, judgements.pair_lines)):
        if file is not None:
            _write(file, written(asked_round, cast, given))
    return judged.of(asked_round, cast, given)


def _write(file: Path, content: bytes) -> None:
    try:
        file.write_bytes(content)
    except OSError as error:
        raise UserError(f"{file} can't be written ({error.strerror}); give another place.") from None


def show(found: Standing, result: dict[str, Any] | None) -> None:
    """Who has judged how much; after the reveal the result in sentences."""
    for who, done in found.judges:
        terminal.out.print(f"{terminal.visible(who)}: {done} of {found.ballot.items}", markup=False)
    if result is None:
        terminal.out.print("The names are told with --reveal, once all have judged everything.", markup=False)
    for sentence in result["sentences"] if result else []:
        terminal.out.print(sentence, markup=False, soft_wrap=True)
