"""The arithmetic of comparisons: against hand calculations, and its promises by simulation."""

from __future__ import annotations

import re
from dataclasses import replace
from math import gamma, pi, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2prof.analysis.compare.decisions import (
    ALPHA,
    Sample,
    above,
    apart,
    difference,
    holm,
    mean_error,
    reach,
    relative,
)
from ds2prof.analysis.compare.frames import Series, framed
from ds2prof.analysis.compare.gates import gate_of, outcomes
from ds2prof.analysis.compare.runs import Run
from ds2prof.analysis.compare.student import quantiles, tails
from ds2prof.errors import UsageError
from tests.compare_support import Chance, alarms, correlated, sides

PROMISED = Chance(runs=5, iterations=20, rho=0.6, within=0.01, between=0.005, trials=200)
SINGLE = Chance(runs=1, iterations=20, rho=0.0, within=0.01, between=0.0, trials=100)


def run(*values):
    return Sample(np.array(values, dtype=np.float64)[:, None])


# Promises


@pytest.mark.parametrize("iterations", [20, 100])
def test_of_200_comparisons_of_equal_sides_with_correlated_noise_at_most_16_are_alarms(iterations):
    assert alarms(replace(PROMISED, iterations=iterations)) <= 16


def broken(chance, gate):
    """In how many trials the gate itself is broken, decided as the command decides."""
    both = sides(np.random.default_rng(0), chance)
    keys = tuple(range(chance.iterations))
    count = 0
    for trial in range(chance.trials):
        base, new = (
            [
                Run(str(place), (), {"step_ns": Series(Sample(run.parts[:, trial : trial + 1]), keys)}, {})
                for place, run in enumerate(side)
            ]
            for side in both
        )
        count += outcomes(base, new, [gate_of(gate)])[0].status == "broken"
    return count


def test_gates_decide_as_the_simulation_does():
    slow = replace(PROMISED, slowdown=0.01, trials=20)
    assert 5 < broken(slow, "step_ns<=+0%") == alarms(slow) < 20
    slow = replace(SINGLE, slowdown=0.02, trials=20)
    assert 5 < broken(slow, "step_ns<=+1%") == alarms(slow, limit=0.01) < 20


@pytest.mark.long
def test_gates_keep_what_is_promised_of_them():
    assert broken(PROMISED, "step_ns<=+0%") == alarms(PROMISED) <= 16
    slow = replace(SINGLE, slowdown=0.03)
    assert broken(slow, "step_ns<=+1%") == alarms(slow, limit=0.01) >= 95
    assert broken(SINGLE, "step_ns<=+1%") == alarms(SINGLE, limit=0.01) <= 5


def published(root, heading):
    """The rows of a table of docs/COMPARE.md: (runs, iterations) -> the shares behind them."""
    text = (root / "docs" / "COMPARE.md").read_text(encoding="utf-8").partition(heading)[2]
    rows = re.findall(r"^\| (\d+) \| (\d+) \| ([\d. |]+) \|$", text.partition("gate `")[2].partition("gate `")[0], re.M)
    return {(int(runs), int(count)): [float(each) for each in rest.split(" | ")] for runs, count, rest in rows}


def test_slowdowns_are_caught_as_the_published_power_curve_says(root):
    curves = published(root, "Caught slow-downs, ")
    assert len(curves) == 8
    for (runs, count), curve in curves.items():
        chance = replace(PROMISED, runs=runs, iterations=count)
        caught = [alarms(replace(chance, slowdown=slow)) / 200 for slow in (0, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05)]
        assert caught == pytest.approx(curve, abs=0.12)
        assert curve == sorted(curve)


def test_one_run_a_side_catches_a_slowdown_of_three_percent_95_times_in_100():
    assert alarms(replace(SINGLE, slowdown=0.03), limit=0.01) >= 95


def test_one_run_a_side_alarms_at_equal_sides_at_most_5_times_in_100():
    assert alarms(SINGLE, limit=0.01) <= 5


def test_at_the_limit_itself_one_run_a_side_alarms_as_often_as_the_level_says():
    assert alarms(replace(SINGLE, slowdown=0.01, trials=2000), limit=0.01) / 2000 == pytest.approx(ALPHA, abs=0.02)


def test_several_gates_together_alarm_no_more_often_than_the_level():
    rng = np.random.default_rng(5)
    p_values = np.stack([above(difference(*sides(rng, replace(PROMISED, trials=1000)), paired=True)) for _ in range(5)])
    with_holm = np.mean([holm(trial).any() for trial in p_values.T])
    assert with_holm <= ALPHA + 0.02
    assert (p_values <= ALPHA).any(axis=0).mean() > 3 * with_holm


def test_counting_iterations_of_a_run_as_independent_would_alarm_far_more_often():
    rng = np.random.default_rng(6)
    noise = [correlated(rng, 50, 1000, rho=0.6, spread=0.01) for _ in range(2)]
    spread = [each.std(axis=0, ddof=1) / np.sqrt(50) for each in noise]
    naive = (noise[1].mean(axis=0) - noise[0].mean(axis=0)) / np.hypot(*spread) > 1.66
    honest = above(difference([Sample(noise[0])], [Sample(noise[1])])) <= ALPHA
    assert naive.mean() > 0.15
    assert honest.mean() < 0.08


# Hand calculations


def test_runs_are_the_unit_where_both_sides_have_several():
    found = difference([run(1, 3), run(4, 4), run(2, 4)], [run(5, 5), run(6, 8)], factor=1.1)
    base, new = np.array([2.0, 4.0, 3.0]), np.array([5.0, 7.0])
    parts = 1.1**2 * base.var(ddof=1) / 3, new.var(ddof=1) / 2
    assert found.distance[0] == pytest.approx(6 - 1.1 * 3)
    assert found.error[0] == pytest.approx(sqrt(sum(parts)))
    assert found.freedom[0] == pytest.approx(sum(parts) ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 1))
    assert found.noise == "runs"


def test_a_single_run_is_taken_to_spread_like_the_several_of_the_other_side():
    found = difference([run(2, 2), run(4, 4), run(3, 3)], [run(5, 5)])
    assert found.error[0] == pytest.approx(sqrt(1 + 1 / 3))
    assert found.freedom[0] == 2
    assert found.noise == "runs of one side"


def test_the_iterations_of_one_run_a_side_count_as_many_as_they_are_where_they_are_independent():
    values = np.random.default_rng(0).permutation(np.tile([9.0, 11.0], 200))
    error, freedom = mean_error((values - 10)[:, None])
    assert error[0] == pytest.approx(1 / sqrt(400), rel=0.15)
    assert freedom[0] <= 399


def test_alternating_iterations_never_narrow_the_error():
    values = np.tile([-1.0, 1.0], 50)[:, None]
    assert mean_error(values)[0][0] == pytest.approx(sqrt(100 / 99 / 100))


def test_iterations_that_resemble_each_other_count_for_fewer():
    rng = np.random.default_rng(1)
    likeness = correlated(rng, 400, 200, rho=0.6, spread=1.0)
    means = likeness.mean(axis=0)
    assert np.median(mean_error(likeness - means)[0]) == pytest.approx(means.std(ddof=1), rel=0.15)


def test_what_inputs_do_to_both_sides_cancels_where_iterations_are_paired():
    lengths = np.random.default_rng(2).uniform(50, 150, 30)
    base, new = run(*lengths), run(*(1.02 * lengths))
    paired = difference([base], [new], factor=1.01, paired=True)
    assert above(paired)[0] < 0.001
    assert above(difference([base], [new], factor=1.01))[0] > 0.2


@pytest.mark.parametrize("count", [1, 2, 7])
def test_fewer_than_eight_iterations_of_one_run_a_side_tell_no_noise(count):
    found = difference([run(*range(count))], [run(*range(1, count + 1))])
    assert found.noise == "none"
    assert np.isnan(above(found)[0])
    assert np.isnan(reach(found)[0])


def test_without_any_noise_any_difference_is_beyond_it_and_rounding_is_none():
    base = [run(0.1 + 0.2), run(0.3)]
    assert above(difference(base, [run(0.3), run(0.3)]))[0] > ALPHA
    assert above(difference(base, [run(0.31), run(0.31)]))[0] == 0.0
    assert above(difference(base, [run(0.29), run(0.29)]))[0] == 1.0


def test_the_bounds_of_a_relative_change_hold_the_truth_19_times_in_20():
    rng = np.random.default_rng(7)
    base, new = sides(rng, replace(PROMISED, slowdown=0.03, trials=4000))
    change, low, high = relative(base, new, paired=True)
    assert change.mean() == pytest.approx(0.03, abs=0.001)
    assert ((low <= 0.03) & (high >= 0.03)).mean() == pytest.approx(0.95, abs=0.015)


def test_a_ratio_is_that_of_the_sums():
    sample = Sample(np.array([[1.0], [3.0]]), np.array([[2.0], [10.0]]))
    assert sample.value[0] == pytest.approx(4 / 12)
    assert sample.departures.sum() == pytest.approx(0)


@given(
    scale=st.floats(1e-3, 1e9),
    values=st.lists(st.lists(st.floats(90, 110), min_size=3, max_size=3), min_size=4, max_size=4),
)
@settings(max_examples=60)
def test_the_unit_and_the_order_of_runs_do_not_matter(scale, values):
    base, new = [run(*each) for each in values[:2]], [run(*each) for each in values[2:]]
    first = above(difference(base, new))
    again = above(
        difference([Sample(one.parts * scale) for one in base[::-1]], [Sample(one.parts * scale) for one in new])
    )
    assert again[0] == pytest.approx(first[0], abs=1e-6)


@pytest.mark.parametrize("freedom", [1.0, 1.37, 2.5, 9.9, 60.2])
def test_students_tail_is_the_integral_of_its_density(freedom):
    scale = gamma((freedom + 1) / 2) / (sqrt(freedom * pi) * gamma(freedom / 2))
    angles = np.linspace(np.arctan(1.7 / sqrt(freedom)), pi / 2, 400_001)
    middle = (angles[1:] + angles[:-1]) / 2
    integral = (scale * sqrt(freedom) * np.cos(middle) ** (freedom - 1)).sum() * (angles[1] - angles[0])
    assert tails(np.array([1.7]), np.array([freedom]))[0] == pytest.approx(integral, abs=1e-5)


def test_quantiles_turn_tails_around():
    freedoms = np.array([1.0, 1.5, 8.0, 8.0, 1000.0])
    assert 2 * tails(quantiles(0.95, freedoms), freedoms) == pytest.approx(0.05, abs=1e-9)
    assert quantiles(0.95, np.array([1.0, 8.0])) == pytest.approx([12.7062, 2.3060], abs=1e-4)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_its_adjusted_p_says(p_values):
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    highest, adjusted = 0.0, {}
    for place, row in enumerate(order):
        highest = max(highest, p_values[row] * (len(p_values) - place))
        adjusted[row] = highest
    expected = [adjusted[row] <= ALPHA for row in range(len(p_values))]
    near = any(abs(adjusted[row] - ALPHA) < 1e-12 for row in adjusted)
    assert near or holm(np.array(p_values)).tolist() == expected


def test_holm_counts_no_test_that_was_none():
    assert holm(np.array([0.04, np.nan, np.nan])).tolist() == [True, False, False]
    assert holm(np.array([0.04, 0.04])).tolist() == [False, False]


def test_two_sided_p_is_twice_the_smaller_tail():
    found = difference([run(1), run(2)], [run(3), run(5)])
    assert apart(found)[0] == pytest.approx(2 * above(found)[0])


# Pairing of iterations


def series(keys, times, lengths=None):
    told = None if lengths is None else np.array(lengths, dtype=np.float64)
    return Series(run(*times), tuple(keys), told)


def test_iterations_are_paired_by_number_where_all_runs_have_them():
    frame, base, new = framed([series(range(10), range(10))], [series(range(2, 12), range(102, 112))])
    assert (frame.how, frame.count, frame.of) == ("number", 8, 10)
    assert base[0].parts[:, 0].tolist() == list(range(2, 10))
    assert new[0].parts[:, 0].tolist() == list(range(102, 110))


def test_iterations_of_one_number_but_other_inputs_are_paired_by_length():
    base = series(range(8), range(8), lengths=[1, 2, 3, 4, 5, 6, 7, 8])
    new = series(range(8), range(8), lengths=[8, 7, 6, 5, 4, 3, 2, 1])
    frame, one, other = framed([base], [new])
    assert (frame.how, frame.count) == ("length", 8)
    assert other[0].parts[:, 0].tolist() == list(range(8))
    assert one[0].parts[:, 0].tolist() == list(range(7, -1, -1))


def test_a_length_is_taken_as_often_as_all_runs_have_it():
    base = series(range(9), range(9), lengths=[1, 1, 1, 2, 2, 3, 3, 3, 3])
    new = series(range(20, 29), range(9), lengths=[1, 2, 2, 2, 3, 3, 3, 3, 3])
    frame, one, other = framed([base], [new])
    assert (frame.how, frame.count) == ("length", 7)
    assert one[0].parts[:, 0].tolist() == [0, 3, 4, 5, 6, 7, 8]
    assert other[0].parts[:, 0].tolist() == [0, 1, 2, 4, 5, 6, 7]


def test_runs_without_anything_in_common_are_compared_whole_and_that_is_said():
    frame, base, _ = framed([series(range(9), range(9))], [series(range(50, 59), range(9))])
    assert frame.how == "none"
    assert len(base[0]) == 9
    assert "do not correspond" in frame.said()


# The grammar of gates


@pytest.mark.parametrize(
    ("text", "field", "is_upper", "limit", "kind"),
    [
        ("step_ns<=+2%", "step_ns", True, 0.02, "relative"),
        ("step_ns <= 2 %", "step_ns", True, 0.02, "relative"),
        ("samples_per_s>=-1.5%", "samples_per_s", False, -0.015, "relative"),
        ("busy>=-1pt", "gpu_compute_utilization", False, -0.01, "points"),
        ("mfu>=0pt", "mfu", False, 0.0, "points"),
        ("step_ns<=250ms", "step_ns", True, 250e6, "absolute"),
        ("busy>=0.8", "gpu_compute_utilization", False, 0.8, "absolute"),
        ("peak_bytes<=20GB", "peak_bytes", True, 20e9, "absolute"),
        ("launches<=1e4", "launches", True, 10_000, "absolute"),
    ],
)
def test_a_gate_is_read_as_written(text, field, is_upper, limit, kind):
    gate = gate_of(text)
    assert (gate.field, gate.is_upper, gate.kind) == (field, is_upper, kind)
    assert gate.limit == pytest.approx(limit)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not FIELD<=LIMIT"),
        ("step_ns", "not FIELD<=LIMIT"),
        ("step_ns<2%", "not FIELD<=LIMIT"),
        ("step_ns==2%", "not FIELD<=LIMIT"),
        ("step_ns<=two%", "not FIELD<=LIMIT"),
        ("step_ns<=+-2%", "not FIELD<=LIMIT"),
        ("steps<=+2%", "no such field"),
        ("step_ns<=+2pt", "percentage points of a ratio"),
        ("step_ns<=+250ms", "a value no sign"),
        ("step_ns<=2GB", "no unit GB"),
        ("busy>=80ms", "no unit ms"),
        ("step_ns<=1e999%", "no number"),
        ("step_ns<=2%\nbusy", "not FIELD<=LIMIT"),
    ],
)
def test_what_is_no_gate_is_refused_in_one_line(text, why):
    with pytest.raises(UsageError, match=why) as error:
        gate_of(text)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2
