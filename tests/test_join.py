"""The join of a timeline and counters: exact where nothing is missing, bounded where something is."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2prof.analysis.join import join, table, totals, unmatched
from ds2prof.analysis.join.alignment import aligned
from ds2prof.analysis.join.keys import function_name, matching_name, printed
from ds2prof.analysis.join.work import DOUBTFUL, EXTRAPOLATED, MATCHED, UNMATCHED
from ds2prof.errors import MissingDataError, UsageError
from ds2prof.tables import float_column, int_column, text_column
from tests.join_support import CYCLES, NAMES, PIPES, RNN, counters, replayed, section_of, timeline, truth
from tests.profiles import counters_profile, profile

POINT = 0.01
HUNDREDTH = 0.0001


def rows(joined, stretch="window"):
    return {row["pipe"]: row for row in table(joined, "core").rows() if row["stretch"] == stretch}


def missing(seed, share, *, streams=1, **more):
    """(the whole truth, the truth on the timeline, the join) with a share of launches missing on either side."""
    whole = truth(seed, streams=streams, **more)
    rng = np.random.default_rng(seed)
    seen = whole.take(np.flatnonzero(rng.random(len(whole)) >= share))
    made = counters(replayed(whole, seed=seed, mixed=True, drop=share), clock=0.5 + (seed % 11) / 10)
    return whole, seen, join(timeline(seen), made, sm_clock_hz=whole.clock_hz)


# ---- nothing missing


@pytest.mark.parametrize("streams", [1, 2, 4])
@pytest.mark.parametrize("clock", [0.5, 0.77, 1.0, 1.5])
@pytest.mark.parametrize("seed", range(5))
def test_utilization_is_exact_where_nothing_is_missing_and_the_clock_is_given(seed, clock, streams):
    whole = truth(seed, streams=streams)
    made = counters(replayed(whole, seed=seed, mixed=True), clock=clock)
    joined = join(timeline(whole), made, sm_clock_hz=whole.clock_hz)
    window_ns = whole.step_ns(2)[1] - whole.step_ns(0)[0]
    for pipe, row in rows(joined).items():
        work = whole.work[pipe].sum()
        assert row["utilization"] == pytest.approx(whole.utilization(pipe), abs=HUNDREDTH)
        assert row["effective_utilization"] == pytest.approx(work / (whole.clock_hz * window_ns / 1e9), abs=HUNDREDTH)
        assert row["utilization_low"] == pytest.approx(row["utilization"]) == row["utilization_high"]
        assert row["coverage"] == pytest.approx(1.0)
        assert row["matched"] == pytest.approx(1.0)


def test_the_rate_under_replay_is_not_taken_for_the_rate_of_the_run():
    whole = truth(1)
    cold = replayed(whole, cold=3.0)
    naive = sum(cold.work["fma"]) / (cold.clock_hz * cold.dur_ns.sum() / 1e9)
    joined = join(timeline(whole), counters(cold), sm_clock_hz=whole.clock_hz)
    assert rows(joined)["fma"]["utilization"] == pytest.approx(whole.utilization("fma"), abs=HUNDREDTH)
    assert abs(naive - whole.utilization("fma")) > 4 * POINT


def test_every_launch_gets_its_own_counters_when_streams_come_in_another_order():
    whole = truth(4, streams=3)
    seen = replayed(whole, seed=4, mixed=True)
    joined = join(timeline(whole, calls=False), counters(seen), sm_clock_hz=whole.clock_hz)
    theirs = whole.take(np.argsort(whole.start_ns, kind="stable"))
    assert (joined.state == MATCHED).all()
    assert np.array_equal(seen.work["fma"][joined.counter_row], theirs.work["fma"])
    assert np.array_equal(seen.iteration[joined.counter_row], theirs.iteration)


def test_streams_that_the_counters_do_not_tell_are_no_obstacle():
    whole = truth(6, streams=2)
    made = counters(replayed(whole, seed=6, mixed=True), shared_streams=False)
    row = rows(join(timeline(whole), made, sm_clock_hz=whole.clock_hz))["fma"]
    assert row["matched"] > 0.99
    assert row["utilization"] == pytest.approx(whole.utilization("fma"), abs=POINT / 10)


@pytest.mark.parametrize("by", ["iteration", "name", "class"])
def test_every_row_of_a_table_is_exact(by):
    whole = truth(2)
    joined = join(timeline(whole), counters(replayed(whole)), sm_clock_hz=whole.clock_hz)
    answer = table(joined, by)
    weighted = sum(row["fma"] * row["excl_ns"] for row in answer.rows()) / sum(answer.columns["excl_ns"])
    assert weighted == pytest.approx(whole.utilization("fma"), abs=HUNDREDTH)
    if by == "iteration":
        for row in answer.rows():
            assert row["fma"] == pytest.approx(whole.utilization("fma", whole.iteration == row["iteration"]), abs=1e-9)
    assert set(answer.columns["coverage"]) == {1.0}


# ---- launches missing


def test_five_percent_missing_costs_less_than_a_point_and_the_truth_lies_within_the_bounds():
    errors, own_errors = [], []
    for seed in range(40):
        whole, seen, joined = missing(seed, 0.05, streams=1 + seed % 3)
        for pipe, row in rows(joined).items():
            errors.append(abs(row["utilization"] - whole.utilization(pipe)))
            own_errors.append(abs(row["utilization"] - seen.utilization(pipe)))
            for true in (whole.utilization(pipe), seen.utilization(pipe)):
                assert row["utilization_low"] <= true <= row["utilization_high"]
            assert row["effective_utilization_low"] <= row["effective_utilization"] <= row["effective_utilization_high"]
    assert np.mean(errors) < POINT
    assert np.mean(own_errors) < POINT


@pytest.mark.parametrize("streams", [1, 2])
def test_coverage_is_the_share_of_time_that_has_counters(streams):
    for seed in range(10):
        whole = truth(seed, streams=streams, kinds=100)
        rng = np.random.default_rng(seed)
        kept = rng.random(len(whole)) >= 0.05
        lost = ~(rng.random(len(whole)) >= 0.05)
        made = counters(replayed(whole.take(np.flatnonzero(~lost))))
        seen = whole.take(np.flatnonzero(kept))
        joined = join(timeline(seen), made, sm_clock_hz=whole.clock_hz)
        shares = _shares_by_hand(seen)
        true = 1 - shares[lost[kept]].sum() / shares.sum()
        assert rows(joined)["fma"]["coverage"] == pytest.approx(true, abs=0.015)
        assert totals(joined)["matched_launches"] == pytest.approx((kept & ~lost).sum(), abs=4)


def test_a_matched_launch_whose_like_is_left_over_may_be_any_of_its_key():
    kernel = ("name", "device", "start_ns", "dur_ns")
    made = profile(kernels=(kernel, [("k", 0, 0, 1000), ("k", 0, 1000, 1000)]))
    (row,) = table(
        join(made, counters_profile([("k", 1000, share) for share in (0.1, 0.5, 0.9)]), sm_clock_hz=1e9), "core"
    ).rows()
    assert row["matched"] == 1.0
    assert (row["utilization_low"], row["utilization_high"]) == pytest.approx((0.1, 0.9))
    assert 0.1 < row["utilization"] < 0.9


def test_launches_are_in_the_order_of_their_calls_and_not_of_their_starts():
    kernel = ("name", "device", "stream", "start_ns", "dur_ns", "correlation", "process")
    kernels = (kernel, [("k", 0, 8, 500, 100, 2, 1), ("k", 0, 7, 1000, 100, 1, 1)])
    api = ("name", "start_ns", "dur_ns", "correlation", "process", "thread")
    calls = (api, [("cudaLaunchKernel", 10, 1, 1, 1, 1), ("cudaLaunchKernel", 20, 1, 2, 1, 1)])
    replay = counters_profile([("k", 100, 0.2), ("k", 100, 0.6)])
    assert join(profile(kernels=kernels, api=calls), replay, sm_clock_hz=1e9).counter_row.tolist() == [1, 0]
    assert join(profile(kernels=kernels), replay, sm_clock_hz=1e9).counter_row.tolist() == [0, 1]


def test_an_extrapolated_launch_does_what_the_one_in_its_place_did_within_the_bounds_of_its_key():
    kernel = ("name", "device", "start_ns", "dur_ns", "correlation", "process")
    api = ("name", "start_ns", "dur_ns", "correlation", "process", "thread")
    step = ("name", "kind", "value", "process", "thread", "start_ns", "dur_ns")
    made = profile(
        kernels=(kernel, [("k", 0, 1000 * at + 100, 100, at + 1, 1) for at in range(5)]),
        api=(api, [("cudaLaunchKernel", 1000 * at, 1, at + 1, 1, 1) for at in range(5)]),
        ranges=(step, [("s", "iteration", str(at), 1, 1, (0, 2000, 4000)[at], 1500) for at in range(3)]),
    )
    replay = counters_profile([("k", 100, 0.2), ("k", 100, 0.6)])
    replay.table("kernels").columns["iteration"] = text_column(["0", "0"])
    joined = join(made, replay, sm_clock_hz=1e9)
    assert joined.state.tolist() == [MATCHED, MATCHED, EXTRAPOLATED, EXTRAPOLATED, EXTRAPOLATED]
    assert joined.work["fma"].value.tolist() == pytest.approx([20, 60, 20, 60, 40])  # alone in the last: the mean
    assert joined.work["fma"].low.tolist() == pytest.approx([20, 60, 20, 20, 20])
    assert joined.work["fma"].high.tolist() == pytest.approx([20, 60, 60, 60, 60])


def _shares_by_hand(seen):
    """The time of each launch, that of launches side by side in equal parts."""
    ends = seen.start_ns + seen.dur_ns
    edges = np.unique(np.concatenate((seen.start_ns, ends)))
    shares = np.zeros(len(seen))
    for start, end in pairwise(edges.tolist()):
        running = np.flatnonzero((seen.start_ns <= start) & (ends >= end))
        shares[running] += (end - start) / max(len(running), 1)
    return shares


def test_what_did_not_match_is_listed_on_both_sides_longest_first():
    whole = truth(3, iterations=1)
    longest = int(whole.dur_ns.argmax())
    own_kind = (whole.name == whole.name[longest]) & (whole.grid == whole.grid[longest])
    other = int(np.flatnonzero(~own_kind)[0])
    made = counters(replayed(whole.take(np.flatnonzero(~own_kind))))
    seen = whole.take(np.flatnonzero(np.arange(len(whole)) != other))
    listed = unmatched(join(timeline(seen), made, sm_clock_hz=whole.clock_hz)).rows()
    theirs, own = ([row for row in listed if row["file"] == side] for side in ("timeline", "counters"))
    assert theirs[0]["dur_ns"] == whole.dur_ns[own_kind].sum()
    assert theirs[0]["launches"] == own_kind.sum()
    assert theirs[0]["reason"] == "no launch of this key in the counters file"
    assert [row["launches"] for row in own] == [1]
    assert theirs == sorted(theirs, key=lambda row: -row["dur_ns"])


def test_totals_sum_to_the_busy_time():
    _, seen, joined = missing(8, 0.2, streams=2)
    found = totals(joined)
    assert found["matched_ns"] + found["extrapolated_ns"] + found["unmatched_ns"] == found["busy_ns"]
    assert found["matched_launches"] + found["unmatched_launches"] + found["extrapolated_launches"] == len(seen)


# ---- one iteration describes the others


def test_one_captured_iteration_describes_those_like_it_and_the_two_are_told_apart():
    whole = truth(5, iterations=4)
    made = counters(replayed(whole.take(np.flatnonzero(whole.iteration == 2))))
    joined = join(timeline(whole), made, sm_clock_hz=whole.clock_hz)
    captured, window = rows(joined, "captured")["fma"], rows(joined)["fma"]
    assert captured["coverage"] == captured["matched"] == 1.0
    assert captured["utilization"] == pytest.approx(whole.utilization("fma", whole.iteration == 2), abs=1e-9)
    assert window["coverage"] == pytest.approx(1.0)
    assert window["matched"] == pytest.approx(0.25, abs=0.01)
    assert window["extrapolated"] == pytest.approx(0.75, abs=0.01)
    assert window["utilization"] == pytest.approx(whole.utilization("fma"), abs=HUNDREDTH)
    by_iteration = {row["iteration"]: row for row in table(joined, "iteration").rows()}
    assert [by_iteration[step]["matched"] for step in range(4)] == [0.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize("by", ["phase", "layer"])
def test_one_captured_iteration_describes_the_layers_and_phases_of_those_like_it(by):
    whole = truth(5, iterations=4, streams=2)
    made = counters(replayed(whole.take(np.flatnonzero(whole.iteration == 2)), mixed=True, cold=2.0), clock=0.6)
    answer = table(join(timeline(whole, sections=3), made, sm_clock_hz=whole.clock_hz), by)
    section = section_of(whole, 3)
    assert list(answer.columns[by]) == [f"{by}{at}" for at in range(3)]
    for at, row in enumerate(answer.rows()):
        assert row["coverage"] == pytest.approx(1.0)
        assert 0.15 < row["matched"] < 0.35
        for pipe in PIPES:
            assert row[pipe] == pytest.approx(whole.utilization(pipe, section == at), abs=HUNDREDTH)
            assert row[f"{pipe}_low"] <= row[pipe] <= row[f"{pipe}_high"]


def test_the_captured_iteration_is_found_by_its_launches_where_the_counters_do_not_tell_it():
    parts = [truth(seed, iterations=1, launches=80 + 10 * seed) for seed in range(3)]
    whole = _behind_each_other(parts)
    made = counters(replayed(whole.take(np.flatnonzero(whole.iteration == 1))), tells=False)
    joined = join(timeline(whole), made, sm_clock_hz=whole.clock_hz)
    assert set(whole.iteration[_in_order(whole)][joined.state == MATCHED]) == {1}
    assert any("matched to iteration 1 of the timeline" in note for note in joined.notes)


def test_of_iterations_with_the_same_launches_the_times_tell_the_captured_one():
    whole = truth(7, iterations=4, lengths=(100, 150, 250, 200))
    made = counters(replayed(whole.take(np.flatnonzero(whole.iteration == 2)), cold=0.3), tells=False)
    joined = join(timeline(whole), made, sm_clock_hz=whole.clock_hz)
    assert set(whole.iteration[_in_order(whole)][joined.state == MATCHED]) == {2}
    assert any("(4 have the same launches; by their times)" in note for note in joined.notes)


def test_a_stretch_is_found_in_a_timeline_without_iterations():
    parts = [truth(seed, iterations=1, launches=200) for seed in range(5)]
    whole = _behind_each_other(parts)
    made = counters(replayed(whole.take(np.flatnonzero(whole.iteration == 3))))
    joined = join(timeline(whole, steps=False), made, sm_clock_hz=whole.clock_hz)
    found = whole.iteration[_in_order(whole)][joined.state == MATCHED]
    assert (found == 3).sum() == 200
    assert len(found) == 200


def test_several_captured_iterations_are_each_matched_with_their_own():
    whole = truth(9, iterations=4)
    made = counters(replayed(whole.take(np.flatnonzero(np.isin(whole.iteration, (1, 3))))))
    joined = join(timeline(whole), made, sm_clock_hz=whole.clock_hz)
    steps = np.array([1] * 150 + [3] * 150)
    matched = joined.state == MATCHED
    assert np.array_equal(steps[joined.counter_row[matched]], whole.iteration[matched])


def test_iterations_that_the_timeline_lacks_are_extrapolated_from_and_said_so():
    whole = truth(5, iterations=4)
    made = counters(replayed(whole.take(np.flatnonzero(whole.iteration == 0))))
    rest = whole.take(np.flatnonzero(whole.iteration > 0))
    joined = join(timeline(rest), made, sm_clock_hz=whole.clock_hz)
    assert set(joined.state.tolist()) == {EXTRAPOLATED}
    assert any("no iteration is in both files" in note for note in joined.notes)
    assert rows(joined)["fma"]["utilization"] == pytest.approx(rest.utilization("fma"), abs=HUNDREDTH)


def test_an_rnn_of_another_length_is_not_taken_for_its_like():
    whole = truth(7, iterations=3, lengths=(100, 250, 100))
    made = counters(replayed(whole.take(np.flatnonzero(whole.iteration == 0))))
    joined = join(timeline(whole), made, sm_clock_hz=whole.clock_hz)
    rnn = whole.name == -1
    assert rnn.any()
    assert set(joined.state[rnn & (whole.iteration == 1)].tolist()) == {DOUBTFUL}
    assert set(joined.state[rnn & (whole.iteration == 2)].tolist()) == {EXTRAPOLATED}
    row = rows(joined)["fma"]
    assert row["utilization_low"] <= whole.utilization("fma") <= row["utilization_high"]
    reasons = {row["reason"] for row in unmatched(joined).rows()}
    assert reasons == {"its like was captured, but took another time: other work"}


# ---- the clock


def test_a_clock_that_the_timeline_sampled_gives_a_number_and_bounds():
    whole = truth(2)
    made = timeline(whole)
    first, last = whole.step_ns(0)[0], whole.step_ns(2)[1]
    readings = [("clocks.current.sm", "hertz", hz, at) for hz, at in ((1.41e9, first), (1.2e9, (first + last) // 2))]
    sampled = profile(samples=(("metric", "unit", "value", "start_ns"), readings))
    made.require("kernels")._tables["samples"] = sampled.table("samples")
    row = rows(join(made, counters(replayed(whole))))["fma"]
    true = whole.utilization("fma")  # at 1,410 MHz
    assert row["utilization"] == pytest.approx(true * 1410 / 1305, rel=1e-6)
    assert row["utilization_low"] == pytest.approx(true)
    assert row["utilization_high"] == pytest.approx(true * 1410 / 1200)


def test_an_unknown_clock_is_an_interval_and_no_number():
    whole = truth(2)
    made = counters(replayed(whole))
    row = rows(join(timeline(whole), made))["fma"]
    assert row["utilization"] is None
    assert row["effective_utilization"] is None
    cycles = whole.work["fma"].sum() / (whole.dur_ns.sum() / 1e9)
    assert row["utilization_low"] == pytest.approx(cycles / 1410e6)
    assert row["utilization_high"] == pytest.approx(cycles / 765e6)


def test_a_device_without_a_certain_base_clock_has_lower_bounds_alone():
    whole = truth(2)
    row = rows(join(timeline(whole, device="NVIDIA A100-SXM4-40GB"), counters(replayed(whole))))["fma"]
    assert (row["utilization"], row["utilization_high"]) == (None, None)
    assert row["utilization_low"] == pytest.approx(whole.utilization("fma"))


def test_a_device_that_is_not_known_has_coverage_and_no_utilization():
    whole = truth(2)
    answer = table(join(timeline(whole, device="A GPU"), counters(replayed(whole))), "core")
    assert answer.rows()[0]["coverage"] == pytest.approx(1.0)
    assert (answer.rows()[0]["utilization_low"], answer.rows()[0]["utilization_high"]) == (None, None)
    assert any("SM clock of the timeline unknown" in note for note in answer.notes)


def test_a_clock_that_leaves_no_room_for_the_work_gives_no_number():
    whole = truth(2)
    answer = table(join(timeline(whole), counters(replayed(whole)), sm_clock_hz=whole.clock_hz / 20), "core")
    assert set(answer.columns["utilization"]) == {None}
    assert any("more work than the pipe can do" in note for note in answer.notes)


# ---- sources that tell less, or other things


def test_names_of_functions_alone_are_matched_by_those():
    whole = truth(4)
    made = counters(replayed(whole))
    names = made.table("kernels")["name"]
    short = [function_name(matching_name(name)) for name in names.categories]
    made.table("kernels").columns["name"] = replace(names, categories=short)
    joined = join(timeline(whole), made, sm_clock_hz=whole.clock_hz)
    assert (joined.state == MATCHED).all()
    assert any("names are matched by function alone" in note for note in joined.notes)


def test_launches_that_differ_in_shared_memory_alone_are_not_confused():
    kernel = ("name", "device", "start_ns", "dur_ns", "shared_bytes")
    made = profile(kernels=(kernel, [("k", 0, 0, 9, 16384), ("k", 0, 10, 9, 2048), ("k", 0, 20, 9, 1024)]))
    replay = counters_profile([("k", 1000, 0.5), ("k", 1000, 0.1)])
    sizes = {"static_shared_bytes": int_column([16, 0]), "dynamic_shared_bytes": int_column([16364, 1020])}
    replay.table("kernels").columns.update(sizes)
    assert join(made, replay, sm_clock_hz=1e9).counter_row.tolist() == [0, -1, 1]


def test_a_summary_of_counters_serves_every_launch_of_its_kernels():
    kernel = ("name", "device", "start_ns", "dur_ns")
    made = profile(kernels=(kernel, [("k", 0, 0, 1000), ("k", 0, 2000, 1000), ("m", 0, 4000, 1000)]))
    replay = counters_profile([("k", 1000, 0.5), ("m", 1000, 0.1)])
    replay.table("kernels").columns["calls"] = int_column([2, 1])
    joined = join(made, replay, sm_clock_hz=1e9)
    assert set(joined.state.tolist()) == {EXTRAPOLATED}
    (row,) = table(joined, "core").rows()
    assert row["utilization"] == pytest.approx((2 * 500 + 100) / 3000)


def test_a_graph_whose_contents_are_hidden_is_busy_time_of_unknown_work():
    kernel = ("name", "kind", "device", "start_ns", "dur_ns")
    made = profile(kernels=(kernel, [("k", "kernel", 0, 0, 1000), ("graph 1", "graph", 0, 1000, 3000)]))
    joined = join(made, counters_profile([("k", 1000, 0.5)]), sm_clock_hz=1e9)
    (row,) = table(joined, "core").rows()
    assert (row["utilization"], row["utilization_low"], row["utilization_high"]) == pytest.approx((0.5, 0.125, 0.875))
    assert row["coverage"] == 0.25
    assert unmatched(joined).rows()[0]["reason"] == "not one kernel: a graph whose contents the tool hid"


def test_what_runs_beside_an_unknown_launch_may_be_anything_between_none_and_all():
    kernel = ("name", "device", "stream", "start_ns", "dur_ns")
    made = profile(kernels=(kernel, [("k", 0, 7, 0, 1000), ("m", 0, 8, 500, 1000)]))
    (row,) = table(join(made, counters_profile([("k", 1000, 0.4)]), sm_clock_hz=1e9), "core").rows()
    assert row["utilization_low"] == pytest.approx(400 / 1500)
    assert row["utilization_high"] == pytest.approx((400 + 1000) / 1500)
    assert row["coverage"] == pytest.approx(750 / 1500)
    assert row["utilization"] == pytest.approx(400 / 750)


def test_a_device_without_counters_is_unmatched_and_said_so():
    kernel = ("name", "device", "start_ns", "dur_ns")
    made = profile(kernels=(kernel, [("k", 0, 0, 1000), ("k", 1, 0, 1000)]))
    answer = table(join(made, counters_profile([("k", 1000, 0.5)]), sm_clock_hz=1e9), "core")
    assert [(row["device"], row["coverage"]) for row in answer.rows()] == [(0, 1.0), (1, 0.0)]
    assert any("device 1 of the timeline has no counterpart" in note for note in answer.notes)


def test_launches_are_clipped_at_the_window_and_their_work_with_them():
    made = profile(
        kernels=(("name", "device", "start_ns", "dur_ns"), [("k", 0, 0, 1000)]),
        spans=(("start_ns", "dur_ns"), [(500, 1000)]),
    )
    (row,) = table(join(made, counters_profile([("k", 1000, 0.5)]), sm_clock_hz=1e9), "core").rows()
    assert row["utilization"] == pytest.approx(0.5)
    assert row["effective_utilization"] == pytest.approx(0.25)


def test_matched_launches_that_took_another_time_than_their_cycles_say_are_named():
    whole = truth(7, iterations=2, lengths=(100, 400))
    made = counters(replayed(whole.take(np.flatnonzero(whole.iteration == 0))), tells=True)
    other = whole.take(np.flatnonzero(whole.iteration == 1))
    other = replace(other, iteration=other.iteration - 1)
    joined = join(timeline(other), made, sm_clock_hz=whole.clock_hz)
    assert any("was the work the same in both runs?" in note for note in joined.notes)


# ---- what is refused


def test_files_the_wrong_way_round_are_recognised():
    whole = truth(1)
    with pytest.raises(
        UsageError, match=r"counters\.csv holds counters and timeline\.json a timeline: .*ds2prof join "
    ):
        join(counters(whole), timeline(whole))


def test_counters_of_another_chip_are_refused():
    whole = truth(1)
    with pytest.raises(MissingDataError, match=r"its chip is GH100, that of timeline\.json is GA100"):
        join(timeline(whole), counters(whole, chip="GH100"))


def test_files_without_a_launch_in_common_are_refused_by_what_sets_them_apart():
    grid = ("grid_x", "grid_y", "grid_z")
    kernel = ("name", "kind", "device", *grid, "start_ns", "dur_ns")
    replay = counters_profile([("k", 1000, 0.5)])
    replay.table("kernels").columns.update({side: int_column([8]) for side in grid})
    for name, kind, reason in (
        ("m", "kernel", "no launch in it has the name, grid of one in .*; are the two of one program"),
        ("k", "kernel", "no launch in it has the name, grid of one in .*; kernels of the same names are in both"),
        ("graph 1", "graph", "graphs alone, whose contents the tool hid; .*--cuda-graph-trace=node"),
    ):
        made = profile(kernels=(kernel, [(name, kind, 0, 4, 1, 1, 0, 1000)]))
        with pytest.raises(MissingDataError, match=reason):
            join(made, replay, sm_clock_hz=1e9)


def test_several_streams_without_a_launch_in_common_within_an_iteration_are_unmatched():
    kernel = ("name", "device", "stream", "start_ns", "dur_ns", "correlation", "process")
    api = ("name", "start_ns", "dur_ns", "correlation", "process", "thread")
    calls = [("cudaLaunchKernel", at, 1, place, 1, 1) for place, at in enumerate((0, 5, 8000), 1)]
    step = (
        ("name", "kind", "value", "process", "thread", "start_ns", "dur_ns"),
        [("s", "iteration", "1", 1, 1, 0, 50)],
    )
    made = profile(
        kernels=(kernel, [("k", 0, 7, 10, 10, 1, 1), ("k", 0, 8, 20, 10, 2, 1), ("z", 0, 7, 9000, 10, 3, 1)]),
        api=(api, calls),
        ranges=step,
    )
    told, untold = (counters_profile([("z", 1000, 0.5), ("z", 1000, 0.5)]) for _ in range(2))
    told.table("kernels").columns["iteration"] = text_column(["1", "1"])
    for replay in (told, untold):
        replay.table("kernels").columns["stream"] = int_column([7, 8])
        joined = join(made, replay, sm_clock_hz=1e11)
        assert joined.counter_row.tolist() == [-1, -1, -1]
        assert joined.state.tolist() == [UNMATCHED, UNMATCHED, EXTRAPOLATED]
    assert any("no iteration of the timeline has a launch" in note for note in joined.notes)


def test_little_coverage_is_said_first():
    kernel = ("name", "device", "start_ns", "dur_ns")
    made = profile(kernels=(kernel, [("k", 0, 0, 1000), ("m", 0, 1000, 9000)]))
    joined = join(made, counters_profile([("k", 1000, 0.5)]), sm_clock_hz=1e9)
    for by in ("core", "name"):
        assert table(joined, by).notes[0].startswith("only 10.00 % of the busy time has counters")
    whole = truth(1)
    answer = table(join(timeline(whole), counters(replayed(whole)), sm_clock_hz=whole.clock_hz), "core")
    assert not any("of the busy time has counters" in note for note in answer.notes)


def test_a_launch_whose_counters_were_not_read_is_covered_on_no_pipe():
    kernel = ("name", "device", "start_ns", "dur_ns")
    made = profile(kernels=(kernel, [("k", 0, 0, 1000), ("m", 0, 1000, 1000), ("n", 0, 2000, 2000)]))
    replay = counters_profile([("k", 1000, 0.5), ("m", None, 0.5), ("n", 2000, 0.2)])
    joined = join(made, replay, sm_clock_hz=1e9)
    (row,) = table(joined, "core").rows()
    assert joined.state.tolist() == [MATCHED, UNMATCHED, MATCHED]
    assert (row["coverage"], row["launches"]) == (0.75, 2)
    assert row["utilization"] == pytest.approx(900 / 3000)
    assert (row["utilization_low"], row["utilization_high"]) == pytest.approx((900 / 4000, 1900 / 4000))
    assert totals(joined)["coverage"] == 0.75
    (listed,) = unmatched(joined).rows()
    assert listed["reason"] == "the counters file lacks this launch of the key, or its counters"


def test_coverage_is_that_of_each_pipe():
    kernel = ("name", "device", "start_ns", "dur_ns")
    made = profile(kernels=(kernel, [("k", 0, 0, 1000), ("m", 0, 1000, 3000)]))
    replay = counters_profile([("k", 1000, 0.5), ("m", 3000, 0.2)])
    more = replay.table("counters")
    rows = [(0, CYCLES, "cycle", 1000), (1, CYCLES, "cycle", 3000), (0, PIPES["fma"], "ratio", 0.5)]
    rows += [(1, PIPES["fma"], "ratio", 0.2), (1, PIPES["tensor"], "ratio", 0.1)]
    launches, metrics, units, values = zip(*rows, strict=True)
    more.columns.update(
        launch=int_column(launches), metric=text_column(metrics), unit=text_column(units), value=float_column(values)
    )
    joined = join(made, replay, sm_clock_hz=1e9)
    found = {row["pipe"]: (row["coverage"], row["matched"], row["launches"]) for row in table(joined, "core").rows()}
    assert found == {"fma": (1.0, 1.0, 2), "tensor": (0.75, 0.75, 1)}


def test_counters_without_cycles_are_refused():
    made = counters_profile([("a", None, 0.5)])
    with pytest.raises(MissingDataError, match=r"no gpc__cycles_elapsed\.max"):
        join(timeline(truth(1)), made)


def test_a_timeline_without_times_is_refused():
    made = profile(kernels=(("name", "calls", "dur_ns"), [("a", 3, 10)]))
    with pytest.raises(MissingDataError, match="launches without times of their own"):
        join(made, counters(truth(1)))


def test_two_replayed_captures_are_no_timeline_and_counters():
    whole = truth(1)
    with pytest.raises(MissingDataError, match="its times are of replayed launches"):
        join(counters(whole), counters(whole))


# ---- keys


@pytest.mark.parametrize("names", [*NAMES, RNN], ids=range(len(NAMES) + 1))
def test_the_demanglers_names_of_one_kernel_are_one_key(names):
    assert matching_name(names[0]) == matching_name(names[1])


def test_a_mangled_name_is_the_key_of_its_demangled_one():
    assert matching_name("_Z1kILi32EEvPf") == matching_name("void k<(int)32>(float *)")


def test_a_functions_own_name_is_what_stands_behind_its_namespaces():
    assert function_name("at::native::(anonymous namespace)::k<float,4>") == "k"
    assert function_name("Foo<int>::run<3>") == "run"


@given(st.integers(0, 300_000))
def test_sizes_are_the_same_before_and_after_they_were_printed(size):
    shown = size if size < 1000 else round(round(size / 1000, 2) * 1000)
    if size % 10 != 5:  # a half may be rounded either way
        assert printed(np.array([size])) == printed(np.array([shown]))


# ---- alignment


def _longest(left, right):
    """Length of the longest common subsequence, by the textbook."""
    lengths = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            lengths[i + 1][j + 1] = lengths[i][j] + 1 if a == b else max(lengths[i][j + 1], lengths[i + 1][j])
    return lengths[-1][-1]


keys = st.lists(st.integers(0, 4), max_size=20)


@given(keys, keys)
def test_an_alignment_is_a_longest_common_subsequence(left, right):
    lefts, rights = aligned(np.array(left, dtype=np.int64), np.array(right, dtype=np.int64))
    assert len(lefts) == _longest(left, right)
    assert [left[i] for i in lefts] == [right[j] for j in rights]
    assert (np.diff(lefts) > 0).all()
    assert (np.diff(rights) > 0).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.floats(0, 0.9))
@settings(max_examples=50)
def test_a_subsequence_of_distinct_keys_is_matched_launch_by_launch(seed, length, share):
    rng = np.random.default_rng(seed)
    whole = rng.permutation(length).astype(np.int64)
    kept = np.flatnonzero(rng.random(length) >= share)
    lefts, rights = aligned(whole, whole[kept])
    assert np.array_equal(lefts, kept)
    assert np.array_equal(rights, np.arange(len(kept)))


@pytest.mark.parametrize("period", [7, 300, 10**6])
def test_long_sequences_are_aligned_in_chunks_as_well_as_in_one_piece(period):
    rng = np.random.default_rng(0)
    whole = np.arange(30_000) % period if period < 10**6 else rng.integers(0, 300, 30_000)
    kept = [np.flatnonzero(rng.random(30_000) >= 0.05) for _ in range(2)]
    lefts, rights = aligned(whole[kept[0]], whole[kept[1]])
    assert np.array_equal(whole[kept[0]][lefts], whole[kept[1]][rights])
    assert len(lefts) >= 0.999 * len(np.intersect1d(*kept))


def _in_order(whole):
    return np.argsort(whole.start_ns, kind="stable")


def _behind_each_other(parts):
    """Truths as the iterations of one."""
    found, end = [], 0
    for number, part in enumerate(parts):
        shift = end - int(part.start_ns.min()) + 1_000_000
        end = int((part.start_ns + part.dur_ns).max()) + shift
        found.append(replace(part, iteration=part.iteration + number, start_ns=part.start_ns + shift))
    columns = ("iteration", "name", "grid", "stream", "start_ns", "dur_ns")
    joined = {name: np.concatenate([getattr(part, name) for part in found]) for name in columns}
    return replace(
        found[0], work={pipe: np.concatenate([part.work[pipe] for part in found]) for pipe in PIPES}, **joined
    )
