"""Settings as files: saved, loaded into the form, taken from a run with its rows, or exported as a script."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import secrets
import shutil
import tempfile
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.utils import get_upload_folder

from pipeline import config, home, jobs, uploads
from pipeline.config import portable_model
from pipeline.errors import UserError
from pipeline.schema import TEMPLATES, Source, TrainConfig, from_json, to_json
from ui import access, children, data, errors, runs, settings, texts
from ui.reading import CORRECTED, EXAMPLES, FILES, source_of

LARGEST = 1 << 20  # bytes of a file of settings
SCRIPT_SECONDS = 600.0
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "undocumented"}

# {"file", "text"} becomes a file of the browser's; nothing of it is left on the server
DOWNLOAD = """(told) => {
  const {file, text} = JSON.parse(told), link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], {type: 'text/plain'}));
  link.download = file;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}"""


SAVE_FILE = "() => setTimeout(() => document.querySelector('#train-zip').click(), 300)"


def wire(parts: Any, dataset: data.Parts, fields: dict[str, Component], bar: runs.Bar) -> None:
    """`fields` are the form's, in the order of settings.FIELDS; some are on the Data tab."""
    form = [parts.model, dataset.model, parts.preset, dataset.templates, *fields.values()]
    clicked = parts.save.click(
        save, [parts.model, parts.name], [parts.download], inputs_kwargs=fields, api_name="save_settings", **QUIET
    )
    clicked.success(None, parts.download, None, js=DOWNLOAD, queue=False, api_visibility="private")
    exported = parts.script.click(
        script, [bar.run], [parts.zip], api_name="export_script", concurrency_limit=None, show_progress="minimal",
        show_progress_on=parts.script, api_visibility="undocumented",
    )  # fmt: skip
    exported.success(None, js=SAVE_FILE, queue=False, api_visibility="private")
    loaded = parts.load.upload(load, [parts.load], [*form, parts.load], api_name="load_settings", **QUIET)
    reused = parts.reuse.click(
        reuse, [bar.run, dataset.source], [*form, dataset.source, dataset.row, dataset.system, parts.learns_from],
        api_name="settings_of_run",
        concurrency_limit=None, **{**QUIET, "queue": True},
    )  # fmt: skip
    for event in (loaded, reused):  # what is shown is what would be trained
        looked = event.success(**data.looking(dataset), api_visibility="private")
        looked.then(**data.counting(dataset), api_visibility="private")


@errors.shown
def save(
    request: gr.Request, profile: gr.OAuthProfile | None, model: str | None, name: str | None, **values: Any
) -> str:
    """The form as a config file, without the rows: what to download, as {"file", "text"}."""
    access.visitor(request, profile, "save settings")
    head = {"model": portable_model((model or "").strip()), "name": (name or "").strip()}
    asked = {**{key: value for key, value in head.items() if value}, **to_json(settings.read(values))}
    return json.dumps({"file": texts.SETTINGS_FILE, "text": json.dumps(asked, indent=2, ensure_ascii=False) + "\n"})


@errors.shown
def load(request: gr.Request, profile: gr.OAuthProfile | None, file: str | None) -> list[Any]:
    """A config file into the form; a model it does not name stays. No preset, so that none overwrites it."""
    access.visitor(request, profile, "load settings")
    model, wanted = read_file(Path(file or ""))
    return [*_filled(model, wanted), None]


def read_file(file: Path) -> tuple[str | None, TrainConfig]:
    """The model and settings of a config file. Raises UserError for what is none, an unknown key, a value that can't be."""
    try:
        values = json.loads(file.read_bytes()[: LARGEST + 1]) if file.stat().st_size <= LARGEST else None
    except (OSError, ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise UserError(texts.NOT_SETTINGS.format(file=file.name))
    head = {key: values.pop(key) for key in config.RUN_KEYS if key in values}
    model = head.get("model")
    wanted: TrainConfig = from_json(TrainConfig, values, file.name)
    return (portable_model(model) if isinstance(model, str) else None), wanted


@errors.shown
def reuse(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None, now: Any = None) -> list[Any]:
    """The form and the Data tab's choice as they were when this run was made, as far as its rows are still there.

    `now` is what the Data tab has chosen, which stays where they are gone.
    """
    who = access.visitor(request, profile, "train")
    asked = jobs.load(access.run(who, run))
    form = _filled(portable_model(asked.model), asked.config)
    choice = choice_of(asked.source)
    if not choice:
        gone = texts.ROWS_GONE.format(file=Path(asked.source.path).name)
        with contextlib.suppress(UserError):
            gone += texts.ROWS_UNTIL_THEN.format(file=Path(source_of(now, None).path).name)
        return [*form, gr.skip(), gr.skip(), gr.skip(), f'<p class="run-source">{escape(gone)}</p>']
    learns = texts.LEARNS_FROM.format(file=Path(asked.source.path).name)
    return [*form, choice, 0, asked.source.system or "", f'<p class="run-source">{escape(learns)}</p>']


def _filled(model: str | None, wanted: TrainConfig) -> list[Any]:
    """Updates of both models, the preset, the choice of a template and every field: the page never shows a rate of 0."""
    values = {**to_json(wanted), "learning_rate": wanted.rate}
    model = model or gr.skip()
    template = wanted.template if wanted.template in TEMPLATES else None
    return [model, model, None, template, *(values[name] for name in settings.FIELDS)]


def choice_of(source: Source) -> dict[str, Any] | None:
    """What would be chosen on the Data tab to read this source; None where its files are gone or were given side by side.

    Files from elsewhere are taken in as uploads, as if somebody had brought them.
    """
    said = {name: getattr(source, name) for name in CORRECTED if getattr(source, name)}
    paths = [Path(path) for path in (source.path, *source.more_paths)]
    if not all(path.is_file() for path in paths):
        return None
    example = {str(EXAMPLES / file): name for name, file in FILES.items()}.get(source.path)
    if example:
        return {"example": example, **said}
    if source.held_out_path or source.validation_path:
        return None
    here = home.home() / "uploads"
    kept = [path.parent.name if path.parent.parent == here else uploads.keep(path) for path in paths]
    choice = {"upload": kept[0], **({"more": kept[1:]} if kept[1:] else {}), **said}
    names = (dataclasses.replace(source, path="", more_paths=()), source_of(choice, source.system))
    return choice if names[0] == dataclasses.replace(names[1], path="", more_paths=()) else None


@errors.shown
def script(request: gr.Request, profile: gr.OAuthProfile | None, run: str | None) -> Any:
    """The run as a script of plain library calls, with the tokens it learns from: a zip in the page's own cache."""
    who = access.visitor(request, profile, "export a run")
    folder = access.run(who, run)
    place = Path(get_upload_folder()) / secrets.token_hex(20)
    place.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as out:
        children.COUNTER.ask("script", SCRIPT_SECONDS, folder=str(folder), out=out)
        packed = shutil.make_archive(str(place / f"{folder.name}-script"), "zip", out)
    return gr.DownloadButton(value=packed)
