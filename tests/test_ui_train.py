"""The Train tab: the form becomes a run, the run's folder becomes what is shown, each button does what it says."""

import asyncio
import json
import shutil
import threading
import time

import gradio as gr
import pytest
from filelock import FileLock

from pipeline import catalogue, config, counting, dataset, inspection, jobs, uploads
from pipeline.errors import UserError
from pipeline.events import View, append
from pipeline.job import Job
from pipeline.methods import METHODS
from pipeline.schema import PARTS, Event, Source, TrainConfig, Visitor
from ui import children, data, form, live, plan, saved, settings, start, texts, train, watch

OWNER, GUEST = Visitor("owner", True), Visitor("guest", False)
CHOICE = {"example": "tiny-yoda"}
QUICK = {"max_steps": 3, "epochs": 1.0, "batch_size": 8, "learning_rate": 3e-3, "eval_steps": 1, "save_steps": 1}


def tell(folder, kind, step=None, text="", job="train", **values):
    append(folder / "events.jsonl", Event(kind, job, time.time(), step, values, text))


def told_run(folder, ending="", steps=10, done=3, **values):
    """The events of a training that got so far, and how it ended."""
    tell(folder, "started", pid=1, from_step=0)
    tell(folder, "phase", phase="training", steps=steps)
    for step in range(1, done + 1):
        tell(folder, "loss", step, loss=2.0 / step, tokens_per_second=100.0, eta_seconds=5.0, memory_bytes=2**30)
    if ending:
        tell(folder, ending, **values)
    return folder


def shown(folder):
    """What the page would show of a run, by the name of its component."""
    names = [*watch.DRAWN, "table", "timer", "seen"]
    return dict(zip(names, watch._draw(OWNER, folder.name), strict=True))


@pytest.fixture
def helpers(home):
    """The page's reader and counter, started anew: they live in the home they were started with."""
    for helper in (children.READER, children.COUNTER):
        helper.end()
    yield
    for helper in (children.READER, children.COUNTER):
        helper.end()


def begin(told=None, **asked):
    """Every update that a start sends; those before a refusal are in `told`."""
    told = [] if told is None else told

    async def gather():
        given = {"choice": CHOICE, "system": None, "model": "tiny-chat", "name": None, **QUICK, **asked}
        async for update in start.start(None, None, **given):
            told.append(update)

    asyncio.run(gather())
    return told


def skipped(update):
    return isinstance(update, dict) and set(update) == {"__type__"}


def buttons(folder):
    found = shown(folder)
    return {name: found[name].value for name in watch.BUTTONS if found[name].visible}


# --- the form


def test_every_setting_is_drawn_once_on_the_two_tabs():
    """No setting is out of reach, and none can be set in two places that disagree."""
    with gr.Blocks(analytics_enabled=False):
        here, there = train.draw().fields, data.draw().fields
    assert not here.keys() & there.keys()
    assert here.keys() | there.keys() == set(settings.FIELDS)


def test_every_group_of_settings_has_a_heading():
    """A new group without one would break the page."""
    groups = {wish.group for wish in train.settings_of(TrainConfig).values()}
    assert groups == texts.SETTING_GROUPS.keys()


def test_every_offered_model_can_be_chosen():
    """By its id, with a line that says what it weighs."""
    assert [name for _, name in form.models().choices] == [offer.id for offer in catalogue.offers()]


@pytest.mark.parametrize("model", [None, "somebody/else", *(offer.id for offer in catalogue.offers())])
@pytest.mark.parametrize("preset", settings.PRESETS)
def test_a_preset_is_a_valid_config(preset, model):
    """For every model and method; and the bundled one's balanced preset is the example's own settings."""
    for method in METHODS:
        values = settings.preset_values(preset, model, method)
        assert values.keys() == set(settings.PRESET_FIELDS)
        TrainConfig(**values)
        assert values["learning_rate"] > 0
    if (preset, model) == ("balanced", "tiny-chat"):
        example = config.read(config.ROOT / "examples" / "tiny-yoda.json").config
        values = settings.preset_values(preset, model)
        assert values == {name: getattr(example, name) for name in values}


def test_a_preset_fills_nothing_where_settings_were_changed_by_hand():
    """No preset is chosen then; another model must not overwrite them."""
    assert all(map(skipped, settings.fill(None, None, None, "tiny-chat", "lora")))
    assert settings.fill(None, None, "quick", "tiny-chat", "lora")[0] == 1.0


@pytest.mark.parametrize(
    ("method", "model", "rate"),
    [
        ("lora", None, 2e-4), ("full", None, 2e-5), ("prompt-tuning", None, 3e-2),
        ("lora", "tiny-chat", 3e-3), ("full", "tiny-chat", 3e-4), ("prompt-tuning", "tiny-chat", 3e-2),
    ],
)  # fmt: skip
def test_a_method_brings_its_usual_learning_rate(method, model, rate):
    """A model that wants faster steps wants them in full fine-tuning as well; virtual tokens are not its layers."""
    assert settings.suit(None, None, model, method) == pytest.approx(rate)


def test_a_method_shows_only_what_it_looks_at():
    """Its own sentence, its own settings; what can't be merged says so before anything is trained."""
    for name, method in METHODS.items():
        said, *updates = settings.show_method(None, None, name)
        assert method.sentence in said
        assert method.unmerged in said
        seen = {field for field, update in zip(settings.OWN, updates, strict=True) if update["visible"]}
        assert seen == set(method.uses)


def test_what_a_method_does_not_look_at_refuses_nothing():
    """A field that was filled in for another method is hidden, and must not stand in the way."""
    left = {"method": "lora", "new_tokens": "<note>", "virtual_tokens": 0, "rank": 4}
    assert settings.read(left) == TrainConfig(rank=4)
    with pytest.raises(UserError, match="virtual_tokens"):
        settings.read({**left, "method": "prompt-tuning"})


# --- what is shown


def unpacked(text):
    return [(int(step), float(loss)) for step, _, loss in (point.partition(" ") for point in text.split(";"))]


def test_thinning_keeps_the_ends_and_the_extremes():
    """A spike of one step must not vanish from a long curve."""
    points = [(step, 1.0) for step in range(5000)]
    points[1234], points[4321] = (1234, 9.0), (4321, -3.0)
    thin = unpacked(live.curve(View(curve=tuple(points)))["train"])
    assert len(thin) <= live.POINTS
    assert thin == sorted(thin)
    assert {points[0], points[-1], points[1234], points[4321]} <= set(thin)
    few = points[: live.POINTS]
    assert unpacked(live.curve(View(curve=tuple(few)))["train"]) == few


def test_a_curve_is_told_in_words_and_holds_numbers_only():
    """A screen reader gets the last values; NaN is not JSON."""
    drawn = live.curve(View(curve=((1, 2.0), (2, float("nan")), (3, 0.5)), validation_curve=((2, 0.75),)))
    assert drawn["train"] == "1 2;3 0.5"
    assert "0.500 at step 3" in drawn["said"]
    assert "0.750 at step 2" in drawn["said"]
    json.dumps(drawn, allow_nan=False)
    assert live.curve(None)["said"] == texts.CURVE_EMPTY


def test_nothing_from_a_run_is_html(make_run):
    """Names, notes, failures and log lines come from data, models and libraries."""
    evil = "<img src=x onerror=alert(1)>"
    folder = told_run(make_run(), "failed", text=evil)
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "name": evil, "model": evil}))
    tell(folder, "note", text=evil)
    (folder / "log.txt").write_text(evil)
    found = shown(folder)
    assert "<img" not in found["panel"] + found["table"]
    assert found["panel"].count("&lt;img") == 5
    assert "<img" not in live.damaged(evil)


SCORE = {"base": 0.4, "tuned": 0.5, "difference": 0.1}


@pytest.mark.parametrize(
    ("name", "low", "high", "wording"),
    [
        ("rougeL", 0.05, 0.2, "Better on 60 held-out rows it has never seen, by: word order"),
        ("rougeL", -0.2, -0.05, "Worse on 60 held-out rows it has never seen, by: word order"),
        ("rougeL", -0.05, 0.2, "No clear difference on 60 held-out rows"),
        ("loss", -0.2, -0.05, "Better on 60 held-out rows it has never seen, by: surprise"),
        ("loss", 0.05, 0.2, "Worse on 60 held-out rows it has never seen, by: surprise"),
    ],
)
def test_the_verdict_is_the_intervals(name, low, high, wording):
    """Better only if the whole interval says so; a loss is better when it falls."""
    said = live.verdict({"n": 60, "metrics": {name: {**SCORE, "low": low, "high": high}}})
    assert wording in said


def test_measures_that_disagree_are_a_mixed_verdict():
    """One better and one worse settle nothing; both are named, whichever of them is shown as a figure."""
    better, worse = {**SCORE, "low": 0.05, "high": 0.2}, {**SCORE, "low": -0.3, "high": -0.1}
    kind, said = live.conclusion({"n": 14, "metrics": {"loss": worse, "rouge1": worse, "rouge2": better}})
    assert (kind, said.partition(" on ")[0]) == ("plain", "Mixed")
    assert "better by surprise at the reference, word order; worse by words in common" in said


def test_exact_answers_judge_only_where_there_are_any():
    """In free text hardly an answer equals the reference; then the overlap decides."""
    none = {"base": 0.0, "tuned": 0.01, "difference": 0.01, "low": -0.1, "high": 0.1}
    said = live.verdict({"n": 9, "metrics": {"exact_match": none, "rougeL": {**SCORE, "low": 0.05, "high": 0.2}}})
    assert "Better on 9" in said
    assert texts.SCORE_NAMES["exact_match"] not in said


@pytest.mark.parametrize(
    ("ending", "values", "sentence", "offered"),
    [
        ("", {}, "Resume goes on from step 0", {"start", "resume", "reuse", "script"}),
        ("stopped", {"kept": True}, texts.STOPPED_KEPT, {"start", "resume", "reuse", "script"}),
        ("failed", {"text": "The loss overflowed."}, "The loss overflowed.", {"start", "resume", "reuse", "script"}),
        ("finished", {}, texts.INTERRUPTED_JUDGING, {"start", "resume", "reuse", "script"}),
    ],
)
def test_a_run_says_what_came_of_it_and_offers_what_makes_sense(make_run, ending, values, sentence, offered):
    """No Stop for what does not run, no Resume for what is done."""
    folder = told_run(make_run(), ending, **values)
    assert sentence in shown(folder)["panel"]
    assert buttons(folder).keys() == offered


def test_a_run_that_never_began_can_be_started(make_run):
    """And one whose training is done can be judged again."""
    new = make_run()
    assert buttons(new)["resume"] == texts.START_IT
    assert buttons(told_run(make_run(), "finished"))["resume"] == texts.JUDGE_AGAIN


def test_a_finished_run_leads_to_compare(trained_run, home):
    """Its adapter is there; without held-out rows there is nothing left to resume."""
    folder = home / "runs" / trained_run.name
    shutil.copytree(trained_run, folder)
    (folder / "held_out.jsonl").write_text("")
    assert buttons(folder).keys() == {"start", "reuse", "script", "compare"}
    assert texts.NOT_JUDGED in shown(folder)["panel"]


def test_a_guest_sees_no_button_and_no_log(make_run):
    """The log may name places of the machine it ran on."""
    folder = told_run(make_run(), "failed", text="It broke.")
    (folder / "log.txt").write_text("/home/somebody/secret\n")
    jobs.share(folder, True)
    found = watch._drawing(GUEST, folder.name)
    assert "It broke." in found["panel"]
    assert "secret" not in found["panel"]
    assert "secret" in watch._drawing(OWNER, folder.name)["panel"]
    assert {name for name in watch.BUTTONS if found[name]} == {"start"}


def test_a_guest_sees_no_rows_of_a_shared_run(make_run):
    """What the model was asked while it learned are validation rows: the owner's, shared or not."""
    folder = make_run()
    jobs.share(folder, True)
    job = Job(folder, "train")
    job.emit("started", pid=0, from_step=0)
    answers = [{"row": 1, "prompt": "my secret row", "reference": "r", "base": "b", "tuned": "t"}]
    job.emit("samples", step=1, samples=answers)
    assert "my secret row" in watch._drawing(OWNER, folder.name)["strip"]
    assert "my secret row" not in str(watch._drawing(GUEST, folder.name))


def test_a_guest_starts_nothing(make_run, monkeypatch):
    """Every verb that changes something is refused with a sentence."""
    monkeypatch.setenv("SPACE_ID", "somebody/space")
    folder = make_run()
    jobs.share(folder, True)
    for handler in (watch.stop, watch.cancel, watch.resume, saved.reuse, saved.script):
        with pytest.raises(gr.Error, match="Only the owner may"):
            handler(None, None, folder.name)
    for handler in (watch.use_checkpoint, watch.extend):
        with pytest.raises(gr.Error, match="Only the owner may"):
            handler(None, None, folder.name, 1)
    with pytest.raises(gr.Error, match="Only the owner may train"):
        begin()


def test_no_run_and_a_damaged_one_are_told_in_the_panel(make_run):
    """They are looked at every second: a message each time would bury the page."""
    assert texts.NOTHING_TRAINED in watch._drawing(OWNER, None)["panel"]
    assert "no run" in watch._drawing(OWNER, "../../etc")["panel"]
    folder = make_run()
    (folder / "config.json").write_text("{")
    assert "damaged" in shown(folder)["panel"]


def test_a_log_is_told_by_its_last_line_that_says_something(tmp_path):
    """Not by the line of source that Python prints under a warning, nor by the library's path before it."""
    log = tmp_path / "log.txt"
    assert live.last_line(log) == ""
    log.write_text("first\n" * 5000 + "/a/b.py:12: FutureWarning: old\n  warnings.warn(\n\n")
    assert live.last_line(log) == "FutureWarning: old"


@pytest.fixture
def at_once(monkeypatch):
    """Every drawing is made anew."""
    monkeypatch.setattr(watch, "LATELY_SECONDS", 0.0)


def test_a_tick_sends_only_what_moved(make_run, at_once):
    """Nothing new: nothing sent. A step: the panel and the curve. More than that: a pulse, and the page catches up."""
    folder = told_run(make_run())
    with FileLock(folder / "lock"):
        seen = shown(folder)["seen"]
        panel, curve, seen = watch.tick(None, None, folder.name, seen)
        assert skipped(panel)
        assert skipped(curve)
        tell(folder, "loss", step=4, loss=1.25)
        panel, curve, seen = watch.tick(None, None, folder.name, seen)
        assert "1.250" in panel
        assert curve["train"].endswith("4 1.25")
        assert "pulse" not in curve
        (folder / "control" / "stop").touch()
        *_, curve, seen = watch.tick(None, None, folder.name, seen)
        assert curve["pulse"]
        caught_up = dict(zip(watch.DRAWN, watch.catch_up(None, None, folder.name, seen), strict=False))
        assert caught_up["stop"].value == texts.STOPPING
        assert skipped(caught_up["start"])


def test_the_timer_stops_once_nothing_works(make_run, at_once):
    """After one more look at all of it: nothing new is sent then."""
    folder = told_run(make_run(), "stopped", kept=True)
    first = watch.catch_up(None, None, folder.name, None)
    assert not any(map(skipped, first))
    *_, curve, seen = watch.tick(None, None, folder.name, first[-2])
    assert curve["pulse"], "nothing works: it is asked for the end of the timer"
    again = watch.catch_up(None, None, folder.name, seen)
    assert again[-3].active is False
    assert all(map(skipped, [*again[:-3], again[-1]]))
    tell(folder, "note", text="Something new.")
    changed = dict(zip(watch.DRAWN, watch.catch_up(None, None, folder.name, again[-2]), strict=False))
    assert "Something new." in changed["panel"]
    assert skipped(changed["curve"])


def test_all_who_watch_a_run_share_one_drawing(make_run, monkeypatch):
    """For a moment; whoever does something to the run sees it as it is then, and so does everybody else."""
    monkeypatch.setattr(watch, "LATELY_SECONDS", 60.0)
    folder = told_run(make_run())
    drawn = watch._shared(OWNER, folder.name)[0]
    assert watch._shared(OWNER, folder.name)[0] is drawn
    assert watch._shared(GUEST, folder.name)[0] is not drawn
    tell(folder, "note", text="Something new.")
    assert "Something new." in shown(folder)["panel"]
    assert "Something new." in watch._shared(OWNER, folder.name)[0]["panel"]
    last = watch._shared(OWNER, folder.name)[0]
    monkeypatch.setattr(watch, "LATELY_SECONDS", 0.0)
    assert watch._shared(OWNER, folder.name)[0] is not last


# --- the buttons, for real


def wait(folder, *states, seconds=120):
    deadline = time.monotonic() + seconds
    while jobs.status(folder) not in states:
        assert time.monotonic() < deadline, jobs.summary(folder)
        time.sleep(0.1)


def test_start_stop_and_resume(home, helpers):
    """The form becomes a run that is chosen at the top and works; stop keeps, resume goes on from there to the end."""
    update = begin(name="my <run>", max_steps=400)[-1][0]
    folder = home / "runs" / update.value
    config = json.loads((folder / "config.json").read_text())
    assert (config["name"], config["model"], config["max_steps"]) == ("my <run>", "tiny-chat", 400)
    assert buttons(folder).keys() == {"start", "stop", "cancel", "reuse", "script"}
    while not jobs.view(folder).curve:
        time.sleep(0.1)
    drawn = shown(folder)
    assert "of 48" in drawn["panel"]
    assert drawn["curve"]["train"]
    assert drawn["timer"].active
    watch.stop(None, None, folder.name)
    wait(folder, "stopped")
    assert buttons(folder)["resume"].startswith("Resume from step")
    assert "compare" in buttons(folder)
    watch.resume(None, None, folder.name)
    assert "cancel" in buttons(folder)
    watch.cancel(None, None, folder.name)
    assert jobs.status(folder) == "stopped"
    assert "Cancelled" in shown(folder)["panel"]


def test_a_second_click_starts_no_second_run(home):
    """While one is being started, another start is refused; nothing is left behind."""
    with start._starting, pytest.raises(gr.Error, match="being started"):
        begin()
    assert not list(home.glob("runs/*"))


def many(folder, rows, answer="It was {i}."):
    """More rows than are counted at a look."""
    file = folder / "many.jsonl"
    lines = ({"prompt": f"What was number {i}?", "completion": answer.format(i=i)} for i in range(rows))
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {"upload": uploads.keep(file)}


def test_every_row_is_counted_before_a_start_where_only_a_sample_was(home, helpers, tmp_path, tiny):
    """With progress; a row that the sample did not hold refuses the run, and no folder is made."""
    choice = many(tmp_path, 2200)
    file = uploads.find(choice["upload"])
    prepared = dataset.prepare(Source(str(file)))
    rows = [row for part in PARTS for row in prepared.part(part)]
    drawn = {row["row"] for row in counting.sample(rows, inspection.SAMPLE_SEED)}
    unseen = next(row["row"] for row in prepared.train if row["row"] not in drawn)
    lines = file.read_text().splitlines()
    lines[unseen - 1] = lines[unseen - 1].replace("It was", "It <|im_end|> was")
    file.write_text("\n".join(lines))
    assert plan.inspected(Source(str(file)), str(tiny), TrainConfig())["stops"] is None
    told: list = []
    with pytest.raises(gr.Error, match=rf"Row {unseen}: .*im_end"):
        begin(told, choice=choice)
    assert not list(home.glob("runs/*"))
    assert texts.CHECKING_ROWS in str(told[0][1])
    assert [button.visible for _, _, button in told][-1] is False


def test_a_check_is_stopped_by_whoever_waits_for_it(home, helpers, tmp_path):
    """What was counted is remembered; no run is made."""
    start._checking[""] = threading.Event()
    start.halt(None, None)
    with pytest.raises(gr.Error, match="Stopped"):
        begin(choice=many(tmp_path, 2200))
    assert not start._checking
    assert not list(home.glob("runs/*"))


def test_a_stop_while_the_run_is_made_leaves_none(home, monkeypatch):
    """It came after the check and before the training: nothing is trained, no folder stays."""
    made = children.READER.ask

    def making(verb, *arguments, **values):
        start.halt(None, None)
        return made(verb, *arguments, **values)

    monkeypatch.setattr(children.READER, "ask", making)
    with pytest.raises(gr.Error, match=texts.STOPPED_BEFORE):
        begin()
    assert not list(home.glob("runs/*"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": ""}, "No model is chosen"),
        ({"model": "no such thing"}, "not a Hub id"),
        ({"choice": {"upload": "0" * 32}}, "upload"),
        ({"epochs": None}, "Epochs is empty"),
        ({"micro_batch": 3}, "does not divide"),
        ({"method": "full", "memory": "4-bit"}, "can't be combined"),
        ({"method": "continued-pretraining"}, "reads on in plain text"),
    ],
)
def test_what_cannot_be_started_is_said(home, changes, sentence):
    """In a sentence, before any run exists; the next start is not blocked by it."""
    with pytest.raises(gr.Error, match=sentence):
        begin(**changes)
    assert not start._starting.locked()
    assert not list(home.glob("runs/*"))


def test_the_api_trains_and_cancels(served):
    """Over HTTP, settings by name: the real page makes a run and trains it; cancelled while judging, it says so."""
    from gradio_client import Client

    url, home = served
    client = Client(url, verbose=False)
    chosen, *_ = client.predict(CHOICE, None, "tiny-chat", "by api", **QUICK, api_name="/train")
    folder = home / "runs" / (chosen["value"] if isinstance(chosen, dict) else chosen)
    while jobs.job_status(folder, "train") == "running":
        time.sleep(0.1)
    panel = client.predict(folder.name, api_name="/cancel_training")[0]
    assert jobs.job_status(folder, "train") == "finished"
    assert not jobs.working(folder)
    assert texts.JUDGING_STOPPED in panel
    assert "by api" in client.predict(folder.name, api_name="/show_run")[0]
