"""Two steps at the longest rows: what they need of memory. Nothing that is learned is touched by them.

They are made with a learning rate of 0; random numbers, buffers, counters, the optimizer's states and the scaler are put back.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import gc
import math
import re
import resource
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate.utils.memory import should_reduce_batch_size

from pipeline import estimate, machines, model, oom, progress

RESET_PEAK, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class Needed(NamedTuple):
    """What two steps needed: peak bytes, and seconds of the second one."""

    peak: int
    seconds: float


def measured(trainer: Any, inputs: Any, accumulates: bool) -> Needed | None:
    """What two steps over these rows need; None where memory ran out. The trainer is left as it was found."""
    _begin_peak()
    try:
        with unchanged(trainer) as stepped:
            seconds = _two_steps(trainer, inputs, accumulates, stepped)
            return Needed(_peak(), seconds)
    except Exception as error:
        if not lacked(error):
            raise
        traceback.clear_frames(error.__traceback__)
    free()  # not before the error is gone, which holds what was computed
    return None


def _two_steps(trainer: Any, inputs: Any, accumulates: bool, stepped: bool) -> float:
    """Forward, backward, update, twice: the second has the optimizer's states and, where batches are split, gradients beside
    it. Returns the seconds of the second."""
    begun, loaded = 0.0, trainer.model_wrapped
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    learned = trainer._get_num_items_in_batch([inputs], trainer.args.device)
    for _ in range(2):
        begun = time.monotonic()
        trainer.training_step(loaded, dict(inputs), learned)
        if stepped:
            _update(trainer, loaded)
        if not accumulates:
            loaded.zero_grad()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    return time.monotonic() - begun


def _update(trainer: Any, loaded: Any) -> None:
    norm = trainer._get_grad_norm(loaded, trainer._clip_grad_norm(loaded) if trainer.args.max_grad_norm > 0 else None)
    if trainer.accelerator.scaler or math.isfinite(norm):  # 0 times infinity is no number
        trainer.optimizer.step()


@contextlib.contextmanager
def unchanged(trainer: Any) -> Iterator[bool]:
    """What is computed in the block leaves no trace. Yields whether the optimizer may be stepped in it.

    It may not where it has states already, those of a checkpoint, or keeps them in memory that CUDA pages and never frees.
    """
    optimizer, scaler = trainer.optimizer, trainer.accelerator.scaler
    fresh = not optimizer.state and not getattr(optimizer.optimizer, "is_paged", False)
    rates = [group["lr"] for group in optimizer.param_groups]
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in trainer.model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    counted, tokens = copy.deepcopy(trainer._metrics), trainer._total_train_tokens
    scale = scaler.state_dict() if scaler else {}
    if scale:
        scaler.load_state_dict({**scale, "scale": 1.0})  # the usual one overflows first, and nothing would be stepped
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    trainer.accelerator.gradient_state._set_sync_gradients(True)
    try:
        with randomness():
            yield fresh
    finally:
        trainer.model_wrapped.zero_grad()
        if fresh:
            optimizer.state.clear()
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        for module, name, buffer, value in buffers:
            module._buffers[name] = buffer.copy_(value)
        trainer._metrics, trainer._total_train_tokens = counted, tokens
        if scale:
            scaler._per_optimizer_states.clear()
            scaler.load_state_dict(scale)


@contextlib.contextmanager
def randomness() -> Iterator[None]:
    """Random numbers after the block are those that would have come without it."""
    stand = progress.randomness()
    try:
        yield
    finally:
        progress.set_randomness(stand)


def lacked(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    return oom.meant(error) or (isinstance(error, Exception) and should_reduce_batch_size(error))


def free() -> None:
    """Give back what nobody refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with contextlib.suppress(AttributeError):  # only glibc keeps what is freed, and has a way to be asked for it
        ctypes.CDLL(None).malloc_trim(0)
    if bitsandbytes := sys.modules.get("bitsandbytes"):  # it keeps every embedding it was told of, for good
        bitsandbytes.optim.GlobalOptimManager.get_instance().module_weight_config_triple.clear()


def device() -> str:
    """The name under which fit.json knows this device."""
    return torch.cuda.get_device_name() if model.device().type == "cuda" else "cpu"


def room() -> int:
    """Memory of the device in bytes."""
    return torch.cuda.get_device_properties(0).total_memory if model.device().type == "cuda" else machines.total()


def _begin_peak() -> None:
    """From here on the peak is counted anew; where the system can't, it is that of the whole process so far."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        RESET_PEAK.write_text("5")


def _peak() -> int:
    """Bytes: what torch allocated and CUDA's own; on a CPU all that is resident."""
    if model.device().type == "cuda":
        return torch.cuda.max_memory_allocated() + estimate.CONTEXT
    if STATUS.is_file() and (found := re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())):
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
