"""A report's numbers worked out a second time: from the file, by its own small reader and the slow arithmetic of
``tests/known/reckoning``. Nothing of ds2prof is in it."""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from decimal import Decimal
from fractions import Fraction

from tests.known import reckoning
from tests.known.truth import FULL_NAMES, Call, Copy, Kernel, Operator, Overhead, Range, Run

TITLES = {
    "compute": "computing",
    "exposed_communication": "exposed communication",
    "exposed_copy": "exposed copies",
    "queued": "queued, not begun",
    "launch_call": "launch calls",
    "profiler_overhead": "profiler overhead",
    "synchronize": "synchronizing",
    "allocation": "allocation",
    "module_load": "module loading",
    "data": "waiting for data",
    "host": "host-bound",
    "head": "before the first operation",
    "tail": "after the last operation",
    "unknown": "unknown",
}
SHORT = {full: short for short, full in FULL_NAMES.items()}
RANGE = re.compile(r"ProfilerStep#(?P<step>\d+)|ds2prof:(?P<kind>\w+):(?P<value>.+)")
KINDS = {"Memcpy HtoD (Pinned -> Device)": "HtoD", "Memcpy DtoH (Device -> Pageable)": "DtoH"}
THREADS_OF_SM, SMS = 2048, 108


# ---- reading the file


def run_of(path):
    """What a trace tells, read by itself: times in nanoseconds from the trace's own zero."""
    trace = json.loads(path.read_text(), parse_float=Decimal)
    run = Run(path.name, "", ("kineto",))
    for event in trace["traceEvents"]:
        if event.get("ph") != "X":
            continue
        start = int(event["ts"] * 1000)
        _take(run, event, start, start + int(event["dur"] * 1000), event["args"])
    return run


def _take(run, event, start, end, told):
    name, category = event["name"], event["cat"]
    if category == "kernel":
        run.kernels.append(
            Kernel(
                SHORT.get(name, name), start, end, told["correlation"], told["stream"], told["device"],
                grid=tuple(told["grid"]), block=tuple(told["block"]),
            )
        )  # fmt: skip
    elif category in ("gpu_memcpy", "gpu_memset"):
        kind = KINDS.get(name, "set")
        run.copies.append(Copy(kind, start, end, told["correlation"], told["bytes"], told["stream"], told["device"]))
    elif category in ("cuda_runtime", "cuda_driver"):
        run.calls.append(Call(name, start, end, event["tid"], told["correlation"]))
    elif category == "user_annotation":
        found = RANGE.fullmatch(name)
        kind, value = ("iteration", found["step"]) if found["step"] else (found["kind"], found["value"])
        run.ranges.append(Range(kind, value, start, end, event["tid"]))
    elif category == "cpu_op":
        sequence, backward = told.get("Sequence number"), bool(told.get("Fwd thread id"))
        run.operators.append(Operator(name, start, end, sequence, event["tid"], backward))
    elif category == "overhead":
        run.overheads.append(Overhead(name, start, end, event["tid"]))
    elif category == "Trace":
        run.span = (start, end)


def facts_of(run):
    """What the trace tells besides kernels and copies."""
    there = {"calls": run.calls, "ranges": run.ranges, "operators": run.operators, "overheads": run.overheads}
    return frozenset(name for name, rows in there.items() if rows) | (frozenset() if run.ranges else {"span"})


# ---- the numbers


class Expected(dict):
    """(table or section, row, column) -> the values that may stand there, in order."""

    def add(self, table, row, **columns):
        for column, value in columns.items():
            self.setdefault((table, row, column), []).append(value)


def expected_of(run):
    """Every number of the report of one trace."""
    facts = facts_of(run)
    answers = reckoning.answers(run, facts)
    found = Expected()
    devices = {int(device): each for device, each in answers["devices"].items()}
    totals = _totals(run, answers, devices)
    _facts(found, totals)
    _ledgers(found, devices)
    _losses(found, devices)
    _estimates(found, run, devices, facts)
    _kernels(found, answers["by_name"])
    for kind in ("phase", "layer"):
        if f"by_{kind}" in answers:
            _ranges(found, run, f"m0-phases-{kind}", kind, answers[f"by_{kind}"])
    if "by_iteration" in answers:
        _ranges(found, run, "m0-iterations-table", "iteration", answers["by_iteration"])
        _iterations(found, run, facts)
    return found


def _totals(run, answers, devices):
    window = sum(each["window_ns"] for each in devices.values())
    busy = sum(each["window_busy_ns"] for each in devices.values())
    steps = [each.end - each.start for each in run.ranges if each.kind == "iteration"]
    return {
        "launches": answers["launches"],
        "kernel_dur_ns": answers["kernel_dur_ns"],
        "busy_ns": sum(each["busy_ns"] for each in devices.values()),
        "copies": answers["copies"],
        "copy_dur_ns": answers["copy_dur_ns"],
        "window_ns": window,
        "window_busy_ns": busy,
        "gpu_compute_utilization": Fraction(busy, window),
        **({"step_ns": Fraction(sum(steps), len(steps))} if steps else {}),
    }


def _facts(found, totals):
    for place in ("verdict", "m0-facts"):
        found.add(place, "", **totals)
    found.add("m0-ledger", "", gpu_compute_utilization=totals["gpu_compute_utilization"])


def _ledgers(found, devices):
    for place, device in enumerate(sorted(devices)):
        window = devices[device]["window_ns"]
        for cause, dur_ns in devices[device]["ledger"].items():
            found.add(f"m0-ledger-{place}", TITLES[cause], dur_ns=dur_ns, share=Fraction(dur_ns, window))
        found.add(f"m0-ledger-{place}", "the window", dur_ns=window, share=1)


def _losses(found, devices):
    window = sum(each["window_ns"] for each in devices.values())
    sums = defaultdict(int)
    for each in devices.values():
        for cause, dur_ns in each["ledger"].items():
            sums[cause] += dur_ns
    del sums["compute"]
    for dur_ns in sorted(sums.values(), reverse=True)[:3]:
        if dur_ns * 1000 >= window:
            found.add("verdict", "", cost_ns=dur_ns, share=Fraction(dur_ns, window))


def _estimates(found, run, devices, facts):
    for device in sorted(devices):
        lo, hi, _ = reckoning.window(run, device, facts)
        kernels = [kernel for kernel in run.kernels if kernel.device == device]
        filled = sum(
            min(sum(_blocks(kernel) for kernel in kernels if reckoning.is_open(kernel, a, b)), Fraction(1)) * (b - a)
            for a, b in reckoning.stretches(reckoning.edges(kernels), lo, hi)
        )
        inside = [(kernel, min(kernel.end, hi) - max(kernel.start, lo)) for kernel in kernels]
        inside = [(kernel, dur_ns) for kernel, dur_ns in inside if dur_ns > 0]
        time = sum(dur_ns for _, dur_ns in inside)
        threads = sum(_blocks(kernel) * kernel.block[0] * dur_ns for kernel, dur_ns in inside)
        columns = {"device": device, "est_sm_efficiency": filled / (hi - lo), "coverage": 1}
        columns["est_achieved_occupancy"] = threads / THREADS_OF_SM / time if time else None
        found.add("verdict-pipes", str(device), **columns)
        share = Fraction(devices[device]["window_busy_ns"], hi - lo)
        found.add("m0-core-occupancy", str(device), **columns, length_ns=hi - lo, gpu_compute_utilization=share)


def _blocks(kernel):
    """Blocks per SM of a launch; none of these is large enough to fill an SM."""
    return Fraction(kernel.grid[0] * kernel.grid[1] * kernel.grid[2], SMS)


def _kernels(found, by_name):
    busy = sum(row[2] for row in by_name.values())
    for name, (calls, dur_ns, excl_ns) in by_name.items():
        found.add(
            "m0-kernels-table", name, calls=calls, dur_ns=dur_ns, excl_ns=excl_ns, share=Fraction(excl_ns, busy),
            mean_ns=Fraction(dur_ns, calls),
        )  # fmt: skip
    calls, dur_ns, excl_ns = (sum(row[column] for row in by_name.values()) for column in range(3))
    found.add(
        "m0-kernels-table",
        f"all {len(by_name)} name{'' if len(by_name) == 1 else 's'}",
        calls=calls,
        dur_ns=dur_ns,
        excl_ns=excl_ns,
        share=1,
    )


def _ranges(found, run, table, kind, rows):
    busy = sum(row[2] for row in rows.values())
    for value, (calls, dur_ns, excl_ns, copy_ns) in rows.items():
        label = f"(outside any {kind})" if value == "-" else value
        host = sum(each.end - each.start for each in run.ranges if (each.kind, each.value) == (kind, value))
        found.add(
            table, label, calls=calls, dur_ns=dur_ns, excl_ns=excl_ns, share=Fraction(excl_ns, busy) if busy else None,
            copy_dur_ns=copy_ns, host_dur_ns=host,
        )  # fmt: skip


def _iterations(found, run, facts):
    steps = sorted((each for each in run.ranges if each.kind == "iteration"), key=lambda each: int(each.value))
    works = [*run.kernels, *run.copies]
    begin = reckoning.window(run, works[0].device, facts)[0]
    for step in steps:
        own = [work.end for work in works if reckoning.range_of(run, work, "iteration", facts) == step.value]
        found.add("m0-iterations-table", step.value, iteration=int(step.value))
        if own:
            found.add("m0-iterations-table", step.value, step_ns=max(own) - begin)
            begin = max(own)
    _spread(found, run, steps)


def _spread(found, run, steps):
    """Means over iterations, and between the least and the greatest of a few."""
    times = [step.end - step.start for step in steps]
    found.add("m0-iterations", "", step_ns=Fraction(sum(times), len(times)))
    devices = reckoning.devices(run)
    busy = [
        sum(
            reckoning.covered([kernel for kernel in run.kernels if kernel.device == device], step.start, step.end)
            for device in devices
        )
        for step in steps
    ]
    found.add("m0-iterations", "", gpu_compute_utilization=Fraction(sum(busy), sum(times) * len(devices)))
    if len(steps) > 1:
        ratios = [Fraction(part, time * len(devices)) for part, time in zip(busy, times, strict=True)]
        found.add("m0-iterations", "", step_ns_low=min(times), step_ns_high=max(times))
        found.add(
            "m0-iterations", "", gpu_compute_utilization_low=min(ratios), gpu_compute_utilization_high=max(ratios)
        )


# ---- counters


def expected_of_counters(path):
    """Every number of the report of a table of counters, as ``ncu --csv --page raw`` writes it."""
    lines = [line for line in path.read_text().splitlines() if line.startswith('"')]
    head, units, *launches = csv.reader(lines)
    assert len(units) == len(head)
    pipes = {
        pipe: next(place for place, name in enumerate(head) if re.search(rf"pipe_{part}.*pct_of_peak", name))
        for pipe, part in {"fma": "fma", "tensor": "tensor", "xu": "xu"}.items()
    }
    cycles, name = head.index("gpc__cycles_elapsed.max"), head.index("Kernel Name")
    rows = [
        (row[name], _number(row[cycles]), {pipe: _number(row[at]) / 100 for pipe, at in pipes.items()})
        for row in launches
    ]
    found = Expected()
    for place in ("verdict", "m0-facts"):
        found.add(place, "", launches=len(rows))
    for pipe in pipes:
        value = _weighted(rows, pipe)
        found.add("verdict-pipes", pipe, utilization=value, coverage=1)
        found.add("m0-core-pipes", pipe, utilization=value, coverage=1, launches=len(rows))
    for label in dict.fromkeys(row[0] for row in rows):
        own = [row for row in rows if row[0] == label]
        short = SHORT.get(label, label)
        columns = {pipe: _weighted(own, pipe) for pipe in pipes}
        found.add("m0-kernels-table", short, calls=len(own), coverage=1, **columns)
    _unused(found, rows)
    names = len({row[0] for row in rows})
    found.add("m0-kernels-table", f"all {names} names", calls=len(rows))
    return found


def _unused(found, rows):
    """The cycles of each name in which not even its busiest pipe was used, as shares of all cycles."""
    whole = sum(cycles for _, cycles, _ in rows)
    shares = []
    for label in {row[0] for row in rows}:
        own = [row for row in rows if row[0] == label]
        busiest = max(_weighted(own, pipe) for pipe in own[0][2])
        shares.append(sum(cycles for _, cycles, _ in own) * (1 - busiest) / whole)
    for share in sorted(shares, reverse=True)[:3]:
        if share >= Fraction(1, 1000):
            found.add("verdict", "", share=share)


def _number(text):
    return Fraction(text.replace(",", ""))


def _weighted(rows, pipe):
    return sum(cycles * shares[pipe] for _, cycles, shares in rows) / sum(cycles for _, cycles, _ in rows)
