"""Only a checkpoint that was written to its end counts."""

import os
from pathlib import Path

import pytest

from pipeline import checkpoints

FILES = {"adapter_model.safetensors": b"weights", "optimizer.pt": b"moments", "deep/er/state.json": b"{}", "empty": b""}


def written(run: Path, step: int, sealed: bool = True) -> Path:
    checkpoint = run / checkpoints.FOLDER / f"checkpoint-{step}"
    for name, content in FILES.items():
        (checkpoint / name).parent.mkdir(parents=True, exist_ok=True)
        (checkpoint / name).write_bytes(content)
    if sealed:
        checkpoints.seal(checkpoint)
    return checkpoint


def test_a_sealed_checkpoint_is_whole_and_can_be_sealed_again(tmp_path):
    """The seal lists every file but itself."""
    checkpoint = written(tmp_path, 5)
    assert checkpoints.is_whole(checkpoint)
    checkpoints.seal(checkpoint)
    assert checkpoints.is_whole(checkpoint)


@pytest.mark.parametrize("name", [*FILES, checkpoints.SEAL])
@pytest.mark.parametrize("damage", ["missing", "truncated", "grown", "a folder"])
def test_any_damaged_file_is_seen(tmp_path, name, damage):
    """A file that is missing, shorter, longer or no file breaks the seal."""
    checkpoint = written(tmp_path, 5)
    file = checkpoint / name
    content = file.read_bytes()
    file.unlink()
    if damage == "truncated":
        file.write_bytes(content[:-1]) if content else None
    elif damage == "grown":
        file.write_bytes(content + b"x")
    elif damage == "a folder":
        file.mkdir()
    assert not checkpoints.is_whole(checkpoint)


@pytest.mark.parametrize("seal", ["", "{}", "[]", "5", '"text"', "null", '{"optimizer.pt": "7"}', "[" * 50_000])
def test_a_seal_that_says_nothing_seals_nothing(tmp_path, seal):
    """Whatever a seal holds, it is no error to look at it."""
    checkpoint = written(tmp_path, 5)
    (checkpoint / checkpoints.SEAL).write_text(seal)
    assert not checkpoints.is_whole(checkpoint)


def test_newest_is_the_highest_whole_step(tmp_path):
    """By number, not by name or time; half-written ones and other folders don't count."""
    nine, ten = written(tmp_path, 9), written(tmp_path, 10)
    written(tmp_path, 11, sealed=False)
    for other in ("checkpoint-²", "checkpoint-", "checkpoint-x", "tmp-checkpoint-12"):
        (tmp_path / checkpoints.FOLDER / other).mkdir()
    (tmp_path / checkpoints.FOLDER / "checkpoint-99").write_text("a file")
    os.utime(nine)
    assert checkpoints.newest(tmp_path) == ten
    assert [checkpoints.step(c) for c in checkpoints.all_of(tmp_path)] == [9, 10, 11]


def test_a_run_without_checkpoints_has_none(tmp_path):
    """Not even the folder has to be there."""
    assert checkpoints.newest(tmp_path) is None
    assert checkpoints.all_of(tmp_path) == []
