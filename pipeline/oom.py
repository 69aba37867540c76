"""Out of memory, told by those who can't speak any more: whether the kernel ended a job. Standard library only.

The kernel counts the processes it ended for lack of memory. A job notes the count when it begins; when it is gone without a
last word and the count is higher, that was it. Where the process that started the job lives, it notes count and signal in
control/ended at once, so that a kill by hand is not blamed on what ran out of memory later.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

from pipeline import files, fit
from pipeline.errors import UserError
from pipeline.events import JobView

WORDS = (
    "out of memory",
    "cublas_status_alloc_failed",
    "can't allocate memory",
    "cannot allocate memory",
    "std::bad_alloc",
)
ENDED = "ended"
MACHINE = Path("/proc/vmstat")
BOOT, GROUPS = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/cgroup")
LOADING = ("queued", "tokenizing", "loading libraries", "loading model")  # phases before rows are in memory


def meant(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of the GPU or of the machine."""
    if isinstance(error, UserError):
        return False
    kind, text = type(error).__name__, str(error).lower()
    return kind in ("OutOfMemoryError", "MemoryError") or any(words in text for words in WORDS)


def count() -> tuple[int, str] | None:
    """(processes the kernel ended for lack of memory since it booted, what it counted over); None where it does not say.

    Of the control group where that is counted, else of the whole machine.
    """
    for file in (*_group_files(), MACHINE):
        with contextlib.suppress(OSError):
            if found := re.search(r"^oom_kill (\d+)$", file.read_text(), re.MULTILINE):
                over = hashlib.sha256(f"{BOOT.read_text()}{file}".encode()).hexdigest()[:12]
                return int(found[1]), over
    return None


def _group_files() -> list[Path]:
    """Where control groups count, version 2 and 1; inside a container the top is its own group."""
    files_ = []
    for line in GROUPS.read_text().splitlines() if GROUPS.is_file() else ():
        _, kinds, path = line.split(":", 2)
        if not kinds:
            files_ += [Path("/sys/fs/cgroup") / place / "memory.events" for place in (path.lstrip("/"), "")]
        if "memory" in kinds.split(","):
            tops = (path.lstrip("/"), "")
            files_ += [Path("/sys/fs/cgroup/memory") / place / "memory.oom_control" for place in tops]
    return files_


def noted() -> dict[str, Any]:
    """What a job's first event holds of the count."""
    found = count()
    return {"oom_kills": found[0], "oom_over": found[1]} if found else {}


def see_off(folder: Path, child: subprocess.Popen[bytes]) -> None:
    """Wait for a job's process, so that none is left as a zombie, and note how it ended if a signal did it."""
    code = child.wait()
    with contextlib.suppress(OSError):  # the run may be gone by now
        if code < 0 and not (folder / "control" / "cancel").exists():
            files.write_json(folder / "control" / ENDED, {"pid": child.pid, "code": code, **noted()})


def killed(folder: Path, state: JobView) -> bool:
    """Whether the kernel ended this job, which told no last word and holds no lock any more."""
    before = state.values.get("oom_kills")
    if type(before) is not int:
        return False
    watched = _watched(folder, state.pid)
    if watched and watched.get("code") != -signal.SIGKILL:
        return False
    now = watched or noted()
    later = now.get("oom_kills")
    return type(later) is int and later > before and now.get("oom_over") == state.values.get("oom_over")


def _watched(folder: Path, pid: int) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        found = json.loads((folder / "control" / ENDED).read_text())
        if isinstance(found, dict) and found.get("pid") == pid:
            return found
    return {}


def next_rows(folder: Path, state: JobView) -> tuple[int, int]:
    """(rows in memory when it was ended, rows with which a resumed training goes on): equal where fewer don't help."""
    found = fit.read(folder)
    if found is None:
        return 0, 0
    rows = found["micro_batch"]
    helps = found["device"] == "cpu" and state.phase not in LOADING
    return rows, (fit.smaller(rows, found["batch_size"]) or rows) if helps else rows


def sentence(folder: Path, job: str, state: JobView, from_step: int) -> str:
    """What happened to a job that the kernel ended, and what Resume does about it."""
    where = f"at step {state.step}" if state.step else f"while {state.phase or 'starting'}"
    said = f"The system ended it for lack of memory {where}"
    rows, less = next_rows(folder, state) if job == "train" else (0, 0)
    if less < rows:
        on = f"from step {from_step}" if from_step else "from the start"
        return f"{said}; resume goes on {on} with {less} {_rows(less)} in memory instead of {rows}."
    return f"{said}; end other programs and resume, or start a new run with a smaller base, memory 4-bit or a smaller max_length."


def _rows(count_: int) -> str:
    return "row" if count_ == 1 else "rows"
