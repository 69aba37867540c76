"""What a method is asked for: how much it trains, what it can't be combined with, and what does not fit is refused."""

import contextlib
import shutil
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    Qwen2Config,
)

from pipeline import adapters, counter, evaluate, jobs, methods, model, publish, sides, vocabulary, weights
from pipeline.errors import UserError
from pipeline.methods import METHODS
from pipeline.schema import Model, Publication, TrainConfig, to_json

PHI_2 = PhiConfig(
    vocab_size=51200, hidden_size=2560, intermediate_size=10240, num_hidden_layers=32, num_attention_heads=32
)
PHI_3_MINI = Phi3Config(
    vocab_size=32064, hidden_size=3072, intermediate_size=8192, num_hidden_layers=32, num_attention_heads=32
)
OPT_350M = OPTConfig(
    vocab_size=50272, hidden_size=1024, ffn_dim=4096, num_hidden_layers=24, num_attention_heads=16,
    word_embed_proj_dim=512, do_layer_norm_before=False,
)  # fmt: skip
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 96}
ARCHITECTURES = {
    "llama": LlamaConfig(intermediate_size=48, **SMALL),
    "qwen2": Qwen2Config(intermediate_size=48, num_key_value_heads=1, tie_word_embeddings=True, **SMALL),
    "gpt2": GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=96),
    "neox": GPTNeoXConfig(intermediate_size=48, **SMALL),
    "phi": PhiConfig(intermediate_size=48, **SMALL),
    "opt": OPTConfig(ffn_dim=48, word_embed_proj_dim=32, **SMALL),
}


@pytest.mark.parametrize(
    ("config", "rank", "targets", "trainable", "total"),
    [
        (PHI_2, 32, "q_proj,k_proj,v_proj,dense", 20_971_520, 2_800_655_360),
        (PHI_3_MINI, 8, "o_proj,qkv_proj,gate_up_proj,down_proj", 12_582_912, None),
        (OPT_350M, 8, "q_proj,v_proj", 786_432, None),
    ],
    ids=["Phi-2", "Phi-3-mini", "OPT-350M"],
)
def test_known_numbers_of_parameters(config, rank, targets, trainable, total):
    """As published, counted on models without values: nothing is downloaded, nothing takes memory."""
    found = adapters.count_on(model.empty(config), TrainConfig(rank=rank, target_modules=targets))
    assert found[0] == trainable
    assert total in (None, found[1])


@pytest.mark.parametrize("name", METHODS)
def test_what_is_counted_is_what_is_trained(tiny, name):
    """The numbers shown before a run are those of the run, for every method."""
    config = TrainConfig(method=name, new_tokens="<a> <b>" if name == "new-tokens" else "", last_layers=2)
    named = Model(str(tiny), new_tokens=config.new_tokens)
    whole = TrainConfig(**{**to_json(config), "memory": "32-bit"}) if "32-bit" in METHODS[name].memories else config
    adapted = adapters.fresh(model.base(named), model.tokenizer(named), whole, False)
    counted = counter.parameters(print, threading.Event(), to_json(named), to_json(config))
    assert adapters.counted(adapted) == (counted["trainable"], counted["total"])


@pytest.mark.parametrize("family", ARCHITECTURES)
@pytest.mark.parametrize("name", ["lora", "ia3", "new-tokens", "prompt-tuning", "prefix-tuning", "last-layers"])
def test_every_architecture_has_something_to_train(family, name):
    """Without naming a layer each method finds its place, a gradient reaches all that it trains, and nothing else."""
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_config(ARCHITECTURES[family])
    ids = [96, 97] if name == "new-tokens" else []
    config = TrainConfig(method=name, new_tokens="<a> <b>" if ids else "", virtual_tokens=3, last_layers=1)
    if METHODS[name].family == "weights":
        adapted = weights.unfreeze(base, config)
    else:
        vocabulary.add_rows(base, ids)
        adapted = adapters.wrapped(base, config, ids)
    told = torch.tensor([[5, 6, *ids, 7, 8]])
    adapted(input_ids=told, attention_mask=torch.ones_like(told), labels=told).loss.backward()
    learning = {n: p for n, p in adapted.named_parameters() if p.requires_grad}
    assert learning
    assert all(p.grad is not None for p in learning.values())
    assert all(p.grad is None for n, p in adapted.named_parameters() if n not in learning)


@pytest.mark.parametrize("tied", [True, False])
def test_new_tokens_learn_in_both_embeddings(tied):
    """The row that is read and the row that is written begin as the mean of the others and move; no other row does."""
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_config(LlamaConfig(intermediate_size=48, tie_word_embeddings=tied, **SMALL))
    before = base.get_input_embeddings().weight.detach().clone()
    vocabulary.add_rows(base, [96])
    assert torch.allclose(base.get_input_embeddings().weight[96], before.mean(0))
    adapted = adapters.wrapped(base, TrainConfig(method="new-tokens", new_tokens="<a>", dropout=0), [96])
    optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=1.0)
    told = torch.tensor([[5, 96, 7, 96]])
    adapted(input_ids=told, labels=told).loss.backward()
    optimizer.step()
    merged = adapted.merge_and_unload()
    read, write = merged.get_input_embeddings().weight, merged.get_output_embeddings().weight
    assert torch.equal(read[:96], before)
    assert not torch.allclose(read[96], before.mean(0))
    assert (read is write) == tied


def test_room_is_made_only_where_there_is_none():
    """Bases with spare rows keep their size; a new token takes the first row that no token has."""
    base = AutoModelForCausalLM.from_config(LlamaConfig(intermediate_size=48, **SMALL))
    vocabulary.add_rows(base, [90, 91])
    assert base.get_input_embeddings().weight.shape[0] == 96
    assert torch.equal(base.get_input_embeddings().weight[90], base.get_input_embeddings().weight[91])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"method": "pissa", "memory": "4-bit"}, "memory: 4-bit can't be combined with PiSSA"),
        ({"method": "full", "memory": "8-bit"}, "memory: 8-bit can't be combined with Full"),
        ({"method": "qlora-4bit", "memory": "16-bit"}, "memory: 16-bit can't be combined with QLoRA 4-bit"),
        ({"method": "prompt-tuning", "packing": True}, "packing"),
        ({"method": "prefix-tuning", "activation_checkpointing": "on"}, "activation_checkpointing"),
        ({"method": "new-tokens"}, "new_tokens is empty"),
        ({"method": "lora", "new_tokens": "<a>"}, "LoRA adds none"),
    ],
)
def test_what_can_not_be_combined_is_said_when_chosen(settings, sentence):
    """A config that exists can be trained."""
    with pytest.raises(UserError, match=sentence):
        TrainConfig(**settings)


def test_continued_pretraining_reads_plain_text():
    """A conversation among its rows is named; any other method takes both."""
    rows = [{"row": 1, "text": "Once."}, {"row": 2, "messages": []}]
    methods.check_rows("lora", rows)
    methods.check_rows("continued-pretraining", rows[:1])
    with pytest.raises(UserError, match="Row 2 is a conversation"):
        methods.check_rows("continued-pretraining", rows)


def test_more_layers_than_there_are_is_a_sentence(tiny):
    """The number of layers the base has is told."""
    config = TrainConfig(method="last-layers", last_layers=9)
    with pytest.raises(UserError, match="9 can't be trained, the base has 4"):
        weights.unfreeze(model.base(Model(str(tiny))), config)


def test_flash_attention_without_its_gpu_is_a_sentence(tiny):
    """Said before anything is loaded, with what to choose instead."""
    with pytest.raises(UserError, match=r'flash_attention_2 needs .*"sdpa"'):
        model.base(Model(str(tiny), attention="flash_attention_2"))


def test_a_family_without_sdpa_is_computed_another_way(tmp_path, tiny):
    """Gemma 2 has no sdpa in transformers: the usual setting takes what it has."""
    made = AutoModelForCausalLM.from_config(
        Gemma2Config(**SMALL, num_key_value_heads=2, head_dim=16, intermediate_size=32)
    )
    made.save_pretrained(tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tiny / file, tmp_path)
    assert model.base(Model(str(tmp_path))).config._attn_implementation == "eager"


def test_attention_is_computed_as_asked(tiny):
    """The chosen way is the loaded way, and both say the same."""
    ids = torch.tensor([[5, 6, 7, 8]])
    eager, sdpa = (model.base(Model(str(tiny), attention=name)) for name in ("eager", "sdpa"))
    assert (eager.config._attn_implementation, sdpa.config._attn_implementation) == ("eager", "sdpa")
    with torch.no_grad():
        assert torch.allclose(eager(input_ids=ids).logits, sdpa(input_ids=ids).logits, atol=1e-4)


@pytest.fixture
def tuned(tiny, tmp_path) -> Path:
    """adapter/ of the bundled model's last layer, a little moved."""
    base = weights.unfreeze(model.base(Model(str(tiny))), TrainConfig(method="last-layers", last_layers=1))
    folder = tmp_path / "adapter"
    folder.mkdir()
    weights.write(folder, {name: tensor + 0.01 for name, tensor in weights.trained(base).items()}, {"method": "last"})
    return folder


def test_tuned_weights_step_back_bit_for_bit(tiny, tuned):
    """Off, every weight is the base's own; on, those of the file; also after an error in between."""
    base = model.base(Model(str(tiny)))
    before = {name: p.detach().clone() for name, p in base.named_parameters()}
    adapted, _ = sides.attach(base, tuned)
    stored = load_file(tuned / weights.TENSORS)
    assert all(torch.equal(dict(base.named_parameters())[name], tensor) for name, tensor in stored.items())
    with contextlib.suppress(KeyError), adapted.disable_adapter():
        assert all(torch.equal(p, before[name]) for name, p in base.named_parameters())
        raise KeyError
    assert all(torch.equal(dict(base.named_parameters())[name], tensor) for name, tensor in stored.items())


@pytest.mark.parametrize(
    "change",
    [
        lambda t: dict(list(t.items())[1:]),
        lambda t: {name.replace("layers.3", "layers.7"): tensor for name, tensor in t.items()},
        lambda t: {name: tensor[:-1].contiguous() for name, tensor in t.items()},
    ],
    ids=["a tensor missing", "another model's layers", "other shapes"],
)
def test_tuned_weights_that_do_not_fit_are_refused(tiny, tuned, change):
    """Half a model is another model."""
    save_file(change(load_file(tuned / weights.TENSORS)), tuned / weights.TENSORS)
    with pytest.raises(UserError, match="belongs to another model"):
        sides.attach(model.base(Model(str(tiny))), tuned)


@pytest.mark.parametrize(
    ("name", "what", "sentence"),
    [("full", "adapter", "publish merged"), ("prompt-tuning", "merged", "publish its adapter")],
)
def test_what_can_not_be_published_is_said(make_run, name, what, sentence):
    """A whole model has no adapter, virtual tokens no merged model; what to publish instead is told."""
    folder = make_run(method=name)
    (folder / "adapter").mkdir()
    with pytest.raises(UserError, match=sentence):
        publish.refuse_unready(folder, Publication("alice/model", what))


def test_the_first_token_of_a_text_counts_for_nobody(trained_run):
    """Nothing predicts it: a row's loss is the same alone as beside a longer one, whose padding stands before it."""
    pair = sides.open_pair(sides.of_run(trained_run))
    short, long = (evaluate.question(pair, {"row": 1, "messages": [], "text": "the fox likes " * n}) for n in (2, 9))
    alone, beside = evaluate.losses_of(pair, [short])[0], evaluate.losses_of(pair, [short, long])[0]
    assert alone == pytest.approx(beside, abs=1e-4)
    assert alone[2] == len(short.ids) - 1


def test_changed_tuned_weights_are_another_version(trained_run, tmp_path):
    """The engine sees that an adapter was replaced, whatever its method."""
    from pipeline import engine

    adapter = Path(shutil.copytree(trained_run / "adapter", tmp_path / "adapter"))
    named = Model("base", adapter=str(adapter))
    before = engine._version(named)
    (adapter / weights.TENSORS).write_bytes(b"more")
    assert engine._version(named) != before
    assert jobs.load(trained_run).config.method == "lora"
