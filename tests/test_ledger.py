from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest

from ds2prof.analysis import findings, host_calls, ledger, ledger_sets, waits
from ds2prof.errors import MissingDataError
from ds2prof.parsers import read_all
from ds2prof.tables import Meta
from tests.conftest import corpus_folder
from tests.profiles import REPLAY, profile
from tests.test_corpus import ds2prof

KERNEL = ("name", "process", "device", "stream", "correlation", "start_ns", "dur_ns")
COPY = ("name", "kind", "process", "device", "stream", "correlation", "start_ns", "dur_ns", "source_kind")
CALL = ("name", "process", "thread", "correlation", "start_ns", "dur_ns")
RANGE = ("name", "kind", "value", "process", "thread", "start_ns", "dur_ns")
OVERHEAD = ("name", "process", "thread", "start_ns", "dur_ns")
OP = ("name", "process", "thread", "start_ns", "dur_ns")
WINDOW = ("w", "window", None, 1, 1, 0, 1000)


def window_of(*, calls=(), ranges=(), kernels=None, **tables):
    """A window of 1,000 ns: kernel a in [100, 200), kernel b in [600, 700), launched by thread 1 in [500, 550)."""
    kernels = kernels or [("a", 1, 0, 7, 1, 100, 100), ("b", 1, 0, 7, 2, 600, 100)]
    api = [("cudaLaunchKernel", 1, 1, 1, 20, 30), ("cudaLaunchKernel", 1, 1, 2, 500, 50), *calls]
    return profile(kernels=(KERNEL, kernels), api=(CALL, api), ranges=(RANGE, [WINDOW, *ranges]), **tables)


def causes(found, device=0):
    rows = [row for row in found.rows() if row["device"] == device]
    return {row["cause"]: row["dur_ns"] for row in rows if row["dur_ns"]}


def late(**tables):
    """The causes of the 300 ns before the launch of kernel b."""
    found = causes(ledger.idle_ledger(window_of(**tables)))
    for cause, dur_ns in (("compute", 200), ("head", 100), ("tail", 300), ("launch_call", 50), ("queued", 50)):
        assert found.pop(cause) == dur_ns
    return found


# ---- the host was late


def test_what_lies_before_the_launch_and_is_nothing_else_is_the_hosts_own_code():
    assert late() == {"host": 300}


def test_the_rows_are_all_causes_in_order_and_sum_to_the_window():
    answer = ledger.idle_ledger(window_of())
    assert answer.columns["cause"] == list(ledger.CAUSES)
    assert sum(answer.columns["dur_ns"]) == 1000
    assert sum(answer.columns["share"]) == pytest.approx(1.0)


def test_a_synchronize_counts_up_to_its_end_where_it_was_open_when_the_device_fell_idle():
    assert late(calls=[("cudaStreamSynchronize", 1, 1, None, 150, 130)]) == {"synchronize": 80, "host": 220}


def test_a_synchronize_that_begins_in_the_gap_finds_the_device_idle_and_is_host_time():
    assert late(calls=[("cudaStreamSynchronize", 1, 1, None, 250, 100)]) == {"host": 300}


def test_a_synchronize_of_another_thread_says_nothing_of_the_launching_one():
    assert late(calls=[("cudaStreamSynchronize", 1, 2, None, 150, 130)]) == {"host": 300}


@pytest.mark.parametrize(
    ("name", "cause"), [("cudaMalloc", "allocation"), ("hipFree", "allocation"), ("cuModuleLoadData", "module_load")]
)
def test_allocating_and_loading_count_while_they_last(name, cause):
    assert late(calls=[(name, 1, 1, None, 250, 100)]) == {cause: 100, "host": 200}


def test_the_precedence_is_overhead_then_synchronize_then_allocation_then_loading_then_data():
    calls = [
        ("cudaStreamSynchronize", 1, 1, None, 150, 150),
        ("cudaMalloc", 1, 1, None, 250, 100),
        ("cuModuleLoad", 1, 1, None, 320, 80),
    ]
    found = late(
        calls=calls,
        ranges=[("p", "phase", "data", 1, 1, 200, 250)],
        overhead=(OVERHEAD, [("Buffer Flush", 1, 1, 280, 40)]),
    )
    assert found == {
        "synchronize": 80,  # [200, 280)
        "profiler_overhead": 40,  # [280, 320), which the synchronize, the allocation and the data phase overlap
        "allocation": 30,  # [320, 350)
        "module_load": 50,  # [350, 400)
        "data": 50,  # [400, 450)
        "host": 50,
    }


@pytest.mark.parametrize(("name", "cause"), [("Lazy Function Loading", "module_load"), ("Command Buffer Full", "host")])
def test_overheads_that_are_cudas_own_are_not_the_profilers(name, cause):
    found = late(overhead=(OVERHEAD, [(name, None, None, 250, 100)]))
    assert found == ({"host": 300} if cause == "host" else {cause: 100, "host": 200})


def test_overhead_of_a_thread_that_launches_nothing_costs_nothing():
    assert late(overhead=(OVERHEAD, [("Buffer Flush", 1, 9, 250, 100)])) == {"host": 300}


def test_the_data_phase_of_the_process_counts_for_a_thread_that_has_no_phase_of_its_own():
    assert late(ranges=[("p", "phase", "data", 1, 5, 250, 100)]) == {"data": 100, "host": 200}


def test_a_phase_on_the_launching_thread_comes_before_one_elsewhere_in_the_process():
    phases = [("p", "phase", "data", 1, 5, 250, 100), ("p", "phase", "loss", 1, 1, 300, 150)]
    assert late(ranges=phases) == {"data": 50, "host": 250}


def test_pytorchs_own_range_around_its_data_loader_is_fetching_data():
    name = "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__"
    assert late(ops=(OP, [(name, 1, 1, 250, 100)])) == {"data": 100, "host": 200}


@pytest.mark.parametrize(
    ("memory", "found"), [("pageable", {"synchronize": 60, "host": 240}), ("pinned", {"host": 300})]
)
def test_an_asynchronous_copy_waits_where_memory_is_pageable(memory, found):
    copies = (COPY, [("c", "memcpy", 1, 0, 7, 3, 190, 10, memory)])
    assert late(calls=[("cudaMemcpyAsync", 1, 1, 3, 150, 110)], copies=copies) == found


# ---- what cannot be told


def test_without_a_launch_the_gap_is_unknown_and_said_so():
    made = window_of(kernels=[("a", 1, 0, 7, 1, 100, 100), ("b", 1, 0, 7, None, 600, 100)])
    answer = ledger.idle_ledger(made)
    assert causes(answer) == {"compute": 200, "head": 100, "tail": 300, "unknown": 400}
    assert any(
        "1 wait (400 ns) ended with an operation of which no launch is recorded" in note for note in answer.notes
    )


def test_an_operation_that_starts_before_its_launch_leaves_the_gap_unknown():
    made = window_of(kernels=[("a", 1, 0, 7, 1, 100, 100), ("b", 1, 0, 7, 2, 450, 100)])
    answer = ledger.idle_ledger(made)
    assert causes(answer)["unknown"] == 250
    assert any("the clocks disagree" in note for note in answer.notes)


def test_an_operation_that_starts_within_its_launch_call_has_queued_for_nothing():
    made = window_of(kernels=[("a", 1, 0, 7, 1, 100, 100), ("b", 1, 0, 7, 2, 520, 100)])
    found = causes(ledger.idle_ledger(made))
    assert (found["host"], found["launch_call"], found.get("queued")) == (300, 20, None)


def test_a_launch_on_no_known_thread_leaves_what_came_before_it_unknown():
    made = profile(
        kernels=(KERNEL, [("a", 1, 0, 7, 1, 100, 100), ("b", 1, 0, 7, 2, 600, 100)]),
        api=(CALL, [("cudaLaunchKernel", 1, None, 2, 500, 50)]),
        ranges=(RANGE, [WINDOW]),
    )
    found = causes(ledger.idle_ledger(made))
    assert (found["unknown"], found["launch_call"], found["queued"]) == (300, 50, 50)


def test_gaps_under_twice_the_clocks_step_go_whole_to_what_holds_most_of_them():
    made = profile(
        meta=Meta(file="made.json", tool="test", format="test", time_resolution_ns=250),
        kernels=(KERNEL, [("a", 1, 0, 7, 1, 100, 100), ("b", 1, 0, 7, 2, 600, 100)]),
        api=(CALL, [("cudaLaunchKernel", 1, 1, 2, 500, 50)]),
        ranges=(RANGE, [WINDOW]),
    )
    answer = ledger.idle_ledger(made)
    assert causes(answer) == {"compute": 200, "head": 100, "tail": 300, "host": 400}
    assert any("were not split" in note for note in answer.notes)


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (profile(meta=REPLAY, kernels=(("name", "dur_ns"), [("a", 5)])), "replayed"),
        (profile(meta=Meta(file="m", tool="t", format="t", domain="cpu"), kernels=(("name",), [])), "without a GPU"),
        (
            profile(meta=Meta(file="m", tool="t", format="t", times=None), kernels=(("name", "dur_ns"), [("a", 5)])),
            "summary",
        ),
        (profile(kernels=(("name", "dur_ns"), [("a", 5)])), "summary"),
        (profile(kernels=(("name", "start_ns", "dur_ns"), [])), "no device work"),
        (profile(kernels=(("name", "start_ns", "dur_ns"), [("a", 5, 0)])), "no operation takes any time"),
    ],
)
@pytest.mark.parametrize("answer", [ledger.idle_ledger, waits.stream_waits, findings.findings])
def test_what_cannot_be_accounted_for_in_time_is_refused_with_the_reason(made, why, answer):
    with pytest.raises(MissingDataError, match=why):
        answer(made)


# ---- what ran


def test_overlaps_count_once_and_computing_hides_collectives_and_copies():
    made = profile(
        kernels=(
            KERNEL,
            [("a", 1, 0, 7, None, 100, 100), ("a", 1, 0, 7, None, 150, 100), ("nccl", 1, 0, 8, None, 200, 150)],
        ),
        copies=(COPY, [("c", "memcpy", 1, 0, 9, None, 300, 100, None)]),
        ranges=(RANGE, [WINDOW]),
    )
    found = causes(ledger.idle_ledger(made))
    assert found == {"compute": 150, "exposed_communication": 100, "exposed_copy": 50, "head": 100, "tail": 600}


def test_operations_are_cut_at_the_edges_of_the_window():
    made = window_of(kernels=[("a", 1, 0, 7, 1, -50, 150), ("b", 1, 0, 7, 2, 600, 900)])
    found = causes(ledger.idle_ledger(made))
    assert (found["compute"], found.get("head"), found.get("tail")) == (500, None, None)


def test_an_operation_too_short_for_the_clock_ends_a_wait_all_the_same():
    made = window_of(kernels=[("a", 1, 0, 7, 1, 100, 100), ("z", 1, 0, 7, 2, 560, 0), ("b", 1, 0, 7, 3, 600, 100)])
    found = causes(ledger.idle_ledger(made))
    # [200, 560) ends with z, launched in [500, 550); of what ends with b no launch is recorded
    assert (found["host"], found["launch_call"], found["queued"], found["unknown"]) == (300, 50, 10, 40)


def test_of_operations_that_start_at_once_the_one_launched_first_ends_the_wait():
    kernels = [
        ("a", 1, 0, 7, 1, 100, 100),
        ("c", 1, 0, 8, None, 600, 50),
        ("d", 1, 0, 9, 3, 600, 50),
        ("b", 1, 0, 7, 2, 600, 100),
    ]
    found = causes(ledger.idle_ledger(window_of(kernels=kernels, calls=[("cudaLaunchKernel", 1, 1, 3, 560, 30)])))
    assert (found["host"], found["launch_call"], found["queued"]) == (300, 50, 50)


def test_graphs_that_were_traced_as_a_whole_are_computing_with_unknown_contents():
    made = profile(
        kernels=((*KERNEL, "kind"), [("graph", 1, 0, 7, None, 100, 100, "graph")]),
        ranges=(RANGE, [WINDOW]),
    )
    answer = ledger.idle_ledger(made)
    assert causes(answer)["compute"] == 100
    assert any(
        "1 graph launches (100 ns) were traced as a whole: compute, contents unknown" in note for note in answer.notes
    )


def test_the_nodes_of_a_graph_wait_in_the_queue_for_one_another():
    kernels = [("a", 1, 0, 7, 1, 100, 100), ("b", 1, 0, 7, 1, 250, 50)]
    assert causes(ledger.idle_ledger(window_of(kernels=kernels)))["queued"] == 50


def test_a_device_that_did_nothing_within_the_window_was_before_its_first_operation():
    made = window_of(kernels=[("a", 1, 0, 7, 1, 100, 100), ("b", 1, 1, 7, 2, 6000, 100)])
    answer = ledger.idle_ledger(made)
    assert causes(answer, device=1) == {"head": 1000}
    assert any("1 devices did nothing within the window" in note for note in answer.notes)


# ---- iterations and phases


def stepped():
    """Two iterations, each with a forward and a backward kernel; copies run beside them."""
    calls = [("cudaLaunchKernel", 1, 1, number, 100 * number, 10) for number in (1, 2, 3, 4)]
    ranges = [("i", "iteration", "3", 1, 1, 100, 180), ("i", "iteration", "4", 1, 1, 300, 180)]
    for step in (0, 200):
        ranges += [("p", "phase", "forward", 1, 1, 100 + step, 90), ("p", "phase", "backward", 1, 1, 190 + step, 90)]
    kernels = [("k", 1, 0, 7, number, 100 * number + 20, 50) for number in (1, 2, 3, 4)]
    return profile(kernels=(KERNEL, kernels), api=(CALL, calls), ranges=(RANGE, [WINDOW, *ranges]))


def groups(answer, per):
    found = {}
    for row in answer.rows():
        if row["dur_ns"]:
            found.setdefault(row[per], {})[row["cause"]] = row["dur_ns"]
    return found


def test_an_iteration_reaches_from_the_end_of_the_one_before_to_that_of_its_last_operation():
    found = groups(ledger.idle_ledger(stepped(), per="iteration"), "iteration")
    assert found == {
        3: {"head": 120, "compute": 100, "host": 30, "launch_call": 10, "queued": 10},  # up to 270
        4: {"compute": 100, "host": 60, "launch_call": 20, "queued": 20},  # 270 to 470
        None: {"tail": 530},
    }


def test_an_iteration_that_the_window_cuts_is_named():
    steps = [(f"s{number}", "iteration", str(number), 1, 1, number * 300, 300) for number in range(2)]
    kernels = [("a", 1, 0, 7, 1, 100, 100), ("b", 1, 0, 7, 2, 550, 100)]
    calls = [("cudaLaunchKernel", 1, 1, 1, 20, 30), ("cudaLaunchKernel", 1, 1, 2, 500, 20)]
    whole = profile(kernels=(KERNEL, kernels[:1]), api=(CALL, calls), ranges=(RANGE, steps))
    cut = profile(kernels=(KERNEL, kernels), api=(CALL, calls), ranges=(RANGE, steps))
    said = "iteration 1 ended 50 ns after the window, which cuts the row: part of the work is missing"
    assert said in ledger.idle_ledger(cut, per="iteration").notes
    assert not any("cuts the row" in note for note in ledger.idle_ledger(whole, per="iteration").notes)
    assert said not in ledger.idle_ledger(cut).notes


def test_waits_belong_to_the_phase_of_the_operation_that_ended_them():
    found = groups(ledger.idle_ledger(stepped(), per="phase"), "phase")
    assert found == {
        "forward": {"head": 120, "compute": 100, "host": 30, "launch_call": 10, "queued": 10},
        "backward": {"compute": 100, "host": 60, "launch_call": 20, "queued": 20},
        None: {"tail": 530},
    }


@pytest.mark.parametrize("per", ["iteration", "phase"])
def test_a_file_without_such_ranges_says_what_they_are(per):
    with pytest.raises(MissingDataError, match=f"no {per} ranges in this file; {per}s are"):
        ledger.idle_ledger(window_of(), per=per)


# ---- in words


def test_findings_name_the_range_the_operator_and_what_ended_the_wait():
    made = window_of(
        ranges=[("ds2prof:phase:loss", "phase", "loss", 1, 1, 210, 280)],
        ops=(OP, [("aten::_ctc_loss", 1, 1, 400, 200)]),
    )
    first = next(found for found in findings.findings(made) if found.cause == "host")
    assert (first.dur_ns, first.share, first.where) == (300, 0.3, "ds2prof:phase:loss")
    assert first.text == (
        "host: host late: in its own code (host-bound), 300 ns (30.0 % of the window); "
        "280 ns within ds2prof:phase:loss; 200 ns outside any operator; 300 ns ended by aten::_ctc_loss"
    )
    assert first.text in ledger.idle_ledger(made).notes


def test_each_cause_names_the_range_operator_and_call_it_was_mostly_in_and_what_ended_most_of_it():
    found = ledger.idle_ledger(
        window_of(
            calls=[("cudaStreamSynchronize", 1, 1, None, 150, 130)],
            ranges=[("load", "user", None, 1, 1, 210, 280)],
            ops=(OP, [("aten::mm", 1, 1, 300, 300)]),
        )
    )
    named = {row["cause"]: tuple(row[name] for name in ledger.NAMED) for row in found.rows() if row["dur_ns"]}
    assert list(ledger.NAMED) == ["range", "operator", "call", "ended_by"]
    assert named == {
        "compute": (None, None, None, None),
        "queued": (None, None, None, "aten::mm"),
        "launch_call": (None, None, "cudaLaunchKernel", "aten::mm"),
        "synchronize": ("load", None, "cudaStreamSynchronize", "aten::mm"),
        "host": ("load", "aten::mm", None, "aten::mm"),
        "head": (None, None, None, "a"),
        "tail": (None, None, None, None),
    }


def test_each_phase_names_what_kept_its_own_operations_waiting():
    kernels = [("a", 1, 0, 7, 1, 100, 100), ("b", 1, 0, 7, 2, 600, 100), ("c", 1, 0, 7, 3, 900, 50)]
    made = window_of(
        kernels=kernels,
        calls=[("cudaLaunchKernel", 1, 1, 3, 850, 10)],
        ranges=[
            ("ds2prof:phase:forward", "phase", "forward", 1, 1, 0, 540),
            ("ds2prof:phase:backward", "phase", "backward", 1, 1, 800, 100),
            ("tokenize", "user", None, 1, 1, 250, 230),
            ("log", "user", None, 1, 1, 705, 90),
        ],
    )
    rows = ledger.idle_ledger(made, per="phase").rows()
    named = {(row["phase"], row["cause"]): (row["range"], row["ended_by"]) for row in rows if row["dur_ns"]}
    assert named["forward", "host"] == ("tokenize", "b")
    assert named["backward", "host"] == ("log", "c")
    assert named["forward", "head"] == (None, "a")
    assert named["backward", "queued"] == (None, "c")
    assert named["forward", "compute"] == (None, None)


def test_findings_name_the_call_that_was_waited_in():
    made = window_of(calls=[("cudaStreamSynchronize", 1, 1, None, 150, 130)])
    texts = {found.cause: found.text for found in findings.findings(made)}
    assert texts["synchronize"].endswith(
        "80 ns (8.0 % of the window); 80 ns in cudaStreamSynchronize; 80 ns ended by b"
    )


def test_findings_stand_in_the_order_of_their_cost():
    costs = [found.dur_ns for found in findings.findings(window_of())]
    assert costs == sorted(costs, reverse=True) != []


# ---- names of calls


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("cudaDeviceSynchronize", host_calls.SYNCHRONIZE),
        ("cuStreamSynchronize_ptsz", host_calls.SYNCHRONIZE),
        ("cuMemcpyDtoH_v2", host_calls.SYNCHRONIZE),
        ("hipMemcpyWithStream", host_calls.SYNCHRONIZE),
        ("hipEventSynchronize", host_calls.SYNCHRONIZE),
        ("cudaMemcpyAsync_v3020", 0),
        ("cudaMemsetAsync", 0),
        ("cudaStreamWaitEvent_v10", host_calls.STREAM_WAIT),
        ("cudaEventQuery", 0),
        ("cuMemAlloc_v2", host_calls.ALLOCATION),
        ("cudaFreeHost", host_calls.ALLOCATION),
        ("cudaMallocAsync_ptsz_v11020", host_calls.ALLOCATION),
        ("hipHostMalloc", host_calls.ALLOCATION),
        ("cuMemAddressReserve", host_calls.ALLOCATION),
        ("cuMemGetInfo_v2", 0),
        ("cuLibraryLoadData", host_calls.MODULE_LOAD),
        ("hipModuleLoadDataEx", host_calls.MODULE_LOAD),
        ("nvrtcCompileProgram", host_calls.MODULE_LOAD),
        ("cudaLaunchKernelExC", 0),
        ("pthread_cond_wait", 0),
    ],
)
def test_a_call_is_told_by_its_name_whatever_its_version(name, found):
    assert host_calls.call_class(name) == found


# ---- streams


def test_a_stream_waits_for_its_launch_an_event_another_stream_or_the_device():
    kernels = [
        ("a", 1, 0, 1, 1, 100, 100),
        ("b", 1, 0, 2, 2, 150, 250),
        ("c", 1, 0, 1, 3, 450, 50),
        ("d", 1, 0, 1, 4, 600, 50),
    ]
    names = (*CALL, "stream", "domain")
    calls = [("cudaLaunchKernel", 1, 1, 1, 20, 30, None, None), ("cudaLaunchKernel", 1, 1, 2, 60, 10, None, None)]
    calls += [("cudaLaunchKernel", 1, 1, 3, 240, 10, None, None), ("cudaLaunchKernel", 1, 1, 4, 260, 10, None, None)]
    calls += [("Stream Wait Event", 1, None, None, 230, 5, 1, "sync")]
    made = profile(kernels=(KERNEL, kernels), api=(names, calls), ranges=(RANGE, [WINDOW]))
    first, second = waits.stream_waits(made).rows()
    assert {name: value for name, value in first.items() if value} == {
        "stream": 1,
        "busy_ns": 200,
        "not_launched_ns": 50,  # [200, 250)
        "event_wait_ns": 150,  # [250, 400), while stream 2 ran
        "queued_ns": 150,  # [400, 450) and [500, 600)
        "head_ns": 100,
        "tail_ns": 350,
        "share": 0.2,
    }
    assert (second["busy_ns"], second["head_ns"], second["tail_ns"]) == (250, 150, 600)


# ---- the command line


TRACE = Path("torch_kineto", "cuda_2025", "input.json")


def test_the_ledger_has_its_rows_as_json(golden):
    code, out, _ = ds2prof(golden / TRACE, "--by", "ledger", "--format", "json")
    assert code == 0
    rows = json.loads(out)["rows"]
    assert {tuple(row) for row in rows} == {("device", "cause", "dur_ns", "share", *ledger.NAMED)}
    assert [row["cause"] for row in rows[: len(ledger.CAUSES)]] == list(ledger.CAUSES)


@pytest.mark.parametrize("per", ["iteration", "phase"])
def test_each_iteration_or_phase_is_a_row_on_a_terminal_and_its_key_is_in_json(golden, per):
    code, out, _ = ds2prof(golden / TRACE, "--by", "ledger", "--per", per)
    assert code == 0
    assert f"\n{per}" in out
    assert "shares are of each row's own time" in out
    _, out, _ = ds2prof(golden / TRACE, "--by", "ledger", "--per", per, "--format", "json")
    assert list(json.loads(out)["rows"][0]) == ["device", per, "cause", "dur_ns", "share", *ledger.NAMED]


def test_a_terminal_shows_where_the_host_was_and_the_dearest_causes_in_words(golden):
    code, out, _ = ds2prof(golden / TRACE, "--by", "ledger")
    assert code == 0
    head = next(line for line in out.splitlines() if line.startswith("cause"))
    assert head.split("  ")[0] == "cause"
    assert "mostly in" in head
    assert "mostly ended by" in head
    (said,) = [line for line in out.splitlines() if line.startswith("note: profiler_overhead: ")]
    assert "(59.3 % of the window)" in said


def test_causes_that_took_no_time_are_not_shown_on_a_terminal(golden):
    code, out, _ = ds2prof(golden / TRACE, "--by", "ledger")
    assert code == 0
    assert "compute" in out
    assert "0 ns" not in out


def test_streams_are_rows_with_their_waits(golden):
    code, out, _ = ds2prof(golden / TRACE, "--by", "wait", "--format", "json")
    assert code == 0
    assert list(json.loads(out)["rows"][0]) == ["device", "stream", *(f"{wait}_ns" for wait in waits.WAITS), "share"]


def test_per_asks_for_the_ledger(golden):
    code, _, err = ds2prof(golden / TRACE, "--by", "name", "--per", "phase")
    added = "--by ledger or --by roofline or --by gain"
    assert (code, err) == (2, f"ds2prof: --per phase: groups the rows of some answers alone; add {added}\n")


# ---- real files

TRACES = ("kineto/*", "nsys-sqlite/*", "nvvp/*", "rocprof/*")


@functools.cache
def accountable():
    """Every profile of the corpus that can be accounted for in time, with its name."""
    made = []
    for file in sorted(file for pattern in TRACES for file in corpus_folder().glob(pattern)):
        for found in read_all(str(file), tables=ledger_sets.TABLES, refused=lambda _: None):
            try:
                ledger_sets.check_times(found)
            except MissingDataError:
                continue
            made.append((f"{file.parent.name}/{file.name}", found))
    return made


@pytest.mark.slow
def test_real_files_sum_to_their_windows_by_cause_by_key_and_by_stream(corpus):
    count = 0
    for name, found in accountable():
        answer = ledger.idle_ledger(found)
        rows = {(row["device"], row["cause"]): row["dur_ns"] for row in answer.rows()}
        for device in ledger_sets.worked_devices(found):
            length = ledger_sets.device_window(found, device).length_ns
            assert sum(rows[device, cause] for cause in ledger.CAUSES) == length, name
        for per in ledger.PERS:
            try:
                parts = ledger.idle_ledger(found, per=per)
            except MissingDataError:
                continue
            sums = dict.fromkeys(rows, 0)
            for row in parts.rows():
                sums[row["device"], row["cause"]] += row["dur_ns"]
            assert sums == rows, name
        for row in waits.stream_waits(found).rows():
            length = ledger_sets.device_window(found, row["device"]).length_ns
            assert sum(row[f"{wait}_ns"] for wait in waits.WAITS) == length, name
        count += 1
    assert count >= 25


@pytest.mark.slow
def test_kernels_of_real_files_are_busy_for_as_long_as_was_computed_on_its_own(corpus):
    expected = json.loads((corpus / "expected" / "kernel_unions.json").read_text())
    checked = 0
    for name, found in accountable():
        wanted = next((value["busy_ns"] for key, value in expected.items() if key.partition("#")[0] == name), None)
        for device, busy_ns in (wanted or {}).items():
            sets = ledger_sets.busy_sets(found, int(device))
            starts, ends = found.table("kernels").ints("start_ns"), ledger_sets.ends_ns(found.table("kernels"))
            rows = ledger_sets.rows_of(found.table("kernels"), int(device))
            if starts[rows].min() < sets.window.start_ns or ends[rows].max() > sets.window.stop_ns:
                continue  # the window cuts some off
            assert ledger_sets.length_ns(ledger_sets.union(sets.compute, sets.communication)) == busy_ns, name
            checked += 1
    assert checked >= 8


def test_the_b200_trace_counts_kernels_that_overlap_on_one_stream_once(corpus):
    file = corpus / "kineto" / "AMD-AGI__TraceLens__b200_eager_trace.json.gz"
    (found,) = read_all(str(file), tables=ledger_sets.TABLES)
    rows = causes(ledger.idle_ledger(found))
    assert rows["compute"] + rows["exposed_communication"] == 10_793_638  # of 10,862,916 ns of kernels
    (stream,) = waits.stream_waits(found).rows()
    assert stream["busy_ns"] == rows["compute"] + rows["exposed_communication"] + rows["exposed_copy"]
