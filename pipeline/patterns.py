"""A pattern such as "{title}\n\n{body}" -> the text of one role, from the columns of a record. No code, no second round."""

from __future__ import annotations

from typing import Any

from pipeline.schema import BRACES
from pipeline.turns import read_text


def fill(pattern: str, values: dict[str, Any]) -> str:
    """The pattern with each {column} replaced by its text; empty where every column it names is. Raises BadRow.

    One pass over a pattern that Source has checked: braces in a value stay what they are.
    """
    found = False

    def replaced(match: Any) -> str:
        nonlocal found
        if match[1] is None:
            return str(match[0][0])
        column = match[1].strip()
        text = read_text(values.get(column), column)
        found = found or bool(text.strip())
        return text

    filled = BRACES.sub(replaced, pattern)
    return filled if found else ""
