"""nvprof's SQLite files: what each table becomes, and what is done about rows that cannot be."""

from __future__ import annotations

import csv
import ctypes
import shutil
import struct
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2prof import read
from ds2prof.analysis import questions, windows
from ds2prof.errors import ReadError
from ds2prof.parsers import nvprof_calls, nvprof_metrics, nvprof_sqlite_rows
from ds2prof.schemas import SCHEMAS
from ds2prof.tables import Profile, int_column
from tests.nvprof_support import (
    CASES,
    GOLDEN,
    OTHER_THREAD,
    PROCESS,
    T0,
    THREAD,
    US,
    call,
    device,
    dump,
    kernel,
    marker,
    metric_numbers,
    process,
    write,
)


def golden_profile(case: str) -> Profile:
    return read(GOLDEN / case / "input.nvvp", tables=tuple(SCHEMAS))


def rows(profile: Profile, table: str, *columns: str) -> list[tuple[object, ...]]:
    found = profile.table(table)
    return list(zip(*(found[column].tolist() for column in columns), strict=True))


@pytest.fixture
def made(tmp_path):
    """A function that writes a database of version 16 by ``fill`` and reads it."""

    def make(fill, *, version=16, tables=tuple(SCHEMAS)):
        return read(write(tmp_path / "made.nvvp", version, fill), tables=tables)

    return make


@pytest.mark.parametrize("case", CASES)
def test_golden_files_hold_what_the_generator_makes(case, tmp_path):
    version, fill = CASES[case]
    assert dump(GOLDEN / case / "input.nvvp") == dump(write(tmp_path / "again", version, fill))


def test_kernels_have_their_launch_configuration_and_the_only_process_there_is():
    profile = golden_profile("timeline_v8")
    assert rows(profile, "kernels", "mangled_name", "device", "context", "stream", "correlation", "process") == [
        ("_Z6kernelPfi", 0, 1, 7, 3, PROCESS),
        (None, 0, 1, 8, 4, PROCESS),
        ("_Z6kernelPfi", 1, 2, 7, 3, PROCESS),
    ]
    assert rows(profile, "kernels", "start_ns", "dur_ns", "grid_x", "block_x", "registers", "dynamic_shared_bytes") == [
        (T0 + 20 * US, 10 * US, 80, 256, 32, 0),
        (T0 + 25 * US, 10 * US, 80, 256, 32, 2048),
        (T0 + 22 * US, 4 * US, 80, 256, 32, 0),
    ]
    assert (profile.meta.clock, profile.meta.times, profile.meta.dialect) == ("unix", "real", "timeline, schema 8")


def test_copies_are_named_as_nvprof_names_them_and_tell_their_memory():
    assert rows(golden_profile("timeline_v8"), "copies", "name", "kind", "source_kind", "destination_kind") == [
        ("[CUDA memcpy HtoD]", "memcpy", "pageable", "device"),
        ("[CUDA memcpy DtoH]", "memcpy", "device", "pinned"),
        ("[CUDA memcpy DtoD]", "memcpy", "device", "device"),
        ("[CUDA memcpy]", "memcpy", None, None),
        ("[CUDA memcpy PtoP]", "memcpy", "device", "device"),
        ("[CUDA memset]", "memset", None, None),
    ]


def test_copies_between_devices_name_both():
    found = rows(golden_profile("timeline_v8"), "copies", "source_device", "destination_device", "size_bytes")
    assert found[4] == (0, 1, 64)
    assert {row[:2] for row in found[:4]} == {(None, None)}


def test_calls_have_names_threads_and_return_codes():
    assert rows(golden_profile("timeline_v8"), "api", "name", "domain", "thread", "correlation", "return_code") == [
        ("cudaGetDevice", "runtime", THREAD, 1, 0),
        ("cudaLaunch", "runtime", THREAD, 3, 0),
        ("cudaLaunch", "runtime", OTHER_THREAD, 4, 0),
        ("runtime call 9999", "runtime", THREAD, 5, 2),
        ("cuLaunchKernel", "driver", THREAD, 2, 0),
    ]


def test_a_device_that_is_there_twice_is_one_with_its_peaks():
    profile = golden_profile("timeline_v8")
    assert rows(profile, "devices", "device", "chip", "compute_capability", "sms", "uuid") == [
        (0, "GV100", "7.0", 80, "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f"),
        (1, "GV100", "7.0", 80, None),
    ]
    assert rows(profile, "devices", "sm_clock_hz", "memory_bandwidth_bytes_per_s", "max_threads_per_sm")[0] == (
        1_530_000_000,
        898_048_000_000,
        2048,
    )


def test_ranges_are_two_markers_with_one_id_and_marks_have_no_duration():
    found = rows(golden_profile("markers_v11"), "ranges", "name", "kind", "value", "start_ns", "dur_ns")
    assert found == [
        ("ds2prof:iteration:0", "iteration", "0", T0, 50 * US),
        ("ds2prof:phase:forward", "phase", "forward", T0 + US, 29 * US),
        ("between threads", "user", None, T0 + 5 * US, 3 * US),
        ("here", "user", None, T0 + 9 * US, None),
    ]


def test_ranges_have_domain_category_payload_and_both_threads():
    columns = ("domain", "category", "payload", "process", "thread", "end_thread")
    assert rows(golden_profile("markers_v11"), "ranges", *columns)[1:] == [
        (None, None, None, PROCESS, THREAD, THREAD),
        ("other", "5", "12", PROCESS, THREAD, OTHER_THREAD),
        (None, None, "0.5", PROCESS, THREAD, None),
    ]


def test_ranges_cut_off_or_turned_round_are_left_out_with_warnings():
    warnings = [line.partition(": ")[2] for line in golden_profile("markers_v11").warnings]
    assert [line for line in warnings if line.startswith("ranges")] == [
        "ranges: 1 row left out, begun but not ended in the file",
        "ranges: 1 row left out, ended but not begun in the file",
        "ranges: 1 row left out, ending before they start",
    ]


def test_waits_are_rows_of_the_api_table_with_a_domain_of_their_own():
    found = rows(golden_profile("markers_v11"), "api", "name", "domain", "device", "stream", "correlation", "process")
    assert found[2:] == [
        ("Stream Sync", "sync", 0, 7, 101, None),
        ("Context Sync", "sync", None, None, None, None),
    ]


def test_overhead_tells_what_took_the_time_and_where():
    assert rows(golden_profile("markers_v11"), "overhead", "name", "process", "thread", "dur_ns") == [
        ("Instrumentation", PROCESS, None, 4 * US),
        ("Buffer Flush", PROCESS, THREAD, 5 * US),
    ]


def test_readings_of_the_device_are_samples_in_base_units():
    profile = golden_profile("markers_v11")
    assert rows(profile, "samples", "metric", "unit", "value", "start_ns", "device") == [
        ("SM Clock", "hertz", 1_530e6, T0 + 1, 0),
        ("Memory Clock", "hertz", 877e6, T0 + 1, 0),
        ("Temperature", "celsius", 55.0, T0 + 2, 0),
        ("Power", "watt", 250.5, T0 + 3, 0),
        ("Power Limit", "watt", 300.0, T0 + 3, 0),
        ("Fan Speed", "ratio", 0.4, T0 + 4, 0),
    ]
    assert any("samples: 1 row left out, without a reading" in line for line in profile.warnings)


def test_processes_and_threads_have_the_names_of_the_file():
    profile = golden_profile("markers_v11")
    assert rows(profile, "processes", "process", "name") == [(PROCESS, "python train.py")]
    assert rows(profile, "threads", "process", "thread", "name") == [(PROCESS, THREAD, "main")]


def test_what_is_not_read_is_said():
    assert "not read by this version: 1 row of unified memory" in golden_profile("markers_v11").warnings[0]


def test_metric_mode_is_replay_with_values_in_base_units():
    profile = golden_profile("metrics_v17")
    assert (profile.meta.times, profile.meta.dialect) == ("replay", "metrics, schema 17")
    assert rows(profile, "counters", "launch", "metric", "unit", "value") == [
        (0, "achieved_occupancy", "", 0.5),
        (0, "sm_efficiency", "ratio", 0.875),
        (0, "dram_read_throughput", "byte/s", 900e9),
        (0, "single_precision_fu_utilization", "level", 7.0),
        (0, "inst_executed", "", 123_456.0),
        (0, "dram_read_bytes", "byte", float(1 << 33)),
        (1, "sm_efficiency", "ratio", 0.1),
        (2, "sm_efficiency", "ratio", 0.2),
    ]


def test_counters_that_cannot_be_are_absent_with_a_reason():
    warnings = [line.partition(": counters: ")[2] for line in golden_profile("metrics_v17").warnings]
    assert warnings == [
        "1 row of events left out, whose names the file does not hold; 'nvprof -i FILE --csv' prints them",
        "1 row left out, of metrics whose numbers are not known here",
        "1 row left out, without a value that can be",
        "1 row left out, of launches that are not in the file",
    ]


def test_times_from_the_machines_start_are_no_unix_times():
    assert golden_profile("graphs_v26").meta.clock == "boot"


def test_launches_of_two_processes_belong_to_the_one_whose_call_has_their_id():
    found = rows(golden_profile("graphs_v26"), "kernels", "name", "process", "kind")
    assert found == [
        ("ambiguous", None, "kernel"),
        ("first", 11, "kernel"),
        ("second", 12, "kernel"),
        ("of no call", None, "kernel"),
        ("without times", 11, "kernel"),
        ("CUDA graph 5", 12, "graph"),
    ]


def test_clusters_graphs_and_times_that_are_zero_are_null():
    found = rows(golden_profile("graphs_v26"), "kernels", "cluster_x", "graph", "graph_node", "start_ns", "dur_ns")
    assert found[1:] == [
        (2, None, None, 5_000_000, 4_000),
        (None, 4, 77, 5_000_000, 4_000),
        (None, None, None, 5_000_000, 4_000),
        (None, None, None, None, None),
        (None, 5, None, 6_000_000, 100_000),
    ]


def test_a_file_without_a_device_is_read_and_says_so():
    profile = golden_profile("graphs_v26")
    assert len(profile.table("devices")) == 0
    assert "names no device" in profile.warnings[0]


def test_an_empty_profile_is_read_and_says_so():
    profile = golden_profile("empty_v12")
    assert all(len(profile.table(name)) == 0 for name in SCHEMAS)
    assert len(profile.warnings) == 1
    assert "empty: nvprof recorded no kernel" in profile.warnings[0]


def test_the_session_reaches_from_the_first_record_to_the_last():
    assert rows(golden_profile("timeline_v8"), "spans", "name", "start_ns", "dur_ns") == [("session", T0, 63 * US)]


def test_a_session_has_a_second_utilization_less_the_profilers_overhead(made):
    def fill(file):
        device(file)
        call(file, "RUNTIME", 211, 0, 100, 1)
        kernel(file, "k", 50, 10, correlationId=1)
        for start, end, kind in ((10, 30, 2), (20, 40, 1)):
            file.add("OVERHEAD", overheadKind=kind << 16, objectKind=1, objectId=process(), start=T0 + start * US,
                     end=T0 + end * US)  # fmt: skip
        file.add("OVERHEAD", overheadKind=1, objectKind=1, objectId=process(), start=T0 + 60 * US, end=T0 + 90 * US)

    found = questions.totals_of(made(fill))
    assert (found["window_source"], found["window_ns"]) == ("session", 100 * US)
    assert found["gpu_compute_utilization"] == 0.1
    assert found["window_less_overhead_ns"] == 70 * US
    assert found["utilization_less_overhead"] == 10 / 70


def test_a_profile_with_steps_needs_no_second_utilization():
    found = questions.totals_of(golden_profile("markers_v11"))
    assert found["window_source"] == "step ranges"
    assert "utilization_less_overhead" not in found


def test_overhead_that_leaves_less_than_the_busy_time_gives_no_ratio(made):
    def fill(file):
        device(file)
        kernel(file, "k", 0, 10, correlationId=1)
        file.add("OVERHEAD", overheadKind=1 << 16, objectKind=1, objectId=process(), start=T0, end=T0 + 10 * US)

    found = questions.totals_of(made(fill))
    assert (found["window_less_overhead_ns"], found["utilization_less_overhead"]) == (0, None)
    assert windows.time_window(made(fill)).source == "session"


@pytest.mark.parametrize(
    ("start", "end", "reason"),
    [
        (T0 + 10, T0, "ending before they start"),
        (T0, T0 + 8 * 86_400 * 10**9, "longer than a week"),
        (-5, 5, "without a time that can be"),
        ((1 << 63) - 1, (1 << 63) - 1, "without a time that can be"),
        (T0, "text", "ending before they start"),
        (1.5, T0, "without a time that can be"),
        (None, T0, "without a time that can be"),
    ],
)
@pytest.mark.parametrize("table", ["kernels", "copies", "api", "overhead"])
def test_a_row_whose_times_cannot_be_is_left_out_and_counted(made, tmp_path, table, start, end, reason):
    kind = {"kernels": "CONCURRENT_KERNEL", "copies": "MEMCPY", "api": "RUNTIME", "overhead": "OVERHEAD"}[table]

    def fill(file):
        device(file)
        kernel(file, "k", 0, 1)
        file.add("MEMCPY", copyKind=1, start=T0, end=T0 + 1)
        call(file, "RUNTIME", 1, 0, 1, 1)
        file.add("OVERHEAD", start=T0, end=T0 + 1)
        columns = file.connection.execute(f"PRAGMA table_info(CUPTI_ACTIVITY_KIND_{kind})").fetchall()
        file.connection.execute(f"ALTER TABLE CUPTI_ACTIVITY_KIND_{kind} RENAME TO old")
        loose = ", ".join(name for _, name, *_ in columns if name != "_id_")
        file.connection.execute(
            f"CREATE TABLE CUPTI_ACTIVITY_KIND_{kind}(_id_ INTEGER PRIMARY KEY AUTOINCREMENT, {loose})"
        )
        file.connection.execute(f"INSERT INTO CUPTI_ACTIVITY_KIND_{kind} SELECT * FROM old")
        file.connection.execute("DROP TABLE old")
        file.connection.execute(
            f"INSERT INTO CUPTI_ACTIVITY_KIND_{kind} (start, end) VALUES (?, ?)",
            (start, None if end == "text" else end),
        )

    profile = made(fill, tables=(table,))
    assert len(profile.table(table)) == 1
    expected = "without a time that can be" if end == "text" else reason
    assert profile.warnings == (f"{tmp_path / 'made.nvvp'}: {table}: 1 row left out, {expected}",)


def test_calls_with_the_correlation_id_of_another_are_counted_and_kept(made):
    def fill(file):
        device(file)
        for correlation in (5, 6, 5, 5):
            call(file, "RUNTIME", 211, correlation, 1, correlation)

    profile = made(fill, tables=("api",))
    assert len(profile.table("api")) == 4
    assert "api: 2 rows of the runtime whose correlation id another call of their process has" in profile.warnings[0]


def test_kernels_that_kernels_launched_are_kernels(made):
    def fill(file):
        device(file)
        kernel(file, "parent", 0, 10, correlationId=1)
        kernel(file, "child", 2, 3, kind="CDP_KERNEL", correlationId=1)

    assert rows(made(fill), "kernels", "name", "dur_ns") == [("parent", 10 * US), ("child", 3 * US)]


def test_a_kernel_whose_name_is_not_in_the_file_is_kept(made):
    def fill(file):
        device(file)
        kernel(file, "k", 0, 1)
        kernel(file, 999, 2, 1)  # type: ignore[arg-type]

    profile = made(fill, tables=("kernels",))
    assert profile.table("kernels")["name"].tolist() == ["k", "(unnamed)"]
    assert "kernels: 1 row without a name in the file" in profile.warnings[0]


def test_ids_that_come_twice_pair_in_order(made):
    def fill(file):
        for start in (0, 10):
            marker(file, 2, start, 1, f"at {start}")
            marker(file, 4, start + 5, 1)

    assert rows(made(fill), "ranges", "name", "dur_ns") == [("at 0", 5 * US), ("at 10", 5 * US)]


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from([2, 4])), max_size=30))
@settings(max_examples=40, deadline=None)
def test_every_marker_is_in_one_range_or_counted_as_lost(tmp_path_factory, markers):
    def fill(file):
        for at, (number, flags) in enumerate(markers):
            marker(file, flags, at, number, "range" if flags == 2 else 0)

    profile = read(write(tmp_path_factory.mktemp("made") / "file", 16, fill), tables=("ranges",))
    lost = sum(
        int(line.split("ranges: ")[1].split()[0]) for line in profile.warnings if "not" in line and "ranges: " in line
    )
    turned = sum(int(line.split("ranges: ")[1].split()[0]) for line in profile.warnings if "before they start" in line)
    assert 2 * (len(profile.table("ranges")) + turned) + lost == len(markers)


def test_samples_of_the_processor_are_refused_in_one_line(tmp_path):
    import sqlite3

    connection = sqlite3.connect(tmp_path / "cpu.nvvp")
    connection.execute("CREATE TABLE profStringTable(id INTEGER PRIMARY KEY AUTOINCREMENT, value TEXT NOT NULL UNIQUE)")
    connection.execute("CREATE TABLE profCall(id INTEGER PRIMARY KEY, instruction INTEGER NOT NULL)")
    connection.commit()
    connection.close()
    with pytest.raises(ReadError, match=r"cpu\.nvvp: samples of the processor that nvprof took"):
        read(tmp_path / "cpu.nvvp")


SESSION = b'<?xml version="1.0"?>\n<session version="2" name="profile.nvvp" hscale="1.0E-6">\n'


@pytest.mark.parametrize(
    ("inside", "advice"),
    [
        (b'<executable file="/opt/a &amp; b/train" cwd="/opt">', "record the run of /opt/a & b/train with 'nvprof -o"),
        (b'<import path="/data/run.nvprof" type="nvprof"/>', "name the profile that it shows, /data/run.nvprof"),
        (b"<nothing/>", "record the run with 'nvprof -o"),
    ],
)
def test_a_session_of_the_visual_profiler_is_refused_with_what_to_do(tmp_path, inside, advice):
    path = tmp_path / "profile.nvvp"
    path.write_bytes(SESSION + inside + b"</session>")
    with pytest.raises(ReadError) as refused:
        read(path)
    assert str(refused.value).startswith(f"{path}: a Visual Profiler session (XML): settings, no measurement; {advice}")
    assert "\n" not in str(refused.value)


def test_nothing_is_written_beside_the_file(tmp_path):
    path = write(tmp_path / "only.nvvp", *CASES["markers_v11"])
    before = path.read_bytes()
    read(path, tables=tuple(SCHEMAS))
    assert [found.name for found in tmp_path.iterdir()] == ["only.nvvp"]
    assert path.read_bytes() == before


def test_a_database_in_gzip_reads_as_the_database(tmp_path):
    import gzip

    packed = tmp_path / "packed.nvvp.gz"
    packed.write_bytes(gzip.compress((GOLDEN / "timeline_v8" / "input.nvvp").read_bytes()))
    assert rows(read(packed), "kernels", "name", "dur_ns") == rows(
        golden_profile("timeline_v8"), "kernels", "name", "dur_ns"
    )


class Endless:
    """A database whose damaged pages give the same row for ever."""

    name = "damaged.nvvp"

    def rows(self, sql, parameters=()):
        return [(5, "01" + "00" * 8)]


def test_pages_that_go_round_in_circles_are_damage():
    with pytest.raises(ReadError, match=r"damaged\.nvvp: damaged table CUPTI_ACTIVITY_KIND_METRIC"):
        nvprof_sqlite_rows.blobs(Endless(), "METRIC", "value", size=8, length=10)


@given(st.lists(st.integers(0, 5), max_size=40))
def test_ranks_count_the_equal_numbers_before_each(numbers):
    seen: Counter[int] = Counter()
    expected = []
    for number in numbers:
        expected.append(seen[number])
        seen[number] += 1
    keys, ranks = nvprof_sqlite_rows.ranked(np.array(numbers, dtype=np.int64))
    assert ranks.tolist() == expected
    assert len(set(keys.tolist())) == len(numbers)


def test_joined_columns_keep_values_and_nulls():
    parts = [{"a": int_column([1, None])}, {"a": int_column([3]), "b": int_column([4])}]
    found = nvprof_sqlite_rows.joined(parts)
    assert {name: column.tolist() for name, column in found.items()} == {"a": [1, None, 3], "b": [None, None, 4]}


def test_the_numbers_of_metrics_are_in_no_two_places():
    numbers = nvprof_metrics.names()
    assert len(numbers) == 924
    assert metric_numbers().keys() == set(numbers.values())
    assert nvprof_metrics.value_kind("issue_slot_utilization") == "percent"
    half = np.frombuffer(struct.pack("<d", 50.0), dtype=np.uint8).reshape(1, 8)
    assert nvprof_metrics.base_values(half, "sm_efficiency").tolist() == [0.5]


def cupti() -> ctypes.CDLL:
    """CUPTI, where its library is installed."""
    for name in ("libcupti.so.11.8", "libcupti.so"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    pytest.skip("CUPTI, a tool of the CUDA toolkit, is not installed")


def test_the_names_of_calls_are_those_of_cupti():
    import re

    library, text = cupti(), ctypes.c_char_p()
    for domain, number in (("driver", 1), ("runtime", 2)):
        for cbid, name in enumerate(nvprof_calls.names(domain)):
            if cbid and library.cuptiGetCallbackName(number, cbid, ctypes.byref(text)) == 0:
                assert re.sub(r"(?:_v\d+|_ptsz|_ptds)+$", "", (text.value or b"").decode()) == name


def test_the_names_and_kinds_of_metrics_are_those_of_cupti():
    library = cupti()
    kinds = {0: "double", 1: "count", 2: "percent", 3: "throughput", 5: "level"}
    for number, name in nvprof_metrics.names().items():
        text, size = ctypes.create_string_buffer(256), ctypes.c_size_t(256)
        assert library.cuptiMetricGetAttribute(ctypes.c_uint32(number), 0, ctypes.byref(size), text) == 0
        kind, size = ctypes.c_uint32(), ctypes.c_size_t(4)
        assert library.cuptiMetricGetAttribute(ctypes.c_uint32(number), 4, ctypes.byref(size), ctypes.byref(kind)) == 0
        assert (text.value.decode(), kinds[kind.value]) == (name, nvprof_metrics.value_kind(name))


@pytest.mark.parametrize("case", ["timeline_v8", "markers_v11"])
def test_nvprof_reads_the_golden_files_alike(case):
    if shutil.which("nvprof") is None:
        pytest.skip("nvprof, the tool, is not installed")
    path = GOLDEN / case / "input.nvvp"
    command = ["nvprof", "-i", str(path), "--csv", "-u", "ns", "--print-gpu-trace"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = (done.stdout + done.stderr).splitlines()
    table = csv.DictReader(lines[next(number for number, line in enumerate(lines) if line.startswith('"')) :])
    printed = [(int(row["Correlation_ID"]), int(float(row["Duration"]))) for row in table if row["Correlation_ID"]]
    profile = golden_profile(case)
    ours = [row for name in ("kernels", "copies") for row in rows(profile, name, "correlation", "dur_ns")]
    assert sorted(printed) == sorted(ours)


def test_a_golden_file_is_small():
    assert all(path.stat().st_size < 64 << 10 for path in Path(GOLDEN).glob("*/input*"))


def test_a_message_in_the_domain_of_ds2prof_has_its_full_name_and_its_kind(made):
    def fill(file):
        device(file)
        marker(file, 2, 0, 1, "phase:forward", domain="ds2prof")
        marker(file, 2, 1, 2, "phase:forward", domain="mine")
        marker(file, 4, 5, 2, domain="mine")
        marker(file, 4, 9, 1, domain="ds2prof")

    assert rows(made(fill), "ranges", "name", "domain", "kind", "value") == [
        ("ds2prof:phase:forward", "ds2prof", "phase", "forward"),
        ("phase:forward", "mine", "user", None),
    ]
