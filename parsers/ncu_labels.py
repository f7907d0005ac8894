"""Which metric stands behind a label that Nsight Compute prints on its details page instead of the metric's name.

The labels are those of the tool's ``.section`` files: a label means something within its section only ("Memory
Throughput" is a percentage in one and bytes per second in another). Only labels are here that name one metric in every
version they occur in. Left out on purpose: "SM Busy" and "Issue Slots Busy", which went from active to elapsed cycles
between 2022 and 2025; "FMA", "ALU" and the like without the chart they stand in (the same); the L2 compression, tensor
and "SOL FB" labels, which depend on the chip.

Sources: the section files of Nsight Compute 2022.3.0 and of a 2025 release; for the older "GPU Speed Of Light", reports
of 2021 printed by label and by name and compared; the section files of the TBD suite (PertSustainedElapsed and
PertBurstElapsed) for its own two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_SPEED_OF_LIGHT: Final = {
    "Duration": "gpu__time_duration.sum",
    "Elapsed Cycles": "gpc__cycles_elapsed.max",
    "SM Active Cycles": "sm__cycles_active.avg",
    "SM Frequency": "gpc__cycles_elapsed.avg.per_second",
    "DRAM Frequency": "dram__cycles_elapsed.avg.per_second",
    "SM [%]": "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "Compute (SM) [%]": "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "Compute (SM) Throughput": "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "Memory [%]": "gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed",
    "Memory Throughput": "gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed",
    "SOL DRAM": "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed",
    "DRAM Throughput": "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed",
    "SOL L1/TEX Cache": "l1tex__throughput.avg.pct_of_peak_sustained_active",
    "L1/TEX Cache Throughput": "l1tex__throughput.avg.pct_of_peak_sustained_active",
    "SOL L2 Cache": "lts__throughput.avg.pct_of_peak_sustained_elapsed",
    "L2 Cache Throughput": "lts__throughput.avg.pct_of_peak_sustained_elapsed",
    "Waves Per SM": "launch__waves_per_multiprocessor",
}


def _pert(peak: str) -> dict[str, str]:
    pipes = {"FP32": "fma", "FP16": "fp16", "FP64": "fp64", "SFU": "xu", "Tensor": "tensor"}
    labels = {label: f"sm__inst_executed_pipe_{pipe}.avg.pct_of_peak_{peak}_elapsed" for label, pipe in pipes.items()}
    return {**labels, "Elapsed Cycles": "gpc__cycles_elapsed.max"}


LABELS: Final[Mapping[str, Mapping[str, str]]] = {
    "GPU Speed Of Light": _SPEED_OF_LIGHT,
    "GPU Speed Of Light Throughput": _SPEED_OF_LIGHT,
    "% of peak sustained rate achieved during unit elapsed cycles": _pert("sustained"),
    "PertSustainedElapsed": _pert("sustained"),
    "% of peak burst rate achieved during unit burst cycles": _pert("burst"),
    "PertBurstElapsed": _pert("burst"),
    "Compute Workload Analysis": {
        "Executed Ipc Active": "sm__inst_executed.avg.per_cycle_active",
        "Executed Ipc Elapsed": "sm__inst_executed.avg.per_cycle_elapsed",
        "Issued Ipc Active": "sm__inst_issued.avg.per_cycle_active",
    },
    "Memory Workload Analysis": {
        "Memory Throughput": "dram__bytes.sum.per_second",
        "Mem Busy": "gpu__compute_memory_access_throughput.avg.pct_of_peak_sustained_elapsed",
        "Max Bandwidth": "gpu__compute_memory_request_throughput.avg.pct_of_peak_sustained_elapsed",
        "L1/TEX Hit Rate": "l1tex__t_sector_hit_rate.pct",
        "L2 Hit Rate": "lts__t_sector_hit_rate.pct",
        "Mem Pipes Busy": "sm__memory_throughput.avg.pct_of_peak_sustained_elapsed",
    },
    "Scheduler Statistics": {
        "Active Warps Per Scheduler": "smsp__warps_active.avg.per_cycle_active",
        "Eligible Warps Per Scheduler": "smsp__warps_eligible.avg.per_cycle_active",
        "Issued Warp Per Scheduler": "smsp__issue_active.avg.per_cycle_active",
        "No Eligible": "smsp__issue_inst0.avg.pct_of_peak_sustained_active",
        "One or More Eligible": "smsp__issue_active.avg.pct_of_peak_sustained_active",
    },
    "Warp State Statistics": {
        "Warp Cycles Per Issued Instruction": "smsp__average_warp_latency_per_inst_issued.ratio",
        "Warp Cycles Per Executed Instruction": "smsp__average_warps_active_per_inst_executed.ratio",
        "Avg. Active Threads Per Warp": "smsp__thread_inst_executed_per_inst_executed.ratio",
        "Avg. Not Predicated Off Threads Per Warp": "smsp__thread_inst_executed_pred_on_per_inst_executed.ratio",
    },
    "Instruction Statistics": {
        "Executed Instructions": "smsp__inst_executed.sum",
        "Issued Instructions": "smsp__inst_issued.sum",
        "Avg. Executed Instructions Per Scheduler": "smsp__inst_executed.avg",
        "Avg. Issued Instructions Per Scheduler": "smsp__inst_issued.avg",
    },
    "Launch Statistics": {
        "Grid Size": "launch__grid_size",
        "Block Size": "launch__block_size",
        "Threads": "launch__thread_count",
        "Registers Per Thread": "launch__registers_per_thread",
        "Static Shared Memory Per Block": "launch__shared_mem_per_block_static",
        "Dynamic Shared Memory Per Block": "launch__shared_mem_per_block_dynamic",
        "Driver Shared Memory Per Block": "launch__shared_mem_per_block_driver",
        "Shared Memory Configuration Size": "launch__shared_mem_config_size",
        "Waves Per SM": "launch__waves_per_multiprocessor",
        "Cluster Size": "launch__cluster_size",
        "Stack Size": "launch__stack_size",
        "# SMs": "launch__sm_count",
        "# TPCs": "launch__tpc_count",
    },
    "Occupancy": {
        "Achieved Occupancy": "sm__warps_active.avg.pct_of_peak_sustained_active",
        "Achieved Active Warps Per SM": "sm__warps_active.avg.per_cycle_active",
        "Theoretical Occupancy": "sm__maximum_warps_per_active_cycle_pct",
        "Theoretical Active Warps per SM": "sm__maximum_warps_avg_per_active_cycle",
        "Block Limit SM": "launch__occupancy_limit_blocks",
        "Block Limit Registers": "launch__occupancy_limit_registers",
        "Block Limit Shared Mem": "launch__occupancy_limit_shared_mem",
        "Block Limit Warps": "launch__occupancy_limit_warps",
        "Block Limit Barriers": "launch__occupancy_limit_barriers",
    },
    "GPU and Memory Workload Distribution": {
        "Average SM Active Cycles": "sm__cycles_active.avg",
        "Average SMSP Active Cycles": "smsp__cycles_active.avg",
        "Average L1 Active Cycles": "l1tex__cycles_active.avg",
        "Average L2 Active Cycles": "lts__cycles_active.avg",
        "Average DRAM Active Cycles": "dram__cycles_active.avg",
        "Total SM Elapsed Cycles": "sm__cycles_elapsed.sum",
        "Total SMSP Elapsed Cycles": "smsp__cycles_elapsed.sum",
        "Total L1 Elapsed Cycles": "l1tex__cycles_elapsed.sum",
        "Total L2 Elapsed Cycles": "lts__cycles_elapsed.sum",
        "Total DRAM Elapsed Cycles": "dram__cycles_elapsed.sum",
    },
}
"""Section as displayed -> label -> metric."""

PIPE_CHARTS: Final[Mapping[str, str]] = {
    "Pipe Utilization (% of elapsed cycles)": "sm__pipe_{}_cycles_active.avg.pct_of_peak_sustained_elapsed",
    "Pipe Utilization (% of active cycles)": "sm__pipe_{}_cycles_active.avg.pct_of_peak_sustained_active",
    "Pipe Utilization (% of peak instructions executed over elapsed cycles)": (
        "sm__inst_executed_pipe_{}.avg.pct_of_peak_sustained_elapsed"
    ),
    "Pipe Utilization (% of peak instructions executed over active cycles)": (
        "sm__inst_executed_pipe_{}.avg.pct_of_peak_sustained_active"
    ),
}
"""Chart of the compute section, where the page has a column for it (2025 and later) -> the metric of one pipe."""

PIPES: Final[Mapping[str, str]] = {
    "ADU": "adu",
    "ALU": "alu",
    "CBU": "cbu",
    "FMA": "fma",
    "FMA (FP16)": "fma_type_fp16",
    "FP16": "fp16",
    "FP64": "fp64",
    "LSU": "lsu",
    "TC": "tc",
    "TEX": "tex",
    "TMA": "tma",
    "Tensor (Warp Group)": "tensor_op_gmma",
    "Uniform": "uniform",
    "XU": "xu",
}
"""Label in such a chart -> pipe, where it is the same on every chip."""

_NAMED_IN_PARENTHESES: Final = re.compile(r"\((\w+__[\w.]+)\)\Z")


def metric_of(section: str, item: str, label: str) -> str:
    """The metric that the cell "Metric Name" stands for; the label itself where that is not certain.

    Args:
        section: the cell "Section Name"; empty where the page has none.
        item: the cell "Body Item Label" (2025 and later): the chart or table within the section.
        label: the cell "Metric Name": a metric's name, or its label in that section.
    """
    if "__" in label:
        named = _NAMED_IN_PARENTHESES.search(label)
        return named.group(1) if named else label
    if not item:
        return LABELS.get(section, {}).get(label, label)
    if item in PIPE_CHARTS and label in PIPES:
        return PIPE_CHARTS[item].format(PIPES[label])
    return f"{item}: {label}"
