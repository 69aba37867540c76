"""Every way to train, on the bundled model: it learns, is kept, loads again to the same logits, and merges or says why not."""

import dataclasses
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import new_run
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, MixtralConfig, Qwen3MoeConfig

from pipeline import adapters, checkpoints, dataset, evaluate, generate, jobs, merge, model, sides, template, train
from pipeline import weights as learned_weights
from pipeline.errors import UserError
from pipeline.job import Job
from pipeline.methods import METHODS
from pipeline.schema import Decoding, Model, TrainConfig

RATES = {"adapter": 3e-3, "prompt": 3e-2, "weights": 3e-4}
ASKED = {
    "prefix-tuning": {"learning_rate": 0.2},
    "ia3": {"learning_rate": 5e-2},
    "new-tokens": {"new_tokens": "likes"},  # a word of the rows, of which the base has another spelling
    "last-layers": {"learning_rate": 1e-3},
}
MIXED = {"lora", "qlora-4bit", "rslora", "pissa", "lora+"}
TALKING = [name for name in METHODS if name != "continued-pretraining"]
HELD_OUT = 4  # rows: enough to see two models differ
PROMPTS = ["Say this: the fox likes the barn.", "Hello"]


def learned(name: str, tiny: Path, home: Path, **settings) -> SimpleNamespace:
    """A run of a few steps in this process: its folder, its events, and the logits of the model that was in memory."""
    settings = {"learning_rate": RATES[METHODS[name].family], "max_steps": 8, "eval_steps": 4, "samples": 0} | settings
    caught, honest = [], adapters.fresh
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNING_FORK_HOME", str(home))
        patch.setattr(adapters, "fresh", lambda *arguments: caught.append(honest(*arguments)) or caught[-1])
        folder = new_run(tiny, 32, method=name, **(settings | ASKED.get(name, {})))
        held_out = folder / "held_out.jsonl"
        held_out.write_text("".join(held_out.read_text().splitlines(keepends=True)[:HELD_OUT]))
        job = Job(folder, "train")
        job.emit("started", pid=os.getpid(), from_step=0)
        ending, values = train.work(job)
        job.emit(ending, **values)
    return SimpleNamespace(folder=folder, told=jobs.view(folder), logits=tuned_logits(folder, caught[0].eval()))


def tuned_logits(folder: Path, loaded) -> torch.Tensor:
    tokenizer, chosen = model.tokenizer_and_template(jobs.load(folder).named())
    asked = [[{"role": "user", "content": text}] for text in PROMPTS]
    ids = [template.prompt_ids(tokenizer, chosen, messages) for messages in asked]
    half = jobs.load(folder).config.memory == "16-bit"  # trained weights are in 32 bit, as in training
    with torch.autocast(loaded.device.type, torch.bfloat16, enabled=half):
        return sides.logits(loaded, sides.pad_left(ids, tokenizer, loaded.device))


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    """run(method): trained once for all tests of this file."""
    home, made = tmp_path_factory.mktemp("methods"), {}

    def of(name: str) -> SimpleNamespace:
        if name not in made:
            made[name] = learned(name, tiny, home)
        return made[name]

    return of


@pytest.mark.parametrize("name", TALKING)
def test_it_learns_and_loads_again_to_the_same_logits(run, name):
    """Validation loss falls; adapter/ on a fresh base is the model that was trained, and the base is still the base."""
    found = run(name)
    (_, before), (_, after) = found.told.validation_curve[0], found.told.validation_curve[-1]
    assert after < before
    pair = sides.open_pair(sides.of_run(found.folder))
    assert all(check.ok for check in pair.self_test.values())
    assert pair.self_test["base_is_base"].value == 0
    assert pair.mode == ("mixed" if name in MIXED else "in turn")
    assert torch.allclose(tuned_logits(found.folder, pair.adapted), found.logits, atol=2e-4)


@pytest.mark.parametrize("name", TALKING)
def test_it_merges_or_says_why_not(run, tmp_path, name):
    """The merged model is the judged one, by measure; virtual tokens are refused before anything is loaded."""
    folder = Path(shutil.copytree(run(name).folder, tmp_path / "run"))
    if METHODS[name].unmerged:
        with pytest.raises(UserError, match=METHODS[name].unmerged):
            merge.work(Job(folder, "merge"))
        return
    _, check = merge.work(Job(folder, "merge"))
    assert check["ok"]
    assert 0 <= check["difference"] < check["effect"] / 10
    assert check["identical_answers"] == 1


def test_a_full_merge_that_rounding_spoils_is_saved_in_32_bit(run, tmp_path, monkeypatch):
    """Where the base's own type is refused, what is checked and kept are the second type's files, and no other."""
    folder = Path(shutil.copytree(run("full").folder, tmp_path / "run"))
    monkeypatch.setattr(merge, "EXACT", 1e-5)
    monkeypatch.setattr(merge, "ROUNDING_FP16", 0.0)
    monkeypatch.setattr(merge, "SHARD_SIZE", "8MB")  # one file in 16 bit, two in 32
    _, check = merge.work(Job(folder, "merge"))
    assert (check["ok"], check["dtype"]) == (True, "float32")
    stored = sorted(file.name for file in (folder / "merged").glob("*.safetensors"))
    assert stored == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


@pytest.mark.parametrize("kind", [MixtralConfig, Qwen3MoeConfig])
def test_a_mixtures_checkpoint_holds_every_expert(tiny, tmp_path, kind):
    """The library writes experts under other names: full fine-tuning's checkpoints keep those they are loaded by."""
    small = {"vocab_size": 1500, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16, "moe_intermediate_size": 32}
    experts = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2}
    base = AutoModelForCausalLM.from_config(kind(**small, **heads, **experts))
    trained = adapters.fresh(base, model.tokenizer(Model(str(tiny))), TrainConfig(method="full"), recompute=False)
    trained.save_pretrained(tmp_path)
    expected = learned_weights.trained(trained)
    found = learned_weights.from_checkpoint(tmp_path, sorted(expected))
    assert any("experts" in name for name in found)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("name", ["lora", "pissa", "new-tokens", "prompt-tuning", "full", "last-layers"])
def test_a_checkpoint_becomes_the_adapter_without_its_base(run, tmp_path, monkeypatch, name):
    """adapter/ made of the last checkpoint is the one that was kept, file by file and tensor by tensor."""
    folder = Path(shutil.copytree(run(name).folder, tmp_path / "run"))
    kept = Path(shutil.copytree(folder / "adapter", tmp_path / "kept"))
    (folder / "report.json").write_text("{}")
    monkeypatch.setattr(model, "base", None)
    adapters.from_checkpoint(jobs.load(folder), folder, checkpoints.newest(folder))
    assert {p.name for p in kept.iterdir()} == {p.name for p in (folder / "adapter").iterdir()}
    for file in kept.iterdir():
        again = folder / "adapter" / file.name
        if file.suffix == ".safetensors":
            before, after = load_file(file), load_file(again)
            assert before.keys() == after.keys()
            assert all(torch.equal(before[key], after[key]) for key in before)
        else:
            assert jobs_text(file) == jobs_text(again)
    assert not (folder / "report.json").exists()


def jobs_text(file: Path):
    return jobs.read_json(file) if file.suffix == ".json" else file.read_text()


def test_a_damaged_checkpoint_changes_nothing(run, tmp_path):
    """A checkpoint that lost a file is a sentence; adapter/ and what was said about it stay."""
    folder = Path(shutil.copytree(run("lora").folder, tmp_path / "run"))
    (folder / "report.json").write_text("{}")
    newest = checkpoints.newest(folder)
    (newest / "adapter_model.safetensors").unlink()
    before = model.fingerprint(folder / "adapter")
    with pytest.raises(UserError, match="use another checkpoint"):
        adapters.from_checkpoint(jobs.load(folder), folder, newest)
    assert model.fingerprint(folder / "adapter") == before
    assert (folder / "report.json").exists()


def test_pissa_is_kept_as_plain_lora_of_twice_the_rank(run):
    """What loads it needs no other base: the matrices it began with are subtracted."""
    settings = jobs.read_json(run("pissa").folder / "adapter" / "adapter_config.json")
    assert (settings["r"], settings["lora_alpha"], settings["init_lora_weights"]) == (32, 64, True)


def test_lora_plus_has_two_rates(tiny):
    """The second matrix of every pair learns sixteen times faster."""
    config = train.TrainConfig(method="lora+", learning_rate=1e-3)
    named = Model(str(tiny))
    adapted = adapters.fresh(model.base(named), model.tokenizer(named), config, False)
    names = {id(p): name for name, p in adapted.named_parameters()}
    rates = {
        names[id(p)].split(".")[-3]: group["lr"]
        for group in adapters.optimizer(adapted, config).param_groups
        for p in group["params"]
    }
    assert rates == {"lora_A": 1e-3, "lora_B": 16e-3}
    assert adapters.optimizer(adapted, dataclasses.replace(config, method="lora")) is None


@pytest.mark.parametrize("name", ["prompt-tuning", "prefix-tuning"])
def test_virtual_tokens_stand_right_before_each_prompt(run, name):
    """Prompts of other lengths in the same batch change no answer; answers are those of the whole text scored at once."""
    pair = sides.open_pair(sides.of_run(run(name).folder))
    ids = [template.prompt_ids(pair.tokenizer, pair.template, [{"role": "user", "content": t}]) for t in PROMPTS]
    for prompt, (_, tuned) in zip(ids, generate.answers(pair, ids, Decoding(6)), strict=True):
        told = list(prompt)
        while len(told) < len(prompt) + 6 and told[-1] not in pair.template.stop_ids:
            whole = torch.tensor([told])
            told.append(int(pair.adapted(input_ids=whole).logits[0, -1].argmax()))
        assert pair.tokenizer.decode(told[len(prompt) :], skip_special_tokens=True) == tuned.text


def test_the_base_never_heard_of_the_new_tokens(run):
    """It reads the word its own way and can't say the new token; the tuned side does both."""
    pair = sides.open_pair(sides.of_run(run("new-tokens").folder))
    new = pair.tokenizer.convert_tokens_to_ids("likes")
    assert new == len(pair.own_tokenizer) == 1500
    text = [{"role": "user", "content": PROMPTS[0]}]
    own, ours = (template.prompt_ids(pair.reader(side), pair.template, text) for side in ("base", "tuned"))
    assert new in ours
    assert max(own) < new
    batch = sides.pad_left([own], pair.tokenizer, pair.adapted.device)
    with pair.adapted.disable_adapter():
        assert torch.isinf(sides.logits(pair.adapted, batch)[..., new]).all()
    assert torch.isfinite(sides.logits(pair.adapted, batch)[..., new]).all()


@pytest.mark.parametrize("name", ["prompt-tuning", "prefix-tuning", "new-tokens", "full"])
def test_loss_is_that_of_each_side_alone(run, tiny, name):
    """Nats of each reference: tuned as transformers counts them, base as a base that never saw the run counts them."""
    pair, bare = sides.open_pair(sides.of_run(run(name).folder)), model.base(Model(str(tiny)))
    questions = [evaluate.question(pair, row) for row in dataset.read_part(run(name).folder, "held_out")]
    for asked, (base, tuned, tokens) in zip(questions, evaluate.losses_of(pair, questions), strict=True):
        assert tokens == sum(label != template.IGNORED for label in asked.labels)
        assert tuned == pytest.approx(nats(pair.adapted, asked), abs=1e-3)
        assert base == pytest.approx(nats(bare, asked.base or asked), abs=1e-3)


@torch.no_grad()
def nats(loaded, asked: evaluate.Question) -> float:
    labels = torch.tensor([asked.labels])
    return loaded(input_ids=torch.tensor([asked.ids]), labels=labels).loss.item() * int((labels[:, 1:] >= 0).sum())


def test_new_tokens_are_judged(run, tmp_path):
    """Each side answers every held-out row in its own tokens."""
    folder = Path(shutil.copytree(run("new-tokens").folder, tmp_path / "run"))
    evaluate.work(Job(folder, "evaluate"))
    report = jobs.read_json(folder / "report.json")
    assert (report["n"], report["mode"]) == (HELD_OUT, "in turn")
    assert report["metrics"]["loss"]["difference"] < 0


def test_a_token_the_model_has_is_no_new_one(tiny):
    """Its meaning would change in every text; refused where it is first read."""
    with pytest.raises(UserError, match=r"im_end.* is a token of this model already"):
        model.tokenizer(Model(str(tiny), new_tokens="<mine> <|im_end|>"))


MEMORIES = {"auto": "as it is by default", "16-bit": "on 16-bit", "4-bit": "on NF4"}


@pytest.mark.slow
@pytest.mark.parametrize("memory", MEMORIES)
def test_the_table_of_methods(tiny, tmp_path, capsys, memory):
    """Every method on every kind of base it allows: trained, loaded again, merged. Printed as a table, as it was run."""
    with capsys.disabled():
        print(
            f"\n{MEMORIES[memory]}\n| method | validation loss | loaded again | merged | answers |\n|---|---|---|---|---|"
        )
        for name in (name for name in TALKING if memory in METHODS[name].memories):
            print(f"| {name} | {' | '.join(cells(name, tiny, tmp_path / name, memory))} |", flush=True)


def cells(name: str, tiny: Path, home: Path, memory: str) -> list[str]:
    found = learned(name, tiny, home, memory=memory)
    (_, before), (_, after) = found.told.validation_curve[0], found.told.validation_curve[-1]
    pair = sides.open_pair(sides.of_run(found.folder))
    assert after < before
    assert pair.trusted
    with pair.adapted.disable_adapter():
        base = tuned_logits(found.folder, pair.adapted)
    again = tuned_logits(found.folder, pair.adapted)
    effect, difference = distance(base, again), distance(found.logits, again)
    assert difference < effect / 20
    if METHODS[name].unmerged:
        merged = "no: virtual tokens are no weights of the base"
    else:
        _, check = merge.work(Job(found.folder, "merge"))
        assert check["ok"]
        merged = f"off by {check['difference']:.1g} of {check['effect']:.2g} ({check['dtype']})"
    return [f"{before:.2f} -> {after:.2f}", f"off by {difference:.1g} of {effect:.2g}", merged, pair.mode]


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """Root mean square of the differences, where both are numbers."""
    both = torch.isfinite(one) & torch.isfinite(other)
    return float((one - other)[both].pow(2).mean().sqrt())
