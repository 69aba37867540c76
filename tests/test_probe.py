"""The probe: it measures what the longest rows need, and leaves no trace in what is learned."""

import pytest
import torch

from tests.training import known, learned, told, work

SETTINGS = {
    "dropout, noise, parts": {"dropout": 0.3, "neftune": 5.0, "micro_batch": 2},
    "lora+": {"method": "lora+"},
    "full": {"method": "full", "learning_rate": 1e-4, "weight_decay": 0.1, "warmup": 0.0},  # the first rate is not 0
    "prompt": {"method": "prompt-tuning", "learning_rate": 0.1},
}
MORE = {
    "packed": {"packing": True, "dropout": 0.1, "micro_batch": 1},
    "8-bit states": {"optimizer": "adamw_8bit"},
    "paged states": {"optimizer": "paged_adamw_8bit"},
    "adafactor": {"optimizer": "adafactor"},
    "sgd": {"optimizer": "sgd"},
    "4-bit": {"memory": "4-bit"},
}
ALL = [*SETTINGS, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)]


@pytest.mark.parametrize("name", ALL)
def test_training_is_the_same_with_and_without_a_probe(make_run, name):
    """Every loss, gradient norm and weight, to the last bit, whatever is trained how."""
    settings = {"rows": 24, "max_steps": 3, "epochs": 9, "eval_steps": 2, **{**SETTINGS, **MORE}[name]}
    probed, plain = make_run(**settings), make_run(**settings)
    known(plain, settings.get("micro_batch", 8))
    assert work(probed) == work(plain) == "finished"
    assert [len(told(folder, "fit")) for folder in (probed, plain)] == [1, 0]
    (steps, weights), (others, other_weights) = learned(probed), learned(plain)
    assert steps == others
    assert len(steps) == 3
    assert weights.keys() == other_weights.keys()
    assert all(torch.equal(tensor, other_weights[key]) for key, tensor in weights.items())
