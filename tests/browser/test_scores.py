"""The Scores part in a real browser: measured with a button, read row by row with the keyboard, sent to the chat, saved."""

import csv
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect

from pipeline import example
from tests.browser.conftest import SECONDS, opened
from tests.conftest import serve_app

LONG = SECONDS * 1000


@pytest.fixture(scope="module")
def page_url(tmp_path_factory):
    """The app, and beside the example a run of the same that was never measured."""
    home = tmp_path_factory.mktemp("scores") / "home"
    with serve_app(home) as url:
        unmeasured = shutil.copytree(home / "runs" / example.NAME, home / "runs" / "unmeasured")
        (unmeasured / "report.json").unlink()
        yield url


def choose(page, label: str, words: str) -> None:
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=words).first.click()


def test_a_run_is_measured_with_one_button(browser, page_url):
    """Why there are no scores, then progress, then the verdict first, the dumbbells and the everyday tasks."""
    with opened(browser, f"{page_url}/?run=unmeasured", "measured") as watch:
        page = watch.page
        watch.tab("Scores")
        expect(page.locator("#scores-state")).to_contain_text("has not been measured yet")
        watch.picture("scores-unmeasured")
        page.locator("#measure").click()
        expect(page.locator("#scores-state")).to_contain_text("Measuring")
        expect(page.locator("#stop-measuring")).to_be_visible()
        watch.picture("scores-busy")
        expect(page.locator("#scores .verdict.summary li")).to_be_visible(timeout=LONG)
        expect(page.locator("#scores .dumbbells svg[role=img]").first).to_be_visible()
        expect(page.locator("#scores")).to_contain_text("everyday tasks")
        expect(page.locator("#stop-measuring")).to_be_hidden()
        expect(page.get_by_role("button", name="Measure again")).to_be_visible()
        watch.picture("scores-done")


def test_rows_are_read_with_the_keyboard_and_asked_in_the_chat(browser, page_url):
    """Sorted, searched, paged and opened without losing one's place; the chat answers the same row; the file holds all."""
    with opened(browser, f"{page_url}/?run={example.NAME}", "judged") as watch:
        page = watch.page
        watch.tab("Scores")
        rows = page.locator("#judged [data-judged]")
        expect(rows).to_have_count(20)
        choose(page, "Sort by", "as in the file")
        expect(rows.first).to_contain_text("1 Say this: The brown hare")
        page.get_by_role("button", name="Next page").click()
        expect(rows.first).to_have_attribute("data-judged", "21")
        rows.nth(1).focus()
        page.keyboard.press("Enter")
        expect(rows.nth(1)).to_have_attribute("aria-expanded", "true")
        expect(rows.nth(1)).to_be_focused()
        expect(page.locator("#judged .opened mark.only").first).to_be_visible()
        watch.picture("scores-row")
        page.get_by_label("Find", exact=True).fill("flute garden")
        expect(page.locator("#judged-count")).to_contain_text(" of 60 rows")
        expect(rows.first).to_contain_text("flute")
        rows.first.click()
        asked = page.locator("#judged .judged-asked").text_content()
        with page.expect_download() as download:
            page.locator("#scores-csv").click()
        with Path(download.value.path()).open(encoding="utf-8-sig", newline="") as lines:
            assert len(list(csv.DictReader(lines))) == 60
        page.get_by_role("button", name="Ask this in the chat").click()
        expect(page.locator("#history .turn .asked").last).to_have_text(asked, timeout=LONG)
