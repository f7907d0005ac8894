"""NVIDIA's own prints of real exports, against sums taken from those exports directly."""

from __future__ import annotations

import sqlite3

import pytest

from ds2prof.errors import ReadError, UnknownFormatError
from ds2prof.parsers import read

TABLES_OF = {
    "gputrace": ("kernels", "copies"),
    "gpukernsum": ("kernels",),
    "gpusum": ("kernels", "copies"),
    "gpumemtimesum": ("copies",),
    "kernexectrace": ("kernels",),
    "cudaapisum": ("api",),
    "osrtsum": ("api",),
    "nvtxsum": ("ranges",),
    "nvtxpptrace": ("ranges",),
}
"""Report -> the tables whose totals it has."""
QUERIES = {
    "kernels": ("CUPTI_ACTIVITY_KIND_KERNEL",),
    "copies": ("CUPTI_ACTIVITY_KIND_MEMCPY", "CUPTI_ACTIVITY_KIND_MEMSET"),
    "api": ("CUPTI_ACTIVITY_KIND_RUNTIME",),
    "osrtsum": ("OSRT_API WHERE eventClass = 27",),
    "ranges": ('NVTX_EVENTS WHERE eventType IN (59, 60) AND "end" IS NOT NULL',),
}


def totals(database, tables):
    """(rows, nanoseconds) in the tables of the export that are there."""
    there = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
    found = [
        database.execute(f'SELECT count(*), coalesce(sum("end" - start), 0) FROM {table}').fetchone()
        for table in tables
        if table.split()[0] in there
    ]
    return sum(row[0] for row in found), sum(row[1] for row in found)


def printed(corpus):
    return sorted((corpus / "expected" / "nsys-stats").glob("*.csv"))


def test_counts_and_nanoseconds_are_those_of_the_exports(corpus):
    compared = 0
    for path in printed(corpus):
        stem, report, _ = path.name.rsplit(".", 2)
        export = corpus / "nsys-sqlite" / f"{stem}.sqlite"
        for name in TABLES_OF.get(report, ()):
            table = read(path, tables=(name,)).table(name)
            calls = int(table.ints("calls", null=1).sum()) if "calls" in table else len(table)
            with sqlite3.connect(f"file:{export}?immutable=1", uri=True) as database:
                expected = totals(database, QUERIES["osrtsum" if report == "osrtsum" else name])
            assert (calls, int(table.ints("dur_ns").sum())) == expected, path.name
            compared += 1
    assert compared >= 25


def test_every_print_is_read_or_refused_by_name(corpus):
    refused = []
    for path in printed(corpus):
        try:
            assert read(path).meta.format == "nsys-stats"
        except ReadError as error:
            refused.append((path.name.rsplit(".", 2)[1], "counted several times" in str(error)))
    assert refused == [("nvtxkernsum", True)]


def test_a_log_with_seven_reports_among_the_programs_lines_is_read(corpus):
    path = corpus / "nsys-stats" / "Scientific-Computing-Lab__ParaCodex__bsearch-omp_step1_nsys_output.txt"
    profile = read(path, tables=("kernels", "copies", "api"))
    kernels, copies, calls = (profile.table(name) for name in ("kernels", "copies", "api"))
    assert (len(kernels), int(kernels.ints("dur_ns").sum())) == (2, 6976)
    assert (int(copies.ints("calls").sum()), int(copies.ints("dur_ns").sum())) == (6, 10366)
    assert copies["size_bytes"].tolist() == [25_000, 33_000]
    osrt = [
        dur for dur, domain in zip(calls["dur_ns"].tolist(), calls["domain"].tolist(), strict=True) if domain == "osrt"
    ]
    assert (len(osrt), sum(osrt[:3])) == (27, 558253287 + 100390771 + 91133367)
    assert profile.warnings == ()


def test_a_table_of_events_from_pipit_is_refused(corpus):
    with pytest.raises(UnknownFormatError, match="Pipit"):
        read(corpus / "nsys-stats" / "hpcgroup__pipit__cloverleaf_gpu_trace.csv")
