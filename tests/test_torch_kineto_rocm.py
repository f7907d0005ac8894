"""PyTorch traces from ROCm, row by row against Python's json with numbers as they are written."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from decimal import ROUND_HALF_EVEN, Decimal

import pytest

from ds2prof.parsers import read

TRACELENS = "AMD-AGI__TraceLens__"
ROCM = (
    f"{TRACELENS}mi210_gpu_only_trace",
    f"{TRACELENS}mi300_bert-small",
    f"{TRACELENS}torch_compile_triton_trace",
    f"{TRACELENS}vllm_decode_full_graph_execution",
    "facebookresearch__HolisticTraceAnalysis__mi250_minitoy_train_ROCm6_2_kineto",
)
COPIES = {"gpu_memcpy": "memcpy", "gpu_memset": "memset"}
KINDS = {"H": "host", "D": "device"}
TABLES = ("kernels", "copies", "api")


@pytest.fixture(scope="module", params=ROCM)
def trace(request, corpus):
    """(the profile, the document as a second reader sees it)."""
    path = corpus / "kineto" / f"{request.param}.json.gz"
    document = json.loads(gzip.decompress(path.read_bytes()), parse_float=Decimal)
    return read(path, tables=TABLES), document


def events_of(document, *categories):
    return [event for event in document["traceEvents"] if event["ph"] == "X" and event.get("cat") in categories]


def ns(value):
    return int((Decimal(value) * 1000).to_integral_value(rounding=ROUND_HALF_EVEN))


def times(document, event):
    return document["baseTimeNanoseconds"] + ns(event["ts"]), ns(event["dur"])


def rows(table, *names):
    return list(zip(*(table[name].tolist() for name in names), strict=True))


def test_kernels_have_their_place_shape_and_times(trace):
    profile, document = trace
    expected = []
    for event in events_of(document, "kernel"):
        given = event["args"]
        shape = [*given.get("grid", [None] * 3), *given.get("block", [None] * 3)]
        place = [given[name] for name in ("device", "stream", "correlation")]
        expected.append((event["name"], *times(document, event), *place, given.get("External id"), *shape))
    names = ["name", "start_ns", "dur_ns", "device", "stream", "correlation", "external_id"]
    shape_names = [f"{what}_{axis}" for what in ("grid", "block") for axis in "xyz"]
    assert expected
    assert rows(profile.table("kernels"), *names, *shape_names) == expected


def test_what_rocm_does_not_tell_of_a_kernel_is_absent(trace):
    profile, _ = trace
    kernels = profile.table("kernels")
    for name in ("occupancy", "blocks_per_sm", "registers", "context", "shared_bytes", "graph", "graph_node"):
        assert not kernels[name].present.any(), name


def test_copies_have_their_kind_and_bytes(trace):
    profile, document = trace
    expected = []
    for event in events_of(document, *COPIES):
        given = event["args"]
        source, destination = re.fullmatch(r"([HD])to([HD])", given["kind"]).groups()
        place = [given[name] for name in ("device", "stream", "correlation")]
        what = [COPIES[event["cat"]], KINDS[source], KINDS[destination], given.get("bytes")]
        expected.append((event["name"], *times(document, event), *place, *what))
    names = ["name", "start_ns", "dur_ns", "device", "stream", "correlation"]
    kinds = ["kind", "source_kind", "destination_kind", "size_bytes"]
    assert rows(profile.table("copies"), *names, *kinds) == expected


def test_calls_are_those_of_hip_without_addresses_for_streams(trace):
    profile, document = trace
    api = profile.table("api")
    expected = [
        (event["name"], *times(document, event), event["pid"], event["tid"], event["args"]["correlation"])
        for event in events_of(document, "cuda_runtime", "hip_runtime")
    ]
    assert rows(api, "name", "start_ns", "dur_ns", "process", "thread", "correlation") == expected
    assert all(name.startswith("hip") for name in api["name"].tolist())
    assert set(api["domain"].tolist()) == {"runtime"}
    assert not api["stream"].present.any()


def test_every_operation_has_one_launch_and_every_launch_but_a_graphs_one_operation(trace):
    profile, document = trace
    call_of = dict(rows(profile.table("api"), "correlation", "name"))
    assert len(call_of) == len(profile.table("api"))
    operations = [*profile.table("kernels")["correlation"].tolist(), *profile.table("copies")["correlation"].tolist()]
    started = Counter(call_of[correlation] for correlation in operations)
    expected = Counter(
        next(
            call["name"]
            for call in events_of(document, "cuda_runtime")
            if call["args"]["correlation"] == event["args"]["correlation"]
        )
        for event in events_of(document, "kernel", *COPIES)
    )
    assert started == expected
    several = {call_of[correlation] for correlation, count in Counter(operations).items() if count > 1}
    assert several <= {"hipGraphLaunch"}


def test_one_graph_launch_starts_all_the_kernels_of_its_graph(corpus):
    profile = read(corpus / "kineto" / f"{TRACELENS}vllm_decode_full_graph_execution.json.gz", tables=TABLES)
    api, kernels = profile.table("api"), profile.table("kernels")
    (launch,) = [row for row in rows(api, "name", "correlation", "start_ns") if row[0] == "hipGraphLaunch"]
    inside = [row for row in rows(kernels, "correlation", "start_ns", "stream") if row[0] == launch[1]]
    assert len(inside) == 421
    assert all(start > launch[2] for _, start, _ in inside)


def test_devices_are_amds_with_their_processors(trace):
    profile, document = trace
    listed = document["deviceProperties"]
    devices = profile.table("devices")
    assert rows(devices, "device", "sms", "memory_bytes", "warp_size") == [
        (device["id"], device["numSms"], device["totalGlobalMem"], 64) for device in listed
    ]
    assert devices["name"].tolist() == [device["name"] or None for device in listed]
    assert set(devices["vendor"].tolist()) == {"amd"}
    assert profile.warnings == ()
