"""Estimates without counters: what fits on an SM, est. SM efficiency and occupancy, waves, lower bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2prof.analysis import estimates
from ds2prof.analysis.estimates import bounds, limits, occupancy, waves
from ds2prof.analysis.estimates.limits import LIMITS, resident_blocks
from ds2prof.errors import MissingDataError
from ds2prof.parsers import read_all
from tests.profiles import profile

TRACES = {
    "pytorch__kineto__worker0.1623143089861.pt.trace.json.gz": (55.51, 54.68, 49.13),
    "pytorch__kineto__worker0.1623212756351.pt.trace.json.gz": (70.27, 69.22, 48.91),
}
GRID = ("name", "device", "start_ns", "dur_ns", "grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z")
TABLES = tuple(sorted({name for tables in estimates.TABLES_OF.values() for name in tables} | {"counters"}))


def launch(name, start, dur, *, grid, block=256, registers=32, shared=0):
    return (name, 0, start, dur, grid, 1, 1, block, 1, 1, registers, shared)


def on_device(*launches, sms=10, capability="7.0", threads=None):
    return profile(
        kernels=((*GRID, "registers", "shared_bytes"), list(launches)),
        devices=(
            ("device", "sms", "compute_capability", "max_threads_per_sm"),
            [(0, sms, capability, threads)],
        ),
    )


def of(name, **values):
    return resident_blocks(LIMITS[name], **{key: np.array([float(value)]) for key, value in values.items()})[0]


# ---- what fits on an SM


def test_warps_limit_a_block_of_full_size_to_two_on_an_sm_of_64_warps():
    assert of("7.0", threads=1024, registers=16, shared_bytes=0) == 2


def test_registers_are_allotted_in_units_of_256_to_each_quarter_of_the_sm():
    # 126 registers x 32 lanes = 4,032, rounded to 4,096; 16,384 a quarter hold 4 warps, the SM 16; 2 warps a block.
    assert of("7.0", threads=64, registers=126, shared_bytes=0) == 8


def test_ampere_takes_1_kib_of_shared_memory_for_each_block_besides():
    # 164 KiB of the SM; 81 KiB + 1 KiB fit twice, one byte more rounds up and does not.
    assert of("8.0", threads=128, registers=32, shared_bytes=81 * 1024) == 2
    assert of("8.0", threads=128, registers=32, shared_bytes=81 * 1024 + 1) == 1


def test_the_number_of_blocks_is_limited_too():
    assert of("8.6", threads=32, registers=16, shared_bytes=0) == 16


def test_a_block_that_does_not_fit_is_not_known_rather_than_zero():
    assert math.isnan(of("7.5", threads=1024, registers=255, shared_bytes=0))


def test_an_unknown_capability_has_no_limits():
    found = limits.residency(on_device(launch("a", 0, 10, grid=5), capability="99.0"))
    assert math.isnan(found.resident[0])
    assert found.blocks_per_sm[0] == 0.5


def test_another_makers_device_of_the_same_number_is_not_taken_for_a_hopper():
    made = profile(
        kernels=((*GRID, "registers", "shared_bytes"), [launch("a", 0, 10, grid=5)]),
        devices=(("device", "sms", "compute_capability", "vendor"), [(0, 104, "9.0", "amd")]),
    )
    assert math.isnan(limits.residency(made).resident[0])


def test_a_file_that_states_other_limits_than_the_table_gives_none():
    assert math.isnan(limits.residency(on_device(launch("a", 0, 10, grid=5), threads=1024)).resident[0])


@pytest.mark.slow
def test_the_occupancy_of_every_kineto_trace_is_reproduced(corpus):
    compared = 0
    for path in sorted((corpus / "kineto").glob("*trace*.json.gz")):
        if "HolisticTraceAnalysis__nccl" in path.name or "memory_timeline" in path.name:
            continue
        for found in read_all(path, tables=("kernels", "devices")):
            kernels, reckoned = found.table("kernels"), limits.residency(found)
            given_percent = np.rint(100 * kernels["occupancy"].values)
            # Kineto answers 0 above 48 KiB of shared memory, which such kernels have to ask for.
            shared = limits.shared_of(kernels)
            known = ~np.isnan(given_percent) & ~np.isnan(reckoned.resident) & ~((given_percent == 0) & (shared > 49152))
            # It rounds in single precision: a tie may go either way.
            assert (np.abs(100 * reckoned.achieved - given_percent)[known] <= 0.5 + 1e-4).all(), path.name
            compared += int(known.sum())
    assert compared > 10_000


def test_theoretical_occupancy_and_waves_are_those_of_nsight_compute(corpus):
    compared = 0
    for path in sorted((corpus / "ncu-rep").glob("*.ncu-rep")):
        for found in read_all(path, tables=("kernels", "devices", "counters")):
            reckoned, counters = limits.residency(found), found.table("counters")
            metrics = np.array(counters["metric"].tolist(), dtype=object)
            for metric, ours in (
                ("sm__maximum_warps_per_active_cycle_pct", reckoned.theoretical),
                ("launch__waves_per_multiprocessor", waves.waves(reckoned)),
            ):
                rows = np.flatnonzero(metrics == metric)
                theirs, mine = counters["value"].values[rows], ours[counters.ints("launch")[rows]]
                both = ~np.isnan(mine)
                assert theirs[both] == pytest.approx(mine[both], rel=1e-12)
                compared += int(both.sum())
    assert compared > 300


# ---- est. SM efficiency and achieved occupancy


@pytest.mark.parametrize("name", TRACES)
def test_the_plugins_published_figures_come_out_with_its_definition_of_a_step(corpus, name):
    (found,) = read_all(corpus / "kineto" / name, tables=occupancy.TABLES)
    rows = estimates.answer(found, "occupancy").rows()
    whole = {row["definition"]: row for row in rows if row["iteration"] is None}
    keys = ("gpu_compute_utilization", "est_sm_efficiency", "est_achieved_occupancy")
    assert tuple(round(100 * whole["plugin"][key], 2) for key in keys) == TRACES[name]


@pytest.mark.parametrize("name", TRACES)
def test_our_window_ends_with_the_host_and_the_plugins_with_the_last_operation(corpus, name):
    (found,) = read_all(corpus / "kineto" / name, tables=occupancy.TABLES)
    rows = estimates.answer(found, "occupancy").rows()
    whole = {row["definition"]: row for row in rows if row["iteration"] is None}
    table = found.table("kernels")
    last = int((table.ints("start_ns") + table.ints("dur_ns")).max())
    ours, theirs = whole["window"], whole["plugin"]
    ranges = found.table("ranges")
    begin = int(ranges.ints("start_ns").min())
    host_end = int((ranges.ints("start_ns") + ranges.ints("dur_ns")).max())
    assert (ours["length_ns"], theirs["length_ns"]) == (host_end - begin, last - begin)
    # The busy time that lies between the two ends is all that sets the two utilizations apart.
    busy = [round(row["gpu_compute_utilization"] * row["length_ns"]) for row in (ours, theirs)]
    late = table.ints("start_ns") + table.ints("dur_ns") > host_end
    behind = (table.ints("start_ns") + table.ints("dur_ns") - np.maximum(table.ints("start_ns"), host_end))[late].sum()
    assert busy[1] - busy[0] == behind


def test_a_kernel_of_half_as_many_blocks_as_sms_fills_half_of_them():
    found = occupancy.estimate(
        occupancy.device_launches(on_device(launch("a", 0, 100, grid=5)), 0), start_ns=0, end_ns=200
    )
    assert (found.sm_efficiency, found.busy_ns, found.coverage) == (0.25, 100, 1.0)
    # 0.5 blocks of 256 threads on an SM of 2,048.
    assert found.achieved_occupancy == 0.0625


def test_kernels_that_run_at_once_add_up_to_one_at_most():
    made = on_device(launch("a", 0, 100, grid=7), launch("b", 50, 100, grid=7))
    found = occupancy.estimate(occupancy.device_launches(made, 0), start_ns=0, end_ns=150)
    assert found.sm_efficiency == pytest.approx((50 * 0.7 + 50 * 1.0 + 50 * 0.7) / 150)


def test_kernels_whose_blocks_are_unknown_lower_the_coverage():
    made = on_device(launch("a", 0, 100, grid=10), launch("b", 100, 300, grid=None))
    found = occupancy.estimate(occupancy.device_launches(made, 0), start_ns=0, end_ns=400)
    assert (found.sm_efficiency, found.coverage) == (0.25, 0.25)


def test_a_timeline_without_grids_or_sms_gives_no_estimate():
    made = profile(kernels=(("name", "device", "start_ns", "dur_ns"), [("a", 0, 0, 10)]))
    with pytest.raises(MissingDataError, match=r"made.json: neither blocks per SM nor grids"):
        estimates.answer(made, "occupancy")


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20), st.integers(0, 24)), max_size=12),
)
def test_the_sweep_agrees_with_looking_at_each_nanosecond(rows):
    starts = np.array([start for start, _, _ in rows], dtype=np.int64)
    ends = starts + np.array([dur for _, dur, _ in rows], dtype=np.int64)
    blocks = np.array([block / 8 for _, _, block in rows])
    expected = sum(min(blocks[(starts <= at) & (at < ends)].sum(), 1.0) for at in range(80))
    assert occupancy.swept_ns(starts, ends, blocks) == pytest.approx(expected, abs=1e-9)


# ---- waves and tail


def test_the_last_wave_of_two_and_a_quarter_is_three_quarters_empty():
    # 10 SMs hold 8 blocks of 256 threads each: a wave is 80 blocks.
    row = estimates.answer(on_device(launch("a", 0, 100, grid=180)), "wave").rows()[0]
    assert (row["waves"], row["last_wave_empty"], row["resident_blocks"]) == (2.25, 0.75, 8)
    assert row["tail_loss"] == pytest.approx(0.25)
    assert row["theoretical_occupancy"] == 1.0


def test_whole_waves_lose_nothing():
    assert waves.tail_loss(np.array([1.0, 3.0])).tolist() == [0.0, 0.0]


def test_waves_of_a_name_are_weighted_by_time():
    made = on_device(launch("a", 0, 300, grid=80), launch("a", 300, 100, grid=160))
    assert estimates.answer(made, "wave").rows()[0]["waves"] == pytest.approx((300 * 1 + 100 * 2) / 400)


# ---- bounds


def arrays(**values):
    return {name: np.array(value, dtype=np.float64) for name, value in values.items()}


def test_work_over_peak_bounds_the_use_of_the_tensor_pipes_from_below():
    found = bounds.lower_bounds(
        **arrays(dur_ns=[1000, 3000], flop=[5e8, np.nan], compulsory_bytes=[5000, 2e6]),
        peak_flop_per_s=1e15,
        peak_bytes_per_s=1e12,
        l2_bytes=1_000_000,
    )
    assert found.tensor[0] == pytest.approx(0.5)
    assert np.isnan(found.tensor[1])
    assert found.tensor_busy == pytest.approx(0.125)
    assert found.coverage == (0.25, 1.0)
    assert found.dram_bytes.tolist() == [0, 1e6]
    assert found.dram_busy == pytest.approx(1e6 / (1e12 * 4e-6))


def test_a_bound_above_the_peak_is_refused_and_counted():
    found = bounds.lower_bounds(
        **arrays(dur_ns=[1000], flop=[5e9], compulsory_bytes=[0]),
        peak_flop_per_s=1e15,
        peak_bytes_per_s=1e12,
        l2_bytes=0,
    )
    assert (found.impossible, found.tensor_busy) == (1, None)


def test_without_the_size_of_the_cache_no_traffic_is_certain():
    found = bounds.lower_bounds(
        **arrays(dur_ns=[1000], flop=[np.nan], compulsory_bytes=[1e9]),
        peak_flop_per_s=None,
        peak_bytes_per_s=1e15,
        l2_bytes=None,
    )
    assert (found.dram_bytes[0], found.dram_busy, found.tensor_busy) == (0.0, 0.0, None)
