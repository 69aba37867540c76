"""The pictures of the statistics say in words what they show, and foreign text stays text."""

import itertools
import math
import re
from html.parser import HTMLParser

import pytest

from pipeline import statistics
from pipeline.statistics import Count
from ui import pictures, texts

ATTACK = '"><img src=x onerror=alert(1)>'


class Elements(HTMLParser):
    """Every element with its attributes, and the text in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, text):
        self.text += text

    def of(self, name: str) -> list[dict]:
        return [attributes for tag, attributes in self.found if tag == name]


def counts(*lengths: int, turns: int = 1) -> list[Count]:
    return [Count(row, turns, length, ((length // 2, length),)) for row, length in enumerate(lengths, 1)]


def described(*lengths: int, max_length: int = 100, context: int | None = None, of: int = 0) -> dict:
    told = statistics.describe(counts(*lengths), max_length, context, of or len(lengths))
    assert told
    return told


def found(counted: dict | None, rows: int = 60, **more) -> dict:
    return {"statistics": counted, "badge": statistics.badge(rows), "stops": None, "problems": [], **more}


def bars(html: str, kind: str) -> list[dict]:
    return [rect for rect in Elements(html).of("rect") if rect.get("class") == kind]


def test_the_histogram_can_be_heard():
    """Its name says the figures: half, 95 of 100, the longest, and what the cut does."""
    picture = Elements(pictures.histogram(described(*[20] * 90, *[150] * 10)))
    (svg,) = picture.of("svg")
    assert svg["role"] == "img"
    assert svg["aria-label"] == (
        "Histogram of 100 rows by length: half have at most 20 tokens, 95 % at most 150, the longest has 150. "
        "Max length 100 cuts 10 rows (10 %)."
    )


def test_what_is_cut_is_hatched_and_named():
    """Bars behind the line are of another kind; the bar the cut goes through is divided there; words say the share."""
    html = pictures.histogram(described(*[20] * 50, *[104] * 30, *[150] * 20, max_length=103))
    kept, lost = bars(html, "bar-kept"), bars(html, "bar-lost")
    assert len(kept) == len(lost) == 2
    assert "max length 103" in Elements(html).text
    assert "50 % of the rows are cut" in Elements(html).text
    (line,) = [line for line in Elements(html).of("line") if line["class"] == "limit"]
    edge = [rect for rect in lost if rect["x"] == line["x1"]]
    assert len(edge) == 1


def test_a_max_length_beyond_every_row_needs_no_line():
    """Its name still stands there, and that nothing is cut."""
    html = pictures.histogram(described(*[20] * 50, max_length=1024))
    assert not bars(html, "bar-lost")
    assert "limit" not in [line["class"] for line in Elements(html).of("line")]
    assert "max length 1,024 →" in Elements(html).text
    assert "no row is cut" in Elements(html).text


def test_a_far_row_behind_the_line_is_still_told():
    """It is in the open bar, whose figure is on the axis."""
    html = pictures.histogram(described(*[80] * 999, 9000, max_length=200))
    assert "under 1 % of the rows are cut" in Elements(html).text
    assert re.search(r"\d+\+ tokens", Elements(html).text)
    assert len(bars(html, "bar-lost")) == 1


@pytest.mark.parametrize("lengths", [[1], [3, 3, 3], range(1, 400), [50] * 500 + [100_000], [2**20] * 3])
@pytest.mark.parametrize("max_length", [1, 8, 64, 1024, 2**20])
def test_nothing_is_drawn_outside(lengths, max_length):
    """All places are between 0 and 100 per cent, all heights within the picture, no two labels of the axis too near."""
    html = pictures.histogram(described(*lengths, max_length=max_length))
    for rect in bars(html, "bar-kept") + bars(html, "bar-lost"):
        x, width = (float(rect[name].rstrip("%")) for name in ("x", "width"))
        assert -0.01 <= x <= x + width <= 100.01
        assert pictures.TOP <= float(rect["y"]) <= pictures.BOTTOM
    below = [text for text in Elements(html).of("text") if text["y"] == str(pictures.BOTTOM + 18)]
    places = sorted(float(text["x"].rstrip("%")) for text in below)
    assert all(b - a >= 15 for a, b in itertools.pairwise(places))


def test_no_figure_hides_the_others():
    """The percentiles are a table with a head for every figure."""
    table = Elements(pictures.percentiles(described(*range(1, 101), 5000)))
    assert len(table.of("th")) == 2 + len(texts.PERCENTILES)
    assert "5,000" in table.text


def test_the_learned_share_is_a_bar_and_a_sentence():
    html = pictures.share(described(100, 100))
    assert "50 % of the tokens are learned, 50 % are only read." in Elements(html).text
    assert 'style="width:50.0%"' in html
    assert "No token would be learned" in pictures.share(described(1000, 1000, max_length=100))


def test_a_sample_is_named_as_one():
    assert "A sample of 2 of 1,000 rows" in pictures.statistics(found(described(10, 20, of=1000)))
    assert "sample" not in pictures.statistics(found(described(10, 20)))


def test_the_suggestion_says_what_it_holds():
    told = pictures.suggestion(described(100, 90))
    assert "Suggested max length: 128, which holds every row." in told
    (button,) = Elements(told).of("button")
    assert (button["type"], button["data-suggested"]) == ("button", "128")
    assert not Elements(pictures.suggestion(described(100, 90, max_length=128))).of("button")
    told = pictures.suggestion(described(*[100] * 980, *[9000] * 20))
    assert "which holds 98 % of the rows; the few longer ones" in told
    told = pictures.suggestion(described(*[1000] * 10, *[10] * 10, context=512))
    assert "which holds 50 % of the rows, the most that this model reads." in told


def test_broken_answers_lead_to_their_rows():
    """The first dozen with its place; how many more there are is said."""
    rows = [Count(row, 2, 200, ((20, 40), (60, 199))) for row in range(1, 21)]
    told = statistics.describe(rows, 100, None, 20)
    html = pictures.cuts(told)
    assert re.findall(r'data-row="(\d+)"', html) == [str(row) for row in range(1, 13)]
    assert "answer 2 of 2 ends after 40 of its 139 tokens" in html
    assert "and 8 more rows" in html
    assert pictures.cuts(described(10)) == ""


def test_turns_are_bars_only_where_they_differ():
    assert pictures.turns(described(10, 20)) == "<p>Every conversation has 1 turn.</p>"
    mixed = statistics.describe([*counts(10, 20), *counts(30, turns=3)], 100, None, 3)
    html = Elements(pictures.turns(mixed))
    assert "1 turn2 rows3 turns1 row" in html.text
    plain_text = statistics.describe(counts(10, turns=0), 100, None, 1)
    assert pictures.turns(plain_text) == ""


@pytest.mark.parametrize(
    ("rows", "level", "sign"), [(49, "bad", "✗"), (50, "warn", "!"), (500, "plain", "✓"), (1000, "good", "✓")]
)
def test_the_badge_is_never_colour_alone(rows, level, sign):
    """A sign and words stand in it."""
    html = pictures.badges(found(None, rows))
    assert f'class="chip {level}">{sign} {rows:,} usable rows: ' in html


def test_what_stops_a_run_or_wants_another_model_is_a_badge():
    html = pictures.badges(found(None, stops="Row 1: no", problems=[{"kind": "classification"}]))
    assert "a run would stop before it begins" in html
    assert "try a small encoder first" in html


def test_nothing_counted_is_nothing_drawn():
    assert pictures.statistics(found(None)) == ""


def test_foreign_text_is_never_markup():
    """No string of the answer comes out as an element, whatever it holds."""
    badge = {"rows": 3, "level": ATTACK, "words": ATTACK}
    html = pictures.badges({"badge": badge, "stops": ATTACK, "problems": [{"kind": ATTACK}]})
    assert not Elements(html).of("img")
    assert "alert(1)" in html


@pytest.mark.parametrize("part", [0.0, 0.004, 0.01, 0.5, 0.994, 0.999, 1.0])
def test_a_share_is_never_rounded_to_none_or_all(part):
    told = pictures.percent(part)
    assert (told == "0 %") == (part == 0)
    assert (told == "100 %") == (part == 1)
    figure = float(re.sub(r"[^\d]", "", told))
    assert math.isclose(figure, 100 * part, abs_tol=1)
