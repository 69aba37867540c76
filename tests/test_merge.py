"""The merged model is the one that was judged, measured; what is not, is not kept."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline import generate, jobs, merge, model, sides, template, train
from pipeline.errors import UserError
from pipeline.job import Job
from pipeline.schema import Decoding

MERGED_FILES = {
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}


def merged(folder: Path) -> dict:
    ending, values = merge.work(Job(folder, "merge"))
    assert ending == "finished"
    return values


def copied(run: Path, to: Path) -> Path:
    return Path(shutil.copytree(run, to / "run"))


@pytest.fixture(scope="module")
def merged_run(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copied(trained_run, tmp_path_factory.mktemp("merged"))
    merged(folder)
    return folder


def test_merged_folder_holds_a_plain_model(merged_run):
    """Exactly the files a stranger needs: no pickle, no adapter, no quantization, stop tokens inside."""
    assert {p.name for p in (merged_run / "merged").iterdir()} == MERGED_FILES
    config = json.loads((merged_run / "merged" / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["dtype"] == "float16"
    generation = json.loads((merged_run / "merged" / "generation_config.json").read_text())
    assert generation["eos_token_id"] == jobs.read_json(merged_run / "base.json")["stop_ids"]


def test_merged_model_answers_as_the_adapter(merged_run):
    """Opened by transformers alone, it gives the tuned side's greedy answers."""
    pair = sides.open_pair(sides.of_run(merged_run))
    stranger = AutoModelForCausalLM.from_pretrained(merged_run / "merged", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(merged_run / "merged")
    for text in ("Say this: the fox likes the barn.", "What colour is the bear?", "Where does the owl live?"):
        messages = [{"role": "user", "content": text}]
        prompt = template.prompt_ids(pair.tokenizer, pair.template, messages)
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        assert ids["input_ids"][0].tolist() == prompt
        answer = stranger.generate(**ids, max_new_tokens=40, do_sample=False)[0, len(prompt) :]
        _, tuned = generate.answers(pair, [prompt], Decoding(40))[0]
        assert tokenizer.decode(answer, skip_special_tokens=True) == tuned.text


def test_check_says_what_it_measured(merged_run):
    """merge.json holds the numbers, and they are those of a model equal up to 16-bit rounding."""
    check = jobs.read_json(merged_run / "merge.json")
    assert check["ok"]
    assert check["identical_answers"] == 1
    assert 0 <= check["kl"] < 1e-3
    assert check["difference"] < check["tolerance"] < check["effect"]
    assert check["prompts"] == 12


def test_qlora_is_merged_into_the_base_it_was_judged_on(make_run):
    """A 4-bit run merges into the de-quantised base: equal to the adapter on NF4, unlike the original base."""
    folder = make_run(memory="4-bit", epochs=1)
    train.work(Job(folder, "train"))
    check = merged(folder)
    assert check["ok"]
    assert "de-quantised" in check["against"]
    named = sides.of_run(folder)
    judged, prompts, stops = merge.judged_behaviour(folder)
    original = merge.merge(model_on_original_base(named))
    found = merge.behaviour(original, prompts, stops, along=judged.answers)
    other = merge.compare(judged, found, "", torch.float32)
    assert other.difference > 10 * check["difference"]


def model_on_original_base(named):
    import dataclasses

    return dataclasses.replace(named, memory="auto")


SKIPPED = {"layer skipped": [".layers.2."], "one matrix skipped": [".layers.2.self_attn.v_proj"]}


@pytest.mark.parametrize("sabotage", ["layer skipped", "one matrix skipped", "scaled", "base alone"])
def test_sabotaged_merge_is_refused_and_leaves_nothing(trained_run, tmp_path, monkeypatch, sabotage):
    """One layer or one matrix without its adapter, an adapter at half strength, or none: caught, said, not kept."""
    folder = copied(trained_run, tmp_path)
    (folder / "merged").mkdir()  # as an older adapter's merge left it
    honest = merge.merge

    def wrong(named):
        base = model.base(named)
        whole = honest(named)
        with torch.no_grad():
            for (name, right), original in zip(whole.named_parameters(), base.parameters(), strict=True):
                if sabotage == "base alone" or any(part in name for part in SKIPPED.get(sabotage, ())):
                    right.copy_(original)
                elif sabotage == "scaled":
                    right.copy_((right + original) / 2)
        return whole

    monkeypatch.setattr(merge, "merge", wrong)
    with pytest.raises(UserError, match="not the one that was judged"):
        merge.work(Job(folder, "merge"))
    assert not [p.name for p in folder.iterdir() if "merged" in p.name]
    assert not jobs.read_json(folder / "merge.json")["ok"]


def test_other_template_is_caught(trained_run, tmp_path):
    """A base whose template changed since training is refused before any merge."""
    folder = copied(trained_run, tmp_path)
    base = jobs.read_json(folder / "base.json")
    base["templates"]["own"] = "0" * 64
    (folder / "base.json").write_text(json.dumps(base))
    with pytest.raises(UserError, match="chat template"):
        merge.work(Job(folder, "merge"))


def test_merging_twice_gives_the_same_bytes(merged_run):
    """A merge is a function of the run."""
    before = load_file(merged_run / "merged" / "model.safetensors")
    merged(merged_run)
    after = load_file(merged_run / "merged" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_only_the_judged_adapter_is_merged(trained_run, tmp_path):
    """An adapter file or setting that changed after it was judged is refused; nothing is merged."""
    folder = copied(trained_run, tmp_path)
    report = {"adapter": model.fingerprint(folder / "adapter")}
    (folder / "report.json").write_text(json.dumps(report))
    merge.refuse_other_adapter(folder)
    file = folder / "adapter" / "adapter_config.json"
    file.write_text(file.read_text().replace('"lora_alpha": 32', '"lora_alpha": 16'))
    with pytest.raises(UserError, match="changed since it was judged"):
        merge.work(Job(folder, "merge"))
    assert not (folder / "merged").exists()


def test_rounding_may_tip_a_tie_and_nothing_else():
    """An answer that parts where two tokens were as good as equal is no other answer; any other parting is."""
    scores = torch.tensor([[0.0, 1.0, 0.99], [5.0, 0.0, 0.0]])
    sides = {"tie": [7, 2, 0], "other": [7, 1, 2]}
    found = {}
    for name, answer in sides.items():
        judged = merge.Behaviour([scores], [[7, 1, 0]], effect=1.0)
        found[name] = merge.compare(judged, merge.Behaviour([scores], [answer]), "", torch.bfloat16)
    assert found["tie"].ok
    assert not found["other"].ok
    assert [check.identical_answers for check in found.values()] == [0, 0]


def test_only_32_bit_all_along_is_held_to_be_exact():
    """A base saved in 32 bit but judged in 16 bit differs by that rounding, and is no worse a merge for it."""
    judged = merge.Behaviour([torch.zeros(2, 3)], [[1, 2]], effect=1.0)
    rounded = merge.Behaviour([torch.full((2, 3), 0.01)], [[1, 2]])
    assert not merge.compare(judged, rounded, "", torch.float32, exact=True).ok
    assert merge.compare(judged, rounded, "", torch.float32, exact=False).ok
