"""How likely the references are to base and tuned: what the loss and the perplexity of a report are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
import torch

from pipeline import sides, template
from pipeline.questions import Question
from pipeline.sides import Pair

LOGITS_AT_ONCE = 1 << 26  # floats held for the loss of one batch, 256 MiB


def loss_batches(pair: Pair, questions: Sequence[Question]) -> list[list[Question]]:
    """Questions in file order, in batches whose logits for both sides fit LOGITS_AT_ONCE."""
    size = pair.adapted.config.get_text_config().vocab_size
    batches: list[list[Question]] = []
    for q in questions:
        together = [*batches[-1], q] if batches else [q]
        if batches and max(x.length for x in together) * len(together) * 2 * size <= LOGITS_AT_ONCE:
            batches[-1] = together
        else:
            batches.append([q])
    return batches


@torch.no_grad()
def losses_of(pair: Pair, questions: Sequence[Question]) -> numpy.ndarray:
    """Summed negative log-likelihood in nats of each reference's tokens, and their number: (rows, [base, tuned, tokens]).

    Where the base reads other tokens, its sum is over those: the likelihood of the same text.
    """
    batch, labels = _batch(pair, questions)
    if pair.mode == "mixed":
        names = [sides.BASE] * len(questions) + [sides.ADAPTER] * len(questions)
        both = {key: torch.cat([value, value]) for key, value in batch.items()}
        base, tuned = sides.logits(pair.adapted, both, adapter_names=names).chunk(2)
        sums = [_sum(side, labels) for side in (base, tuned)]
    else:
        own, own_labels = (batch, labels) if pair.same_ids else _batch(pair, [q.base or q for q in questions])
        with pair.adapted.disable_adapter():
            sums = [_sum(sides.logits(pair.adapted, own), own_labels)]
        sums.append(_sum(sides.logits(pair.adapted, batch), labels))
    return numpy.stack([*sums, (labels[:, 1:] != template.IGNORED).sum(1).cpu().numpy()], axis=1)


def _batch(pair: Pair, questions: Sequence[Question]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Ids padded on the left, and labels in the same places. The first token is never predicted."""
    batch = sides.pad_left([q.ids for q in questions], pair.tokenizer, pair.adapted.device)
    longest, ignored = batch["input_ids"].shape[1], template.IGNORED
    labels = [[ignored] * (longest - len(q.labels)) + [ignored] + q.labels[1:] for q in questions]
    return batch, torch.tensor(labels).to(pair.adapted.device)


def _sum(scores: torch.Tensor, labels: torch.Tensor) -> numpy.ndarray:
    loss = torch.nn.functional.cross_entropy(
        scores[:, :-1].transpose(1, 2), labels[:, 1:], ignore_index=template.IGNORED, reduction="none"
    )
    return loss.sum(1).cpu().numpy()
