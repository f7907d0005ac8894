"""What the tests of the reader of ``nsys stats`` share."""

from __future__ import annotations

import io
from typing import Any

from ds2prof.parsers import parse_source
from ds2prof.parsers.sources import HEAD_BYTES, Source
from ds2prof.tables import Profile, Table

TABLES = ("kernels", "copies", "api", "ranges", "devices", "threads")


def profile_of(text: str | bytes) -> Profile:
    """The profile in a text, by whichever parser knows it, with all tables that this reader makes."""
    content = text.encode() if isinstance(text, str) else text
    source = Source("printed", content[:HEAD_BYTES], lambda: io.BufferedReader(io.BytesIO(content)))
    return parse_source(source).require(*TABLES)


def rows_of(table: Table) -> list[dict[str, Any]]:
    """The rows of a table."""
    columns = {name: table[name].tolist() for name in table.columns}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
