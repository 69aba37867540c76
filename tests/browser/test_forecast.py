"""Whether a run fits, in a real browser: said beside Start, for another machine too, and made to fit with one click."""

import json
import re
import shutil

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import SECONDS, opened
from tests.conftest import EXAMPLES, serve_app

LONG = SECONDS * 1000
LARGE = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 32,
         "head_dim": 128, "max_position_embeddings": 4096}  # fmt: skip


@pytest.fixture(scope="module")
def page_url(tmp_path_factory):
    with serve_app(tmp_path_factory.mktemp("forecast") / "home") as url:
        yield url


def test_what_does_not_fit_is_made_to_fit(browser, page_url, tmp_path):
    """Too large for a T4 with these settings; the first change that is offered sets its field, and then it fits."""
    large = shutil.copytree(EXAMPLES / "tiny-chat", tmp_path / "large")
    config = json.loads((large / "config.json").read_text())
    (large / "config.json").write_text(json.dumps({**config, **LARGE}))
    with opened(browser, page_url, "forecast") as watch:
        page = watch.page
        watch.tab("2 · Train")
        expect(page.locator("#train-fits")).to_contain_text("Fits on this machine", timeout=LONG)
        expect(page.locator("#train-memory [role=img]")).to_have_attribute("aria-label", re.compile(r"weights \d+ MB"))
        page.locator("#train-room button").first.click()
        page.locator("#train-machine input").click()
        page.get_by_role("option", name="T4 ·", exact=False).first.click()
        expect(page.locator("#train-memory")).to_contain_text("Fits on the T4", timeout=LONG)
        model = page.locator("#train-model input").first
        model.fill(str(large))
        model.press("Enter")
        expect(page.locator("#train-memory")).to_contain_text("Does not fit on the T4", timeout=LONG)
        watch.picture("forecast-too-large")
        page.locator("#train-memory [data-change]").first.click()
        expect(page.locator("#train-memory")).to_contain_text("Fits on the T4", timeout=LONG)
        expect(page.locator("#trainconfig-memory input")).to_have_value(re.compile("[48]-bit"))  # by what is free here
        watch.picture("forecast-made-to-fit")
