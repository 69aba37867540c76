"""Two apps on one home see the same runs; one of them starts a run, and the device has one user."""

import subprocess
import sys

from pipeline import jobs
from tests.faults import runs
from tests.test_jobs import create, kinds

STARTS = """
import pathlib, sys, time
from pipeline import jobs
from pipeline.errors import UserError
print("ready", len(jobs.listing()), flush=True)
for name in sys.stdin.readline().split():
    try:
        jobs.start(jobs.find(name), "train")
        print("started", flush=True)
    except UserError as error:
        print(error, flush=True)
"""


def app() -> subprocess.Popen:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", STARTS], env=jobs.environment(), stdin=pipe, stdout=pipe, text=True, bufsize=1
    )


def test_two_apps_start_the_same_run_in_the_same_second(toy, run):
    """Both see it, one starts it, the other is told that it is being worked on; it trains once."""
    toy("job.phase('working')\nwhile not job.stop_asked():\n    time.sleep(0.01)\nreturn 'finished', {}")
    with app() as one, app() as two:
        assert {each.stdout.readline() for each in (one, two)} == {"ready 1\n"}
        for each in (one, two):
            each.stdin.write(f"{run.name}\n")
        answers = [each.stdout.readline() for each in (one, two)]
        assert answers.count("started\n") == 1
        assert sum("is being worked on" in answer for answer in answers) == 1
        for each in (one, two):
            each.kill()
    assert jobs.status(run) == "running", "neither app is there any more"
    jobs.stop(run)
    assert runs.ended(run) == "finished"
    assert len(kinds(run, "started")) == 1


def test_the_second_app_waits_for_the_device_of_the_first(toy, run):
    """Its run says for whom it waits, trains when the other has ended, and both end well."""
    other = create("other")
    toy("job.phase('working')\nwhile not job.stop_asked():\n    time.sleep(0.01)\nreturn 'finished', {}")
    for folder in (run, other):
        with app() as one:
            assert one.stdout.readline() == "ready 2\n"
            one.stdin.write(f"{folder.name}\n")
            assert one.stdout.readline() == "started\n"
            one.kill()
    runs.wait_for(lambda: jobs.view(run).jobs["train"].phase == "working", "work")
    runs.wait_for(lambda: jobs.view(other).jobs["train"].phase == "queued", "the queue")
    assert jobs.view(other).jobs["train"].text == f"Waiting for the device: train of {run.name}."
    jobs.stop(run)
    assert runs.ended(run) == "finished"
    runs.wait_for(lambda: jobs.view(other).jobs["train"].phase == "working", "its turn")
    jobs.stop(other)
    assert runs.ended(other) == "finished"
