"""Which layer, phase and range device work belongs to: backward operators, graphs, streams, annotations."""

from __future__ import annotations

import csv
import json
import random
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2prof.analysis import attribution, autograd, derived, phases, projections
from ds2prof.analysis.belonging import belonging
from ds2prof.analysis.totals import totals
from ds2prof.errors import MissingDataError
from ds2prof.parsers import parse_source, read
from tests import autograd_trace
from tests.kineto_support import source
from tests.profiles import profile

KERNEL = ("name", "device", "process", "correlation", "start_ns", "dur_ns")
CALL = ("name", "process", "thread", "start_ns", "dur_ns", "correlation")
RANGE = ("name", "kind", "value", "process", "thread", "start_ns", "dur_ns")
OP = ("name", "process", "thread", "start_ns", "dur_ns", "sequence", "forward_thread")
TABLES = ("kernels", "copies", "api", "ops", "ranges")


def read_trace(made):
    text = json.dumps({"schemaVersion": 1, "traceEvents": random.Random(3).sample(made.events, len(made.events))})
    return parse_source(source(text.encode())).require(*TABLES)


def keys_of_kernels(found, kind):
    belongs = belonging(found, kind)
    keys = [*belongs.keys, None]
    names = found.table("kernels")["name"].tolist()
    return dict(zip(names, [keys[place] for place in belongs.kernels.tolist()], strict=True))


# ---- the backward pass


def test_no_kernel_of_a_trace_with_an_autograd_thread_is_without_a_phase():
    made = autograd_trace.trace()
    found = read_trace(made)
    assert keys_of_kernels(found, "phase") == {name: phase for name, (_, phase, _) in made.truth.items()}
    assert None not in phases.range_times(found, "phase").columns["phase"]


def test_phases_of_a_trace_with_an_autograd_thread_sum_to_the_busy_time():
    found = read_trace(autograd_trace.trace())
    assert sum(phases.range_times(found, "phase").columns["excl_ns"]) == totals(found).busy_ns


def test_a_backward_kernel_belongs_to_the_layer_of_its_forward_operator():
    made = autograd_trace.trace()
    assert keys_of_kernels(read_trace(made), "layer") == {name: layer for name, (_, _, layer) in made.truth.items()}


def test_the_answer_by_layer_says_how_many_launches_were_derived():
    answer = phases.range_times(read_trace(autograd_trace.trace(steps=2)), "layer")
    assert any(note.startswith("6 launches of backward operators") for note in answer.notes)


def test_an_iteration_holds_the_kernels_of_its_own_backward_pass():
    made = autograd_trace.trace()
    expected = {name: str(step) for name, (step, _, _) in made.truth.items()}
    assert keys_of_kernels(read_trace(made), "iteration") == expected


def test_phases_that_nobody_recorded_are_derived_where_they_are_certain():
    made = autograd_trace.trace(phases=False)
    said = {"forward": "forward", "loss": "forward", "backward": "backward", "optimizer": "optimizer"}
    found = read_trace(made)
    assert keys_of_kernels(found, "phase") == {name: said[phase] for name, (_, phase, _) in made.truth.items()}
    assert any("derived" in note for note in phases.range_times(found, "phase").notes)


def test_an_operator_that_no_backward_operator_goes_back_to_tells_no_phase():
    made = autograd_trace.trace(steps=1, phases=False)
    made.forward(1, "metrics", phase="other", records=False)
    assert keys_of_kernels(read_trace(made), "phase")["1/other/metrics"] is None


def test_recorded_phases_are_not_mixed_with_derived_ones():
    made = autograd_trace.trace(steps=1)
    made.launch("behind", (1, None, None))
    made.span("user_annotation", "Optimizer.step#SGD.step", made.now - 10, made.now)
    assert keys_of_kernels(read_trace(made), "phase")["behind"] is None


def backward_of(layer_value, *, ranges=(), forward_thread=1, more_ops=()):
    """A kernel of a backward operator on thread 2; its forward operator ran on thread 1 in one layer."""
    ops = [
        ("aten::linear", 1, 1, 110, 40, 7, 0),
        ("aten::addmm", 1, 1, 120, 20, 7, 0),
        ("AddmmBackward0", 1, 2, 300, 50, 7, forward_thread),
        ("aten::mm", 1, 2, 310, 30, None, None),
        *more_ops,
    ]
    return profile(
        kernels=(KERNEL, [("k", 0, 1, 5, 1000, 10)]),
        api=(CALL, [("cudaLaunchKernel", 1, 2, 320, 5, 5)]),
        ops=(OP, ops),
        ranges=(RANGE, [("l", "layer", layer_value, 1, 1, 100, 60), *ranges]),
    )


def layer_of(made):
    return keys_of_kernels(made, "layer")["k"]


def test_a_layer_named_by_its_pass_gives_the_other_pass():
    assert layer_of(backward_of("rnn.0:forward")) == "rnn.0:backward"


def test_a_layer_open_on_the_launching_thread_wins_over_the_forward_operators():
    assert layer_of(backward_of("a", ranges=[("l", "layer", "b", 1, 2, 290, 80)])) == "b"


def test_the_forward_operators_layer_wins_over_one_open_on_another_thread():
    assert layer_of(backward_of("a", ranges=[("l", "layer", "b", 1, 3, 290, 80)])) == "a"


def test_of_operators_with_one_number_the_last_before_the_backward_operator_was_recorded():
    later = [("aten::item", 1, 1, 230, 5, 7, 0), ("aten::next", 1, 1, 400, 5, 7, 0)]
    ranges = [("l", "layer", "later", 1, 1, 225, 20), ("l", "layer", "next", 1, 1, 395, 20)]
    assert layer_of(backward_of("a", more_ops=later, ranges=ranges)) == "later"


def test_a_number_that_two_threads_used_is_not_guessed():
    assert layer_of(backward_of("a", more_ops=[("aten::mul", 1, 9, 130, 5, 7, 0)])) is None


def test_a_forward_thread_is_known_where_it_alone_has_all_the_numbers_that_go_back_to_it():
    other = [("aten::mul", 1, 9, 130, 5, 7, 0)]
    another = [("aten::exp", 1, 1, 150, 5, 8, 0), ("ExpBackward0", 1, 2, 280, 10, 8, 1)]
    assert layer_of(backward_of("a", more_ops=[*other, *another])) == "a"


def test_numbers_of_two_processes_are_two():
    assert layer_of(backward_of("a", more_ops=[("aten::mul", 2, 1, 130, 5, 7, 0)])) == "a"


def test_operators_that_the_backward_pass_ran_are_no_forward_operators():
    inside = [("aten::view", 1, 2, 301, 2, 7, None)]
    assert layer_of(backward_of("a", more_ops=inside)) == "a"


@pytest.mark.parametrize(
    "name",
    [
        "AddmmBackward0",
        "MmBackward",
        "torch::autograd::AccumulateGrad",
        "torch::autograd::CopyBackwards",
        "autograd::engine::evaluate_function: MyOwn",
        "mine::FunctionBackward",
    ],
)
def test_a_backward_operator_is_known_by_its_name(name):
    assert autograd.is_backward_name(name)


@pytest.mark.parametrize("name", ["aten::gelu_backward", "backward", "Backward", "aten::mm", "torch::jit", ""])
def test_other_names_are_no_backward_operators(name):
    assert not autograd.is_backward_name(name)


@pytest.mark.parametrize("seq", [", seq = 7", ", seq = 7, op_id = 3, sizes = [[2], [2]]", ", stashed seq=7"])
def test_ranges_of_emit_nvtx_tell_the_same_as_operators(seq):
    ranges = [
        ("l", "layer", "a", 1, 1, 100, 60),
        ("aten::addmm, seq = 7", "user", None, 1, 1, 120, 20),
        (f"AddmmBackward0{seq}", "user", None, 1, 2, 300, 50),
        ("aten::mm, seq = 0", "user", None, 1, 2, 310, 30),
    ]
    made = profile(
        kernels=(KERNEL, [("k", 0, 1, 5, 1000, 10)]),
        api=(CALL, [("cudaLaunchKernel", 1, 2, 320, 5, 5)]),
        ranges=(RANGE, ranges),
    )
    assert layer_of(made) == "a"
    assert keys_of_kernels(made, "phase")["k"] == "backward"


@st.composite
def many_operators(draw):
    """(forward operators (thread, number, start), backward ones (forward thread, number, start)), all disjoint."""
    forward = draw(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 5)), max_size=25))
    backward = draw(st.lists(st.tuples(st.integers(1, 2), st.integers(0, 5)), max_size=12))
    starts = draw(st.permutations(range(len(forward) + len(backward))))
    return (
        [(*one, 10 * start) for one, start in zip(forward, starts, strict=False)],
        [(*one, 10 * start) for one, start in zip(backward, starts[len(forward) :], strict=True)],
    )


def links_by_dictionary(forward, backward):
    threads_of = defaultdict(set)
    for thread, number, _ in forward:
        threads_of[number].add(thread)
    asked = defaultdict(set)
    for forward_thread, number, _ in backward:
        if threads_of[number]:
            asked[forward_thread].add(number)
    found = []
    for forward_thread, number, start in backward:
        whole = [thread for thread in (1, 2, 3) if all(thread in threads_of[n] for n in asked[forward_thread])]
        certain = set(whole) if len(whole) == 1 else threads_of[number]
        before = [
            (began, row)
            for row, (thread, own, began) in enumerate(forward)
            if own == number and {thread} == certain and began < start
        ]
        found.append(max(before)[1] if before else -1)
    return found


@given(many_operators())
def test_links_are_what_a_dictionary_finds(operators):
    forward, backward = operators
    rows = [("aten::x", 1, thread, start, 5, number, 0) for thread, number, start in forward]
    rows += [("XBackward0", 1, 50, start, 5, number, thread) for thread, number, start in backward]
    found = autograd.recorded_for(profile(ops=(OP, rows))) if rows else np.zeros(0)
    assert found.tolist() == [-1] * len(forward) + links_by_dictionary(forward, backward)


# ---- modules as layers


def with_modules(made):
    """The trace with its ranges of layers as PyTorch's own records of modules, and one around them all."""
    first = min(event["ts"] for event in made.events)
    for event in made.events:
        if event["name"].startswith("ds2prof:layer:"):
            event.update(cat="python_function", name=event["name"].replace("ds2prof:layer:", "nn.Module: "))
    made.span("python_function", "train.py(3): main", first - 5, made.now + 5)
    made.span("python_function", "nn.Module: Idle_0", first - 5, first - 1)
    return made


def test_where_no_layer_was_recorded_modules_are_layers_backward_included():
    made = with_modules(autograd_trace.trace())
    found = read_trace(made)
    assert keys_of_kernels(found, "layer") == {name: layer for name, (_, _, layer) in made.truth.items()}


def test_modules_that_launched_nothing_are_no_rows():
    answer = phases.range_times(read_trace(with_modules(autograd_trace.trace())), "layer")
    assert answer.columns["layer"] == [*autograd_trace.LAYERS, None]
    assert any("layers are derived" in note for note in answer.notes)


def test_recorded_layers_are_not_mixed_with_modules():
    made = autograd_trace.trace(steps=1)
    made.span("python_function", "nn.Module: Linear_0", 0, made.now)
    assert keys_of_kernels(read_trace(made), "layer")["1/loss/None"] is None


def test_modules_of_a_real_trace_are_those_around_each_launch(corpus):
    found = read(corpus / "kineto" / "AMD-AGI__TraceLens__h100_bert-small.json.gz").require(*TABLES, "modules")
    modules, api = found.table("modules"), found.table("api")
    calls = list(
        zip(*(modules[name].tolist() for name in ("start_ns", "dur_ns", "name", "process", "thread")), strict=True)
    )
    expected = []
    for row in attribution.launches(found, "kernels").tolist():
        at, process, thread = (api[name].tolist()[row] for name in ("start_ns", "process", "thread"))
        around = [call for call in calls if call[0] <= at < call[0] + call[1] and call[3:] == (process, thread)]
        expected.append(min(around, key=lambda call: call[1])[2] if around else None)
    belongs = belonging(found, "layer")
    assert [[*belongs.keys, None][place] for place in belongs.kernels.tolist()] == expected
    assert len(belongs.keys) > 20


# ---- launches


def test_every_kernel_of_a_graph_belongs_where_its_launch_does():
    made = autograd_trace.trace()
    found = keys_of_kernels(read_trace(made), "phase")
    assert [found[f"2/optimizer.{node}"] for node in range(4)] == ["optimizer"] * 4


def test_kernels_without_a_launch_are_shown_with_their_time():
    made = profile(
        kernels=(KERNEL, [("linked", 0, 1, 5, 1000, 10), ("lost", 0, 1, 99, 1020, 30)]),
        api=(CALL, [("cudaLaunchKernel", 1, 1, 120, 5, 5)]),
        ranges=(RANGE, [("p", "phase", "forward", 1, 1, 100, 100)]),
    )
    answer = phases.range_times(made, "phase")
    assert [(row["phase"], row["dur_ns"]) for row in answer.rows()] == [("forward", 10), (None, 30)]
    assert any("of 1 launch (30 ns) the launch call is not in the file" in note for note in answer.notes)


def test_kernels_of_no_length_and_on_several_streams_are_counted_where_they_were_launched():
    names = (*KERNEL, "stream")
    made = profile(
        kernels=(names, [("a", 0, 1, 5, 1000, 0, 7), ("b", 0, 1, 6, 1000, 40, 8), ("c", 0, 1, 7, 1010, 40, 7)]),
        api=(CALL, [("cudaLaunchKernel", 1, 1, 110 + number, 1, number) for number in (5, 6, 7)]),
        ranges=(RANGE, [("p", "phase", "forward", 1, 1, 100, 17), ("p", "phase", "loss", 1, 1, 117, 9)]),
    )
    rows = {row["phase"]: row for row in phases.range_times(made, "phase").rows()}
    assert (rows["forward"]["calls"], rows["forward"]["dur_ns"], rows["forward"]["excl_ns"]) == (2, 40, 25)
    assert (rows["loss"]["calls"], rows["loss"]["dur_ns"], rows["loss"]["excl_ns"]) == (1, 40, 25)


# ---- annotations


def annotated():
    """Two ranges of one name, one nested in another of a second name, and a kernel outside."""
    return profile(
        kernels=(KERNEL, [("a", 0, 1, 5, 1000, 10), ("b", 0, 1, 6, 1050, 20), ("c", 0, 1, 7, 2000, 5)]),
        copies=(("name", "kind", *KERNEL[2:]), [("m", "memcpy", 1, 8, 1100, 4)]),
        api=(CALL, [("launch", 1, 1, at, 2, number) for at, number in ((110, 5), (160, 6), (500, 7), (130, 8))]),
        ranges=(
            RANGE,
            [
                ("outer", "user", None, 1, 1, 100, 100),
                ("inner", "user", None, 1, 1, 150, 20),
                ("inner", "user", None, 1, 1, 180, 5),
                ("elsewhere", "user", None, 1, 2, 100, 500),
            ],
        ),
    )


def test_a_range_holds_what_is_nested_in_it_and_is_projected_from_first_to_last():
    rows = {row["annotation"]: row for row in projections.annotation_times(annotated()).rows()}
    outer = rows["outer"]
    assert (outer["ranges"], outer["calls"], outer["dur_ns"], outer["excl_ns"]) == (1, 2, 30, 10)
    assert (outer["projected_ns"], outer["host_dur_ns"]) == (1104 - 1000, 100)
    inner = rows["inner"]
    assert (inner["ranges"], inner["calls"], inner["dur_ns"], inner["projected_ns"]) == (1, 1, 20, 20)


def test_exclusive_times_of_annotations_sum_to_the_busy_time_with_what_is_outside():
    answer = projections.annotation_times(annotated())
    assert sum(answer.columns["excl_ns"]) == 35
    assert {row["annotation"]: row["dur_ns"] for row in answer.rows()}[None] == 5


@st.composite
def nested(draw, lo=0, hi=400, depth=0):
    """Ranges (name, start, end) that nest, equal ones among them."""
    found = []
    at = lo
    while at < hi and draw(st.booleans()):
        start = draw(st.integers(at, hi - 1))
        end = draw(st.integers(start + 1, hi))
        found.append((draw(st.sampled_from("abc")), start, end))
        if depth < 3:
            found += draw(nested(lo=start, hi=end, depth=depth + 1))
        at = end
    return found


@given(nested(), st.lists(st.tuples(st.integers(0, 450), st.integers(0, 90)), min_size=1, max_size=15))
def test_projections_are_what_containment_gives(ranges, launched):
    at = 1000
    kernels = []
    for number, (_, dur) in enumerate(launched, 1):
        kernels.append(("k", 0, 1, number, at, dur))
        at += dur + number
    made = profile(
        kernels=(KERNEL, kernels),
        api=(CALL, [("l", 1, 1, start, 1, number) for number, (start, _) in enumerate(launched, 1)]),
        ranges=(RANGE, [(name, "user", None, 1, 1, start, end - start) for name, start, end in ranges]),
    )
    expected = defaultdict(lambda: [0, 0, 0, 0])
    for name, start, end in ranges:
        inside = [kernel for kernel, (call, _) in zip(kernels, launched, strict=True) if start <= call < end]
        if inside:
            stretch = max(kernel[4] + kernel[5] for kernel in inside) - min(kernel[4] for kernel in inside)
            sums = (1, len(inside), sum(kernel[5] for kernel in inside), stretch)
            expected[name] = [old + new for old, new in zip(expected[name], sums, strict=True)]
    if ranges:
        rows = [row for row in projections.annotation_times(made).rows() if row["annotation"] is not None]
        columns = ("ranges", "calls", "dur_ns", "projected_ns")
        assert {row["annotation"]: [row[name] for name in columns] for row in rows} == expected


def test_ranges_that_launched_nothing_are_left_out():
    assert "elsewhere" not in projections.annotation_times(annotated()).columns["annotation"]


def test_a_file_without_ranges_says_so():
    with pytest.raises(MissingDataError, match="no ranges"):
        projections.annotation_times(profile(kernels=(KERNEL, [("a", 0, 1, 5, 1000, 10)])))


# ---- files of others


def test_projections_are_those_of_nsight_systems(corpus):
    stem = "hpcgroup__pipit__saxpy-mpi-cuda_nsys_perlmutter0"
    with (corpus / "expected" / "nsys-stats" / f"{stem}.nvtxgpuproj.csv").open() as file:
        expected = list(csv.DictReader(file))
    row = projections.annotation_times(read(corpus / "nsys-sqlite" / f"{stem}.sqlite")).rows()[0]
    assert row["annotation"] == "saxpy"
    assert row["ranges"] == len(expected)
    assert row["projected_ns"] == sum(int(line["Projected Duration (ns)"]) for line in expected)
    assert row["calls"] == sum(int(line["NumGPUOps"]) for line in expected)


def test_backward_kernels_are_those_that_pyprof_calls_so(corpus):
    with (corpus / "expected" / "pyprof" / "josiahdavis__profiling-lm__lm.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["Direction"] == "bprop"]
    found = read(corpus / "nvvp" / "josiahdavis__profiling-lm__net.sql").require(*TABLES)
    launched_by = autograd.backward_operators(found, "kernels")
    numbered = (launched_by >= 0) & (autograd.operators(found).sequence[launched_by] >= 0)
    assert int(numbered.sum()) == len(rows)
    assert int(found.table("kernels").ints("dur_ns")[numbered].sum()) == sum(int(row["Sil(ns)"]) for row in rows)


TRACES = [
    "facebookresearch__HolisticTraceAnalysis__nccl_data",
    "facebookresearch__HolisticTraceAnalysis__sampled_rank-0",
    "facebookresearch__HolisticTraceAnalysis__mi250_minitoy_train_ROCm6_2_kineto",
]


def links_by_scanning(found):
    """For each kernel, whether it goes back to a forward operator: one at a time, over plain lists."""
    ops, api, kernels = (found.table(name) for name in ("ops", "api", "kernels"))
    columns = ("process", "thread", "start_ns", "dur_ns", "sequence", "forward_thread")
    rows = list(zip(*(ops[name].tolist() for name in columns), strict=True))
    forward = {(row[0], row[4]) for row in rows if row[4] is not None and not row[5]}
    nodes = defaultdict(list)
    for process, thread, start, dur, sequence, forward_thread in rows:
        if forward_thread and sequence is not None:
            nodes[process, thread].append((start, start + dur, sequence))
    calls = {}
    for process, thread, start, correlation, domain in zip(
        *(api[name].tolist() for name in ("process", "thread", "start_ns", "correlation", "domain")), strict=True
    ):
        if correlation is not None and domain != "sync":
            calls[correlation] = min(calls.get(correlation, (start, process, thread)), (start, process, thread))
    linked = []
    for correlation in kernels["correlation"].tolist():
        start, process, thread = calls.get(correlation, (0, None, None))
        around = [node for node in nodes[process, thread] if node[0] <= start < node[1]]
        linked.append(bool(around) and (process, max(around)[2]) in forward)
    return linked


@pytest.mark.parametrize("trace", TRACES)
def test_backward_kernels_find_their_forward_operator_as_often_as_a_dictionary_does(corpus, trace):
    found = read(corpus / "kineto" / f"{trace}.json.gz").require(*TABLES)
    linked = autograd.forward_operators(found, "kernels") >= 0
    assert linked.tolist() == links_by_scanning(found)
    assert linked.any()


def test_same_stream_overlaps_are_counted_once(corpus):
    found = read(corpus / "kineto" / "AMD-AGI__TraceLens__b200_eager_trace.json.gz").require(*TABLES)
    answer = projections.annotation_times(found)
    assert sum(answer.columns["excl_ns"]) == totals(found).busy_ns
    assert sum(answer.columns["excl_ns"]) < sum(found.table("kernels")["dur_ns"].tolist())


def test_kernels_of_one_graph_launch_share_its_call(corpus):
    file = corpus / "kineto" / "AMD-AGI__TraceLens__vllm_decode_full_graph_execution.json.gz"
    found = read(file).require(*TABLES)
    launch = attribution.launches(found, "kernels").tolist()
    own = found.table("kernels")["correlation"].tolist()
    calls, names = found.table("api")["correlation"].tolist(), found.table("api")["name"].tolist()
    assert all(row >= 0 and calls[row] == correlation for row, correlation in zip(launch, own, strict=True))
    of_graphs = [row for row in launch if "GraphLaunch" in names[row]]
    assert len(of_graphs) > len(set(of_graphs))


def test_the_names_of_derived_phases_are_phases_of_a_step():
    from ds2prof.config import PHASES

    assert set(derived.PHASES) < set(PHASES)
