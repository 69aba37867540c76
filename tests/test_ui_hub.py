"""A dataset on the Hub is looked at and fetched from the Data tab, by a child of its own, over real HTTP."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator

import gradio as gr
import pytest

from pipeline import uploads
from tests.hub import fixture
from tests.hub.repos import Hub
from tests.test_hub_rows import CARD, QA, lines, noise, parquet
from ui import children, hub_choice, preview, rows, texts

hub = fixture.hub
ATTACK = '<img src=x onerror="alert(1)">'


@pytest.fixture(autouse=True)
def fetcher():
    """Each test's child knows its Hub and its home."""
    yield
    hub_choice.FETCHER.end()
    children.READER.end()


@pytest.fixture
def qa(hub: Hub, home) -> Iterator[Hub]:
    files = {"small/a.jsonl": lines(QA[:5]), "large/train.jsonl": lines(QA), "large/test.jsonl": lines(QA[:3])}
    hub.dataset("alice/qa", {"README.md": CARD.encode(), **files})
    yield hub
    for fault in hub.faults:
        fault.over = True


def updates(told) -> list:
    async def gather():
        return [update async for update in told]

    return asyncio.run(gather())


def look(repo: str, token: str = "") -> tuple:
    return updates(hub_choice.look(None, None, repo, token))[-1]


def fetch(offered, config=None, split=None, token="") -> list:
    return updates(hub_choice.fetch(None, None, offered, config, split, token))


def test_what_is_offered_is_seen_and_fetched(qa):
    """Configs, splits and the first rows of the usual part; another part on request; its rows become the choice."""
    waiting, (offered, config, split, shown, use, doing) = updates(hub_choice.look(None, None, " alice/qa ", ""))
    assert texts.HUB_LOOKING in waiting[-1]
    assert [name for name, _ in config.choices] == ["large", "small"]
    assert ([name for name, _ in split.choices], split.value) == (["train", "test"], "train")
    assert (use.visible, doing) == (True, "")
    assert "The first 20 of 30 rows" in shown
    assert "Question 19?" in shown
    assert "Question 20?" not in shown
    config, split, shown, use, _ = updates(hub_choice.peek(None, None, offered, "small", "test", ""))[-1]
    assert (config.value, split.value, split.visible) == (
        "small",
        "train",
        False,
    )  # this config has no split called test
    assert "alice/qa, small, train" in shown
    told = fetch(offered, "large", "test")
    choice, row, refused, columns, token, can_look, use, stop, doing = told[-1]
    assert uploads.find(choice["upload"]).name == "alice__qa-large-test.jsonl"
    assert (row, refused, columns, token) == (0, "", gr.skip(), "")
    assert (can_look.interactive, use.visible, stop.visible) == (True, True, False)
    assert [button.visible for button in told[0][6:8]] == [False, True]
    assert texts.HUB_FETCHED in doing


def test_a_private_dataset_wants_a_token(qa):
    """Nobody's sees nothing, not even on a machine that is logged in; the typed one is used and emptied."""
    qa.dataset("alice/private", {"train.jsonl": lines(QA)}, private=True)
    *_, use, doing = look("alice/private")
    assert use.visible is False
    assert "it is private: then give" in doing
    offered, *_, use, _ = look("alice/private", " hf_read ")
    assert use.visible is True
    assert "hf_read" not in json.dumps(offered)
    assert "There is no dataset" in fetch(offered)[-1][-1]
    done = fetch(offered, token="hf_read")[-1]
    assert uploads.find(done[0]["upload"])
    assert done[4] == ""


def test_a_fetch_is_stopped(qa, home):
    """Its sentence is told, the choice stays as it was, and nothing is kept."""
    qa.dataset("alice/big", {"train.parquet": parquet(noise(3000))})
    offered = look("alice/big")[0]
    qa.fault("resolve/.*/train.parquet", delay=20.0)
    threading.Timer(1.0, hub_choice.stop, (None, None)).start()
    begun = time.monotonic()
    last = fetch(offered)[-1]
    assert time.monotonic() - begun < 10
    assert "was stopped; nothing of it was kept" in last[-1]
    assert last[0] == gr.skip()
    assert last[7].visible is False
    assert not list((home / "uploads").iterdir())


def test_rows_are_looked_at_while_others_are_fetched(qa):
    """The Hub may take its time: neither the reader nor the counter waits for it."""
    qa.dataset("alice/big", {"train.parquet": parquet(noise(300))})
    offered = look("alice/big")[0]
    asked = ({"example": "tiny-yoda"}, "tiny-chat", None, "answers", 1024, "own")
    rows.show(None, None, "here", 1, "text", False, "", *asked)  # the reader takes its time to start
    qa.fault("resolve/.*/train.parquet", delay=20.0, times=99)

    async def both():
        async def follow():
            return [told async for told in hub_choice.fetch(None, None, offered, None, None, "")]

        going_on = asyncio.ensure_future(follow())
        await asyncio.sleep(1)
        shown = await asyncio.to_thread(rows.show, None, None, "here", 2, "text", False, "", *asked)
        assert not going_on.done()
        hub_choice.stop(None, None)
        assert "was stopped" in (await going_on)[-1][-1]
        return shown[1]

    assert "The wooden flute" in asyncio.run(both())


def test_rows_that_can_not_be_used_change_nothing(qa, home):
    """They were fetched, but hold nothing that could be learned: the sentence, and no copy is kept."""
    qa.dataset("alice/empty", {"train.jsonl": lines([{"score": 1}, {"score": 2}])})
    last = fetch(look("alice/empty")[0])[-1]
    assert 'class="failed"' in last[-1]
    assert last[0] == gr.skip()
    assert not list((home / "uploads").iterdir())


@pytest.mark.parametrize("offered", [None, {}, "alice/qa"])
def test_nothing_is_fetched_that_was_not_looked_at(offered, home):
    """Also where a browser sends something the page never does."""
    for told in (fetch(offered if offered != {} else None), updates(hub_choice.peek(None, None, None, "x", "y", ""))):
        assert texts.HUB_LOOK_FIRST in told[-1][-1]


def test_no_network_is_said_at_once(home, monkeypatch):
    """A sentence within seconds."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    begun = time.monotonic()
    assert "The Hub is switched off here" in look("alice/qa")[-1]
    assert time.monotonic() - begun < 15


def test_guests_bring_no_dataset(monkeypatch):
    """Every handler refuses them on a Space, before anything is asked of the Hub."""
    monkeypatch.setenv("SPACE_ID", "somebody/space")
    for refused in (
        lambda: look("alice/qa"),
        lambda: updates(hub_choice.peek(None, None, None, None, None, None)),
        lambda: fetch(None),
        lambda: hub_choice.stop(None, None),
    ):
        with pytest.raises(gr.Error, match="Only the owner"):
            refused()
    assert not hub_choice.FETCHER.alive


def test_foreign_rows_are_never_markup():
    """A name, a column and a value that try to be HTML stay text; a long value ends somewhere."""
    found = {
        "rows": [{ATTACK: ATTACK, "n": {"deep": ATTACK}}, {"n": "x" * 5000}],
        "columns": [ATTACK, "n"],
        "total": None,
    }
    html = preview.first_rows(ATTACK, ATTACK, ATTACK, found)
    assert "<img" not in html
    assert html.count("alert(1)") >= 6
    assert len(html) < 2000
    assert "how many there are is not told" in html
