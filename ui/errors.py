"""The page's border: a UserError becomes its sentence in a message, anything else is a bug and says so."""

from __future__ import annotations

import errno
import functools
import html
import inspect
import traceback
import typing
from collections.abc import Callable
from typing import Any

import gradio as gr

from pipeline.errors import UserError
from ui import texts

SECONDS = 15.0  # it lies over the run at the top, so it goes by itself


def shown(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of every handler, plain, generator or async generator; what it makes is of the same kind."""
    if inspect.isasyncgenfunction(handler):

        @functools.wraps(handler)
        async def streaming(*values: Any, **named: Any) -> Any:
            try:
                async for update in handler(*values, **named):
                    yield update
            except Exception as error:
                raise message(error) from error

        return _looked_through(streaming)
    assert not inspect.isgeneratorfunction(handler), "stream with an async generator: a plain one can't be stopped"

    @functools.wraps(handler)
    def plain(*values: Any, **named: Any) -> Any:
        try:
            return handler(*values, **named)
        except Exception as error:
            raise message(error) from error

    return _looked_through(plain)


def _looked_through(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Its arguments and their types, looked up once: Gradio does at every call."""
    handler.__signature__ = inspect.signature(handler)  # type: ignore[attr-defined]
    handler.__annotations__ = typing.get_type_hints(handler)
    return handler


def message(error: Exception) -> gr.Error:
    """What the page shows for it."""
    if isinstance(error, gr.Error):
        return error
    if isinstance(error, UserError):
        return shown_as(str(error))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return shown_as(texts.DISK_FULL)
    traceback.print_exception(error)
    return shown_as(texts.BUG.format(kind=type(error).__name__))


def shown_as(sentence: str) -> gr.Error:
    """A message is drawn as HTML: what stands in foreign text must not become an element."""
    return gr.Error(html.escape(sentence, quote=False), duration=SECONDS, print_exception=False)
