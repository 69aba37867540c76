"""The clock is set back in mid-run: what is running, done or cut off stays what it is, and nobody waits for ever."""

import time

import pytest
from filelock import FileLock

from pipeline import device, events, home, jobs
from pipeline.schema import Event
from tests.faults import runs
from tests.test_jobs import DONE

LATER = 86400.0  # the clock was a day ahead


def told(folder, *kinds: str, job: str = "train", **values) -> None:
    for kind in kinds:
        events.append(
            folder / "events.jsonl", Event(kind, job, time.time() + LATER, None, {"pid": 1, "from_step": 0, **values})
        )


@pytest.mark.parametrize(("kinds", "status"), [(("started",), "interrupted"), (("started", "finished"), "finished")])
def test_a_run_of_tomorrow_is_what_it_is(toy, run, kinds, status):
    """Cut off or done, it is listed so, nothing holds it for being handed over, and it can be started."""
    told(run, *kinds, then="evaluate")
    assert not jobs.working(run)
    [shown] = jobs.listing()
    assert shown["status"] == status
    toy(DONE)
    jobs.start(run, "train")
    assert runs.ended(run) == "finished"


def test_a_job_that_began_tomorrow_is_stopped_today(toy, run, tmp_path):
    """The clock is a day ahead when the job starts, and right again when it is told to end."""
    clock = tmp_path / "toys" / "ahead"
    clock.touch()
    (tmp_path / "toys" / "sitecustomize.py").open("a").write(
        f"\nimport time, os\nreal = time.time\ntime.time = lambda: real() + {LATER} * os.path.exists({str(clock)!r})\n"
    )
    toy("job.phase('working')\nwhile not job.stop_asked():\n    time.sleep(0.01)\nreturn 'finished', {'kept': True}")
    jobs.start(run, "train")
    runs.wait_for(lambda: jobs.view(run).jobs["train"].phase == "working", "work")
    assert jobs.view(run).last_time > time.time() + LATER / 2, "it was ahead"
    clock.unlink()
    assert jobs.status(run) == "running"
    jobs.stop(run)
    assert runs.ended(run) == "finished"
    assert jobs.view(run).jobs["train"].values["kept"] is True


def test_an_adoption_after_the_clock_was_set_back_is_not_judged_yet(run):
    """What was judged before it was another adapter, whatever the time of day; nothing lasts less than no time."""
    told(run, "started", "finished")
    told(run, "started", "finished", job="evaluate")
    for kind in ("started", "finished"):
        events.append(run / "events.jsonl", Event(kind, "adopt", time.time(), None, {"pid": 1}))
    events.append(run / "events.jsonl", Event("note", "evaluate", time.time(), None, {}))
    assert jobs.job_status(run, "evaluate") == "new"
    assert jobs.view(run).jobs["evaluate"].seconds >= 0


def test_who_came_before_the_clock_was_set_back_is_served_first():
    """A later ticket comes after those that are there, whatever the time of day."""
    folder = home.home() / "device"
    folder.mkdir(parents=True)
    first = folder / f"{time.time_ns() + int(LATER * 1e9):020d}-1.ticket"
    with FileLock(first, is_singleton=False), device._ticket(folder) as second:
        assert sorted(folder.glob("*.ticket")) == [first, second]
