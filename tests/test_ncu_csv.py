"""The Nsight Compute CSV reader: launches and counters out of every dialect."""

import io
import json
from dataclasses import replace

import pytest

from ds2prof.errors import ReadError, UnknownFormatError
from ds2prof.parsers import ncu_csv
from ds2prof.parsers.sources import Source
from tests.conftest import GOLDEN
from tests.ncu_support import (
    COLUMNS,
    CYCLES,
    DURATION,
    FMA,
    PROCESS,
    Launch,
    Metric,
    counters,
    details,
    kernels,
    lines,
    metric_launch,
    plain,
    quoted,
    raw,
    read,
    rows,
    rule,
    values,
)

TWO = (metric_launch(0, cycles="100", fma="12.50"), metric_launch(1, cycles="2000", fma="90.00", name="other()"))


def weighted_mean(profile, metric=FMA):
    cycles, shares = values(profile, CYCLES), values(profile, metric)
    return sum(map(float.__mul__, cycles, shares)) / sum(cycles)


CASES = sorted(folder.name for folder in (GOLDEN / "ncu_csv").iterdir())


@pytest.mark.parametrize("case", CASES)
def test_golden_tables_come_out_whole(case):
    folder = GOLDEN / "ncu_csv" / case
    expected = json.loads((folder / "expected.json").read_text())
    assert plain(read((folder / "input.csv").read_bytes())) == expected


def test_the_golden_three_launches_give_74_percent():
    profile = read((GOLDEN / "ncu_csv" / "three_launches" / "input.csv").read_bytes())
    assert weighted_mean(profile) == pytest.approx(0.74, rel=1e-15)


# --- launches and counters -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", COLUMNS)
def test_the_columns_of_every_version_give_the_same_counters(columns):
    profile = read(details(TWO, columns))
    assert values(profile, CYCLES) == [100.0, 2000.0]
    assert values(profile, FMA) == [0.125, 0.9]
    assert kernels(profile, "name", "process", "context", "stream", "order", "dur_ns") == [
        ("kernel(float *, int)", 4711, 1, 7, 0, 7104),
        ("other()", 4711, 1, 7, 1, 7104),
    ]
    assert profile.warnings == ()


def test_counters_are_in_base_units_with_the_tools_names():
    metrics = (
        Metric(DURATION, "usecond", "1.500"),
        Metric(FMA, "%", "33.62"),
        Metric("dram__bytes.sum.per_second", "Gbyte/second", "43.89"),
        Metric("gpc__cycles_elapsed.avg.per_second", "Ghz", "1.32"),
        Metric("lts__t_sectors.sum", "sector", "1,234"),
    )
    assert counters(read(details([Launch(0, metrics)]))) == [
        (0, DURATION, "ns", 1500.0),
        (0, FMA, "ratio", 0.3362),
        (0, "dram__bytes.sum.per_second", "byte/s", 43.89e9),
        (0, "gpc__cycles_elapsed.avg.per_second", "cycle/s", 1.32e9),
        (0, "lts__t_sectors.sum", "sector", 1234.0),
    ]


def test_grid_block_device_and_capability_come_from_their_columns():
    profile = read(details(TWO[:1], "2023"))
    columns = ("grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z", "device")
    assert kernels(profile, *columns) == [(64, 2, 1, 128, 1, 1, 0)]
    devices = profile.table("devices")
    assert devices["compute_capability"].tolist() == ["8.0"]
    assert devices["chip"].tolist() == ["GA100"]
    assert devices["name"].tolist() == [None]


def test_what_a_page_does_not_tell_is_absent():
    profile = read(details(TWO, "2019"))
    assert set(profile.table("kernels").columns) == {"name", "process", "context", "stream", "order", "dur_ns"}
    assert len(profile.table("devices")) == 0


def test_times_are_those_of_replay():
    meta = read(details(TWO)).meta
    assert (meta.tool, meta.format, meta.times, meta.clock) == ("Nsight Compute", "ncu-csv", "replay", None)


def test_the_dialect_is_told():
    assert read(details(TWO)).meta.dialect == "metrics"
    labels = [Launch(0, (Metric("Elapsed Cycles", "cycle", "5", "GPU Speed Of Light"),))]
    assert read(details(labels, "2022 NVTX")).meta.dialect == "details, NVTX, rules"
    assert read(raw(TWO)).meta.dialect == "raw"


def test_processes_are_told_by_name_and_host():
    profile = read(details([*TWO, metric_launch(0, process=5000)]))
    processes = profile.table("processes")
    assert processes["process"].tolist() == [4711, 5000]
    assert processes["name"].tolist() == ["python3.11", "python3.11"]
    assert processes["host"].tolist() == ["127.0.0.1", "127.0.0.1"]


def test_three_launches_weighted_by_their_cycles_give_74_percent():
    launches = [
        metric_launch(0, cycles="100"),
        metric_launch(1, cycles="100"),
        metric_launch(2, cycles="800", fma="90.00"),
    ]
    assert weighted_mean(read(details(launches))) == pytest.approx(0.74, rel=1e-15)


def test_a_one_launch_file_works():
    assert values(read(details([metric_launch(0)])), CYCLES) == [1000.0]


def test_thousands_separators_work_in_a_file_of_one_launch():
    assert values(read(details([metric_launch(0, cycles="123,456")])), CYCLES) == [123456.0]


def test_a_launch_without_a_duration_has_none():
    launch = Launch(0, (Metric(CYCLES, "cycle", "5"), Metric(DURATION, "nsecond", "n/a")))
    profile = read(details([launch, metric_launch(1)]))
    assert kernels(profile, "dur_ns") == [(None,), (7104,)]
    assert values(profile, DURATION) == [None, 7104.0]


def test_the_gpus_duration_is_the_same_by_any_rollup():
    launch = Launch(0, (Metric("gpu__time_duration.avg", "nsecond", "96"), Metric(FMA, "%", "1.50")))
    assert kernels(read(details([launch])), "dur_ns") == [(96,)]


def test_a_negative_duration_is_absent_with_a_warning():
    launch = Launch(0, (Metric(DURATION, "nsecond", "-5"), Metric(FMA, "%", "1.50")))
    profile = read(details([launch, metric_launch(1)]))
    assert kernels(profile, "dur_ns") == [(None,), (7104,)]
    assert "1 negative duration left out" in profile.warnings[0]


def test_a_duration_beyond_what_a_double_counts_is_absent():
    launch = Launch(0, (Metric(DURATION, "nsecond", "99999999999999999999"), Metric(FMA, "%", "1.50")))
    assert kernels(read(details([launch, metric_launch(1)])), "dur_ns") == [(None,), (7104,)]


def test_a_range_replay_is_told_by_its_name():
    profile = read(details([metric_launch(0, name="range"), metric_launch(1)]))
    assert kernels(profile, "kind") == [("range",), (None,)]


def test_registers_shared_memory_and_occupancy_come_from_counters():
    metrics = (
        Metric("launch__registers_per_thread", "register/thread", "56"),
        Metric("launch__shared_mem_per_block_static", "byte/block", "0"),
        Metric("launch__shared_mem_per_block_dynamic", "Kbyte/block", "8.192"),
        Metric("sm__warps_active.avg.pct_of_peak_sustained_active", "%", "22.49"),
    )
    columns = ("registers", "static_shared_bytes", "dynamic_shared_bytes", "occupancy")
    assert kernels(read(details([Launch(0, metrics)])), *columns) == [(56, 0, 8192, 0.2249)]


def test_rounded_shared_memory_is_absent_for_it_may_be_another_size():
    metrics = (
        Metric("launch__shared_mem_per_block_static", "Kbyte/block", "1.02"),
        Metric("launch__shared_mem_per_block_dynamic", "Kbyte/block", "16"),
    )
    columns = ("static_shared_bytes", "dynamic_shared_bytes")
    assert kernels(read(details([Launch(0, metrics)])), *columns) == [(None, 16000)]


# --- raw pages -----------------------------------------------------------------------------------------------------


def test_a_raw_page_has_a_launch_a_row_and_its_units_in_a_row_of_their_own():
    profile = read(raw(TWO))
    assert counters(profile) == [
        (0, CYCLES, "cycle", 100.0),
        (0, DURATION, "ns", 7104.0),
        (0, FMA, "ratio", 0.125),
        (1, CYCLES, "cycle", 2000.0),
        (1, DURATION, "ns", 7104.0),
        (1, FMA, "ratio", 0.9),
    ]
    assert kernels(profile, "name", "grid_x", "order", "dur_ns") == [
        ("kernel(float *, int)", 64, 0, 7104),
        ("other()", 64, 1, 7104),
    ]


def test_an_empty_cell_of_a_raw_page_is_no_counter_and_nan_a_null_one():
    launches = [TWO[0], Launch(1, (Metric(CYCLES, "cycle", "nan"),))]
    assert counters(read(raw(launches)))[3:] == [(1, CYCLES, "cycle", None)]


def test_text_cells_of_a_raw_page_are_no_counters():
    text = Metric("launch__func_cache_config", "", "CachePreferNone")
    profile = read(raw([replace(launch, metrics=(*launch.metrics, text)) for launch in TWO]))
    assert len(counters(profile)) == 6
    assert profile.warnings == ()


ATTRIBUTES = (
    Metric("device__attribute_display_name", "", "NVIDIA A10G"),
    Metric("device__attribute_chip", "", "370"),
    Metric("device__attribute_compute_capability_major", "", "8"),
    Metric("device__attribute_compute_capability_minor", "", "6"),
    Metric("device__attribute_multiprocessor_count", "", "80"),
    Metric("device__attribute_total_memory", "", "23,595,909,120"),
    Metric("device__attribute_max_threads_per_multiprocessor", "", "1,536"),
    Metric("device__attribute_warp_size", "", "32"),
    Metric("launch__device_id", "", "1"),
)


def test_device_attributes_of_a_raw_page_describe_the_device():
    launches = [replace(launch, metrics=(*ATTRIBUTES, *launch.metrics)) for launch in TWO]
    profile = read(raw(launches, identity=(*PROCESS, "Kernel Name", "Kernel Time", "Context", "Stream")))
    found = {name: column.tolist() for name, column in profile.table("devices").columns.items()}
    assert found == {
        "device": [1],
        "name": ["NVIDIA A10G"],
        "vendor": ["nvidia"],
        "chip": ["GA102"],
        "compute_capability": ["8.6"],
        "sms": [80],
        "memory_bytes": [23595909120],
        "max_threads_per_sm": [1536],
        "warp_size": [32],
    }
    assert kernels(profile, "device") == [(1,), (1,)]
    assert not [metric for _, metric, _, _ in counters(profile) if metric.startswith("device__")]


def test_grid_and_block_of_an_old_raw_page_come_from_its_metrics():
    sizes = [
        Metric(f"launch__{what}_dim_{axis}", "", str(size))
        for what in ("grid", "block")
        for size, axis in enumerate("xyz")
    ]
    profile = read(raw([replace(TWO[0], metrics=(*sizes, *TWO[0].metrics))], identity=(*PROCESS, "Kernel Name")))
    assert kernels(profile, "grid_x", "grid_y", "grid_z", "block_z") == [(0, 1, 2, 2)]


def test_a_raw_page_without_units_has_percentages_by_name_and_no_durations():
    text = raw(TWO).splitlines()
    profile = read(lines([text[0], *text[2:]]))
    assert values(profile, FMA) == [0.125, 0.9]
    assert "dur_ns" not in profile.table("kernels")
    assert "tells no units" in profile.warnings[0]


def test_units_behind_the_names_of_a_raw_page_are_read():
    text = raw(TWO).splitlines()
    header = text[0].replace(DURATION, f"{DURATION} (us)").replace(FMA, f"{FMA} [%]")
    profile = read(lines([header, *text[2:]]))
    assert kernels(profile, "dur_ns") == [(7104000,), (7104000,)]
    assert values(profile, FMA) == [0.125, 0.9]


# --- summaries -----------------------------------------------------------------------------------------------------

SUMMARY = (
    "Process ID",
    "Process Name",
    "Host Name",
    "Kernel Name",
    "Block Size",
    "Grid Size",
    "Device Id",
    "Invocations",
)


def summary(*found, section=True, header=SUMMARY):
    last = ("Section Name",) * section + ("Metric Name", "Metric Unit", "Minimum", "Maximum", "Average")
    return lines([quoted((*header, *last)), *(quoted(row) for row in found)])


def summary_row(name, calls, metric, unit, average, *, section=("Occupancy",)):
    return ("4711", "main", "127.0.0.1", name, "512", "459", "0", str(calls), *section, metric, unit, "1", "9", average)


def test_a_summary_gives_means_and_the_duration_of_all_calls():
    profile = read(
        summary(
            summary_row("a()", 3, DURATION, "nsecond", "1000.500000"),
            summary_row("a()", 3, FMA, "%", "25.000000"),
            summary_row("b()", 1, DURATION, "nsecond", "64.000000"),
        )
    )
    assert kernels(profile, "name", "calls", "dur_ns", "device", "order") == [
        ("a()", 3, 3002, 0, None),
        ("b()", 1, 64, 0, None),
    ]
    assert values(profile, FMA) == [0.25]
    assert "a summary; its counters are means" in profile.warnings[-1]


def test_a_raw_summary_has_no_sections_and_describes_the_device():
    rows_of = [
        summary_row("a()", 2, "device__attribute_display_name", "", "NVIDIA A100-PCIE-40GB", section=()),
        summary_row("a()", 2, CYCLES, "cycle", "10.500000", section=()),
    ]
    profile = read(summary(*rows_of, section=False))
    assert profile.table("devices")["chip"].tolist() == ["GA100"]
    assert counters(profile) == [(0, CYCLES, "cycle", 10.5)]


def test_shifted_rows_of_a_summary_are_left_out_with_a_warning():
    row = summary_row("a()", 2, CYCLES, "cycle", "10.500000", section=())
    shifted = (*row[1:], row[0])
    by_three = (*row[6:], *row[:6])
    profile = read(summary(row, shifted, by_three, ("0", *[""] * 4, "x", *[""] * 6), section=False))
    assert counters(profile) == [(0, CYCLES, "cycle", 10.5)]
    assert "3 damaged rows left out" in profile.warnings[0]


def test_a_summary_per_nvtx_range_is_refused_for_it_counts_launches_twice():
    header = ("Domain", "Range:PL_Type:PL_Value:CLR_Type:Color:Msg_Type:Msg", *SUMMARY[3:])
    with pytest.raises(ReadError, match="counts a launch in each range"):
        read(summary(header=header))


# --- what else is in the file --------------------------------------------------------------------------------------


def test_noise_before_between_and_after_is_skipped():
    text = details(TWO).splitlines()
    noise = ["==PROF== Connected to process 4711 (/usr/bin/python3)", 'Epoch: [1][1/128] "loss" 3', ""]
    profile = read(lines([*noise, text[0], "", *text[1:3], *noise, *text[3:], *noise]))
    assert plain(profile)["tables"] == plain(read(details(TWO)))["tables"]


def test_a_header_behind_a_progress_line_is_found():
    text = '==PROF== Profiling "kernel" - 0: 0%....50%....100% - 8 passes' + details(TWO)
    assert values(read(text), CYCLES) == [100.0, 2000.0]


def test_a_row_behind_program_output_is_found():
    text = details(TWO).splitlines()
    text[2] = "loss 2.31 (no line end)" + text[2]
    assert values(read(lines(text)), DURATION) == [7104.0, 7104.0]


def test_text_behind_a_row_does_not_hide_it():
    text = details(TWO).splitlines()
    text[3] += "==PROF== Disconnected from process 4711"
    assert values(read(lines(text)), FMA) == [0.125, 0.9]


def test_a_row_that_something_was_torn_out_of_is_left_out():
    text = details(TWO).splitlines()
    text[3] += '776"'
    profile = read(lines(text))
    assert values(profile, FMA) == [0.9]
    assert "nsight.csv:4: 1 damaged row left out" in profile.warnings[0]


def test_errors_and_warnings_of_the_tool_become_warnings_once_each():
    noise = [
        "==ERROR== Failed to profile kernel",
        "==WARNING== Backing up device memory",
        "==ERROR== Failed to profile kernel",
    ]
    profile = read(lines(noise) + details(TWO))
    assert profile.warnings == (
        "nsight.csv: Nsight Compute: Failed to profile kernel",
        "nsight.csv: Nsight Compute: Backing up device memory",
    )


def test_rule_rows_are_no_metrics_and_no_launches():
    columns = COLUMNS["2025"]
    text = [quoted(columns), *rows(TWO[0], columns), rule(TWO[0], columns), *rows(TWO[1], columns)]
    text.append(rule(TWO[1], columns, "An error\n/opt/sections/NvRules.py:2062\nwith line ends"))
    profile = read(lines(text))
    assert len(counters(profile)) == 6
    assert profile.warnings == ()


@pytest.mark.parametrize("name", ['f<"x">(int, char *)', "a\nb", 'k","1', "void f<(int)32>(T1 *)", "Ünïcode ⊗", "'"])
def test_kernel_names_come_back_as_they_are(name):
    for text in (details([metric_launch(0, name=name)]), raw([metric_launch(0, name=name)])):
        assert kernels(read(text), "name") == [(name,)]


def test_crlf_and_byte_order_marks_change_nothing():
    text = details(TWO)
    expected = plain(read(text))
    assert plain(read(text.replace("\n", "\r\n"))) == expected
    assert plain(read(b"\xef\xbb\xbf" + text.encode())) == expected
    for encoding in ("utf-16-le", "utf-16-be"):
        content = ("\ufeff" + text.replace("\n", "\r\n")).encode(encoding)
        assert ncu_csv.sniff(content)
        found = plain(read(content))
        assert found["meta"].pop("dialect") == "metrics, UTF-16"
        assert found["tables"] == expected["tables"]


def test_a_header_without_quotes_is_read():
    text = details(TWO).splitlines()
    bare = [text[0].replace('"', ""), *(line.replace('"', "", line.index('"1","7"')) for line in text[1:])]
    bare = [
        line if "kernel(float" not in line else line.replace("kernel(float *, int)", '"kernel(float *, int)"')
        for line in bare
    ]
    bare = [
        line.replace("(128, 1, 1)", '"(128, 1, 1)"').replace("(64, 2, 1)", '"(64, 2, 1)"').replace('""', '"')
        for line in bare
    ]
    profile = read(lines(bare))
    assert plain(profile)["tables"] == plain(read(details(TWO)))["tables"]
    assert profile.meta.dialect == "metrics, without quotes"


# --- which launch is which -----------------------------------------------------------------------------------------


def test_launches_of_interleaved_processes_stay_apart():
    launches = [
        metric_launch(order, process=process, cycles=str(100 * process + order))
        for order in range(4)
        for process in (1, 2)
    ]
    profile = read(details(launches))
    assert kernels(profile, "process", "order") == [(process, order) for order in range(4) for process in (1, 2)]
    assert values(profile, CYCLES) == [100.0 * process + order for order in range(4) for process in (1, 2)]


def test_rows_of_interleaved_launches_find_their_launch():
    first, second = (
        rows(metric_launch(0, process=process, fma=f"{process}0.00"), COLUMNS["2023"]) for process in (1, 2)
    )
    text = [quoted(COLUMNS["2023"]), *(row for pair in zip(first, second, strict=True) for row in pair)]
    profile = read(lines(text))
    assert kernels(profile, "process") == [(1,), (2,)]
    assert values(profile, FMA) == [0.1, 0.2]


def test_a_file_sorted_by_metric_has_the_same_launches():
    text = details([metric_launch(order, cycles=str(order + 1)) for order in range(30)]).splitlines()
    order = sorted(text[1:], key=lambda row: (row.split('","')[-3], int(row.split('"')[1])))
    assert plain(read(lines([text[0], *order])))["tables"]["kernels"] == plain(read(lines(text)))["tables"]["kernels"]


def test_ids_that_begin_anew_behind_a_second_header_are_other_launches():
    profile = read(details(TWO) + details(TWO))
    assert kernels(profile, "order") == [(0,), (1,), (0,), (1,)]
    assert values(profile, CYCLES) == [100.0, 2000.0, 100.0, 2000.0]
    assert profile.warnings == ()


def test_ids_that_begin_anew_without_a_header_are_other_launches_with_a_warning():
    text = details(TWO).splitlines()
    profile = read(lines([*text, *text[1:]]))
    assert kernels(profile, "order") == [(0,), (1,), (0,), (1,)]
    assert values(profile, FMA) == [0.125, 0.9, 0.125, 0.9]
    assert "begin anew without a header (once)" in profile.warnings[0]


def test_one_launch_files_put_together_stay_apart():
    text = details([metric_launch(0)]).splitlines()
    profile = read(lines([*text, *text[1:], *text[1:]]))
    assert kernels(profile, "order") == [(0,), (0,), (0,)]
    assert values(profile, CYCLES) == [1000.0] * 3


def test_an_id_that_stands_for_another_kernel_is_another_launch():
    profile = read(details([metric_launch(0, name="a()"), metric_launch(0, name="b()")]))
    assert kernels(profile, "name") == [("a()",), ("b()",)]


def test_pages_of_both_kinds_in_one_file_are_both_read():
    profile = read(raw(TWO) + details(TWO))
    assert values(profile, CYCLES) == [100.0, 2000.0, 100.0, 2000.0]
    assert profile.meta.dialect == "raw, metrics"


@pytest.mark.parametrize("count", [1, 2, 3, 4, 100, 5000])
def test_any_number_of_launches_is_read(count):
    profile = read(details([metric_launch(order, cycles=f"{1000 + order:,}") for order in range(count)]))
    assert values(profile, CYCLES) == [1000.0 + order for order in range(count)]
    assert profile.table("kernels")["order"].tolist() == list(range(count))


def test_launches_with_other_metrics_among_like_ones_are_read():
    launches = [metric_launch(order) for order in range(40)]
    launches[20] = Launch(20, (Metric(CYCLES, "cycle", "7"),))
    launches[21] = replace(launches[21], metrics=(*launches[21].metrics, Metric("dram__bytes.sum", "byte", "64")))
    launches[22] = replace(launches[22], metrics=launches[22].metrics[::-1])
    launches[23] = Launch(23, tuple(replace(metric, value="n/a") for metric in launches[23].metrics))
    profile = read(details(launches))
    assert len(profile.table("kernels")) == 40
    assert values(profile, CYCLES) == [1000.0] * 20 + [7.0] + [1000.0] * 2 + [None] + [1000.0] * 16
    assert values(profile, "dram__bytes.sum") == [64.0]


def test_launches_with_gaps_in_their_ids_are_read():
    orders = [0, 1, 2, 5, 9, 4000, 4001, 10**15, 3]
    profile = read(details([metric_launch(order) for order in orders]))
    assert profile.table("kernels")["order"].tolist() == orders


def test_a_nameless_kernel_among_like_launches_is_left_out():
    text = details([metric_launch(order) for order in range(30)]).replace(
        '"20","4711","python3.11","127.0.0.1","kernel(float *, int)"', '"20","4711","python3.11","127.0.0.1",""'
    )
    profile = read(text)
    assert profile.table("kernels")["order"].tolist() == [*range(20), *range(21, 30)]
    assert profile.warnings == ("nsight.csv:62: 3 damaged rows left out",)


def test_a_metric_that_is_never_there_does_not_hide_the_others():
    launches = [
        Launch(order, (Metric("dram__bytes.sum", "", "n/a"), Metric(CYCLES, "cycle", str(order)))) for order in range(9)
    ]
    profile = read(details(launches))
    assert values(profile, CYCLES) == [float(order) for order in range(9)]
    assert values(profile, "dram__bytes.sum") == [None] * 9


def test_whole_numbers_that_get_decimals_later_are_read():
    launches = [
        Launch(order, (Metric(CYCLES, "cycle", "5" if order < 5 else "5.500000"), Metric(FMA, "%", "1.00")))
        for order in range(9)
    ]
    assert values(read(details(launches)), CYCLES) == [5.0] * 5 + [5.5] * 4


# --- labels and sections -------------------------------------------------------------------------------------------


def test_labels_of_the_tbd_suites_sections_are_its_metrics():
    section = "% of peak sustained rate achieved during unit elapsed cycles"
    labels = {"FP32": "fma", "FP16": "fp16", "FP64": "fp64", "SFU": "xu", "Tensor": "tensor"}
    metrics = [Metric(label, "%", "1.50", section) for label in labels] + [
        Metric("Elapsed Cycles", "cycle", "800", section)
    ]
    profile = read(details([Launch(0, tuple(metrics))], "2019"))
    assert [name for _, name, _, _ in counters(profile)] == [
        *(f"sm__inst_executed_pipe_{pipe}.avg.pct_of_peak_sustained_elapsed" for pipe in labels.values()),
        CYCLES,
    ]


def test_a_label_means_something_in_its_section_only():
    metrics = (
        Metric("Memory Throughput", "%", "54.76", "GPU Speed Of Light Throughput"),
        Metric("Memory Throughput", "Gbyte/s", "43.89", "Memory Workload Analysis"),
        Metric("Memory Throughput", "%", "1.00", "My Own Section"),
    )
    profile = read(details([Launch(0, metrics)]))
    assert counters(profile) == [
        (0, "gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed", "ratio", 0.5476),
        (0, "dram__bytes.sum.per_second", "byte/s", 43.89e9),
        (0, "Memory Throughput", "ratio", 0.01),
    ]
    assert profile.warnings == ()


def test_labels_of_pipe_charts_are_told_by_their_chart():
    section, chart = "Compute Workload Analysis", "Pipe Utilization (% of elapsed cycles)"
    metrics = (Metric("FMA", "%", "20.00", section, chart), Metric("FMA", "%", "30.00", section))
    profile = read(details([Launch(0, metrics)], "2025"))
    assert [name for _, name, _, _ in counters(profile)] == [
        "sm__pipe_fma_cycles_active.avg.pct_of_peak_sustained_elapsed",
        "FMA",
    ]


def test_labels_within_items_that_are_not_known_keep_both_names():
    metrics = (Metric("SM Frequency", "Ghz", "2.40", "GPU Speed Of Light Roofline Chart", "Single Precision Roofline"),)
    profile = read(details([Launch(0, metrics)], "2025"))
    assert counters(profile) == [(0, "Single Precision Roofline: SM Frequency", "cycle/s", 2.4e9)]


def test_a_metric_named_in_parentheses_is_that_metric():
    label = "{UNIT}: {COMPOUND_NAME} (dram__cycles_active.avg.pct_of_peak_sustained_elapsed)"
    profile = read(details([Launch(0, (Metric(label, "%", "2.82", "GPU Speed Of Light Throughput"),))]))
    assert counters(profile)[0][1] == "dram__cycles_active.avg.pct_of_peak_sustained_elapsed"


def repeated(second):
    metrics = (
        Metric("Duration", "nsecond", "7104", "GPU Speed Of Light"),
        Metric(FMA, "%", "33.62", "A"),
        Metric(FMA, "%", second, "B"),
    )
    return read(details([Launch(0, metrics), replace(metric_launch(1))]))


def test_a_metric_of_several_sections_counts_once():
    profile = repeated("33.62")
    assert values(profile, FMA) == [0.3362, 0.1]
    assert profile.warnings == ()


def test_values_that_differ_between_sections_are_remarked_and_the_first_counts():
    profile = repeated("33.70")
    assert values(profile, FMA)[0] == 0.3362
    assert f"1 value differs from what an earlier row says of the same launch (first met: {FMA})" in profile.warnings[0]


def test_values_that_differ_by_rounding_are_not_remarked():
    assert repeated("33.6").warnings == ()


def test_a_label_repeated_within_a_section_begins_no_launch():
    metrics = [Metric("Theoretical Occupancy", "%", "50", "Occupancy")]
    metrics += [Metric("Warp Occupancy", "", text, "Occupancy") for text in ("2484", "3760", "5872")]
    profile = read(details([Launch(0, tuple(metrics)), Launch(1, tuple(metrics))], "2022"))
    assert len(profile.table("kernels")) == 2
    assert values(profile, "Warp Occupancy") == [2484.0, 2484.0]


# --- precision and locale ------------------------------------------------------------------------------------------


def test_durations_in_scaled_units_warn_of_their_rounding():
    metrics = (Metric("Duration", "second", "0.000058", "GPU Speed Of Light"), Metric(FMA, "%", "1.00"))
    profile = read(details([Launch(0, metrics), metric_launch(1)]))
    assert kernels(profile, "dur_ns") == [(58000,), (7104,)]
    assert profile.warnings == (
        "nsight.csv: 1 of 2 durations are rounded, for this page prints them in second (steps of up to 1,000 ns); "
        "--print-units base prints whole nanoseconds",
    )


def test_durations_that_are_whole_in_a_scaled_unit_are_exact():
    metrics = (Metric("Duration", "usecond", "96", "GPU Speed Of Light"), Metric(FMA, "%", "1.00"))
    profile = read(details([Launch(0, metrics)]))
    assert kernels(profile, "dur_ns") == [(96000,)]
    assert profile.warnings == ()


EUROPEAN = (
    Metric("dram__bytes.sum", "byte", "27.595.520"),
    Metric(DURATION, "nsecond", "117.344"),
    Metric(FMA, "%", "65,77"),
)


def test_a_european_locale_is_found_and_holds_for_the_whole_file():
    profile = read(details([Launch(order, EUROPEAN[::-1] if order else EUROPEAN) for order in range(6)]))
    assert values(profile, DURATION) == [117344.0] * 6
    assert values(profile, FMA) == [0.6577] * 6
    assert kernels(profile, "dur_ns") == [(117344,)] * 6
    assert profile.meta.dialect == "metrics, decimal comma"
    assert profile.warnings == ()


def test_a_european_locale_is_found_in_raw_pages():
    profile = read(raw([Launch(order, EUROPEAN) for order in range(3)]))
    assert values(profile, "dram__bytes.sum") == [27595520.0] * 3
    assert values(profile, FMA) == [0.6577] * 3


def test_scaled_values_of_a_european_raw_page_are_past_its_locale():
    metrics = (Metric("launch__waves_per_multiprocessor", "", "18,62"), Metric(DURATION, "second", "0.000058"))
    profile = read(raw([Launch(0, (*metrics, *EUROPEAN[:1]))]))
    assert values(profile, DURATION) == [58000.0]
    assert values(profile, "launch__waves_per_multiprocessor") == [18.62]
    assert values(profile, "dram__bytes.sum") == [27595520.0]


def test_a_whole_number_with_one_point_is_thousands_with_a_warning():
    profile = read(details([Launch(0, EUROPEAN[1:2])]))
    assert kernels(profile, "dur_ns") == [(117344,)]
    assert 'nsight.csv:2: "117.344" is read as thousands' in profile.warnings[0]


def test_contradictory_locales_are_an_error_that_names_two_lines():
    with pytest.raises(ReadError, match=r'nsight\.csv:3: "27\.595\.520" .*"33\.62" in line 2'):
        read(details([Launch(0, (Metric(FMA, "%", "33.62"),)), Launch(1, EUROPEAN)]))


# --- what cannot be read -------------------------------------------------------------------------------------------


def test_a_text_log_is_refused_in_one_line_that_says_what_to_do():
    log = lines(['==PROF== Profiling "k" - 0: 0%....50%....100% - 8 passes', "  Section: GPU Speed Of Light"])
    assert ncu_csv.sniff(log.encode())
    with pytest.raises(UnknownFormatError, match="with neither CSV nor pages; collect with 'ncu --csv"):
        read(log)


def test_a_log_without_permission_is_refused_by_that_name():
    with pytest.raises(ReadError, match="not permitted to read the GPU's counters"):
        read(
            "==ERROR== ERR_NVGPUCTRPERM - The user does not have permission to access NVIDIA GPU Performance Counters\n"
        )


def test_a_log_without_kernels_is_refused_by_that_name():
    with pytest.raises(ReadError, match="profiled no kernel"):
        read("==PROF== Connected to process 5\n==WARNING== No kernels were profiled.\n")


def test_a_header_alone_is_refused():
    with pytest.raises(ReadError, match="no row under the header"):
        read(details([]))


def test_damaged_rows_are_counted_in_one_warning():
    text = details(TWO).splitlines()
    text.insert(2, '"0","4711","python3.11","127.0.0.1"')
    text.insert(
        4, '"x","4711","python3.11","127.0.0.1","k()","1","7","(1, 1, 1)","(1, 1, 1)","0","8.0","S","m.sum","byte","1"'
    )
    text.insert(5, text[4].replace('"x"', '"99999999999999999999"'))
    profile = read(lines(text))
    assert values(profile, CYCLES) == [100.0, 2000.0]
    assert profile.warnings == ("nsight.csv:3: 3 damaged rows left out",)


def test_an_endless_line_is_an_error_and_takes_no_memory():
    with pytest.raises(ReadError, match=r"nsight\.csv:3: a line of more than 16 MiB"):
        read(details([])[:-1].encode() + b"\n==PROF== x\n" + b"x" * (18 << 20))


def test_binary_rubbish_is_refused_or_skipped():
    rubbish = bytes(range(256)) * 40
    with pytest.raises(ReadError):
        read(rubbish)
    assert values(read(details(TWO).encode() + rubbish), CYCLES) == [100.0, 2000.0]


def test_nul_bytes_in_a_row_do_not_hurt_the_others():
    text = details(TWO).splitlines()
    text[2] = text[2].replace(DURATION, DURATION + "\0")
    assert values(read(lines(text)), CYCLES) == [100.0, 2000.0]


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b'{"schemaVersion": 1, "traceEvents": [\n{"name": "==PROF== x"}',
        b"SQLite format 3\x00",
        b"timestamp, index, name, utilization.gpu [%]\n",
        b'"Type","Time(%)","Time","Calls","Avg","Min","Max","Name"\n',
        b"API Start (ns),API Dur (ns),Kernel Start (ns),Kernel Name\n",
        b'"Device","Kernel","Invocations","Metric Name","Metric Description","Min","Max","Avg"\n',
        b'"Kernel Name","k(int)",\n"Address","Source","Sampling Data (All)"\n',
    ],
)
def test_other_formats_are_not_taken_for_this_one(head):
    assert not ncu_csv.sniff(head)


@pytest.mark.parametrize("text", [details(TWO, columns) for columns in COLUMNS] + [raw(TWO), summary()])
def test_its_own_headers_are_known(text):
    assert ncu_csv.sniff(text.encode())
    assert ncu_csv.sniff(("1234 steps\n" * 5000 + text).encode()[: 64 << 10])


def test_a_header_far_behind_a_programs_output_is_found():
    noise = "==PROF== Connected to process 4711\n" + "Epoch: [1] loss 3.21\n" * 20_000
    assert ncu_csv.sniff(noise.encode()[: 64 << 10])
    assert values(read(noise + details(TWO)), CYCLES) == [100.0, 2000.0]


def test_hand_cut_columns_are_read_without_ids():
    columns = ("Process ID", "Kernel Name", "Metric Name", "Metric Unit", "Metric Value")
    row = [("42", name, CYCLES, "cycle", value) for name, value in (("a", "1"), ("a", "2"), ("b", "3"), ("a", "4"))]
    profile = read(lines([quoted(columns), *map(quoted, row)]))
    assert kernels(profile, "name", "process") == [("a", 42), ("a", 42), ("b", 42), ("a", 42)]
    assert values(profile, CYCLES) == [1.0, 2.0, 3.0, 4.0]


def test_one_pass_brings_all_tables():
    opened = []
    text = details(TWO).encode()

    def opener():
        opened.append(1)
        return io.BufferedReader(io.BytesIO(text))

    profile = ncu_csv.parse(Source("f.csv", text, opener)).require("kernels")
    assert len(profile.table("counters")) == 6
    assert len(profile.table("ops")) == 0
    assert len(opened) == 1
