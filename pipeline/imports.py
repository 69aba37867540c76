"""Somebody's adapter -> a finished run of ours, which Compare, Merge and Publish take like any other.

Reads a folder, a zip or a repository on the Hub. Every tensor must find its place in the base, and the sides must be what
they say, before there is a run. `python -m pipeline.imports` is the helper process that does it for the page.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from pipeline import child, config, dataset, device, events, files, foreign, home, hub, jobs, model, sides, unpacking
from pipeline.errors import UserError
from pipeline.schema import Event, Model, Prepared, Row, Run, Source, from_json

Tell = Callable[[dict[str, Any]], None]
ASK_SECONDS = 10.0
LEFT_SECONDS = 86_400.0  # after which what an import left behind belongs to nobody


class Wanted(NamedTuple):
    """An adapter by its folder, its zip or its name on the Hub; what it can't say itself, or says wrongly, is given here.

    `template` is a name or a Jinja template; the adapter's own when empty, else the base's.
    """

    adapter: str
    base: str = ""
    revision: str | None = None
    name: str = ""
    memory: str = "auto"
    template: str = ""


def stored_token() -> str | None:
    """This machine's own: HF_TOKEN, else what the Hub's login left."""
    return get_token()


def bring(
    wanted: Wanted,
    source: Source | None = None,
    token: str | None = None,
    by: str = "owner",
    tell: Tell = lambda told: None,
    unwanted: Callable[[], bool] = lambda: False,
) -> Path:
    """The folder of a new run that holds the adapter; with `source` the rows to judge it on, too. Or UserError, and nothing.

    Those rows are what a run trained on the same source would be judged on, so that both have the same.
    """
    rows = judging(source) if source else ()
    for left in home.home().glob(".import-*"):  # by an import that was ended in the middle
        if time.time() - left.stat().st_mtime > LEFT_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".import-", dir=home.home()) as temporary:
        adapter = Path(temporary) / "adapter"
        adapter.mkdir()
        obtain(wanted.adapter.strip(), adapter, token, tell)
        run = asked(wanted, adapter, source)
        with device.use(f"import of {run.name}", lambda whom: tell({"phase": "queued", "text": whom}), unwanted) as got:
            if not got:
                raise UserError("Stopped; nothing was imported.")
            tell({"phase": "checking"})
            told, mode = proven(run, adapter)
        prepared = Prepared((), (), rows, (), "", {}, len(rows), dataset.fingerprint((), (), rows))
        more = {"imported": True, "origin": origin(wanted.adapter)}
        how = "in one batch" if mode == "mixed" else "in turn"
        note = f"Imported from {more['origin']}: every tensor found its place; base and tuned answer {how}."
        return jobs.create(run, prepared, by, more, lambda folder: _fill(folder, adapter, told, note))


def judging(source: Source) -> tuple[Row, ...]:
    """The rows a run on this source would hold out; all of them where it has too few for that."""
    prepared = dataset.prepare(source)
    return prepared.held_out or (*prepared.train, *prepared.validation)


def obtain(adapter: str, into: Path, token: str | None, tell: Tell) -> None:
    """Its files, as far as they can't run code, in an empty folder. Raises UserError."""
    local = Path(os.path.expanduser(adapter))
    if adapter and local.exists():
        unpacking.collect(local, into)
    elif config.HUB_ID.fullmatch(adapter) and "/" in adapter:
        tell({"phase": "fetching"})
        with in_words(adapter, token):
            download(adapter, into, token)
    else:
        raise UserError(
            f"adapter: there is no folder or zip {adapter[:200]!r}, and it is no name on the Hub like user/name."
        )


def origin(adapter: str) -> str:
    """Where it came from, as others may know it: of a path on this machine only its last part."""
    return Path(adapter).name if Path(os.path.expanduser(adapter)).exists() else adapter.strip()


def download(repo: str, into: Path, token: str | None) -> None:
    """The adapter at the top of a repository, of its newest commit."""
    if token:
        hub.check_token(token)
    api = HfApi(endpoint=hub.endpoint(), token=token or False)
    info = api.model_info(repo, timeout=ASK_SECONDS, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or [] if "/" not in file.rfilename}
    unpacking.home_of([name for name in sizes if name in unpacking.CONFIGS], repo)
    unpacking.refuse_unreadable(sizes, repo)
    chosen = [name for name in sizes if Path(name).suffix in unpacking.READ]
    if sum(sizes[name] for name in chosen) > unpacking.MOST_BYTES:
        raise UserError(f"{repo} holds more than {unpacking.MOST_BYTES >> 30} GB; that is no adapter.")
    cache = into.parent / "hub"
    for name in chosen:
        shutil.copyfile(api.hf_hub_download(repo, name, revision=info.sha, cache_dir=cache), into / name)


@contextlib.contextmanager
def in_words(repo: str, token: str | None) -> Iterator[None]:
    """Failures of the Hub as UserErrors, none of which holds the token."""
    try:
        yield
    except Exception as error:
        sentence = _refusal(repo, error)
        if sentence is None:
            raise
        raise UserError(hub.hidden(sentence, token or "")) from None


def _refusal(repo: str, error: Exception) -> str | None:
    if isinstance(error, GatedRepoError):
        return f"{repo} is gated: ask for access on {hub.endpoint()}/{repo}, then give a token of that account."
    if isinstance(error, OfflineModeIsEnabled):
        return "The Hub is switched off here by HF_HUB_OFFLINE; unset it, or give a folder or a zip."
    if isinstance(error, RepositoryNotFoundError | HFValidationError | EntryNotFoundError):
        return f"There is no adapter {repo!r} on the Hub that you may read; check the name, or give a token that may."
    if isinstance(error, HTTPError | ConnectionError):
        return f"{hub.happened(error)}; check this machine's network, or give a folder or a zip."
    return None


def asked(wanted: Wanted, adapter: Path, source: Source | None) -> Run:
    """The adapter as a run of ours, and its config on disk made harmless. Raises UserError for what can't be used."""
    settings = foreign.settings(adapter)
    named = wanted.base.strip() or str(settings.get("base_model_name_or_path") or "")
    if not named:
        raise UserError("This adapter does not say which base it belongs to; give the base by hand.")
    revision = wanted.revision or (None if wanted.base.strip() else settings.get("revision"))
    try:
        base = config.locate_model(named, home.home())
        own = model.tokenizer(Model(base, revision))
    except UserError as error:
        if wanted.base.strip():
            raise
        raise UserError(f"The adapter names {named!r} as its base. {error} Or give its base by hand.") from error
    values = {
        **foreign.config_of(adapter, settings),
        "memory": wanted.memory,
        "template": wanted.template or foreign.template_of(adapter, own),
        "new_tokens": foreign.new_tokens(adapter, settings, own),
    }
    if values["new_tokens"]:
        values["method"] = "new-tokens"
    foreign.name_base(adapter, settings, config.portable_model(base), revision)
    name = wanted.name.strip() or origin(wanted.adapter).removesuffix(".zip")
    rows = source or Source("")
    run = {"model": base, "revision": revision, "name": name, "config": values}
    return from_json(Run, {**run, "source": vars(rows)}, "The adapter")


def proven(run: Run, adapter: Path) -> tuple[dict[str, Any], str]:
    """base.json of the run, and how its sides answer. Raises UserError where the adapter is no adapter of this base."""
    named = run.named(adapter=str(adapter))
    try:
        pair = sides.open_pair(named)
    except UserError as error:  # it names where the files are while they are looked at
        raise UserError(str(error).replace(str(adapter), "The adapter")) from error
    if not pair.trusted:
        raise UserError(
            "With this adapter on, the base can't be had as it was (it changes the base itself); convert it to plain "
            "LoRA where it was made."
        )
    told = {"templates": pair.template.hashes(), "stop_ids": list(pair.template.stop_ids)}
    return {**model.identity(named), **told}, pair.mode


def _fill(folder: Path, adapter: Path, remembered: dict[str, Any], note: str) -> None:
    """What a training would have left: the adapter, its base, and the events of a run that is done."""
    shutil.move(adapter, folder / "adapter")
    files.write_json(folder / "base.json", remembered)
    told: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("started", "", {"pid": 0, "from_step": 0}), ("note", note, {}), ("finished", "", {"kept": True}),
    )  # fmt: skip
    for kind, text, values in told:
        events.append(folder / "events.jsonl", Event(kind, "train", time.time(), None, values, text))


def bring_in(
    emit: child.Emit, unwanted: threading.Event, wanted: dict[str, Any], source: Any, token: str | None, by: str
) -> str:
    """The id of the run that was made. Tells {"phase", "text"?} meanwhile."""
    rows = from_json(Source, source, "source") if source else None
    return bring(Wanted(**wanted), rows, token, by, emit, unwanted.is_set).name


if __name__ == "__main__":
    child.serve({"bring_in": bring_in})
