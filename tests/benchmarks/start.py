"""How long a start takes: `python -m tests.benchmarks.start [REPEATS]`. Prints PASS or FAIL; use an idle machine.

From jobs.start, which the page calls once the rows are checked, to the first event, and to the first step of the bundled
model; against a process that does nothing but import the same libraries and load the same model. Medians; the phases are
those the run told itself.
"""

import json
import statistics
import subprocess
import sys
import time

from pipeline import events, jobs
from tests.benchmarks import run
from tests.conftest import EXAMPLES, new_run

MOST_TO_EVENT, MOST_MORE = 0.5, 2.0  # seconds
BARE = """
import json, sys, time
begun = time.perf_counter()
import datasets, peft, torch, transformers
from transformers import PrinterCallback, set_seed
from trl import SFTConfig, SFTTrainer
imported = time.perf_counter()
from pipeline import model
from pipeline.schema import Model
after = time.perf_counter()
model.base(Model(sys.argv[1]))
print(json.dumps({"imports": imported - begun, "load": time.perf_counter() - after}))
"""


def bare() -> dict[str, float]:
    """Seconds of the imports, and of loading the model, in a process that does nothing else; its own start is in both."""
    asked = [sys.executable, "-c", BARE, str(EXAMPLES / "tiny-chat")]
    done = subprocess.run(asked, env=jobs.environment(), capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def started(samples: int) -> dict[str, float]:
    """Seconds from a click to the first event and to each phase, as they were told, until the first step."""
    folder = new_run(EXAMPLES / "tiny-chat", rows=160, samples=samples)
    clicked = time.time()
    jobs.start(folder, "train")
    found: dict[str, float] = {"start returned": time.time() - clicked}
    while not jobs.view(folder).curve:
        assert jobs.working(folder), jobs.summary(folder)["text"]
        time.sleep(0.01)
    told, _ = events.since(folder / "events.jsonl", 0)
    jobs.cancel(folder)
    for event in told:
        name = event.values.get("phase", event.kind)
        if event.kind in ("started", "phase", "loss"):
            found.setdefault(name, event.time - clicked)
    return found


def main(repeats: int = 5) -> int:
    bars, runs, watched = [], [], []
    for _ in range(repeats):  # interleaved: what else the machine does is shared among them
        bars.append(bare())
        runs.append(started(samples=0))
        watched.append(started(samples=3))
    bar = {name: statistics.median(each[name] for each in bars) for name in bars[0]}
    print("alone:", {name: round(value, 2) for name, value in bar.items()})
    for title, found in (("without samples", runs), ("with samples", watched)):
        print(title, {name: round(statistics.median(each[name] for each in found), 2) for name in found[0]})
    first = statistics.median(each["started"] for each in runs)
    more = statistics.median(each["loss"] for each in runs) - sum(bar.values())
    print(
        f"to the first event {first:.2f} s (bar {MOST_TO_EVENT}); beyond imports and load {more:.2f} s (bar {MOST_MORE})"
    )
    passed = first <= MOST_TO_EVENT and more <= MOST_MORE
    print("PASS" if passed else "FAIL")
    return 0 if passed else 1


if __name__ == "__main__":
    run(main)
