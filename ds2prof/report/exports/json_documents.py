"""JSON: documents of the schema ``ds2prof/1``, as ``ds2prof parse --format json`` prints them, written row by row.

``ds2prof-1.schema.json`` beside this module states the schema (JSON Schema, draft 2020-12); docs/JSON.md describes its
fields. A table of the profile has ``by`` = ``table:NAME`` and its own columns for fields.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from typing import IO, Any, Final

from ds2prof.report.documents import SCHEMA, finite
from ds2prof.report.exports.sheets import Sheet

SCHEMA_FILE: Final = "ds2prof-1.schema.json"


def json_schema() -> dict[str, Any]:
    """The JSON Schema of ``ds2prof/1``."""
    text = files(__package__).joinpath(SCHEMA_FILE).read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def write_json(sheets: Sequence[Sheet], out: IO[str]) -> None:
    """Nothing; one document is written, or a list of them where there are several sheets. ASCII alone."""
    many = len(sheets) != 1
    out.write("[\n" if many else "")
    for place, sheet in enumerate(sheets):
        out.write(",\n" if place else "")
        _write(sheet, out)
    out.write("\n]\n" if many else "\n")


def _write(sheet: Sheet, out: IO[str]) -> None:
    head = {"schema": SCHEMA, "source": asdict(sheet.meta), "by": sheet.by}
    tail = {"totals": dict(sheet.totals), "warnings": [*sheet.warnings, *sheet.notes]}
    out.write(f'{_dumped(head)[:-1]}, "rows": [')
    names = [json.dumps(name) for name in sheet.columns]
    begun = False
    for chunk in sheet.chunks():
        columns = [[_value(value) for value in values] for values in chunk.values()]
        rows = [
            "{" + ", ".join(map(": ".join, zip(names, row, strict=True))) + "}" for row in zip(*columns, strict=True)
        ]
        if rows:
            out.write((",\n " if begun else "\n ") + ",\n ".join(rows))
            begun = True
    out.write(f"], {_dumped(tail)[1:]}")


def _value(value: Any) -> str:
    """A cell as JSON; numbers that JSON lacks are null."""
    return "null" if value is None else _dumped(value) if isinstance(value, float) else json.dumps(value)


def _dumped(value: Any) -> str:
    return json.dumps(finite(value), allow_nan=False)
