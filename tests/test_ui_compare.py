"""The Compare tab: both answers as the pipeline gives them, a conversation that lasts, scores that mean what they say."""

import asyncio
import json

import gradio as gr
import pytest

from pipeline import example, generate, jobs, sides
from pipeline.schema import Decoding
from ui import access, chat, children, compare, turns

PLAIN = (24, 0.0, 1.0, 42)
PROBES = ("<img src=x onerror=alert(1)>", "</div><script>alert(1)</script>", '"><svg onload=alert(1)>')


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    """One home and one engine for this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNING_FORK_HOME", str(tmp_path_factory.mktemp("compare") / "home"))
        yield
        children.ENGINE.end()


@pytest.fixture(scope="module")
def run(home):
    return example.install()


def last(stream):
    """The updates a streaming handler ends with: each output as it stands at the end."""

    async def follow():
        state = [None] * 7
        async for update in stream:
            state = [old if is_skip(new) else new for old, new in zip(state, update, strict=True)]
        return state

    return asyncio.run(follow())


def is_skip(update):
    return isinstance(update, dict) and update == gr.skip()


def test_a_typed_message_is_answered_by_both(run):
    """The page shows what the pipeline gives, and keeps it with the conversation."""
    history, live, prompt, kept, mark, ask, stop = last(
        compare.ask(None, None, run.name, "Say this: The fox finds the ring.", {}, "", *PLAIN)
    )
    said = [{"role": "user", "content": "Say this: The fox finds the ring."}]
    expected = dict(
        generate.stream(sides.open_pair(sides.of_run(run)), {"base": said, "tuned": said}, Decoding(max_new_tokens=24))
    )
    turn = json.loads(kept)[run.name][0]
    assert {side: turn[side]["text"] for side in chat.SIDES} == {side: a.text for side, a in expected.items()}
    assert all(chat.escape(answer.text) in history for answer in expected.values())
    assert turn["base"]["text"] != turn["tuned"]["text"]
    assert (live, prompt) == ("", "")
    assert "chip good" in mark
    assert ask.visible
    assert not stop.visible


def test_the_next_message_continues_each_sides_own_conversation(run):
    """Base is told what base said, tuned what tuned said; a fresh start or another system prompt begins anew."""
    said = [
        {"prompt": "old", "fresh": True, "system": "", "base": {"text": "b0"}, "tuned": {"text": "t0"}},
        {"prompt": "one", "fresh": True, "system": "Be kind.", "base": {"text": "b1"}, "tuned": {"text": "t1"}},
        {"prompt": "lost"},
        {"prompt": "two", "fresh": False, "system": "Be kind."},
    ]
    assert turns.messages(said, "tuned") == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "t1"},
        {"role": "user", "content": "two"},
    ]
    assert turns.messages(said, "base")[2]["content"] == "b1"
    _, _, _, kept, *_ = last(
        compare.ask(None, None, run.name, "Hello", json.dumps({run.name: said[:2]}), "Be brief.", *PLAIN)
    )
    assert json.loads(kept)[run.name][-1]["fresh"]
    _, _, _, kept, *_ = last(
        compare.ask(None, None, run.name, "Hello", json.dumps({run.name: said[:2]}), "Be kind.", *PLAIN)
    )
    assert not json.loads(kept)[run.name][-1]["fresh"]


def test_a_held_out_row_is_asked_as_it_stands_with_its_reference(run):
    """Fresh, whatever was said before; the reference comes along."""
    rows = compare.offered(run)
    assert len(rows) == compare.MOST_ROWS
    history, _, _, kept, *_ = last(compare.ask_row(None, None, 2, run.name, {}, *PLAIN))
    turn = json.loads(kept)[run.name][-1]
    assert (turn["prompt"], turn["reference"]) == (rows[2]["prompt"], rows[2]["reference"])
    assert turn["fresh"]
    assert turn["tuned"]["text"] == turn["reference"]
    assert chat.escape(turn["reference"]) in history


@pytest.mark.parametrize("index", [-1, 10**6])
def test_a_row_that_is_not_offered_is_a_sentence(run, index):
    with pytest.raises(gr.Error, match="not offered"):
        last(compare.ask_row(None, None, index, run.name, {}, *PLAIN))


@pytest.mark.parametrize(
    ("prompt", "decoding", "sentence"),
    [
        ("  ", PLAIN, "message is empty"),
        (None, PLAIN, "message is empty"),
        ("Hello", (24, -1.0, 1.0, 42), "temperature: -1.0 is outside 0 to 5"),
        ("Hello", (0, 0.0, 1.0, 42), "max_new_tokens: 0 is outside"),
        ("Hello", (24, 0.0, None, 42), "Top p is empty"),
        ("Hello", (24, 0.0, 1.0, 1.5), "seed: expected a whole number"),
    ],
)
def test_what_can_not_be_asked_is_a_sentence(run, prompt, decoding, sentence):
    with pytest.raises(gr.Error, match=sentence):
        last(compare.ask(None, None, run.name, prompt, {}, "", *decoding))


def test_a_failed_answer_gives_the_prompt_back_and_loses_no_turn(run):
    """A prompt that leaves the model no room: the sentence with its numbers, the message to be shortened."""
    long = "fox " * 2000
    before = json.dumps({run.name: [{"prompt": "one", "fresh": True, "system": ""}]})
    _, live, prompt, kept, _, ask, _ = last(compare.ask(None, None, run.name, long, before, "", *PLAIN))
    assert "shorten it" in live
    assert 'role="alert"' in live
    assert prompt == long
    assert kept == before
    assert ask.visible


def test_stop_keeps_what_was_said(run):
    """It ends the answer of the browser that asked, and nobody else's; the answer says that it was cut short."""

    async def ask_and_stop():
        state = None
        async for update in compare.ask(None, None, run.name, "Hello", {}, "", 400, 5.0, 1.0, 1):
            if "Answering" in str(update[1]):
                compare.stop(None, None)
            state = update if not is_skip(update[3]) else state
        return state

    turn = json.loads(asyncio.run(ask_and_stop())[3])[run.name][-1]
    assert turn["tuned"]["tokens"] < 400
    assert turn["tuned"]["cut"]
    assert "stopped by you" in chat.how_it_ended(turn["tuned"])
    assert not compare._stops


def test_conversations_are_kept_per_run_and_bounded():
    """The newest turns of the newest runs; another run's conversation is untouched."""
    kept: str | None = None
    for number in range(turns.KEPT_RUNS + 3):
        kept = turns.remember(kept, f"run-{number}", [{"prompt": str(i)} for i in range(100)])
    runs = json.loads(kept)
    assert len(runs) == turns.KEPT_RUNS
    assert f"run-{turns.KEPT_RUNS + 2}" in runs
    assert all(len(said) == turns.KEPT_TURNS and said[-1]["prompt"] == "99" for said in runs.values())
    assert json.loads(turns.remember('{"a": [1], "b": [2]}', "a", [])) == {"b": [2], "a": []}


@pytest.mark.parametrize(
    "junk",
    [
        None, 3, [], {"r": 5}, {"r": [1, None, {"prompt": 3}]}, {"r": [{"prompt": "x", "base": []}]},
        {"r": [{"prompt": "x", "tuned": {"text": 3}}]}, {"r": [{"prompt": "x", "tuned": {"tokens": 3}}]},
        {"r": [{"prompt": "x", "reference": {}}]},
    ],
)  # fmt: skip
def test_what_a_browser_sends_may_be_anything(junk):
    """What is no turn is left out."""
    for sent in (junk, json.dumps(junk)):
        assert turns.remembered(sent, "r") == []
        assert json.loads(turns.remember(sent, "r", [])) == {"r": []}


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "NaN"])
def test_a_damaged_memory_is_an_empty_one(text):
    assert turns.remembered(text, "r") == []


@pytest.mark.parametrize("probe", PROBES)
def test_foreign_text_is_text(probe):
    """Prompts, answers, references, names, scores: nothing becomes an element."""
    answer = {"text": probe, "tokens": 1, "seconds": 1.0, "stopped": True}
    turn = {"prompt": probe, "fresh": True, "system": probe, "reference": probe, "base": answer, "tuned": answer}
    row = {"row": probe, "messages": [{"content": probe}], "reference": probe, "base": answer, "tuned": answer}
    report = {
        "n": 1,
        "metrics": {probe: dict.fromkeys(("base", "tuned", "difference", "low", "high"), 0.5)},
        "rows": [row],
    }
    told = {"name": probe, "model": probe, "status": probe, "adapter": probe}
    shown = [
        chat.conversation([turn, turn]), chat.turn(turn, doing=probe), chat.scores(report), chat.judged_rows(report),
        chat.about(told), chat.failure(probe),
    ]  # fmt: skip
    assert all(
        probe not in html and "<img" not in html and "<script" not in html and "<svg" not in html for html in shown
    )
    assert chat.escape(probe) in shown[0]


def check(ok: bool) -> dict[str, object]:
    return {"ok": ok, "value": 1e-6, "tolerance": 1e-5}


@pytest.mark.parametrize(
    ("broken", "kind"),
    [
        ((), "good"),
        (("tuned_differs",), "warn"),
        (("base_is_base",), "bad"),
        (("tuned_differs", "tuned_is_tuned"), "bad"),
    ],
)
def test_the_mark_is_green_only_when_every_check_passed(broken, kind):
    """An adapter that changes nothing is told as that, a side that is not what it says in red."""
    names = ("base_is_base", "tuned_is_tuned", "tuned_differs", "adapter_complete")
    shown = chat.mark({"mode": "mixed", "self_test": {name: check(name not in broken) for name in names}})
    assert f"chip {kind}" in shown
    assert shown.count("NO.") == len(broken)


@pytest.mark.parametrize(
    ("name", "low", "high", "verdict"),
    [
        ("rouge1", 0.01, 0.2, "better"), ("rouge1", -0.2, -0.01, "worse"), ("rouge1", -0.01, 0.2, "not settled"),
        ("loss", -0.5, -0.1, "better"), ("loss", 0.1, 0.5, "worse"), ("perplexity", -0.1, 0.1, "not settled"),
    ],
)  # fmt: skip
def test_a_verdict_needs_an_interval_without_zero(name, low, high, verdict):
    """And knows for which measures less is better."""
    shown = chat.score(name, {"base": 1.0, "tuned": 1.1, "difference": 0.1, "low": low, "high": high})
    assert f">{verdict}<" in shown


def test_the_scores_are_the_reports(run):
    """Each metric of report.json has its row, with its numbers."""
    report = json.loads((run / "report.json").read_text())
    shown = chat.scores(report)
    assert shown.count('<tr><th scope="row">') == len(report["metrics"])
    assert f"{report['metrics']['exact_match']['tuned']:.1%}" in shown
    assert chat.judged_rows(report).count("<tr><td>") == report["n"]


def test_another_run_is_shown_whole(run, make_run):
    """What it is, its rows, its system prompt, its scores; without a report that is said."""
    about, rows, shared, scores, system, *_ = compare.show(None, None, run.name, {})
    assert "tiny-chat" in about
    assert len(rows.samples) == compare.MOST_ROWS
    assert (system, shared) == ("", True)
    assert "60 rows" in scores
    untrained = make_run(rows=4)
    assert "No scores yet" in compare.look(None, None, untrained.name)[-1]
    assert "No run is chosen" in compare.show(None, None, None, {})[0]


def test_sharing_is_written_with_the_run(make_run):
    """A guest may chat from then on, and no longer when it is taken back."""
    folder = make_run(rows=4)
    compare.share(None, None, folder.name, True)
    assert jobs.shared(folder)
    compare.share(None, None, folder.name, False)
    assert not access.may_see(access.Visitor("guest", False), folder)


def test_another_run_takes_an_unfinished_answer_back(run, make_run):
    """Not a word of it is shown under the run that was chosen meanwhile, and no mark that isn't its own."""
    other = make_run(rows=4)

    async def ask_and_switch():
        shown = []
        async for update in compare.ask(None, None, run.name, "Hello", {}, "", 400, 5.0, 1.0, 1):
            shown.append(update)
            if "Answering" in str(update[1]):
                compare.show(None, None, other.name, {})
                left = len(shown)
        return shown[left:]

    assert asyncio.run(ask_and_switch()) == [compare.NOTHING_MORE]
    assert all(map(is_skip, compare.NOTHING_MORE))
    assert not compare._stops
