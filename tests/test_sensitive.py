"""What looks like a key, a password, an e-mail address or a phone number: found, masked, removed when somebody says so."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import sensitive
from pipeline.dataset import prepare
from pipeline.schema import Row, Source

SHARED = Path(__file__).parents[2] / "shared" / "data"
EXAMPLES = Path(__file__).parents[1] / "examples"

# put together here, so that no scanner takes this file for a leak
SECRETS = [
    "sk-" + "proj-Zx81kQ20vbnMQweRtYui77",
    "sk_" + "live_51HqLyjWDarjtT1zdp7dcA",
    "AKIA" + "IOSFODNN7QWERTYU",
    "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a",
    "glpat-" + "aB3dE5fG7hJ9kL1mN3pQ",
    "hf_" + "QwErTyUiOpAsDfGhJkLzXcVbNmQwErTyUi",
    "xoxb-" + "123456789012-abcdefGHIJ",
    "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "dozjgNryP4J3jVmNHl0w5N",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE KEY-----",
]
NAMED = [("password: {}", "rT8$jLpZ"), ('"api_key" = "{}"', "a1b2c3d4e5"), ("My password is {}.", "Summer2024")]
PHONES = ["+1 415 555 2671", "(415) 555-2671", "415-555-2671", "+44 20 7946 0958", "+32 2 555 12 12", "+8613912345678"]


def row(text: str, number: int = 1) -> Row:
    return {"row": number, "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": text}]}


def found(text: str) -> dict[str, list[str]]:
    return {kind: [text[start:end] for start, end in spans] for kind, spans in sensitive.find(text).items()}


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: secret[:6])
def test_keys(secret: str) -> None:
    """Keys of known forms are found to the letter, wherever they stand."""
    assert found(f"use {secret} here") == {"secret": [secret]}
    assert found(secret) == {"secret": [secret]}


@pytest.mark.parametrize(("text", "value"), NAMED)
def test_passwords(text: str, value: str) -> None:
    """What is called a password is one if it mixes letters and digits."""
    assert [spans[0].rstrip(".") for spans in found(text.format(value)).values()] == [value]
    assert found("postgres://me:" + f"{value}@db/x") == {"secret": [value]}


@pytest.mark.parametrize("phone", PHONES)
def test_phone_numbers(phone: str) -> None:
    """Numbers that exist where they belong."""
    assert found(f"Call {phone}, please.") == {"phone": [phone]}


def test_addresses() -> None:
    """An address is found without the full stop behind it."""
    assert found("Write to jo.doe+x@mail.acme.co.uk.") == {"email": ["jo.doe+x@mail.acme.co.uk"]}


@pytest.mark.parametrize(
    "text",
    [
        "Your password is secret. The password: never share it. password: ******** token: <your token>",
        "password = os.environ['PASSWORD']; api_key=YOUR_API_KEY1; passwords must have 8 characters",
        "The token limit is 4096 tokens; risk-averse task-oriented people ask-and-answer-questions-all-day-long",
        "me@example.com you@mail.example.org help@shop.example your.name1@domain.com @someone user@host",
        "2024-05-06 17:46, order 1234567890, ISBN 978-3-16-148410-0, 192.168.10.200, 3.14159265358979, 555-1234",
        "https://example.com:8080/a@b +1 000 000 0000 1,000,000.00 12:30:45.123456 10.1000/182-555-2671 123-456-7890",
    ],
)
def test_what_is_nothing_of_the_kind(text: str) -> None:
    """Words about passwords, placeholders, reserved addresses, dates and other numbers."""
    assert found(text) == {}


def test_scan(tmp_path: Path) -> None:
    """One problem per kind, each with its rows, its choices and masked values: none is written out."""
    rows = [row("nothing", 1), row(f"{SECRETS[0]} and jo@acme.io", 2), row(f"call {PHONES[0]}", 3), row(SECRETS[1], 5)]
    seen: list[tuple[int, int]] = []
    problems = {problem.kind: problem for problem in sensitive.scan(rows, lambda *done: seen.append(done), "a.csv")}
    assert {kind: problem.rows for kind, problem in problems.items()} == {
        "secret": (2, 5),
        "email": (2,),
        "phone": (3,),
    }
    assert seen == [(4, 4)]
    secret = problems["secret"]
    assert (
        secret.sentence == "a.csv, 2 rows (2, 5): what looks like a key or a password (sk-…77, sk_…cA); kept as it is."
    )
    assert secret.effects == {
        "keep": "keeps 2 rows, 4 stay",
        "drop": "drops 2 rows, 2 stay",
        "fix": "cleans 2 rows, 4 stay",
    }
    written = json.dumps([[problem.sentence, problem.effects] for problem in problems.values()])
    assert not [value for value in (SECRETS[0], SECRETS[1], "jo@acme.io", PHONES[0]) if value[3:] in written]


def test_choices_are_applied_where_rows_are_prepared(tmp_path: Path) -> None:
    """Removed in every text, or the row left out, and counted; kept unless somebody says so, without looking at all."""
    rows = [{"prompt": f"mail jo@acme.io {i}", "completion": f"{SECRETS[0]}"} for i in range(2)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps([*rows, {"prompt": "q", "completion": "a"}]))

    def prepared(**choices: str) -> tuple[list[str], dict[str, tuple[int, ...]]]:
        result = prepare(Source(str(path), validation_share=0.0, held_out_share=0.0, choices=choices))
        texts = ["|".join(message["content"] for message in row["messages"]) for row in result.train]
        return texts, {problem.kind: problem.rows for problem in result.problems if problem.kind != "few-rows"}

    kept = [f"mail jo@acme.io {i}|{SECRETS[0]}" for i in range(2)]
    assert prepared() == ([*kept, "q|a"], {})
    fixed = prepared(secret="fix", email="fix")
    assert fixed == (
        ["mail [removed] 0|[removed]", "mail [removed] 1|[removed]", "q|a"],
        {"secret": (1, 2), "email": (1, 2)},
    )
    assert prepared(email="drop") == (["q|a"], {"email": (1, 2)})
    assert prepared(phone="drop") == ([*kept, "q|a"], {})


@given(st.text() | st.text(alphabet="aA1@.+-_:/ ()5", max_size=60))
def test_any_text_is_scanned(text: str) -> None:
    """Spans lie in the text and nothing of a kind is left once it is removed."""
    for kind, spans in sensitive.find(text).items():
        assert all(0 <= start < end <= len(text) for start, end in spans)
        removed = sensitive.remove(kind, text)
        assert removed.count(sensitive.REMOVED) >= len(spans)
        assert not any(text[start:end] in removed for start, end in spans if len(text[start:end]) > 9)


@pytest.mark.parametrize("piece", ["a", "a@", "a.", "1 ", "(415) ", "+1 4", "-", "token: ", "eyJa.", "://a:", "A_"])
def test_a_long_line_takes_bounded_time(piece: str) -> None:
    """A megabyte of anything is scanned in seconds: no pattern runs back and forth over it."""
    text = piece * (1_000_000 // len(piece))
    start = time.process_time()
    sensitive.find(f"{text}@ ://")
    assert time.process_time() - start < 10


def test_speed() -> None:
    """Thousands of short rows in a second, so that a hundred thousand are done while somebody looks on."""
    rows = [
        row(f"{i}: the password is not told, see https://acme.io/a or ask the api team. " * 5, i) for i in range(2000)
    ]
    sensitive.scan(rows[:10])
    start = time.process_time()
    sensitive.scan(rows)
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("path", "kinds"),
    [
        (EXAMPLES / "support.csv", {}),
        (EXAMPLES / "yoda.jsonl", {}),
        (EXAMPLES / "summaries.jsonl", {}),
        (EXAMPLES / "tiny-yoda.jsonl", {}),
        (SHARED / "alpaca.json", {"secret": 1}),
        (SHARED / "sharegpt_tools.json", {"secret": 2, "email": 2}),
        (SHARED / "sharegpt.json", {}),
        (SHARED / "zh_instructions.csv", {}),
        (SHARED / "identity.jsonl", {}),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_real_files(path: Path, kinds: dict[str, int]) -> None:
    """In real files the passwords and addresses that are there are found, and nothing else."""
    if not path.exists():
        pytest.skip(f"no {path.name} beside the project")
    rows = prepare(Source(str(path), validation_share=0.0, held_out_share=0.0)).train
    assert {problem.kind: problem.count for problem in sensitive.scan(rows)} == kinds
