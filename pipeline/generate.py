"""Replies of base and tuned to one prompt, streamed together from one copy of the weights.

The adapter is switched per row of one batch where PEFT allows it (plain LoRA); everything else is generated in turn.
Every load proves by logits which side is which before a single answer is shown.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers.decoders import DecodeStream
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList
from transformers.generation.logits_process import TemperatureLogitsWarper, TopPLogitsWarper
from transformers.generation.streamers import BaseStreamer

from pipeline import jobs, model, template
from pipeline.errors import UserError
from pipeline.schema import Check, Message, Model
from pipeline.template import Template

ADAPTER = "default"
BASE = "__base__"
SIDES = ("base", "tuned")
PROBES = ("Hello", "What is the colour of the sky?", "Say this: The door is open.", "Name three things you can do.")
TOLERANCE_32_BIT = 1e-5
TOLERANCE_16_BIT = 1 / 20  # of the median difference between tuned and base


@dataclass(frozen=True)
class Decoding:
    """How an answer is chosen; temperature 0 is greedy. Both sides always get the same."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 42


@dataclass(frozen=True)
class Answer:
    """One side's answer. `stopped` is True when it ended by itself, False when it hit the limit (or was cut off)."""

    text: str
    tokens: int
    seconds: float
    stopped: bool


@dataclass(frozen=True)
class Pair:
    """Base and tuned, from one copy of the weights. `mode` is "mixed" or "in turn"."""

    adapted: Any
    tokenizer: Any
    template: Template
    mode: str
    self_test: dict[str, Check]

    @property
    def trusted(self) -> bool:
        """Whether each side is what it says. An adapter that changes nothing is no breach of that."""
        return all(check.ok for name, check in self.self_test.items() if name != "tuned_differs")


def open_pair(named: Model) -> Pair:
    """Load a base, attach the adapter, and prove which side is which. Raises UserError for an adapter that does not fit."""
    if named.adapter is None:
        raise UserError("This run has no adapter yet; train it to its end, or stop it with `stop`, which keeps one.")
    tokenizer = model.tokenizer(named)
    chosen = template.choose(tokenizer, model.stop_ids(named))
    base = model.base(named)
    probe = pad_left(
        [template.prompt_ids(tokenizer, chosen, [{"role": "user", "content": p}]) for p in PROBES],
        tokenizer,
        base.device,
    )
    bare = logits(base, probe)
    adapted, complete = attach(base, Path(named.adapter))
    mode, checks = proven(adapted, probe, bare)
    return Pair(adapted, tokenizer, chosen, mode, {**checks, "adapter_complete": complete})


def proven(adapted: Any, probe: dict[str, torch.Tensor], bare: torch.Tensor) -> tuple[str, dict[str, Check]]:
    """The mode to answer in, with its self-test: mixed where the adapter allows it and the test passes, else in turn."""
    if can_mix(adapted.peft_config[ADAPTER]):
        try:
            checks = self_test(adapted, probe, bare, "mixed")
            if checks["base_is_base"].ok and checks["tuned_is_tuned"].ok:
                return "mixed", checks
        except ValueError:  # a model whose layers see another batch than it was given: OPT lays its rows end to end
            for module in adapted.modules():
                module._forward_pre_hooks.clear()  # PEFT leaves them behind when it raises
    return "in turn", self_test(adapted, probe, bare, "in turn")


def of_run(folder: Path) -> Model:
    """The model a run trained, as it is judged. Raises UserError when the base is not the one it was trained on."""
    run = jobs.load(folder)
    adapter = folder / "adapter"
    remembered = jobs.read_json(folder / "base.json") if (folder / "base.json").exists() else None
    named = Model(
        run.model, remembered and remembered["revision"], str(adapter) if adapter.exists() else None, run.config.memory
    )
    if remembered and model.identity(named)["fingerprint"] != remembered["fingerprint"]:
        raise UserError(f"{run.model} has changed since this run was trained on it; restore it, or train again.")
    return named


def check_template(folder: Path, chosen: Template) -> None:
    """Refuse to judge or merge under another prompt format than the one that was trained."""
    if chosen.hashes() != jobs.read_json(folder / "base.json")["templates"]:
        raise UserError(
            "The model's chat template is not the one this run was trained with; restore it, or train again."
        )


def attach(base: Any, adapter: Path) -> tuple[Any, Check]:
    """The base with the adapter on it, and the proof that every tensor of the file found its place.

    Raises UserError when one did not: half an adapter is another model (unsloth dropped 65 % of one silently).
    """
    try:
        saved = load_file(adapter / "adapter_model.safetensors")
    except (OSError, SafetensorError) as error:
        raise UserError(f"{adapter} can't be read ({error}); restore it, or train again.") from error
    try:
        adapted = PeftModel.from_pretrained(base, str(adapter), adapter_name=ADAPTER).eval()
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(f"{adapter} does not fit this base: {' '.join(str(error).split())[:300]}") from error
    found = get_peft_model_state_dict(adapted, adapter_name=ADAPTER)
    strays = sorted(set(saved) ^ set(found))
    strays += [n for n in set(saved) & set(found) if not torch.equal(saved[n].float(), found[n].float().cpu())]
    if strays:
        raise UserError(
            f"{len(strays)} of {len(saved)} tensors of {adapter.name} found no place in this base (first: {strays[0]}); "
            "it belongs to another model."
        )
    return adapted, Check(True, 0.0, 0.0)


def can_mix(config: Any) -> bool:
    """Whether PEFT switches this adapter per row. An allow-list: other kinds raise, or give the tuned answer on both."""
    plain = type(config) is LoraConfig and not (config.use_dora or config.target_parameters or config.modules_to_save)
    starts = config.init_lora_weights if plain else None
    return plain and starts in (True, False, "gaussian") and not getattr(config, "alora_invocation_tokens", None)


def self_test(adapted: Any, probe: dict[str, torch.Tensor], bare: torch.Tensor, mode: str) -> dict[str, Check]:
    """Like with like: the same batch with the adapter per row, off, on, and as the base gave it before there was one."""
    both = {key: torch.cat([value, value]) for key, value in probe.items()}
    count = len(bare)
    with adapted.disable_adapter():
        off, alone = logits(adapted, both), logits(adapted, probe)
    on = logits(adapted, both)
    names = [BASE] * count + [ADAPTER] * count
    mixed = logits(adapted, both, adapter_names=names) if mode == "mixed" else torch.cat([off[:count], on[count:]])
    seen = probe["attention_mask"].bool()
    change = (on[count:] - off[:count])[seen].abs()
    half = model.compute_dtype(adapted) != torch.float32
    tolerance = max(TOLERANCE_32_BIT, float(change.median()) * TOLERANCE_16_BIT) if half else TOLERANCE_32_BIT
    far = typical if half else largest
    base_error = max(far(mixed[:count], off[:count], seen), far(alone, bare, seen))
    tuned_error = far(mixed[count:], on[count:], seen)
    return {
        "base_is_base": Check(base_error <= tolerance, base_error, tolerance),
        "tuned_is_tuned": Check(tuned_error <= tolerance, tuned_error, tolerance),
        "tuned_differs": Check(float(change.max()) > TOLERANCE_32_BIT, float(change.max()), TOLERANCE_32_BIT),
    }


def largest(one: torch.Tensor, other: torch.Tensor, seen: torch.Tensor) -> float:
    """Largest absolute difference at the positions that are not padding; not a number counts as infinite."""
    difference = (one - other)[seen].abs().max()
    return float(difference) if torch.isfinite(difference) else float("inf")


def typical(one: torch.Tensor, other: torch.Tensor, seen: torch.Tensor) -> float:
    """The worst row's median absolute difference: 16-bit rounding has wide tails, another model moves the middle."""
    medians = [float((a - b)[s].abs().median()) for a, b, s in zip(one, other, seen, strict=True)]
    return max(m if m == m else float("inf") for m in medians)


@torch.no_grad()
def logits(loaded: Any, batch: dict[str, torch.Tensor], **options: Any) -> torch.Tensor:
    """Scores of every position, in 32 bit: (rows, tokens, vocabulary)."""
    positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    result: torch.Tensor = loaded(**batch, position_ids=positions, use_cache=False, **options).logits.float()
    return result


def pad_left(prompts: Sequence[Sequence[int]], tokenizer: Any, device: torch.device) -> dict[str, torch.Tensor]:
    """Prompts as one batch, padded on the left so that every answer begins at the same column."""
    longest = max(map(len, prompts))
    ids = [[tokenizer.pad_token_id] * (longest - len(p)) + list(p) for p in prompts]
    mask = [[0] * (longest - len(p)) + [1] * len(p) for p in prompts]
    return {"input_ids": torch.tensor(ids, device=device), "attention_mask": torch.tensor(mask, device=device)}


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


def answers(pair: Pair, prompts: Sequence[Sequence[int]], decoding: Decoding) -> list[tuple[Answer, Answer]]:
    """(base, tuned) for each prompt of token ids, all generated as one batch."""
    found = _generate(pair, prompts, decoding, threading.Event(), None)
    return list(zip(found[: len(prompts)], found[len(prompts) :], strict=True))


def stream(
    pair: Pair, messages: Sequence[Message], decoding: Decoding, stop: threading.Event | None = None, tools: Any = None
) -> Iterator[tuple[str, str | Answer]]:
    """(side, piece of text) as both answers grow, then (side, Answer) for each. Setting `stop` ends both within a token."""
    prompt = template.prompt_ids(pair.tokenizer, pair.template, messages, tools)
    stop = stop or threading.Event()
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def generate() -> None:
        try:
            found = _generate(pair, [prompt], decoding, stop, lambda row, piece: told.put((SIDES[row], piece)))
            for side, answer in zip(SIDES, found, strict=True):
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
    pair: Pair, prompts: Sequence[Sequence[int]], decoding: Decoding, stop: threading.Event, on_piece: Any
) -> list[Answer]:
    """Answers of the base to all prompts, then of the tuned model to all prompts."""
    decoding = _within_context(pair, prompts, decoding)
    if pair.mode == "mixed":
        names = [BASE] * len(prompts) + [ADAPTER] * len(prompts)
        return _batch(pair, [*prompts, *prompts], decoding, len(prompts), stop, on_piece, adapter_names=names)
    with pair.adapted.disable_adapter():
        base = _batch(pair, prompts, decoding, len(prompts), stop, on_piece)
    shifted = on_piece and (lambda row, piece: on_piece(row + len(prompts), piece))
    return base + _batch(pair, prompts, decoding, len(prompts), stop, shifted)


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
    context = getattr(pair.adapted.config.get_text_config(), "max_position_embeddings", None)
    longest = max(map(len, prompts))
    if context is None:
        return decoding
    if longest >= context:
        raise UserError(
            f"The prompt has {longest} tokens and the model reads {context}; shorten it to leave room for an answer."
        )
    return dataclasses.replace(decoding, max_new_tokens=min(decoding.max_new_tokens, context - longest))
