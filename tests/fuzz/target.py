"""What a fuzzer calls: bytes through one parser. The project's error, in one line, is an answer; all else a find."""

from __future__ import annotations

import io
from pathlib import Path

from ds2prof.errors import Ds2profError
from ds2prof.parsers import parser
from ds2prof.parsers.sources import HEAD_BYTES, Source
from ds2prof.schemas import SCHEMAS
from ds2prof.tables import DeferredColumns, Profile

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parent / "golden"


def source_of(content: bytes) -> Source:
    """The bytes as a stream."""
    return Source("fuzzed", content[:HEAD_BYTES], lambda: io.BufferedReader(io.BytesIO(content)))


def read(name: str, content: bytes) -> Profile | None:
    """The profile that the parser ``name`` makes of the bytes, all of its tables and columns; None where it refuses."""
    try:
        module = parser(name)
        module.sniff(content[:HEAD_BYTES])
        profile = module.parse(source_of(content)).require(*SCHEMAS)
        for table in SCHEMAS:
            columns = profile.table(table).columns
            if isinstance(columns, DeferredColumns):
                for column in columns:
                    columns[column]
    except Ds2profError as error:
        if "\n" in str(error):
            raise AssertionError(f"more than one line: {error}") from error
        return None
    for warning in profile.warnings:
        assert "\n" not in warning, warning
    return profile


def seeds(name: str) -> list[Path]:
    """The files that fuzzing of a parser begins with: its golden cases and what earlier runs kept."""
    return [*sorted((GOLDEN / name).glob("*/input*")), *sorted((HERE / "corpus" / name).glob("*"))]
