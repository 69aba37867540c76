"""Answers of several columns to their prompts, streamed together from one copy of the weights.

The adapter is switched per row of one batch where that is allowed (plain LoRA); everything else is generated in turn.
Prompts in, answers out; nothing is read or written.
"""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from tokenizers.decoders import DecodeStream
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from pipeline import kv_cache, sampling, switch, template
from pipeline.errors import UserError
from pipeline.schema import Decoding, Message
from pipeline.sides import Pair, context, pad_left, virtual_tokens

SPARE = 3 / 4  # a batch goes on without the rows that ended once no more than this share of it is left


@dataclass(frozen=True)
class Answer:
    """One side's answer. `stopped` is True when it ended by itself, False when it hit the limit (or was cut off).

    `seconds` run until its last token, `first` until its first one.
    """

    text: str
    tokens: int
    seconds: float
    stopped: bool
    first: float = 0.0


@dataclass
class _Row:
    """A prompt and what was said so far, in token ids."""

    ids: list[int]
    begun: float
    decoder: Any = None
    said: list[int] = field(default_factory=list)
    first: float = 0.0
    seconds: float = 0.0
    stopped: bool = False

    def take(self, token: int, stop_ids: frozenset[int]) -> None:
        self.seconds = time.monotonic() - self.begun
        self.first = self.first or self.seconds
        self.said.append(token)
        self.stopped = token in stop_ids

    def answer(self, tokenizer: Any) -> Answer:
        text = tokenizer.decode(self.said, skip_special_tokens=True)
        return Answer(text, len(self.said), self.seconds, self.stopped, self.first)


@dataclass
class _Batch(BaseStreamer, StoppingCriteria):
    """Takes each step's tokens of the rows it holds, hands on their text, and says when to leave the loop.

    That is within one token of the flag, or when enough rows ended. An exception would not be a clean way out.
    """

    rows: list[_Row]
    tokenizer: Any
    stop_ids: frozenset[int]
    stop: threading.Event
    least: float = 0.0
    on_piece: Callable[[int, str], None] | None = None
    _begun: bool = False

    def put(self, value: torch.Tensor) -> None:
        if not self._begun:  # the prompts come first, once, all of them
            self._begun = True
            return
        for place, (row, token) in enumerate(zip(self.rows, value.tolist(), strict=True)):
            if not row.stopped:
                row.take(token, self.stop_ids)
                if self.on_piece and (piece := row.decoder.step(self.tokenizer.backend_tokenizer, token)):
                    self.on_piece(place, piece)

    def end(self) -> None:
        """Nothing to close: the rows are read once generate has returned."""

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        last = input_ids[:, -1].tolist()
        alive = sum(not row.stopped and token not in self.stop_ids for row, token in zip(self.rows, last, strict=True))
        over = self.stop.is_set() or alive <= self.least
        return torch.full((len(input_ids),), over, dtype=torch.bool, device=input_ids.device)


def of_columns(
    pair: Pair,
    prompts: Mapping[str, Sequence[Sequence[int]]],
    decoding: Decoding,
    stop: threading.Event | None = None,
    on_piece: Callable[[str, str], None] | None = None,
) -> dict[str, list[Answer]]:
    """Each column's answers to its prompts of token ids, for any of the pair's columns; one batch where the pair mixes.

    Setting `stop` ends all within a token; what was said by then is returned, with `stopped` False. `on_piece(column,
    text)` is told what is said as it is. Raises UserError when a prompt leaves no room for an answer.
    """
    stop = stop or threading.Event()
    decoding = _within_context(pair, [prompt for asked in prompts.values() for prompt in asked], decoding)
    if pair.mode == "mixed":
        rows = [(column, prompt) for column, asked in prompts.items() for prompt in asked]
        tell = on_piece and (lambda place, piece: on_piece(rows[place][0], piece))
        names = [pair.adapter(column) for column, _ in rows]
        found = iter(_answer(pair, [prompt for _, prompt in rows], decoding, stop, tell, names))
        return {column: [next(found) for _ in asked] for column, asked in prompts.items()}
    return {column: _in_turn(pair, column, asked, decoding, stop, on_piece) for column, asked in prompts.items()}


def answers(
    pair: Pair, prompts: Sequence[Sequence[int]], decoding: Decoding, base: Sequence[Sequence[int]] | None = None
) -> list[tuple[Answer, Answer]]:
    """(base, tuned) for each prompt of token ids. `base` are the base's, if it reads others."""
    found = of_columns(pair, {"base": base or prompts, "tuned": prompts}, decoding)
    return list(zip(found["base"], found["tuned"], strict=True))


def stream(
    pair: Pair,
    asked: Mapping[str, Sequence[Message]],
    decoding: Decoding,
    stop: threading.Event | None = None,
    tools: Any = None,
) -> Iterator[tuple[str, str | Answer]]:
    """(column, piece of text) as the answers grow, then (column, Answer) for each. Setting `stop` ends all within a token.

    `asked` holds each column's conversation: the same at first, its own once it has answered.
    """
    prompts = {
        column: [template.prompt_ids(pair.reader(column), pair.template, said, tools)] for column, said in asked.items()
    }
    stop = stop or threading.Event()
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def generate() -> None:
        try:
            found = of_columns(pair, prompts, decoding, stop, lambda column, piece: told.put((column, piece)))
            for column, (answer,) in found.items():
                told.put((column, answer))
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


def _in_turn(
    pair: Pair,
    column: str,
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    stop: threading.Event,
    on_piece: Callable[[str, str], None] | None,
) -> list[Answer]:
    tell = on_piece and (lambda _, piece: on_piece(column, piece))
    alone = pair.mode == "base only"
    with contextlib.nullcontext() if alone else switch.only(pair.adapted, pair.adapter(column)):
        if not virtual_tokens(pair.adapted):
            return _answer(pair, prompts, decoding, stop, tell)
        # alone: padding would stand between its virtual tokens and the prompt
        return [answer for prompt in prompts for answer in _answer(pair, [prompt], decoding, stop, tell)]


def _answer(
    pair: Pair,
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    stop: threading.Event,
    on_piece: Callable[[int, str], None] | None,
    names: Sequence[str] = (),
) -> list[Answer]:
    """One batch, ever narrower: rows that ended leave it. `names` says each row's adapter where rows have their own."""
    begun = time.monotonic()
    rows = [_Row(list(prompt), begun, on_piece and DecodeStream(skip_special_tokens=True)) for prompt in prompts]
    drawn = sampling.processors(decoding)
    longest, alive = max(map(len, prompts), default=0), list(range(len(rows)))
    plain = rows and not virtual_tokens(pair.adapted)
    cache = kv_cache.fresh(pair.adapted, longest + decoding.max_new_tokens) if plain else None
    while alive and (left := decoding.max_new_tokens - len(rows[alive[0]].said)) and not stop.is_set():
        tell = on_piece and (lambda place, piece, held=tuple(alive): on_piece(held[place], piece))
        least = len(alive) * SPARE if cache else 0
        batch = _Batch([rows[i] for i in alive], pair.tokenizer, frozenset(pair.template.stop_ids), stop, least, tell)
        with switch.rows(pair.adapted, [names[i] for i in alive]) if names else contextlib.nullcontext():
            _decode(pair, batch, longest, left, drawn, cache)
        kept = [place for place, row in enumerate(batch.rows) if not row.stopped]
        if cache and 0 < len(kept) < len(alive):
            cache.batch_select_indices(torch.tensor(kept, device=pair.adapted.device))
        alive = [alive[place] for place in kept]
    return [row.answer(pair.tokenizer) for row in rows]


def _decode(pair: Pair, batch: _Batch, longest: int, left: int, drawn: LogitsProcessorList, cache: Any) -> None:
    """Let the batch's rows go on for `left` tokens at most, all of them padded as the longest of the first batch was."""
    settings = GenerationConfig(
        max_new_tokens=left,
        do_sample=False,
        eos_token_id=list(pair.template.stop_ids),
        pad_token_id=pair.tokenizer.pad_token_id,
    )
    pair.adapted.generation_config = settings  # the model's own would fill what is left open, a penalty for example
    written = longest + len(batch.rows[0].said)
    pair.adapted.generate(
        **pad_left([row.ids + row.said for row in batch.rows], pair.tokenizer, pair.adapted.device, written),
        generation_config=settings,
        logits_processor=drawn,
        stopping_criteria=StoppingCriteriaList([batch]),
        streamer=batch,
        **({"past_key_values": cache} if cache else {}),
    )


def _within_context(pair: Pair, prompts: Sequence[Sequence[int]], decoding: Decoding) -> Decoding:
    """Shorten the limit to what the model's context leaves. Raises UserError when it leaves nothing."""
    most, longest = context(pair), max(map(len, prompts), default=0)
    if most is None:
        return decoding
    if longest >= most:
        raise UserError(
            f"The prompt has {longest} tokens and the model reads {most}; shorten it to leave room for an answer."
        )
    return dataclasses.replace(decoding, max_new_tokens=min(decoding.max_new_tokens, most - longest))
