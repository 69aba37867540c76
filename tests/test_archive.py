"""What becomes of a run as a whole: renamed, measured, packed, deleted; never half, and never while it is worked on."""

import json
import time
import zipfile

import pytest
from filelock import FileLock

from pipeline import archive, checkpoints, events, example, home, jobs
from pipeline.errors import UserError
from pipeline.schema import Event


@pytest.fixture
def run():
    """The finished run that ships, in a home of its own."""
    return example.install()


def test_a_run_gets_another_name_and_keeps_its_id(run):
    """On one line, without what prints nothing; every other setting stays as it was."""
    before = jobs.read_json(run / "config.json")
    archive.rename(run, "  my\n<b>run</b>\x07 ")
    assert jobs.summary(run)["name"] == "my <b>run</b>"
    assert jobs.find(run.name) == run
    assert {**jobs.read_json(run / "config.json"), "name": before["name"]} == before


@pytest.mark.parametrize("name", ["", " \n\x07", "x" * 121])
def test_a_name_must_show_something(run, name):
    """Nothing is changed then."""
    before = (run / "config.json").read_bytes()
    with pytest.raises(UserError, match="1 to 120 characters"):
        archive.rename(run, name)
    assert (run / "config.json").read_bytes() == before


def test_a_deleted_run_is_gone_whole(run, make_run):
    """From the list and from the disk; the other runs stay, and what a kill once left half deleted goes, too."""
    other = make_run(rows=4)
    (home.runs() / ".deleted-of-old" / "adapter").mkdir(parents=True)
    archive.delete(run)
    assert [folder.name for folder in home.runs().iterdir()] == [other.name]
    assert [listed["run"] for listed in jobs.listing()] == [other.name]


def test_a_run_that_is_worked_on_is_not_deleted(run):
    """Whoever holds its lock is named by what it does; every file is still there."""
    files = set(run.rglob("*"))
    with FileLock(run / "lock"), pytest.raises(UserError, match="cancel it first"):
        archive.delete(run)
    assert files <= set(run.rglob("*"))


def test_a_run_between_two_jobs_is_not_deleted(run):
    """No lock is held in the moment in which training turns into judging."""
    handing = Event("finished", "train", time.time(), None, {"then": "evaluate"})
    events.append(run / "events.jsonl", handing)
    with pytest.raises(UserError, match="is being worked on"):
        archive.delete(run)
    assert run.exists()


def packed(run, tmp_path, **how):
    file = archive.pack(run, tmp_path / "run.zip", **how)
    with zipfile.ZipFile(file) as opened:
        assert opened.testzip() is None
        return {name.removeprefix(f"{run.name}/"): opened.read(name) for name in opened.namelist()}


def test_a_download_holds_what_the_run_came_to_and_no_row(run, tmp_path):
    """Adapter byte for byte, settings and scores; no checkpoint, token, log or event, and no text of the data."""
    (run / "log.txt").write_text("what was said")
    (run / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    (run / "checkpoints" / "checkpoint-1" / "optimizer.pt").write_bytes(b"x")
    found = packed(run, tmp_path)
    adapter = {f"adapter/{path.name}": path.read_bytes() for path in (run / "adapter").iterdir()}
    told = {"config.json", "source.json", "run.json", "base.json", "report.json", "summary.json"}
    assert found.keys() == {*adapter, *told}
    assert {name: found[name] for name in adapter} == adapter
    report = json.loads(found["report.json"])
    assert report["metrics"] == jobs.read_json(run / "report.json")["metrics"]
    summed = json.loads(found["summary.json"])
    assert len(summed["curve"]) == len(jobs.view(run).curve) > 1
    row = json.loads((run / "held_out.jsonl").read_text().splitlines()[0])
    everything = b"".join(found.values()).decode(errors="replace")
    assert row["messages"][-1]["content"] not in everything
    assert str(run.parent) not in everything


def test_a_download_with_rows_has_every_row(run, tmp_path):
    """Only when the owner asks for them."""
    found = packed(run, tmp_path, rows=True)
    assert found["held_out.jsonl"] == (run / "held_out.jsonl").read_bytes()
    assert len(json.loads(found["report.json"])["rows"]) == 60


def test_a_run_without_an_adapter_has_no_download(make_run, tmp_path):
    """It says what to do, and leaves no file."""
    with pytest.raises(UserError, match="train it first"):
        archive.pack(make_run(rows=4), tmp_path / "run.zip")
    assert not list(tmp_path.glob("*.zip")) + list(tmp_path.glob(".*zip*"))


def test_the_disk_use_follows_the_folder(run):
    """Every byte of every file, and those of the checkpoints apart; measured again when something was told."""
    before = archive.disk_use(run)
    assert before == (sum(path.stat().st_size for path in run.rglob("*") if path.is_file()), 0)
    folder = run / checkpoints.FOLDER / "checkpoint-1"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"x" * 1000)
    assert archive.disk_use(run) == (before.whole + 1000, 1000)
    archive.delete(run)
    assert archive.disk_use(run) == (0, 0)
