"""Blind rounds: prompts fixed when a round opens, sides in balance, and nothing shown that tells which is which."""

import dataclasses
import json
from pathlib import Path

import pytest

from pipeline import dataset, example, files, general, rounds
from pipeline.errors import UserError
from pipeline.rounds import Item, Round
from pipeline.schema import Decoding


def item(number: int, text: str = "Why?") -> Item:
    return {"item": number, "row": None, "messages": [{"role": "user", "content": text}], "reference": None}


def some(count: int, seed: int = 1) -> Round:
    items = [item(number) for number in range(1, count + 1)]
    return Round("id", 1.0, "owner", seed, "pasted", None, Decoding(), False, "", items)


def given(count: int) -> list[dict]:
    """Answers that say whose they are, by their text only; speed, length in tokens and stop flag differ, too."""
    base = {"tokens": 3, "seconds": 0.1, "stopped": True, "first": 0.01}
    tuned = {"tokens": 9, "seconds": 7.0, "stopped": False, "first": 2.0}
    return [{"base": {"text": f"b{n}", **base}, "tuned": {"text": f"t{n}", **tuned}} for n in range(1, count + 1)]


@pytest.fixture
def run() -> Path:
    """The run that ships with the app."""
    return example.install()


def ready_round(run: Path, seed: int, count: int = 4) -> Round:
    made = rounds.create(run, [item(n, f"q{n}") for n in range(1, count + 1)], "pasted", seed=seed)
    rounds.close(run, made, given(count))
    return made


def swapped(run: Path) -> tuple[Round, Round]:
    """Two rounds that differ in nothing but which side the answers stand on, everywhere."""
    one = ready_round(run, 1)
    other = next(
        seed
        for seed in range(2, 1000)
        if all(a != b for a, b in zip(rounds.left(one), rounds.left(dataclasses.replace(one, seed=seed)), strict=True))
    )
    return one, ready_round(run, other)


def test_nothing_shown_tells_the_sides(run):
    """Two rounds that differ only in the order of the sides are sent as the same bytes, but for the two texts swapped."""
    one, other = swapped(run)
    for number in range(1, 5):
        first, second = (rounds.shown(run, each, number) for each in (one, other))
        assert {first["left"], first["right"]} == {f"b{number}", f"t{number}"}
        exchanged = {**first, "left": first["right"], "right": first["left"]}
        assert json.dumps(exchanged).encode() == json.dumps(second).encode()


def test_a_judge_is_sent_five_things(run):
    """The prompt's number, how many there are, what is asked, and two texts: no id, time, speed, count or stop flag."""
    shown = rounds.shown(run, ready_round(run, 1), 2)
    assert list(shown) == ["item", "of", "messages", "left", "right"]
    assert (shown["item"], shown["of"], shown["messages"]) == (2, 4, [{"role": "user", "content": "q2"}])
    assert {type(shown["left"]), type(shown["right"])} == {str}


@pytest.mark.parametrize("count", [2, 7, 50])
def test_sides_are_in_balance(count):
    """Each column stands on the left as often as on the right, give or take one, whatever the seed."""
    for seed in range(50):
        assert abs(2 * rounds.left(some(count, seed)).count("tuned") - count) == count % 2


def test_sides_are_drawn_anew_for_each_seed():
    """Over many seeds every place has either column half of the time, the odd one of an odd number, too."""
    drawn = [rounds.left(some(5, seed)) for seed in range(1000)]
    assert all(430 < sum(sides[place] == "tuned" for sides in drawn) < 570 for place in range(5))
    assert 430 < sum(sides.count("tuned") == 3 for sides in drawn) < 570
    assert len({tuple(sides) for sides in drawn}) == 20


def test_the_recorded_seed_is_enough():
    """A round that is read again stands as it stood; so does this one, on every machine and version."""
    assert rounds.left(some(6, 7)) == rounds.left(some(6, 7)) == SIDES_OF_SEED_7


SIDES_OF_SEED_7 = ["tuned", "base", "base", "base", "tuned", "tuned"]


def test_a_round_is_fixed_when_it_opens(run):
    """What is read is what was made; the folder holds round.json alone, and answers are told once, whole."""
    made = rounds.create(run, [item(1)], "pasted", seed=5, system="Be kind.", criteria=True, by="anna")
    assert rounds.read(run, made.id) == made
    assert [file.name for file in rounds.place(run, made.id).iterdir()] == ["round.json"]
    assert not rounds.ready(run, made)
    with pytest.raises(UserError, match="not ready"):
        rounds.shown(run, made, 1)
    with pytest.raises(ValueError, match="an answer of each column"):
        rounds.close(run, made, [{"base": given(1)[0]["base"]}])
    rounds.close(run, made, given(1))
    assert rounds.ready(run, made)
    with pytest.raises(UserError, match="no prompt 2"):
        rounds.shown(run, made, 2)


def test_a_seed_that_is_not_given_can_t_be_guessed(run):
    """Two rounds of the same prompts have seeds of their own, and ids of their own."""
    made = [rounds.create(run, [item(1)], "pasted") for _ in range(5)]
    assert len({each.seed for each in made}) == len({each.id for each in made}) == 5


def test_the_newest_round_is_answered_first(run):
    """Rounds are listed newest first; one that is ready waits for nothing; a damaged one is left out."""
    made = [rounds.create(run, [item(1)], "pasted") for _ in range(3)]
    assert [each.id for each in rounds.listing(run)] == [each.id for each in reversed(made)]
    rounds.close(run, made[2], given(1))
    assert rounds.waiting(run) == made[1]
    (rounds.place(run, made[1].id) / rounds.ROUND).write_text('{"id": 3}')
    assert rounds.waiting(run) == made[0]
    rounds.close(run, made[0], given(1))
    assert rounds.waiting(run) is None


def test_a_round_that_is_asked_for_is_answered_first(run):
    """Until a newer wish, or a newer round."""
    first, second = (rounds.create(run, [item(1)], "pasted") for _ in range(2))
    for made in (first, second, first):
        rounds.want(run, made)
        assert rounds.waiting(run) == made
    third = rounds.create(run, [item(1)], "pasted")
    assert rounds.waiting(run) == third
    rounds.close(run, third, given(1))
    assert rounds.waiting(run) == first


@pytest.mark.parametrize("name", ["none", "../run", "..", "", ".hidden", "/etc"])
def test_a_round_is_found_by_its_id_only(run, name):
    """No path, no hidden folder, nothing outside."""
    with pytest.raises(UserError, match="has no round"):
        rounds.read(run, name)


def test_damage_is_a_sentence(run):
    """Items that are not counted from 1 and answers that are no answers are found out."""
    made = ready_round(run, 1, count=2)
    file = rounds.place(run, made.id) / rounds.ANSWERS
    for content in ("[]", "{}", "[1, 2]", '[{"base": {}}, {}]'):
        file.write_text(content)
        with pytest.raises(UserError, match="damaged"):
            rounds.answers(run, made)
    values = json.loads((file.parent / rounds.ROUND).read_text())
    for items in ([], [{"item": 2}], ["x", "y"]):
        files.write_json(file.parent / rounds.ROUND, {**values, "items": items, "id": made.id if items else "other"})
        with pytest.raises(UserError, match="damaged"):
            rounds.read(run, made.id)


def test_without_an_adapter_there_is_nothing_to_judge(make_run):
    """And a round without prompts, or with too many, is none."""
    with pytest.raises(UserError, match="no adapter yet"):
        rounds.create(make_run(rows=4), [item(1)], "pasted")


@pytest.mark.parametrize("count", [0, rounds.MOST_PROMPTS + 1])
def test_a_round_has_a_bounded_number_of_prompts(run, count):
    """From one on."""
    with pytest.raises(UserError, match="1 to 1,000 prompts"):
        rounds.create(run, [item(1)] * count, "pasted")


def test_held_out_rows_are_drawn_without_their_answers(run):
    """The last answer is the reference; the same seed draws the same rows, in their order; all of them when asked for more."""
    rows = {row["row"]: row["messages"] for row in dataset.read_part(run, "held_out")}
    drawn = rounds.questions(run, "held-out", 5, seed=3)
    assert [each["item"] for each in drawn] == [1, 2, 3, 4, 5]
    assert [each["row"] for each in drawn] == sorted(each["row"] for each in drawn)
    assert all(
        [*each["messages"], {"role": "assistant", "content": each["reference"]}] == rows[each["row"]] for each in drawn
    )
    assert rounds.questions(run, "held-out", 5, seed=3) == drawn != rounds.questions(run, "held-out", 5, seed=4)
    assert [each["row"] for each in rounds.questions(run, "held-out", 999, seed=3)] == list(rows)


def test_plain_text_asks_nothing(run):
    """A run with texts alone has no held-out rows for judges; tools go with the row that has them."""
    row = {
        "row": 9,
        "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
        "tools": [{}],
    }
    (run / "held_out.jsonl").write_text(
        json.dumps({"row": 8, "messages": [], "text": "x"}) + "\n" + json.dumps(row) + "\n"
    )
    assert [(each["row"], each["tools"]) for each in rounds.questions(run, "held-out", 9)] == [(9, [{}])]
    (run / "held_out.jsonl").write_text(json.dumps({"row": 8, "messages": [], "text": "x"}) + "\n")
    with pytest.raises(UserError, match="no held-out rows that ask"):
        rounds.questions(run, "held-out", 5)


def test_everyday_tasks_are_those_of_the_model(run, tiny):
    """The pack that fits the run's base, under the system prompt that was given where a task has none of its own."""
    asked = rounds.questions(run, "general", 100, system="Be kind.")
    for each, task in zip(asked, general.tasks(str(tiny)), strict=True):
        own = task["messages"][0]["role"] == "system"
        kind = {"role": "system", "content": "Be kind."}
        assert each["messages"] == (task["messages"] if own else [kind, *task["messages"]])
    assert {each["messages"][0]["content"] for each in asked} > {"Be kind."}


def test_pasted_prompts():
    """One per line; as JSON Lines a text or messages, whose last answer is the reference."""
    assert [each["messages"] for each in rounds.pasted(" One? \n\nTwo?\n")] == [
        [{"role": "user", "content": text}] for text in ("One?", "Two?")
    ]
    talk = [
        {"role": r, "content": c} for r, c in (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    ]
    lines = [{"prompt": "p", "reference": "r"}, {"messages": talk}, {"messages": talk[:3]}, {"question": "q"}]
    found = rounds.pasted("\n".join(map(json.dumps, lines)))
    assert [each["reference"] for each in found] == ["r", "d", None, None]
    assert [len(each["messages"]) for each in found] == [1, 3, 3, 1]


def test_a_prompt_may_hold_a_line_separator():
    """Only what ends a line in a file does."""
    assert [each["messages"][0]["content"] for each in rounds.pasted("a\u2028b\r\nc\rd")] == ["a\u2028b", "c", "d"]


@pytest.mark.parametrize(
    "text", ["a\ud83d b", '{"prompt": "a\\ud83d b"}', '{"messages": [{"role": "user", "content": "a\\ud83d b"}]}']
)
def test_half_a_surrogate_pair_is_a_question_mark(text):
    """Nothing can write it or send it on; a whole pair stays what it is."""
    (found,) = rounds.pasted(text)
    assert found["messages"][-1]["content"] == "a? b"
    (whole,) = rounds.pasted('{"prompt": "\\ud83e\\udd8a"}')
    assert whole["messages"][-1]["content"] == "🦊"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "There are no prompts"),
        (" \n ", "There are no prompts"),
        ('{"prompt": "a"}\nb', "line 2: no JSON object"),
        ('{"prompt": ""}', "line 1: asks nothing"),
        ('{"prompt": "a"}\n{"prompt": "  "}', "line 2: asks nothing"),
        ('{"messages": [{"role": "user", "content": " "}]}', "line 1: "),
        ('{"prompt": "a"}\n[1]', "line 2: asks nothing"),
        ('{"messages": 3}', "line 1: a number where a list"),
        ('{"messages": [{"role": "assistant", "content": "a"}]}', "line 1: asks nothing before its last answer"),
        ("x" * 2_000_001, "at most 2,000,000"),
    ],
)
def test_what_is_no_prompt_is_told_by_its_line(text, sentence):
    """What was found, where, and what to write."""
    with pytest.raises(UserError, match=sentence):
        rounds.pasted(text)


def test_a_source_is_one_of_three(run):
    """Anything else is named with those there are."""
    with pytest.raises(UserError, match="held-out, pasted, general; not 'web'"):
        rounds.questions(run, "web")
