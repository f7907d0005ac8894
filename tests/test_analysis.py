from __future__ import annotations

import numpy as np
import pytest

from ds2prof.analysis import core, kernels, phases, questions
from ds2prof.analysis.totals import totals
from ds2prof.analysis.windows import time_window
from ds2prof.errors import MissingDataError
from ds2prof.tables import Column, Meta, Profile, int_column
from tests.profiles import counters_profile, profile

KERNEL = ("name", "device", "stream", "start_ns", "dur_ns")
RANGE = ("name", "kind", "value", "process", "thread", "start_ns", "dur_ns")
CALL = ("name", "process", "thread", "start_ns", "dur_ns", "correlation")


def rows_by_key(answer):
    return {row[answer.by if answer.by in row else "name"]: row for row in answer.rows()}


# ---- core utilization


def test_core_utilization_weighs_each_launch_by_its_cycles():
    answer = core.core_utilization(counters_profile([("a", 100, 0.1), ("b", 100, 0.1), ("c", 800, 0.9)]))
    assert answer.rows()[0]["utilization"] == pytest.approx(0.74)
    assert answer.rows()[0]["coverage"] == 1.0


def test_one_launch_is_enough():
    assert core.core_utilization(counters_profile([("a", 5376, 0.25)])).rows()[0]["utilization"] == 0.25


def test_coverage_is_the_cycles_that_have_the_metric_over_all_cycles():
    row = core.core_utilization(counters_profile([("a", 300, 0.5), ("b", 700, None)])).rows()[0]
    assert (row["utilization"], row["coverage"], row["launches"]) == (0.5, 0.3, 1)


def test_launches_without_cycles_are_left_out_and_said_so():
    answer = core.core_utilization(counters_profile([("a", 100, 0.5), ("b", None, 0.9)]))
    assert answer.rows()[0]["utilization"] == 0.5
    assert any("1 of 2 launches" in note for note in answer.notes)


def test_a_file_without_counters_names_the_command_that_collects_them():
    made = profile(kernels=(KERNEL, [("a", 0, 7, 0, 10)]))
    with pytest.raises(MissingDataError, match=r"made.json: no pipe counters .*run_profile.sh nsight"):
        core.core_utilization(made)


def test_a_share_of_active_cycles_is_turned_into_one_of_elapsed_cycles():
    metric = "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active"
    extra = [(0, "sm__cycles_active.avg", "cycle", 50.0), (0, "sm__cycles_elapsed.max", "cycle", 200.0)]
    made = counters_profile([("a", 200, 0.8)], extra=extra, metric=metric)
    assert core.core_utilization(made).rows()[0]["utilization"] == pytest.approx(0.2)


def test_a_share_of_active_cycles_that_cannot_be_converted_is_absent():
    metric = "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active"
    with pytest.raises(MissingDataError):
        core.core_utilization(counters_profile([("a", 200, 0.8)], metric=metric))


def test_the_ancestors_lines_come_from_its_own_metrics_and_are_none_where_missing():
    lines = core.tbd_lines(counters_profile([("a", 100, 0.1), ("b", 100, 0.1), ("c", 800, 0.9)]))
    assert [name for name, _ in lines] == ["fma", "fp16", "tensor", "sfu"]
    assert lines[0][1] == pytest.approx(0.74)
    assert [value for _, value in lines[1:]] == [None, None, None]


def test_utilization_is_kept_per_device():
    made = profile(
        meta=Meta(file="m", tool="t", format="t", times="replay"),
        kernels=(("name", "device"), [("a", 0), ("a", 1)]),
        counters=(
            ("launch", "metric", "unit", "value"),
            [
                (0, "gpc__cycles_elapsed.max", "cycle", 100.0),
                (1, "gpc__cycles_elapsed.max", "cycle", 900.0),
                (0, "sm__inst_executed_pipe_fma.avg.pct_of_peak_sustained_elapsed", "ratio", 0.2),
                (1, "sm__inst_executed_pipe_fma.avg.pct_of_peak_sustained_elapsed", "ratio", 0.6),
            ],
        ),
    )
    assert [(row["device"], row["utilization"]) for row in core.core_utilization(made).rows()] == [(0, 0.2), (1, 0.6)]


def test_kernels_by_name_carry_their_pipes_weighted_by_cycles():
    made = counters_profile([("k<1>(int)", 100, 0.1), ("k<1>(int)", 300, 0.5), ("other", 10, None)])
    rows = rows_by_key(kernels.kernel_times(made, "kernel"))
    assert rows["k<1>(int)"]["fma"] == pytest.approx(0.4)
    assert rows["other"]["fma"] is None
    assert rows["k<1>(int)"]["excl_ns"] is None


def test_counters_that_are_no_numbers_of_cycles_are_unknown():
    answer = core.core_utilization(counters_profile([("a", 100, 0.5), ("b", float("inf"), 0.9), ("c", -7, 0.9)]))
    assert (answer.rows()[0]["utilization"], answer.rows()[0]["coverage"]) == (0.5, 1.0)


# ---- windows and totals


def test_busy_time_counts_overlap_once_and_is_clipped_to_the_window():
    made = profile(
        kernels=(KERNEL, [("a", 0, 7, 0, 100), ("b", 0, 8, 50, 100), ("c", 0, 7, 300, 50)]),
        ranges=(RANGE, [("w", "window", "0-1", 1, 1, 100, 220)]),
    )
    found = totals(made)
    assert (found.busy_ns, found.kernel_dur_ns, found.launches) == (200, 250, 3)
    assert (found.window_ns, found.window_busy_ns, found.window_source) == (220, 70, "capture range")
    assert found.gpu_compute_utilization == pytest.approx(70 / 220)


def test_two_devices_are_two_unions_and_the_top_level_is_their_sum():
    made = profile(kernels=(KERNEL, [("a", 0, 7, 0, 100), ("b", 1, 7, 0, 50)]))
    found = totals(made)
    assert [(device.device, device.busy_ns) for device in found.devices] == [(0, 100), (1, 50)]
    assert (found.busy_ns, found.window_ns, found.window_source) == (150, 150, "device operations")


def test_the_window_is_taken_from_the_most_trusted_source():
    kernel = (KERNEL, [("a", 0, 7, 1000, 10)])
    spans = (("name", "start_ns", "dur_ns"), [("PyTorch Profiler (0)", 0, 5000)])
    calls = (CALL, [("cudaProfilerStart", 1, 1, 100, 50, None), ("cudaProfilerStop", 1, 1, 4000, 500, None)])
    steps = (RANGE, [("s", "iteration", "1", 1, 1, 500, 100), ("s", "iteration", "2", 1, 1, 600, 300)])
    for tables, expected in (
        ({"kernels": kernel}, (1000, 1010, "device operations")),
        ({"kernels": kernel, "spans": spans}, (0, 5000, "profiler span")),
        ({"kernels": kernel, "spans": spans, "api": calls}, (150, 4000, "profiler calls")),
        ({"kernels": kernel, "spans": spans, "api": calls, "ranges": steps}, (500, 900, "step ranges")),
    ):
        window = time_window(profile(**tables))
        assert window is not None
        assert (window.start_ns, window.stop_ns, window.source) == expected


def test_a_replayed_capture_has_no_window():
    assert time_window(counters_profile([("a", 100, 0.1)])) is None
    found = totals(counters_profile([("a", 100, 0.1)]))
    assert (found.window_ns, found.busy_ns, found.gpu_compute_utilization) == (None, None, None)
    assert (found.launches, found.kernel_dur_ns) == (1, 1000)


def test_a_launch_without_times_makes_the_busy_time_unknown_not_smaller():
    found = totals(profile(kernels=(KERNEL, [("a", 0, 7, 0, 100), ("b", 0, 7, 200, None)])))
    assert (found.launches, found.kernel_dur_ns, found.busy_ns) == (2, None, None)
    assert (found.window_ns, found.gpu_compute_utilization, found.devices) == (None, None, ())


def test_a_cpu_run_has_no_gpu_totals():
    made = profile(meta=Meta(file="m", tool="t", format="t", domain="cpu"), ops=(("name", "start_ns", "dur_ns"), []))
    assert totals(made).launches is None
    assert totals(made).busy_ns is None


# ---- kernels


def test_exclusive_time_shares_out_concurrency_and_sums_to_busy():
    made = profile(kernels=(KERNEL, [("a", 0, 7, 0, 100), ("b", 0, 8, 50, 100)]))
    rows = rows_by_key(kernels.kernel_times(made, "kernel"))
    assert (rows["a"]["dur_ns"], rows["a"]["excl_ns"], rows["b"]["excl_ns"]) == (100, 75, 75)
    assert rows["a"]["share"] == 0.5


def test_kernels_without_a_duration_leave_their_group_unknown():
    made = profile(meta=counters_profile([]).meta, kernels=(("name", "dur_ns"), [("a", 5), ("b", None), ("b", 3)]))
    rows = rows_by_key(kernels.kernel_times(made, "kernel"))
    assert (rows["a"]["dur_ns"], rows["b"]["dur_ns"], rows["b"]["calls"]) == (5, None, 2)


def test_sums_are_exact_beyond_what_a_double_holds():
    made = profile(
        meta=counters_profile([]).meta, kernels=(("name", "dur_ns"), [("a", (1 << 60) + 1), ("a", 1), ("b", 1)])
    )
    assert rows_by_key(kernels.kernel_times(made, "kernel"))["a"]["dur_ns"] == (1 << 60) + 2


def test_an_unknown_stream_is_a_key_of_its_own():
    rows = kernels.kernel_times(profile(kernels=(KERNEL, [("a", 0, None, 0, 9), ("b", 0, 0, 20, 5)])), "stream").rows()
    assert [(row["device"], row["stream"], row["dur_ns"]) for row in rows] == [(0, None, 9), (0, 0, 5)]


def test_classes_and_streams_group_kernels():
    made = profile(kernels=(KERNEL, [("ampere_sgemm_128x64_tn", 0, 7, 0, 10), ("ncclKernel_AllReduce", 0, 20, 20, 5)]))
    assert set(rows_by_key(kernels.kernel_times(made, "class"))) == {"gemm", "communication"}
    streams = kernels.kernel_times(made, "stream").rows()
    assert [(row["device"], row["stream"], row["dur_ns"]) for row in streams] == [(0, 7, 10), (0, 20, 5)]


def test_operators_of_a_cpu_run_are_counted_without_what_they_called():
    meta = Meta(file="m", tool="t", format="t", domain="cpu")
    names = ("name", "process", "thread", "start_ns", "dur_ns")
    made = profile(
        meta=meta, ops=(names, [("aten::linear", 1, 1, 0, 100), ("aten::addmm", 1, 1, 10, 60), ("x", 1, 2, 0, 0)])
    )
    rows = rows_by_key(kernels.kernel_times(made, "name"))
    assert (rows["aten::linear"]["dur_ns"], rows["aten::linear"]["excl_ns"]) == (100, 40)
    assert (rows["aten::addmm"]["excl_ns"], rows["aten::addmm"]["share"]) == (60, 0.6)


def test_operators_of_two_threads_share_the_time_they_overlap():
    meta = Meta(file="m", tool="t", format="t", domain="cpu")
    names = ("name", "process", "thread", "start_ns", "dur_ns")
    made = profile(meta=meta, ops=(names, [("a", 1, 1, 0, 100), ("b", 1, 2, 50, 100)]))
    rows = rows_by_key(kernels.kernel_times(made, "name"))
    assert (rows["a"]["excl_ns"], rows["b"]["excl_ns"]) == (75, 75)


# ---- phases


def launched(*, thread_of_backward=2):
    """Two phases on thread 1; the backward's kernel is launched by ``thread_of_backward``, where no range is open."""
    return profile(
        kernels=(
            ("name", "device", "process", "correlation", "start_ns", "dur_ns"),
            [("f", 0, 1, 11, 1000, 30), ("b", 0, 1, 12, 1040, 50), ("orphan", 0, 1, 99, 1200, 7)],
        ),
        copies=(("name", "kind", "process", "correlation", "start_ns", "dur_ns"), [("c", "memcpy", 1, 13, 900, 5)]),
        api=(
            CALL,
            [
                ("cudaLaunchKernel", 1, 1, 120, 5, 11),
                ("cudaLaunchKernel", 1, thread_of_backward, 220, 5, 12),
                ("cudaMemcpyAsync", 1, 1, 110, 5, 13),
            ],
        ),
        ranges=(
            RANGE,
            [
                ("p", "phase", "backward", 1, 1, 200, 100),
                ("p", "phase", "forward", 1, 1, 100, 100),
                ("i", "iteration", "3", 1, 1, 100, 200),
                ("u", "user", None, 1, 1, 100, 500),
            ],
        ),
    )


def test_a_kernel_launched_by_another_thread_belongs_to_the_phase_open_in_its_process():
    answer = phases.range_times(launched(), "phase")
    rows = rows_by_key(answer)
    assert [row["phase"] for row in answer.rows()] == ["forward", "backward", None]
    assert (rows["forward"]["dur_ns"], rows["backward"]["dur_ns"], rows[None]["dur_ns"]) == (30, 50, 7)
    assert rows["forward"]["copy_dur_ns"] == 5
    assert any("1 launch (7 ns) belongs to no phase: " in note for note in answer.notes)


def test_phases_sum_to_the_busy_time():
    answer = phases.range_times(launched(), "phase")
    assert sum(row["excl_ns"] for row in answer.rows()) == totals(launched()).busy_ns


def test_an_iteration_runs_from_the_window_to_the_end_of_its_last_operation():
    row = rows_by_key(phases.range_times(launched(), "iteration"))[3]
    assert (row["dur_ns"], row["step_ns"], row["host_dur_ns"]) == (80, 1090 - 100, 200)


def test_a_launch_prefers_the_range_on_its_own_thread():
    made = profile(
        kernels=(("name", "process", "correlation", "start_ns", "dur_ns"), [("k", 1, 5, 500, 10)]),
        api=(CALL, [("cudaLaunchKernel", 1, 2, 150, 5, 5)]),
        ranges=(RANGE, [("p", "phase", "loss", 1, 1, 140, 100), ("p", "phase", "backward", 1, 2, 100, 100)]),
    )
    assert phases.range_times(made, "phase").rows()[1]["dur_ns"] == 10


def test_correlation_ids_repeat_across_processes():
    made = profile(
        kernels=(("name", "process", "correlation", "start_ns", "dur_ns"), [("k", 2, 5, 500, 10)]),
        api=(CALL, [("cudaLaunchKernel", 1, 1, 110, 5, 5), ("cudaLaunchKernel", 2, 1, 310, 5, 5)]),
        ranges=(RANGE, [("p", "phase", "forward", 1, 1, 100, 50), ("p", "phase", "loss", 2, 1, 300, 50)]),
    )
    assert rows_by_key(phases.range_times(made, "phase"))["loss"]["dur_ns"] == 10


def test_calls_are_told_apart_by_process_even_where_waits_have_none():
    made = profile(
        kernels=(("name", "process", "correlation", "start_ns", "dur_ns"), [("k", 2, 5, 500, 10)]),
        api=(
            (*CALL, "domain"),
            [
                ("cudaLaunchKernel", 1, 1, 110, 5, 5, "runtime"),
                ("cudaLaunchKernel", 2, 1, 310, 5, 5, "runtime"),
                ("Event Sync", None, None, 100, 5, 5, "sync"),
            ],
        ),
        ranges=(RANGE, [("p", "phase", "forward", 1, 1, 100, 50), ("p", "phase", "loss", 2, 1, 300, 50)]),
    )
    assert rows_by_key(phases.range_times(made, "phase"))["loss"]["dur_ns"] == 10


def test_the_first_of_several_calls_with_one_correlation_is_the_launch():
    made = profile(
        kernels=(("name", "correlation", "start_ns", "dur_ns"), [("k", 5, 500, 10)]),
        api=(CALL, [("cuLaunchKernel", 1, 1, 210, 5, 5), ("cudaLaunchKernel", 1, 1, 110, 200, 5)]),
        ranges=(RANGE, [("p", "phase", "forward", 1, 1, 100, 50), ("p", "phase", "loss", 1, 1, 200, 50)]),
    )
    assert rows_by_key(phases.range_times(made, "phase"))["forward"]["dur_ns"] == 10


def test_a_step_is_unknown_where_the_one_before_it_is_missing():
    names = ("name", "process", "correlation", "start_ns", "dur_ns")
    made = profile(
        kernels=(names, [("k", 1, step, 1000 * step, 10) for step in (3, 4, 6)]),
        api=(CALL, [("cudaLaunchKernel", 1, 1, 100 * step, 5, step) for step in (3, 4, 6)]),
        ranges=(RANGE, [("s", "iteration", str(step), 1, 1, 100 * step, 50) for step in (3, 4, 6)]),
    )
    rows = phases.range_times(made, "iteration").rows()
    assert [(row["iteration"], row["step_ns"]) for row in rows] == [(3, 3010 - 300), (4, 1000), (6, None)]


def test_copies_without_a_duration_leave_their_phase_unknown():
    made = profile(
        kernels=(("name", "process", "correlation", "start_ns", "dur_ns"), [("k", 1, 1, 500, 10)]),
        copies=(
            ("name", "kind", "process", "correlation", "dur_ns"),
            [("c", "memcpy", 1, 1, 5), ("c", "memcpy", 1, 1, None)],
        ),
        api=(CALL, [("cudaLaunchKernel", 1, 1, 110, 5, 1)]),
        ranges=(RANGE, [("p", "phase", "forward", 1, 1, 100, 50)]),
    )
    assert rows_by_key(phases.range_times(made, "phase"))["forward"]["copy_dur_ns"] is None


def test_a_graph_launch_owns_every_kernel_it_started():
    made = profile(
        kernels=(
            ("name", "process", "correlation", "start_ns", "dur_ns"),
            [("k", 1, 5, 500, 10), ("l", 1, 5, 520, 10)],
        ),
        api=(CALL, [("cudaGraphLaunch", 1, 1, 110, 5, 5)]),
        ranges=(RANGE, [("p", "phase", "forward", 1, 1, 100, 50)]),
    )
    assert rows_by_key(phases.range_times(made, "phase"))["forward"]["calls"] == 2


def test_a_cpu_run_shows_the_host_time_of_its_phases():
    made = profile(
        meta=Meta(file="m", tool="t", format="t", domain="cpu"),
        ranges=(RANGE, [("p", "phase", "forward", 1, 1, 0, 60), ("p", "phase", "data", 1, 1, 60, 40)]),
    )
    rows = phases.range_times(made, "phase").rows()
    assert [(row["phase"], row["dur_ns"], row["share"]) for row in rows] == [("data", 40, 0.4), ("forward", 60, 0.6)]


def test_a_file_without_phases_says_what_phases_are():
    with pytest.raises(MissingDataError, match="no phase ranges"):
        phases.range_times(profile(kernels=(KERNEL, [("a", 0, 7, 0, 1)])), "phase")


@pytest.mark.parametrize("odd", ["\u00b2", "x", "9" * 5000, "-1", "\u0663"])
def test_iterations_that_are_no_numbers_are_kept_as_text_behind_the_others(odd):
    ranges = (RANGE, [("s", "iteration", value, 1, 1, 100, 1) for value in (odd, "10", "9")])
    made = profile(meta=Meta(file="m", tool="t", format="t", domain="cpu"), ranges=ranges)
    assert [row["iteration"] for row in phases.range_times(made, "iteration").rows()] == ["9", "10", odd]


def test_threads_of_two_processes_are_two_though_their_ids_are_equal():
    ranges = (RANGE, [("p", "phase", "forward", 1, 1, 0, 100), ("p", "phase", "loss", 2, 1, 20, 60)])
    made = profile(meta=Meta(file="m", tool="t", format="t", domain="cpu"), ranges=ranges)
    assert [row["excl_ns"] for row in phases.range_times(made, "phase").rows()] == [70, 30]


def test_iterations_are_ordered_by_number():
    steps = [("s", "iteration", str(step), 1, 1, 100 - step, 1) for step in (10, 9, 2)]
    made = profile(meta=Meta(file="m", tool="t", format="t", domain="cpu"), ranges=(RANGE, steps))
    assert [row["iteration"] for row in questions.answers(made, "iteration")[0].rows()] == [2, 9, 10]


def test_names_that_no_row_has_are_no_rows():
    names = Column(np.array([1, 1], dtype=np.int32), None, ["left out", "kept"])
    found = Profile.of(
        Meta(file="f", tool="t", format="x"),
        {"kernels": {"name": names, "start_ns": int_column([0, 5]), "dur_ns": int_column([3, 4])}},
    )
    for by in ("kernel", "name", "class"):
        assert [row["calls"] for row in kernels.kernel_times(found, by).rows()] == [2]
