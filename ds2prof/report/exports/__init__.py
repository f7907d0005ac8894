"""Profiles and answers in the forms that other tools read: one module for each, :data:`FORMS` lists them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True)
class Form:
    """One form of export.

    Attributes:
        module: the module in this package that writes it.
        function: its function: of a trace ``(profile, out, options)``, of text ``(sheets, out)``, else
            ``(sheets, path)``.
        kind: what it is made of and written to: a ``trace`` of one profile, ``text``, or a ``file`` of bytes.
        extension: what its files are called where several are written.
        one_table: whether a file of it holds one table alone, so that several need a folder.
        about: what it is, in a line.
    """

    module: str
    function: str
    kind: Literal["trace", "text", "file"]
    extension: str
    one_table: bool
    about: str


FORMS: Final[Mapping[str, Form]] = {
    "perfetto": Form("trace", "write_trace", "trace", "json.gz", False, "a trace for ui.perfetto.dev (as chrome)"),
    "chrome": Form("trace", "write_trace", "trace", "json.gz", False, "Chrome's trace events, as PyTorch writes them"),
    "parquet": Form("parquet", "write_parquet", "file", "parquet", True, "Parquet with types and units"),
    "csv": Form("comma_separated", "write_csv", "text", "csv", True, "CSV, safe for spreadsheets"),
    "json": Form("json_documents", "write_json", "text", "json", False, "JSON of the schema ds2prof/1"),
    "openmetrics": Form("openmetrics", "write_openmetrics", "text", "prom", False, "OpenMetrics text for Prometheus"),
    "xlsx": Form("xlsx", "write_xlsx", "file", "xlsx", False, "a workbook, a sheet for each table"),
    "mlperf": Form("mlperf", "write_mlperf", "text", "log", False, "MLPerf's log lines and its RESULT line"),
    "markdown": Form("markdown", "write_markdown", "text", "md", False, "Markdown tables for a pull request"),
}
"""Name of a form -> how it is written."""
