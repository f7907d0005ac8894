"""Clocks that changed during a window, and idle time without what the profiler took."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2prof.analysis.uncertainty.clocks import clock_changes
from ds2prof.analysis.uncertainty.overhead import Work, corrected_idle, cost_ns, idle_of, work_in
from tests.profiles import META, profile

UNIX = replace(META, clock="unix")
SAMPLER = replace(META, file="smi.csv", clock="unix", times=None)
MHZ = 10**6


def timeline(meta=UNIX, **tables):
    """A window from 1,000 to 2,000."""
    ranges = (("name", "kind", "value", "start_ns", "dur_ns"), [("w", "window", None, 1000, 1000)])
    return profile(meta=meta, ranges=ranges, kernels=(("name", "device"), [("k", 0)]), **tables)


def sampled(*rows, meta=SAMPLER, metric="clocks.current.sm"):
    """Readings (start, MHz) of device 0, or whole rows."""
    whole = [row if len(row) > 2 else (metric, "hertz", row[1] * MHZ, row[0], None, 0) for row in rows]
    return profile(meta=meta, samples=(("metric", "unit", "value", "start_ns", "period_ns", "device"), whole))


def test_a_reading_stands_for_the_time_until_the_next_one():
    readings = sampled((900, 1000), (1100, 2000), (1300, 1500), (1500, 2000), (1700, 2000), (1900, 2000), (2100, 10))
    (found,) = clock_changes(timeline(), readings).devices
    assert (found.readings, found.coverage) == (6, 1.0)
    assert (found.low_hz, found.high_hz) == (1000 * MHZ, 2000 * MHZ)
    assert found.mean_hz == pytest.approx((100 * 1000 + 200 * 1500 + 700 * 2000) / 1000 * MHZ)
    assert found.below_high == 0.3
    assert found.changed


def test_a_change_is_said_with_its_share_of_the_time():
    readings = sampled(*[(at, 1410 if at < 1500 else 1215) for at in range(1000, 2100, 100)])
    assert clock_changes(timeline(), readings).notes() == (
        "SM clock of GPU 0 1,215 to 1,410 MHz in the window, 50 % of the time more than 2 % below the highest "
        "(readings cover 100 % of it)",
    )


def test_a_step_of_the_clock_is_no_change():
    found = clock_changes(timeline(), sampled((1000, 1980), (1500, 1965)))
    assert not found.devices[0].changed
    assert found.notes() == ()
    assert found.devices[0].said() == "SM clock of GPU 0 steady at 1,980 MHz in the window (readings cover 100 % of it)"


def test_a_mean_over_a_period_stands_for_that_period():
    rows = [("clocks.sm", "hertz", 1000 * MHZ, 1000, 100, 0), ("clocks.sm", "hertz", 2000 * MHZ, 1500, 300, 0)]
    (found,) = clock_changes(timeline(), sampled(*rows)).devices
    assert (found.coverage, found.below_high) == (0.4, 0.25)


def test_nothing_is_known_behind_a_gap_in_the_readings():
    (found,) = clock_changes(timeline(), sampled((1000, 1000), (1010, 1000), (1020, 1000), (1990, 1000))).devices
    assert found.coverage == pytest.approx((10 + 10 + 20 + 10) / 1000)


def test_reasons_are_named_with_their_share_and_an_idle_gpu_is_none():
    held = [
        (f"held_back.{name}", "ratio", value, 1000, 1000, 0) for name, value in (("power_cap", 0.25), ("hw_thermal", 0))
    ]
    held.append(("clocks_throttle_reasons.gpu_idle", "ratio", 1, 1000, 1000, 0))
    (found,) = clock_changes(timeline(), sampled((1000, 1000), *held)).devices
    assert found.held_back == (("power_cap", 0.25),)
    assert "held back by power_cap 25 %" in clock_changes(timeline(), sampled((1000, 1000), *held)).notes()[0]


def test_the_drivers_bits_are_reasons_too():
    bits = [
        ("DCGM_FI_DEV_CLOCK_THROTTLE_REASONS", "count", value, at, None, 0) for at, value in ((1000, 0x45), (1500, 0x4))
    ]
    (found,) = clock_changes(timeline(), sampled((1000, 1000), *bits)).devices
    assert found.held_back == (("sw_power_cap", 1.0), ("hw_thermal_slowdown", 0.5))


def test_devices_are_kept_apart():
    rows = [("clocks.sm", "hertz", mhz * MHZ, 1000, 1000, device) for device, mhz in ((0, 1000), (3, 2000))]
    assert [(one.device, one.high_hz / MHZ) for one in clock_changes(timeline(), sampled(*rows)).devices] == [
        (0, 1000),
        (3, 2000),
    ]


def test_a_timelines_own_readings_need_no_wall_clock():
    own = (("metric", "unit", "value", "start_ns", "device"), [("GPC Clock Frequency [MHz]", "hertz", 1e9, 1500, 0)])
    (found,) = clock_changes(timeline(replace(META, clock="boot"), samples=own)).devices
    assert found.mean_hz == 1e9


@pytest.mark.parametrize(
    ("ours", "theirs", "reason"),
    [
        ("boot", "unix", "made.json counts from boot, smi.csv counts from unix"),
        ("unix", "local time", "made.json counts from unix, smi.csv counts from local time"),
    ],
)
def test_clocks_that_do_not_meet_are_not_laid_beside_each_other(ours, theirs, reason):
    found = clock_changes(timeline(replace(META, clock=ours)), sampled((1000, 1), meta=replace(SAMPLER, clock=theirs)))
    assert (found.devices, found.reason) == ((), f"the two clocks cannot be laid beside each other: {reason}")


def test_why_there_is_no_clock_is_said():
    assert clock_changes(timeline(), sampled((1000, 1), metric="power.draw")).reason == "no SM clock was sampled"
    assert clock_changes(timeline(), sampled((5000, 1))).reason == "no reading of the SM clock falls into the window"
    replayed = replace(UNIX, times="replay")
    assert clock_changes(timeline(replayed), sampled((1000, 1))).reason == "the launches have no real times"


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 3000)), min_size=1, max_size=20))
def test_shares_are_shares_and_the_mean_lies_between_the_extremes(rows):
    for one in clock_changes(timeline(), sampled(*rows)).devices:
        assert 0 < one.coverage <= 1
        assert 0 <= one.below_high < 1
        assert one.low_hz <= one.mean_hz * (1 + 1e-12)
        assert one.mean_hz <= one.high_hz * (1 + 1e-12)


LEDGER = [
    {"device": 0, "cause": "compute", "dur_ns": 600},
    {"device": 0, "cause": "exposed_copy", "dur_ns": 100},
    {"device": 0, "cause": "host", "dur_ns": 250},
    {"device": 0, "cause": "profiler_overhead", "dur_ns": 50},
]


def calibration(**costs):
    return {
        name: None if value is None else {"value": value, "low": value - 5, "high": value + 5}
        for name, value in costs.items()
    }


def test_idle_comes_as_observed_and_as_corrected():
    observed, corrected = corrected_idle(LEDGER, calibration(mean_per_iteration_ns=20), work=Work(iterations=5))
    assert (observed.kind, observed.dur_ns, observed.share) == ("observed", 300, 0.3)
    assert (corrected.kind, corrected.dur_ns, corrected.basis) == ("corrected", 200, "iteration")
    assert corrected.share == pytest.approx(200 / 900)  # the window is shorter by it as well
    assert (corrected.low_ns, corrected.high_ns) == (300 - 5 * 25, 300 - 5 * 15)
    assert corrected.reason is None


def test_the_mean_cost_of_an_iteration_goes_before_the_typical_one_and_that_before_the_hosts():
    costs = calibration(mean_per_iteration_ns=3, per_iteration_ns=2, per_operator_ns=1, per_launch_ns=1)
    work = Work(iterations=10, operators=50, launches=40)
    assert cost_ns(costs, work).value_ns == 30
    assert cost_ns({**costs, "mean_per_iteration_ns": None}, work).value_ns == 20
    other_batch = {**costs, "mean_per_iteration_ns": None, "per_iteration_ns": None}
    assert (cost_ns(other_batch, work).value_ns, cost_ns(other_batch, work).basis) == (50, "operator")
    assert cost_ns(other_batch, Work(launches=40)).basis == "launch"


def test_the_cost_of_operators_gives_a_lower_bound_and_says_so():
    _, corrected = corrected_idle(LEDGER, calibration(per_operator_ns=10), work=Work(operators=10))
    assert corrected.reason.endswith("may hide a part: a lower bound")


def test_a_cost_beyond_all_idle_time_leaves_none_and_is_doubted():
    _, corrected = corrected_idle(LEDGER, calibration(mean_per_iteration_ns=90), work=Work(iterations=5))
    assert corrected.dur_ns == 0
    assert corrected.reason.startswith("the calibrated cost is more than all idle time")


def test_a_cost_within_the_noise_is_said_to_be():
    found = {**calibration(mean_per_iteration_ns=2), "within_noise": True}
    assert corrected_idle(LEDGER, found, work=Work(iterations=5))[1].reason.startswith("the cost is within the noise")


def test_without_a_calibration_nothing_is_corrected():
    _, corrected = corrected_idle(LEDGER, None, work=Work(iterations=5))
    assert (corrected.dur_ns, corrected.reason) == (None, "no calibration of this capture")
    _, corrected = corrected_idle(LEDGER, calibration(per_launch_ns=1), work=Work())
    assert (corrected.dur_ns, corrected.reason) == (None, "the calibration has no cost for this window")


def test_one_repeat_gives_a_correction_without_bounds():
    found = {"mean_per_iteration_ns": {"value": 20, "low": None, "high": None}}
    _, corrected = corrected_idle(LEDGER, found, work=Work(iterations=5))
    assert (corrected.dur_ns, corrected.low_ns, corrected.high_ns) == (200, None, None)


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.floats(-1e8, 1e8), st.integers(1, 100))
def test_corrected_idle_is_never_below_nothing_and_lies_between_its_bounds(work_ns, idle_ns, cost, count):
    rows = [
        {"device": None, "cause": "compute", "dur_ns": work_ns},
        {"device": None, "cause": "host", "dur_ns": idle_ns},
    ]
    observed, corrected = corrected_idle(rows, calibration(mean_per_iteration_ns=cost), work=Work(iterations=count))
    assert observed.dur_ns == idle_ns
    assert 0 <= corrected.low_ns <= corrected.dur_ns <= corrected.high_ns


def test_the_sidecar_of_a_profile_and_its_own_counts_correct_it():
    made = timeline(
        api=(("name", "process", "start_ns", "dur_ns", "correlation"), [("cudaLaunchKernel", 1, 1100, 5, 7)]),
        ops=(("name", "start_ns", "dur_ns"), [("aten::mm", 1090, 20), ("aten::mm", 10, 20)]),
    )
    assert work_in(made) == Work(None, 1, None)  # its one kernel has no correlation
    made.attach_run({"calibrated_overhead_ns": calibration(per_operator_ns=40)})
    assert [one.dur_ns for one in idle_of(made, LEDGER)] == [300, 260]
