"""The self-test of the sides as a chip that explains itself. Pure; everything foreign is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from pipeline import trust
from ui import texts

KINDS = {True: "good", None: "warn", False: "bad"}


def mark(opened: Mapping[str, Any] | None) -> str:
    """What was measured when the model was loaded, folded into one chip; where it is slow, why stands beside it."""
    if not opened:
        return f'<p class="quiet">{escape(texts.NOT_TESTED_YET)}</p>'
    summary, *lines, how = trust.self_test_words(opened["self_test"], opened["mode"])
    told = "".join(
        f'<li class="{KINDS[line["ok"]]}"><b>{escape(texts.CHECK_SIGNS[KINDS[line["ok"]]])}</b> {escape(line["sentence"])}</li>'
        for line in lines
    )
    slower = f'<p class="quiet">{escape(texts.IN_TURN)}</p>' if opened["mode"] == "in turn" else ""
    chip = f'<span class="chip {KINDS[summary["ok"]]}">{escape(words(summary, lines))}</span>'
    return (
        f'<details class="mark"><summary>{chip}</summary><p>{escape(texts.SELF_TEST)}</p><ul>{told}</ul>'
        f"<p>{escape(how['sentence'])} {escape(texts.UNMERGED)}</p></details>{slower}"
    )


def words(summary: Mapping[str, Any], lines: list[dict[str, Any]]) -> str:
    """The chip's few words."""
    if summary["ok"] is not None:
        return texts.TRUSTED if summary["ok"] else texts.NOT_TRUSTED
    same = any(line["name"] == "tuned_differs" and line["ok"] is None for line in lines)
    return texts.CHANGES_NOTHING if same else texts.THIRD_CHANGES_NOTHING
