"""What ``ds2prof parse`` says of real files, against what the tools that wrote them print of the same files.

The expected files are parsed here, by the csv module alone, and the numbers are compared as integers; where a tool
prints fewer digits than it knows, within half of its last one.
"""

from __future__ import annotations

import csv
import functools
import json
import re
from collections import Counter, defaultdict
from decimal import Decimal, InvalidOperation

import pytest

from ds2prof import read
from tests.conftest import corpus_folder
from tests.test_corpus import ds2prof

EXPECTED = corpus_folder() / "expected"
NS_PER = {"s": Decimal(10**9), "ms": Decimal(10**6), "us": Decimal(1000), "ns": Decimal(1)}
BYTES_PER = {"B": Decimal(1), "KB": Decimal(1 << 10), "MB": Decimal(1 << 20), "GB": Decimal(1 << 30)}


def cases(folder, report):
    """The names of the files of which the folder has that report; a name that fails where there is no corpus."""
    ending = f".{report}.csv"
    found = sorted(path.name.removesuffix(ending) for path in (EXPECTED / folder).glob(f"*{ending}"))
    return found or ["none"]


CALLS = ("runtime", "driver")
"""Domains of what a program called; waits as CUPTI saw them have another, and are in none of the tools' reports."""


@functools.cache
def parsed(path, by):
    """The JSON document of the file."""
    code, out, _ = ds2prof(path, "--by", by, "--format", "json")
    assert code == 0, path
    return json.loads(out)


def rows_of(path, by):
    return parsed(path, by)["rows"]


def calls_of(path, *domains):
    return [row for row in rows_of(path, "api") if row["domain"] in domains]


# Nsight Systems


def export(name):
    return corpus_folder() / "nsys-sqlite" / f"{name}.sqlite"


def stats(name, report):
    with (EXPECTED / "nsys-stats" / f"{name}.{report}.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(line for line in lines if line.strip()))


def stated_sums(rows, count, name):
    """Name -> [calls, ns, least, greatest], rows of one name together."""
    found = {}
    for row in rows:
        numbers = [int(row[key]) for key in (count, "Total Time (ns)", "Min (ns)", "Max (ns)")]
        before = found.setdefault(row[name], [0, 0, numbers[2], numbers[3]])
        before[0] += numbers[0]
        before[1] += numbers[1]
        before[2:] = min(before[2], numbers[2]), max(before[3], numbers[3])
    return found


def our_sums(rows):
    return {row["name"]: [row[key] for key in ("calls", "dur_ns", "min_dur_ns", "max_dur_ns")] for row in rows}


def calls_and_ns(sums):
    return {name: numbers[:2] for name, numbers in sums.items()}


@pytest.mark.parametrize("name", cases("nsys-stats", "gpukernsum"))
def test_kernels_by_name_are_those_of_gpukernsum(corpus, name):
    wanted = calls_and_ns(stated_sums(stats(name, "gpukernsum"), "Instances", "Name"))
    found = {row["name"]: [row["calls"], row["dur_ns"]] for row in rows_of(export(name), "kernel")}
    assert found == wanted
    totals = parsed(export(name), "kernel")["totals"]
    assert [totals["launches"], totals["kernel_dur_ns"]] == [
        sum(column) for column in zip(*wanted.values(), strict=True)
    ]


@pytest.mark.parametrize("name", cases("nsys-stats", "gpumemtimesum"))
def test_copies_by_name_are_those_of_gpumemtimesum_and_gpumemsizesum(corpus, name):
    rows = rows_of(export(name), "copy")
    assert our_sums(rows) == stated_sums(stats(name, "gpumemtimesum"), "Count", "Operation")
    sizes = {row["Operation"]: (int(row["Count"]), row["Total (MB)"]) for row in stats(name, "gpumemsizesum")}
    assert {row["name"] for row in rows} == sizes.keys()
    for row in rows:
        count, megabytes = sizes[row["name"]]
        assert row["calls"] == count
        assert abs(Decimal(row["size_bytes"]) / 1_000_000 - Decimal(megabytes.replace(",", ""))) <= Decimal("0.0005")


@pytest.mark.parametrize("name", cases("nsys-stats", "cudaapisum"))
def test_calls_by_name_are_those_of_cudaapisum(corpus, name):
    rows = calls_of(export(name), *CALLS, "backtrace")
    # A call that was recorded with its backtrace stands twice in the file, and in two rows of one name in the report.
    found = [(row["name"], row["calls"], row["dur_ns"], row["min_dur_ns"], row["max_dur_ns"]) for row in rows]
    keys = ("Num Calls", "Total Time (ns)", "Min (ns)", "Max (ns)")
    wanted = [(row["Name"], *(int(row[key]) for key in keys)) for row in stats(name, "cudaapisum")]
    assert sorted(found) == sorted(wanted)


@pytest.mark.parametrize("name", cases("nsys-stats", "osrtsum"))
def test_calls_of_the_operating_system_are_those_of_osrtsum(corpus, name):
    assert our_sums(calls_of(export(name), "osrt")) == stated_sums(stats(name, "osrtsum"), "Num Calls", "Name")


@pytest.mark.parametrize("name", cases("nsys-stats", "nvtxsum"))
def test_ranges_by_name_are_those_of_nvtxsum_and_the_sums_of_nvtxpptrace(corpus, name):
    rows = rows_of(export(name), "range")
    # The report sets the domain before a name; the saxpy program has ranges in one domain other than the default.
    assert our_sums(rows) == stated_sums(stats(name, "nvtxsum"), "Instances", "Range")
    traced = defaultdict(lambda: [0, 0])
    for row in stats(name, "nvtxpptrace"):
        assert int(row["End (ns)"]) - int(row["Start (ns)"]) == int(row["Duration (ns)"])
        sums = traced[row["Name"]]
        sums[:] = sums[0] + 1, sums[1] + int(row["Duration (ns)"])
    assert calls_and_ns(our_sums(rows)) == traced


def relative(rows):
    """(start after the first, ns, device, stream, name), by start."""
    first = min(row[0] for row in rows)
    return sorted((start - first, *rest) for start, *rest in rows)


def our_launches(path):
    keys = ("start_ns", "dur_ns", "device", "stream", "name")
    return relative([tuple(row[key] for key in keys) for row in rows_of(path, "launch")])


@pytest.mark.parametrize("name", cases("nsys-stats", "gputrace"))
def test_launches_are_those_of_gputrace_row_by_row(corpus, name):
    rows = [row for row in stats(name, "gputrace") if row["GrdX"] != "None"]
    wanted = [
        (
            int(row["Start (ns)"]),
            int(row["Duration (ns)"]),
            int(re.search(r"\((\d+)\)$", row["Device"])[1]),
            int(row["Strm"]),
            row["Name"],
        )
        for row in rows
    ]
    assert our_launches(export(name)) == relative(wanted)


@pytest.mark.parametrize("name", cases("nsys-stats", "kernexectrace"))
def test_launches_are_those_of_kernexectrace(corpus, name):
    keys = ("Kernel Start (ns)", "Kernel Dur (ns)", "DevId")
    # The report has a launch twice where its call was recorded with a backtrace.
    rows = {(*(int(row[key]) for key in keys), row["Kernel Name"]) for row in stats(name, "kernexectrace")}
    found = [(start, dur, device, kernel) for start, dur, device, _, kernel in our_launches(export(name))]
    assert found == relative(rows)


# nvprof


def nvvp(name):
    return corpus_folder() / "nvvp" / name


def printed(name, report):
    """The tables of one file of nvprof: (what stands above each since the last, units, rows), each a list of dicts."""
    with (EXPECTED / "nvprof-csv" / f"{name}.{report}.csv").open(encoding="utf-8", newline="") as stream:
        lines = stream.read().splitlines()
    tables, above = [], []
    for line in lines:
        if line.startswith(("====", "No ")):
            above.append(line)
        elif line.startswith(('"Type"', '"Start"')):
            tables.append((above, [line]))
            above = []
        elif line:
            tables[-1][1].append(line)
    made = []
    for heading, table in tables:
        units, *rows = csv.DictReader(table)
        made.append((heading, units, rows))
    return made


def activities(name, report, kind):
    """The units and the rows of that type in the first table, which is of the whole session."""
    tables = printed(name, report)
    if not tables:
        return {}, []
    _, units, rows = tables[0]
    return units, [row for row in rows if row["Type"] == kind]


def is_copy(name):
    return name.startswith("[CUDA mem")


def test_every_profile_of_nvprof_has_its_expected_files(corpus):
    for report in ("gpusum", "gpusum.us", "apisum", "gputrace"):
        assert {nvvp(name) for name in cases("nvprof-csv", report)} == set((corpus / "nvvp").iterdir())


def refused(path, by):
    """Whether one line refuses it; what was lost while reading may stand before that, as warnings."""
    code, out, err = ds2prof(path, "--by", by)
    *warnings, _ = err.splitlines()
    return (code, out) == (1, "") and all(line.startswith("ds2prof: warning: ") for line in warnings)


@pytest.mark.parametrize("name", cases("nvprof-csv", "gpusum.us"))
def test_work_of_the_device_is_that_of_nvprofs_summary(corpus, name):
    units, rows = activities(name, "gpusum.us", "GPU activities")
    if not rows:
        assert refused(nvvp(name), "kernel")
        assert refused(nvvp(name), "copy")
        return
    exact = {}
    for row in rows:
        times = [Decimal(row[key]) * NS_PER[units[key]] for key in ("Time", "Min", "Max")]
        assert all(time == int(time) for time in times)
        exact[row["Name"]] = [int(row["Calls"]), *map(int, times)]
    copies = {key: value for key, value in exact.items() if is_copy(key)}
    assert our_sums(rows_of(nvvp(name), "copy")) == copies
    # nvprof's demangler writes int=2 where others write 2, so that kernels are told by what they add up to.
    kernels = Counter(tuple(value[:2]) for key, value in exact.items() if not is_copy(key))
    assert Counter((row["calls"], row["dur_ns"]) for row in rows_of(nvvp(name), "kernel")) == kernels
    totals = parsed(nvvp(name), "kernel")["totals"]
    assert totals["kernel_dur_ns"] == sum(key[1] * times for key, times in kernels.items())
    assert totals["launches"] == sum(key[0] * times for key, times in kernels.items())


def within(found_ns, text, unit):
    """Whether the number of nanoseconds is the one printed, to half of its last digit."""
    number = Decimal(text)
    return abs(found_ns - number * NS_PER[unit]) <= NS_PER[unit] * Decimal(10) ** number.as_tuple().exponent / 2


@pytest.mark.parametrize("name", cases("nvprof-csv", "apisum"))
def test_calls_are_those_of_nvprofs_summary(corpus, name):
    units, rows = activities(name, "apisum", "API calls")
    if not rows:
        assert refused(nvvp(name), "api")
        return
    found = our_sums(calls_of(nvvp(name), *CALLS))
    assert {row["Name"]: int(row["Calls"]) for row in rows} == {key: value[0] for key, value in found.items()}
    for row in rows:
        _, total, least, greatest = found[row["Name"]]
        assert within(total, row["Time"], units["Time"]), row
        assert within(least, row["Min"], units["Min"]), row
        assert within(greatest, row["Max"], units["Max"]), row


@pytest.mark.parametrize("name", cases("nvprof-csv", "apisum"))
def test_ranges_are_those_that_nvprof_lists(corpus, name):
    stated = defaultdict(lambda: [0, Decimal(0)])
    for _, units, rows in printed(name, "apisum"):
        for row in rows:
            if row["Type"] == "Range:":
                sums = stated[row["Name"]]
                sums[:] = sums[0] + int(row["Calls"]), sums[1] + Decimal(row["Time"]) * NS_PER[units["Time"]]
    if not stated:
        assert refused(nvvp(name), "range")
        return
    # nvprof takes names that agree in their first 256 characters for one range.
    assert beginnings(our_sums(rows_of(nvvp(name), "range"))) == beginnings(stated)


def beginnings(sums):
    """Calls and ns by the first 256 characters of the names."""
    made = defaultdict(lambda: [0, 0])
    for key, (calls, time_ns, *_) in sums.items():
        sums_of_key = made[key[:256]]
        sums_of_key[:] = sums_of_key[0] + calls, sums_of_key[1] + time_ns
    return made


@pytest.mark.parametrize("name", cases("nvprof-csv", "gputrace"))
def test_launches_are_those_of_nvprofs_trace_row_by_row(corpus, name):
    tables = printed(name, "gputrace")
    if not tables:
        assert refused(nvvp(name), "launch")
        return
    _, units, rows = tables[0]
    rows = [row for row in rows if row["Grid X"]]
    found = rows_of(nvvp(name), "launch")
    assert len(found) == len(rows)
    first_ns = min(row["start_ns"] for row in found)
    # Starts are printed from the first row of the trace, which a copy may be, and to a microsecond or so.
    step_ns = NS_PER[units["Start"]] / 10**6
    zero = min(Decimal(row["Start"]) for row in rows) * NS_PER[units["Start"]]

    def key(row):
        device = int(re.search(r"\((\d+)\)$", row["Device"])[1])
        return int(Decimal(row["Duration"]) * NS_PER[units["Duration"]]), device, int(row["Stream"])

    assert Counter(map(key, rows)) == Counter((row["dur_ns"], row["device"], row["stream"]) for row in found)
    by_key, names = defaultdict(list), defaultdict(set)
    for row in sorted(found, key=lambda row: row["start_ns"]):
        by_key[row["dur_ns"], row["device"], row["stream"]].append(row)
    for row in sorted(rows, key=lambda row: Decimal(row["Start"])):
        ours = by_key[key(row)].pop(0)
        printed_ns = Decimal(row["Start"]) * NS_PER[units["Start"]] - zero
        assert abs(ours["start_ns"] - first_ns - printed_ns) <= step_ns, row
        names[row["Name"]].add(ours["name"])
    assert all(len(ours) == 1 for ours in names.values())
    assert len({next(iter(ours)) for ours in names.values()}) == len(names)


def test_launches_and_busy_time_are_the_unions_computed_on_their_own(corpus):
    expected = json.loads((EXPECTED / "kernel_unions.json").read_text())
    checked = 0
    for key, wanted in expected.items():
        name = key.partition("#")[0]
        if not name.startswith(("nvvp/", "nsys-sqlite/")):
            continue
        totals = parsed(corpus / name, "kernel")["totals"]
        assert totals["launches"] == wanted["launches"], key
        assert totals["kernel_dur_ns"] == wanted["kernel_dur_ns"], key
        assert {str(row["device"]): row["busy_ns"] for row in totals["devices"]} == wanted["busy_ns"], key
        checked += 1
    assert checked == 7


# What the tools print, read in the place of the file that they printed it of


def shown(path, by):
    """Name -> (calls, ns), rows of one name together."""
    found = defaultdict(lambda: [0, 0])
    for row in rows_of(path, by):
        sums = found[row["name"]]
        sums[:] = sums[0] + row["calls"], sums[1] + row["dur_ns"]
    return found


def only(rows, names):
    return {name: rows[name] for name in names}


@pytest.mark.parametrize(
    ("report", "by"),
    [
        ("gpukernsum", "kernel"),
        ("gpusum", "kernel"),
        ("gpusum", "copy"),
        ("gpumemtimesum", "copy"),
        ("osrtsum", "api"),
        ("nvtxsum", "range"),
        ("nvtxpptrace", "range"),
        ("gputrace", "kernel"),
        ("gputrace", "copy"),
        ("kernexectrace", "api"),
    ],
)
def test_a_report_of_nsys_stats_has_the_sums_of_the_export_that_it_is_of(corpus, report, by):
    for name in cases("nsys-stats", report):
        found = shown(EXPECTED / "nsys-stats" / f"{name}.{report}.csv", by)
        assert found
        if by in ("kernel", "copy", "range"):
            assert found == shown(export(name), by), name
        elif report == "osrtsum":
            assert found == {row["name"]: [row["calls"], row["dur_ns"]] for row in calls_of(export(name), "osrt")}
        else:
            assert found.keys() <= shown(export(name), by).keys(), name


@pytest.mark.parametrize("name", cases("nsys-stats", "gputrace"))
def test_a_gputrace_has_the_launches_of_the_export_that_it_is_of(corpus, name):
    assert our_launches(EXPECTED / "nsys-stats" / f"{name}.gputrace.csv") == our_launches(export(name))


@pytest.mark.parametrize("name", cases("nvprof-csv", "gpusum.us"))
def test_printed_nvprof_has_the_sums_of_the_database_that_it_is_of(corpus, name):
    path = EXPECTED / "nvprof-csv" / f"{name}.gpusum.us.csv"
    if not printed(name, "gpusum.us"):
        assert refused(path, "kernel")
        return
    assert shown(path, "copy") == shown(nvvp(name), "copy")
    assert sorted(shown(path, "kernel").values()) == sorted(shown(nvvp(name), "kernel").values())
    traced = EXPECTED / "nvprof-csv" / f"{name}.gputrace.csv"
    assert sorted(shown(traced, "kernel").values()) == sorted(shown(nvvp(name), "kernel").values())
    assert shown(traced, "copy") == shown(nvvp(name), "copy")


# Nsight Compute

UNITS = {
    "%": ("ratio", Decimal("0.01")),
    "nsecond": ("ns", Decimal(1)),
    "byte/second": ("byte/s", Decimal(1)),
    "cycle/second": ("cycle/s", Decimal(1)),
    "sector/second": ("sector/s", Decimal(1)),
}
"""Unit of the page -> (unit of the model, what one of it is); all others stand for themselves."""


def raw_cells(path):
    """(kernel names, (launch, metric) -> (number, unit)) of a raw page; what describes the device is left out."""
    with path.open(encoding="utf-8", newline="") as stream:
        header, units, *rows = csv.reader(stream)
    first = header.index("Stream") + 1
    cells = {}
    for launch, row in enumerate(rows):
        for metric, unit, text in list(zip(header, units, row, strict=True))[first:]:
            try:
                number = Decimal(text.replace(",", ""))
            except InvalidOperation:
                continue
            if number.is_finite() and not metric.startswith("device__attribute"):
                cells[launch, metric] = number, unit
    return [row[header.index("Kernel Name")] for row in rows], cells


@pytest.mark.parametrize("name", cases("ncu-csv", "raw.base"))
def test_every_metric_of_a_report_is_the_one_of_its_raw_page(corpus, name):
    _, wanted = raw_cells(EXPECTED / "ncu-csv" / f"{name}.raw.base.csv")
    counters = read(corpus / "ncu-rep" / name, tables=("kernels", "counters")).table("counters")
    columns = [counters[key].tolist() for key in ("launch", "metric", "unit", "value")]
    found = {(row[0], row[1]): row[2:] for row in zip(*columns, strict=True) if row[3] is not None}
    assert found.keys() == wanted.keys()
    assert len(found) > 100
    for key, (number, unit) in wanted.items():
        our_unit, value = found[key]
        if unit in UNITS:
            assert our_unit == UNITS[unit][0], key
        scale = UNITS.get(unit, ("", Decimal(1)))[1]
        half = Decimal(10) ** number.as_tuple().exponent / 2 * scale
        # A double has 53 bits, a little more than the digits that the page has of the largest of them.
        assert abs(Decimal(value) - number * scale) <= half + abs(number * scale) * Decimal(2) ** -52, key


@pytest.mark.parametrize("name", cases("ncu-csv", "raw.base"))
def test_launches_of_a_report_have_the_names_and_durations_of_its_raw_page(corpus, name):
    names, cells = raw_cells(EXPECTED / "ncu-csv" / f"{name}.raw.base.csv")
    durations = [cells.get((launch, "gpu__time_duration.sum"), (None,))[0] for launch in range(len(names))]
    made = parsed(corpus / "ncu-rep" / name, "launch")
    assert [row["name"] for row in made["rows"]] == names
    assert [row["dur_ns"] for row in made["rows"]] == durations
    whole = None if None in durations else sum(durations)
    assert made["totals"]["kernel_dur_ns"] == whole
    assert made["totals"]["launches"] == len(names)
