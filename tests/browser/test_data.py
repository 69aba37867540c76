"""The Data tab in a real browser: an unknown CSV is mapped by hand, two findings are mended, the coloured preview is read;
a dataset on the Hub is looked at, fetched and cut as long as is suggested."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import opened
from tests.conftest import serve_app
from tests.hub.server import serve
from tests.test_hub_rows import CARD, QA, lines
from ui import texts

LONG = 60_000


@pytest.fixture(scope="module")
def hub():
    with serve() as served:
        yield served


@pytest.fixture(scope="module")
def page_url(hub, tmp_path_factory):
    home = tmp_path_factory.mktemp("data") / "home"
    with serve_app(home, HF_ENDPOINT=hub.url, HF_HUB_DISABLE_XET="1", HF_HUB_OFFLINE="0") as url:
        yield url


def unknown(folder):
    """A CSV with semicolons whose columns say nothing: 61 rows, one of them twice, two with a character nobody sees."""
    file = folder / "meldungen.csv"
    lines = [f"T{i};Was geschah am Tag {i}?;Es geschah Nummer {i}.;{i}" for i in range(60)]
    lines[7] = lines[7].replace("Nummer", "Num\u200bmer")
    lines[9] = lines[9].replace("Nummer", "Num\u200bmer")
    file.write_text("\n".join(["titel;inhalt;fazit;nr", *lines, lines[3]]) + "\n", encoding="utf-8-sig")
    return file


def test_an_unknown_file_is_understood_with_a_little_help(browser, page_url, tmp_path):
    """Roles are given by hand, the first conversations follow at once; what is wrong is decided with its effect in sight."""
    with opened(browser, page_url, "data-by-hand") as watch:
        page = watch.page
        watch.tab("1 · Data")
        expect(page.locator("#data-shown mark").first).to_be_visible(timeout=LONG)
        page.locator("#data-file input[type=file]").set_input_files(unknown(tmp_path))
        expect(page.locator("#data-refused")).to_contain_text(texts.MAP_BY_HAND, timeout=LONG)
        asked, answered = (page.locator(f"#data-table select[data-column={name}]") for name in ("inhalt", "fazit"))
        expect(asked).to_be_visible()
        watch.picture("data-columns")
        asked.select_option("prompt")
        answered.select_option("completion")
        expect(page.locator("#data-first")).to_contain_text("Es geschah Nummer 0.", timeout=LONG)
        summary = page.locator("#data-summary")
        expect(summary).to_contain_text("61 rows", timeout=LONG)
        expect(page.locator("#data-refused [role=alert]")).to_have_count(0)
        mend = summary.locator("select[data-kind=non-printing]")
        expect(mend).to_be_visible(timeout=LONG)
        expect(mend).to_contain_text(re.compile("Mend: .*2 rows"))
        watch.picture("data-findings")
        mend.select_option("fix")
        twice = summary.locator("select[data-kind=duplicate]")
        expect(summary.locator("select[data-kind=non-printing]")).to_have_value("fix", timeout=LONG)
        expect(summary).to_contain_text("60 usable rows")
        twice.select_option("keep")  # before the other has arrived, on a slow machine: both count
        expect(summary).to_contain_text("61 usable rows", timeout=LONG)
        page.locator("#data-find input, #data-find textarea").first.fill("Tag 9?")
        page.locator("#data-find input, #data-find textarea").first.press("Enter")
        expect(page.locator("#data-shown")).to_contain_text("Row 10", timeout=LONG)
        learned = page.locator("#data-shown .scroll mark")
        expect(learned).to_contain_text("Es geschah Nummer 9.")
        assert "\u200b" not in learned.inner_text()
        watch.picture("data-mended")


def test_a_dataset_on_the_hub_is_looked_at_and_used(browser, page_url, hub):
    """Its parts and first rows are seen before anything is fetched; fetched, it is read like an uploaded file."""
    files = {"small/a.jsonl": lines(QA[:5]), "large/train.jsonl": lines(QA), "large/test.jsonl": lines(QA[:3])}
    hub.dataset("alice/qa", {"README.md": CARD.encode(), **files}, private=True)
    with opened(browser, page_url, "data-hub") as watch:
        page = watch.page
        watch.tab("1 · Data")
        expect(page.locator("#data-shown mark").first).to_be_visible(timeout=LONG)
        page.get_by_role("button", name=texts.HUB_DATASET).click()
        page.locator("#hub-repo input, #hub-repo textarea").fill("alice/qa")
        page.locator("#hub-look").click()
        expect(page.locator("#hub-doing [role=alert]")).to_contain_text("it is private", timeout=LONG)
        page.get_by_role("button", name=texts.TYPE_ROWS).click()  # a table that was drawn wide gets narrow, too
        expect(page.locator("#data-typed table").first).to_be_visible()
        watch.picture("data-hub-refused")
        page.get_by_role("button", name=texts.TYPE_ROWS).click()
        page.locator("#hub-read-token input").fill("hf_read")
        page.locator("#hub-look").click()
        expect(page.locator("#hub-shown")).to_contain_text("The first 20 of 30 rows", timeout=LONG)
        watch.picture("data-hub-rows")
        page.locator("#hub-use").click()
        summary = page.locator("#data-summary")
        expect(summary).to_contain_text("alice__qa-large-train.jsonl", timeout=LONG)
        expect(page.locator("#data-shown .scroll mark").first).to_contain_text("Answer", timeout=LONG)
        expect(page.locator("#hub-read-token input")).to_have_value("")
        assert "hf_read" not in page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
        expect(summary).to_contain_text("tokens in a typical row", timeout=LONG)
        summary.locator("summary", has_text=texts.STATISTICS).click()
        summary.locator("button[data-suggested]").click()
        expect(summary.get_by_text(texts.SUGGESTED_IS_SET)).to_be_visible(timeout=LONG)
        page.get_by_role("button", name=texts.READ_AS).click()
        expect(page.locator("#trainconfig-max_length input").first).to_have_value("64")
        watch.picture("data-hub-used")
