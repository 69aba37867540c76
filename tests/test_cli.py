"""The command line's contract: exit codes, one line for a mistake, and with --json one object and nothing else."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import events, example, files, home, jobs
from pipeline.__main__ import main, make_parser, one_object
from pipeline.schema import Check, Event, Prepared, Run, Source, TrainConfig, settings

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "transformers", "peft", "trl", "datasets", "gradio", "numpy", "pyarrow"}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A small dataset with one bad row."""
    file = tmp_path / "rows.jsonl"
    lines = [{"prompt": f"question {i}", "completion": f"answer {i} :smile: [bold]"} for i in range(40)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines) + "not json\n")
    return file


@pytest.fixture
def run() -> Path:
    """A run that was stopped after its second step."""
    row = {"row": 1, "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    prepared = Prepared((row,), (), (row,), (), "messages", {}, 1, "")
    folder = jobs.create(Run("user/model", Source("/rows.jsonl"), "name"), prepared)
    for kind, step, values in (
        ("started", None, {"pid": 1, "from_step": 0}),
        ("phase", None, {"phase": "training", "steps": 5}),
        ("loss", 2, {"loss": 1.5}),
        ("validation", 2, {"loss": float("nan")}),
        ("stopped", None, {"kept": True}),
    ):
        events.append(folder / "events.jsonl", Event(kind, "train", time.time(), step, values))
    return folder


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    assert main([*arguments, "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.count("\n") == 1

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(printed.out, parse_constant=refuse)


def test_inspect_tells_what_a_dataset_holds(capsys, rows):
    """All keys of the contract; rows add up; the bad row is listed by its number."""
    found = as_json(capsys, "inspect", str(rows))
    assert found.keys() == {
        "shape", "columns", "rows", "conversations", "train", "validation", "held_out", "problems", "lengths", "stops", "badge", "statistics", "evidence", "files",
        "trained_token_share", "fingerprint",
    }  # fmt: skip
    assert (found["rows"], found["conversations"], found["shape"]) == (41, 40, "prompt/completion")
    assert found["columns"] == {"prompt": "prompt", "completion": "completion"}
    assert [41] in [problem["rows"] for problem in found["problems"]]


def test_list_and_status_tell_where_runs_stand(capsys, run):
    """The same object for one run and for each in the list; a loss that is no number is null."""
    one = as_json(capsys, "status", run.name)
    assert as_json(capsys, "list") == {"runs": [one]}
    assert (one["run"], one["status"], one["step"], one["steps"]) == (run.name, "stopped", 2, 5)
    assert (one["loss"], one["validation_loss"], one["checkpoint"]) == (1.5, None, None)


def test_a_run_is_renamed_compared_downloaded_and_deleted(capsys, tmp_path):
    """Each verb's one object; nothing is deleted without --yes."""
    one, other = example.install(), home.runs() / "a-copy"
    shutil.copytree(one, other)
    assert as_json(capsys, "rename", other.name, "another name")["name"] == "another name"
    found = as_json(capsys, "diff", one.name, other.name)
    assert [run["name"] for run in found["runs"]] == ["tiny-yoda", "another name"]
    assert found["differences"] == []
    assert found["curves"][0] == found["curves"][1]
    assert found["metrics"]["rougeL"][0] == found["metrics"]["rougeL"][1]
    file = tmp_path / "mine.zip"
    packed = as_json(capsys, "download", other.name, "--out", str(file))
    assert packed == {"run": other.name, "file": str(file), "bytes": file.stat().st_size}
    assert main(["delete", other.name]) == 2
    assert "say so with --yes" in capsys.readouterr().err
    assert as_json(capsys, "delete", other.name, "--yes")["deleted"]
    assert [run["run"] for run in as_json(capsys, "list")["runs"]] == [one.name]


def test_a_person_reads_what_differs(capsys, make_run):
    """A table of the settings that are not the same, then of what came of them."""
    one, other = make_run(rows=4, rank=4), make_run(rows=4, rank=8)
    assert main(["diff", one.name, other.name]) == 0
    printed = capsys.readouterr().out
    assert "rank" in printed
    assert "learning_rate" not in printed
    assert "What came of them" in printed


def test_an_adapter_is_imported(capsys):
    """One object, as of a run that was trained; it is in the list."""
    found = as_json(capsys, "import", str(ROOT / "examples" / "tiny-yoda-run" / "adapter"), "--name", "theirs")
    assert (found["status"], found["imported"], found["name"]) == ("finished", True, "theirs")
    assert [run["run"] for run in as_json(capsys, "list")["runs"]] == [found["run"]]


def test_without_json_a_person_reads_it(capsys, run, rows):
    """A table that names the run; brackets and colons in rows are text, not mark-up."""
    assert main(["list"]) == 0
    assert run.name in capsys.readouterr().out
    assert main(["inspect", str(rows)]) == 0
    assert "40 conversations from 41 rows" in capsys.readouterr().out


def test_answers_are_shown_letter_by_letter(capsys, run):
    """ ":smile:" stays seven characters and "[bold]" six, in a table of answers, too."""
    from pipeline import terminal

    text = ":smile: [bold] [/]"
    side = {"text": text, "tokens": 1, "seconds": 1.0, "stopped": True}
    row = {"messages": [{"content": text}], "reference": text, "base": side, "tuned": side}
    files.write_json(run / "report.json", {"n": 1, "rows": [row], "metrics": {}})
    terminal.show_report(run)
    printed = capsys.readouterr().out
    assert printed.count(":smile:") == printed.count("[bold]") == printed.count("[/]") == 4


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "python -m pipeline: the following arguments are required: VERB"),
        (["trian"], "python -m pipeline: argument VERB: invalid choice: 'trian'"),
        (["inspect"], "python -m pipeline inspect: the following arguments are required: dataset"),
        (["inspect", "no.jsonl"], "no.jsonl"),
        (["inspect", "ROWS", "--max-length", "0"], "--max-length is 0; give a number of tokens from 1 on."),
        (["inspect", "ROWS", "--max-length", "many"], "argument --max-length: invalid int value: 'many'"),
        (["preview", "ROWS", "--model", ""], "model: "),
        (["preview", "ROWS"], "the following arguments are required: --model"),
        (["status", "../../x"], "There is no run '../../x'"),
        (["stop", "none"], "There is no run 'none'"),
        (["adopt", "none"], "the following arguments are required: --step"),
        (["adopt", "none", "--step", "3"], "There is no run 'none'"),
        (["resume", "none", "--epochs", "many"], "argument --epochs: invalid float value: 'many'"),
        (["diff", "none"], "the following arguments are required: run"),
        (["import", "/no/such/folder"], "there is no folder or zip '/no/such/folder'"),
        (["download", "none"], "There is no run 'none'"),
        (["run", "none.json"], "There is no config file none.json"),
        (["run", "none.json", "--length-grouping", "maybe"], "'maybe' is not true or false"),
        (["run", "CONFIG"], "did you mean 'learning_rate'?"),
        (["run", "GOOD", "--rank", "0"], "rank: 0 is outside 1 to 512."),
        (["run", "GOOD", "--epochs", "nan"], "epochs: nan is not a number that can be used."),
        (["run", "GOOD", "--scheduler", "step"], "argument --scheduler: invalid choice: 'step'"),
    ],
)
@pytest.mark.parametrize("flag", [[], ["--json"]])
def test_a_mistake_is_one_line_and_exit_2(capsys, tmp_path, rows, arguments, sentence, flag):
    """On standard error, with nothing on standard output, and no run is made."""
    (tmp_path / "config.json").write_text(json.dumps({"model": "a/b", "source": "rows.jsonl", "lerning_rate": 1}))
    (tmp_path / "good.json").write_text(json.dumps({"model": "a/b", "source": "rows.jsonl"}))
    places = {"ROWS": rows, "CONFIG": tmp_path / "config.json", "GOOD": tmp_path / "good.json"}
    assert main([str(places.get(argument, argument)) for argument in arguments] + (flag if arguments else [])) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert sentence in printed.err
    assert list(home.runs().iterdir()) == []


def test_stop_of_a_run_that_does_not_run_is_a_mistake(capsys, run):
    """It says what the run is instead."""
    assert main(["stop", run.name]) == 2
    assert "is not running (stopped)" in capsys.readouterr().err


def test_help_lists_every_setting_with_its_choices(capsys):
    """`run --help` is drawn from the dataclass: option, help, choices and default of every field."""
    with pytest.raises(SystemExit) as ended:
        main(["run", "--help"])
    assert ended.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    for name, wish in settings(TrainConfig).items():
        assert f"--{name.replace('_', '-')} VALUE" in printed
        assert wish.help in printed
        assert all(choice in printed for choice in wish.choices)


def test_every_setting_can_be_given_as_an_option():
    """An option's text becomes the field's own type."""
    wanted = TrainConfig(rank=8, epochs=2.0, length_grouping=False, scheduler="cosine", loss_on="last answer")
    options = [f"--{name.replace('_', '-')}={getattr(wanted, name)}" for name in settings(TrainConfig)]
    asked = make_parser().parse_args(["run", "config.json", *options])
    assert TrainConfig(**{name: getattr(asked, name) for name in settings(TrainConfig)}) == wanted


def test_json_is_ascii_and_standard():
    """Nouns inside become objects, what is no number becomes null, and any terminal can print it."""
    found = one_object({"check": Check(True, float("inf"), float("nan")), "text": "é\U0001f600\udcff"})
    assert found.isascii()
    assert json.loads(found) == {"check": {"ok": True, "value": None, "tolerance": None}, "text": "é\U0001f600\udcff"}


@pytest.mark.parametrize("arguments", [["list"], ["--help"], ["status", "none"], ["run", "--help"]])
def test_small_questions_are_answered_lightly(arguments):
    """As a real process: no heavy library is imported for them."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "pipeline", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "pipeline.jobs" in imported
    assert not HEAVY & imported
    assert done.returncode == (2 if "none" in arguments else 0)


def test_a_terminal_that_knows_ascii_only_gets_an_answer(tmp_path):
    """Rows in Chinese are no traceback there."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"问{i}", "completion": "答"}) + "\n" for i in range(30)) + "坏\n")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    for flag in ([], ["--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", "inspect", str(rows), *flag],
            cwd=ROOT,
            env=environment,
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr


def test_terminal_never_obeys_a_row(capsys, tmp_path):
    """Escape sequences and markup in somebody's text are shown, not carried out."""
    from pipeline import terminal

    terminal.out.print(terminal.escape("a\x1b]0;owned\x07[bold]b[/]"))
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "[bold]b[/]" in shown
