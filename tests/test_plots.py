from __future__ import annotations

import matplotlib as mpl
import pytest

mpl.use("agg")

from ds2prof import plots
from ds2prof.errors import MissingDataError
from tests.profiles import counters_profile, profile

KERNEL = ("name", "device", "stream", "start_ns", "dur_ns")


def labels(ax):
    return [tick.get_text() for tick in ax.get_yticklabels()]


def lengths(ax):
    return [bar.get_width() for bar in ax.patches]


def test_bars_are_the_exclusive_times_in_milliseconds_longest_first():
    ax = plots.kernel_times(profile(kernels=(KERNEL, [("a", 0, 7, 0, 10**6), ("b", 0, 7, 2 * 10**6, 3 * 10**6)])))
    assert (labels(ax), lengths(ax)) == (["b", "a"], [3.0, 1.0])


def test_utilization_is_in_percent_with_the_mean_of_all_kernels_as_a_line():
    ax = plots.kernel_utilization(counters_profile([("a", 100, 0.1), ("b", 100, 0.1), ("c", 800, 0.9)]))
    assert sorted(lengths(ax)) == pytest.approx([10, 10, 90])
    assert ax.lines[0].get_xdata()[0] == pytest.approx(74)


def test_a_kernel_without_the_counter_is_marked_unknown_not_zero():
    ax = plots.kernel_utilization(counters_profile([("a", 100, 0.1), ("b", 100, None)]))
    assert sorted(labels(ax)) == ["a", "b (unknown)"]


def test_names_that_shortening_made_equal_keep_a_bar_each():
    long = "k" * 100
    kernels = [(f"{long}{i}{long}", 0, 7, i * 10, 5) for i in range(3)]
    ax = plots.kernel_times(profile(kernels=(KERNEL, kernels)), by="kernel")
    assert len(set(labels(ax))) == len(lengths(ax)) == 3


def test_a_profile_without_counters_cannot_be_drawn_as_utilization():
    with pytest.raises(MissingDataError):
        plots.kernel_utilization(profile(kernels=(KERNEL, [("a", 0, 7, 0, 1)])))
