"""What each line of a self-test means, in words for the page and the command line. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MEANING = {
    "base_is_base": (
        "The base answers as it does without any adapter.",
        "The base does not answer as it does without an adapter, so its answers are not the base's.",
    ),
    "tuned_is_tuned": (
        "The tuned side answers as the tuned model does by itself.",
        "The tuned side does not answer as the tuned model does by itself.",
    ),
    "other_is_other": (
        "The third column answers as its own adapter does by itself.",
        "The third column does not answer as its own adapter does by itself.",
    ),
    "tuned_differs": (
        "Training has changed the model.",
        "The adapter changes nothing: base and tuned are the same model.",
    ),
    "other_differs": (
        "The third column is another model than the base.",
        "The third column's adapter changes nothing: it is the base.",
    ),
    "adapter_complete": (
        "Every tensor of the adapter has found its place in the base.",
        "Some of the adapter's tensors found no place in the base.",
    ),
    "other_complete": (
        "Every tensor of the third column's adapter has found its place in the base.",
        "Some tensors of the third column's adapter found no place in the base.",
    ),
}
"""A line of the self-test: what it says when it passes, and when it fails."""
SUMMARIES = {
    True: "Self-test passed: each answer comes from the model it names.",
    None: "Self-test passed: each answer comes from the model it names, but an adapter changes nothing.",
    False: "Self-test failed: do not trust which answer is whose.",
}
MODES = {
    "mixed": "All columns are answered together, in one batch on one copy of the base's weights.",
    "in turn": "The columns are answered one after the other on one copy of the base's weights: this kind of adapter or "
    "base can't share a batch, or a shared one did not pass the self-test.",
    "base only": "The base answers alone; there is nothing to compare it with.",
}


def self_test_words(checks: Mapping[str, Any], mode: str) -> list[dict[str, Any]]:
    """[{name, ok, sentence}] for the mark: what all lines say together, each line, and how the columns are answered.

    `checks` are Check objects or what JSON made of them. "ok" is None where a line is no breach of trust, but worth
    knowing: an adapter that changes nothing.
    """
    lines = [_line(name, _value(check, "ok"), _numbers(check)) for name, check in checks.items()]
    how = {"name": "mode", "ok": True, "sentence": MODES.get(mode, f"The columns are answered {mode}.")}
    return [_summary(lines), *lines, how]


def trusted(checks: Mapping[str, Any]) -> bool:
    """Whether each side is what it says. An adapter that changes nothing is no breach of that."""
    return all(_value(check, "ok") for name, check in checks.items() if not name.endswith("_differs"))


def _summary(lines: list[dict[str, Any]]) -> dict[str, Any]:
    state = False if any(line["ok"] is False for line in lines) else None if None in [x["ok"] for x in lines] else True
    return {"name": "summary", "ok": state, "sentence": SUMMARIES[state]}


def _line(name: str, ok: bool, numbers: str) -> dict[str, Any]:
    good, bad = MEANING.get(name, (f"{name} passed.", f"{name} failed."))
    state = ok or (None if name.endswith("_differs") else False)
    return {"name": name, "ok": state, "sentence": f"{good if ok else bad}{numbers}"}


def _numbers(check: Any) -> str:
    value, tolerance = _value(check, "value"), _value(check, "tolerance")
    return f" Largest difference {value:.2g}, limit {tolerance:.2g}." if value or tolerance else ""


def _value(check: Any, name: str) -> Any:
    return check[name] if isinstance(check, Mapping) else getattr(check, name)
