"""The saturation of a sweep: known curves are found again, and no curve is given where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2prof.analysis.sweep_fit import saturation

BATCHES = np.array([4, 8, 16, 24, 32], dtype=np.float64)


def _rates(fixed_s: float, per_sample_s: float, batches=BATCHES):
    return batches / (fixed_s + per_sample_s * batches)


@given(
    fixed_s=st.floats(1e-4, 10.0),
    per_sample_s=st.floats(1e-4, 10.0),
    batches=st.lists(st.integers(1, 4096), min_size=3, max_size=8, unique=True),
)
def test_a_curve_without_noise_is_found_again(fixed_s, per_sample_s, batches):
    sizes = np.array(batches, dtype=np.float64)
    curve = saturation(sizes, _rates(fixed_s, per_sample_s, sizes)).curve
    if curve is None:  # the smallest batch's step time is a thousand million times its fixed cost, or the reverse
        assert fixed_s / (per_sample_s * sizes.max()) < 1e-5 or per_sample_s * sizes.max() / fixed_s < 1e-5
        return
    assert curve.per_sample_s == pytest.approx(per_sample_s, rel=1e-5)
    assert curve.fixed_s == pytest.approx(fixed_s, rel=1e-3, abs=1e-7 * per_sample_s)


def test_the_knee_is_where_the_asymptotes_meet_and_half_of_the_maximum_is_reached():
    curve = saturation(BATCHES, _rates(0.2, 0.02)).curve
    assert curve.knee_batch == pytest.approx(10)
    assert curve.max_per_s == pytest.approx(50)
    assert curve.samples_per_s(curve.knee_batch) == pytest.approx(25)
    assert curve.knee_batch / curve.fixed_s == pytest.approx(curve.max_per_s)


def test_throughput_by_step_time_is_greatest_at_the_knee():
    curve = saturation(BATCHES, _rates(0.2, 0.02)).curve
    sizes = np.linspace(1, 64, 6301)
    power = curve.samples_per_s(sizes) / (curve.fixed_s + curve.per_sample_s * sizes)
    assert sizes[power.argmax()] == pytest.approx(curve.knee_batch, abs=0.02)


def test_the_batch_for_ninety_percent_reaches_ninety_percent():
    curve = saturation(BATCHES, _rates(0.2, 0.02)).curve
    assert curve.samples_per_s(curve.batch_at(0.9)) == pytest.approx(0.9 * curve.max_per_s)
    assert curve.as_dict()["batch_at_90_percent"] == pytest.approx(90)


def test_what_was_reached_is_the_curve_at_the_greatest_batch():
    assert saturation(BATCHES, _rates(0.2, 0.02)).curve.reached == pytest.approx(32 / 42)


def test_points_by_hand_weigh_by_relative_misses():
    """Normal equations of sum(((a + b B - t) / t)^2), solved on paper for B = 1, 2, 4 and t = 1, 2, 3."""
    step_s = np.array([1.0, 2.0, 3.0])
    sizes = np.array([1.0, 2.0, 4.0])
    w = 1 / step_s**2  # 1, 1/4, 1/9
    s, sx, sxx = w.sum(), (w * sizes).sum(), (w * sizes**2).sum()
    sy, sxy = (w * step_s).sum(), (w * sizes * step_s).sum()
    slope = (s * sxy - sx * sy) / (s * sxx - sx * sx)
    curve = saturation(sizes, sizes / step_s).curve
    assert curve.per_sample_s == pytest.approx(slope)
    assert curve.fixed_s == pytest.approx((sy - slope * sx) / s)


def test_bounds_hold_the_truth_nineteen_times_in_twenty():
    rng = np.random.default_rng(5)
    held = {"rate": 0, "knee": 0}
    trials = 500
    for _ in range(trials):
        noisy_s = (0.2 + 0.02 * np.repeat(BATCHES, 2)) * (1 + 0.02 * rng.standard_normal(10))
        curve = saturation(np.repeat(BATCHES, 2), np.repeat(BATCHES, 2) / noisy_s).curve
        held["rate"] += curve.max_low_per_s <= 50 <= (curve.max_high_per_s or np.inf)
        held["knee"] += curve.knee_low is None or curve.knee_low <= 10 <= curve.knee_high
    # Three standard errors of a share of 0.95 in 500 trials are 0.029.
    assert all(0.921 <= count / trials <= 0.979 for count in held.values()), held


def test_a_rate_without_an_upper_bound_says_none():
    rates = [10.0, 20.3, 39.0, 82.0, 158.0]
    curve = saturation([1, 2, 4, 8, 16], rates).curve
    assert curve is None or curve.max_high_per_s is None


def test_repeats_of_two_batches_are_too_few():
    fit = saturation([4, 4, 8, 8], [10, 11, 15, 16])
    assert fit.curve is None
    assert fit.reason == "a curve needs 3 batch sizes with a throughput, and there are 2"


def test_unknown_and_absurd_points_are_left_out():
    fit = saturation([4, 8, 16, np.nan, 24, 0], [10, 15, np.nan, 3, -1, 4])
    assert fit.reason == "a curve needs 3 batch sizes with a throughput, and there are 2"


def test_throughput_that_grows_with_the_batch_has_no_knee():
    fit = saturation([1, 2, 4, 8], [10, 20, 40, 80])
    assert fit.curve is None
    assert "not begun to saturate" in fit.reason


def test_throughput_that_is_flat_has_no_knee():
    fit = saturation([1, 2, 4, 8], [50, 50, 50, 50])
    assert fit.curve is None
    assert "flat or falls" in fit.reason


def test_step_times_that_are_no_line_get_no_curve():
    fit = saturation([1, 2, 4, 8, 16], np.array([1, 2, 4, 8, 16]) / np.array([1.0, 1.8, 1.0, 1.9, 2.0]))
    assert fit.curve is None
    assert "a line misses by" in fit.reason


@given(scale=st.floats(1e-3, 1e3))
def test_the_knee_does_not_depend_on_the_unit_of_throughput(scale):
    rates = np.array([19.0, 27.5, 36.2, 41.0, 43.5])
    one, other = saturation(BATCHES, rates).curve, saturation(BATCHES, rates * scale).curve
    assert other.knee_batch == pytest.approx(one.knee_batch)
    assert other.max_per_s == pytest.approx(one.max_per_s * scale)
