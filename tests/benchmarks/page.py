"""What the page costs: `python -m tests.benchmarks.page`. Prints seconds and MB; run it on an idle machine.

Start to the first HTTP 200, to a usable page (a held-out prompt can be clicked in a cold browser), to the first pair of
answers; memory of the page's process; then, while a training runs, the delay from an event's time stamp to the moment the
page shows it, and from a click to a preview.
"""

import contextlib
import re
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from pipeline import events
from tests.browser.conftest import QUIET_BROWSER
from tests.conftest import serve_app

BARS = {"first HTTP 200 (s)": 6, "usable page (s)": 8, "memory of the page's process (MB)": 300}
STEP = "#train-run [role=progressbar][aria-valuenow]"
NEWER = "([where, step]) => Number(document.querySelector(where)?.getAttribute('aria-valuenow')) > step"


def resident(port: int) -> float:
    """MB of the process of ours that serves this port, found by its environment."""
    wanted = f"GRADIO_SERVER_PORT={port}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes() and b"app.py" in (folder / "cmdline").read_bytes():
                found = re.search(r"^VmRSS:\s+(\d+) kB", (folder / "status").read_text(), re.MULTILINE)
                return int(found[1]) / 1000 if found else 0.0
        except OSError:
            continue
    raise LookupError(port)


def told_to_shown(page: Page, home: Path) -> list[float]:
    """Seconds from an event's time stamp to its step on the page, twenty times."""
    page.get_by_role("tab", name="2 · Train").click()
    page.locator("#train-name textarea, #train-name input").first.fill("measured")
    page.locator("#trainconfig-epochs input").fill("20")
    page.locator("#train-start").click()
    expect(page.locator(STEP)).to_be_visible(timeout=120_000)
    folder = next(f for f in (home / "runs").iterdir() if f.name.startswith("measured-"))
    delays, step = [], 0
    for _ in range(20):
        page.wait_for_function(NEWER, arg=[STEP, step], polling=20, timeout=60_000)
        seen, step = time.time(), int(page.locator(STEP).get_attribute("aria-valuenow") or 0)
        told, _ = events.since(folder / "events.jsonl", 0)
        delays += [seen - event.time for event in told if event.kind == "loss" and event.step == step]
    return delays


def click_to_preview(page: Page) -> list[float]:
    """Seconds from a click on Next to the next row's preview, ten times."""
    page.get_by_role("tab", name="1 · Data").click()
    expect(page.locator("#data-shown .scroll mark").first).to_be_visible(timeout=60_000)
    clicks = []
    for _ in range(10):
        before, begun = page.locator("#data-shown").inner_text(), time.monotonic()
        page.locator("#data-following").click()
        page.wait_for_function(
            "text => document.querySelector('#data-shown').innerText !== text", arg=before, polling=20
        )
        clicks.append(time.monotonic() - begun)
    return clicks


def measure(home: Path) -> dict[str, float]:
    found = {}
    with sync_playwright() as playwright, contextlib.ExitStack() as app:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET_BROWSER)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        begun = time.monotonic()
        url = app.enter_context(serve_app(home, OMP_NUM_THREADS="1"))
        ready = found["first HTTP 200 (s)"] = time.monotonic() - begun
        opened = time.monotonic()
        page.goto(url)
        prompt = page.locator("#held-out-prompts button").first
        expect(prompt).to_be_visible(timeout=60_000)
        found["usable page (s)"] = ready + time.monotonic() - opened
        prompt.click()
        expect(page.locator("#history .side.tuned .quiet").last).to_contain_text("tokens/s", timeout=60_000)
        found["first pair of answers (s)"] = ready + time.monotonic() - opened
        found["memory of the page's process (MB)"] = resident(int(url.rpartition(":")[2]))
        for name, values in (
            ("event told -> shown", told_to_shown(page, home)),
            ("click -> preview", click_to_preview(page)),
        ):
            found[f"{name} while training, median (s)"] = statistics.median(values)
            found[f"{name} while training, longest (s)"] = max(values)
        page.get_by_role("tab", name="2 · Train").click()
        page.locator("#train-cancel").click()
        browser.close()
    return found


def main() -> int:
    with tempfile.TemporaryDirectory() as place:
        found = measure(Path(place) / "home")
    for name, value in found.items():
        bar = BARS.get(name)
        print(f"{name:50} {value:8.2f}" + (f"   {'ok' if value <= bar else 'OVER'} (bar {bar})" if bar else ""))
    return 0 if all(found[name] <= bar for name, bar in BARS.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
