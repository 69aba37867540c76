"""A judge's link over HTTP: what is sent tells nobody which side is which, and every vote is kept at once."""

import dataclasses
import itertools
import json
import shutil
import urllib.error
import urllib.request

import pytest

from pipeline import example, rounds, votes
from tests.conftest import serve_app
from tests.judging import ASKED, BASE, TUNED, choice_for, link, ready_round
from ui import judge_page, texts

NO_SCORES: dict = {}


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    """The real app as on a Space, where a judge is nobody: (url, home)."""
    home = tmp_path_factory.mktemp("judged") / "home"
    with serve_app(home, SPACE_ID="ann/tuning-fork", SPACE_AUTHOR_NAME="ann") as url:
        yield url, home


@pytest.fixture
def run(space, monkeypatch):
    """The bundled run, which is the app's own; rounds made here are there at once."""
    monkeypatch.setenv("TUNING_FORK_HOME", str(space[1]))
    return space[1] / "runs" / example.NAME


def send(url: str, body: bytes | None = None) -> tuple[int, dict[str, str], bytes]:
    """(status, headers without the time, body) of a GET, or of a POST where there is a body."""
    asked = urllib.request.Request(url, data=body, headers={"content-type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            status, headers, said = answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as refused:
        status, headers, said = refused.code, refused.headers, refused.read()
    return status, {name: value for name, value in headers.items() if name.lower() != "date"}, said


class Judge:
    """Somebody's browser on a link; `sent` is everything it was sent, as bytes."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self.token, self.judge, self.sent = url, token, "", []

    def ask(self, verb: str, **values) -> dict:
        values = {"token": self.token, "judge": self.judge, **values}
        status, headers, body = send(f"{self.url}/judge/{verb}", json.dumps(values).encode())
        self.sent.append((status, headers, body.replace(self.judge.encode() or b"\0", b"<judge>")))
        told = json.loads(body)
        if told.get("judge"):
            self.judge = told["judge"]
            self.sent[-1] = (status, headers, body.replace(self.judge.encode(), b"<judge>"))
        return told

    def vote(self, told: dict, choice: str, scores: dict = NO_SCORES, note: str = "") -> dict:
        return self.ask("vote", item=told["item"]["item"], choice=choice, scores=scores, note=note)


def without_texts(sent: list) -> list:
    """What was sent, with the texts of the left and the right answer taken out."""
    found = []
    for status, headers, body in sent:
        item = json.loads(body).get("item") or {}
        for side in ("left", "right"):
            body = body.replace(json.dumps(item.get(side), ensure_ascii=False).encode(), side.encode() * 2)
        found.append((status, headers, body))
    return found


def opposite(made: rounds.Round) -> int:
    """A seed that puts each answer on the other side."""
    wanted = ["tuned" if column == "base" else "base" for column in rounds.left(made)]
    return next(seed for seed in itertools.count() if rounds.left(dataclasses.replace(made, seed=seed)) == wanted)


def test_two_rounds_that_differ_only_in_side_order_send_the_same_bytes(space, run):
    """From the page itself over each prompt and an undo to the thanks: all but the two texts, which are exchanged."""
    url, told = space[0], []
    made = ready_round(run, seed=11)
    for each in (made, ready_round(run, seed=opposite(made))):
        token = link(run, each)
        opened, judge = send(f"{url}/?judge={token}"), Judge(url, token)
        judge.ask("look")
        at, texts_seen = judge.ask("join", name="Ann"), []
        judge.vote(at, "left")
        judge.ask("undo")
        while at["state"] == "item":
            texts_seen.append((at["item"]["left"], at["item"]["right"]))
            at = judge.vote(at, "tie")
        told.append((opened, judge.sent, texts_seen))
    (page, sent, seen), (page_too, sent_too, seen_too) = told
    assert page == page_too
    assert seen == [both[::-1] for both in seen_too]
    assert {text for both in seen for text in both} == {*BASE[:4], *TUNED[:4]}
    assert without_texts(sent) == without_texts(sent_too)
    assert sent != sent_too


def test_a_judge_is_sent_the_prompt_two_texts_and_how_far_they_are(space, run):
    """And no name of a run, a side or a model, no time, no length, no key that is not listed here."""
    made = ready_round(run)
    judge = Judge(space[0], link(run, made))
    assert judge.ask("look") == {"state": "begin", "of": 4}
    at = judge.ask("join", name="")
    assert at.keys() == {"state", "done", "criteria", "item", "judge"}
    assert at["item"] == rounds.shown(run, made, 1)
    assert at["item"].keys() == {"item", "of", "messages", "left", "right"}
    page = send(f"{space[0]}/?judge={judge.token}")[2].decode()
    everything = page + "".join(body.decode() for _, _, body in judge.sent).replace("Tuned words", "")
    assert not [word for word in ("tuned", "base", "tiny", run.name, made.id) if word in everything.casefold()]
    assert page == judge_page.PAGE


def test_the_page_of_a_link_holds_nothing_of_the_app(space):
    """It asks Gradio for nothing, and is the same for a link that opens nothing; without one the app is there."""
    url = space[0]
    status, headers, page = send(f"{url}/?judge=nonsense")
    assert status == 200
    assert "content-security-policy" in {name.lower() for name in headers}
    assert b"gradio" not in page.lower()
    assert b"gradio" in send(url)[2].lower()
    assert b"gradio" in send(f"{url}/?prejudge=1")[2].lower()
    config = send(f"{url}/config")[2]
    assert b'"token"' not in config


def test_a_guest_with_a_link_judges_to_the_end_and_goes_on_where_they_were(space, run):
    """Every vote is on the disk before it is answered; the same judge in another browser session meets the next prompt."""
    made = ready_round(run, criteria=True)
    judge = Judge(space[0], link(run, made))
    at = judge.ask("join", name="  Ann\n of  Hull ")
    scores = {"fluency": [5, None], "relevance": [None, None]}
    at = judge.vote(at, choice_for(made, 1, "tuned"), scores, "a note")
    assert votes.standing(made.id).judges == [("Ann of Hull", 1)]
    again = Judge(space[0], judge.token)
    again.judge = judge.judge
    assert again.ask("look") == {key: value for key, value in at.items() if key != "judge"}
    assert again.ask("undo")["item"]["item"] == 1
    for column in ("tuned", "base", "tuned"):
        at = again.vote(again.ask("look"), choice_for(made, again.ask("look")["item"]["item"], column))
    at = again.vote(at, "bad")
    assert at == {"state": "done", "done": 4, "of": 4}
    assert again.ask("look") == at, "no result before the owner ends the round"
    votes.reveal(made.id)
    told = again.ask("look")
    assert told.keys() == {"state", "result"}
    assert "preferred tuned in 2 of 4 prompts, base in 1, 0 ties, 1 both bad" in told["result"]
    assert [vote.choice for vote in votes.read(made.id)][-1] == "bad"
    assert "no vote is taken" in again.ask("vote", item=1, choice="tie", scores={}, note="")["error"]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"choice": "tuned"}, "one of left, right, tie, bad"),
        ({"choice": 3}, "one of left, right, tie, bad"),
        ({"item": 5}, "there is no prompt 5"),
        ({"item": "1"}, texts.JUDGE_SENT_NOTHING),
        ({"scores": []}, texts.JUDGE_SENT_NOTHING),
        ({"scores": {"fluency": [9, 1]}}, "give 1 to 5"),
        ({"note": "x" * 3000}, "at most 2,000"),
        ({"note": "x" * 70_000}, texts.JUDGE_SENT_TOO_MUCH),
        ({"judge": "somebody else"}, "not joined"),
        ({"judge": None}, "not joined"),
        ({"token": "no link"}, "link is not valid"),
        ({"token": ["x"]}, "link is not valid"),
        ({"token": "\ud800"}, "link is not valid"),
        ({"judge": "\ud800"}, "not joined"),
    ],
)
def test_what_is_no_vote_is_a_sentence(space, run, values, sentence):
    """And nothing is kept of it."""
    made = ready_round(run)
    judge = Judge(space[0], link(run, made))
    judge.ask("join", name="Ann")
    vote = {"item": 1, "choice": "left", "scores": {}, "note": "", **values}
    assert sentence in judge.ask("vote", **vote)["error"]
    assert judge.sent[-1][0] == 400
    assert votes.standing(made.id).judges == [("Ann", 0)]


@pytest.mark.parametrize("body", [b"", b"no json", b"[1]", b"[" * 9000, b"\xff"])
def test_what_can_not_be_read_is_a_sentence(space, body):
    status, _, said = send(f"{space[0]}/judge/look", body)
    assert status == 400
    assert json.loads(said) == {"error": texts.JUDGE_SENT_NOTHING}


def test_a_closed_link_and_a_run_that_is_gone_open_nothing(space, run):
    """To a judge who has begun, too."""
    copy = run.with_name("a-copy")
    shutil.copytree(run, copy)
    made, gone = ready_round(run), ready_round(copy)
    judge, late = Judge(space[0], link(run, made)), Judge(space[0], link(copy, gone))
    judge.ask("join", name="Ann")
    votes.revoke(made.id)
    assert "not valid" in judge.ask("look")["error"]
    shutil.rmtree(copy)
    assert late.ask("join", name="Ben") == {"error": texts.ROUND_GONE}


def test_prompts_of_all_shapes_are_shown_as_they_are(space, run):
    """System prompts and turns before the question stand in the messages a judge gets."""
    line = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": ASKED}]}
    judge = Judge(space[0], link(run, ready_round(run, json.dumps(line))))
    messages = judge.ask("join", name="Ann")["item"]["messages"]
    assert [(message["role"], message["content"]) for message in messages] == [("system", "Be brief."), ("user", ASKED)]
