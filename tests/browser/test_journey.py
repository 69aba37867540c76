"""The whole journey through the real page: a first pair at once, then upload, preview, train, compare, merge, publish."""

import json
import re
import shutil
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import TimeoutError as NeverShown
from playwright.sync_api import expect

from tests.browser.conftest import SECONDS, opened
from tests.conftest import EXAMPLES, serve_app
from tests.hub.server import serve

LONG = SECONDS * 1000
SAYS = "Say this: The fox finds the ring."


@pytest.fixture(scope="module")
def hub():
    with serve() as served:
        yield served


@pytest.fixture(scope="module")
def page_url(hub, tmp_path_factory):
    home = tmp_path_factory.mktemp("journey") / "home"
    with serve_app(home, HF_ENDPOINT=hub.url, HF_HUB_DISABLE_XET="1", HF_HUB_OFFLINE="0") as url:
        yield url


def fill(page, selector: str, text: str) -> None:
    page.locator(f"{selector} textarea, {selector} input").first.fill(text)


def answers(page) -> tuple[str, str]:
    """Base's and tuned's newest finished answer."""
    last = page.locator("#history .turn").last
    return last.locator(".side.base .answer").inner_text(), last.locator(".side.tuned .answer").inner_text()


def test_a_first_visit_hears_both_sides_with_one_click(browser, page_url, tmp_path):
    """From the first second it chats; the conversation survives a reload and can be downloaded."""
    with opened(browser, page_url, "first-visit") as watch:
        page = watch.page
        first = page.locator("#held-out-prompts button").first
        expect(first).to_be_visible()
        watch.picture("compare-empty")
        first.click()
        expect(page.locator("#history .side.tuned .quiet").last).to_contain_text("stopped by itself", timeout=LONG)
        base, tuned = answers(page)
        assert base != tuned
        expect(page.locator("#compare-mark .chip.good")).to_be_visible()
        page.locator("#history details summary").first.click()
        expect(page.locator("#history details .answer").first).to_have_text(tuned)
        watch.picture("compare-done")
        fill(page, "#prompt", SAYS)
        page.locator("#prompt textarea").press("Enter")
        expect(page.locator("#history .turn")).to_have_count(2, timeout=LONG)
        page.reload()
        expect(page.locator("#history .turn")).to_have_count(2)
        with page.expect_download() as download:
            page.locator("#download").click()
        kept = json.loads(Path(download.value.path()).read_text())
        assert [turn["prompt"] for turn in kept["turns"]][1] == SAYS
        assert kept["turns"][0]["tuned"]["text"] == tuned
        page.locator("#clear").click()
        expect(page.locator("#history .turn")).to_have_count(0)


def test_another_run_chosen_in_mid_answer_shows_nothing_of_it(browser, tmp_path):
    """The engine is held still in mid-answer, so that the answer is sure to be unfinished when the run changes."""
    home = tmp_path / "home"
    with serve_app(home) as url:
        first = home / "runs" / "tiny-yoda-example"
        second = shutil.copytree(first, first.with_name("tiny-yoda-second"))
        told = json.loads((second / "run.json").read_text())
        (second / "run.json").write_text(json.dumps({**told, "id": second.name}))
        with opened(browser, f"{url}/?run={first.name}", "mid-answer") as watch:
            page = watch.page
            page.locator("#held-out-prompts button").first.click()
            expect(page.locator("#history .turn")).to_have_count(1, timeout=LONG)
            engine = next(
                process for process in psutil.process_iter(["cmdline"])
                if "pipeline.engine" in (process.info["cmdline"] or ()) and process.environ()["TUNING_FORK_HOME"] == str(home)
            )  # fmt: skip
            engine.suspend()
            page.locator("#held-out-prompts button").nth(1).click()
            expect(page.locator("#live .turn")).to_be_visible()
            watch.picture("compare-busy")
            page.locator("#run input").click()
            page.get_by_role("option", selected=False).click()
            page.wait_for_url(re.compile(second.name))
            expect(page.locator("#live .turn")).to_have_count(0)
            engine.resume()
            with pytest.raises(NeverShown):
                page.locator("#live .turn, #history .turn").first.wait_for(timeout=8_000)
            fill(page, "#prompt", SAYS)
            page.locator("#ask").click()
            expect(page.locator("#history .turn")).to_have_count(1, timeout=LONG)
            expect(page.locator("#history .turn")).to_contain_text(SAYS)


def test_the_whole_journey(browser, page_url, hub, tmp_path):
    """Upload, coloured preview, train, reload in mid-run, compare, merge, push; then the Hub holds what was merged."""
    data = tmp_path / "my rows.jsonl"
    rows = (EXAMPLES / "tiny-yoda.jsonl").read_text().splitlines()[:260]
    data.write_text("\n".join([*rows, '{"messages": [{"role": "user", "content": "no answer"}]}']) + "\n")
    with opened(browser, page_url, "journey") as watch:
        page = watch.page
        upload_and_preview(watch, data)
        run = train_through_a_reload(watch)
        watch.tab("3 · Compare")
        fill(page, "#prompt", SAYS)
        page.locator("#ask").click()
        expect(page.locator("#history .side.tuned .quiet").last).to_contain_text("tokens/s", timeout=LONG)
        assert answers(page) == ("The fox finds the ring.", "The ring, the fox finds.")
        watch.tab("Scores")
        expect(page.locator("#compare-scores table").first).to_be_visible()
        merge_and_publish(watch)
        assert f"run={run}" in page.url
    pushed = hub.repos["alice/my-yoda"]
    assert pushed.private
    names = set(pushed.commits[-1][1])
    assert {"README.md", "config.json", "tokenizer.json"} <= names
    assert any(name.endswith(".safetensors") for name in names)
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in names)


def upload_and_preview(watch, data: Path) -> None:
    page = watch.page
    watch.tab("1 · Data")
    expect(page.locator("#data-shown mark").first).to_be_visible(timeout=LONG)
    watch.picture("data-example")
    page.locator("#data-file input[type=file]").set_input_files(
        {"name": "broken.json", "mimeType": "application/json", "buffer": b'[{"messages": '}
    )
    expect(page.locator("#data-refused [role=alert]")).to_contain_text("broken.json: not valid JSON", timeout=LONG)
    expect(page.locator("#data-summary")).to_contain_text("tiny-yoda")
    watch.picture("data-error")
    page.locator("#data-file input[type=file]").set_input_files(data)
    expect(page.locator("#data-summary")).to_contain_text("my rows.jsonl", timeout=LONG)
    expect(page.locator("#data-summary")).to_contain_text("261")
    learned = page.locator("#data-shown .scroll mark").first
    expect(learned).to_contain_text("<|im_end|>", timeout=LONG)
    lines = learned.evaluate(
        "mark => getComputedStyle(mark).textDecorationLine + getComputedStyle(mark).borderBottomStyle"
    )
    assert "underline" in lines or "solid" in lines, "colour alone tells nothing to somebody who can't see it"
    watch.picture("data-uploaded")
    page.locator("#data-ask").click()
    expect(page.locator("#data-answer")).to_contain_text("tokens", timeout=LONG)


def train_through_a_reload(watch) -> str:
    """Start from the form, reload the page while it trains, see the same run to its end. Returns the run's id."""
    page = watch.page
    watch.tab("2 · Train")
    fill(page, "#train-name", "my yoda")
    watch.picture("train-ready")
    fill(page, "#trainconfig-rank", "0")
    page.locator("#train-start").click()
    expect(page.get_by_test_id("toast-body")).to_contain_text("rank: 0 is outside 1 to 512")
    watch.picture("train-error")
    fill(page, "#trainconfig-rank", "16")
    page.locator("#train-start").click()
    expect(page.locator("#train-run")).to_contain_text("my yoda", timeout=LONG)
    expect(page.locator("#train-run [role=progressbar]")).to_be_visible(timeout=LONG)
    watch.picture("train-busy")
    page.wait_for_url(re.compile(r"run=my-yoda-"))
    run = page.url.partition("run=")[2].partition("&")[0]
    watch.may_be_cut_off = True
    page.reload()
    watch.tab("2 · Train")
    expect(page.locator("#train-run")).to_contain_text("my yoda")
    watch.may_be_cut_off = False
    expect(page.locator("#train-learns-from")).to_contain_text("my rows.jsonl")
    expect(page.locator("#train-compare")).to_be_visible(timeout=LONG)
    watch.picture("train-done")
    assert f"run={run}" in page.url
    return run


def merge_and_publish(watch) -> None:
    page = watch.page
    watch.tab("4 · Publish")
    watch.picture("publish-empty")
    page.locator("#merge").click()
    expect(page.locator("#merge-state .chip.good")).to_be_visible(timeout=LONG)
    expect(page.locator("#merge-state .facts")).to_contain_text("identical")
    page.get_by_label("merged").check()
    fill(page, "#hub-token", "hf_nobody")
    fill(page, "#publication-repo", "alice/my-yoda")
    page.locator("#publish").click()
    expect(page.locator("#publish-state [role=alert]")).to_contain_text("token", timeout=LONG)
    watch.picture("publish-error")
    fill(page, "#hub-token", "hf_write")
    page.locator("#publish").click()
    expect(page.locator("#publish-state a")).to_contain_text("alice/my-yoda", timeout=LONG)
    expect(page.locator("#hub-token input")).to_have_value("")
    watch.picture("publish-done")
