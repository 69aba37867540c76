"""The engine answers for both sides from one copy, stops when told to, and makes way for a job."""

import threading
import time

import pytest

from pipeline import checkpoints, device, generate, sides, third
from pipeline.child import Child
from pipeline.errors import UserError
from pipeline.schema import Decoding
from tests.test_child import drain

SECONDS = 120
SAY = [{"role": "user", "content": "Say this: The fox finds the ring."}]


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    """One home for this file, so that one engine serves all of it."""
    folder = tmp_path_factory.mktemp("engine") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNING_FORK_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def engine(home):
    helper = Child("engine")
    yield helper
    helper.end()


def compare(engine, run, messages=SAY, stop=None, then=lambda item: None, **decoding):
    asked = {"base": messages, "tuned": messages}
    return drain(engine.stream("compare", SECONDS, stop, folder=str(run), asked=asked, decoding=decoding), then)


def test_both_sides_stream_and_equal_what_the_pipeline_gives(engine, trained_run):
    """The page's answers are the command line's, token for token, with the self-test beside them."""
    items, result = compare(engine, trained_run, max_new_tokens=24)
    pair = sides.open_pair(sides.of_run(trained_run))
    expected = dict(generate.stream(pair, {"base": SAY, "tuned": SAY}, Decoding(max_new_tokens=24)))
    for side in ("base", "tuned"):
        assert result[side]["text"] == expected[side].text
        assert "".join(item.get(side, "") for item in items) == expected[side].text
    assert all(check["ok"] for check in result["self_test"].values())
    assert [item["phase"] for item in items if "phase" in item][-1] == "answering"


def test_the_second_question_loads_nothing(engine, trained_run):
    """The model stays until somebody else wants the device; another run or the base alone is loaded in its place."""
    compare(engine, trained_run, max_new_tokens=4)
    items, _ = compare(engine, trained_run, max_new_tokens=4)
    assert {"phase": "loading the model"} not in items


def test_each_side_continues_its_own_conversation(engine, trained_run):
    """What the base said is told to the base, and what the tuned model said to the tuned one."""
    asked = {
        side: [
            *SAY,
            {"role": "assistant", "content": said},
            {"role": "user", "content": "Say this: The cat sees Anna."},
        ]
        for side, said in (("base", "The fox finds the ring."), ("tuned", "The ring, the fox finds."))
    }
    result = engine.ask("compare", SECONDS, folder=str(trained_run), asked=asked, decoding={"max_new_tokens": 24})
    pair = sides.open_pair(sides.of_run(trained_run))
    expected = dict(generate.stream(pair, asked, Decoding(max_new_tokens=24)))
    assert {side: result[side]["text"] for side in asked} == {side: answer.text for side, answer in expected.items()}


def test_the_base_alone_is_the_base(engine, trained_run, tiny):
    """Before anything is trained, and again when a run's pair is loaded already: the same answer without its adapter."""
    model = {"base": str(tiny)}
    alone = engine.ask("ask_base", SECONDS, model=model, messages=SAY, decoding={"max_new_tokens": 24})
    _, both = compare(engine, trained_run, max_new_tokens=24)
    beside = engine.ask("ask_base", SECONDS, model=model, messages=SAY, decoding={"max_new_tokens": 24})
    assert alone.keys() == beside.keys() == {"base"}
    assert alone["base"]["text"] == beside["base"]["text"] == both["base"]["text"]
    assert both["tuned"]["text"] != both["base"]["text"]


def test_stop_ends_the_answer_and_keeps_what_was_said(engine, trained_run):
    """Within a token, on both sides: the rest of the limit is never computed."""
    stop = threading.Event()
    saying = lambda item: {"base", "tuned"} & item.keys() and stop.set()  # noqa: E731
    _, result = compare(engine, trained_run, stop=stop, then=saying, max_new_tokens=400, temperature=5.0)
    assert all(result[side]["tokens"] < 100 and not result[side]["stopped"] for side in ("base", "tuned"))


def test_a_third_column_answers_beside_the_two(engine, trained_run):
    """A checkpoint, or the base with examples: its own answer and name; base and tuned say what they say without it."""
    _, before = compare(engine, trained_run, max_new_tokens=16)
    step = checkpoints.step(checkpoints.newest(trained_run))
    for wish, column in (({"kind": "checkpoint", "step": step}, "other"), ({"kind": "examples", "k": 2}, "prompted")):
        asked = dict.fromkeys(("base", "tuned", column), SAY)
        told = {"folder": str(trained_run), "asked": asked, "decoding": {"max_new_tokens": 16}, "third": wish}
        items, result = drain(engine.stream("compare", SECONDS, None, **told), lambda item: None)
        assert {"phase": "loading the third column"} in items
        assert {"phase": "loading the model"} not in items
        assert [result[side]["text"] for side in ("base", "tuned")] == [before[s]["text"] for s in ("base", "tuned")]
        assert "".join(item.get(column, "") for item in items) == result[column]["text"]
        assert (result["third"]["column"], result["mode"]) == (column, "mixed")
        assert all(check["ok"] for check in result["self_test"].values())
    assert result["third"]["examples"] == 2
    pair = third.beside(sides.open_pair(sides.of_run(trained_run)), trained_run, wish)
    messages, _ = third.asked(pair, SAY, Decoding(16))
    expected = dict(generate.stream(pair, {"prompted": messages}, Decoding(16)))
    assert result["prompted"]["text"] == expected["prompted"].text
    _, after = compare(engine, trained_run, max_new_tokens=16)
    assert "third" not in after
    assert after["tuned"]["text"] == before["tuned"]["text"]


def test_it_makes_way_for_a_job(engine, trained_run):
    """A ticket for the device ends the idle engine; the next question is answered by a new one, after the job."""
    compare(engine, trained_run, max_new_tokens=4)
    process, told = engine._process, []
    with device.use("training of somebody", told.append) as got:
        assert got
        assert process.wait(timeout=60) == 0
        waited = []
        thread = threading.Thread(target=lambda: waited.append(compare(engine, trained_run, max_new_tokens=4)))
        thread.start()
        deadline = time.monotonic() + 60
        while not device.waiting() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert device.waiting()
        assert not waited
    thread.join(timeout=60)
    items, result = waited[0]
    assert {"waiting": "training of somebody"} in items
    assert result["tuned"]["tokens"] > 0


def test_a_run_without_an_adapter_is_a_sentence(engine, make_run):
    """Nothing is loaded for it."""
    with pytest.raises(UserError, match="no adapter"):
        compare(engine, make_run(rows=4))
