"""What reading and counting cost: `python -m tests.benchmarks.dataset`. Prints rows/s and MB; run it on an idle machine.

Short conversations of about 1 kB each, 1,000, 10,000 and 100,000 of them: read, shaped, checked for duplicates and roles,
split (dataset.prepare). Each size has a process of its own, so that its peak is its own. Then exact token counts of the
10,000 under the bundled model's tokenizer (about 760 tokens a row), and the masks of 50 rows.
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SIZES = (1_000, 10_000, 100_000)
COUNTED, FEWEST_COUNTED, MOST_MASK_SECONDS = 10_000, 1000, 1.0
MOST_SECONDS, MOST_MEGABYTES, MOST_GROWTH = 60, 2000, 1.5


def write_conversations(path: Path, count: int) -> None:
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(3, 9))) for _ in range(5000)]
    with path.open("w") as file:
        for row in range(count):
            texts = [f"{row} {' '.join(draw.choices(words, k=35))}" for _ in range(4)]
            messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
            file.write(json.dumps({"messages": messages}) + "\n")


def prepare(path: str) -> dict[str, Any]:
    """Seconds of this process alone, wall seconds, and its largest size in MB."""
    from pipeline.dataset import prepare
    from pipeline.schema import Source

    begun, used = time.monotonic(), time.process_time()
    prepared = prepare(Source(path))
    found = {"rows": prepared.rows, "wall": time.monotonic() - begun, "cpu": time.process_time() - used}
    unit = 10**6 if sys.platform == "darwin" else 1000
    return {**found, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}


def count_tokens(path: str) -> dict[str, Any]:
    """Rows counted per second, by two processes, and the seconds that 50 rows' ids and labels take."""
    from pipeline import counting, model, template
    from pipeline.config import BUNDLED
    from pipeline.dataset import prepare
    from pipeline.schema import Model, Source

    rows = prepare(Source(path)).train
    tokenizer, chosen = model.tokenizer_and_template(Model(str(BUNDLED["tiny-chat"])))
    begun = time.monotonic()
    template.tokenize(tokenizer, chosen, rows[:50], 1024, "answers")
    masks, begun = time.monotonic() - begun, time.monotonic()
    counted = counting.count(tokenizer, chosen, rows, "answers")
    return {"masks": masks, "rows/s": len(counted) / (time.monotonic() - begun)}


def measure(count: int, what: str = "prepare") -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "conversations.jsonl"
        write_conversations(path, count)
        command = [sys.executable, "-m", "tests.benchmarks.dataset", what, str(path)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return {**json.loads(done.stdout), "size": path.stat().st_size / 10**6}


def main() -> int:
    if len(sys.argv) > 1:
        print(json.dumps({"prepare": prepare, "count": count_tokens}[sys.argv[1]](sys.argv[2])))
        return 0
    print(f"{'rows':>8} {'MB':>6} {'wall s':>8} {'CPU s':>8} {'rows/s':>8} {'µs/row':>8} {'peak MB':>8}")
    costs = []
    for count in SIZES:
        found = measure(count)
        costs.append(found["cpu"] / count)
        print(
            f"{found['rows']:8} {found['size']:6.1f} {found['wall']:8.2f} {found['cpu']:8.2f} "
            f"{count / found['wall']:8.0f} {costs[-1] * 1e6:8.0f} {found['peak']:8.0f}"
        )
    counted = measure(COUNTED, "count")
    print(f"exact counts: {counted['rows/s']:.0f} rows/s; masks of 50 rows: {counted['masks']:.2f} s")
    passed = {
        f"{FEWEST_COUNTED:,} rows counted a second": counted["rows/s"] >= FEWEST_COUNTED,
        f"masks of 50 rows in {MOST_MASK_SECONDS} s": counted["masks"] <= MOST_MASK_SECONDS,
        f"100,000 rows in {MOST_SECONDS} s": found["wall"] <= MOST_SECONDS,
        f"peak of {MOST_MEGABYTES} MB": found["peak"] <= MOST_MEGABYTES,
        f"cost per row at most {MOST_GROWTH} times that of 10,000": costs[-1] <= MOST_GROWTH * costs[-2],
    }
    for bar, ok in passed.items():
        print(f"{'ok  ' if ok else 'OVER'} {bar}")
    return 0 if all(passed.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
