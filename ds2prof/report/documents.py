"""Answers for machines: the JSON document ``ds2prof/1``, CSV, Parquet. Base units throughout; unknown is null."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from ds2prof.analysis.answers import Answer
from ds2prof.errors import Ds2profError
from ds2prof.tables import Meta

SCHEMA: Final = "ds2prof/1"


def document(answer: Answer, *, meta: Meta, totals: Mapping[str, Any], warnings: Sequence[str]) -> dict[str, Any]:
    """One JSON object of the schema ``ds2prof/1``; docs/JSON.md describes its fields."""
    return {
        "schema": SCHEMA,
        "source": asdict(meta),
        "by": answer.by,
        "rows": answer.rows(),
        "totals": dict(totals),
        "warnings": [*warnings, *answer.notes],
    }


def as_json(documents: Sequence[Mapping[str, Any]], *, many: bool) -> str:
    """JSON text: one object, or a list where several profiles were asked for. Numbers that JSON lacks become null.

    Only ASCII: names are untrusted, and escaped they can neither steer a terminal nor fail in its encoding.
    """
    value: Any = list(documents) if many else documents[0]
    return json.dumps(finite(value), indent=1, allow_nan=False)


def finite(value: Any) -> Any:
    """The value with null for numbers that JSON lacks, lists for all sequences and texts for keys."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [finite(item) for item in value]
    return value


def as_csv(answers: Sequence[tuple[Meta, Answer]]) -> str:
    """CSV text with a heading; a ``file`` column comes first where there are several profiles. Unknown is empty."""
    many = len(answers) > 1
    names = list(dict.fromkeys(name for _, answer in answers for name in answer.columns))
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=(["file"] if many else []) + names, lineterminator="\n")
    writer.writeheader()
    for meta, answer in answers:
        writer.writerows({**({"file": meta.file} if many else {}), **row} for row in answer.rows())
    return text.getvalue().rstrip("\n")


def write_parquet(answers: Sequence[tuple[Meta, Answer]], path: Path) -> None:
    """Write the rows of all answers as one Parquet file, a ``file`` column first where there are several.

    Raises:
        Ds2profError: the library for it is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise Ds2profError('--format parquet: needs pyarrow; pip install "ds2prof[report]"') from None
    names = list(dict.fromkeys(name for _, answer in answers for name in answer.columns))
    columns: dict[str, list[Any]] = {name: [] for name in names}
    files: list[str] = []
    for meta, answer in answers:
        files += [meta.file] * len(answer)
        for name in names:
            columns[name] += list(answer.columns.get(name, [None] * len(answer)))
    leading = {"file": files} if len(answers) > 1 else {}
    made = io.BytesIO()
    pq.write_table(pa.table({name: _of_one_kind(values) for name, values in {**leading, **columns}.items()}), made)
    path.write_bytes(made.getvalue())


def _of_one_kind(values: Sequence[Any]) -> Sequence[Any]:
    """The values as one column can hold them: all of them text where any is, and that text without lone surrogates."""
    if not any(isinstance(value, str) for value in values):
        return values
    return [None if value is None else str(value).encode("utf-8", "backslashreplace").decode() for value in values]
