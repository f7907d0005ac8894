"""Core utilization as ds2prof's ancestor computes it, for comparison: a linear search for the rows of each launch.

    python benchmarks/ancestor.py FILE

The algorithm is that of the TBD suite's Core-Utilization-Analyzer, from a description of it and in our own words: load
all rows into a DataFrame, then for each ID filter the whole of it, and filter what is left for each metric. Work grows
with the square of the launches. What the analyzer gets wrong is right here, so that both commands answer the same
question: the last launch counts, digits may be grouped, and the program's own output may stand before the header.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

CYCLES = "gpc__cycles_elapsed.max"
METRICS = {
    "fma": "sm__inst_executed_pipe_fma.avg.pct_of_peak_sustained_elapsed",
    "fp16": "sm__inst_executed_pipe_fp16.avg.pct_of_peak_sustained_elapsed",
    "tensor": "sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_elapsed",
    "sfu": "sm__inst_executed_pipe_xu.avg.pct_of_peak_sustained_elapsed",
}


def header_line(path: Path) -> int:
    """How many lines stand before the header."""
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream):
            if line.startswith('"ID"'):
                return number
    raise SystemExit(f"{path}: no header of an Nsight Compute CSV")


def utilization(path: Path) -> dict[str, float | None]:
    """Each pipe's share of its peak, weighted by the launches' cycles; None where no launch has the metric."""
    table = pd.read_csv(path, skiprows=header_line(path), thousands=",")
    # Texts as Python objects, as in the pandas of its time: with those of pandas 3 this takes five times as long.
    table = table.astype({name: object for name in table.columns if not pd.api.types.is_numeric_dtype(table[name])})
    all_cycles = 0.0
    sums = dict.fromkeys(METRICS, 0.0)
    met = dict.fromkeys(METRICS, False)
    for order in range(int(table["ID"].max()) + 1):
        rows = table[table["ID"] == order]
        cycles = float(rows[rows["Metric Name"] == CYCLES]["Metric Value"].iloc[0])
        all_cycles += cycles
        for pipe, metric in METRICS.items():
            found = rows[rows["Metric Name"] == metric]["Metric Value"]
            if len(found):
                met[pipe] = True
                sums[pipe] += cycles * float(found.iloc[0]) / 100
    return {pipe: sums[pipe] / all_cycles if met[pipe] else None for pipe in METRICS}


def main() -> None:
    """Print the four lines."""
    for pipe, value in utilization(Path(sys.argv[1])).items():
        print(f"{pipe}\t{'n/a' if value is None else f'{100 * value:.5f} %'}")


if __name__ == "__main__":
    main()
