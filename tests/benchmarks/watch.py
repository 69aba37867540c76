"""What watching costs: `python -m tests.benchmarks.watch [VISITORS] [SECONDS]`. Prints PASS or FAIL; use an idle machine.

Sixty visitors look at one run of 5,000 steps that goes on by one step a second. Each asks what the page's timer asks, as
often as that says, over HTTP, and holds the connection open that a browser holds; the app is the real one in its own process.
"""

import http.client
import json
import math
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from pipeline import events
from pipeline.schema import Event
from tests.conftest import EXAMPLES, new_run, serve_app

POINTS, LOOKS = 5000, 500
SETTLES = 25  # seconds until all have been told how often to look
MOST_CPU, MOST_SECONDS = 0.30, 0.5  # of one core; 95 % of the answers
TRAINING = """
import sys, time
from pathlib import Path
from filelock import FileLock
from tests.benchmarks.watch import told
folder, step = Path(sys.argv[1]), int(sys.argv[2])
with FileLock(folder / "lock"):
    while True:
        step += 1
        told(folder, step)
        print(step, flush=True)
        time.sleep(1)
"""


def told(folder: Path, step: int) -> None:
    """One step, as a training tells it; every tenth with a look at the validation rows and their answers."""
    file, seconds = folder / "events.jsonl", time.time()
    speed = {
        "learning_rate": 2e-4,
        "grad_norm": 0.8,
        "epoch": step / 1000,
        "eta_seconds": 4000.0,
        "memory_bytes": 10**9,
    }
    values = {"loss": 4.0 / (1 + step / 500) + step % 7 / 50, "tokens_per_second": 3000.0, **speed}
    events.append(file, Event("loss", "train", seconds, step, values))
    if step % (POINTS // LOOKS) == 0:
        events.append(file, Event("validation", "train", seconds, step, {"loss": 2.0 / (1 + step / 900)}))
        answers = [{"row": n, "prompt": "Who are you?", "reference": "Yoda, I am.", "base": "I am Bob.", "tuned": "I am."} for n in (1, 2, 3)]  # fmt: skip
        events.append(file, Event("samples", "train", seconds, step, {"samples": answers}))


def watched_run() -> Path:
    """A run that has told of 5,000 steps and goes on."""
    folder = new_run(EXAMPLES / "tiny-chat", rows=48)
    events.append(folder / "events.jsonl", Event("started", "train", time.time(), values={"pid": 0, "from_step": 0}))
    phase = {"phase": "training", "steps": 2 * POINTS}
    events.append(folder / "events.jsonl", Event("phase", "train", time.time(), values=phase))
    for step in range(1, POINTS + 1):
        told(folder, step)
    return folder


class Visitor(threading.Thread):
    """A page in a browser: opens the run, then asks once a second, and follows what the answer makes a page do."""

    def __init__(self, host: str, run: str, fns: dict[str, dict]) -> None:
        super().__init__(daemon=True)
        self.run_id, self.fns, self.session, self.until = run, fns, secrets.token_hex(6), math.inf
        self.connection = http.client.HTTPConnection(host, timeout=60)
        self.heart = http.client.HTTPConnection(host, timeout=600)
        self.seconds: list[float] = []
        self.bytes: list[int] = []
        self.caught_up, self.pace = 0, 1.0

    def open(self) -> None:
        self.heart.request("GET", f"/gradio_api/heartbeat/{self.session}")
        self.heart.getresponse()
        self.follow(self.ask("show_run"))
        self.connection.close()  # the server ends an idle one after five seconds; the next question opens another

    def run(self) -> None:
        while time.monotonic() < self.until:
            time.sleep(self.pace)
            begun = time.monotonic()
            _, curve, _ = self.ask("tick_run")
            self.seconds.append(time.monotonic() - begun)
            if "pulse" in curve:
                self.caught_up += 1
                begun = time.monotonic()
                self.follow(self.ask("catch_up"))
                self.seconds.append(time.monotonic() - begun)

    def follow(self, answer: list) -> None:
        """Look as often as the timer is told to."""
        for update in answer:
            if isinstance(update, dict) and "active" in update:
                self.pace = update.get("value", self.pace)

    def ask(self, name: str) -> list:
        fn = self.fns[name]
        data = [self.run_id, *[None] * (len(fn["inputs"]) - 1)]
        asked = {"data": data, "event_data": None, "fn_index": fn["id"], "trigger_id": fn["targets"][0][0], "session_hash": self.session}  # fmt: skip
        self.connection.request(
            "POST", f"/gradio_api/run/{name}", json.dumps(asked), {"Content-Type": "application/json"}
        )
        answer = self.connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body[:300]
        self.bytes.append(len(body))
        return json.loads(body)["data"]


def measure(home: Path, visitors: int, seconds: float) -> dict[str, float]:
    folder = watched_run()
    with serve_app(home, OMP_NUM_THREADS="1") as url:
        training = subprocess.Popen([sys.executable, "-c", TRAINING, str(folder), str(POINTS)], stdout=subprocess.PIPE)
        assert training.stdout
        assert training.stdout.readline()
        try:
            return watch(url, folder, visitors, seconds)
        finally:
            training.kill()
            training.wait()


def watch(url: str, folder: Path, visitors: int, seconds: float) -> dict[str, float]:
    host = url.removeprefix("http://")
    (app,) = [
        process
        for process in psutil.process_iter()
        if any(
            c.status == psutil.CONN_LISTEN and c.laddr.port == int(host.rpartition(":")[2]) for c in listening(process)
        )
    ]
    idle(app)
    with urllib.request.urlopen(f"{url}/config", timeout=60) as answer:
        fns = {fn["api_name"]: fn for fn in json.load(answer)["dependencies"] if fn["api_name"]}
    crowd = [Visitor(host, folder.name, fns) for _ in range(visitors)]
    opening = app.cpu_times()
    for visitor in crowd:
        visitor.open()
    for visitor in crowd:
        visitor.until = time.monotonic() + SETTLES + seconds
        visitor.start()
        time.sleep(1 / visitors)
    time.sleep(SETTLES)
    before, begun = app.cpu_times(), time.monotonic()
    for visitor in crowd:
        visitor.seconds.clear()
        visitor.caught_up = 0
    for visitor in crowd:
        visitor.join()
    after, took = app.cpu_times(), time.monotonic() - begun
    answers = sorted(second for visitor in crowd for second in visitor.seconds)
    return {
        "cpu": cpu_seconds(before, after) / took,
        "cpu ms per answer": 1000 * cpu_seconds(before, after) / len(answers),
        "opening": cpu_seconds(opening, before) / visitors,
        "median": statistics.median(answers),
        "p95": answers[int(len(answers) * 0.95)],
        "longest": answers[-1],
        "answers": len(answers),
        "kilobytes": statistics.mean(size for visitor in crowd for size in visitor.bytes) / 1000,
        "looks a second": sum(1 / visitor.pace for visitor in crowd) / visitors,
        "caught_up": sum(visitor.caught_up for visitor in crowd),
    }


def cpu_seconds(before: Any, after: Any) -> float:
    return after.user + after.system - before.user - before.system


def listening(process: psutil.Process) -> list:
    try:
        return process.net_connections("tcp")
    except psutil.Error:
        return []


def idle(app: psutil.Process) -> None:
    """Wait until the helpers that the page warms up have nothing to do."""
    while sum(each.cpu_percent(0.5) for each in app.children(recursive=True)) > 5 or len(app.children()) < 2:
        time.sleep(0.1)


def main(visitors: int = 60, seconds: float = 30) -> int:
    with tempfile.TemporaryDirectory() as place:
        os.environ["TUNING_FORK_HOME"] = str(Path(place) / "home")
        found = measure(Path(place) / "home", visitors, seconds)
    for name, value in found.items():
        print(f"{name:20} {value:10.3f}")
    passed = found["cpu"] <= MOST_CPU and found["p95"] <= MOST_SECONDS and found["caught_up"] > 0
    print("PASS" if passed else "FAIL")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
