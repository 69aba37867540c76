"""A dataset on the Hub, found and opened: its name, its configs and splits, a reader of it, and failures as sentences.

Speaks HTTP only; the endpoint is HF_ENDPOINT's. Nothing of a dataset is run, and no file outside its own repository is
opened, whatever its card says. A token is an argument and stays one; without it nobody's is used, this machine's neither.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from huggingface_hub import DatasetCard, HfApi, HfFileSystem, constants
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import logging as hub_logging
from huggingface_hub.utils._validators import validate_repo_id

from pipeline import hub
from pipeline.errors import UserError

ASK_SECONDS = 5.0  # how long the Hub may take to say that it knows a dataset
READABLE = {"parquet", "json", "csv", "arrow", "text"}  # of the library's loaders: those of rows of text
CARDS = {"README.md", ".huggingface.yaml"}
ELSEWHERE = re.compile(r"[/~\\]|[a-z][\w+.-]*:|.*::|(.*/)?\.\.(/|$)", re.IGNORECASE | re.DOTALL)


class Offer(NamedTuple):
    """A dataset as it was found: its whole name, its commit, and the splits of each config, the usual config first.

    `usual` is None where somebody must choose.
    """

    repo: str
    sha: str
    gated: bool | str
    configs: dict[str, list[str]]
    usual: str | None


def name_of(text: str) -> str:
    """The name of a dataset, from a name or from the address of its page. Raises UserError when it is neither."""
    name = text.strip().rstrip("/")
    hosts = {urlsplit(address).netloc for address in (hub.endpoint(), constants.HUGGINGFACE_CO_URL_HOME)}
    address = urlsplit(name if "://" in name else f"//{name}")
    if address.netloc in hosts or address.scheme in ("http", "https"):
        kind, *path = address.path.strip("/").split("/")
        if address.netloc not in hosts or kind != "datasets":
            raise UserError(f"{text!r} is not the page of a dataset on the Hub; give a name such as user/name.")
        alone = path[1:2] in (["viewer"], ["tree"], ["blob"])  # views of a dataset whose name has no user
        name = "/".join(path[: 1 if alone else 2])
    name = name.removeprefix("hf://").removeprefix("datasets/")
    try:
        validate_repo_id(name)
    except HFValidationError:
        raise UserError(f"{text!r} is not the name of a dataset on the Hub; give one such as user/name.") from None
    return name


def find(text: str, token: str | None, cache: str, sha: str | None = None) -> Offer:
    """What a dataset offers, asked of the Hub. Raises UserError, and what the Hub's clients raise (see `in_words`)."""
    _quiet()
    api = HfApi(endpoint=hub.endpoint(), token=token or False)
    info = api.dataset_info(name_of(text), revision=sha, timeout=ASK_SECONDS)
    repo, commit = info.id, str(info.sha)
    if info.gated:  # anybody may see that it is there; this asks whether its files may be read
        api.auth_check(repo, repo_type="dataset")
    names = {file.rfilename for file in info.siblings or []}
    if f"{repo.rpartition('/')[2]}.py" in names:
        raise UserError(f"{repo} needs a Python script of its own, which is never run here; choose another dataset.")
    for card in sorted(names & CARDS):
        _check_card(repo, api.hf_hub_download(repo, card, repo_type="dataset", revision=commit))
    configs, usual = _configs(repo, commit, token, cache)
    return Offer(repo, commit, info.gated or False, configs, usual)


def _check_card(repo: str, file: str) -> None:
    """A card says which files to open. Raises UserError where it names one of this machine, or of anywhere else."""
    text = Path(file).read_text(encoding="utf-8", errors="replace")
    card = DatasetCard(text if file.endswith(".md") else f"---\n{text}\n---\n", ignore_metadata_errors=True)
    values = card.data.to_dict()  # type: ignore[no-untyped-call]
    for path in _texts(values.get("configs"), {"data_files", "data_dir"}):
        if ELSEWHERE.match(path):
            raise UserError(f"{repo}: its card names {path!r}, which is no file of this dataset; choose another one.")


def _texts(value: Any, keys: Collection[str] = ()) -> Iterator[str]:
    """Every text in a value; with `keys`, only those that stand under one of them."""
    if isinstance(value, str) and not keys:
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, () if key in keys else keys)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item, keys)


def _configs(repo: str, sha: str, token: str | None, cache: str) -> tuple[dict[str, list[str]], str | None]:
    """The splits of every config, as the card or the names of the files tell them, and the usual config."""
    from datasets.load import dataset_module_factory  # type: ignore[import-untyped]

    module = dataset_module_factory(_address(repo), revision=sha, download_config=_downloads(token, cache))
    loader = module.module_path.rpartition(".")[2]
    if loader not in READABLE:
        raise UserError(f"{repo} holds files for {loader!r}, not rows of text; choose a dataset of text.")
    parameters = module.builder_configs_parameters
    splits = {config.name: [str(split) for split in config.data_files or ()] for config in parameters.builder_configs}
    usual = parameters.default_config_name or (next(iter(splits)) if len(splits) == 1 else None)
    return {name: splits[name] for name in sorted(splits, key=lambda name: name != usual)}, usual


def chosen(offered: Offer, config: str | None, split: str | None) -> tuple[str, str]:
    """The config and the split that were asked for, or the usual ones. Raises UserError, naming them, where none fits."""
    config = _one(offered.repo, "config", config, list(offered.configs), offered.usual)
    splits = offered.configs[config]
    return config, _one(offered.repo, "split", split, splits, "train" if len(splits) > 1 else next(iter(splits), None))


def _one(repo: str, what: str, asked: str | None, names: list[str], usual: str | None) -> str:
    found = asked or usual
    if found in names:
        return str(found)
    told = f"has no {what} {asked!r}" if asked else f"has several {what}s"
    raise UserError(f"{repo} {told}; choose one of {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}.")


def open_config(offered: Offer, config: str, token: str | None, cache: str, block: int) -> Any:
    """The `datasets` library's builder of a config, which reads `block` bytes at once."""
    from datasets import load_dataset_builder  # type: ignore[import-untyped]

    builder: Any = load_dataset_builder(
        _address(offered.repo),
        config,
        revision=offered.sha,
        cache_dir=cache,
        download_config=_downloads(token, cache),
        token=token or False,
        storage_options={"hf": {"block_size": block}},
    )
    inside = f"{_address(offered.repo)}@{offered.sha}/"
    for file in _texts(dict(builder.config.data_files)):
        if not file.startswith(inside):
            raise UserError(f"{offered.repo}: {file!r} is no file of this dataset; choose another one.")
    return builder


def file_system(token: str | None, block: int) -> HfFileSystem:
    return HfFileSystem(endpoint=hub.endpoint(), token=token or False, block_size=block)


def _address(repo: str) -> str:
    """With its scheme, or a folder of that name under the working folder would be taken for it."""
    return f"hf://datasets/{repo}"


def _downloads(token: str | None, cache: str) -> Any:
    from datasets import DownloadConfig

    return DownloadConfig(token=token or False, cache_dir=cache)


@functools.cache
def _quiet() -> None:
    """No bars, no words, few new tries of its own (the Hub's client has them already), and the Hub alone is asked."""
    import datasets

    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    datasets.config.STREAMING_READ_MAX_RETRIES = datasets.config.STREAMING_OPEN_MAX_RETRIES = 2


@contextlib.contextmanager
def in_words(repo: str, token: str | None) -> Iterator[None]:
    """Failures of the Hub, of its clients and of what lies in a dataset as UserErrors, none of which holds the token."""
    if token:
        hub.check_token(token)
    try:
        yield
    except UserError as error:
        raise UserError(hub.hidden(str(error), token or "")) from None
    except Exception as error:  # a stranger's files can fail anywhere in the library, with anything
        raise UserError(hub.hidden(_sentence(error, repo.strip(), token), token or "")) from None


def _sentence(error: Exception, repo: str, token: str | None) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, GatedRepoError) or "gated dataset" in text:
        who = "an account that was given access" if token else "your account"
        return f"{repo} is gated: ask for access on its page, {hub.endpoint()}/datasets/{repo}, then give a read token of {who}."
    if isinstance(error, RevisionNotFoundError):
        return f"{repo} has changed on the Hub; look at it again."
    if isinstance(error, RepositoryNotFoundError) or type(error).__name__ == "DatasetNotFoundError":
        private = "this token may not see it" if token else "it is private: then give a read token that may see it"
        return f"There is no dataset {repo!r} on the Hub, or {private}; check the name."
    if isinstance(error, OfflineModeIsEnabled):
        return "The Hub is switched off here by HF_HUB_OFFLINE; unset it, or upload the rows as a file."
    if isinstance(error, HfHubHTTPError):
        return _answered(error.response.status_code, repo)
    # what the library makes of a Hub that fails half-way: a file that was not found under the working folder
    if isinstance(error, HTTPError | ConnectionError | TimeoutError) or "LocalEntryNotFoundError" in text:
        return f"{hub.happened(error)}; check this machine's network, or upload the rows as a file."
    if type(error).__name__ in ("EmptyDatasetError", "DataFilesNotFoundError"):
        return f"{repo} holds no files that can be read as rows; choose another dataset."
    return (
        f"{repo} can't be read as rows ({type(error).__name__}: {text[:200]}); choose another config, split or dataset."
    )


def _answered(status: int, repo: str) -> str:
    if status == 401:
        return "The Hub does not accept this token; copy it again, or make a new one with read access."
    if status == 403:
        return f"This token may not read {repo}; give one with read access to it."
    return f"The Hub has trouble with {repo} ({status}); try again later."
