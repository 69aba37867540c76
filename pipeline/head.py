"""The language-model head on trained positions only, where TRL's own scores every one: on a CPU.

With a vocabulary of 32,000 and two fifths of the tokens trained, a step takes a quarter of the time. The loss is the same;
where that is not proven for a model, TRL's own is used. On CUDA TRL's kernel leaves out the other positions by itself.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from trl import SFTTrainer

IGNORED = -100
MOST_SCORES = 1 << 27  # 32-bit numbers held for the backward pass, 512 MiB; what is more is computed again there
SAME = 1e-5  # largest difference between the head's scores and the model's own, of the largest of these
PROBE = 8  # tokens


def fits(loaded: Any) -> bool:
    """Whether this model's scores are its head on its last hidden states and nothing else, tried out on a few tokens.

    False for soft-capped or scaled logits, for virtual tokens before the prompt, and for any device but a CPU.
    """
    config = getattr(loaded, "active_peft_config", None)
    if loaded.device.type != "cpu" or getattr(config, "is_prompt_learning", False):
        return False
    ids, training = torch.arange(PROBE)[None] % loaded.get_output_embeddings().weight.shape[0], loaded.training
    loaded.eval()
    try:
        with torch.no_grad():
            own = loaded(input_ids=ids, use_cache=False).logits.float()
            ours = _head(loaded)(_hidden(loaded, {"input_ids": ids})).float()
    finally:
        loaded.train(training)
    return own.shape == ours.shape and float((own - ours).abs().max()) <= SAME * float(own.abs().max())


def loss(loaded: Any, inputs: dict[str, Any], trained: Any = None) -> torch.Tensor:
    """Cross-entropy summed over the trained positions of a batch, divided by `trained` of them (these, if left out).

    `inputs`: input_ids and labels (rows, tokens) and what else the model takes; labels are -100 where nothing is learned.
    """
    labels = inputs["labels"][:, 1:]
    learned = labels != IGNORED
    hidden = _hidden(loaded, {key: value for key, value in inputs.items() if key != "labels"})[:, :-1][learned]
    head, wanted = _head(loaded), labels[learned]
    rows = max(1, MOST_SCORES // head.weight.shape[0])
    if len(hidden) <= rows:
        total = _summed(head, hidden, wanted)
    else:
        parts = zip(hidden.split(rows), wanted.split(rows), strict=True)
        total = torch.stack([checkpoint(_summed, head, h, w, use_reentrant=False) for h, w in parts]).sum()
    return total / torch.as_tensor(learned.sum() if trained is None else trained).clamp(min=1)


def _summed(head: Any, hidden: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return cross_entropy(head(hidden).float(), wanted, reduction="sum")


def _hidden(loaded: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """Last hidden states: (rows, tokens, width)."""
    model = loaded.get_base_model() if hasattr(loaded, "get_base_model") else loaded
    states: torch.Tensor = model.base_model(**{**inputs, "use_cache": False}).last_hidden_state
    return states


def _head(loaded: Any) -> Any:
    return loaded.get_output_embeddings()


class Trainer(SFTTrainer):
    """TRL's trainer with this loss wherever it is the model's own."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.head_fits = fits(self.model)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if return_outputs or not self.head_fits:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if model.training:
            present = inputs.get("attention_mask", inputs["input_ids"])
            self._total_train_tokens += int(present.sum()) if "attention_mask" in inputs else present.numel()
        self._metrics["train" if model.training else "eval"]["num_tokens"] = [self._total_train_tokens]
        return loss(self.accelerator.unwrap_model(model), inputs, num_items_in_batch)
