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
from ui import ask_base, children, data, preview, reading, rows, texts

EXAMPLES = Path(__file__).parents[1] / "examples"
TINY = {"example": "tiny-yoda"}
DEFAULT = ("tiny-chat", None, "answers", 1024, "own")
NOTHING_ADDED = ("lora", "", 20)
ATTACK = '<img src=x onerror="alert(1)"><script>alert(2)</script>'
SHOWN = {
    "row": 7, "text": "<a>\nhi there</a>", "tokens": ["<a>", "\n", "hi", " there", "</a>", "é", ""],
    "ids": [1, 2, 3, 4, 5, 6, 7], "trained": [False, False, True, True, False, False, False], "truncated_at": 5, "dropped": False,
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
    found = [{"prompt": f"Question {i}?", "completion": f"Answer {i}."} for i in range(1, 31)]
    found[4]["completion"] = ""
    found[8] = {"prompt": ATTACK, "completion": ATTACK}
    file = folder / "messy.jsonl"
    file.write_text("\n".join(map(json.dumps, found)))
    return file


def updates(told) -> list:
    """Everything that a handler yields, in order."""

    async def gather():
        return [update async for update in told]

    return asyncio.run(gather())


def looked(choice, number=None, view="text", asked=DEFAULT, at=0) -> list:
    """What `look` yields but for the word that it takes its time, which a busy machine may hear."""
    found = updates(rows.look(None, None, at, number, view, False, choice, *asked))
    return [update for update in found if "<progress" not in str(update[1])]


# --- what a choice means


def test_every_example_can_be_chosen():
    """Each is offered with a sentence, and is a file that is there; its paths are absolute."""
    assert list(texts.EXAMPLES) == list(reading.FILES)
    for name in texts.EXAMPLES:
        source = reading.source_of({"example": name}, None)
        assert Path(source.path).is_absolute()
        assert Path(source.path).is_file()


def test_tiny_yoda_is_judged_on_its_own_held_out_file():
    """The choice means what examples/tiny-yoda.json says."""
    assert reading.source_of(TINY, None) == config.read(EXAMPLES / "tiny-yoda.json").source


@pytest.mark.parametrize(
    "choice", [None, {}, [], "tiny-yoda", {"example": "../runs"}, {"example": 7}, {"example": None}]
)
def test_nothing_chosen_is_a_sentence(choice):
    with pytest.raises(UserError, match="pick an example or upload"):
        reading.source_of(choice, None)


@pytest.mark.parametrize("upload", ["0" * 32, "../../etc/passwd", None, 7])
def test_an_upload_that_is_gone_is_a_sentence(upload):
    """Also where a browser sends something that never was an upload."""
    with pytest.raises(UserError, match="upload it again"):
        reading.source_of({"upload": upload}, None)


@pytest.mark.parametrize(("typed", "meant"), [(None, None), ("", None), ("  \n", None), (" Be kind. ", "Be kind.")])
def test_an_empty_system_prompt_is_none(typed, meant):
    assert reading.source_of(TINY, typed).system == meant


# --- the handlers


def test_the_first_look_shows_the_row_before_all_tokens_are_counted():
    """Two updates: counts and the coloured row at once, then lengths and the share that is learned."""
    first, second = looked(TINY)
    assert first[0] == "tiny-yoda"
    assert texts.COUNTING in first[1]
    assert "<mark>" in first[5]
    assert texts.COUNTING not in second[1]
    assert "33%" in second[1]
    assert first[4].value == 2  # row 1 steers; the first that is learned from is 2


def test_settings_change_what_is_shown():
    """A system prompt is in the row, everything can be learned, and a short limit cuts."""
    system = looked(TINY, 2, asked=("tiny-chat", "Be kind.", "answers", 1024, "own"))[0][5]
    assert "Be kind." in system
    everything = Elements(looked(TINY, 2, asked=("tiny-chat", None, "everything", 1024, "own"))[0][5])
    assert "Say this: Umar" in everything.inside["mark"]
    cut = looked(TINY, 2, asked=("tiny-chat", None, "answers", 12, "own"))[0][5]
    assert "flute" in Elements(cut).inside["s"]
    assert texts.ROW_LOST in cut


def test_a_wrong_setting_or_model_is_told_in_its_place():
    """The page stays: the sentence stands where the summary or the row was."""
    (told,) = looked(TINY, asked=("tiny-chat", None, "answers", 1, "own"))
    assert "max_length" in told[1]
    (told,) = looked(TINY, 2, asked=("no such/model/at all", None, "answers", 64, "own"))
    assert "not a Hub id" in told[1]


def test_a_model_that_cannot_be_loaded_leaves_the_counts(tmp_path):
    """What needs no model is shown; the row's place says what is wrong with it."""
    (tmp_path / "config.json").write_text("{}")
    first, second = looked(TINY, 2, asked=(str(tmp_path), None, "answers", 64, "own"))
    assert "<b>380</b>" in second[1]
    assert 'class="failed"' in first[5]


def test_a_file_that_can_be_read_becomes_the_choice(tmp_path):
    """The choice is an id, the upload field is empty again, and no sentence is left over."""
    choice, row, refused, field, _ = rows.take(None, None, str(messy(tmp_path)))
    assert re.fullmatch("[0-9a-f]{32}", choice["upload"])
    assert (row, refused, field) == (0, "", None)
    summary = looked(choice)[1][1]
    assert "messy.jsonl" in summary
    assert texts.OF_UPLOADS in summary


def test_a_file_that_cannot_be_read_changes_nothing_but_says_why(tmp_path, home):
    """The choice before stays, and no copy of the file is kept."""
    broken = tmp_path / "broken.json"
    broken.write_text('{"half": ')
    choice, row, refused, *_ = rows.take(None, None, str(broken))
    assert choice == row == gr.skip()
    assert "broken.json: not valid JSON" in refused
    assert list((home / "uploads").iterdir()) == []


def test_walking_shows_the_next_row_and_its_number():
    """Also to a row that is not used: its number stays in the field, and the reason is told."""
    number, shown, answer, at = rows.show(None, None, "next", 2, "text", False, "", TINY, *DEFAULT)
    assert (number, answer, at) == (3, "", 3)
    assert texts.ROW_TITLE.format(row=3) in shown


def test_a_row_that_is_not_used_says_why(tmp_path):
    upload = {"upload": uploads.keep(messy(tmp_path))}
    number, shown, *_ = rows.show(None, None, "problem", 1, "text", False, "", upload, *DEFAULT)
    assert number == 5
    assert "an empty answer" in shown
    assert rows.show(None, None, "next", 4, "text", False, "", upload, *DEFAULT)[0] == 6


def test_a_search_that_ended_meanwhile_is_not_undone():
    """A look that was asked while row 2 was shown shows the row that is shown by now; another choice begins anew."""
    told = looked(TINY, 2, at=9)[0]
    assert (told[4].value, told[8]) == (9, 9)
    assert texts.ROW_TITLE.format(row=9) in told[5]
    assert looked(TINY, 0, at=9)[0][8] == 2


def test_a_file_that_takes_its_time_says_so(tmp_path, monkeypatch):
    """Its name stands where the counts will; the row of another choice goes, the row of the same one stays."""
    monkeypatch.setattr(rows, "PATIENCE_SECONDS", 0.0)
    choice = {"upload": uploads.keep(messy(tmp_path))}
    for number, row in ((0, ""), (3, gr.skip())):
        first = updates(rows.look(None, None, 0, number, "text", False, choice, *DEFAULT))[0]
        assert texts.READING_FILE.format(name="messy.jsonl") in first[1]
        assert first[5] == row


def test_a_row_that_judges_or_steers_is_not_said_to_be_learned():
    """Its marked tokens are the same; what stands beside them is what they are for."""
    for part in ("validation", "held_out"):
        shown = preview.row({**SHOWN, "part": part}, "text")
        assert f"<mark>{texts.MARKED[part]}</mark>" in shown
        assert "<mark>hi there</mark>" in shown
        assert texts.AS_TRAINED not in shown
        assert not re.search(r"\d learned|<mark>learned", shown)
    assert "2 learned" in preview.row(SHOWN, "text")


def test_the_way_to_problems_is_there_only_where_there_are_some(tmp_path):
    assert looked(TINY)[1][6].visible is False
    assert looked({"upload": uploads.keep(messy(tmp_path))})[1][6].visible is True


def test_guests_bring_no_data(monkeypatch):
    """On a Space, a guest's page shows none of it and refuses every way to it."""
    monkeypatch.setenv("SPACE_ID", "somebody/space")
    assert looked(TINY) == [(gr.skip(),) * rows.LOOKED]
    for refused in (
        lambda: rows.pick(None, None, "yoda"),
        lambda: rows.take(None, None, "rows.csv"),
        lambda: rows.show(None, None, "here", 1, "text", False, "", TINY, *DEFAULT),
    ):
        with pytest.raises(gr.Error, match="Only the owner"):
            refused()


def test_the_base_answers_beside_the_reference(tmp_path):
    """The model is asked everything before the last answer; the buttons are as before in the end."""
    told = updates(ask_base.ask(None, None, 2, TINY, *DEFAULT))
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
    drawn = [
        block
        for block in page.blocks.values()
        if isinstance(block, gr.Button | gr.HTML | gr.Radio | gr.Slider | gr.Textbox)
    ]
    assert all(block.elem_id for block in drawn)


# --- what somebody brings and says against the guess


def test_several_files_are_read_as_one(tmp_path):
    """Both names stand above the rows of both."""
    second = tmp_path / "more.csv"
    second.write_text("prompt,completion\nHow?,So.\nWhy?,Because.\n")
    choice, *_ = rows.take(None, None, [str(messy(tmp_path)), str(second)])
    assert len(choice["more"]) == 1
    summary = looked(choice)[1][1]
    assert "messy.jsonl, more.csv" in summary
    assert "32 rows" in summary


def test_typed_rows_become_a_file_of_their_own():
    """Half-filled rows are left out; text stays text, whatever it looks like."""
    choice, row, refused = rows.use_typed(
        None, None, [["Hi {{name}}", "Hello."], ["", ""], ["only asked", ""], [None, "x"]]
    )
    assert (row, refused) == (0, "")
    assert "1 rows" in looked(choice)[0][1]
    assert "{{name}}" in looked(choice)[0][5]
    with pytest.raises(gr.Error, match="fill in both"):
        rows.use_typed(None, None, [["", ""]])


def test_unknown_columns_are_mapped_by_hand(tmp_path):
    """Three texts are no pair: the file stays, the sentence says what to do, and the roles given make conversations."""
    file = tmp_path / "unknown.csv"
    file.write_text("titel,inhalt,fazit\n" + "".join(f"T{i},Text {i},Kurz {i}\n" for i in range(60)))
    choice, _, refused, _, box = rows.take(None, None, [str(file)])
    assert texts.MAP_BY_HAND in refused
    assert box.open
    (told,) = looked(choice)
    assert 'data-column="inhalt"' in told[2]
    assert "Text 0" in told[2]
    mapped, _ = rows.assign(
        None, None, choice, json.dumps({"titel": "ignore", "inhalt": "prompt", "fazit": "completion"}), "", ""
    )
    first, second = looked(mapped)
    assert "60 rows" in second[1]
    assert "Kurz 0" in first[3]
    joined, _ = rows.assign(None, None, mapped, json.dumps(mapped["columns"]), "{titel}: {inhalt}", None)
    assert "T0: Text 0" in looked(joined)[0][3]


@pytest.mark.parametrize("roles", ["[]", "{", '{"a": "boss"}', '{"a": 3}', "7"])
def test_roles_that_the_page_never_sends_are_a_sentence(roles):
    with pytest.raises(gr.Error, match="reload"):
        rows.assign(None, None, TINY, roles, "", "")


def test_a_finding_is_decided_with_its_effect_in_sight(tmp_path):
    """Each choice says what it would do before it is taken; taken, the counts follow."""
    file = tmp_path / "twice.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"Q{i % 40}", "completion": f"A{i % 40}"}) + "\n" for i in range(60)))
    choice, *_ = rows.take(None, None, [str(file)])
    before = looked(choice)[1][1]
    assert 'data-kind="duplicate"' in before
    kept = rows.decide(None, None, choice, '{"duplicate": "keep"}')
    assert kept["choices"] == {"duplicate": "keep"}
    assert re.search(r'<option value="keep" selected>Keep: [^<]+', looked(kept)[1][1])
    assert looked(kept)[1][1] != before


@pytest.mark.parametrize(
    "decision",
    ["", "[]", "{}", '["duplicate", "keep"]', '{"duplicate": "burn"}', '{"duplicate": ["keep"]}', "[1, 2]", "{"],
)
def test_a_decision_the_page_never_sends_is_a_sentence(decision):
    with pytest.raises(gr.Error, match="reload"):
        rows.decide(None, None, TINY, decision)


def test_a_row_is_found_by_its_words():
    """The next one that holds them; none is told."""
    number, shown, *_ = rows.show(None, None, "find", 0, "text", False, "wooden", TINY, *DEFAULT)
    assert "wooden" in shown
    assert rows.show(None, None, "find", number, "text", False, "wooden", TINY, *DEFAULT)[0] != number
    with pytest.raises(gr.Error, match="No row"):
        rows.show(None, None, "find", 0, "text", False, "xylophone", TINY, *DEFAULT)


def test_spaces_are_shown_when_wished():
    shown = rows.show(None, None, "here", 2, "text", True, "", TINY, *DEFAULT)[1]
    assert "Say·this:" in shown


def test_another_template_is_what_is_previewed():
    """A preset by name and a pasted one; a broken one is a sentence with its line."""
    told = looked(TINY, 2, asked=(*DEFAULT[:-1], "instruction"))[0][5]
    assert "### Response:" in told
    broken = looked(TINY, 2, asked=(*DEFAULT[:-1], "{% for m in messages %}\n{{ m.content }"))[0]
    assert "line" in broken[5] + broken[1]


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
        "validation": 0, "held_out": 0, "lengths": None, "trained_token_share": None, "statistics": None, "stops": ATTACK,
        "badge": {"rows": 1, "level": ATTACK, "words": ATTACK}, "evidence": ATTACK,
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


# --- over HTTP


@pytest.fixture(scope="module")
def client(served):
    return Client(served[0], verbose=False)


def test_an_upload_over_http_is_known_by_an_id(client, served, tmp_path_factory):
    """The file lands in the home under its id; the answer has no path of the server in it."""
    told = client.predict([handle_file(messy(tmp_path_factory.mktemp("up")))], api_name="/data_upload")
    (folder,) = (served[1] / "uploads").iterdir()
    assert json.dumps(told).count(folder.name) == 1
    assert str(served[1]) not in json.dumps(told)


def test_a_row_over_http_is_the_row_of_the_page(client):
    """The choice is sent as the browser keeps it."""
    shown = client.predict(2, "text", False, "", TINY, *DEFAULT, *NOTHING_ADDED, api_name="/data_row")
    assert "The wooden flute, Umar moves." in json.dumps(shown)


def test_a_made_up_upload_over_http_reads_nothing(client):
    """An id that is none, or a path, is answered with the sentence."""
    with pytest.raises(Exception, match="upload it again"):
        client.predict(
            2, "text", False, "", {"upload": "../../etc/passwd"}, *DEFAULT, *NOTHING_ADDED, api_name="/data_row"
        )


def test_the_preview_knows_what_the_method_adds(tiny, tmp_path):
    """New tokens are one token each, virtual ones take their room; a method that has none changes nothing."""
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "Say <note>", "completion": "<note> yes <note>"}\n')
    choice = {"upload": uploads.keep(file)}

    def shown(*adds):
        asked = reading.question(choice, "tiny-chat", None, "answers", 10_000, "own", *adds)
        return reading.read("preview", 60, asked, number=1), asked.model

    plain, _ = shown()
    other, model = shown("lora", "<note>", 20)
    assert (other["ids"], model.new_tokens, model.virtual_tokens) == (plain["ids"], "", 0)
    added, model = shown("new-tokens", "<note>", 20)
    assert len(added["ids"]) < len(plain["ids"])
    assert added["tokens"].count("<note>") == 3
    assert model.virtual_tokens == 0
    _, model = shown("prompt-tuning", "<note>", 20)
    assert (model.new_tokens, model.virtual_tokens) == ("", 20)
