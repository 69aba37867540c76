"""The loss of a training step on a CPU, from what it needs alone: rows without padding, the head where something is learned.

TRL's own scores every position, and pads all rows of a batch to the longest. Here rows of similar length are computed
together, and the language-model head scores trained positions only. The same rows make a step, and its loss and gradients
are the same; where that is not proven for a model, its own way is taken. On CUDA TRL's kernel leaves out positions itself.
This file needs nothing else of this project: the script of a run takes a copy along.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
import transformers
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint
from trl import SFTTrainer

IGNORED = -100
MOST_SCORES = 1 << 27  # 32-bit numbers held for the backward pass, 512 MiB; what is more is computed again there
CALL = 64  # tokens that one more pass through the model costs before it computes any; speed is flat from 32 to 128
MOST_TOGETHER = 128  # rows of a group; all ways to cut more rows would take longer to try than they save
PROBE = (8, 5)  # tokens of the rows on which a model is tried out
SAME, NEARLY = 1e-5, 0.02  # largest difference between equal values, of the largest of these, in 32 bit and in less

Part = tuple[dict[str, Any], torch.Tensor]
"""What the model takes, and for each position the token that follows it, -100 where nothing is learned: (rows, tokens)."""


def grouped(lengths: Sequence[int]) -> list[list[int]]:
    """Which rows are computed together, the longest first: the groups with the fewest tokens, padding and calls included."""
    rows = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    cost, begins = [0], [0]
    for end in range(1, len(rows) + 1):
        tried = range(max(0, end - MOST_TOGETHER), end)
        least, begin = min((cost[begin] + (end - begin) * lengths[rows[begin]] + CALL, begin) for begin in tried)
        cost.append(least)
        begins.append(begin)
    groups, end = [], len(rows)
    while end:
        groups.append(rows[begins[end] : end])
        end = begins[end]
    return groups[::-1]


def apart(inputs: dict[str, Any]) -> list[Part]:
    """A batch that is padded on the right, or packed, as groups of rows of similar length.

    Where attention looks back only, nothing after the last learned token of a row matters: it is left out, and what is
    padded within a group needs no mask.
    """
    rows = [(ids[:-1], labels[1:]) for ids, labels in _rows(inputs)]
    ends = [int((wanted != IGNORED).nonzero().max()) + 1 if (wanted != IGNORED).any() else 0 for _, wanted in rows]
    rows = [(ids[:end], wanted[:end]) for (ids, wanted), end in zip(rows, ends, strict=True) if end]
    if not rows:
        return as_laid(inputs)
    return [
        (
            {"input_ids": pad_sequence([rows[n][0] for n in group], batch_first=True)},
            pad_sequence([rows[n][1] for n in group], batch_first=True, padding_value=IGNORED),
        )
        for group in grouped([len(ids) for ids, _ in rows])
    ]


def _rows(inputs: dict[str, Any]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Ids and labels of each row, without padding."""
    ids, labels = inputs["input_ids"], inputs["labels"]
    if "position_ids" in inputs:  # rows laid end to end; each begins at position 0
        begins = (inputs["position_ids"].flatten() == 0).nonzero().flatten().tolist()
        spans = pairwise([*begins, ids.numel()])
        return [(ids.flatten()[begin:end], labels.flatten()[begin:end]) for begin, end in spans]
    lengths = inputs["attention_mask"].sum(1).tolist() if "attention_mask" in inputs else [ids.shape[1]] * len(ids)
    return [(row[:length], wanted[:length]) for row, wanted, length in zip(ids, labels, lengths, strict=True)]


def as_laid(inputs: dict[str, Any]) -> list[Part]:
    """A batch as it is."""
    labels = inputs["labels"]
    following = torch.cat([labels[:, 1:], labels.new_full((len(labels), 1), IGNORED)], 1)
    return [({key: value for key, value in inputs.items() if key != "labels"}, following)]


def loss(loaded: Any, parts: Sequence[Part], trained: Any = None) -> torch.Tensor:
    """Cross-entropy summed over the trained positions of a batch, divided by `trained` of them (these, if left out)."""
    hidden, wanted = learned(loaded, parts)
    head = loaded.get_output_embeddings()
    rows = max(1, MOST_SCORES // head.weight.shape[0])
    if len(hidden) <= rows:
        total = _summed(head, hidden, wanted)
    else:
        pieces = zip(hidden.split(rows), wanted.split(rows), strict=True)
        total = torch.stack([checkpoint(_summed, head, h, w, use_reentrant=False) for h, w in pieces]).sum()
    return total / torch.as_tensor(len(wanted) if trained is None else trained).clamp(min=1)


def _summed(head: Any, hidden: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return cross_entropy(head(hidden).float(), wanted, reduction="sum")


def learned(loaded: Any, parts: Sequence[Part]) -> tuple[torch.Tensor, torch.Tensor]:
    """Last hidden states of the trained positions (positions, width), and the tokens wanted there (positions)."""
    hidden, wanted = [], []
    for inputs, following in parts:
        where = following != IGNORED
        hidden.append(_hidden(loaded, inputs)[where])
        wanted.append(following[where])
    return torch.cat(hidden), torch.cat(wanted)


def _hidden(loaded: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """Last hidden states: (rows, tokens, width)."""
    model = loaded.get_base_model() if hasattr(loaded, "get_base_model") else loaded
    states: torch.Tensor = model.base_model(**{**inputs, "use_cache": False}).last_hidden_state
    return states


@contextlib.contextmanager
def _at_rest(loaded: Any) -> Iterator[None]:
    """Without gradients and dropout."""
    was = loaded.training
    loaded.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        loaded.train(was)


def fits(loaded: Any) -> bool:
    """Whether this model's scores are its head's on its last hidden states and nothing else, tried out on two rows.

    False for soft caps and scales, which vanish in small scores (so what the head gave is compared to the last bit), and
    for virtual tokens before the prompt.
    """
    if _prompted(loaded):
        return False
    batch, heard = _probe(loaded), []
    hook = loaded.get_output_embeddings().register_forward_hook(lambda _, given, made: heard.append((given[0], made)))
    try:
        with _at_rest(loaded):
            scores = loaded(**batch, use_cache=False).logits
            [(inputs, _)] = as_laid(batch)
            hidden = _hidden(loaded, inputs)
    finally:
        hook.remove()
    if len(heard) != 1 or scores.shape != heard[0][1].shape:
        return False
    [(given, made)] = heard
    return bool((scores.float() == made.float()).all()) and _same(hidden, given)


def looks_back_only(loaded: Any) -> bool:
    """Whether a row's hidden states stay the same when what comes after it is not masked, tried out on two rows."""
    batch = _probe(loaded)
    with _at_rest(loaded):
        return _same(learned(loaded, apart(batch))[0], learned(loaded, as_laid(batch))[0])


def fused_fits(loaded: Any) -> bool:
    """Whether TRL's loss, which knows the soft caps and scales of some families, is this model's own."""
    batch = _probe(loaded)
    with _at_rest(loaded):
        return _same(loaded(**batch, use_cache=False, fused_lm_head=True).loss, loaded(**batch, use_cache=False).loss)


def way(loaded: Any) -> str:
    """Who computes the loss: our "head" on trained positions, "TRL", or the "model" itself, which needs most memory."""
    if _prompted(loaded):
        return "TRL"
    return "head" if fits(loaded) else "TRL" if fused_fits(loaded) else "model"


def told(trainer: Any) -> str:
    """What was chosen for a run, as a sentence; "" for TRL's own trainer, which has no choice."""
    if not isinstance(trainer, Trainer):
        return ""
    if trainer.way != "head":
        return (
            "Every position is scored: for this method or model, scoring only what is learned is not proven the same."
        )
    if trainer.lay == apart:
        return (
            "Rows of similar length are computed together, and only what is learned is scored: the same steps, faster."
        )
    return "Only what is learned is scored: the same steps, faster. Rows keep their padding."


def _prompted(loaded: Any) -> bool:
    return bool(getattr(getattr(loaded, "active_peft_config", None), "is_prompt_learning", False))


def _probe(loaded: Any) -> dict[str, torch.Tensor]:
    ids = torch.arange(len(PROBE) * max(PROBE)).reshape(len(PROBE), -1) % loaded.get_input_embeddings().weight.shape[0]
    mask = (torch.arange(max(PROBE))[None] < torch.tensor(PROBE)[:, None]).long()
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, IGNORED)}


def _same(ours: torch.Tensor, own: torch.Tensor) -> bool:
    most = SAME if own.dtype == torch.float32 else NEARLY
    return ours.shape == own.shape and float((ours - own).abs().max()) <= most * float(own.abs().max())


class Trainer(SFTTrainer):
    """TRL's trainer with this loss, where it is the model's own; else TRL's, or what the model computes itself.

    A mixture's auxiliary loss is TRL's, which spreads it over the micro-batches of a step. With noise on the embeddings
    (NEFTune), which depends on how long a padded row is, rows stay as they are laid.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        model: Any = self.model
        self.floats_per_token = 6 * model.num_parameters(exclude_embeddings=True)
        with self.accelerator.autocast():
            self.way = "TRL" if self.aux_loss_enabled else way(model)
            noisy = self.args.neftune_noise_alpha is not None
            self.lay = apart if self.way == "head" and not noisy and looks_back_only(model) else as_laid

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if return_outputs or self.way == "TRL":
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if model.training:
            self._total_train_tokens += (
                int(inputs["attention_mask"].sum()) if "attention_mask" in inputs else inputs["input_ids"].numel()
            )
        if self.way == "model":
            alone = {**inputs, "use_cache": False}
            return transformers.Trainer.compute_loss(self, model, alone, num_items_in_batch=num_items_in_batch)
        with self.accelerator.autocast():
            return loss(self.model, self.lay(inputs), num_items_in_batch)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            logs["num_tokens"] = self._total_train_tokens
        super().log(logs, start_time)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """As transformers counts them, which goes through all parameters at every step."""
        return int(self.floats_per_token * inputs["input_ids"].numel())
