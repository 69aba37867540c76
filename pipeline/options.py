"""Options of the command line, drawn from the nouns' fields, and what was given -> the noun."""

from __future__ import annotations

import argparse
import dataclasses
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import config
from pipeline.errors import UserError
from pipeline.schema import CHOICES, COLUMN_ROLES, Model, Setting, Source, TrainConfig, settings

READ_AS = ("loss_on", "template")
MAPPINGS = {
    "columns": ("COLUMN=ROLE", f"what columns are: {', '.join(COLUMN_ROLES)}"),
    "patterns": ("ROLE=PATTERN", "a role's text made of several columns: 'prompt={title}: {body}'"),
    "choices": ("FINDING=CHOICE", f"what to do about a kind of finding: {', '.join(CHOICES)}"),
}


def add_setting(parser: ArgumentParser, noun: type, name: str, wish: Setting) -> None:
    """One option per setting, drawn from its field. A run's are None when left out: then the config file's value holds."""
    default = next(f.default for f in dataclasses.fields(noun) if f.name == name)
    kind: Any = true_or_false if isinstance(default, bool) else str if default is None else type(default)
    choices = f" One of {', '.join(wish.choices)}." if wish.choices else ""
    told = "" if default is None else f" Default {default}."
    parser.add_argument(
        f"--{name.replace('_', '-')}", dest=name, type=kind, help=f"{wish.help}{choices}{told}".replace("%", "%%"),
        choices=wish.choices or None, metavar="VALUE", default=None if noun is TrainConfig else default,
    )  # fmt: skip


def true_or_false(text: str) -> bool:
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"{text!r} is not true or false")
    return words[text.lower()]


def add_dataset(parser: ArgumentParser) -> None:
    """A dataset, how its rows are read, and what of their tokens is learned."""
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--more-paths", metavar="FILE", nargs="+", action="extend", help="files read as one with it")
    parser.add_argument("--held-out-path", metavar="FILE", help="rows that only judge")
    parser.add_argument("--validation-path", metavar="FILE", help="rows that only steer training")
    for name, wish in settings(Source).items():
        add_setting(parser, Source, name, wish)
    for name, (metavar, told) in MAPPINGS.items():
        parser.add_argument(f"--{name}", metavar=metavar, nargs="+", action="extend", help=told)
    parser.add_argument("--max-length", type=int, default=TrainConfig.max_length, metavar="TOKENS", help="longest row")
    for name in READ_AS:
        add_setting(parser, TrainConfig, name, settings(TrainConfig)[name])
    parser.set_defaults(**{name: getattr(TrainConfig, name) for name in READ_AS})
    parser.add_argument("--new-tokens", default="", metavar="TOKENS", help="those the method new-tokens adds")
    parser.add_argument("--virtual-tokens", type=int, default=0, metavar="N", help="those of prompt or prefix tuning")


def source(asked: Any) -> Source:
    """Raises UserError where an option can't be meant."""
    if asked.max_length < 1:
        raise UserError(f"--max-length is {asked.max_length}; give a number of tokens from 1 on.")
    named: dict[str, Any] = {
        name: getattr(asked, name) for name in (*settings(Source), "held_out_path", "validation_path")
    }
    mappings: dict[str, Any] = {name: pairs(getattr(asked, name) or (), name) for name in MAPPINGS}
    given = Source(str(asked.dataset), more_paths=tuple(asked.more_paths or ()), **named, **mappings)
    return config.locate_source(given, Path.cwd())


def pairs(words: Sequence[str], name: str) -> dict[str, str] | None:
    """NAME=VALUE words as a mapping, None without any. A column's name may hold "=", and so may a pattern's text."""
    found = {}
    for word in words:
        key, sign, value = word.rpartition("=") if name == "columns" else word.partition("=")
        if not (key and sign and value):
            raise UserError(f"--{name}: {word!r} is not {MAPPINGS[name][0]}; write it in quotes where it has spaces.")
        found[key] = value
    return found or None


def model(asked: Any) -> Model | None:
    if asked.model is None:
        return None
    base = config.locate_model(asked.model, Path.cwd())
    return Model(base, template=asked.template, new_tokens=asked.new_tokens, virtual_tokens=asked.virtual_tokens)
