"""The loss from trained positions and short rows is the model's own loss, where it is used, and is not used where it would not be."""

import itertools

import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BloomConfig,
    Cohere2Config,
    CohereConfig,
    FalconH1Config,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GraniteConfig,
    HyperCLOVAXConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MiniCPM3Config,
    MixtralConfig,
    NanoChatConfig,
    OPTConfig,
    Qwen3Config,
)
from trl import SFTConfig, SFTTrainer

from pipeline import estimate, head

SMALL = {
    "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
    "intermediate_size": 64, "head_dim": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
LATENT = {
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 16,
}  # fmt: skip
HYBRID = {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 8}
PLAIN = {
    "llama": LlamaConfig(**SMALL),
    "tied": LlamaConfig(**SMALL, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**SMALL),
    "gpt2": GPT2Config(vocab_size=100, n_embd=32, n_layer=2, n_head=2, n_positions=64),
    "bloom": BloomConfig(vocab_size=100, hidden_size=32, n_layer=2, n_head=2),
    "opt": OPTConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=2, ffn_dim=64, num_attention_heads=2, word_embed_proj_dim=16,
        max_position_embeddings=64,
    ),
    "gemma3 without a cap": Gemma3TextConfig(**SMALL, sliding_window=4),
}  # fmt: skip
OTHERWISE = {
    "gemma2 with soft caps": Gemma2Config(**SMALL),
    "gemma3 with soft caps": Gemma3TextConfig(**SMALL, final_logit_softcapping=30.0),
    "nanochat with soft caps": NanoChatConfig(**SMALL),
    "granite with divided logits": GraniteConfig(**SMALL, logits_scaling=4.0),
    "cohere with scaled logits": CohereConfig(**SMALL, logit_scale=0.25),
    "cohere2 with scaled logits": Cohere2Config(**SMALL, logit_scale=0.25),
    "hyperclovax with multiplied logits": HyperCLOVAXConfig(**SMALL, logits_scaling=0.5),
    "minicpm3 with divided hidden states": MiniCPM3Config(**SMALL | LATENT, dim_model_base=8),
    "falcon-h1 with multiplied logits": FalconH1Config(**SMALL | HYBRID, lm_head_multiplier=0.5),
}


def made(config) -> torch.nn.Module:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config)


def adapted(config, kind=None) -> torch.nn.Module:
    torch.manual_seed(0)
    base = kind(config) if kind else made(config)
    return get_peft_model(base, LoraConfig(target_modules="all-linear", init_lora_weights=False))


class Divided(LlamaForCausalLM):
    """A family nobody has heard of."""

    def forward(self, input_ids=None, labels=None, num_items_in_batch=None, **kwargs):
        found = super().forward(input_ids, **kwargs)
        found.logits = found.logits / 3
        if labels is not None:
            found.loss = self.loss_function(found.logits, labels, 100, num_items_in_batch=num_items_in_batch)
        return found


def batch() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    ids = torch.randint(3, 100, (4, 20))
    mask = torch.ones_like(ids)
    mask[1, 15:] = mask[3, 4:] = 0
    labels = ids.masked_fill(torch.rand(ids.shape) < 0.6, head.IGNORED).masked_fill(mask == 0, head.IGNORED)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def gradients(model, loss) -> tuple[torch.Tensor, list[torch.Tensor]]:
    model.zero_grad()
    value = loss()
    value.backward()
    return value, [p.grad.clone() for p in model.parameters() if p.requires_grad]


@pytest.mark.parametrize("pieces", [1 << 27, 700])
@pytest.mark.parametrize("call", [0, 64])
@pytest.mark.parametrize("kind", PLAIN)
def test_loss_and_gradients_are_the_models_own(kind, call, pieces, monkeypatch):
    """For an adapter on each kind of model, each row by itself and all together, scored at once and in pieces."""
    monkeypatch.setattr(head, "MOST_SCORES", pieces)
    monkeypatch.setattr(head, "CALL", call)
    model = adapted(PLAIN[kind]).eval()
    assert head.way(model) == "head"
    assert head.looks_back_only(model)
    own, theirs = gradients(model, lambda: model(**batch()).loss)
    for lay in (head.apart, head.as_laid):
        value, ours = gradients(model, lambda lay=lay: head.loss(model, lay(batch())))
        assert torch.allclose(value, own, atol=1e-6)
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("kind", OTHERWISE)
def test_heads_that_do_more_are_left_alone(kind):
    """Soft caps and scales are no part of the head's weights, however small the scores are."""
    assert not head.fits(made(OTHERWISE[kind]))


@pytest.mark.parametrize("kind", [PromptTuningConfig, PrefixTuningConfig])
def test_virtual_tokens_are_left_alone(kind):
    """They shift the positions, which PEFT does in its own forward pass."""
    model = get_peft_model(made(PLAIN["llama"]), kind(num_virtual_tokens=3, task_type="CAUSAL_LM"))
    assert head.way(model) == "TRL"


def test_attention_to_both_sides_keeps_its_mask():
    """Where a row sees what comes after it, padding is not left unmasked."""
    model = made(LlamaConfig(**SMALL, attn_implementation="eager")).eval()
    assert head.looks_back_only(model)
    for layer in model.model.layers:
        layer.self_attn.register_forward_pre_hook(seeing_all, with_kwargs=True)
    assert not head.looks_back_only(model)


def seeing_all(_, args, kwargs):
    mask = kwargs["attention_mask"]
    padded = mask[:, :, -1:] if mask is not None else None
    return args, {**kwargs, "attention_mask": padded}


def test_nothing_to_learn_is_a_loss_of_nothing():
    """A batch without a trained token gives zero, with a gradient."""
    model = adapted(PLAIN["llama"])
    inputs = batch()
    inputs["labels"].fill_(head.IGNORED)
    for lay in (head.apart, head.as_laid):
        value = head.loss(model, lay(inputs))
        value.backward()
        assert value == 0


@given(st.lists(st.integers(1, 40), min_size=1, max_size=7))
def test_groups_cost_the_least(lengths):
    """No other way to cut the rows, longest first, into groups has fewer tokens with its padding and its calls."""
    groups = head.grouped(lengths)
    assert sorted(itertools.chain(*groups)) == list(range(len(lengths)))
    ordered = sorted(lengths, reverse=True)
    cuts = itertools.chain.from_iterable(itertools.combinations(range(1, len(ordered)), n) for n in range(len(ordered)))
    ways = [list(itertools.pairwise([0, *cut, len(ordered)])) for cut in cuts]
    costs = [sum(ordered[a] * (b - a) + head.CALL for a, b in way) for way in ways]
    assert sum(max(lengths[n] for n in group) * len(group) + head.CALL for group in groups) == min(costs)


def test_what_teaches_nothing_is_not_computed():
    """Rows come as groups of similar length, without their padding, their last token, or a row that is all prompt."""
    lengths, learned = (300, 20, 22, 290), (300, 18, 0, 290)
    ids = torch.arange(4 * 300).reshape(4, 300)
    mask = torch.stack([(torch.arange(300) < n).long() for n in lengths])
    labels = torch.stack(
        [torch.where(torch.arange(300) < n, row, head.IGNORED) for n, row in zip(learned, ids, strict=True)]
    )
    labels[:, :10] = head.IGNORED
    parts = head.apart({"input_ids": ids, "attention_mask": mask, "labels": labels})
    assert [part["input_ids"].shape for part, _ in parts] == [(2, 299), (1, 17)]
    assert parts[1][0]["input_ids"].tolist() == [ids[1, :17].tolist()]
    assert parts[1][1].tolist() == [[head.IGNORED] * 9 + ids[1, 10:18].tolist()]
    assert (parts[0][1][1, 289:] == head.IGNORED).all()


def test_packed_rows_are_taken_apart():
    """Rows laid end to end give the groups that they give as a padded batch."""
    inputs, flat = batch(), {}
    real = inputs["attention_mask"].bool()
    flat = {key: inputs[key][real][None] for key in ("input_ids", "labels")}
    flat["position_ids"] = torch.arange(20).expand(4, 20)[real][None]
    for (ours, wanted), (theirs, asked) in zip(head.apart(flat), head.apart(inputs), strict=True):
        assert ours["input_ids"].equal(theirs["input_ids"])
        assert wanted.equal(asked)


@pytest.fixture
def trainers(tiny, tmp_path):
    """Makes TRL's trainer or ours on a small model: make(kind, config, **arguments of SFTConfig)."""
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.pad_token_id = 0
    torch.manual_seed(5)
    rows = []
    for length in torch.randint(6, 60, (40,)).tolist():
        ids = torch.randint(3, 100, (length,)).tolist()
        rows.append({"input_ids": ids, "labels": [head.IGNORED] * (length // 2) + ids[length // 2 :]})

    def make(kind, config, family=None, **settings):
        asked = {
            "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "max_steps": 20, "learning_rate": 1e-3,
            "logging_steps": 1, "save_strategy": "no", "max_length": None, "bf16": False, "use_cpu": True,
            "activation_checkpointing": False, "disable_tqdm": True, "report_to": "none", **settings,
        }  # fmt: skip
        data = {"train_dataset": Dataset.from_list(rows), "eval_dataset": Dataset.from_list(rows[:9])}
        return kind(
            model=adapted(config, family), args=SFTConfig(str(tmp_path), **asked), processing_class=tokenizer, **data
        )

    return make


def curve(trainer) -> list[float]:
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize(("family", "steps"), [("llama", 20), ("gemma2 with soft caps", 2)])
def test_steps_are_those_of_trl(trainers, family, steps):
    """The same rows in the same order give TRL's losses, its number of tokens and its loss on other rows."""
    config = {**PLAIN, **OTHERWISE}[family]
    theirs, ours = (trainers(kind, config, max_steps=steps) for kind in (SFTTrainer, head.Trainer))
    assert ours.way == ("head" if family == "llama" else "TRL")
    before = theirs.evaluate()["eval_loss"], ours.evaluate()["eval_loss"]
    assert before[1] == pytest.approx(before[0], abs=1e-6)
    expected, found = curve(theirs), curve(ours)
    assert found[0] == pytest.approx(expected[0], abs=1e-5)
    assert found == pytest.approx(expected, abs=1e-4)
    assert expected[-1] != pytest.approx(expected[0], abs=1e-3)
    seen = [[entry["num_tokens"] for entry in t.state.log_history if "loss" in entry] for t in (theirs, ours)]
    assert seen[0] == seen[1]
    assert ours.state.total_flos == theirs.state.total_flos


def test_a_mixture_keeps_its_auxiliary_loss(trainers):
    """The loss that spreads tokens over the experts is TRL's, and counts as much as there."""
    config = MixtralConfig(**SMALL, num_local_experts=4, num_experts_per_tok=2, router_aux_loss_coef=0.5)
    theirs, ours = (trainers(kind, config, max_steps=2) for kind in (SFTTrainer, head.Trainer))
    assert curve(ours) == pytest.approx(curve(theirs), abs=1e-5)
    assert "aux_loss" in ours.state.log_history[0]
    without = trainers(head.Trainer, config, max_steps=2, router_aux_loss_coef=0.0)
    assert without.way == "head"
    assert curve(without)[0] < curve(theirs)[0] - 0.1


def test_scales_that_trl_does_not_know_are_the_models_own(trainers):
    """Where neither loss is the model's, the model computes it: as a whole the same step in one micro-batch or in two."""
    config = PLAIN["llama"]
    split, whole = (
        trainers(
            head.Trainer,
            config,
            Divided,
            max_steps=2,
            per_device_train_batch_size=rows,
            gradient_accumulation_steps=8 // rows,
        )
        for rows in (4, 8)
    )
    assert (split.way, whole.way) == ("model", "model")
    assert "Every position" in head.told(whole)
    assert curve(split) == pytest.approx(curve(whole), abs=1e-5)
    known = trainers(head.Trainer, config, max_steps=1)
    assert curve(known)[0] != pytest.approx(split.state.log_history[0]["loss"], abs=1e-3)


def test_noise_on_the_embeddings_keeps_its_strength(trainers):
    """NEFTune's noise is weaker in longer batches, so rows stay as they are laid."""
    trainer = trainers(head.Trainer, PLAIN["llama"], neftune_noise_alpha=5.0)
    assert (trainer.way, trainer.lay) == ("head", head.as_laid)
    assert head.told(trainer).endswith("Rows keep their padding.")
    usual = trainers(head.Trainer, PLAIN["llama"])
    assert usual.lay == head.apart
    assert "computed together" in head.told(usual)


def test_packed_sequences_learn_what_their_rows_do(trainers):
    """Laid end to end by TRL, rows are taken apart again: the losses are TRL's."""
    settings = {"padding_free": True, "max_steps": 4}
    theirs, ours = (trainers(kind, PLAIN["llama"], **settings) for kind in (SFTTrainer, head.Trainer))
    assert curve(ours) == pytest.approx(curve(theirs), abs=1e-5)


def test_what_is_held_is_what_is_forecast():
    """The head's file stands alone beside a script, so its limit is written twice."""
    assert head.MOST_SCORES == estimate.PIECE
