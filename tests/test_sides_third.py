"""A third column is what it says: another adapter on the same weights, or the base with examples; both others stay as they were."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline import checkpoints, generate, jobs, self_test, sides, switch, template, third
from pipeline.__main__ import main
from pipeline.errors import UserError
from pipeline.schema import Decoding

GREEDY = Decoding(max_new_tokens=16)
SAY = [{"role": "user", "content": "Say this: The fox finds the ring."}]


@pytest.fixture(scope="module")
def pair(trained_run: Path):
    return sides.open_pair(sides.of_run(trained_run))


@pytest.fixture
def other_run(trained_run: Path, tmp_path: Path):
    """Makes a run of the same base whose adapter went through `change`."""

    def make(change=lambda tensors: {name: tensor * 0.5 for name, tensor in tensors.items()}) -> Path:
        folder = Path(shutil.copytree(trained_run, tmp_path / "other-run"))
        file = folder / "adapter" / "adapter_model.safetensors"
        save_file(change(load_file(file)), file, {"format": "pt"})
        return folder

    return make


def wish(folder: Path) -> dict[str, str]:
    return {"kind": "run", "folder": str(folder)}


def texts(pair, columns=("base", "tuned")):
    found = dict(generate.stream(pair, dict.fromkeys(columns, SAY), GREEDY))
    return {column: found[column].text for column in columns}


def test_another_run_stands_beside_the_two(pair, trained_run, other_run):
    """In one mixed batch: it answers as when it is opened by itself, base and tuned as before; each line of the test passes."""
    folder, before = other_run(), texts(pair)
    three = third.beside(pair, trained_run, wish(folder))
    assert (three.mode, three.columns, three.trusted) == ("mixed", ("base", "tuned", "other"), True)
    assert set(three.self_test) >= {
        "other_is_other",
        "other_differs",
        "other_complete",
        "base_is_base",
        "tuned_is_tuned",
    }
    assert all(check.ok for check in three.self_test.values())
    found = texts(three, three.columns)
    assert found == {**before, "other": texts(sides.open_pair(sides.of_run(folder)))["tuned"]}
    third.leave(three)
    assert switch.OTHER not in pair.adapted.peft_config
    assert texts(pair) == before


def test_a_checkpoint_stands_beside_the_two(pair, trained_run):
    """The third column is the adapter as it was at that step; a step that was not kept is refused with those that were."""
    kept = checkpoints.newest(trained_run)
    three = third.beside(pair, trained_run, {"kind": "checkpoint", "step": checkpoints.step(kept)})
    own = load_file(kept / "adapter_model.safetensors")
    assert three.self_test["other_complete"].ok
    assert len(own) == sum(f".{switch.OTHER}." in name for name, _ in pair.adapted.named_parameters())
    third.leave(three)
    with pytest.raises(UserError, match=f"no whole checkpoint of step 3.*{checkpoints.step(kept)}"):
        third.beside(pair, trained_run, {"kind": "checkpoint", "step": 3})


def test_a_sabotaged_third_column_turns_the_mark_red(pair, trained_run, other_run, monkeypatch):
    """If its rows secretly ran the tuned adapter, the mixed batch is not used; if switching by itself does, nothing is trusted."""
    honest = switch.rows
    swapped = lambda adapted, names: honest(adapted, [switch.ADAPTER if n == switch.OTHER else n for n in names])  # noqa: E731
    monkeypatch.setattr(switch, "rows", swapped)
    three = third.beside(pair, trained_run, wish(other_run()))
    assert (three.mode, three.trusted) == ("in turn", True)
    probe = sides.probes(pair.tokenizer, pair.template, pair.tokenizer, pair.adapted.device)
    with switch.only(pair.adapted, switch.BASE):
        bare = self_test.logits(pair.adapted, probe)
    red = self_test.measure(pair.adapted, probe, bare, "mixed", (switch.ADAPTER, switch.OTHER))
    assert [name for name, check in red.items() if not check.ok] == ["other_is_other"]
    third.leave(three)


@pytest.mark.parametrize("lies", [switch.ADAPTER, switch.BASE], ids=["all tuned", "all base"])
def test_sabotaged_rows_are_never_used(pair, trained_run, monkeypatch, lies):
    """Whichever way the switch is broken, the mixed batch fails its line and the sides answer in turn, each as before."""
    before, honest = texts(pair), switch.rows
    monkeypatch.setattr(switch, "rows", lambda adapted, names: honest(adapted, [lies] * len(names)))
    found = sides.open_pair(sides.of_run(trained_run))
    assert (found.mode, found.trusted) == ("in turn", True)
    assert texts(found) == before


def test_a_broken_off_switch_is_red_in_every_mode(pair, trained_run, monkeypatch):
    """If switching the adapter off does nothing, there is no base to be had, and the run can't be judged."""
    from contextlib import nullcontext

    from peft import PeftModel

    monkeypatch.setattr(PeftModel, "disable_adapter", lambda self: nullcontext())
    found = sides.open_pair(sides.of_run(trained_run))
    assert not found.self_test["base_is_base"].ok
    assert not found.trusted
    with pytest.raises(UserError, match="can't be trusted"):
        sides.open_trusted(trained_run)


def test_a_third_adapter_that_changes_nothing_is_its_own_result(pair, trained_run, other_run):
    """All zeros: trusted, and said."""
    zero = other_run(lambda tensors: {name: torch.zeros_like(tensor) for name, tensor in tensors.items()})
    three = third.beside(pair, trained_run, wish(zero))
    assert three.trusted
    assert [name for name, check in three.self_test.items() if not check.ok] == ["other_differs"]
    third.leave(three)


def test_a_third_adapter_for_other_layers_is_refused(pair, trained_run, other_run):
    """Nothing of it stays, and the pair answers as before."""
    before = texts(pair)
    strange = other_run(lambda tensors: {name.replace("q_proj", "qkv_proj"): t for name, t in tensors.items()})
    with pytest.raises(UserError, match=r"belongs to another model|does not fit"):
        third.beside(pair, trained_run, wish(strange))
    assert switch.OTHER not in pair.adapted.peft_config
    assert texts(pair) == before


@pytest.mark.parametrize(
    ("file", "change", "sentence"),
    [
        ("base.json", lambda d: {**d, "fingerprint": "0"}, "another base model"),
        ("base.json", lambda d: {**d, "revision": "0"}, "another version of the base model"),
        ("base.json", lambda d: {**d, "templates": {"own": "0"}}, "another chat template"),
        ("config.json", lambda d: {**d, "new_tokens": "<mine>", "method": "new-tokens"}, "tokens of its own"),
        ("adapter/adapter_config.json", lambda d: {**d, "peft_type": "IA3", "feedforward_modules": []}, "LORA and IA3"),
    ],
    ids=["base", "revision", "template", "tokens", "kind"],
)
def test_a_run_that_can_not_stand_beside_is_refused(pair, trained_run, other_run, file, change, sentence):
    """With what differs."""
    folder = other_run()
    (folder / file).write_text(json.dumps(change(json.loads((folder / file).read_text()))))
    with pytest.raises(UserError, match=sentence):
        third.beside(pair, trained_run, wish(folder))
    assert switch.OTHER not in pair.adapted.peft_config


def test_the_base_with_examples_is_the_base(pair, trained_run):
    """It answers as the base does when it is told the first rows before the question."""
    three = third.beside(pair, trained_run, {"kind": "examples", "k": 3})
    messages, taken = third.asked(three, [{"role": "system", "content": "Be brief."}, *SAY], GREEDY)
    rows = json.loads((trained_run / "train.jsonl").read_text().splitlines()[0])["messages"]
    assert [message["role"] for message in messages] == ["system", *["user", "assistant"] * 3, "user"]
    assert (messages[1:3], taken, messages[-1]) == (rows[-2:], 3, SAY[0])
    found = dict(generate.stream(three, {"tuned": SAY, "prompted": messages}, GREEDY))
    assert found["prompted"].text == dict(generate.stream(pair, {"base": messages}, GREEDY))["base"].text
    assert found["tuned"].text == texts(pair)["tuned"]


def test_only_as_many_examples_as_fit(pair, trained_run):
    """The first rows that leave room in the model's context, and how many they were."""
    three = third.beside(pair, trained_run, {"kind": "examples", "k": 100})
    messages, taken = third.asked(three, SAY, GREEDY)
    assert 0 < taken < 100
    assert len(messages) == 2 * taken + 1
    room = sides.context(three) - len(template.prompt_ids(three.reader("base"), three.template, messages))
    assert room >= GREEDY.max_new_tokens
    longer = Decoding(max_new_tokens=100)
    messages, fewer = third.asked(three, SAY, longer)
    room = sides.context(three) - len(template.prompt_ids(three.reader("base"), three.template, messages))
    assert room >= 100, "examples must not shorten the answers of base and tuned"
    assert 0 < fewer < taken


def test_the_command_line_shows_three_columns(trained_run, capsys):
    """--examples, --with-run and --with-checkpoint add a column to the object; only one may be asked for."""
    asked = ["compare", str(trained_run), "--prompt", SAY[0]["content"], "--max-new-tokens", "8"]
    assert main([*asked, "--examples", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() >= {"base", "tuned", "prompted", "self_test", "mode"}
    assert found["examples"] == 2
    assert main([*asked, "--with-checkpoint", str(checkpoints.step(checkpoints.newest(trained_run)))]) == 0
    assert "Self-test passed" in capsys.readouterr().out
    assert main([*asked, "--examples", "2", "--with-run", str(trained_run)]) == 2
    assert "one third column" in capsys.readouterr().err
    assert jobs.find(str(trained_run)) == trained_run
