"""Somebody's adapter becomes a run like any other, or is refused with a sentence and nothing is left of it."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from pipeline import archive, dataset, example, foreign, home, imports, jobs, merge, sides, unpacking
from pipeline.errors import UserError
from pipeline.imports import Wanted
from pipeline.job import Job
from pipeline.schema import Source
from tests.conftest import EXAMPLES
from tests.hub import fixture
from tests.hub.repos import Repo

hub, dataset_hub = fixture.hub, fixture.dataset_hub
SHIPPED = EXAMPLES / "tiny-yoda-run" / "adapter"
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
ROWS = Source(str(EXAMPLES / "tiny-yoda.jsonl"), str(EXAMPLES / "tiny-yoda-held-out.jsonl"))


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """The example's adapter, as somebody else would have saved it."""
    return Path(shutil.copytree(SHIPPED, tmp_path / "my adapter"))


def change(adapter: Path, **settings) -> None:
    values = json.loads((adapter / CONFIG).read_text())
    (adapter / CONFIG).write_text(json.dumps({**values, **settings}))


def bring(adapter: Path | str, source: Source | None = None, **wanted) -> Path:
    return imports.bring(Wanted(str(adapter), **wanted), source)


def leftovers() -> list[str]:
    return [path.name for path in [*home.runs().iterdir(), *home.home().glob(".import-*")]]


def test_an_imported_adapter_is_a_finished_run(adapter):
    """Its sides are proven, its base is known by its fingerprint, and nothing is left to resume."""
    told = []
    folder = imports.bring(Wanted(str(adapter)), tell=told.append)
    assert told == [{"phase": "checking"}]
    assert (jobs.status(folder), jobs.resume(folder)) == ("finished", "")
    summed = jobs.summary(folder)
    assert (summed["model"], summed["name"], summed["imported"]) == ("tiny-chat", "my adapter", True)
    pair = sides.open_trusted(folder)
    assert (pair.mode, pair.trusted) == ("mixed", True)
    before, after = load_file(SHIPPED / WEIGHTS), load_file(folder / "adapter" / WEIGHTS)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    shipped, made = (jobs.read_json(each / "base.json") for each in (SHIPPED.parent, folder))
    assert all(made[name] == shipped[name] for name in ("fingerprint", "templates", "stop_ids"))
    assert jobs.load(folder).config.rank == 8
    assert not list(home.home().glob(".import-*"))


def test_it_is_judged_on_the_rows_a_training_would_hold_out(adapter):
    """The very same, so that an imported and a trained run can be compared; and it merges into what was judged."""
    folder = bring(adapter, ROWS)
    held_out = dataset.read_part(folder, "held_out")
    assert held_out == list(dataset.prepare(ROWS).held_out)
    assert jobs.after_training(folder) == "evaluate"
    (folder / "held_out.jsonl").write_text(json.dumps(held_out[0]) + "\n")
    ending, check = merge.work(Job(folder, "merge"))
    assert (ending, check["ok"]) == ("finished", True)


def test_a_download_can_be_brought_back(tmp_path):
    """A run's own zip is such an adapter: packed, deleted, imported, it has the same weights and settings of the adapter."""
    run = example.install()
    packed = archive.pack(run, tmp_path / "downloaded.zip")
    weights = (run / "adapter" / WEIGHTS).read_bytes()
    archive.delete(run)
    folder = bring(packed, name="it is back")
    assert load_file(folder / "adapter" / WEIGHTS).keys() == load_file(SHIPPED / WEIGHTS).keys()
    assert (folder / "adapter" / WEIGHTS).read_bytes() == weights
    assert jobs.summary(folder)["name"] == "it is back"


def other_base(folder: Path) -> Path:
    """A model of the same kind and another size."""
    tokenizer = AutoTokenizer.from_pretrained(EXAMPLES / "tiny-chat")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def stray(adapter: Path) -> None:
    tensors = load_file(adapter / WEIGHTS)
    first = next(iter(tensors))
    save_file({**tensors, first.replace("layers.0", "layers.77"): tensors[first].clone()}, adapter / WEIGHTS)


def one_less(adapter: Path) -> None:
    tensors = load_file(adapter / WEIGHTS)
    tensors.pop(next(iter(tensors)))
    save_file(tensors, adapter / WEIGHTS)


def pickled(adapter: Path) -> None:
    (adapter / WEIGHTS).rename(adapter / "adapter_model.bin")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (stray, "tensors of adapter found no place in this base"),
        (one_less, "tensors of adapter found no place in this base"),
        (pickled, "its weights are in adapter_model.bin, a format that can run code"),
        (lambda adapter: (adapter / WEIGHTS).unlink(), "it has no weights"),
        (lambda adapter: (adapter / WEIGHTS).write_bytes(b"half"), "can't be read"),
        (lambda adapter: (adapter / CONFIG).unlink(), "holds no adapter_config.json"),
        (lambda adapter: (adapter / CONFIG).write_text("{"), "not valid JSON"),
        (lambda adapter: (adapter / CONFIG).write_text("[]"), "holds no JSON object"),
        (lambda adapter: change(adapter, peft_type="LOHA"), "of the kind LOHA"),
        (lambda adapter: change(adapter, base_model_name_or_path=None), "give the base by hand"),
        (lambda adapter: change(adapter, base_model_name_or_path="/nowhere/else"), "Or give its base by hand."),
        (lambda adapter: change(adapter, base_model_name_or_path="no/such"), "Or give its base by hand."),
    ],
)
def test_what_is_no_adapter_of_its_base_is_refused(adapter, damage, sentence):
    """In a sentence; there is no run then, and no folder of one."""
    damage(adapter)
    with pytest.raises(UserError, match=sentence):
        bring(adapter)
    assert leftovers() == []


def test_a_refusal_names_no_place_of_this_machine(adapter):
    """What is checked lies in a folder that is gone afterwards."""
    (adapter / WEIGHTS).write_bytes(b"half")
    with pytest.raises(UserError, match=r"^The adapter can't be read") as refused:
        bring(adapter)
    assert str(home.home()) not in str(refused.value)


def test_another_base_of_the_same_kind_is_refused(adapter, tmp_path):
    """Its layers are named alike, and have other sizes."""
    with pytest.raises(UserError, match="does not fit this base"):
        bring(adapter, base=str(other_base(tmp_path / "other")))
    assert leftovers() == []


def test_an_adapter_that_changes_the_base_is_refused(adapter):
    """PiSSA as PEFT saves it moves the base when it is loaded: its base side would not be the base."""
    change(adapter, init_lora_weights="pissa")
    with pytest.raises(UserError, match="convert it to plain LoRA"):
        bring(adapter)
    assert leftovers() == []


@pytest.mark.parametrize("nothing", ["", "  ", "/no/such/place", "nothing here", "tiny-chat"])
def test_what_is_not_there_is_said(nothing):
    """A path that leads nowhere is not taken for a name on the Hub."""
    with pytest.raises(UserError, match="no folder or zip"):
        bring(nothing)


def test_nothing_an_adapter_says_is_run(adapter):
    """What PEFT could import or fetch by it is gone from the config before PEFT reads it; what it needs is still there."""
    dangerous = dict.fromkeys(foreign.DROPPED, "os")
    change(adapter, **dangerous)
    folder = bring(adapter)
    kept = json.loads((folder / "adapter" / CONFIG).read_text())
    assert not kept.keys() & dangerous.keys()
    assert (kept["r"], kept["peft_type"], kept["inference_mode"]) == (8, "LORA", True)


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ({"r": 8, "lora_alpha": 4, "lora_dropout": 0.1}, {"method": "lora", "rank": 8, "alpha": 4, "dropout": 0.1}),
        ({"r": 9999, "lora_alpha": "x", "lora_dropout": None}, {"method": "lora"}),
        ({"use_dora": True}, {"method": "dora"}),
        ({"use_rslora": True}, {"method": "rslora"}),
        ({"peft_type": "IA3"}, {"method": "ia3"}),
        ({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 7}, {"method": "prompt-tuning", "virtual_tokens": 7}),
    ],
)
def test_an_adapter_is_told_in_our_settings(tmp_path, said, known):
    """As far as they are sizes we know; PEFT itself reads its own file."""
    found = foreign.config_of(tmp_path, {"peft_type": "LORA", **said})
    assert found.pop("target_modules", "all-linear") == "all-linear"
    assert found == known


def test_the_template_an_adapter_brings_is_its_own(adapter, tmp_path):
    """By its name where it is a preset; the base's own is no template of the adapter's."""
    own = AutoTokenizer.from_pretrained(EXAMPLES / "tiny-chat")
    assert foreign.template_of(adapter, own) == "own"
    plain = foreign.MARKS.sub("", foreign.MARKED["plain"])
    (adapter / "chat_template.jinja").write_text(plain)
    assert foreign.template_of(adapter, own) == "plain"
    (adapter / "chat_template.jinja").write_text(plain + "{# ours #}")
    assert foreign.template_of(adapter, own) == plain + "{# ours #}"
    (adapter / "chat_template.jinja").unlink()
    assert foreign.template_of(adapter, own) == "own"


def test_new_tokens_are_those_its_base_does_not_have(adapter):
    """In the order of their ids; only where they were learned."""
    own = AutoTokenizer.from_pretrained(EXAMPLES / "tiny-chat")
    saved = json.loads((adapter / "tokenizer.json").read_text())
    size = len(own)
    saved["added_tokens"] += [{"id": size + 1, "content": "<b>"}, {"id": size, "content": "<a>"}]
    (adapter / "tokenizer.json").write_text(json.dumps(saved))
    learned = {"trainable_token_indices": [size, size + 1]}
    assert foreign.new_tokens(adapter, learned, own) == "<a> <b>"
    assert foreign.new_tokens(adapter, {}, own) == ""


# --- zips


def zipped(file: Path, members: dict[str, bytes], mode: int = 0o600) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            packed.writestr(entry, content)
    return file


FEW = {CONFIG: b"{}", WEIGHTS: b"w"}


@pytest.mark.parametrize("root", ["", "adapter/", "my run/adapter/"])
def test_a_zip_is_unpacked_flat(tmp_path, root):
    """Wherever in it the adapter lies; only what can't run code, and nothing from beside it."""
    members = {root + name: content for name, content in FEW.items()}
    file = zipped(tmp_path / "a.zip", {**members, root + "training_args.bin": b"x", root + "deep/x.json": b"{}"})
    (into := tmp_path / "into").mkdir()
    unpacking.collect(file, into)
    assert {path.name: path.read_bytes() for path in into.iterdir()} == FEW


@pytest.mark.parametrize(
    ("members", "mode", "sentence"),
    [
        ({**FEW, "../evil.json": b"{}"}, 0o600, "leads out of it"),
        ({**FEW, "/etc/evil.json": b"{}"}, 0o600, "leads out of it"),
        ({**FEW, "C:\\evil.json": b"{}"}, 0o600, "leads out of it"),
        (FEW, 0o120777, "holds a link"),
        ({"notes.txt": b""}, 0o600, "holds no adapter_config.json"),
        ({"a/" + CONFIG: b"{}", "b/" + CONFIG: b"{}"}, 0o600, "several adapters"),
        ({CONFIG: b"{}", "adapter_model.bin": b"x"}, 0o600, "can run code"),
    ],
)
def test_a_zip_that_should_not_be_is_refused(tmp_path, members, mode, sentence):
    """Before a file of it is written anywhere but where it may."""
    (into := tmp_path / "into").mkdir()
    with pytest.raises(UserError, match=sentence):
        unpacking.collect(zipped(tmp_path / "a.zip", members, mode), into)
    assert {path.name for path in tmp_path.iterdir()} == {"a.zip", "into"}
    assert not list(into.iterdir())


def test_a_zip_that_grows_too_large_is_refused(tmp_path, monkeypatch):
    """Counted while it is unpacked: what it says of its own sizes is not believed."""
    monkeypatch.setattr(unpacking, "MOST_BYTES", 1000)
    (into := tmp_path / "into").mkdir()
    with pytest.raises(UserError, match="that is no adapter"):
        unpacking.collect(zipped(tmp_path / "a.zip", {**FEW, "a.json": b"0" * 2_000_000}), into)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04half"])
def test_what_is_no_zip_is_said(tmp_path, content):
    """In a sentence."""
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.zip"):
        unpacking.collect(tmp_path / "a.zip", tmp_path)


# --- the Hub


def publish(hub, names, **repo) -> None:
    hub.repos["somebody/yoda"] = Repo(private=False, **repo)
    hub.repos["somebody/yoda"].commit({name: (SHIPPED / name).read_bytes() for name in names} | {"README.md": b"#"})


def test_an_adapter_on_the_hub_is_fetched(dataset_hub):
    """With no token but the one that was given, only its own files, and what it is known by is its name there."""
    publish(dataset_hub, [path.name for path in SHIPPED.iterdir()])
    folder = imports.bring(Wanted("somebody/yoda"))
    assert (folder / "adapter" / WEIGHTS).read_bytes() == (SHIPPED / WEIGHTS).read_bytes()
    assert jobs.read_json(folder / "run.json")["origin"] == "somebody/yoda"
    assert not [line for line in dataset_hub.log if "README.md" in line]
    assert set(dataset_hub.bearers) == {""}


def test_what_the_hub_can_not_give_is_said(dataset_hub):
    """A name of nothing, a repository of something else, a Hub that is not there."""
    with pytest.raises(UserError, match="There is no adapter 'somebody/yoda' on the Hub"):
        bring("somebody/yoda")
    publish(dataset_hub, [CONFIG])
    with pytest.raises(UserError, match="it has no weights"):
        bring("somebody/yoda")
    dataset_hub.fault("GET /api/models", status=503, times=99)
    with pytest.raises(UserError, match="The Hub answered 503"):
        bring("somebody/yoda")
    assert leftovers() == []


def test_without_a_network_it_is_said():
    """The tests' own setting: the Hub is switched off."""
    with pytest.raises(UserError, match="switched off here by HF_HUB_OFFLINE"):
        bring("somebody/yoda")
