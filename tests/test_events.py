"""A run's state is what its events add up to, however they were cut, damaged, watched or told again."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import events
from pipeline.events import View, fold, parse
from pipeline.schema import EVENT_KINDS, FINAL_KINDS, Event


def told(file: Path, kind: str, job: str = "train", step: int | None = None, text: str = "", **values: object) -> None:
    events.append(file, Event(kind, job, time.time(), step, values, text))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def test_events_add_up_to_a_view(file):
    """Phase, step, losses, checkpoint, note and end of a job are what was told last; the curves hold every point."""
    told(file, "started", pid=12, from_step=0)
    told(file, "phase", phase="training", steps=4)
    for step, loss in ((1, 3.0), (2, 2.0)):
        told(file, "loss", step=step, loss=loss)
    told(file, "validation", step=2, loss=2.5)
    told(file, "checkpoint", step=2, name="checkpoint-2")
    told(file, "note", text="Something to know.")
    view, job = events.read(file), events.read(file).jobs["train"]
    assert (view.loss, view.validation_loss, view.checkpoint, view.notes) == (
        2.0,
        2.5,
        "checkpoint-2",
        ("Something to know.",),
    )
    assert (view.curve, view.validation_curve) == (((1, 3.0), (2, 2.0)), ((2, 2.5),))
    assert (job.pid, job.phase, job.step, job.steps, job.ended) == (12, "training", 2, 4, "")
    told(file, "finished", kept=True)
    assert events.read(file).jobs["train"].ended == "finished"
    assert events.read(file).jobs["train"].values["kept"] is True


def test_many_events_at_once_add_up_as_one_by_one(file):
    """However they are cut into portions, and with what a resumed training forgets among them."""
    told(file, "started", pid=1, from_step=0)
    for step in range(50):
        told(file, "loss", step=step, loss=1.0, warning=True)
        told(file, "validation" if step % 2 else "samples", step=step, loss=2.0, samples=[])
        told(file, "note", text=str(step), warning=step % 3 == 0)
    told(file, "started", job="merge", pid=2)
    told(file, "started", pid=3, from_step=30)
    told(file, "checkpoint", step=31, name="checkpoint-31")
    events_told, _ = events.since(file, 0)
    one_by_one = View()
    for event in events_told:
        one_by_one = fold(one_by_one, event)
    assert fold(View(), *events_told) == one_by_one == events.read(file)
    assert fold(fold(View(), *events_told[:70]), *events_told[70:]) == one_by_one


def seconds_to_fold(count):
    steps = [Event("loss", "train", 1.0, step, {"loss": 1.0}) for step in range(count)]
    begun = time.process_time()
    fold(View(), *steps)
    return time.process_time() - begun


def test_a_long_run_is_folded_in_linear_time():
    """Sixteen times the steps take about sixteen times as long; copying the curve per step would take 200 times."""
    short = min(seconds_to_fold(2_500) for _ in range(3))
    assert seconds_to_fold(40_000) < 60 * short


def test_a_view_that_was_given_out_does_not_change(file):
    """What a watcher holds is not added to behind its back."""
    told(file, "loss", step=1, loss=2.0)
    before = events.read(file)
    values = dict(before.jobs["train"].values)
    told(file, "loss", step=2, loss=1.0)
    after = events.read(file)
    assert (before.curve, before.jobs["train"].step, before.jobs["train"].values) == (((1, 2.0),), 1, values)
    assert after.curve == ((1, 2.0), (2, 1.0))


def test_a_half_written_last_line_is_ignored_then_mended(file):
    """A kill leaves at most one half line: nobody reads it, and the next holder of the lock cuts it off."""
    told(file, "started", pid=1)
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"kind":"finished","job":"train","time":1.0')
    assert events.read(file).jobs["train"].ended == ""
    assert events.since(file, 0)[1] == len(whole)
    events.mend(file)
    assert file.read_bytes() == whole
    told(file, "failed", text="why")
    assert events.read(file).jobs["train"].ended == "failed"


def test_a_resumed_training_forgets_what_it_will_do_again(file):
    """What an interrupted run told beyond the checkpoint it goes on from did not happen."""
    told(file, "started", pid=1, from_step=0)
    for step in range(1, 6):
        told(file, "loss", step=step, loss=10.0 - step)
    told(file, "validation", step=2, loss=7.0)
    told(file, "validation", step=4, loss=5.0)
    told(file, "checkpoint", step=4, name="checkpoint-4")
    told(file, "started", pid=2, from_step=2)
    view = events.read(file)
    assert view.curve == ((1, 9.0), (2, 8.0))
    assert (view.loss, view.validation_loss, view.checkpoint) == (8.0, 7.0, "checkpoint-2")
    assert view.jobs["train"].ended == ""
    told(file, "started", pid=3, from_step=0)
    assert (events.read(file).loss, events.read(file).checkpoint, events.read(file).curve) == (None, None, ())


def test_other_jobs_leave_the_losses_alone(file):
    """An evaluation that starts after training rewinds nothing."""
    told(file, "loss", step=9, loss=1.0)
    told(file, "started", job="evaluate", pid=1, from_step=0)
    assert events.read(file).loss == 1.0
    assert events.read(file).current == "evaluate"


DAMAGED = [
    b"not json", b"\xff\xfe\x00", b"[1]", b"{}", b"null", b"[" * 50_000, b"9" * 5000, b"\0" * 40,
    b'{"kind":"loss","job":["train"],"time":1}', b'{"kind":"loss","job":"train","time":"now"}',
    b'{"kind":"loss","job":"train","time":1,"values":null}', b'{"kind":"loss","job":"train","time":1,"step":"1"}',
    b'{"kind":"loss","job":"train","time":1,"step":1,"values":{"loss":"low"}}',
    b'{"kind":"started","job":"train","time":1,"values":{"from_step":"x"}}',
    b'{"kind":"started","job":"train","time":1,"values":{"pid":null}}',
    b'{"kind":"phase","job":"train","time":1,"values":{"steps":"many"}}',
    b'{"kind":"loss","job":"train","time":1,"new":true}',
]  # fmt: skip


@pytest.mark.parametrize("line", DAMAGED, ids=range(len(DAMAGED)))
def test_a_line_that_is_no_event_is_passed_over(file, line):
    """A damaged line in the middle costs itself only."""
    told(file, "loss", step=1, loss=2.0)
    with file.open("ab") as stream:
        stream.write(line + b"\n")
    told(file, "loss", step=2, loss=1.0)
    assert events.read(file).curve == ((1, 2.0), (2, 1.0))
    assert len(events.since(file, 0)[0]) == 2


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers(), max_size=1)
)
KEYS = st.sampled_from(["pid", "from_step", "steps", "phase", "name", "loss", "then", "other"])


@given(
    st.lists(
        st.fixed_dictionaries(
            {"kind": st.sampled_from(EVENT_KINDS), "job": st.sampled_from(["train", "merge"]), "time": VALUES},
            optional={"step": VALUES, "values": st.dictionaries(KEYS, VALUES, max_size=3), "text": VALUES},
        )
    )
)
@settings(deadline=None)
def test_whatever_parses_folds(lines):
    """No event that is let in makes the fold raise or the view lie about its types."""
    view = View()
    for line in lines:
        event = parse(json.dumps(line).encode())
        if event:
            view = fold(view, event)
    assert all(isinstance(loss, int | float) for _, loss in view.curve)
    assert all(job.ended in ("", *FINAL_KINDS) and isinstance(job.pid, int) for job in view.jobs.values())


def test_many_watchers_see_every_event_once(file):
    """Eight threads that read while events are written agree, and no event is folded twice or skipped."""
    seen: list[int] = []

    def watch() -> None:
        while len(events.read(file).curve) < 300:
            time.sleep(0.001)
        seen.append(len(events.read(file).curve))

    watchers = [threading.Thread(target=watch, daemon=True) for _ in range(8)]
    for watcher in watchers:
        watcher.start()
    for step in range(300):
        told(file, "loss", step=step, loss=float(step))
    for watcher in watchers:
        watcher.join(timeout=60)
    assert seen == [300] * 8
    assert [step for step, _ in events.read(file).curve] == list(range(300))


def test_what_was_read_is_not_read_again(file):
    """The view is kept per file: without a new line it is the same object, with one it grows from there."""
    told(file, "loss", step=1, loss=1.0)
    before = events.read(file)
    assert events.read(file) is before
    told(file, "loss", step=2, loss=2.0)
    assert events.read(file).jobs["train"].step == 2


def test_a_file_that_was_replaced_is_read_from_its_beginning(file, tmp_path):
    """Another file under the same name, even a longer one, is another story; none at all is no story."""
    told(file, "loss", step=1, loss=1.0)
    assert events.read(file).loss == 1.0
    other = tmp_path / "other.jsonl"
    for step in (5, 6, 7):
        told(other, "loss", step=step, loss=0.5)
    os.replace(other, file)
    assert [step for step, _ in events.read(file).curve] == [5, 6, 7]
    file.unlink()
    assert events.read(file) == View()
    told(file, "note", text="new")
    assert (events.read(file).curve, events.read(file).notes) == ((), ("new",))


def test_since_goes_on_where_it_was(file):
    """Each whole event is handed out once, in order, by byte offset."""
    told(file, "note", text="é\U0001f600\n\r")
    first, offset = events.since(file, 0)
    told(file, "note", text="second")
    second, end = events.since(file, offset)
    assert [e.text for e in first + second] == ["é\U0001f600\n\r", "second"]
    assert events.since(file, end) == ([], end)
    assert events.since(file.with_name("none"), 3) == ([], 3)


def test_text_that_is_no_utf8_can_be_told(file):
    """Half a surrogate pair, as in the name of a file with odd bytes, survives the way through the file."""
    told(file, "failed", text="bad \udcff \\ name")
    assert events.read(file).jobs["train"].text == "bad \udcff \\ name"


FULL_DISK = """
import resource, sys
from pathlib import Path
from pipeline import events
from pipeline.schema import Event
file = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
for number in range(2):
    try:
        events.append(file, Event("note", "train", 1.0, text="x" * 500))
    except OSError:
        print("refused")
events.append(file, Event("note", "train", 1.0, text="short"))
"""


def test_an_event_that_did_not_fit_leaves_no_half_line(file):
    """A full disk costs the event it has no room for, not the next one."""
    told(file, "note", text="first")
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(file)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["refused", "refused"]
    assert events.read(file).notes == ("first", "short")


def test_a_handover_ends_by_itself(file):
    """A finished job that names a next one is running on for a moment, and not for ever, whatever the clock does."""
    told(file, "finished", then="evaluate")
    view = events.read(file)
    assert view.handing_over(view.last_time + 1)
    assert not view.handing_over(view.last_time + events.HANDOVER_SECONDS + 1)
    assert not view.handing_over(view.last_time - 3600), "the clock was set back"
    told(file, "started", job="evaluate", pid=1)
    assert not events.read(file).handing_over(view.last_time + 1)


def test_answers_that_were_watched_are_kept_by_step(file):
    """Samples of every look, forgotten where a resumed training will ask again; they are no value of the job's."""
    answer = {"row": 1, "prompt": "p", "reference": "r", "base": "b", "tuned": "t"}
    told(file, "started", pid=1, from_step=0)
    for step in (2, 4, 6):
        told(file, "samples", step=step, samples=[{**answer, "tuned": str(step)}, "no answer"])
    view = events.read(file)
    assert [(step, [a["tuned"] for a in answers]) for step, answers in view.samples] == [
        (2, ["2"]),
        (4, ["4"]),
        (6, ["6"]),
    ]
    assert "samples" not in view.jobs["train"].values
    told(file, "started", pid=2, from_step=4)
    assert [step for step, _ in events.read(file).samples] == [2, 4]


def test_only_the_newest_answers_are_kept(file):
    """A look after every step of a long run does not fill the memory of the page."""
    for step in range(events.MOST_SAMPLES + 50):
        told(file, "samples", step=step, samples=[])
    kept = [step for step, _ in events.read(file).samples]
    assert kept == list(range(50, events.MOST_SAMPLES + 50))


def test_warnings_are_notes_that_call_for_a_decision(file):
    """Each is a note as well, in its order."""
    told(file, "note", text="Something to know.")
    told(file, "note", text="Something to decide.", warning=True)
    view = events.read(file)
    assert view.notes == ("Something to know.", "Something to decide.")
    assert view.warnings == ("Something to decide.",)


def test_how_far_a_phase_is_ends_with_it(file):
    """Rows tokenized or batches evaluated are counted apart from steps, and another phase begins at nothing."""
    told(file, "started", pid=1)
    told(file, "phase", phase="training", steps=9)
    told(file, "loss", step=3, loss=1.0)
    told(file, "phase", phase="evaluating", steps=9)
    told(file, "progress", done=2, of=5)
    job = events.read(file).jobs["train"]
    assert (job.phase, job.step, job.steps, job.done, job.of) == ("evaluating", 3, 9, 2, 5)
    told(file, "phase", phase="training", steps=9)
    job = events.read(file).jobs["train"]
    assert (job.step, job.steps, job.done, job.of) == (3, 9, 0, 0)
