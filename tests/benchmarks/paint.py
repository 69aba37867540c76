"""How long a row's tokens take to appear: `python -m tests.benchmarks.paint`. Prints seconds; run it on an idle machine.

The preview of a row of 4,000 tokens, as runs and as single tokens, made in Python, put into a page with our styles, laid out
and painted by a real browser; the median of nine. In a page of Gradio's own the same text costs what its transport adds.
"""

import shutil
import statistics
import sys
import time
from typing import Any

from playwright.sync_api import Page, sync_playwright

from pipeline import model, template
from pipeline.config import BUNDLED
from pipeline.schema import Model, Row
from tests.browser.conftest import QUIET_BROWSER
from ui import preview, theme

TOKENS, MOST_SECONDS, TIMES = 4000, 0.3, 9
# two frames: the first begins after the layout, the second after its paint
PAINT = """html => new Promise(done => {
  const place = document.querySelector('#data-shown'), begun = performance.now();
  place.innerHTML = html;
  place.getBoundingClientRect();
  requestAnimationFrame(() => requestAnimationFrame(() => done((performance.now() - begun) / 1000)));
})"""


def long_row() -> dict[str, Any]:
    """What the reader tells of a row of TOKENS tokens, half of them learned."""
    tokenizer, chosen = model.tokenizer_and_template(Model(str(BUNDLED["tiny-chat"])))
    words = "The grey owl sleeps in the barn. "
    messages: list[Any] = []
    while True:
        messages += [{"role": "user", "content": words * 6}, {"role": "assistant", "content": words * 6}]
        row: Row = {"row": 1, "messages": messages}
        if len(template.render(tokenizer, chosen, {"messages": messages}, "answers").ids) >= TOKENS:
            return {
                **template.preview(tokenizer, chosen, row, TOKENS, "answers"),
                "messages": messages,
                "part": "train",
            }


def seconds(page: Page, shown: dict[str, Any], view: str) -> float:
    page.evaluate("document.querySelector('#data-shown').innerHTML = ''")
    begun = time.monotonic()
    html = preview.row(shown, view)
    return time.monotonic() - begun + float(page.evaluate(PAINT, html))


def main() -> int:
    shown = long_row()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET_BROWSER)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_content(f"<style>{theme.CSS}</style><body><div id='data-shown'></div></body>")
        found = {
            view: statistics.median(seconds(page, shown, view) for _ in range(TIMES)) for view in ("text", "tokens")
        }
        browser.close()
    for view, taken in found.items():
        good = "ok  " if taken <= MOST_SECONDS else "OVER"
        print(f"{good} {len(shown['ids']):,} tokens as {view}: {taken:.3f} s (bar {MOST_SECONDS})")
    return 0 if max(found.values()) <= MOST_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
