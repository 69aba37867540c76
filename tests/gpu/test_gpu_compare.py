"""Both sides in one mixed batch on a GPU: near twice as fast as one batch after the other, and each side what it says.

`python -m pytest tests/gpu/test_gpu_compare.py -s` prints the speeds.
"""

import statistics
import time

import pytest
import torch
from peft import LoraConfig, get_peft_model

from pipeline import generate, self_test, sides, switch, template
from pipeline.schema import Decoding, Model
from pipeline.sides import Pair
from tests.gpu.test_gpu_training import SIZES

NEAR_TWICE = 1.6


@pytest.fixture(scope="module")
def pair(random_model):
    """A model of half a billion parameters in 16 bit with a LoRA that changes it."""
    from pipeline import model

    named = Model(str(random_model("0.5B", SIZES["0.5B"])))
    tokenizer, chosen = model.tokenizer_and_template(named)
    torch.manual_seed(0)
    lora = LoraConfig(r=16, target_modules="all-linear", init_lora_weights=False)
    adapted = get_peft_model(model.base(named), lora).eval()
    endless = template.Template(chosen.own, chosen.training, (10**6,), chosen.guarded)
    return Pair(adapted, tokenizer, endless, "mixed", {})


def test_the_mixed_batch_is_trusted_in_16_bit(pair):
    """The self-test passes on the GPU: base is the base, tuned is the tuned, and they differ."""
    probe = sides.probes(pair.tokenizer, pair.template, pair.tokenizer, pair.adapted.device)
    with switch.only(pair.adapted, switch.BASE):
        bare = self_test.logits(pair.adapted, probe)
    mode, checks = self_test.proven(pair.adapted, probe, bare)
    assert mode == "mixed"
    assert all(check.ok for check in checks.values())


@pytest.mark.parametrize("prompts", [1, 16])
def test_both_sides_at_once_are_near_twice_as_fast(pair, prompts):
    """A step of decoding costs its launches, not its rows: one mixed batch against the same two in turn."""
    asked = [list(range(5, 5 + 24))] * prompts
    both = {"base": asked, "tuned": asked}
    apart = Pair(pair.adapted, pair.tokenizer, pair.template, "in turn", {})
    times: dict[str, list[float]] = {"mixed": [], "in turn": []}
    for _ in range(4):
        for each in (pair, apart):
            begun = time.perf_counter()
            generate.of_columns(each, both, Decoding(64))
            times[each.mode].append(time.perf_counter() - begun)
    mixed, in_turn = (statistics.median(times[mode][1:]) for mode in ("mixed", "in turn"))
    print(f"\n{prompts} prompts: mixed {128 * prompts / mixed:.0f} tokens/s, in turn {128 * prompts / in_turn:.0f}")
    assert in_turn / mixed > NEAR_TWICE
