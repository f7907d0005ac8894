"""The same tables from everything that the real ``nsys stats`` prints of the same export: forms, units, locales."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from ds2prof.errors import ReadError
from ds2prof.parsers import read_all
from ds2prof.tables import Profile
from tests.nsys_stats_support import TABLES, rows_of

NSYS = shutil.which("nsys")
pytestmark = pytest.mark.skipif(NSYS is None, reason="the tool nsys is not installed")

EXPORTS = (
    "0x822a5b87__test-cuda__report1",
    "bwyogatama__Mordred-Deprecated__report1",
    "hpcgroup__pipit__perlmutter-cloverleaf-cuda",
    "hpcgroup__pipit__saxpy-mpi-cuda_nsys_perlmutter0",
    "lighttransport__gemm__profile",
)
REPORTS = (
    *("gputrace", "gpukernsum", "cudaapisum", "cudaapitrace", "osrtsum", "gpumemtimesum", "gpumemsizesum", "gpusum"),
    *("apigpusum", "nvtxsum", "nvtxppsum", "nvtxsesum", "nvtxpptrace", "nvtxgpuproj", "kernexectrace", "kernexecsum"),
)
FORMS = (
    "column:colmax=0:autolines=0",
    "table:colmax=0:autolines=0",
    "tsv",
    "csv:time=us",
    "column:time=us:colmax=0:autolines=0",
)


@pytest.fixture(scope="module")
def exports(corpus, tmp_path_factory):
    """The corpus' exports, copied to where the tool can write beside them."""
    folder = tmp_path_factory.mktemp("exports")
    for name in EXPORTS:
        path = folder / f"{name}.sqlite"
        shutil.copyfile(corpus / "nsys-sqlite" / path.name, path)
    return folder


def printed(export: Path, report: str, form: str, *, locale: str = "C", quiet: bool = False) -> str:
    """What the tool prints."""
    command = [NSYS, "stats", *(["-q"] if quiet else []), "-r", report, "-f", form, str(export)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": locale})
    return done.stdout


def read(tmp_path: Path, text: str) -> Profile | None:
    """The profile in the text; None where it holds no table."""
    path = tmp_path / "printed"
    path.write_text(text, encoding="utf-8")
    try:
        return next(read_all(path)).require(*TABLES)
    except ReadError as error:
        if "without a table" not in str(error):
            raise
        return None


def tables(profile: Profile | None):
    return None if profile is None else {name: rows_of(profile.table(name)) for name in TABLES}


def each(export: Path, reports, form: str, *, locale: str = "C") -> list[str]:
    """What the tool prints of each report, of one run of it."""
    text = printed(export, ",".join(reports), form, locale=locale)
    parts = ["Processing [" + part for part in text.split("Processing [")[1:]]
    assert len(parts) == len(reports)
    return parts


@pytest.mark.parametrize("name", EXPORTS)
def test_each_report_reads_alike_in_all_forms(exports, tmp_path, name):
    export = exports / f"{name}.sqlite"
    expected = [tables(read(tmp_path, text)) for text in each(export, REPORTS, "csv")]
    for form in FORMS:
        assert [tables(read(tmp_path, text)) for text in each(export, REPORTS, form)] == expected, form


@pytest.mark.parametrize("locale", ["en_US.UTF-8", "de_DE.UTF-8", "de_CH.UTF-8"])
@pytest.mark.parametrize("time", ["ns", "us"])
def test_columns_read_alike_in_all_locales(exports, tmp_path, locale, time):
    export = exports / "bwyogatama__Mordred-Deprecated__report1.sqlite"
    reports = ("gputrace", "gpukernsum", "kernexectrace", "gpumemtimesum")
    expected = [tables(read(tmp_path, text)) for text in each(export, reports, "csv")]
    form = f"column:time={time}:colmax=0:autolines=0"
    assert [tables(read(tmp_path, text)) for text in each(export, reports, form, locale=locale)] == expected


@pytest.mark.parametrize("name", EXPORTS)
def test_all_reports_in_one_text_give_each_thing_once(exports, tmp_path, name):
    export = exports / f"{name}.sqlite"
    profile = read(tmp_path, printed(export, ",".join(REPORTS), "csv"))
    columns = read(tmp_path, printed(export, ",".join(REPORTS), "column:colmax=0:autolines=0"))
    assert tables(profile) == tables(columns)
    database = sqlite3.connect(exports / f"{name}.sqlite")
    there = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
    for ours, theirs in (
        ("kernels", ("CUPTI_ACTIVITY_KIND_KERNEL",)),
        ("copies", ("CUPTI_ACTIVITY_KIND_MEMCPY", "CUPTI_ACTIVITY_KIND_MEMSET")),
    ):
        sums = [
            database.execute(f"SELECT count(*), coalesce(sum(end - start), 0) FROM {table}").fetchone()
            for table in theirs
            if table in there
        ]
        table = profile.table(ours)
        found = (len(table), int(table.ints("dur_ns").sum()))
        assert found == (sum(row[0] for row in sums), sum(row[1] for row in sums))
    calls = profile.table("api")
    if "CUPTI_ACTIVITY_KIND_RUNTIME" in there:
        expected = database.execute("SELECT count(*), sum(end - start) FROM CUPTI_ACTIVITY_KIND_RUNTIME").fetchone()
        own = [row for row in rows_of(calls) if row["domain"] != "osrt"]
        assert (len(own), sum(row["dur_ns"] for row in own)) == expected
    database.close()


def test_sizes_in_bytes_are_exact(exports, tmp_path):
    export = exports / "hpcgroup__pipit__perlmutter-cloverleaf-cuda.sqlite"
    with sqlite3.connect(export) as database:
        expected = database.execute("SELECT bytes FROM CUPTI_ACTIVITY_KIND_MEMCPY ORDER BY start").fetchall()
    profile = read(tmp_path, printed(export, "gputrace", "csv:mem=B"))
    copies = [row for row in rows_of(profile.table("copies")) if row["kind"] == "memcpy"]
    assert [row["size_bytes"] for row in copies] == [row[0] for row in expected]


@pytest.mark.parametrize("unit", ["B", "KB", "KBi", "MB", "MBi"])
def test_a_size_in_any_unit_is_that_in_bytes_as_far_as_it_is_printed(exports, tmp_path, unit):
    export = exports / "hpcgroup__pipit__perlmutter-cloverleaf-cuda.sqlite"
    exact = read(tmp_path, printed(export, "gpumemsizesum", "csv:mem=B"))
    rounded = read(tmp_path, printed(export, "gpumemsizesum", f"csv:mem={unit}"))
    step = rounded.meta.facts.get("size_resolution_bytes", 1)
    pairs = zip(rows_of(exact.table("copies")), rows_of(rounded.table("copies")), strict=True)
    assert all(
        abs(one["size_bytes"] - other["size_bytes"]) <= step for one, other in pairs if other["size_bytes"] is not None
    )


@pytest.mark.parametrize(("unit", "resolution_ns"), [("ns", 1), ("us", 1), ("ms", 100), ("sec", 100_000)])
def test_the_resolution_is_that_of_the_printed_times(exports, tmp_path, unit, resolution_ns):
    export = exports / "hpcgroup__pipit__saxpy-mpi-cuda_nsys_perlmutter0.sqlite"
    profile = read(tmp_path, printed(export, "gputrace", f"csv:time={unit}"))
    assert profile.meta.time_resolution_ns == resolution_ns
    exact = read(tmp_path, printed(export, "gputrace", "csv"))
    differences = [
        abs(one["start_ns"] - other["start_ns"])
        for one, other in zip(rows_of(profile.table("kernels")), rows_of(exact.table("kernels")), strict=True)
    ]
    assert max(differences) <= resolution_ns // 2


def test_names_that_columns_cut_are_told_of(exports, tmp_path):
    export = exports / "hpcgroup__pipit__perlmutter-cloverleaf-cuda.sqlite"
    profile = read(tmp_path, printed(export, "gputrace", "column"))
    assert [warning for warning in profile.warnings if "cut by the tool" in warning]
