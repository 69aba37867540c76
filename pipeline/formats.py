"""What a file is: by its suffix, and by its content where the suffix is unknown or lies. Pure."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import PurePath

from pipeline.contents import SAMPLE
from pipeline.errors import UserError
from pipeline.tables import delimiter_of, first_lines

FORMATS = {
    ".csv": "CSV",
    ".tsv": "CSV",
    ".json": "JSON",
    ".jsonl": "JSON",
    ".ndjson": "JSON",
    ".parquet": "Parquet",
    ".xlsx": "Excel",
    ".txt": "text",
    ".md": "text",
}
KNOWN = f"{', '.join(list(FORMATS)[:-1])} or {list(FORMATS)[-1]}"
TEXTUAL = ("CSV", "JSON", "text")
PARQUET, ZIP = b"PAR1", b"PK\x03\x04"
FOREIGN = (
    (rb"%PDF-", "a PDF; copy its text into a .txt file"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document; save it as .xlsx, .csv or .txt"),
    (rb"\{\\rtf", "a rich text document; save it as .txt"),
    (
        rb"BZh\d1AY&SY|\xfd7zXZ\x00|7z\xbc\xaf\x27\x1c|\x28\xb5\x2f\xfd|Rar!\x1a",
        "packed; unpack it, or pack it with gzip",
    ),
    (rb"ARROW1\x00\x00|\xff\xff\xff\xff.\x00\x00", "an Arrow file; save it as .parquet"),
    (rb"SQLite format 3\x00", "a database; export a table from it as .csv"),
    (rb"\x80[\x02-\x05]|\x93NUMPY", "a Python object; save its rows as .jsonl"),
    (
        rb"\x89PNG|\xff\xd8\xff|GIF8[79]a|RIFF....(WAVE|WEBP|AVI )|\x00\x00\x00.ftyp",
        "an image or a recording; give its text",
    ),
)
JSON_START = re.compile(rb'\s*(\[\s*)?\{\s*"(?:[^"\\]|\\.)*"\s*:')
WEB_PAGE = re.compile(rb"(?i)\s*(<!doctype html|<html|<table|<\?xml)")


def suffix(name: str) -> str:
    """The ending that tells the format, without the .gz after it."""
    endings = [ending.lower() for ending in PurePath(name).suffixes]
    while endings and endings[-1] in (".gz", ".gzip"):
        endings.pop()
    return endings[-1] if endings else ""


def recognise_binary(name: str, content: bytes) -> str:
    """Parquet, Excel, or "" for what may be text. Raises UserError for what is known and can't be read here."""
    for beginning, found in FOREIGN:
        if re.match(beginning, content, re.DOTALL):
            raise UserError(f"{name}: is {found}.")
    if content.startswith(PARQUET):
        return "Parquet"
    if not content.startswith(ZIP):
        return ""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if "xl/workbook.xml" in archive.namelist():
                return "Excel"
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise UserError(f"{name}: not a whole Excel workbook or ZIP archive; save it again.") from None
    raise UserError(f"{name}: is a ZIP archive and no Excel workbook; unpack it and give the files in it.")


def recognise_text(name: str, content: bytes) -> str:
    """CSV, JSON or text, for UTF-8: what the suffix says, unless the content is plainly something else.

    Raises UserError where neither tells.
    """
    promised = FORMATS.get(suffix(name), "")
    if promised != "text" and WEB_PAGE.match(content):
        raise UserError(f"{name}: is a web page or XML; save the table in it as .csv or .xlsx.")
    seen = _seen(content, promised)
    if seen == "JSON" or (seen == "CSV" and promised != "text"):
        return seen
    if promised in TEXTUAL:
        return promised
    if promised:
        raise UserError(f"{name}: is not what its name says, nor anything else known here; give a {KNOWN} file.")
    raise UserError(f"{name}: can't tell its format by its name or content; give a {KNOWN} file.")


def _seen(content: bytes, promised: str) -> str:
    """JSON where it begins with an object or a list of them, CSV where the first records are equally wide, else ""."""
    if JSON_START.match(content[:SAMPLE]):
        return "JSON" if promised != "text" or _is_json(content) else ""
    lines = [line for line in first_lines(content, SAMPLE) if line.strip()]
    if promised in TEXTUAL[1:] and any(line.lstrip().startswith(("{", "[")) for line in lines):
        return ""
    return "CSV" if len(lines) > 1 and delimiter_of(lines)[1] == 1 else ""


def _is_json(content: bytes) -> bool:
    """Whether the first line, or the whole, is a JSON value."""
    for part in (content.lstrip().partition(b"\n")[0], content):
        try:
            json.loads(part.decode())
        except (ValueError, RecursionError):
            continue
        return True
    return False
