"""`python -m pipeline.adopt RUN`: the checkpoint named in chosen.json -> adapter/. No model is loaded.

Reads config.json, base.json, chosen.json, checkpoints/. What was said about the adapter before it goes with it.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # the lock and the first event come before the heavy imports below
    from pipeline import job

    sys.exit(job.main("adopt", on_device=False))

from typing import Any

from pipeline import adapters, checkpoints, jobs
from pipeline.errors import UserError
from pipeline.job import Job


def work(job: Job) -> tuple[str, dict[str, Any]]:
    """Raises UserError when the checkpoint is gone, or was not written to its end; adapter/ is as before then."""
    asked = jobs.read_json(job.folder / "chosen.json")
    step = asked.get("step") if isinstance(asked, dict) else None
    checkpoint = job.folder / checkpoints.FOLDER / f"checkpoint-{step}"
    if not checkpoints.is_whole(checkpoint):
        raise UserError(f"checkpoint-{step} is not there any more, or not whole; choose another one.")
    job.phase("saving")
    adapters.from_checkpoint(jobs.load(job.folder), job.folder, checkpoint)
    job.emit("note", text=f"The adapter is that of step {step} now, as it was chosen.")
    return "finished", {"adopted": step}
