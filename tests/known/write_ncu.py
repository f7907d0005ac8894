"""Counters as Nsight Compute writes them: its report, and as CSV a row for each launch (raw) or value (details)."""

from __future__ import annotations

from fractions import Fraction

from tests.known.truth import Kernel, Run
from tests.ncu_rep_support import Launch, Report, metrics_of

METRICS = {
    "fma": "sm__inst_executed_pipe_fma.avg.pct_of_peak_sustained_elapsed",
    "tensor": "sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_elapsed",
    "xu": "sm__inst_executed_pipe_xu.avg.pct_of_peak_sustained_elapsed",
}
CYCLES = "gpc__cycles_elapsed.max"
_NOISE = "==PROF== Connected to process 900 (/usr/bin/python3)\nstep 1\n==PROF== Disconnected from process 900\n"
_IDENTITY = ("ID", "Process ID", "Process Name", "Host Name", "Kernel Name", "Context", "Stream", "Block Size")


def report(run: Run) -> bytes:
    """The report itself (``.ncu-rep``)."""
    made = Report()
    for kernel in run.kernels:
        of = {METRICS[pipe]: float(percent) for pipe, percent in kernel.percents}
        counted = {CYCLES: float(kernel.cycles), **of}
        made.add(Launch(kernel.full_name, metrics_of(float(kernel.end - kernel.start), counted)))
    return made.content()


def raw_csv(run: Run) -> str:
    """The raw page, units in the second line, thousands of cycles set apart."""
    header = [*_IDENTITY, "Grid Size", "Device", "CC", CYCLES, *METRICS.values()]
    units = [""] * 11 + ["cycle"] + ["%"] * len(METRICS)
    rows = [[*_identity(number, kernel), f"{kernel.cycles:,}", *_percents(kernel)]
            for number, kernel in enumerate(run.kernels)]  # fmt: skip
    return _NOISE + "".join(_line(row) for row in (header, units, *rows))


def details_csv(run: Run) -> str:
    """The details page of ``--metrics``: a row for each value of each launch."""
    columns = ("Section Name", "Metric Name", "Metric Unit", "Metric Value")
    lines = [_line([*_IDENTITY, "Grid Size", "Device", "CC", *columns])]
    for number, kernel in enumerate(run.kernels):
        identity, section = _identity(number, kernel), "Command line profiler metrics"
        lines.append(_line([*identity, section, CYCLES, "cycle", f"{kernel.cycles:,}"]))
        for metric, value in zip(METRICS.values(), _percents(kernel), strict=True):
            lines.append(_line([*identity, section, metric, "%", value]))
    return _NOISE + "".join(lines)


def _identity(number: int, kernel: Kernel) -> list[str]:
    sizes = [f"({', '.join(map(str, three))})" for three in (kernel.block, kernel.grid)]
    return [str(number), "900", "python3", "127.0.0.1", kernel.full_name, "1", "7", *sizes, "0", "8.0"]


def _percents(kernel: Kernel) -> list[str]:
    of = dict(kernel.percents)
    return [_decimal(of[pipe]) for pipe in METRICS]


def _decimal(number: Fraction) -> str:
    """The number in decimals, in full: those of the cases end."""
    return f"{float(number):.6f}"


def _line(cells: list[str]) -> str:
    return ",".join(f'"{cell}"' for cell in cells) + "\n"
