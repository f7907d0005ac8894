"""The PyTorch trace reader: what each kind of event becomes, and what of events that are not as they should be."""

from __future__ import annotations

import json

import pytest

from tests.kineto_support import column, event, kernel, load, op


def test_waits_are_calls_and_no_device_work():
    wait = event("cuda_sync", "Stream Sync", args={"stream": 7, "device": 0, "correlation": 3})
    loaded = load([kernel(), wait])
    assert len(loaded.tables["kernels"]) == 1
    assert column(loaded, "api", "domain") == ["sync"]
    assert (column(loaded, "api", "process"), column(loaded, "api", "stream")) == ([None], [7])


def test_annotations_on_the_device_are_neither_work_nor_ranges():
    loaded = load([kernel(), event("gpu_user_annotation", "ProfilerStep#1", dur=1000)])
    assert (len(loaded.tables["kernels"]), len(loaded.tables["ranges"])) == (1, 0)
    assert loaded.meta.facts["events"]["gpu_user_annotation"] == 1


def test_calls_of_the_driver_are_told_from_those_of_the_runtime():
    names = ["cuda_runtime", "cuda_driver", "Runtime", "hip_runtime", "xpu_driver"]
    loaded = load([event(name, "call") for name in names])
    assert column(loaded, "api", "domain") == ["runtime", "driver", "runtime", "runtime", "driver"]


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("Memcpy DtoH (Device -> Pinned)", ("device", "pinned")),
        ("Memcpy HtoA (Unknown -> Array)", (None, "array")),
        ("Memset (Managed Static)", (None, "managed static")),
        ("Memcpy PtoP", (None, None)),
    ],
)
def test_a_copys_name_tells_where_it_reads_and_writes(name, kinds):
    loaded = load([event("gpu_memcpy", name)])
    assert (column(loaded, "copies", "source_kind")[0], column(loaded, "copies", "destination_kind")[0]) == kinds


def test_steps_of_the_profiler_are_iterations():
    loaded = load([event("user_annotation", "ProfilerStep#12"), event("user_annotation", "ProfilerStep#x")])
    assert column(loaded, "ranges", "kind") == ["iteration", "user"]
    assert column(loaded, "ranges", "value") == ["12", None]


def test_the_programs_own_iterations_go_before_the_profilers_steps():
    loaded = load([event("user_annotation", name) for name in ("ProfilerStep#0", "ds2prof:iteration:5")])
    assert list(zip(column(loaded, "ranges", "kind"), column(loaded, "ranges", "value"), strict=True)) == [
        ("user", None),
        ("iteration", "5"),
    ]


def test_operators_that_are_annotations_are_ranges_in_the_files_order():
    events = [op("aten::a"), op("ProfilerStep#1"), event("user_annotation", "mine"), op("ds2prof:phase:loss"), op("b")]
    loaded = load(events)
    assert column(loaded, "ops", "name") == ["aten::a", "b"]
    assert column(loaded, "ranges", "name") == ["ProfilerStep#1", "mine", "ds2prof:phase:loss"]
    alone = load(events, {"ranges"})
    assert column(alone, "ranges", "name") == column(loaded, "ranges", "name")


def test_a_range_profilers_launches_have_counters_and_no_times():
    launch = event("cuda_profiler_range", "gemm", args={"sm__inst_executed.sum": 5, "note": "text", "flag": True})
    loaded = load([launch, launch])
    kernels = loaded.tables["kernels"]
    assert (kernels["kind"].tolist(), "start_ns" in kernels) == (["range", "range"], False)
    assert column(loaded, "counters", "launch") == [0, 1]
    assert column(loaded, "counters", "value") == [5.0, 5.0]
    assert loaded.meta.times == "replay"


def test_counters_too_large_for_a_double_are_left_out():
    content = json.dumps([event("cuda_profiler_range", "gemm", args={"a": 1, "b": 12345, "c": 2.5})])
    for number in ("1" + "0" * 400, "1e999", "NaN"):
        assert column(load(content.replace("12345", number)), "counters", "metric") == ["a", "c"]


def test_a_range_profilers_launches_do_not_count_beside_kernels():
    loaded = load([kernel(), event("cuda_profiler_range", "gemm", args={"m": 5})])
    assert (len(loaded.tables["kernels"]), len(loaded.tables["counters"])) == (1, 0)
    assert "1 launch under CUPTI's range profiler left out" in loaded.warnings[0]


def test_a_graph_of_zero_is_no_graph():
    loaded = load([kernel(**{"graph id": 0, "graph node id": 0}), kernel(**{"graph id": 2, "graph node id": 9})])
    assert column(loaded, "kernels", "graph") == [None, 2]
    assert column(loaded, "kernels", "graph_node") == [None, 9]


@pytest.mark.parametrize(("percent", "ratio"), [(0, 0.0), (37, 0.37), (100, 1.0), (-1, None), (101, None), ("x", None)])
def test_an_occupancy_is_a_ratio_or_absent(percent, ratio):
    loaded = load([kernel(), kernel(**{"est. achieved occupancy %": percent})])
    assert column(loaded, "kernels", "occupancy")[1] == ratio


def test_a_device_that_the_arguments_do_not_name_is_the_rows_process():
    loaded = load([event("kernel", "k", pid=3, tid="stream 20")])
    assert (column(loaded, "kernels", "device"), column(loaded, "kernels", "stream")) == ([3], [20])


def test_processes_and_threads_as_text_are_numbers_where_they_can_be():
    loaded = load([event("cpu_op", "a", pid="12", tid="Main"), event("cpu_op", "b", pid=-1, tid=4)])
    assert (column(loaded, "ops", "process"), column(loaded, "ops", "thread")) == ([12, None], [None, 4])


def test_the_device_and_not_the_profiler_stands_for_kernels_without_a_process():
    assert "process" not in load([kernel()]).tables["kernels"]


# --- time ------------------------------------------------------------------------------------------------------------


def test_times_from_a_base_are_added_to_it_wherever_it_stands():
    events = [kernel(ts=5_000_000_000.125)]
    in_front = {"baseTimeNanoseconds": 1_740_000_000_000_000_000, "traceEvents": events}
    behind = {"traceEvents": events, "baseTimeNanoseconds": 1_740_000_000_000_000_000}
    for document in (in_front, behind):
        loaded = load(document)
        assert column(loaded, "kernels", "start_ns") == [1_740_005_000_000_000_125]
        assert loaded.meta.clock == "unix"


def test_times_since_the_epoch_are_not_moved_by_a_base():
    document = {"baseTimeNanoseconds": 1_740_000_000_000_000_000, "traceEvents": [kernel(ts=1_740_000_000_000_001)]}
    assert column(load(document), "kernels", "start_ns") == [1_740_000_000_000_001_000]


@pytest.mark.parametrize("base", [0, -1, 10**30, "1740000000000000000", None, 1.5])
def test_a_base_that_is_no_time_of_our_age_is_ignored(base):
    loaded = load({"baseTimeNanoseconds": base, "traceEvents": [kernel(ts=2)]})
    assert (column(loaded, "kernels", "start_ns"), loaded.meta.clock) == ([2000], None)


def test_rows_with_times_that_cannot_be_are_left_out_and_counted():
    week_us = 7 * 86_400 * 10**6
    events = [kernel("ok"), kernel("back", dur=-1), kernel("long", dur=week_us + 1), kernel("none", ts=None)]
    loaded = load(events)
    assert column(loaded, "kernels", "name") == ["ok"]
    assert [warning.split(": ", 1)[1] for warning in loaded.warnings] == [
        "kernels: 1 row left out, no readable time",
        "kernels: 1 row left out, negative duration",
        "kernels: 1 row left out, longer than a week",
    ]


@pytest.mark.parametrize(
    ("table", "category"),
    [
        ("kernels", "kernel"),
        ("copies", "gpu_memset"),
        ("api", "hip_runtime"),
        ("ops", "cpu_op"),
        ("ranges", "user_annotation"),
        ("overhead", "overhead"),
        ("spans", "Trace"),
    ],
)
def test_no_time_that_cannot_be_is_fatal_to_the_rest_of_its_table(table, category):
    good = event(category, "x", 5, 2)
    impossible = {
        "no readable time": [
            {"ts": "NaN"},
            {"ts": -1e30},
            {"dur": "Infinity"},
            {"dur": None},
            {"ts": 2**70},
            {"dur": []},
        ],
        "negative duration": [{"dur": -0.001}, {"dur": -(2**40)}],
        "longer than a week": [{"dur": 604_800_000_000.001}, {"dur": 2**53}],
    }
    odd = [good | change for changes in impossible.values() for change in changes]
    loaded = load([op(), good, *odd, good])
    kept = [start for start in column(loaded, table, "start_ns") if start == 5000]
    assert kept == [5000, 5000]
    assert [warning.split(": ", 1)[1] for warning in loaded.warnings] == [
        f"{table}: {len(changes)} rows left out, {reason}" for reason, changes in impossible.items()
    ]


@pytest.mark.parametrize(
    ("durations", "step"),
    [
        ([float(number) for number in range(60)], 1000),
        ([0.032 * number for number in range(60)], 32),
        ([round(0.032 * number + 0.001, 3) for number in range(60)], 32),
        ([round(0.017 * number, 3) for number in range(60)], 1),
    ],
)
def test_the_step_of_the_clock_is_what_durations_show(durations, step):
    events = [kernel(ts=10.5, dur=dur) for dur in durations]
    assert load(events).meta.time_resolution_ns == step
    assert load([*events, op()], {"ops"}).meta.time_resolution_ns == step


# --- oddities --------------------------------------------------------------------------------------------------------


def test_integers_beyond_64_bits_are_null_and_counted():
    loaded = load([kernel(correlation=2**64), kernel(correlation=2**63 - 1), kernel(correlation=-(2**70))])
    assert column(loaded, "kernels", "correlation") == [None, 2**63 - 1, None]
    assert loaded.warnings == ("trace.json: kernels: 2 integers beyond 64 bits read as null",)


@pytest.mark.parametrize("arguments", [None, [], "text", 5, {}, {"device": {"id": 1}, "grid": "1x1", "stream": []}])
def test_arguments_of_another_type_are_null_and_no_error(arguments):
    loaded = load([kernel(), event("kernel", "odd", args=arguments), kernel()])
    assert column(loaded, "kernels", "name") == ["k", "odd", "k"]
    assert column(loaded, "kernels", "correlation") == [1, None, 1]


def test_objects_among_the_arguments_do_no_harm():
    nested = {"limitingFactors": ["REGS"], "parts": [{"cat": "kernel", "ph": "X", "ts": 1, "dur": 1}]}
    for indent in (None, 0, 2):
        loaded = load(json.dumps({"traceEvents": [kernel(occupancy=nested) for _ in range(5)]}, indent=indent))
        assert len(loaded.tables["kernels"]) == 5


def test_a_category_never_seen_is_counted():
    loaded = load([kernel(), *(event(f"new {number}", "x") for number in range(3)), kernel()])
    assert loaded.meta.facts["events"]["new 1"] == 1
    assert len(loaded.tables["kernels"]) == 2


@pytest.mark.parametrize("category", ["", "\0", "a b\n", "\u4e16", "\ud800", "x" * 500])
def test_a_category_of_any_spelling_is_counted(category):
    loaded = load([kernel(), event(category, "x"), event(category, "y")])
    assert sorted(loaded.meta.facts["events"].values()) == [1, 2]
    assert "".join(loaded.meta.facts["events"]).encode()


def test_more_categories_than_anyone_would_write_are_still_read():
    events = [event(f"category {number}", "x") for number in range(700)]
    loaded = load([*events, kernel()])
    assert len(loaded.tables["kernels"]) == 1
    assert len(loaded.meta.facts["events"]) == 701


def test_names_with_raw_control_characters_are_kept():
    content = json.dumps([kernel("a TAB b")]).replace("TAB", "\t\x01")
    assert column(load(content), "kernels", "name") == ["a \t\x01 b"]


def test_infinite_and_missing_numbers_are_null():
    content = json.dumps([kernel(**{"blocks per SM": 12345}), kernel(**{"blocks per SM": 2.5})])
    for word in ("inf", "-inf", "nan", "-nan(ind)", "NaN", "Infinity", "1e999", '"inf"', "null"):
        loaded = load(content.replace("12345", word))
        assert column(loaded, "kernels", "blocks_per_sm") == [None, 2.5], word
        assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("dims", "shapes"),
    [
        ("[[8, 64], []]", "[[8,64],[]]"),
        ("[[8, NaN]]", "[[8,null]]"),
        ('["\t", "\\ud800", {"a": 1.50}]', '["\\t","?",{"a":1.50}]'),
        ("null", None),
        ("5", "5"),
    ],
)
def test_shapes_are_kept_as_they_stand_without_blanks(dims, shapes):
    content = json.dumps([op(**{"Input Dims": [12345]}), op()]).replace("[12345]", dims)
    assert column(load(content), "ops", "shapes") == [shapes, None]


def test_calls_that_share_a_correlation_id_are_counted():
    calls = [event("cuda_runtime", "launch", pid=pid, args={"correlation": 5}) for pid in (1, 1, 2, 1)]
    loaded = load([*calls, kernel(correlation=5)])
    assert len(loaded.tables["api"]) == 4
    assert loaded.warnings == (
        "trace.json: api: 2 calls with the correlation id of an earlier one; launches may be mistaken",
    )


@pytest.mark.parametrize("category", ["cuda_driver", "cuda_sync"])
def test_a_driver_call_or_a_wait_may_have_the_id_of_a_runtime_call(category):
    calls = [event(name, "c", args={"correlation": 5}) for name in ("cuda_runtime", category)]
    assert load([*calls, kernel(correlation=5), kernel(correlation=5)]).warnings == ()


def test_calls_without_a_correlation_id_share_none():
    calls = [event("cuda_runtime", "c", args=given) for given in ({}, {}, {"correlation": 0}, {"correlation": 0})]
    assert load(calls).warnings == ()


@pytest.mark.parametrize("category", ["mtia_ccp_events", "mtia_counters", "hpu_op", "xpu_scope_profiler"])
@pytest.mark.parametrize("phase", ["X", "C"])
def test_device_work_of_any_phase_that_is_not_read_is_named(category, phase):
    loaded = load([op(), event(category, "x") | {"ph": phase}])
    assert f"not read by this version: 1 event of {category}" in loaded.warnings[0]


def test_device_work_that_is_not_read_is_named():
    loaded = load([op(), event("mtia_ccp_events", "x")])
    assert "not read by this version: 1 event of mtia_ccp_events" in loaded.warnings[0]


def test_devices_come_from_either_spelling_of_their_properties():
    new = {"id": 0, "name": "NVIDIA A10G", "computeMajor": 8, "computeMinor": 6, "numSms": 80, "warpSize": 32}
    old = {"id": 0, "name": "NVIDIA A10G", "major": 8, "minor": 6, "multiProcessorCount": 80, "warpSize": 32}
    tables = [
        load({"deviceProperties": [new], "traceEvents": [kernel()]}).tables["devices"],
        load({"computeProperties": [old, "junk", {"id": "x"}], "traceEvents": [kernel()]}).tables["devices"],
    ]
    for table in tables:
        found = {name: values.tolist() for name, values in table.columns.items()}
        assert found["chip"] == ["GA102"]
        assert (found["sms"], found["compute_capability"], found["vendor"]) == ([80], ["8.6"], ["nvidia"])


def test_a_trace_of_host_operators_alone_is_one_of_a_cpu():
    assert load([op()]).meta.domain == "cpu"
    assert load([op(), event("cuda_runtime", "cudaLaunchKernel")]).meta.domain == "gpu"
