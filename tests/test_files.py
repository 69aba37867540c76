"""A file or folder is there whole, or as it was before."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import files


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A folder that was there before."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "weights").write_text("old")
    return folder


def test_a_folder_takes_the_place_of_the_old_one(adapter):
    """When the block ends well, the new folder stands alone: no file of the old one is left in it."""
    with files.whole_folder(adapter) as temporary:
        (temporary / "config").write_text("new")
        assert (adapter / "weights").read_text() == "old"
    assert names(adapter) == {"config"}
    assert names(adapter.parent) == {"adapter"}


def test_an_exception_leaves_the_old_folder_and_nothing_else(adapter):
    """What failed on its way was never there."""

    def write_half() -> None:
        with files.whole_folder(adapter) as temporary:
            (temporary / "weights").write_text("half")
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        write_half()
    assert (adapter / "weights").read_text() == "old"
    assert names(adapter.parent) == {"adapter"}


def test_a_rename_that_fails_does_not_cost_the_old_folder(adapter):
    """The old folder is only thrown away once the new one stands in its place."""
    with pytest.raises(FileNotFoundError), files.whole_folder(adapter) as temporary:
        temporary.rmdir()
    with files.whole_folder(adapter) as temporary:
        assert (adapter / "weights").read_text() == "old"
        (temporary / "weights").write_text("new")
    assert names(adapter.parent) == {"adapter"}


KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline import files
final, moment = Path(sys.argv[1]), sys.argv[2]
real = os.rename
def rename(source, target):
    if moment == "between renames" and Path(target) == final:
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, target)
os.rename = rename
with files.whole_folder(final) as temporary:
    (temporary / "weights").write_text("half")
    if moment == "while writing":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("moment", ["while writing", "between renames"])
def test_a_kill_leaves_nothing_that_looks_finished(adapter, moment):
    """After kill -9 the name shows the old folder or none; the next write sweeps up, and loses nothing if it fails."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(adapter), moment], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not adapter.exists() or (adapter / "weights").read_text() == "old"
    with pytest.raises(RuntimeError), files.whole_folder(adapter):
        raise RuntimeError
    assert (adapter / "weights").read_text() == "old"
    assert names(adapter.parent) == {"adapter"}


def test_json_is_written_whole_or_not_at_all(tmp_path):
    """What can't be written leaves the old file, and no leftover."""
    file = tmp_path / "report.json"
    files.write_json(file, {"a": 1})
    endless: list = []
    endless.append(endless)
    with pytest.raises(ValueError, match="Circular"):
        files.write_json(file, endless)
    assert json.loads(file.read_text()) == {"a": 1}
    assert names(tmp_path) == {"report.json"}


def test_json_over_a_folder_leaves_no_leftover(tmp_path):
    """A rename that fails takes its temporary file with it."""
    (tmp_path / "report.json").mkdir()
    with pytest.raises(IsADirectoryError):
        files.write_json(tmp_path / "report.json", {})
    assert names(tmp_path) == {"report.json"}


def test_any_text_survives_a_json_file(tmp_path):
    """Readable as it is where UTF-8 can hold it, and even half a surrogate pair comes back."""
    files.write_json(tmp_path / "a.json", ["日本\U0001f600", "odd \udcff \\ name"])
    assert "日本\U0001f600" in (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == ["日本\U0001f600", "odd \udcff \\ name"]


WRITES = """
import sys
from pathlib import Path
from pipeline import files
number = 0
while True:
    number += 1
    files.write_json(Path(sys.argv[1]), [number] * 20_000)
    print(number, flush=True)
"""


def test_a_kill_while_json_is_written_leaves_whole_json(tmp_path):
    """Whatever the moment of the kill, the file reads as one of those that were written."""
    file = tmp_path / "report.json"
    with subprocess.Popen([sys.executable, "-c", WRITES, str(file)], stdout=subprocess.PIPE) as writer:
        for _ in range(5):
            writer.stdout.readline()
        os.kill(writer.pid, signal.SIGKILL)
    found = json.loads(file.read_text())
    assert len(found) == 20_000
    assert len(set(found)) == 1
