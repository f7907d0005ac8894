"""Intervals over iterations: by hand, by property, and by how often they hold the truth in simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2prof.analysis.uncertainty.bootstrap import LEAST_FOR_INTERVAL, block_length, correlation, interval
from ds2prof.analysis.uncertainty.quantiles import normal_quantile, student_quantile, student_within
from ds2prof.analysis.uncertainty.strata import length_strata, said

TIMES = st.lists(st.floats(1.0, 1e6), min_size=LEAST_FOR_INTERVAL, max_size=60)
SOME = st.lists(st.floats(0.0, 1e6), min_size=1, max_size=30)


def test_one_iteration_gives_no_bounds():
    found = interval([5.0])
    assert (found.value, found.low, found.high, found.count, found.kind) == (5.0, None, None, 1, "single")


def test_no_iteration_gives_nothing():
    assert (interval([]).value, interval([]).kind) == (None, "none")


def test_a_whole_of_nothing_gives_nothing():
    assert interval([0.0, 0.0], wholes=[0.0, 0.0]).value is None


@pytest.mark.parametrize("count", range(2, LEAST_FOR_INTERVAL))
def test_fewer_than_eight_iterations_give_the_range_of_their_values(count):
    found = interval(list(range(10, 10 + count)))
    assert (found.low, found.high, found.kind, found.level) == (10, 9 + count, "range", None)


def test_the_range_of_a_ratio_is_that_of_each_iterations_own_ratio():
    found = interval([1, 6], wholes=[10, 10])
    assert (found.value, found.low, found.high) == (0.35, 0.1, 0.6)


def test_a_ratio_is_that_of_the_sums_and_no_mean_of_ratios():
    assert interval([1, 90], wholes=[10, 100]).value == 91 / 110


def test_iterations_without_a_number_are_left_out():
    found = interval([1.0, float("nan"), 3.0, 4.0], wholes=[1.0, 1.0, float("nan"), 1.0])
    assert (found.value, found.count) == (2.5, 2)


def test_equal_iterations_have_an_interval_of_no_width():
    found = interval([7] * 20)
    assert (found.value, found.low, found.high, found.kind) == (7, 7, 7, "interval")


def test_single_draws_agree_with_the_formula_for_a_mean():
    values = np.random.default_rng(3).normal(100, 5, 200)
    found = interval(values, block=1, resamples=40_000)
    half = student_quantile(0.95, 199) * values.std(ddof=1) / np.sqrt(200)
    assert found.low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.05 * half)


def test_single_draws_agree_with_scipy_where_no_correction_is_left():
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(5).exponential(10, 400)
    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    ours = interval(values, block=1, resamples=20_000)
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.03 * width)


def test_a_ratio_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(6)
    wholes = rng.uniform(50, 150, 400)
    parts = wholes * rng.uniform(0.4, 0.8, 400)
    theirs = stats.bootstrap(
        (parts, wholes),
        lambda part, whole, axis: part.sum(axis=axis) / whole.sum(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    ours = interval(parts, wholes=wholes, block=1, resamples=20_000)
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.03 * width)


@given(TIMES, st.sampled_from([None, 1, 3]))
def test_an_interval_holds_its_statistic(values, block):
    found = interval(values, block=block, resamples=200)
    assert found.low <= found.value <= found.high
    assert found.value == pytest.approx(np.mean(values))


@given(SOME)
def test_a_share_stays_a_share(parts):
    found = interval(parts, wholes=[value + 1 for value in parts], bounds=(0, 1), resamples=200)
    assert found.low is None or 0 <= found.low <= found.value <= found.high <= 1


@given(TIMES)
def test_the_same_question_has_the_same_answer(values):
    assert interval(values, resamples=200) == interval(values, resamples=200)


@given(TIMES, st.randoms(use_true_random=False))
def test_order_means_nothing_to_single_draws(values, random):
    shuffled = random.sample(values, len(values))
    ours, theirs = (interval(order, block=1, resamples=200) for order in (values, shuffled))
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-9)


@given(TIMES, st.sampled_from([1e-6, 0.5, 1e3]))
def test_another_unit_scales_the_interval(values, factor):
    ours = interval(values, block=2, resamples=200)
    scaled = interval([value * factor for value in values], block=2, resamples=200)
    wanted = [bound * factor for bound in (ours.value, ours.low, ours.high)]
    assert [scaled.value, scaled.low, scaled.high] == pytest.approx(wanted, rel=1e-6)


@given(TIMES, st.floats(0.0, 1e6))
def test_a_constant_added_moves_the_interval_of_a_mean(values, shift):
    ours = interval(values, block=2, resamples=200)
    moved = interval([value + shift for value in values], block=2, resamples=200)
    assert [moved.low - shift, moved.high - shift] == pytest.approx([ours.low, ours.high], abs=1e-4)


def test_another_seed_gives_nearly_the_same_interval():
    values = np.random.default_rng(3).normal(100, 5, 50)
    ours, theirs = (interval(values, seed=seed) for seed in (0, 1))
    assert ours != theirs
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.1 * (ours.high - ours.low))


def test_a_rate_is_the_interval_of_times_turned_around():
    found = interval([2.0, 4.0]).inverted(8.0)
    assert (found.value, found.low, found.high) == (8 / 3, 2.0, 4.0)


def _autoregressive(rho, *, count, series, seed):
    """Series with standard normal values whose neighbours correlate by ``rho``; their true mean is 0."""
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(series, count))
    for at in range(1, count):
        found[:, at] = rho * found[:, at - 1] + np.sqrt(1 - rho**2) * found[:, at]
    return found


def _coverage(series, *, truth=0.0, **options):
    found = [interval(values, resamples=600, **options) for values in series]
    return np.mean([one.low <= truth <= one.high for one in found])


@pytest.mark.parametrize("count", [8, 20, 60])
def test_intervals_of_independent_iterations_hold_the_truth_as_often_as_they_say(count):
    coverage = _coverage(np.random.default_rng(count).normal(size=(800, count)))
    assert 0.93 <= coverage <= 0.98  # 800 trials tell 0.95 to 0.008


@pytest.mark.parametrize(("rho", "count", "least"), [(0.3, 50, 0.905), (0.5, 100, 0.90), (0.7, 300, 0.91)])
def test_intervals_of_iterations_that_resemble_their_neighbours_hold_it_nearly_as_often(rho, count, least):
    series = _autoregressive(rho, count=count, series=600, seed=7)  # 600 trials tell 0.94 to 0.01
    assert least <= _coverage(series) <= 0.98


def test_single_draws_would_hold_it_far_less_often():
    series = _autoregressive(0.7, count=100, series=300, seed=8)
    assert _coverage(series, block=1) < 0.7 < 0.9 < _coverage(series)


def test_blocks_are_as_long_as_the_correlation_of_the_departures_asks_for():
    (series,) = _autoregressive(0.8, count=200, series=1, seed=3)
    block = block_length(200, correlation(series - series.mean()))
    assert interval(series).block == block > 5
    assert interval(np.random.default_rng(3).permutation(series)).block < block


def test_skewed_times_are_covered_too():
    coverage = _coverage(np.random.default_rng(9).exponential(size=(800, 40)), truth=1.0)
    assert 0.91 <= coverage <= 0.98


def _mixed(count, *, series, seed):
    """Times of short and long iterations, in an order that is the same each time, with little noise."""
    lengths = np.random.default_rng(seed).permutation(np.repeat([10.0, 30.0], count // 2))
    return lengths, lengths + np.random.default_rng(seed + 1).normal(size=(series, count))


def test_strata_keep_the_mix_of_lengths_out_of_the_interval():
    lengths, series = _mixed(40, series=1, seed=1)
    apart = interval(series[0], strata=length_strata(lengths))
    together = interval(series[0])
    assert apart.strata == 2
    assert (apart.high - apart.low) < 0.3 * (together.high - together.low)


def test_intervals_with_strata_hold_the_truth_as_often_as_they_say():
    lengths, series = _mixed(40, series=600, seed=2)
    assert 0.925 <= _coverage(series, truth=20.0, strata=length_strata(lengths)) <= 0.98


def test_too_many_strata_for_the_iterations_leave_a_range():
    assert interval(range(9), strata=[0, 1, 2, 3, 4, 5, 6, 7, 7]).kind == "range"


def test_blocks_grow_with_correlation_and_with_the_cube_root_of_the_count():
    assert [block_length(1000, rho) for rho in (0.0, 0.5, 0.7, 0.9)] == [1, 14, 23, 52]
    assert block_length(8000, 0.5) == 28  # sqrt(6) / 1.5 to 2/3 is 1.387; times 20


def test_blocks_leave_at_least_four_of_them():
    assert block_length(12, 0.9) == 3


def test_a_long_series_has_no_more_than_two_thousand_blocks():
    assert block_length(1_000_000, 0.0) == 500


def test_alternating_iterations_are_not_taken_to_be_surer():
    assert correlation(np.array([1.0, -1.0] * 10)) == 0.0


def test_correlation_is_that_of_neighbours_with_the_bias_put_back():
    departures = np.array([-2.0, -1, 2, 1, -1, 0, 2, -1])
    raw = (2 - 2 + 2 - 1 + 0 + 0 - 2) / (4 + 1 + 4 + 1 + 1 + 0 + 4 + 1)
    assert correlation(departures) == pytest.approx((8 * raw + 1) / 5)


@pytest.mark.parametrize(
    ("freedom", "value"), [(1, 12.7062047), (2, 4.30265273), (3, 3.18244631), (7, 2.36462425), (30, 2.04227246)]
)
def test_students_quantiles_are_those_of_the_tables(freedom, value):
    assert student_quantile(0.95, freedom) == pytest.approx(value, rel=1e-7)


@given(st.integers(1, 200), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_students_quantile_turns_its_probability_around(freedom, level):
    assert student_within(student_quantile(level, freedom), freedom) == pytest.approx(level, abs=1e-9)


def test_students_quantile_tends_to_the_normal_one():
    assert student_quantile(0.95, 201) == pytest.approx(1.971837, abs=1e-5)
    assert student_quantile(0.95, 10**9) == pytest.approx(normal_quantile(0.95), abs=1e-6)


def test_strata_are_of_eight_at_least_and_equal_lengths_stay_together():
    strata = length_strata(np.array([1.0] * 3 + [2.0] * 6 + [3.0] * 10 + [4.0] * 7))
    assert strata.tolist() == [0] * 9 + [1] * 17


def test_few_iterations_of_all_lengths_are_one_stratum():
    assert set(length_strata(np.arange(15.0)).tolist()) == {0}
    assert said(np.zeros(15, dtype=np.int64), known=False) == "one stratum, padded lengths are not in this file"


def test_iterations_without_a_length_are_a_stratum_of_their_own():
    lengths = np.array([1.0] * 8 + [float("nan")] * 2)
    assert length_strata(lengths).tolist() == [0] * 8 + [1] * 2


@given(st.lists(st.floats(0.1, 20.0), min_size=1, max_size=200))
def test_strata_follow_the_order_of_length_and_are_neither_small_nor_many(lengths):
    strata = length_strata(np.array(lengths))
    order = np.argsort(lengths, kind="stable")
    assert (np.diff(strata[order]) >= 0).all()
    sizes = np.bincount(strata)
    assert len(sizes) <= 10
    assert len(sizes) == 1 or sizes.min() >= 8
