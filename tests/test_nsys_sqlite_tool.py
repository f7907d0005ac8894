"""The reader of Nsight Systems exports against the tool's own statistics, on exports made at random."""

from __future__ import annotations

import csv
import random
import shutil
import subprocess

import pytest

from tests.nsys_support import export, kernel, pid, profile_of, row, strings, tid

PROCESSES = (100, 200)
TEXTS = ("full name", "short", "copy<float>(float *)", "cudaLaunchKernel_v7000", "cuStreamSynchronize", "read", "inner")


def made(seed):
    """Tables of two processes with concurrent kernels, copies, calls and nested ranges in two domains."""
    rng = random.Random(seed)
    kernels, copies, calls, system, events = [], [], [], [], []
    for process in PROCESSES:
        thread = tid(process, process)
        events += [row(start=1, eventType=75, text=f"domain {process}", globalTid=thread, domainId=1)]
        for number in range(1, 60):
            start = 1_000 * number + rng.randrange(900)
            place = row(correlationId=number, globalPid=pid(process), streamId=7 + rng.randrange(3))
            times = row(start=start + 500, end=start + 500 + rng.randrange(4_000))
            if rng.random() < 0.7:
                kernels.append(kernel(**times, **place, demangledName=rng.choice((1, 3)), gridX=rng.randrange(1, 99)))
            else:
                copies.append(row(place, **times, deviceId=0, contextId=1, bytes=rng.randrange(1 << 20),
                                  copyKind=rng.randrange(1, 11), srcKind=rng.randrange(5), dstKind=2))  # fmt: skip
            calls.append(row(start=start, end=start + rng.randrange(600), eventClass=0, globalTid=thread,
                             correlationId=number, nameId=rng.choice((4, 5))))  # fmt: skip
            system.append(row(start=start, end=start + rng.randrange(90), eventClass=rng.choice((27, 27, 31)),
                              globalTid=thread, nameId=6))  # fmt: skip
            outer = row(start=1_000 * number, end=1_000 * number + 950, globalTid=thread, eventType=59)
            events.append(row(outer, text=f"step {number % 5}", domainId=rng.randrange(2)))
            events.append(row(outer, start=outer["start"] + 10, end=outer["end"] - 10, textId=7, domainId=0))
    rng.shuffle(kernels)
    return {
        "StringIds": strings(*TEXTS),
        "CUPTI_ACTIVITY_KIND_KERNEL": kernels,
        "CUPTI_ACTIVITY_KIND_MEMCPY": copies,
        "CUPTI_ACTIVITY_KIND_RUNTIME": calls,
        "OSRT_API": system,
        "NVTX_EVENTS": events,
        "TARGET_INFO_GPU": [row(id=0, cuDevice=0, name="NVIDIA H200", smCount=132)],
    }


@pytest.fixture(scope="module", params=[1, 2])
def pair(request, tmp_path_factory):
    """(our profile, what the tool says in a report) of one export."""
    nsys = shutil.which("nsys")
    if nsys is None:
        pytest.skip("the tool nsys is not on this machine")
    tables = made(request.param)
    path = tmp_path_factory.mktemp("tool") / "made.sqlite"
    path.write_bytes(export(tables))

    def said(report):
        command = [nsys, "stats", "-q", "-r", report, "-f", "csv", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        if not lines or ("Start (ns)" not in lines[0] and "Time (%)" not in lines[0]):
            pytest.skip(f"the tool nsys here has no report {report}")
        return list(csv.DictReader(lines))

    return profile_of(tables), said


def summary(table, *, domains=None):
    found = {}
    named = table["domain"].tolist() if domains else [None] * len(table)
    for name, domain, dur_ns in zip(table["name"].tolist(), named, table["dur_ns"].tolist(), strict=True):
        if domains is None or domain in domains:
            found.setdefault(name, []).append(dur_ns)
    return {name: (sum(each), len(each), min(each), max(each)) for name, each in found.items()}


def stated(rows, name, count):
    keys = ("Total Time (ns)", count, "Min (ns)", "Max (ns)")
    return {each[name]: tuple(int(each[key]) for key in keys) for each in rows}


def test_each_operation_is_in_the_trace_of_the_gpu(pair):
    profile, said = pair
    wanted = sorted((int(each["Start (ns)"]), int(each["Duration (ns)"]), each["Name"]) for each in said("gputrace"))
    found = []
    for table in (profile.table("kernels"), profile.table("copies")):
        found += zip(*(table[name].tolist() for name in ("start_ns", "dur_ns", "name")), strict=True)
    assert sorted(found) == wanted


def test_calls_sum_to_what_the_tool_sums(pair):
    profile, said = pair
    api = profile.table("api")
    assert summary(api, domains=("runtime", "driver")) == stated(said("cudaapisum"), "Name", "Num Calls")
    assert summary(api, domains=("osrt",)) == stated(said("osrtsum"), "Name", "Num Calls")


def test_ranges_sum_to_what_the_tool_sums_and_lie_as_deep(pair):
    profile, said = pair
    ranges = profile.table("ranges")
    assert summary(ranges) == stated(said("nvtxsum"), "Range", "Instances")
    columns = [ranges[name].tolist() for name in ("start_ns", "dur_ns", "name", "process", "depth")]
    keys = ("Start (ns)", "Duration (ns)", "Name", "PID", "Lvl")
    wanted = [tuple(each[key] if key == "Name" else int(each[key]) for key in keys) for each in said("nvtxpptrace")]
    assert sorted(zip(*columns, strict=True)) == sorted(wanted)
