"""The Data stage: a file of examples becomes three parts, and nothing is lost without being said."""

import csv
import dataclasses
import json
import random
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.dataset import fingerprint, first, prepare, read_part, write_parts
from pipeline.errors import UserError
from pipeline.schema import CHOICES, FINDINGS, PARTS, Prepared, Row, Source
from pipeline.split import split_by_prompt

SHARED = Path(__file__).parents[2] / "shared" / "data"
EXAMPLES = Path(__file__).parents[1] / "examples"


def lines(rows: list[object]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def pairs(count: int, start: int = 0) -> list[object]:
    return [{"prompt": f"question {i}", "completion": f"answer {i}"} for i in range(start, start + count)]


def file(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def prepared(folder: Path, name: str, content: str | bytes, **source: object) -> Prepared:
    """All usable rows are in `train`, in file order."""
    shares = {"validation_share": 0.0, "held_out_share": 0.0, **source}
    return prepare(Source(file(folder, name, content), **shares))  # type: ignore[arg-type]


def texts(rows: tuple[Row, ...]) -> list[list[tuple[str, str]]]:
    return [[(message["role"], message["content"]) for message in row["messages"]] for row in rows]


def found(result: Prepared) -> dict[str, list[int]]:
    return {problem.kind: list(problem.rows) for problem in result.problems if problem.kind != "few-rows"}


def sentence(result: Prepared, kind: str) -> str:
    return next(problem.sentence for problem in result.problems if problem.kind == kind)


QA = [[("user", "a, b"), ("assistant", "c\nd")], [("user", "é"), ("assistant", " f")]]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("comma.csv", 'question,answer\n"a, b","c\nd"\né, f\n'.encode()),
        ("bom.csv", b"\xef\xbb\xbf" + 'question,answer\n"a, b","c\nd"\né, f\n'.encode()),
        ("crlf.csv", 'question,answer\r\n"a, b","c\nd"\r\n\r\né, f\r\n'.encode()),
        ("semicolon.csv", 'question;answer\na, b;"c\nd"\né; f\n'.encode()),
        ("tab.tsv", 'question\tanswer\na, b\t"c\nd"\né\t f\n'.encode()),
        ("spaces.csv", ',Unnamed: 0, question ,answer \n0,0,"a, b","c\nd"\n1,1,é, f\n'.encode()),
        ("utf16.csv", 'question;answer\na, b;"c\nd"\né; f\n'.encode("utf-16")),
        ("windows.csv", 'question;answer\na, b;"c\nd"\né; f\n'.encode("cp1252")),
        ("array.json", b'[{"question":"a, b","answer":"c\\nd"},{"question":"\\u00e9","answer":" f"}]'),
        ("object.json", b'{"v":1,"rows":[{"question":"a, b","answer":"c\\nd"},{"question":"\\u00e9","answer":" f"}]}'),
        ("array.jsonl", b'[{"question":"a, b","answer":"c\\nd"},\n{"question":"\\u00e9","answer":" f"}]'),
        ("lines.json", b'{"question":"a, b","answer":"c\\nd"}\n\n{"question":"\\u00e9","answer":" f"}'),
        ("lines.jsonl", b'\n{"question":"a, b","answer":"c\\nd"}\n{"question":"\\u00e9","answer":" f"}\n\n'),
    ],
)
def test_formats(tmp_path: Path, name: str, content: bytes) -> None:
    """The same two rows are read from every format, delimiter and encoding, and their text is not altered."""
    result = prepared(tmp_path, name, content)
    assert texts(result.train) == QA
    assert {"question", "answer"} <= result.columns.keys()
    assert list(found(result)) == {"windows.csv": ["encoding"], "spaces.csv": ["index-column"]}.get(name, [])


def test_parquet(tmp_path: Path) -> None:
    """Parquet is read with its nested columns; a key that a row does not have is not invented."""
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    other = {"type": "function", "function": {"name": "g", "arguments": {"y": 2}}}
    rows = [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "", "tool_calls": [call]}]},
        {"messages": [{"role": "user", "content": "r"}, {"role": "assistant", "content": "", "tool_calls": [other]}]},
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    result = prepare(Source(str(tmp_path / "rows.parquet"), held_out_share=0.0, validation_share=0.0))
    assert [row["messages"] for row in result.train] == [row["messages"] for row in rows]


def test_row_numbers(tmp_path: Path) -> None:
    """A JSONL row is known by its line in the file, a CSV row by its place below the header."""
    by_line = prepared(
        tmp_path, "a.jsonl", '\n{"prompt":"a","completion":"b"}\n\nbroken\n{"prompt":"c","completion":"d"}\n'
    )
    assert [row["row"] for row in by_line.train] == [2, 5]
    assert found(by_line) == {"unreadable-row": [4]}
    assert by_line.rows == 3
    by_record = prepared(tmp_path, "a.csv", 'prompt,completion\n"a\na",b\nonly one\nc,d\ne,f,g\n')
    assert [row["row"] for row in by_record.train] == [1, 3]
    assert by_record.rows == 4
    assert found(by_record) == {"unreadable-row": [2, 4]}
    assert "1 fields" in sentence(by_record, "unreadable-row")
    assert "3 fields" in sentence(by_record, "unreadable-row")


def test_open_quote_swallows_nothing(tmp_path: Path) -> None:
    """A quote that is never closed costs its own row, not the rows below it."""
    content = 'prompt,completion\n1,"x\n2,y\n3,z\n"4","w"\n5,"two\nlines"\n6,"end'
    result = prepared(tmp_path, "a.csv", content)
    assert [row["row"] for row in result.train] == [2, 3, 4, 5]
    assert found(result) == {"unreadable-row": [1, 6]}


def test_large_and_deep_values(tmp_path: Path) -> None:
    """A long field is read like any other; a tool nested deeper than any template could print costs its row."""
    assert len(texts(prepared(tmp_path, "a.csv", f"prompt,completion\nq,{'a' * 300_000}\n").train)[0][1][1]) == 300_000
    tools = [json.loads('{"name":"f","in":' * depth + "1" + "}" * depth) for depth in (90, 150)]
    rows = [{"prompt": str(i), "completion": "a", "tools": tool} for i, tool in enumerate(tools)]
    assert found(prepared(tmp_path, "a.jsonl", lines(rows))) == {"unreadable-row": [2]}


def test_damaged_utf8_costs_its_row_only(tmp_path: Path) -> None:
    """One broken byte in a UTF-8 file does not turn every accent of the file into Windows-1252."""
    content = lines([{"prompt": "café", "completion": "thé"}, {"prompt": "été", "completion": "ça"}]).encode()
    result = prepared(
        tmp_path,
        "a.jsonl",
        content + b'{"prompt":"x\xff","completion":"y"}\n{"prompt":"\\ud800","completion":"z","\\ud801":1}',
    )
    assert texts(result.train)[0][0] == ("user", "café")
    assert result.columns.keys() == {"prompt", "completion"}
    assert found(result) == {"unreadable-row": [3, 4]}


MESSAGES = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
TURNS = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]


@pytest.mark.parametrize(
    ("shape", "row"),
    [
        ("messages", {"messages": MESSAGES}),
        ("messages", {"id": "x", "conversations": MESSAGES}),
        ("messages", {"messages": json.dumps(MESSAGES)}),
        ("messages", {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, MESSAGES[1]]}),
        ("messages", {"chosen": TURNS, "messages": MESSAGES}),
        ("sharegpt", {"id": "x", "conversations": TURNS}),
        ("alpaca", {"instruction": "q", "input": "", "output": "a"}),
        ("alpaca", {"instruction": "q", "output": "a"}),
        ("alpaca", {"instruction": "q", "context": "", "response": "a", "category": "c"}),
        ("prompt/completion", {"prompt": "q", "completion": "a"}),
        ("prompt/completion", {"Question": "q", "Answer": "a", "source": "s", "topic": "t"}),
        ("prompt/completion", {"input": "q", "output": "a"}),
        ("prompt/completion", {"instruction": "q", "response": "a"}),
        ("prompt/completion", {"prompt": "q", "response": "a"}),
        ("prompt/completion", {"prompt": MESSAGES[:1], "completion": MESSAGES[1:]}),
        ("prompt/completion", {"id": 7, "frage": "q", "antwort": "a"}),
    ],
)
def test_shapes(tmp_path: Path, shape: str, row: dict[str, object]) -> None:
    """Each accepted shape is recognised by its columns and values and means the same conversation."""
    result = prepared(tmp_path, "a.jsonl", lines([row]))
    assert result.shape == shape
    assert texts(result.train) == [[("user", "q"), ("assistant", "a")]]
    assert set(result.columns) == set(row)
    assert list(found(result)) == (["guessed-columns"] if "frage" in row else [])


def test_alpaca_with_everything(tmp_path: Path) -> None:
    """Instruction and input are joined by a blank line, below the row's own system prompt and history."""
    row = {"instruction": "i", "input": "n", "output": "o", "system": "s", "history": [["q", "a"]]}
    result = prepared(tmp_path, "a.json", json.dumps([row]), system="not this one")
    expected = [("system", "s"), ("user", "q"), ("assistant", "a"), ("user", "i\n\nn"), ("assistant", "o")]
    assert texts(result.train) == [expected]


def test_sharegpt_with_tools(tmp_path: Path) -> None:
    """A function call is an assistant message with tool_calls, an observation the tool's, a bare schema is wrapped."""
    called = [
        ("human", "weather?"),
        ("gpt", "I look."),
        ("function_call", '{"name":"w","arguments":"{\\"city\\":\\"Ghent\\"}"}'),
        ("observation", "rain"),
        ("chatgpt", "Rain."),
    ]
    row = {"conversations": [{"from": who, "value": text} for who, text in called], "tools": '[{"name":"w"}]'}
    result = prepared(tmp_path, "a.json", json.dumps([row])).train[0]
    assert texts((result,))[0] == [
        ("user", "weather?"),
        ("assistant", "I look."),
        ("tool", "rain"),
        ("assistant", "Rain."),
    ]
    assert result["messages"][1]["tool_calls"] == [
        {"type": "function", "function": {"name": "w", "arguments": {"city": "Ghent"}}}
    ]
    assert result["tools"] == [{"type": "function", "function": {"name": "w"}}]


def test_system_prompt(tmp_path: Path) -> None:
    """The source's system prompt goes before every conversation that has none, and replaces none."""
    rows = [{"messages": MESSAGES}, {"messages": [{"role": "system", "content": "own"}, *MESSAGES]}]
    result = prepared(tmp_path, "a.jsonl", lines(rows), system="given")
    assert [row[0] for row in texts(result.train)] == [("system", "given"), ("system", "own")]


def test_guess_can_be_corrected(tmp_path: Path) -> None:
    """Roles given for columns win over their names; columns not named are then left alone."""
    content = "input,prompt,output,x\nq,no,no,a\n"
    result = prepared(tmp_path, "a.csv", content, columns={"input": "prompt", "x": "completion"})
    assert texts(result.train) == [[("user", "q"), ("assistant", "a")]]
    assert result.columns == {"input": "prompt", "prompt": "ignore", "output": "ignore", "x": "completion"}
    with pytest.raises(UserError, match=r"no column 'xx'.*did you mean 'x'"):
        prepared(tmp_path, "a.csv", content, columns={"xx": "completion"})
    with pytest.raises(UserError, match="does not fit the columns"):
        prepared(tmp_path, "a.csv", content, shape="sharegpt")


def test_special_text_is_text(tmp_path: Path) -> None:
    """Nothing in somebody's text is a placeholder, a special token or white space to tidy."""
    text = "  {{name}} <|im_end|></s>{% if %} \u2028\x0b\r\n "
    for name, content in (
        ("a.jsonl", lines([{"prompt": text, "completion": text}])),
        ("b.csv", f'prompt,completion\n"{text}","{text}"'),
    ):
        assert texts(prepared(tmp_path, name, content).train) == [[("user", text), ("assistant", text)]]


def conversation(*roles: str) -> dict[str, object]:
    return {"messages": [{"role": role, "content": f"{role} {place}"} for place, role in enumerate(roles)]}


@pytest.mark.parametrize(
    ("roles", "kind", "kept"),
    [
        (("user", "user", "assistant"), "roles-out-of-order", 0),
        (("user", "assistant", "assistant"), "roles-out-of-order", 0),
        (("assistant",), "roles-out-of-order", 0),
        (("system", "assistant"), "roles-out-of-order", 0),
        (("user", "system", "assistant"), "roles-out-of-order", 0),
        (("user", "tool", "assistant"), "roles-out-of-order", 0),
        (("user",), "missing-answer", 0),
        ((), "missing-answer", 0),
        (("narrator", "assistant"), "unreadable-row", 0),
        (("user", "assistant", "user"), "last-turn-not-assistant", 2),
        (("system", "user", "assistant", "user", "tool"), "last-turn-not-assistant", 3),
    ],
)
def test_roles(tmp_path: Path, roles: tuple[str, ...], kind: str, kept: int) -> None:
    """A row whose roles are out of order is dropped and listed; turns after the last answer are cut off and listed."""
    result = prepared(tmp_path, "a.jsonl", lines([{"messages": MESSAGES}, conversation(*roles)]))
    assert found(result) == {kind: [2]}
    assert sum(len(row["messages"]) for row in result.train) - 2 == kept
    assert sentence(result, kind).startswith("a.jsonl, row 2: ")


def test_empty_texts(tmp_path: Path) -> None:
    """White space is no prompt and no answer; a missing cell is no answer; a number is."""
    content = 'prompt,completion\n" ",a\nq,\nq," "\nr,7\n,\n'
    result = prepared(tmp_path, "a.csv", content)
    assert found(result) == {"empty-prompt": [1, 5], "missing-answer": [2, 3]}
    rows = [{"prompt": "q", "completion": value} for value in (None, 7, True, float("nan"), ["x"], {"a": 1})]
    numbers = prepared(tmp_path, "a.json", json.dumps(rows))
    assert [row[1][1] for row in texts(numbers.train)] == ["7", "true"]
    assert {row for problem in numbers.problems for row in problem.rows} - {2, 3} == {1, 4, 5, 6}


def test_duplicates_and_contradictions(tmp_path: Path) -> None:
    """An exact duplicate is kept once; a prompt with different answers is kept whole; both are listed."""
    rows = [("q", "a"), ("r", "b"), ("q", "a"), ("Q ", "c")]
    result = prepared(tmp_path, "a.jsonl", lines([{"prompt": q, "completion": a} for q, a in rows]))
    assert found(result) == {"duplicate": [3], "different-answers": [1, 4]}
    assert [row["row"] for row in result.train] == [1, 2, 4]


def test_fields_that_are_not_learned_are_told(tmp_path: Path) -> None:
    """What a message holds beside its text is not dropped in silence."""
    rows = [{"messages": [MESSAGES[0], {**MESSAGES[1], "name": "hm", "weight": None}]}]
    assert found(prepared(tmp_path, "a.jsonl", lines(rows))) == {"ignored-field": [1]}


def test_as_many_reasons_as_rows(tmp_path: Path) -> None:
    """A file that is wrong in a thousand ways yields a list one can read, and every row is still in it."""
    rows = [conversation("user", "assistant"), *(conversation(f"role {i}") for i in range(1000))]
    problems = prepared(tmp_path, "a.jsonl", lines(rows)).problems
    assert len(problems) < 30
    assert len({row for problem in problems for row in problem.rows}) == 1000


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"", "a.csv: the file is empty"),
        ("a.csv", b"\xef\xbb\xbf\n", "empty"),
        ("a.csv", b"prompt,completion\n", "no rows"),
        ("a.csv", b"a,b,c\nx,y,z\n", "found no prompts and answers in the columns 'a', 'b', 'c'"),
        ("a.csv", b"prompt,prompt\na,b\n", "two columns are called 'prompt'"),
        ("a.csv", b"question,notes,tags\nx,y,z\n", "found no answers"),
        ("a.json", b'[{"prompt": "a", "completion"', "not valid JSON .*line 1"),
        ("a.json", b'{"train":[{"a":1}],"test":[{"a":1}]}', "2 arrays \\('train', 'test'\\)"),
        ("a.json", b"7", "a number where an array of objects belongs"),
        ("a.json", b"[" * 100_000, "nested too deep"),
        ("a.jsonl", b'{"prompt":"q","completion":""}', "no row can be used. a.jsonl, row 1: an empty answer"),
        ("a.jsonl", b'{"one":[{"role":"user"}],"other":[{"role":"user"}]}', "all hold conversations"),
        ("a.parquet", b"PAR1 and no more", "not a whole Parquet file"),
        ("a.xlsx", b"PK", "give a .csv"),
    ],
)
def test_a_file_that_is_of_no_use(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    """A file that can't be used ends in one sentence that names it and what was found."""
    with pytest.raises(UserError, match=words) as caught:
        prepared(tmp_path, name, content)
    assert str(caught.value).startswith(name)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    """A path that leads nowhere is the user's mistake, whichever of the three files it is."""
    here = file(tmp_path, "a.jsonl", lines(pairs(30)))
    for source in (
        {"path": "no.csv"},
        {"path": here, "held_out_path": "no.csv"},
        {"path": here, "validation_path": ""},
    ):
        with pytest.raises(UserError):
            prepare(Source(**source))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match="can't be read"):
        prepare(Source(str(tmp_path / "folder.csv")))


def parts(result: Prepared) -> dict[str, set[int]]:
    return {name: {row["row"] for row in result.part(name)} for name in PARTS}


@pytest.mark.parametrize(
    ("rows", "sizes"),
    [(3000, (2744, 128, 128)), (1000, (900, 50, 50)), (200, (168, 16, 16)), (30, (18, 6, 6)), (5, (3, 1, 1))],
)
def test_sizes_of_the_parts(tmp_path: Path, rows: int, sizes: tuple[int, int, int]) -> None:
    """Each part takes its share between 16 and 128 rows, never more than a fifth, and the rest is learned from."""
    result = prepare(Source(file(tmp_path, "a.jsonl", lines(pairs(rows)))))
    assert tuple(len(result.part(name)) for name in PARTS) == sizes
    assert found(result) == {}
    assert sum(map(len, parts(result).values())) == len(set.union(*parts(result).values()))
    for name in PARTS:
        assert [row["row"] for row in result.part(name)] == sorted(parts(result)[name])


def test_too_few_rows(tmp_path: Path) -> None:
    """Where rows are too few, validation is a copy of training rows or nothing is held out, and that is said."""
    three = prepare(Source(file(tmp_path, "a.jsonl", lines(pairs(3)))))
    assert [len(three.part(name)) for name in PARTS] == [2, 2, 1]
    assert "validation-from-train" in found(three)
    assert three.validation == three.train
    one = prepare(Source(file(tmp_path, "a.jsonl", lines(pairs(1)))))
    assert [len(one.part(name)) for name in PARTS] == [1, 1, 0]
    assert "no-held-out" in found(one)
    assert next(problem.kind for problem in one.problems) == "few-rows"


def test_equal_prompts_stay_together(tmp_path: Path) -> None:
    """Rows whose prompts differ only in case, width or white space stand in one part."""
    rows = [
        {"prompt": form.format(i), "completion": form}
        for i in range(40)
        for form in ("word {}", "WORD  {}", "ｗord {} ")
    ]
    result = prepare(Source(file(tmp_path, "a.jsonl", lines(rows))))
    groups = {name: {(row - 1) // 3 for row in numbers} for name, numbers in parts(result).items()}
    assert sum(map(len, groups.values())) == 40
    assert groups["held_out"]
    assert groups["validation"]


def test_one_giant_group_is_not_held_out(tmp_path: Path) -> None:
    """A prompt that most rows share is learned from, wherever its hash falls."""
    rows = [{"prompt": "same", "completion": str(i)} for i in range(100)]
    for seed in range(8):
        result = prepare(Source(file(tmp_path, "a.jsonl", lines([*rows, *pairs(20)])), seed=seed))
        assert len(result.train) >= 100
        assert result.held_out
        assert result.validation


@pytest.mark.parametrize(("large", "small"), [(96, 4), (12, 5)])
def test_few_prompts_with_many_rows(large: int, small: int) -> None:
    """Neither part takes more than a fifth of the prompts, nor a prompt with more than a fifth of the rows."""
    split = split_by_prompt([bytes(1)] * large + [bytes([i]) for i in range(1, small + 1)], 0.05, 0.05)
    assert [len(part) for part in split[:3]] == [large + small - 2, 1, 1]


def test_split_is_seeded_and_stable(tmp_path: Path) -> None:
    """The same seed gives the same parts; adding or reordering rows moves few rows between parts."""
    path = file(tmp_path, "a.jsonl", lines(pairs(300)))
    before = prepare(Source(path))
    assert before == prepare(Source(path))
    assert parts(before) != parts(prepare(Source(path, seed=1)))
    after = parts(prepare(Source(file(tmp_path, "b.jsonl", lines(pairs(330))))))
    moved = sum(len(numbers - after[name]) for name, numbers in parts(before).items())
    assert moved <= 6
    shuffled = pairs(300)
    random.Random(0).shuffle(shuffled)
    again = prepare(Source(file(tmp_path, "c.jsonl", lines(shuffled))))
    assert sorted(texts(again.held_out)) == sorted(texts(before.held_out))


@pytest.mark.parametrize(("before", "after"), [(80, 100), (100, 320), (2560, 3600)])
def test_added_rows_turn_no_learned_row_into_a_judge(tmp_path: Path, before: int, after: int) -> None:
    """Where a part has a fixed size, rows with new prompts can only push others out of it, into train."""
    one, two = (parts(prepare(Source(file(tmp_path, "a.jsonl", lines(pairs(count)))))) for count in (before, after))
    for name in ("validation", "held_out"):
        assert len(one[name]) == len(two[name])
        assert not one["train"] & two[name]
        assert one[name] - two[name] <= two["train"]


@pytest.mark.parametrize("seed", range(5))
def test_few_rows_change_sides_where_a_part_grows_with_the_file(tmp_path: Path, seed: int) -> None:
    """A tenth more rows: beside the new ones only a few at the cut are judges that were learned from before."""
    one, two = (
        parts(prepare(Source(file(tmp_path, "a.jsonl", lines(pairs(count))), seed=seed))) for count in (1000, 1100)
    )
    assert (len(one["held_out"]), len(two["held_out"])) == (50, 55)
    assert len(one["train"] & two["held_out"]) <= 6
    assert not one["validation"] & two["held_out"]


def test_share_of_nothing(tmp_path: Path) -> None:
    """A share of 0 means that there is no such part, without complaint."""
    path = file(tmp_path, "a.jsonl", lines(pairs(100)))
    result = prepare(Source(path, validation_share=0.0))
    assert not result.validation
    assert len(result.held_out) == 16
    assert not result.problems
    assert len(prepare(Source(path, validation_share=0.0, held_out_share=0.0)).train) == 100


def test_supplied_files_win(tmp_path: Path) -> None:
    """A supplied file is its part, whole; its rows count in that file, and its problems name it."""
    path = file(tmp_path, "a.jsonl", lines(pairs(100)))
    held = file(tmp_path, "held.csv", "question,answer\nh1,a\nh2,\nh3,b\n")
    result = prepare(Source(path, held_out_path=held, system="s"))
    assert [row["row"] for row in result.held_out] == [1, 3]
    assert len(result.validation) == 16
    assert len(result.train) == 84
    assert found(result) == {"missing-answer": [2]}
    assert sentence(result, "missing-answer") == "held.csv, row 2: an empty answer; left out."
    assert texts(result.held_out)[0][0] == ("system", "s")
    both = prepare(Source(path, held_out_path=held, validation_path=file(tmp_path, "v.jsonl", lines(pairs(9, 500)))))
    assert [len(both.part(name)) for name in PARTS] == [100, 9, 2]


def test_a_prompt_on_two_sides_is_an_error(tmp_path: Path) -> None:
    """What was learned, or steered, is never judged: a shared prompt is an error that counts and locates it."""
    path = file(tmp_path, "a.jsonl", lines(pairs(50)))
    held = file(
        tmp_path, "h.jsonl", lines([*pairs(5, 100), {"prompt": " QUESTION 7", "completion": "other"}, *pairs(2, 20)])
    )
    with pytest.raises(
        UserError,
        match=r"h.jsonl: 3 of its prompts also stand in a.jsonl \(3 rows \(6, 7, 8\) here, 3 rows \(8, 21, 22\)",
    ):
        prepare(Source(path, held_out_path=held))
    with pytest.raises(UserError, match=r"h\.jsonl: 3 of its prompts"):
        prepare(Source(path, validation_path=held))
    with pytest.raises(UserError, match=r"v\.jsonl"):
        prepare(
            Source(
                file(tmp_path, "b.jsonl", lines(pairs(30, 900))),
                held_out_path=held,
                validation_path=file(tmp_path, "v.jsonl", lines(pairs(9, 100))),
            )
        )


def test_fingerprint(tmp_path: Path) -> None:
    """The fingerprint changes if a text or a part changes, and not if row numbers or the file's format do."""
    one = prepare(Source(file(tmp_path, "a.jsonl", lines(pairs(100)))))
    blank_lines = prepare(Source(file(tmp_path, "b.jsonl", "\n\n" + lines(pairs(100)))))
    as_array = prepare(Source(file(tmp_path, "c.json", json.dumps(pairs(100)))))
    assert one.fingerprint == blank_lines.fingerprint == as_array.fingerprint
    assert one.fingerprint == fingerprint(one.train, one.validation, one.held_out)
    moved = dataclasses.replace(one, train=one.train + one.held_out, held_out=())
    changed = prepare(
        Source(file(tmp_path, "d.jsonl", lines([*pairs(99), {"prompt": "question 99", "completion": "Answer 99"}])))
    )
    spaced = prepare(Source(one_path := str(tmp_path / "a.jsonl"), system=" s"))
    seeded = prepare(Source(one_path, seed=7))
    prints = {p.fingerprint for p in (one, changed, spaced, seeded)} | {
        fingerprint(moved.train, moved.validation, moved.held_out)
    }
    assert len(prints) == 5
    assert fingerprint(one.train, one.validation[:-1], one.validation[-1:] + one.held_out) not in prints
    assert all(len(p) == 64 for p in prints)


def test_parts_are_written_and_read(tmp_path: Path) -> None:
    """The run folder's three files hold exactly the three parts, one line per row, and nothing else is left there."""
    rows = [{"prompt": f"é\u2028\n{i}", "completion": "ü\r", "tools": '[{"name":"f"}]'} for i in range(30)]
    result = prepare(Source(file(tmp_path, "a.jsonl", lines(rows))))
    (folder := tmp_path / "run").mkdir()
    write_parts(result, folder)
    assert {path.name for path in folder.iterdir()} == {"train.jsonl", "validation.jsonl", "held_out.jsonl"}
    for name in PARTS:
        assert tuple(read_part(folder, name)) == result.part(name)
    assert (folder / "train.jsonl").read_bytes().count(b"\n") == 18
    assert "é" in (folder / "train.jsonl").read_text("utf-8")
    (folder / "held_out.jsonl").unlink()
    with pytest.raises(UserError, match="no such file"):
        read_part(folder, "held_out")


@given(
    st.lists(st.integers(0, 30), max_size=200),
    st.sampled_from([0.0, 0.05, 0.3, 0.5]),
    st.sampled_from([0.0, 0.05, 0.5]),
)
@settings(max_examples=200, deadline=None, database=None)
def test_split_loses_nothing(groups: list[int], validation_share: float, held_out_share: float) -> None:
    """Whatever the groups: every row is in a part, no group in two, something is learned, held-out is never learned."""
    split = split_by_prompt([bytes([group]) for group in groups], validation_share, held_out_share)
    assert set(split.train) | set(split.validation) | set(split.held_out) == set(range(len(groups)))
    prompts = [{groups[row] for row in part} for part in split[:3]]
    assert not prompts[2] & (prompts[0] | prompts[1])
    assert split.train or not groups
    copied = any(kind == "validation-from-train" for kind, _ in split.shortages)
    assert (set(split.validation) <= set(split.train)) if copied else not prompts[0] & prompts[1]
    assert max(len(split.held_out), len(split.validation)) <= 128 or len(groups) > 128


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["user", "gpt", "[", "\ud800"])
)
KEYS = st.sampled_from(
    "messages conversations prompt completion instruction input output tools history system "
    "chosen rejected reasoning label text thinking "
    "role from content value text type tool_calls function name arguments".split()
) | st.text(max_size=4)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=20
)


def only_a_user_error(folder: Path, name: str, content: bytes, **given: dict[str, str]) -> None:
    source = Source(file(folder, name, content), system="s", **given)  # type: ignore[arg-type]
    try:
        result = prepare(source)
    except UserError:
        return
    assert len(first(source, 2)) >= 1
    write_parts(result, folder)
    assert tuple(read_part(folder, "train")) == result.train
    assert json.dumps(result.columns, ensure_ascii=False).encode()
    told = {row for problem in result.problems for row in problem.rows} | set.union(*parts(result).values())
    assert len(told) >= result.rows
    assert all(problem.sentence.encode() for problem in result.problems)


FUZZ = settings(
    max_examples=100, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@given(
    rows=st.lists(VALUES | st.dictionaries(KEYS, VALUES, max_size=5), max_size=8),
    suffix=st.sampled_from([".json", ".jsonl"]),
    choice=st.sampled_from(CHOICES),
    given=st.sampled_from([{}, {"patterns": {"prompt": "{input}"}}, {"columns": {"text": "reasoning"}}]),
)
@FUZZ
def test_any_json_is_read_or_refused(
    tmp_path: Path, rows: list[object], suffix: str, choice: str, given: dict[str, dict[str, str]]
) -> None:
    """Nulls, numbers and lists where text belongs: each row is kept or listed, and only a UserError comes out."""
    choices = {kind: choice for kind, possible in FINDINGS.items() if choice in possible}
    content = json.dumps(rows) if suffix == ".json" else "\n".join(map(json.dumps, rows))
    only_a_user_error(tmp_path, f"a{suffix}", content.encode(), choices=choices, **given)


@given(
    content=st.binary(max_size=200)
    | st.text(alphabet='",;\t\n\r a{}[]:\x00é', max_size=200).map(str.encode)
    | st.text(alphabet='",\nab', max_size=80).map(lambda text: f"prompt,completion\n{text}".encode()),
    suffix=st.sampled_from([".csv", ".json", ".jsonl", ".parquet"]),
)
@FUZZ
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    """Ragged, torn, binary: only a UserError comes out, and every row of a file that is read is accounted for."""
    only_a_user_error(tmp_path, f"a{suffix}", content)


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"messages":[', '[{"content":'])
@pytest.mark.parametrize("levels", [50, 200, 20_000])
@pytest.mark.parametrize("column", ["prompt", "messages", "tools", "history", "extra"])
def test_any_depth_is_read_or_refused(tmp_path: Path, opening: str, levels: int, column: str) -> None:
    """Nesting of any depth, as JSON or as text that holds JSON, costs its row at most."""
    deep = opening * levels + "1" + "".join({"[": "]", "{": "}"}[c] for c in reversed(opening * levels) if c in "[{")
    for value in (deep, json.dumps(deep)):
        row = f'{{"prompt":"q","completion":"a",{json.dumps(column)}:{value}}}\n'
        only_a_user_error(tmp_path, "a.jsonl", (row + lines(pairs(3))).encode())
        only_a_user_error(tmp_path, "a.json", f"[{row}]".encode())


def shared(name: str) -> Source:
    if not (SHARED / name).exists():
        pytest.skip(f"no {name} beside the project")
    return Source(str(SHARED / name))


@pytest.mark.parametrize(
    ("name", "shape", "rows", "kinds"),
    [
        ("alpaca.json", "alpaca", 250, []),
        ("sharegpt.json", "sharegpt", 120, ["different-answers"]),
        ("sharegpt_tools.json", "sharegpt", 60, ["duplicate", "different-answers"]),
        ("zh_instructions.csv", "alpaca", 120, []),
        ("identity.jsonl", "alpaca", 91, ["different-answers"]),
    ],
)
def test_real_files(name: str, shape: str, rows: int, kinds: list[str]) -> None:
    """Files as people have them are recognised, and every row is kept or listed."""
    result = prepare(shared(name))
    assert (result.shape, result.rows, list(found(result))) == (shape, rows, kinds)
    assert sum(map(len, parts(result).values())) + len(found(result).get("duplicate", [])) == rows


def test_real_texts_are_intact() -> None:
    """Placeholders, Chinese and tool calls of real files come out as they went in."""
    source = shared("identity.jsonl")
    answers = {json.loads(line)["output"] for line in Path(source.path).read_text("utf-8").splitlines()}
    result = prepare(source)
    assert {row["messages"][-1]["content"] for name in PARTS for row in result.part(name)} == answers
    assert any("{{name}}" in answer for answer in answers)
    chinese = shared("zh_instructions.csv")
    with Path(chinese.path).open(encoding="utf-8-sig", newline="") as opened:
        expected = [row["output"] for row in csv.DictReader(opened)]
    whole = prepare(dataclasses.replace(chinese, validation_share=0.0, held_out_share=0.0))
    assert [row["messages"][-1]["content"] for row in whole.train] == expected
    tools = prepare(shared("sharegpt_tools.json")).train
    calls = [call for row in tools for message in row["messages"] for call in message.get("tool_calls", [])]
    assert calls
    assert all(isinstance(call["function"]["arguments"], dict) for call in calls)


def test_real_questions_without_answers() -> None:
    """A file of questions only is refused with a sentence."""
    with pytest.raises(UserError, match=r"questions\.jsonl: found no prompts and answers in the columns 'question_id'"):
        prepare(shared("questions.jsonl"))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("yoda.jsonl", "prompt/completion"),
        ("support.csv", "prompt/completion"),
        ("summaries.jsonl", "prompt/completion"),
        ("sharegpt.json", "sharegpt"),
        ("alpaca.json", "alpaca"),
    ],
)
def test_examples(name: str, shape: str) -> None:
    """Every example that ships with the project loads without a problem, but that some are short."""
    result = prepare(Source(str(EXAMPLES / name)))
    assert result.shape == shape
    assert {problem.kind for problem in result.problems} <= {"few-rows"}
    assert all(result.part(part) for part in PARTS)


def test_tiny_example() -> None:
    """The bundled model's example is judged on its own file of 60 rows, none of which is learned."""
    result = prepare(
        Source(str(EXAMPLES / "tiny-yoda.jsonl"), held_out_path=str(EXAMPLES / "tiny-yoda-held-out.jsonl"))
    )
    assert result.problems == ()
    assert len(result.held_out) == 60
    assert result.validation
    assert result.shape in ("messages", "prompt/completion")
