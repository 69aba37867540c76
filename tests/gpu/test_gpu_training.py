"""Training on a GPU: the precision it really computes in, and what models of real sizes need of a T4's memory.

`python -m pytest tests/gpu -s` prints peak memory and speed.
"""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import Gemma3TextConfig, LlamaConfig
from trl import SFTTrainer

from pipeline import checkpoints, estimate, events, fit, forecast, jobs, model, probe, train
from pipeline.job import Job

NATIVE_BFLOAT16 = torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)
SIZES = {
    "0.5B": LlamaConfig(
        vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
        num_key_value_heads=2, max_position_embeddings=4096, tie_word_embeddings=True,
    ),
    "1.1B": LlamaConfig(
        vocab_size=32000, hidden_size=2048, intermediate_size=5632, num_hidden_layers=22, num_attention_heads=32,
        num_key_value_heads=4, max_position_embeddings=2048,
    ),
}  # fmt: skip


def work(folder: Path) -> str:
    job = Job(folder, "train")
    job.emit("started", pid=0, from_step=jobs.checkpoint_step(folder))
    ending, values = train.work(job)
    job.emit(ending, **values)
    return ending


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = (folder / "adapter").glob("*.safetensors")
    return load_file(file)


def learned(folder: Path) -> bool:
    """Whether every loss is a number and the validation loss fell."""
    told = jobs.view(folder)
    validation = [loss for _, loss in told.validation_curve]
    return all(math.isfinite(loss) for _, loss in told.curve) and validation[-1] < validation[0]


def scaled(folder: Path) -> bool:
    """Whether a grad scaler was at work: its state is part of every checkpoint."""
    return (checkpoints.newest(folder) / "scaler.pt").exists()


@pytest.mark.parametrize("memory", ["16-bit", "8-bit", "4-bit"])
def test_a_t4_trains_in_float16_with_a_scaler(make_run, pretend_t4, memory):
    """The base in float16, 8 or 4 bit, autocast to float16, adapters in 32 bit, gradients scaled; and it learns."""
    folder = make_run(rows=96, memory=memory, epochs=2)
    assert work(folder) == "finished"
    assert learned(folder)
    assert scaled(folder)
    assert {tensor.dtype for tensor in weights(folder).values()} == {torch.float32}


def test_a_t4_run_goes_on_after_a_stop(make_run, pretend_t4):
    """The scaler's state is resumed with the rest: all steps are told, and the run still learns."""
    folder = make_run(rows=96, memory="4-bit", epochs=2, early_stopping=0, eval_steps=4)
    job = Job(folder, "train")
    job.emit("started", pid=0, from_step=0)
    (folder / "control" / "stop").touch()
    assert train.work(job)[0] == "stopped"
    job.emit("stopped", kept=True)
    (folder / "control" / "stop").unlink()
    assert work(folder) == "finished"
    assert learned(folder)


@pytest.mark.parametrize("method", ["full", "last-layers"])
def test_the_bases_own_weights_are_trained_in_32_bit_under_float16(make_run, pretend_t4, method):
    """Weights that are trained are never 16 bit, whatever is computed in."""
    folder = make_run(rows=96, method=method, learning_rate=1e-3, epochs=2)
    assert work(folder) == "finished"
    assert learned(folder)
    assert scaled(folder)


@pytest.mark.skipif(not NATIVE_BFLOAT16, reason="this GPU has no bfloat16 of its own")
@pytest.mark.parametrize("memory", ["16-bit", "4-bit"])
def test_newer_gpus_train_in_bfloat16(make_run, memory):
    """Without a scaler, adapters in 32 bit all the same."""
    folder = make_run(rows=96, memory=memory, epochs=2)
    assert work(folder) == "finished"
    assert learned(folder)
    assert not scaled(folder)
    assert {tensor.dtype for tensor in weights(folder).values()} == {torch.float32}
    assert model.half() == torch.bfloat16


def test_a_family_that_overflows_is_computed_in_32_bit(make_run, random_model, pretend_t4):
    """Gemma 3 on a T4: no float16 anywhere, no scaler, and every loss a number."""
    tiny = Gemma3TextConfig(
        vocab_size=4096, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=32, sliding_window=64, max_position_embeddings=512,
    )  # fmt: skip
    folder = make_run(rows=48, model=random_model("gemma3", tiny, torch.bfloat16), epochs=1)
    assert work(folder) == "finished"
    assert learned(folder)
    assert not scaled(folder)
    assert model.base(jobs.load(folder).named()).dtype == torch.float32


@pytest.mark.parametrize("tokens_per_row", [256, 1000])
@pytest.mark.parametrize("memory", ["16-bit", "8-bit", "4-bit"])
@pytest.mark.parametrize("size", SIZES)
def test_real_sizes_fit_a_t4(random_model, long_run, pretend_t4, size, memory, tokens_per_row):
    """Six steps of LoRA on random weights within 16 GB; prints the peak and the speed."""
    folder = long_run(random_model(size, SIZES[size]), rows=48, words=tokens_per_row, memory=memory, max_steps=6)
    assert work(folder) == "finished"
    show(folder, f"{size} {memory} LoRA, rows of about {tokens_per_row} words")


def test_a_small_model_is_fully_trained_on_a_t4(random_model, long_run, pretend_t4):
    """Half a billion weights in 32 bit with an 8-bit optimizer, within 16 GB."""
    settings = {"method": "full", "optimizer": "paged_adamw_8bit", "learning_rate": 1e-5}
    folder = long_run(random_model("0.5B", SIZES["0.5B"]), rows=48, words=256, max_steps=6, **settings)
    assert work(folder) == "finished"
    show(folder, "0.5B full fine-tuning, paged_adamw_8bit")


def test_packed_rows_are_faster_than_padded_ones(random_model, long_run, pretend_t4):
    """Short rows: more learned tokens in a second, with the same memory or less; prints both."""
    speeds = {}
    for packing in (False, True):
        folder = long_run(
            random_model("0.5B", SIZES["0.5B"]), rows=400, words=40, max_steps=6, packing=packing, length_grouping=False,
            batch_size=16 if not packing else 2,
        )  # fmt: skip
        work(folder)
        speeds[packing] = show(folder, f"0.5B LoRA, rows of about 40 words, packing {packing}")
    assert speeds[True] > speeds[False]


ROWS = {"rows": 32, "words": 500, "memory": "16-bit", "max_steps": 3, "batch_size": 8, "max_length": 512}


@pytest.fixture
def half_billion(random_model):
    return random_model("0.5B", SIZES["0.5B"])


def limit(bytes_: float) -> None:
    """No more for torch than so many bytes."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(bytes_ / torch.cuda.get_device_properties(0).total_memory)


def real_peak(folder: Path, measured: dict) -> int:
    """What the same training takes at most where nothing is tried beforehand, CUDA's own memory included."""
    fit.write(folder, {**measured, "measured_bytes": 1})
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    assert work(folder) == "finished"
    return torch.cuda.max_memory_allocated() + estimate.CONTEXT


@pytest.mark.parametrize("settings", [{}, {"memory": "4-bit"}, {"method": "full", "learning_rate": 1e-5}], ids=str)
def test_the_probe_measures_what_training_takes(half_billion, long_run, pretend_t4, settings):
    """Within a tenth of the real peak of the same run; and the forecast for another micro-batch, corrected by it, too."""
    first = long_run(half_billion, **{**ROWS, **settings}, micro_batch=4)
    assert work(first) == "finished"
    found = fit.read(first)
    real = real_peak(long_run(half_billion, **{**ROWS, **settings}, micro_batch=4), found)
    other = long_run(half_billion, **{**ROWS, **settings}, micro_batch=2)
    asked, tokens = jobs.load(other), found["longest"]
    lengths = {"rows": 32, "tokens": 32 * tokens, "max": tokens, "mean": tokens, "p95": tokens}
    said = forecast.of(asked.config, asked.named(), lengths, 32)
    other_real = real_peak(other, {**found, "micro_batch": 2})
    print(f"\n{settings}: probe {found['measured_bytes'] / 1e9:.2f} GB, real {real / 1e9:.2f} GB; another micro-batch: "
          f"corrected forecast {said['peak'] / 1e9:.2f} GB, real {other_real / 1e9:.2f} GB")  # fmt: skip
    assert found["device"] == torch.cuda.get_device_name()
    assert found["measured_bytes"] == pytest.approx(real, rel=0.1)
    assert said["corrected"]
    assert said["peak"] == pytest.approx(other_real, rel=0.1)


def test_rows_that_do_not_fit_a_gpu_are_halved_before_the_first_step(half_billion, long_run, pretend_t4):
    """With four fifths of what eight rows at once need, fewer are found to fit, and the batch stays."""
    wide = long_run(half_billion, **ROWS, micro_batch=8)
    assert work(wide) == "finished"
    probe.free()
    limit(0.8 * (fit.read(wide)["measured_bytes"] - estimate.CONTEXT))
    narrow = long_run(half_billion, **ROWS, micro_batch=8)
    assert work(narrow) == "finished"
    found = fit.read(narrow)
    assert found["micro_batch"] in (1, 2, 4)
    assert [each["why"] for each in found["halved"]] == ["probe"]
    assert len(jobs.view(narrow).curve) == 3


def test_a_gpu_whose_memory_runs_out_half_way_goes_on_with_fewer_rows(half_billion, long_run, pretend_t4, monkeypatch):
    """Somebody else takes memory after the first checkpoint: the run goes on from there, all steps are told once."""
    step, calls = SFTTrainer.training_step, []
    folder = long_run(half_billion, **ROWS, micro_batch=8, save_steps=1)

    def training_step(self, *rest):
        calls.append(len(rest[1]["input_ids"]))
        if len(calls) == 4:  # two for the probe, one that is saved, and this
            limit(0.8 * (fit.read(folder)["measured_bytes"] - estimate.CONTEXT))
        return step(self, *rest)

    monkeypatch.setattr(SFTTrainer, "training_step", training_step)
    assert work(folder) == "finished"
    first, *_ = fit.read(folder)["halved"]
    assert (first["from"], first["step"], first["why"]) == (8, 2, "step")
    assert [at for at, _ in jobs.view(folder).curve] == [1, 2, 3]
    assert set(calls[4:]) <= {1, 2, 4}


def show(folder: Path, what: str) -> float:
    """Print peak memory and speed, without the first step; the speed in tokens per second."""
    told = [e.values for e in events.since(folder / "events.jsonl", 0)[0] if e.kind == "loss"]
    speed = sum(v["tokens_per_second"] for v in told[1:]) / (len(told) - 1)
    peak = torch.cuda.max_memory_allocated() / 1e9
    print(f"\n{torch.cuda.get_device_name()}: {what}: {peak:.2f} GB, {speed:,.0f} tokens/s")
    assert peak < 16
    assert all(math.isfinite(v["loss"]) for v in told)
    return speed
