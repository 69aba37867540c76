"""The judged rows of a report: which are shown and in what order, one page of them as a table, one opened whole. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from pipeline import measures, word_difference
from ui import texts
from ui.scores_picture import metric

PER_PAGE = 20
SHORT = 140  # characters of a text in the table
COMPARED = 600  # characters of an answer that "changed most" goes by
LEADING = ("chrf", "rougeL", "token_f1")  # the score that is shown where none is sorted by: the first that is there
SCORES = tuple(
    name for name, each in measures.MEASURES.items() if name in texts.METRICS and each.share and each.better > 0
)
Row = Mapping[str, Any]  # an entry of a report's rows
SIDES = ("base", "tuned")


@dataclass(frozen=True)
class Wish:
    """How somebody looks at the rows. Pages count from 1; `opened` is a row's number in the file, 0 for none."""

    order: str = "changed"
    show: str = "all"
    words: str = ""
    page: int = 1
    opened: int = 0


SHOWS: dict[str, Callable[[Row], bool]] = {
    "all": lambda row: True,
    "changed": lambda row: not same(row),
    "identical": lambda row: same(row),
    "stopped": lambda row: bool(row["tuned"]["stopped"]),
    "unstopped": lambda row: not row["tuned"]["stopped"],
}
ORDERS: dict[str, Callable[[Row], float]] = {
    "changed": lambda row: -changed(row),
    "worst": lambda row: gained(row),
    "file": lambda row: 0.0,
}


def chosen(rows: Sequence[Row], wish: Wish) -> list[Row]:
    """The rows somebody wants to see, in the order they want; where that settles nothing, as in the file."""
    wanted = SHOWS.get(wish.show, SHOWS["all"])
    asked = wish.words.casefold().split()
    found = [row for row in rows if wanted(row) and holds(row, asked)]
    return sorted(found, key=ORDERS.get(wish.order) or (lambda row: score_of(row, wish.order)))


def same(row: Row) -> bool:
    return bool(row["base"]["text"] == row["tuned"]["text"])


def holds(row: Row, words: Sequence[str]) -> bool:
    """Whether every one of these words, given in lower case, stands somewhere in the row."""
    if not words:
        return True
    told = [
        *(content(message) for message in row["messages"]),
        row["reference"],
        *(row[side]["text"] for side in SIDES),
    ]
    text = "\n".join(told).casefold()
    return all(word in text for word in words)


def changed(row: Row) -> float:
    """How far tuned's answer is from base's: 0 the same text, 1 no word in common; by the beginning of long ones."""
    if same(row):
        return 0.0
    base, tuned = (_words(row[side]["text"]) for side in SIDES)
    return 1 - (2 * len(base & tuned) - 1e-6) / max(1, len(base) + len(tuned))


def _words(text: str) -> set[str]:
    """The words; the characters where a script has no spaces between words."""
    text = text[:COMPARED]
    words = text.split()
    return set(words) if len(words) * 20 >= len(text) else set(text)


def gained(row: Row) -> float:
    """Tuned minus base, averaged over the row's scores that lie between 0 and 1."""
    gains = [pair[1] - pair[0] for name, pair in row["scores"].items() if name in SCORES]
    return statistics.fmean(gains) if gains else 0.0


def score_of(row: Row, name: str) -> float:
    """Tuned's score; a row that has none comes last."""
    return float(row["scores"][name][1]) if name in row["scores"] else 2.0


def draw(rows: Sequence[Row], wish: Wish) -> tuple[str, str]:
    """How many rows of how many are shown, and one page of them."""
    found = chosen(rows, wish)
    return count(len(found), len(rows)), table(found, wish)


def count(shown: int, of: int) -> str:
    said = texts.JUDGED_COUNT.format(shown=shown, of=of)
    return f'<p class="quiet">{escape(said)}</p>'


def table(found: Sequence[Row], wish: Wish) -> str:
    """The wished page of these rows, and the way to the next one."""
    if not found:
        return f'<p class="quiet">{escape(texts.JUDGED_NONE)}</p>'
    pages = -(-len(found) // PER_PAGE)
    page = min(max(1, wish.page), pages)
    shown = found[(page - 1) * PER_PAGE : page * PER_PAGE]
    name = scored_by(found, wish.order)
    heads = "".join(f'<th scope="col">{escape(head.format(name=metric(name)[0]))}</th>' for head in texts.JUDGED_HEADS)
    lines = "".join(line(row, name, row["row"] == wish.opened) for row in shown)
    return (
        f'<div class="wide judged" data-at="{page}"><table aria-label="{escape(texts.JUDGED_LABEL)}"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>{ways(page, pages)}"
    )


def scored_by(rows: Sequence[Row], order: str) -> str:
    """The score that the table shows: the one it is sorted by, else the one that says most."""
    there = rows[0]["scores"] if rows else {}
    return next((name for name in (order, *LEADING, *there) if name in there and name in SCORES), "")


def ways(page: int, pages: int) -> str:
    """The buttons to the pages before and after; nothing where there is one page."""
    if pages < 2:
        return ""
    told = texts.JUDGED_PAGE.format(page=page, pages=pages)
    back, on = (
        f'<button type="button" data-page="{to}"{"" if 1 <= to <= pages else " disabled"}>{escape(words)}</button>'
        for to, words in ((page - 1, texts.BACK_A_PAGE), (page + 1, texts.ON_A_PAGE))
    )
    return f'<p class="ways">{back}<span class="quiet">{escape(told)}</span>{on}</p>'


def line(row: Row, name: str, opened: bool) -> str:
    """One row in short; its question is the button that opens it."""
    number = escape(str(row["row"]))
    question = short(content(row["messages"][-1]) if row["messages"] else "")
    tuned = (
        f'<span class="chip plain">= {escape(texts.SAME_AS_BASE)}</span>' if same(row) else short(row["tuned"]["text"])
    )
    head = (
        f'<button type="button" data-judged="{number}" aria-expanded="{str(opened).lower()}">'
        f"<b>{number}</b> <span>{question}</span></button>"
    )
    cells = (short(row["base"]["text"]), tuned, scored(row, name))
    heads = (texts.SIDES["base"], texts.SIDES["tuned"], metric(name)[0])
    told = "".join(f'<td data-head="{escape(of)}">{cell}</td>' for of, cell in zip(heads, cells, strict=True))
    drawn = f'<tr><th scope="row">{head}</th>{told}</tr>'
    return drawn + (f'<tr class="opened"><td colspan="{len(cells) + 1}">{whole(row)}</td></tr>' if opened else "")


def short(text: str) -> str:
    line = " ".join(text[: 4 * SHORT].split())
    return escape(line if len(line) <= SHORT else line[: SHORT - 2] + " …")


def scored(row: Row, name: str) -> str:
    """A score of the row before and after, with a sign that says which way it went."""
    pair = row["scores"].get(name)
    if not pair:
        return ""
    sign, kind = ("▲", "good") if pair[1] > pair[0] else ("▼", "bad") if pair[1] < pair[0] else ("=", "plain")
    _, form = metric(name)
    told = texts.DUMBBELL.format(base=form.format(pair[0]), tuned=form.format(pair[1]))
    return f'<span class="{kind}">{sign}</span> {escape(told)}'


def whole(row: Row) -> str:
    """A row with everything: what was asked, the reference, both answers with what differs marked, its scores."""
    *before, asked = row["messages"] or [{"role": "user", "content": ""}]
    told = "".join(message(each) for each in before)
    answers = "".join(side(row, name) for name in SIDES)
    legend = "" if same(row) else f'<p class="quiet">{escape(texts.DIFFERENCE_LEGEND)}</p>'
    return (
        f"{told}{message(asked, 'judged-asked')}"
        f'<p><b class="said-by">{escape(texts.ROW_REFERENCE)}</b><span class="answer">{escape(row["reference"])}</span></p>'
        f'<div class="pair">{answers}</div>{legend}{row_scores(row)}'
        f"<p>{into_chat(row)}</p>"
    )


def into_chat(row: Row) -> str:
    """The button that asks the row in the chat; of several turns only the last message can be put there."""
    asked = [message for message in row["messages"] if message["role"] != "system"]
    single = len(asked) == 1
    number, words = (row["row"], texts.ASK_IN_CHAT) if single else ("", texts.PUT_INTO_CHAT)
    return f'<button type="button" class="into-chat" data-chat="{escape(str(number))}">{escape(words)}</button>'


def message(told: Mapping[str, Any], name: str = "judged-before") -> str:
    by = texts.SAID_BY.get(told["role"], told["role"])
    return f'<p><b class="said-by">{escape(by)}</b><span class="answer {name}">{escape(content(told))}</span></p>'


def content(told: Mapping[str, Any]) -> str:
    """A message's text; a call of a tool may have none."""
    return str(told.get("content") or "")


def side(row: Row, name: str) -> str:
    """One side's whole answer; what the other side does not say is underlined."""
    answer = row[name]
    shown = marked(row, "left" if name == "base" else "right")
    ended = texts.BY_ITSELF if answer["stopped"] else texts.HIT_LIMIT
    facts = texts.ROW_SIDE_FACTS.format(tokens=answer["tokens"], ended=ended)
    title, nothing = escape(texts.SIDES[name]), f'<i class="quiet">{escape(texts.NO_TEXT)}</i>'
    return (
        f'<section class="side {name}" aria-label="{title}"><b class="name">{title}</b>'
        f'<div class="answer">{shown or nothing}</div><p class="quiet">{escape(facts)}</p></section>'
    )


def marked(row: Row, kept: str) -> str:
    """An answer of which what only this side says ("left": base, "right": tuned) is marked."""
    parts = word_difference.parts(row["base"]["text"], row["tuned"]["text"])
    return "".join(
        escape(text) if kind == "same" else f'<mark class="only">{escape(text)}</mark>'
        for kind, text in parts
        if kind in ("same", kept)
    )


def row_scores(row: Row) -> str:
    facts = "".join(
        f"<li>{escape(metric(name)[0])}: <b>{scored(row, name)}</b></li>"
        for name in row["scores"]
        if row["scores"][name]
    )
    return f'<ul class="row-scores" aria-label="{escape(texts.ROW_SCORES_LABEL)}">{facts}</ul>' if facts else ""
