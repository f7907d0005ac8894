"""The table of collectives, as PyTorch's traces tell of them in the arguments of communication kernels."""

from __future__ import annotations

import json

import pytest

from tests.kineto_support import column, kernel, load, plain

TOLD = {
    "Collective name": "allreduce",
    "In msg nelems": 10,
    "Out msg nelems": 20,
    "Group size": 2,
    "dtype": "BFloat16",
    "Process Group Name": "7",
    "Process Group Ranks": "[0, 3]",
    "Seq": 41,
}


def one(**changed):
    return plain(load([kernel("ncclDevKernel_AllReduce_Sum_f32_RING_LL", **{**TOLD, **changed})]))["tables"][
        "collectives"
    ]


def test_a_kernel_that_names_its_collective_is_a_row():
    assert one() == {
        "launch": [0],
        "name": ["allreduce"],
        "group": ["7"],
        "ranks": ["0,3"],
        "group_size": [2],
        "sequence": [41],
        "in_bytes": [20],
        "out_bytes": [40],
        "dtype": ["BFloat16"],
    }


def test_launch_counts_the_rows_of_kernels_those_without_a_time_left_out():
    events = [
        kernel("gemm"),
        kernel("ncclDevKernel", ts="soon", **TOLD),
        kernel("gemm"),
        kernel("ncclDevKernel", **TOLD),
    ]
    loaded = load(events)
    assert column(loaded, "collectives", "launch") == [2]
    assert column(loaded, "kernels", "name") == ["gemm", "gemm", "ncclDevKernel"]
    assert [warning for warning in loaded.warnings if "left out" in warning] == [
        "trace.json: kernels: 1 row left out, no readable time"
    ]


def test_the_table_alone_is_that_of_all():
    events = [kernel("gemm"), kernel("ncclDevKernel", **TOLD), kernel("gemm")]
    alone = load(events, {"collectives"})
    assert plain(alone)["tables"]["collectives"] == plain(load(events))["tables"]["collectives"]


def test_a_trace_whose_kernels_name_no_collective_has_none():
    assert len(load([kernel("ncclKernel_AllReduce_RING_LL_Sum_float")]).tables["collectives"]) == 0


@pytest.mark.parametrize(
    ("changed", "field", "value"),
    [
        ({"Process Group Ranks": [0, 3]}, "ranks", ["0,3"]),
        ({"Process Group Ranks": "[0, 1, ..., 511]"}, "ranks", ["0,1,...,511"]),
        ({"Process Group Name": 7}, "group", ["7"]),
        ({"dtype": "Float8_e4m3fn"}, "in_bytes", [10]),
        ({"dtype": "ComplexDouble"}, "out_bytes", [320]),
    ],
)
def test_other_spellings_are_read(changed, field, value):
    assert one(**changed)[field] == value


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"Process Group Ranks": "[]"}, "ranks"),
        ({"Process Group Ranks": {"a": 1}}, "ranks"),
        ({"Process Group Name": None}, "group"),
        ({"dtype": "Bits3"}, "in_bytes"),
        ({"dtype": ""}, "dtype"),
        ({"In msg nelems": -1}, "in_bytes"),
        ({"In msg nelems": "many"}, "in_bytes"),
        ({"Seq": -1}, "sequence"),
        ({"Group size": 0}, "group_size"),
    ],
)
def test_what_cannot_be_is_null(changed, field):
    assert field not in one(**changed)


def test_an_event_that_is_read_tolerantly_keeps_its_collective():
    event = kernel("ncclDevKernel", **TOLD)
    event["name"] = "nccl\x01Kernel"  # a control character as it stands is no JSON
    text = json.dumps({"schemaVersion": 1, "traceEvents": [event]}).replace("\\u0001", "\x01")
    assert column(load(text), "collectives", "sequence") == [41]


def test_sizes_beyond_64_bits_are_null_with_a_warning():
    loaded = load([kernel("ncclDevKernel", **{**TOLD, "In msg nelems": 2**63 - 1})])
    assert "in_bytes" not in loaded.tables["collectives"].columns
    assert any("collectives: 1 integer beyond 64 bits" in warning for warning in loaded.warnings)
