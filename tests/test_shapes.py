"""Shapes: recognised with evidence, corrected by hand, and what each of them becomes."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import patterns
from pipeline.dataset import first, prepare, read_part, write_parts
from pipeline.errors import UserError
from pipeline.schema import COLUMN_ROLES, PARTS, Prepared, Row, Source

SHARED = Path(__file__).parents[2] / "shared" / "data"
ASKED = {"role": "user", "content": "q"}
ANSWERED = {"role": "assistant", "content": "a"}


def file(folder: Path, rows: object, name: str = "a.json") -> str:
    (folder / name).write_text(rows if isinstance(rows, str) else json.dumps(rows), encoding="utf-8")
    return str(folder / name)


def prepared(folder: Path, rows: object, **source: object) -> Prepared:
    """All usable rows are in `train`, in file order."""
    return prepare(Source(file(folder, rows), validation_share=0.0, held_out_share=0.0, **source))  # type: ignore[arg-type]


def said(row: Row) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in row["messages"]]


def problems(result: Prepared) -> dict[str, list[int]]:
    return {problem.kind: list(problem.rows) for problem in result.problems if problem.kind != "few-rows"}


@pytest.mark.parametrize(
    ("rows", "shape", "evidence"),
    [
        ([{"instruction": "q", "output": "a"}] * 1200, "alpaca", "1,200 of 1,200 rows have instruction and output"),
        (
            [{"instruction": "q", "input": "", "output": "a"}, {"instruction": "q", "input": "c", "output": " "}],
            "alpaca",
            "1 of 2 rows have instruction and output; 1 also have input",
        ),
        ([{"messages": [ASKED, ANSWERED]}], "messages", "1 of 1 row has messages (role and content)"),
        (
            [{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, {}],
            "sharegpt",
            "1 of 2 rows have conversations (from and value)",
        ),
        ([{"chosen": "a", "rejected": "b", "prompt": "q"}], "preference", "1 of 1 row has prompt, chosen and rejected"),
        ([{"text": "t", "url": "u"}, {"text": None}], "text", "1 of 2 rows have text"),
    ],
)
def test_evidence(tmp_path: Path, rows: list[object], shape: str, evidence: str) -> None:
    """The sentence says how many rows have what the shape needs, and how many have more."""
    result = prepared(tmp_path, rows)
    assert (result.shape, result.evidence) == (shape, evidence)


def test_evidence_counts_rows_that_cannot_be_read(tmp_path: Path) -> None:
    """A row that is no JSON is one of the rows, and has nothing."""
    path = file(tmp_path, '{"prompt":"q","completion":"a"}\nbroken\n', "a.jsonl")
    assert prepare(Source(path)).evidence == "1 of 2 rows have prompt and completion"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"prompt": "q", "chosen": [ANSWERED], "rejected": [{"role": "assistant", "content": "b"}]},
        {"prompt": [ASKED], "chosen": [ANSWERED], "rejected": [{"role": "assistant", "content": "b"}]},
        {"chosen": [ASKED, ANSWERED], "rejected": [ASKED, {"role": "assistant", "content": "b"}]},
        {"prompt": "q", "chosen": [ASKED, ANSWERED], "rejected": [ASKED, {"role": "assistant", "content": "b"}]},
        {"question": "q", "chosen": "a", "rejected": "b", "score_chosen": 9.5},
        {
            "chosen": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}],
            "rejected": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "b"}],
        },
        {"chosen": json.dumps([ASKED, ANSWERED]), "rejected": "\n\nHuman: q\n\nAssistant: b"},
        {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},
        {"messages": [ASKED, ANSWERED], "chosen": [ASKED, ANSWERED], "rejected": [ASKED, {**ANSWERED, "content": "b"}]},
    ],
)
def test_preference_pairs(tmp_path: Path, row: dict[str, object]) -> None:
    """However a pair is written, the chosen side is learned from and the rejected answer is kept beside it."""
    result = prepared(tmp_path, [row])
    assert result.shape == "preference"
    assert said(result.train[0]) == [("user", "q"), ("assistant", "a")]
    assert result.train[0]["rejected"] == [{"role": "assistant", "content": "b"}]
    write_parts(result, tmp_path)
    assert tuple(read_part(tmp_path, "train")) == result.train


def test_preference_pairs_that_lack_something(tmp_path: Path) -> None:
    """Without a rejected answer the chosen one is learned; without a chosen one or a prompt there is nothing to learn."""
    rows = [("q", "a", "b"), ("r", "a", ""), ("s", "", "b"), ("", "a", "b"), ("t", '[{"x": 1}]', "b")]
    result = prepared(tmp_path, [{"prompt": p, "chosen": c, "rejected": r} for p, c, r in rows])
    assert problems(result) == {"no-rejected": [2], "missing-answer": [3], "empty-prompt": [4]}
    assert ["rejected" in row for row in result.train] == [True, False, True]
    assert said(result.train[2])[1] == ("assistant", '[{"x": 1}]')


def test_rejected_conversation_that_went_another_way(tmp_path: Path) -> None:
    """Where the two sides part before the last question the rejected side is kept whole."""
    other = [{"role": "user", "content": "other"}, {"role": "assistant", "content": "b"}]
    assert prepared(tmp_path, [{"chosen": [ASKED, ANSWERED], "rejected": other}]).train[0]["rejected"] == other


def test_plain_text(tmp_path: Path) -> None:
    """A column of text alone has no messages, is checked and split like any other rows, and comes back from disk."""
    rows = [{"text": f"text {i}", "meta": {"i": i}} for i in range(100)]
    rows += [{"text": "text 5", "meta": {}}, {"text": " ", "meta": {}}]
    rows += [{"text": f"TEXT  {i}", "meta": {}} for i in range(100)]
    result = prepare(Source(file(tmp_path, rows)))
    assert (result.shape, result.columns) == ("text", {"text": "text", "meta": "ignore"})
    assert problems(result) == {"empty-text": [102], "duplicate": [101]}
    assert result.train[0]["messages"] == []
    assert len(result.validation) == len(result.held_out) == 16
    sides = [{row["text"].casefold().split()[1] for row in result.part(part)} for part in PARTS]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 100
    write_parts(result, tmp_path)
    assert tuple(read_part(tmp_path, "held_out")) == result.held_out


@pytest.mark.parametrize(
    ("row", "shape"),
    [
        ({"story": "t"}, "text"),
        ({"id": 1, "body": "t", "source": "s", "date": "2020"}, "text"),
        ({"text": "t", "label": 1}, "prompt/completion"),
        ({"text": "t", "output": "a"}, "prompt/completion"),
        ({"title": "t", "content": "a"}, "prompt/completion"),
    ],
)
def test_text_beside_other_columns(tmp_path: Path, row: dict[str, object], shape: str) -> None:
    """One text is plain text, whatever is said about it; two are a prompt and its answer."""
    assert prepared(tmp_path, [row]).shape == shape


@pytest.mark.parametrize("column", ["prompt", "answer"])
def test_half_a_pair_is_no_plain_text(tmp_path: Path, column: str) -> None:
    """A column of prompts or of answers alone is refused, unless somebody says that it is plain text."""
    with pytest.raises(UserError, match="found no"):
        prepared(tmp_path, [{column: "t"}])
    assert prepared(tmp_path, [{column: "t"}], shape="text").train[0]["text"] == "t"
    assert prepared(tmp_path, [{column: "t", "b": "u"}], columns={column: "text"}).train[0]["text"] == "t"


@pytest.mark.parametrize("key", ["reasoning_content", "thinking", "reasoning"])
def test_reasoning_is_kept_beside_the_answer(tmp_path: Path, key: str) -> None:
    """Under any of its names, in a message or a column of its own; <think> inside an answer stays text."""
    in_message = {"messages": [ASKED, {**ANSWERED, key: "hm"}]}
    in_column = {"prompt": "q", "completion": "a", key: "hm"}
    for row in (in_message, in_column):
        result = prepared(tmp_path, [row])
        assert result.train[0]["messages"][1] == {**ANSWERED, "reasoning_content": "hm"}
        assert problems(result) == {}
    thought = "<think>hm</think>a"
    assert said(prepared(tmp_path, [{"prompt": "q", "completion": thought}]).train[0])[1] == ("assistant", thought)


def test_reasoning_of_a_user_is_told(tmp_path: Path) -> None:
    """Only an answer has thoughts; elsewhere the field is not learned, and that is said."""
    result = prepared(tmp_path, [{"messages": [{**ASKED, "thinking": "hm"}, ANSWERED]}])
    assert problems(result) == {"ignored-field": [1]}
    assert result.train[0]["messages"] == [ASKED, ANSWERED]


@pytest.mark.parametrize("bad", [False, "False", 0, "0", "bad", "no", "No "])
def test_labels(tmp_path: Path, bad: object) -> None:
    """Rows that a label calls bad are left out and counted; every other label is no reason to."""
    rows = [{"prompt": f"q{i}", "completion": "a", "mark": mark} for i, mark in enumerate([True, bad, "good", None, 1])]
    result = prepared(tmp_path, rows, columns={"prompt": "prompt", "completion": "completion", "mark": "label"})
    assert problems(result) == {"rejected-label": [2]}
    assert [row["row"] for row in result.train] == [1, 3, 4, 5]


def test_only_true_and_false_are_taken_for_labels_unasked(tmp_path: Path) -> None:
    """A column called label with true and false beside an answer is one; with numbers it may mean anything."""
    flags = [{"prompt": f"q{i}", "completion": "a", "label": bool(i)} for i in range(3)]
    assert problems(prepared(tmp_path, flags)) == {"rejected-label": [1]}
    assert prepared(tmp_path, flags).columns["label"] == "label"
    numbers = [{**row, "label": int(row["label"])} for row in flags]
    assert problems(prepared(tmp_path, numbers)) == {}


TABLE = [{"title": "{body} {{x}} {% %}", "body": "b", "tag": "t", "sum": "s"}, {"title": "", "body": "c", "sum": "s"}]


def test_patterns(tmp_path: Path) -> None:
    """Columns are combined by a pattern; braces in a value stay braces, doubled ones in the pattern become one."""
    made = {"prompt": "{title}\n\n{ body } {{tag}}", "system": "As {tag}."}
    result = prepared(tmp_path, TABLE, patterns=made, columns={"sum": "completion"})
    assert said(result.train[0]) == [
        ("system", "As t."),
        ("user", "{body} {{x}} {% %}\n\nb {tag}"),
        ("assistant", "s"),
    ]
    assert said(result.train[1]) == [("user", "\n\nc {tag}"), ("assistant", "s")]
    assert result.shape == "prompt/completion"
    assert result.columns == {"title": "ignore", "body": "ignore", "tag": "ignore", "sum": "completion"}
    assert result.evidence == "1 of 2 rows have title, body and sum; 1 also have tag"


def test_a_pattern_leaves_the_rest_to_the_guess(tmp_path: Path) -> None:
    """Columns in a pattern are not guessed again; a pattern whose columns are all empty makes nothing."""
    rows = [{"title": "t", "body": "b", "answer": "a"}, {"title": "", "body": " ", "answer": "a"}]
    result = prepared(tmp_path, rows, patterns={"prompt": "Sum up {title}: {body}"})
    assert said(result.train[0]) == [("user", "Sum up t: b"), ("assistant", "a")]
    assert problems(result) == {"empty-prompt": [2]}
    assert prepared(tmp_path, rows, patterns={"text": "{title}{body}{answer}"}).train[0]["text"] == "tba"
    asked = prepared(tmp_path, [{"input": "i", "answer": "a"}], patterns={"prompt": "Sum up {input}"})
    assert said(asked.train[0]) == [("user", "Sum up i"), ("assistant", "a")]


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"prompt": "{title.upper}"}, r"prompt: \{title.upper\} can't be filled in; put only a column's name"),
        ({"prompt": "{title[0]}"}, "can't be filled in"),
        ({"prompt": "{title!r}"}, "can't be filled in"),
        ({"prompt": "{title:>9999999999}"}, "can't be filled in"),
        ({"prompt": "{}"}, "can't be filled in"),
        ({"prompt": "{title} }"}, "a brace at character 9"),
        ({"prompt": "{title"}, "a brace at character 1"),
        ({"prompt": "{a{b}}"}, "a brace at character 1"),
        ({"prompt": "nothing"}, "names no column"),
        ({"messages": "{title}"}, "'messages' can't be made from a pattern; use one of system, prompt"),
        ({"prompt": "{titel}"}, r"names there is no column 'titel' among 'title', .*did you mean 'title'"),
    ],
)
def test_patterns_that_are_refused(tmp_path: Path, made: dict[str, str], words: str) -> None:
    """A pattern is text and plain {column}: anything else ends in a sentence, before any row is read where it can."""
    with pytest.raises(UserError, match=words):
        prepared(tmp_path, TABLE, patterns=made)


@given(st.text(alphabet="{}ab.[!:\\$%0 ", max_size=20), st.text(max_size=10))
def test_any_pattern_is_filled_or_refused(pattern: str, value: str) -> None:
    """A pattern that is accepted is filled in without an error, and each value comes out as it went in."""
    try:
        Source("a", patterns={"prompt": f"{pattern}{{c}}"})
    except UserError:
        return
    assert patterns.fill(f"{pattern}{{c}}", {"c": f"{value}."}).endswith(f"{value}.")


def test_a_role_is_given_once(tmp_path: Path) -> None:
    """A column and a pattern for one role, or two columns, end in a sentence; so does a role that does not exist."""
    for wrong in (
        {"patterns": {"prompt": "{title}"}, "columns": {"body": "prompt"}},
        {"columns": {"body": "prompt", "title": "prompt"}},
        {"columns": {"body": "prompts"}},
    ):
        with pytest.raises(UserError, match=r"choose one|use one of"):
            prepared(tmp_path, TABLE, **wrong)


@pytest.mark.parametrize("role", COLUMN_ROLES)
def test_every_role_can_be_given(tmp_path: Path, role: str) -> None:
    """Whatever role a column is given, rows come out or a sentence does."""
    rows, columns = [{"prompt": "q", "completion": "a", "x": "y"}], {"x": role}
    if role in ("messages", "tools", "history", "chosen"):  # "y" is no JSON; a chosen answer alone has no prompt
        with pytest.raises(UserError, match=r"^a\.json: "):
            prepared(tmp_path, rows, columns=columns)
    else:
        assert prepared(tmp_path, rows, columns=columns).columns["x"] == role


def test_constant_system_prompt_meets_every_shape(tmp_path: Path) -> None:
    """It stands before conversations of every shape, and not in plain text."""
    for row in ({"prompt": "q", "completion": "a"}, {"prompt": "q", "chosen": "a", "rejected": "b"}):
        result = prepared(tmp_path, [row], system="s").train[0]
        assert said(result) == [("system", "s"), ("user", "q"), ("assistant", "a")]
        assert result.get("rejected", [{"role": "assistant", "content": "b"}]) == [
            {"role": "assistant", "content": "b"}
        ]
    assert prepared(tmp_path, [{"text": "t"}], system="s").train == ({"row": 1, "messages": [], "text": "t"},)


def test_first_rows(tmp_path: Path) -> None:
    """The first usable rows are those that would be learned from, and no more are converted."""
    rows = [{"prompt": "q", "completion": ""}, *({"prompt": f"q{i}", "completion": "a"} for i in range(9))]
    source = Source(file(tmp_path, rows), system="s")
    assert [row["row"] for row in first(source)] == [2, 3, 4]
    assert (
        first(source, 2)
        == sorted((row for part in PARTS for row in prepare(source).part(part)), key=lambda r: r["row"])[:2]
    )
    assert len(first(source, 100)) == 9


def test_several_files_are_read_as_one(tmp_path: Path) -> None:
    """Rows go on counting over the files, and a finding says which file it is in."""
    one = file(tmp_path, [{"prompt": f"q{i}", "completion": "a"} for i in range(5)])
    two = file(tmp_path, [{"prompt": "q2", "completion": "a"}, {"prompt": "r", "completion": ""}], "b.json")
    result = prepare(Source(one, more_paths=(two,)))
    assert (result.rows, result.files) == (7, (("a.json", 0), ("b.json", 5)))
    assert problems(result)["duplicate"] == [6]
    told = next(problem.sentence for problem in result.problems if problem.kind == "missing-answer")
    assert told == "a.json and 1 more, row 7 (row 2 of b.json): an empty answer; left out."


@pytest.mark.parametrize(
    ("name", "shape", "evidence"),
    [
        ("alpaca.json", "alpaca", "250 of 250 rows have instruction and output"),
        ("sharegpt.json", "sharegpt", "120 of 120 rows have conversations (from and value)"),
        ("sharegpt_tools.json", "sharegpt", "60 of 60 rows have conversations (from and value)"),
        ("zh_instructions.csv", "alpaca", "120 of 120 rows have instruction and output"),
        ("identity.jsonl", "alpaca", "91 of 91 rows have instruction and output"),
    ],
)
def test_real_files(name: str, shape: str, evidence: str) -> None:
    """Files as people have them are recognised for a reason that counts all their rows, and their first rows are there."""
    if not (SHARED / name).exists():
        pytest.skip(f"no {name} beside the project")
    source = Source(str(SHARED / name))
    result = prepare(source)
    assert result.shape == shape
    assert result.evidence.startswith(evidence)
    assert [row["row"] for row in first(source)] == [1, 2, 3]
