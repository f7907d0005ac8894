"""The reader of Nsight Compute reports on real files: what it gives is what the tool's own raw page prints of them."""

import csv
import re
from decimal import Decimal, InvalidOperation
from pathlib import Path

import pytest

from ds2prof.parsers import read
from tests.conftest import corpus_folder

TABLES = ("kernels", "counters", "samples", "rules", "devices", "processes")
REPORTS = sorted(path.name for path in (corpus_folder() / "ncu-rep").glob("*")) or ["none"]
PRINTED = [name for name in REPORTS if (corpus_folder() / "expected/ncu-csv" / f"{name}.raw.base.csv").exists()] or [
    "none"
]
RULES = {"INF": "info", "WRN": "warning", "ERR": "error", "OPT": "optimization", "": None}


def report(corpus: Path, name: str, *tables: str):
    return read(corpus / "ncu-rep" / name, tables=tables or TABLES)


def page(corpus: Path, name: str, kind: str = "raw.base") -> Path:
    return corpus / "expected" / "ncu-csv" / f"{name}.{kind}.csv"


def columns(profile, table):
    found = profile.table(table)
    return {name: column.tolist() for name, column in found.columns.items()}


def counters(profile):
    found = columns(profile, "counters")
    pairs = zip(found["launch"], found["metric"], strict=True)
    return {pair: value for pair, value in zip(pairs, found["value"], strict=True) if value is not None}


def printed(path: Path):
    """(launch, metric) -> the number as printed and its unit, of every cell that holds one and is no device's."""
    with path.open(newline="") as stream:
        header, units, *rows = csv.reader(stream)
    found = {}
    for launch, row in enumerate(rows):
        for name, unit, cell in list(zip(header, units, row, strict=True))[header.index("Stream") + 1 :]:
            try:
                number = Decimal(cell)
            except InvalidOperation:
                continue
            if number.is_finite() and not name.startswith("device__attribute_"):
                found[launch, name] = (number, unit)
    return found


def rounded(value: float, unit: str, like: Decimal) -> Decimal:
    """The value with as many digits as the printed number has; the double's own decimals decide, as in C."""
    scale = 100 if unit == "%" else 1
    exponent = like.as_tuple().exponent
    assert isinstance(exponent, int)
    return Decimal(f"{value * scale:.{max(0, -exponent)}f}")


@pytest.mark.parametrize("name", PRINTED)
def test_every_metric_of_every_launch_is_what_the_raw_page_prints(corpus, name):
    found, expected = counters(report(corpus, name)), printed(page(corpus, name))
    assert found.keys() == expected.keys()
    wrong = {
        key: (found[key], number, unit)
        for key, (number, unit) in expected.items()
        if rounded(found[key], unit, number) != number
    }
    assert wrong == {}


@pytest.mark.parametrize("name", PRINTED)
def test_launches_devices_and_processes_are_those_of_the_raw_page(corpus, name):
    found, expected = report(corpus, name), read(page(corpus, name), tables=TABLES)
    for table in ("kernels", "devices", "processes"):
        ours, theirs = columns(found, table), columns(expected, table)
        assert theirs.keys() <= ours.keys()
        for column in theirs.keys() - {"occupancy", *(f"{of}_{axis}" for of in ("grid", "block") for axis in "xyz")}:
            assert ours[column] == theirs[column], column
    ours, theirs = columns(found, "kernels"), columns(expected, "kernels")
    for column in theirs.keys() & {f"{of}_{axis}" for of in ("grid", "block") for axis in "xyz"}:
        pairs = zip(ours[column], theirs[column], strict=True)
        assert all(their is None or our == their for our, their in pairs), column
    assert ours["occupancy"] == pytest.approx(theirs["occupancy"], abs=5.1e-5)


@pytest.mark.parametrize("name", PRINTED)
def test_rules_are_those_of_the_details_page(corpus, name):
    found = columns(report(corpus, name), "rules")
    with page(corpus, name, "details").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["Rule Name"]]
    expected = [(int(row["ID"]), row["Section Name"], row["Rule Name"], row["Rule Description"]) for row in rows]
    ours = list(zip(*(found[name] for name in ("launch", "section", "name", "text")), strict=True))
    assert sorted((launch, section, rule, text or "") for launch, section, rule, text in ours) == sorted(expected)


@pytest.mark.parametrize("name", PRINTED)
def test_rules_of_the_details_page_are_read_from_the_page_too(corpus, name):
    details = read(page(corpus, name, "details"), tables=TABLES)
    found = columns(details, "rules")
    with page(corpus, name, "details").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["Rule Name"]]
    orders = columns(details, "kernels")["order"]
    expected = [(int(row["ID"]), row["Rule Name"], RULES[row["Rule Type"]], row["Rule Description"]) for row in rows]
    ours = list(zip(*(found[name] for name in ("launch", "name", "kind", "text")), strict=True))
    assert sorted((orders[launch], rule, kind or "", text) for launch, rule, kind, text in ours) == sorted(
        (launch, rule, kind or "", text) for launch, rule, kind, text in expected
    )


@pytest.mark.parametrize("name", REPORTS)
def test_every_report_is_read_without_a_warning(corpus, name):
    profile = report(corpus, name)
    assert profile.warnings == ()
    assert all(column.present.all() for column in (profile.table("kernels")[name] for name in ("name", "process")))
    assert re.fullmatch(r"20\d\d\.\d\.\d\.\d", profile.meta.tool_version or "")


def test_pm_sampling_of_a_real_report_is_in_samples_alone(corpus):
    profile = report(corpus, "panjd123__cutlass__report75.ncu-rep")
    assert not any(":" in metric for _, metric in counters(profile))
    found = columns(profile, "samples")
    assert {metric.partition(":")[0] for metric in found["metric"]} == {"pmsampling"}
    assert sorted(set(found["launch"])) == [0, 1, 2]
    first = [
        (value, start)
        for launch, metric, value, start in zip(
            *(found[name] for name in ("launch", "metric", "value", "start_ns")), strict=True
        )
        if (launch, metric) == (0, "pmsampling:sm__ctas_launched.sum")
    ]
    assert (len(first), sum(value for value, _ in first)) == (14, 96.0)
    assert (first[0][1], first[-1][1]) == (2_716_021_843_496_448, 2_716_021_843_747_840)


def test_nvtx_ranges_of_a_real_report_are_told_with_each_launch(corpus):
    found = columns(report(corpus, "panjd123__cutlass__report75.ncu-rep"), "kernels")
    assert found["nvtx"] == ["Non-fused-GEMM", "Non-fused-GEMM", "Fused-GEMM"]
