"""Only a checkpoint that was written to its end counts."""

import json
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


def looked_at(run: Path, step: int, loss: float | None = None, clock: bool = False) -> Path:
    """A whole checkpoint, with a look at the validation rows at its step where there is a loss."""
    checkpoint = written(run, step, sealed=False)
    looks = [] if loss is None else [{"step": step, "eval_loss": loss}]
    (checkpoint / checkpoints.STATE).write_text(json.dumps({"log_history": looks}))
    if clock:
        checkpoints.mark(checkpoint)
    checkpoints.seal(checkpoint)
    return checkpoint


@pytest.mark.parametrize(
    ("made", "left"),
    [
        ([(1, 3.0), (2, 2.0), (3, 1.0)], [2, 3]),
        ([(1, 1.0), (2, 2.0), (3, 3.0)], [1, 3]),
        ([(1, None), (2, None), (3, None)], [2, 3]),
        ([(1, 1.0), (2, None)], [1, 2]),
        ([(1, 3.0), (2, 1.0), (3, 2.0), (4, None, True)], [2, 3, 4]),
        ([(1, 3.0), (2, None, True), (3, 1.0), (4, None, True)], [1, 3, 4]),
        ([(1, 3.0), (2, None, True), (3, 1.0), (4, 2.0)], [3, 4]),
        ([], []),
    ],
)
def test_the_best_and_the_newest_stay(tmp_path, made, left):
    """Of two to be kept; one by the clock is one more, and only while it is the newest. Dates mean nothing."""
    for step, *how in made:
        os.utime(looked_at(tmp_path, step, *how), (10**9 - step, 10**9 - step))
    half = written(tmp_path, 9, sealed=False)
    checkpoints.rotate(tmp_path, keep=2)
    assert half.exists(), "what is being written is nobody's to remove"
    half.rename(tmp_path / "half")
    assert [checkpoints.step(each) for each in checkpoints.all_of(tmp_path)] == left


def test_only_what_is_half_written_is_swept(tmp_path):
    """By name, so that it can be told."""
    whole = written(tmp_path, 1)
    written(tmp_path, 2, sealed=False)
    assert checkpoints.sweep(tmp_path) == ["checkpoint-2"]
    assert checkpoints.all_of(tmp_path) == [whole]
