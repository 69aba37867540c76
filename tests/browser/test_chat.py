"""Chat in a real browser: a long answer stopped, a third column, messages changed and answered again, words marked."""

import json
import re
import shutil
import time

import psutil
import pytest
from playwright.sync_api import expect

from pipeline import example
from tests.browser.conftest import SECONDS, opened
from tests.conftest import new_run, serve_app
from ui import texts

LONG = SECONDS * 1000
# within the page: between seeing enough and clicking, a driver on a busy machine would let the answer end by itself
STOPS_SOON = """() => {
  const said = document.querySelector('#live .side.tuned .answer')?.textContent.length > 40;
  if (said) document.querySelector('#stop-answer').click();
  return said;
}"""
SAYS = "Say this: The fox finds the ring."


@pytest.fixture(scope="module")
def served(tmp_path_factory, tiny):
    """The page and its home, with a second run of the same base, which has rows to learn from, and a checkpoint of it."""
    home = tmp_path_factory.mktemp("chat") / "home"
    with serve_app(home) as url:
        shipped = home / "runs" / example.NAME
        second = shutil.copytree(shipped, shipped.with_name("tiny-yoda-second"))
        told = json.loads((second / "run.json").read_text())
        (second / "run.json").write_text(json.dumps({**told, "id": second.name}))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TUNING_FORK_HOME", str(home.parent / "rows"))
            shutil.copyfile(new_run(tiny, rows=8) / "train.jsonl", second / "train.jsonl")
        yield url, home


def engine(home) -> psutil.Process:
    return next(
        process for process in psutil.process_iter(["cmdline"])
        if "pipeline.engine" in (process.info["cmdline"] or ()) and process.environ()["TUNING_FORK_HOME"] == str(home)
    )  # fmt: skip


def seconds_worked(process: psutil.Process) -> float:
    used = process.cpu_times()
    return used.user + used.system


def settings(page) -> None:
    page.locator("#decoding button").first.click()
    expect(page.locator("#chat-system textarea")).to_be_visible()


def send(page, message: str) -> None:
    page.locator("#prompt textarea").fill(message)
    page.locator("#ask").click()


def test_a_stopped_answer_is_no_longer_made(browser, served):
    """What was said stays; the engine rests at once instead of working on, and answers the next message."""
    url, home = served
    with opened(browser, f"{url}/?run={example.NAME}", "stop") as watch:
        page = watch.page
        expect(page.locator("#held-out-prompts button").first).to_be_visible()
        send(page, SAYS)
        expect(page.locator("#history .turn")).to_have_count(1, timeout=LONG)
        settings(page)
        page.locator("#decoding-max_new_tokens input").fill("900")
        page.locator("#decoding-temperature input").fill("5")
        send(page, "Hello")
        page.wait_for_function(STOPS_SOON, timeout=LONG)
        ended = page.locator("#history .turn").nth(1).locator(".side.tuned > .quiet")
        expect(ended).to_contain_text("stopped by you", timeout=LONG)
        assert int(re.match(r"\d+", ended.inner_text())[0]) < 200
        process = engine(home)
        before = seconds_worked(process)
        time.sleep(2)
        assert seconds_worked(process) - before < 0.5, "it works on an answer that nobody waits for"
        page.locator("#decoding-temperature input").fill("0")
        page.locator("#clear").click()
        expect(page.locator("#history .turn")).to_have_count(0)
        send(page, SAYS)
        expect(page.locator("#history .side.tuned .answer")).to_have_text("The ring, the fox finds.", timeout=LONG)


def test_three_columns_answer_and_the_conversation_is_changed(browser, served):
    """The base with examples beside the two; marked words, another seed, an earlier message sent again; all survives a reload."""
    url, _ = served
    with opened(browser, f"{url}/?run=tiny-yoda-second", "three") as watch:
        page = watch.page
        expect(page.locator("#held-out-prompts button").first).to_be_visible()
        settings(page)
        watch.picture("chat-settings")
        page.get_by_label(texts.THIRD_KINDS["examples"]).check()
        expect(page.locator("#chat-third-examples input")).to_be_visible()
        send(page, SAYS)
        turn = page.locator("#history .turn")
        expect(turn.locator(".side.prompted > .quiet")).to_contain_text("tokens/s", timeout=LONG)
        expect(turn.locator(".side.prompted .name")).to_have_text("Base with 3 examples")
        page.locator("#chat-marked input").check()
        expect(turn.locator(".side.tuned mark").first).to_be_visible()
        watch.picture("chat-three")
        boxes = [turn.locator(f".side.{side}").bounding_box() for side in ("base", "tuned", "prompted")]
        assert len({box["y"] for box in boxes}) == 1, "beside each other where there is room"
        page.locator("#decoding-temperature input").fill("1")
        page.locator("[data-again]").click()
        expect(turn).to_contain_text("temperature 1 with seed 43", timeout=LONG)
        expect(page.locator("#decoding-seed input")).to_have_value("43")
        send(page, "Hello")
        expect(turn).to_have_count(2, timeout=LONG)
        page.get_by_role("button", name=texts.CHANGE_TURN_LABEL.format(n=1)).click()
        expect(page.locator("#chat-note")).to_contain_text("drops the answers it got and the message after it")
        expect(page.locator("#prompt textarea")).to_be_focused()
        expect(page.locator("#prompt textarea")).to_have_value(SAYS)
        watch.picture("chat-changing")
        send(page, "Say this: The owl sees the moon.")
        expect(page.locator("#history .asked")).to_have_text(["Say this: The owl sees the moon."], timeout=LONG)
        expect(page.locator("#chat-note .changing")).to_have_count(0)
        page.reload()
        expect(turn.locator(".side.prompted .name")).to_have_text("Base with 3 examples")


def test_another_run_is_the_third_column(browser, served):
    """It answers as its own adapter; a kind that this run can't offer says so."""
    url, _ = served
    with opened(browser, f"{url}/?run={example.NAME}", "other") as watch:
        page = watch.page
        expect(page.locator("#held-out-prompts button").first).to_be_visible()
        send(page, SAYS)
        turn = page.locator("#history .turn")
        expect(turn).to_have_count(1, timeout=LONG)
        page.locator("#compare-mark summary").click()
        watch.picture("chat-mark")
        settings(page)
        page.get_by_label(texts.THIRD_KINDS["run"], exact=True).check()
        expect(page.locator("#chat-third-run input")).to_be_visible()
        send(page, SAYS)
        other = turn.nth(1).locator(".side.other .answer")
        expect(other).to_have_text("The ring, the fox finds.", timeout=LONG)
        page.get_by_label(texts.THIRD_KINDS["checkpoint"]).check()
        expect(page.get_by_test_id("toast-body")).to_contain_text("keeps no checkpoint")
        watch.picture("chat-error")
