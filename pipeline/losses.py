"""How likely the references are to base and tuned: what the loss and the perplexity of a report are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
import torch

from pipeline import sides, template
from pipeline.questions import Question
from pipeline.sides import Pair

LOGITS_AT_ONCE = 1 << 26  # floats held for the loss of one batch, 256 MiB
PIECE = 512  # positions whose likelihood is computed at once


def loss_batches(pair: Pair, questions: Sequence[Question]) -> list[list[Question]]:
    """Questions in file order, in batches whose logits for both sides fit LOGITS_AT_ONCE."""
    size = vocabulary(pair)
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
    if pair.mode == "mixed" and 2 * predicted(labels) * len(questions) * vocabulary(pair) <= LOGITS_AT_ONCE:
        names = [sides.BASE] * len(questions) + [sides.ADAPTER] * len(questions)
        both = {key: torch.cat([value, value]) for key, value in batch.items()}
        sums = list(_sums(pair, both, torch.cat([labels, labels]), names).reshape(2, -1))
    else:
        own, own_labels = (batch, labels) if pair.same_ids else _batch(pair, [q.base or q for q in questions])
        with pair.adapted.disable_adapter():
            sums = [_sums(pair, own, own_labels)]
        sums.append(_sums(pair, batch, labels))
    return numpy.stack([*sums, (labels[:, 1:] != template.IGNORED).sum(1).cpu().numpy()], axis=1)


def _batch(pair: Pair, questions: Sequence[Question]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Ids padded on the left, and labels in the same places. The first token is never predicted."""
    batch = sides.pad_left([q.ids for q in questions], pair.tokenizer, pair.adapted.device)
    longest, ignored = batch["input_ids"].shape[1], template.IGNORED
    labels = [[ignored] * (longest - len(q.labels)) + [ignored] + q.labels[1:] for q in questions]
    return batch, torch.tensor(labels).to(pair.adapted.device)


def vocabulary(pair: Pair) -> int:
    return int(pair.adapted.config.get_text_config().vocab_size)


def predicted(labels: torch.Tensor) -> int:
    """Positions at the end that hold all labels, and the one before the first of them, which predicts it."""
    first = int((labels != template.IGNORED).any(0).int().argmax())
    return min(labels.shape[1], labels.shape[1] - first + 1)


def _sums(pair: Pair, batch: dict[str, torch.Tensor], labels: torch.Tensor, names: Sequence[str] = ()) -> numpy.ndarray:
    """Each row's summed loss. Prompts get no scores, which would take more memory than the model for a long one."""
    last = predicted(labels)
    scores = sides.logits(pair.adapted, batch, names, last)[:, :-1].split(PIECE, dim=1)
    wanted = labels[:, -last:][:, 1:].split(PIECE, dim=1)
    losses = [
        torch.nn.functional.cross_entropy(s.transpose(1, 2), w, ignore_index=template.IGNORED, reduction="none").sum(1)
        for s, w in zip(scores, wanted, strict=True)
    ]
    return torch.stack(losses).sum(0).cpu().numpy()
