"""How fast both sides answer: `OMP_NUM_THREADS=1 python -m tests.benchmarks.compare [REPEATS]`. Prints tokens/s, ratios and pass or fail.

In 32 bit on one CPU thread, greedy, on a model of 4 layers, 512 wide, with 32,000 tokens and random weights, which the bars
are for, and on the bundled one, which is only printed. Rivals: what people do today, two models (the base and one with its
adapter merged, which is faster than an adapter) that answer prompt after prompt, and the same two with batches. Repeats are
interleaved and the median of each counts.
"""

import copy
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ |= {"OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from pipeline import generate, kv_cache
from pipeline.chat_templates import Template
from pipeline.schema import Decoding
from pipeline.sides import Pair
from tests.benchmarks import run

TINY = Path(__file__).parents[2] / "examples" / "tiny-chat"
PROMPTS, ANSWER, REPEATS = 16, 32, 3
ENDLESS = 10**6  # a stop token that no model has: every answer is as long as every other
LEAST = {"today": 5.0, "batches": 1.1, "in turn, one prompt": 1.25}
MOST = {"bytes": 0.6, "first tokens": 1.3}
Prompts = list[list[int]]


def base(name: str) -> Any:
    if name == "bundled":
        return AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32).eval()
    torch.manual_seed(0)
    wide = LlamaConfig(
        vocab_size=32_000, hidden_size=512, intermediate_size=1408, num_hidden_layers=4, num_attention_heads=8
    )
    return AutoModelForCausalLM.from_config(wide).eval()


def opened(name: str) -> tuple[Pair, Any, Any]:
    """Ours, and the two models that people load: the base, and one with the adapter merged into it."""
    alone = base(name)
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", init_lora_weights=False)
    torch.manual_seed(1)
    adapted = get_peft_model(copy.deepcopy(alone), lora).eval()
    merged = copy.deepcopy(adapted).merge_and_unload()
    pair = Pair(adapted, AutoTokenizer.from_pretrained(TINY), Template("", None, (ENDLESS,)), "mixed", {})
    return pair, alone, merged


def drawn(size: int) -> Prompts:
    """Prompts of 16 to 40 tokens."""
    torch.manual_seed(2)
    return [torch.randint(5, size, (length,)).tolist() for length in torch.randint(16, 41, (PROMPTS,)).tolist()]


def plain(model: Any, prompts: Prompts, pad: int) -> None:
    """transformers' generate over one batch, as people call it."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    found = model.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=ANSWER, do_sample=False, eos_token_id=[ENDLESS],
        pad_token_id=pad,
    )  # fmt: skip
    assert found.shape[1] == longest + ANSWER


def seconds(work: Callable[[], Any]) -> float:
    begun = time.process_time()  # of one thread: the same as by the clock where nothing else runs
    work()
    return time.process_time() - begun


def rivals(pair: Pair, alone: Any, merged: Any, prompts: Prompts) -> dict[str, Callable[[], Any]]:
    pad, settings, both = pair.tokenizer.pad_token_id, Decoding(ANSWER), {"base": prompts, "tuned": prompts}
    one = dict.fromkeys(both, prompts[:1])

    def apart(asked: dict[str, Prompts]) -> None:
        with pair.adapted.disable_adapter():
            plain(pair.adapted, asked["base"], pad)
        plain(pair.adapted, asked["tuned"], pad)

    return {
        "ours": lambda: generate.of_columns(pair, both, settings),
        "today": lambda: [plain(model, [prompt], pad) for model in (alone, merged) for prompt in prompts],
        "batches": lambda: [plain(model, prompts, pad) for model in (alone, merged)],
        "in turn, batches": lambda: apart(both),
        "ours, one prompt": lambda: generate.of_columns(pair, one, settings),
        "in turn, one prompt": lambda: apart(one),
        "two models, one prompt": lambda: [plain(model, prompts[:1], pad) for model in (alone, merged)],
    }


def measured(pair: Pair, alone: Any, merged: Any, prompts: Prompts, repeats: int) -> dict[str, float]:
    """Median seconds of each rival."""
    found: dict[str, list[float]] = {}
    ways = rivals(pair, alone, merged, prompts)
    ways["ours, one prompt"]()
    for _ in range(repeats):
        for way, work in ways.items():
            found.setdefault(way, []).append(seconds(work))
    return {way: statistics.median(times) for way, times in found.items()}


def first_tokens(pair: Pair, prompts: Prompts, repeats: int) -> dict[str, float]:
    """Median seconds until the first token of a prompt: one column alone, and the later one of both."""
    asked = {"base": ["base"], "tuned": ["tuned"], "both": ["base", "tuned"]}
    found: dict[str, list[float]] = {way: [] for way in asked}
    for prompt in prompts[: 3 * repeats]:
        for way, columns in asked.items():
            answers = generate.of_columns(pair, {column: [prompt] for column in columns}, Decoding(2))
            found[way].append(max(answer.first for (answer,) in answers.values()))
    return {way: statistics.median(times) for way, times in found.items()}


def held(pair: Pair, alone: Any, merged: Any, prompts: Prompts) -> tuple[int, int]:
    """Bytes of parameters, buffers and keys and values: ours, and those of two models with batches."""
    made, fresh = [], kv_cache.fresh
    kv_cache.fresh = lambda *given: made.append(fresh(*given)) or made[-1]
    try:
        generate.of_columns(pair, {"base": prompts, "tuned": prompts}, Decoding(ANSWER))
    finally:
        kv_cache.fresh = fresh
    ours = weights(pair.adapted) + sum(layer.size for layer in made[0].layers)
    config = alone.config
    token = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 4
    tokens = 2 * len(prompts) * (max(map(len, prompts)) + ANSWER)
    return ours, weights(alone) + weights(merged) + tokens * token


def weights(model: Any) -> int:
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


def judged(name: str, repeats: int) -> bool:
    pair, alone, merged = opened(name)
    prompts = drawn(alone.config.vocab_size)
    times = measured(pair, alone, merged, prompts, repeats)
    firsts = first_tokens(pair, prompts, repeats)
    ours, theirs = held(pair, alone, merged, prompts)
    ratios = {way: times["ours, one prompt" if "one prompt" in way else "ours"] ** -1 * t for way, t in times.items()}
    print(f"\n{name}: {PROMPTS} prompts on both sides, {ANSWER} tokens each")
    for way, spent in times.items():
        count = 2 * ANSWER * (1 if "one prompt" in way else PROMPTS)
        print(f"  {way:<24} {count / spent:8.0f} tokens/s   ours is {ratios[way]:5.2f} times as fast")
    print("  first tokens             " + ", ".join(f"{way} {1000 * t:.0f} ms" for way, t in firsts.items()))
    most = {"bytes": ours / theirs, "first tokens": firsts["both"] / firsts["tuned"]}
    print(
        f"  bytes                    {ours / 2**20:.0f} MiB of {theirs / 2**20:.0f}: {most['bytes']:.2f} times as many"
    )
    print(f"  both first tokens        {most['first tokens']:.2f} times as late as tuned's alone")
    if name == "bundled":
        return True
    missed = [f"{way} {ratios[way]:.2f} < {bar}" for way, bar in LEAST.items() if ratios[way] < bar]
    missed += [f"{what} {most[what]:.2f} > {bar}" for what, bar in MOST.items() if most[what] > bar]
    print("  pass" if not missed else f"  FAIL: {', '.join(missed)}")
    return not missed


def main(repeats: int = REPEATS) -> int:
    torch.set_num_threads(1)
    passed = [judged(name, repeats) for name in ("512 wide", "bundled")]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    print(f"torch {torch.__version__}, one thread", file=sys.stderr)
    run(main)
