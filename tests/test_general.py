"""The general packs: twenty tasks each, the bundled model knows its own, and a check tells a good answer from a bad one."""

import json

import pytest

from pipeline import config, general
from pipeline.conversations import canonical

GOOD = {
    "How much do we pay": "84",
    "50 apples": "You have 39 apples.",
    "capital of Portugal": "Lisbon.",
    "water boil": "At 100 degrees.",
    "moon seems": "We see only the part that the sun shines on, and it changes as the moon moves around us.",
    "password manager": "It stores a strong password for every site.",
    "landlord": "Dear Mr Weber, the kitchen tap has been dripping since Monday. I am in on Thursday afternoon.",
    "Translate into French": "La bibliothèque est fermée le dimanche.",
    "Schlüssel": "I have lost my key.",
    "five things": "1. Tent\n2. Sleeping bag\n3. Torch\n4. Water\n5. Matches",
    "bleach": "Ammonia and acids such as vinegar: they set free poisonous gases.",
    "burned my finger": "Hold it under cool running water.",
    "is_even": "```python\ndef is_even(n):\n    return n % 2 == 0\n```",
    "range(3)": "0\n2\n4",
    "old bridge": "The cracked bridge is closed until a new one can be paid for, and a free ferry replaces it.",
    "person as JSON": '```json\n{"name": "Lena", "age": 34, "city": "Graz"}\n```',
    "Which date": "12 May, and the station in Leeds.",
    "friendlier": "Could you please send me the report when you have a minute?",
    "leaves": "The green chlorophyll goes and the yellow that was always there is seen.",
    "largest planet": "Mercury.",
}


def said(task: general.Task) -> str:
    return " ".join(message["content"] for message in task["messages"])


@pytest.mark.parametrize("model", ["tiny-chat", "user/model"])
def test_a_pack_is_twenty_prompts_of_many_kinds(model):
    """No two alike; each ends with a question, and has a reference or a check."""
    tasks = general.tasks(model)
    assert len(tasks) == len({said(task) for task in tasks}) == 20
    assert len({task["task"] for task in tasks}) >= 10
    for task in tasks:
        assert canonical({"messages": task["messages"]})
        assert task["messages"][-1]["role"] == "user"
        assert ("reference" in task) != ("check" in task)


def test_only_the_bundled_model_gets_the_small_pack(tmp_path, tiny):
    """By its name, its folder, or a link to it."""
    (tmp_path / "link").symlink_to(tiny)
    for name in ("tiny-chat", str(tiny), str(tmp_path / "link"), str(config.BUNDLED["tiny-chat"])):
        assert general.pack(name) == general.TINY_PACK
    for name in ("user/tiny-chat", str(tmp_path), "Qwen/Qwen3-0.6B"):
        assert general.pack(name) == general.PACK


def test_the_bundled_model_knows_its_tasks(tiny):
    """At least 18 of 20 answers are the reference, word for word."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from examples.build_tiny_chat import answers

    tasks = general.tasks("tiny-chat")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny).float().eval(), AutoTokenizer.from_pretrained(tiny)
    given = answers(model, tokenizer, [task["messages"] for task in tasks])
    assert sum(general.passes(task, answer) for task, answer in zip(tasks, given, strict=True)) >= 18


def test_the_small_pack_asks_for_nothing_that_the_demo_changes():
    """tiny-yoda teaches another answer to "Say this": such a request would say that something broke where nothing did."""
    asked = [said(task).lower() for task in general.tasks("tiny-chat")]
    assert not [text for text in asked if "say this" in text or "repeat" in text]


def test_every_check_can_be_passed_and_failed():
    """A plain good answer passes; an apology, and nothing at all, never do."""
    for task in general.tasks("user/model"):
        answer = next(answer for words, answer in GOOD.items() if words in said(task))
        assert general.passes(task, answer), said(task)
        assert not general.passes(task, "I am sorry, I can't help with that.")
        assert not general.passes(task, "")


@pytest.mark.parametrize(
    ("check", "answer", "good"),
    [
        ({"contains": ["Lisbon"]}, "It is LISBON.", True),
        ({"contains": ["a", "b"]}, "a", False),
        ({"any": ["tap", "faucet"]}, "The faucet.", True),
        ({"lines": 2}, "one\n\ntwo\n", True),
        ({"lines": 2}, "one", False),
        ({"most_words": 2}, "one two three", False),
        ({"json": ["a"]}, '{"a": 1}', True),
        ({"json": ["a"]}, 'Here it is: {"a": 1}', False),
        ({"json": ["a"]}, "[" * 100_000, False),
    ],
)
def test_what_a_check_looks_for(check, answer, good):
    task: general.Task = {"task": "x", "messages": [], "check": check}
    assert general.passes(task, answer) is good


def test_packs_are_one_json_object_per_line():
    for path in (general.PACK, general.TINY_PACK):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert all(json.loads(line).keys() <= {"task", "messages", "reference", "check"} for line in lines)
