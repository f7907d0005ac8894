"""The PyTorch trace reader: sampled counters, as Kineto writes them and as the TensorBoard plugin adds them."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from ds2prof.parsers import read
from ds2prof.parsers.kineto_samples import unit_of_metric
from tests.kineto_support import column, kernel, load


def reading(metric="sm__cycles_active.avg", value=5, ts=2.5, pid="GPU 0 Counters", **more):
    return {"ph": "C", "cat": "hardware_counters", "name": metric, "pid": pid, "ts": ts, "args": {"": value}, **more}


def test_a_reading_is_a_row_with_its_device_time_and_unit():
    table = load([kernel(), reading(), reading("dram__bytes_read.sum", 64, 3, "GPU 12 Counters")]).tables["samples"]
    assert {name: values.tolist() for name, values in table.columns.items()} == {
        "metric": ["sm__cycles_active.avg", "dram__bytes_read.sum"],
        "unit": ["cycle", "byte"],
        "value": [5.0, 64.0],
        "start_ns": [2500, 3000],
        "device": [0, 12],
    }


@pytest.mark.parametrize(
    ("metric", "unit", "value"),
    [
        ("sm__throughput.avg.pct_of_peak_sustained_elapsed", "ratio", 0.5),
        ("l1tex__t_sector_hit_rate.pct", "ratio", 0.5),
        ("sm__cycles_elapsed.max", "cycle", 50.0),
        ("sm__cycles_elapsed.avg.per_second", "cycle/s", 50.0),
        ("smsp__inst_executed.sum.per_cycle_active", "inst/cycle", 50.0),
        ("smsp__inst_executed.avg.peak_sustained", "unknown", 50.0),
        ("gpu__time_duration.sum", "ns", 50.0),
        ("lts__t_sectors.sum", "sector", 50.0),
        ("Est. SM Efficiency", "ratio", 50.0),
        ("Queue Length", "unknown", 50.0),
        ("", "unknown", 50.0),
    ],
)
def test_the_unit_is_that_of_the_metrics_name(metric, unit, value):
    loaded = load([reading(metric, 50)])
    assert (column(loaded, "samples", "unit"), column(loaded, "samples", "value")) == ([unit], [value])


def test_several_readings_in_one_event_are_rows_of_their_own():
    loaded = load([reading("GPU 3 Memory", pid=3, args={"used": 1, "free": 2.5})])
    assert column(loaded, "samples", "metric") == ["used", "free"]
    assert column(loaded, "samples", "start_ns") == [2500, 2500]
    assert column(loaded, "samples", "device") == [3, 3]


def test_a_process_that_names_no_device_is_none():
    assert "device" not in load([reading(pid=4242)]).tables["samples"]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-inf", '"nan"', "null", "true", '"text"', "[1]", "1e999", "{}"])
def test_readings_that_are_no_number_are_left_out_and_counted(value):
    content = json.dumps([reading(value=12345), reading(value="7.25")]).replace("12345", value)
    loaded = load(content)
    assert column(loaded, "samples", "value") == [7.25]
    assert loaded.warnings == ("trace.json: samples: 1 row left out, no readable value",)


def test_readings_without_a_time_or_a_value_are_left_out_and_counted():
    loaded = load([reading(), reading(ts=None), reading(ts="x"), reading(args={}), reading(args=5)])
    assert len(loaded.tables["samples"]) == 1
    assert [warning.split(": ", 1)[1] for warning in loaded.warnings] == [
        "samples: 2 rows left out, no readable value",
        "samples: 2 rows left out, no readable time",
    ]


def test_readings_cost_nothing_where_nobody_asks_for_them():
    events = [kernel(), reading(), reading(ts=None)]
    loaded = load(events, {"kernels"})
    assert (loaded.tables.keys(), loaded.warnings) == ({"kernels"}, ())
    assert loaded.meta == load(events).meta


def test_readings_count_from_the_traces_base():
    document = {"baseTimeNanoseconds": 1_740_000_000_000_000_000, "traceEvents": [kernel(), reading()]}
    assert column(load(document), "samples", "start_ns") == [1_740_000_000_000_002_500]


def test_a_unit_does_not_depend_on_what_else_was_sampled():
    assert unit_of_metric("pmsampling:sm__cycles_active.avg") == ("unknown", 1.0)


def test_the_plugins_counters_are_every_one_of_its_file(corpus):
    path = corpus / "kineto" / "pytorch__kineto__gpu_metrics_expected.json"
    document = json.loads(path.read_text(), parse_float=Decimal)
    expected = [
        (metric, float(value), int(event["ts"]) * 1000, event["pid"])
        for event in document["traceEvents"]
        if event["ph"] == "C"
        for metric, value in event["args"].items()
    ]
    table = read(path, tables=("samples",)).table("samples")
    found = zip(*(table[name].tolist() for name in ("metric", "value", "start_ns", "device")), strict=True)
    assert list(found) == expected
    assert len(expected) == 78
    assert set(table["unit"].tolist()) == {"ratio"}
    assert len(read(path.with_name("pytorch__kineto__gpu_metrics_input.json")).table("samples")) == 0
