"""A comparison as the JSON document ``ds2prof/1``: the rows and totals of one table, both sides, gates, verdict."""

from __future__ import annotations

from typing import Any

from ds2prof.analysis.answers import Answer
from ds2prof.analysis.compare import Comparison
from ds2prof.report.compare_rows import notes
from ds2prof.report.documents import document


def compare_document(comparison: Comparison, *, top: int | None = None) -> dict[str, Any]:
    """One JSON object; ``source`` is the first measurement of the new side, ``base_source`` that of the base.

    ``by`` is null where the runs have nothing to take apart in rows, as run logs do not.
    """
    table = comparison.tables[0] if comparison.tables else None
    answer = Answer("none", {}) if table is None else table.answer
    meta = comparison.new[0].parts[0].meta
    warnings = [*comparison.warnings, *notes(comparison)]
    found = document(
        answer if top is None else answer.head(top),
        meta=meta,
        totals={} if table is None else table.totals(),
        warnings=warnings,
    )
    found["by"] = None if table is None else answer.by
    found["base_source"] = document(answer, meta=comparison.base[0].parts[0].meta, totals={}, warnings=())["source"]
    return {**found, **comparison.facts()}
