"""How the columns are read, and what somebody says against it: a role per column, patterns, the first conversations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pipeline.errors import UserError
from pipeline.schema import CHOICES, COLUMN_ROLES
from ui import preview, texts

PATTERNS = ("prompt", "completion")
LONGEST_SAMPLE = 80
SHOWN_COLUMNS = 60

# every <select> of the table at once into a field nobody sees, or every one that decides about a finding (one alone would
# be lost when the next is chosen before it has arrived); then a button nobody sees is clicked, because a text field's own
# events come late or not at all when a script has written it
TELL = """() => document.addEventListener('change', (event) => {
  const of = event.target.dataset, table = event.target.closest('table');
  const where = of.column !== undefined ? '#data-roles' : of.kind !== undefined ? '#data-decision' : '';
  const field = where && document.querySelector(`${where} :is(textarea, input)`);
  if (!field) return;
  const all = of.kind !== undefined ? document.querySelectorAll('#data-summary select[data-kind]')
    : table.querySelectorAll('select[data-column]');
  field.value = JSON.stringify(Object.fromEntries([...all].map(each => [each.dataset.kind ?? each.dataset.column, each.value])));
  field.dispatchEvent(new Event('input', {bubbles: true}));
  setTimeout(() => document.querySelector(`${where}-said`).click(), 50);
})"""


def table(roles: Mapping[str, str], samples: Mapping[str, Sequence[str]]) -> str:
    """One line per column: its name, its first values, and the role it plays, to be chosen."""
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="sample">{escape(_sample(samples.get(name, ())))}</td>'
        f"<td>{_select(name, roles.get(name, 'ignore'))}</td></tr>"
        for name in list(samples)[:SHOWN_COLUMNS]
    )
    head = "".join(f'<th scope="col">{escape(word)}</th>' for word in texts.COLUMN_HEADS)
    left = len(samples) - SHOWN_COLUMNS
    more = f'<p class="quiet">{escape(texts.MORE_COLUMNS.format(n=left))}</p>' if left > 0 else ""
    return f'<div class="scroll"><table class="columns"><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>{more}'


def _sample(values: Sequence[str]) -> str:
    return preview.visible(" · ".join(value[:LONGEST_SAMPLE] for value in values))


def _select(column: str, chosen: str) -> str:
    options = "".join(
        f'<option value="{role}"{" selected" if role == chosen else ""}>{escape(texts.ROLE_CHOICES[role])}</option>'
        for role in COLUMN_ROLES
    )
    label = texts.ROLE_OF.format(column=column)
    return f'<select data-column="{escape(column)}" aria-label="{escape(label)}">{options}</select>'


def conversations(rows: Sequence[Mapping[str, Any]]) -> str:
    """The first rows as they are understood now."""
    cards = "".join(
        f'<section><p class="quiet">{escape(texts.ROW_TITLE.format(row=row["row"]))}</p>{preview.bubbles(row)}</section>'
        for row in rows
    )
    return f'<p><b>{escape(texts.FIRST_ROWS)}</b></p><div class="first-rows">{cards}</div>' if rows else ""


def assigned(choice: Any, roles: str | None, *patterns: str | None) -> dict[str, Any]:
    """The choice with these roles and patterns. Roles come as the page's JSON; no roles leave the guess alone."""
    chosen = _choice(choice)
    columns = _json(roles)
    if not isinstance(columns, dict) or any(role not in COLUMN_ROLES for role in columns.values()):
        raise UserError(texts.BAD_FIELD)
    given = {role: text for role, text in zip(PATTERNS, patterns, strict=True) if (text or "").strip()}
    # a column that a pattern uses plays its part there; what the pattern makes must not be made twice
    columns = {name: "ignore" if role in given else role for name, role in columns.items()}
    return {**chosen, "columns": columns or None, "patterns": given or None}


def decided(choice: Any, decision: str | None) -> dict[str, Any]:
    """The choice with the page's decisions, {"kind": "drop"}."""
    chosen, told = _choice(choice), _json(decision)
    if not (
        isinstance(told, dict) and told and all(isinstance(said, str) and said in CHOICES for said in told.values())
    ):
        raise UserError(texts.BAD_FIELD)
    before = chosen.get("choices")
    return {**chosen, "choices": {**(before if isinstance(before, dict) else {}), **told}}


def _choice(choice: Any) -> dict[str, Any]:
    if not isinstance(choice, dict) or not {"example", "upload"} & choice.keys():
        raise UserError(texts.NOTHING_CHOSEN)
    return choice


def _json(text: str | None) -> Any:
    try:
        return json.loads(text or "{}")
    except (ValueError, RecursionError):
        raise UserError(texts.BAD_FIELD) from None
