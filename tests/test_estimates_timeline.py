"""What a reader of timelines expects: latencies, queues, copies, allocations, the critical path, energy."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ds2prof.analysis import estimates, questions
from ds2prof.analysis.estimates import allocations, critical_path, energy, grouped, latencies, path_edges, queue_depth
from ds2prof.cli.parse import BY, command
from ds2prof.errors import MissingDataError
from ds2prof.parsers import read_all
from ds2prof.tables import Meta, Profile, Table, float_column, int_column, text_column
from tests import kineto_support, nsys_support
from tests.profiles import META, profile

CALL = ("name", "process", "thread", "start_ns", "dur_ns", "correlation")
KERNEL = ("name", "process", "device", "stream", "start_ns", "dur_ns", "correlation")
COPY = (*KERNEL[:1], "kind", *KERNEL[1:])
ALLOCATION = ("kind", "device_type", "device", "process", "thread", "start_ns", "size_bytes")
EXECUTIONS = (
    "0x822a5b87__test-cuda__report1",
    "bwyogatama__Mordred-Deprecated__report1",
    "hpcgroup__pipit__perlmutter-cloverleaf-cuda",
)


def call(start, dur, correlation, *, name="cudaLaunchKernel", thread=1):
    return (name, 1, thread, start, dur, correlation)


def kernel(start, dur, correlation, *, name="k", stream=7, device=0):
    return (name, 1, device, stream, start, dur, correlation)


def timeline(calls, kernels, **more):
    return profile(api=(CALL, calls), kernels=(KERNEL, kernels), **more)


def test_every_key_is_offered_on_the_command_line_and_knows_its_tables():
    assert set(estimates.KEYS) <= set(questions.KEYS) & set(BY)
    assert all(set(estimates.TABLES_OF[by]) <= set(questions.tables_for(by)) for by in estimates.KEYS)


# ---- latencies


def test_a_launch_has_a_call_a_wait_and_a_run():
    made = timeline([call(0, 10, 1), call(20, 30, 2)], [kernel(15, 100, 1), kernel(40, 5, 2)])
    found = latencies.latencies(made)
    assert found.launch_ns.tolist() == [10, 30]
    assert found.queued.tolist() == [True, False]  # the second started before its call had returned
    assert found.queue_ns.tolist() == [5, 0]
    assert found.total_ns.tolist() == [115, 30]


def test_only_positive_waits_are_averaged():
    made = timeline([call(0, 10, 1), call(20, 30, 2)], [kernel(15, 100, 1), kernel(40, 5, 2)])
    row = estimates.answer(made, "latency").rows()[0]
    assert (row["launches"], row["queued_launches"], row["queue_mean_ns"], row["launch_mean_ns"]) == (2, 1, 5, 20)


@pytest.mark.parametrize("name", EXECUTIONS)
def test_each_launch_has_the_latencies_that_nsys_gives(corpus, name):
    (found,) = read_all(corpus / "nsys-sqlite" / f"{name}.sqlite", tables=latencies.TABLES)
    with (corpus / "expected" / "nsys-stats" / f"{name}.kernexectrace.csv").open() as stream:
        expected = list(csv.DictReader(stream))
    ours = latencies.latencies(found)
    api, kernels = found.table("api"), found.table("kernels")
    order = np.argsort(api.ints("start_ns")[ours.calls], kind="stable")
    base_ns = int(api.ints("start_ns")[ours.calls].min()) - min(int(row["API Start (ns)"]) for row in expected)
    theirs = sorted(
        (
            int(row["API Start (ns)"]),
            int(row["API Dur (ns)"]),
            None if row["Queue Dur (ns)"] == "None" else int(row["Queue Dur (ns)"]),
            int(row["Kernel Start (ns)"]),
            int(row["Kernel Dur (ns)"]),
            int(row["Total Dur (ns)"]),
        )
        for row in expected
    )
    mine = [
        (
            int(api.ints("start_ns")[ours.calls[row]]) - base_ns,
            int(ours.launch_ns[row]),
            int(ours.queue_ns[row]) if ours.queued[row] else None,
            int(kernels.ints("start_ns")[ours.kernels[row]]) - base_ns,
            int(ours.kernel_ns[row]),
            int(ours.total_ns[row]),
        )
        for row in order.tolist()
    ]
    assert mine == theirs


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-50, 50)), min_size=1, max_size=30))
def test_statistics_of_groups_are_those_of_each_group_alone(rows):
    codes, values = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    found = grouped.spread(codes, values, 4)
    for code in range(4):
        own = values[codes == code]
        assert found.count[code] == len(own)
        if len(own):
            assert (found.least[code], found.greatest[code]) == (own.min(), own.max())
            assert found.median[code] == np.median(own)
            assert found.mean[code] == pytest.approx(own.mean())
        assert found.deviation[code] == (pytest.approx(own.std(ddof=1)) if len(own) > 1 else None)


# ---- queues


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 15)), min_size=1, max_size=15))
def test_the_depth_is_what_has_entered_and_not_left_at_each_nanosecond(rows):
    entered = np.array([start for start, _ in rows], dtype=np.int64)
    left = entered + np.array([dur for _, dur in rows], dtype=np.int64)
    times, depth = queue_depth.depths(entered, left)
    waiting = [int(((entered <= at) & (at < left)).sum()) for at in range(60)]
    mean, full_ns = queue_depth.mean_and_full(times, depth, start_ns=0, end_ns=60, full=2)
    assert int(depth.max()) == max(waiting)
    assert mean == pytest.approx(sum(waiting) / 60)
    assert full_ns == sum(count >= 2 for count in waiting)


def test_a_launch_waits_from_the_return_of_its_call_to_its_start():
    made = timeline(
        [call(0, 10, 1), call(10, 10, 2), call(20, 10, 3)], [kernel(5, 95, 1), kernel(100, 9, 2), kernel(109, 1, 3)]
    )
    row = estimates.answer(made, "queue").rows()[0]
    assert (row["max_depth"], row["max_called_depth"], row["launches"]) == (2, 2, 3)
    # 80 ns of the second and 79 ns of the third in a window of 105 ns
    assert row["mean_depth"] == pytest.approx((80 + 79) / 105)


def test_a_graph_counts_once_for_us_and_each_kernel_for_hta():
    made = timeline([call(0, 10, 1, name="cudaGraphLaunch")], [kernel(20 + n, 1, 1) for n in range(5)])
    row = estimates.answer(made, "queue").rows()[0]
    assert (row["max_depth"], row["max_called_depth"]) == (1, 5)


# ---- copies


def test_bandwidth_is_bytes_over_time_and_pageable_memory_is_pointed_out():
    copies = (
        ("name", "kind", "source_kind", "destination_kind", "device", "start_ns", "dur_ns", "size_bytes"),
        [
            ("Memcpy HtoD", "memcpy", "pageable", "device", 0, 0, 1000, 8000),
            ("Memcpy HtoD", "memcpy", "pageable", "device", 0, 2000, 3000, 100_000),
            ("Memcpy HtoD", "memcpy", "pinned", "device", 0, 9000, 1000, 100_000),
        ],
    )
    first, second = estimates.answer(profile(copies=copies), "bandwidth").rows()
    assert (first["pageable"], first["copies"], first["bytes_per_s"]) == ("yes", 2, pytest.approx(108_000 / 4e-6))
    assert (first["small_copies"], first["small_dur_ns"]) == (1, 1000)
    assert (second["pageable"], second["small_copies"]) == ("no", 0)


def test_a_copy_that_is_faster_than_the_memory_is_pointed_out():
    columns = ("name", "kind", "source_kind", "destination_kind", "device", "start_ns", "dur_ns", "size_bytes")
    rows = [
        ("memset", "memset", None, "device", 0, 0, 1000, 2_000_000),
        ("HtoD", "memcpy", "pinned", "device", 0, 5000, 9, 9),
    ]
    copies = (columns, rows)
    unknown = estimates.answer(profile(copies=copies), "bandwidth")
    assert not any("faster than the device's memory" in note for note in unknown.notes)
    stated = (("device", "name", "memory_bandwidth_bytes_per_s"), [(0, "some GPU", 10**12)])
    notes = estimates.answer(profile(copies=copies, devices=stated), "bandwidth").notes
    assert notes[-1].startswith("memset: faster than the device's memory (1,000 GB/s)")
    tabled = (("device", "name"), [(0, "NVIDIA H100 80GB HBM3")])
    assert len(estimates.answer(profile(copies=copies, devices=tabled), "bandwidth").notes) == len(unknown.notes)


# ---- allocations


def test_the_timeline_of_memory_adds_up_and_names_what_was_open_at_the_peak():
    made = profile(
        allocations=(
            ALLOCATION,
            [
                ("torch", "cuda", 0, 1, 1, 10, 100),
                ("torch", "cuda", 0, 1, 1, 20, 500),
                ("torch", "cuda", 0, 1, 1, 30, -500),
                ("torch", "cpu", None, 1, 1, 15, 7),
            ],
        ),
        ops=(("name", "process", "thread", "start_ns", "dur_ns"), [("outer", 1, 1, 0, 100), ("inner", 1, 1, 18, 4)]),
    )
    first, second = estimates.answer(made, "allocation").rows()
    assert (first["peak_bytes"], first["end_bytes"], first["during"], first["since_ns"]) == (600, 100, "inner", 10)
    assert (first["allocations"], first["releases"], first["total_bytes"]) == (2, 1, 600)
    assert (second["device_type"], second["device"], second["peak_bytes"]) == ("cpu", None, 7)


@pytest.fixture
def ds2prof_at_80(monkeypatch):
    """The lines that the command prints of a file by a key on a terminal of 80 columns."""

    def lines(path, by):
        monkeypatch.setenv("COLUMNS", "80")
        result = CliRunner().invoke(command, [str(path), "--by", by])
        assert result.exit_code == 0, result.output
        return result.stdout.splitlines()

    return lines


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(-50, 50)), min_size=1, max_size=60), st.integers(1, 10))
def test_a_reduced_timeline_keeps_the_peak_and_has_no_more_points_than_asked_for(rows, points):
    rows = sorted(rows, key=lambda row: row[0])
    made = profile(allocations=(ALLOCATION, [("torch", "cuda", 0, 1, 1, at, size) for at, size in rows]))
    (line,) = allocations.timelines(made)
    times, held = allocations.reduced(line, points)
    assert len(times) <= max(points, 0)
    assert (np.diff(times) >= 0).all()
    assert held.max() == line.held_bytes.max() == np.cumsum([size for _, size in rows]).max()


def test_what_was_held_over_time_is_asked_for_by_moments():
    events = [("torch", "cuda", 0, 1, 1, 10 * at, size) for at, size in enumerate((100, 500, -500))]
    made = profile(allocations=(ALLOCATION, events))
    (answer,) = questions.answers(made, "allocation", per="moment")
    found = [(row["since_ns"], row["held_bytes"]) for row in answer.rows()]
    assert found == [(0, 100), (10, 600), (20, 100)]
    with pytest.raises(MissingDataError, match="no allocations in this file"):
        questions.answers(profile(), "allocation", per="moment")


def test_a_long_timeline_of_memory_is_thinned_and_says_so():
    events = [("torch", "cuda", 0, 1, 1, at, 1 if at % 2 else 2) for at in range(5000)]
    answer = allocations.moments(profile(allocations=(ALLOCATION, events)))
    assert len(answer.columns["held_bytes"]) == allocations.POINTS
    assert max(answer.columns["held_bytes"]) == 7500
    assert answer.notes[-1] == "of equal stretches of time, 1,000 for an allocator, the highest value alone"


@pytest.mark.parametrize("by", ["roofline", "gain", "latency", "bound", "allocation", "wave", "path", "bandwidth"])
def test_a_table_fits_a_terminal_of_80_columns(by, corpus, ds2prof_at_80):
    lines = ds2prof_at_80(corpus / "kineto" / "AMD-AGI__TraceLens__h100_bert-small.json.gz", by)
    assert len(lines) > 8
    assert [line for line in lines[1:] if len(line) > 80] == []


def test_kinetos_own_count_of_what_is_allocated_is_taken(corpus):
    path = corpus / "kineto" / "AMD-AGI__TraceLens__h100_Falconsai_nsfw.json.gz"
    (found,) = read_all(path, tables=allocations.TABLES)
    line = allocations.timelines(found)[0]
    table = found.table("allocations").take(line.rows)
    assert line.is_stated
    # The count after each event is the one before plus what was allocated, but for what other streams do in between.
    steps = np.diff(line.held_bytes) == table.ints("size_bytes")[1:]
    assert steps.mean() > 0.99


# ---- the critical path


def shares_of(made):
    (path,) = critical_path.paths(made)
    assert int(path.dur_ns.sum()) == path.end_ns - path.start_ns
    sums = dict.fromkeys(critical_path.KINDS, 0)
    for kind, dur_ns in zip(path.kind.tolist(), path.dur_ns.tolist(), strict=True):
        sums[critical_path.KINDS[kind]] += dur_ns
    return {kind: dur_ns for kind, dur_ns in sums.items() if dur_ns}


def test_kernels_behind_each_other_are_the_path_and_the_gap_is_queue():
    made = timeline([call(0, 10, 1), call(10, 10, 2)], [kernel(15, 85, 1), kernel(103, 50, 2)])
    # The window is that of device operations, from 15 on.
    assert shares_of(made) == {"compute": 135, "queue": 3}


def test_a_late_launch_puts_the_host_on_the_path():
    ranges = (
        ("name", "kind", "value", "process", "thread", "start_ns", "dur_ns"),
        [("w", "window", None, 1, 1, 0, 200)],
    )
    made = timeline([call(0, 10, 1), call(100, 10, 2)], [kernel(15, 20, 1), kernel(113, 50, 2)], ranges=ranges)
    # Behind the last kernel 37 ns of the host; before it 3 from the launch, and the host all the way to the start.
    assert shares_of(made) == {"compute": 50, "launch": 3, "host": 110 + 37}


def test_a_host_that_waited_for_the_device_leads_back_to_what_it_waited_for():
    ranges = (
        ("name", "kind", "value", "process", "thread", "start_ns", "dur_ns"),
        [("w", "window", None, 1, 1, 0, 163)],
    )
    calls = [call(0, 10, 1), call(12, 28, 9, name="cudaStreamSynchronize"), call(100, 10, 2)]
    made = timeline(calls, [kernel(15, 20, 1), kernel(113, 50, 2)], ranges=ranges)
    # 50 + 3; host from 40 to 110; the wait's 5 after the kernel's end; the kernel's 20; 5 from its launch; 10 of host.
    assert shares_of(made) == {"compute": 70, "launch": 8, "host": 80, "sync": 5}


def test_communication_and_copies_have_kinds_of_their_own():
    copies = ((*COPY,), [("Memcpy HtoD", "memcpy", 1, 0, 7, 20, 30, 3)])
    calls = [call(0, 5, 1), call(5, 2, 3, name="cudaMemcpyAsync"), call(8, 2, 2)]
    made = timeline(
        calls, [kernel(10, 10, 1), kernel(50, 40, 2, name="ncclDevKernel_AllReduce_Sum_f32(x)")], copies=copies
    )
    assert shares_of(made) == {"compute": 10, "copy": 30, "communication": 40}


def test_a_stream_that_was_told_to_wait_is_held_up_by_the_other_stream():
    calls = [call(0, 5, 1), call(6, 1, 50, name="cudaStreamWaitEvent"), call(8, 2, 2)]
    kernels = [kernel(10, 90, 1, stream=7), kernel(104, 20, 2, stream=8)]
    assert shares_of(timeline(calls, kernels)) == {"compute": 110, "queue": 4}
    without = timeline([calls[0], calls[2]], kernels)
    assert shares_of(without) == {"compute": 20, "launch": 94}


def test_host_time_is_named_by_the_innermost_operator_that_was_open():
    window = (
        ("name", "kind", "value", "process", "thread", "start_ns", "dur_ns"),
        [("w", "window", None, 1, 1, 0, 100)],
    )
    ops = (("name", "process", "thread", "start_ns", "dur_ns"), [("outer", 1, 1, 10, 60), ("inner", 1, 1, 20, 10)])
    made = timeline([call(60, 10, 1)], [kernel(70, 30, 1)], ranges=window, ops=ops)
    rows = {(row["kind"], row["name"]): row["dur_ns"] for row in estimates.answer(made, "path").rows()}
    assert rows == {("compute", "k"): 30, ("host", "outer"): 50, ("host", "inner"): 10, ("host", None): 10}


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 5), st.integers(0, 20), st.integers(0, 12), st.integers(0, 2)),
        min_size=1,
        max_size=12,
    ),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=4),
)
def test_a_path_covers_its_stretch_exactly_once_whatever_the_timeline(launched, synchronized):
    calls = [call(at, dur, n + 1, thread=n % 2) for n, (at, dur, _, _, _) in enumerate(launched)]
    calls += [
        call(at, dur, 100 + n, name="cudaDeviceSynchronize", thread=n % 2) for n, (at, dur) in enumerate(synchronized)
    ]
    kernels = [kernel(at + lag, dur, n + 1, stream=stream) for n, (at, _, lag, dur, stream) in enumerate(launched)]
    window = (
        ("name", "kind", "value", "process", "thread", "start_ns", "dur_ns"),
        [("w", "window", None, 1, 1, 0, 90)],
    )
    made = timeline(calls, kernels, ranges=window)
    (path,) = critical_path.paths(made)
    spans = sorted(zip(path.begin_ns.tolist(), path.dur_ns.tolist(), strict=True))
    reached = 0
    for begin, dur in spans:
        assert begin == reached
        reached += dur
    assert reached == 90
    assert sum(row["dur_ns"] for row in estimates.answer(made, "path").rows()) == 90
    found = path_edges.work(made)
    places = np.arange(len(found))
    assert (found.before < places).all()
    assert (found.behind < places).all()


def test_the_path_through_a_real_trace_with_waits_sums_to_its_step(corpus):
    path = corpus / "kineto" / "facebookresearch__HolisticTraceAnalysis__critical_path_alexnet_trace.json.gz"
    (found,) = read_all(path, tables=critical_path.TABLES)
    walked = critical_path.paths(found)
    assert walked
    assert all(int(one.dur_ns.sum()) == one.end_ns - one.start_ns for one in walked)
    assert all(sum(value for value in critical_path.shares(one).values()) == pytest.approx(1.0) for one in walked)


def test_a_path_through_a_file_without_steps_says_that_its_start_is_on_it(corpus):
    path = corpus / "kineto" / "facebookresearch__HolisticTraceAnalysis__critical_path_alexnet_trace.json.gz"
    (found,) = read_all(path, tables=estimates.TABLES_OF["path"])
    (walked,) = critical_path.paths(found)
    assert walked.iteration is None
    assert critical_path.shares(walked)["host"] == pytest.approx(0.99863, abs=1e-5)
    # What the host did before the first copy is nearly all one call: that which starts CUDA.
    first = walked.dur_ns[np.argmin(walked.begin_ns)]
    api = found.table("api")
    longest = int(np.argmax(api.ints("dur_ns")))
    assert (int(first), int(api.ints("dur_ns")[longest])) == (30_462_483_000, 29_927_377_000)
    notes = estimates.answer(found, "path").notes
    assert any(note.startswith("no iterations in this file") for note in notes)


# ---- energy


def readings(rows, *, meta=None, window=None):
    metric, device, start, value, unit = zip(*rows, strict=True)
    tables = {
        "samples": {
            "metric": text_column(metric),
            "unit": text_column(unit),
            "value": float_column(value),
            "start_ns": int_column(start),
            "device": int_column(device),
        }
    }
    if window is not None:
        tables["ranges"] = {
            "name": text_column(["w"]),
            "kind": text_column(["window"]),
            "start_ns": int_column([window[0]]),
            "dur_ns": int_column([window[1] - window[0]]),
        }
    return Profile.of(meta or Meta(file="made.csv", tool="test", format="test", times=None), tables)


def power(start, value, device=0):
    return ("power.draw", device, start, value, "watt")


def test_energy_is_the_area_under_the_power():
    s = 10**9
    made = readings([power(0, 100.0), power(2 * s, 300.0), power(3 * s, 300.0)])
    row = estimates.answer(made, "energy").rows()[0]
    assert row["energy_joule"] == pytest.approx(400 + 300)
    assert (row["covered_ns"], row["mean_watt"]) == (3 * s, pytest.approx(700 / 3))


def test_power_is_cut_at_the_window_between_readings():
    s = 10**9
    made = readings([power(0, 100.0), power(2 * s, 300.0)], window=(s, 2 * s))
    assert estimates.answer(made, "energy").rows()[0]["energy_joule"] == pytest.approx(250)


def test_busy_and_idle_power_are_told_apart_by_the_drivers_utilization():
    rows = [power(0, 60.0), power(10, 250.0), power(20, 350.0)]
    rows += [("utilization.gpu", 0, at, value, "ratio") for at, value in ((0, 0.0), (10, 0.5), (20, 1.0))]
    row = estimates.answer(readings(rows), "energy").rows()[0]
    assert (row["idle_watt"], row["busy_watt"]) == (60.0, 300.0)


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 400)), min_size=2, max_size=10),
    st.integers(0, 60),
    st.integers(1, 90),
)
def test_the_trapezoid_agrees_with_a_fine_sum(steps, begin, length):
    times = np.cumsum([step for step, _ in steps]).astype(np.int64) * 10**7
    watts = np.array([float(value) for _, value in steps])
    lo, hi = begin * 10**7, (begin + length) * 10**7
    joules, covered = energy.trapezoid(times, watts, lo_ns=lo, hi_ns=hi)
    edges = np.arange(max(lo, times[0]), min(hi, times[-1]) + 1, 10**7)
    at_edges = np.interp(edges, times, watts)
    expected = ((at_edges[1:] + at_edges[:-1]) / 2).sum() / 100 if len(edges) > 1 else 0.0
    assert joules == pytest.approx(expected, abs=1e-6)
    assert covered == max(min(hi, int(times[-1])) - max(lo, int(times[0])), 0)


def test_means_over_periods_are_held_and_cut_at_the_window():
    starts, periods = np.array([0, 10**9]), np.array([10**9, 10**9])
    joules, covered = energy.summed_periods(starts, periods, np.array([100.0, 300.0]), lo_ns=5 * 10**8, hi_ns=2 * 10**9)
    assert (joules, covered) == (350.0, 15 * 10**8)


def test_the_energy_of_a_sample_is_power_over_rate():
    log = Profile.of(
        Meta(file="run.jsonl", tool="ds2prof train", format="t", times=None, facts={"rates": {"samples_per_s": 50.0}}),
        {},
    )
    found = energy.joules_per(200.0, log)
    assert (found["joule_per_sample"], found["joule_per_audio_s"]) == (4.0, None)


def test_a_window_whose_sidecar_tells_its_samples_has_the_energy_for_each():
    s = 10**9
    made = readings([power(0, 100.0), power(2 * s, 300.0)], window=(s, 2 * s))
    assert "joule_per_sample" not in estimates.answer(made, "energy").columns
    made.attach_run({"work": {"iterations": 2, "samples": 50, "audio_s": 125.0}})
    row = estimates.answer(made, "energy").rows()[0]
    assert (row["joule_per_sample"], row["joule_per_audio_s"]) == (pytest.approx(250 / 50), pytest.approx(2.0))
    assert "joule_per_padded_s" not in row


def test_a_file_without_a_window_has_no_energy_for_each_sample():
    made = readings([power(0, 100.0), power(2 * 10**9, 300.0)])
    made.attach_run({"work": {"iterations": 2, "samples": 50}})
    assert "joule_per_sample" not in estimates.answer(made, "energy").columns


@pytest.mark.parametrize("by", estimates.KEYS)
def test_a_file_that_lacks_what_is_asked_for_is_told_so_in_one_line(by):
    made = Profile(lambda names: _nothing(names))
    with pytest.raises(MissingDataError) as caught:
        estimates.answer(made, by)
    assert str(caught.value).startswith("made.json: ")
    assert "\n" not in str(caught.value)


def _nothing(names):
    from ds2prof.tables import Loaded

    return Loaded(META, {name: Table(name) for name in names})


# ---- what the readers make of allocations


def test_nsys_tells_allocations_of_the_driver_with_their_sign():
    columns = {
        "CUDA_GPU_MEMORY_USAGE_EVENTS": [
            *("start", "globalPid", "deviceId", "contextId", "address", "pc", "bytes", "memKind"),
            *("memoryOperationType", "name:TEXT", "correlationId"),
        ]
    }
    event = {"globalPid": nsys_support.pid(7), "deviceId": 0, "contextId": 1, "memKind": 2, "correlationId": 5}
    rows = [
        {**event, "start": 100, "address": 4096, "bytes": 1000, "memoryOperationType": 0},
        {**event, "start": 200, "address": 8192, "bytes": 500, "memoryOperationType": 0},
        {**event, "start": 300, "address": 4096, "bytes": 1000, "memoryOperationType": 1},
        {**event, "start": 400, "address": 4096, "bytes": 9, "memoryOperationType": 7},
    ]
    found = nsys_support.profile_of({"CUDA_GPU_MEMORY_USAGE_EVENTS": rows}, columns=columns)
    table = found.table("allocations")
    assert table["size_bytes"].tolist() == [1000, 500, -1000]
    assert table["kind"].tolist() == ["device"] * 3
    assert table["process"].tolist() == [7] * 3
    assert table["address"].tolist() == [4096, 8192, 4096]
    assert any("1 allocation left out" in warning for warning in found.warnings)
    row = estimates.answer(found, "allocation").rows()[0]
    assert (row["peak_bytes"], row["end_bytes"]) == (1500, 500)


def test_kineto_tells_allocations_without_category_and_without_a_device():
    memory = {"ph": "i", "s": "t", "name": "[memory]", "pid": 1, "tid": 2}
    events = [
        kineto_support.op("aten::empty", 10, 5),
        {**memory, "ts": 11, "args": {"Device Type": 0, "Device Id": -1, "Bytes": 64}},
        {**memory, "ts": 12, "cat": "cpu_instant_event", "args": {"Device Type": 1, "Device Id": 0, "Bytes": -32}},
        {**memory, "ts": 13, "args": {"Device Type": 1, "Device Id": 0}},
        {**memory, "ts": 14, "name": "Iteration Start", "args": {"Bytes": 1}},
    ]
    found = kineto_support.load(json.dumps({"traceEvents": events}).encode())
    table = found.tables["allocations"]
    assert table["size_bytes"].tolist() == [64, -32]
    assert table["device_type"].tolist() == ["cpu", "cuda"]
    assert table["device"].tolist() == [None, 0]
    assert any("allocations: 1 row left out, no readable size" in warning for warning in found.warnings)


def test_a_launch_that_nsys_lists_twice_counts_once(corpus):
    name = "hpcgroup__pipit__saxpy-mpi-cuda_nsys_perlmutter0"
    (found,) = read_all(corpus / "nsys-sqlite" / f"{name}.sqlite", tables=latencies.TABLES)
    with (corpus / "expected" / "nsys-stats" / f"{name}.kernexectrace.csv").open() as stream:
        expected = {(int(row["API Dur (ns)"]), int(row["Total Dur (ns)"])) for row in csv.DictReader(stream)}
    ours = latencies.latencies(found)
    mine = list(zip(ours.launch_ns.tolist(), ours.total_ns.tolist(), strict=True))
    assert len(expected) == 2 * len(mine) == 10
    assert set(mine) <= expected
