"""The home folder is made and proven on first use, or refused with a sentence."""

import stat
import threading
from pathlib import Path

import pytest

from pipeline import home
from pipeline.errors import UserError


def test_a_home_is_made_for_its_owner_only_and_left_clean(tmp_path, monkeypatch):
    """It may be several folders deep and have any name; the checks leave nothing behind."""
    folder = tmp_path / "a b" / "ü ? #"
    monkeypatch.setenv("TUNING_FORK_HOME", str(folder))
    assert home.home() == folder
    assert list(folder.iterdir()) == []
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert home.runs() == folder / "runs"
    assert home.runs().is_dir()


@pytest.mark.parametrize("asked", ["runs", "./runs", "../runs", "~nobody-is-called-this/runs"])
def test_a_relative_home_is_refused(monkeypatch, tmp_path, asked):
    """Where it lies would depend on where a command was typed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNING_FORK_HOME", asked)
    with pytest.raises(UserError, match="give an absolute path"):
        home.home()
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_can_not_be_written_is_refused(monkeypatch, tmp_path):
    """The sentence names the folder, the reason and the way out."""
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("TUNING_FORK_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(UserError, match=r"file/home can't hold runs \(.*\); set TUNING_FORK_HOME"):
        home.home()
    monkeypatch.setenv("TUNING_FORK_HOME", "/proc/tuning-fork")
    with pytest.raises(UserError, match="can't hold runs"):
        home.home()


def test_tilde_is_the_users_folder_and_nothing_asked_is_the_users_data(monkeypatch, tmp_path):
    """Without TUNING_FORK_HOME runs live where the system keeps a user's data."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("TUNING_FORK_HOME", "~/forks")
    assert home.home() == tmp_path / "forks"
    monkeypatch.setenv("TUNING_FORK_HOME", "")
    assert tmp_path in home.home().parents
    assert home.home().name == "tuning-fork"


def test_first_use_by_many_at_once(monkeypatch, tmp_path):
    """Sixteen threads that check a new home at the same time all get it."""
    folder = tmp_path / "busy"
    monkeypatch.setenv("TUNING_FORK_HOME", str(folder))
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(home.runs())) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [folder / "runs"] * 16


def test_a_home_that_was_deleted_is_made_again(monkeypatch, tmp_path):
    """Somebody who clears the folder while the app runs loses runs, not the app."""
    assert home.runs().is_dir()
    home.runs().rmdir()
    home.home().rmdir()
    assert home.runs().is_dir()
