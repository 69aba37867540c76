"""A real browser on the real page: whatever the console, the page or the network should not say makes the test fail."""

import contextlib
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

SCREENSHOTS = Path(__file__).parents[2] / "screenshots"  # git-ignored: to be looked at
QUIET_BROWSER = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync"
).split()
LOCAL = re.compile(r"(https?|wss?)://127\.0\.0\.1[:/]|(data|blob|about):")
# what the browser itself says when a server goes away, or when the page is left while it asks for something
LOST = re.compile(
    r"Failed to load resource: net::|ERR_(CONNECTION|INCOMPLETE|EMPTY)|Connection errored|Failed to fetch|network error|"
    r"AbortError: signal is aborted|Unexpected error 404: Not Found",
    re.I,
)
SECONDS = 240
expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET_BROWSER)
        yield opened
        opened.close()


class Watch:
    """A page and everything it should not have said or asked for."""

    def __init__(self, page: Page) -> None:
        self.page, self.found, self.may_be_cut_off = page, [], False
        page.on("console", lambda said: self._note(said.type == "error", f"console: {said.text}"))
        page.on("pageerror", lambda error: self._note(True, f"page error: {error}"))
        page.on("dialog", self._dialog)
        page.on("request", lambda asked: self._note(not LOCAL.match(asked.url), f"request: {asked.url}"))

    def _dialog(self, dialog) -> None:
        self.found.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _note(self, bad: bool, what: str) -> None:
        if bad and not (self.may_be_cut_off and LOST.search(what)):
            self.found.append(what)

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()

    def picture(self, name: str) -> None:
        """The page as it is now: light and dark, wide and narrow."""
        SCREENSHOTS.mkdir(exist_ok=True)
        size = self.page.viewport_size
        for width in (1280, 375):
            self.page.set_viewport_size({"width": width, "height": 800})
            for dark in (False, True):
                self.page.evaluate("dark => document.body.classList.toggle('dark', dark)", dark)
                time.sleep(0.3)  # the canvas is drawn again, accordions and tabs settle
                mode = "dark" if dark else "light"
                self.page.screenshot(path=SCREENSHOTS / f"{name}-{width}-{mode}.png", full_page=True)
            assert self.page.evaluate("document.documentElement.scrollWidth") <= width, (
                f"{name} scrolls sideways at {width}"
            )
        self.page.evaluate("document.body.classList.remove('dark')")
        self.page.set_viewport_size(size)


@contextlib.contextmanager
def opened(browser: Browser, url: str, name: str) -> Iterator[Watch]:
    """The page in a new browser session; its last state is kept as a picture when the test fails."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    context.set_default_timeout(60_000)
    watch = Watch(context.new_page())
    try:
        watch.page.goto(url)
        yield watch
    except BaseException:
        SCREENSHOTS.mkdir(exist_ok=True)
        watch.page.screenshot(path=SCREENSHOTS / f"FAILED-{name}.png", full_page=True)
        raise
    finally:
        context.close()
    assert not watch.found, watch.found
