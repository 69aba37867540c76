"""Every event of the page, called over HTTP as anybody can call it: what it does, and whom it refuses."""

import json
import re
import shutil
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest
from gradio_client import Client, handle_file

from pipeline import example, jobs, rounds, votes
from tests.conftest import serve_app
from tests.hub.server import serve
from ui import texts

RUN = example.NAME
TINY = {"example": "tiny-yoda"}
ROWS = (TINY, "tiny-chat", None, "answers", 1024, "own", "lora", "", 20)  # a choice on the Data tab and how it is read
ALONE = (
    "own",
    "none",
    None,
    None,
    3,
    False,
)  # each side goes on from its own answers, no third column, no words marked
GREEDY = (24, 0.0, 1.0, 42, *ALONE)
QUICK = {"max_steps": 400, "epochs": 1.0, "batch_size": 8, "eval_steps": 200, "save_steps": 200}
WRONG_RUNS = ("no-such-run", "../../etc")
# what a guest may do on a Space: look at shared runs and chat with them
FOR_GUESTS = {
    "data_look", "look", "data_count", "count", "data_rest", "fill", "suit", "show_method", "parameters", "forecast", "learns_from", "plan", "about_model", "show", "show_run", "tick_run", "catch_up",
    "show_compare", "look_compare", "third_column", "ask", "ask_row", "ask_held_out", "again", "change_turn", "mark_words", "stop_answer", "clear", "show_publish", "look_publish",
    "publish_tick", "published_name", "attach", "runs", "look_at_run", "open_run", "show_scores", "tick_scores", "judged_rows", "judged_page", "show_judge", "judge_tick",
}  # fmt: skip
# of the events that get the chosen run: what only looks says it in its place, what needs no folder has nothing to say
SAYS_IT_IN_PLACE = {"show", "show_run", "tick_run", "catch_up"}
NEEDS_NO_FOLDER = {
    "clear",
    "change_turn",
    "mark_words",
    "runs",
    "publish_tick",
    "look_at_run",
    "judge_tick",
    "tick_scores",
}
DECLARED: set[str] = set()


def name_of(event: str) -> str:
    """Where several events share a handler, Gradio numbers them: look, look_1, look_2 are one name here."""
    return re.sub(r"_\d+$", "", event)


class Page:
    """The page over HTTP, in one session; it notes which events were called."""

    def __init__(self, url: str) -> None:
        self.client = Client(url, verbose=False)
        config = self.client.config
        self.events = {event["api_name"]: event for event in config["dependencies"] if event["backend_fn"]}
        self.components = {component["id"]: component for component in config["components"]}
        self.called: set[str] = set()

    def submit(self, event: str, *values, **named):
        """A job of the client's. Private events too: it is only the client that does not list them."""
        number = self.events[event]["id"]
        self.client.endpoints[number].is_valid = True
        self.called.add(event)
        return self.client.submit(*values, **named, fn_index=number)

    def call(self, event: str, *values, **named):
        return self.submit(event, *values, **named).result()

    def with_settings(self, event: str, *values, **settings):
        """An event that gets the whole form after these values: as it is drawn, but for these settings."""
        inputs = [self.components[number]["props"] for number in self.events[event]["inputs"][len(values) :]]
        given = {part["elem_id"].removeprefix("trainconfig-"): part.get("value") for part in inputs}
        return self.call(event, *values, *({**given, **settings}.values()))

    def each(self, name: str, *values) -> list:
        """The answers of all events of this name."""
        return [self.call(event, *values) for event in self.events if name_of(event) == name]

    def refusal(self, event: str, run: str | None = None) -> str:
        """The sentence with which an event answers to this run and empty fields; "" where it does not refuse."""
        inputs = [self.components[number] for number in self.events[event]["inputs"]]
        asked = [part for part in inputs if part["type"] != "state"]  # the server keeps those
        empty = {"dataframe": {"headers": ["prompt", "completion"], "data": [], "metadata": None}, "slider": 0}
        values = [run if part["props"].get("elem_id") == "run" else empty.get(part["type"]) for part in asked]
        return str(self.submit(event, *values).exception(timeout=60) or "")

    def events_of_a_run(self) -> list[str]:
        run = next(number for number, part in self.components.items() if part["props"].get("elem_id") == "run")
        return [name for name, event in self.events.items() if run in event["inputs"]]


def calls(*names: str):
    """Declares which events a test calls; the fixture `page` fails it when it has left one out."""
    DECLARED.update(names)

    def note(test):
        test.events = names
        return test

    return note


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """The page, its home and the Hub it publishes to, once for this file."""
    home = tmp_path_factory.mktemp("api") / "home"
    with serve() as hub, serve_app(home, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="0", HF_TOKEN="hf_read") as url:
        yield Page(url), home, hub


@pytest.fixture
def page(app, request):
    page = app[0]
    page.called.clear()
    yield page
    declared = set(getattr(request.function, "events", ()))
    left_out = {event for event in page.events if name_of(event) in declared} - page.called
    assert not left_out, f"declared, but not called: {left_out}"


@pytest.fixture
def runs(app):
    return app[1] / "runs"


@pytest.fixture(scope="module")
def messy(tmp_path_factory):
    """Thirty rows; the answer of the fifth is empty."""
    rows = [{"prompt": f"Question {i}?", "completion": f"Answer {i}." if i != 5 else ""} for i in range(1, 31)]
    file = tmp_path_factory.mktemp("rows") / "messy.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def until(state, seconds: float = 120):
    """What `state` returns once it returns something."""
    deadline = time.monotonic() + seconds
    while not (found := state()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def test_every_event_has_its_test(app):
    """A new event is declared by a test of this file, which is held to calling it; a test of one that is gone goes."""
    assert {name_of(event) for event in app[0].events} == DECLARED


def test_a_declared_event_that_is_not_called_is_found():
    """The declaration is no mere promise: it is compared with the names the page has seen."""
    assert name_of("card_12") == "card"
    assert name_of("data_next_row") == "data_next_row"
    assert test_rows_are_read.events == ("data_pick", "data_look", "look")


# --- the bar at the top


@calls("attach", "runs")
def test_the_runs_are_offered(page):
    """The one remembered is chosen again, else the newest; the list is read anew."""
    for saved in (RUN, None, "gone"):
        bar, guest = page.call("attach", saved)
        assert bar["value"] == RUN
        assert guest["visible"] is False
    assert RUN in [run for _, run in page.call("runs", RUN)["choices"]]


# --- Data


@calls("data_pick", "data_look", "look")
def test_rows_are_read(page):
    """An example becomes the choice; its parts, its row and its findings are the reader's."""
    assert page.call("data_pick", "yoda")[0] == {"example": "yoda"}
    for found in [page.call("data_look", 2, "text", False, *ROWS), *page.each("look", 2, "text", False, *ROWS)]:
        assert "<b>380</b>" in found[1]
        assert "33%" in found[1]  # all tokens are counted


@calls("data_upload")
def test_an_upload_is_kept_under_an_id(page, app, messy):
    """A file that can be read becomes the choice; of one that can't no copy is kept."""
    choice, *_ = page.call("data_upload", [handle_file(messy)])
    assert (app[1] / "uploads" / choice["upload"]).is_dir()
    broken = messy.with_name("broken.json")
    broken.write_text('{"half": ')
    assert "not valid JSON" in json.dumps(page.call("data_upload", [handle_file(broken)]))
    assert len(list((app[1] / "uploads").iterdir())) == 1


@calls("data_row", "data_next_row", "data_previous_row", "data_problem_row")
def test_rows_are_walked(page, messy):
    """By number, forth and back, and to the next one with a problem."""
    assert "The wooden flute, Umar moves." in page.call("data_row", 2, "text", False, "", *ROWS)[1]
    assert page.call("data_next_row", 2, "text", False, "", *ROWS)[0] == 3
    assert page.call("data_previous_row", 3, "text", False, "", *ROWS)[0] == 2
    choice, *_ = page.call("data_upload", [handle_file(messy)])
    number, shown, _ = page.call("data_problem_row", 1, "text", False, "", choice, *ROWS[1:])
    assert number == 5
    assert "an empty answer" in shown


@calls("data_count", "count", "data_scan")
def test_rows_are_counted_and_searched_for_secrets(page, messy):
    """A few rows are counted already; an address in them is found, masked, and can be decided about."""
    for found in [page.call("data_count", *ROWS), *page.each("count", *ROWS)]:
        assert found[0] == ""
    secret = messy.with_name("secret.csv")
    lines = "".join(f"Who is {n}?,Write to anna.b{n}@firm.org\n" for n in range(20))
    secret.write_text("prompt,completion\n" + lines)
    choice, *_ = page.call("data_upload", [handle_file(secret)])
    found = page.call("data_scan", choice, None)
    assert 'data-kind="email"' in found
    assert "anna.b1@firm.org" not in found


@calls("data_find_row", "data_type", "data_assign", "data_decide")
def test_rows_are_found_typed_and_corrected(page):
    """A row by its words; typed rows with a role and a decision of their own."""
    assert "wooden" in page.call("data_find_row", 0, "text", False, "wooden", *ROWS)[1]
    choice, *_ = page.call(
        "data_type", {"headers": ["prompt", "completion"], "data": [["Hi", "Hello."]], "metadata": None}
    )
    assert set(choice) == {"upload"}
    roles = {"prompt": "completion", "completion": "prompt"}
    assert page.call("data_assign", choice, json.dumps(roles), "", "")[0]["columns"] == roles
    assert page.call("data_decide", choice, '{"duplicate": "keep"}')["choices"] == {"duplicate": "keep"}


@calls("data_hub_look", "data_hub_peek", "data_hub_fetch", "data_hub_stop")
def test_a_dataset_on_the_hub_is_looked_at_and_fetched(page, app):
    """A private one with the token that is typed, which no answer repeats; what was looked at is what is fetched."""
    rows = {name: b'{"prompt": "Hi?", "completion": "Ho."}\n' * n for name, n in (("train", 3), ("test", 2))}
    files = {f"{name}.jsonl": content for name, content in rows.items()}
    app[2].dataset("alice/by-api", files, private=True)
    assert "it is private" in json.dumps(page.call("data_hub_look", "alice/by-api", ""))
    found = page.call("data_hub_look", "alice/by-api", "hf_read")
    assert "The first 3 rows" in json.dumps(found)
    assert "The first 2 rows" in json.dumps(page.call("data_hub_peek", "default", "test", "hf_read"))
    assert page.call("data_hub_stop") == "", "there is nothing to stop"
    fetched = page.call("data_hub_fetch", "default", "test", "hf_read")
    assert (app[1] / "uploads" / fetched[0]["upload"] / "alice__by-api-default-test.jsonl").is_file()
    assert "hf_read" not in json.dumps([found, fetched])


@calls("data_ask_base", "data_rest")
def test_the_base_is_asked_a_row(page):
    """Its answer stands beside the row's own; leaving it there puts the button's help back."""
    job = page.submit("data_ask_base", 2, *ROWS)
    job.result()
    answers = json.dumps(job.outputs())
    assert "The wooden flute, Umar moves." in answers
    assert "tokens/s" in answers
    assert texts.ASK_BASE_HELP in json.dumps(page.call("data_rest"))


# --- Compare (before any job: one would take the device, and the engine would have to load again)


@calls("show_compare", "look_compare")
def test_a_run_is_shown_with_its_rows_and_conversation(page):
    """Its held-out rows are offered, and what was said before stands there again."""
    said = json.dumps({RUN: [{"prompt": "Was this kept?", "fresh": True, "system": ""}]})
    shown = page.call("show_compare", RUN, said, False)
    assert "tiny-chat" in shown[0]
    assert len(shown[1]["samples"]) == 60
    assert "Was this kept?" in json.dumps(shown)
    assert page.call("look_compare", RUN)[0] == shown[0]


@calls("ask", "ask_row", "ask_held_out", "clear")
def test_both_sides_answer_and_the_conversation_is_kept_and_forgotten(page):
    """Base and tuned each say their own; a held-out row brings its reference; only this run's turns are forgotten."""
    kept = page.call("ask", RUN, "Say this: The fox finds the ring.", {}, None, *GREEDY)[3]
    (turn,) = json.loads(kept)[RUN]
    assert turn["tuned"]["text"] == "The ring, the fox finds."
    assert turn["base"]["text"] != turn["tuned"]["text"]
    kept = page.call("ask_row", 2, RUN, json.dumps({"another": [turn], RUN: [turn]}), *GREEDY)[3]
    second = json.loads(kept)[RUN][1]
    assert second["tuned"]["text"] == second["reference"]
    third = json.loads(page.call("ask_held_out", "3", RUN, kept, *GREEDY)[3])[RUN][2]
    assert third["prompt"] == second["prompt"], "row 3 of the file is the third that is offered"
    history, _, kept, *_ = page.call("clear", RUN, kept)
    assert "The ring" not in history
    assert json.loads(kept) == {"another": [turn], RUN: []}


@calls("change_turn", "again", "mark_words", "third_column")
def test_a_conversation_is_changed_and_looked_at(page):
    """An earlier message comes back into the box, the last is answered with another seed, what differs is marked."""
    turn = {"prompt": "Hello", "fresh": True, "system": "", "base": {"text": "One."}, "tuned": {"text": "Two."}}
    kept = json.dumps({RUN: [turn]})
    prompt, note, *_ = page.call("change_turn", "0", RUN, kept)
    assert prompt == "Hello"
    assert "message 1" in note
    assert page.call("mark_words", RUN, kept, True).count("<mark>") == 2
    answered = page.call("again", RUN, kept, 24, 1.0, 1.0, 42, *ALONE)
    assert json.loads(answered[3])[RUN][0]["seed"] == 43
    assert page.call("third_column", RUN, "checkpoint")[0]["value"] == "none", "the example keeps none"


@calls("stop_answer")
def test_an_answer_is_stopped_by_the_session_that_asked(page, app):
    """What was said so far stays; another visitor's stop ends nothing."""
    asking = page.submit("ask", RUN, "Say this: The fox finds the ring.", {}, None, 400, 5.0, 1.0, 42, *ALONE)
    until(lambda: asking.outputs() and "tuned" in json.dumps(asking.outputs()[-1][1]))
    Page(page.client.src).call("stop_answer")
    said = len(asking.outputs())
    until(lambda: len(asking.outputs()) > said + 2 or asking.done())
    assert not asking.done()
    page.call("stop_answer")
    (turn,) = json.loads(asking.result(timeout=120)[3])[RUN]
    assert 0 < turn["base"]["tokens"] < 400
    assert turn["base"]["cut"] or turn["tuned"]["cut"]


@calls("share")
def test_a_run_is_shared_and_kept(page, runs):
    """Guests see it only in between."""
    for on in (False, True):
        page.call("share", RUN, on)
        assert jobs.shared(runs / RUN) is on


# --- Train


@calls("fill", "suit", "show_method", "parameters", "learns_from", "plan", "about_model")
def test_the_form_follows_its_choices(page):
    """Preset, method, rows and model each change what stands beside them."""
    quick, balanced = (page.each("fill", preset, "tiny-chat", "lora") for preset in ("quick", "balanced"))
    assert len({tuple(values) for values in quick}) == 1
    assert all(one[0] < other[0] for one, other in zip(quick, balanced, strict=True))  # epochs
    assert "tiny-yoda.jsonl" in page.call("learns_from", TINY, None)
    for event in ("plan", "plan_1", "plan_2"):
        assert "144 steps" in page.with_settings(event, TINY, None, "tiny-chat", epochs=3, batch_size=8)
        assert "combined with Full" in page.with_settings(event, TINY, None, "tiny-chat", method="full", memory="4-bit")
    for full, lora in zip(page.each("suit", "tiny-chat", "full"), page.each("suit", "tiny-chat", "lora"), strict=True):
        assert full < lora
    assert "virtual words" in page.call("show_method", "prompt-tuning")[0]
    assert "278,528 of 3,286,272" in page.with_settings("parameters", "tiny-chat", rank=16)
    assert "run-error" in page.call("about_model", "no such/model/at all", "own")
    assert "run-error" not in page.call("about_model", "tiny-chat", "own")


@calls("forecast", "change_to_fit")
def test_whether_it_fits_is_forecast(page):
    """On this machine and another, with the parts of the memory; a change of settings lands in its field."""
    for event in ("forecast", "forecast_1", "forecast_2"):
        verdict, memory, details = page.with_settings(event, TINY, None, "tiny-chat", "t4", rank=16)
        assert "Fits on this machine" in verdict
        assert "Fits on the T4" in memory
        assert "H200" in details
    filled = page.with_settings("change_to_fit", '{"max_length": 64}', "tiny-chat")
    assert 64 in filled
    assert texts.BAD_FIELD in page.refusal("change_to_fit")


@calls("save_settings", "load_settings", "export_script", "use_checkpoint", "extend", "halt_start")
def test_settings_and_scripts_go_out_and_come_in(page, tmp_path):
    """What is saved is loaded again; a run without tokens or checkpoints says so."""
    told = json.loads(page.with_settings("save_settings", "tiny-chat", "mine", rank=4, method="dora"))
    file = tmp_path / told["file"]
    file.write_text(told["text"])
    assert page.call("load_settings", handle_file(file))[:4] == ("tiny-chat", "tiny-chat", None, "own")
    assert "no rows as tokens yet" in str(page.submit("export_script", RUN).exception(timeout=120))
    assert "checkpoint" in str(page.submit("use_checkpoint", RUN, None).exception(timeout=60))
    assert "More epochs" in str(page.submit("extend", RUN, 0).exception(timeout=60))
    page.call("halt_start")


@calls(
    "train",
    "show_run",
    "show",
    "tick_run",
    "catch_up",
    "cancel_training",
    "resume_training",
    "stop_training",
    "settings_of_run",
)
def test_a_training_is_started_cancelled_resumed_and_stopped(page, runs):
    """A run is made of the form; cancel ends it now, resume starts its job again, stop asks it to save and end."""
    chosen, *_ = page.call("train", TINY, None, "tiny-chat", "by api", **QUICK)
    folder = runs / (chosen["value"] if isinstance(chosen, dict) else chosen)
    assert json.loads((folder / "config.json").read_text())["max_steps"] == 400
    assert "by api" in json.dumps(page.call("tick_run", folder.name))
    assert "by api" in json.dumps(page.call("catch_up", folder.name), default=str)
    assert "Cancelled" in page.call("cancel_training", folder.name)[0]
    assert jobs.status(folder) == "stopped"
    page.call("resume_training", folder.name)
    assert jobs.status(folder) == "running"
    page.call("stop_training", folder.name)
    assert (folder / "control" / "stop").exists()  # what the job makes of it: test_ui_train.py, at length
    page.call("cancel_training", folder.name)
    assert not jobs.working(folder)
    for panel, *_ in (page.call("show_run", folder.name), *page.each("show", folder.name)):
        assert "by api" in panel
    form = page.call("settings_of_run", folder.name, TINY)
    assert form[:3] == ("tiny-chat", "tiny-chat", None)
    assert {400, 200, 8} <= {value for value in form[3:] if isinstance(value, int)}
    assert form[-4]["example"] == "tiny-yoda"


@calls("look_at_run", "open_run", "rename_run", "compare_runs")
def test_a_run_is_opened_renamed_and_laid_beside_another(page, runs):
    """All runs on the page: each is opened by its name; its name changes everywhere, its id does not."""
    assert page.call("open_run", RUN)["value"] == RUN
    assert page.call("look_at_run", RUN)[1] == "tiny-yoda"
    for bar, table, _ in page.each("rename_run", RUN, "by any name"):
        assert bar["value"] == RUN
        assert "by any name" in table
    page.call("rename_run", RUN, "tiny-yoda")
    assert texts.BESIDE_SAME in page.call("compare_runs", RUN, RUN)


@calls("download_run", "ask_to_delete", "delete_run", "import_adapter")
def test_a_run_is_downloaded_and_deleted(page, runs, tmp_path):
    """The zip comes from the page's cache; deleting asks first. What is no adapter is refused before anything begins."""
    copy = runs / "a-copy"
    shutil.copytree(runs / RUN, copy)
    found = page.call("download_run", copy.name, False)
    with zipfile.ZipFile(found["value"] if isinstance(found, dict) else found) as packed:
        assert "a-copy/config.json" in packed.namelist()
    assert "tiny-yoda" in page.call("ask_to_delete", copy.name)
    assert copy.exists()
    assert page.call("delete_run", copy.name)[0]["value"] != copy.name
    assert not copy.exists()
    refused = page.submit("import_adapter", "", None, "", "auto", "", False, TINY, None).exception(timeout=60)
    assert texts.BRING_NOTHING in str(refused)


# --- Scores


@calls("show_scores", "judged_rows", "judged_page", "scores_csv", "scores_parquet")
def test_the_scores_are_shown_row_by_row_and_downloaded(page):
    """The report in words and pictures; its rows sorted, searched and opened; the same as files."""
    wish = ("rougeL", "changed", "flute")
    for shown in page.each("show_scores", RUN, *wish):
        assert texts.METRICS["rougeL"][0] in shown[3]
        assert "flute" in json.dumps(shown)
    for count, table in (*page.each("judged_rows", RUN, *wish, 1, 0), page.call("judged_page", RUN, *wish, 1, 1)):
        assert "of 60 rows" in count
        assert table.count("data-judged") > 0
    for event in ("scores_csv", "scores_parquet"):
        found = page.call(event, RUN)
        assert Path(found["value"] if isinstance(found, dict) else found).stat().st_size > 1000


@calls("measure", "tick_scores", "stop_measuring")
def test_a_run_is_measured_and_that_is_stopped(page, runs):
    """The job begins, its ticks say so, stop ends it; the scores of before stay."""
    wish = ("changed", "all", "")
    page.call("measure", RUN, *wish)
    assert jobs.working(runs / RUN)
    assert texts.SCORES_MEASURING.partition("{")[0] in page.call("tick_scores", RUN, *wish)[0]
    page.call("stop_measuring", RUN, *wish)
    until(lambda: not jobs.working(runs / RUN))
    assert texts.METRICS["rougeL"][0] in page.call("tick_scores", RUN, *wish)[3]


# --- Judge blind


@calls(
    "show_judge", "pick_round", "judge_tick", "make_round", "go_on_round", "stop_round", "open_round", "close_link", "ask_to_end",
    "reveal_round", "save_votes", "save_pairs",
)  # fmt: skip
def test_a_blind_round_is_made_judged_and_told(page, app, monkeypatch):
    """Its prompts are answered by the job; its link is given, closed and given again; its end tells the names."""
    monkeypatch.setenv("TUNING_FORK_HOME", str(app[1]))
    page.call("make_round", RUN, "pasted", "Say this: the fox finds the ring.", None, False, "", 16, 3)
    asked = (RUN, rounds.listing(app[1] / "runs" / RUN)[0].id)
    until(lambda: "answered every prompt (1)" in json.dumps(page.call("judge_tick", *asked)))
    for event in ("go_on_round", "stop_round", "pick_round"):  # nothing is left to answer or to stop
        assert "answered every prompt (1)" in json.dumps(page.call(event, *asked))
    assert asked[1] in json.dumps(page.call("show_judge", RUN, None))
    page.call("open_round", *asked)
    page.call("close_link", *asked)
    page.call("open_round", *asked)
    token = votes.standing(asked[1]).ballot.token
    votes.cast(token, votes.join(token, "Ann"), 1, "left")
    assert "All who have begun are done (1)" in json.dumps(page.call("ask_to_end", *asked))
    assert "Ann: " in json.dumps(page.call("reveal_round", *asked))
    for event, ending in (("save_votes", ".csv"), ("save_pairs", ".jsonl")):
        found = page.call(event, *asked)
        assert Path(found["value"] if isinstance(found, dict) else found).suffix == ending


# --- Publish


@calls("show_publish", "look_publish", "published_name", "card")
def test_the_card_is_shown(page):
    """For the run that is chosen, and for the name that is typed."""
    for shown in (page.call("show_publish", RUN, "ann/one", "adapter", True)[-1],
                  page.call("look_publish", RUN, "ann/one", "adapter", True)[-1],
                  *page.each("card", RUN, "ann/one", "adapter", True)):  # fmt: skip
        assert "ann/one" in shown
    assert page.call("published_name", RUN) == "", "another run's name would be overwritten"


def fetch(url: str) -> tuple[int, dict[str, str]]:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}
    except urllib.error.HTTPError as error:
        return error.code, {}


def test_the_page_keeps_to_itself(app):
    """It may fetch only from here, keeps no history of calls, and serves no file of the home or of the project."""
    url, home = app[0].client.src.rstrip("/"), app[1]
    status, headers = fetch(url)
    assert status == 200
    for rule in ("default-src 'self'", "img-src 'self' data: blob:", "form-action 'self'", "object-src 'none'"):
        assert rule in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert fetch(f"{url}/gradio_api/runs")[0] == 404
    assert fetch(f"{url}/monitoring")[0] != 200
    for file in (home / "runs" / RUN / "config.json", Path(__file__).parents[1] / "README.md", Path("/etc/passwd")):
        assert fetch(f"{url}/gradio_api/file={file}")[0] in (403, 404)


@calls("merge", "publish_tick", "cancel_publish")
def test_a_merge_is_started_and_cancelled(page, runs):
    """The tick follows it while it works; cancel ends it and nothing is kept."""
    assert texts.MERGE_STATES["running"] in page.call("merge", RUN)[0]
    assert jobs.job_status(runs / RUN, "merge") == "running"
    assert {"active": True} in [without_type(update) for update in page.call("publish_tick", RUN)]
    assert texts.MERGE_STATES["stopped"] in page.call("cancel_publish", RUN)[0]
    assert not jobs.working(runs / RUN)
    assert not (runs / RUN / "merged").exists()
    assert {"active": False} in [without_type(update) for update in page.call("publish_tick", RUN)]


@calls("publish")
def test_an_adapter_is_published_with_the_typed_token(page, app, runs):
    """It beats the machine's own, which may only read; the box is emptied and the commit is on the Hub."""
    hub = app[2]
    emptied, *_ = page.call("publish", RUN, "hf_write", "alice/by-api", "adapter", True)
    assert emptied == ""
    until(lambda: not jobs.working(runs / RUN))
    assert "adapter_model.safetensors" in hub.files("alice/by-api"), jobs.log_tail(runs / RUN)
    assert f'href="{hub.url}/alice/by-api"' in page.call("publish_tick", RUN)[1]


def without_type(update) -> dict:
    return {key: value for key, value in update.items() if key != "__type__"} if isinstance(update, dict) else {}


# --- who is refused


@pytest.mark.parametrize("wrong", WRONG_RUNS)
def test_a_run_that_is_not_there_is_a_sentence(page, wrong):
    """For every event that gets a run, by an id of none and by a path; none takes it for a bug."""
    for event in page.events_of_a_run():
        if name_of(event) in SAYS_IT_IN_PLACE:
            page.call("show_run", RUN)  # a tick sends only what has changed
            assert "There is no run" in page.call(event, wrong)[0], event
        else:
            said = "" if name_of(event) in NEEDS_NO_FOLDER else texts.NO_SUCH_RUN.format(name=wrong)
            assert page.refusal(event, wrong) == said, event


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    """The page as a Space shows it to somebody who has not signed in, and its home."""
    home = tmp_path_factory.mktemp("space") / "home"
    with serve_app(home, SPACE_ID="ann/tuning-fork", SPACE_AUTHOR_NAME="ann") as url:
        yield Page(url), home


def test_a_guest_is_refused_what_is_not_for_guests(space):
    """On a Space each of the owner's events answers with the sentence, whatever it is asked, and nothing is changed."""
    page, home = space
    before = {file: file.read_bytes() for file in home.rglob("*.json")}
    for event in page.events:
        refused = "Only the owner may" in page.refusal(event, RUN)
        assert refused is (name_of(event) not in FOR_GUESTS), event
    assert {file: file.read_bytes() for file in home.rglob("*.json")} == before
    assert [folder.name for folder in (home / "runs").iterdir()] == [RUN]


def test_a_guest_sees_no_run_that_is_not_shared(space):
    """No event shows one: to a guest it is as if there were none."""
    page, home = space
    jobs.share(home / "runs" / RUN, False)
    try:
        assert page.call("runs", None)["choices"] == []
        assert page.call("attach", RUN)[0]["value"] is None
        for event in (
            "show_compare",
            "look_compare",
            "third_column",
            "ask",
            "ask_row",
            "ask_held_out",
            "again",
            "show_scores",
        ):
            assert page.refusal(event, RUN) == texts.NO_SUCH_RUN.format(name=RUN)
        for event in sorted({"show_run", "tick_run", "show_publish"}):
            values = [None, "adapter", True] if event == "show_publish" else []
            assert "tiny-yoda.jsonl" not in json.dumps(page.call(event, RUN, *values))
    finally:
        jobs.share(home / "runs" / RUN, True)


def test_a_guest_chats_with_a_shared_run(space):
    """That much is for everybody."""
    page, _ = space
    kept = page.call("ask", RUN, "Say this: The fox finds the ring.", {}, None, *GREEDY)[3]
    assert json.loads(kept)[RUN][0]["tuned"]["text"] == "The ring, the fox finds."
