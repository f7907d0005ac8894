"""What peers answer on runs whose answers are known: the faults of each, on files that anybody can make.

    HTA=VENV/bin/python python benchmarks/peers_known.py     HolisticTraceAnalysis itself, and formulas of other tools

HTA needs an environment of its own: ``python -m venv VENV; VENV/bin/pip install HolisticTraceAnalysis==0.5.0
"pandas<3"``. Without one its rows are left out. What TraceLens, the TensorBoard plugin, Nsight Systems and the TBD
suite's analyzer compute is written down here as small functions, in our own words: those rows are what a formula gives,
not a run of that tool. The runs and their answers are ``tests/known``. Prints a Markdown table.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import ds2prof
from ds2prof.analysis.kernels import kernel_times
from ds2prof.analysis.ledger import idle_ledger
from ds2prof.analysis.questions import answers
from ds2prof.analysis.totals import totals
from ds2prof.schemas import SCHEMAS
from tests.known import reckoning, write_kineto, write_ncu
from tests.known.cases import runs
from tests.known.truth import CLASSES, Kernel, Run

RUNS = {run.name: run for run in runs()}
Interval = tuple[int, int]

HTA_SCRIPT = """
import json, logging, sys, warnings
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
from hta.trace_analysis import TraceAnalysis
what, path = sys.argv[1:]
folder, _, name = path.rpartition("/")
if what == "ranks":
    print(json.dumps({"ranks": len(TraceAnalysis(trace_dir=folder).t.traces)}))
    raise SystemExit
found = TraceAnalysis(trace_files={0: name}, trace_dir=folder, include_last_profiler_step=what != "default steps")
if what == "kernels":
    frame = found.get_gpu_kernel_breakdown(visualize=False, duration_ratio=1.0)[1]
elif what == "idle":
    frame = found.get_idle_time_breakdown(visualize=False)[0]
elif what == "overlap":
    frame = found.get_comm_comp_overlap(visualize=False)
else:
    frame = found.get_temporal_breakdown(visualize=False)
print(frame.to_json(orient="records"))
"""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    tool: str
    case: str
    quantity: str
    truth: str
    ours: str
    peer: str


def hta(what: str, run: Run, *, traces: int = 1, environ: Mapping[str, str] | None = None, **options: Any) -> Any:
    """What HTA answers about the run's trace (or a folder of several like it): its table's rows; None without HTA."""
    python = os.environ.get("HTA")
    if python is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        for number in range(traces):
            path = Path(folder) / f"trace{number}.json"
            path.write_text(write_kineto.document(run, **options), encoding="utf-8")
        command = [python, "-c", HTA_SCRIPT, what, str(path)]
        told = {**os.environ, **(environ or {})}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=told)
    if done.returncode:
        raise SystemExit(f"HTA failed on {run.name}: {done.stderr[-600:]}")
    return json.loads(done.stdout.splitlines()[-1])


def profile_of(run: Run, text: str) -> ds2prof.Profile:
    """The file, read by ds2prof."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "measurement"
        path.write_text(text, encoding="utf-8")
        return ds2prof.read(path, tables=tuple(SCHEMAS))


def length(intervals: Iterable[Interval]) -> int:
    """Length of a union."""
    covered, reached = 0, None
    for start, end in sorted(intervals):
        begin = start if reached is None else max(start, reached)
        covered += max(0, end - begin)
        reached = end if reached is None else max(reached, end)
    return covered


def minus(first: Sequence[Interval], *others: Sequence[Interval]) -> int:
    """Length of what the first set covers and none of the others does."""
    rest = [each for other in others for each in other]
    return length([*first, *rest]) - length(rest)


def tracelens(run: Run, *, linked_alone: bool) -> dict[str, int]:
    """The timeline as TraceLens adds it up, ns: from the first device work to the last, nothing before or behind.

    Kernels that no arrow joins to a launch are left out by default (``linked_alone``).
    """
    works = [work for work in (*run.kernels, *run.copies) if work.correlation or not linked_alone]
    kernels = [work for work in works if isinstance(work, Kernel)]
    computing = [(work.start, work.end) for work in kernels if CLASSES[work.name] != "communication"]
    communicating = [(work.start, work.end) for work in kernels if CLASSES[work.name] == "communication"]
    copying = [(work.start, work.end) for work in works if not isinstance(work, Kernel)]
    everything = computing + communicating + copying
    total = max(end for _, end in everything) - min(start for start, _ in everything)
    return {
        "computation": length(computing),
        "exposed communication": minus(communicating, computing),
        "exposed copies": minus(copying, computing, communicating),
        "idle": total - length(everything),
        "total": total,
    }


def plugin_utilization(run: Run) -> float:
    """GPU utilization of the TensorBoard plugin: the kernels' union within the host's steps, over the steps."""
    steps = [(each.start, each.end) for each in run.ranges if each.kind == "iteration"]
    inside = [
        (max(kernel.start, start), min(kernel.end, end))
        for kernel in run.kernels
        for start, end in steps
        if kernel.start < end and kernel.end > start
    ]
    return length(inside) / length(steps)


def nsys_time_util(run: Run) -> tuple[float, float]:
    """(mean, highest) of the 30 pieces of nsys' ``gpu_time_util``: durations added up, copies too, over each piece."""
    works = [(work.start, work.end) for work in (*run.kernels, *run.copies)]
    lo, hi = min(start for start, _ in works), max(end for _, end in works)
    piece = (hi - lo) / 30
    shares = [
        sum(max(0, min(end, lo + (number + 1) * piece) - max(start, lo + number * piece)) for start, end in works)
        / piece
        for number in range(30)
    ]
    return sum(shares) / 30, max(shares)


def nsys_gaps(run: Run, *, threshold_ns: int = 500_000_000) -> int:
    """How many gaps nsys' ``gpu_gaps`` finds between the first device work and the last, with its own threshold."""
    reached, found = None, 0
    for start, end in sorted((work.start, work.end) for work in (*run.kernels, *run.copies)):
        found += reached is not None and start - reached >= threshold_ns
        reached = end if reached is None else max(reached, end)
    return found


def ancestor_core(run: Run) -> dict[str, float]:
    """The ancestor's core utilization: its loop runs to the highest id, so the last launch is never reached."""
    kernels = run.kernels[: len(run.kernels) - 1]
    cycles = sum(kernel.cycles for kernel in kernels)
    return {
        pipe: float(sum(kernel.cycles * dict(kernel.percents)[pipe] for kernel in kernels)) / 100 / cycles
        for pipe in ("fma", "tensor", "xu")
    }


def percent(ratio: float) -> str:
    """A share as text."""
    return f"{100 * ratio:.2f} %"


def truth_of(run: Run) -> dict[str, Any]:
    """What must come out of the run's PyTorch trace, of its first device."""
    facts = frozenset({"calls", "ranges"} if run.ranges else {"calls", "span"})
    return reckoning.device_answer(run, 0, facts)


def ours(run: Run) -> tuple[Any, dict[str, int]]:
    """(totals, ledger) of ds2prof, of the run's PyTorch trace."""
    profile = profile_of(run, write_kineto.document(run))
    rows = idle_ledger(profile).rows()
    return totals(profile), {row["cause"]: row["dur_ns"] for row in rows if row["device"] == 0}


def idle_ns(ledger: dict[str, int]) -> int:
    """All of the window that is no work."""
    return sum(ns for cause, ns in ledger.items() if cause not in ("compute", "exposed_communication", "exposed_copy"))


def hta_rows() -> Iterator[Row]:
    """HTA, run on the traces."""
    yield from _hta_compute("sub_microsecond", "times rounded to whole microseconds, inwards: compute time")
    yield _hta_unrounded()
    yield from _hta_kernels()
    yield from _hta_compute("waits", "a stream's wait for an event counts as work: compute time")
    yield from _hta_gaps()
    yield from _hta_ranks()
    yield from _hta_steps()
    yield from _hta_edges()
    yield _hta_overlap()


def _hta_compute(case: str, quantity: str) -> list[Row]:
    run = RUNS[case]
    (found,) = hta("temporal", run)
    total, known = ours(run)[0], truth_of(run)
    reach_ns = known["window_ns"]
    peer = f"{found['compute_time(us)']} us compute, {found['non_compute_time(us)']} us other work"
    exact = f"{known['window_busy_ns'] / 1000} us ({percent(known['window_busy_ns'] / reach_ns)} of the steps)"
    mine = f"{total.window_busy_ns / 1000} us ({percent(total.gpu_compute_utilization or 0)})"
    shares = f"{found['compute_time_pctg']} % + {found['non_compute_time_pctg']} % of {found['kernel_time(us)']} us"
    return [Row("HTA 0.5.0", case, quantity, exact, mine, f"{peer} ({shares})")]


def _hta_unrounded() -> Row:
    run = RUNS["sub_microsecond"]
    (found,) = hta("temporal", run, environ={"HTA_DISABLE_NS_ROUNDING": "1"})
    known, total = truth_of(run), ours(run)[0]
    exact, mine = (f"{ns / 1000} us" for ns in (known["window_busy_ns"], total.window_busy_ns))
    peer = f"{found['compute_time(us)']:.3f} us"
    return Row("HTA 0.5.0", run.name, "the same with HTA_DISABLE_NS_ROUNDING=1", exact, mine, peer)


def _hta_kernels() -> list[Row]:
    run = RUNS["many_names"]
    name = "ctc_loss_log_alpha_gpu_kernel"
    lengths = [kernel.end - kernel.start for kernel in run.kernels if kernel.name == name]
    (found,) = [row for row in hta("kernels", run) if row["name"] == name]
    profile = profile_of(run, write_kineto.document(run))
    (mine,) = [row for row in kernel_times(profile, "name").rows() if row["name"] == name]
    exact = f"mean {sum(lengths) / len(lengths) / 1000} us of {len(lengths)}, longest {max(lengths) / 1000} us"
    peer = ", ".join(f"{what} {found[f'{what} (us)']}" for what in ("sum", "mean", "max", "min")) + " us"
    text = f"{mine['dur_ns'] / mine['calls'] / 1000} us ({mine['dur_ns']} ns in {mine['calls']} calls)"
    return [Row("HTA 0.5.0", "many_names", f"more than 10 kernels: mean of {name}", exact, text, peer)]


def _hta_gaps() -> list[Row]:
    run = RUNS["queue_bound"]
    found = hta("idle", run)
    _, ledger = ours(run)
    known = truth_of(run)["ledger"]
    peer = ", ".join(f"{row['idle_category']} {row['idle_time']} us" for row in found)
    exact = f"7 gaps of 2.5 us, queued {known['queued'] / 1000} us; its documents say 30 ns"
    return [
        Row("HTA 0.5.0", "queue_bound", "threshold of `kernel_wait`: documented in ns, compared in us", exact,
            f"queued {ledger['queued'] / 1000} us", peer)
    ]  # fmt: skip


def _hta_ranks() -> list[Row]:
    run = RUNS["host_bound"]
    peer = hta("ranks", run, rank=None, traces=2)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(2):
            (Path(folder) / f"trace{number}.json").write_text(write_kineto.document(run, rank=None), encoding="utf-8")
        mine = len(list(ds2prof.read_all(folder)))
    quantity, loaded = "a folder of 2 traces that name no rank", f"{peer['ranks']} loaded"
    return [Row("HTA 0.5.0", run.name, quantity, "2 traces", f"{mine} read", loaded)]


def _hta_steps() -> list[Row]:
    run = RUNS["host_bound"]
    every, fewer = hta("temporal", run)[0], hta("default steps", run)[0]
    total, known = ours(run)[0], truth_of(run)
    peer = (
        f"{every['compute_time(us)']} us with both steps; {fewer['compute_time(us)']} us by default (last step dropped)"
    )
    return [Row("HTA 0.5.0", "host_bound", "compute time of two steps", f"{known['window_busy_ns'] / 1000} us",
                f"{total.window_busy_ns / 1000} us", peer)]  # fmt: skip


def _hta_edges() -> list[Row]:
    run = RUNS["data_bound"]
    (found,) = hta("temporal", run)
    _, ledger = ours(run)
    known = truth_of(run)
    exact = f"{idle_ns(known['ledger']) / 1000} us of {known['window_ns'] / 1000} us, {known['ledger']['data'] / 1000} us of it data"  # noqa: E501
    mine = f"{idle_ns(ledger) / 1000} us, {ledger['data'] / 1000} us of it data"
    peer = f"{found['idle_time(us)']} us of {found['kernel_time(us)']} us, no data phase"
    return [Row("HTA 0.5.0", "data_bound", "idle, head and tail of the steps included", exact, mine, peer)]


def _hta_overlap() -> Row:
    run = RUNS["communication"]
    (found,) = hta("overlap", run)
    communicating = [(each.start, each.end) for each in run.kernels if CLASSES[each.name] == "communication"]
    whole = length(communicating)
    exposed = (ledger["exposed_communication"] for ledger in (truth_of(run)["ledger"], ours(run)[1]))
    exact, mine = (percent(1 - ns / whole) for ns in exposed)
    peer = f"{found['comp_comm_overlap_pctg']:.2f} %"
    return Row("HTA 0.5.0", run.name, "share of communication that computing hides", exact, mine, peer)


def formula_rows() -> list[Row]:
    """What formulas of other tools give."""
    return [*_tracelens_rows(), *_plugin_rows(), *_nsys_rows(), *_ancestor_rows()]


def _tracelens_rows() -> list[Row]:
    run = RUNS["communication"]
    peer, (_, ledger), known = tracelens(run, linked_alone=True), ours(run), truth_of(run)["ledger"]
    keys = ("compute", "exposed_communication", "exposed_copy")
    names = ("computation", "exposed communication", "exposed copies")
    rows = [
        Row("TraceLens", run.name, "compute, exposed communication, exposed copies", _ns(known[key] for key in keys),
            _ns(ledger[key] for key in keys), _ns(peer[name] for name in names)),
        Row("TraceLens", run.name, "idle: what lies before the first work and behind the last", f"{idle_ns(known)} ns",
            f"{idle_ns(ledger)} ns", f"{peer['idle']} ns (of {peer['total']} ns, not of the step)"),
    ]  # fmt: skip
    run = RUNS["unlinked"]
    peer, (total, _), known = tracelens(run, linked_alone=True), ours(run), truth_of(run)
    return [*rows, Row("TraceLens", run.name, "kernels without an arrow to a launch are dropped: busy time",
                       f"{known['window_busy_ns']} ns", f"{total.window_busy_ns} ns", f"{peer['computation']} ns")]  # fmt: skip  # noqa: E501


def _plugin_rows() -> list[Row]:
    rows = []
    for name in ("streams", "window"):
        run = RUNS[name]
        known, (total, _) = truth_of(run), ours(run)
        exact = percent(known["window_busy_ns"] / known["window_ns"])
        rows.append(Row("TensorBoard plugin", name, "GPU utilization", exact,
                        percent(total.gpu_compute_utilization or 0), percent(plugin_utilization(run))))  # fmt: skip
    run = RUNS["communication"]
    known, (total, ledger) = truth_of(run), ours(run)
    exact = percent(known["window_busy_ns"] / known["window_ns"])
    mine = f"{percent(total.gpu_compute_utilization or 0)}, {percent(ledger['exposed_communication'] / known['window_ns'])} of it exposed"  # noqa: E501
    rows.append(Row("TensorBoard plugin", "communication", "GPU utilization: a collective that waits is busy", exact,
                    mine, percent(plugin_utilization(run))))  # fmt: skip
    return rows


def _nsys_rows() -> list[Row]:
    rows = []
    for name in ("streams", "copies"):
        run = RUNS[name]
        known, (total, _) = truth_of(run), ours(run)
        mean, most = nsys_time_util(run)
        exact = percent(known["window_busy_ns"] / known["window_ns"])
        rows.append(Row("nsys gpu_time_util", name, "utilization: concurrent work added up, copies counted", exact,
                        percent(total.gpu_compute_utilization or 0),
                        f"{percent(mean)} on average, {percent(most)} in the highest of 30 pieces"))  # fmt: skip
    run = RUNS["data_bound"]
    known, (_, ledger) = truth_of(run), ours(run)
    rows.append(Row("nsys gpu_gaps", run.name, "gaps, by its own threshold of 500 ms",
                    f"{known['ledger']['data']} ns of waiting for data", f"{ledger['data']} ns", f"{nsys_gaps(run)} gaps"))  # fmt: skip  # noqa: E501
    return rows


def _ancestor_rows() -> list[Row]:
    run = RUNS["counters"]
    (answer,) = answers(profile_of(run, write_ncu.details_csv(run)), "core")
    found = dict(zip(answer.columns["pipe"], answer.columns["utilization"], strict=True))
    known, peer = reckoning.core(run), ancestor_core(run)
    rows = [
        Row("TBD analyzer", "counters", f"{pipe}: the last launch is dropped", percent(float(known[pipe])),
            percent(found[pipe]), percent(peer[pipe]))
        for pipe in ("fma", "tensor", "xu")
    ]  # fmt: skip
    cell = f"{run.kernels[0].cycles:,}"
    plain = str(run.kernels[0].cycles)
    return [
        *rows,
        Row("TBD analyzer", "counters", f'cycles written "{cell}"', plain, plain, _raised(lambda: int(cell))),
    ]


def _raised(act: Callable[[], object]) -> str:
    try:
        return str(act())
    except ValueError as error:
        return f"ValueError: {error}"


def _ns(values: Iterable[int]) -> str:
    return ", ".join(str(value) for value in values) + " ns"


def main() -> None:
    """Ask all of them and print."""
    print("| tool | run | what | known | ds2prof | the tool |\n|---|---|---|---|---|---|")
    for row in itertools.chain(hta_rows() if "HTA" in os.environ else (), formula_rows()):
        print(f"| {row.tool} | `{row.case}` | {row.quantity} | {row.truth} | {row.ours} | {row.peer} |", flush=True)


if __name__ == "__main__":
    main()
