"""The Publish tab: what it says of a merge and an upload in every state, whose token is used, and both for real once."""

import contextlib
import json
import re
import secrets
import shutil
import time
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path

import gradio as gr
import pytest
from filelock import FileLock
from huggingface_hub import constants

from pipeline import example, jobs
from pipeline.events import append
from pipeline.schema import Event, Publication
from tests.hub import fixture
from ui import publish, release, texts

hub = fixture.hub
NAMES = ("merged", "published", "merge", "publish", "cancel", "timer")  # what `state` updates, in its order
ATTACK = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
CHECK = {
    "against": "its base", "prompts": 8, "max_logit_difference": 2.5e-6, "difference": 3e-7, "effect": 1.0,
    "tolerance": 1e-5, "kl": 4e-9, "identical_answers": 1.0, "dtype": "float32", "ok": True, "adapter": "",
}  # fmt: skip
NOBODY = 2**22 + 1  # above the highest process id there can be: a job that is only told must never be signalled
SENT = {"url": "https://hub/ann/one", "revision": "0123456789abcdef", "files": ["a", "b", "c"]}


class Elements(HTMLParser):
    """The names of the elements in a piece of HTML, their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    """One home for this file: the finished run that ships is merged once for all."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("publish") / "home"
        patch.setenv("TUNING_FORK_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def run(home):
    """A finished run that nobody changes."""
    return example.install()


@pytest.fixture
def copy(run):
    """The same run, not yet merged, to be changed."""
    folder = run.with_name(f"copy-{secrets.token_hex(4)}")  # as everywhere, no run's id is used again
    return Path(shutil.copytree(run, folder, ignore=shutil.ignore_patterns("merged", "merge.json")))


@pytest.fixture(scope="module")
def merged(home, run):
    """A copy of the run, merged by the tab's own button; with it what the page said on the way."""
    folder = Path(shutil.copytree(run, run.with_name("merged-run")))
    said = [named(publish.merge(None, None, folder.name))]
    ended(folder, "merge")
    return folder, [*said, shown(folder)]


def tell(folder, kind, job, step=None, text="", **values):
    append(folder / "events.jsonl", Event(kind, job, time.time(), step, values, text))


@contextlib.contextmanager
def at_work(folder, job, *phases):
    """A job as far as it has told, holding the run's lock as a living one does."""
    tell(folder, "started", job, pid=NOBODY)
    for phase in phases:
        tell(folder, "phase", job, phase=phase)
    with FileLock(folder / "lock", is_singleton=False):
        yield


def named(updates):
    return dict(zip(NAMES, updates, strict=True))


def shown(folder):
    """What the tab shows of a run, by component."""
    return named(publish.tick(None, None, folder.name))


def ended(folder, job, seconds=180):
    deadline = time.monotonic() + seconds
    while jobs.working(folder):
        assert time.monotonic() < deadline, jobs.log_tail(folder)
        time.sleep(0.1)
    return jobs.view(folder).jobs[job]


def busy(found):
    """Whether the page shows a job of this tab at work: Cancel is there, the timer ticks, nothing else can start."""
    signs = {found["cancel"].visible, found["timer"].active, not found["merge"].interactive}
    assert len(signs) == 1
    assert found["merge"].interactive == found["publish"].interactive
    return signs.pop()


# --- the states


def test_without_an_adapter_nothing_can_be_merged_or_published(make_run):
    """The buttons rest; the card says when there will be one."""
    folder = make_run(rows=4)
    *updates, card = publish.show(None, None, folder.name, "ann/one", "adapter", True)
    found = named(updates)
    assert texts.NOT_MERGED in found["merged"]
    assert found["published"] == ""
    assert not found["merge"].interactive
    assert not found["publish"].interactive
    assert texts.NO_CARD in card


@pytest.mark.parametrize("run", [None, ""])
def test_without_a_run_the_tab_is_empty(run):
    """No message about it: the page is only being opened."""
    *updates, card = publish.show(None, None, run, None, None, None)
    found = named(updates)
    assert texts.NOT_MERGED in found["merged"]
    assert not found["publish"].interactive
    assert found["timer"].active is False
    assert texts.NO_CARD in card
    assert texts.NO_CARD in publish.preview(None, None, run, "ann/one", "adapter", True)


def test_a_guest_is_shown_nothing(run, monkeypatch):
    """Also of a shared run: its card tells how and on what it was trained."""
    monkeypatch.setenv("SPACE_ID", "ann/tuning-fork")
    assert jobs.shared(run)
    *updates, card = publish.show(None, None, run.name, "ann/one", "adapter", True)
    assert not named(updates)["merge"].interactive
    assert texts.NO_CARD in card


def test_a_finished_training_can_be_merged_and_published(copy):
    """Nothing is at work yet, and the page says so."""
    found = shown(copy)
    assert texts.NOT_MERGED in found["merged"]
    assert found["merge"].interactive
    assert found["publish"].interactive
    assert found["cancel"].visible is False


@pytest.mark.parametrize("phase", ["queued", "loading libraries", "asking the judged model", "merging", "checking"])
def test_a_merge_at_work_says_what_it_does(copy, phase):
    """In words, with Cancel, and nothing else can be started meanwhile."""
    with at_work(copy, "merge", phase):
        found = shown(copy)
        assert texts.MERGE_STATES["running"] in found["merged"]
        assert texts.JOB_PHASES[phase] in found["merged"]
        assert busy(found)


def test_every_phase_of_a_job_has_its_words():
    """What merge.py and publish.py call a phase is said in words."""
    source = "".join((Path(jobs.__file__).parent / f"{name}.py").read_text() for name in ("job", "merge", "publish"))
    phases = set(re.findall(r'\.phase\(\s*"([^"]+)"', source))
    assert len(phases) > 4
    assert phases <= texts.JOB_PHASES.keys()


def test_a_finished_merge_shows_its_numbers(copy):
    """All five of the check, with what they mean."""
    (copy / "merge.json").write_text(json.dumps({**CHECK, "identical_answers": 0.875}))
    tell(copy, "started", "merge", pid=NOBODY)
    tell(copy, "finished", "merge")
    found = Elements(shown(copy)["merged"])
    assert texts.MERGE_STATES["finished"] in found.text
    for number in ("88%", "of 8 answers", "2.5e-06", "3.0e-07", "1.0e-05 is allowed", "4.0e-09", "float32"):
        assert number in found.text
    assert not busy(shown(copy))


@pytest.mark.parametrize("job", publish.JOBS)
@pytest.mark.parametrize(
    ("ending", "sentence"),
    [("failed", "It differs too much; train again."), ("stopped", ""), ("", "")],
)
def test_a_job_that_did_not_finish_says_why(copy, job, ending, sentence):
    """A failure's sentence is an alert; a killed one is interrupted. All can be started again."""
    tell(copy, "started", job, pid=NOBODY)
    if ending:
        tell(copy, ending, job, text=sentence)
    found = shown(copy)
    html = found["merged" if job == "merge" else "published"]
    words = texts.MERGE_STATES if job == "merge" else texts.PUBLISH_STATES
    assert words[ending or "interrupted"] in html
    assert sentence in html
    assert (("role", "alert") in Elements(html).attributes) is (ending == "failed")
    assert not busy(found)
    assert found["merge"].interactive


def test_an_upload_at_work_counts_its_bytes(copy):
    """As a bar that a screen reader can read, and in words with the file's name; before the first byte without."""
    with at_work(copy, "publish", "uploading"):
        assert "progressbar" not in shown(copy)["published"]
        tell(copy, "progress", "publish", 25, done=1_500_000, total=6_000_000, file="model.safetensors")
        found = shown(copy)
        drawn = Elements(found["published"])
        assert texts.JOB_PHASES["uploading"] in drawn.text
        assert "1.5 of 6.0 MB · model.safetensors" in drawn.text
        assert {("role", "progressbar"), ("aria-valuenow", "25")} <= set(drawn.attributes)
        assert busy(found)
    assert texts.PUBLISH_STATES["interrupted"] in shown(copy)["published"]


def test_what_was_published_is_a_link(copy):
    """With the number of files and the revision; it opens beside the page."""
    tell(copy, "started", "publish", pid=NOBODY)
    tell(copy, "finished", "publish", **SENT)
    found = Elements(shown(copy)["published"])
    assert texts.PUBLISH_STATES["finished"] in found.text
    assert "3 files, revision 01234567" in found.text
    assert {("href", SENT["url"]), ("target", "_blank"), ("rel", "noopener")} <= set(found.attributes)


@pytest.mark.parametrize("status", release.KINDS)
def test_every_state_has_words_and_a_look(status):
    """Also one without a job's text."""
    for words in (texts.MERGE_STATES, texts.PUBLISH_STATES):
        assert Elements(release.state(words, status, "", "")).text.strip() == words[status]


def test_nothing_foreign_is_markup(copy):
    """Names, failures, file names, links, phases and cards come from models, libraries and the Hub."""
    values = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**values, "name": ATTACK}))
    (copy / "merge.json").write_text(json.dumps({**CHECK, "dtype": ATTACK}))
    for kind in ("started", "failed"):
        tell(copy, kind, "merge", text=ATTACK)
    pieces = [
        shown(copy)["merged"], publish.preview(None, None, copy.name, "ann/one", "adapter", True),
        release.uploading("finished", "", "", {"url": ATTACK, "revision": ATTACK, "files": [ATTACK]}),
        release.uploading("running", ATTACK, "", {"done": 1, "total": 2, "file": ATTACK}),
        release.uploading("failed", "", ATTACK, {}),
    ]  # fmt: skip
    for html in pieces:
        found = Elements(html)
        assert not {"img", "script"} & set(found.names)
        assert "onerror" not in dict(found.attributes)
        assert "alert(" in html


# --- the form


def test_the_form_is_a_publication_and_its_token_is_no_setting():
    """Name, what, private by default; the token is a password field that no event remembers."""
    with gr.Blocks(analytics_enabled=False):
        parts = publish.draw()
    assert tuple(parts.fields) == ("repo", "what", "private")
    assert parts.fields["private"].value is True
    assert parts.token.type == "password"
    values = ["ann/one", *(field.value for field in list(parts.fields.values())[1:])]
    assert publish.form.read(Publication, publish.FIELDS, values) == Publication("ann/one")


def test_the_card_follows_the_fields(run):
    """Its name and what is uploaded; until a whole name is typed there is a stand-in for it."""
    adapter = publish.preview(None, None, run.name, "ann/one", "adapter", True)
    assert "ann/one" in adapter
    assert "PeftModel" in adapter
    whole = publish.preview(None, None, run.name, "ann/two", "merged", True)
    assert "ann/two" in whole
    assert "PeftModel" not in whole
    for typed in (None, "", "ann", "ann/", "/one"):
        assert texts.REPO_HINT in publish.preview(None, None, run.name, typed, "adapter", True)


@pytest.mark.parametrize(
    ("repo", "what", "sentence"),
    [
        (None, "adapter", "write it as user/name"),
        ("ann", "adapter", "write it as user/name"),
        ("ann/one/two", "adapter", "write it as user/name"),
        ("ann/o ne", "adapter", "can't be a name on the Hub"),
        ("ann/one", "merged", "has no merged model"),
        ("ann/one", "both", "what"),
    ],
)
def test_what_cannot_be_published_is_said(copy, repo, what, sentence):
    """In a sentence, before any job is started."""
    with pytest.raises(gr.Error, match=sentence):
        publish.publish(None, None, None, copy.name, "hf_typed", repo, what, True)
    assert "publish" not in jobs.view(copy).jobs
    assert not (copy / "publish.json").exists()


def test_without_any_token_the_sentence_says_where_to_get_one(run, monkeypatch, tmp_path):
    """No login, nothing in the environment, an empty box."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    for typed in (None, "", "  "):
        with pytest.raises(gr.Error, match="needs an access token with write access"):
            publish.publish(None, None, None, run.name, typed, "ann/one", "adapter", True)


# --- cancel


@pytest.mark.parametrize("job", ["train", "evaluate"])
def test_cancel_ends_no_training(copy, job):
    """What is at work is another tab's: the sentence says where, and nobody is asked to end."""
    with at_work(copy, job), pytest.raises(gr.Error, match="stop it under Train"):
        publish.cancel(None, None, copy.name)
    assert not (copy / "control" / "cancel").exists()


def test_while_a_training_works_nothing_is_merged(copy):
    """The buttons rest and a click that comes all the same is refused; it is not this tab's job to cancel."""
    with at_work(copy, "train", "training"):
        found = shown(copy)
        assert not found["merge"].interactive
        assert found["cancel"].visible is False
        for call in (
            lambda: publish.merge(None, None, copy.name),
            lambda: publish.publish(None, None, None, copy.name, "hf_typed", "ann/one", "adapter", True),
        ):
            with pytest.raises(gr.Error, match="is being worked on"):
                call()


# --- for real


def test_the_merge_button_merges(merged):
    """The page says that it works, then the numbers of the check as merge.json has them; merged/ is there."""
    folder, (first, last) = merged
    assert texts.MERGE_STATES["running"] in first["merged"]
    assert busy(first)
    assert texts.MERGE_STATES["finished"] in last["merged"], jobs.log_tail(folder)
    assert not busy(last)
    check = jobs.read_json(folder / "merge.json")
    assert check["ok"]
    for number, words in release.check_facts(check):
        assert f"<b>{number}</b><span>{escape(words)}</span>" in last["merged"]
    assert (folder / "merged" / "model.safetensors").is_file()


def test_a_typed_token_publishes_what_the_card_showed(hub, merged, monkeypatch):
    """It beats the machine's own; the box is emptied; the README on the Hub is the preview, letter for letter."""
    folder, _ = merged
    monkeypatch.setenv("HF_TOKEN", "hf_read")
    hub.roles["hf_TypedByHand"] = "write"
    fields = ("alice/merged", "merged", True)
    preview = publish.preview(None, None, folder.name, *fields)
    emptied, *updates = publish.publish(None, None, None, folder.name, " hf_TypedByHand\n", *fields)
    assert emptied == ""
    assert busy(named(updates))
    assert ended(folder, "publish").ended == "finished", jobs.log_tail(folder)
    assert f'href="{hub.url}/alice/merged"' in shown(folder)["published"]
    assert hub.repos["alice/merged"].private
    assert hub.files("alice/merged")["README.md"].decode() == unescape(Elements(preview).text)
    left = [file for file in folder.rglob("*") if file.is_file() and b"hf_TypedByHand" in file.read_bytes()]
    assert left == []


def test_the_visitors_own_login_comes_first(hub, merged):
    """On a Space it is theirs, not the Space's and not what the browser filled in; here as public, the adapter."""
    folder, _ = merged
    hub.roles = {"hf_oauth": "write"}
    login = gr.OAuthToken(token="hf_oauth", scope="contribute-repos", expires_at=0)
    publish.publish(None, None, login, folder.name, "hf_typed", "alice/adapter", "adapter", False)
    assert ended(folder, "publish").ended == "finished", shown(folder)["published"]
    assert not hub.repos["alice/adapter"].private


def test_an_empty_box_uses_this_machines_token(hub, merged):
    """And a token that the Hub does not know is told in a sentence, after which another one works."""
    folder, _ = merged
    publish.publish(None, None, None, folder.name, "hf_wrong", "alice/again", "adapter", True)
    assert ended(folder, "publish").ended == "failed"
    said = shown(folder)["published"]
    assert texts.PUBLISH_STATES["failed"] in said
    assert "does not accept this token" in said
    assert "hf_wrong" not in said
    assert "alice/again" not in hub.repos
    publish.publish(None, None, None, folder.name, " ", "alice/again", "adapter", True)
    assert ended(folder, "publish").ended == "finished", shown(folder)["published"]
    assert "adapter_model.safetensors" in hub.files("alice/again")


@pytest.mark.parametrize("typed", ["", "a", "a/b/c", "alice/x/", "a//b", "https://huggingface.co/alice/x", None])
def test_a_name_that_is_no_name_yet_leaves_the_tab_whole(copy, typed):
    """While somebody types, and when another run is chosen meanwhile: the card has a stand-in for the name."""
    *_, card = publish.show(None, None, copy.name, typed, "adapter", True)
    assert texts.REPO_HINT in card
    assert publish.preview(None, None, copy.name, typed, "adapter", True) == card


def test_an_earlier_merge_outlives_one_that_never_began(copy):
    """Cancelled while it waited for the device, the second merge has taken nothing away, and the page says so."""
    (copy / "merge.json").write_text(json.dumps(CHECK))
    tell(copy, "started", "merge", pid=NOBODY)
    tell(copy, "stopped", "merge", text="Cancelled; nothing since the last checkpoint was kept.")
    found = shown(copy)
    assert texts.MERGE_STATES["finished"] in found["merged"]
    assert "checkpoint" not in found["merged"]


def test_a_tick_of_a_run_that_is_gone_ends_the_timer():
    """A sentence a second would help nobody."""
    assert not named(publish.tick(None, None, "no-such-run"))["timer"].active
