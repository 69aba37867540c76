"""A full disk, or one that became read-only, costs nothing that was there: it is said in a sentence, and resume goes on."""

import pytest

from pipeline import checkpoints, events, home, jobs
from pipeline.errors import UserError
from pipeline.schema import Event
from tests.faults import runs
from tests.test_jobs import DONE, create

SENTENCE = r"The disk can't be written to: (No space left on device|Read-only file system)"
MB = 1_000_000


def known(folder) -> str:
    """The status that the list of all runs shows; it shows no half-made ones."""
    [shown] = jobs.listing()
    assert shown["run"] == folder.name
    return shown["status"]


def test_on_a_full_disk_no_run_is_made_or_started(disk, toy):
    """Both are refused, what was there is as it was, and with some room it starts."""
    toy(DONE)
    folder = create()
    disk.leave(0)
    for begin in (create, lambda: jobs.start(folder, "train")):
        with pytest.raises(UserError, match=SENTENCE):
            begin()
    assert known(folder) == "new"
    disk.leave(MB)
    jobs.start(folder, "train")
    assert runs.ended(folder) == "finished"


def test_an_event_that_finds_no_room_ends_the_job_and_loses_no_other(disk, toy):
    """What was told is read, half a line is not; cut off, not finished; with some room it goes on."""
    toy("for step in range(10**6):\n    job.emit('loss', step=step, loss=1.0)")
    folder = create()
    disk.leave(MB // 4)
    jobs.start(folder, "train")
    assert runs.ended(folder) in ("interrupted", "failed")
    told = jobs.view(folder).curve
    assert [step for step, _ in told] == list(range(len(told)))
    assert len(told) > 100
    assert runs.whole_events(folder)
    assert runs.device_is_free()
    disk.leave(MB)
    toy(DONE)
    jobs.start(folder, "train")
    assert runs.ended(folder) == "finished"


def test_a_full_disk_keeps_nobody_from_ending_a_job(disk, toy):
    """Cancel ends it, whether or not there is room for the word."""
    toy("job.phase('asleep')\ntime.sleep(600)")
    folder = create()
    jobs.start(folder, "train")
    runs.wait_for(lambda: jobs.view(folder).jobs["train"].phase == "asleep", "sleep")
    disk.leave(0)
    jobs.cancel(folder)
    assert not jobs.working(folder)
    assert known(folder) in ("interrupted", "stopped")


def test_on_a_read_only_disk_all_is_seen_and_nothing_begins(disk, toy):
    """The list and every run are read as ever; making and starting are refused in a sentence."""
    toy(DONE)
    folder = create()
    events.append(folder / "events.jsonl", Event("started", "train", 1.0, None, {"pid": 1, "from_step": 0}))
    home.home()
    disk.writable(False)
    assert known(folder) == "interrupted"
    for begin in (create, lambda: jobs.start(folder, "train"), lambda: jobs.extend(folder, 5)):
        with pytest.raises(UserError, match=SENTENCE):
            begin()
    disk.writable(True)
    jobs.start(folder, "train")
    assert runs.ended(folder) == "finished"


@pytest.mark.slow
def test_a_training_that_finds_the_disk_full_at_every_turn_ends_as_if_it_had_not(disk, make_run):
    """No room for the first checkpoint, for the second, for adapter/: each time it says so, and goes on where it was."""
    settings = {"max_steps": 4, "batch_size": 4, "save_steps": 2, "eval_steps": 4, "dropout": 0.1}
    unbroken, broken = (make_run(rows=16, **settings) for _ in range(2))
    (broken / "held_out.jsonl").write_text("")
    runs.here(unbroken, "train")
    whole = checkpoints.size(checkpoints.newest(unbroken))

    disk.leave(int(whole * 0.7))  # more than what is learned, less than a checkpoint: it is found half-way
    jobs.resume(broken)
    assert runs.ended(broken) in ("failed", "interrupted")
    assert jobs.checkpoint_step(broken) == 0

    half = sum(map(checkpoints.size, checkpoints.all_of(broken)))  # is swept away by whoever goes on
    disk.leave(int(whole * 1.6) - half)
    jobs.resume(broken)
    assert runs.ended(broken) == "failed"
    assert "The disk is full: the checkpoint of step 4 takes" in jobs.view(broken).jobs["train"].text
    assert jobs.checkpoint_step(broken) == 2
    assert not runs.half_written(broken)

    disk.leave(int(whole * 1.1))
    jobs.resume(broken)
    assert runs.ended(broken) == "failed"
    assert "The disk is full" in jobs.view(broken).jobs["train"].text
    assert jobs.checkpoint_step(broken) == 4
    assert not (broken / "adapter").exists()

    disk.leave(4 * whole)
    runs.finished(broken)
    runs.assert_same(broken, unbroken)
