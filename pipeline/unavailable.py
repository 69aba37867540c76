"""Why a base can't be had and what to do, in one sentence, from what the libraries raise."""

from __future__ import annotations

from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError

from pipeline import catalogue
from pipeline.schema import Model

NOT_HERE = "it is not on this machine and the Hub can't be reached; connect, or give a local folder."
NO_SAFETENSORS = "it has no weights in safetensors; other formats can run code and are not read."


def sentence(model: Model, error: Exception) -> str:
    """The sentence for an error; transformers wraps the Hub's in text."""
    text = " ".join(str(error).split())
    if isinstance(error, GatedRepoError) or "trying to access a gated repo" in text:
        return (
            f"{model.base} is gated: ask for access on {constants.ENDPOINT}/{model.base}, then log in with a token of "
            "that account."
        )
    if isinstance(error, RevisionNotFoundError) or "not a valid git identifier" in text:
        return f"{model.base} has no revision {model.revision!r} on the Hub; leave it out for the newest."
    if isinstance(error, RepositoryNotFoundError | HFValidationError) or "not a valid model identifier" in text:
        near = catalogue.nearest(model.base)
        meant = f" Did you mean {near}?" if near else ""
        return f"There is no model {model.base!r} on the Hub that you may read; check the name.{meant}"
    return f"{model.base} can't be loaded: {_reason(error, text)}"


def _reason(error: Exception, text: str) -> str:
    if isinstance(error, HfHubHTTPError) and error.response.status_code == 401:
        return "the Hub does not accept this machine's token; log in again, or unset HF_TOKEN."
    if isinstance(error, HfHubHTTPError):
        return f"it is not on this machine and the Hub has trouble ({error.response.status_code}); try again later."
    if isinstance(error, SafetensorError):
        return f"its weights are damaged or half downloaded ({text[:100]}); download it again."
    if "backend tokenizer" in text:
        return "its tokenizer.json is missing or can't be read; connect and download it again."
    if isinstance(error, HTTPError) or "connect" in text.lower() or "offline" in text.lower():
        return NOT_HERE
    if "trust_remote_code" in text:
        return "it needs code of its own, which is never run here; choose a model that transformers knows."
    if "safetensors" in text:
        return NO_SAFETENSORS
    return text[:300]
