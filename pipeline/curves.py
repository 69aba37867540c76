"""Curves of a training: thinned for a picture, with their ends and extremes; packed for the way to it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

Point = tuple[int, float]


def thin(points: Sequence[Point], most: int) -> list[Point]:
    """At most so many points, in step order, that keep the first, the last, and the low and high of every stretch."""
    if len(points) <= most:
        return list(points)
    stretches = (most - 2) // 2
    kept = {0, len(points) - 1}
    for place in range(stretches):
        stretch = range(place * len(points) // stretches, (place + 1) * len(points) // stretches)
        kept |= {min(stretch, key=lambda i: points[i][1]), max(stretch, key=lambda i: points[i][1])}
    return [points[i] for i in sorted(kept)]


def packed(points: Sequence[Point]) -> str:
    """Points as one text, "1 2.345;2 2.017": Gradio looks into every list it sends for files, a text it passes on."""
    return ";".join(f"{step} {loss:.5g}" for step, loss in points)
