"""Counts are those of training, whoever made them and however often they are asked for."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline import counting, model, statistics, template
from pipeline.errors import UserError
from pipeline.schema import Model

ROOT = Path(__file__).parents[1]
WORDS = "the fox and the owl live near a river where Anna cleans old lamps".split()


@pytest.fixture(scope="module")
def loaded(tiny):
    named = Model(str(tiny))
    tokenizer = model.tokenizer(named)
    return tokenizer, template.choose(tokenizer, model.stop_ids(named))


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    """Every test counts from the beginning."""
    monkeypatch.setattr(counting, "_known", {})


def talk(*texts: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": roles[place % 2], "content": text} for place, text in enumerate(texts)]


def make_rows(n: int) -> list[dict]:
    """Rows of one or two turns, of very different lengths, no two alike."""
    made = []
    for number in range(1, n + 1):
        text = " ".join(WORDS[(number + place) % len(WORDS)] for place in range(number % 37 + 1))
        turns = (f"{number}?", text) if number % 3 else (f"{number}?", "Yes.", text, f"{text} {number}")
        made.append({"row": number, "messages": talk(*turns)})
    return made


@pytest.mark.parametrize("loss_on", ["answers", "last answer", "everything"])
@pytest.mark.parametrize("max_length", [8, 20, 45, 100, 512])
def test_counts_are_what_training_is_fed(loaded, loss_on, max_length):
    """Cut, left out, learned and kept, derived from one count, equal what `tokenize` gives for each max length."""
    rows = make_rows(60)
    fed = template.tokenize(*loaded, rows, max_length, loss_on)
    counts = counting.count(*loaded, rows, loss_on)
    assert [c.row for c in counts if statistics.lost(c, max_length)] == list(fed.dropped)
    kept = [c for c in counts if not statistics.lost(c, max_length)]
    assert [c.length for c in kept] == [example.length for example in fed.examples]
    assert [c.row for c in kept if c.length > max_length] == [example.row for example in fed.examples if example.cut]
    learned = sum(label != template.IGNORED for example in fed.examples for label in example.labels)
    total = sum(len(example.labels) for example in fed.examples)
    assert statistics.learned_share(counts, max_length) == (learned / total if total else None)


def test_turns_are_what_the_user_said(loaded):
    assert [c.turns for c in counting.count(*loaded, make_rows(3), "answers")] == [1, 1, 2]


def test_a_row_that_may_not_be_trained_on_brings_its_gate(loaded):
    """The sentence of the gate, and the number of the row it belongs to; the others have none."""
    rows = [*make_rows(3), {"row": 7, "messages": talk("Hi", "a<|im_end|>b")}]
    counts = counting.count(*loaded, rows, "answers")
    assert [bool(c.gates) for c in counts] == [False, False, False, True]
    assert counts[3].row == 7
    assert "<|im_end|>" in counts[3].gates[0][1]


def test_rows_of_two_files_may_have_one_number(loaded):
    """Each keeps its own tokens."""
    rows = [{"row": 1, "messages": talk("Hi", "Yes.")}, {"row": 1, "messages": talk("Hi", "Yes, the fox and the owl.")}]
    first, second = counting.count(*loaded, rows, "answers")
    assert first.row == second.row == 1
    assert first.length < second.length


def test_nothing_is_counted_twice(loaded, monkeypatch):
    """Other numbers, another order, another max length: no row is tokenized again; a changed one is, and only that one."""
    asked: list[int] = []
    real = counting._tokens
    monkeypatch.setattr(counting, "_tokens", lambda *given: asked.append(len(given[2])) or real(*given))
    rows = make_rows(40)
    counting.count(*loaded, rows, "answers")
    assert sum(asked) == 40
    counting.count(*loaded, [{**row, "row": 99} for row in reversed(rows)], "answers")
    assert sum(asked) == 40
    rows[3] = {"row": 4, "messages": talk("4?", "Something else.")}
    counting.count(*loaded, rows, "answers")
    assert sum(asked) == 41
    counting.count(*loaded, rows, "everything")
    assert sum(asked) == 81


def test_everything_in_a_row_counts(loaded):
    """Rows that differ only in their tools, or only in their plain text, are different rows."""
    tool = {"type": "function", "function": {"name": "look", "parameters": {}}}
    same = {"row": 1, "messages": talk("Hi", "Yes.")}
    counting.count(*loaded, [same], "answers")
    how = counting.identity(*loaded, "answers")
    assert counting.known([same], how)
    assert not counting.known([{**same, "tools": [tool]}], how)
    texts = [{"row": n, "messages": [], "text": text} for n, text in enumerate(("The fox.", "The old red fox."), 1)]
    short, long = counting.count(*loaded, texts, "answers")
    assert short.length < long.length
    assert short.learned == ((0, short.length),)


def test_little_is_remembered(loaded, monkeypatch):
    """However much is counted, the oldest is forgotten, and what is asked for is still answered."""
    monkeypatch.setattr(counting, "REMEMBERED", 10)
    assert len(counting.count(*loaded, make_rows(60), "answers")) == 60
    assert len(counting._known) == 10


def test_a_sample_is_the_same_for_the_same_seed():
    """In file order, without a row twice; another seed draws others, and few rows are all taken."""
    rows = make_rows(500)
    drawn = counting.sample(rows, 1, 100)
    numbers = [row["row"] for row in drawn]
    assert drawn == counting.sample(rows, 1, 100) != counting.sample(rows, 2, 100)
    assert len(set(numbers)) == 100
    assert numbers == sorted(numbers)
    assert counting.sample(rows, 1, 500) == rows


def test_progress_ends_at_every_row(loaded, monkeypatch):
    """It goes up, and begins with what was known before."""
    monkeypatch.setattr(counting, "TELL_SECONDS", 0.0)
    rows, told = make_rows(120), []
    counting.count(*loaded, rows[:60], "answers")
    counting.count(*loaded, rows, "answers", told.append)
    done = [item["rows_done"] for item in told]
    assert done == sorted(done)
    assert done[0] > 60
    assert told[-1] == {"rows_done": 120, "rows": 120}


def test_what_was_counted_before_a_stop_is_kept(loaded):
    """A sentence says how far it came; the next time goes on from there."""
    unwanted = threading.Event()
    unwanted.set()
    rows = make_rows(60)
    with pytest.raises(UserError, match="Stopped after 25 of 60 rows"):
        counting.count(*loaded, rows, "answers", unwanted=unwanted)
    assert counting.known(rows[:25], counting.identity(*loaded, "answers"))


needs_fork = pytest.mark.skipif(sys.platform != "linux" or (os.cpu_count() or 1) < 2, reason="two cores under Linux")


@needs_fork
def test_two_processes_count_as_one_does(loaded, monkeypatch):
    """The same counts, gates included, in the order of the rows; and none of them is made here."""
    rows = [*make_rows(200), {"row": 201, "messages": talk("Hi", "a<|im_end|>b")}]
    alone = counting.count(*loaded, rows, "answers")
    monkeypatch.setattr(counting, "_known", {})
    monkeypatch.setattr(counting, "FEWEST_TO_SHARE", 1)
    here = os.getpid()
    real = counting._tokens
    monkeypatch.setattr(counting, "_tokens", lambda *given: [] if os.getpid() == here else real(*given))
    assert counting.count(*loaded, rows, "answers") == alone


@needs_fork
def test_a_process_that_is_killed_leaves_no_gap(loaded, monkeypatch):
    """What it has not counted is counted here."""
    monkeypatch.setattr(counting, "FEWEST_TO_SHARE", 1)
    here, real = os.getpid(), counting._tokens

    def dying(*given):
        if os.getpid() != here and any("77?" in row["messages"][0]["content"] for row in given[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*given)

    monkeypatch.setattr(counting, "_tokens", dying)
    rows = make_rows(200)
    counts = counting.count(*loaded, rows, "answers")
    assert [c.row for c in counts] == [row["row"] for row in rows]
    assert all(c.length for c in counts)


@needs_fork
def test_a_stop_ends_the_processes_too(loaded, monkeypatch):
    """None of them is left when the sentence is told, and nobody waits for what they had still to do."""
    monkeypatch.setattr(counting, "FEWEST_TO_SHARE", 1)
    real_tokens = counting._tokens
    monkeypatch.setattr(counting, "_tokens", lambda *given: time.sleep(1) or real_tokens(*given))
    begun = time.monotonic()
    started, real = [], counting._fork
    monkeypatch.setattr(counting, "_fork", lambda chunks: started.append(real(chunks)) or started[-1])
    unwanted = threading.Event()
    unwanted.set()
    with pytest.raises(UserError, match="Stopped after"):
        counting.count(*loaded, make_rows(400), "answers", unwanted=unwanted)
    assert time.monotonic() - begun < 5  # of the eight seconds each of them had before it
    assert len(started) == 2
    for pid, _ in started:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_pasted_template_is_asked_by_one_process_only(loaded):
    """It is rendered by a process of its own, and two who ask it would mix up its answers."""
    import dataclasses

    assert not counting._can_share(dataclasses.replace(loaded[1], guarded=True))


def test_counting_is_light_to_import():
    """The command line names it before anything is tokenized."""
    code = "import sys, pipeline.counting, pipeline.statistics, pipeline.options, pipeline.general; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "trl", "numpy", "gradio"} & set(done.stdout.split())
