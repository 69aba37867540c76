"""The house rules that keep the parts apart: who may import whom, what stays light, where things are written down."""

import ast
import inspect
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PIPELINE = sorted((ROOT / "pipeline").rglob("*.py"))
UI = sorted((ROOT / "ui").rglob("*.py"))
APP = [file for file in [ROOT / "app.py"] if file.exists()]
JOBS = [file for file in PIPELINE if "job.main(" in file.read_text() and file.name != "job.py"]
HEAVY = {"torch", "transformers", "datasets", "trl", "peft", "accelerate", "bitsandbytes", "evaluate", "gradio"}
MODELS = HEAVY - {"gradio"}
LIGHT = [
    "schema", "config", "events", "checkpoints", "files", "home", "locks", "device", "job", "jobs", "dataset",
    "inspection", "terminal", "card", "publish", "run_folder", "archive", "differences", "curves", "unpacking", "following",
    "run_verbs", "rounds", "votes", "ledger", "opinions", "judgements", "round_verbs", "measures", "verdict", "exported", "evaluate_verb",
    "word_pieces", "methods", "estimate", "machines", "changes", "earlier", "estimate_verb", "fit", "oom", "__main__",
]  # fmt: skip
DISTRIBUTIONS = {
    "jinja2": "Jinja2",
    "phonenumbers": "phonenumberslite",
}  # import name -> distribution, where they differ


def imported(file: Path) -> set[str]:
    """Every module a file imports, anywhere in it; `from a import b` counts as a and a.b."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}: imports are absolute"
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def tops(file: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(file)}


def name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def pins() -> dict[str, str]:
    """Distribution (without extras) -> what stands behind it in requirements.txt."""
    lines = [line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    found = [re.fullmatch(r"([\w.-]+)(?:\[[\w,-]+\])?(.*)", line) for line in lines if line]
    return {match[1]: match[2] for match in found if match}


@pytest.mark.parametrize("file", PIPELINE, ids=name)
def test_the_pipeline_knows_no_page(file):
    """app -> ui -> pipeline: nothing below imports gradio, ui or app."""
    assert not tops(file) & {"gradio", "ui", "app"}


@pytest.mark.parametrize("file", UI, ids=name)
def test_the_page_knows_no_model(file):
    """ui imports neither app nor what loads models: the page's process stays light."""
    assert not tops(file) & {"app", *MODELS}


@pytest.mark.parametrize("file", APP, ids=name)
def test_the_app_is_a_table_of_contents(file):
    """It imports no model library, and is short."""
    assert not tops(file) & MODELS
    assert len(file.read_text().splitlines()) <= 60


def test_nouns_stand_on_nothing():
    """schema.py and methods.py import the standard library, the error and each other's table, nothing else."""
    allowed = {
        "pipeline",
        "pipeline.errors",
        "pipeline.errors.UserError",
        "pipeline.methods",
        "pipeline.methods.METHODS",
    }
    for noun in ("schema", "methods"):
        ours = imported(ROOT / "pipeline" / f"{noun}.py") - allowed
        assert {module.partition(".")[0] for module in ours} <= sys.stdlib_module_names


def test_stages_flow_one_way():
    """No module of the pipeline imports itself in a circle at import time."""
    edges = {file.stem: top_level_imports(file) for file in PIPELINE}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done:
            for other in sorted(edges.get(module, ())):
                visit(other, (*path, module))
            done.add(module)

    for module in edges:
        visit(module, ())


def top_level_imports(file: Path) -> set[str]:
    found = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module == "pipeline":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("pipeline."):
            found.add(str(node.module).partition(".")[2])
    return found


def test_light_modules_pull_in_nothing_heavy():
    """What the command line and the page import is there at once: no torch, no transformers, no datasets, no gradio."""
    code = "import sys\n" + "".join(f"import pipeline.{module}\n" for module in LIGHT) + "print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {module.partition(".")[0] for module in done.stdout.split()} & {*HEAVY, "numpy", "pyarrow"}


def test_there_are_jobs_to_look_at():
    """The rule below is about these."""
    assert {file.stem for file in JOBS} >= {"train", "evaluate", "merge"}


@pytest.mark.parametrize("file", JOBS, ids=name)
def test_a_job_tells_its_first_event_before_anything_heavy(file):
    """`if __name__ == "__main__"` calls job.main with the module's own name, before every import but the future and sys."""
    body = ast.parse(file.read_text()).body
    place = next(i for i, node in enumerate(body) if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test))
    before = {ast.unparse(node) for node in body[:place] if isinstance(node, ast.Import | ast.ImportFrom)}
    assert before <= {"from __future__ import annotations", "import sys"}
    called = [f"sys.exit(job.main({file.stem!r}{how}))" for how in ("", ", on_device=False")]
    assert ast.unparse(body[place].body[-1]) in called


def test_a_helper_has_a_name_of_its_own():
    """No utils.py, helpers.py or common.py anywhere."""
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
    assert not {name(file) for file in [*PIPELINE, *UI] if file.stem in vague}


@pytest.mark.parametrize("file", [*PIPELINE, *UI, *APP], ids=name)
def test_a_module_says_what_it_is(file):
    """It opens with a docstring, and catches no exception it does not name."""
    tree = ast.parse(file.read_text())
    assert ast.get_docstring(tree)
    bare = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.type is None]
    assert not bare


def test_every_change_must_pass_make_test():
    """.ci/run calls exactly that, and can be run."""
    script = ROOT / ".ci" / "run"
    assert script.read_text().splitlines()[-1] == "exec make test"
    assert script.stat().st_mode & 0o100


@pytest.mark.parametrize("file", [*PIPELINE, *UI, *APP], ids=name)
def test_what_is_imported_is_pinned(file):
    """Every third-party package has its line in requirements.txt, not only through somebody else's."""
    foreign = {top for top in tops(file) if top not in sys.stdlib_module_names and top not in {"pipeline", "ui"}}
    assert {DISTRIBUTIONS.get(top, top) for top in foreign} <= pins().keys()


def test_every_pin_is_one_version():
    """The same versions everywhere, on every day; and one line each."""
    assert pins()
    assert all(re.fullmatch(r"==[\w.+!]+", version) for version in pins().values())
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) == len(pins())


def asks_who(function) -> bool:
    """Whether a handler's first statement finds out who is asking: `who = access.visitor(request, profile, ...)`."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    body = tree.body[0].body[1:] if ast.get_docstring(tree.body[0]) else tree.body[0].body
    return bool(re.match(r"(who = )?access\.visitor\(request, profile[,)]", ast.unparse(body[0])))


def test_every_event_asks_first_who_is_there():
    """All events of the built page, hidden ones and timers too: each can be called over HTTP by anybody."""
    import app

    events = [event for event in app.build().fns.values() if event.fn and not event.fn.__module__.startswith("gradio")]
    assert len(events) > 20
    assert not {f"{event.fn.__module__}.{event.fn.__name__}" for event in events if not asks_who(event.fn)}


def test_the_rule_about_events_can_fail():
    """A handler that looks first and asks later is found, and so is one that asks nobody."""

    def late(request, profile, run):
        folder = run
        who = access.visitor(request, profile)  # noqa: F821
        return folder, who

    def never(request, profile, run):
        """Says nothing."""
        return run

    def good(request, profile, run):
        """Asks."""
        who = access.visitor(request, profile, "train")  # noqa: F821
        return run, who

    assert [asks_who(function) for function in (late, never, good)] == [False, False, True]


def test_every_text_of_the_page_has_a_name_of_its_own():
    """A name given twice in texts.py would change what another tab says; one that nobody reads is left over."""
    assigned = [node for node in ast.parse((ROOT / "ui" / "texts.py").read_text()).body if isinstance(node, ast.Assign)]
    names = [name.id for node in assigned for name in ast.walk(node.targets[0]) if isinstance(name, ast.Name)]
    assert sorted(set(names)) == sorted(names)
    used = "".join(file.read_text() for file in [*UI, *APP])
    assert not {name for name in names if not re.search(rf"texts\.{name}\b", used)}
