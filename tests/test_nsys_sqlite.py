"""The reader of Nsight Systems' SQLite exports: schemas of all years, what rows mean, damage."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2prof.analysis.attribution import launch_rows, owners
from ds2prof.errors import ReadError
from ds2prof.parsers import nsys_sqlite, parse_source, parser
from ds2prof.parsers.nsys_api import plain_name
from ds2prof.parsers.nsys_rows import reals
from ds2prof.parsers.nsys_strings import Strings, distinct_values
from ds2prof.schemas import SCHEMAS
from ds2prof.tables import DeferredColumns
from tests.conftest import GOLDEN, corpus_folder
from tests.nsys_support import (
    CASES,
    COLUMNS,
    NO_STREAM,
    SESSION_NS,
    export,
    kernel,
    pairs,
    pid,
    profile_of,
    row,
    source_of,
    strings,
    tid,
    without,
)

KERNELS = "CUPTI_ACTIVITY_KIND_KERNEL"
CALLS = "CUPTI_ACTIVITY_KIND_RUNTIME"
GRAPHS = "CUPTI_ACTIVITY_KIND_GRAPH_TRACE"
SESSION = {"TARGET_INFO_SESSION_START_TIME": [{"utcEpochNs": SESSION_NS}]}
REFERENCE = corpus_folder().parent / "reference" / "schemas"


def call(start, end, **others):
    usual = row(eventClass=0, globalTid=tid(100, 100), correlationId=1, nameId=1)
    return row(usual, start=start, end=end, **others)


def event(start, end, **others):
    return row(row(eventType=59, globalTid=tid(100, 100), domainId=0), start=start, end=end, **others)


def column(tables, table, name, **options):
    return profile_of(tables, **options).table(table)[name].tolist()


@pytest.mark.parametrize("case", CASES)
def test_golden_cases_give_their_expected_tables(case):
    folder = GOLDEN / "nsys_sqlite" / case
    expected = json.loads((folder / "expected.json").read_text())
    profile = nsys_sqlite.parse(source_of((folder / "input.sqlite").read_bytes())).require(*SCHEMAS)
    found = {table: profile.table(table) for table in SCHEMAS if len(profile.table(table))}
    assert {
        table: {name: rows[name].tolist() for name in sorted(rows.columns)} for table, rows in found.items()
    } == expected["tables"]
    assert list(profile.warnings) == expected["warnings"]


@pytest.mark.parametrize("case", CASES)
def test_golden_inputs_are_what_the_generator_makes(case, tmp_path):
    made = tmp_path / "made.sqlite"
    made.write_bytes(CASES[case]())
    assert dump(made) == dump(GOLDEN / "nsys_sqlite" / case / "input.sqlite")


def dump(path: Path) -> list[str]:
    database = sqlite3.connect(path)
    try:
        return list(database.iterdump())
    finally:
        database.close()


def schema_files():
    return sorted(REFERENCE.glob("nsys_sqlite_*.sql")) if REFERENCE.is_dir() else []


@pytest.fixture(params=[path.name for path in schema_files()] or [None])
def schema(request, corpus):
    if request.param is None:
        pytest.skip("no corpus of schemas")
    return (REFERENCE / request.param).read_text()


def filled(schema, path, rows):
    """An export of that schema with so many rows in each table: numbers that grow, texts where texts are due."""
    database = sqlite3.connect(path)
    database.executescript(f"PRAGMA synchronous = OFF; BEGIN; {schema}; COMMIT")
    listed = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in listed:
        columns = [(name, kind) for _, name, kind, *_ in database.execute(f"PRAGMA table_info({table})")]
        for number in range(1, rows + 1):
            values = [value_of(name, kind, number) for name, kind in columns]
            marks = ", ".join("?" * len(values))
            database.execute(f"INSERT INTO {table} VALUES ({marks})", values)
    database.commit()
    database.close()
    return parse_source(source_of(path.read_bytes())).require(*SCHEMAS), set(listed)


def value_of(name, kind, number):
    if kind == "TEXT":
        return f"text {number}"
    special = {"start": 1_000 * number, "end": 1_000 * number + 300, "eventType": 59, "utcEpochNs": SESSION_NS}
    special |= {"globalTid": tid(100, 101), "globalPid": pid(100), "id": number, "eventClass": 27, "timestamp": 5}
    return special.get(name, number)


def test_each_schema_without_rows_is_an_empty_profile(schema, tmp_path):
    profile, _ = filled(schema, tmp_path / "empty.sqlite", 0)
    assert {table: len(profile.table(table)) for table in SCHEMAS} == dict.fromkeys(SCHEMAS, 0)
    assert profile.meta.domain == "cpu"


def test_each_schema_with_two_rows_a_table_gives_two_rows_of_each(schema, tmp_path):
    profile, there = filled(schema, tmp_path / "two.sqlite", 2)
    parts = {
        "kernels": {KERNELS},
        "copies": {"CUPTI_ACTIVITY_KIND_MEMCPY", "CUPTI_ACTIVITY_KIND_MEMSET"},
        "api": {CALLS, "CUPTI_ACTIVITY_KIND_SYNCHRONIZATION", "CUDNN_EVENTS", "CUBLAS_EVENTS", "OSRT_API"},
        "ranges": {"NVTX_EVENTS"},
        "overhead": {"PROFILER_OVERHEAD", "CUPTI_ACTIVITY_KIND_OVERHEAD"},
        "devices": {"TARGET_INFO_CUDA_GPU" if "TARGET_INFO_CUDA_GPU" in schema else "TARGET_INFO_GPU"},
    }
    assert {table: len(profile.table(table)) for table in parts} == {
        table: 2 * len(names & there) for table, names in parts.items()
    }
    base_ns = SESSION_NS if "TARGET_INFO_SESSION_START_TIME" in there else 0
    for table in ("kernels", "copies", "ranges"):
        rows = profile.table(table)
        assert set(rows["start_ns"].tolist()) <= {base_ns + 1_000, base_ns + 2_000}
        assert set(rows["dur_ns"].tolist()) <= {300}
        assert set(rows["process"].tolist()) <= {100}
    assert not [line for line in profile.warnings if "left out" in line]


def test_tables_of_the_tool_make_a_file_its_own_and_those_of_nvprof_do_not():
    assert nsys_sqlite.sniff(export({KERNELS: [kernel(1, 2)], "StringIds": strings("a")}))
    assert nsys_sqlite.sniff(export({KERNELS: [kernel(1, 2)]}))
    assert not nsys_sqlite.sniff(export({"StringTable": []}, columns={"StringTable": ["_id_", "value:TEXT"]}))
    assert not nsys_sqlite.sniff(b"CREATE TABLE StringIds")


def test_a_database_that_is_no_export_is_refused_in_one_line():
    content = export({"PROCESSES": [{"pid": 1}]})
    with pytest.raises(ReadError, match=r"^export.sqlite: an SQLite file without any table of Nsight Systems; [^\n]*$"):
        nsys_sqlite.parse(source_of(content)).require("kernels")


def test_times_count_from_1970_where_the_session_has_a_time_of_day():
    tables = {KERNELS: [kernel(10, 15)]}
    assert column({**tables, **SESSION}, "kernels", "start_ns") == [SESSION_NS + 10]
    assert profile_of({**tables, **SESSION}).meta.clock == "unix"
    assert column(tables, "kernels", "start_ns") == [10]
    assert profile_of(tables).meta.clock is None


@pytest.mark.parametrize(
    ("stated", "recorded"),
    [
        ({}, 10),
        ({"EXPORT_PARAM_TIME_SHIFT": "500"}, 510),
        ({"EXPORT_PARAM_TIME_SHIFT": "-7"}, 3),
        ({"EXPORT_PARAM_TIME_NORMALIZE": "true", "EXPORT_PARAM_TIME_SHIFT": "0"}, SESSION_NS + 10),
        ({"EXPORT_PARAM_TIME_NORMALIZE": "true", "EXPORT_PARAM_TIME_SHIFT": "5"}, SESSION_NS + 15),
    ],
)
def test_what_the_export_did_to_times_is_undone(stated, recorded):
    tables = {
        KERNELS: [kernel(recorded, recorded + 5)],
        "META_DATA_EXPORT": pairs(**stated),
        "ANALYSIS_DETAILS": [{"duration": 100}],
        **SESSION,
    }
    profile = profile_of(tables).require("kernels", "spans")
    assert profile.table("kernels")["start_ns"].tolist() == [SESSION_NS + 10]
    assert profile.table("spans")["start_ns"].tolist() == [SESSION_NS]


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ((20, 10), "negative duration"),
        ((0, 8 * 86_400 * 10**9), "longer than a week"),
        (("soon", 10), "no readable time"),
        ((0.5, 10), "no readable time"),
        (((1 << 63) - 1, -(1 << 63)), "no readable time"),
    ],
)
def test_a_row_whose_times_cannot_be_is_left_out_and_counted(times, reason):
    rows = [kernel(100, 200), kernel(*times), kernel(300, 350, gridX=9)]
    profile = profile_of({KERNELS: rows}).require("kernels")
    assert profile.table("kernels")["dur_ns"].tolist() == [100, 50]
    assert profile.table("kernels")["grid_x"].tolist() == [1, 9]
    assert [line for line in profile.warnings if f"1 kernel left out, {reason}" in line]


def test_ids_that_stand_for_none_are_null():
    rows = [kernel(1, 2, streamId=NO_STREAM, deviceId=-1, correlationId=0, globalPid=None), kernel(3, 4)]
    table = profile_of({KERNELS: rows}).table("kernels")
    found = {name: table[name].tolist() for name in ("stream", "device", "correlation", "process")}
    assert found == {"stream": [None, 7], "device": [None, 0], "correlation": [None, 1], "process": [None, 100]}


def test_a_kernel_without_a_full_name_goes_by_its_short_one():
    rows = [kernel(1, 2), kernel(3, 4, demangledName=99), kernel(5, 6, demangledName=99, shortName=98)]
    profile = profile_of({KERNELS: rows}).require("kernels")
    assert profile.table("kernels")["name"].tolist() == ["full name", "short", "(kernel without a name)"]
    assert [line for line in profile.warnings if "1 kernel without a name" in line]


def test_columns_that_few_questions_need_are_read_when_asked_for():
    columns = profile_of({KERNELS: [kernel(1, 2)]}).table("kernels").columns
    assert isinstance(columns, DeferredColumns)
    assert {"grid_x", "registers", "mangled_name"}.isdisjoint(columns.ready)
    assert columns["grid_x"].tolist() == [1]


def test_kernels_of_two_tables_keep_their_columns_apart():
    given = {"CUPTI_ACTIVITY_KIND_KERNEL": [*COLUMNS[KERNELS], "graphId"]}
    graph = row(start=50, end=60, deviceId=0, streamId=7, correlationId=9, globalPid=pid(100), graphId=3)
    table = profile_of({KERNELS: [kernel(1, 2, graphId=6)], GRAPHS: [graph]}, columns=given).table("kernels")
    assert table["graph"].tolist() == [6, 3]
    assert table["kind"].tolist() == [None, "graph"]
    assert table["grid_x"].tolist() == [1, None]


def test_a_graph_whose_kernels_are_known_is_not_counted_twice():
    graphs = [
        row(start=0, end=90, deviceId=0, streamId=7, correlationId=1, globalPid=pid(100), graphId=1),
        row(start=0, end=90, deviceId=0, streamId=7, correlationId=1, globalPid=pid(200), graphId=1),
        row(start=100, end=190, deviceId=0, streamId=7, correlationId=2, globalPid=pid(100), graphId=None),
    ]
    profile = profile_of({KERNELS: [kernel(10, 20), kernel(30, 40)], GRAPHS: graphs}).require("kernels")
    table = profile.table("kernels")
    assert table["name"].tolist() == ["full name"] * 2 + ["CUDA graph 1", "CUDA graph"]
    assert table["process"].tolist() == [100, 100, 200, 100]
    said = "\n".join(profile.warnings)
    assert "1 CUDA graph launch recorded as a whole and by kernels too" in said
    assert "2 CUDA graph launches recorded as a whole: its kernels are unknown" in said


def test_the_newest_of_several_tables_of_one_kind_is_read():
    newer = {f"{CALLS}_V{number}": COLUMNS[CALLS] for number in (2, 3)}
    tables = {"StringIds": strings("cudaMalloc_v3020", "cudaLaunchKernel_v7000"), KERNELS: [kernel(10, 20)]}
    tables |= {CALLS: [call(1, 3)], f"{CALLS}_V2": [call(1, 4, nameId=2)], f"{CALLS}_V3": []}
    profile = profile_of(tables, columns=newer).require("kernels", "api")
    assert profile.table("api")["dur_ns"].tolist() == [3]
    assert len(profile.table("kernels")) == 1
    assert launch_rows(profile.table("kernels"), profile.table("api")).tolist() == [0]


@pytest.mark.parametrize(
    ("found", "plain"),
    [
        ("cudaMemcpy_v3020", "cudaMemcpy"),
        ("cudaGraphLaunch_v10000", "cudaGraphLaunch"),
        ("cudaLaunchKernel_ptsz_v7000", "cudaLaunchKernel_ptsz"),
        ("cuMemAlloc_v2", "cuMemAlloc_v2"),
        ("cudaMemcpy", "cudaMemcpy"),
    ],
)
def test_names_of_calls_lose_the_version_that_cupti_adds(found, plain):
    assert plain_name(found) == plain


def test_the_domain_of_a_call_is_its_class_or_else_its_name():
    texts = strings("cudaMalloc_v3020", "cuMemAlloc_v2", "something")
    rows = [call(1, 2, eventClass=1), *(call(3, 4, eventClass=26, nameId=number) for number in (1, 2, 3))]
    assert column({"StringIds": texts, CALLS: rows}, "api", "domain") == ["driver", "runtime", "driver", None]


def test_a_launch_that_was_recorded_with_a_backtrace_starts_one_kernel():
    rows = [call(1, 9, eventClass=67), call(2, 8)]
    profile = profile_of({KERNELS: [kernel(10, 20)], CALLS: rows}).require("kernels", "api")
    assert profile.table("api")["domain"].tolist() == ["backtrace", "runtime"]
    assert len(launch_rows(profile.table("kernels"), profile.table("api"))) == 1
    assert profile.warnings == ()


def test_separate_calls_with_one_correlation_id_are_warned_of():
    rows = [call(1, 3), call(5, 9), call(5, 9, globalTid=tid(200, 200)), call(6, 8, correlationId=2)]
    profile = profile_of({CALLS: rows})
    assert len(profile.table("api")) == 4
    assert [line for line in profile.warnings if "1 CUDA call with the correlation id of an earlier" in line]


def test_launches_belong_to_the_ranges_of_their_thread():
    tables = {
        "StringIds": strings("full name", "short", "cudaLaunchKernel_v7000"),
        KERNELS: [kernel(100, 120), kernel(130, 140, correlationId=2)],
        CALLS: [call(15, 18, nameId=3), call(35, 38, nameId=3, correlationId=2)],
        "NVTX_EVENTS": [
            row(start=0, eventType=75, text="ds2prof", globalTid=tid(100, 100), domainId=1),
            event(10, 20, text="phase:forward", domainId=1),
            event(30, 40, text="phase:loss", domainId=1, eventType=60),
        ],
    }
    profile = profile_of(tables).require("kernels", "api", "ranges")
    ranges = profile.table("ranges")
    assert ranges["value"].take(owners(profile, "kernels", "phase")).tolist() == ["forward", "loss"]


@pytest.mark.parametrize(
    ("domain", "message", "kind", "value"),
    [
        ("ds2prof", "iteration:3", "iteration", "3"),
        ("ds2prof", "layer:rnn.0", "layer", "rnn.0"),
        ("ds2prof", "window:1-2", "window", "1-2"),
        (None, "ds2prof:phase:backward", "phase", "backward"),
        (None, "ProfilerStep#4", "iteration", "4"),
        ("other", "phase:forward", "user", None),
    ],
)
def test_what_a_range_means_is_told_by_its_domain_and_message(domain, message, kind, value):
    create = [row(start=0, eventType=75, text=domain, globalTid=tid(100, 9), domainId=5)] if domain else []
    events = [*create, event(10, 20, text=message, domainId=5)]
    ranges = profile_of({"NVTX_EVENTS": events}).table("ranges")
    assert [ranges[name].tolist() for name in ("kind", "value", "domain")] == [[kind], [value], [domain]]


def test_domains_are_those_of_the_ranges_own_process():
    create = [
        row(start=0, eventType=75, text=name, globalTid=tid(process, 1), domainId=1)
        for process, name in ((100, "one"), (200, "two"))
    ]
    events = [event(1, 2, text="a", domainId=1, globalTid=tid(process, 1)) for process in (100, 200, 300)]
    assert column({"NVTX_EVENTS": [*create, *events]}, "ranges", "name") == ["one:a", "two:a", "a"]


def test_a_registered_message_is_found_by_its_id():
    events = [event(1, 2, textId=1), event(3, 4, text="given"), event(5, 6)]
    found = column({"StringIds": strings("registered"), "NVTX_EVENTS": events}, "ranges", "name")
    assert found == ["registered", "given", "(range without a name)"]


def test_marks_and_open_ranges_have_no_duration_and_open_ones_are_warned_of():
    events = [event(1, None, eventType=34, text="mark"), event(2, None, text="open"), event(3, 9, text="closed")]
    profile = profile_of({"NVTX_EVENTS": events}).require("ranges")
    assert profile.table("ranges")["dur_ns"].tolist() == [None, None, 6]
    assert [line for line in profile.warnings if "1 range never closed" in line]


def test_other_events_of_nvtx_are_no_ranges():
    events = [event(1, 2, eventType=number, text="x") for number in (33, 39, 75, 76)]
    assert len(profile_of({"NVTX_EVENTS": events}).table("ranges")) == 0


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 12), st.integers(0, 1)), max_size=12))
@settings(max_examples=60, deadline=None)
def test_the_depth_of_a_range_is_the_number_of_those_around_it(triples):
    """Ranges that nest, as pushing and popping makes them: each is cut to the one around it."""
    opened, events = {0: [], 1: []}, []
    for start, length, thread in sorted(triples, key=lambda triple: (triple[0], -triple[1])):
        around = [end for end in opened[thread] if end > start]
        opened[thread] = around
        end = min([start + length, *around])
        events.append((start, end, thread, len(around)))
        if end > start:
            opened[thread].append(end)
    rows = [event(start, end, text="r", globalTid=tid(100, 1 + thread)) for start, end, thread, _ in events]
    found = column({"NVTX_EVENTS": rows}, "ranges", "depth") if rows else []
    assert found == [depth for *_, depth in events]


def test_payloads_are_kept_as_text():
    events = [
        event(1, 2, text="a", uint64Value=-1),
        event(3, 4, text="b", int32Value=-7),
        event(5, 6, text="c", floatValue=2.5),
        event(7, 8, text="d", jsonText='{"k": 1}'),
        event(9, 10, text="e"),
    ]
    found = column({"NVTX_EVENTS": events}, "ranges", "payload")
    assert found == ["18446744073709551615", "-7", "2.5", '{"k": 1}', None]


def test_categories_have_their_names_or_else_their_numbers():
    naming = [row(start=0, eventType=33, text="compute", globalTid=tid(100, 1), domainId=0, category=4)]
    events = [event(1, 2, text="a", category=category) for category in (4, 5, 0, None)]
    assert column({"NVTX_EVENTS": [*naming, *events]}, "ranges", "category") == ["compute", "5", None, None]


def test_devices_are_matched_by_cudas_ordinal_not_by_their_place_in_the_list():
    gpus = [row(id=number, cuDevice=ordinal, name=f"GPU {number}", smCount=10 + number)
            for number, ordinal in enumerate((1, 0, 3, 2))]  # fmt: skip
    devices = profile_of({"TARGET_INFO_GPU": gpus}).table("devices")
    assert devices["device"].tolist() == [0, 1, 2, 3]
    assert devices["sms"].tolist() == [11, 10, 13, 12]


def test_one_gpu_has_one_number_in_all_processes():
    tables = {
        "TARGET_INFO_GPU": [row(id=number, cuDevice=number, name=f"GPU {number}") for number in (0, 1)],
        "TARGET_INFO_CUDA_DEVICE": [row(gpuId=0, cudaId=0, pid=100), row(gpuId=1, cudaId=0, pid=200)],
        KERNELS: [kernel(1, 9), kernel(2, 8, globalPid=pid(200)), kernel(3, 7, globalPid=pid(300))],
    }
    profile = profile_of(tables).require("kernels", "devices")
    assert profile.table("kernels")["device"].tolist() == [0, 1, 0]
    assert profile.table("devices")["device"].tolist() == [0, 1]


def test_a_slice_of_a_gpu_has_the_multiprocessors_of_the_slice():
    tables = {
        "TARGET_INFO_GPU": [row(id=0, cuDevice=0, name="NVIDIA H100 MIG 1g.10gb", smCount=132)],
        "TARGET_INFO_CUDA_DEVICE": [row(gpuId=0, cudaId=0, pid=100, numMultiprocessors=16)],
    }
    devices = profile_of(tables).table("devices")
    assert [devices[name].tolist() for name in ("mig", "sms")] == [["1g.10gb"], [16]]


def test_a_negative_reading_is_null_and_a_real_one_is_kept():
    metrics = {"TARGET_INFO_GPU_METRICS": [row(typeId=0, metricId=1, metricName="DRAM Read [Throughput %]")]}
    readings = [row(timestamp=time, typeId=0, metricId=1, value=value) for time, value in ((1, -3), (2, 12.5), (3, 50))]
    profile = profile_of({**metrics, "GPU_METRICS": readings}).require("samples")
    assert profile.table("samples")["value"].tolist() == [None, 0.125, 0.5]
    assert [line for line in profile.warnings if "1 reading below zero" in line]


def test_a_metric_without_a_name_or_a_device_is_kept_as_such():
    profile = profile_of({"GPU_METRICS": [row(timestamp=1, typeId=5, metricId=77, value=3)]})
    samples = profile.table("samples")
    found = {name: samples[name].tolist() for name in ("metric", "unit", "value", "device")}
    assert found == {"metric": ["(metric 77)"], "unit": ["unknown"], "value": [3.0], "device": [None]}


def test_only_the_texts_that_are_used_are_read(monkeypatch):
    asked = []
    true_read = Strings._read
    monkeypatch.setattr(Strings, "_read", lambda self, ids: (asked.extend(ids), true_read(self, ids))[1])
    texts = strings(*(f"text {number}" for number in range(300)))
    profile_of({"StringIds": texts, KERNELS: [kernel(1, 2, demangledName=250)]}).require("kernels")
    assert asked == [250]


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-5, 40), min_size=1, max_size=40))
def test_distinct_values_and_their_places_rebuild_the_values(values):
    array = np.array(values, dtype=np.int64)
    distinct, places = distinct_values(array)
    assert distinct.tolist() == sorted(set(values))
    assert distinct[places].tolist() == values


def test_huge_and_odd_numbers_in_device_tables_do_no_harm():
    gpus = [
        row(id="x", cuDevice=None, name=b"\xff"),
        row(id=1, cuDevice=(1 << 63) - 1, smCount=-5, threadsPerWarp=1 << 60, maxWarpsPerSm=1 << 60),
    ]
    devices = profile_of({"TARGET_INFO_GPU": gpus}).table("devices")
    assert devices["device"].tolist() == [0]
    assert devices["max_threads_per_sm"].tolist() == [None]


@pytest.mark.parametrize("table", sorted(COLUMNS))
@pytest.mark.parametrize("value", [None, "text", 1.5, b"\x00", -1, (1 << 63) - 1, -(1 << 63)])
def test_any_value_in_any_column_gives_a_profile(table, value):
    names = [each.split(":")[0] for each in COLUMNS[table]]
    values = {name: value for name in names if name != "id" or table != "StringIds"}
    profile = profile_of({"StringIds": strings("a", "b"), "TARGET_INFO_GPU": [], table: [values]}).require(*SCHEMAS)
    for name in SCHEMAS:
        rows = profile.table(name)
        assert all(len(rows[key]) == len(rows) for key in rows.columns)


def test_a_file_that_was_cut_off_is_refused_whatever_is_asked_of_it():
    content = CASES["schema_3_25"]()
    for cut in (len(content) - 1, len(content) // 2, 2048):
        for table in ("kernels", "devices"):
            with pytest.raises(ReadError, match=r"damaged SQLite database"):
                nsys_sqlite.parse(source_of(content[:cut])).require(table)


def test_the_reader_is_found_by_the_files_first_bytes():
    content = CASES["schema_3_1_7"]()
    assert parse_source(source_of(content)).meta.format == parser("nsys_sqlite").FORMAT == "nsys-sqlite"


def test_losses_that_the_tool_noted_are_warnings_and_unused_features_are_not():
    warnings = nsys_sqlite.parse(source_of(CASES["schema_3_25"]())).require("kernels").warnings
    assert sum(bool(re.search("noted: CUPTI events produced", line)) for line in warnings) == 1
    assert not any("NVTX" in line for line in warnings)


def test_the_profilers_own_processes_alone_are_listed():
    tables = {
        "PROCESSES": [row(globalPid=pid(number), pid=number, name=f"p{number}") for number in (1, 2, 100)],
        "ProcessStreams": [row(globalPid=pid(100), filenameId=1, contentId=1)],
        "StringIds": strings("main", "worker"),
        "ThreadNames": [row(nameId=1, globalTid=tid(100, 100)), row(nameId=2, globalTid=tid(2, 2))],
    }
    profile = profile_of(tables).require("processes", "threads")
    assert profile.table("processes")["name"].tolist() == ["p100"]
    assert profile.table("threads")["name"].tolist() == ["main"]


def test_gpus_without_ordinals_are_not_taken_for_those_of_operations():
    gpus = [row(id=number, name="NVIDIA T4", cuDevice=None) for number in (3, 5)]
    assert column({"TARGET_INFO_GPU": gpus}, "devices", "device") == [3, 5]
    assert len(profile_of({"TARGET_INFO_GPU": gpus, KERNELS: [kernel(1, 2)]}).table("devices")) == 0
    assert column({"TARGET_INFO_GPU": gpus[:1], KERNELS: [kernel(1, 2)]}, "devices", "device") == [0]


def test_of_two_gpus_with_one_ordinal_the_first_stands_for_it():
    gpus = [row(id=number, name=f"GPU {number}", cuDevice=0) for number in (3, 5)]
    assert column({"TARGET_INFO_GPU": gpus}, "devices", "name") == ["GPU 3"]


def test_a_table_with_fewer_columns_than_ever_seen_is_read_as_far_as_it_goes():
    bare = without(KERNELS, *(name for name in COLUMNS[KERNELS] if name not in ("start", "end", "demangledName")))
    rows = [row(start=1, end=4, demangledName=1)]
    table = profile_of({KERNELS: rows}, columns=bare).table("kernels")
    assert set(table.columns) == {"name", "start_ns", "dur_ns"}
    assert table["dur_ns"].tolist() == [3]
    assert len(profile_of({KERNELS: [row(deviceId=0)]}, columns=without(KERNELS, "start")).table("kernels")) == 0


def test_rows_whose_numbers_go_round_in_circles_are_damage_and_end():
    class Endless:
        name = "export.sqlite"

        def rows(self, sql, parameters=()):
            return [(5, 1.0)]

    with pytest.raises(ReadError, match=r"^export.sqlite: damaged: the columns of T differ in length"):
        reals(Endless(), "T", "value", 3)
