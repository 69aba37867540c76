"""The loss from trained positions only is the model's own loss, where it is used, and it is not used where it would not be."""

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    OPTConfig,
)

from pipeline import head

SMALL = {
    "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
    "intermediate_size": 64, "head_dim": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
PLAIN = {
    "llama": LlamaConfig(**SMALL),
    "tied": LlamaConfig(**SMALL, tie_word_embeddings=True),
    "gpt2": GPT2Config(vocab_size=100, n_embd=32, n_layer=2, n_head=2, n_positions=64),
    "opt": OPTConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=2, ffn_dim=64, num_attention_heads=2, word_embed_proj_dim=16,
        max_position_embeddings=64,
    ),
}  # fmt: skip
OTHERWISE = {
    "soft-capped logits": Gemma2Config(**SMALL, final_logit_softcapping=0.1),
    "divided logits": GraniteConfig(**SMALL, logits_scaling=4.0),
    "scaled logits": CohereConfig(**SMALL, logit_scale=0.25),
}


def made(config) -> torch.nn.Module:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config)


def batch() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    ids = torch.randint(3, 100, (3, 20))
    mask = torch.ones_like(ids)
    mask[1, 15:] = 0
    labels = ids.masked_fill(torch.rand(ids.shape) < 0.6, head.IGNORED).masked_fill(mask == 0, head.IGNORED)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@pytest.mark.parametrize("pieces", [1 << 27, 700])
@pytest.mark.parametrize("kind", PLAIN)
def test_loss_and_gradients_are_the_models_own(kind, pieces, monkeypatch):
    """For an adapter on each kind of head, at once and in pieces that are computed again."""
    monkeypatch.setattr(head, "MOST_SCORES", pieces)
    adapted = get_peft_model(made(PLAIN[kind]), LoraConfig(target_modules="all-linear", init_lora_weights=False))
    assert head.fits(adapted)
    found = []
    for loss in (lambda: adapted(**batch()).loss, lambda: head.loss(adapted, batch())):
        adapted.zero_grad()
        value = loss()
        value.backward()
        found.append((value, [p.grad.clone() for p in adapted.parameters() if p.requires_grad]))
    (own, theirs), (value, ours) = found
    assert torch.allclose(value, own, atol=1e-6)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("kind", OTHERWISE)
def test_heads_that_do_more_are_left_alone(kind):
    """Soft caps and scales are no part of the head's weights."""
    assert not head.fits(made(OTHERWISE[kind]))


@pytest.mark.parametrize("kind", [PromptTuningConfig, PrefixTuningConfig])
def test_virtual_tokens_are_left_alone(kind):
    """They shift the positions, which PEFT does in its own forward pass."""
    assert not head.fits(get_peft_model(made(PLAIN["llama"]), kind(num_virtual_tokens=3, task_type="CAUSAL_LM")))


def test_nothing_to_learn_is_a_loss_of_nothing():
    """A batch without a trained token gives zero, with a gradient."""
    adapted = get_peft_model(made(PLAIN["llama"]), LoraConfig(target_modules="all-linear"))
    inputs = batch()
    inputs["labels"].fill_(head.IGNORED)
    value = head.loss(adapted, inputs)
    value.backward()
    assert value == 0
