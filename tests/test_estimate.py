"""The forecast: each term against what a real small model takes, the sum against published peaks."""

import pytest
import torch
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from bitsandbytes.optim import AdamW8bit
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    Gemma3nTextConfig,
    Gemma4TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    OPTConfig,
)
from transformers.optimization import Adafactor

from pipeline import estimate, model
from pipeline.estimate import Shape, Step

MB = 10**6
OPT_350M = OPTConfig(
    vocab_size=50272, hidden_size=1024, num_hidden_layers=24, ffn_dim=4096, num_attention_heads=16,
    word_embed_proj_dim=512, do_layer_norm_before=False,
)  # fmt: skip
FALCON_7B = Shape(
    layers=32, hidden=4544, keys=64, intermediate=4 * 4544, gated=False, vocabulary=65024, others=65024 * 4544,
    linears=((4672, 4544, 32), (4544, 4544, 32), (4 * 4544, 4544, 32), (4544, 4 * 4544, 32)),
)  # fmt: skip
# published peaks with SDPA and checkpointing, MB; rows of the 8-bit tables are the mean of "mixed" and not
LORA = [(8, 1024), (1024, 8)] * 48
PEAKS = {
    "OPT, Adam": ({500: 3386, 2000: 3537}, {"trained_bytes": 2}, None),
    "OPT, paged 8-bit Adam": ({500: 1502, 2000: 1667}, {"trained_bytes": 2, "optimizer": "paged_adamw_8bit"}, None),
    "OPT, LoRA": ({500: 914, 2000: 1603}, {}, LORA),
    "OPT in 8 bit, LoRA": ({500: 905, 2000: 2219}, {"held": "8-bit", "computed": "float32"}, LORA),
    "Falcon-7B in 8 bit, LoRA": (
        {500: 10369, 2000: 12280}, {"held": "8-bit", "computed": "float32"}, [(16, 4544), (4672, 16)] * 32,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def opt() -> Shape:
    return estimate.shape_of(OPT_350M, model.empty(OPT_350M))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A random model whose linear layers have sizes that fill no block evenly, and its folder."""
    config = LlamaConfig(
        vocab_size=1000, hidden_size=200, intermediate_size=520, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=False,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("small")
    LlamaForCausalLM(config).save_pretrained(folder)
    return config, folder


def loaded(folder, held: str):
    """The model as training holds it."""
    if held in ("32-bit", "16-bit"):
        dtype = torch.float32 if held == "32-bit" else torch.float16
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    bits = (
        {"load_in_8bit": True}
        if held == "8-bit"
        else {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    )
    made = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float16, quantization_config=BitsAndBytesConfig(**bits)
    )
    return prepare_model_for_kbit_training(made, use_gradient_checkpointing=False)


def size(*tensors: torch.Tensor | None) -> int:
    return sum(t.numel() * t.element_size() for t in tensors if t is not None)


def scales(base) -> int:
    """Bytes of everything that is needed to read the quantized weights."""
    found = 0
    for module in base.modules():
        if isinstance(module, Linear4bit):
            state = module.weight.quant_state
            found += size(state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code)
        elif isinstance(module, Linear8bitLt):
            found += size(module.weight.SCB)
    return found


def mixture(experts: int, chosen: int) -> Shape:
    config = MixtralConfig(
        vocab_size=500, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, num_local_experts=experts, num_experts_per_tok=chosen,
    )  # fmt: skip
    return estimate.shape_of(config, model.empty(config))


def test_a_token_goes_through_the_chosen_experts_alone():
    """Three matrices of each in each layer; how many others there are does not matter; a dense model has none."""
    one = 2 * 3 * 64 * 128
    assert (mixture(4, 1).active, mixture(4, 2).active, mixture(8, 2).active) == (one, 2 * one, 2 * one)
    assert mixture(8, 2).parameters - mixture(4, 2).parameters >= 4 * one
    assert estimate.shape_of(OPT_350M, model.empty(OPT_350M)).active == 0


OWN = {
    "vocab_size": 500, "vocab_size_per_layer_input": 500, "hidden_size": 64, "hidden_size_per_layer_input": 8,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "width"),
    [
        (Gemma4TextConfig(num_hidden_layers=2, intermediate_size=96, global_head_dim=32, **OWN), 96),
        (
            Gemma3nTextConfig(
                num_hidden_layers=2, intermediate_size=[96, 128], laurel_rank=4, num_kv_shared_layers=0,
                activation_sparsity_pattern=[0.0, 0.0], **OWN,
            ),
            128,
        ),
    ],
    ids=["a width of heads that may not be asked for", "a list of widths"],
)  # fmt: skip
def test_layers_that_differ_have_a_shape(config, width):
    """The widest layer stands for all where the config tells each one's; all weights are counted."""
    base = model.empty(config)
    shape = estimate.shape_of(config, base)
    assert (shape.layers, shape.hidden, shape.intermediate) == (2, 64, width)
    assert shape.keys == 32
    assert shape.parameters == sum(p.numel() for p in base.parameters())


@pytest.mark.parametrize("name", ["num_hidden_layers", "vocab_size", "hidden_size"])
def test_a_size_below_one_is_none(small, name):
    config, _ = small
    base = model.empty(config)
    with pytest.raises(ValueError, match=f"{name} 0"):
        estimate.shape_of(LlamaConfig(**{**config.to_dict(), name: 0}), base)


@pytest.mark.parametrize("held", ["32-bit", "16-bit", "8-bit", "4-bit"])
def test_weights_and_their_scales_are_what_a_loaded_model_takes(small, held):
    """Within 1 % of the bytes of the tensors themselves, for each way to hold a base."""
    config, folder = small
    shape, base = estimate.shape_of(config, model.empty(config)), loaded(folder, held)
    assert estimate.weights(shape, held) == pytest.approx(size(*base.parameters()), rel=0.01)
    assert estimate.quantization(shape, held) == pytest.approx(scales(base), rel=0.01)


@pytest.mark.parametrize("name", ["adamw_torch", "adamw_8bit", "adafactor", "sgd"])
def test_optimizer_states_are_what_one_step_leaves(small, name):
    """Within 1 % of the tensors in the optimizer after its first step over an adapter."""
    _, folder = small
    adapted = get_peft_model(loaded(folder, "32-bit"), LoraConfig(r=32, target_modules="all-linear"))
    learned = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    made = {
        "adamw_torch": torch.optim.AdamW,
        "adamw_8bit": AdamW8bit,
        "adafactor": lambda p: Adafactor(p, lr=1e-3, scale_parameter=False, relative_step=False),
        "sgd": torch.optim.SGD,
    }[name](learned)
    ids = torch.arange(8).reshape(2, 4)
    adapted(input_ids=ids, labels=ids).loss.backward()
    made.step()
    # a state is as large as its tensor, or a part of it; a step's counter and shared tables are left out
    kept = [
        v for state in made.state.values() for k, v in state.items() if torch.is_tensor(v) and not k.startswith("q")
    ]
    found = size(*(v for v in kept if v.numel() > 1))
    assert estimate.optimizer(name, [tuple(p.shape) for p in learned]) == pytest.approx(found, rel=0.01)


def test_a_known_model_has_its_published_footprint(opt):
    """OPT-350M takes 1,324.79 MB in 32 bit, 662.39 in 16, 415.67 in 8, 264.15 in NF4 (the rest in 32 bit)."""
    footprints = {"32-bit": 1324.79, "16-bit": 662.39, "8-bit": 415.67, "4-bit": 264.15}
    for held, megabytes in footprints.items():
        assert estimate.weights(opt, held) / MB == pytest.approx(megabytes, abs=0.01)


@pytest.mark.parametrize("name", PEAKS)
def test_published_peaks_are_forecast_within_a_quarter(opt, name):
    """Full logits, as the stack of that time built them; without CUDA's own memory and paged states, as torch counts."""
    peaks, settings, trained = PEAKS[name]
    shape = FALCON_7B if name.startswith("Falcon") else opt
    tensors, adapter = (trained, True) if trained else ([(shape.parameters, 1)], False)
    for tokens, megabytes in peaks.items():
        step = Step(1, tokens, full_logits=True, count_paged=False, **settings)
        found = estimate.forecast(shape, step, tensors, adapter, context=0)
        assert found.peak / MB == pytest.approx(megabytes, rel=0.25), (tokens, found)
        assert found.peak == sum(found.terms.values())


def test_what_saves_memory_is_forecast_to_save_it(opt):
    """Recomputing, fewer rows, shorter rows, 4 bit and the fused head each lower the peak of the same step."""
    usual = Step(4, 1024, full_logits=True, recompute=False)
    peak = estimate.forecast(opt, usual, LORA).peak
    for change in ({"recompute": True}, {"rows": 1}, {"tokens": 256}, {"held": "4-bit"}, {"full_logits": False}):
        assert estimate.forecast(opt, Step(**{**vars(usual), **change}), LORA).peak < peak, change
