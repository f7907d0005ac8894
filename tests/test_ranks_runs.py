"""Several profiles as one run, on traces whose every wait and clock offset was chosen beforehand."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2prof.analysis import ranks
from ds2prof.analysis.ranks import clocks
from ds2prof.errors import MissingDataError
from ds2prof.parsers import parse_source
from tests import profiles
from tests.kineto_support import source
from tests.ranks_support import COMPUTE_NS, STEP_NS, TRANSFER_NS, Made, trace


def run_of(made, order=None):
    parsed = [parse_source(source(trace(made, rank).encode(), f"r{rank}.json")) for rank in order or range(made.ranks)]
    return ranks.run_of([lane for profile in parsed for lane in ranks.lanes_of(profile)])


def table(run, by):
    return ranks.answer(run, by).rows()


LATE = [[0, 5_000, 300_000], [0, 250_000, 1_000], [10_000, 0, 4_000], [0, 0, 90_000]]
OFFSETS = [0, 7_654_321, -123_456_789]


def test_clock_offsets_are_found_to_the_nanosecond_where_ends_coincide():
    rows = table(run_of(Made(LATE, OFFSETS)), "rank")
    assert [row["clock_offset_ns"] for row in rows] == OFFSETS
    assert [row["clock_error_ns"] for row in rows] == [0, 2, 2]  # a nanosecond of each clock's own step


def test_who_made_whom_wait_is_exact():
    rows = {(row["straggler"], row["waiting"]): row for row in table(run_of(Made(LATE, OFFSETS)), "straggler")}
    assert {pair: (row["calls"], row["wait_ns"]) for pair, row in rows.items()} == {
        (2, 0): (2, 300_000 + 90_000),
        (2, 1): (2, 295_000 + 90_000),
        (1, 0): (1, 250_000),
        (1, 2): (1, 249_000),
        (0, 1): (1, 10_000),
        (0, 2): (1, 6_000),
    }
    assert rows[2, 0]["longest_wait_ns"] == 300_000
    assert (rows[2, 0]["longest_in"], rows[2, 0]["longest_iteration"]) == ("all_reduce", "0")


def test_waits_of_a_rank_and_those_it_caused_are_summed():
    rows = table(run_of(Made(LATE, OFFSETS)), "rank")
    assert [row["wait_ns"] for row in rows] == [640_000, 395_000, 255_000]
    assert [row["caused_wait_ns"] for row in rows] == [16_000, 499_000, 775_000]


def test_a_collective_tells_its_transfer_its_skew_and_the_last_to_come():
    rows = {row["sequence"]: row for row in table(run_of(Made(LATE, OFFSETS)), "collective")}
    assert [rows[number]["last_rank"] for number in (1, 2, 3, 4)] == [2, 1, 0, 2]
    assert [rows[number]["skew_ns"] for number in (1, 2, 3, 4)] == [300_000, 250_000, 10_000, 90_000]
    assert {row["transfer_ns"] for row in rows.values()} == {TRANSFER_NS}
    assert rows[1]["max_dur_ns"] == TRANSFER_NS + 300_000
    assert (rows[1]["group"], rows[1]["group_size"], rows[1]["in_bytes"], rows[1]["ranks"]) == ("0", 3, 1024, 3)


def test_each_ranks_time_sums_to_its_window():
    for row in table(run_of(Made(LATE, OFFSETS)), "rank"):
        parts = ("compute_ns", "exposed_communication_ns", "exposed_copy_ns", "idle_ns")
        assert sum(row[part] for part in parts) == row["window_ns"] == 4 * STEP_NS - 1000
        assert row["compute_ns"] == 4 * COMPUTE_NS


def test_ranks_come_in_order_whatever_the_order_of_the_files():
    there, back = (run_of(Made(LATE, OFFSETS), order=order) for order in ([0, 1, 2], [2, 0, 1]))
    assert table(back, "rank") == table(there, "rank")


def test_jitter_widens_the_error_and_waits_below_it_name_nobody():
    jitter = [[0, 4_000, 0], [3_000, 0, 0], [0, 0, 5_000], [0, 2_000, 0]]
    late = [[0, 0, 300_000], [0, 1_500, 0], [0, 2_000, 0], [0, 0, 0]]
    run = run_of(Made(late, OFFSETS, jitter))
    for row, offset in zip(table(run, "rank"), OFFSETS, strict=True):
        assert abs(row["clock_offset_ns"] - offset) <= row["clock_error_ns"]
    assert {(row["straggler"], row["waiting"]) for row in table(run, "straggler")} == {(2, 0), (2, 1)}
    assert "waits are no longer than the error" in " ".join(ranks.answer(run, "straggler").notes)


def test_nobody_is_named_where_too_few_collectives_tell_the_error():
    run = run_of(Made(LATE[:2], OFFSETS))
    answer = ranks.answer(run, "straggler")
    assert len(answer) == 0
    assert "error of the clocks' alignment is not known" in answer.notes[0]
    assert [row["clock_error_ns"] for row in table(run, "rank")] == [None, None, None]


def test_nobody_is_named_where_ranks_are_missing():
    run = run_of(Made(LATE, OFFSETS, world_size=8))
    assert table(run, "straggler") == []
    assert {row["last_rank"] for row in table(run, "collective")} == {None}
    assert [row["wait_ns"] for row in table(run, "rank")] == [None] * 3
    assert [row["clock_offset_ns"] for row in table(run, "rank")] == OFFSETS


def test_a_transfer_is_not_told_where_who_came_last_may_be_missing():
    whole = Made(LATE, OFFSETS, world_size=3)
    assert {row["transfer_ns"] for row in table(run_of(whole), "collective")} == {TRANSFER_NS}
    assert {row["transfer_ns"] for row in table(run_of(whole, [0, 1]), "collective")} == {None}
    left_early = Made(LATE, OFFSETS, name="broadcast")
    assert {row["transfer_ns"] for row in table(run_of(left_early), "collective")} == {None}


def test_a_rank_given_twice_makes_no_collective_whole():
    run = run_of(Made(LATE, OFFSETS, world_size=3), [0, 1, 1])
    assert table(run, "straggler") == []
    assert [row["last_rank"] for row in table(run, "collective")] == [None] * 4
    assert (
        "4 of 4 collectives lack ranks or have one twice: who came last is not known"
        in ranks.answer(run, "straggler").notes
    )


def test_a_broadcast_aligns_no_clocks_and_names_nobody():
    run = run_of(Made(LATE, OFFSETS, name="broadcast"))
    assert len(run.collectives) == 4
    assert [row["clock_offset_ns"] for row in table(run, "rank")] == [None] * 3
    assert table(run, "straggler") == []


def test_groups_are_matched_apart_and_aligned_through_a_common_rank_where_there_is_one():
    groups = {0: ("1", [0, 1]), 1: ("1", [0, 1]), 2: ("2", [2, 3]), 3: ("2", [2, 3])}
    late = [[0, 50_000, 20_000, 0]] * 4
    run = run_of(Made(late, [0, 1_000, 2_000, 9_000], groups=groups))
    assert {(row["straggler"], row["waiting"]): row["wait_ns"] for row in table(run, "straggler")} == {
        (1, 0): 200_000,
        (2, 3): 80_000,
    }
    assert [row["clock_offset_ns"] for row in table(run, "rank")] == [0, 1_000, 0, 7_000]  # two references


def test_collectives_without_numbers_are_matched_within_their_iterations():
    run = run_of(Made(LATE, OFFSETS, numbered=False, first={1: 1}))
    assert sorted(row["iteration"] for row in table(run, "collective")) == ["0", "1", "2", "3"]
    assert {row["iteration"]: row["ranks"] for row in table(run, "collective")} == {"0": 2, "1": 3, "2": 3, "3": 3}


def test_kernels_that_tell_nothing_are_matched_by_their_names():
    made = Made(LATE, OFFSETS, told=False)
    rows = table(run_of(made), "collective")
    assert {(row["name"], row["group"], row["sequence"]) for row in rows} == {("all_reduce", None, None)}
    assert [row["wait_ns"] for row in table(run_of(made), "rank")] == [640_000, 395_000, 255_000]


def test_uneven_counts_under_one_key_match_nothing():
    kernels = (("name", "device", "start_ns", "dur_ns"), [("ncclDevKernel_AllReduce", 0, 10, 5)])
    twice = (kernels[0], [("ncclDevKernel_AllReduce", 0, 10, 5), ("ncclDevKernel_AllReduce", 0, 30, 5)])
    lanes = [lane for spec in (kernels, twice) for lane in ranks.lanes_of(profiles.profile(kernels=spec))]
    assert len(ranks.run_of(lanes).collectives) == 0


def test_files_without_ranks_are_told_apart_by_their_places():
    run = run_of(Made(LATE, OFFSETS, with_rank=False), order=[0, 1, 2])
    assert run.labels == [0, 1, 2]
    said = "ranks are places in the order of the files and their devices: a file does not tell its rank"
    assert said in ranks.answer(run, "rank").notes


@pytest.mark.parametrize(
    ("name", "rank"), [("torch_bs4_rank12.json", 12), ("a/rank-3.pt.json", 3), ("frank7.json", None)]
)
def test_a_rank_is_read_off_the_files_name_where_nothing_else_tells_it(name, rank):
    parsed = parse_source(source(trace(Made(LATE, OFFSETS, with_rank=False), 0).encode(), name))
    assert ranks.lanes_of(parsed)[0].rank == rank


def test_overlap_is_the_share_of_communication_that_compute_runs_beside():
    kernels = [
        ("gemm_a", 0, 0, 100),
        ("ncclKernel_AllReduce", 0, 60, 80),
        ("gemm_b", 0, 130, 30),
        ("gemm_c", 0, 135, 5),
    ]
    copies = (("name", "kind", "device", "start_ns", "dur_ns"), [("HtoD", "memcpy", 0, 150, 30)])
    made = profiles.profile(kernels=(("name", "device", "start_ns", "dur_ns"), kernels), copies=copies)
    sums = ranks.lanes_of(made)[0].sums
    assert (sums.communication_ns, sums.overlapped_ns, sums.overlap) == (80, 50, 50 / 80)
    assert (sums.compute_ns, sums.exposed_communication_ns, sums.exposed_copy_ns, sums.idle_ns) == (130, 30, 20, 0)


def test_a_replayed_capture_is_no_part_of_a_run():
    with pytest.raises(MissingDataError, match="times are of replayed launches"):
        ranks.lanes_of(profiles.counters_profile([("k", 1, 0.5)]))


def test_a_run_without_a_gpu_is_no_part_of_a_run_and_is_not_told_to_use_another_tool():
    made = profiles.profile(meta=dataclasses.replace(profiles.META, domain="cpu"))
    with pytest.raises(MissingDataError, match=r"no part of a run of ranks: a run without a GPU has no device work$"):
        ranks.lanes_of(made)


def test_a_device_with_one_file_each_and_several_in_one_file_give_a_lane_each():
    kernels = [("gemm", 0, 0, 10), ("gemm", 1, 5, 10)]
    found = ranks.lanes_of(profiles.profile(kernels=(("name", "device", "start_ns", "dur_ns"), kernels)))
    assert [(lane.device, lane.rank, lane.window.length_ns) for lane in found] == [(0, None, 10), (1, None, 10)]


moments = st.integers(min_value=0, max_value=400_000)


@st.composite
def runs(draw):
    count = draw(st.integers(min_value=2, max_value=4))
    steps = draw(st.integers(min_value=3, max_value=6))
    late = draw(st.lists(st.lists(moments, min_size=count, max_size=count), min_size=steps, max_size=steps))
    offsets = draw(st.lists(st.integers(-(10**12), 10**12), min_size=count, max_size=count))
    return Made(late, [0, *offsets[1:]], numbered=draw(st.booleans()))


@settings(max_examples=25, deadline=None)
@given(runs())
def test_waits_of_any_run_without_jitter_are_those_that_it_was_made_of(made):
    found = run_of(made)
    truth = {}
    for late in made.late_ns:
        last = max(range(made.ranks), key=late.__getitem__)
        for rank, moment in enumerate(late):
            if late[last] - moment > 2:
                truth[rank] = truth.get(rank, 0) + late[last] - moment
    assert {row["rank"]: row["wait_ns"] for row in table(found, "rank") if row["wait_ns"]} == truth
    assert [row["clock_offset_ns"] for row in table(found, "rank")] == made.offset_ns


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-100, 100)), min_size=1, max_size=40))
def test_medians_and_quantiles_by_group_are_those_of_each_group_alone(pairs):
    import numpy as np

    codes, values = (np.array(each, dtype=np.int64) for each in zip(*pairs, strict=True))
    middle = clocks.medians(codes, values)
    high = clocks.quantiles(codes, values, 4, 0.95)
    for code in set(codes.tolist()):
        mine = sorted(values[codes == code].tolist())
        assert middle[code] == (mine[(len(mine) - 1) // 2] + mine[len(mine) // 2]) // 2
        assert high[code] == next(value for value in mine if sum(each <= value for each in mine) >= 0.95 * len(mine))


def test_a_hostile_group_or_collective_name_is_only_text():
    made = Made(LATE, OFFSETS, groups={rank: ("x\x1b[2J:\n", [0, 1, 2]) for rank in range(3)})
    parsed = json.loads(trace(made, 0))
    parsed["traceEvents"][5]["args"]["Process Group Ranks"] = {"a": [1]}
    lane = ranks.lanes_of(parse_source(source(json.dumps(parsed).encode(), "r0.json")))[0]
    assert len(lane.communication) == 4
