"""The merge's check, the upload's progress and the model card as HTML. Pure functions; everything foreign is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from ui import texts

KINDS = {
    "finished": "good",
    "running": "plain",
    "stopped": "warn",
    "interrupted": "warn",
    "failed": "bad",
    "new": "plain",
}


def merging(status: str, phase: str, text: str, check: Mapping[str, Any] | None) -> str:
    """Where the merge stands, and the numbers of its check."""
    if status == "new" and not check:
        return f'<p class="quiet">{escape(texts.NOT_MERGED)}</p>'
    if not check or status == "running":
        return state(texts.MERGE_STATES, status, phase, text)
    if check["ok"]:  # the folder is what counts: a later merge that never began has taken nothing away
        status = "finished"
    return state(texts.MERGE_STATES, status, phase, text) + facts(check_facts(check))


def check_facts(check: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (f"{check['identical_answers']:.0%}", texts.SAME_ANSWERS.format(n=check["prompts"])),
        (f"{check['max_logit_difference']:.1e}", texts.LARGEST_DIFFERENCE),
        (f"{check['difference']:.1e}", texts.TYPICAL_DIFFERENCE.format(tolerance=check["tolerance"])),
        (f"{check['kl']:.1e}", texts.KL),
        (str(check["dtype"]), texts.SAVED_AS),
    ]


def uploading(status: str, phase: str, text: str, values: Mapping[str, Any]) -> str:
    """Where the upload stands: bytes so far, then the link."""
    if status == "new":
        return ""
    shown = state(texts.PUBLISH_STATES, status, phase, text)
    if status == "finished":
        url = escape(str(values["url"]), quote=True)
        files = texts.PUBLISHED_FILES.format(n=len(values["files"]), revision=str(values["revision"])[:8])
        return shown + f'<p><a href="{url}" target="_blank" rel="noopener">{url}</a><br>{escape(files)}</p>'
    if status == "running" and values.get("total"):
        return shown + progress(values["done"], values["total"], str(values.get("file", "")))
    return shown


def progress(done: float, total: float, file: str) -> str:
    share = min(1.0, done / total)
    words = texts.BYTES.format(done=done / 1e6, total=total / 1e6, file=file)
    return (
        f'<div class="bar" role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{share * 100:.0f}"'
        f' aria-label="{escape(texts.UPLOADED)}"><i style="width:{share:.1%}"></i></div>'
        f'<p class="quiet">{escape(words)}</p>'
    )


def state(words: Mapping[str, str], status: str, phase: str, text: str) -> str:
    """A chip with what it is, and the sentence behind it: the phase while it works, the reason when it failed."""
    said = text if status == "failed" else ""
    if status == "running":
        said = text if phase == "queued" and text else texts.JOB_PHASES.get(phase, phase)
    role = ' role="alert"' if status == "failed" else ""
    return f'<p{role}><span class="chip {KINDS[status]}">{escape(words[status])}</span> {escape(said)}</p>'


def facts(pairs: list[tuple[str, str]]) -> str:
    return (
        '<ul class="facts">'
        + "".join(f"<li><b>{escape(b)}</b><span>{escape(s)}</span></li>" for b, s in pairs)
        + "</ul>"
    )


def card(text: str) -> str:
    """The model card exactly as it will be written."""
    return (
        f'<pre class="card scroll" tabindex="0" role="region" aria-label="{escape(texts.CARD)}">{escape(text)}</pre>'
        if text
        else f'<p class="quiet">{escape(texts.NO_CARD)}</p>'
    )
