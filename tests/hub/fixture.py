"""The fixture `hub`: a Hub of one test's own, which this process and its children take for the real one."""

from collections.abc import Iterator

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import http_backoff

from pipeline import hub as client
from tests.hub.repos import Hub
from tests.hub.server import serve


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub of this test's own, to which this process and its children speak as alice, with all waits cut short."""
    with serve() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setenv("HF_TOKEN", "hf_write")
        # these were read from the environment when huggingface_hub was imported
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(client, "WAITS", (0.0, 0.0, 0.0))
        monkeypatch.setitem(http_backoff.__kwdefaults__, "base_wait_time", 0.0)
        yield served
