"""What a curve says in words: learning by heart, exploding, going over the same rows too often. Pure; losses in nats."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

RISES = 3  # looks in a row, each worse than the one before
RUNNING = 5  # losses of a running mean
EXPLODED = 3.0  # times the lowest running mean so far
LEAST_RISE = 0.5  # nats: three times almost nothing is almost nothing
TOO_MANY_EPOCHS = 10


def rising(looks: Sequence[tuple[int, float]]) -> str:
    """`looks` are (step, validation loss). A sentence when the newest ends a third rise in a row."""
    losses = [loss for _, loss in looks[-RISES - 1 :]]
    if len(losses) <= RISES or any(after <= before for before, after in itertools.pairwise(losses)):
        return ""
    step, best = min(looks, key=lambda look: look[1])
    return (
        f"The validation loss rose {RISES} times in a row ({', '.join(f'{loss:.3g}' for loss in losses)}): the rows are "
        f"being learned by heart. The best look so far was step {step} ({best:.3g}); fewer epochs would do."
    )


def exploding(losses: Sequence[float]) -> str:
    """A sentence when the mean of the newest few losses is far above the lowest such mean there was."""
    if len(losses) < 2 * RUNNING or not all(map(math.isfinite, losses[-RUNNING:])):
        return ""
    total = [0.0, *itertools.accumulate(losses)]
    means = [(after - before) / RUNNING for before, after in zip(total, total[RUNNING:], strict=False)]
    now, best = means[-1], min(means[:-RUNNING] or means)
    if now <= EXPLODED * best or now - best < LEAST_RISE:
        return ""
    return (
        f"The loss explodes: {now:.3g} after {best:.3g} at its best. What was learned is being lost; stop, and try a "
        "smaller learning rate."
    )


def repeating(steps: int, batch: int, rows: int) -> str:
    """A sentence when so many steps go over the rows more than ten times."""
    epochs = steps * batch / max(1, rows)
    if epochs <= TOO_MANY_EPOCHS:
        return ""
    return (
        f"The same {rows} rows are learned {epochs:.0f} times over: that is learning by heart. Up to "
        f"{TOO_MANY_EPOCHS} times is usual, more rows help more."
    )


def stale(looks: Sequence[tuple[int, float]], since: int = 0) -> int:
    """How many looks after step `since` there were, at the end, without a loss better than every one before."""
    count, best = 0, math.inf
    for step, loss in looks:
        count = 0 if loss < best else count + (step > since)
        best = min(best, loss)
    return count
