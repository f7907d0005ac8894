"""Real files of nvprof, against what nvprof itself prints of them and against sums made without ds2prof."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from collections import defaultdict
from decimal import Decimal
from itertools import takewhile

import pytest

from ds2prof import read
from ds2prof.analysis import totals
from ds2prof.kernel_names import canonical_name
from ds2prof.mangled import demangled
from ds2prof.schemas import SCHEMAS

FILES = {
    "UCBerkeley-Spring2022-CS267-project__blinkplus-nccl-base__output.nvvp": 16,
    "josiahdavis__profiling-lm__net.1c98352.sql": 12,
    "josiahdavis__profiling-lm__net.sql": 12,
    "syed-ahmed__TensorFlow-Tutorial__out.nvvp": 8,
}
"""File -> version of its schema."""

WORK = [name for name in FILES if "1c98352" not in name]
NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def printed(lines):
    """(units, rows) of the first table that nvprof printed as CSV; those of single NVTX ranges follow it."""
    heading = next(number for number, line in enumerate(lines) if line.startswith('"'))
    table = takewhile(lambda line: line and not line.startswith("="), lines[heading:])
    units, *rows = csv.DictReader(table)
    return units, rows


def expected(corpus, name, table):
    return printed((corpus / "expected" / "nvprof-csv" / f"{name}.{table}.csv").read_text().splitlines())


def exact_ns(text, unit):
    """The time in ns; it must be a whole number of them."""
    value = Decimal(text) * NS[unit]
    assert value == int(value)
    return int(value)


def summed(table, *, domains=None):
    """Name -> (calls, sum, least and most ns)."""
    found = defaultdict(list)
    kept = table["domain"].tolist() if domains else [None] * len(table)
    for name, dur_ns, domain in zip(table["name"].tolist(), table["dur_ns"].tolist(), kept, strict=True):
        if domains is None or domain in domains:
            found[name].append(dur_ns)
    return {name: (len(times), sum(times), min(times), max(times)) for name, times in found.items()}


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_read_with_all_its_tables(corpus, name):
    profile = read(corpus / "nvvp" / name, tables=tuple(SCHEMAS))
    assert profile.meta.dialect == f"timeline, schema {FILES[name]}"
    assert profile.meta.clock == (None if "1c98352" in name else "unix")
    assert bool(profile.warnings) == ("1c98352" in name)


@pytest.mark.parametrize("name", WORK)
def test_launches_and_busy_time_are_those_computed_on_their_own(corpus, name):
    wanted = json.loads((corpus / "expected" / "kernel_unions.json").read_text())[f"nvvp/{name}#CONCURRENT_KERNEL"]
    found = totals.totals(read(corpus / "nvvp" / name))
    assert found.launches == wanted["launches"]
    assert found.kernel_dur_ns == wanted["kernel_dur_ns"]
    assert {str(device.device): device.busy_ns for device in found.devices} == wanted["busy_ns"]


@pytest.mark.parametrize("name", WORK)
def test_the_gpu_trace_is_nvprofs_row_for_row(corpus, name):
    units, rows = expected(corpus, name, "gputrace")
    profile = read(corpus / "nvvp" / name, tables=("kernels", "copies"))
    found = []
    for table, shape in (("kernels", True), ("copies", False)):
        columns = ["dur_ns", "device", "context", "stream", "correlation"]
        columns += ["grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z", "registers"] if shape else []
        found += zip(*(profile.table(table)[column].tolist() for column in columns), strict=True)
    wanted = []
    for row in rows:
        device = int(re.search(r"\((\d+)\)$", row["Device"])[1])
        place = [device, int(row["Context"]), int(row["Stream"]), int(row["Correlation_ID"])]
        shape = [row[f"{what} {axis}"] for what in ("Grid", "Block") for axis in "XYZ"]
        shape += [row["Registers Per Thread"]]
        numbers = [int(text) for text in shape] if row["Grid X"] else []
        wanted.append((exact_ns(row["Duration"], units["Duration"]), *place, *numbers))
    assert sorted(found) == sorted(wanted)


@pytest.mark.parametrize("name", WORK)
def test_copies_and_sets_have_nvprofs_sums_and_kinds_of_memory(corpus, name):
    units, rows = expected(corpus, name, "gpusum.us")
    wanted = {
        row["Name"]: (int(row["Calls"]), *(exact_ns(row[column], units[column]) for column in ("Time", "Min", "Max")))
        for row in rows
        if row["Name"].startswith("[CUDA mem")
    }
    copies = read(corpus / "nvvp" / name, tables=("copies",)).table("copies")
    assert summed(copies) == wanted
    _, trace = expected(corpus, name, "gputrace")
    kinds = sorted(
        (int(row["Correlation_ID"]), *(None if row[end] in ("", "Unknown") else row[end].lower() for end in ENDS))
        for row in trace
        if row["Name"].startswith("[CUDA memcpy")
    )
    found = zip(*(copies[name].tolist() for name in ("correlation", "source_kind", "destination_kind")), strict=True)
    is_copy = [kind == "memcpy" for kind in copies["kind"].tolist()]
    assert sorted(row for row, keep in zip(found, is_copy, strict=True) if keep) == kinds


ENDS = ("SrcMemType", "DstMemType")


@pytest.mark.parametrize("name", WORK)
def test_kernels_have_nvprofs_names_counts_and_sums(corpus, name):
    units, rows = expected(corpus, name, "gpusum.us")
    wanted = defaultdict(lambda: (0, 0))
    for row in rows:
        if not row["Name"].startswith("[CUDA mem"):
            # nvprof's own demangler gives up on lambdas, and leaves such names as they are.
            key = canonical_name(demangled(row["Name"]) or row["Name"])
            calls, dur_ns = wanted[key]
            wanted[key] = (calls + int(row["Calls"]), dur_ns + exact_ns(row["Time"], units["Time"]))
    found = defaultdict(lambda: (0, 0))
    for kernel, (calls, dur_ns, *_) in summed(read(corpus / "nvvp" / name).table("kernels")).items():
        key = canonical_name(kernel)
        found[key] = (found[key][0] + calls, found[key][1] + dur_ns)
    assert found == wanted


@pytest.mark.parametrize("name", WORK)
def test_calls_have_nvprofs_names_counts_and_sums(corpus, name):
    units, rows = expected(corpus, name, "apisum")
    found = summed(read(corpus / "nvvp" / name, tables=("api",)).table("api"), domains=("runtime", "driver"))
    assert {row["Name"]: int(row["Calls"]) for row in rows} == {name: calls for name, (calls, *_) in found.items()}
    for row in rows:
        for column, dur_ns in zip(("Time", "Min", "Max"), found[row["Name"]][1:], strict=True):
            step = Decimal(NS[units[column]]) / 10**6
            assert abs(Decimal(row[column]) * NS[units[column]] - dur_ns) <= step / 2


@pytest.mark.parametrize("name", WORK)
@pytest.mark.parametrize("kind", ["api", "gpu"])
def test_sums_to_the_nanosecond_are_those_of_the_nvprof_that_is_installed(corpus, name, kind):
    if shutil.which("nvprof") is None:
        pytest.skip("nvprof, the tool, is not installed")
    path = corpus / "nvvp" / name
    command = ["nvprof", "-i", str(path), "--csv", "-u", "ns", "--demangling", "off", f"--print-{kind}-summary"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    _, rows = printed((done.stdout + done.stderr).splitlines())
    wanted = {
        row["Name"]: (int(row["Calls"]), *(exact_ns(row[column], "ns") for column in ("Time", "Min", "Max")))
        for row in rows
        if row["Type"] == ("API calls" if kind == "api" else "GPU activities")
    }
    profile = read(path, tables=("kernels", "copies", "api"))
    if kind == "api":
        assert summed(profile.table("api"), domains=("runtime", "driver")) == wanted
    else:
        kernels = profile.table("kernels")
        in_file = zip(kernels["name"].tolist(), kernels["mangled_name"].tolist(), strict=True)
        found = defaultdict(list)
        for (name, mangled), dur_ns in zip(in_file, kernels["dur_ns"].tolist(), strict=True):
            found[mangled or name].append(dur_ns)
        made = {name: (len(times), sum(times), min(times), max(times)) for name, times in found.items()}
        assert {**made, **summed(profile.table("copies"))} == wanted


def test_ranges_are_pyprofs(corpus):
    profile = read(corpus / "nvvp" / "josiahdavis__profiling-lm__net.sql", tables=("ranges", "kernels", "api"))
    with (corpus / "expected" / "pyprof" / "josiahdavis__profiling-lm__lm.csv").open() as lines:
        wanted = list(csv.DictReader(lines))
    kernels = profile.table("kernels")
    assert sorted(int(row["Sil(ns)"]) for row in wanted) == sorted(kernels["dur_ns"].tolist())
    operators = {row["Op"] for row in wanted}
    names = profile.table("ranges")["name"].tolist()
    marked = {found[1] for name in names if (found := re.search(r"'op': '(\w+)'", name))}
    assert {"embedding", "linear"} & operators <= marked
    assert len(names) == 683
