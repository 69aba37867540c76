"""Whether the next run fits is said before it starts: in a sentence, as a bar, for this machine and others, with what helps."""

import asyncio
import json
import re
import shutil
import time

import gradio as gr
import pytest

from pipeline import events, fit, inspection
from pipeline.machines import GIB
from pipeline.schema import Event
from ui import children, fits, forecast, live, settings, texts

CHOICE = {"example": "tiny-yoda"}
EVIL = "<img src=x onerror=alert(1)>"
LARGE = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
         "head_dim": 128, "max_position_embeddings": 4096}  # fmt: skip
FOUND = {
    "machine": {"key": "here", "name": "Tesla T4", "kind": "gpu", "memory": 14.7 * GIB, "ram": 15 * GIB, "disk": 41e9},
    "micro_batch": 4, "peak": 6.1 * GIB, "fits": True, "moment": "backward", "corrected": None,
    "terms": {"activations": 1.5 * GIB, "weights": 4 * GIB, "optimizer": 200 * 2**20, "CUDA context": 400 * 2**20},
    "ram": {"peak": 9 * GIB, "of": 15 * GIB},
    "disk": {"needed": 17e9, "free": 41e9, "fits": True, "terms": {"base download": 15e9, "checkpoints": 2e9}},
    "seconds": {"total": 720.0, "per_step": 5.0, "from": "formula", "run": None}, "changes": [],
    "machines": [{"key": "l4", "name": "L4", "memory": 22 * GIB, "peak": 6.1 * GIB, "fits": True, "seconds": None}],
}  # fmt: skip
CHANGES = [{"set": {"memory": "4-bit"}, "sentence": "Hold the base in 4 bit", "peak": 6 * GIB}]
TOO_LARGE = {**FOUND, "peak": 19.6 * GIB, "fits": False, "changes": CHANGES,
             "terms": {**FOUND["terms"], "weights": 17.5 * GIB}}  # fmt: skip


@pytest.fixture(autouse=True)
def forgotten():
    """What another test was told is no answer here: its home is gone."""
    forecast._told.clear()


@pytest.fixture
def large(tiny, tmp_path):
    """A base that says it has seven billion parameters: nobody opens its weights before a run starts."""
    folder = shutil.copytree(tiny, tmp_path / "large")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **LARGE}))
    return str(folder)


def told(model="tiny-chat", machine="here", choice=CHOICE, **values):
    """Everything the handler says, the last last."""

    async def gather():
        asked = {"epochs": 3, "batch_size": 8, **values}
        return [each async for each in forecast.forecast(None, None, choice, None, model, machine, **asked)]

    return asyncio.run(gather())


def changes_in(html):
    return [json.loads(found.replace("&quot;", '"')) for found in re.findall(r'data-change="([^"]*)"', html)]


# --- how it is said


def test_the_verdict_is_one_sentence():
    """What is needed of what is there, on which machine; a T4 that is only asked about is called so."""
    assert "Fits on this machine (Tesla T4): needs about 6.1 GB of its 14.7 GB of GPU memory." in fits.verdict(FOUND)
    on_cpu = {**FOUND, "machine": {**FOUND["machine"], "kind": "cpu", "name": "this machine"}}
    assert "on this machine: needs about 6.1 GB of its 14.7 GB of free memory" in fits.verdict(on_cpu)
    elsewhere = {**TOO_LARGE, "machine": {**FOUND["machine"], "key": "t4", "name": "T4"}}
    assert "Does not fit on the T4: needs about 19.6 GB, and it has 14.7 GB" in fits.verdict(elsewhere)
    assert "Just about fits" in fits.verdict({**FOUND, "peak": 13 * GIB})
    measured = {**FOUND, "peak": 13 * GIB, "corrected": {"by": 1.1, "run": "yoda"}}
    assert "✓ Fits" in fits.verdict(measured), "by what was measured it is known better"


def test_what_else_is_too_small_is_said():
    """RAM to load into, and the disk."""
    short = {**FOUND, "ram": {"peak": 9e9, "of": 8e9}, "disk": {**FOUND["disk"], "free": 3e9, "fits": False}}
    assert len(fits.shortages(short)) == 2
    assert "3.0 GB is free" in fits.verdict(short)
    assert fits.shortages(FOUND) == []


def test_the_bar_is_as_wide_as_its_parts():
    """Of the machine's memory; where more is needed than there is, a line marks where it ends."""
    for found, whole in ((FOUND, 14.7), (TOO_LARGE, 19.6)):
        html = fits.bar(found)
        widths = [float(width) for width in re.findall(r'class="part-\d+" style="width:([\d.]+)%', html)]
        assert widths == pytest.approx([100 * size / GIB / whole for _, _, size in fits._terms(found)], abs=0.01)
    assert "left:" not in fits.bar(FOUND)
    assert f"left:{100 * 14.7 / 19.6:.2f}%" in fits.bar(TOO_LARGE)
    assert "4.9 GB too much" in fits.bar(TOO_LARGE)


def test_the_bar_is_told_in_words_too():
    """Each part with its number, in the legend and to those who can't see the bar; foreign names are text."""
    html = fits.bar({**FOUND, "terms": {**FOUND["terms"], EVIL: GIB}, "corrected": {"by": 1.2, "run": EVIL}})
    assert EVIL not in html
    words = re.search(r'role="img" aria-label="([^"]*)"', html)[1]
    for name, size in (("weights", "4.0 GB"), ("activations", "1.5 GB"), ("optimizer", "200 MB")):
        assert f"{name} {size}" in words
        assert f"{name} <b>{size}</b>" in html
    assert html.index(">weights") < html.index(">optimizer") < html.index(">activations") < html.index("<b>1.0 GB</b>")


def test_details_compare_machines():
    """This one first, the chosen one marked; time and disk in words; what is not known has a question mark."""
    html = fits.details(FOUND, {**FOUND, "machine": {**FOUND["machine"], "key": "l4", "name": "L4"}})
    rows = re.findall(r"<tr.*?</tr>", html.partition("<tbody>")[2])
    assert [texts.HERE in rows[0], "L4" in rows[1], 'aria-current="true"' in rows[1]] == [True] * 3
    assert 'aria-current="true"' not in rows[0]
    assert f"<td>{texts.TIME_NOT_KNOWN}</td>" in rows[1]
    assert "about 17.0 GB of 41.0 GB free: base download 15.0 GB, checkpoints 2.0 GB" in html
    assert texts.MEMORY_TERMS["weights"] in html


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "1 s"), (89, "89 s"), (100, "2 min"), (7000, "2 h"), (200_000, "2 days")]
)
def test_a_time_is_no_more_exact_than_it_is_known(seconds, said):
    """Seconds, minutes, hours or days."""
    assert fits.about(seconds) == said


def test_each_part_of_the_memory_is_explained():
    """In words, for every term that the formulas have."""
    known = {"weights", "quantization state", "adapter", "gradients", "optimizer", "activations", "logits", "update"}
    assert known | {"CUDA context", "libraries"} == texts.MEMORY_TERMS.keys()


# --- what is asked


def test_the_forecast_is_of_this_form(helpers):
    """This machine in the verdict, the chosen one in the bar; a larger adapter needs more."""
    verdict, memory, details = told(machine="t4")[-1]
    assert "Fits on this machine" in verdict
    assert "Fits on the T4" in memory
    assert "weights" in memory
    assert "H200" in details
    verdict, memory, _ = told()[-1]
    assert "Fits on" in verdict
    assert "Fits on" not in memory, "said once"
    told(rank=256)
    peaks = [found["peak"] for _, found in forecast._told.values() if found["machine"]["key"] == "here"]
    assert peaks[0] < peaks[1], "a larger adapter needs more"


def test_what_does_not_fit_offers_what_makes_it_fit(helpers, large):
    """Every change that is offered can be put into the form, and then it fits."""
    asked = {"method": "lora", "memory": "auto", "max_length": 1024}
    memory = told(large, "t4", choice=None, **asked)[-1][1]
    assert "Does not fit on the T4" in memory
    offered = changes_in(memory)
    assert offered
    for wanted in offered:
        form = forecast.change(None, None, json.dumps(wanted), large, **asked)
        filled = dict(zip(settings.FIELDS, form[1:], strict=True))
        said = {name: filled[name] for name in wanted}
        assert re.search("(Fits|Just about fits) on the T4", told(large, "t4", choice=None, **{**asked, **said})[-1][1])


def test_a_change_is_put_into_the_form():
    """Its own fields and no others; another method comes with its learning rate; a preset that is changed is none."""
    skipped = gr.skip()
    preset, *fields = forecast.change(None, None, '{"memory": "4-bit", "micro_batch": 1}', "tiny-chat", epochs=2)
    filled = dict(zip(settings.FIELDS, fields, strict=True))
    assert (filled["memory"], filled["micro_batch"], filled["epochs"], preset) == ("4-bit", 1, skipped, skipped)
    said = '{"method": "lora", "learning_rate": 0.0}'
    filled = dict(zip(settings.FIELDS, forecast.change(None, None, said, "x/y", method="full")[1:], strict=True))
    assert filled["learning_rate"] == settings.usual_rate("lora", "x/y") > 0
    assert forecast.change(None, None, '{"rank": 4}', "tiny-chat")[0] is None


@pytest.mark.parametrize(
    "said", [None, "", "[]", "{}", '{"rank": 0}', '{"no_setting": 1}', '{"rank": "x"}', "[" * 9999]
)
def test_a_change_the_page_never_offers_is_refused(said):
    """With a sentence, whatever stands in it."""
    with pytest.raises(gr.Error):
        forecast.change(None, None, said, "tiny-chat")


def test_what_is_forecast_is_asked_once(helpers):
    """As long as it is fresh; another setting is another question."""
    told()
    asked = dict(forecast._told)
    told()
    assert forecast._told == asked
    told(rank=4)
    assert len(forecast._told) == 2
    key = next(iter(asked))
    forecast._told[key] = (time.monotonic() - 2 * forecast.FRESH_SECONDS, asked[key][1])
    told()
    assert forecast._told[key][0] > asked[key][0]


def test_rows_are_handed_on_as_the_data_tab_counted_them(helpers, tiny):
    """Those that are learned from, a sample standing for all; where nothing was counted, nothing."""
    wanted = settings.read({"epochs": 3})
    asked = forecast.Question(forecast._source(CHOICE, None), str(tiny), wanted)
    found = forecast._lengths(asked)
    assert (found["rows"], found["max"]) == (380, 36)
    assert found["tokens"] == pytest.approx(380 * found["mean"], abs=1)
    assert 0 < found["learned"] < 1
    assert forecast._lengths(asked._replace(source=None)) is None
    assert inspection.lengths({"statistics": None, "train": 3}) is None


def test_a_page_that_shows_another_tab_asks_for_nothing(large):
    """What it draws stays as it is, and no counter is started."""
    assert told(large, None) == [(gr.skip(),) * 3]


def test_what_can_not_be_is_not_forecast(helpers):
    """The plan, the model's line and the Data tab say why; here is a quiet sentence, or nothing."""
    assert told(epochs=0)[-1] == ("", "", "")
    assert told("")[-1] == ("", "", "")
    verdict, memory, details = told("nobody/has-this")[-1]
    assert texts.NO_FORECAST in verdict
    assert (memory, details) == ("", "")
    assert texts.NO_FORECAST in told(machine="abacus")[-1][0]


def test_a_guest_is_told_nothing(monkeypatch):
    """On a Space; and can change nothing."""
    monkeypatch.setenv("SPACE_ID", "somebody/space")
    assert told() == [("", "", "")]
    with pytest.raises(gr.Error):
        forecast.change(None, None, '{"rank": 4}', "tiny-chat")


def test_an_earlier_run_tells_the_time_at_once(helpers, make_run, monkeypatch):
    """While the counter still works out the memory; what it says then takes its place, in the same words."""
    folder, begun = make_run(batch_size=8), time.time()
    steps = [Event("loss", "train", begun + 2.0 * step, step, {"loss": 1.0}) for step in range(1, 11)]
    for event in (Event("started", "train", begun, None, {"pid": 1, "from_step": 0}), *steps):
        events.append(folder / "events.jsonl", event)
    monkeypatch.setattr(forecast, "PATIENCE_SECONDS", 0.0)
    children.COUNTER.end()  # it knows another test's home
    first, last = told()
    known = texts.TIME_KNOWN.format(time="5 min", run="test")
    assert texts.FORECASTING in first[0]
    assert known in first[0]
    assert texts.FORECASTING not in last[0]
    assert known in last[0]
    by_run = {"total": 290.0, "per_step": 2.0, "from": "earlier run", "run": "test"}
    assert fits.takes({**FOUND, "seconds": by_run}) == known
    assert fits.takes({**FOUND, "seconds": None}) == texts.TIME_UNKNOWN


# --- what a run tells of its memory


def test_a_run_tells_what_was_forecast_and_what_was_measured(make_run):
    """And how many rows it holds at once, with those that were too many."""
    folder = make_run()
    assert fits.measured(live.look(folder).fit) == ""
    found = {"micro_batch": 8, "batch_size": 8, "device": "cpu", "forecast_bytes": int(1.3 * GIB), "measured_bytes": int(1.2 * GIB),
             "longest": 36, "seconds_per_step": 0.1, "halved": []}  # fmt: skip
    fit.write(folder, found)
    said = live.panel(live.look(folder), time.time(), True)
    assert "Memory: forecast 1.3 GB, measured 1.2 GB, 8 rows at a time." in said
    halved = [{"from": 8, "to": 4, "step": 0, "why": "probe"}, {"from": 4, "to": 1, "step": 3, "why": "step"}]
    fit.write(folder, {**found, "micro_batch": 1, "measured_bytes": None, "halved": halved})
    said = live.panel(live.look(folder), time.time(), True)
    assert "Memory: forecast 1.3 GB, 1 row at a time, as 8 were too many." in said


def test_a_damaged_fit_breaks_no_page(make_run):
    """Whatever stands in the file of an imported run."""
    folder = make_run()
    whole = {
        "micro_batch": 2,
        "batch_size": 8,
        "device": "cpu",
        "forecast_bytes": EVIL,
        "halved": [EVIL, {"from": EVIL}],
    }
    for content in ("", "[]", '{"micro_batch": 0}', json.dumps(whole)):
        (folder / fit.NAME).write_text(content)
        assert EVIL not in live.panel(live.look(folder), time.time(), True)
