"""Held-out rows through both sides: references are the only yardstick, and numbers can be checked by hand."""

import collections
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy
import pytest
import torch

from pipeline import config, dataset, evaluate, general, generate, jobs, model, sides, template, verdict
from pipeline.errors import UserError
from pipeline.job import Job
from pipeline.schema import Model
from tests import training


@pytest.fixture(scope="module")
def judged_run(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("judged")
    folder = place / "run"
    shutil.copytree(trained_run, folder)
    job = Job(folder, "evaluate")
    job.emit("started", pid=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNING_FORK_HOME", str(place / "home"))
        ending, values = evaluate.work(job)
    job.emit(ending, **values)
    return folder


@pytest.fixture
def generated(monkeypatch):
    """How many answers each column was asked for in this process."""
    honest, told = generate.of_columns, collections.Counter()

    def counting(pair, prompts, *rest):
        told.update({column: len(each) for column, each in prompts.items()})
        return honest(pair, prompts, *rest)

    monkeypatch.setattr(generate, "of_columns", counting)
    return told


@pytest.fixture(scope="module")
def report(judged_run: Path):
    return jobs.read_json(judged_run / "report.json")


def test_report_holds_every_held_out_row_once(judged_run, report):
    """n is the number of held-out rows; prompt and reference are the file's."""
    rows = dataset.read_part(judged_run, "held_out")
    assert report["n"] == len(rows) == len(report["rows"])
    for row, told in zip(rows, report["rows"], strict=True):
        assert (told["row"], told["messages"]) == (row["row"], row["messages"][:-1])
        assert told["reference"] == row["messages"][-1]["content"]


def test_scores_are_those_of_the_texts(report):
    """Exact match by hand from the report's own texts; each side against the reference, never against the other."""
    for place, side in enumerate(("base", "tuned")):
        hits = [r[side]["text"].strip() == r["reference"].strip() for r in report["rows"]]
        assert report["metrics"]["exact_match"][side] == pytest.approx(sum(hits) / len(hits))
        assert [r["scores"]["exact_match"][place] for r in report["rows"]] == [float(h) for h in hits]


def test_scores_stay_in_their_range_and_intervals_hold_the_difference(report):
    """No score leaves 0 to 1; every interval holds its own difference."""
    for name, score in report["metrics"].items():
        assert score["difference"] == pytest.approx(score["tuned"] - score["base"])
        assert score["low"] <= score["difference"] <= score["high"]
        assert score["n"] == report["n"]
        if name not in ("loss", "perplexity"):
            assert 0 <= score["base"] <= 1
            assert 0 <= score["tuned"] <= 1
    assert report["metrics"]["perplexity"]["tuned"] == pytest.approx(numpy.exp(report["metrics"]["loss"]["tuned"]))


def test_training_shows_in_the_scores(report):
    """The tuned side is better where it was trained to be: loss and words in the reference's order."""
    assert report["metrics"]["loss"]["high"] < 0
    assert report["metrics"]["rougeL"]["low"] > 0


@pytest.mark.parametrize("mode", ["mixed", "in turn"])
def test_loss_equals_transformers_own(judged_run, mode):
    """Nats per reference token, base and tuned, as transformers computes them from the same labels one row at a time."""
    import dataclasses

    pair = dataclasses.replace(sides.open_trusted(judged_run), mode=mode)
    questions = [evaluate.question(pair, row) for row in dataset.read_part(judged_run, "held_out")[:5]]
    found = evaluate.losses_of(pair, questions)
    for q, (base, tuned, tokens) in zip(questions, found, strict=True):
        inputs = {"input_ids": torch.tensor([q.ids]), "labels": torch.tensor([q.labels])}
        with torch.no_grad():
            theirs = pair.adapted(**inputs).loss.item()
            with pair.adapted.disable_adapter():
                assert base / tokens == pytest.approx(pair.adapted(**inputs).loss.item(), abs=2e-5)
        assert tuned / tokens == pytest.approx(theirs, abs=2e-5)
        assert pair.tokenizer.decode([i for i in q.labels if i != template.IGNORED]) == q.reference + "<|im_end|>"


def test_base_that_is_not_the_base_is_never_judged(trained_run, tmp_path, monkeypatch):
    """When the self-test fails there is a sentence and no report."""
    folder = tmp_path / "run"
    shutil.copytree(trained_run, folder)
    honest = model.base

    def secretly_tuned(named: Model):
        """A base whose weights move once the bare probe was taken, as a leaking adapter would move them."""
        base = honest(named)
        base.register_forward_hook(lambda m, a, out: setattr(out, "logits", out.logits + 0.01 * m.calls()) or out)
        count = iter(range(10**6))
        base.calls = lambda: min(1, next(count))
        return base

    monkeypatch.setattr(model, "base", secretly_tuned)
    with pytest.raises(UserError, match="base_is_base"):
        evaluate.work(Job(folder, "evaluate"))
    assert not (folder / "report.json").exists()


def test_other_template_is_refused(trained_run, tmp_path):
    """What was trained under one prompt format is not judged under another."""
    folder = tmp_path / "run"
    shutil.copytree(trained_run, folder)
    base = jobs.read_json(folder / "base.json")
    base["templates"]["own"] = "0" * 64
    (folder / "base.json").write_text(json.dumps(base))
    with pytest.raises(UserError, match="chat template"):
        sides.open_trusted(folder)


def test_run_without_held_out_rows_or_adapter_is_a_sentence(trained_run, make_run, tmp_path):
    """Nothing to judge on, or nothing to judge: said before any model is loaded."""
    folder = tmp_path / "run"
    shutil.copytree(trained_run, folder)
    (folder / "held_out.jsonl").write_text("")
    with pytest.raises(UserError, match="no held-out rows"):
        evaluate.work(Job(folder, "evaluate"))
    with pytest.raises(UserError, match="no adapter yet"):
        sides.open_pair(sides.of_run(make_run()))


@pytest.mark.parametrize("name", ["evaluate", "merge"])
def test_stop_ends_a_judge_or_a_merge_without_a_trace(trained_run, tmp_path, monkeypatch, name):
    """Asked to stop once the model is loaded, they end as stopped and leave neither report nor merged folder."""
    from pipeline import job as inside

    folder = tmp_path / "run"
    shutil.copytree(trained_run, folder)
    honest = sides.open_pair
    monkeypatch.setattr(sides, "open_pair", lambda named: (folder / "control" / "stop").touch() or honest(named))
    assert inside._locked(Job(folder, name), "", True) == 0
    assert jobs.view(folder).jobs[name].ended == "stopped"
    assert not {"report.json", "merged", "merge.json"} & {p.name for p in folder.iterdir()}


def test_rows_longer_than_the_model_reads_are_counted_and_left_out(judged_run, tmp_path):
    """One endless row does not cost the verdict on the others, and does not vanish either."""
    folder = tmp_path / "run"
    shutil.copytree(judged_run, folder)
    rows = dataset.read_part(folder, "held_out")[:2]
    messages = [{"role": "user", "content": "the fox " * 600}, {"role": "assistant", "content": "Yes."}]
    endless = {"row": 99, "messages": messages}
    lines = [json.dumps(row) + "\n" for row in (rows[0], endless, rows[1])]
    (folder / "held_out.jsonl").write_text("".join(lines))
    evaluate.work(Job(folder, "evaluate"))
    report = jobs.read_json(folder / "report.json")
    assert (report["n"], report["left_out"]) == (2, [99])
    assert [row["row"] for row in report["rows"]] == [row["row"] for row in rows]
    assert "99" in jobs.view(folder).notes[-1]
    assert report["adapter"] == model.fingerprint(folder / "adapter")


def test_names_of_the_scores_are_the_contracts(report):
    """Those of the command line, and measures beside them that are not better when higher."""
    names = ("exact_match", "rouge1", "rouge2", "rougeL", "rougeLsum", "bleu", "chrf", "meteor", "token_f1", "loss")
    assert tuple(report["metrics"]) == (*names, "perplexity")
    assert tuple(report["measures"]) == ("length_ratio", "repetition", "stopped")


def test_measures_are_those_of_the_texts(report):
    """Counted again from the report's own rows."""
    rows = report["rows"]
    assert report["measures"]["stopped"]["tuned"] == sum(r["tuned"]["stopped"] for r in rows) / len(rows)
    said, wanted = (sum(len(text.split()) for text in texts) for texts in (
        [r["base"]["text"] for r in rows], [r["reference"] for r in rows]))  # fmt: skip
    assert report["measures"]["length_ratio"]["base"] == pytest.approx(said / wanted)
    same = sum(r["base"]["text"] == r["tuned"]["text"] for r in rows)
    assert report["identical"] == {"n": same, "of": len(rows)}


def test_the_general_pack_is_always_asked(report, tiny):
    """All twenty tasks of the bundled model with both answers; the base passes what it was made for."""
    tasks = general.tasks(str(tiny))
    assert [row["messages"] for row in report["general"]] == [task["messages"] for task in tasks]
    assert sum(row["base_passes"] for row in report["general"]) >= 18
    for row in report["general"]:
        assert row["tuned_passes"] == general.passes(row, row["tuned"]["text"])


def test_a_default_run_is_not_called_ruined(report):
    """Two epochs at the default's rate: it learned, and nothing is red."""
    found = verdict.of(report)
    assert found[1]["level"] == "good"
    assert "bad" not in {finding["level"] for finding in found}


def test_another_run_of_the_base_pays_for_its_tuned_side_only(judged_run, tmp_path, generated):
    """The base's answers are remembered in the home, those of the general pack, too."""
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        shutil.copytree(judged_run, folder)
        evaluate.work(Job(folder, "evaluate"))
    assert generated == {"base": 32, "tuned": 64}
    one, other = (jobs.read_json(folder / "report.json") for folder in folders)
    assert [row["base"]["text"] for row in one["rows"]] == [row["base"]["text"] for row in other["rows"]]
    assert one["metrics"] == other["metrics"]
    assert not (folders[0] / evaluate.ANSWERS).exists()


def test_a_killed_job_goes_on_and_repeats_no_answer(judged_run, tmp_path, home, generated):
    """Killed by the kernel's own signal once some answers are written, the next job asks for the others only."""
    folder = tmp_path / "run"
    shutil.copytree(judged_run, folder)
    (folder / "report.json").unlink()
    shutil.copy(config.ROOT / "examples" / "tiny-yoda-run" / "held_out.jsonl", folder / "held_out.jsonl")
    file = folder / evaluate.ANSWERS
    job = subprocess.Popen([sys.executable, "-m", "pipeline.evaluate", str(folder)], cwd=config.ROOT)
    try:
        while not (file.exists() and file.read_bytes().count(b"\n")):
            assert job.poll() is None, "ended before anybody could kill it"
            time.sleep(0.005)
    finally:
        job.send_signal(signal.SIGKILL)
        job.wait()
    kept = file.read_bytes().count(b"\n")
    assert not (folder / "report.json").exists()
    assert 0 < kept < 160
    evaluate.work(Job(folder, "evaluate"))
    assert generated["base"] + generated["tuned"] == 160 - kept
    report = jobs.read_json(folder / "report.json")
    assert (report["n"], len(report["rows"]), len(report["general"])) == (60, 60, 20)


def test_a_metric_of_the_hub_that_cannot_be_had_is_said_before_anything_is_loaded(judged_run, tmp_path):
    """One sentence; the wish is gone, so that the next evaluation does not fail over it."""
    folder = tmp_path / "run"
    shutil.copytree(judged_run, folder)
    (folder / evaluate.WISHES).write_text('{"metrics": ["nobody-has-this"]}')
    with pytest.raises(UserError, match="nobody-has-this"):
        evaluate.work(Job(folder, "evaluate"))
    assert not (folder / evaluate.WISHES).exists()
    assert evaluate.wishes(folder) == []


@pytest.mark.slow
def test_an_overtrained_adapter_is_called_out(make_run):
    """Thirty epochs over few rows at a high rate: the verdict is red, and says what broke."""
    folder = make_run(rows=48, epochs=30, learning_rate=2e-2)
    assert training.work(folder) == "finished"
    evaluate.work(Job(folder, "evaluate"))
    found = verdict.of(jobs.read_json(folder / "report.json"))
    assert found[0]["level"] == "bad", found
