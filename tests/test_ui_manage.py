"""All runs on the page: what the table shows, and what can be done with the one that is chosen."""

import asyncio
import json
import shutil
import time
import zipfile
from pathlib import Path

import gradio as gr
import pytest

from pipeline import archive, differences, example, jobs
from pipeline.curves import thin
from pipeline.events import append
from pipeline.schema import Event, Visitor
from tests.conftest import EXAMPLES
from ui import beside, bring, manage, runs_table, texts

OWNER, GUEST = Visitor("owner", True), Visitor("guest", False)
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def run() -> Path:
    """The finished run that ships."""
    return example.install()


def tell(folder, kind, step=None, **values):
    append(folder / "events.jsonl", Event(kind, "train", time.time(), step, values, ""))


def visible(update) -> bool:
    return update.visible


# --- the table


def test_a_run_is_a_line_with_its_curve(run, make_run):
    """Model, method, rows, losses, disk; the chosen one is marked, and a run that never began has no curve."""
    new = make_run(rows=4, method="dora")
    shown = runs_table.draw(OWNER, run.name)
    [head, first, second] = shown.split("<tr")[1:]
    assert all(words in head for _, words in texts.RUN_HEADS)
    assert f'data-run="{new.name}"' in first
    assert "DoRA" in first
    assert "svg" not in first
    assert 'aria-current="true"' in second
    assert all(words in second for words in (">380<", ">0.021<", "LoRA", "tiny-chat", "MB", "<polyline"))


def test_without_a_run_there_is_a_word():
    """And not an empty table."""
    assert texts.NO_RUNS in runs_table.draw(OWNER, None)


def test_a_guest_sees_shared_runs_only(run, make_run):
    """The table tells nothing of the others."""
    private = make_run(rows=4)
    assert private.name not in runs_table.draw(GUEST, None)
    assert run.name in runs_table.draw(GUEST, None)


def test_nothing_of_a_run_is_html(run, make_run):
    """Neither in the table nor where two runs are shown beside each other, nor in the sentences about one."""
    folder = make_run(rows=4)
    values = jobs.read_json(folder / "config.json")
    (folder / "config.json").write_text(json.dumps({**values, "name": EVIL, "model": EVIL, "method": EVIL}))
    shown = [runs_table.draw(OWNER, None), manage.about(folder), manage.ask(None, None, folder.name)[1]]
    (folder / "config.json").write_text(json.dumps({**values, "name": EVIL, "target_modules": EVIL}))
    shown.append(manage.compare(None, None, run.name, folder.name))
    for each in shown:
        assert "<img" not in each
        assert "&lt;img" in each


def test_a_spark_is_the_curve_within_its_picture():
    """From the first step to the last, high to low; what is no number is left out, and one point is no curve."""
    drawn = runs_table.sparkline(((0, 4.0), (5, float("nan")), (10, 2.0)))
    assert 'points="0.0,1.0 96.0,23.0"' in drawn
    assert "from 4.00 to 2.00" in drawn
    assert runs_table.sparkline(((1, 1.0), (2, float("inf")))) == ""
    assert "96.0,23.0" in runs_table.sparkline(((0, 2.0), (1, 2.0))), "a flat curve lies at the bottom"


def test_thinning_keeps_the_ends_and_the_extremes():
    """A spike of one step must not vanish from a long curve."""
    points = [(step, 1.0) for step in range(5000)]
    points[1234], points[4321] = (1234, 9.0), (4321, -3.0)
    found = thin(points, 600)
    assert len(found) <= 600
    assert found == sorted(found)
    assert {points[0], points[-1], points[1234], points[4321]} <= set(found)
    assert thin(points[:600], 600) == points[:600]


# --- what can be done


def test_a_run_is_opened_by_its_name(run, make_run):
    """The bar at the top then holds it; one that is not there is a sentence."""
    make_run(rows=4)
    assert manage.open_run(None, None, run.name).value == run.name
    with pytest.raises(gr.Error, match="no run"):
        manage.open_run(None, None, "../../etc")


def test_what_can_be_done_is_shown_for_the_chosen_run(run, make_run):
    """Its name to change, its size, the other runs to lay beside it; for no run only the import, for a guest nothing."""
    other = make_run(rows=4)
    owners, about, name, others, really, found = manage.look(None, None, run.name)
    assert (visible(owners), name, visible(really), found) == (True, "tiny-yoda", False, "")
    assert "0.8 MB" in about
    assert [value for _, value in others.choices] == [other.name]
    for nothing in (None, "no-such-run"):
        owners, about, name, others, *_ = manage.look(None, None, nothing)
        assert (visible(owners), about, name, others.choices) == (True, "", "", [])


def test_a_new_name_is_everywhere(run):
    """In the bar, in the table, in the line below it."""
    bar, table, about = manage.rename(None, None, run.name, "Better & best")
    assert bar.value == run.name
    assert any("Better & best" in label for label, _ in bar.choices)
    assert "Better &amp; best" in table
    assert "Better &amp; best" in about


def test_deleting_asks_first(run, make_run):
    """The question names what would go; only the second click takes it, and the newest run is chosen then."""
    other = make_run(rows=4)
    really, sentence = manage.ask(None, None, run.name)
    assert visible(really)
    assert "tiny-yoda" in sentence
    assert "0.8 MB" in sentence
    assert run.exists()
    bar, table, really = manage.delete(None, None, run.name)
    assert (bar.value, visible(really), run.exists()) == (other.name, False, False)
    assert run.name not in table


def test_a_download_is_the_zip_of_the_run(run):
    """In a folder of the page's cache whose name nobody can guess."""
    update = manage.download(None, None, run.name, False)
    file = Path(update.value if isinstance(update.value, str) else update.value["path"])
    assert file.name == f"{run.name}.zip"
    assert len(file.parent.name) == 40
    with zipfile.ZipFile(file) as opened:
        assert f"{run.name}/adapter/adapter_model.safetensors" in opened.namelist()
        assert not [name for name in opened.namelist() if name.endswith(".jsonl")]
    shutil.rmtree(file.parent)


@pytest.mark.parametrize("verb", ["rename", "download", "ask", "delete", "compare"])
def test_a_guest_changes_nothing(run, monkeypatch, verb):
    """Of a run that is shared with them, either."""
    monkeypatch.setenv("SPACE_ID", "somebody/space")
    more = {"rename": ["x"], "download": [True], "compare": ["x"]}.get(verb, [])
    with pytest.raises(gr.Error, match="Only the owner may"):
        getattr(manage, verb)(None, None, run.name, *more)
    assert jobs.summary(run)["name"] == "tiny-yoda"
    assert not visible(manage.look(None, None, run.name)[0])


# --- two runs beside each other


def test_two_runs_are_told_apart_by_what_was_asked(make_run):
    """Every setting that differs and no other; with the learning rate that is used, and the rows."""
    one, other = make_run(rows=8, rank=4), make_run(rows=9, rank=8)
    found = differences.beside(one, other)
    told = {name: values for name, *values in found["differences"]}
    assert told == {"rank": [4, 8], "rows: train": [8, 9]}
    assert differences.beside(one, one)["differences"] == []


def test_what_an_import_does_not_tell_is_no_difference(run, make_run):
    """Batch size and epochs of somebody else's training are not known."""
    other = make_run(rows=4, batch_size=2)
    (other / "run.json").write_text(json.dumps({**jobs.read_json(other / "run.json"), "imported": True}))
    told = {name for name, *_ in differences.beside(run, other)["differences"]}
    assert "rows: train" in told
    assert not told & {"batch_size", "epochs", "source: path"}


def test_both_curves_are_drawn_to_one_scale(run, make_run):
    """A half as long training is half as wide; scores and losses stand below, the settings after them."""
    other = make_run(rows=4)
    for step in range(73):
        tell(other, "loss", step, loss=2.0)
    section = manage.compare(None, None, run.name, other.name)
    assert section.count("<polyline") == 3
    assert 'class="other train"' in section
    assert 'points="0.0,' in section.split('class="other train"')[1]
    assert f"{640 * 72 / 144:.1f}," in section.split('class="other train"')[1]
    assert all(words in section for words in (texts.BESIDE_CAME, texts.BESIDE_ASKED, "ROUGE-L", "max length"))
    assert jobs.view(run).curve[-1][0] == 144
    same = beside.section(differences.beside(run, run))
    assert texts.BESIDE_SAME in same


def test_another_run_must_be_chosen(run):
    """And be there."""
    with pytest.raises(gr.Error, match="No other run is chosen"):
        manage.compare(None, None, run.name, None)
    with pytest.raises(gr.Error, match="no run"):
        manage.compare(None, None, run.name, "gone")


# --- an import


def brought(*values) -> list:
    async def gathered() -> list:
        return [update async for update in bring.bring(None, None, *values)]

    return asyncio.run(gathered())


def test_nothing_is_no_adapter():
    """It says what to give."""
    with pytest.raises(gr.Error, match="No adapter is given"):
        brought("", None, "", "auto", "", False, None, None)


@pytest.mark.slow
def test_an_adapter_is_imported_on_the_page(run):
    """What is done is told meanwhile; the new run is chosen and its helper is gone. Or the sentence, and no run."""
    source = EXAMPLES / "tiny-yoda-run" / "adapter"
    updates = brought(str(source), None, "", "auto", "a-token", False, None, None)
    assert all(update[2] == "" for update in updates), "the token is emptied at once"
    assert any(texts.BRING_PHASES["checking"] in str(update[1]) for update in updates)
    folder = run.parent / updates[-1][0].value
    assert jobs.summary(folder)["imported"]
    assert not bring.IMPORTER.alive
    with pytest.raises(gr.Error, match="no folder or zip"):
        brought("/no/such/place", None, "", "auto", "", False, None, None)
    assert not bring.IMPORTER.alive
    assert len(list(run.parent.iterdir())) == 2


def test_the_disk_use_tells_checkpoints_apart():
    """On hovering, and only where there are some."""
    assert runs_table.size(archive.DiskUse(1_500_000, 0)) == "1.5 MB"
    assert 'title="checkpoints: 2.00 GB"' in runs_table.size(archive.DiskUse(3 * 10**9, 2 * 10**9))
