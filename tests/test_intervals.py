from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2prof.analysis import intervals as intervals_module
from ds2prof.analysis.intervals import (
    clipped,
    innermost,
    merged,
    parents,
    rounded_to_sum,
    self_shares_ns,
    shares_ns,
    union_ns,
)

EDGES = st.tuples(st.integers(0, 60), st.integers(0, 20))
INTERVALS = st.lists(EDGES, max_size=25)
BASE_NS = 1_700_000_000_000_000_000


def arrays(intervals, base=BASE_NS):
    starts = np.array([base + start for start, _ in intervals], dtype=np.int64)
    return starts, starts + np.array([length for _, length in intervals], dtype=np.int64)


def covered(intervals):
    return {instant for start, length in intervals for instant in range(start, start + length)}


@given(INTERVALS)
def test_the_union_is_the_number_of_instants_covered(intervals):
    assert union_ns(*arrays(intervals)) == len(covered(intervals))


@given(INTERVALS)
def test_merged_intervals_are_disjoint_and_in_order(intervals):
    starts, ends = merged(*arrays(intervals))
    assert (ends > starts).all()
    assert (starts[1:] > ends[:-1]).all()


@given(INTERVALS, st.integers(0, 80), st.integers(0, 80))
def test_clipping_keeps_the_instants_inside(intervals, one, other):
    lo, hi = min(one, other), max(one, other)
    clipped_to = clipped(*arrays(intervals), lo_ns=BASE_NS + lo, hi_ns=BASE_NS + hi)
    assert union_ns(*clipped_to) == len({instant for instant in covered(intervals) if lo <= instant < hi})


@given(INTERVALS)
def test_shares_divide_each_instant_among_the_intervals_that_are_open(intervals):
    expected = [0.0] * len(intervals)
    for instant in covered(intervals):
        open_now = [row for row, (start, length) in enumerate(intervals) if start <= instant < start + length]
        for row in open_now:
            expected[row] += 1 / len(open_now)
    np.testing.assert_allclose(shares_ns(*arrays(intervals)), expected, atol=1e-9)


@given(st.lists(st.tuples(EDGES, st.integers(0, 2)), max_size=20))
def test_self_shares_give_each_instant_to_the_innermost_interval_of_each_lane(rows):
    intervals, lanes = [edges for edges, _ in rows], [lane for _, lane in rows]
    expected = [0.0] * len(rows)
    for instant in covered(intervals):
        owners = []
        for lane in set(lanes):
            open_now = [
                (start, -length, -row)
                for row, (start, length) in enumerate(intervals)
                if lanes[row] == lane and start <= instant < start + length
            ]
            if open_now:
                # the last to begin; of those the shortest; of equals the first row is outside the later ones
                begun = max(start for start, _, _ in open_now)
                shortest = max(length for start, length, _ in open_now if start == begun)
                owners.append(max(-row for start, length, row in open_now if (start, length) == (begun, shortest)))
        for row in owners:
            expected[row] += 1 / len(owners)
    shares = self_shares_ns(*arrays(intervals), np.array(lanes, dtype=np.int64))
    np.testing.assert_allclose(shares, expected, atol=1e-9)


@given(INTERVALS)
def test_self_shares_sum_to_the_union(intervals):
    lanes = np.arange(len(intervals), dtype=np.int64) % 3
    assert abs(self_shares_ns(*arrays(intervals), lanes).sum() - union_ns(*arrays(intervals))) < 1e-6


def test_parents_are_the_innermost_containers():
    starts = np.array([0, 1, 2, 6, 20], dtype=np.int64)
    ends = np.array([10, 5, 4, 9, 30], dtype=np.int64)
    assert parents(starts, ends).tolist() == [-1, 0, 1, 0, -1]


def parents_by_a_stack(starts, ends):
    """The row of the innermost container of each interval, one after the other."""
    found, stack = [-1] * len(starts), []
    for row in sorted(range(len(starts)), key=lambda row: (starts[row], -ends[row], row)):
        while stack and (ends[stack[-1]] < ends[row] or ends[stack[-1]] <= starts[row]):
            stack.pop()
        found[row] = stack[-1] if stack else -1
        stack.append(row)
    return found


@pytest.mark.parametrize("rounds", [0, 1, 48])
@given(intervals=st.lists(EDGES, max_size=60))
def test_parents_are_those_that_a_stack_finds_however_many_steps_are_tried_first(rounds, intervals):
    starts, ends = arrays(intervals)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(intervals_module, "_ROUNDS", rounds)
        assert parents(starts, ends).tolist() == parents_by_a_stack(starts.tolist(), ends.tolist())


def test_parents_of_siblings_behind_a_steep_nesting_are_found():
    depth, siblings = 300, 300
    down = [(level, 2 * depth - level) for level in range(depth)]  # all end before the siblings begin
    beside = [(2 * depth + 2 * place, 2 * depth + 2 * place + 1) for place in range(siblings)]
    starts, ends = (np.array(side) for side in zip((-1, 10_000), *down, *beside, strict=True))
    assert parents(starts, ends).tolist() == [-1, *range(depth), *([0] * siblings)]


@given(INTERVALS, st.lists(st.integers(-5, 90), max_size=120), st.booleans())
def test_innermost_is_the_last_to_begin_of_what_is_open(intervals, times, in_order):
    starts, ends = arrays(intervals)
    times = np.array(sorted(times) if in_order else times, dtype=np.int64) + BASE_NS
    expected = []
    for time in times.tolist():
        open_now = [row for row in range(len(starts)) if starts[row] <= time < ends[row]]
        # the last to begin; of those the shortest; of equals the later row is inside
        expected.append(max(open_now, key=lambda row: (starts[row], -ends[row], row), default=-1))
    assert innermost(starts, ends, times).tolist() == expected


def test_innermost_finds_the_enclosing_interval_behind_closed_siblings():
    starts = np.array([0, 1, 3, 5], dtype=np.int64)
    ends = np.array([100, 2, 4, 6], dtype=np.int64)
    times = np.array([0, 1, 2, 50, 100, -1], dtype=np.int64)
    assert innermost(starts, ends, times).tolist() == [0, 1, 0, 0, -1, -1]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
def test_rounding_keeps_the_sum(parts):
    total = round(sum(parts))
    rounded = rounded_to_sum(np.array(parts), total)
    assert rounded.sum() == total
    assert (np.abs(rounded - np.array(parts)) <= 1 + abs(sum(parts) - total)).all()


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=10), st.integers(-(10**18), 10**18))
def test_rounding_keeps_even_a_sum_that_is_far_off(parts, total):
    assert rounded_to_sum(np.array(parts), total).sum() == total


def test_rounding_leaves_nothing_at_nothing():
    assert rounded_to_sum(np.array([0.0, 5.0, 5.0, 0.0]), 9).tolist() == [0, 4, 5, 0]
    assert rounded_to_sum(np.array([0.0, 4.6, 4.6, 0.0]), 10).tolist() == [0, 5, 5, 0]
