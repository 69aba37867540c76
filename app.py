"""The page's table of contents: `python app.py` serves it on 127.0.0.1:7860; on a Space the host is the Space's."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before the import; nothing leaves this machine
for name in ("NO_PROXY", "no_proxy"):  # launch() calls itself over HTTP and would ask a proxy for it
    os.environ[name] = ",".join(filter(None, [os.environ.get(name), "localhost", "127.0.0.1"]))
import ui.quick  # before the import, too
import gradio as gr
from starlette.middleware import Middleware

from pipeline import example, home, startup, uploads
from pipeline.errors import UserError
from ui import access, children, compare, data, judge_page, publish, runs, texts, theme, train


def build() -> gr.Blocks:
    startup.settle()
    with gr.Blocks(title=texts.TITLE, analytics_enabled=False, delete_cache=(3600, 86400)) as page:
        bar = runs.draw()
        with gr.Tabs(selected="compare", overflow_behavior="wrap"):
            with gr.Tab(texts.DATA_TAB, id="data", elem_id="tab-data") as first:
                dataset = data.draw()
            with gr.Tab(texts.TRAIN_TAB, id="train", elem_id="tab-train") as second:
                training = train.draw()
            with gr.Tab(texts.COMPARE_TAB, id="compare", elem_id="tab-compare") as third:
                chat = compare.draw()
            with gr.Tab(texts.PUBLISH_TAB, id="publish", elem_id="tab-publish") as fourth:
                release = publish.draw()
        dataset = data.wire(dataset, training.fields)
        train.wire(training, dataset, bar, page)
        compare.wire(chat, bar, page, third)
        publish.wire(release, bar, fourth)
        runs.wire(bar, page, (first, second, third, fourth))
    return page


def main() -> None:
    try:
        example.install()
        uploads.sweep()
    except UserError as error:  # the home is no place for runs
        sys.exit(str(error))
    page = ui.quick.calm(build().queue(max_size=64))
    page.launch(
        server_name=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"), server_port=int(os.environ.get("GRADIO_SERVER_PORT", "7860")),
        theme=theme.theme(), css=theme.CSS, run_history=False, ssr_mode=False, share=False, state_session_capacity=256, enable_monitoring=False,
        max_file_size="200mb", blocked_paths=[str(home.home()), str(Path.cwd())], footer_links=["settings"],
        app_kwargs={"middleware": [Middleware(theme.Headers, on_space=access.on_space())], "routes": judge_page.ROUTES}, prevent_thread_lock=True,
    )  # fmt: skip
    children.warm()  # the page comes first: it and the models' libraries want the same two cores
    page.block_thread()


if __name__ == "__main__":
    main()
