"""The Data tab: what is chosen, what is shown of it, and that nothing foreign is taken for more than text."""

import asyncio
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import gradio as gr
import pytest
from gradio_client import Client, handle_file

from pipeline import config, uploads
from pipeline.errors import UserError
from ui import ask_base, children, data, preview, reading, texts

EXAMPLES = Path(__file__).parents[1] / "examples"
TINY = {"example": "tiny-yoda"}
DEFAULT = ("tiny-chat", None, "answers", 1024)
ATTACK = '<img src=x onerror="alert(1)"><script>alert(2)</script>'
SHOWN = {
    "row": 7, "text": "<a>\nhi there</a>", "tokens": ["<a>", "\n", "hi", " there", "</a>", "é", ""],
    "ids": [1, 2, 3, 4, 5, 6, 7], "trained": [False, False, True, True, False, False, False], "truncated_at": 5,
    "generation_prompt": "<a>\n", "generation_ids": [1, 2], "gates": [], "part": "train", "tools": None,
    "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "there"}],
}  # fmt: skip


class Elements(HTMLParser):
    """The elements of a piece of HTML, and the text within each kind."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.open: list[str] = []
        self.inside: dict[str, str] = {}
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.open.append(tag)

    def handle_endtag(self, tag):
        self.open.pop()

    def handle_data(self, data):
        for tag in set(self.open):
            self.inside[tag] = self.inside.get(tag, "") + data


@pytest.fixture(autouse=True, scope="module")
def reader():
    """One reader for the whole file: it is asked about files, and knows no home."""
    yield
    children.READER.end()
    children.ENGINE.end()


def messy(folder: Path) -> Path:
    rows = [{"prompt": f"Question {i}?", "completion": f"Answer {i}."} for i in range(1, 31)]
    rows[4]["completion"] = ""
    rows[8] = {"prompt": ATTACK, "completion": ATTACK}
    file = folder / "messy.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def looked(choice, number=None, view="text", asked=DEFAULT) -> list:
    """Everything `look` yields, in order."""

    async def gather():
        return [update async for update in data.look(None, None, choice, *asked, number, view)]

    return asyncio.run(gather())


# --- what a choice means


def test_every_example_can_be_chosen():
    """Each is offered with a sentence, and is a file that is there; its paths are absolute."""
    assert list(texts.EXAMPLES) == list(reading.FILES)
    for name in texts.EXAMPLES:
        source = data.source_of({"example": name}, None)
        assert Path(source.path).is_absolute()
        assert Path(source.path).is_file()


def test_tiny_yoda_is_judged_on_its_own_held_out_file():
    """The choice means what examples/tiny-yoda.json says."""
    assert data.source_of(TINY, None) == config.read(EXAMPLES / "tiny-yoda.json").source


@pytest.mark.parametrize(
    "choice", [None, {}, [], "tiny-yoda", {"example": "../runs"}, {"example": 7}, {"example": None}]
)
def test_nothing_chosen_is_a_sentence(choice):
    with pytest.raises(UserError, match="pick an example or upload"):
        data.source_of(choice, None)


@pytest.mark.parametrize("upload", ["0" * 32, "../../etc/passwd", None, 7])
def test_an_upload_that_is_gone_is_a_sentence(upload):
    """Also where a browser sends something that never was an upload."""
    with pytest.raises(UserError, match="upload it again"):
        data.source_of({"upload": upload}, None)


@pytest.mark.parametrize(("typed", "meant"), [(None, None), ("", None), ("  \n", None), (" Be kind. ", "Be kind.")])
def test_an_empty_system_prompt_is_none(typed, meant):
    assert data.source_of(TINY, typed).system == meant


# --- the handlers


def test_the_first_look_shows_the_row_before_all_tokens_are_counted():
    """Two updates: counts and the coloured row at once, then lengths and the share that is learned."""
    first, second = looked(TINY)
    assert first[0] == "tiny-yoda"
    assert texts.COUNTING in first[1]
    assert "<mark>" in first[3]
    assert texts.COUNTING not in second[1]
    assert "33%" in second[1]
    assert first[2] == 2  # row 1 steers; the first that is learned from is 2


def test_settings_change_what_is_shown():
    """A system prompt is in the row, everything can be learned, and a short limit cuts."""
    system = looked(TINY, 2, asked=("tiny-chat", "Be kind.", "answers", 1024))[0][3]
    assert "Be kind." in system
    everything = Elements(looked(TINY, 2, asked=("tiny-chat", None, "everything", 1024))[0][3])
    assert "Say this: Umar" in everything.inside["mark"]
    cut = looked(TINY, 2, asked=("tiny-chat", None, "answers", 12))[0][3]
    assert "flute" in Elements(cut).inside["s"]
    assert texts.ROW_LOST in cut


def test_a_wrong_setting_or_model_is_told_in_its_place():
    """The page stays: the sentence stands where the summary or the row was."""
    (told,) = looked(TINY, asked=("tiny-chat", None, "answers", 1))
    assert "max_length" in told[1]
    (told,) = looked(TINY, 2, asked=("no such/model/at all", None, "answers", 64))
    assert "not a Hub id" in told[1]


def test_a_model_that_cannot_be_loaded_leaves_the_counts(tmp_path):
    """What needs no model is shown; the row's place says what is wrong with it."""
    (tmp_path / "config.json").write_text("{}")
    first, second = looked(TINY, 2, asked=(str(tmp_path), None, "answers", 64))
    assert "<b>380</b>" in second[1]
    assert 'class="failed"' in first[3]


def test_a_file_that_can_be_read_becomes_the_choice(tmp_path):
    """The choice is an id, the upload field is empty again, and no sentence is left over."""
    choice, row, refused, field = data.take(None, None, str(messy(tmp_path)))
    assert re.fullmatch("[0-9a-f]{32}", choice["upload"])
    assert (row, refused, field) == (None, "", None)
    summary = looked(choice)[1][1]
    assert "messy.jsonl" in summary
    assert texts.OF_UPLOADS in summary


def test_a_file_that_cannot_be_read_changes_nothing_but_says_why(tmp_path, home):
    """The choice before stays, and no copy of the file is kept."""
    broken = tmp_path / "broken.json"
    broken.write_text('{"half": ')
    choice, row, refused, _ = data.take(None, None, str(broken))
    assert choice == row == gr.skip()
    assert "broken.json: not valid JSON" in refused
    assert list((home / "uploads").iterdir()) == []


def test_walking_shows_the_next_row_and_its_number():
    """Also to a row that is not used: its number stays in the field, and the reason is told."""
    number, shown, answer = data.show(None, None, "next", TINY, *DEFAULT, 2, "text")
    assert (number, answer) == (3, "")
    assert texts.ROW_TITLE.format(row=3) in shown


def test_a_row_that_is_not_used_says_why(tmp_path):
    upload = {"upload": uploads.keep(messy(tmp_path))}
    number, shown, _ = data.show(None, None, "problem", upload, *DEFAULT, 1, "text")
    assert number == 5
    assert "an empty answer" in shown
    assert data.show(None, None, "next", upload, *DEFAULT, 4, "text")[0] == 6


def test_the_way_to_problems_is_there_only_where_there_are_some(tmp_path):
    assert looked(TINY)[1][4].visible is False
    assert looked({"upload": uploads.keep(messy(tmp_path))})[1][4].visible is True


def test_guests_bring_no_data(monkeypatch):
    """On a Space, a guest's page shows none of it and refuses every way to it."""
    monkeypatch.setenv("SPACE_ID", "somebody/space")
    assert looked(TINY) == [(gr.skip(),) * 6]
    for refused in (
        lambda: data.pick(None, None, "yoda"),
        lambda: data.take(None, None, "rows.csv"),
        lambda: data.show(None, None, "here", TINY, *DEFAULT, 1, "text"),
    ):
        with pytest.raises(gr.Error, match="Only the owner"):
            refused()


def test_the_base_answers_beside_the_reference(tmp_path):
    """The model is asked everything before the last answer; the buttons are as before in the end."""

    async def gather():
        return [update async for update in ask_base.ask(None, None, TINY, *DEFAULT, 2)]

    told = asyncio.run(gather())
    html = told[-2][0]
    assert "The wooden flute, Umar moves." in html  # the reference
    assert "tokens/s" in html  # the answer is whole
    assert [button.visible for button in told[0][1:3]] == [False, True]
    assert [button.visible for button in told[-1][1:3]] == [True, False]


def test_what_the_engine_tells_is_gathered():
    """Pieces are joined, waiting and phases are put into words, the result replaces them all."""
    answer, doing = ask_base.heard({"base": " b"}, {"text": "a"}, "x")
    assert (answer, doing) == ({"text": "a b"}, "x")
    assert "training of run 7" in ask_base.heard({"waiting": "training of run 7"}, {"text": ""}, "")[1]
    assert ask_base.heard({"phase": "answering"}, {"text": ""}, "")[1] == texts.BASE_PHASES["answering"]
    assert ask_base.heard({"result": {"base": {"text": "whole"}}}, {"text": "a"}, "x") == ({"text": "whole"}, "")


def test_a_row_without_an_answer_has_no_question():
    with pytest.raises(UserError, match="Row 7 has no answer"):
        reading.split_answer({"row": 7, "messages": [{"role": "user", "content": "hi"}]})


def test_every_control_has_a_name_of_its_own():
    """Nothing is drawn that no event knows: each button and field of the tab has its id."""
    with gr.Blocks() as page:
        data.draw()
    drawn = [block for block in page.blocks.values() if isinstance(block, gr.Button | gr.HTML | gr.Radio | gr.Number)]
    assert all(block.elem_id for block in drawn)


# --- the HTML


def test_learned_tokens_are_marked_and_cut_ones_struck_through():
    """Neighbours of a kind are one element; joined they are the text."""
    found = Elements(preview.runs(SHOWN))
    assert found.names == ["mark", "s"]
    assert found.inside["mark"] == "hi there"
    assert found.inside["s"] == "é"


def test_single_tokens_carry_their_ids():
    """One element per token, in order, an empty one (the rest of a character) included."""
    html = preview.single_tokens(SHOWN)
    assert re.findall(r"id (\d+)", html) == ["1", "2", "3", "4", "5", "6", "7"]
    assert len(Elements(html).names) == 7


def test_a_row_of_many_tokens_is_few_elements():
    """4,000 tokens as text are as many elements as there are runs; as single tokens there is an end to it."""
    many = {**SHOWN, "tokens": ["x"] * 9000, "ids": [1] * 9000, "trained": [True] * 9000, "truncated_at": None}
    assert len(Elements(preview.runs(many)).names) == 1
    assert len(Elements(preview.single_tokens(many)).names) == preview.SINGLE_TOKENS + 1
    assert "5,000 more tokens" in preview.single_tokens(many)


def test_whitespace_and_control_characters_can_be_seen():
    """Also marks that would turn the direction of what follows."""
    assert preview.visible("a\n\tb\x1b\u202ec") == "a↵\n⇥\tb␛⍰c"


def test_foreign_text_is_never_markup(tmp_path):
    """A file name, a column, a message, a tool, a token, a gate, a role and a finding that try to be HTML stay text."""
    found = {
        "shape": ATTACK, "columns": {ATTACK: "prompt", f"{ATTACK}2": "ignore"}, "rows": 1, "conversations": 1, "train": 1,
        "validation": 0, "held_out": 0, "lengths": None, "trained_token_share": None,
        "problems": [{"kind": "x", "rows": [1], "sentence": f"{ATTACK}, row 1: bad"}],
    }  # fmt: skip
    call = {"function": {"name": ATTACK, "arguments": {ATTACK: ATTACK}}}
    row = {
        **SHOWN, "tokens": [ATTACK] * 7, "gates": [ATTACK], "generation_prompt": ATTACK,
        "tools": [{"function": {"name": ATTACK}}],
        "messages": [{"role": ATTACK, "content": ATTACK, "tool_calls": [call]}],
    }  # fmt: skip
    pieces = [
        preview.summary(ATTACK, ATTACK, ATTACK, found, True), preview.row(row, "text"), preview.row(row, "tokens"),
        preview.against_reference({"text": ATTACK}, ATTACK) + ask_base.controls(ATTACK)[-1],
    ]  # fmt: skip
    for html in pieces:
        assert not {"img", "script"} & set(Elements(html).names)
        assert "alert(1)" in html


def test_row_numbers_in_a_finding_lead_there():
    """Numbers that name its rows are links; a count, or a number in a file's name, is none."""
    told = preview.finding("3 rows 4.csv, 3 rows (3, 12 and 1 more): an empty answer; left out.", [3, 12, 40])
    assert re.findall(r'data-row="(\d+)"', told) == ["3", "12"]
    assert told.startswith("3 rows 4.csv, 3 rows (<a")
    told = preview.finding("8 rows are longer than 20 tokens and lose their end.", list(range(1, 9)))
    assert re.findall(r'data-row="(\d+)"', told) == ["1", "2", "3", "4", "5"]
    assert told.endswith("and 3 more")


@pytest.mark.parametrize(
    ("rows", "kind"),
    [(1, "bad"), (49, "bad"), (50, "warn"), (499, "warn"), (500, "plain"), (999, "plain"), (1000, "good")],
)
def test_the_badge_says_whether_the_rows_are_enough(rows, kind):
    assert f'class="chip {kind}"' in preview.badge(rows)


# --- over HTTP


@pytest.fixture(scope="module")
def client(served):
    return Client(served[0], verbose=False)


def test_an_upload_over_http_is_known_by_an_id(client, served, tmp_path_factory):
    """The file lands in the home under its id; the answer has no path of the server in it."""
    told = client.predict(handle_file(messy(tmp_path_factory.mktemp("up"))), api_name="/data_upload")
    (folder,) = (served[1] / "uploads").iterdir()
    assert json.dumps(told).count(folder.name) == 1
    assert str(served[1]) not in json.dumps(told)


def test_a_row_over_http_is_the_row_of_the_page(client):
    """The choice is sent as the browser keeps it."""
    shown = client.predict(TINY, "tiny-chat", None, "answers", 1024, 2, "text", api_name="/data_row")
    assert "The wooden flute, Umar moves." in json.dumps(shown)


def test_a_made_up_upload_over_http_reads_nothing(client):
    """An id that is none, or a path, is answered with the sentence."""
    with pytest.raises(Exception, match="upload it again"):
        client.predict({"upload": "../../etc/passwd"}, *DEFAULT, 2, "text", api_name="/data_row")
