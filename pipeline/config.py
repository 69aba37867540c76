"""A config file (JSON) -> Run. Paths in it are relative to the file; an unknown key is an error naming the nearest one."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.schema import Run, Source, TrainConfig, from_json, nearest

ROOT = Path(__file__).resolve().parent.parent
BUNDLED = {"tiny-chat": ROOT / "examples" / "tiny-chat"}
RUN_KEYS = ("model", "revision", "source", "name")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def read(path: Path, overrides: dict[str, Any] | None = None) -> Run:
    """The Run a config file asks for; `overrides` are TrainConfig fields that win over the file's."""
    values = _load(path)
    known = [*RUN_KEYS, *(f.name for f in dataclasses.fields(TrainConfig))]
    for key in values:
        if key not in known:
            raise UserError(f"{path.name}: unknown key {key!r}; {nearest(key, known)}")
    for key in ("model", "source"):
        if not values.get(key):
            raise UserError(f"{path.name}: {key!r} is missing; a config names at least a model and a source.")
    folder = path.resolve().parent
    fields = {key: value for key, value in values.items() if key not in RUN_KEYS}
    return from_json(
        Run,
        {
            "model": locate_model(values["model"], folder),
            "revision": values.get("revision"),
            "source": _source(values["source"], folder, path.name),
            "name": values.get("name") or path.stem,
            "config": {**fields, **(overrides or {})},
        },
        path.name,
    )


def locate_model(name: object, folder: Path) -> str:
    """An absolute path for a local folder or the bundled model, the id itself for a model on the Hub."""
    if not isinstance(name, str):
        raise UserError(f"model: expected a Hub id or a folder, found {json.dumps(name)[:60]}.")
    local = folder / os.path.expanduser(name)
    if name.strip() and os.path.isdir(local):
        return str(local.resolve())
    if name in BUNDLED:
        return str(BUNDLED[name])
    if not HUB_ID.fullmatch(name):
        raise UserError(f"model: there is no folder {local}, and {name!r} is not a Hub id like user/name.")
    return name


def locate_source(source: Source, folder: Path) -> Source:
    """The same source with absolute paths; those that were relative start at `folder`."""

    def absolute(path: str) -> str:
        try:
            return str((folder / os.path.expanduser(path)).resolve())
        except (OSError, ValueError, RuntimeError) as error:  # a loop of links, a NUL
            raise UserError(f"source: {path[:200]!r} can't be the path of a file ({error}).") from error

    return dataclasses.replace(
        source,
        path=absolute(source.path) if source.path else "",  # an adapter that was imported without any rows
        more_paths=tuple(map(absolute, source.more_paths)),
        held_out_path=absolute(source.held_out_path) if source.held_out_path else None,
        validation_path=absolute(source.validation_path) if source.validation_path else None,
    )


def portable_model(model: str) -> str:
    """The bundled model by its name, so that what names it survives a move of the project; any other as it is."""
    return next((name for name, folder in BUNDLED.items() if model == str(folder)), model)


def portable(run: Run) -> Run:
    """The run as it is written down: nothing in it says where this project lies. `located` is the way back."""

    def told_here(path: str) -> str:
        return str(Path(path).relative_to(ROOT)) if Path(path).is_relative_to(ROOT) else path

    told = dataclasses.asdict(run.source)
    told["more_paths"] = tuple(map(told_here, run.source.more_paths))
    for name in ("path", "held_out_path", "validation_path"):
        told[name] = told[name] and told_here(told[name])
    return dataclasses.replace(run, model=portable_model(run.model), source=Source(**told))


def located(run: Run) -> Run:
    """The same run with the paths of this machine; a run that was written down with absolute ones keeps them."""
    bundled = BUNDLED.get(run.model)
    return dataclasses.replace(
        run, model=str(bundled) if bundled else run.model, source=locate_source(run.source, ROOT)
    )


def _source(values: object, folder: Path, where: str) -> dict[str, Any]:
    source = {"path": values} if isinstance(values, str) else values
    return dataclasses.asdict(locate_source(from_json(Source, source, f"{where}: source"), folder))


def _load(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"There is no config file {path}; give the path of a JSON file.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path} can't be read as JSON ({error}); see examples/tiny-yoda.json for one that can."
        ) from error
    if not isinstance(values, dict):
        raise UserError(f"{path.name}: expected a JSON object with model and source, found {type(values).__name__}.")
    return values
