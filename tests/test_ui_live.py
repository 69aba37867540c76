"""What a run tells is shown: its phases with the time left, warnings, the strip of answers, its checkpoints."""

import json
import shutil
import time

import gradio as gr
import pytest

from pipeline import checkpoints, jobs
from pipeline.events import View, append
from pipeline.schema import Event
from ui import kept, live, strip, texts, watch

NOW = 1_000_000.0
EVIL = "<img src=x onerror=alert(1)>"


def folded(*told):
    """The view of a training after these (kind, step, values)."""
    from pipeline.events import fold

    view = View()
    for kind, step, values in [("started", None, {"pid": 1, "from_step": 0}), *told]:
        view = fold(view, Event(kind, "train", NOW, step, values))
    return view


def doing(*told, now=NOW):
    run = {"status": "running", "name": "x", "model": "tiny-chat", "jobs": {}}
    picture = live.Picture(run, folded(*told), 10, live.TrainConfig(), None, 0, False, False, False, False, [], "")
    return live.panel(picture, now, True)


# --- phases


def test_a_phase_is_told_with_how_far_it_is():
    """Rows while they become tokens, steps while it trains and looks, and what is left of the time it told."""
    tokens = doing(("phase", None, {"phase": "tokenizing", "of": 300}), ("progress", None, {"done": 120, "of": 300}))
    assert "120 of 300" in tokens
    assert 'aria-valuenow="120"' in tokens
    training = [("phase", None, {"phase": "training", "steps": 40}), ("loss", 10, {"loss": 1.0, "eta_seconds": 90.0})]
    assert "step 10 of 40 · about 1 min" in doing(*training, now=NOW + 10)
    looking = [
        *training,
        ("phase", None, {"phase": "evaluating", "steps": 40}),
        ("progress", None, {"done": 2, "of": 5}),
    ]
    assert f"{texts.RUN_PHASES['evaluating']} · 2 of 5 · step 10 of 40" in doing(*looking)
    assert texts.SAVING_CHECKPOINT in doing(*training, ("phase", None, {"phase": "saving", "steps": 40}))
    assert texts.RUN_PHASES["saving"] in doing(
        *training, ("loss", 40, {"loss": 1.0}), ("phase", None, {"phase": "saving", "steps": 40})
    )


def test_figures_of_the_last_step_are_shown_while_it_works():
    """Learning rate and gradient norm; what is no number is left out."""
    shown = doing(("loss", 1, {"loss": 1.0, "learning_rate": 2e-4, "grad_norm": float("nan")}))
    assert "0.0002" in shown
    assert texts.FACT_RATE in shown
    assert texts.FACT_GRADIENT not in shown


def test_a_warning_looks_like_one():
    """In words, once, and not among the notes again; whatever it quotes is text."""
    view = folded(*[("note", None, {"warning": True})] * 2, ("note", None, {}))
    view = View(notes=("A note.", f"It rises {EVIL}.", f"It rises {EVIL}."), warnings=(f"It rises {EVIL}.",) * 2)
    html = live._notes(view)
    assert html.count("It rises &lt;img") == 1
    assert html.index("run-warning") < html.index("It rises") < html.index("run-notes") < html.index("A note.")


# --- watch it learn


def look(step, tuned, base="I am Bob.", reference="Bob, I am.", row=7):
    return step, [{"row": row, "prompt": "Who are you?", "reference": reference, "base": base, "tuned": tuned}]


def test_the_strip_shows_how_the_answer_changes():
    """The base's answer once, then the tuned model's in step order; the one in the data is marked."""
    html = strip.strip([look(8, "I am."), look(16, "Bob, I am.")])
    assert html.count("I am Bob.") == 1
    assert html.count('class="strip-looks"') == 1
    assert html.index("I am Bob.") < html.index("Step 8") < html.index("Step 16")
    assert html.index("Step 16") < html.index(texts.AS_WANTED)
    assert html.count(texts.AS_WANTED) == 1


def test_the_strip_holds_the_newest_looks_of_every_prompt():
    """A long run would fill the page; without samples there is none."""
    html = strip.strip([look(step, f"answer {step}.") for step in range(1, 101)])
    assert html.count('class="tuned"') == strip.SHOWN_LOOKS
    assert "answer 100." in html
    assert strip.strip([(1, look(1, "a", row=1)[1] + look(1, "b", row=2)[1])]).count('class="strip-looks"') == 2
    assert strip.strip([]) == ""


def test_an_answer_is_no_html():
    """Nor is a prompt or what is wanted; an empty answer says so."""
    html = strip.strip([(1, [{"row": 1, "prompt": EVIL, "reference": EVIL, "base": EVIL, "tuned": "  "}])])
    assert "<img" not in html
    assert html.count("&lt;img") == 3
    assert texts.NO_TEXT in html


def test_samples_of_a_run_reach_the_page(make_run):
    """As an event tells them."""
    folder = make_run()
    append(folder / "events.jsonl", Event("started", "train", time.time(), None, {"pid": 1, "from_step": 0}))
    assert watch._drawing(watch.Visitor("owner", True), folder.name)["strip"] == ""
    step, samples = look(3, "Bob, am I.")
    append(folder / "events.jsonl", Event("samples", "train", time.time(), step, {"samples": samples}))
    assert "Bob, am I." in watch._drawing(watch.Visitor("owner", True), folder.name)["strip"]


# --- checkpoints


def checkpoint(folder, step, size=1000):
    made = folder / checkpoints.FOLDER / f"checkpoint-{step}"
    made.mkdir(parents=True)
    (made / "weights").write_bytes(b"x" * size)
    checkpoints.seal(made)
    return made


def test_checkpoints_are_listed_with_the_best_and_the_one_in_use(make_run):
    """By validation loss; one that is not whole is none."""
    folder = make_run()
    for step in (4, 8, 12):
        checkpoint(folder, step)
    (checkpoint(folder, 16) / "weights").unlink()
    told = View(validation_curve=((4, 2.0), (8, 0.5), (12, 0.9), (16, 0.1)))
    found = kept.kept(folder, told, 12)
    assert [(each.step, each.loss, each.best, each.used) for each in found] == [
        (4, 2.0, False, False), (8, 0.5, True, False), (12, 0.9, False, True),
    ]  # fmt: skip
    assert [step for _, step in kept.choices(found)] == [12, 8, 4]
    html = kept.listed(found)
    assert html.count(f">{texts.IS_BEST}<") == html.count(f">{texts.IS_USED}<") == 1
    assert found[0].size >= 1000


def test_the_step_in_use_is_what_was_kept_or_chosen():
    """Training says which step it kept; choosing another one says so after it."""
    trained = folded(("finished", None, {"kept_step": 8, "last_step": 12}))
    assert live.used_step(trained) == 8
    assert live.used_step(folded(("finished", None, {"last_step": 12}))) == 12
    assert live.used_step(View()) is None


def test_checkpoints_can_be_used_only_while_nothing_works(make_run):
    """And more epochs only after the training is done."""
    folder = make_run()
    checkpoint(folder, 4)
    for kind, values in (("started", {"pid": 1, "from_step": 0}), ("phase", {"phase": "training", "steps": 9})):
        append(folder / "events.jsonl", Event(kind, "train", time.time(), None, values))
    owner = watch.Visitor("owner", True)
    drawn = watch._drawing(owner, folder.name)
    assert (drawn["checkpoints"], drawn["more"], drawn["step"]) == (True, False, [("step 4", 4)])
    append(folder / "events.jsonl", Event("finished", "train", time.time(), 9, {}))
    assert watch._drawing(owner, folder.name)["more"]
    assert not watch._drawing(watch.Visitor("guest", False), folder.name)["checkpoints"]


@pytest.mark.parametrize("more", [None, 0, -1, float("nan")])
def test_no_epochs_are_no_more_epochs(make_run, more):
    """Said before anything is changed."""
    folder = make_run()
    before = (folder / "config.json").read_text()
    with pytest.raises(gr.Error, match="More epochs"):
        watch.extend(None, None, folder.name, more)
    assert (folder / "config.json").read_text() == before


def until(state, seconds=180):
    deadline = time.monotonic() + seconds
    while not (found := state()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def test_another_checkpoint_is_used_and_training_goes_on(trained_run, home):
    """By its step; the run is judged with it then. More epochs go on where training ended."""
    folder = shutil.copytree(trained_run, home / "runs" / trained_run.name)
    (folder / "held_out.jsonl").write_text("")
    with pytest.raises(gr.Error, match="No checkpoint is chosen"):
        watch.use_checkpoint(None, None, folder.name, None)
    steps = [checkpoints.step(each) for each in checkpoints.all_of(folder)]
    other = next(step for step in steps if step != live.look(folder).train.values.get("kept_step", steps[-1]))
    watch.use_checkpoint(None, None, folder.name, float(other))
    until(lambda: not jobs.working(folder))
    assert next(each.step for each in live.look(folder).checkpoints if each.used) == other
    watch.extend(None, None, folder.name, 1)
    assert json.loads((folder / "config.json").read_text())["epochs"] == 3
    until(lambda: jobs.view(folder).jobs["train"].step > steps[-1])
    watch.cancel(None, None, folder.name)
