"""What answers show of uncertainty: timelines by iteration, run logs, counters of several iterations."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from ds2prof.analysis import questions
from ds2prof.analysis.uncertainty import iterations
from ds2prof.analysis.uncertainty.beside import lay_beside, lengths_of
from ds2prof.analysis.uncertainty.clocks import clock_changes
from ds2prof.analysis.uncertainty.pipes import pipe_intervals, with_intervals
from ds2prof.analysis.windows import time_window
from ds2prof.cli import cli
from ds2prof.parsers import read
from ds2prof.report.intervals import interval_lines
from ds2prof.tables import Profile, int_column, text_column
from tests.profiles import META, REPLAY, columns, counters_profile, profile

RANGE = ("name", "kind", "value", "process", "thread", "start_ns", "dur_ns")
KERNEL = ("name", "process", "device", "start_ns", "dur_ns", "correlation")
CALL = ("name", "process", "thread", "start_ns", "dur_ns", "correlation")


def steps(times, *, start_ns=1000):
    """Contiguous iterations of those lengths."""
    starts = start_ns + np.concatenate(([0], np.cumsum(times)[:-1]))
    return [("s", "iteration", str(at), 1, 1, int(starts[at]), time) for at, time in enumerate(times)]


def timeline(times, *, busy=0.5, meta=META, **tables):
    """A timeline of which each iteration has one kernel over the first part of it."""
    ranges = steps(times)
    kernels = [("k", 1, 0, row[5], int(row[6] * busy), at + 1) for at, row in enumerate(ranges)]
    calls = [("cudaLaunchKernel", 1, 1, row[5], 1, at + 1) for at, row in enumerate(ranges)]
    return profile(meta=meta, ranges=(RANGE, ranges), kernels=(KERNEL, kernels), api=(CALL, calls), **tables)


TIMES = [100, 104, 96, 102, 98, 100, 103, 97, 101, 99]


def test_the_step_is_the_mean_time_of_the_iterations_on_the_host():
    totals = questions.totals_of(timeline(TIMES), "iteration")
    assert totals["step_ns"] == 100
    assert totals["warm_up_iterations"] == 0
    found = totals["intervals"]["step_ns"]
    assert (found["value"], found["iterations"], found["kind"], found["level"]) == (100, 10, "interval", 0.95)
    assert found["low"] < 100 < found["high"]


def test_warm_up_is_left_out_of_the_step_and_of_the_utilization():
    totals = questions.totals_of(timeline([900, *TIMES], busy=0.25), "iteration")
    assert (totals["step_ns"], totals["warm_up_iterations"]) == (100, 1)
    assert totals["intervals"]["gpu_compute_utilization"]["value"] == pytest.approx(0.25, abs=0.005)
    assert totals["intervals"]["gpu_compute_utilization"]["iterations"] == 10


def test_utilization_over_iterations_is_that_of_the_window_where_they_fill_it():
    totals = questions.totals_of(timeline(TIMES, busy=0.37), "iteration")
    assert totals["intervals"]["gpu_compute_utilization"]["value"] == totals["gpu_compute_utilization"]


def test_utilization_counts_overlapping_kernels_once_and_every_device():
    ranges = steps([100] * 8)
    kernels = [("k", 1, device, row[5], 50, 1) for row in ranges for device in (0, 0, 1)]
    made = profile(ranges=(RANGE, ranges), kernels=(KERNEL, kernels))
    assert iterations.utilization(made).value == 0.5


def test_a_kernel_longer_than_its_iteration_is_shared_out_among_those_it_runs_in():
    made = profile(ranges=(RANGE, steps([100, 100])), kernels=(KERNEL, [("k", 1, 0, 1050, 100, 1)]))
    found = iterations.utilization(made)
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


def test_ranges_that_overlap_are_cut_where_the_next_begins():
    ranges = [("s", "iteration", str(at), 1, 1, 1000 + 100 * at, 150) for at in range(2)]
    made = profile(ranges=(RANGE, ranges), kernels=(KERNEL, [("k", 1, 0, 1000, 250, 1)]))
    assert iterations.utilization(made).value == 1.0


def test_an_iteration_told_twice_in_a_process_counts_once_and_the_slowest_process_decides():
    ranges = [("s", "iteration", "1", *row) for row in ((1, 1, 1000, 100), (1, 1, 1010, 50), (2, 2, 1005, 120))]
    found = iterations.iterations_of(profile(ranges=(RANGE, ranges)))
    assert (found.keys, found.times_ns.tolist()) == ([1], [120])
    assert (found.starts_ns.tolist(), found.stops_ns.tolist()) == ([1000], [1125])


def test_by_iteration_the_notes_say_how_it_was_made():
    (answer,) = questions.answers(timeline([900, *TIMES]), "iteration")
    assert answer.notes[-2].startswith("step: mean 100 ns on the host, ")
    assert answer.notes[-2].endswith(
        "(bootstrap over 10 iterations, one at a time, one stratum, padded lengths are not in this file)"
    )
    assert answer.notes[-1].startswith("warm-up: iteration 0 excluded")


def test_an_outlier_is_named_with_the_cause_that_the_ledger_has_for_it():
    times = [*TIMES[:5], 300, *TIMES[5:]]
    ranges = steps(times)
    kernels = [("k", 1, 0, row[5] + row[6] - 70, 60, at + 1) for at, row in enumerate(ranges)]
    calls = [("cudaLaunchKernel", 1, 1, row[3] - 2, 2, row[5]) for row in kernels]
    made = profile(ranges=(RANGE, ranges), kernels=(KERNEL, kernels), api=(CALL, calls))
    (answer,) = questions.answers(made, "iteration")
    (line,) = [note for note in answer.notes if note.startswith("outlier: ")]
    assert line == "outlier: iteration 5 took 300 ns, 200 ns (200 %) longer than the median; host +200 ns"


def test_no_more_than_five_outliers_are_named():
    made = timeline([100] * 30 + [1000 + 10 * at for at in range(7)])
    lines = [note for note in iterations.notes(made) if note.startswith("outlier")]
    assert [line.split()[2] for line in lines[:5]] == ["36", "35", "34", "33", "32"]
    assert lines[5] == "outliers: 2 more iterations"


def test_an_outlier_that_the_window_cuts_is_given_no_cause():
    ranges = steps([*TIMES, 40])
    kernels = [("k", 1, 0, row[5] + 30, 60, at + 1) for at, row in enumerate(ranges)]
    calls = [("cudaLaunchKernel", 1, 1, row[3] - 2, 2, row[5]) for row in kernels]
    made = profile(ranges=(RANGE, ranges), kernels=(KERNEL, kernels), api=(CALL, calls))
    (answer,) = questions.answers(made, "iteration")
    (line,) = [note for note in answer.notes if note.startswith("outlier: ")]
    assert line == f"outlier: iteration {len(TIMES)} took 40 ns, 60 ns (60 %) less than the median"


def test_the_ledgers_rows_are_summed_over_devices():
    rows = [
        {"iteration": key, "device": device, "cause": "host", "dur_ns": 5} for key in (3, 4, None) for device in (0, 1)
    ]
    (host_ns,) = iterations.by_iteration(rows, [3, 4, 5]).values()
    np.testing.assert_equal(host_ns, [10, 10, np.nan])


def test_padded_lengths_of_a_run_log_make_strata_of_a_timeline():
    times = [100, 300] * 10
    plain = iterations.iterations_of(timeline(times))
    known = iterations.iterations_of(timeline(times), padded={at: time / 10 for at, time in enumerate(times)})
    assert not plain.has_lengths
    assert known.strata.tolist() == [0, 1] * 10
    assert known.mean().high - known.mean().low < 1 < plain.mean().high - plain.mean().low


def test_a_clock_that_changed_is_noted_where_the_timeline_has_readings():
    readings = [
        ("GPC Clock Frequency [MHz]", "hertz", (1000 + at % 2 * 500) * 1e6, 1000 + 100 * at, 0) for at in range(10)
    ]
    made = timeline(TIMES, samples=(("metric", "unit", "value", "start_ns", "device"), readings))
    (answer,) = questions.answers(made, "iteration")
    assert answer.notes[-1].startswith("SM clock of GPU 0 1,000 to 1,500 MHz in the window, 50 % of the time")


def test_replayed_launches_and_files_without_iterations_have_no_step():
    assert iterations.totals(timeline(TIMES, meta=replace(META, times="replay"))) == {}
    assert iterations.totals(profile(kernels=(KERNEL, [("k", 1, 0, 5, 5, 1)]))) == {}
    assert iterations.notes(profile()) == ()


def test_other_questions_are_spared_the_reading():
    assert "step_ns" not in questions.totals_of(timeline(TIMES), "name")


HEADER = {"schema": "ds2prof-run/1", "preset": "tiny", "batch_size": 4, "device": "cpu", "warmup": 2}


def run_log(tmp_path, walls_ns, *, first=2, header=HEADER, padded=None):
    rows = [
        {"iteration": at, "wall_ns": wall, "samples": 4, "audio_s": 8.0, "padded_s": padded[at] if padded else 10.0}
        for at, wall in enumerate(walls_ns)
    ]
    inside = rows[first:]
    stretch = {name: sum(row[name] for row in inside) for name in ("wall_ns", "samples", "audio_s", "padded_s")}
    lines = [header, *rows, {"stretch": {"first": first, "stop": len(rows), **stretch}}]
    path = tmp_path / "run_bs4.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read(path)


WALLS = [90_000_000, 50_000_000, *(10_000_000 + 100_000 * (at % 5) for at in range(20))]


def test_a_run_logs_rates_come_with_intervals_around_the_rates_of_its_stretch(tmp_path):
    totals = questions.totals_of(run_log(tmp_path, WALLS))
    for name in ("samples_per_s", "audio_s_per_s", "padded_s_per_s"):
        found = totals["intervals"][name]
        assert found["value"] == pytest.approx(totals[name], rel=1e-12)
        assert found["low"] < found["value"] < found["high"]
    assert totals["step_ns"] == np.mean(WALLS[2:])
    assert totals["warm_up_iterations"] == 2


def test_a_run_logs_warm_up_is_what_it_states_and_what_is_slow_behind_it_is_named(tmp_path):
    (answer,) = questions.answers(run_log(tmp_path, WALLS, first=1), None)
    assert answer.notes[1] == "warm-up: iteration 0 excluded, as the file states"
    assert answer.notes[2].startswith("outlier: iteration 1 took 50.00 ms")


def test_where_a_profiler_looked_on_there_are_steps_and_no_rates(tmp_path):
    totals = questions.totals_of(run_log(tmp_path, WALLS, header={**HEADER, "profiler": "torch"}))
    assert list(totals["intervals"]) == ["step_ns"]


def test_a_log_that_was_cut_off_leaves_out_the_warm_up_of_its_header(tmp_path):
    path = tmp_path / "run.jsonl"
    rows = [{"iteration": at, "wall_ns": wall, "samples": 4} for at, wall in enumerate(WALLS)]
    path.write_text("".join(json.dumps(line) + "\n" for line in [HEADER, *rows]))
    totals = questions.totals_of(read(path))
    assert totals["warm_up_iterations"] == 2
    assert (totals["samples_per_s"], list(totals["intervals"])) == (None, ["step_ns"])


def test_padded_lengths_in_a_run_log_are_strata(tmp_path):
    walls = [10_000_000 * (1 + at % 2) + 10_000 * (at % 3) for at in range(40)]
    totals = questions.totals_of(run_log(tmp_path, walls, padded=[10.0 * (1 + at % 2) for at in range(40)]))
    found = totals["intervals"]["step_ns"]
    assert found["strata"] == 2
    assert found["high"] - found["low"] < 20_000


def test_logs_of_other_systems_have_their_warm_up_detected():
    walls = [9_000, 1_000, 1_010, 990, 1_000, 1_020, 1_000, 980, 1_000, 1_010]
    table = (("iteration", "wall_ns"), list(enumerate(walls)))
    made = profile(meta=replace(META, times=None), iterations=table)
    found = iterations.iterations_of(made)
    assert (found.warm.count, found.warm.source, found.counted.tolist()) == (1, "detected", [False] + [True] * 9)
    assert not iterations.rates(made, found)


def test_warm_up_ends_at_the_right_iteration_where_one_before_has_no_time():
    table = (("iteration", "wall_ns"), list(enumerate([None, 9_000, *[1_000] * 8])))
    found = iterations.iterations_of(profile(meta=replace(META, times=None), iterations=table))
    assert found.counted.tolist() == [False] * 2 + [True] * 8
    assert found.warm.said(found.keys).startswith("warm-up: iterations 0 to 1 excluded")


def test_iterations_without_a_time_count_for_nothing():
    table = (("iteration", "wall_ns"), [(at, None if at == 4 else 1000) for at in range(10)])
    found = iterations.iterations_of(profile(meta=replace(META, times=None), iterations=table))
    assert found.mean().count == 9


def test_core_utilization_of_several_iterations_comes_with_bounds():
    metrics = ("gpc__cycles_elapsed.max", "sm__inst_executed_pipe_fma.avg.pct_of_peak_sustained_elapsed")
    readings = [(at, metrics[0], "cycle", cycles) for at, cycles in enumerate((100, 300, 400, 1000))]
    readings += [(at, metrics[1], "ratio", value) for at, value in enumerate((0.2, 0.4, 0.6, 0.9))]
    tables = {
        "kernels": {
            "name": text_column(["k"] * 4),
            "device": int_column([0] * 4),
            "iteration": text_column(["3", "3", "4", None]),
        },
        "counters": columns("counters", ("launch", "metric", "unit", "value"), readings),
    }
    made = Profile.of(REPLAY, tables)
    found = pipe_intervals(made)[0, "fma"]
    assert found.value == pytest.approx((20 + 120 + 240) / 800)
    assert (found.low, found.high, found.count, found.kind) == (pytest.approx(0.35), pytest.approx(0.6), 2, "range")
    (answer,) = questions.answers(made, "core")
    assert answer.rows()[0]["utilization_low"] == pytest.approx(0.35)
    assert answer.notes[-1] == "low, high: over 2 iterations that were counted: the least and the greatest of them"


def test_core_utilization_without_iterations_has_no_bounds():
    made = counters_profile([("k", 100.0, 0.5)])
    (answer,) = questions.answers(made, "core")
    assert with_intervals(made, answer) is answer
    assert "utilization_low" not in answer.columns


def test_lines_for_a_terminal_name_level_count_and_warm_up():
    totals = {
        "warm_up_iterations": 2,
        "intervals": {
            "step_ns": {
                "value": 12.5e6,
                "low": 12.25e6,
                "high": 13e6,
                "iterations": 18,
                "kind": "interval",
                "level": 0.95,
            },
            "gpu_compute_utilization": {
                "value": 0.5,
                "low": 0.4,
                "high": 0.6,
                "iterations": 3,
                "kind": "range",
                "level": None,
            },
            "samples_per_s": {
                "value": 4.0,
                "low": None,
                "high": None,
                "iterations": 1,
                "kind": "single",
                "level": None,
            },
        },
    }
    assert interval_lines(totals) == [
        "step 12.50 ms (12.25 to 13.00 ms with 95 %, 18 iterations), 2 of warm-up left out",
        "GPU compute utilization over iterations 50.00 % (40.00 to 60.00 % in 3 iterations)",
    ]
    assert interval_lines({}) == []


def test_a_ledger_comes_with_idle_as_observed_and_as_corrected_where_a_calibration_is_there():
    made = timeline(TIMES)
    assert "idle" not in questions.totals_of(made, "ledger")
    costs = {"mean_per_iteration_ns": {"value": 10.0, "low": 8.0, "high": 12.0}}
    made.attach_run({"calibrated_overhead_ns": costs})
    totals = questions.totals_of(made, "ledger")
    observed, corrected = totals["idle"]
    busy = sum(time // 2 for time in TIMES)
    assert (observed["dur_ns"], corrected["dur_ns"]) == (1000 - busy, 900 - busy)
    assert (corrected["low_ns"], corrected["high_ns"]) == (880 - busy, 920 - busy)
    assert interval_lines(totals)[-1] == (
        f"idle of device 0 {1000 - busy} ns as observed, {900 - busy} ns less the profiler's cost "
        f"({880 - busy} ns to {920 - busy} ns)"
    )


@pytest.fixture
def trace(golden):
    return golden / "torch_kineto" / "cuda_2025" / "input.json"


@pytest.fixture
def sampler(trace, tmp_path):
    """Readings of 1,500 MHz from before the window of the trace on and of 1,200 from a quarter of it on."""
    window = time_window(read(trace))
    header = "start_ns,period_ns,device,entity,metric,unit,value,aggregation"
    at_ns = (window.start_ns - 9, window.start_ns + window.length_ns // 4)
    rows = [f"{at},,0,,clocks.current.sm,hertz,{mhz}000000,last" for at, mhz in zip(at_ns, (1500, 1200), strict=True)]
    path = tmp_path / "smi_bs4.csv"
    path.write_text("\n".join([header, *rows, ""]))
    return path


def test_a_samplers_file_is_laid_beside_a_trace(trace, sampler):
    (clock,) = clock_changes(read(trace), read(sampler)).devices
    assert (clock.low_hz, clock.high_hz, clock.changed) == (1.2e9, 1.5e9, True)
    # The first stands for a quarter of the window, the second as long as the two are apart.
    assert clock.coverage == pytest.approx(0.5, abs=0.001)
    assert clock.below_high == pytest.approx(0.5, abs=0.001)


@pytest.mark.parametrize("trace_first", [True, False])
def test_parsing_both_together_notes_the_clock(trace, sampler, trace_first):
    files = [str(trace), str(sampler)]
    done = CliRunner().invoke(cli, ["parse", *(files if trace_first else files[::-1]), "--format", "json"])
    assert done.exit_code == 0, done.output
    ours, theirs = json.loads(done.stdout)[:: 1 if trace_first else -1]
    assert [(one["low_hz"], one["high_hz"], one["changed"]) for one in ours["totals"]["sm_clocks"]] == [
        (1.2e9, 1.5e9, True)
    ]
    assert ours["warnings"][-1].startswith("SM clock of GPU 0 1,200 to 1,500 MHz in the window, 50 % of the time")
    assert "sm_clocks" not in theirs["totals"]


def test_a_samplers_file_of_another_time_says_nothing(trace, sampler):
    sampler.write_text(sampler.read_text().replace("\n1", "\n2"))
    done = CliRunner().invoke(cli, ["parse", str(trace), str(sampler), "--format", "json"])
    assert "sm_clocks" not in json.loads(done.stdout)[0]["totals"]


def test_iterations_of_no_length_at_all_are_no_trouble():
    made = timeline([0] * 10)
    totals = questions.totals_of(made, "iteration")
    assert (totals["step_ns"], totals["intervals"]["gpu_compute_utilization"]["value"]) == (0, None)
    assert interval_lines(totals) == ["step 0 ns (0 to 0 ns with 95 %, 10 iterations)"]


def padded_log(path, *, batch_size=4, rank=None, count=20):
    """A run log of iterations that are long and short by turns."""
    header = {**HEADER, "batch_size": batch_size, **({} if rank is None else {"rank": rank})}
    rows = [
        {"iteration": at, "wall_ns": 100, "samples": 4, "audio_s": 8.0, "padded_s": 10.0 * (1 + 2 * (at % 2))}
        for at in range(count)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in [header, *rows]))
    return path


ALTERNATING = [100 + 200 * (at % 2) for at in range(20)]


def test_a_run_log_is_laid_beside_a_timeline_where_it_alone_fits(tmp_path):
    log = lengths_of(read(padded_log(tmp_path / "run_bs4.jsonl")))
    other = lengths_of(read(padded_log(tmp_path / "run_bs8.jsonl", batch_size=8)))
    short = lengths_of(read(padded_log(tmp_path / "short.jsonl", count=19)))

    def strata(logs, run=None):
        made = timeline(ALTERNATING)
        made.attach_run(run)
        file = lay_beside(made, logs)
        totals = questions.totals_of(made, "iteration")
        return file is not None, totals["intervals"]["step_ns"]["strata"]

    assert strata([log]) == (True, 2)
    assert strata([]) == (False, 1)
    assert strata([short]) == (False, 1)
    assert strata([log, other]) == (False, 1)
    assert strata([log, other], {"batch_size": 4}) == (True, 2)
    assert strata([log], {"batch_size": 16}) == (False, 1)
    assert lay_beside(timeline(ALTERNATING, meta=replace(META, times="replay")), [log]) is None


def kineto_steps(path, times_us):
    """A trace with a kernel in each of those iterations."""
    events = []
    start = 0
    for at, time_us in enumerate(times_us):
        host = {"ph": "X", "pid": 1, "tid": 1, "ts": start}
        events += [
            {**host, "cat": "user_annotation", "name": f"ProfilerStep#{at}", "dur": time_us},
            {**host, "cat": "cuda_runtime", "name": "cudaLaunchKernel", "dur": 1, "args": {"correlation": at + 1}},
            {
                "ph": "X",
                "cat": "kernel",
                "name": "k",
                "pid": 0,
                "tid": 7,
                "ts": start + 5,
                "dur": time_us // 2,
                "args": {"device": 0, "stream": 7, "correlation": at + 1},
            },
        ]
        start += time_us
    path.write_text(json.dumps({"schemaVersion": 1, "traceEvents": events}))
    return path


@pytest.mark.parametrize("by", ["iteration", "ledger"])
@pytest.mark.parametrize("as_folder", [True, False])
def test_parsing_a_timeline_and_its_run_log_together_stratifies_it(tmp_path, by, as_folder):
    files = [kineto_steps(tmp_path / "torch_bs4.json", ALTERNATING), padded_log(tmp_path / "run_bs4.jsonl")]
    paths = [tmp_path] if as_folder else files
    arguments = ["parse", *map(str, paths), "--by", by, "--format", "json"]
    done = CliRunner().invoke(cli, arguments)
    found = json.loads(done.stdout)
    ours = next(
        one for one in (found if isinstance(found, list) else [found]) if one["source"]["tool"] != "ds2prof train"
    )
    step = ours["totals"]["intervals"]["step_ns"]
    assert (step["value"], step["strata"]) == (200_000, 2)
    assert (step["low"], step["high"]) == (200_000, 200_000)
    assert ours["warnings"][-1] == f"padded lengths of the iterations: {files[1]}"
    alone = json.loads(CliRunner().invoke(cli, ["parse", str(files[0]), "--by", by, "--format", "json"]).stdout)
    assert alone["totals"]["intervals"]["step_ns"]["strata"] == 1
    assert not any("padded lengths of the iterations" in line for line in alone["warnings"])
