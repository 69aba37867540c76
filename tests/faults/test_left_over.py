"""A process that a killed job forked outlives it with the open lock: the run is not held for working, and goes on."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import jobs, locks
from tests.faults import runs
from tests.test_jobs import DONE, create

FORK = """
fork = {fork}
if not fork():
    {then}
    (job.folder / 'left').write_text(str(__import__('os').getpid()))
    time.sleep(600)
job.phase('asleep')
time.sleep(600)
"""
HOLDS = """
import sys, time
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""
LIBRARY, PYTHON = "ctypes.PyDLL(None).fork", "__import__('os').fork"  # a library's is not seen by filelock
LINUX = pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux tells who took a lock")


def gone(process: int) -> bool:
    try:
        return "Z" in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True


@LINUX
@pytest.mark.parametrize(
    ("fork", "then"), [(LIBRARY, "pass"), (LIBRARY, "__import__('os').setsid()"), (PYTHON, "pass")]
)
def test_a_left_over_fork_holds_neither_run_nor_device(toy, run, fork, then):
    """The killed run is interrupted at once; another run gets the device, and the run itself is done to its end."""
    toy(FORK.format(fork=fork, then=then))
    jobs.start(run, "train")
    left = run / "left"
    runs.wait_for(lambda: jobs.view(run).jobs["train"].phase == "asleep" and left.exists(), "the fork")
    runs.wait_for(lambda: bool(left.read_text()), "its name")
    process = int(left.read_text())
    try:
        runs.kill(run)
        assert not gone(process), "it lives on"
        assert jobs.status(run) == "interrupted"
        toy(DONE)
        other = create("other")
        for folder in (other, run):
            jobs.start(folder, "train")
            assert runs.ended(folder) == "finished"
        assert gone(process) == (fork == LIBRARY), "only what keeps a lock is ended"
    finally:
        subprocess.run(["kill", "-9", str(process)], check=False, capture_output=True)


def test_a_living_holder_keeps_its_lock(tmp_path):
    """Whoever wants a lock that somebody alive holds ends nobody."""
    file = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(file)], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout.readline() == b"held\n"
            locks.free(file)
            time.sleep(0.1)
            assert holder.poll() is None
            assert locks.held(file)
        finally:
            holder.kill()
    assert not locks.held(file)
    locks.free(tmp_path / "none")
