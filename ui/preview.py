"""What a dataset holds, and one row as it will be learned, as HTML. Pure functions; everything foreign is escaped."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

from ui import chat, pictures, texts

LISTED_PROBLEMS = 12
LISTED_ROWS = 5
LONGEST_CELL = 200
SINGLE_TOKENS = 4000
ROW_NUMBERS = re.compile(r"(?<=rows \()[\d, ]+|(?<=row )\d+")
CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {127: 0x2421}
DIRECTIONS = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F], "⍰")
SPACE = {0x20: "·", 0xA0: "⍽"}
VISIBLE = str.maketrans({**CONTROLS, **DIRECTIONS, 9: "⇥\t", 10: "↵\n"})
KINDS = {"learned": "mark", "read": "span", "cut": "s"}


def visible(text: str, spaces: bool = False) -> str:
    """Line ends and control characters as signs one can see, spaces too if wished; what would reorder the text is
    taken out of action."""
    return text.translate(SPACE).translate(VISIBLE) if spaces else text.translate(VISIBLE)


def summary(name: str, origin: str, judging: str | None, found: Mapping[str, Any], measured: bool) -> str:
    """The answer of `inspect`: what the file is, how it is divided, how long its rows are, what is wrong with it.

    `judging` is the name of a held-out file, if there is one. `measured` says whether tokens were counted already; until
    then their places say that they are being counted.
    """
    shape = texts.SHAPE_WORDS.get(found["shape"], found["shape"])
    read = texts.READ_SHAPE.format(rows=found["rows"], shape=shape, columns=columns(found["columns"]))
    evidence = f" {found['evidence'][:1].upper()}{found['evidence'][1:]}." if found.get("evidence") else ""
    more = f" {texts.MORE_HELD_OUT.format(n=found['held_out'], name=judging)}" if judging else ""
    counted = pictures.statistics(found) if measured else ""
    drawn = (
        f'<details class="lengths"><summary>{escape(texts.STATISTICS)}</summary>{counted}</details>' if counted else ""
    )
    return (
        f'<p class="data-name"><b>{escape(name)}</b> <span class="quiet">{escape(origin)}</span></p>{pictures.badges(found)}'
        f'<p>{escape(read + evidence + more)}</p><ul class="facts">{facts(found, measured)}</ul>'
        f"{problems(found['problems'])}{drawn}"
    )


def columns(roles: Mapping[str, str]) -> str:
    """Which column plays which role, and which play none."""
    used = [
        texts.COLUMN.format(role=texts.ROLE_WORDS[role], column=name)
        for name, role in roles.items()
        if role != "ignore"
    ]
    unused = ", ".join(f"“{name}”" for name, role in roles.items() if role == "ignore")
    return ", ".join([*used, *([texts.NOT_USED.format(columns=unused)] if unused else [])])


def facts(found: Mapping[str, Any], measured: bool) -> str:
    told = [(f"{found[part]:,}", f"{title}: {words}") for part, (title, words) in texts.PART_WORDS.items()]
    if not measured:
        told += [("…", texts.COUNTING)] * 2
    elif found["lengths"]:
        told.append((f"{found['lengths']['p50']:,}", texts.LENGTH_FACT.format(max=f"{found['lengths']['max']:,}")))
        told.append((f"{found['trained_token_share'] or 0:.0%}", texts.SHARE_FACT))
    return "".join(f"<li><b>{escape(number)}</b><span>{escape(words)}</span></li>" for number, words in told)


def progress(doing: str, item: Mapping[str, Any]) -> str:
    """How far something is that goes through all rows, as far as their number is known; without figures that it has begun."""
    done, rows = item.get("rows_done") or 0, item.get("rows") or 0
    told = (
        texts.ROWS_DONE.format(done=f"{done:,}", rows=f"{rows:,}") if rows else texts.ROWS_SO_FAR.format(n=f"{done:,}")
    )
    words = f"{doing} {told}" if rows or done else doing
    known = f' max="{rows}" value="{done}"' if rows else ""
    return f'<p class="quiet" role="status">{escape(words)} <progress{known}></progress></p>'


def waiting(words: str) -> str:
    """That something goes on whose end nobody knows."""
    return progress(words, {})


def note(words: str) -> str:
    return f'<p class="quiet" role="status">{escape(words)}</p>'


def first_rows(repo: str, config: str, split: str | None, found: Mapping[str, Any]) -> str:
    """The first rows of a dataset on the Hub as a small table, under what they are of."""
    n, total = len(found["rows"]), found["total"]
    told = texts.HUB_FIRST_OF.format(n=n, total=f"{total:,}") if total else texts.HUB_FIRST.format(n=n)
    named = ", ".join(filter(None, (repo, config, split)))
    head = "".join(f'<th scope="col">{escape(visible(column))}</th>' for column in found["columns"])
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell(row.get(column)))}</td>' for column in found['columns'])}</tr>"
        for row in found["rows"]
    )
    table = f'<table class="hub-rows"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<p><b>{escape(named)}</b> <span class="quiet">{escape(told)}</span></p>{box(table, told, "wide")}'


def cell(value: Any) -> str:
    """The beginning of one value."""
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    return visible(text[:LONGEST_CELL]) + "…" * (len(text) > LONGEST_CELL)


def problems(found: Sequence[Mapping[str, Any]], title: str = texts.PROBLEMS, nothing: str = texts.NO_PROBLEMS) -> str:
    """Each finding in its own words, with what can be done; the numbers of its rows lead to them."""
    if not found:
        return f'<p class="quiet">✓ {escape(nothing)}</p>'
    lines = "".join(
        f"<li>{finding(problem['sentence'], problem['rows'])}{decision(problem)}</li>"
        for problem in found[:LISTED_PROBLEMS]
    )
    left = len(found) - LISTED_PROBLEMS
    more = f"<li>{escape(texts.MORE_PROBLEMS.format(n=left))}</li>" if left > 0 else ""
    return (
        f'<div class="findings scroll" tabindex="0" role="region" aria-label="{escape(title)}">'
        f"<b>{escape(title)}</b><ul>{lines}{more}</ul></div>"
    )


def finding(sentence: str, rows: Sequence[int]) -> str:
    """The sentence with its row numbers made into links, or followed by them where it names none."""
    known = set(rows)

    def linked(match: re.Match[str]) -> str:
        return re.sub(r"\d+", lambda number: jump(int(number[0])) if int(number[0]) in known else number[0], match[0])

    told = ROW_NUMBERS.sub(linked, escape(sentence))
    if not rows or "data-row" in told:
        return told
    left = len(rows) - LISTED_ROWS
    more = f" {escape(texts.MORE_ROWS.format(n=left))}" if left > 0 else ""
    return f"{told} {escape(texts.SHOW_ROWS)} {', '.join(map(jump, rows[:LISTED_ROWS]))}{more}"


def decision(problem: Mapping[str, Any]) -> str:
    """What can be done about a finding, with what it would do; nothing where there is no choice."""
    effects = problem.get("effects") or {}
    if len(effects) < 2:
        return ""
    options = "".join(
        f'<option value="{escape(choice)}"{" selected" if choice == problem["chosen"] else ""}>'
        f"{escape(f'{texts.CHOICE_WORDS[choice]}: {effect}')}</option>"
        for choice, effect in effects.items()
    )
    label = escape(texts.CHOICE_OF.format(finding=problem["sentence"][:120]))
    return f'<select class="decision" data-kind="{escape(problem["kind"])}" aria-label="{label}">{options}</select>'


def jump(row: int) -> str:
    return f'<a href="#row" data-row="{row}">{row}</a>'


def row(shown: Mapping[str, Any], view: str, spaces: bool = False) -> str:
    """One row: its conversation beside what is learned of it, and exactly what the model is asked afterwards."""
    learned = texts.ROW_FACTS[shown["part"]].format(tokens=f"{len(shown['ids']):,}", n=f"{sum(shown['trained']):,}")
    cut = [texts.ROW_CUT.format(cut=shown["truncated_at"])] if shown["truncated_at"] is not None else []
    told = " · ".join([texts.ROW_PART[shown["part"]], learned, *cut])
    lost = [texts.ROW_DROPPED if shown["dropped"] else texts.ROW_LOST] if cut and not any(shown["trained"]) else []
    gates = "".join(chat.failure(f"{sentence[:1].upper()}{sentence[1:]}.") for sentence in [*lost, *shown["gates"]])
    title = texts.AS_TRAINED if shown["part"] == "train" else texts.AS_READ
    tokens = single_tokens(shown, spaces) if view == "tokens" else runs(shown, spaces)
    return (
        f'<p class="row-title"><b>{escape(texts.ROW_TITLE.format(row=shown["row"]))}</b> '
        f'<span class="quiet">{escape(told)}</span></p>{gates}<div class="row-sides">'
        f"<section><h2>{escape(texts.AS_CONVERSATION)}</h2>{box(bubbles(shown), texts.AS_CONVERSATION)}</section>"
        f"<section><h2>{escape(title)} {legend(shown)}</h2>"
        f"{box(tokens, title, 'tokens')}</section></div>{asked(shown)}"
    )


def box(content: str, label: str, kind: str = "") -> str:
    return f'<div class="scroll {kind}" tabindex="0" role="region" aria-label="{escape(label)}">{content}</div>'


def legend(shown: Mapping[str, Any]) -> str:
    cut = f"<s>{escape(texts.CUT_OFF)}</s>" if shown["truncated_at"] is not None else ""
    return (
        f'<span class="legend" aria-label="{escape(texts.LEGEND)}"><mark>{escape(texts.MARKED[shown["part"]])}</mark>'
        f"<span>{escape(texts.ONLY_READ)}</span>{cut}</span>"
    )


def bubbles(shown: Mapping[str, Any]) -> str:
    """The messages as a chat."""
    names = [str(tool.get("function", tool).get("name", "")) for tool in shown.get("tools") or []]
    offered = f'<p class="quiet">{escape(texts.TOOLS_OFFERED.format(names=", ".join(names)))}</p>' if names else ""
    plain = f'<div class="bubble">{escape(visible(shown["text"]))}</div>' if not shown["messages"] else ""
    return offered + plain + "".join(bubble(message) for message in shown["messages"])


def bubble(message: Mapping[str, Any]) -> str:
    role = message["role"]
    calls = "".join(
        f"<pre>{escape(visible(json.dumps(call.get('function', call), ensure_ascii=False)))}</pre>"
        for call in message.get("tool_calls") or []
    )
    content = visible(message["content"] or "").replace("↵", "")
    known = role if role in texts.ROLES else "tool"
    return f'<div class="bubble {known}"><b>{escape(texts.ROLES.get(role, role))}</b><div>{escape(content)}</div>{calls}</div>'


def kinds(shown: Mapping[str, Any]) -> list[str]:
    """What happens to each token: learned, only read, or cut off."""
    cut = shown["truncated_at"]
    return [
        "cut" if cut is not None and place >= cut else "learned" if trained else "read"
        for place, trained in enumerate(shown["trained"])
    ]


def runs(shown: Mapping[str, Any], spaces: bool = False) -> str:
    """The text with neighbouring tokens of a kind as one element, so that long rows are drawn fast."""
    parts = []
    for kind, group in groupby(zip(kinds(shown), shown["tokens"], strict=True), key=lambda pair: pair[0]):
        text = escape(visible("".join(piece for _, piece in group), spaces))
        parts.append(text if kind == "read" else f"<{KINDS[kind]}>{text}</{KINDS[kind]}>")
    return "".join(parts)


def single_tokens(shown: Mapping[str, Any], spaces: bool = False) -> str:
    """Each token in a frame of its own, its id told on hovering."""
    parts = []
    for place, (kind, piece, number) in enumerate(zip(kinds(shown), shown["tokens"], shown["ids"], strict=True)):
        if place == SINGLE_TOKENS:
            left = len(shown["ids"]) - SINGLE_TOKENS
            parts.append(f'<p class="quiet">{escape(texts.MORE_TOKENS.format(n=f"{left:,}"))}</p>')
            break
        title = escape(texts.TOKEN_TITLE.format(place=place + 1, id=number))
        text = escape(visible(piece, spaces)) or "·"  # a character of several tokens stands in the first of them
        parts.append(f'<{KINDS[kind]} class="token" title="{title}">{text}</{KINDS[kind]}>')
    return "".join(parts)


def asked(shown: Mapping[str, Any]) -> str:
    """What the model gets at inference, up to where its answer begins."""
    title = texts.ASKED_EXACTLY.format(n=f"{len(shown['generation_ids']):,}")
    text = escape(visible(shown["generation_prompt"]))
    return f"<details><summary>{escape(title)}</summary>{box(text, title, 'tokens')}</details>"


def against_reference(answer: Mapping[str, Any], reference: str) -> str:
    """The base's answer, as far as it is, beside the one in the data."""
    return (
        f'<div class="pair">{chat.side("base", answer)}<section class="side" aria-label="{escape(texts.ANSWER_IN_DATA)}">'
        f'<b>{escape(texts.ANSWER_IN_DATA)}</b><div class="answer">{escape(reference)}</div></section></div>'
    )
