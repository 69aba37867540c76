"""`python -m pipeline.merge RUN`: base + adapter -> merged/, checked against the model that was judged.

Reads adapter/, base.json, held_out.jsonl. Writes merged/ (only when the check passes) and merge.json.
One model is in memory at a time. A quantized base is de-quantised first: merging into 4-bit weights would change the model.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # the lock and the first event come before the heavy imports below
    from pipeline import job

    sys.exit(job.main("merge"))

import dataclasses
import gc
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, GenerationConfig

from pipeline import dataset, files, general, jobs, model, sides, template, vocabulary, weights
from pipeline.errors import Refused, UserError
from pipeline.job import Job
from pipeline.methods import METHODS
from pipeline.sides import Pair
from pipeline.schema import Model

QUANTIZED = ("8-bit", "4-bit")
PROMPTS = 20
ANSWER_TOKENS = 64
KEPT_LOGITS = 64  # positions per prompt: all of a long prompt's, times a large vocabulary, would not fit
SHARD_SIZE = "2GB"
SAME_ANSWERS = 0.9  # or parted at a near tie, which 16-bit rounding may tip; a skipped layer changes most answers
EXACT = 1e-3  # largest logit difference of a merge computed and saved in 32 bit
ROUNDING = 1 / 20  # largest share of the adapter's own effect that 16-bit rounding may cost
ROUNDING_FP16 = 1 / 200  # the same where only the saved weights were rounded, to float16: measured 1 / 5000
ROUNDED_INPUTS = 2  # times what de-quantising does to the base: 8-bit layers round what goes into them, too


@dataclass(frozen=True)
class Behaviour:
    """What a model does on the check's prompts: greedy answers as ids (prompt included), and logits of their last tokens.

    `base` are the base's logits of the same, and `effect` their root mean square distance, where a pair was asked.
    """

    logits: list[torch.Tensor]
    answers: list[list[int]]
    effect: float = 0.0
    base: tuple[torch.Tensor, ...] = ()


@dataclass(frozen=True)
class MergeCheck:
    """The merged model, reopened from disk, beside the one that was judged.

    `difference` is the root mean square of the logit differences, `effect` that of the adapter (tuned minus base);
    `kl` is the mean KL(judged || merged) in nats per token; `adapter` is the fingerprint of what was merged.
    """

    against: str
    prompts: int
    max_logit_difference: float
    difference: float
    effect: float
    tolerance: float
    kl: float
    identical_answers: float
    dtype: str
    ok: bool
    adapter: str = ""


def work(job: Job) -> tuple[str, dict[str, Any]]:
    """Merge the run's adapter into a fresh base and keep it only if it is the model that was judged."""
    refuse_unmerged(job.folder)
    (job.folder / "merge.json").unlink(missing_ok=True)
    shutil.rmtree(job.folder / "merged", ignore_errors=True)  # what an older adapter left must not outlive a refusal
    named = sides.of_run(job.folder)
    refuse_other_adapter(job.folder)
    job.phase("asking the judged model")
    judged, prompts, stops = judged_behaviour(job.folder)
    job.end_if_stop_asked()
    rounding = dequantising(named, judged) if named.memory == "8-bit" else 0.0
    with files.whole_folder(job.folder / "merged") as temporary:
        for dtype in saved_dtypes(named):
            for old in temporary.iterdir():  # of the first type, which would be read instead of the second's shards
                old.unlink()
            job.phase("merging")
            write_merged(named, stops, temporary, dtype)
            job.end_if_stop_asked()
            job.phase("checking")
            found = behaviour(reopen(temporary, named.memory), prompts, stops, along=judged.answers)
            exact = model.dtype(named.memory) == torch.float32
            check = compare(judged, found, against(named), dtype, exact, rounding)
            if check.ok:
                break
        check = dataclasses.replace(check, adapter=files.fingerprint(job.folder / "adapter"))
        files.write_json(job.folder / "merge.json", dataclasses.asdict(check))
        if not check.ok:
            raise Refused(refusal(check))
    return "finished", dataclasses.asdict(check)


def refuse_unmerged(folder: Path) -> None:
    """Raises UserError for what can't become one model with its base."""
    method = METHODS[jobs.load(folder).config.method]
    if method.unmerged:
        raise UserError(f"{method.label} can't be merged: {method.unmerged}. Publish its adapter.")


def refuse_other_adapter(folder: Path) -> None:
    """Only what was judged is merged: raises UserError when adapter/ is not the one of report.json."""
    report = folder / "report.json"
    if report.exists() and jobs.read_json(report).get("adapter") != model.fingerprint(folder / "adapter"):
        raise UserError(
            f"adapter/ has changed since it was judged; run `python -m pipeline evaluate {folder.name}` first."
        )


def against(named: Model) -> str:
    quantized = named.memory in QUANTIZED
    how = f"the {named.memory} base it was trained and judged on, de-quantised" if quantized else "its base"
    return f"the adapter on {how}"


def refusal(check: MergeCheck) -> str:
    return (
        f"The merged model is not the one that was judged and was not kept: logits differ by {check.max_logit_difference:.3g} "
        f"(typically {check.difference:.3g}, allowed {check.tolerance:.3g}), KL {check.kl:.3g}, "
        f"{check.identical_answers:.0%} of {check.prompts} answers identical."
    )


def judged_behaviour(folder: Path) -> tuple[Behaviour, list[list[int]], tuple[int, ...]]:
    """What the judged model (adapter on its base) does on up to PROMPTS held-out prompts; the prompts; its stop ids."""
    pair = sides.open_trusted(folder)
    prompts = check_prompts(folder, pair)
    tuned = behaviour(pair.adapted, prompts, pair.template.stop_ids, pair)
    return tuned, prompts, pair.template.stop_ids


def check_prompts(folder: Path, pair: Pair) -> list[list[int]]:
    rows = dataset.read_part(folder, "held_out") or dataset.read_part(folder, "train")
    if not rows:  # an adapter that was imported without any
        asked = [task["messages"] for task in general.tasks(jobs.load(folder).model)][:PROMPTS]
        return [template.prompt_ids(pair.tokenizer, pair.template, messages) for messages in asked]
    step = max(1, len(rows) // PROMPTS)
    chosen = rows[::step][:PROMPTS]
    return [template.row_prompt(pair.tokenizer, pair.template, row) for row in chosen]


@torch.no_grad()
def behaviour(
    loaded: Any,
    prompts: list[list[int]],
    stops: tuple[int, ...],
    pair: Pair | None = None,
    along: list[list[int]] | None = None,
) -> Behaviour:
    """Greedy answers, prompt by prompt so that no padding enters, and logits `along` given answers, else its own.

    With `pair`, the adapter's effect too.
    """
    settings = GenerationConfig(
        max_new_tokens=ANSWER_TOKENS, do_sample=False, eos_token_id=list(stops), pad_token_id=stops[0]
    )
    loaded.generation_config = settings
    scores, answers, base = [], [], []
    for place, prompt in enumerate(prompts):
        ids = torch.tensor([prompt], device=loaded.device)
        answers.append(
            loaded.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings)[0].tolist()
        )
        told = along[place] if along else answers[-1]
        scores.append(_logits(loaded, told))
        if pair:
            with pair.adapted.disable_adapter():
                base.append(_logits(loaded, told))
    return Behaviour(scores, answers, distance(scores, base) if pair else 0.0, tuple(base))


def distance(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> float:
    """Root mean square of the differences, where both say something: a base says nothing of tokens that were added."""
    squares = [(a - b)[torch.isfinite(b)].pow(2).mean() for a, b in zip(one, other, strict=True)]
    return float(torch.stack(squares).mean().sqrt())


def _logits(loaded: Any, ids: list[int]) -> torch.Tensor:
    """Scores that predict the last KEPT_LOGITS of these ids: (tokens, vocabulary), in 32 bit."""
    scores: torch.Tensor = loaded(input_ids=torch.tensor([ids], device=loaded.device)).logits[0, :-1]
    return scores[-KEPT_LOGITS:].float().cpu()


@torch.no_grad()
def dequantising(named: Model, judged: Behaviour) -> float:
    """How far the base's own scores move when it is de-quantised, as `distance` measures it."""
    gc.collect()
    base = dequantised(named)
    return distance(judged.base, [_logits(base, told) for told in judged.answers])


def write_merged(named: Model, stops: tuple[int, ...], folder: Path, dtype: torch.dtype) -> None:
    """A freshly loaded base with the adapter merged in, as any other tool would open it: safetensors, tokenizer, stops."""
    gc.collect()
    merged = merge(named)
    tokenizer = model.tokenizer(named)
    merged.to(dtype)
    merged.generation_config = GenerationConfig(eos_token_id=list(stops), pad_token_id=tokenizer.pad_token_id)
    merged.save_pretrained(str(folder), max_shard_size=SHARD_SIZE)
    tokenizer.save_pretrained(str(folder))


def merge(named: Model) -> Any:
    """The merged model in memory, added up in the base's computing type."""
    assert named.adapter is not None
    base = dequantised(named)
    new = vocabulary.new_ids(model.tokenizer(named), named.new_tokens)
    adapted, _ = sides.attach(base, Path(named.adapter), new)
    return adapted.merge_and_unload(safe_merge=True)


def dequantised(named: Model) -> Any:
    """The base as it was judged, without quantization."""
    base = model.base(named)
    if named.memory in QUANTIZED:
        base = base.dequantize()
        base.is_loaded_in_8bit = base.is_loaded_in_4bit = False
        if hasattr(base.config, "quantization_config"):
            del base.config.quantization_config
    return base


def saved_dtypes(named: Model) -> list[torch.dtype]:
    """The types to try: the base's own on disk; then, for weights trained in 32 bit, those, which rounding may undo."""
    own = AutoConfig.from_pretrained(named.base, revision=named.revision).dtype
    first = own if isinstance(own, torch.dtype) else torch.float32
    whole = named.memory == "32-bit" and (Path(str(named.adapter)) / weights.FACTS).exists()
    return list(dict.fromkeys([first, torch.float32])) if whole else [first]


def reopen(folder: Path, memory: str) -> Any:
    """The merged folder as a stranger would open it, computing in the type the judged model did."""
    gc.collect()
    leftover = json.loads((folder / "config.json").read_text()).get("quantization_config")
    if leftover:
        raise AssertionError("a merged model must not carry a quantization_config")
    return model.base(Model(str(folder), memory="auto" if memory in QUANTIZED else memory))


def compare(
    judged: Behaviour, merged: Behaviour, against: str, dtype: torch.dtype, exact: bool = True, rounding: float = 0.0
) -> MergeCheck:
    """The numbers, and whether they allow to call the two models the same.

    `exact`: both were computed in 32 bit. `rounding` is what de-quantising alone does to the base.
    """
    pairs = list(zip(judged.logits, merged.logits, strict=True))
    difference = distance(judged.logits, merged.logits)
    divergence = [
        torch.nn.functional.kl_div(b.log_softmax(-1), a.log_softmax(-1), log_target=True, reduction="none").sum(-1)
        for a, b in pairs
    ]
    share = ROUNDING_FP16 if exact and dtype == torch.float16 else ROUNDING
    tolerance = EXACT if exact and dtype == torch.float32 else max(EXACT, share * judged.effect)
    tolerance = max(tolerance, ROUNDED_INPUTS * rounding)
    answers = list(zip(judged.answers, merged.answers, judged.logits, strict=True))
    same = sum(a == b for a, b, _ in answers)
    tied = sum(a != b and _parted_at_a_tie(a, b, scores, tolerance) for a, b, scores in answers)
    return MergeCheck(
        against=against,
        prompts=len(pairs),
        max_logit_difference=max(float((a - b).abs().max()) for a, b in pairs),
        difference=difference,
        effect=judged.effect,
        tolerance=tolerance,
        kl=max(0.0, float(torch.cat(divergence).mean())),  # rounding may take equal models below zero
        identical_answers=same / len(answers),
        dtype=str(dtype).removeprefix("torch."),
        ok=difference <= tolerance and (same + tied) / len(answers) >= SAME_ANSWERS,
    )


def _parted_at_a_tie(judged: list[int], merged: list[int], scores: torch.Tensor, tolerance: float) -> bool:
    """Whether two answers differ first where the judged model's own logits of the two tokens were as good as equal."""
    at = next((i for i, (a, b) in enumerate(zip(judged, merged, strict=False)) if a != b), None)
    if at is None or len(judged) - at > len(scores):
        return False
    row = scores[at - len(judged)]
    return float(row[judged[at]] - row[merged[at]]) <= tolerance
