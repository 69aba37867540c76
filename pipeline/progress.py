"""What the trainer tells while it trains: events with loss, time left, speed, memory, answers; stop requests; checkpoints."""

from __future__ import annotations

import math
import random
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch
from transformers import TrainerCallback

from pipeline import checkpoints, symptoms
from pipeline.errors import Refused
from pipeline.job import Job
from pipeline.schema import TrainConfig

SCALER_PATIENCE = (
    10  # a grad scaler begins at 65,536 and halves with each overflow: the first few are its way of measuring
)
SAVE_SECONDS = 600.0
"""A checkpoint is made when this much has passed since the last one: what a long run loses at most to whatever ends it."""
SAVE_SHARE = 20  # saving by the clock takes a twentieth of the time at most, however slow the disk
TELL_SECONDS = 0.5  # between two words on how far an evaluation is


@dataclass
class Pace:
    """Seconds that steps, looks at the validation rows and checkpoints took, and what the rest will take.

    Until the first look, one is guessed to take `look_seconds` and the time of `look_steps` steps.
    """

    look_steps: float = 0.0
    look_seconds: float = 0.0
    last: float = 0.0
    spent: dict[str, float] = field(default_factory=lambda: {"step": 0.0, "look": 0.0, "save": 0.0})
    count: dict[str, int] = field(default_factory=lambda: {"step": 0, "look": 0, "save": 0})

    def mark(self, what: str, now: float) -> None:
        """All since the last mark was spent on one of these."""
        self.spent[what] += now - self.last
        self.count[what] += 1
        self.last = now

    def left(self, steps: int, looks: int, saves: int) -> float:
        step = self.each("step", 0.0)
        look = self.each("look", self.look_seconds + self.look_steps * step)
        return steps * step + looks * look + saves * self.each("save", 0.0)

    def each(self, what: str, guess: float) -> float:
        return self.spent[what] / self.count[what] if self.count[what] else guess


def times_left(step: int, last: int, every: int) -> int:
    """How often something that happens every so many steps, and after the last one, still happens after this step."""
    return last // every - step // every + (last % every > 0 and step < last)


class Progress(TrainerCallback):
    """Turns the trainer's callbacks into events of one job.

    `computed` is the type it computes in. `samples` gives the answers of the model as it stands, for an event; None: nobody
    watches. `since` is the step from which looks count for early stopping.
    """

    def __init__(
        self,
        job: Job,
        config: TrainConfig,
        computed: str = "float32",
        samples: Callable[[], list[dict[str, Any]]] | None = None,
        pace: Pace | None = None,
        since: int = 0,
    ) -> None:
        self.job, self.config, self.computed, self.samples, self.since = job, config, computed, samples, since
        self.pace = pace or Pace()
        self.overflows = self.evaluated = 0
        self.tokens, self.seconds, self.told = 0.0, 0.0, 0.0
        self.warned: set[str] = set()
        self.ended_early = self.by_the_clock = False
        self.keep, self.saved = max(2, config.keep_checkpoints), 0.0
        self.drawn: torch.Tensor | None = None  # random numbers with which the order of a resumed epoch was drawn
        self.order = torch.get_rng_state()  # those of this epoch
        self.before: tuple[Any, ...] = ()  # those of the step's beginning

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.pace.last = self.saved = time.monotonic()
        args.save_total_limit = None  # they are removed by us, after the seal: see checkpoints.rotate
        _schedule_of_the_whole(kwargs["optimizer"], kwargs["lr_scheduler"])
        drawn = _checkpoint(args, state) / checkpoints.ORDER
        self.drawn = torch.load(drawn, weights_only=True) if drawn.is_file() else None
        self._phase("training", state)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Rows grouped by length are put in order with whatever random numbers come next. transformers draws them anew where
        an epoch is resumed in its middle, and some rows would be learned twice, others never."""
        if self.drawn is not None:
            torch.set_rng_state(self.drawn)
        self.drawn, self.order = None, torch.get_rng_state()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if args.gradient_accumulation_steps > 1:
            self.before = randomness()

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.job.stop_asked():  # who resumes makes this step again, from its beginning
            set_randomness(self.before)
        self._hear(args, state, control)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._hear(args, state, control)
        self.pace.mark("step", time.monotonic())
        if state.global_step >= state.max_steps:
            control.should_log = control.should_save = True
            control.should_evaluate = args.eval_strategy != "no"
        self._save_by_the_clock(args, state, control)
        if control.should_evaluate or control.should_save:
            self._phase("evaluating" if control.should_evaluate else "saving", state)
        if control.should_save:
            self._refuse_full(state.global_step, kwargs["model"])

    def _save_by_the_clock(self, args: Any, state: Any, control: Any) -> None:
        passed = time.monotonic() - self.saved
        due = passed > max(SAVE_SECONDS, SAVE_SHARE * self.pace.each("save", 0.0))
        self.by_the_clock = due and not (
            control.should_save or control.should_evaluate or checkpoints.is_whole(_checkpoint(args, state))
        )
        control.should_save |= self.by_the_clock

    def _refuse_full(self, step: int, model: Any) -> None:
        """Before a checkpoint is begun: half of one would take the last room, and then nothing could be told any more."""
        last, free = checkpoints.room(self.job.folder)
        learned = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
        if free < (needed := last or learned):
            raise Refused(
                f"The disk is full: the checkpoint of step {step} takes {needed / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free. "
                "Free some space and resume; nothing before the last checkpoint is lost."
            )

    def _hear(self, args: Any, state: Any, control: Any) -> None:
        """Save and end when asked to; never write over a checkpoint that is whole."""
        if self.job.stop_asked():
            control.should_training_stop = True
            control.should_save = state.global_step > 0 and not checkpoints.is_whole(_checkpoint(args, state))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if not logs or "loss" not in logs:
            return
        self._refuse_what_is_no_number(state.global_step, logs)
        keys = ("loss", "learning_rate", "grad_norm", "epoch")
        values = {key: logs[key] for key in keys if math.isfinite(logs.get(key, math.nan))}
        self.job.emit("loss", step=state.global_step, **values, **self._speed(args, state, control, logs), **memory())
        if "exploding" not in self.warned:
            self._warn("exploding", symptoms.exploding([e["loss"] for e in state.log_history if "loss" in e]))

    def _refuse_what_is_no_number(self, step: int, logs: dict[str, Any]) -> None:
        loss, norm = logs["loss"], logs.get("grad_norm", 0.0)
        self.overflows = 0 if math.isfinite(norm) else self.overflows + 1
        measuring = self.computed == "float16" and self.overflows < SCALER_PATIENCE
        if math.isfinite(loss) and (math.isfinite(norm) or measuring):
            return
        what = f"The loss is {loss}" if not math.isfinite(loss) else f"The gradient is {norm}"
        raise Refused(f"{what} at step {step}: {advice(step, self.computed, self.config.rate)}")

    def _speed(self, args: Any, state: Any, control: Any, logs: dict[str, Any]) -> dict[str, float]:
        tokens, seconds = float(logs.get("num_tokens", 0)), self.pace.spent["step"]
        speed = (tokens - self.tokens) / max(seconds - self.seconds, 1e-9)
        self.tokens, self.seconds = tokens, seconds
        step, last = state.global_step, state.max_steps
        looks = times_left(step, last, state.eval_steps) if args.eval_strategy != "no" else 0
        left = self.pace.left(
            last - step,
            looks + bool(control.should_evaluate),
            times_left(step, last, state.save_steps) + bool(control.should_save),
        )
        return {"tokens_per_second": round(speed, 1), "eta_seconds": round(left, 1)}

    def on_prediction_step(self, args: Any, state: Any, control: Any, eval_dataloader: Any = None, **_: Any) -> None:
        self.evaluated += 1
        if eval_dataloader is not None and time.monotonic() - self.told > TELL_SECONDS:
            self.told = time.monotonic()
            self.job.emit("progress", done=self.evaluated, of=len(eval_dataloader))

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any) -> None:
        self.evaluated, step, loss = 0, state.global_step, metrics["eval_loss"]
        looks = [(entry["step"], entry["eval_loss"]) for entry in state.log_history if "eval_loss" in entry]
        if math.isfinite(loss):
            self.job.emit("validation", step=step, loss=loss)
        if self.samples:
            self.job.emit("samples", step=step, samples=self.samples())
        self._warn("rising", symptoms.rising(looks))
        better = all(loss < before for _, before in looks[:-1] if math.isfinite(before))
        if math.isfinite(loss) and better:  # what is best must be there to be kept
            control.should_save = not checkpoints.is_whole(_checkpoint(args, state))
        if self.config.early_stopping and symptoms.stale(looks, self.since) >= self.config.early_stopping:
            self.ended_early = control.should_training_stop = True
            control.should_save = not checkpoints.is_whole(_checkpoint(args, state))
        self.pace.mark("look", time.monotonic())
        if control.should_save:
            self._refuse_full(step, kwargs["model"])
        self._phase("saving" if control.should_save else "training", state)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        checkpoint = _checkpoint(args, state)
        if self.by_the_clock:
            checkpoints.mark(checkpoint)
        between = float(state.epoch).is_integer()  # two epochs: the next one's order is drawn with what comes now
        torch.save(torch.get_rng_state() if between else self.order, checkpoint / checkpoints.ORDER)
        checkpoints.seal(checkpoint)
        checkpoints.rotate(self.job.folder, self.keep)
        self.by_the_clock, self.saved = False, time.monotonic()
        self.pace.mark("save", time.monotonic())
        looked = {step: loss for step, loss in checkpoints.looks(checkpoint) if math.isfinite(loss)}
        loss = looked.get(state.global_step)
        self.job.emit(
            "checkpoint",
            step=state.global_step,
            name=checkpoint.name,
            bytes=checkpoints.size(checkpoint),
            validation_loss=loss,
            best=loss is not None and loss <= min(looked.values()),
        )
        if not control.should_training_stop:
            self._phase("training", state)

    def _phase(self, name: str, state: Any) -> None:
        self.job.phase(name, steps=state.max_steps)

    def _warn(self, kind: str, sentence: str) -> None:
        """Each kind is said once."""
        if sentence and kind not in self.warned:
            self.warned.add(kind)
            self.job.emit("note", text=sentence, warning=True)


def _schedule_of_the_whole(optimizer: Any, scheduler: Any) -> None:
    """A run that goes on for more epochs than it began with has the learning rate of the longer run from its first step.

    Else that one step would still be made with the last rate of the shorter run, which is usually 0.
    """
    bases, shapes = getattr(scheduler, "base_lrs", []), getattr(scheduler, "lr_lambdas", [])
    for group, base, shape in zip(optimizer.param_groups, bases, shapes, strict=bool(shapes)):
        group["lr"] = base * shape(scheduler.last_epoch)
    if shapes:
        scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]


def advice(step: int, computed: str, rate: float) -> str:
    """Why a number is none, and what to do about it."""
    narrow = computed == "float16"
    if step == 1:
        why = "nothing was learned yet, so the base itself gives no number"
        cure = "its numbers don't fit into 16 bit on this GPU; choose memory 32-bit" if narrow else (
            "its weights are damaged; download it again, or choose another"
        )  # fmt: skip
        return f"{why}: {cure}."
    also = ", or memory 32-bit" if computed != "float32" else ""
    return f"the numbers overflowed. Start a new run with a learning rate ten times smaller ({rate / 10:g}){also}."


def randomness() -> tuple[Any, ...]:
    """Where Python's, numpy's, torch's and CUDA's random numbers stand."""
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return random.getstate(), numpy.random.get_state(), torch.get_rng_state(), gpus


def set_randomness(stand: tuple[Any, ...]) -> None:
    python, arrays, tensors, gpus = stand
    random.setstate(python)
    numpy.random.set_state(arrays)
    torch.set_rng_state(tensors)
    if gpus:
        torch.cuda.set_rng_state_all(gpus)


def _checkpoint(args: Any, state: Any) -> Path:
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"


def memory() -> dict[str, int]:
    """Largest resident memory of this process so far, and of the GPU if there is one, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if not torch.cuda.is_available():
        return {"memory_bytes": peak}
    whole = torch.cuda.get_device_properties(0).total_memory
    return {"memory_bytes": peak, "gpu_bytes": torch.cuda.max_memory_allocated(), "gpu_total_bytes": whole}
