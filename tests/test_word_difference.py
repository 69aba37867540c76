"""The difference of two answers says all of both, word by word, and takes no time."""

import itertools
import random
import time

import pytest

from pipeline import word_difference


def sides(parts):
    """The two texts that parts were made of."""
    return tuple("".join(text for kind, text in parts if kind in ("same", side)) for side in ("left", "right"))


@pytest.mark.parametrize(
    ("left", "right", "parts"),
    [
        ("the red fox", "the blue fox", [("same", "the "), ("left", "red"), ("right", "blue"), ("same", " fox")]),
        ("a b", "a  b", [("same", "a"), ("left", " "), ("right", "  "), ("same", "b")]),
        ("same", "same", [("same", "same")]),
        ("", "new", [("right", "new")]),
        (
            "我喜欢红色的狐狸",
            "我喜欢蓝色的狐狸",
            [("same", "我喜欢"), ("left", "红"), ("right", "蓝"), ("same", "色的狐狸")],
        ),
        ("end.", "end!", [("same", "end"), ("left", "."), ("right", "!")]),
    ],
)
def test_words_that_differ(left, right, parts):
    """Whole words differ, signs and blanks by themselves, and in scripts without spaces single characters."""
    assert word_difference.parts(left, right) == parts


def test_nothing_is_lost():
    """Of any two texts, the same and the left parts are the left one, the same and the right parts the right one."""
    draw = random.Random(0)
    for _ in range(3000):
        pair = tuple("".join(draw.choices("ab .\n我é", k=draw.randrange(14))) for _ in range(2))
        parts = word_difference.parts(*pair)
        assert sides(parts) == pair
        assert all(one != other for (one, _), (other, _) in itertools.pairwise(parts))


@pytest.mark.parametrize("vocabulary", [1, 2, 50, 300, 3000])
def test_four_thousand_words_take_no_time(vocabulary):
    """Less than 0.2 s of computing, however often the same words come again."""
    draw = random.Random(vocabulary)
    one = [f"w{draw.randrange(vocabulary)}{draw.choice(['', '', '.'])}" for _ in range(4000)]
    other = [word if draw.random() < 0.8 else f"w{draw.randrange(vocabulary)}" for word in one]
    begun = time.process_time()
    parts = word_difference.parts(" ".join(one), " ".join(other))
    assert time.process_time() - begun < 0.2
    assert sides(parts) == (" ".join(one), " ".join(other))


def test_a_long_text_with_few_changes_is_compared_by_words():
    """Forty changed words in four thousand are forty changes, not half of the text."""
    draw = random.Random(1)
    words = [f"w{draw.randrange(3000)}" for _ in range(4000)]
    changed = [f"new{place}" if place % 100 == 50 else word for place, word in enumerate(words)]
    parts = word_difference.parts(" ".join(words), " ".join(changed))
    assert sum(kind == "left" for kind, _ in parts) == 40
