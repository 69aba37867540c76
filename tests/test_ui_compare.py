"""The Compare tab: both answers as the pipeline gives them, a conversation that lasts, scores that mean what they say."""

import asyncio
import json
import shutil

import gradio as gr
import pytest

from pipeline import example, generate, jobs, sides
from pipeline.errors import UserError
from pipeline.schema import Decoding, Visitor
from ui import access, asking, chat, chat_engine, chat_how, chat_mark, chat_rows, children, compare, turns

NO_THIRD = ("own", "none", None, None, 3, False)  # each goes on from its own answers; no third column; no words marked
PLAIN = (24, 0.0, 1.0, 42, *NO_THIRD)
OWNER = Visitor("owner", True)
LONG = (400, 5.0, 1.0, 1, *NO_THIRD)
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
        state = [None] * len(asking.UPDATES)
        async for update in stream:
            state = [old if is_skip(new) else new for old, new in zip(state, update, strict=True)]
        return dict(zip(asking.UPDATES, state, strict=True))

    return asyncio.run(follow())


def is_skip(update):
    return isinstance(update, dict) and update == gr.skip()


def test_a_typed_message_is_answered_by_both(run):
    """The page shows what the pipeline gives, and keeps it with the conversation."""
    shown = last(asking.ask(None, None, run.name, "Say this: The fox finds the ring.", {}, "", None, *PLAIN))
    said = [{"role": "user", "content": "Say this: The fox finds the ring."}]
    expected = dict(
        generate.stream(sides.open_pair(sides.of_run(run)), {"base": said, "tuned": said}, Decoding(max_new_tokens=24))
    )
    turn = json.loads(shown["conversations"])[run.name][0]
    assert {side: turn[side]["text"] for side in turns.SIDES} == {side: a.text for side, a in expected.items()}
    assert all(chat.escape(answer.text) in shown["history"] for answer in expected.values())
    assert "began after 0." in shown["history"]
    assert turn["base"]["text"] != turn["tuned"]["text"]
    assert (shown["live"], shown["prompt"]) == ("", "")
    assert "chip good" in shown["mark"]
    assert shown["ask"].visible
    assert not shown["stop"].visible


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
    kept = json.dumps({run.name: said[:2]})
    for system, fresh in (("Be brief.", True), ("Be kind.", False)):
        shown = last(asking.ask(None, None, run.name, "Hello", kept, system, None, *PLAIN))
        assert json.loads(shown["conversations"])[run.name][-1]["fresh"] is fresh


def spoken(prompt: str, **more):
    """A turn as the browser keeps it, answered by both."""
    told = {"tokens": 3, "seconds": 0.5, "stopped": True}
    sides = {side: {"text": f"{side} to {prompt}", **told} for side in turns.SIDES}
    return {"prompt": prompt, "fresh": False, "system": "", **sides, **more}


def test_all_may_go_on_from_one_columns_answers(run):
    """Then every column is told that it had said what that one said; the turn keeps, and says, whose answers."""
    said = [spoken("one", fresh=True), {**spoken("two"), "goes_on": "tuned"}]
    for column in turns.SIDES:
        assert turns.messages(said, column)[1]["content"] == "tuned to one"
    how = (24, 0.0, 1.0, 42, "tuned", *NO_THIRD[1:])
    shown = last(asking.ask(None, None, run.name, "Hello", json.dumps({run.name: said[:1]}), "", None, *how))
    turn = json.loads(shown["conversations"])[run.name][-1]
    assert turn["goes_on"] == "tuned"
    assert "All sides went on from the answers of Tuned." in shown["history"]
    with pytest.raises(gr.Error, match="no third column"):
        last(asking.ask(None, None, run.name, "Hello", {}, "", None, 24, 0.0, 1.0, 42, "third", *NO_THIRD[1:]))


def test_an_earlier_message_is_changed_and_what_followed_is_dropped(run):
    """It comes back into the box with what will be dropped; sent again it stands in its place, a fresh start as before."""
    said = [spoken("one", fresh=True), spoken("two"), spoken("three")]
    kept = json.dumps({run.name: said})
    prompt, note, place = asking.change(None, None, "1", run.name, kept)
    assert (prompt, place) == ("two", 1)
    assert "message 2" in note
    assert "the message after it" in note
    assert asking.change(None, None, "", run.name, kept) == ("", "", None)
    for number in ("7", "-1", "x", "²"):
        with pytest.raises(gr.Error, match="not there any more"):
            asking.change(None, None, number, run.name, kept)
    shown = last(asking.ask(None, None, run.name, "Hello", kept, "", place, *PLAIN))
    now = json.loads(shown["conversations"])[run.name]
    assert [turn["prompt"] for turn in now] == ["one", "Hello"]
    assert (shown["note"], shown["changing"]) != (note, place)
    shown = last(asking.ask(None, None, run.name, "Hello", kept, "", 0, *PLAIN))
    (turn,) = json.loads(shown["conversations"])[run.name]
    assert turn["fresh"]


def test_a_changed_message_that_fails_drops_nothing(run):
    """The conversation is whole again, and the box still changes that message."""
    kept = json.dumps({run.name: [spoken("one", fresh=True), spoken("two")]})
    shown = last(asking.ask(None, None, run.name, "fox " * 2000, kept, "", 0, *PLAIN))
    assert shown["conversations"] == kept
    assert shown["changing"] == 0
    assert "message 1" in shown["note"]


def test_the_last_message_is_answered_again_with_the_next_seed(run):
    """In place of its answers, and the seed is shown; at temperature 0 no seed matters, which is said."""
    kept = json.dumps({run.name: [spoken("one", fresh=True), spoken("Hello")]})
    with pytest.raises(gr.Error, match="At temperature 0"):
        last(asking.again(None, None, run.name, kept, *PLAIN))
    for seed in (43, 44):
        shown = last(asking.again(None, None, run.name, kept, 24, 1.0, 1.0, 42, *NO_THIRD))
        kept = shown["conversations"]
        first, turn = json.loads(kept)[run.name]
        assert first == spoken("one", fresh=True)
        assert (turn["prompt"], turn["seed"], shown["seed"]) == ("Hello", seed, seed)
        assert f"with seed {seed}" in shown["history"]
    unanswered = json.dumps({run.name: [{"prompt": "Hello", "fresh": True, "system": ""}]})
    shown = last(asking.again(None, None, run.name, unanswered, *PLAIN))
    assert json.loads(shown["conversations"])[run.name][0]["tuned"]["tokens"]
    with pytest.raises(gr.Error, match="no message to answer again"):
        last(asking.again(None, None, run.name, "{}", *PLAIN))


def test_the_base_with_examples_is_a_third_column(run, make_run):
    """It answers beside the two, is called what it is, and choosing it begins a new conversation; kept, it loads again."""
    how = (24, 0.0, 1.0, 42, "own", "examples", None, None, 2, False)
    folder = shipped_with_rows(run, make_run)
    kept = json.dumps({folder.name: [spoken("one", fresh=True)]})
    shown = last(asking.ask(None, None, folder.name, "Say this: The fox finds the ring.", kept, "", None, *how))
    turn = turns.remembered(shown["conversations"], folder.name)[-1]
    assert turn["fresh"]
    assert turn["prompted"]["tokens"]
    assert "Base with 2 examples" in shown["history"]
    assert "columns-3" in shown["history"]
    shown = last(asking.ask(None, None, folder.name, "Hello", shown["conversations"], "", None, *how))
    assert not json.loads(shown["conversations"])[folder.name][-1]["fresh"]
    assert "columns-3" in shown["history"]


def shipped_with_rows(run, make_run):
    """The shipped run with rows to learn from, which it comes without."""
    folder = run.with_name("with-rows")
    if not folder.exists():
        shutil.copytree(run, folder)
        shutil.copyfile(make_run(rows=8) / "train.jsonl", folder / "train.jsonl")
        told = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps({**told, "id": folder.name}))
    return folder


def test_another_run_of_the_same_base_is_a_third_column(run, make_run):
    """It is offered by name, and answers as its own adapter; a run on another base is not offered."""
    other = shipped_with_rows(run, make_run)
    _, _, offered, _ = chat_how.offer(None, None, run.name, "run")
    assert other.name in [choice for _, choice in offered.choices]
    how = (24, 0.0, 1.0, 42, "own", "run", None, other.name, 2, False)
    shown = last(asking.ask(None, None, run.name, "Say this: The fox finds the ring.", {}, "", None, *how))
    turn = json.loads(shown["conversations"])[run.name][0]
    assert turn["other"]["text"] == turn["tuned"]["text"] != turn["base"]["text"]
    assert "third column" in shown["mark"]
    untrained = make_run(rows=4)
    assert untrained.name not in [choice for _, choice in offered.choices]
    damaged = make_run(rows=4)
    (damaged / "adapter").mkdir()
    for text in ("{", "[]", "{}"):
        (damaged / "base.json").write_text(text)
        assert other.name in [choice for _, choice in chat_how.siblings(OWNER, run)]


@pytest.mark.parametrize(
    ("kind", "step", "other", "examples", "sentence"),
    [
        ("checkpoint", 7, None, 3, "not kept any more"),
        ("checkpoint", None, None, 3, "not kept any more"),
        ("run", None, "no-such-run", 3, "no run 'no-such-run'"),
        ("run", None, "../../etc", 3, "that you may see"),
        ("examples", None, None, 3, "are not here"),
    ],
)
def test_a_third_column_that_is_none_is_a_sentence(run, kind, step, other, examples, sentence):
    with pytest.raises(gr.Error, match=sentence):
        last(asking.ask(None, None, run.name, "Hello", {}, "", None, 24, 0.0, 1.0, 42, "own", kind, step, other, examples, False))  # fmt: skip


@pytest.mark.parametrize("examples", [0, None, 2.5, 33, float("nan"), "3"])
def test_so_many_examples_can_not_be_given(run, make_run, examples):
    with pytest.raises(UserError, match="whole number of examples"):
        chat_how.third_of(OWNER, shipped_with_rows(run, make_run), "examples", None, None, examples)


def test_a_guest_compares_with_what_a_guest_may_see(run, make_run, monkeypatch):
    """Runs that are not shared are not there, and rows that were learned from go into no guest's prompt; it says why."""
    other = shipped_with_rows(run, make_run)
    jobs.share(other, False)
    monkeypatch.setenv("SPACE_ID", "somebody/space")
    for kind, sentence in (("run", "that you may see"), ("examples", "only the owner")):
        with pytest.raises(gr.Error, match=sentence):
            last(asking.ask(None, None, run.name, "Hello", {}, "", None, 24, 0.0, 1.0, 42, "own", kind, None, other.name, 3, False))  # fmt: skip
    with pytest.raises(gr.Error, match="at most 2,048 tokens"):
        last(asking.ask(None, None, run.name, "Hello", {}, "", None, 2049, *PLAIN[1:]))
    for kind, sentence in (("examples", "only the owner"), ("run", "no other run"), ("checkpoint", "keeps no")):
        with pytest.warns(UserWarning, match=sentence):
            chosen, *_ = chat_how.offer(None, None, run.name, kind)
        assert chosen.value == chat_how.NO_THIRD


def test_words_that_differ_are_marked_on_both_sides(run):
    """Base's words that Tuned does not say, and the other way round; what both say is not; without the switch nothing."""
    said = spoken(
        "one", base={"text": "The fox runs fast."}, tuned={"text": "<think>The owl?</think>The owl runs fast."}
    )
    kept = json.dumps({run.name: [said]})
    shown = asking.redraw(None, None, run.name, kept, True)
    assert [part.partition("</mark>")[0] for part in shown.split("<mark>")[1:]] == ["fox", "owl"]
    assert "<mark>" not in asking.redraw(None, None, run.name, kept, False)


def test_very_long_answers_are_shown_without_marks():
    long = "word " * (chat.MOST_MARKED // 5 + 1)
    assert chat.differing("base", long + "one", "two") == long + "one"


def test_thinking_that_the_template_began_is_folded(run):
    """The engine tells the mark; it is kept with the answer, and what is said after the thought is compared."""
    growing = {"base": {"text": ""}, "tuned": {"text": ""}}
    chat_engine.heard([{"opened": {"tuned": "<think>", "none": "<think>"}}, {"tuned": "one two"}], growing, "")
    assert growing["base"] == {"text": ""}
    assert "Thinking: 2 words so far" in chat.side("tuned", growing["tuned"])
    asked = asking.begin(OWNER, run.name, "{}", PLAIN, None)
    told = {"tokens": 3, "seconds": 0.5, "stopped": True}
    result = {
        "base": {"text": "The fox.", **told}, "tuned": {"text": "one two</think>The owl.", **told},
        "opened": {"tuned": "<think>"}, "mode": "mixed", "self_test": {},
    }  # fmt: skip
    shown = dict(
        zip(asking.UPDATES, asking.finished(asked, {"prompt": "Who?"}, turns.SIDES, result, False), strict=True)
    )
    (turn,) = turns.remembered(shown["conversations"], run.name)
    assert turn["tuned"]["opened"] == "<think>"
    assert "What it thought first (2 words)" in shown["history"]
    assert chat.opposite(turn, "base") == "The owl."


def test_thinking_is_folded_and_counted_while_it_grows():
    """A finished answer stands below its folded thought; one that still thinks says how far."""
    whole = {"text": "<think>one two three</think>Four.", "tokens": 9, "seconds": 1.0, "stopped": True}
    shown = chat.side("tuned", whole)
    assert "<summary>What it thought first (3 words)</summary>" in shown
    assert '<div class="answer">Four.</div>' in shown
    assert "Thinking: 2 words so far" in chat.side("tuned", {"text": "<think>one two"})


def test_a_held_out_row_is_asked_as_it_stands_with_its_reference(run):
    """Fresh, whatever was said before; the reference comes along."""
    rows = chat_rows.offered(run)
    assert len(rows) == chat_rows.MOST
    shown = last(asking.ask_row(None, None, 2, run.name, {}, *PLAIN))
    turn = json.loads(shown["conversations"])[run.name][-1]
    assert (turn["prompt"], turn["reference"]) == (rows[2]["prompt"], rows[2]["reference"])
    assert turn["fresh"]
    assert turn["tuned"]["text"] == turn["reference"]
    assert chat.escape(turn["reference"]) in shown["history"]


@pytest.mark.parametrize("index", [-1, 10**6])
def test_a_row_that_is_not_offered_is_a_sentence(run, index):
    with pytest.raises(gr.Error, match="not offered"):
        last(asking.ask_row(None, None, index, run.name, {}, *PLAIN))


def test_any_held_out_row_is_asked_by_its_number(run):
    """The scores name a row by its place in the file; one that is not held out is a sentence."""
    number, expected = chat_rows.single_questions(run)[-1]
    shown = last(asking.ask_held_out(None, None, str(number), run.name, {}, *PLAIN))
    assert json.loads(shown["conversations"])[run.name][-1]["prompt"] == expected["prompt"]
    with pytest.raises(gr.Error, match="Row 99999 is no held-out row"):
        last(asking.ask_held_out(None, None, "99999", run.name, {}, *PLAIN))


def test_a_guest_asks_held_out_rows_that_a_guest_is_shown(run, make_run, monkeypatch):
    """The first of them; the owner asks any."""
    folder = shipped_with_rows(run, make_run)
    line = (folder / "held_out.jsonl").read_text().splitlines()[0]
    rows = [json.dumps({**json.loads(line), "row": number}) for number in range(1, chat_rows.GUESTS_ROWS + 2)]
    (folder / "held_out.jsonl").write_text("\n".join(rows) + "\n")
    assert [row for row, _ in chat_rows.single_questions(folder)][-1] == chat_rows.GUESTS_ROWS + 1
    assert [row for row, _ in chat_rows.single_questions(folder, chat_rows.GUESTS_ROWS)][-1] == chat_rows.GUESTS_ROWS
    monkeypatch.setenv("SPACE_ID", "somebody/space")
    jobs.share(folder, True)
    with pytest.raises(gr.Error, match="Row 201 is no held-out row"):
        last(asking.ask_held_out(None, None, "201", folder.name, {}, *PLAIN))


@pytest.mark.parametrize(
    ("prompt", "decoding", "sentence"),
    [
        ("  ", PLAIN, "message is empty"),
        (None, PLAIN, "message is empty"),
        ("x" * (asking.MOST_CHARACTERS + 1), PLAIN, "200,001 characters; shorten them to at most 200,000"),
        ("Hello", (24, -1.0, 1.0, 42, *NO_THIRD), "temperature: -1.0 is outside 0 to 5"),
        ("Hello", (0, 0.0, 1.0, 42, *NO_THIRD), "max_new_tokens: 0 is outside"),
        ("Hello", (24, 0.0, None, 42, *NO_THIRD), "Top p is empty"),
        ("Hello", (24, 0.0, 1.0, 1.5, *NO_THIRD), "seed: expected a whole number"),
    ],
)
def test_what_can_not_be_asked_is_a_sentence(run, prompt, decoding, sentence):
    with pytest.raises(gr.Error, match=sentence):
        last(asking.ask(None, None, run.name, prompt, {}, "", None, *decoding))


def test_a_failed_answer_gives_the_prompt_back_and_loses_no_turn(run):
    """A prompt that leaves the model no room: the sentence with its numbers, the message to be shortened."""
    long = "fox " * 2000
    before = json.dumps({run.name: [{"prompt": "one", "fresh": True, "system": ""}]})
    shown = last(asking.ask(None, None, run.name, long, before, "", None, *PLAIN))
    assert "shorten it" in shown["live"]
    assert 'role="alert"' in shown["live"]
    assert shown["prompt"] == long
    assert shown["conversations"] == before
    assert shown["ask"].visible


def test_stop_keeps_what_was_said(run):
    """It ends the answer of the browser that asked, and nobody else's; the answer says that it was cut short."""

    async def ask_and_stop():
        state = None
        async for update in asking.ask(None, None, run.name, "Hello", {}, "", None, *LONG):
            if "Answering" in str(update[1]):
                asking.stop(None, None)
            state = update if not is_skip(update[3]) else state
        return state

    turn = json.loads(asyncio.run(ask_and_stop())[3])[run.name][-1]
    assert turn["tuned"]["tokens"] < 400
    assert turn["tuned"]["cut"]
    assert "stopped by you" in chat.how_it_ended(turn["tuned"])
    assert not asking._stops


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
        {"r": [{"prompt": "x", "reference": {}}]}, {"r": [{"prompt": "x", "tuned": {"opened": 3}}]},
    ],
)  # fmt: skip
def test_what_a_browser_sends_may_be_anything(junk):
    """What is no turn is left out."""
    for sent in (junk, json.dumps(junk)):
        assert turns.remembered(sent, "r") == []
        assert json.loads(turns.remember(sent, "r", [])) == {"r": []}


def test_no_more_is_read_of_a_memory_than_is_kept():
    many = {"r": [{"prompt": str(number)} for number in range(1000)]}
    assert [turn["prompt"] for turn in turns.remembered(json.dumps(many), "r")] == [str(n) for n in range(960, 1000)]
    assert turns.remembered(json.dumps({"r": [{"prompt": "x" * turns.MOST_KEPT}]}), "r") == []


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "NaN"])
def test_a_damaged_memory_is_an_empty_one(text):
    assert turns.remembered(text, "r") == []


@pytest.mark.parametrize("probe", PROBES)
def test_foreign_text_is_text(probe):
    """Prompts, answers, thoughts, references, names: nothing becomes an element."""
    answer = {"text": probe, "tokens": 1, "seconds": 1.0, "stopped": True}
    turn = {"prompt": probe, "fresh": True, "system": probe, "reference": probe, "base": answer, "tuned": answer}
    third = {"column": "other", "key": probe, "name": probe}
    thought = {**answer, "text": f"<think>{probe}</think>{probe}"}
    three = {**turn, "third": third, "goes_on": "other", "fresh": False, "tuned": thought, "other": thought}
    told = {"name": probe, "model": probe, "status": probe, "adapter": probe}
    shown = [
        chat.conversation([turn, turn]), chat.turn(turn, doing=probe), chat.conversation([three, three]),
        chat.conversation([three, three], marked=True), chat.about(told), chat.failure(probe), chat.heard(probe),
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
    shown = chat_mark.mark({"mode": "mixed", "self_test": {name: check(name not in broken) for name in names}})
    assert f"chip {kind}" in shown
    failed = len(set(broken) - {"tuned_differs"})
    assert shown.count("NO.") == failed
    assert shown.count("note.") == len(broken) - failed


def test_another_run_is_shown_whole(run):
    """What it is, its rows, its system prompt; no third column, and no message that is being changed."""
    about, rows, shared, system, kind, *rest = compare.show(None, None, run.name, {}, False)
    assert "tiny-chat" in about
    assert len(rows.samples) == chat_rows.MOST
    assert (system, shared, kind.value) == ("", True, chat_how.NO_THIRD)
    assert rest[-2:] == ["", None]
    assert "No run is chosen" in compare.show(None, None, None, {}, False)[0]


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
        async for update in asking.ask(None, None, run.name, "Hello", {}, "", None, *LONG):
            shown.append(update)
            if "Answering" in str(update[1]):
                compare.show(None, None, other.name, {}, False)
                left = len(shown)
        return shown[left:]

    assert asyncio.run(ask_and_switch()) == [asking.NOTHING_MORE]
    assert all(map(is_skip, asking.NOTHING_MORE))
    assert not asking._stops


def test_clear_during_an_answer_takes_it_back(run):
    """The conversation stays empty, and the next message can be sent."""

    async def ask_and_clear():
        shown, left = [], 0
        async for update in asking.ask(None, None, run.name, "Hello", {}, "", None, *LONG):
            shown.append(update)
            if "Answering" in str(update[1]):
                *_, ask, stop = asking.clear(None, None, run.name, "{}")
                left = len(shown)
        return shown[left:], ask.visible, stop.visible

    assert asyncio.run(ask_and_clear()) == ([asking.NOTHING_MORE], True, False)
    assert not asking._stops


def test_a_question_that_waited_is_dropped_when_another_run_is_shown(run, make_run):
    """It says nothing under the run that was chosen meanwhile; under its own it is answered."""
    other, browser = make_run(rows=4), gr.Request(session_hash="waits")

    async def first():
        async for update in asking.ask(browser, None, run.name, "Hello", {}, "", None, *PLAIN):
            return update
        return None

    compare.show(browser, None, other.name, {}, False)
    assert asyncio.run(first()) == asking.NOTHING_MORE
    assert not asking._stops
    compare.show(browser, None, run.name, {}, False)
    assert asyncio.run(first()) != asking.NOTHING_MORE


def test_only_so_many_browsers_are_remembered(monkeypatch):
    monkeypatch.setattr(asking, "_shown", {})
    for number in range(asking.MOST_SESSIONS + 5):
        asking.look_at(str(number), "run")
    assert len(asking._shown) == asking.MOST_SESSIONS
    assert "0" not in asking._shown
