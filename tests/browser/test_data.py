"""The Data tab in a real browser: an unknown CSV is mapped by hand, two findings are mended, the coloured preview is read."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import opened
from tests.conftest import serve_app
from ui import texts

LONG = 60_000


@pytest.fixture(scope="module")
def page_url(tmp_path_factory):
    with serve_app(tmp_path_factory.mktemp("data") / "home") as url:
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
        twice.select_option("keep")
        expect(summary).to_contain_text("61 usable rows", timeout=LONG)
        page.locator("#data-find input, #data-find textarea").first.fill("Tag 9?")
        page.locator("#data-find input, #data-find textarea").first.press("Enter")
        expect(page.locator("#data-shown")).to_contain_text("Row 10", timeout=LONG)
        learned = page.locator("#data-shown .scroll mark")
        expect(learned).to_contain_text("Es geschah Nummer 9.")
        assert "\u200b" not in learned.inner_text()
        watch.picture("data-mended")
