"""The answers to a truth, worked out the slow way: every stretch between two neighbouring times is looked at by itself.

Nothing here is shared with ds2prof and nothing is clever, so that the two can only agree by both being right. Quadratic
and worse; shares of concurrent time are rational numbers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

from tests.known.truth import CLASSES, Call, Copy, Kernel, Range, Run

PHASES = ("data", "h2d", "forward", "loss", "backward", "clip", "optimizer")
SYNCHRONIZING = ("cudaDeviceSynchronize", "cudaStreamSynchronize", "cudaEventSynchronize", "cudaMemcpy")
ALLOCATING = ("cudaMalloc", "cudaFree", "cudaHostAlloc", "cudaFreeHost")
LOADING_CALLS = ("cuModuleLoadData", "cuModuleLoadDataEx", "cuLibraryLoadData")
LOADING = ("Lazy Function Loading", "Runtime Triggered Module Loading", "Driver Compiler")
BY_ITERATION = ("host_bound", "sync_bound", "data_bound", "graph", "two_devices", "waits", "window", "communication")
"""Runs whose every iteration has work of each device."""
Work = Kernel | Copy
Stretch = tuple[int, int]


def answers(run: Run, facts: frozenset[str]) -> dict[str, Any]:
    """All the answers that a file with these facts (calls, ranges, operators, overheads...) must give."""
    found = {
        "launches": len(run.kernels),
        "kernel_dur_ns": sum(kernel.end - kernel.start for kernel in run.kernels),
        "copies": len(run.copies),
        "copy_dur_ns": sum(copy.end - copy.start for copy in run.copies),
        "devices": {str(device): device_answer(run, device, facts) for device in devices(run)},
        "by_name": sums(run, lambda kernel: kernel.name),
        "by_class": sums(run, lambda kernel: CLASSES[kernel.name]),
        "by_stream": sums(run, lambda kernel: f"{kernel.device}/{kernel.stream}"),
    }
    if {"calls", "ranges"} <= facts:
        for kind in ("phase", "layer", "iteration"):
            if any(each.kind == kind for each in run.ranges):
                found[f"by_{kind}"] = by_range(run, kind, facts)
    return found


def devices(run: Run) -> list[int]:
    """The devices that did any work."""
    return sorted({work.device for work in (*run.kernels, *run.copies)})


def device_answer(run: Run, device: int, facts: frozenset[str]) -> dict[str, Any]:
    """Busy time, window and ledger of one device."""
    lo, hi, source = window(run, device, facts)
    kernels = [kernel for kernel in run.kernels if kernel.device == device]
    busy_ns = covered(kernels, lo, hi)
    found = {
        "busy_ns": covered(kernels, *reach(kernels)) if kernels else 0,
        "window_source": source,
        "window_ns": hi - lo,
        "window_busy_ns": busy_ns,
        "ledger": ledger(run, device, facts),
    }
    if {"calls", "ranges"} <= facts and run.name in BY_ITERATION:
        found["steps_ns"] = {value: end - start for value, (start, end) in steps(run, device, facts).items()}
        found["ledger_by_iteration"] = ledger_by_iteration(run, device, facts)
    return found


def window(run: Run, device: int, facts: frozenset[str]) -> tuple[int, int, str]:
    """The stretch that is looked at, and what tells it: the steps, the profiler's span, the device's own work."""
    steps = [each for each in run.ranges if each.kind == "iteration"]
    if "ranges" in facts and steps:
        return min(step.start for step in steps), max(step.end for step in steps), "step ranges"
    if "span" in facts:
        return *run.span, "profiler span"
    return *reach(work for work in (*run.kernels, *run.copies) if work.device == device), "device operations"


def reach(works: Iterable[Work]) -> Stretch:
    """From the first start to the last end."""
    listed = list(works)
    return min(work.start for work in listed), max(work.end for work in listed)


def is_open(each: Any, lo: int, hi: int) -> bool:
    """Whether something is open all through a stretch in which nothing begins or ends."""
    return each.start <= lo and hi <= each.end


def stretches(times: Iterable[int], lo: int, hi: int) -> list[Stretch]:
    """The stretches of [lo, hi) between neighbouring times."""
    inside = sorted({lo, hi, *(time for time in times if lo < time < hi)})
    return list(pairwise(inside))


def edges(all_of: Iterable[Any]) -> list[int]:
    """When anything begins or ends."""
    return [time for each in all_of for time in (each.start, each.end)]


def covered(works: Sequence[Work], lo: int, hi: int) -> int:
    """How long any of them is open in [lo, hi)."""
    cut = stretches(edges(works), lo, hi)
    return sum(b - a for a, b in cut if any(is_open(work, a, b) for work in works))


def shares(run: Run) -> dict[Kernel, Fraction]:
    """Each kernel's part of its device's busy time: what runs together shares the time evenly."""
    found: dict[int, Fraction] = defaultdict(Fraction)
    for device in devices(run):
        kernels = [kernel for kernel in run.kernels if kernel.device == device]
        for a, b in stretches(edges(kernels), *reach(kernels)) if kernels else ():
            running = [kernel for kernel in kernels if is_open(kernel, a, b)]
            for kernel in running:
                found[id(kernel)] += Fraction(b - a, len(running))
    return {id(kernel): found[id(kernel)] for kernel in run.kernels}


def whole(number: Fraction) -> int:
    """The number, which the cases are made to give as an integer."""
    assert number.denominator == 1, number
    return number.numerator


def sums(run: Run, key: Any) -> dict[str, list[int]]:
    """Key -> launches, sum of durations, share of the busy time."""
    found: dict[str, list[Any]] = {}
    share = shares(run)
    for kernel in run.kernels:
        row = found.setdefault(key(kernel), [0, 0, Fraction(0)])
        row[0] += 1
        row[1] += kernel.end - kernel.start
        row[2] += share[id(kernel)]
    return {name: [row[0], row[1], whole(row[2])] for name, row in sorted(found.items())}


def launch_of(run: Run, work: Work) -> Call | None:
    """The call that launched it."""
    if not work.correlation:
        return None
    calls = [call for call in run.calls if (call.process, call.correlation) == (work.process, work.correlation)]
    return min(calls, key=lambda call: call.start, default=None)


def range_of(run: Run, work: Work, kind: str, facts: frozenset[str]) -> str | None:
    """What it belongs to: the innermost range at its launch on that thread, else through the forward, else anywhere."""
    call = launch_of(run, work)
    if call is None:
        return None
    kinds = [each for each in run.ranges if each.kind == kind and each.process == call.process]
    own = innermost([each for each in kinds if each.thread == call.thread], call.start)
    if own is None and kind == "layer" and "operators" in facts:
        own = layer_of_forward(run, kinds, call)
    return own or innermost(kinds, call.start)


def innermost(ranges: list[Range], time: int) -> str | None:
    """The range that is open at the time and began last."""
    around = [each for each in ranges if each.start <= time < each.end]
    return max(around, key=lambda each: each.start).value if around else None


def layer_of_forward(run: Run, layers: list[Range], call: Call) -> str | None:
    """The layer in which the forward operator ran whose backward made this call."""
    for backward in run.operators:
        if backward.is_backward and backward.thread == call.thread and backward.start <= call.start < backward.end:
            for forward in run.operators:
                if not forward.is_backward and forward.sequence == backward.sequence:
                    return innermost([each for each in layers if each.thread == forward.thread], forward.start)
    return None


def by_range(run: Run, kind: str, facts: frozenset[str]) -> dict[str, list[int | None]]:
    """Value -> kernels, their durations, their shares, durations of copies."""
    share = shares(run)
    found: dict[str, list[Any]] = {each.value: [0, 0, Fraction(0), 0] for each in run.ranges if each.kind == kind}
    found["-"] = [0, 0, Fraction(0), 0]
    for kernel in run.kernels:
        row = found[range_of(run, kernel, kind, facts) or "-"]
        row[0] += 1
        row[1] += kernel.end - kernel.start
        row[2] += share[id(kernel)]
    for copy in run.copies:
        found[range_of(run, copy, kind, facts) or "-"][3] += copy.end - copy.start
    if found["-"] == [0, 0, 0, 0]:
        del found["-"]
    rows = {value: [row[0], row[1], whole(row[2]), row[3]] for value, row in found.items()}
    return {value: rows[value] for value in sorted(rows)}


def steps(run: Run, device: int, facts: frozenset[str]) -> dict[str, Stretch]:
    """Iteration -> its stretch on the device: from the end of the work of the one before, the first from W on."""
    works = [work for work in (*run.kernels, *run.copies) if work.device == device]
    begin = window(run, device, facts)[0]
    found = {}
    for value in sorted({each.value for each in run.ranges if each.kind == "iteration"}, key=int):
        end = max(work.end for work in works if range_of(run, work, "iteration", facts) == value)
        found[value] = (begin, end)
        begin = end
    return found


def ledger(run: Run, device: int, facts: frozenset[str]) -> dict[str, int]:
    """Cause -> nanoseconds of the window; nothing is left out."""
    found: dict[str, int] = defaultdict(int)
    for a, b, cause in accounted(run, device, facts):
        found[cause] += b - a
    return dict(sorted(found.items()))


def ledger_by_iteration(run: Run, device: int, facts: frozenset[str]) -> dict[str, dict[str, int]]:
    """Iteration -> cause -> nanoseconds of the window that lie in its step; "-" for what lies in none."""
    stretch_of = steps(run, device, facts)
    bounds = [time for stretch in stretch_of.values() for time in stretch]
    found: dict[str, dict[str, int]] = {value: defaultdict(int) for value in (*stretch_of, "-")}
    for whole_a, whole_b, cause in accounted(run, device, facts):
        for a, b in stretches(bounds, whole_a, whole_b):
            value = next((value for value, (lo, hi) in stretch_of.items() if lo <= a and b <= hi), "-")
            found[value][cause] += b - a
    return {value: dict(sorted(causes.items())) for value, causes in found.items() if causes}


def accounted(run: Run, device: int, facts: frozenset[str]) -> list[tuple[int, int, str]]:
    """The whole window in stretches, each with its cause."""
    lo, hi, _ = window(run, device, facts)
    works = [work for work in (*run.kernels, *run.copies) if work.device == device and work.end > work.start]
    found: list[tuple[int, int, str]] = []
    idle: list[Stretch] = []
    for a, b in stretches(edges(works), lo, hi):
        cause = use_of([work for work in works if is_open(work, a, b)])
        if cause is not None:
            found.append((a, b, cause))
        elif idle and idle[-1][1] == a:
            idle[-1] = (idle[-1][0], b)
        else:
            idle.append((a, b))
    for gap in idle:
        found += causes_of_gap(run, works, gap, (lo, hi), facts)
    return found


def use_of(running: list[Work]) -> str | None:
    """What the device does while these run."""
    kernels = [work for work in running if isinstance(work, Kernel)]
    if any(CLASSES[kernel.name] != "communication" for kernel in kernels):
        return "compute"
    if kernels:
        return "exposed_communication"
    return "exposed_copy" if running else None


def causes_of_gap(
    run: Run, works: list[Work], gap: Stretch, w: Stretch, facts: frozenset[str]
) -> list[tuple[int, int, str]]:
    """One stretch without any work, cut wherever its cause changes."""
    a, b = gap
    if a == w[0]:
        return [(a, b, "head")]
    if b == w[1]:
        return [(a, b, "tail")]
    (ending,) = [work for work in works if work.start == b]
    call = launch_of(run, ending) if "calls" in facts else None
    if call is None:
        return [(a, b, "unknown")]
    times = [call.start, call.end, *edges(run.calls), *edges(run.ranges), *edges(run.overheads)]
    return [(c, d, cause_at(run, call, (c, d), a, facts)) for c, d in stretches(times, a, b)]


def cause_at(run: Run, launch: Call, stretch: Stretch, a: int, facts: frozenset[str]) -> str:
    """What held the device up in a stretch of a gap that begins at ``a``."""
    lo, hi = stretch
    if lo >= launch.end:
        return "queued"
    if lo >= launch.start:
        return "launch_call"
    calls = [each for each in run.calls if (each.process, each.thread) == (launch.process, launch.thread)]
    overheads = [each for each in run.overheads if each.thread == launch.thread] if "overheads" in facts else []
    now = {each.name for each in calls if is_open(each, lo, hi)}
    taking = {each.kind for each in overheads if is_open(each, lo, hi)}
    if taking - set(LOADING):
        return "profiler_overhead"
    if any(each.name in SYNCHRONIZING and each.start < a and is_open(each, lo, hi) for each in calls):
        return "synchronize"
    if now & set(ALLOCATING):
        return "allocation"
    if now & set(LOADING_CALLS) or taking & set(LOADING):
        return "module_load"
    if "ranges" in facts and range_at(run, launch, lo) == "data":
        return "data"
    return "host"


def range_at(run: Run, launch: Call, time: int) -> str | None:
    """The phase that the launching thread, else its process, is in."""
    phases = [each for each in run.ranges if each.kind == "phase" and each.process == launch.process]
    return innermost([each for each in phases if each.thread == launch.thread], time) or innermost(phases, time)


def core(run: Run, of: Any = None) -> dict[str, Fraction]:
    """Pipe -> cycle-weighted mean of its percentages over the kernels that ``of`` chooses."""
    chosen = [kernel for kernel in run.kernels if of is None or of(kernel)]
    cycles = sum(kernel.cycles for kernel in chosen)
    pipes = dict.fromkeys(pipe for kernel in chosen for pipe, _ in kernel.percents)
    return {
        pipe: sum(kernel.cycles * dict(kernel.percents)[pipe] for kernel in chosen) / (100 * cycles) for pipe in pipes
    }
