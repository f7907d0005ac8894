"""What nvprof prints, dialect by dialect: golden cases whole, and what is said of damage."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2prof.errors import ReadError
from ds2prof.parsers import nvprof_text, parse_source
from ds2prof.parsers.nvprof_text_lines import MAX_LINE_CHARS, batches
from ds2prof.parsers.nvprof_text_values import metric_of, size_of, time_of, times
from ds2prof.parsers.sources import HEAD_BYTES, Source
from tests.conftest import GOLDEN

TABLES = ("kernels", "copies", "api", "ranges", "counters", "devices", "processes")
CASES = GOLDEN / "nvprof_text"
TRACE = '"Start","Duration","Name","Correlation_ID"\nus,us,,\n'
SUMMARY = "            Type  Time(%)      Time     Calls       Avg       Min       Max  Name\n"


def read(content: str | bytes):
    raw = content if isinstance(content, bytes) else content.encode()
    source = Source("case", raw[:HEAD_BYTES], lambda: io.BufferedReader(io.BytesIO(raw)))
    return parse_source(source).require(*TABLES)


def golden(name):
    return read((CASES / name / "input.txt").read_bytes())


def rows(profile, table, *columns):
    return list(zip(*(profile.table(table)[name].tolist() for name in columns), strict=True))


SUMS = ("name", "calls", "dur_ns", "min_dur_ns", "max_dur_ns")


def test_units_of_a_summary_are_those_of_each_column():
    profile = golden("summary_csv")
    gates = "void gates<float, int=4>(float*, float const *)"
    assert rows(profile, "kernels", *SUMS) == [(gates, 3, 8_000_128, 1_500_032, 4_000_128)]
    assert rows(profile, "api", *SUMS, "domain") == [
        ("cudaMalloc", 4, 900_000_000, 10_125, 800_000_000, "runtime"),
        ("cuDeviceGet", 1, 100_250, 100_250, 100_250, "driver"),
    ]
    assert rows(profile, "ranges", "name", "domain", "category", "calls", "dur_ns") == [
        ("acc_wait@layer.c:85", "OpenACC", "exclusive", 5, 750_000)
    ]
    assert rows(profile, "processes", "process", "name") == [(4242, "python train.py --batch-size 4")]
    assert profile.meta.time_resolution_ns == 1


def test_migrations_of_unified_memory_are_copies_and_its_faults_are_facts():
    profile = golden("summary_csv")
    assert rows(profile, "copies", "name", "kind", "device", "calls", "dur_ns", "size_bytes") == [
        ("[CUDA memcpy HtoD]", "memcpy", None, 12, 1_500_000, None),
        ("[CUDA memset]", "memset", None, 1, 500_001, None),
        ("[Unified Memory Memcpy HtoD]", "memcpy", 0, 8, 1_250_000, 4 << 20),
    ]
    assert profile.meta.facts == {"gpu_page_fault_groups": 12, "total_cpu_page_faults": 36}


def test_warnings_of_nvprof_are_passed_on():
    assert golden("summary_csv").warnings == ("case: nvprof: 7 API trace records have same start and end timestamps.",)


def test_a_trace_has_every_column():
    profile = golden("trace_csv")
    columns = ("name", "start_ns", "dur_ns", "grid_x", "grid_y", "block_x", "block_y", "registers", "device", "context")
    more = ("stream", "correlation", "static_shared_bytes", "dynamic_shared_bytes", "process")
    gates = "void gates<float, int=4>(float*, float const *)"
    assert rows(profile, "kernels", *columns, *more) == [
        (gates, 100_001, 6_624, 640, 2, 128, 4, 32, 0, 1, 7, 20, 41_024, 8_192, 77),
        ('lookup(int, "quoted")', 200_000, 9_000, 10, 1, 32, 1, 16, 1, 2, 22, 30, 0, 0, 77),
    ]
    assert rows(profile, "devices", "device", "name") == [(0, "Tesla P100-SXM2-16GB"), (1, "Tesla P100-SXM2-16GB")]


def test_copies_of_a_trace_say_between_what():
    columns = ("name", "size_bytes", "source_kind", "destination_kind", "source_device", "destination_device", "stream")
    assert rows(golden("trace_csv"), "copies", *columns) == [
        ("[CUDA memset]", 1_049, None, "device", None, None, 7),
        ("[CUDA memcpy HtoD]", 16 << 20, "pinned", "device", None, None, 7),
        ("[CUDA memcpy PtoP]", 1 << 20, "device", "device", 0, 1, 7),
        ("[Unified Memory Memcpy HtoD]", 65_536, None, None, None, None, 27),
    ]


def test_a_text_trace_is_read_with_its_calls_and_the_edges_of_its_ranges():
    profile = golden("trace_text")
    columns = ("name", "start_ns", "dur_ns", "grid_x", "grid_y", "block_x", "registers", "device", "correlation")
    gates = "void gates<float, int=4>(float*, float const *)"
    assert rows(profile, "kernels", *columns) == [(gates, 10_125, 6_624, 640, 2, 128, 32, 0, 20)]
    assert rows(profile, "copies", "start_ns", "dur_ns", "size_bytes", "source_kind") == [
        (20_000, 1_504, 16 << 20, "pinned")
    ]
    assert rows(profile, "api", "name", "start_ns", "dur_ns") == [("cudaLaunchKernel", 1_000, 2_500)]
    assert rows(profile, "ranges", "name", "domain", "start_ns", "dur_ns") == [
        ("forward", "model", 0, 1_000_000),
        ("epoch", None, 1_200_000, None),
    ]
    assert any("1 edges of ranges left out" in warning for warning in profile.warnings)


def test_processes_in_one_stream_are_kept_apart():
    profile = golden("summary_text_two_processes")
    assert rows(profile, "kernels", "process", "name", "calls", "dur_ns") == [
        (11, "volta_sgemm_128x64_tn", 1200, 4_910_600_000),
        (12, "void scale(int, float*)", 1, 1_000),
    ]
    assert rows(profile, "processes", "process", "name") == [(11, "./one"), (12, "./two")]


def test_what_was_launched_in_a_range_is_not_counted_twice():
    profile = golden("summary_text_two_processes")
    assert rows(profile, "ranges", "name", "domain", "thread", "calls", "dur_ns") == [
        ("forward", "model", 4529, 4, 629_690_000)
    ]
    assert sum(calls for (calls,) in rows(profile, "kernels", "calls")) == 1201


def test_metrics_of_a_kernel_are_the_means_over_its_launches():
    profile = golden("metrics_text")
    smem = "reduce_smem(int*, int*, unsigned int)"
    assert rows(profile, "kernels", "name", "device", "calls") == [(smem, 0, 2), ("idle()", 0, 1)]
    assert rows(profile, "counters", "launch", "metric", "unit", "value")[2:] == [
        (0, "achieved_occupancy", "", 0.908616),
        (0, "sm_efficiency", "ratio", 0.9996),
        (0, "single_precision_fu_utilization", "level", 3.0),
        (0, "gld_throughput", "byte/s", 3.0 * (1 << 30)),
        (1, "single_precision_fu_utilization", "level", 10.0),
    ]
    assert (profile.meta.times, profile.meta.time_resolution_ns) == ("replay", None)


def test_an_overflow_is_null():
    profile = golden("metrics_text")
    assert rows(profile, "counters", "metric", "value")[:2] == [("warps_launched", 73.0), ("divergent_branch", None)]


def test_metrics_in_csv_have_units_in_their_cells():
    assert rows(golden("metrics_csv"), "counters", "launch", "metric", "unit", "value") == [
        (0, "sm_efficiency", "ratio", 0.98),
        (0, "tensor_precision_fu_utilization", "level", 0.0),
        (0, "dram_read_throughput", "byte/s", 1.5 * (1 << 30)),
        (0, "flop_count_sp", "", 3_611_549_214.0),
        (1, "flop_count_sp", "", None),
    ]


def test_metrics_of_launches_have_a_column_each():
    profile = golden("metrics_of_launches_csv")
    assert rows(profile, "kernels", "name", "device", "context", "stream", "correlation") == [
        ("reduce(float*, int)", 0, 1, 7, 101),
        ("reduce(float*, int)", 0, 1, 7, 102),
        ("other(int)", 1, 2, 14, 103),
    ]
    assert rows(profile, "counters", "launch", "unit", "value")[:5] == [
        (0, "ratio", 0.975),
        (0, "level", 5.0),
        (0, "byte/s", 2.0 * (1 << 30)),
        (1, "ratio", 0.985),
        (1, "level", 8.0),
    ]


def test_metrics_of_launches_in_text_have_their_correlation_behind_the_kernel():
    profile = read(
        "==9== Profiling result:\n"
        "        Device   Context    Stream                    Kernel  Device Memory Utilization  ipc (0)\n"
        "Tesla K20c (0)         1         7  reduce(float*, int) [101]                   High (8)     1.25\n"
        "Tesla K20c (0)         1         7  reduce(float*, int) [102]                        Max      n/a\n"
    )
    assert rows(profile, "kernels", "name", "device", "stream", "correlation") == [
        ("reduce(float*, int)", 0, 7, 101),
        ("reduce(float*, int)", 0, 7, 102),
    ]
    assert rows(profile, "counters", "launch", "metric", "unit", "value") == [
        (0, "dram_utilization", "level", 8.0),
        (0, "ipc (0)", "", 1.25),
        (1, "dram_utilization", "level", 10.0),
        (1, "ipc (0)", "", None),
    ]


def test_before_cuda_9_the_section_says_what_rows_are():
    profile = golden("before_cuda_9_csv")
    assert rows(profile, "kernels", *SUMS) == [("scale(float*)", 2, 2_560, 1_280, 1_280)]
    assert rows(profile, "copies", *SUMS) == [("[CUDA memcpy HtoD]", 2, 3_840, 1_504, 2_336)]
    assert rows(profile, "api", *SUMS) == [("cudaMalloc", 2, 12_500_000, 10_500, 12_489_500)]


def test_a_table_written_again_by_hand_is_read():
    profile = golden("by_hand_csv")
    assert rows(profile, "kernels", *SUMS) == [("gates(float, int, int)", 2, 542_360_000, 271_000_000, 271_360_000)]
    assert profile.meta.time_resolution_ns == 10_000
    assert "steps of up to 10,000 ns" in profile.warnings[0]


def test_of_a_trace_and_a_summary_of_one_process_the_trace_counts():
    trace = (CASES / "trace_csv" / "input.txt").read_text()
    summary = (CASES / "before_cuda_9_csv" / "input.txt").read_text().replace("9630", "77")
    profile = read(trace + summary)
    assert len(profile.table("kernels")) == 2
    assert rows(profile, "api", "calls") == [(2,)]
    assert any("summary left out" in warning for warning in profile.warnings)


def test_metrics_of_a_launch_that_a_trace_has_are_put_to_it():
    trace = (CASES / "trace_csv" / "input.txt").read_text()
    metrics = (
        '==77== Metric result:\n"Device","Context","Stream","Kernel","Correlation_ID","ipc"\n'
        '"Tesla P100-SXM2-16GB (1)","2","22","lookup(int, ""quoted"")",30,1.25\n'
    )
    profile = read(trace + metrics)
    assert len(profile.table("kernels")) == 2
    assert rows(profile, "counters", "launch", "metric", "value") == [(1, "ipc", 1.25)]


def test_a_time_without_any_unit_is_left_out_rather_than_guessed():
    profile = read("Time(%),Time,Calls,Avg,Min,Max,Name\n100,5.5,1,5.5,5.5,5.5,gates\n")
    assert len(profile.table("kernels")) == 0
    assert any("without a readable time" in warning for warning in profile.warnings)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("0.0,-5.000,cudaFree,1", "negative time"),
        ("0.0,700000000000.0,cudaFree,1", "longer than a week"),
        ("0.0,nan,cudaFree,1", "readable time"),
        ("x,5.0,cudaFree,1", None),
        ("99999999999999999999999.0,5.0,cudaFree,1", "readable start"),
    ],
)
def test_a_row_that_cannot_be_is_left_out_and_counted(row, said):
    profile = read(f"======== Profiling result:\n{TRACE}1.0,2.0,cudaMalloc,7\n{row}\n3.0,2.0,cudaFree,8\n")
    assert rows(profile, "api", "start_ns", "correlation") == [(1_000, 7), (3_000, 8)]
    assert said is None or any(f"{said}: 1 left out" in warning for warning in profile.warnings)


def test_calls_that_share_a_correlation_id_are_reported():
    profile = read(f"======== Profiling result:\n{TRACE}1.0,2.0,cudaMalloc,7\n3.0,2.0,cudaFree,7\n5.0,2.0,cudaFree,8\n")
    assert len(profile.table("api")) == 3
    assert any("1 calls have the correlation id of another" in warning for warning in profile.warnings)


def test_a_last_line_without_an_end_is_left_out():
    profile = read(f"======== Profiling result:\n{TRACE}1.0,2.0,cudaMalloc,7\n3.0,2.0,cudaFree,8")
    assert rows(profile, "api", "correlation") == [(7,)]
    assert any("last line has no end" in warning for warning in profile.warnings)


def test_a_failure_alone_is_refused_in_nvprofs_words():
    with pytest.raises(ReadError, match=r"nvprof failed: unified memory profiling failed"):
        read("======== Error: unified memory profiling failed.\n")


def test_nothing_profiled_is_an_empty_profile():
    profile = read("==3== NVPROF is profiling process 3, command: ./a\n==3== No kernels were profiled.\n")
    assert len(profile.table("kernels")) == 0
    assert "nothing was profiled (nvprof: No kernels were profiled.)" in profile.warnings[0]


def test_text_of_windows_is_read():
    text = (CASES / "summary_csv" / "input.txt").read_text()
    wanted = {name: rows(read(text), name, "name") for name in ("kernels", "copies", "api", "ranges")}
    for content in ("\ufeff".encode("utf-16-le") + text.encode("utf-16-le"), text.replace("\n", "\r\n").encode()):
        assert {name: rows(read(content), name, "name") for name in wanted} == wanted


def test_a_line_without_end_costs_no_memory_and_no_rows():
    content = b"x" * (3 * MAX_LINE_CHARS) + b"\n======== Profiling result:\n" + TRACE.encode() + b"1.0,2.0,cudaFree,7\n"
    found = [line for batch in batches(io.BytesIO(content)) for line in batch.lines]
    assert found[-1] == "1.0,2.0,cudaFree,7"
    assert max(map(len, found)) < 100


@pytest.mark.parametrize(
    "head",
    [
        b"==12345== Warning: set address range perms: large range\n==12345== HEAP SUMMARY:\n",
        b'{"log": "==3== NVPROF is profiling process 3, command: ./a"}',
        b"Time(%)  Total Time (ns)  Instances  Average  Minimum  Maximum  Name\n",
        b'"Time(%)","Total Time (ns)","Calls","Average","Minimum","Maximum","Name"\n',
        b"Start,Duration,Name\n1,2,lunch\n",
        b"==PROF== Connected to process 3\n",
    ],
)
def test_what_others_print_is_not_taken_for_nvprofs(head):
    assert not nvprof_text.sniff(head)


@given(st.integers(0, 10**15), st.sampled_from(["s", "ms", "us", "ns"]), st.integers(0, 9))
def test_a_printed_time_is_read_to_the_nanosecond(digits, unit, places):
    text = f"{digits:0{places + 1}d}"
    text = f"{text[: len(text) - places]}.{text[len(text) - places :]}" if places else text
    exponent = {"s": 9, "ms": 6, "us": 3, "ns": 0}[unit] - places
    one = time_of(text, unit)
    assert one == time_of(f"{text}{unit}", "")
    if exponent >= 0 and digits * 10**exponent < 1 << 63:
        assert one == (digits * 10**exponent, 10**exponent)
    elif exponent < 0:
        assert one is not None
        assert abs(one[0] * 10**-exponent - digits) * 2 <= 10**-exponent


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=40), st.sampled_from(["s", "ms", "us", "ns"]))
def test_a_column_of_times_is_read_as_its_cells_are(digits, unit):
    cells = [f"{number // 10**6}.{number % 10**6:06d}" for number in digits]
    found = times(cells, unit)
    assert [*zip(found.values.tolist(), found.valid.tolist(), strict=True)] == [
        ((one := time_of(cell, unit)) and one[0], True) for cell in cells
    ]


@given(st.integers(0, 1 << 50))
def test_a_size_in_whole_units_is_exact(number):
    assert size_of(f"{number}B", "") == (number, 1)
    assert size_of(f"{number >> 40}.000000", "KB") == ((number >> 40) << 10, 1)


@given(st.text(max_size=30))
def test_no_text_is_too_odd_for_a_cell(text):
    for found in (time_of(text, "us"), size_of(text, "KB")):
        assert found is None or 0 <= abs(found[0]) < 1 << 63
    value = metric_of(text, "")
    assert value is None or isinstance(value[0], float)


WORDS = (
    *(*SUMMARY.split(), "%", "1", "1.5us", "2ms", '"', ",", "\n", "  ", "==1== ", "NVTX result:", 'Device "a (1)"'),
    *("Kernel: k", "GPU activities:", "Start", "Duration", "Invocations", "[Range start] a", "[Range end] a"),
)


@given(st.lists(st.sampled_from(WORDS), max_size=60))
def test_no_order_of_its_words_is_too_odd(words):
    for gap in (" ", "  ", ","):
        content = f"==3== Profiling result:\n{SUMMARY}{gap.join(words)}\n"
        assert read(content).meta.format == "nvprof-text"
