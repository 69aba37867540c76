"""Many prompts at once say what each says alone; what was answered is not asked again, whatever ended the job."""

import collections
import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from pipeline import (
    answering,
    dataset,
    evaluate,
    evaluate_verb,
    events,
    example,
    generate,
    losses,
    questions,
    remembered,
    sides,
)  # fmt: skip
from pipeline.answering import Asked
from pipeline.conversations import split_answer
from pipeline.errors import UserError
from pipeline.job import Job, Stopped
from pipeline.schema import Decoding
from pipeline.template import IGNORED, prompt_ids

DECODING = Decoding(max_new_tokens=24)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The run that ships, in a home of this file's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNING_FORK_HOME", str(tmp_path_factory.mktemp("answering") / "home"))
        yield example.install()


@pytest.fixture(scope="module")
def pair(run):
    return sides.open_trusted(run)


@pytest.fixture(scope="module")
def asked(run, pair):
    """Six held-out prompts of several lengths."""
    rows = dataset.read_part(run, "held_out")[:6]
    prompts = [prompt_ids(pair.tokenizer, pair.template, split_answer({"messages": r["messages"]})[0]) for r in rows]
    return [Asked(str(n), {"base": ids, "tuned": ids}) for n, ids in enumerate(prompts)]


@pytest.fixture
def generated(monkeypatch):
    """How many answers each column was asked for, and the batches' sizes."""
    honest, told = generate.of_columns, collections.Counter()

    def counting(pair, prompts, *rest):
        told.update({column: len(each) for column, each in prompts.items()})
        told["largest"] = max(told["largest"], sum(map(len, prompts.values())))
        return honest(pair, prompts, *rest)

    monkeypatch.setattr(generate, "of_columns", counting)
    return told


def ask(run, pair, asked, file, decoding=DECODING):
    return answering.all_of(Job(run, "evaluate"), pair, sides.of_run(run), asked, decoding, file)


def said(found):
    """Answers without their times."""
    return [{c: (a.text, a.tokens, a.stopped) for c, a in each.items()} for each in found]


@pytest.mark.parametrize("mode", ["mixed", "in turn"])
def test_the_answers_are_those_of_one_at_a_time(run, pair, asked, tmp_path, mode):
    """Token for token."""
    pair = dataclasses.replace(pair, mode=mode)
    found = ask(run, pair, asked, tmp_path / "answers.jsonl")
    alone = [generate.of_columns(pair, {c: [p] for c, p in q.prompts.items()}, DECODING) for q in asked]
    assert said(found) == said([{c: a[0] for c, a in each.items()} for each in alone])


def test_a_long_prompt_shortens_no_others_answer(run, pair, asked, tmp_path):
    """What a prompt leaves of the context is its own matter, also in one batch with others."""
    ids = (asked[0].prompts["base"] * 100)[-(sides.context(pair) - 3) :]
    found = ask(run, pair, [asked[0], Asked("long", {"base": ids, "tuned": ids})], tmp_path / "answers.jsonl")
    assert found[1]["tuned"].tokens <= 3 < found[0]["tuned"].tokens
    assert found[0]["tuned"].stopped


def test_another_job_asks_the_tuned_side_only(run, pair, asked, tmp_path, generated):
    """The base's answers are remembered; under other settings they are others."""
    first = ask(run, pair, asked, tmp_path / "one.jsonl")
    assert (generated["base"], generated["tuned"]) == (6, 6)
    assert said(ask(run, pair, asked, tmp_path / "two.jsonl")) == said(first)
    assert (generated["base"], generated["tuned"]) == (6, 12)
    ask(run, pair, asked, tmp_path / "three.jsonl", Decoding(max_new_tokens=5))
    assert (generated["base"], generated["tuned"]) == (12, 18)


def test_what_stands_in_the_file_is_not_asked_again(run, pair, asked, tmp_path, generated):
    """A job that was killed in the middle of a line goes on with what is missing, and with nothing else."""
    file = tmp_path / "answers.jsonl"
    first = ask(run, pair, asked, file)
    lines = file.read_bytes().splitlines(keepends=True)
    assert len(lines) == 12
    assert set(json.loads(lines[0])) == {"name", "column", "key", "answer"}
    file.write_bytes(b"".join(lines[:8]) + lines[8][:30])
    remembered.file().unlink()
    generated.clear()
    assert said(ask(run, pair, asked, file)) == said(first)
    assert generated["base"] + generated["tuned"] == 4
    assert sorted(file.read_bytes().splitlines(keepends=True)[:8]) == sorted(lines[:8])


def test_an_answer_of_another_adapter_is_not_used(run, pair, asked, tmp_path, generated):
    """Trained further, the tuned side is asked again; the base is not."""
    file = tmp_path / "answers.jsonl"
    ask(run, pair, asked[:3], file)
    settings = run / "adapter" / "adapter_config.json"
    before = settings.read_text()
    settings.write_text(before + "\n")
    generated.clear()
    ask(run, pair, asked[:3], file)
    settings.write_text(before)
    assert (generated["base"], generated["tuned"]) == (0, 3)


def test_a_stop_keeps_what_ended_and_no_half_answer(run, pair, asked, tmp_path, monkeypatch, generated):
    """Stopped after the first batch, it ends as stopped; the next job asks for the rest only, and says the same."""
    monkeypatch.setattr(answering, "MOST_ROWS", 4)
    monkeypatch.setattr(answering, "STOP_POLL_SECONDS", 0.005)
    file, job, stop = tmp_path / "answers.jsonl", Job(run, "evaluate"), run / "control" / "stop"
    stop.parent.mkdir(exist_ok=True)
    monkeypatch.setattr(job, "emit", lambda kind, *rest, **values: kind == "progress" and stop.touch())
    with pytest.raises(Stopped):
        answering.all_of(job, pair, sides.of_run(run), asked, DECODING, file)
    stop.unlink()
    kept = len(file.read_text().splitlines())
    assert 2 <= kept < 12
    generated.clear()
    found = ask(run, pair, asked, file)
    assert generated["base"] + generated["tuned"] == 12 - kept
    assert said(found) == said(ask(run, pair, asked, tmp_path / "again.jsonl"))


def test_a_batch_that_does_not_fit_is_halved(run, pair, asked, tmp_path, generated):
    """Memory runs out above six rows: smaller batches, the same answers."""

    def narrow(module, arguments, keywords):
        rows = keywords.get("input_ids", arguments[0] if arguments else None)
        if rows is not None and len(rows) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    whole = ask(run, pair, asked, tmp_path / "whole.jsonl")
    remembered.file().unlink()
    hook = pair.adapted.get_base_model().register_forward_pre_hook(narrow, with_kwargs=True)
    try:
        assert said(ask(run, pair, asked, tmp_path / "halved.jsonl")) == said(whole)
    finally:
        hook.remove()
    assert generated["largest"] > 6


def test_progress_counts_questions_and_says_how_long(run, pair, asked, tmp_path, monkeypatch):
    """Steps rise to all of them, resumed ones included; the last has nothing left."""
    monkeypatch.setattr(answering, "MOST_ROWS", 4)
    file = run / "events.jsonl"
    before = file.stat().st_size
    ask(run, pair, asked, tmp_path / "answers.jsonl")
    told = [event for event in events.since(file, before)[0] if event.kind in ("phase", "progress")]
    assert told[0].values == {"phase": "answering", "steps": 6}
    steps = [event.step for event in told[1:]]
    assert steps == sorted(set(steps))
    assert steps[-1] == 6
    assert told[-1].values["eta_seconds"] == 0
    assert all(event.values["of"] == 6 and event.values["done"] == event.step for event in told[1:])


def test_a_prompt_without_room_is_refused_with_numbers(run, pair, asked, tmp_path):
    """It is longer than the model reads."""
    most = sides.context(pair)
    endless = Asked("endless", dict.fromkeys(("base", "tuned"), asked[0].prompts["base"] * 100))
    with pytest.raises(UserError, match=str(most)):
        ask(run, pair, [endless], tmp_path / "answers.jsonl")


def test_a_batch_is_bounded_by_tokens_not_by_rows_alone(pair):
    """Half the keys and values per token, twice the tokens; long prompts go in smaller batches."""
    room = answering.tokens_at_once(pair)
    assert room > 10_000
    questions = [
        answering._Open(Asked(str(n), {"tuned": [1] * 100}), {}, Decoding(max_new_tokens=100), ("tuned",))
        for n in range(50)
    ]
    assert len(answering._next(questions, 1000)) == 5
    assert len(answering._next(questions, 1)) == 1
    assert len(answering._next(questions, 10**9)) == 50


def test_a_state_space_model_has_room_too(pair):
    """It has no attention heads to count."""
    from transformers import MambaConfig, MambaForCausalLM

    small = MambaForCausalLM(MambaConfig(vocab_size=16, hidden_size=8, num_hidden_layers=1, state_size=4))
    assert answering.tokens_at_once(dataclasses.replace(pair, adapted=small)) > 0


def test_the_loss_needs_scores_of_the_reference_only(run, pair, monkeypatch):
    """A long prompt gets none; where both sides are too large they go one after the other, with the same sums."""
    asked = [questions.question(pair, dataset.read_part(run, "held_out")[0])]
    seen = []
    told = pair.adapted.get_output_embeddings().register_forward_hook(lambda m, i, out: seen.append(out.shape[:2]))
    together = losses.losses_of(pair, asked)
    monkeypatch.setattr(losses, "LOGITS_AT_ONCE", 1)
    apart = losses.losses_of(pair, asked)
    told.remove()
    length = (
        next(n for n, label in enumerate(reversed(asked[0].labels), 1) if set(asked[0].labels[:-n]) == {IGNORED}) + 1
    )
    assert seen == [(2, length), (1, length), (1, length)]
    assert apart == pytest.approx(together, abs=1e-4)


def test_thoughts_are_no_answer(pair, asked):
    """What is scored is said after them; one that never ends is no answer."""
    told = [
        generate.Answer(text, 1, 0.0, True) for text in ("<think>\nTwo\n</think>\n\nFour.", "<think>Two and", "Four.")
    ]
    said = [evaluate.spoken(pair, asked[0], {"base": each, "tuned": told[2]}) for each in told]
    assert said == [{"base": text, "tuned": "Four."} for text in ("Four.", "", "Four.")]


def test_a_stopped_evaluation_has_no_result(run, tmp_path):
    """An older report stays, and is not told as its result; one from before the measures is no error."""
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    assert evaluate_verb.fresh(folder)["n"] == 60
    job = Job(folder, "evaluate")
    job.emit("started", pid=0)
    job.emit("stopped")
    assert (folder / "report.json").exists()
    assert evaluate_verb.fresh(folder) is None
