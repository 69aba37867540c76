"""The page's border: a sentence stays a sentence, and foreign text in it stays text."""

import asyncio
import errno

import gradio as gr
import pytest

from pipeline.errors import UserError
from ui import errors, texts

PROBE = "<img src=x onerror=alert(1)><b id=probe>"


def refuse():
    raise UserError(f"There is no model {PROBE!r}; check the name.")


async def refuse_late():
    yield 1
    refuse()


def drain(stream):
    async def follow():
        return [update async for update in stream]

    return asyncio.run(follow())


@pytest.mark.parametrize("call", [errors.shown(refuse), lambda: drain(errors.shown(refuse_late)())])
def test_foreign_text_in_a_sentence_makes_no_element(call):
    """Messages are drawn as HTML."""
    with pytest.raises(gr.Error) as told:
        call()
    assert "<" not in told.value.message
    assert "There is no model" in told.value.message
    assert told.value.duration


def test_a_full_disk_is_no_fault_of_the_app():
    """And neither is one that can't be written to."""
    for code in (errno.ENOSPC, errno.EROFS):
        assert errors.message(OSError(code, "no")).message == texts.DISK_FULL


def test_a_bug_is_told_by_its_kind_only(capsys):
    """Its story goes to the app's log."""
    told = errors.message(KeyError("secret of a run"))
    assert "KeyError" in told.message
    assert "secret" not in told.message
    assert "secret of a run" in capsys.readouterr().err


def test_a_stream_is_an_async_generator():
    """A plain one could not be stopped before its next piece."""

    def plain():
        yield 1

    with pytest.raises(AssertionError, match="async generator"):
        errors.shown(plain)
