"""Will it fit, and how long will it take: counted against the real thing, and what it proposes is tried out."""

import contextlib
import itertools
import json
import logging
import shutil
import time
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    JambaConfig,
    LlamaConfig,
    MambaConfig,
    MixtralConfig,
    Phi3Config,
    PhiConfig,
    Qwen2Config,
    Qwen3Config,
    RecurrentGemmaConfig,
)

from pipeline import (
    __main__,
    adapters,
    changes,
    counter,
    disk,
    duration,
    earlier,
    estimate,
    events,
    fit,
    forecast,
    machines,
    model,
    precision,
    sft,
    sizes,
)  # fmt: skip
from pipeline.errors import UserError
from pipeline.machines import Machine
from pipeline.methods import METHODS
from pipeline.schema import Event, Model, TrainConfig, to_json

GB = 10**9
KEYS = [
    "machine", "micro_batch", "peak", "fits", "terms", "moment", "corrected", "ram", "disk", "seconds", "changes",
    "machines",
]  # fmt: skip
TERMS = {
    "weights", "quantization state", "adapter", "gradients", "optimizer", "activations", "logits", "update",
    "CUDA context", "libraries",
}  # fmt: skip
LENGTHS = {"rows": 1000, "tokens": 300_000, "max": 900, "mean": 300.0, "p95": 700, "learned": 0.4, "validation": 50}
# parameters as published or counted in the models' own files
KNOWN = {
    "Llama-3.2-1B": (
        LlamaConfig(
            vocab_size=128256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
            num_key_value_heads=8, head_dim=64, tie_word_embeddings=True, max_position_embeddings=131072,
        ),
        1_235_814_400,
    ),
    "Qwen2.5-0.5B": (
        Qwen2Config(
            vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
            num_key_value_heads=2, tie_word_embeddings=True, max_position_embeddings=32768,
        ),
        494_032_768,
    ),
    "Qwen2.5-7B": (
        Qwen2Config(
            vocab_size=152064, hidden_size=3584, intermediate_size=18944, num_hidden_layers=28, num_attention_heads=28,
            num_key_value_heads=4, tie_word_embeddings=False, max_position_embeddings=32768,
        ),
        7_615_616_512,
    ),
    "Phi-2": (
        PhiConfig(
            vocab_size=51200, hidden_size=2560, intermediate_size=10240, num_hidden_layers=32, num_attention_heads=32,
            partial_rotary_factor=0.4, max_position_embeddings=2048,
        ),
        2_779_683_840,
    ),
    "Phi-3-mini": (
        Phi3Config(
            vocab_size=32064, hidden_size=3072, intermediate_size=8192, num_hidden_layers=32, num_attention_heads=32,
            num_key_value_heads=32, max_position_embeddings=4096,
        ),
        3_821_079_552,
    ),
}  # fmt: skip


def saved(config, folder: Path, dtype: str = "bfloat16") -> Model:
    """A model folder of which there is nothing but its config; the file of its weights is empty."""
    config.architectures, config.dtype = [type(config).__name__.replace("Config", "ForCausalLM")], dtype
    config.save_pretrained(folder)
    (folder / "model.safetensors").touch()
    return Model(str(folder))


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """Models by name, their configs alone."""
    folder = tmp_path_factory.mktemp("known")
    return {name: saved(config, folder / name) for name, (config, _) in KNOWN.items()}


@pytest.fixture(scope="module")
def wide(tmp_path_factory) -> Model:
    """A billion weights in four layers: quickly counted."""
    config = LlamaConfig(
        vocab_size=32000, hidden_size=4096, intermediate_size=14336, num_hidden_layers=4, num_attention_heads=32,
        num_key_value_heads=8, max_position_embeddings=8192,
    )  # fmt: skip
    return saved(config, tmp_path_factory.mktemp("wide"))


def asked(method: str, **settings) -> TrainConfig:
    own = {"new_tokens": "<note>"} if method == "new-tokens" else {}
    return TrainConfig(method=method, **{**own, **settings})


@pytest.mark.parametrize("machine", ["here", "t4"])
@pytest.mark.parametrize("method", METHODS)
def test_a_forecast_says_the_same_things_of_every_method(tiny, method, machine):
    """The keys that the page reads; terms that are known, not zero, and add up to the peak."""
    found = forecast.of(asked(method), Model(str(tiny)), LENGTHS, None, machine)
    assert list(found) == KEYS
    assert json.loads(json.dumps(found)) == found
    assert found["machine"]["key"] == machine
    assert found["fits"]
    assert found["changes"] == []
    assert set(found["terms"]) <= TERMS
    assert min(found["terms"].values()) > 0
    assert sum(found["terms"].values()) == found["peak"]
    assert found["moment"] in ("logits", "backward", "update")
    assert sum(found["disk"]["terms"].values()) == found["disk"]["needed"]
    assert found["seconds"]["total"] > 0
    assert [other["key"] for other in found["machines"]] == list(machines.NAMED)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_trained_is_counted_to_the_last_tensor(tiny, method):
    """The shapes counted without values are those of the real model with its real adapter."""
    wanted = asked(method, rank=8)
    named = Model(str(tiny), memory=wanted.held, new_tokens=wanted.new_tokens)
    real = adapters.fresh(model.base(named), model.tokenizer(named), wanted, recompute=False)
    trained = [tuple(parameter.shape) for parameter in real.parameters() if parameter.requires_grad]
    assert sorted(sizes.learned(sizes.base_of(named), wanted).shapes) == sorted(trained)


@pytest.mark.parametrize("name", KNOWN)
def test_known_models_have_their_known_size(known, name):
    assert sizes.base_of(known[name]).shape.parameters == KNOWN[name][1]


def test_known_adapters_have_their_known_size(known):
    """LoRA of Phi-2 at rank 32 on its attention, and of Phi-3-mini at rank 8 on every layer."""
    phi2 = TrainConfig(rank=32, target_modules="q_proj,k_proj,v_proj,dense")
    assert sizes.learned(sizes.base_of(known["Phi-2"]), phi2).parameters == 20_971_520
    assert sizes.learned(sizes.base_of(known["Phi-3-mini"]), TrainConfig(rank=8)).parameters == 12_582_912


SMALL = {"vocab_size": 500, "hidden_size": 128, "intermediate_size": 352, "num_attention_heads": 4}
FAMILIES = {
    "llama": lambda n: LlamaConfig(num_hidden_layers=n, num_key_value_heads=2, **SMALL),
    "qwen3": lambda n: Qwen3Config(num_hidden_layers=n, num_key_value_heads=2, head_dim=32, **SMALL),
    "phi": lambda n: PhiConfig(num_hidden_layers=n, **SMALL),
}
ROWS, TOKENS = 2, 96
# whose layers differ, or depend on values: what they keep can't be counted
UNUSUAL = {
    "mamba": MambaConfig(vocab_size=500, hidden_size=64, num_hidden_layers=2),
    "jamba": JambaConfig(
        num_hidden_layers=2, num_key_value_heads=2, num_experts=2, num_experts_per_tok=1, attn_layer_period=2,
        attn_layer_offset=1, expert_layer_period=2, expert_layer_offset=1, use_mamba_kernels=False, **SMALL,
    ),
    "recurrent gemma": RecurrentGemmaConfig(
        num_hidden_layers=3, num_key_value_heads=2, head_dim=32, lru_width=128,
        block_types=["recurrent", "recurrent", "attention"], **SMALL,
    ),
    "mixtral": MixtralConfig(
        num_hidden_layers=2, num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2, **SMALL
    ),
}  # fmt: skip


def kept_by_autograd(config, wanted: TrainConfig) -> int:
    """Bytes of everything a real model keeps of a forward pass for its backward pass, its own tensors apart."""
    base = AutoModelForCausalLM.from_config(config)
    family = METHODS[wanted.method].family
    trained = base if family == "weights" else adapters.wrapped(base, wanted, [])
    trained.train()
    own = {t.untyped_storage().data_ptr() for t in (*trained.parameters(), *trained.buffers())}
    found = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    inner = trained if family == "weights" else trained.get_base_model()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        inner.base_model(input_ids=torch.arange(ROWS * TOKENS).reshape(ROWS, TOKENS), use_cache=False)
    return sum(size for size, _ in found.values())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "wanted",
    [TrainConfig(), TrainConfig(dropout=0.0), TrainConfig("full"), TrainConfig("ia3")],
    ids=["lora", "lora, nothing dropped", "full", "ia3"],
)
def test_activations_are_what_autograd_keeps(tmp_path, family, wanted):
    """Within a quarter, per layer, on a CPU in 32 bit: attention, gates, norms, dropout's copies, whatever the family."""
    one, three = (kept_by_autograd(FAMILIES[family](n), wanted) for n in (1, 3))
    base = sizes.base_of(saved(FAMILIES[family](3), tmp_path, "float32"))
    trains = sizes.learned(base, wanted)
    kept = forecast.adapter_kept(wanted, trains, width=4, on_cpu=True)
    step = estimate.Step(
        ROWS, TOKENS, "float32", kept=sizes.kept(base, "sdpa", bool(kept)), adapter_kept=kept, on_cpu=True
    )
    assert estimate.layer_activations(base.shape, step) == pytest.approx((three - one) / 2, rel=0.25)


def test_the_type_of_its_files_does_not_change_what_a_base_keeps(tmp_path):
    """It is counted in 32 bit, whatever the weights are stored in."""
    one, other = (
        sizes.kept(sizes.base_of(saved(FAMILIES["llama"](2), tmp_path / kind, kind)), "sdpa", frozen=True)
        for kind in ("float32", "bfloat16")
    )
    assert one == other


@pytest.mark.parametrize("name", UNUSUAL)
def test_what_can_not_be_counted_goes_by_formula(tmp_path, name):
    """No error but a sentence, for every method, and torch writes no traceback of what it could not follow."""
    named, told = saved(UNUSUAL[name], tmp_path), []
    handler = logging.Handler()
    handler.emit = told.append
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    logger.addHandler(handler)
    try:
        assert sizes.kept(sizes.base_of(named), "sdpa", frozen=True) is None
        for method in ("full", "lora", "dora", "prefix-tuning"):
            with contextlib.suppress(UserError):
                assert forecast.of(TrainConfig(method), named, LENGTHS, None, "t4")["peak"] > 0
        assert forecast.of(TrainConfig("full"), named, LENGTHS, None)["peak"] > 0
    finally:
        logger.removeHandler(handler)
    assert told == []


DAMAGED = {
    "num_attention_heads": 0, "hidden_size": "abc", "hidden_act": "nope", "vocab_size": 0, "dtype": "float99",
    "num_hidden_layers": 0, "num_key_value_heads": 0, "head_dim": 0, "intermediate_size": -5, "rope_parameters": 7,
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [*DAMAGED.items(), ("num_hidden_layers", -1)])
def test_a_damaged_config_is_said_in_a_sentence(tiny, tmp_path, capsys, name, value):
    """Whatever its values: the model is named, nothing else is written, and the command ends with 2."""
    folder = Path(shutil.copytree(tiny, tmp_path / "damaged"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, name: value}))
    run = json.loads((tiny.parent / "tiny-yoda.json").read_text())
    source = {key: str(tiny.parent / file) for key, file in run["source"].items()}
    asked_for = tmp_path / "run.json"
    asked_for.write_text(json.dumps({**run, "model": str(folder), "source": source}))
    assert __main__.main(["estimate", str(asked_for)]) == 2
    told = capsys.readouterr().err
    assert f"{folder}: its size" in told or f"{folder} can't be loaded" in told
    assert "Traceback" not in told


def test_rows_in_memory_and_recomputing_follow_training_on_this_machine():
    """The forecast's rules for a device are those that training goes by."""
    on_cpu = model.device().type == "cpu"
    for method, packing, batch, micro, again in itertools.product(
        ("lora", "prefix-tuning"), (False, True), (1, 6, 16), (0, 1), ("auto", "off", "on")
    ):
        if method == "lora" or not (packing or again == "on"):
            wanted = TrainConfig(
                method, packing=packing, batch_size=batch, micro_batch=micro, activation_checkpointing=again
            )
            assert estimate.micro_batch(wanted, on_cpu) == sft.micro_batch(wanted)
            assert estimate.recompute(wanted, on_cpu) == sft.recompute(wanted)


def test_a_base_is_held_as_the_machine_can(known):
    """16 bit on a GPU, 32 on a CPU, and 32 on a T4 for a family that 16-bit floats are too small for."""
    auto = TrainConfig()
    for family, capability, expected in (
        ("llama", (7, 5), "16-bit"), ("llama", None, "32-bit"), ("gemma3_text", (7, 5), "32-bit"),
        ("gemma3_text", (8, 0), "16-bit"),
    ):  # fmt: skip
        assert sizes.held(auto, family, capability) == expected, (family, capability)
    assert sizes.held(TrainConfig("qlora-4bit"), "llama", None) == "4-bit"
    assert sizes.held(TrainConfig("full"), "llama", (8, 0)) == "32-bit"


def test_a_large_model_fits_where_it_is_known_to(known):
    """A model of 7 billion weights: not in 16 bit on a T4, in 4 bit there, in 16 bit on 24 GB; trained whole on none of these."""
    named = known["Qwen2.5-7B"]
    for method, machine, fits in (
        ("lora", "t4", False), ("qlora-4bit", "t4", True), ("lora", "rtx4090", True), ("full", "a100-80", False),
    ):  # fmt: skip
        found = forecast.of(TrainConfig(method), named, LENGTHS, None, machine)
        assert found["fits"] is fits, (method, machine, found["peak"])
        assert bool(found["changes"]) is not fits


@pytest.mark.parametrize("method", ["lora", "pissa", "full", "prefix-tuning", "prompt-tuning", "last-layers", "dora"])
@pytest.mark.parametrize("memory", [1.5 * GB, 3 * GB, 8 * GB])
@pytest.mark.parametrize("on_cpu", [False, True], ids=["gpu", "cpu"])
def test_every_change_that_is_offered_makes_it_fit(wide, method, memory, on_cpu):
    """What is set is accepted with all other settings, and the forecast with it is the one that was promised."""
    base = sizes.base_of(wide)
    where = Machine("x", "x", int(memory), None if on_cpu else (8, 0))
    wanted = TrainConfig(method, batch_size=12, max_length=4096)
    lengths = {**LENGTHS, "max": 3000, "p99": 2000, "p90": 400}
    offered = forecast.helping(wanted, base, lengths, where, None)
    assert len(offered) <= forecast.OFFERED
    for change in offered:
        changed = TrainConfig(**{**to_json(wanted), **change["set"]})
        assert forecast.peak(changed, base, lengths, where).peak == change["peak"] <= memory
        assert change["sentence"][0].isupper()


def test_the_mildest_change_comes_first_and_alone(wide):
    """Where fewer rows at once are enough, they are offered, as many as fit; combinations only where nothing does alone."""
    base, wanted = sizes.base_of(wide), TrainConfig(batch_size=16, max_length=1024)
    needed = forecast.peak(TrainConfig(batch_size=16, micro_batch=8), base, LENGTHS, Machine("x", "x", 0))
    first, *others = forecast.helping(wanted, base, LENGTHS, Machine("x", "x", needed.peak + 1), None)
    assert first["set"] == {"micro_batch": 8}
    assert {name for change in others for name in change["set"]} >= {"activation_checkpointing"}
    assert all(len(change["set"]) == 1 for change in (first, *others))
    least = forecast.peak(
        TrainConfig(batch_size=16, micro_batch=1, activation_checkpointing="on"), base, LENGTHS, Machine("x", "x", 0)
    )
    both = forecast.helping(wanted, base, LENGTHS, Machine("x", "x", least.peak), None)
    assert {"micro_batch": 1, "activation_checkpointing": "on"} in [change["set"] for change in both]


def test_rows_are_cut_only_where_it_is_known_how_many():
    wanted = TrainConfig(max_length=1024)
    assert changes.shorter(wanted, None) == []
    assert changes.shorter(wanted, {"max": 900, "mean": 300.0}) == []
    found = changes.shorter(wanted, {"max": 900, "p95": 700})
    assert [change.set for change in found] == [{"max_length": 704}]
    assert "5 %" in found[0].sentence


def test_more_of_anything_needs_more(known, wide):
    """Longer rows, more rows at once, a larger model, keeping activations."""
    where = machines.NAMED["h200"]

    def peak(named=wide, longest=512, **settings):
        wanted = TrainConfig(max_length=4096, **settings)
        return forecast.peak(wanted, sizes.base_of(named), {"max": longest}, where).peak

    assert peak() < peak(longest=1024) < peak(longest=4096)
    assert peak(micro_batch=1) < peak(micro_batch=4) < peak(micro_batch=16)
    assert peak() < peak(known["Qwen2.5-7B"])
    assert peak() < peak(activation_checkpointing="off")
    assert peak(rank=8) < peak(rank=256)


def test_rows_longer_than_the_model_reads_are_not_foreseen(known):
    """A row is cut at the longest length, and at what the base reads; packed ones have that length; virtual tokens count."""
    phi2 = sizes.base_of(known["Phi-2"])
    assert sizes.longest(TrainConfig(max_length=512), phi2, {"max": 900}) == 512
    assert sizes.longest(TrainConfig(max_length=8192), phi2, {"max": 9000}) == 2048
    assert sizes.longest(TrainConfig(packing=True, max_length=512), phi2, {"max": 90}) == 512
    assert sizes.longest(TrainConfig("prompt-tuning", virtual_tokens=8), phi2, {"max": 90}) == 98


@pytest.fixture
def measured(make_run, tiny):
    """A run whose probe needed a certain number of bytes."""

    def make(peak: int, **settings):
        folder = make_run(**{"batch_size": 8, **settings})
        fit.write(
            folder,
            {
                "micro_batch": 8, "batch_size": 8, "device": "cpu", "forecast_bytes": 10**9, "measured_bytes": peak,
                "longest": 64, "seconds_per_step": 0.5, "halved": [],
            },
        )  # fmt: skip
        return folder

    return make


@pytest.mark.skipif(torch.cuda.is_available(), reason="the probe was one of a CPU")
def test_an_earlier_probe_corrects_the_forecast(measured, tiny):
    """The same settings are forecast at what was measured; another way to hold the base is not touched."""
    wanted, lengths = TrainConfig(batch_size=8, max_length=128), {**LENGTHS, "max": 64}
    before = forecast.of(wanted, Model(str(tiny)), lengths, None)
    peak = before["peak"] + sum(before["terms"].get(name, 0) for name in forecast.MEASURED_AT) // 2
    measured(peak)
    found = forecast.of(wanted, Model(str(tiny)), lengths, None)
    assert found["corrected"]["run"] == "test"
    assert found["peak"] == pytest.approx(peak, rel=0.02)
    assert forecast.of(wanted, Model(str(tiny)), lengths, None, "t4")["corrected"] is None
    for other in ({"method": "dora"}, {"memory": "8-bit"}):
        assert forecast.of(TrainConfig(**other), Model(str(tiny)), lengths, None)["corrected"] is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="the probe was one of a CPU")
def test_what_was_forecast_right_is_not_corrected(measured, tiny):
    """The share of its tokens that a run learned is taken off once; a run that does not tell it learned them all."""
    wanted, where = TrainConfig(batch_size=8, max_length=128), machines.here()
    base = sizes.base_of(Model(str(tiny)))

    def corrected_by(share: float, **told: float) -> float:
        folder = measured(forecast.peak(wanted, base, {"max": 64, "learned": share}, where).peak)
        fit.write(folder, {**fit.read(folder), **told})
        return forecast.correction(forecast.known(wanted, base, where), base, where).by

    assert corrected_by(0.4, learned=0.4) == 1.0
    assert corrected_by(1.0) == 1.0
    assert corrected_by(0.4) < 1.0


def test_time_goes_by_an_earlier_run_here(make_run, tiny):
    """Its seconds a step, for twice the batch twice of it; on another machine the formula is all there is."""
    folder, begun = make_run(batch_size=8), time.time()
    for step in range(1, 6):
        events.append(folder / "events.jsonl", Event("loss", "train", begun + 2.0 * step, step, {"loss": 1.0}))
    found = forecast.of(TrainConfig(batch_size=16), Model(str(tiny)), LENGTHS, None)["seconds"]
    assert found["from"] == "earlier run"
    assert found["run"] == "test"
    assert found["per_step"] == pytest.approx(4.0)
    assert found["total"] == pytest.approx(4.0 * TrainConfig(batch_size=16).steps(1000))
    assert forecast.of(TrainConfig(), Model(str(tiny)), LENGTHS, None, "t4")["seconds"]["from"] == "formula"
    assert earlier.pace(str(tiny), "dora") is None


def test_time_by_formula_grows_with_what_is_computed(known, wide):
    """Twice the rows, twice the time; a slower machine, a larger model and trained weights take longer; no rows, no time."""

    def total(machine="t4", named=wide, rows=1000, **settings):
        told = {**LENGTHS, "rows": rows, "tokens": 300 * rows, "validation": 0}
        return forecast.of(TrainConfig(**settings), named, told, None, machine)["seconds"]["total"]

    assert total(rows=2000) == pytest.approx(2 * total(), rel=0.02)
    assert total("h100") < total("a100-40") < total("t4")
    assert total() < total(named=known["Qwen2.5-7B"])
    assert total(method="last-layers") < total() < total(method="full")
    assert total(activation_checkpointing="off") < total()
    assert forecast.of(TrainConfig(), wide, None, None, "t4")["seconds"] is None


def test_a_run_looks_no_more_often_than_it_steps(wide):
    """Two steps are followed by two looks at most."""

    def total(eval_steps: int) -> float:
        wanted = TrainConfig(max_steps=2, eval_steps=eval_steps)
        return forecast.of(wanted, wide, LENGTHS, None, "t4")["seconds"]["total"]

    assert total(0) == pytest.approx(total(1))


def test_a_published_step_takes_as_long_as_published(known):
    """QLoRA of Phi-2 on a T4: four rows of 2,048 tokens one by one, about 9 s."""
    wanted = TrainConfig("qlora-4bit", rank=32, batch_size=4, micro_batch=1, max_length=2048)
    found = duration.step_seconds(wanted, sizes.base_of(known["Phi-2"]), 2048, machines.T4)
    assert found == pytest.approx(9.0, rel=0.25)


def test_disk_is_what_a_run_writes(trained_run):
    """Adapter and checkpoints of a real run: as large as said, tokenizer and settings apart."""
    wanted = TrainConfig(keep_checkpoints=3)
    trains = sizes.learned(sizes.base_of(Model(str(Path(__file__).parents[1] / "examples" / "tiny-chat"))), wanted)
    states = estimate.optimizer(wanted.optimizer, trains.shapes)
    told = disk.terms(wanted, 0, 0, 4 * trains.parameters, states)
    adapter = (trained_run / "adapter" / adapters.TENSORS).stat().st_size
    assert told["adapter"] == pytest.approx(adapter, rel=0.02)
    one = next((trained_run / "checkpoints").glob("checkpoint-*"))
    written = sum((one / name).stat().st_size for name in (adapters.TENSORS, "optimizer.pt"))
    assert told["checkpoints"] / 4 == pytest.approx(written, rel=0.05)


def test_only_a_base_that_is_not_here_is_downloaded(known, tiny):
    assert disk.is_here(str(tiny), None)
    assert not disk.is_here("nobody/has-this-model", None)
    assert disk.terms(TrainConfig(), 5, 0, 1, 2) == {"base download": 5, "checkpoints": 12, "adapter": 1}


def test_a_containers_limit_is_this_machines_memory(tmp_path):
    """Both versions of control groups, the nearest folder and those above; no limit is none."""
    own, root = tmp_path / "cgroup", tmp_path / "fs"
    place = root / "box" / "inner"
    place.mkdir(parents=True)
    own.write_text("0::/box/inner\n")
    assert list(machines.containers(root, own)) == []
    for folder, limit in ((place, "max"), (root / "box", "1000")):
        (folder / "memory.max").write_text(limit + "\n")
        (folder / "memory.current").write_text("700\n")
        (folder / "memory.stat").write_text("anon 5\ninactive_file 200\n")
    assert list(machines.containers(root, own)) == [(1000, 500)]
    old = root / "memory" / "box"
    old.mkdir(parents=True)
    own.write_text("5:cpu:/\n4:memory:/box\n")
    for name, text in (("limit_in_bytes", "2000"), ("usage_in_bytes", "900"), ("stat", "total_inactive_file 100")):
        (old / f"memory.{name}").write_text(text)
    assert list(machines.containers(root, own)) == [(2000, 800)]


def test_this_machine_has_what_the_system_says():
    found = machines.here()
    assert 0 < machines.available() <= machines.total()
    assert (found.key, found.kind) == ("here", "gpu" if torch.cuda.is_available() else "cpu")
    assert found.memory > 10**8
    assert found.disk
    with pytest.raises(UserError, match="machine: 'abacus' is not known; choose one of here, t4"):
        machines.find("abacus")


@pytest.mark.parametrize(
    ("gpu", "key"),
    [
        ("Tesla T4", "t4"), ("NVIDIA A100-SXM4-40GB", "a100-40"), ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", "rtx4070tis"), ("NVIDIA GeForce RTX 4070", None), ("NVIDIA L40S", None),
        ("NVIDIA A10G", "a10g"), ("NVIDIA H200", "h200"),
    ],
)  # fmt: skip
def test_a_gpu_is_known_by_its_drivers_name(gpu, key):
    found = machines.like(gpu)
    assert (found.key if found else None) == key


def test_a_named_machine_computes_in_a_type_it_has():
    """None older than float16's matrix units; bfloat16 from 8.0 on."""
    for machine in machines.NAMED.values():
        assert machine.half > machine.single > 0, machine
        half = precision.half(machine.capability, "llama")
        assert (half == "bfloat16") is (machine.capability >= (8, 0)), machine


def test_the_counter_answers_and_is_quick_once_warm(known):
    """The child's verb; a model of 7 billion weights that was asked of before costs next to nothing."""
    named, wanted = to_json(known["Qwen2.5-7B"]), TrainConfig()
    first = counter.forecast(lambda told: None, None, named, to_json(wanted), LENGTHS, "t4")
    begun = time.monotonic()
    again = counter.forecast(lambda told: None, None, named, to_json(TrainConfig(max_length=512)), LENGTHS, "t4")
    assert time.monotonic() - begun < 2
    assert list(first) == list(again) == KEYS
    assert again["peak"] < first["peak"]


def test_the_command_line_estimates(tiny, capsys):
    """--json is the object, the table says the same for people, and a wrong setting is one line."""
    config = str(tiny.parent / "tiny-yoda.json")
    assert __main__.main(["estimate", config, "--machine", "t4", "--json", "--rank", "8"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == KEYS
    assert found["machine"]["key"] == "t4"
    assert __main__.main(["estimate", config, "--method", "full"]) == 0
    told = capsys.readouterr().out
    assert all(word in told for word in ("weights", "optimizer", "T4", "disk"))
    assert __main__.main(["estimate", config, "--machine", "abacus"]) == 2
