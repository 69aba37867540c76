"""Drawing tokens: the same seed draws the same answer on every side, in any batch, together or in turn."""

from __future__ import annotations

import torch
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.generation.logits_process import TemperatureLogitsWarper, TopPLogitsWarper

from pipeline.schema import Decoding


class SharedNoise(LogitsProcessor):
    """Sampling by the Gumbel-max trick with the same noise for every row of a step.

    argmax(logits + Gumbel noise) is a draw from softmax(logits); shared noise makes the sides differ only where the models
    do.
    """

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        uniform = torch.rand(scores.shape[-1], generator=self.generator).to(scores.device)
        noise = -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
        return scores.float() + noise


def processors(decoding: Decoding) -> LogitsProcessorList:
    """What turns scores into those whose largest is taken; nothing for greedy decoding."""
    if decoding.temperature <= 0:
        return LogitsProcessorList()
    narrow = [TopPLogitsWarper(float(decoding.top_p))] if decoding.top_p < 1 else []
    return LogitsProcessorList(
        [TemperatureLogitsWarper(float(decoding.temperature)), *narrow, SharedNoise(decoding.seed)]
    )
