"""Somebody's adapter, from a folder or a zip: only the files that can't run code, flat, within limits. Standard library.

A name in an archive never becomes a path: each file is written under its own last part only.
"""

from __future__ import annotations

import lzma
import shutil
import stat
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from pipeline.errors import UserError

CONFIGS = ("adapter_config.json", "tuned.json")  # PEFT's, and ours of weights that were trained themselves
READ = frozenset({".safetensors", ".json", ".jinja", ".model", ".txt"})
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
MOST_FILES, MOST_BYTES, MOST_TEXT = 1000, 16 << 30, 256 << 20
BLOCK = 1 << 20


def collect(source: Path, into: Path) -> None:
    """Copy an adapter's files from a folder or a zip into an empty folder.

    The adapter may lie in a folder within, as it does in a run and in a run's download. Raises UserError where there is
    none, where there are several, or where the archive holds what none should: links, paths that lead out of it, too much.
    """
    if source.is_dir():
        _copy(source, into)
    elif zipfile.is_zipfile(source):
        try:
            with zipfile.ZipFile(source) as packed:
                _unpack(packed, source.name, into)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, EOFError, OSError) as error:
            raise UserError(f"{source.name} can't be unpacked ({error}); pack it again as a plain zip.") from error
    else:
        raise UserError(f"{source.name} is neither a folder nor a zip; give one that holds {CONFIGS[0]}.")


def _copy(source: Path, into: Path) -> None:
    found = [path for path in source.rglob("*") if path.name in CONFIGS and "checkpoints" not in path.parts]
    root = source / home_of([path.relative_to(source).as_posix() for path in found], source.name)
    files = [path for path in root.iterdir() if path.suffix in READ and path.is_file()]
    refuse_unreadable([path.name for path in root.iterdir()], source.name)
    if sum(path.stat().st_size for path in files) > MOST_BYTES:
        raise UserError(f"{source.name} holds more than {MOST_BYTES >> 30} GB; that is no adapter.")
    for path in files:
        shutil.copyfile(path, into / path.name)


def _unpack(packed: zipfile.ZipFile, name: str, into: Path) -> None:
    entries = [entry for entry in packed.infolist() if not entry.is_dir()]
    for entry in packed.infolist():
        _refuse_entry(entry, name)
    if len(entries) > MOST_FILES:
        raise UserError(f"{name} holds {len(entries):,} files; that is no adapter.")
    root = home_of([entry.filename for entry in entries if _last(entry) in CONFIGS], name)
    inside = [entry for entry in entries if PurePosixPath(entry.filename).parent.as_posix() == root]
    refuse_unreadable([_last(entry) for entry in inside], name)
    left = MOST_BYTES
    for entry in inside:
        if PurePosixPath(entry.filename).suffix in READ:
            with packed.open(entry) as stream, (into / _last(entry)).open("xb") as file:
                room = left if entry.filename.endswith(".safetensors") else min(left, MOST_TEXT)
                left -= room - _pour(stream, file, room, name)


def _last(entry: zipfile.ZipInfo) -> str:
    return PurePosixPath(entry.filename).name


def _pour(stream: object, file: BinaryIO, left: int, name: str) -> int:
    """Copy as many bytes as may still be unpacked; how many are left then. What the archive says of its sizes is not trusted."""
    while block := stream.read(BLOCK):  # type: ignore[attr-defined]
        left -= len(block)
        if left < 0:
            raise UserError(f"{name} unpacks to more than an adapter has room for; that is no adapter.")
        file.write(block)
    return left


def _refuse_entry(entry: zipfile.ZipInfo, name: str) -> None:
    path = PurePosixPath(entry.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or ":" in "".join(path.parts[:1]):
        raise UserError(f"{name} holds {entry.filename[:80]!r}, a path that leads out of it; it was not unpacked.")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise UserError(f"{name} holds a link, {entry.filename[:80]!r}; pack the file itself.")
    if entry.flag_bits & 1:
        raise UserError(f"{name} is locked with a password; pack it again without one.")


def home_of(configs: Collection[str], name: str) -> str:
    """The folder, within what was given, in which the adapter lies: that of its one config, the outermost."""
    folders = sorted({PurePosixPath(path).parent.as_posix() for path in configs}, key=lambda path: path.count("/"))
    if not folders:
        raise UserError(f"{name} holds no {CONFIGS[0]}, so it is no adapter; give the folder that PEFT saved.")
    if len(folders) > 1 and "." not in folders:
        raise UserError(f"{name} holds several adapters ({', '.join(folders[:3])}); give one of them.")
    return "." if "." in folders else folders[0]


def refuse_unreadable(names: Collection[str], where: str) -> None:
    """Raises UserError where the weights are only there in a format that can run code."""
    if any(name.endswith(".safetensors") for name in names):
        return
    pickled = next((name for name in sorted(names) if name.endswith(PICKLES)), None)
    told = (
        f"its weights are in {pickled}, a format that can run code and is not read" if pickled else "it has no weights"
    )
    raise UserError(f"{where}: {told}; give an adapter saved as safetensors.")
