"""What the next run comes to is said before it starts: its steps, its time, how much is trained, what can't be."""

import shutil
import time

import pytest

from pipeline import earlier, events
from pipeline.methods import METHODS
from pipeline.schema import Event, Source, TrainConfig
from ui import fits, plan, texts
from ui.reading import source_of

CHOICE = {"example": "tiny-yoda"}


def loss(step, at, **values):
    return Event("loss", "train", at, step, {"loss": 1.0, **values})


def start(at, step=0):
    return Event("started", "train", at, None, {"pid": 1, "from_step": step})


def planned(choice=CHOICE, model="tiny-chat", **values):
    return plan.plan(None, None, choice, None, model, **{"epochs": 3, "batch_size": 8, **values})


def test_a_pace_is_seconds_by_steps():
    """Looks and checkpoints between two steps count; one step tells nothing."""
    assert earlier.seconds_per_step([start(0), loss(1, 10), loss(2, 11), loss(6, 17)]) == pytest.approx(7 / 5)
    assert earlier.seconds_per_step([start(0), loss(1, 10)]) is None
    assert earlier.seconds_per_step([]) is None


def test_a_pace_knows_no_time_between_two_trainings():
    """What was resumed the next day did not take a day."""
    told = [start(0), loss(1, 1), loss(2, 2), start(90_000, 1), loss(2, 90_005), loss(3, 90_006)]
    assert earlier.seconds_per_step(told) == pytest.approx(1)


def test_a_pace_counts_only_where_time_went_forward():
    """A clock that was set back takes nothing off; where it only went back, nothing is known."""
    assert earlier.seconds_per_step([start(0), loss(1, 10), loss(2, 12), loss(3, 5), loss(4, 7)]) == pytest.approx(2)
    assert earlier.seconds_per_step([start(0), loss(1, 10), loss(2, 10), loss(3, 4)]) is None


def test_a_step_takes_as_long_as_it_holds_tokens():
    """By tokens where both are known, else by rows."""
    before = earlier.Pace("x", 2.0, 8, 400.0)
    assert earlier.step_seconds(before, 8, 50.0) == pytest.approx(2.0)
    assert earlier.step_seconds(before, 16, 100.0) == pytest.approx(8.0)
    assert earlier.step_seconds(before, 16, None) == pytest.approx(4.0)


def timed(folder, seconds=0.5, tokens_per_second=1000.0):
    """The events of a training that took so long a step."""
    begun = time.time()
    for event in (
        start(begun),
        *(loss(step, begun + seconds * step, tokens_per_second=tokens_per_second) for step in range(1, 11)),
    ):
        events.append(folder / "events.jsonl", event)
    return folder


def test_the_time_is_that_of_an_earlier_run_with_this_model_and_method(make_run, tiny):
    """Another method, another model or a run without steps tells nothing of it."""
    timed(make_run(method="dora"))
    make_run()
    assert earlier.pace(str(tiny), "lora") is None
    timed(make_run(batch_size=4))
    found = earlier.pace(str(tiny), "lora")
    assert (found.seconds, found.batch_size, found.tokens) == (pytest.approx(0.5), 4, pytest.approx(500))
    assert earlier.pace("somebody/else", "lora") is None


def test_the_plan_counts_rows_and_steps(helpers):
    """Rows come from the reader; the time is the forecast's to tell."""
    assert "380 rows, 3 epochs = 144 steps" in planned()
    assert texts.TIME_UNKNOWN not in planned()


def test_the_time_of_a_run_goes_by_an_earlier_one(helpers, make_run, tiny):
    """Nothing is said while there is none, of rows that can't be read, or where rows are packed into fewer sequences."""
    source, wanted = source_of(CHOICE, None), TrainConfig(epochs=3, batch_size=8)
    assert plan.takes(source, str(tiny), wanted) == ""
    timed(make_run(batch_size=8), seconds=2.0, tokens_per_second=0)
    assert plan.takes(source, str(tiny), wanted) == texts.TIME_KNOWN.format(time=fits.about(144 * 2.0), run="test")
    assert plan.takes(source, str(tiny), TrainConfig(method="dora")) == ""
    assert plan.takes(source, str(tiny), TrainConfig(packing=True)) == ""
    assert plan.takes(Source("/gone.jsonl"), str(tiny), wanted) == ""


def test_the_plan_names_what_cannot_be(helpers):
    """A wrong number, or two settings that don't go together, at once; rows that are gone are told under Data."""
    assert "epochs" in planned(epochs=0)
    said = planned(method="full", memory="4-bit")
    assert "run-error" in said
    assert METHODS["full"].label in said
    assert "reads on in plain text" in planned(method="continued-pretraining")
    assert planned({"upload": "0" * 32}) == ""


def test_more_than_ten_epochs_are_called_learning_by_heart(helpers):
    """Unless a limit of steps ends them before."""
    assert "by heart" in planned(epochs=11)
    assert "by heart" not in planned(epochs=10)
    assert "by heart" not in planned(epochs=40, max_steps=100)


def test_the_line_of_what_is_learned_from():
    """The file's name, escaped; without a choice, what to do."""
    assert "tiny-yoda.jsonl" in plan.learns_from(None, None, CHOICE, None)
    assert texts.LEARNS_FROM_NOTHING in plan.learns_from(None, None, {"upload": "0" * 32}, None)


def test_a_model_without_a_template_is_usable_with_another_one(helpers, tiny, tmp_path):
    """Refused with its own, which it has not; described with one that is chosen on the Data tab."""
    folder = shutil.copytree(tiny, tmp_path / "untold")
    (folder / "chat_template.jinja").unlink()
    assert "run-error" in plan.about_model(None, None, str(folder), "own")
    assert "parameters" in plan.about_model(None, None, str(folder), "chatml")


def test_what_is_trained_is_told_before_the_start(helpers):
    """By PEFT's own counter; a smaller rank trains less, everything is 100 %; nothing while the settings can't be."""
    few, many, whole = (
        plan.parameters(None, None, "tiny-chat", **values) for values in ({"rank": 4}, {"rank": 16}, {"method": "full"})
    )
    assert "278,528" in many
    assert few != many
    assert "(100 %)" in whole
    assert plan.parameters(None, None, "tiny-chat", rank=0) == ""
    assert "no such/model" in plan.parameters(None, None, "no such/model")
