"""The page owns nothing: its tab is closed while a run is started, its app is killed while it trains, and the run ends well."""

import contextlib
import subprocess
import sys

from pipeline import jobs
from tests.conftest import serve_app
from tests.faults import runs

PRESSES_START = """
import sys, time
from gradio_client import Client
choice = {"example": "tiny-yoda"}
client = Client(sys.argv[1], verbose=False)
client.submit(choice, None, "tiny-chat", "left alone", max_steps=4, epochs=1.0, batch_size=8, api_name="/train")
time.sleep(600)
"""


def test_a_closed_tab_and_a_killed_app_cost_no_run(home):
    """Whoever pressed Start is gone before the answer comes, and the app soon after; the run trains to its end."""
    with contextlib.ExitStack() as app:
        url = app.enter_context(serve_app(home))
        with subprocess.Popen([sys.executable, "-c", PRESSES_START, url]) as tab:
            runs.wait_for(lambda: any(home.glob("runs/left-alone-*")), "the run", 0.05)
            tab.kill()
        [folder] = home.glob("runs/left-alone-*")
        runs.wait_for(lambda: jobs.status(folder) != "new", "its start", 0.05)
    assert jobs.status(folder) in ("running", "finished")
    assert runs.ended(folder) == "finished"
    assert [step for step, _ in jobs.view(folder).curve] == list(range(1, 5))
    assert (folder / "report.json").exists()
