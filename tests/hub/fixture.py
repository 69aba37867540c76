"""The fixture `hub`: a Hub of one test's own, which this process and its children take for the real one."""

import threading
from collections.abc import Iterator
from pathlib import Path

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


@pytest.fixture
def dataset_hub(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The same, for the `datasets` library in this process too. This machine's own token is alice's, and nobody's to use."""
    from datasets import config

    monkeypatch.setattr(config, "HF_ENDPOINT", hub.url)
    monkeypatch.setattr(config, "HUB_DATASETS_URL", hub.url + "/datasets/{repo_id}/resolve/{revision}/{path}")
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", False)
    for name in (name for name in vars(config) if name.startswith("STREAMING_") and name.endswith("RETRY_INTERVAL")):
        monkeypatch.setattr(config, name, 0)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield hub
    for fault in hub.faults:
        fault.over = True
    for thread in threading.enumerate():  # what was left waiting would disturb the next test: they share one client
        if thread.name == "hub-rows":
            thread.join(10)
