"""A run as a standalone script: it gives the run's adapter to the last bit, says no more than it must, and reads as text."""

import ast
import dataclasses
import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from pipeline import files, jobs, python_text, script, train
from pipeline.__main__ import main
from pipeline.errors import UserError
from pipeline.job import Job
from pipeline.schema import TrainConfig, settings

ROOT = Path(__file__).parents[1]
SHORT = {"rows": 24, "batch_size": 4, "epochs": 4, "max_steps": 4, "eval_steps": 2, "samples": 0}
UNSEEN = {
    "samples", "tracker", "keep_checkpoints", "save_steps",  # change nothing that is learned, or how it is kept
    "max_length", "loss_on",  # in tokens/ already
}  # fmt: skip
OTHER = {
    "method": "dora", "memory": "4-bit", "target_modules": "q_proj, v_proj", "template": "chatml", "scheduler": "cosine",
    "optimizer": "sgd", "packing": True, "length_grouping": False, "activation_checkpointing": "on", "attention": "eager",
    "warmup": 0.5, "weight_decay": 0.5, "micro_batch": 2, "dropout": 0.5, "learning_rate": 0.5,
    "loss_on": "everything", "tracker": "trackio",
}  # fmt: skip
"""Another value of each setting that is no number which can simply be raised."""
USED_BY = {
    "lora_plus_ratio": {"method": "lora+"},
    "virtual_tokens": {"method": "prompt-tuning"},
    "last_layers": {"method": "last-layers"},
    "new_tokens": {"method": "new-tokens", "new_tokens": "<one>"},
}


def trained(folder: Path) -> Path:
    """The run, trained in this process."""
    job = Job(folder, "train")
    job.emit("started", pid=0, from_step=0)
    ending, values = train.work(job)
    job.emit(ending, **values)
    return folder


def weights(adapter: Path) -> dict:
    return {name: tensor for file in sorted(adapter.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def assert_same(folder: Path, made: Path) -> None:
    """Every tensor of the run's adapter is in what the script made, bit for bit, and an adapter has no other."""
    ours, theirs = weights(folder / "adapter"), weights(made)
    assert ours
    assert ours.keys() == theirs.keys() or (made.name == "model" and ours.keys() < theirs.keys())
    different = [name for name, tensor in ours.items() if not tensor.equal(theirs[name])]
    assert not different


def run_here(out: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The script in this process, which saves it the imports. Returns what it made."""
    monkeypatch.setattr(sys, "argv", ["script.py", "--model", str(tiny)])
    monkeypatch.syspath_prepend(out)
    monkeypatch.delitem(sys.modules, "head", raising=False)
    runpy.run_path(str(out / "script.py"), run_name="__main__")
    [made] = [kept for name in ("adapter", "model") if (kept := out / "trained" / name).exists()]
    return made


def text_of(folder: Path, **changes) -> str:
    """The script of a run that had been asked for something else."""
    run = jobs.load(folder)
    return script.standalone(dataclasses.replace(run, config=dataclasses.replace(run.config, **changes)), folder)


def test_the_script_gives_the_adapter_of_the_run(make_run, tiny, tmp_path):
    """In a process of its own that can't find this project, it ends with the very weights and settings of the run."""
    folder = trained(make_run(**SHORT))
    assert script.write(folder, tmp_path / "out") == sorted(p.name for p in (tmp_path / "out").iterdir())
    done = subprocess.run(
        [sys.executable, "-E", "-s", str(tmp_path / "out" / "script.py"), "--model", str(tiny)],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = tmp_path / "out" / "trained" / "adapter"
    assert_same(folder, made)
    ours, theirs = (jobs.read_json(each / "adapter_config.json") for each in (folder / "adapter", made))
    for kind in (ours, theirs):
        kind["target_modules"].sort()
        kind.pop("base_model_name_or_path")
        kind.pop("revision")
    assert ours == theirs
    assert (made / "chat_template.jinja").read_text() == (folder / "adapter" / "chat_template.jinja").read_text()


@pytest.mark.parametrize(
    "asked",
    [
        {"method": "pissa"},
        {"method": "ia3"},
        {"method": "last-layers", "last_layers": 1},
        {"packing": True, "template": "chatml", "neftune": 5.0, "scheduler": "cosine", "weight_decay": 0.1},
        pytest.param({"method": "lora+", "optimizer": "adamw_8bit"}, marks=pytest.mark.slow),
        pytest.param({"method": "lora+", "optimizer": "adafactor"}, marks=pytest.mark.slow),
        pytest.param({"method": "qlora-4bit", "activation_checkpointing": "on"}, marks=pytest.mark.slow),
        pytest.param({"method": "qlora-8bit"}, marks=pytest.mark.slow),
        pytest.param({"memory": "16-bit", "micro_batch": 2}, marks=pytest.mark.slow),
        pytest.param({"method": "full", "memory": "16-bit"}, marks=pytest.mark.slow),
        pytest.param({"method": "dora", "dropout": 0.0}, marks=pytest.mark.slow),
        pytest.param({"method": "rslora", "target_modules": "q_proj,v_proj"}, marks=pytest.mark.slow),
        pytest.param({"method": "prompt-tuning"}, marks=pytest.mark.slow),
        pytest.param({"method": "prefix-tuning"}, marks=pytest.mark.slow),
        pytest.param({"method": "new-tokens", "new_tokens": "<note> </note>"}, marks=pytest.mark.slow),
        pytest.param({"method": "full", "optimizer": "adafactor", "learning_rate": 1e-4}, marks=pytest.mark.slow),
    ],
    ids=lambda asked: "-".join(str(value) for value in asked.values()),
)
def test_every_method_comes_out_the_same(make_run, tiny, tmp_path, monkeypatch, asked):
    """What a method trains, and how it is kept, is the same in the script."""
    folder = trained(make_run(**{**SHORT, **asked}))
    script.write(folder, tmp_path / "out")
    assert_same(folder, run_here(tmp_path / "out", tiny, monkeypatch))


def test_the_best_is_kept_and_patience_ends_as_in_the_run(make_run, tiny, tmp_path, monkeypatch):
    """A run that gets worse ends early and keeps an earlier step; the script does both."""
    wild = {"learning_rate": 0.1, "max_grad_norm": 0.0, "max_steps": 12, "eval_steps": 1, "early_stopping": 2}
    folder = trained(make_run(**{**SHORT, **wild}))
    ended = jobs.view(folder).jobs["train"].values
    assert ended["ended_early"]
    assert ended["kept_step"] < ended["last_step"] < 12
    script.write(folder, tmp_path / "out")
    assert_same(folder, run_here(tmp_path / "out", tiny, monkeypatch))
    [state] = (tmp_path / "out" / "trained" / "checkpoints").glob("*/trainer_state.json")
    assert json.loads(state.read_text())["global_step"] == ended["kept_step"]


def test_without_validation_rows_the_last_step_is_kept(trained_run, tmp_path):
    """No look at rows that are not there, and no checkpoint but what is saved at the end."""
    folder = tmp_path / "run"
    files_of(trained_run, folder)
    rows = datasets.load_from_disk(str(trained_run / "tokens"))
    datasets.DatasetDict({"train": rows["train"]}).save_to_disk(str(folder / "tokens"))
    text = script.standalone(jobs.load(folder), folder)
    assert "eval" not in text
    assert 'save_strategy="no"' in text


def files_of(run: Path, folder: Path) -> None:
    """What a script is made from, but the rows."""
    folder.mkdir()
    for name in ("config.json", "source.json", "run.json", "base.json", "events.jsonl"):
        (folder / name).write_bytes((run / name).read_bytes())


@pytest.fixture(scope="module")
def told_run(trained_run, tmp_path_factory):
    """A run whose memory nobody measured: as many rows are held at once as are asked for."""
    folder = tmp_path_factory.mktemp("told") / "run"
    files_of(trained_run, folder)
    shutil.copytree(trained_run / "tokens", folder / "tokens")
    return folder


@pytest.mark.parametrize("name", settings(TrainConfig))
def test_every_setting_reaches_the_script(told_run, name):
    """Another value of a setting gives another script, unless it changes nothing that is learned from the tokens."""
    config = {**dataclasses.asdict(jobs.load(told_run).config), **USED_BY.get(name, {})}
    value = "<two>" if name == "new_tokens" else OTHER.get(name)
    before = text_of(told_run, **config)
    after = text_of(told_run, **{**config, name: config[name] + 1 if value is None else value})
    assert (before == after) == (name in UNSEEN)


def test_what_is_the_default_is_not_said(trained_run):
    """Settings that are the library's own stay out; numbers that were left to us are written out."""
    text = text_of(trained_run, learning_rate=0.0)
    for default in ("weight_decay", "max_grad_norm", "seed=", "lr_scheduler", "bias", "packing", "attn_implementation"):
        assert default not in text
    assert "learning_rate=0.0002," in text
    assert "weight_decay=0.5," in text_of(trained_run, weight_decay=0.5)


def test_the_script_is_clean_and_names_nothing_of_this_machine(trained_run, tmp_path):
    """It compiles, ruff finds nothing in it by its default rules, and no path or module of ours is in it."""
    for asked in ({}, {"packing": True}, {"template": "chatml", "memory": "4-bit"}, {"method": "lora+"}):
        text = text_of(trained_run, **asked)
        modules = {node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)}
        assert not modules & {"pipeline", "ui"}
        assert str(ROOT) not in text
        assert str(trained_run.parent) not in text
        (tmp_path / "script.py").write_text(text)
        for check in (["check"], ["format", "--check"]):
            done = subprocess.run(
                [sys.executable, "-m", "ruff", *check, "--isolated", str(tmp_path / "script.py")],
                capture_output=True, text=True,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout


def test_no_name_gets_out_of_its_quotes(trained_run, tiny, tmp_path):
    """A model folder with quotes, a backslash and a line's end in its name is a default value and nothing else."""
    folder = tmp_path / """it's a '\"\"\"' \\ "fold\ner\""""
    folder.symlink_to(tiny)
    run = dataclasses.replace(jobs.load(trained_run), model=str(folder))
    tree = ast.parse(script.standalone(run, trained_run))
    assert str(folder) in ast.get_docstring(tree, clean=False)
    assert [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and n.value == str(folder)] == [str(folder)]


def test_versions_are_those_of_the_run(trained_run, tmp_path):
    """The command that installs what is needed names the versions the run had, and no build of one machine."""
    assert "peft==0.21.2" in text_of(trained_run)
    assert "bitsandbytes" not in text_of(trained_run)
    assert "bitsandbytes==" in text_of(trained_run, optimizer="adamw_8bit")
    folder = tmp_path / "run"
    files_of(trained_run, folder)
    (folder / "tokens").symlink_to(trained_run / "tokens")
    asked = jobs.read_json(folder / "run.json")
    files.write_json(folder / "run.json", {**asked, "versions": {**asked["versions"], "torch": "9.9.9+cu130"}})
    assert "torch==9.9.9 " in text_of(folder)


@given(st.recursive(st.text() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_a_value_written_down_is_that_value(value):
    """Quotes, backslashes, line ends and half surrogate pairs come back as they were; nothing gets out of its quotes."""
    written = python_text.literal(value)
    assert ast.literal_eval(written) == value
    assert written.isprintable()


def test_a_run_without_rows_here_is_refused(make_run, trained_run, tmp_path):
    """Before training there are no tokens, an imported adapter never had any: a sentence says so, and nothing is written."""
    with pytest.raises(UserError, match="Start it first"):
        script.write(make_run(), tmp_path / "out")
    folder = tmp_path / "run"
    files_of(trained_run, folder)
    files.write_json(folder / "run.json", {**jobs.read_json(folder / "run.json"), "imported": True})
    with pytest.raises(UserError, match="was imported"):
        script.write(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_differs_from_the_run_is_said(trained_run, tmp_path):
    """A checkpoint that was chosen by hand and a run that was made longer are told in the script."""
    folder = tmp_path / "run"
    files_of(trained_run, folder)
    (folder / "tokens").symlink_to(trained_run / "tokens")
    assert "by hand" not in text_of(folder)
    files.write_json(folder / "chosen.json", {"step": 5})
    files.write_json(folder / "base.json", {**jobs.read_json(folder / "base.json"), "extended": 20})
    assert "of step 5, chosen by hand" in text_of(folder)
    assert "made longer on the way" in text_of(folder)


def test_rows_in_memory_are_those_that_were_found_to_fit(trained_run, tmp_path):
    """A run that had to hold fewer rows at once is repeated with as few; the batch it learns from stays."""
    folder = tmp_path / "run"
    files_of(trained_run, folder)
    (folder / "tokens").symlink_to(trained_run / "tokens")
    assert "per_device_train_batch_size" not in text_of(folder)  # 8 is the library's own
    files.write_json(folder / "fit.json", {"micro_batch": 2, "batch_size": 8, "device": "cpu", "halved": []})
    text = text_of(folder)
    assert "per_device_train_batch_size=2," in text
    assert "gradient_accumulation_steps=4," in text


def test_the_verb_writes_into_a_new_folder_only(trained_run, tmp_path, capsys):
    """`script RUN --out DIR` says what it wrote; a folder that holds something is left as it is."""
    out = tmp_path / "out"
    assert main(["script", str(trained_run), "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"run": trained_run.name, "folder": str(out), "files": sorted(p.name for p in out.iterdir())}
    assert main(["script", str(trained_run), "--out", str(out)]) == 2
    assert "is not empty" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["script", str(trained_run), "--out", str(tmp_path / "file")]) == 2
    assert "can't be written" in capsys.readouterr().err
