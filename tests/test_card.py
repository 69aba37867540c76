"""A card says what the run's files say, in valid metadata, and nothing that is private."""

import ast
import dataclasses
import json
import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from pipeline import card, files, jobs
from pipeline.schema import Message, Prepared, Publication, Row, Run, Source, TrainConfig, settings

SCORES = {
    "rougeL": {"base": 0.25, "tuned": 0.75, "difference": 0.5, "low": 0.4, "high": 0.6},
    "perplexity": {"base": 9.0, "tuned": float("inf"), "difference": float("inf"), "low": 1.0, "high": float("inf")},
}
MERGE = {
    "against": "the adapter on its base", "prompts": 20, "max_logit_difference": 0.004, "difference": 0.00031,
    "effect": 2.0, "tolerance": 0.01, "kl": 4.8e-08, "identical_answers": 0.95, "dtype": "float16", "ok": True,
}  # fmt: skip
ADAPTER, MERGED = Publication("alice/yoda", "adapter"), Publication("alice/yoda", "merged")


def messages(place: int) -> list[Message]:
    return [{"role": "user", "content": f"private {place}"}, {"role": "assistant", "content": f"secret {place}"}]


@pytest.fixture
def make(tmp_path: Path):
    """A finished run as its files tell it, without the training: make(model, name, system, report, memory)."""

    def made(model="user/base", name="my run", system=None, report=True, memory="auto") -> Path:
        rows: list[Row] = [{"row": number, "messages": messages(number)} for number in range(5)]
        prepared = Prepared(tuple(rows[:3]), (rows[3],), (rows[4],), (), "messages", {}, 5, "f1ngerpr1nt")
        source = Source(str(tmp_path / "private folder" / "my rows.jsonl"), system=system)
        folder = jobs.create(Run(model, source, name, TrainConfig(memory=memory)), prepared)
        commit = "c0ffee" if "/" in model and not Path(model).is_absolute() else None
        files.write_json(folder / "base.json", {"model": model, "revision": commit, "stop_ids": [2, 7]})
        rows_told = [{"row": 4, "messages": messages(4), "reference": "secret 4"}]
        told = {"n": 1, "metrics": SCORES, "rows": rows_told, "settings": {"max_new_tokens": 64}, "left_out": [9]}
        if report:
            files.write_json(folder / "report.json", told)
        files.write_json(folder / "merge.json", MERGE)
        (folder / "adapter").mkdir()
        (folder / "adapter" / "chat_template.jinja").write_text("{{ messages }}\n```\n")
        return folder

    return made


def metadata(text: str) -> dict:
    return ModelCard(text).data.to_dict()


@pytest.mark.parametrize("publication", [ADAPTER, MERGED])
def test_metadata_says_what_it_is(make, publication):
    """Base and relation, library, task, and the tuned scores that are numbers; no licence is made up."""
    found = metadata(card.text(make(), publication))
    relation, library = {"adapter": ("adapter", "peft"), "merged": ("finetune", "transformers")}[publication.what]
    assert found["base_model"] == "user/base"
    assert found["base_model_relation"] == relation
    assert found["library_name"] == library
    assert found["pipeline_tag"] == "text-generation"
    metrics = found["model-index"][0]["results"][0]["metrics"]
    assert [(metric["type"], metric["value"]) for metric in metrics] == [("rougeL", 0.75)]
    assert "license" not in found


LICENCES = {
    "HuggingFaceTB/SmolLM2-360M-Instruct": {"license": "apache-2.0"},
    "Qwen/Qwen2.5-3B-Instruct": {"license": "other", "license_name": "qwen-research"},
    "facebook/opt-350m": {"license": "other"},
    "user/unknown": {},
    "/models/tiny-chat": {},
}


@pytest.mark.parametrize("model", LICENCES)
def test_the_licence_is_the_bases_or_none(make, model):
    """Taken from the models that are offered by name; a folder that only shares a name with one has none."""
    text = card.text(make(model=model), ADAPTER)
    found = {key: value for key, value in metadata(text).items() if key.startswith("license")}
    assert found == LICENCES[model]
    assert ("No licence is stated" in text) == (found in ({}, {"license": "other"}))


NAMES = [
    'a "quoted" name', "it's", "a: b # c", "line\nbreak", "x\n---\ny", "---", "- list", "{{ jinja }}", "日本語 🙂",
    "<script>alert(1)</script>", "[link](http://x)", "half \ud83d a pair", "&amp; *bold* | `code`",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_any_name_survives(make, name):
    """Whatever a run is called, the metadata is read back, the name in it whole, and the title is one line of plain text."""
    text = card.text(make(name=name), MERGED).encode(errors="backslashreplace").decode()
    found = metadata(text)
    shown = " ".join(name.split()).encode(errors="backslashreplace").decode()
    assert found["model-index"][0]["name"].encode(errors="backslashreplace").decode() == shown
    assert found["base_model"] == "user/base"
    title = next(line for line in text.split("\n---\n", 1)[1].splitlines() if line)
    assert title.startswith("# ")
    assert not re.search(r"(?<!\\)[<>\[\]*`|]", title)


def test_a_local_base_is_named_in_words_only(make, tmp_path, tiny):
    """Neither its path nor a link to whatever has that name on the Hub; the bundled model has its own name."""
    for model, name in ((str(tmp_path / "models" / "gpt2"), "gpt2"), (str(tiny), "tiny-chat")):
        for publication in (ADAPTER, MERGED):
            text = card.text(make(model=model), publication)
            assert str(tmp_path) not in text
            assert str(tiny.parent) not in text
            assert not metadata(text).keys() & {"base_model", "base_model_relation"}
            assert f"**{name}**" in text
            assert "no model on the Hub is meant" in text


def test_no_row_and_no_path_is_told(make, tmp_path):
    """The data's file name, counts and fingerprint are told; rows, answers, folders and who made it are not."""
    text = card.text(make(), MERGED)
    assert "my rows.jsonl" in text
    assert "f1ngerpr1nt" in text
    assert "| train | 3 |" in text
    assert not re.search(r"private \d|secret \d|private folder", text)
    assert str(tmp_path) not in text


def test_scores_are_those_of_the_report(make):
    """Both sides, the difference and its interval; n, what was left out, and how the answers were made."""
    text = card.text(make(), ADAPTER)
    assert "| rougeL | 0.250 | 0.750 | +0.500 | +0.400 to +0.600 |" in text
    assert "same 1 held-out prompts" in text
    assert "1 rows were too long" in text
    assert "64 tokens" in text
    unjudged = card.text(make(report=False), ADAPTER)
    assert "not judged" in unjudged
    assert "model-index" not in metadata(unjudged)


def test_the_merge_check_belongs_to_the_merged_model(make):
    """Its numbers stand in the card of merged weights, not in the adapter's."""
    folder = make()
    merged = card.text(folder, MERGED)
    for number in ("float16", "20 prompts", "95%", "0.00031", "4.8e-08"):
        assert number in merged
    assert "logits" not in card.text(folder, ADAPTER)


def test_every_setting_is_told(make):
    """The table is drawn from the dataclass, with this run's values."""
    text = card.text(make(memory="4-bit"), ADAPTER)
    for name, value in dataclasses.asdict(TrainConfig(memory="4-bit")).items():
        assert name in settings(TrainConfig)
        assert f"| {name} | `{value}` |" in text


@pytest.mark.parametrize("model", ["user/base", '/folder/with "quotes" and \\'])
@pytest.mark.parametrize("memory", ["auto", "4-bit"])
@pytest.mark.parametrize("publication", [ADAPTER, MERGED])
def test_the_code_to_load_it_is_code(make, model, memory, publication):
    """It parses, names the repository, pins the base's commit, and quantizes the base of an adapter judged on NF4."""
    text = card.text(make(model=model, memory=memory), publication)
    code = text.split("```python\n")[1].split("```")[0]
    ast.parse(code)
    assert '"alice/yoda"' in code
    assert ("BitsAndBytesConfig" in code) == (memory == "4-bit" and publication.what == "adapter")
    assert ('revision="c0ffee"' in code) == (model == "user/base" and publication.what == "adapter")
    assert "eos_token_id=[2, 7]" in code


def test_prompts_can_be_made_from_the_card(make):
    """System prompt and template stand in it whole, fenced so that nothing in them ends the fence."""
    text = card.text(make(system="Speak ```as Yoda```."), MERGED)
    assert "````\nSpeak ```as Yoda```.\n````" in text
    assert "````jinja\n{{ messages }}\n```\n\n````" in text


def test_a_card_is_a_function_of_the_run(make):
    """Twice the same text, so that publishing twice is one commit; and writing it changes nothing."""
    folder = make()
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert card.text(folder, MERGED) == card.text(folder, MERGED)
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    assert json.loads((folder / "run.json").read_text())["by"] not in card.text(folder, MERGED).split()
