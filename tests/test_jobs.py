"""The life of a run: real child processes by the job protocol, doing next to nothing."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import checkpoints, device, events, files, home, job, jobs
from pipeline.__main__ import main
from pipeline.errors import UserError
from pipeline.schema import Event, Prepared, Row, Run, Source, TrainConfig

MODULE = """
import sys
if __name__ == "__main__":
    from pipeline import job
    sys.exit(job.main({name!r}))
import ctypes, signal, time
from pipeline.errors import UserError
def work(job):
"""
SLEEP = "job.phase('asleep')\ntime.sleep(60)"
DONE = "return 'finished', {}"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """toy(body, name="train") makes `pipeline.<name>` a job that does `body`, in every process started from here."""
    package = tmp_path / "toys"
    package.mkdir()
    (package / "sitecustomize.py").write_text(f"import pipeline\npipeline.__path__.insert(0, {str(package)!r})")
    monkeypatch.setenv("PYTHONPATH", str(package))

    def make(body: str, name: str = "train") -> None:
        (package / f"{name}.py").write_text(MODULE.format(name=name) + textwrap.indent(body, "    "))

    return make


def prepared(held_out: int = 1) -> Prepared:
    row: Row = {"row": 1, "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    return Prepared((row,), (), (row,) * held_out, (), "messages", {"messages": "messages"}, 2, "fingerprint")


def create(name: str = "Tiny: Yoda!") -> Path:
    return jobs.create(Run("/models/tiny", Source("/rows.jsonl"), name, TrainConfig(rank=4)), prepared())


@pytest.fixture
def run():
    """A new run; what works on it is ended afterwards."""
    folder = create()
    yield folder
    if jobs.alive(folder):
        os.kill(pid(folder), signal.SIGKILL)


def pid(folder: Path) -> int:
    told = jobs.view(folder)
    return told.jobs[told.current].pid


def until(true: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def reaches(folder: Path, phase: str) -> None:
    until(lambda: jobs.view(folder).jobs["train"].phase == phase)


def ended(folder: Path) -> str:
    until(lambda: jobs.status(folder) != "running")
    return jobs.status(folder)


def kinds(folder: Path, kind: str) -> list[Event]:
    return [event for event in events.since(folder / "events.jsonl", 0)[0] if event.kind == kind]


def test_a_new_run_is_a_whole_folder(run):
    """It holds exactly what was asked and the three parts, reads back the same, and nobody has worked on it."""
    parts = {"train.jsonl", "validation.jsonl", "held_out.jsonl"}
    assert {p.name for p in run.iterdir()} == {"config.json", "source.json", "run.json", "control", *parts}
    assert run.name.startswith("tiny-yoda-")
    assert jobs.load(run) == Run("/models/tiny", Source("/rows.jsonl"), "Tiny: Yoda!", TrainConfig(rank=4))
    assert (jobs.status(run), jobs.job_status(run, "merge")) == ("new", "new")
    assert json.loads((run / "run.json").read_text())["counts"] == {"train": 1, "validation": 0, "held_out": 1}


def test_twenty_runs_at_once_are_twenty_runs():
    """The same name in the same second is no clash, and no half-made folder is left."""
    threads = [threading.Thread(target=create) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(jobs.listing()) == len(list(home.runs().iterdir())) == 20


def test_a_run_that_can_not_be_written_leaves_nothing():
    """Whole or not at all: not even a hidden folder stays."""
    broken = Prepared(({"row": 1, "messages": [object()]},), (), (), (), "messages", {}, 1, "")
    with pytest.raises(TypeError):
        jobs.create(Run("m", Source("/rows.jsonl"), "name"), broken)
    assert list(home.runs().iterdir()) == []


def test_a_job_runs_and_finishes(toy, run):
    """start returns once the first event is told, the lock is held from then on, and a final event ends it."""
    toy(
        "job.phase('working', steps=3)\nwhile not job.stop_asked():\n    time.sleep(0.01)\nreturn 'finished', {'kept': True}"
    )
    jobs.start(run, "train")
    assert (jobs.status(run), jobs.job_status(run, "train")) == ("running", "running")
    assert kinds(run, "started")[0].values["pid"] == pid(run)
    with pytest.raises(UserError, match=r"is being worked on \(train: .*\); wait for it or stop it first"):
        jobs.start(run, "train")
    reaches(run, "working")
    jobs.stop(run)
    assert ended(run) == "finished"
    assert jobs.view(run).jobs["train"].values["kept"] is True
    assert jobs.summary(run)["steps"] == 3


def test_stop_is_heard_and_forgotten_at_the_next_start(toy, run):
    """A stopped job says so; what was asked of it is not asked of the next one."""
    toy("while not job.stop_asked():\n    time.sleep(0.01)\nreturn 'stopped', {'kept': True}")
    jobs.start(run, "train")
    jobs.stop(run)
    assert ended(run) == "stopped"
    toy(DONE)
    jobs.start(run, "train")
    assert ended(run) == "finished"


def test_a_mistake_is_told_as_its_sentence(toy, run):
    """UserError -> failed with that sentence, marked as the user's, and no traceback anywhere."""
    toy("raise UserError('row 3: no answer; add one.')")
    jobs.start(run, "train")
    assert ended(run) == "failed"
    [event] = kinds(run, "failed")
    assert (event.text, event.values["mistake"]) == ("row 3: no answer; add one.", True)
    assert "Traceback" not in (run / "log.txt").read_text()


def test_a_bug_is_told_in_a_sentence_and_traced_in_the_log(toy, run):
    """Any other exception -> failed with what it was; the whole story is in log.txt."""
    toy("return {}['missing']")
    jobs.start(run, "train")
    assert ended(run) == "failed"
    [event] = kinds(run, "failed")
    assert event.text.startswith("KeyError: 'missing'")
    assert "mistake" not in event.values
    assert "Traceback" in (run / "log.txt").read_text()


def test_a_killed_job_is_interrupted_and_its_lock_free(toy, run):
    """After kill -9 the run is interrupted at once, and can be started again."""
    toy(SLEEP)
    jobs.start(run, "train")
    os.kill(pid(run), signal.SIGKILL)
    assert ended(run) == "interrupted"
    assert not jobs.alive(run)
    toy(DONE)
    jobs.start(run, "train")
    assert ended(run) == "finished"


def test_watchers_do_not_see_each_other(toy, run):
    """Twelve threads that look at an interrupted run at the same time never take one another for a job."""
    toy(SLEEP)
    jobs.start(run, "train")
    os.kill(pid(run), signal.SIGKILL)
    until(lambda: not jobs.alive(run))
    seen: list[set[bool]] = []
    threads = [threading.Thread(target=lambda: seen.append({jobs.alive(run) for _ in range(300)})) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [{False}] * 12


def test_cancel_ends_a_job_in_the_middle_of_anything(toy, run):
    """A job that sleeps, or loads, ends within seconds and says stopped."""
    toy(SLEEP)
    jobs.start(run, "train")
    reaches(run, "asleep")
    begun = time.monotonic()
    jobs.cancel(run)
    assert time.monotonic() - begun < 3
    assert (jobs.status(run), jobs.job_status(run, "train")) == ("stopped", "stopped")
    assert len(kinds(run, "stopped")) == 1


def test_cancel_ends_a_job_that_hears_nothing(toy, run, monkeypatch):
    """One that is deaf to the file and to SIGTERM is killed; the run is stopped, not interrupted."""
    monkeypatch.setattr(jobs, "CANCEL_SECONDS", 0.4)
    toy("signal.signal(signal.SIGTERM, signal.SIG_IGN)\njob.phase('deaf')\nctypes.PyDLL(None).sleep(60)")
    jobs.start(run, "train")
    reaches(run, "deaf")
    jobs.cancel(run)
    assert not jobs.alive(run)
    assert (jobs.status(run), jobs.job_status(run, "train")) == ("stopped", "stopped")


def test_only_what_runs_can_be_stopped(run):
    """Stopping a run nobody works on is refused, and leaves nothing that would stop the next job."""
    for end in (jobs.stop, jobs.cancel):
        with pytest.raises(UserError, match=r"is not running \(new\)"):
            end(run)
    assert list((run / "control").iterdir()) == []


def test_of_two_starts_at_once_one_wins(toy, run):
    """The other is refused with a sentence, and its process leaves no event."""
    toy(SLEEP)
    refused: list[str] = []

    def start() -> None:
        try:
            jobs.start(run, "train")
        except UserError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert "is being worked on" in refused[0]
    assert len(kinds(run, "started")) == 1
    assert jobs.status(run) == "running"


def test_a_job_that_is_not_alone_ends_with_3(toy, run):
    """Started by hand beside another, it says so, tells no event, and never takes its turn later."""
    toy(SLEEP)
    jobs.start(run, "train")
    told = (run / "events.jsonl").read_bytes()
    second = subprocess.run(
        [sys.executable, "-m", "pipeline.train", str(run)], env=jobs.environment(), capture_output=True, text=True
    )
    assert (second.returncode, second.stderr) == (3, f"{run.name}: another job is working on this run.\n")
    assert (run / "events.jsonl").read_bytes().startswith(told)
    assert len(kinds(run, "started")) == 1


@pytest.mark.parametrize("arguments", [[], ["/nowhere"], ["."]])
def test_a_job_wants_the_folder_of_a_run(toy, tmp_path, arguments):
    """Anything else is a mistake in one line, and nothing is left in a folder that is no run."""
    toy(DONE)
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.train", *arguments],
        env=jobs.environment(), cwd=home.home(), capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, "usage: python -m pipeline.train FOLDER, the folder of a run\n")
    assert list(home.home().iterdir()) == []


def test_a_job_that_can_not_begin_is_told_with_its_last_words(toy, run):
    """A child that ends before its first event is a sentence with the end of its log."""
    with pytest.raises(UserError, match=r"ended before it began \(exit 1\): .*No module named pipeline.nothing"):
        jobs.start(run, "nothing")
    assert jobs.status(run) == "new"


def test_a_final_event_is_told_once(run):
    """Whoever ends first has the last word: nothing is told after it, by any thread."""
    one = job.Job(run, "train")
    for kind in ("finished", "stopped", "note"):
        one.emit(kind)
    assert [event.kind for event in events.since(run / "events.jsonl", 0)[0]] == ["finished"]


def test_a_finished_job_turns_into_the_next_without_a_gap(toy, run):
    """Whoever watches sees running until the last one has ended."""
    toy(DONE)
    toy("time.sleep(0.3)\nreturn 'finished', {}", "evaluate")
    jobs.start(run, "train", then="evaluate")
    seen = []
    while not seen or seen[-1] == "running":
        seen.append(jobs.status(run))
    assert seen[-1] == "finished"
    assert {name: state.ended for name, state in jobs.view(run).jobs.items()} == {
        "train": "finished",
        "evaluate": "finished",
    }


def test_a_stopped_job_does_not_turn_into_the_next(toy, run):
    """Who stops training did not ask for an evaluation."""
    toy("return 'stopped', {'kept': True}")
    jobs.start(run, "train", then="evaluate")
    assert ended(run) == "stopped"
    assert list(jobs.view(run).jobs) == ["train"]


def test_resume_goes_on_where_the_run_is(toy, run):
    """An interrupted training is trained on and then judged; a judged run has nothing left to do."""
    toy(SLEEP)
    toy(DONE, "evaluate")
    jobs.start(run, "train")
    assert jobs.resume(run) == "train", "it is being done already"
    os.kill(pid(run), signal.SIGKILL)
    ended(run)
    toy(DONE)
    assert jobs.resume(run) == "train"
    assert ended(run) == "finished"
    assert jobs.job_status(run, "evaluate") == "finished"
    assert jobs.resume(run) == ""
    assert [event.job for event in kinds(run, "started")] == ["train", "train", "evaluate"]


def done(run: Path) -> None:
    """A run whose training and evaluation are told to be done."""
    for name in ("train", "evaluate"):
        for kind in ("started", "finished"):
            events.append(run / "events.jsonl", Event(kind, name, time.time(), None, {"pid": 1, "from_step": 0}))


def test_a_finished_run_is_trained_on_for_more_epochs(toy, run):
    """Its settings ask for them, its history tells when; it is trained, then judged again."""
    done(run)
    toy(DONE)
    toy(DONE, "evaluate")
    (run / "chosen.json").write_text('{"step": 1}')
    jobs.extend(run, 5)
    assert ended(run) == "finished"
    assert [event.job for event in kinds(run, "started")] == ["train", "evaluate"] * 2
    assert jobs.load(run).config == TrainConfig(rank=4, epochs=5.0)
    [extended] = jobs.read_json(run / "run.json")["extended"]
    assert extended["epochs"] == 5.0
    assert abs(extended["time"] - time.time()) < 60
    assert not (run / "chosen.json").exists(), "training chooses anew"


@pytest.mark.parametrize("epochs", [3.0, 1, 0, -1, float("nan"), 1001])
def test_more_epochs_are_more(toy, run, epochs):
    """As many as before, fewer, or more than any training may have: nothing is changed and nothing begins."""
    done(run)
    before = {name: (run / name).read_bytes() for name in ("config.json", "run.json", "events.jsonl")}
    with pytest.raises(UserError, match="epochs: "):
        jobs.extend(run, epochs)
    assert {name: (run / name).read_bytes() for name in before} == before


def test_a_run_that_can_not_go_on_keeps_its_settings(toy, run):
    """Where the job does not begin, the epochs are what they were."""
    done(run)
    (run.parents[2] / "toys" / "train.py").write_text("import sys\nsys.exit('no')")
    with pytest.raises(UserError, match="ended before it began"):
        jobs.extend(run, 5)
    assert jobs.load(run).config.epochs == 3.0
    assert "extended" not in jobs.read_json(run / "run.json")


def test_an_imported_run_has_nothing_to_learn_from(run):
    """It says so."""
    files.write_json(run / "run.json", {**jobs.read_json(run / "run.json"), "imported": True})
    with pytest.raises(UserError, match="was imported"):
        jobs.extend(run, 5)


def checkpoint(run: Path, step: int) -> None:
    folder = run / checkpoints.FOLDER / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"x")
    checkpoints.seal(folder)


def test_another_checkpoint_is_adopted_and_then_judged(toy, run):
    """What was said of the adapter before holds no longer, from the moment the job begins; training itself stays done."""
    done(run)
    checkpoint(run, 7)
    toy(
        "job.phase('asleep')\nwhile not (job.folder / 'go').exists():\n    time.sleep(0.01)\nreturn 'finished', {}",
        "adopt",
    )
    toy(DONE, "evaluate")
    assert jobs.job_status(run, "evaluate") == "finished"
    jobs.adopt(run, 7)
    assert jobs.read_json(run / "chosen.json") == {"step": 7}
    until(lambda: jobs.phase(run) == "adopt: asleep")
    assert (jobs.status(run), jobs.job_status(run, "evaluate")) == ("running", "new")
    (run / "go").touch()
    assert ended(run) == "finished"
    assert [event.job for event in kinds(run, "started")] == ["train", "evaluate", "adopt", "evaluate"]
    assert jobs.job_status(run, "evaluate") == "finished"


def test_an_adoption_that_was_not_judged_is_judged_by_resume(toy, run):
    """Resume judges, it does not train again."""
    done(run)
    checkpoint(run, 7)
    toy("return 'stopped', {}", "adopt")
    toy(DONE, "evaluate")
    jobs.adopt(run, 7)
    until(lambda: not jobs.working(run))
    assert jobs.resume(run) == "evaluate"
    assert ended(run) == "finished"
    assert jobs.resume(run) == ""


def test_an_adoption_that_was_killed_is_done_before_it_is_judged(toy, run):
    """Else the adapter that was to be replaced would be judged in its place."""
    done(run)
    checkpoint(run, 7)
    toy(SLEEP, "adopt")
    toy(DONE, "evaluate")
    jobs.adopt(run, 7)
    os.kill(pid(run), signal.SIGKILL)
    until(lambda: not jobs.working(run))
    toy(DONE, "adopt")
    assert jobs.resume(run) == "adopt"
    assert ended(run) == "finished"
    assert [event.job for event in kinds(run, "started")] == ["train", "evaluate", "adopt", "adopt", "evaluate"]
    assert jobs.resume(run) == ""


def test_a_half_written_event_is_mended_by_the_next_job(toy, run):
    """What a kill in the middle of a write left does not swallow the next job's first event."""
    (run / "events.jsonl").write_bytes(b'{"kind":"loss","jo')
    toy(DONE)
    jobs.start(run, "train")
    assert ended(run) == "finished"
    assert all(json.loads(line) for line in (run / "events.jsonl").read_text().splitlines())


def test_who_waits_for_the_device_says_so_and_can_be_stopped(toy, run):
    """While another holds the device the job is queued, names whom it waits for, and stop ends the waiting."""
    toy(DONE)
    with device.use("training of something else", print):
        jobs.start(run, "train")
        until(lambda: bool(kinds(run, "phase")))
        assert kinds(run, "phase")[0].text == "Waiting for the device: training of something else."
        assert device.waiting()
        jobs.stop(run)
        assert ended(run) == "stopped"


def test_one_damaged_run_does_not_hide_the_others(run):
    """The list shows every run, whatever its events, settings and report hold."""
    damaged = create("damaged")
    (damaged / "events.jsonl").write_bytes(b'{"kind":"loss","job":5,"time":"x"}\n\xff\xfe\n\n[]\n{"kind":"started"')
    for name in ("config.json", "source.json", "run.json", "report.json"):
        (damaged / name).write_bytes(b"\xff{")
    (home.runs() / "a-file").write_text("no run")
    (home.runs() / ".half-made").mkdir()
    assert {found["run"]: found["status"] for found in jobs.listing()} == {damaged.name: "new", run.name: "new"}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("config.json", b"{}"),
        ("config.json", b'{"model": 5, "name": "x"}'),
        ("config.json", b'{"model": "m", "name": "x", "rank": -1}'),
        ("config.json", b"[" * 100_000),
        ("source.json", b"\xff"),
        ("source.json", b'{"path": null}'),
        ("source.json", None),
    ],
)
def test_a_damaged_run_is_told_as_a_sentence(run, file, content):
    """A run whose settings can't be read says so instead of breaking."""
    if content is None:
        (run / file).unlink()
    else:
        (run / file).write_bytes(content)
    with pytest.raises(UserError):
        jobs.load(run)


def test_a_run_without_its_held_out_rows_is_not_resumed(run):
    """Judging nothing in silence would look like having judged."""
    (run / "held_out.jsonl").unlink()
    with pytest.raises(UserError, match="damaged"):
        jobs.resume(run)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../../x", "/", "x" * 5000, "~nobody-is-called-this/x", "a\0b", "none"]
)
def test_what_is_no_run_is_not_found(name):
    """Whatever is given for an id, the answer is a sentence."""
    with pytest.raises(UserError, match="There is no run"):
        jobs.find(name)


def test_a_run_is_found_by_id_path_and_link(run, tmp_path, monkeypatch):
    """All lead to the same folder."""
    (tmp_path / "link").symlink_to(run)
    monkeypatch.chdir(run.parent.parent)
    for name in (run.name, str(run), f"runs/{run.name}", str(tmp_path / "link")):
        assert jobs.find(name) == run.resolve()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MemoryError(), "Out of memory;"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), "Out of memory;"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "Out of memory;"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "Out of memory;"),
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full;"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "The disk is full;"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "The disk is full;"),
        (ValueError("a\n  b " + "x" * 1000), "ValueError: a b xxx"),
    ],
)
def test_a_failure_nobody_foresaw_is_explained(error, sentence):
    """Memory and disk are named with the way out; everything else in one line of bounded length."""
    explained = job.explain(error)
    assert explained.startswith(sentence)
    assert "\n" not in explained
    assert len(explained) < 400


def test_a_child_finds_our_code_and_quiet_libraries(monkeypatch):
    """Whatever the caller's environment, a job imports this pipeline first; the caller's own choices win elsewhere."""
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    found = jobs.environment()
    assert found["PYTHONPATH"].split(os.pathsep) == [str(jobs.ROOT), "/elsewhere"]
    assert found["CUDA_VISIBLE_DEVICES"] == "1"


def test_nobody_is_left_alone_with_a_closed_page(toy, run):
    """A job outlives whoever started it: its starter is killed, the job finishes."""
    toy("job.phase('working')\nwhile not job.stop_asked():\n    time.sleep(0.01)\nreturn 'finished', {}")
    code = "import os, pathlib, sys; from pipeline import jobs\n"
    code += "jobs.start(pathlib.Path(sys.argv[1]), 'train'); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, str(run)], env=jobs.environment(), timeout=60, check=False)
    reaches(run, "working")
    assert jobs.status(run) == "running"
    jobs.stop(run)
    assert ended(run) == "finished"


@pytest.mark.parametrize(
    ("body", "code", "status", "sentence"),
    [
        (DONE, 0, "finished", ""),
        ("return 'stopped', {}", 0, "stopped", ""),
        ("raise UserError('row 3 is bad.')", 2, "failed", "train: row 3 is bad."),
        ("return {}['missing']", 1, "failed", "train: KeyError: 'missing'"),
        ("import os\nos.kill(os.getpid(), 9)", 1, "interrupted", "the process was killed; `python -m pipeline resume"),
    ],
)
def test_the_command_line_tells_how_a_run_ended(toy, run, capsys, body, code, status, sentence):
    """`resume --json` blocks to the end: one object, the exit code of the contract, a failure as one line of its own."""
    toy(body)
    toy(DONE, "evaluate")
    assert main(["resume", run.name, "--json"]) == code
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found.keys() >= {"run", "folder", "status", "seconds", "metrics"}
    assert found["status"] == status
    assert sentence in printed.err
    assert printed.err.count("\n") == bool(sentence)


def test_an_interrupted_command_line_leaves_its_run_alone(toy, run):
    """Ctrl-C at the terminal ends the command with one line and 130; the job goes on."""
    toy(SLEEP)
    command = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "resume", run.name, "--json"],
        env=jobs.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job is born deaf to it
    )  # fmt: skip
    until(lambda: bool(kinds(run, "phase")))
    time.sleep(0.3)
    command.send_signal(signal.SIGINT)
    printed, said = command.communicate(timeout=60)
    assert (command.returncode, printed, said.count("\n")) == (130, "", 1)
    assert jobs.status(run) == "running"


@pytest.mark.parametrize("pid", [-1, 0, 1, 2**22 + 1])
def test_a_damaged_event_never_ends_somebody_else(pid, monkeypatch):
    """Group 1 is every process of this user, 0 and ours are ourselves: they are not even signalled."""
    sent = []
    monkeypatch.setattr(os, "killpg", lambda *signalled: sent.append(signalled))
    jobs._signal_group(pid, signal.SIGTERM)
    jobs._signal_group(os.getpgid(0), signal.SIGTERM)
    assert not sent


@pytest.mark.parametrize("damage", ["NaN", "1e300", "1" + "0" * 400, "-5", '"soon"'])
def test_a_damaged_run_spoils_no_list(make_run, damage):
    """It has its row like the others, with what can be told of it."""
    healthy, damaged = make_run(rows=4), make_run(rows=4)
    file = damaged / "run.json"
    file.write_text(re.sub(r'"created": [\d.]+', f'"created": {damage}', file.read_text()))
    (damaged / "events.jsonl").unlink(missing_ok=True)
    (damaged / "events.jsonl").mkdir()
    listed = {run["run"]: run for run in jobs.listing()}
    assert listed[damaged.name]["created"] == 0.0
    assert listed[damaged.name]["status"] == "new"
    assert listed[healthy.name]["created"] > 0
