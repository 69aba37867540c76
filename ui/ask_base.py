"""The base answers one row of the data before anything is trained, beside the answer the data gives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import gradio as gr

from pipeline.errors import UserError
from pipeline.schema import Message, to_json
from ui import access, chat, children, errors, preview, texts
from ui.reading import ROW_SECONDS, question, read, split_answer

ANSWER_TOKENS = 256


@errors.shown
async def ask(
    request: gr.Request,
    profile: gr.OAuthProfile | None,
    number: float | None,
    *asked: Any,
) -> AsyncIterator[tuple[Any, ...]]:
    """The base answers the row's last question, before any training, beside the answer in the data."""
    access.visitor(request, profile, "ask the base")
    try:
        wanted = question(*asked)
        shown = await asyncio.to_thread(read, "preview", ROW_SECONDS, wanted, number=int(number) if number else None)
        messages, reference = split_answer(shown)
        yield preview.against_reference({"text": ""}, reference), *controls(texts.BASE_STARTING)
        async with aclosing(_follow(to_json(wanted.model), messages)) as told:
            async for answer, doing in told:
                yield preview.against_reference(answer, reference), gr.skip(), gr.skip(), preview.note(doing)
    except UserError as error:
        yield chat.failure(str(error)), *controls(None)
        return
    yield gr.skip(), *controls(None)


async def _follow(model: dict[str, Any], messages: list[Message]) -> AsyncIterator[tuple[dict[str, Any], str]]:
    """The answer as far as it is, and what is going on. Leaving it early stops the engine."""
    answer: dict[str, Any] = {"text": ""}
    doing = texts.BASE_STARTING
    decoding = {"max_new_tokens": ANSWER_TOKENS}
    told = children.follow(children.ENGINE, "ask_base", model=model, messages=messages, decoding=decoding)
    async with aclosing(told):
        async for items in told:
            for item in items:
                answer, doing = heard(item, answer, doing)
            yield answer, doing


def heard(item: dict[str, Any], answer: dict[str, Any], doing: str) -> tuple[dict[str, Any], str]:
    """The answer and what is going on, after one thing the engine has told."""
    if "result" in item:
        return item["result"]["base"], ""
    if "base" in item:
        return {"text": answer["text"] + item["base"]}, doing
    if "waiting" in item:
        return answer, texts.BASE_WAITING.format(whom=item["waiting"])
    return answer, texts.BASE_PHASES.get(item["phase"], item["phase"])


@errors.shown
def rest(request: gr.Request, profile: gr.OAuthProfile | None) -> tuple[Any, Any, str]:
    """Nobody waits for the base's answer any more."""
    access.visitor(request, profile)
    return controls(None)


def controls(doing: str | None) -> tuple[Any, Any, str]:
    """Ask or Stop, whichever can be used now, and beside it what is going on, or what Ask would do (doing is None)."""
    words = preview.note(texts.ASK_BASE_HELP if doing is None else doing)
    return gr.Button(visible=doing is None), gr.Button(visible=doing is not None), words
