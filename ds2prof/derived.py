"""Which files in a folder of measurements are no measurements but what was made of them: pages, figures, exports.

Told from the first bytes, so that a report may lie beside the files that it was made from, under any name. Only a
folder is looked through so; a file that is named is read, whatever it is.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

HEAD_BYTES: Final = 8 << 10
_GZIP_MAGIC: Final = b"\x1f\x8b"
_TRACE: Final = re.compile(rb'"otherData"\s*:\s*\{\s*"schema"\s*:\s*"ds2prof-trace/')
_SIGNS: Final = re.compile(
    rb"\A(?:"
    rb"\x89PNG\r\n\x1a\n"  # pictures, documents, workbooks and Parquet hold no measurement, whoever wrote them
    rb"|%PDF-"
    rb"|PAR1"
    rb"|PK\x03\x04.{26,60}?(?:\[Content_Types\]\.xml|docProps/|xl/)"
    rb"|\s*<!doctype html>.{0,2000}?<meta name=\"generator\" content=\"ds2prof "
    rb"|.{0,1000}?<svg\b.{0,1000}?<title id=\"ds2prof-title\""
    rb"|\s*\{\s*\"schema\"\s*:\s*\"ds2prof(?!-run/)(?:-[a-z-]+)?/\d"
    rb"|:::MLLOG [^\n]*\"key\": \"ds2prof_"
    rb"|\# TYPE ds2prof_"
    rb"|\#{1,4} ds2prof\b"
    rb")",
    re.DOTALL,
)
_COLUMNS: Final = re.compile(rb"\A(?:[a-z][a-z0-9_]*,)+[a-z][a-z0-9_]*\r?\n")
_OUR_COLUMNS: Final = frozenset({b"dur_ns", b"excl_ns", b"busy_ns", b"launches", b"coverage", b"share"})
"""One of these is in the heading of every table of answers and of every table of intervals that is written as CSV;
profilers name theirs in words and capitals, and the captures that ds2prof itself records have other columns."""


def is_derived(path: Path) -> bool:
    """Whether the file was made of measurements: a report, a figure, an export. False where it cannot be read."""
    head = _head(path)
    if head.startswith(b"{") and _TRACE.search(head):
        return True
    if _SIGNS.match(head) is not None:
        return True
    columns = _COLUMNS.match(head)
    return columns is not None and not _OUR_COLUMNS.isdisjoint(columns[0].rstrip().split(b","))


def _head(path: Path) -> bytes:
    """The first bytes, unpacked where they are gzip; none where they cannot be had."""
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError:
        return b""
    return _unpacked(head) if head.startswith(_GZIP_MAGIC) else head


def _unpacked(packed: bytes) -> bytes:
    """The beginning of what the beginning of a gzip file holds."""
    import zlib

    try:
        return zlib.decompressobj(wbits=31).decompress(packed, HEAD_BYTES)
    except zlib.error:
        return b""
