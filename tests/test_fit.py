"""fit.json: what was found is read again and applied; what is damaged counts as nothing."""

import json

import pytest

from pipeline import fit
from pipeline.schema import TrainConfig

FOUND = {
    "micro_batch": 2, "batch_size": 8, "device": "cpu", "forecast_bytes": None, "measured_bytes": 10**9, "longest": 40,
    "seconds_per_step": 0.5, "halved": [{"from": 8, "to": 2, "step": 0, "why": "probe"}],
}  # fmt: skip


def test_what_was_found_is_applied(tmp_path):
    """The micro-batch of fit.json takes the place of the config's, whether one was asked for or not; the batch stays."""
    assert fit.applied(TrainConfig(batch_size=8), tmp_path) == TrainConfig(batch_size=8)
    fit.write(tmp_path, FOUND)
    assert fit.read(tmp_path) == FOUND
    for asked in (0, 4):
        config = fit.applied(TrainConfig(batch_size=8, micro_batch=asked), tmp_path)
        assert (config.micro_batch, config.batch_size) == (2, 8)
    assert fit.applied(TrainConfig(batch_size=9), tmp_path) == TrainConfig(batch_size=9), "2 does not divide 9"


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{", '"text"', "null", "[" * 100_000, json.dumps({**FOUND, "micro_batch": 0}),
        json.dumps({**FOUND, "micro_batch": "2"}), json.dumps({**FOUND, "micro_batch": True}),
        json.dumps({**FOUND, "halved": None}), json.dumps({"micro_batch": 2}),
    ],
)  # fmt: skip
def test_a_damaged_file_counts_as_none(tmp_path, content):
    """Nothing is applied from it, and nothing fails."""
    (tmp_path / fit.NAME).write_text(content)
    assert fit.read(tmp_path) is None
    assert fit.applied(TrainConfig(batch_size=8), tmp_path) == TrainConfig(batch_size=8)


@pytest.mark.parametrize(
    ("batch", "steps"),
    [(8, [8, 4, 2, 1, 0]), (12, [12, 6, 3, 1, 0]), (10, [10, 5, 2, 1, 0]), (7, [7, 1, 0]), (1, [1, 0])],
)
def test_a_micro_batch_is_halved_to_divisors(batch, steps):
    """At most half, and the batch is still made of whole parts."""
    rows = [batch]
    while rows[-1]:
        rows.append(fit.smaller(rows[-1], batch))
    assert rows == steps
