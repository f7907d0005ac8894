"""Parquet: one table with types, units and its own account of itself.

Every column's field has its unit (``unit``: ns, byte, ratio...) in its metadata; the file's metadata has ``ds2prof``, a
JSON object: ``schema`` (``ds2prof-parquet/1``), ``version``, ``by``, ``sources``, ``totals``, ``notes``, ``warnings``.
Whole numbers are int64, names dictionary-coded, unknown is null. Rows are written in groups as they are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from ds2prof import __version__
from ds2prof.errors import Ds2profError
from ds2prof.report.documents import finite
from ds2prof.report.exports.sheets import Sheet, unit_of, values_of
from ds2prof.tables import Column

SCHEMA: Final = "ds2prof-parquet/1"
GROUP_ROWS: Final = 1 << 18


def write_parquet(sheets: Sequence[Sheet], path: Path) -> None:
    """Nothing; the sheets, all by the same key, are written as one table, ``file`` first where there are several.

    Raises:
        Ds2profError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise Ds2profError('--to parquet: needs pyarrow; pip install "ds2prof[report]"') from None
    schema = _schema(pa, sheets)
    with path.open("wb") as file, pq.ParquetWriter(file, schema) as writer:
        for sheet in sheets:
            for batch in _batches(pa, sheet, schema):
                writer.write_table(batch)


def _schema(pa: Any, sheets: Sequence[Sheet]) -> Any:
    names = list(dict.fromkeys(name for sheet in sheets for name in sheet.columns))
    text = pa.dictionary(pa.int32(), pa.string())
    types = {"int": pa.int64(), "float": pa.float64(), "text": text, "null": pa.null()}
    fields = [pa.field("file", text)] if len(sheets) > 1 else []
    for name in names:
        kind = _kind([sheet.kind_of(name) for sheet in sheets if name in sheet.columns])
        unit = unit_of(name) if kind != "text" else None
        fields.append(pa.field(name, types[kind], metadata={"unit": unit} if unit else None))
    return pa.schema(fields, metadata={"ds2prof": json.dumps(_about(sheets))})


def _kind(kinds: Sequence[str]) -> str:
    """The kind that can hold all of them."""
    return next((kind for kind in ("text", "float", "int") if kind in kinds), "null")


def _about(sheets: Sequence[Sheet]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "version": __version__,
        "by": sheets[0].by,
        "sources": [finite(asdict(sheet.meta)) for sheet in sheets],
        "totals": [finite(dict(sheet.totals)) for sheet in sheets],
        "notes": list(dict.fromkeys(note for sheet in sheets for note in sheet.notes)),
        "warnings": list(dict.fromkeys(warning for sheet in sheets for warning in sheet.warnings)),
    }


def _batches(pa: Any, sheet: Sheet, schema: Any) -> Iterator[Any]:
    for start in range(0, max(len(sheet), 1), GROUP_ROWS):
        stop = min(start + GROUP_ROWS, len(sheet))
        count = stop - start
        arrays = []
        for field in schema:
            if field.name == "file" and "file" not in sheet.columns:
                arrays.append(_texts(pa, [sheet.meta.file] * count))
            elif field.name not in sheet.columns:
                arrays.append(pa.nulls(count, field.type))
            else:
                arrays.append(_array(pa, sheet.columns[field.name], start, stop, field.type))
        yield pa.Table.from_arrays(arrays, schema=schema)


def _array(pa: Any, values: Sequence[Any] | Column, start: int, stop: int, kind: Any) -> Any:
    """Some of a column's values as Arrow has them; a coded text is not unpacked."""
    if isinstance(values, Column) and values.categories is not None and pa.types.is_dictionary(kind):
        codes = values.values[start:stop]
        words = pa.array([_utf8(text) for text in values.categories], pa.string())
        return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), words, safe=True)
    some = values_of(values, start, stop)
    if pa.types.is_dictionary(kind):
        return _texts(pa, some)
    if pa.types.is_floating(kind):
        floats = np.array([np.nan if value is None else float(value) for value in some], dtype=np.float64)
        return pa.array(floats, kind, from_pandas=True)
    return pa.array(some, kind)


def _texts(pa: Any, values: Sequence[Any]) -> Any:
    made = pa.array([None if value is None else _utf8(str(value)) for value in values], pa.string())
    return made.dictionary_encode()


def _utf8(text: str) -> str:
    """The text without lone halves of UTF-16, which have no place in UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()
