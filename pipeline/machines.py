"""The machines a run can be forecast for: this one, a T4, and other GPUs by name. Bytes, operations and bytes per second.

The named ones' figures are from their vendor's data sheets: 16-bit matrix products that add up in 32 bit, dense; 32-bit ones
outside the matrix units, as torch computes them by default; memory bandwidth. Memory is what torch says of one on Linux,
which is a little less than what is printed on its box; the T4's is that of its notebooks (14.748 GiB, there called GB).
"""

from __future__ import annotations

import functools
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipeline import home
from pipeline.errors import UserError
from pipeline.precision import Capability

HERE = "here"
GIB = 1 << 30
TERA, GIGA = 10**12, 10**9
CGROUPS, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
MATRIX = 512  # rows and columns of the product that tells how fast a CPU is
MEASURE_SECONDS = 0.2


@dataclass(frozen=True)
class Machine:
    """`memory` is what a run can use: a GPU's own, or what is free of a CPU machine's. None is what is not known."""

    key: str
    name: str
    memory: int
    capability: Capability | None = None
    half: float | None = None
    single: float | None = None
    bandwidth: float | None = None
    ram: int | None = None
    disk: int | None = None

    @property
    def kind(self) -> str:
        return "gpu" if self.capability else "cpu"

    @property
    def device(self) -> str:
        """As fit.json names it."""
        return self.name if self.capability else "cpu"


def _gpu(
    key: str, name: str, gib: float, capability: Capability, half: float, single: float, bandwidth: float
) -> Machine:
    """`gib` of memory, operations in TFLOPS, bandwidth in GB/s."""
    return Machine(key, name, int(gib * GIB), capability, half * TERA, single * TERA, bandwidth * GIGA)


T4 = Machine(
    "t4", "T4", int(14.748 * GIB), (7, 5), 65 * TERA, 8.1 * TERA, 320 * GIGA, ram=15 * GIGA, disk=50 * GIGA
)  # RAM and disk of the Space this is made for
NAMED: dict[str, Machine] = {
    machine.key: machine
    for machine in (
        T4,
        _gpu("l4", "L4", 22.03, (8, 9), 121, 30.3, 300),
        _gpu("a10g", "A10G", 22.06, (8, 6), 70, 35, 600),
        _gpu("v100-16", "V100 16 GB", 15.77, (7, 0), 125, 15.7, 900),
        _gpu("a100-40", "A100 40 GB", 39.39, (8, 0), 312, 19.5, 1555),
        _gpu("a100-80", "A100 80 GB", 79.14, (8, 0), 312, 19.5, 2039),
        _gpu("h100", "H100 80 GB", 79.11, (9, 0), 989, 67, 3350),
        _gpu("h200", "H200", 139.7, (9, 0), 989, 67, 4800),
        _gpu("rtx3060", "RTX 3060 12 GB", 11.63, (8, 6), 51, 12.7, 360),
        _gpu("rtx4070tis", "RTX 4070 Ti Super", 15.57, (8, 9), 88, 44.1, 672),
        _gpu("rtx3090", "RTX 3090", 23.56, (8, 6), 71, 35.6, 936),
        _gpu("rtx4090", "RTX 4090", 23.52, (8, 9), 165, 82.6, 1008),
        _gpu("rtx5090", "RTX 5090", 31.35, (12, 0), 209, 104.8, 1792),
    )
}
KEYS = (HERE, *NAMED)


def find(key: str) -> Machine:
    """The machine of a key. Raises UserError for a name that is none."""
    if key == HERE:
        return here()
    if key not in NAMED:
        raise UserError(f"machine: {key!r} is not known; choose one of {', '.join(KEYS)}.")
    return NAMED[key]


def here() -> Machine:
    """This machine: its GPU if torch can use one, else its processor and what is free of its memory."""
    import torch

    ram, disk = available(), shutil.disk_usage(_existing(home.home())).free
    if not torch.cuda.is_available():
        return Machine(HERE, "this machine", ram, ram=ram, disk=disk)
    found = torch.cuda.get_device_properties(0)
    known = like(found.name)
    return Machine(
        HERE, found.name, found.total_memory, (found.major, found.minor), known.half if known else None,
        known.single if known else None, known.bandwidth if known else None, ram, disk,
    )  # fmt: skip


def like(gpu: str) -> Machine | None:
    """The named machine that a GPU, as its driver calls it, computes like."""
    words = set(re.findall(r"[A-Z]*\d+[A-Z]*", gpu))
    exact = "4070" not in words or "SUPER" in gpu.upper()  # a plain 4070 is another chip
    return next((m for m in NAMED.values() if exact and set(re.findall(r"[A-Z]*\d+[A-Z]*", m.name)[:1]) <= words), None)


def total() -> int:
    """Memory of this machine, or of the container this runs in."""
    return min([int(psutil.virtual_memory().total), *(limit for limit, _ in containers())])


def available() -> int:
    """Memory that can be had without anything being swapped out or ended: of the machine, and of the container."""
    return max(0, min([int(psutil.virtual_memory().available), *(limit - used for limit, used in containers())]))


def containers(root: Path = CGROUPS, own: Path = OWN_CGROUP) -> Iterator[tuple[int, int]]:
    """(limit, used) of each control group, version 1 or 2, that this process is in; none where there is no such limit.

    Pages of files that nobody has read for long are given up first and do not count as used.
    """
    for line in own.read_text().splitlines() if own.is_file() else ():
        _, kinds, path = line.split(":", 2)
        if kinds not in ("", "memory") and "memory" not in kinds.split(","):
            continue
        top = root if not kinds else root / "memory"
        place = top / path.lstrip("/")
        # inside a container the path may be the host's, of which only the top is seen
        for folder in dict.fromkeys([place, *(p for p in place.parents if p.is_relative_to(top)), top]):
            found = _limit(folder, *(V2 if not kinds else V1))
            if found:
                yield found


V2 = ("memory.max", "memory.current", "inactive_file")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _limit(folder: Path, limit: str, usage: str, unread: str) -> tuple[int, int] | None:
    try:
        most, used = (folder / limit).read_text().strip(), int((folder / usage).read_text())
        statistics = (folder / "memory.stat").read_text()
    except (OSError, ValueError):
        return None
    idle = re.search(rf"^{unread} (\d+)$", statistics, re.MULTILINE)
    return (int(most), max(0, used - int(idle[1] if idle else 0))) if most.isdigit() else None


@functools.cache
def cpu_speed() -> float:
    """32-bit operations a second of this processor, measured once per process on matrix products (about 0.2 s)."""
    import torch

    a, b = torch.rand(MATRIX, MATRIX), torch.rand(MATRIX, MATRIX)
    torch.mm(a, b)
    begun, done = time.perf_counter(), 0
    while (passed := time.perf_counter() - begun) < MEASURE_SECONDS:
        torch.mm(a, b)
        done += 1
    return 2 * MATRIX**3 * done / passed


def in_words(memory: float) -> str:
    """Bytes of memory in the gigabytes that its makers and drivers count in, which are 2^30."""
    return f"{memory / GIB:.1f} GB" if memory >= GIB else f"{round(memory / 2**20)} MB"


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())
