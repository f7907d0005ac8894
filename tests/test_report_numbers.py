"""Every number of a report is the same when it is worked out from the file a second time, by other code."""

from __future__ import annotations

import gzip
import json
import re
from collections import defaultdict
from decimal import Decimal
from fractions import Fraction

import pytest

from ds2prof.analysis.ledger import idle_ledger
from ds2prof.parsers import read_all
from ds2prof.report import html
from ds2prof.report.html import strips
from tests.known.cases import runs
from tests.known.formats import written
from tests.known.truth import Operator, Run
from tests.known.write_kineto import document
from tests.report_second_path import expected_of, expected_of_counters, run_of
from tests.report_support import numbers, read, row_label

RUNS = {run.name: run for run in runs()}
TRACES = ["communication", "two_devices"]
FURTHER = [
    "sync_bound",
    "autograd",
    "host_bound",
    "queue_bound",
    "data_bound",
    "allocation",
    "copies",
    "streams",
    "window",
    "many_names",
]


def page_of(path):
    return read(html.page(list(read_all(str(path), tables=html.TABLES))))


def differences(page, expected):
    """What stands on the page and is not what was expected, and tables that are expected and not there."""
    found = defaultdict(list)
    for each in numbers(page):
        found[each.table, each.row, each.column].append(each.value)
    wrong = [
        (key, values, [str(value) for value in expected.get(key, [])])
        for key, values in found.items()
        if not same(values, expected.get(key, []))
    ]
    lacking = {key[0] for key in expected} - {key[0] for key in found}
    return wrong, lacking


def same(values, expected):
    return len(values) == len(expected) and all(
        (isinstance(value, int) and value == other) or abs(value - float(other)) <= 1e-9 * max(abs(float(other)), 1e-9)
        for value, other in zip(values, map(Fraction, expected), strict=True)
    )


@pytest.mark.parametrize("name", [*TRACES, *(pytest.param(name, marks=pytest.mark.long) for name in FURTHER)])
def test_every_number_of_a_trace_is_the_same_by_a_second_path(name, tmp_path):
    path = written(RUNS[name], "kineto", tmp_path)
    wrong, lacking = differences(page_of(path), expected_of(run_of(path)))
    assert wrong == []
    assert lacking == set()


def test_every_number_of_counters_is_the_same_by_a_second_path(tmp_path):
    path = written(RUNS["counters"], "ncu_raw", tmp_path)
    wrong, lacking = differences(page_of(path), expected_of_counters(path))
    assert wrong == []
    assert lacking == set()


def test_the_check_itself_finds_a_number_that_is_off_by_one(tmp_path):
    path = written(RUNS["communication"], "kineto", tmp_path)
    expected = expected_of(run_of(path))
    expected["m0-ledger-0", "queued, not begun", "dur_ns"][0] += 1
    del expected["m0-kernels-table", "ampere_sgemm_64x32_nn", "excl_ns"]
    wrong, _ = differences(page_of(path), expected)
    assert {key for key, *_ in wrong} == {
        ("m0-ledger-0", "queued, not begun", "dur_ns"),
        ("m0-kernels-table", "ampere_sgemm_64x32_nn", "excl_ns"),
    }


# ---- the roofline, by hand: one product of known shape on a device of known peaks

ROWS, INNER, COLUMNS = 512, 1024, 256
DUR_NS = 40_000
FLOP = 2 * ROWS * INNER * COLUMNS
SIZE_BYTES = 4 * (ROWS * INNER + INNER * COLUMNS + ROWS * COLUMNS)
FP32_PER_S = 108 * 64 * 2 * 1_410_000_000
BYTES_PER_S = 2_039_000_000_000


def shaped_trace(path):
    run = Run("shapes", "", ("kineto",))
    run.range("iteration", "0", 0, 100_000)
    run.operators.append(Operator("aten::mm", 1_000, 9_000))
    run.kernel("ampere_sgemm_128x64_tn", 20_000, 20_000 + DUR_NS, (2_000, 4_000))
    trace = json.loads(document(run))
    for event in trace["traceEvents"]:
        if event["name"] == "aten::mm":
            shapes = {"Input Dims": [[ROWS, INNER], [INNER, COLUMNS]], "Input type": ["float", "float"]}
            event["args"] |= {**shapes, "Input Strides": [[INNER, 1], [COLUMNS, 1]], "Concrete Inputs": ["", ""]}
    path.write_text(json.dumps(trace))
    return path


def test_the_roofline_of_a_product_is_what_its_shapes_come_to_on_paper(tmp_path):
    page = page_of(shaped_trace(tmp_path / "trace.json"))
    found = {(each.table, each.column): each.value for each in numbers(page) if each.row == "ampere_sgemm_128x64_tn"}
    attainable_ns = max(FLOP / FP32_PER_S, SIZE_BYTES / BYTES_PER_S) * 1e9
    expected = {
        "calls": 1,
        "excl_ns": DUR_NS,
        "flop": FLOP,
        "size_bytes": SIZE_BYTES,
        "intensity": FLOP / SIZE_BYTES,
        "flop_per_s": FLOP / DUR_NS * 1e9,
        "attainable_ns": round(attainable_ns),
        "roof": attainable_ns / DUR_NS,
        "gain_ns": round(DUR_NS - attainable_ns),
        "step_gain_ns": round(DUR_NS - attainable_ns),
        "coverage": 1.0,
    }
    assert {column: value for (table, column), value in found.items() if table == "m0-roofline-table"} == pytest.approx(
        expected, rel=1e-9
    )
    assert found["m0-kernels-table", "roof"] == pytest.approx(expected["roof"])
    assert found["m0-kernels-table", "gain_ns"] == expected["gain_ns"]
    (mark,) = [
        node for node in page.all("g") if node.has_class("mark") and "FLOP/byte" in node.attributes["aria-label"]
    ]
    assert f"{FLOP / SIZE_BYTES:.3g} FLOP/byte" in mark.attributes["aria-label"]


# ---- what is read is what stands behind it

SCALES = {"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1, "%": 0.01, "B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9,
          "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "": 1}  # fmt: skip


def test_what_is_read_is_the_value_behind_it_rounded(tmp_path, golden):
    paths = [written(RUNS["communication"], "kineto", tmp_path), shaped_trace(tmp_path / "trace.json")]
    paths += [golden / "ds2prof_run" / "tiny" / "input.jsonl", golden / "memory_csv" / "two_gpus" / "input.csv"]
    checked = 0
    for path in paths:
        for each in numbers(page_of(path)):
            amount, _, unit = each.text.partition(" ")
            if each.column in ("audio_s", "padded_s"):
                unit = ""
            read_value = float(amount.replace(",", "")) * SCALES[unit]
            last_digit = SCALES[unit] / 10 ** len(amount.partition(".")[2])
            assert abs(read_value - each.value) <= max(last_digit * 0.51, abs(each.value) * 5e-4), each
            checked += 1
    assert checked > 200


def test_the_strip_of_a_window_sums_to_its_ledger(tmp_path):
    for name in ("communication", "copies", "two_devices"):
        (profile,) = read_all(str(written(RUNS[name], "kineto", tmp_path)), tables=html.TABLES)
        for device in {row["device"] for row in idle_ledger(profile).rows()}:
            ledger = {row["cause"]: row["dur_ns"] for row in idle_ledger(profile).rows() if row["device"] == device}
            found = strips.strip(profile, device, slices=37)
            assert {cause: int(used.sum()) for cause, used in found.used_ns.items()} == {
                cause: ledger[cause] for cause in found.used_ns
            }
            assert all((used >= 0).all() for used in found.used_ns.values())
            assert (sum(found.used_ns.values()) <= found.edges_ns[1:] - found.edges_ns[:-1]).all()


# ---- a real file


def union_ns(spans):
    """Length of a union of (start, end), by merging them in order."""
    whole, reached = 0, None
    for start, end in sorted(spans):
        start = start if reached is None else max(start, reached)
        if end > start:
            whole, reached = whole + end - start, end
    return whole


@pytest.mark.parametrize(
    "name",
    [
        "AMD-AGI__TraceLens__h100_bert-small",
        pytest.param("AMD-AGI__TraceLens__h100_timesformer", marks=pytest.mark.long),
    ],
)
def test_a_real_trace_says_what_its_events_add_up_to(corpus, name):
    path = corpus / "kineto" / f"{name}.json.gz"
    with gzip.open(path, "rt") as stream:
        events = json.load(stream, parse_float=Decimal)["traceEvents"]
    spans = defaultdict(list)
    by_name = defaultdict(list)
    for event in events:
        if event.get("ph") == "X":
            span = (round(event["ts"] * 1000), round((event["ts"] + event["dur"]) * 1000))
            is_step = event["name"].startswith("ProfilerStep#")
            spans["step" if is_step and event["cat"] == "user_annotation" else event.get("cat")].append(span)
            if event.get("cat") == "kernel":
                by_name[event["name"]].append(round(event["dur"] * 1000))
    lo, hi = min(start for start, _ in spans["step"]), max(end for _, end in spans["step"])
    kernels = [(max(start, lo), min(end, hi)) for start, end in spans["kernel"]]
    copies = [(max(start, lo), min(end, hi)) for start, end in (*spans["gpu_memcpy"], *spans["gpu_memset"])]
    page = page_of(path)
    found = {(each.table, each.row, each.column): each.value for each in numbers(page)}
    facts = {column: value for (table, _, column), value in found.items() if table == "m0-facts"}
    assert facts["window_ns"] == hi - lo
    assert facts["window_busy_ns"] == union_ns(kernels)
    assert facts["gpu_compute_utilization"] == pytest.approx(union_ns(kernels) / (hi - lo), rel=1e-12)
    assert facts["launches"] == len(kernels)
    assert facts["copies"] == len(copies)
    assert facts["kernel_dur_ns"] == sum(map(sum, by_name.values()))
    assert found["m0-ledger-0", "exposed copies", "dur_ns"] == union_ns([*kernels, *copies]) - union_ns(kernels)
    _each_name_is_the_sum_of_its_full_names(page, found, by_name)


def _each_name_is_the_sum_of_its_full_names(page, found, by_name):
    checked = 0
    for row in page.first("table", id="m0-kernels-table").first("tbody").all("tr"):
        label = row_label(row)
        full = [re.sub(r" [\d,]+ calls, [\d.]+ \w+$", "", item.text) for item in row.all("li")] or [label]
        if "and more" in full or any("\N{HORIZONTAL ELLIPSIS}" in name for name in full):
            continue
        assert found["m0-kernels-table", label, "calls"] == sum(len(by_name[name]) for name in full)
        assert found["m0-kernels-table", label, "dur_ns"] == sum(sum(by_name[name]) for name in full)
        checked += 1
    assert checked > 5
