"""Reasoning is told from the answer, whole or while it grows."""

import itertools

import pytest

from pipeline import thinking


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<think>\nTwo and two.\n</think>\n\nFour.", ("Two and two.", "Four.")),
        ("[THINK]a[/THINK]b", ("a", "b")),
        ("<think></think>Four.", ("", "Four.")),
        ("Four.", ("", "Four.")),
        ("", ("", "")),
        ("Write <think> to think.</think>", ("", "Write <think> to think.</think>")),
        ("<think>a</think>b</think>", ("a", "b</think>")),
    ],
)
def test_thought_and_answer(text, parts):
    """What stands between the marks at the beginning is the thought, the rest the answer; a quoted mark is text."""
    assert thinking.split(text) == parts


@pytest.mark.parametrize(("opening", "closing"), thinking.MARKS)
def test_growing_text_never_shows_a_mark_or_takes_a_word_back(opening, closing):
    """Character by character: the thought grows first, then the answer, and neither ever holds a piece of a mark."""
    whole = f"{opening}\nIs 3 < 4 here? Yes.\n{closing}\n\nYes, 3 < 4."
    thoughts, answers = zip(*(thinking.split(whole[:length]) for length in range(len(whole) + 1)), strict=True)
    assert (thoughts[-1], answers[-1]) == ("Is 3 < 4 here? Yes.", "Yes, 3 < 4.")
    for grown in (thoughts, answers):
        assert all(later.startswith(earlier.rstrip(" <[")) for earlier, later in itertools.pairwise(grown))
        assert not any(mark[:3] in text for text in grown for mark in (opening, closing))
    assert not any(
        answer for answer, length in zip(answers, range(len(whole)), strict=False) if closing not in whole[:length]
    )


def test_prompt_that_opens_the_thought():
    """Such an answer begins inside the thought, and holds the closing mark alone."""
    opened = thinking.opened_by("<|im_start|>assistant\n<think>\n")
    assert opened == "<think>"
    assert thinking.split("Two and", opened) == ("Two and", "")
    assert thinking.split("Two and two.\n</think>\nFour.", opened) == ("Two and two.", "Four.")
    assert thinking.opened_by("<|im_start|>assistant\n") is None


def test_a_whole_answer_may_be_the_beginning_of_a_mark():
    """Nothing more comes, so it is text."""
    assert thinking.split("<") == ("", "")
    assert thinking.split("<", growing=False) == ("", "<")
