"""Replies of base and tuned to one prompt, streamed together from one copy of the weights.

The adapter is switched per row of one batch where PEFT allows it (plain LoRA); everything else is generated in turn.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from tokenizers.decoders import DecodeStream
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList
from transformers.generation.logits_process import TemperatureLogitsWarper, TopPLogitsWarper
from transformers.generation.streamers import BaseStreamer

from pipeline import template
from pipeline.errors import UserError
from pipeline.schema import Decoding, Message
from pipeline.sides import ADAPTER, BASE, Pair, context, pad_left, virtual_tokens

SIDES = ("base", "tuned")


@dataclass(frozen=True)
class Answer:
    """One side's answer. `stopped` is True when it ended by itself, False when it hit the limit (or was cut off)."""

    text: str
    tokens: int
    seconds: float
    stopped: bool


@dataclass
class _Rows(BaseStreamer):
    """Takes each step's tokens of all rows; counts them, decodes piece by piece, and knows when a row ended."""

    tokenizer: Any
    stop_ids: frozenset[int]
    on_piece: Any = None
    begun: float = field(default_factory=time.monotonic)
    tokens: list[list[int]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    stopped: list[bool] = field(default_factory=list)

    def put(self, value: torch.Tensor) -> None:
        if not self.tokens:  # the prompts come first, once, all of them
            self.tokens = [[] for _ in range(len(value))]
            self.seconds, self.stopped = [0.0] * len(value), [False] * len(value)
            self._decoders = [DecodeStream(skip_special_tokens=True) for _ in range(len(value))]
            return
        for row, token in enumerate(value.tolist()):
            if self.stopped[row]:
                continue
            self.stopped[row] = token in self.stop_ids
            self.tokens[row].append(token)
            self.seconds[row] = time.monotonic() - self.begun
            piece = self._decoders[row].step(self.tokenizer.backend_tokenizer, token) if self.on_piece else None
            if piece:
                self.on_piece(row, piece)

    def end(self) -> None:
        """Nothing to close: the answers are read once generate has returned."""

    def answers(self) -> list[Answer]:
        return [
            Answer(self.tokenizer.decode(tokens, skip_special_tokens=True), len(tokens), seconds, stopped)
            for tokens, seconds, stopped in zip(self.tokens, self.seconds, self.stopped, strict=True)
        ]


class _StopWhen(StoppingCriteria):
    """Ends generation within one token of the flag. An exception would leave PEFT's hooks behind."""

    def __init__(self, flag: threading.Event) -> None:
        self.flag = flag

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return torch.full((len(input_ids),), self.flag.is_set(), dtype=torch.bool, device=input_ids.device)


class _SharedNoise(LogitsProcessor):
    """Sampling by the Gumbel-max trick with the same noise for a prompt's base row and its tuned row.

    argmax(logits + Gumbel noise) is a draw from softmax(logits); shared noise makes the two sides differ only where the
    models do, whatever the batch and whether they are generated together or in turn.
    """

    def __init__(self, prompts: int, seed: int) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for _ in range(prompts)]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        uniform = torch.stack([torch.rand(scores.shape[-1], generator=g) for g in self.generators]).to(scores.device)
        noise = -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
        return scores.float() + noise.repeat(len(scores) // len(noise), 1)


def answers(
    pair: Pair, prompts: Sequence[Sequence[int]], decoding: Decoding, base: Sequence[Sequence[int]] | None = None
) -> list[tuple[Answer, Answer]]:
    """(base, tuned) for each prompt of token ids, all generated as one batch. `base` are the base's, if it reads others."""
    found = _generate(pair, base or prompts, prompts, decoding, threading.Event(), None)
    return list(zip(found[: len(prompts)], found[len(prompts) :], strict=True))


def stream(
    pair: Pair,
    asked: Mapping[str, Sequence[Message]],
    decoding: Decoding,
    stop: threading.Event | None = None,
    tools: Any = None,
) -> Iterator[tuple[str, str | Answer]]:
    """(side, piece of text) as the answers grow, then (side, Answer) for each. Setting `stop` ends all within a token.

    `asked` holds each side's conversation: the same at first, its own once it has answered. Without "tuned" only the base
    is asked.
    """
    prompts = {
        side: [template.prompt_ids(pair.reader(side), pair.template, asked[side], tools)] if side in asked else []
        for side in SIDES
    }
    stop = stop or threading.Event()
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def generate() -> None:
        try:
            pieces: Any = lambda row, piece: told.put((SIDES[row], piece))  # noqa: E731
            found = _generate(pair, prompts["base"], prompts["tuned"], decoding, stop, pieces)
            for side, answer in zip(asked, found, strict=True):
                told.put((side, answer))
            told.put(None)
        except Exception as error:
            told.put(error)

    thread = threading.Thread(target=generate, daemon=True)
    thread.start()
    try:
        while (item := told.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()


def _generate(
    pair: Pair,
    base: Sequence[Sequence[int]],
    tuned: Sequence[Sequence[int]],
    decoding: Decoding,
    stop: threading.Event,
    on_piece: Any,
) -> list[Answer]:
    """Answers of the base to its prompts, then of the tuned model to its own."""
    decoding = _within_context(pair, [*base, *tuned], decoding)
    if pair.mode == "mixed" and tuned:
        names = [BASE] * len(base) + [ADAPTER] * len(tuned)
        return _batch(pair, [*base, *tuned], decoding, len(base), stop, on_piece, adapter_names=names)
    with pair.adapted.disable_adapter() if pair.mode != "base only" else contextlib.nullcontext():
        found = _batch(pair, base, decoding, len(base), stop, on_piece)
    if not tuned:
        return found
    shifted = on_piece and (lambda row, piece: on_piece(row + len(base), piece))
    if not virtual_tokens(pair.adapted):
        return found + _batch(pair, tuned, decoding, len(tuned), stop, shifted)
    for row, prompt in enumerate(tuned):  # alone: padding would stand between its virtual tokens and the prompt
        told = shifted and functools.partial(lambda row, _, piece: shifted(row, piece), row)
        found += _batch(pair, [prompt], decoding, 1, stop, told)
    return found


def _batch(
    pair: Pair,
    rows: Sequence[Sequence[int]],
    decoding: Decoding,
    prompts: int,
    stop: threading.Event,
    on_piece: Any,
    **options: Any,
) -> list[Answer]:
    streamer = _Rows(pair.tokenizer, frozenset(pair.template.stop_ids), on_piece)
    settings = GenerationConfig(
        max_new_tokens=decoding.max_new_tokens,
        do_sample=False,
        eos_token_id=list(pair.template.stop_ids),
        pad_token_id=pair.tokenizer.pad_token_id,
    )
    pair.adapted.generation_config = settings  # the model's own would fill what is left open, a penalty for example
    pair.adapted.generate(
        **pad_left(rows, pair.tokenizer, pair.adapted.device),
        generation_config=settings,
        logits_processor=_sampling(decoding, prompts),
        stopping_criteria=StoppingCriteriaList([_StopWhen(stop)]),
        streamer=streamer,
        **options,
    )
    return streamer.answers()


def _sampling(decoding: Decoding, prompts: int) -> LogitsProcessorList:
    if decoding.temperature <= 0:
        return LogitsProcessorList()
    narrow = [TopPLogitsWarper(float(decoding.top_p))] if decoding.top_p < 1 else []
    return LogitsProcessorList(
        [TemperatureLogitsWarper(float(decoding.temperature)), *narrow, _SharedNoise(prompts, decoding.seed)]
    )


def _within_context(pair: Pair, prompts: Sequence[Sequence[int]], decoding: Decoding) -> Decoding:
    """Shorten the limit to what the model's context leaves. Raises UserError when it leaves nothing."""
    most, longest = context(pair), max(map(len, prompts))
    if most is None:
        return decoding
    if longest >= most:
        raise UserError(
            f"The prompt has {longest} tokens and the model reads {most}; shorten it to leave room for an answer."
        )
    return dataclasses.replace(decoding, max_new_tokens=min(decoding.max_new_tokens, most - longest))
