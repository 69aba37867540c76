"""Findings: counted, located, said, and what is done about each is somebody's choice, told before it is made."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import characters
from pipeline.dataset import prepare
from pipeline.errors import UserError
from pipeline.schema import CHOICES, FINDINGS, Prepared, Problem, Source

SHARED = Path(__file__).parents[2] / "shared" / "data"


def file(folder: Path, rows: object, name: str = "a.json") -> str:
    (folder / name).write_text(json.dumps(rows), encoding="utf-8")
    return str(folder / name)


def prepared(folder: Path, rows: object, **choices: str) -> Prepared:
    """All usable rows are in `train`, in file order."""
    chosen = {kind.replace("_", "-"): choice for kind, choice in choices.items()}
    return prepare(Source(file(folder, rows), validation_share=0.0, held_out_share=0.0, choices=chosen))


def problem(result: Prepared, kind: str) -> Problem:
    (found,) = [problem for problem in result.problems if problem.kind == kind]
    return found


def conversation(*turns: tuple[str, str]) -> dict[str, object]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def said(result: Prepared) -> list[list[tuple[str, str]]]:
    return [[(message["role"], message["content"]) for message in row["messages"]] for row in result.train]


def pair(prompt: str, completion: str) -> dict[str, object]:
    return {"prompt": prompt, "completion": completion}


GOOD = [pair(f"question {i}", f"answer {i}") for i in range(10)]


def test_every_kind_has_choices_that_exist() -> None:
    """Each choice is one of the three, and none stands twice."""
    assert all(choices and set(choices) <= set(CHOICES) for choices in FINDINGS.values())
    assert all(len(set(choices)) == len(choices) for choices in FINDINGS.values())


@pytest.mark.parametrize("choice", [{"duplicat": "drop"}, {"duplicate": "fix"}, {"unreadable-row": "keep"}])
def test_choices_that_can_not_be_made(choice: dict[str, str]) -> None:
    """An unknown kind names the nearest, an impossible choice those that are possible."""
    with pytest.raises(UserError, match=r"choices: .*(did you mean 'duplicate'|use drop)"):
        Source("a.json", choices=choice)


def test_a_finding_says_all_of_it(tmp_path: Path) -> None:
    """Count, rows, sentence, choices with the default first, what is done, and the effect of each choice."""
    found = problem(prepared(tmp_path, [*GOOD, GOOD[2], GOOD[3]]), "duplicate")
    assert found == Problem(
        kind="duplicate",
        rows=(11, 12),
        sentence="a.json, 2 rows (11, 12): the same as an earlier row; kept once.",
        count=2,
        choices=("drop", "keep"),
        chosen="drop",
        effects={"drop": "drops 2 rows, 10 stay", "keep": "keeps 2 rows, 12 stay"},
    )
    kept = prepared(tmp_path, [*GOOD, GOOD[2], GOOD[3]], duplicate="keep")
    assert len(kept.train) == 12
    assert problem(kept, "duplicate").chosen == "keep"
    assert problem(kept, "duplicate").sentence.endswith("; kept as it is.")
    assert problem(kept, "duplicate").effects == found.effects


def test_several_reasons_are_one_finding(tmp_path: Path) -> None:
    """Rows that are wrong in different ways of one kind stand in one finding, the commonest way first."""
    rows = [[("user", "q"), ("user", "r"), ("assistant", "a")]] * 2 + [[("assistant", "a")]]
    found = problem(
        prepared(tmp_path, [*GOOD[:0], *(conversation(*row) for row in rows), GOOD_CHAT]), "roles-out-of-order"
    )
    assert found.sentence == (
        "a.json, 3 rows (1, 2, 3): two user messages in a row (2 rows, the first is 1); "
        "the assistant speaks first (row 3); left out."
    )


GOOD_CHAT = conversation(("user", "hello"), ("assistant", "hi"))


@pytest.mark.parametrize(
    ("turns", "mended"),
    [
        ("user:q user:r assistant:a", "user:q\n\nr assistant:a"),
        ("user:q assistant:a assistant:b", "user:q assistant:a\n\nb"),
        ("assistant:w user:q assistant:a", "user:q assistant:a"),
        ("system:s assistant:w assistant:x user:q assistant:a", "system:s user:q assistant:a"),
        ("assistant:a", ""),
        ("user:q system:s assistant:a", ""),
        ("user:q tool:t assistant:a", ""),
    ],
)
def test_roles_are_mended(tmp_path: Path, turns: str, mended: str) -> None:
    """Two messages of one speaker become one, what comes before the first question goes; the rest is left out."""
    row = conversation(*(re.fullmatch(r"(\w+):(.*)", turn).groups() for turn in turns.split(" ")))  # type: ignore
    dropped = prepared(tmp_path, [GOOD_CHAT, row])
    fixed = prepared(tmp_path, [GOOD_CHAT, row], roles_out_of_order="fix")
    assert len(dropped.train) == 1
    expected = [tuple(turn.split(":", 1)) for turn in re.split(r" (?=\w+:)", mended)] if mended else []
    assert said(fixed)[1:] == ([expected] if expected else [])
    assert problem(fixed, "roles-out-of-order").rows == (2,)
    lost = "" if mended else "; 1 row can't be used even so"
    effect = f"mends {1 if mended else 0} row{'' if mended else 's'}, {len(fixed.train)} stay{lost}"
    assert problem(dropped, "roles-out-of-order").effects == {"drop": "drops 1 row, 1 stay", "fix": effect}


def test_last_turn(tmp_path: Path) -> None:
    """A conversation that ends in a question is cut to its last answer, or left out."""
    rows = [conversation(("user", "q"), ("assistant", "a"), ("user", "r")), GOOD_CHAT]
    cut = prepared(tmp_path, rows)
    assert said(cut)[0] == [("user", "q"), ("assistant", "a")]
    assert problem(cut, "last-turn-not-assistant").effects == {
        "fix": "cuts 1 row, 2 stay",
        "drop": "drops 1 row, 1 stay",
    }
    assert len(prepared(tmp_path, rows, last_turn_not_assistant="drop").train) == 1


def test_different_answers(tmp_path: Path) -> None:
    """A prompt with several answers is kept whole, or only its first row is."""
    rows = [*GOOD, pair("Question 3", "no"), pair("question 3", "none"), pair("question 3", "answer 3")]
    kept = prepared(tmp_path, rows)
    assert problem(kept, "different-answers").rows == (4, 11, 12)
    assert problem(kept, "different-answers").effects == {
        "keep": "keeps 3 rows, 12 stay",
        "drop": "drops 2 rows, 10 stay",
    }
    assert [row["row"] for row in prepared(tmp_path, rows, different_answers="drop").train] == list(range(1, 11))


@pytest.mark.parametrize(
    "token",
    "<|im_end|> </s> <|endoftext|> <|eot_id|> [INST] [/INST] <s> <<SYS>> <end_of_turn> <eos> <|start_header_id|> "
    "<｜end▁of▁sentence｜> <|user|> <pad>".split(),
)
def test_special_tokens(tmp_path: Path, token: str) -> None:
    """A mark between turns inside a text is found; it stays, costs its row, or is taken out, as one chooses."""
    rows = [*GOOD, pair("q", f"be{token}fore"), {"messages": []}]
    kept = prepared(tmp_path, rows)
    found = problem(kept, "special-token")
    assert (found.rows, found.chosen) == ((11,), "keep")
    assert repr(token) in found.sentence
    assert said(kept)[10][1] == ("assistant", f"be{token}fore")
    assert said(prepared(tmp_path, rows, special_token="fix"))[10][1] == ("assistant", "before")
    assert len(prepared(tmp_path, rows, special_token="drop").train) == 10
    assert found.effects == {
        "keep": "keeps 1 row, 11 stay",
        "drop": "drops 1 row, 10 stay",
        "fix": "cleans 1 row, 11 stay",
    }


@pytest.mark.parametrize(
    "text", ["a < b | c", "[1] <b>x</b> <|", "{{name}} {% if %}", "<think>hm</think>", "s> </sub>"]
)
def test_what_is_no_special_token(text: str) -> None:
    """Markup, templates and thoughts are text."""
    assert characters.find(text) == {}


def test_taking_out_makes_no_new_token() -> None:
    """What only appears when something is taken out is taken out as well."""
    assert characters.remove("special-token", "a<|im_<|im_end|>end|>b</</s>s>") == "ab"


def test_a_row_that_was_only_a_token_has_no_answer(tmp_path: Path) -> None:
    """Cleaning comes before the check for empty answers, and the effect told beforehand knows it."""
    rows = [*GOOD, pair("q", "</s>")]
    assert problem(prepared(tmp_path, rows), "special-token").effects["fix"] == (
        "cleans 0 rows, 10 stay; 1 row can't be used even so"
    )
    assert problem(prepared(tmp_path, rows, special_token="fix"), "missing-answer").rows == (11,)


@pytest.mark.parametrize(
    "hidden", ["\u200b", "\u00ad", "\ufeff", "\x00", "\x1b", "\u2060", "\u202e", "\u200d", "\U000e0041"]
)
def test_characters_that_nobody_sees(tmp_path: Path, hidden: str) -> None:
    """Zero-width and control characters are found and named; by default they stay."""
    rows = [*GOOD, pair("q", f"be{hidden}fore")]
    found = problem(prepared(tmp_path, rows), "non-printing")
    assert (found.rows, found.chosen) == ((11,), "keep")
    assert f"U+{ord(hidden):04X}" in found.sentence
    assert said(prepared(tmp_path, rows, non_printing="fix"))[10][1] == ("assistant", "before")


@pytest.mark.parametrize(
    "text",
    [
        "\t one\r\ntwo\n",
        "👩\u200d💻 👨\u200d👩\u200d👧 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f ❤\ufe0f\u200d🔥 🧑🏽\u200d🌾",
        "می\u200cخواهم",
        "क्\u200dष",
        "\u200fשלום (1)\u200e",
        "a\u00a0b\u2028c\u3000d",
    ],
)
def test_characters_that_belong_to_a_text(text: str) -> None:
    """Emoji, Persian, Hindi and Hebrew need their joiners and marks; line breaks and wide spaces are seen."""
    assert characters.find(text) == {}
    assert characters.remove("non-printing", f"{text}\u200b") == text


def test_texts_are_cleaned_wherever_they_stand(tmp_path: Path) -> None:
    """System prompts, thoughts, arguments of calls, tool results and rejected answers too; names are left alone."""
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": ["a</s>", {"y": "</s>b"}], "n": 1}}}
    messages = [
        {"role": "system", "content": "</s>s"},
        {"role": "user", "content": "</s>q"},
        {"role": "assistant", "content": "", "thinking": "</s>hm", "tool_calls": [call]},
        {"role": "tool", "content": "t</s>"},
        {"role": "assistant", "content": "a"},
    ]
    row = {"chosen": messages, "rejected": [*messages[:4], {"role": "assistant", "content": "b</s>"}]}
    result = prepared(tmp_path, [row], special_token="fix")
    assert "</s>" not in json.dumps(result.train)
    assert result.train[0]["messages"][2]["tool_calls"][0]["function"]["arguments"] == {"x": ["a", {"y": "b"}], "n": 1}
    assert problem(result, "special-token").count == 1


def test_plain_text_is_cleaned(tmp_path: Path) -> None:
    """Plain text has findings like any other."""
    result = prepared(tmp_path, [{"text": "one</s>"}, {"text": "two\u200b"}], special_token="fix")
    assert [row["text"] for row in result.train] == ["one", "two\u200b"]
    assert problem(result, "non-printing").rows == (2,)


def test_a_prompt_of_the_held_out_file_can_be_dropped(tmp_path: Path) -> None:
    """What would be an error becomes a choice: its rows leave the side that learns, and are counted."""
    learned = file(tmp_path, [*GOOD, pair("QUESTION 3 ", "else")])
    held = file(tmp_path, [pair("question 3", "x"), pair("new", "y")], "held.json")
    with pytest.raises(UserError, match=r"held.json: 1 of its prompts also stand in a.json"):
        prepare(Source(learned, held_out_path=held))
    result = prepare(Source(learned, held_out_path=held, validation_share=0.0, choices={"shared-prompt": "drop"}))
    assert [row["row"] for row in result.train] == [1, 2, 3, 5, 6, 7, 8, 9, 10]
    assert len(result.held_out) == 2
    found = problem(result, "shared-prompt")
    assert (found.rows, found.effects) == ((4, 11), {"drop": "drops 2 rows, 9 stay"})
    with pytest.raises(UserError, match="nothing is left to learn"):
        prepare(Source(learned, held_out_path=file(tmp_path, GOOD, "all.json"), choices={"shared-prompt": "drop"}))


@pytest.mark.parametrize(
    ("answers", "rows", "kind"),
    [
        (["yes", "no"], 50, "classification"),
        (["very good", "not so bad"], 60, "classification"),
        ([f"label {i}" for i in range(20)], 60, "classification"),
        (["yes", "no"], 49, "few-rows"),
        (["yes"], 50, None),
        ([f"label {i}" for i in range(21)], 63, None),
        (["a sentence of five words", "no"], 60, None),
    ],
)
def test_what_is_a_classification(tmp_path: Path, answers: list[str], rows: int, kind: str | None) -> None:
    """Few short answers for many rows are labels, for which there are better models; fifty rows are few."""
    result = prepared(tmp_path, [pair(f"q{i}", answers[i % len(answers)]) for i in range(rows)])
    assert [problem.kind for problem in result.problems] == ([kind] if kind else [])


def test_progress_is_told(tmp_path: Path) -> None:
    """The bar moves every thousand rows and ends at the end."""
    seen: list[tuple[int, int]] = []
    prepare(Source(file(tmp_path, [pair(str(i), "a") for i in range(2500)])), lambda *done: seen.append(done))
    assert seen == [(1000, 2500), (2000, 2500), (2500, 2500)]


TEXTS = st.sampled_from(["", " ", "q", "Q", "r", "a</s>", "b\u200b", "</s>", "me@here.org"])
TURNS = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant", "assistant", "tool"]), TEXTS), max_size=4)


def stays(effect: str) -> int:
    return int(re.search(r"(\d+) stay", effect)[1])  # type: ignore[index]


@given(st.lists(TURNS, max_size=12), st.dictionaries(st.sampled_from(sorted(FINDINGS)), st.sampled_from(CHOICES)))
@settings(max_examples=100, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_effects_come_true(tmp_path: Path, rows: list[list[tuple[str, str]]], wishes: dict[str, str]) -> None:
    """Whatever is chosen already: what a choice is said to come to is what it comes to."""
    whole = [*(conversation(*turns) for turns in rows), conversation(("user", "one"), ("assistant", "row"))]
    chosen = {kind: choice for kind, choice in wishes.items() if choice in FINDINGS[kind]}
    plain: dict[str, Any] = {"path": file(tmp_path, whole), "validation_share": 0.0, "held_out_share": 0.0}
    result = prepare(Source(**plain, choices=chosen))
    for found in result.problems:
        assert set(found.effects) == set(found.choices)
        assert found.count == len(found.rows)
        for choice, effect in found.effects.items():
            assert stays(effect) == len(prepare(Source(**plain, choices={**chosen, found.kind: choice})).train)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("alpaca.json", {}),
        ("sharegpt.json", {"different-answers": 40}),
        ("sharegpt_tools.json", {"duplicate": 1, "different-answers": 3}),
        ("zh_instructions.csv", {}),
        ("identity.jsonl", {"different-answers": 4}),
    ],
)
def test_real_files(name: str, kinds: dict[str, int]) -> None:
    """What is found in files as people have them, and how often."""
    if not (SHARED / name).exists():
        pytest.skip(f"no {name} beside the project")
    assert {problem.kind: problem.count for problem in prepare(Source(str(SHARED / name))).problems} == kinds
