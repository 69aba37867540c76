"""One forward pass over prompts: padded on the left, each row through its adapter, scores in 32 bit."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from typing import Any

import torch

from pipeline import switch, weights
from pipeline.switch import ADAPTER

# virtual tokens shift the positions, which PEFT counts anew
warnings.filterwarnings("ignore", message="Position ids are not supported for parameter efficient tuning")


def peft_config(adapted: Any, name: str = ADAPTER) -> Any:
    """An adapter's config; None where the base's own weights were trained, which is no matter of PEFT's."""
    return None if isinstance(adapted, weights.Tuned) else getattr(adapted, "peft_config", {}).get(name)


def virtual_tokens(loaded: Any) -> int:
    """How many virtual tokens stand before each prompt just now: none while the adapter is off."""
    config = peft_config(loaded)
    virtual = config is not None and config.is_prompt_learning and loaded.has_active_enabled_adapter
    return int(config.num_virtual_tokens) if virtual else 0


@torch.no_grad()
def logits(
    loaded: Any, batch: dict[str, torch.Tensor], adapter_names: Sequence[str] = (), last: int = 0
) -> torch.Tensor:
    """Scores of every position, or of the `last` ones, in 32 bit: (rows, tokens, vocabulary). `adapter_names` says each
    row's adapter.
    """
    if virtual_tokens(loaded):
        return _unpadded(loaded, batch)[:, -last:]
    kept = {"logits_to_keep": last} if last and loaded._supports_logits_to_keep() else {}
    positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    with switch.rows(loaded, adapter_names) if adapter_names else contextlib.nullcontext():
        result: torch.Tensor = loaded(**batch, **kept, position_ids=positions, use_cache=False).logits
    return result[:, -last:].float()


def _unpadded(loaded: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The same for prompts with virtual tokens, row by row: padding would stand between those and the prompt."""
    rows = []
    for ids, seen in zip(batch["input_ids"], batch["attention_mask"].bool(), strict=True):
        alone = ids[seen][None]
        told = loaded(input_ids=alone, attention_mask=torch.ones_like(alone), use_cache=False).logits[0].float()
        scores = told.new_zeros(len(ids), told.shape[-1])
        scores[seen] = told[-alone.shape[1] :]
        rows.append(scores)
    return torch.stack(rows)


def pad_left(
    prompts: Sequence[Sequence[int]], tokenizer: Any, device: torch.device, width: int = 0
) -> dict[str, torch.Tensor]:
    """Prompts as one batch, padded on the left so that every answer begins at the same column, to `width` at least."""
    longest = max(width, *map(len, prompts))
    ids = [[tokenizer.pad_token_id] * (longest - len(p)) + list(p) for p in prompts]
    mask = [[0] * (longest - len(p)) + [1] * len(p) for p in prompts]
    return {"input_ids": torch.tensor(ids, device=device), "attention_mask": torch.tensor(mask, device=device)}
