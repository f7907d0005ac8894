"""Utilization beside time: pipes, throughputs, occupancy, coverage by every key; what was sampled over real time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2prof.analysis import core, kernels, phases, questions, rates, sampled_core
from ds2prof.errors import MissingDataError
from ds2prof.parsers import read
from ds2prof.tables import Meta, text_column
from tests.profiles import REPLAY, profile

FMA = "sm__inst_executed_pipe_fma.avg.pct_of_peak_sustained_elapsed"
TENSOR = "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed"
DRAM = "dram__throughput.avg.pct_of_peak_sustained_elapsed"
OLD_DRAM = "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed"
SM = "sm__throughput.avg.pct_of_peak_sustained_elapsed"
OCCUPANCY = "sm__warps_active.avg.pct_of_peak_sustained_active"
CYCLES, ACTIVE = "gpc__cycles_elapsed.max", "sm__cycles_active.avg"
COUNTER = ("launch", "metric", "unit", "value")
SAMPLE = ("metric", "unit", "value", "start_ns", "device")


def counted(*launches, told=None):
    """A replayed profile; each launch a mapping of metrics, by name ``k0``, ``k1`` and so on."""
    rows = [
        (row, metric, "cycle" if "cycles_" in metric and "pct" not in metric else "ratio", value)
        for row, metrics in enumerate(launches)
        for metric, value in metrics.items()
    ]
    made = profile(
        meta=REPLAY,
        kernels=(("name", "device", "stream", "dur_ns"), [(f"k{row}", 0, row % 2, 10) for row in range(len(launches))]),
        counters=(COUNTER, rows),
    )
    if told is None:
        return made
    tables = {name: dict(made.table(name).columns) for name in ("kernels", "counters")}
    for kind, values in told.items():
        tables["kernels"][kind] = text_column(values)
    return type(made).of(REPLAY, tables)


def by(answer, key):
    return {row[key]: row for row in answer.rows()}


# ---- groups


@pytest.mark.parametrize("key", ["phase", "layer", "iteration"])
def test_ranges_told_with_a_launch_carry_utilization_weighted_by_cycles(key):
    launches = ({CYCLES: 100.0, FMA: 0.1}, {CYCLES: 300.0, FMA: 0.5}, {CYCLES: 50.0, FMA: 0.9})
    rows = by(phases.range_times(counted(*launches, told={key: ["1", "1", None]}), key), key)
    own = 1 if key == "iteration" else "1"
    assert rows[own]["fma"] == pytest.approx((100 * 0.1 + 300 * 0.5) / 400)
    assert (rows[None]["fma"], rows[None]["coverage"]) == (0.9, 1.0)


@pytest.mark.parametrize("key", ["name", "kernel", "class", "stream", "device"])
def test_every_table_of_kernels_carries_throughputs_and_coverage(key):
    made = counted({CYCLES: 100.0, FMA: 0.1, DRAM: 0.6}, {CYCLES: 300.0, FMA: 0.5})
    row = next(row for row in kernels.kernel_times(made, key).rows() if row["dram_throughput"] is not None)
    assert row["dram_throughput"] == 0.6
    assert row["coverage"] == (1.0 if key in ("name", "kernel", "stream") else 0.25)


def test_coverage_is_the_least_of_the_quantities_that_are_known():
    made = counted({CYCLES: 100.0, FMA: 0.1, DRAM: 0.6}, {CYCLES: 300.0, FMA: 0.5}, {CYCLES: 600.0})
    row = kernels.kernel_times(made, "device").rows()[0]
    assert row["coverage"] == pytest.approx(0.1)


def test_a_group_of_which_nothing_is_known_has_no_coverage_and_no_utilization():
    made = counted({CYCLES: 100.0, FMA: 0.1}, {CYCLES: 300.0})
    row = by(kernels.kernel_times(made, "kernel"), "name")["k1"]
    assert (row["fma"], row["coverage"]) == (None, None)


def test_one_metric_stands_for_a_throughput_in_the_whole_file():
    made = counted({CYCLES: 100.0, DRAM: 0.6, OLD_DRAM: 0.5}, {CYCLES: 100.0, OLD_DRAM: 0.9})
    rows = rates.throughput_means(made).rows()
    assert [(row["throughput"], row["utilization"], row["metric"]) for row in rows] == [("dram_throughput", 0.6, DRAM)]
    assert rows[0]["coverage"] == 0.5


def test_achieved_occupancy_is_weighted_by_active_cycles():
    made = counted({CYCLES: 100.0, ACTIVE: 10.0, OCCUPANCY: 0.2}, {CYCLES: 100.0, ACTIVE: 90.0, OCCUPANCY: 0.6})
    assert rates.throughput_means(made).rows()[0]["utilization"] == pytest.approx(0.1 * 0.2 + 0.9 * 0.6)


def test_achieved_occupancy_without_active_cycles_is_weighted_by_elapsed_ones_and_says_so():
    answer = rates.throughput_means(counted({CYCLES: 100.0, OCCUPANCY: 0.2}, {CYCLES: 300.0, OCCUPANCY: 0.6}))
    assert answer.rows()[0]["utilization"] == pytest.approx(0.5)
    assert any("weighed by elapsed cycles" in note for note in answer.notes)


def test_launches_carry_their_own_values():
    made = counted({CYCLES: 100.0, FMA: 0.1, SM: 0.7}, {CYCLES: 300.0, FMA: 0.5})
    rows = kernels.kernel_times(made, "launch").rows()
    assert [(row["fma"], row["sm_throughput"]) for row in rows] == [(0.1, 0.7), (0.5, None)]


def test_a_file_without_throughputs_names_what_collects_them():
    with pytest.raises(MissingDataError, match="ds2prof metrics plan --want throughput"):
        rates.throughput_means(counted({CYCLES: 100.0, FMA: 0.1}))


def test_throughputs_are_columns_that_can_give_way():
    made = counted({CYCLES: 100.0, FMA: 0.1, SM: 0.7})
    assert list(questions.pipes(questions.answers(made, "name")[0])) == ["fma", "sm_throughput"]


def test_levels_of_nvprof_are_tenths_weighted_by_duration():
    made = profile(
        kernels=(("name", "device", "start_ns", "dur_ns"), [("a", 0, 0, 30), ("b", 0, 50, 10)]),
        counters=(COUNTER, [(0, "dram_utilization", "level", 10.0), (1, "dram_utilization", "level", 2.0)]),
    )
    row = by(rates.throughput_means(made), "throughput")["dram_throughput"]
    assert row["utilization"] == pytest.approx((30 * 1.0 + 10 * 0.2) / 40)


def test_nvprofs_achieved_occupancy_is_a_ratio():
    made = profile(
        kernels=(("name", "device", "start_ns", "dur_ns"), [("a", 0, 0, 30)]),
        counters=(COUNTER, [(0, "achieved_occupancy", "", 0.75)]),
    )
    assert rates.throughput_means(made).rows()[0]["utilization"] == 0.75


values = st.one_of(st.none(), st.floats(0, 1))
counts = st.one_of(st.none(), st.integers(0, 1 << 40))


@given(st.lists(st.tuples(counts, values, st.integers(0, 3)), min_size=1, max_size=30))
def test_means_of_groups_are_what_a_loop_finds(launches):
    weights, shares = (
        np.array([np.nan if row[place] is None else float(row[place]) for row in launches]) for place in (0, 1)
    )
    codes = np.array([row[2] for row in launches])
    found, coverage = rates.means(rates.Reading("x", "m", shares, weights), codes, 4)
    for group in range(4):
        own = [(weight, share) for weight, share, code in launches if code == group and weight is not None]
        whole = sum(weight for weight, _ in own)
        part = sum(weight for weight, share in own if share is not None)
        work = sum(weight * share for weight, share in own if share is not None)
        assert found[group] == (pytest.approx(work / part) if part else None)
        assert coverage[group] == (pytest.approx(part / whole) if whole else None)


# ---- effective utilization


def test_effective_utilization_is_work_over_what_the_stretch_had_room_for():
    work = rates.work_cycles(np.array([0.5, np.nan, 0.25]), np.array([1e6, 5e6, 2e6]))
    assert work == 1e6
    assert rates.effective_utilization(work, 1.41e9, 2e6) == pytest.approx(1e6 / (1.41e9 * 0.002))


def test_the_same_work_at_half_the_clock_is_the_same_share_of_twice_the_time():
    assert rates.effective_utilization(3e6, 1e9, 1e7) == rates.effective_utilization(3e6, 0.5e9, 2e7)


@pytest.mark.parametrize(
    "unknown", [(None, 1e9, 1e6), (1e6, None, 1e6), (1e6, 1e9, None), (1e6, 0, 1e6), (1e6, 1e9, 0)]
)
def test_effective_utilization_of_what_is_unknown_is_unknown(unknown):
    assert rates.effective_utilization(*unknown) is None


def test_work_of_launches_without_counters_is_unknown():
    assert rates.work_cycles(np.array([np.nan]), np.array([5.0])) is None


# ---- sampled


def sampled(readings, *, window=None, metric="Tensor Active [Throughput %]"):
    tables = {"samples": (SAMPLE, [(metric, "ratio", value, start, 0) for start, value in readings])}
    if window is not None:
        names = ("name", "kind", "value", "process", "thread", "start_ns", "dur_ns")
        tables["ranges"] = (names, [("w", "window", "0-1", 1, 1, window[0], window[1] - window[0])])
    return profile(**tables)


def test_a_sampled_pipe_is_effective_over_the_window():
    made = sampled([(0, 0.2), (100, 0.4), (200, 0.6), (300, 0.8)], window=(50, 250))
    row = sampled_core.sampled_utilization(made).rows()[0]
    assert row["effective_utilization"] == pytest.approx((50 * 0.2 + 100 * 0.4 + 50 * 0.6) / 200)
    assert (row["pipe"], row["utilization"], row["coverage"]) == ("tensor", None, 1.0)


def test_a_gap_in_the_readings_lowers_the_coverage_and_does_not_count():
    made = sampled([(0, 0.5), (100, 0.5), (200, 1.0), (1000, 0.0), (1100, 0.0)], window=(0, 1200))
    row = sampled_core.sampled_utilization(made).rows()[0]
    assert row["coverage"] == pytest.approx(600 / 1200)
    assert row["effective_utilization"] == pytest.approx((100 * 0.5 + 100 * 0.5 + 200 * 1.0) / 600)


def test_the_period_of_the_sampling_is_told():
    answer = sampled_core.sampled_utilization(sampled([(0, 0.2), (100, 0.4), (200, 0.6)]))
    assert "a reading every 100 ns" in answer.notes[0]


def test_names_of_nsight_compute_are_taken_from_samples_too():
    row = sampled_core.sampled_utilization(sampled([(0, 0.2), (100, 0.4)], metric=TENSOR)).rows()[0]
    assert (row["pipe"], row["metric"]) == ("tensor", TENSOR)


def test_a_combined_share_of_two_pipes_is_neither():
    assert not sampled_core.has_pipe_samples(sampled([(0, 0.2)], metric="Tensor Active / FP16 Active [Throughput %]"))


def test_counters_of_launches_come_before_samples():
    made = counted({CYCLES: 100.0, FMA: 0.1})
    assert (
        questions.answers(made, "core")[0].rows()[0]["utilization"]
        == core.core_utilization(made).rows()[0]["utilization"]
    )


def test_samples_taken_within_single_launches_are_no_device_wide_ones():
    made = profile(
        meta=Meta(file="m", tool="t", format="t", times="replay"),
        kernels=(("name", "device"), [("a", 0)]),
        samples=((*SAMPLE, "launch"), [(TENSOR, "ratio", 0.5, 0, 0, 0)]),
    )
    assert not sampled_core.has_pipe_samples(made)


def test_readings_of_dcgm_give_the_mean_of_each_pipe(corpus):
    file = corpus / "dcgm" / "microsoft__VirtualClient__DCGMIDmonResults.txt"
    column = 2  # entity, id, GRACT, TENSO, DRAMA
    lines = [line.split() for line in file.read_text().splitlines() if line.strip().startswith("GPU")]
    tensor = [float(line[column + 1]) for line in lines]
    row = questions.answers(read(file), "core")[0].rows()[0]
    assert (row["pipe"], row["readings"]) == ("tensor", len(tensor))
    assert row["effective_utilization"] == pytest.approx(sum(tensor) / len(tensor))


def test_throughputs_of_a_real_report_are_its_launches_by_cycles(corpus):
    found = read(corpus / "ncu-rep" / "bwd29__self-join-MiSTIC__profile.ncu-rep").require(
        "kernels", "counters", "devices"
    )
    table = found.table("counters")
    values = {}
    columns = (table[name].tolist() for name in ("launch", "metric", "value"))
    for launch, metric, value in zip(*columns, strict=True):
        values.setdefault(metric, {})[launch] = value
    rows = by(rates.throughput_means(found), "throughput")
    for name, metric in (("sm_throughput", SM), ("dram_throughput", OLD_DRAM)):
        cycles, shares = values[CYCLES], values[metric]
        expected = sum(cycles[launch] * shares[launch] for launch in shares) / sum(cycles.values())
        assert rows[name]["utilization"] == pytest.approx(expected)
