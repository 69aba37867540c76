"""app.py is killed in mid-run and started again: the run goes on, and the page shows it, curve and all."""

import contextlib
import re
import time

from playwright.sync_api import expect

from pipeline import events
from tests.browser.conftest import SECONDS, opened
from tests.conftest import free_port, serve_app

LONG = SECONDS * 1000
STEP = "#train-run [role=progressbar][aria-label=step][aria-valuenow]"


def step_shown(page, more_than: int) -> None:
    page.wait_for_function(
        "([where, before]) => Number(document.querySelector(where)?.getAttribute('aria-valuenow')) > before",
        arg=[STEP, more_than], timeout=LONG,
    )  # fmt: skip


def test_a_killed_app_loses_no_run(browser, tmp_path):
    """The open page goes on by itself once the app is back; a new one shows every point of the curve."""
    home, port = tmp_path / "home", free_port()
    with contextlib.ExitStack() as first:
        url = first.enter_context(serve_app(home, port))
        with opened(browser, url, "restart") as watch:
            page = watch.page
            watch.tab("2 · Train")
            page.locator("#train-name textarea, #train-name input").first.fill("restarted")
            page.locator("#trainconfig-epochs input").fill("40")
            page.locator("#train-start").click()
            step_shown(page, 0)
            watch.may_be_cut_off = True
            first.close()
            folder = next(f for f in (home / "runs").iterdir() if f.name.startswith("restarted-"))
            assert folder.name in page.url
            alone = len(events.read(folder / "events.jsonl").curve)
            time.sleep(2)
            assert len(events.read(folder / "events.jsonl").curve) > alone, "it trains while there is no app"
            with serve_app(home, port):
                step_shown(page, len(events.read(folder / "events.jsonl").curve))
                with opened(browser, page.url, "restarted") as again:
                    find_again_and_stop(again, folder)


def find_again_and_stop(watch, folder) -> None:
    page = watch.page
    watch.tab("2 · Train")
    expect(page.locator("#train-run")).to_contain_text("restarted")
    step_shown(page, 0)
    page.locator("#train-stop").click()
    expect(page.locator("#train-compare")).to_be_visible(timeout=LONG)
    steps = [step for step, _ in events.read(folder / "events.jsonl").curve]
    every = max(1, steps[2] - steps[1])  # a long run tells every second step
    assert steps == [1, *range(every, steps[-1] + 1, every)][every == 1 :], "the run itself never noticed"
    expect(page.locator("#train-curve canvas")).to_have_attribute("aria-label", re.compile(rf"\b{steps[-1]}\b"))
