"""An uploaded file -> its bytes, and its text as UTF-8: unpacked, decoded, never larger than a limit.

Reads one file, writes nothing.
"""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import UserError

MOST_BYTES = 10**9
MOST_VALUES = 50_000_000
CHUNK = 1 << 20
SAMPLE = 1 << 16
ENOUGH = 1000
GZIP = b"\x1f\x8b"

BOMS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
OLD_ENCODINGS = {
    "gb18030": "GB18030 (Chinese)",
    "big5": "Big5 (Chinese)",
    "cp932": "Shift-JIS (Japanese)",
    "euc_jp": "EUC-JP (Japanese)",
    "cp949": "CP949 (Korean)",
    "cp1251": "Windows-1251 (Cyrillic)",
    "cp1252": "Windows-1252",
}


def file_name(path: str) -> str:
    return Path(path).name.encode("utf-8", "replace").decode()


def size_in_words(count: int) -> str:
    return f"{count / 10**9:g} GB" if count >= 10**9 else f"{count / 10**6:g} MB"


def read_bytes(path: str) -> bytes:
    """What the file holds, unpacked if it is gzipped, at most MOST_BYTES. Raises UserError naming the file."""
    name = file_name(path)
    try:
        with Path(path).open("rb") as file:
            packed = file.peek(2).startswith(GZIP)
            content = _unpacked(name, file) if packed else _limited(name, file, "larger than")
    except FileNotFoundError:
        raise UserError(f"{name}: no such file ({path!r}); check the path.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{name}: can't be read ({error}); check the file.") from None
    if re.fullmatch(rb"[\xef\xbb\xbf\xff\xfe\x00\s]*", content):
        raise UserError(f"{name}: the file is empty; add at least one example.")
    return content


def _unpacked(name: str, file: BinaryIO) -> bytes:
    try:
        with gzip.GzipFile(fileobj=file) as stream:
            return _limited(name, stream, "unpacks to more than")
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise UserError(f"{name}: not a whole gzip file; pack it again, or give it unpacked.") from None


def _limited(name: str, stream: BinaryIO | gzip.GzipFile, told: str) -> bytes:
    content = io.BytesIO()
    while chunk := stream.read(CHUNK):
        content.write(chunk)
        if content.tell() > MOST_BYTES:
            raise UserError(f"{name}: {told} {size_in_words(MOST_BYTES)}; give a part of it.")
    return content.getvalue()


def refuse_too_many(name: str, content: bytes, marks: bytes) -> None:
    """Every bracket, delimiter or line end may become an object of 72 bytes: a file of nothing else would fill memory."""
    if len(content) > MOST_VALUES and sum(content.count(mark) for mark in marks) > MOST_VALUES:
        raise UserError(f"{name}: holds more than {MOST_VALUES:,} values; give a part of it.")


def as_utf8(name: str, content: bytes) -> tuple[bytes, str]:
    """The file's text as UTF-8 without a mark at its start, and what to tell of its encoding ("" where all is well).

    Bytes that are no text stay as they are: decoded with "surrogateescape" they cost only the rows that hold them.
    Raises UserError for a file that is no text at all.
    """
    for bom, encoding in BOMS:
        if content.startswith(bom):
            return _whole(name, content[len(bom) :], encoding), ""
    if wide := _wide_encoding(content[:SAMPLE]):
        return _whole(name, content, wide), ""
    damaged, others = _damage(content)
    if not damaged or others > damaged:
        return content, ""
    if len(re.findall(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]", content[:SAMPLE])) > len(content[:SAMPLE]) / 100:
        raise UserError(f"{name}: holds neither text nor any other format known here; save it again, text as UTF-8.")
    encoding = _old_encoding(content)
    told = f"not UTF-8; read as {OLD_ENCODINGS[encoding]}. Check the letters, or save it as UTF-8"
    return b"".join(_converted(content, encoding)), told


def _whole(name: str, content: bytes, encoding: str) -> bytes:
    if encoding == "utf-8":
        return content
    try:
        return content.decode(encoding, "surrogatepass").encode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise UserError(f"{name}: not whole {encoding.upper()} text; save it again as UTF-8.") from None


def _wide_encoding(sample: bytes) -> str | None:
    """UTF-16 without its mark: zero bytes in every second place, and hardly any in the others."""
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if max(even, odd) * 20 < len(sample) or min(even, odd) * 10 > max(even, odd):
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _damage(content: bytes) -> tuple[int, int]:
    """How many bytes are no UTF-8, and how many letters beyond ASCII are, as far as is needed to tell which are more."""
    if content.isascii():
        return 0, 0
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    damaged = letters = 0
    for start in range(0, len(content), SAMPLE):
        text = decoder.decode(content[start : start + SAMPLE], final=start + SAMPLE >= len(content))
        if not text.isascii():
            damaged += len(re.findall("[\udc80-\udcff]", text))
            letters += len(re.findall("[^\x00-\x7f]", text))
        if damaged > ENOUGH and letters - damaged <= damaged:
            break
    return damaged, letters - damaged


def _old_encoding(content: bytes) -> str:
    """Told from 64 kB around the first letter beyond ASCII, cut at a byte that ends a letter in every encoding.

    Accents stand alone between ASCII letters; Cyrillic and Asian text is long runs of high bytes.
    """
    first = next(re.finditer(rb"[\x80-\xff]", content)).start()
    begin = max(content.rfind(b"\n", 0, first) + 1, first - SAMPLE)
    sample = content[begin : first + SAMPLE]
    if len(content) > first + SAMPLE and (whole := re.match(rb"(?s).*[\t\n\r ,;]", sample)):
        sample = whole[0]
    runs = re.findall(rb"[\x80-\xff]+", sample)
    if 3 * sum(len(run) for run in runs if len(run) > 1) < 2 * sum(map(len, runs)):
        return "cp1252"
    import charset_normalizer

    best = charset_normalizer.from_bytes(sample, cp_isolation=list(OLD_ENCODINGS)).best()
    return best.encoding if best and best.encoding in OLD_ENCODINGS else "cp1252"


def _converted(content: bytes, encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
    for start in range(0, len(content), CHUNK):
        text = decoder.decode(content[start : start + CHUNK], final=start + CHUNK >= len(content))
        yield text.encode("utf-8", "surrogateescape")
