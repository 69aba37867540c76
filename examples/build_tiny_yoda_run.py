"""Trains and judges the finished run that ships, tiny-yoda-run/: `python -m examples.build_tiny_yoda_run`.

Half the rank of tiny-yoda.json, so that the adapter stays small; about a minute on two CPU cores. The folder is replaced
only when the run is good enough to be shown.
"""

import os
import platform
import shutil
import tempfile
import time
from pathlib import Path

from pipeline import config, dataset, example, files, jobs
from pipeline.errors import Refused

CONFIG = Path(__file__).parent / "tiny-yoda.json"
SMALL = {"rank": 8, "alpha": 16}
LEAST_EXACT = 0.95  # share of the held-out rows answered exactly as the reference
SHIPPED = (
    "config.json",
    "source.json",
    "run.json",
    "base.json",
    "events.jsonl",
    "held_out.jsonl",
    "report.json",
    "adapter",
)


def finished_run() -> Path:
    """A run through the real pipeline, trained and judged by child processes as any other."""
    run = config.read(CONFIG, dict(SMALL))
    folder = jobs.create(run, dataset.prepare(run.source))
    jobs.start(folder, "train", then=jobs.after_training(folder))
    while jobs.working(folder):
        time.sleep(0.5)
    if jobs.job_status(folder, "evaluate") != "finished":
        raise Refused(f"{jobs.view(folder).current}: {jobs.log_tail(folder)}")
    return folder


def ship(run: Path, to: Path) -> None:
    """Copy what a finished run is looked at and used by. Its id, its visibility and the kind of machine are all that change."""
    with files.whole_folder(to) as temporary:
        for name in SHIPPED:
            (shutil.copytree if (run / name).is_dir() else shutil.copyfile)(run / name, temporary / name)
        asked = jobs.read_json(run / "run.json")
        machine = f"{platform.system()} {platform.machine()}"
        files.write_json(temporary / "run.json", {**asked, "id": example.NAME, "shared": True, "platform": machine})


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        os.environ["TUNING_FORK_HOME"] = home
        run = finished_run()
        exact = jobs.read_json(run / "report.json")["metrics"]["exact_match"]["tuned"]
        if exact < LEAST_EXACT:
            raise Refused(f"Only {exact:.0%} of the held-out rows are exact; {example.SHIPPED} was left as it is.")
        ship(run, example.SHIPPED)
        size = sum(file.stat().st_size for file in example.SHIPPED.rglob("*") if file.is_file())
        print(f"{example.SHIPPED.name}: {exact:.0%} exact, {size / 1e3:.0f} kB")
