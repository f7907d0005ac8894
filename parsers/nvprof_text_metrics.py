"""Rows of nvprof's tables of metrics and events: of all launches of a kernel, or of each launch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ds2prof.parsers.nvprof_text_block import Block, device_of, devices_of, id_of
from ds2prof.parsers.nvprof_text_gather import Gathered, Subject
from ds2prof.parsers.nvprof_text_layout import without_correlation
from ds2prof.parsers.nvprof_text_values import metric_of, wholes

_IDENTITY: Final = ("Device", "Context", "Stream", "Kernel", "Correlation_ID")
METRICS: Final[Mapping[str, str]] = {
    "Achieved Occupancy": "achieved_occupancy",
    "Control-Flow Function Unit Utilization": "cf_fu_utilization",
    "Device Memory Read Throughput": "dram_read_throughput",
    "Device Memory Utilization": "dram_utilization",
    "Device Memory Write Throughput": "dram_write_throughput",
    "Double-Precision Function Unit Utilization": "double_precision_fu_utilization",
    "Executed IPC": "ipc",
    "FLOP Efficiency(Peak Double)": "flop_dp_efficiency",
    "FLOP Efficiency(Peak Half)": "flop_hp_efficiency",
    "FLOP Efficiency(Peak Single)": "flop_sp_efficiency",
    "Floating Point Operations(Double Precision)": "flop_count_dp",
    "Floating Point Operations(Half Precision)": "flop_count_hp",
    "Floating Point Operations(Single Precision)": "flop_count_sp",
    "Half-Precision Function Unit Utilization": "half_precision_fu_utilization",
    "L2 Cache Utilization": "l2_utilization",
    "Load/Store Function Unit Utilization": "ldst_fu_utilization",
    "Multiprocessor Activity": "sm_efficiency",
    "Shared Memory Utilization": "shared_utilization",
    "Single-Precision Function Unit Utilization": "single_precision_fu_utilization",
    "Special Function Unit Utilization": "special_fu_utilization",
    "Tensor-Precision Function Unit Utilization": "tensor_precision_fu_utilization",
    "Texture Function Unit Utilization": "tex_fu_utilization",
}
"""Description -> metric, for tables whose columns are headed with it. Source: nvprof's own tables of both."""

_NOT_WHOLE: Final = "rows of metrics that are not whole"


def take(gathered: Gathered, block: Block) -> None:
    """Take a table with a row for each metric of a kernel; its value is the mean over the kernel's launches."""
    kernels, devices = block.texts("Kernel"), block.texts("Device")
    metrics = block.texts("Metric Name" if block.layout.place("Metric Name") is not None else "Event Name")
    values, unit = block.column("Avg") or ((), "")
    calls = wholes(block.texts("Invocations")).tolist()
    subjects, found, named = [], [], []
    for row, cell in enumerate(values):
        value, name = metric_of(cell, unit), kernels[row] or block.kernel
        if value is None or not name or not calls[row] or not metrics[row]:
            gathered.remarks.count(_NOT_WHOLE, 1, block.line)
            continue
        device = device_of(gathered, devices[row] or block.device or "")
        subjects.append(gathered.counted.of_kernel(Subject(block.process, name, device, calls=calls[row])))
        named.append(metrics[row])
        found.append(value)
    gathered.counted.add(subjects, named, found)


def take_launches(gathered: Gathered, block: Block) -> None:
    """Take a table with a row for each launch and a column for each metric."""
    named_at = enumerate(block.layout.columns)
    metrics = [(METRICS.get(name, name), at) for at, name in named_at if name not in _IDENTITY]
    correlations = wholes(block.texts("Correlation_ID")).tolist()
    devices, kernels = devices_of(gathered, block).tolist(), block.texts("Kernel")
    contexts, streams = ([id_of(cell) for cell in block.texts(name)] for name in ("Context", "Stream"))
    subjects, found, named = [], [], []
    for row, cells in enumerate(block.rows):
        read = [metric_of(cells[at], block.units[at]) for _, at in metrics]
        values = [value for value in read if value is not None]
        if len(values) < len(metrics) or not kernels[row]:
            gathered.remarks.count(_NOT_WHOLE, 1, block.line)
            continue
        name, number = (kernels[row], None) if block.layout.is_csv else without_correlation(kernels[row])
        number = correlations[row] if correlations[row] is not None else number
        subject = Subject(block.process, name, devices[row], contexts[row], streams[row], number)
        subjects += [gathered.counted.of_launch(subject)] * len(metrics)
        named += [metric for metric, _ in metrics]
        found += values
    gathered.counted.add(subjects, named, found)
