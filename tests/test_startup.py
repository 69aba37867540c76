"""Imports that the garbage collector leaves alone."""

import gc
import subprocess
import sys

import pytest

from pipeline import jobs, startup

MODULE = """
import gc, sys
from pipeline import startup
before = gc.isenabled()
startup.settle()
print(__name__, before, gc.isenabled(), gc.get_freeze_count() > 1000, sys.argv[1:])
"""


@pytest.fixture(autouse=True)
def thaw():
    yield
    gc.unfreeze()
    gc.enable()


def test_what_is_imported_in_the_block_is_collected_no_more():
    """Also where an import fails, the collector works on afterwards."""
    with startup.undisturbed():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 1000
    with pytest.raises(ImportError), startup.undisturbed():
        import pipeline.no_such_module  # type: ignore[import-not-found]  # noqa: F401
    assert gc.isenabled()


def test_a_module_is_started_with_its_arguments(tmp_path):
    (tmp_path / "started.py").write_text(MODULE)
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.startup", "started", "5"], cwd=tmp_path, capture_output=True, text=True,
        env={**jobs.environment(), "PYTHONPATH": str(tmp_path) + ":" + ":".join(filter(None, sys.path))},
    )  # fmt: skip
    assert done.stdout.split() == ["__main__", "False", "True", "True", "['5']"], done.stderr
