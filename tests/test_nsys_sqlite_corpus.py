"""The reader of Nsight Systems exports on real files: against NVIDIA's own statistics of them, to the nanosecond."""

from __future__ import annotations

import csv
import json
import re
import sqlite3
from collections import Counter
from decimal import Decimal

import numpy as np
import pytest

from ds2prof import read
from ds2prof.analysis.attribution import launch_rows
from ds2prof.analysis.intervals import union_ns
from ds2prof.analysis.windows import ends_ns
from ds2prof.parsers import nsys_sqlite, sqlite_tables
from ds2prof.parsers.sources import find_sources
from ds2prof.schemas import SCHEMAS

FILES = (
    "0x822a5b87__test-cuda__report1",
    "D-W-Chiang__JACC.jl__cg_trace",
    "bwyogatama__Mordred-Deprecated__report1",
    "hpcgroup__pipit__perlmutter-cloverleaf-cuda",
    "hpcgroup__pipit__saxpy-mpi-cuda_nsys_perlmutter0",
    "lighttransport__gemm__profile",
)
SAXPY = FILES[4]


def profile_of(corpus, name):
    return read(corpus / "nsys-sqlite" / f"{name}.sqlite")


def stated(corpus, name, report):
    """The rows of one of NVIDIA's reports about the file; None where that report has none."""
    path = corpus / "expected" / "nsys-stats" / f"{name}.{report}.csv"
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(line for line in lines if line.strip()))


def reports(corpus, report):
    found = [(name, rows) for name in FILES if (rows := stated(corpus, name, report)) is not None]
    assert found
    return found


def since_session(profile, table):
    """Start times as the tool counts them: from the session's start."""
    return table.ints("start_ns") - profile.meta.facts.get("session_start_ns", 0)


def sums(table, mask=None):
    """(total, count, min, max) of the durations of each name."""
    rows = table if mask is None else table.take(mask)
    found = {}
    for name, dur_ns in zip(rows["name"].tolist(), rows["dur_ns"].tolist(), strict=True):
        found.setdefault(name, []).append(dur_ns)
    return {name: (sum(values), len(values), min(values), max(values)) for name, values in found.items()}


def domain_mask(api, *domains):
    return np.array([domain in domains for domain in api["domain"].tolist()], dtype=np.bool_)


def stated_sums(rows, name_column="Name", count_column="Num Calls"):
    return [
        (
            row[name_column],
            (int(row["Total Time (ns)"]), int(row[count_column]), int(row["Min (ns)"]), int(row["Max (ns)"])),
        )
        for row in rows
    ]


def test_busy_time_is_the_union_computed_on_its_own(corpus):
    expected = json.loads((corpus / "expected" / "kernel_unions.json").read_text())
    exports = {name: wanted for name, wanted in expected.items() if name.startswith("nsys-sqlite/")}
    assert len(exports) == 4
    for name, wanted in exports.items():
        kernels = read(corpus / name).table("kernels")
        found = {"launches": len(kernels), "kernel_dur_ns": int(kernels.ints("dur_ns").sum()), "busy_ns": {}}
        for device in sorted(set(kernels["device"].tolist())):
            rows = kernels.take(kernels.ints("device") == device)
            found["busy_ns"][str(device)] = union_ns(rows.ints("start_ns"), ends_ns(rows))
        assert found == wanted, name


def test_every_row_of_the_gpu_trace_is_ours(corpus):
    for name, rows in reports(corpus, "gputrace"):
        profile = profile_of(corpus, name).require("kernels", "copies", "devices")
        names = dict(zip(*(profile.table("devices")[key].tolist() for key in ("device", "name")), strict=True))
        found = [
            (*row[:11], f"{names[row[11]]} ({row[11]})", *row[12:])
            for row in sorted([*traced_kernels(profile), *traced_copies(profile)], key=lambda row: row[0])
        ]
        assert [traced(row) for row in rows] == found, name


def traced(row):
    """A row of the report, its numbers as such."""
    numbers = ("Start (ns)", "Duration (ns)", "CorrId", "GrdX", "GrdY", "GrdZ", "BlkX", "BlkY", "BlkZ", "Reg/Trd")
    size = None if row["Bytes (MB)"] == "None" else Decimal(row["Bytes (MB)"])
    return (
        *(None if row[key] == "None" else int(row[key]) for key in numbers),
        size,
        row["Device"],
        int(row["Ctx"]),
        int(row["Strm"]),
        row["Name"],
    )


def traced_kernels(profile):
    kernels = profile.table("kernels")
    keys = ("dur_ns", "correlation", "grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z", "registers")
    columns = [kernels[key].tolist() for key in keys]
    place = [kernels[key].tolist() for key in ("device", "context", "stream", "name")]
    return list(zip(since_session(profile, kernels).tolist(), *columns, [None] * len(kernels), *place, strict=True))


def traced_copies(profile):
    copies = profile.table("copies")
    nothing = [[None] * len(copies)] * 7
    sizes = [round(Decimal(size) / 1_000_000, 3) for size in copies["size_bytes"].tolist()]
    place = [copies[key].tolist() for key in ("device", "context", "stream", "name")]
    columns = [copies[key].tolist() for key in ("dur_ns", "correlation")]
    return list(zip(since_session(profile, copies).tolist(), *columns, *nothing, sizes, *place, strict=True))


def test_where_copies_read_and_write_is_as_stated(corpus):
    for name, rows in reports(corpus, "gputrace"):
        copies = profile_of(corpus, name).table("copies")
        is_copy = np.array([kind == "memcpy" for kind in copies["kind"].tolist()], dtype=np.bool_)
        found = Counter(
            zip(*(copies.take(is_copy)[key].tolist() for key in ("source_kind", "destination_kind")), strict=True)
        )
        wanted = Counter((row["SrcMemKd"].lower(), row["DstMemKd"].lower()) for row in rows if "memcpy" in row["Name"])
        assert found == wanted, name


def test_totals_of_device_work_are_those_of_the_gpu_summary(corpus):
    for name, rows in reports(corpus, "gpusum"):
        profile = profile_of(corpus, name).require("kernels", "copies")
        found = {**sums(profile.table("kernels")), **sums(profile.table("copies"))}
        assert found == dict(stated_sums(rows, "Operation", "Instances")), name


def test_bytes_by_kind_of_copy_are_those_of_the_size_summary(corpus):
    for name, rows in reports(corpus, "gpumemsizesum"):
        copies = profile_of(corpus, name).table("copies")
        found = Counter()
        for operation, size in zip(copies["name"].tolist(), copies["size_bytes"].tolist(), strict=True):
            found[operation] += size
        wanted = {row["Operation"]: Decimal(row["Total (MB)"].replace(",", "")) for row in rows}
        assert {key: round(Decimal(size) / 1_000_000, 3) for key, size in found.items()} == wanted, name


def test_totals_of_cudas_calls_are_those_of_the_api_summary(corpus):
    for name, rows in reports(corpus, "cudaapisum"):
        api = profile_of(corpus, name).table("api")
        # Calls recorded with a backtrace come twice in the file, and have two rows of one name in the report.
        found = [
            *sums(api, domain_mask(api, "runtime", "driver")).items(),
            *sums(api, domain_mask(api, "backtrace")).items(),
        ]
        assert sorted(found) == sorted(stated_sums(rows)), name


def test_totals_of_the_operating_systems_calls_are_those_of_its_summary(corpus):
    for name, rows in reports(corpus, "osrtsum"):
        api = profile_of(corpus, name).table("api")
        assert sums(api, domain_mask(api, "osrt")) == dict(stated_sums(rows)), name


def test_every_launch_has_the_call_that_the_execution_trace_gives_it(corpus):
    for name, rows in reports(corpus, "kernexectrace"):
        profile = profile_of(corpus, name).require("kernels", "api")
        kernels, api = profile.table("kernels"), profile.table("api")
        calls = launch_rows(kernels, api)
        assert (calls >= 0).all()
        starts = since_session(profile, api)
        found = Counter(
            zip(
                starts[calls].tolist(),
                api.ints("dur_ns")[calls].tolist(),
                since_session(profile, kernels).tolist(),
                kernels["dur_ns"].tolist(),
                api["process"].take(calls).tolist(),
                api["thread"].take(calls).tolist(),
                api["name"].take(calls).tolist(),
                kernels["name"].tolist(),
                strict=True,
            )
        )
        numbers = ("API Start (ns)", "API Dur (ns)", "Kernel Start (ns)", "Kernel Dur (ns)", "PID", "TID")
        wanted = Counter((*(int(row[key]) for key in numbers), row["API Function"], row["Kernel Name"]) for row in rows)
        assert len(kernels) == sum(found.values())
        assert not found - wanted, name
        # The report has a launch twice where it was recorded with a backtrace; here it is the launch of one kernel.
        assert {row[2:4] for row in wanted} == {row[2:4] for row in found}


def test_ranges_are_those_of_the_push_pop_trace(corpus):
    profile = profile_of(corpus, SAXPY)
    ranges = profile.table("ranges")
    starts = since_session(profile, ranges)
    columns = [ranges[key].tolist() for key in ("dur_ns", "name", "process", "thread", "depth")]
    wanted = [
        (
            int(row["Start (ns)"]),
            int(row["Duration (ns)"]),
            row["Name"],
            int(row["PID"]),
            int(row["TID"]),
            int(row["Lvl"]),
        )
        for row in stated(corpus, SAXPY, "nvtxpptrace")
    ]
    assert sorted(zip(starts.tolist(), *columns, strict=True)) == sorted(wanted)


def test_totals_of_ranges_are_those_of_the_nvtx_summary(corpus):
    ranges = profile_of(corpus, SAXPY).table("ranges")
    assert sums(ranges) == dict(stated_sums(stated(corpus, SAXPY, "nvtxsum"), "Range", "Instances"))


def test_every_file_gives_every_table_without_a_sign_of_damage(corpus):
    for name in FILES:
        profile = profile_of(corpus, name)
        assert all(len(profile.table(table)) >= 0 for table in SCHEMAS)
        assert [line for line in profile.warnings if "Nsight Systems noted" not in line] == []
        assert profile.meta.tool == "Nsight Systems"
        assert len(profile.table("devices")) >= 1


def test_the_number_of_rows_is_that_of_the_files_tables(corpus):
    for name in FILES:
        path = corpus / "nsys-sqlite" / f"{name}.sqlite"
        profile = profile_of(corpus, name).require(*SCHEMAS)
        database = sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
        there = {table for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

        def count(table, where="1", database=database, there=there):
            return (
                database.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()[0] if table in there else 0
            )

        calls = count("CUPTI_ACTIVITY_KIND_RUNTIME") + count("OSRT_API", "eventClass = 27")
        wanted = {
            "kernels": count("CUPTI_ACTIVITY_KIND_KERNEL"),
            "copies": count("CUPTI_ACTIVITY_KIND_MEMCPY") + count("CUPTI_ACTIVITY_KIND_MEMSET"),
            "api": calls + count("CUPTI_ACTIVITY_KIND_SYNCHRONIZATION"),
            "ranges": count("NVTX_EVENTS", "eventType IN (34, 59, 60)"),
            "overhead": count("PROFILER_OVERHEAD") + count("CUPTI_ACTIVITY_KIND_OVERHEAD"),
        }
        database.close()
        assert {table: len(profile.table(table)) for table in wanted} == wanted, name


def test_the_session_is_as_long_as_the_tool_says_and_holds_all_kernels(corpus):
    for name in (FILES[0], FILES[3], FILES[4]):
        profile = profile_of(corpus, name).require("kernels", "spans")
        span, kernels = profile.table("spans"), profile.table("kernels")
        assert profile.meta.clock == "unix"
        assert span["start_ns"].tolist() == [profile.meta.facts["session_start_ns"]]
        assert kernels.ints("start_ns").min() > span.ints("start_ns")[0]
        assert ends_ns(kernels).max() < ends_ns(span)[0]


def test_columns_that_a_user_added_are_not_read(corpus):
    source = next(iter(find_sources(corpus / "nsys-sqlite" / f"{SAXPY}.sqlite")))
    with sqlite_tables.opened(source) as database:
        assert "name" in database.tables["CUPTI_ACTIVITY_KIND_RUNTIME"]
    assert None not in profile_of(corpus, SAXPY).table("api")["name"].tolist()


def test_a_file_without_device_work_is_read_and_says_so(corpus):
    profile = profile_of(corpus, FILES[1]).require("kernels", "threads")
    assert (profile.meta.domain, len(profile.table("kernels"))) == ("cpu", 0)
    assert "julia thread 2" in profile.table("threads")["name"].tolist()


def test_every_file_is_known_by_its_first_bytes(corpus):
    for path in sorted((corpus / "nsys-sqlite").iterdir()):
        assert nsys_sqlite.sniff(path.read_bytes()[: 64 << 10]), path.name
    for path in sorted((corpus / "nvvp").iterdir()):
        assert not nsys_sqlite.sniff(path.read_bytes()[: 64 << 10]), path.name


def test_messages_of_lost_events_are_warnings(corpus):
    warnings = profile_of(corpus, FILES[5]).require("kernels").warnings
    assert any(re.search("Some CUPTI events might be missing", line) for line in warnings)


@pytest.mark.parametrize("by", ["name", "kernel", "launch", "stream", "device"])
def test_the_questions_are_answered(corpus, by):
    from ds2prof.analysis import questions

    profile = profile_of(corpus, FILES[3]).require(*questions.tables_for(by))
    assert questions.answers(profile, by)
