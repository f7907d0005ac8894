"""Which iterations at the beginning do not count, which of the others are odd, and what of their time grew."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2prof.analysis.uncertainty.covered import covered_before
from ds2prof.analysis.uncertainty.outliers import outliers
from ds2prof.analysis.uncertainty.warmup import does_once, warm_up
from tests.profiles import profile

STEADY = [100, 101, 99, 100, 102, 98, 100, 101]


def test_slow_iterations_at_the_beginning_are_warm_up():
    assert warm_up([900, 300, *STEADY]).count == 2


def test_steady_iterations_have_none():
    found = warm_up(STEADY)
    assert (found.count, found.source, found.said(range(8))) == (0, "none", "")


def test_the_limit_is_the_median_and_three_and_a_half_scaled_mads_of_the_second_half():
    half = [90, 100, 110, 100]  # median 100, MAD 5: the limit is 100 + 3.5 x 1.4826 x 5 = 125.95
    assert warm_up([125.9, 100, 100, 100, *half]).count == 0
    assert warm_up([126.0, 100, 100, 100, *half]).count == 1


def test_less_than_five_percent_is_no_warm_up_however_even_the_others_are():
    assert [warm_up([first] + [100] * 9).count for first in (105, 106)] == [0, 1]


def test_a_slow_iteration_behind_a_usual_one_is_no_warm_up():
    assert warm_up([100, 900, *STEADY]).count == 0


def test_no_more_than_the_first_half_is_left_out():
    assert warm_up([900, 800, 700, 600, 500, 100, 100, 100]).count == 4


def test_fewer_than_six_iterations_cannot_be_judged_by_time():
    assert [warm_up([900] + [100] * rest).count for rest in (4, 5)] == [0, 1]


def test_what_is_done_once_is_warm_up_without_a_look_at_the_time():
    found = warm_up([100] * 4, once=np.array([True, False, True, False]))
    assert (found.count, found.known) == (1, 1)
    assert found.said([7, 8, 9, 10]) == (
        "warm-up: iteration 7 excluded (loading modules, compiling or choosing algorithms)"
    )


def test_what_a_file_states_goes_before_what_times_look_like():
    found = warm_up([900, *STEADY], stated=3)
    assert (found.count, found.source) == (3, "stated")
    assert found.said(range(9)) == "warm-up: iterations 0 to 2 excluded, as the file states"
    assert warm_up([900, *STEADY], stated=0).count == 0


def test_the_rule_is_said_with_its_numbers():
    assert warm_up([900, 300, *STEADY]).said(range(5, 20)) == (
        "warm-up: iterations 5 to 6 excluded (above the median of the second half by 3.5 scaled MADs and 5 %)"
    )


def test_a_long_batch_at_the_beginning_is_no_warm_up():
    lengths = np.array([9.0, *[1.0] * 8])
    assert warm_up([900, *STEADY]).count == 1
    assert warm_up([900, *STEADY], lengths=lengths).count == 0


@given(st.lists(st.integers(1, 10**9), max_size=40), st.integers(1, 1000))
def test_warm_up_does_not_depend_on_the_unit_and_leaves_at_least_half(times, factor):
    found = warm_up(times)
    assert found.count <= len(times) // 2
    assert warm_up([time * factor for time in times]).count == found.count


def _with_calls(*calls):
    api = [(name, 1, start, dur) for name, start, dur in calls]
    return profile(api=(("name", "process", "start_ns", "dur_ns"), api))


def _does_once(made):
    return does_once(made, np.array([0, 1000, 2000]), np.array([1000, 2000, 3000])).tolist()


@pytest.mark.parametrize(
    "name", ["cuModuleLoadData", "cuLibraryLoadData", "hipModuleLoad", "cudnnFindConvolutionForwardAlgorithm"]
)
def test_an_iteration_that_loads_modules_or_tries_algorithms_is_known(name):
    assert _does_once(_with_calls((name, 100, 11), ("cudaLaunchKernel", 1100, 500))) == [True, False, False]


def test_a_hundredth_of_the_time_is_not_enough():
    assert _does_once(_with_calls(("cuModuleLoadData", 100, 10))) == [False] * 3


def test_calls_that_overlap_count_once():
    assert _does_once(_with_calls(("cuModuleLoadData", 100, 8), ("cuLinkComplete", 102, 6))) == [False] * 3


def test_cudas_own_overhead_is_done_once_and_the_profilers_is_not():
    rows = [("Lazy Function Loading", 100, 50), ("Activity Buffer Request", 1100, 500)]
    assert _does_once(profile(overhead=(("name", "start_ns", "dur_ns"), rows))) == [True, False, False]


SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=12)


@given(SPANS, st.lists(st.integers(-5, 90), max_size=8))
def test_what_is_covered_before_a_time_equals_a_count_of_instants(spans, times):
    starts = np.array([start for start, _ in spans], dtype=np.int64)
    ends = starts + np.array([length for _, length in spans], dtype=np.int64)
    inside = {at for start, length in spans for at in range(start, start + length)}
    wanted = [sum(at < time for at in inside) for time in times]
    assert covered_before(starts, ends, np.array(times, dtype=np.int64)).tolist() == wanted


def test_an_iteration_far_from_the_others_is_named_with_by_how_much():
    (found,) = outliers([100, 101, 99, 100, 250, 100])
    assert (found.place, found.time_ns, found.excess_ns, found.relative) == (4, 250, 150, 1.5)
    assert found.said("4") == "outlier: iteration 4 took 250 ns, 150 ns (150 %) longer than the median"


def test_a_quick_one_is_named_too_and_the_worst_comes_first():
    found = outliers([100, 101, 99, 100, 130, 100, 100, 10])
    assert [(one.place, one.excess_ns) for one in found] == [(7, -90), (4, 30)]
    assert found[0].said(7).endswith("90 ns (90 %) less than the median")


def test_outliers_are_told_within_their_stratum():
    times = [100] * 8 + [300] * 7 + [100]
    assert [one.place for one in outliers(times, strata=np.array([0] * 8 + [1] * 8))] == [15]


def test_fewer_than_six_of_a_stratum_are_not_judged():
    assert outliers([100, 100, 100, 100, 900]) == ()


def test_an_outlier_comes_with_the_cause_that_grew_most():
    ledger = {"host": [10, 10, 10, 10, 40, 10], "synchronize": [5, 5, 5, 5, 125, 5], "data": [50] * 6}
    (found,) = outliers([100, 101, 99, 100, 250, 100], ledger=ledger)
    assert (found.cause, found.cause_excess_ns) == ("synchronize", 120)
    assert found.said(4).endswith("longer than the median; synchronize +120 ns")


def test_a_quick_iteration_comes_with_the_cause_that_shrank():
    ledger = {"host": [50, 50, 50, 50, 50, 10], "data": [5, 5, 5, 5, 5, 9]}
    (found,) = outliers([100, 101, 99, 100, 100, 50], ledger=ledger)
    assert (found.cause, found.cause_excess_ns) == ("host", -40)


def test_a_ledger_in_which_nothing_grew_names_no_cause():
    (found,) = outliers([100, 101, 99, 100, 250, 100], ledger={"host": [10] * 6})
    assert found.cause is None


@given(st.lists(st.floats(1, 1e9), max_size=30), st.floats(0.001, 1000))
def test_the_named_lie_outside_of_their_limit_in_any_unit(times, factor):
    found = {one.place for one in outliers(times)}
    for place in found:
        median = np.median(times)
        assert abs(times[place] - median) > 3.5 * 1.4826 * np.median(np.abs(np.array(times) - median))
        assert abs(times[place] - median) > 0.05 * median
    assert len(found) <= len(times) // 2
    assert outliers([]) == ()
