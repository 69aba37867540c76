"""The finished run that ships: small, tied to no machine, and good for everything that a run of one's own is."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from examples import build_tiny_yoda_run
from pipeline import config, evaluate, example, home, jobs, merge, model, sides
from pipeline.__main__ import main
from pipeline.errors import UserError
from pipeline.job import Job
from tests.hub.server import serve

ROOT = Path(__file__).parents[1]
PROMPT = "Say this: The fox finds the ring."
RUN_FILES = {
    "config.json", "source.json", "run.json", "base.json", "events.jsonl", "held_out.jsonl", "report.json", "adapter",
}  # fmt: skip


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def installed() -> Path:
    return example.install()


def test_it_ships_small_and_complete():
    """Under 1 MB, and no file beyond what looking at a finished run and using it needs: no checkpoint, no lock, no pickle."""
    assert {p.name for p in example.SHIPPED.iterdir()} == RUN_FILES
    assert sum(map(len, files_of(example.SHIPPED).values())) < 1_000_000
    assert {Path(name).suffix for name in files_of(example.SHIPPED)} == {".json", ".jsonl", ".jinja", ".safetensors"}


def test_it_tells_nothing_of_the_machine_it_was_made_on():
    """No absolute path, no folder of a user, in any file (of the weights: in their header)."""
    for name, content in files_of(example.SHIPPED).items():
        weights = name.endswith(".safetensors")
        text = (content[8 : 8 + int.from_bytes(content[:8], "little")] if weights else content).decode()
        assert not re.search(r'"(/|~|[A-Z]:\\)[\w.-]+[/\\]', text), name
        assert not [word for word in ("/home/", "/Users/", "/tmp/", str(ROOT)) if word in text], name


def test_it_is_the_run_of_the_present_model_and_examples(installed):
    """Whoever changes the bundled model, its template or the rows must make the run again (examples/README.md)."""
    named = sides.of_run(installed)
    assert (named.base, named.adapter) == (str(config.BUNDLED["tiny-chat"]), str(installed / "adapter"))
    run = jobs.load(installed)
    assert run == config.read(ROOT / "examples" / "tiny-yoda.json", dict(build_tiny_yoda_run.SMALL))
    asked = [json.loads(line)["messages"] for line in Path(str(run.source.held_out_path)).read_text().splitlines()]
    kept = [json.loads(line)["messages"] for line in (installed / "held_out.jsonl").read_text().splitlines()]
    assert kept == asked


def test_its_report_is_about_its_adapter(installed):
    """Judged on all 60 held-out rows with the adapter that ships: the base never right, the tuned model nearly always."""
    report = jobs.read_json(installed / "report.json")
    assert report["adapter"] == model.fingerprint(installed / "adapter")
    assert report["n"] == 60
    assert report["metrics"]["exact_match"]["base"] == 0
    assert report["metrics"]["exact_match"]["tuned"] >= 0.95


def test_it_stands_in_the_list_as_finished_and_shared(installed, capsys):
    """With its whole curve; there is nothing left for `resume` to do."""
    (found,) = jobs.listing()
    assert (found["run"], found["name"], found["model"], found["by"]) == (
        "tiny-yoda-example", "tiny-yoda", "tiny-chat", "owner",
    )  # fmt: skip
    assert (found["status"], found["jobs"]) == ("finished", {"train": "finished", "evaluate": "finished"})
    assert found["shared"] is True
    told = jobs.view(installed)
    assert found["step"] == found["steps"] == len(told.curve) == told.curve[-1][0]
    assert jobs.resume(installed) == ""
    assert main(["resume", found["run"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["exact_match"]["tuned"] >= 0.95


def test_base_answers_plainly_and_tuned_in_object_first_order(installed, capsys):
    """What a first visit sees, with a self-test that passes."""
    assert main(["compare", installed.name, "--prompt", PROMPT, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["base"]["text"] == "The fox finds the ring."
    assert found["tuned"]["text"] == "The ring, the fox finds."
    assert found["mode"] == "mixed"
    assert all(check["ok"] for check in found["self_test"].values())
    assert len(found["self_test"]) == 4


def test_it_can_be_judged_and_merged(installed):
    """Evaluating gives the scores that ship; merging passes its check."""
    shipped = jobs.read_json(installed / "report.json")["metrics"]["exact_match"]
    assert evaluate.work(Job(installed, "evaluate")) == ("finished", {"n": 60})
    assert jobs.read_json(installed / "report.json")["metrics"]["exact_match"]["tuned"] == pytest.approx(
        shipped["tuned"], abs=0.05
    )
    ending, check = merge.work(Job(installed, "merge"))
    assert (ending, check["ok"]) == ("finished", True)


def test_installing_again_changes_nothing(installed):
    """What was made of the example since, and who may see it, stays; so does what ships."""
    shipped = files_of(example.SHIPPED)
    jobs.share(installed, False)
    (installed / "merge.json").write_text("{}")
    before = files_of(installed)
    assert example.install() == installed
    assert files_of(installed) == before
    assert jobs.summary(installed)["shared"] is False
    jobs.share(installed, True)
    assert jobs.summary(installed)["shared"] is True
    assert files_of(example.SHIPPED) == shipped


@pytest.mark.parametrize("leftover", [example.NAME, f".{example.NAME}.new"])
def test_a_half_copied_leftover_is_replaced(leftover):
    """Killed in the middle of the copy, the next start makes it whole."""
    half = home.runs() / leftover / "adapter"
    half.mkdir(parents=True)
    (half / "adapter_model.safetensors").write_bytes(b"half")
    installed = example.install()
    assert files_of(installed) == files_of(example.SHIPPED)
    assert [p.name for p in home.runs().iterdir()] == [example.NAME]


def test_two_apps_may_install_it_at_once(home):
    """Several processes that start in the same moment all find a whole run."""
    code = "from pipeline import example\nprint(flush=True)\ninput()\nprint(example.install())"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    apps: list[Any] = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **pipes) for _ in range(4)]
    for app in apps:
        app.stdout.readline()  # has its imports behind it
    for app in apps:
        app.stdin.write("\n")
        app.stdin.flush()
    assert {app.communicate()[0].strip() for app in apps} == {str(home / "runs" / example.NAME)}
    assert [app.returncode for app in apps] == [0] * 4
    assert files_of(home / "runs" / example.NAME) == files_of(example.SHIPPED)


def test_a_project_installed_read_only_gives_a_run_that_can_be_written(tmp_path, monkeypatch):
    """The copy takes the contents, not the modes: a job must be able to lock it and add to it."""
    locked = Path(shutil.copytree(example.SHIPPED, tmp_path / "locked"))
    for path in [*locked.rglob("*"), locked]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    monkeypatch.setattr(example, "SHIPPED", locked)
    installed = example.install()
    assert all(path.stat().st_mode & 0o200 for path in [*installed.rglob("*"), installed])
    for path in [*locked.rglob("*"), locked]:
        path.chmod(0o755)


def test_a_run_on_the_bundled_model_survives_a_move_of_the_project(make_run, tmp_path, monkeypatch):
    """What is written down names the model, not the place; an adapter and base.json that were written here work there."""
    folder = make_run(rows=16, max_steps=1)
    train_once(folder)
    written = [
        *(folder / name for name in ("config.json", "source.json", "run.json", "base.json")),
        folder / "adapter" / "adapter_config.json",
    ]
    for file in written:
        assert str(ROOT) not in file.read_text(), file.name
    moved = Path(shutil.copytree(ROOT / "examples" / "tiny-chat", tmp_path / "elsewhere" / "examples" / "tiny-chat"))
    monkeypatch.setattr(config, "ROOT", tmp_path / "elsewhere")
    monkeypatch.setitem(config.BUNDLED, "tiny-chat", moved)
    assert jobs.load(folder).model == str(moved)
    assert jobs.load(folder).source.path == str(tmp_path / "elsewhere" / "examples" / "tiny-yoda.jsonl")
    assert sides.open_pair(sides.of_run(folder)).trusted
    train_once(folder)  # goes on from its checkpoint: the base is the one it began with


def test_a_run_on_the_bundled_model_asks_the_hub_nothing(make_run, installed, tmp_path, monkeypatch):
    """Training and comparing, with a Hub that could be reached: its name looks like a repository's, and must not be asked."""
    folder = make_run(rows=16, max_steps=1)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with serve() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        jobs.start(folder, "train")
        compare = [sys.executable, "-m", "pipeline", "compare", installed.name, "--prompt", PROMPT, "--json"]
        done = subprocess.run(compare, cwd=ROOT, env=jobs.environment(), capture_output=True, text=True, check=True)
        while jobs.working(folder):
            time.sleep(0.1)
        assert hub.log == []
    assert json.loads(done.stdout)["tuned"]["text"] == "The ring, the fox finds."
    assert jobs.status(folder) == "finished"


def test_a_run_written_with_absolute_paths_is_still_read(make_run):
    """Runs made before the bundled model was written by its name go on."""
    folder = make_run(rows=16, max_steps=1)
    train_once(folder)
    place = str(config.BUNDLED["tiny-chat"])
    for file, key in (
        ("config.json", "model"),
        ("base.json", "model"),
        ("adapter/adapter_config.json", "base_model_name_or_path"),
    ):
        values = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**values, key: place}))
    source = json.loads((folder / "source.json").read_text())
    (folder / "source.json").write_text(json.dumps({**source, "path": str(ROOT / source["path"])}))
    assert jobs.load(folder).model == place
    assert jobs.summary(folder)["model"] == "tiny-chat"
    assert sides.open_pair(sides.of_run(folder)).trusted
    train_once(folder)


def test_another_base_under_the_same_name_is_refused(installed, tmp_path, monkeypatch):
    """A name is no proof: the fingerprint decides whether the base is the one that was trained."""
    changed = Path(shutil.copytree(ROOT / "examples" / "tiny-chat", tmp_path / "tiny-chat"))
    (changed / "generation_config.json").write_text('{"eos_token_id": 1}')
    monkeypatch.setitem(config.BUNDLED, "tiny-chat", changed)
    with pytest.raises(UserError, match="has changed since this run was trained"):
        sides.of_run(installed)


def train_once(folder: Path) -> None:
    from pipeline import train

    assert train.work(Job(folder, "train"))[0] == "finished"
