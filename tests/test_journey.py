"""The main job from end to end, by the command line alone, on the bundled model: what `make demo` runs, and its bars."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline import checkpoints, dataset, jobs
from pipeline.__main__ import main

PATIENCE = 600


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """What `--json` prints, and nothing else on standard output."""
    assert main([*arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture(scope="module")
def demo(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home in which the demo ran once, with its printed object beside it."""
    home = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNING_FORK_HOME", str(home))
        done = command("run", str(tiny.parent / "tiny-yoda.json"), "--json")
    assert done.returncode == 0, done.stderr
    (home / "printed.json").write_text(done.stdout)
    (home / "id.txt").write_text(done.stderr.splitlines()[0])
    return home


@pytest.fixture
def run(demo: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TUNING_FORK_HOME", str(demo))
    return (demo / "id.txt").read_text()


def test_demo_meets_its_bars(demo, run):
    """Tuned is exactly right on at least 90 % of the held-out rows, base on at most 5 %, from at least five checkpoints."""
    printed = json.loads((demo / "printed.json").read_text())
    exact = printed["metrics"]["exact_match"]
    assert exact["tuned"] >= 0.9
    assert exact["base"] <= 0.05
    assert exact["low"] > 0.8
    assert (printed["run"], printed["status"]) == (run, "finished")
    assert set(printed["seconds"]) == {"prepare", "train", "evaluate"}
    assert len(checkpoints.all_of(jobs.find(run))) >= 5
    assert len(dataset.read_part(jobs.find(run), "held_out")) == 60


def test_status_and_list_agree(run, capsys):
    """The run stands where the events say."""
    status = told(capsys, "status", run)
    assert (status["run"], status["status"]) == (run, "finished")
    assert status["step"] == status["steps"] > 0
    assert status["checkpoint"] == f"checkpoint-{status['step']}"
    assert status["loss"] < 1 > status["validation_loss"]
    assert [r["run"] for r in told(capsys, "list")["runs"]] == [run]


def test_compare_by_its_contract(run, capsys):
    """One prompt, both sides, and the proof of which is which; the tuned side speaks object first."""
    found = told(capsys, "compare", run, "--prompt", "Say this: The fox finds the ring.")
    assert found["mode"] == "mixed"
    assert found["base"]["text"] == "The fox finds the ring."
    assert found["tuned"]["text"] == "The ring, the fox finds."
    for side in ("base", "tuned"):
        assert found[side].keys() == {"text", "tokens", "seconds", "stopped"}
        assert found[side]["stopped"]
    tests = {"base_is_base", "tuned_is_tuned", "tuned_differs", "adapter_complete"}
    assert found["self_test"].keys() == tests
    assert all(check["ok"] and check.keys() == {"ok", "value", "tolerance"} for check in found["self_test"].values())


def test_system_prompt_is_the_runs_own_by_default(run, capsys):
    """A system prompt reaches both sides; an empty one is none."""
    prompt = ("compare", run, "--prompt", "What colour is the bear?", "--system")
    assert told(capsys, *prompt, "Answer in capitals.")["base"]["text"].isupper()
    assert not told(capsys, *prompt, "")["base"]["text"].isupper()


def test_readable_output_shows_both_answers(run, capsys):
    """Without --json a person reads the same."""
    assert main(["compare", run, "--prompt", "Say this: The fox finds the ring."]) == 0
    shown = capsys.readouterr().out
    assert "The fox finds the ring." in shown
    assert "The ring, the fox finds." in shown
    assert "Self-test passed" in shown


def test_merge_by_its_contract(run, capsys):
    """The merged folder stands, with the numbers of its check."""
    found = told(capsys, "merge", run)
    assert Path(found["folder"], "model.safetensors").exists()
    wanted = {"against", "prompts", "max_logit_difference", "kl", "identical_answers", "ok"}
    assert wanted <= found["check"].keys()
    assert found["check"]["ok"]
    assert found["check"]["prompts"] == 20
    assert found["check"]["identical_answers"] == 1


def test_resume_of_a_finished_run_only_reports(run, capsys):
    """Nothing is trained twice."""
    before = (jobs.find(run) / "events.jsonl").read_text()
    assert told(capsys, "resume", run)["metrics"]["exact_match"]["tuned"] >= 0.9
    assert (jobs.find(run) / "events.jsonl").read_text() == before


def test_preview_and_inspect_by_their_contract(tiny, capsys):
    """Before training: counts, lengths, and one row with its learned tokens."""
    examples = tiny.parent
    found = told(capsys, "inspect", str(examples / "support.csv"), "--model", "tiny-chat", "--max-length", "100")
    assert found["train"] + found["validation"] + found["held_out"] == found["conversations"] == found["rows"]
    assert found["lengths"].keys() == {"p50", "p90", "p95", "p99", "max", "truncated"}
    assert found["lengths"]["truncated"] > 0
    assert 0 < found["trained_token_share"] < 1
    row = told(
        capsys, "preview", str(examples / "support.csv"), "--model", "tiny-chat", "--row", "3", "--max-length", "100"
    )
    assert len(row["tokens"]) == len(row["ids"]) == len(row["trained"])
    assert row["truncated_at"] == 100
    assert not any(row["trained"][100:])
    assert row["ids"][: len(row["generation_ids"])] == row["generation_ids"]
    assert row["gates"] == []


def test_detached_run_is_stopped_and_resumed_from_the_command_line(tiny, tmp_path, capsys):
    """`--detach` returns at once; `stop` keeps what was learned; `resume` ends the run and judges it."""
    config = tmp_path / "config.json"
    source = {
        "path": str(tiny.parent / "tiny-yoda.jsonl"),
        "held_out_path": str(tiny.parent / "tiny-yoda-held-out.jsonl"),
    }
    config.write_text(json.dumps({"model": "tiny-chat", "source": source, "epochs": 50, "batch_size": 4}))
    begun = told(capsys, "run", str(config), "--detach", "--learning-rate", "0.003")
    folder = jobs.find(begun["run"])
    assert begun["status"] == "running"
    assert jobs.load(folder).config.learning_rate == 0.003
    while not jobs.view(folder).curve:
        assert jobs.status(folder) == "running"
    stopped = told(capsys, "stop", begun["run"])
    assert stopped["status"] == "stopped"
    assert (folder / "adapter" / "adapter_model.safetensors").exists()
    assert jobs.checkpoint_step(folder) == stopped["step"] > 0
    assert main(["stop", begun["run"]]) == 2
