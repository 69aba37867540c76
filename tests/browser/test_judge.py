"""A blind round in real browsers: two judges, one on a phone; its end, its downloads, and the numbers they gave."""

import csv
import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from pipeline import example, rounds, votes
from tests.browser.conftest import SCREENSHOTS, SECONDS, Watch, opened
from tests.conftest import serve_app
from tests.judging import ready_round

PROMPTS = [f"Say this: the fox finds ring {number}." for number in range(1, 7)]
ANN = ("tuned", "tuned", "base", "tie", "tuned", "bad")
BEN = ("tuned", "base", "base", "tuned", "tuned", "tuned")
KEYS = {"left": "1", "right": "2", "tie": "3", "bad": "4"}


@pytest.fixture
def page_url(home):
    with serve_app(home) as url:
        yield url


def stands(page, column: str) -> str:
    """Where the answer of a side is, read off the page: only the texts made for this test tell."""
    on_left = page.locator("#left").inner_text().startswith("Tuned")
    return "left" if on_left == (column == "tuned") else "right"


def choice(page, wanted: str) -> str:
    return wanted if wanted in ("tie", "bad") else stands(page, wanted)


def at(page, number: int) -> None:
    """The judge's page shows this prompt."""
    expect(page.locator("#at")).to_have_text(f"{number} of {len(PROMPTS)}")
    expect(page.locator("#messages")).to_contain_text(PROMPTS[number - 1])


def picture(page, name: str) -> None:
    """The judge's page as it is now: light and dark, wide and narrow."""
    SCREENSHOTS.mkdir(exist_ok=True)
    size = page.viewport_size
    for width in (1280, 375):
        page.set_viewport_size({"width": width, "height": 800})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=SCREENSHOTS / f"{name}-{width}-{scheme}.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} scrolls sideways at {width}"
    page.set_viewport_size(size)


def test_two_judges_judge_a_round_blind_and_the_numbers_are_right(browser, page_url, home, tmp_path):
    """Keys and mouse, undo, a closed tab, two browsers; then the reveal, the result, the CSV and the pairs."""
    run = home / "runs" / example.NAME
    made = ready_round(run, "\n".join(PROMPTS))
    with opened(browser, f"{page_url}/?run={run.name}", "judge-owner") as watch:
        page = watch.page
        page.get_by_role("tab", name="Judge blind").click()
        expect(page.locator("#judge-status")).to_contain_text("answered every prompt (6)")
        watch.picture("judge-ready")
        page.locator("#judge-open").click()
        expect(page.locator("#judge-link input, #judge-link textarea")).to_have_value(re.compile(r"\?judge=.{32}$"))
        link = page.locator("#judge-link input, #judge-link textarea").input_value()
        assert page.locator("#judge-here a").evaluate("link => link.href.split('?judge=')[1]") == link[-32:]
        with opened(browser, link, "judge-ann") as ann, opened(browser, link, "judge-ben") as ben:
            judged_with_keys(ann)
            judged_on_a_phone(ben)
            assert [(vote["name"], vote["done"]) for vote in so_far(made)] == [("Ann", 6), ("No name", 6)]
            for name in ("Ann", "No name"):
                expect(page.locator("#judge-status .judges li", has_text=name)).to_contain_text("6 of 6")
            watch.picture("judge-open")
            assert "preferred" not in page.locator("#compare-judge").inner_text()
            page.locator("#judge-end").click()
            expect(page.locator("#judge-sentence")).to_contain_text("All who have begun are done (2)")
            page.locator("#judge-reveal").click()
            expect(page.locator("#judge-result .verdict")).to_contain_text("2 judges")
            ann.page.reload()
            expect(ann.page.locator("#result .verdict")).to_be_visible()
            assert (
                ann.page.locator("#result .verdict").inner_text() == page.locator("#judge-result .verdict").inner_text()
            )
            picture(ann.page, "judge-page-result")
        page.locator("#judge-result summary").click()
        watch.picture("judge-result")
        the_numbers_are_right(page)


def judged_with_keys(watch) -> None:
    """By keys; a key in a note chooses nothing; a reload and a closed tab lose nothing; one vote is taken back."""
    page = watch.page
    expect(page.locator("#how-many")).to_contain_text("6 prompts")
    picture(page, "judge-page-begin")
    page.get_by_label("Your name").fill("Ann")
    page.get_by_label("Your name").press("Enter")
    at(page, 1)
    picture(page, "judge-page-item")
    page.locator("#more summary").click()
    page.locator("#note").fill("")
    page.locator("#note").press_sequentially("1 of 2")
    at(page, 1)
    page.locator("#heading").focus()
    page.keyboard.press(KEYS[choice(page, ANN[0])])
    at(page, 2)
    expect(page.locator("#note")).to_have_value("")
    page.keyboard.press(KEYS["bad"])
    at(page, 3)
    page.locator("#undo").click()
    at(page, 2)
    page.keyboard.press(KEYS[choice(page, ANN[1])])
    at(page, 3)
    page.reload()
    at(page, 3)
    again, link = Watch(page.context.new_page()), page.url
    page.close()
    watch.page = page = again.page
    page.goto(link)
    at(page, 3)
    for number, wanted in enumerate(ANN[2:], start=3):
        at(page, number)
        page.keyboard.press(KEYS[choice(page, wanted)])
    expect(page.locator("#done-title")).to_have_text("Thank you, Ann")
    picture(page, "judge-page-done")
    assert not again.found


def judged_on_a_phone(watch) -> None:
    """By the four buttons, which are within reach at the bottom; the answers stand under each other."""
    page = watch.page
    page.set_viewport_size({"width": 375, "height": 700})
    page.get_by_role("button", name="Begin").click()
    at(page, 1)
    left, right = (page.locator(f"#{side}").bounding_box() for side in ("left", "right"))
    assert right["y"] > left["y"] + left["height"]
    for number, wanted in enumerate(BEN, start=1):
        at(page, number)
        button = page.locator(f"[data-choice={choice(page, wanted)}]")
        box = button.bounding_box()
        assert box["y"] > 500
        assert box["height"] >= 44
        button.click()
    expect(page.locator("#done-title")).to_have_text("Thank you")


def so_far(made: rounds.Round) -> list[dict]:
    return [{"name": name, "done": done} for name, done in votes.standing(made.id).judges]


def the_numbers_are_right(page) -> None:
    """What the result says is what was voted, counted by hand: both said tuned in 2 prompts, both base in 1, else no majority."""
    said = page.locator("#judge-result .verdict").inner_text()
    both = [{a, b} for a, b in zip(ANN, BEN, strict=True)]
    assert f"preferred tuned in {both.count({'tuned'})} of 6 prompts, base in {both.count({'base'})}" in said
    with page.expect_download() as download:
        page.locator("#judge-save-votes").click()
    with Path(download.value.path()).open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["choice"] for row in rows if row["name"] == "Ann"] == list(ANN)
    assert [row["choice"] for row in rows if row["name"] != "Ann"] == list(BEN)
    assert [row["note"] for row in rows if row["note"]] == ["1 of 2"]
    with page.expect_download() as download:
        page.locator("#judge-save-pairs").click()
    pairs = [json.loads(line) for line in Path(download.value.path()).read_text().splitlines()]
    assert [pair["chosen"][0]["content"].split()[0] for pair in pairs] == ["Tuned", "Other", "Tuned"]


def test_a_round_is_made_on_the_page_and_answered(browser, page_url, home):
    """From pasted prompts to the page that judges them, with the bundled model."""
    with opened(browser, f"{page_url}/?run={example.NAME}", "judge-make") as watch:
        page = watch.page
        page.get_by_role("tab", name="Judge blind").click()
        expect(page.locator("#judge-make")).to_be_visible()
        watch.picture("judge-empty")
        page.get_by_label("My own prompts").check()
        page.locator("#judge-text textarea").fill("Say this: the fox finds the ring.\nHello?")
        page.locator("#judge-make").click()
        expect(page.locator("#judge-status [role=progressbar], #judge-status .run-bar")).to_be_visible()
        watch.picture("judge-busy")
        page.locator("#judge-open").click(timeout=SECONDS * 1000)
        with page.context.expect_page() as opening:
            page.locator("#judge-here a").click()
        judge = opening.value
        judge.get_by_role("button", name="Begin").click()
        expect(judge.locator("#at")).to_have_text("1 of 2")
        seen = {judge.locator("#left").inner_text(), judge.locator("#right").inner_text()}
        assert "The ring, the fox finds." in seen
