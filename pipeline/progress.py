"""What the trainer tells while it trains: events with loss, time left, speed and memory; stop requests; sealed checkpoints."""

from __future__ import annotations

import math
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from pipeline import checkpoints
from pipeline.errors import Refused
from pipeline.job import Job


class Progress(TrainerCallback):
    """Turns the trainer's callbacks into events of one job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.begun, self.first_step = 0.0, 0
        self.tokens, self.told = 0.0, 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.begun = self.told = time.monotonic()
        self.first_step = state.global_step
        self.job.phase("training", steps=state.max_steps)

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._hear(args, state, control)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._hear(args, state, control)
        if state.global_step >= state.max_steps:
            control.should_save = True
            control.should_evaluate = args.eval_strategy != "no"

    def _hear(self, args: Any, state: Any, control: Any) -> None:
        """Save and end when asked to; never write over a checkpoint that is whole."""
        if self.job.stop_asked():
            control.should_training_stop = True
            control.should_save = not checkpoints.is_whole(_checkpoint(args, state))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if not logs or "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise Refused(
                f"The loss is {logs['loss']} at step {state.global_step}: the numbers overflowed. Try a learning rate "
                "ten times smaller, or memory 32-bit."
            )
        values = {key: logs[key] for key in ("loss", "learning_rate", "grad_norm", "epoch") if key in logs}
        self.job.emit("loss", step=state.global_step, **values, **self._pace(state, logs), **memory())

    def _pace(self, state: Any, logs: dict[str, Any]) -> dict[str, float]:
        now, tokens = time.monotonic(), float(logs.get("num_tokens", 0))
        speed = (tokens - self.tokens) / max(now - self.told, 1e-9)
        self.tokens, self.told = tokens, now
        done = max(1, state.global_step - self.first_step)
        left = (now - self.begun) / done * (state.max_steps - state.global_step)
        return {"tokens_per_second": round(speed, 1), "eta_seconds": round(left, 1)}

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        self.job.emit("validation", step=state.global_step, loss=metrics["eval_loss"])

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        checkpoint = _checkpoint(args, state)
        checkpoints.seal(checkpoint)
        self.job.emit("checkpoint", step=state.global_step, name=checkpoint.name)


def _checkpoint(args: Any, state: Any) -> Path:
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"


def memory() -> dict[str, int]:
    """Largest resident memory of this process so far, and of the GPU if there is one, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    gpu = {"gpu_bytes": torch.cuda.max_memory_allocated()} if torch.cuda.is_available() else {}
    return {"memory_bytes": peak, **gpu}
