"""How we speak with the Hub: a client that gives up in time, patience with what passes, failures as sentences, no secrets.

Speaks HTTP only; the endpoint is HF_ENDPOINT's.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TypeVar

import huggingface_hub
from huggingface_hub import CommitOperationAdd, HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]
from huggingface_hub.utils import logging as hub_logging
from huggingface_hub.utils._http import default_client_factory, parse_ratelimit_headers

from pipeline.errors import Refused, UserError
from pipeline.job import Job, Stopped

T = TypeVar("T")

SILENCE_SECONDS = 120.0  # how long the Hub may say nothing; the client alone would wait for ever
WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds before trying again what the client itself does not
LONGEST_WAIT = 300.0
PASSING = (408, 429, 500, 502, 503, 504)
TOLD_SECONDS = 0.5  # between two events of one file's progress
KEPT = "Nothing here is lost: publishing again goes on with what has arrived."

# status -> what it means and what to do; True where it is the user who can do something
ANSWERS = {
    400: ("The Hub refuses what was sent", True),
    401: ("The Hub does not accept this token; make a new one with write access, or log in again", True),
    402: ("The Hub asks for payment or has no storage left for this account; free some or use another account", True),
    403: (
        "This token may not write to {repo}; use one with the write role, or with the scopes write-repos and "
        "manage-repos, of an account that may",
        True,
    ),
    404: ("{repo} is not on the Hub, or this token may not see it; check the name", True),
    409: ("{repo} is being changed by somebody else; wait a moment", False),
    412: ("{repo} was changed by somebody else meanwhile; look at it", False),
    413: ("The Hub finds a file too large for this account", True),
    429: ("The Hub asks to wait, there were too many requests", False),
}


def check_token(token: str) -> None:
    """Raises UserError for what can't stand in a request; the client's own failure would quote it."""
    if not re.fullmatch(r"[!-~]+", token):
        raise UserError("The token is empty or holds characters that no token has; copy it again.")


def connect(token: str) -> HfApi:
    """A client for the Hub with this token, in a process that does nothing else."""
    huggingface_hub.set_client_factory(_client)
    # its warnings name upload addresses, which are secrets of their own
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    # uploads over plain LFS: bytes are told as they go, a stop is heard in the middle of a file
    constants.HF_HUB_DISABLE_XET = True
    return HfApi(endpoint=endpoint(), token=token)


def endpoint() -> str:
    return os.environ.get("HF_ENDPOINT") or constants.ENDPOINT


def _client() -> Any:
    client = default_client_factory()
    client.timeout = SILENCE_SECONDS
    return client


class Upload(CommitOperationAdd):
    """A file on its way to the Hub; `read_to(position)` is told how far it was read while it is sent."""

    read_to: Callable[[int], None] = staticmethod(lambda position: None)

    @contextlib.contextmanager
    def as_file(self, with_tqdm: bool = False) -> Iterator[BinaryIO]:
        with super().as_file() as stream:
            if with_tqdm:  # where the client would draw a bar: the bytes go to the Hub
                stream.read = self._told(stream)  # type: ignore[method-assign]
            yield stream

    def _told(self, stream: BinaryIO) -> Callable[..., bytes]:
        read = stream.read

        def told(size: int = -1) -> bytes:
            self.read_to(stream.tell())
            return read(size)

        return told

    def again(self) -> Upload:
        """The same file as if nothing had been asked about it yet; its hash is kept, reading 2 GB takes its time."""
        fresh = Upload(self.path_in_repo, self.path_or_fileobj)
        fresh.upload_info = self.upload_info
        return fresh


class Uploaded:
    """How many bytes of how many have gone to the Hub, told by events; the place where a stop is heard."""

    def __init__(self, job: Job, total: int) -> None:
        self.job, self.total, self.done, self._told = job, total, 0, 0.0

    def follow(self, upload: Upload) -> None:
        self._told = 0.0
        self._tell(upload, 0)
        upload.read_to = lambda position: self._tell(upload, position)

    def add(self, upload: Upload) -> None:
        self.done += upload.upload_info.size
        self._told = 0.0
        self._tell(upload, 0)

    def _tell(self, upload: Upload, position: int) -> None:
        self.job.end_if_stop_asked()
        if time.monotonic() - self._told < TOLD_SECONDS:
            return
        self._told = time.monotonic()
        done = self.done + position
        share = round(100 * done / max(1, self.total))
        self.job.emit("progress", share, done=done, total=self.total, file=upload.path_in_repo)


def patiently(job: Job, ask: Callable[[], T]) -> T:
    """What the Hub answers, asked again after a while where the failure may pass. A stop is heard between and while waiting."""
    for wait in WAITS:
        job.end_if_stop_asked()
        try:
            return ask()
        except HTTPError as error:
            seconds = max(wait, asked_wait(error))
            if not passes(error) or seconds > LONGEST_WAIT:
                raise
            job.emit("note", text=f"{happened(error)}; trying again in {seconds:.0f} s.")
        rest(job, seconds)
    return ask()


def passes(error: HTTPError) -> bool:
    """Whether trying again may help: the Hub is busy, or the connection broke. No connection at all is told at once."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in PASSING
    return not type(error).__name__.startswith("Connect")


def asked_wait(error: HTTPError) -> float:
    """Seconds the Hub itself asks to wait, 0 where it does not say."""
    if not isinstance(error, HfHubHTTPError):
        return 0.0
    limit = parse_ratelimit_headers(error.response.headers)
    after = error.response.headers.get("Retry-After", "")
    if limit and limit.remaining == 0:
        return limit.reset_in_seconds + 1.0
    return float(after) if after.isdigit() else 0.0


def rest(job: Job, seconds: float) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        job.end_if_stop_asked()
        time.sleep(min(left, 0.2))


@contextlib.contextmanager
def in_words(repo: str, token: str) -> Iterator[None]:
    """Failures of the Hub as UserErrors; and nothing that is raised further holds the token, whoever put it there."""
    try:
        yield
    except Exception as error:  # the last place that knows the token
        cause = underlying(error)
        if isinstance(cause, Stopped):
            raise Stopped from None
        told = sentence(cause, repo)
        if told:
            raise type(told)(hidden(str(told), token)) from None
        if token and token in "".join(traceback.format_exception(error)):
            raise RuntimeError(f"{type(error).__name__}: {hidden(str(error), token)}") from None
        raise


def hidden(text: str, token: str) -> str:
    return text.replace(token, "(token)") if token else text


def underlying(error: BaseException) -> BaseException:
    """What the client wraps: it says RuntimeError when a file's upload failed, whatever the reason."""
    if isinstance(error, RuntimeError) and error.__cause__:
        return underlying(error.__cause__)
    return error


def sentence(error: BaseException, repo: str) -> UserError | None:
    """The Hub's answer, or its silence, for a person. None when the failure is none of the Hub's."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, OfflineModeIsEnabled):
        return UserError("The Hub is switched off here by HF_HUB_OFFLINE; unset it to publish.")
    if isinstance(error, HfHubHTTPError):
        meaning, mistake = ANSWERS.get(error.response.status_code, ("The Hub has trouble of its own", False))
        kind = UserError if mistake else Refused
        words = " ".join((error.server_message or "").split())[:200]
        return kind(f"{meaning.format(repo=repo)} ({error.response.status_code}{words and ': '}{words}). {KEPT}")
    if isinstance(error, HTTPError | ConnectionError):
        return Refused(f"{happened(error)}; check this machine's network. {KEPT}")
    return None


def happened(error: BaseException) -> str:
    """In our own words only: the Hub's may quote what was sent."""
    if isinstance(error, HfHubHTTPError):
        return f"The Hub answered {error.response.status_code}"
    if type(error).__name__.startswith("Connect"):
        return f"There is no connection to the Hub at {endpoint()}"
    return "The connection to the Hub broke"
