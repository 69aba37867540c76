"""`python -m pipeline.publish RUN`: adapter/ or merged/ with its model card -> one commit on the Hub, then compared with it.

Reads publish.json (a Publication). The token comes in this process's environment as HF_TOKEN and is written nowhere.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # the lock and the first event come before the heavy imports below
    from pipeline import job

    sys.exit(job.main("publish", on_device=False))

import contextlib
import fnmatch
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils._validators import validate_repo_id

from pipeline import card, files, hub, jobs
from pipeline.errors import Refused, UserError
from pipeline.hub import Upload, Uploaded
from pipeline.job import Job
from pipeline.methods import METHODS
from pipeline.schema import Publication, from_json, to_json

PUBLISHED = {".safetensors", ".json", ".jinja", ".model", ".txt"}  # a pickle (training_args.bin) can run code: never
WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "config.json", "adapter_config.json", "generation_config.json")
STAGING = ".publish"
SETTINGS = "https://huggingface.co/settings/tokens"


def start(folder: Path, publication: Publication, token: str | None) -> None:
    """Start the job, once what can be known beforehand is found to be in order. Raises UserError otherwise."""
    if not token or not token.strip():
        raise UserError(
            f"Publishing needs a token with write access ({SETTINGS}): set HF_TOKEN or run `hf auth login`."
        )
    hub.check_token(token.strip())
    jobs.refuse_working(folder)
    refuse_unready(folder, publication)
    refuse_other_adapter(folder, publication.what)
    files.write_json(folder / "publish.json", to_json(publication))
    jobs.start(folder, "publish", token=token.strip())


def stored_token() -> str | None:
    """The token of this machine: HF_TOKEN, else what the Hub's own login left."""
    return get_token()


def work(job: Job) -> tuple[str, dict[str, Any]]:
    """Publish what publish.json asks for. Nothing in adapter/ or merged/ is touched; a repeat with no news makes no commit."""
    publication = from_json(Publication, jobs.read_json(job.folder / "publish.json"), "publish.json")
    token = os.environ.get("HF_TOKEN", "").strip()
    hub.check_token(token)
    with hub.in_words(publication.repo, token):
        job.phase("checking")
        refuse_unready(job.folder, publication)
        refuse_other_adapter(job.folder, publication.what)
        api = hub.connect(token)
        check_access(job, api, publication.repo)
        job.phase("preparing")
        with staged(job.folder, publication) as staging:
            return "finished", push(job, api, publication, staging)


def refuse_unready(folder: Path, publication: Publication) -> None:
    """Raises UserError when the repository can't have that name, or the run has nothing of that kind to publish."""
    try:
        validate_repo_id(publication.repo)
    except HFValidationError as error:
        raise UserError(f"repo: {publication.repo!r} can't be a name on the Hub: {error}") from error
    if not (folder / "adapter").is_dir():
        raise UserError(f"{folder.name} has no adapter yet; train it to its end first.")
    method = METHODS[jobs.load(folder).config.method]
    if publication.what == "adapter" and method.family == "weights":
        raise UserError(f"{method.label} trains the base itself, there is no adapter; merge it and publish merged.")
    if publication.what == "merged" and method.unmerged:
        raise UserError(f"{method.label} can't be merged: {method.unmerged}; publish its adapter.")
    if publication.what == "merged":
        checked = jobs.read_json(folder / "merge.json") if (folder / "merge.json").exists() else {}
        if not checked.get("ok") or not (folder / "merged").is_dir():
            raise UserError(f"{folder.name} has no merged model that passed its check; merge it first.")


def refuse_other_adapter(folder: Path, what: str) -> None:
    """Raises UserError when adapter/ is not the one that was judged (report.json) and, for a merged model, merged."""
    present = files.fingerprint(folder / "adapter")
    for name, done, verb in (("report.json", "judged", "evaluate"), ("merge.json", "merged", "merge")):
        told = (folder / name).exists() and (name == "report.json" or what == "merged")
        if told and jobs.read_json(folder / name).get("adapter") != present:
            raise UserError(f"adapter/ has changed since it was {done}; {verb} it again.")


def check_access(job: Job, api: HfApi, repo: str) -> None:
    """Raises, before anything is prepared, when the token is no good or may not write to a repository that is there."""
    hub.patiently(job, api.whoami)
    with contextlib.suppress(RepositoryNotFoundError):
        hub.patiently(job, lambda: api.auth_check(repo, write=True))


@contextlib.contextmanager
def staged(folder: Path, publication: Publication) -> Iterator[Path]:
    """A folder inside the run that looks as the repository will; gone afterwards. Weights are links, not copies."""
    staging = folder / STAGING
    shutil.rmtree(staging, ignore_errors=True)  # left by a job that was killed
    staging.mkdir()
    try:
        for file in sorted((folder / publication.what).iterdir()):
            if file.suffix in PUBLISHED:
                (staging / file.name).symlink_to(file)
        if publication.what == "adapter":
            name_base(folder, staging / "adapter_config.json")
        content = card.text(folder, publication)
        (staging / "README.md").write_text(content, encoding="utf-8", errors="backslashreplace")
        refuse_paths(folder, staging)
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def name_base(folder: Path, config: Path) -> None:
    """The adapter names its base as the Hub knows it; a path of this machine would tell a stranger nothing, or too much."""
    base = card.read(folder).base
    files.write_json(
        config, {**jobs.read_json(config), "base_model_name_or_path": base.name, "revision": base.revision}
    )


def refuse_paths(folder: Path, staging: Path) -> None:
    """No published setting names a path of this machine."""
    model = jobs.load(folder).model
    private = [str(folder.parent), *([model] if Path(model).is_absolute() else [])]
    for file in staging.glob("*config.json"):
        content = file.read_text(encoding="utf-8")
        if any(path in content for path in private):
            raise AssertionError(f"{file.name} names a path of this machine; nothing was published")


def push(job: Job, api: HfApi, publication: Publication, staging: Path) -> dict[str, Any]:
    """The staged files to their repository, which is made if need be. Returns where they are."""
    repo = publication.repo
    uploads = [Upload(file.name, str(file)) for file in sorted(staging.iterdir())]
    total = sum(upload.upload_info.size for upload in uploads)
    job.phase("uploading", steps=100)
    hub.patiently(job, lambda: api.create_repo(repo, private=publication.private, exist_ok=True))
    refuse_exposure(job, api, publication)
    so_far = Uploaded(job, total)
    for upload in uploads:
        so_far.follow(upload)
        api.preupload_lfs_files(repo, additions=[upload], free_memory=False)
        so_far.add(upload)
    job.end_if_stop_asked()
    revision = hub.patiently(job, lambda: commit(job, api, publication, uploads))
    job.phase("comparing")
    compare(job, api, repo, revision, staging)
    names = [upload.path_in_repo for upload in uploads]
    return {"url": f"{api.endpoint}/{repo}", "revision": revision, "files": names, **to_json(publication)}


def refuse_exposure(job: Job, api: HfApi, publication: Publication) -> None:
    """An existing repository keeps who may see it: what was meant to be private does not go into a public one."""
    private = hub.patiently(job, lambda: api.model_info(publication.repo)).private
    if publication.private and not private:
        raise UserError(
            f"{publication.repo} is there already and public; choose another name, or publish it as public."
        )
    if private and not publication.private:
        job.emit(
            "note", text=f"{publication.repo} was there already and stays private; its settings on the Hub decide."
        )


def commit(job: Job, api: HfApi, publication: Publication, uploads: list[Upload]) -> str:
    """One commit with all files; the last one's id where nothing is new. Asks the Hub anew each time it is called.

    After a cut connection nobody knows whether the commit was made: what the Hub has already is left out the next time.
    """
    there = api.list_repo_files(publication.repo)
    obsolete = sorted(other_weights(there) - {upload.path_in_repo for upload in uploads})
    if obsolete:  # an adapter beside a merged model: whoever loads it would get one on top of the other
        job.emit("note", text=f"Removed from {publication.repo}, of an earlier model there: {', '.join(obsolete)}.")
    fresh = [upload.again() for upload in uploads]
    operations: list[CommitOperationAdd | CommitOperationDelete] = [*fresh, *map(CommitOperationDelete, obsolete)]
    message = f"Publish {publication.what} of {job.folder.name}"
    return str(api.create_commit(publication.repo, operations, commit_message=message).oid)


def other_weights(names: list[str]) -> set[str]:
    """What in a repository decides which model is loaded from it."""
    return {name for name in names if "/" not in name and any(fnmatch.fnmatch(name, weights) for weights in WEIGHTS)}


def compare(job: Job, api: HfApi, repo: str, revision: str, staging: Path) -> None:
    """Raises Refused when a file on the Hub is not byte for byte (by its hash) the one here."""
    found = hub.patiently(job, lambda: api.verify_repo_checksums(repo, revision=revision, local_dir=str(staging)))
    wrong = [mismatch["path"] for mismatch in found.mismatches] + list(found.extra_paths)
    if wrong:
        raise Refused(f"{', '.join(wrong)} arrived in {repo} otherwise than sent; publish again.")
