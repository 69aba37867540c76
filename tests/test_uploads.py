"""An upload is known by its id; no id leads anywhere else."""

import os
import time
from pathlib import Path

import pytest

from pipeline import uploads
from pipeline.errors import UserError


def put(folder: Path, name: str) -> Path:
    file = folder / name
    file.write_text("a,b\n1,2\n")
    return file


def test_an_upload_is_found_again_by_its_id_only(tmp_path, home):
    """128 random bits; the file keeps its name and bytes, and lies in a folder that only its owner may open."""
    file = put(tmp_path, "my rows.csv")
    upload = uploads.keep(file)
    found = uploads.find(upload)
    assert len(upload) == 32
    assert upload != uploads.keep(file)
    assert found == home / "uploads" / upload / "my rows.csv"
    assert found.read_bytes() == file.read_bytes()
    assert (home / "uploads").stat().st_mode & 0o77 == 0


@pytest.mark.parametrize(
    "wrong", [None, "", "..", "../runs", "0" * 31, "0" * 33, "0" * 32, "G" * 32, 7, ["0" * 32], "0" * 32 + "\n"]
)
def test_anything_else_is_no_upload(wrong, tmp_path):
    """Whatever a browser sends, the answer is the same sentence, and nothing is removed."""
    kept = uploads.keep(put(tmp_path, "rows.csv"))
    with pytest.raises(UserError, match="upload it again"):
        uploads.find(wrong)
    if isinstance(wrong, str):
        uploads.forget(wrong)
    assert uploads.find(kept).exists()


def test_an_id_with_a_path_behind_it_is_no_id(tmp_path):
    """The whole text is looked at, not only how it begins."""
    kept = uploads.keep(put(tmp_path, "rows.csv"))
    with pytest.raises(UserError, match="upload it again"):
        uploads.find(f"{kept}/../{kept}")


def test_a_forgotten_upload_is_gone(tmp_path):
    upload = uploads.keep(put(tmp_path, "rows.csv"))
    uploads.forget(upload)
    with pytest.raises(UserError, match="not here any more"):
        uploads.find(upload)


def test_old_uploads_are_swept_and_young_ones_stay(tmp_path, home):
    """Thirty days from when it was uploaded."""
    old, young = (uploads.keep(put(tmp_path, name)) for name in ("old.csv", "young.csv"))
    then = time.time() - 31 * 86400
    os.utime(home / "uploads" / old, (then, then))
    uploads.sweep()
    assert [folder.name for folder in (home / "uploads").iterdir()] == [young]


@pytest.mark.parametrize(
    ("name", "flat"),
    [
        ("rows.csv", "rows.csv"),
        (".hidden.csv", "hidden.csv"),
        ("a\nb.csv", "a_b.csv"),
        ("..", "upload"),
        ("x" * 300 + ".jsonl", "x" * 95 + ".jsonl"),
        ("Zeilen für mich.tsv", "Zeilen für mich.tsv"),
    ],
)
def test_a_name_is_one_short_visible_part_of_a_path(name, flat):
    """The ending, which tells the format, is never lost."""
    assert uploads.flat_name(name) == flat
