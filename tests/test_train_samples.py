"""Watching a model learn: the answers are those of each side, and the run is the same to the last bit without them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipeline import events, jobs, model, samples, template, train
from pipeline.job import Job
from pipeline.schema import Model

SETTINGS = {"max_steps": 2, "batch_size": 4, "eval_steps": 1, "dropout": 0.1}


def work(folder: Path) -> None:
    job = Job(folder, "train")
    job.emit("started", pid=0, from_step=0)
    ending, values = train.work(job)
    job.emit(ending, **values)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = (folder / "adapter").glob("*.safetensors")
    return load_file(file)


@pytest.mark.parametrize("method", ["lora", "prefix-tuning", "last-layers"])
def test_a_run_is_the_same_watched_or_not(make_run, method):
    """Losses and weights are equal to the last bit, for an adapter, for virtual tokens, and for the base's own weights."""
    watched, alone = (make_run(rows=8, method=method, samples=count, **SETTINGS) for count in (2, 0))
    for folder in (watched, alone):
        work(folder)
    assert jobs.view(watched).curve == jobs.view(alone).curve
    assert jobs.view(watched).validation_curve == jobs.view(alone).validation_curve
    ours, theirs = weights(watched), weights(alone)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert [step for step, _ in jobs.view(watched).samples] == [1, 2]
    assert jobs.view(alone).samples == ()


def test_samples_are_the_answers_of_each_side(trained_run, tiny):
    """At every look the same few validation rows: the base's answer stays, the tuned one comes to be the reference."""
    told = jobs.view(trained_run)
    assert [step for step, _ in told.samples] == [step for step, _ in told.validation_curve]
    assert len({tuple((a["row"], a["prompt"], a["base"]) for a in answers) for _, answers in told.samples}) == 1
    first, last = told.samples[0][1], told.samples[-1][1]
    assert len(last) == jobs.load(trained_run).config.samples == 3
    assert all(a["base"] == a["prompt"].removeprefix("Say this: ") != a["reference"] for a in last)
    right = [sum(a["tuned"] == a["reference"] for a in answers) for answers in (first, last)]
    assert right[0] < right[1]


def test_asking_leaves_no_trace(tiny):
    """Mode, generation settings and random numbers are afterwards what they were before, even when it fails."""
    named = Model(str(tiny))
    tokenizer, made = model.tokenizer_and_template(named)
    base = model.base(named)
    base.train()

    def draw(*_) -> None:
        torch.rand(1)

    base.register_forward_pre_hook(draw)
    before, settings, random = base.generation_config, base.generation_config.to_dict(), torch.random.get_rng_state()
    prompts = [
        template.prompt_ids(tokenizer, made, [{"role": "user", "content": text}]) for text in ("Hi", "Say this: A cat.")
    ]
    found = samples.answers(base, tokenizer, made, prompts, 4)
    assert len(found) == 2
    assert all(len(answer.ids) <= 4 and (answer.stopped or len(answer.ids) == 4) for answer in found)
    with pytest.raises(TypeError):
        samples.answers(base, tokenizer, made, [None], 4)
    assert base.training
    assert base.generation_config is before
    assert base.generation_config.to_dict() == settings
    assert torch.equal(torch.random.get_rng_state(), random)


def test_questions_are_spread_over_the_rows_that_fit(tiny):
    """Evenly, in file order, without those whose prompt is too long; all of them where there are few."""
    tokenizer, made = model.tokenizer_and_template(Model(str(tiny)))
    rows = [
        {
            "row": n,
            "messages": [{"role": "user", "content": "word " * (n % 10 + 1)}, {"role": "assistant", "content": "a"}],
        }
        for n in range(1, 41)
    ]
    rows[0]["messages"][0]["content"] = "word " * 500
    picked = [q.row["row"] for q in samples.chosen(rows, tokenizer, made, 100, 4)]
    assert picked == [2, 11, 21, 31]
    assert [q.row["row"] for q in samples.chosen(rows[:3], tokenizer, made, 100, 4)] == [2, 3]
    assert samples.chosen((), tokenizer, made, 100, 4) == []


def test_plain_text_is_gone_on_with(tiny):
    """Its beginning is the prompt, what follows the reference."""
    tokenizer, made = model.tokenizer_and_template(Model(str(tiny)))
    question = samples.question(
        {"row": 1, "messages": [], "text": "The fox finds the ring. The dog sees it."}, tokenizer, made
    )
    assert question.prompt + question.reference == "The fox finds the ring. The dog sees it."
    assert question.prompt
    assert question.reference


def test_long_texts_are_cut(tiny):
    """An event holds 400 characters of each."""
    tokenizer, made = model.tokenizer_and_template(Model(str(tiny)))
    row = {
        "row": 1,
        "messages": [{"role": "user", "content": "cat " * 150}, {"role": "assistant", "content": "dog " * 150}],
    }
    base = model.base(Model(str(tiny)))
    watched = samples.Watch([samples.question(row, tokenizer, made)], base, tokenizer, made)
    (told,) = watched.look(base, tokenizer, made, "float32")
    assert (len(told["prompt"]), len(told["reference"])) == (400, 400)
    assert told["tuned"] == told["base"]


def test_broken_answers_are_told_after_training(make_run):
    """A model that was ruined says so in a note that is a warning, and the run is finished all the same."""
    folder = make_run(rows=8, max_steps=3, learning_rate=0.5, scheduler="constant", samples=0, max_grad_norm=0.0)
    work(folder)
    told = jobs.view(folder)
    assert told.jobs["train"].ended == "finished"
    assert any("Look at the answers before you trust this model" in text for text in told.warnings)
    assert events.since(folder / "events.jsonl", 0)[0][-1].kind == "finished"
