"""Chat template and messages -> text, here or in a process of its own: what is pasted may loop for ever or grow without end.

`python -m pipeline.rendering`: that process. It reads and answers JSON lines, holds no secret, and the kernel ends it when
one text takes longer than SECONDS, whatever it is doing then and even if nobody is left to wait for it.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import TemplateError, TemplateSyntaxError

from pipeline.errors import UserError
from pipeline.schema import Message

SECONDS = 2.0  # for one text
MEMORY = 1 << 30  # bytes of address space; about 140 MB are in use before anything is rendered
GROWTH, SHORT = 20, 1 << 20  # a text may be so many times as long as what it is made of, or this long
GENERATION = ("{% generation", "{%- generation")
REFUSALS = (  # whatever a template's own code can raise
    TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError, SyntaxError,
)  # fmt: skip
KEPT = ("PATH", "HOME", "HF_HOME", "LANG")  # of the environment: no token
ROOT = Path(__file__).resolve().parent.parent


class TooSlow(UserError):
    """A template that did not end. Other rows would not fare better, so nothing more is tried."""


class Text(NamedTuple):
    """A rendered conversation; `answers` are the character spans between generation marks, where there are any."""

    text: str
    answers: list[tuple[int, int]]


def render(
    chat_template: str,
    messages: Sequence[Message],
    tools: Any = None,
    tokens: Mapping[str, Any] | None = None,
    prompt: bool = False,
    guarded: bool = False,
) -> Text:
    """The text of a conversation; with `prompt`, up to where the next answer begins. `tokens`: {"eos_token": text, ...}.

    Raises UserError when the template refuses the conversation, can't be read, or (guarded) does not end.
    """
    kept = [{key: value for key, value in message.items() if value is not None} for message in messages]
    known = dict(tokens or {})
    if not guarded:
        return _render(chat_template, kept, tools or None, known, prompt)
    return _guard.ask(
        {"chat_template": chat_template, "messages": kept, "tools": tools or None, "tokens": known, "prompt": prompt}
    )


def _render(
    chat_template: str, messages: list[dict[str, Any]], tools: Any, tokens: dict[str, Any], prompt: bool
) -> Text:
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        made: Any = render_jinja_template(
            [messages],
            tools=tools,
            chat_template=chat_template,
            return_assistant_tokens_mask=any(mark in chat_template for mark in GENERATION),
            add_generation_prompt=prompt,
            **tokens,
        )
    except TemplateSyntaxError as error:
        raise UserError(
            f"The chat template can't be read: {_at_line(error.lineno, chat_template)}{str(error.message).rstrip('.')}."
        ) from (error)
    except REFUSALS as error:
        told = str(error) or type(error).__name__
        line = None if type(error) is TemplateError else _line(error)  # the template's own words need no line
        raise UserError(
            f"The chat template refuses this conversation: {_at_line(line, chat_template)}{told}"
        ) from error
    (text,), answers = made
    return Text(text, [(a, b) for a, b in answers[0]] if answers else [])


def _line(error: Exception) -> int | None:
    """The template's line in which an error came up."""
    trace, line = error.__traceback__, None
    while trace:
        if trace.tb_frame.f_code.co_filename in ("<template>", "<unknown>"):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _at_line(line: int | None, chat_template: str) -> str:
    lines = chat_template.splitlines()
    return f"line {line} ({lines[line - 1].strip()[:80]!r}): " if line and 0 < line <= len(lines) else ""


class _Guard:
    """The process for pasted templates: started at the first one, and again after it was ended. Any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, question: dict[str, Any]) -> Text:
        line = json.dumps(question).encode() + b"\n"
        with self._lock:
            answer = self._answer(line)
        if "error" in answer:
            raise UserError(answer["error"])
        return Text(answer["text"], [(a, b) for a, b in answer["answers"]])

    def _answer(self, line: bytes) -> dict[str, Any]:
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        told = b""
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(line)
            process.stdin.flush()
            told = process.stdout.readline()
        if told.endswith(b"\n"):
            return dict(json.loads(told))
        ended = process.wait()
        self._process = None
        why = f"within {SECONDS:.0f} s" if ended == -signal.SIGALRM else f"well (its process left with {ended})"
        raise TooSlow(f"The chat template did not end {why} and was stopped; mend it or choose another.")

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            environment = {key: os.environ[key] for key in KEPT if key in os.environ}
            path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.rendering"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env={**environment, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
            )  # fmt: skip
        return self._process

    def end(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()


_guard = _Guard()
atexit.register(_guard.end)


def serve() -> None:
    """Answer until whoever asks is gone."""
    import transformers.utils.chat_template_utils  # noqa: F401  # a second, which is none of a template's two

    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with contextlib.suppress(OSError, ValueError):  # macOS has no such limit; there only time is short
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for line in sys.stdin.buffer:
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        told = json.dumps(_answered(line)).encode()
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.stdout.buffer.write(told + b"\n")
        sys.stdout.buffer.flush()


def _answered(line: bytes) -> dict[str, Any]:
    try:
        text, answers = _render(**json.loads(line))
    except UserError as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": f"The chat template needs more than {MEMORY >> 30} GB of memory; mend it or choose another."}
    if len(text) > max(SHORT, GROWTH * len(line)):
        return {
            "error": f"The chat template makes {len(text):,} characters of {len(line):,}; mend it or choose another."
        }
    return {"text": text, "answers": answers}


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        serve()
    os._exit(0)
