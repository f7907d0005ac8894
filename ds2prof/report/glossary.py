"""What every number means: its formula, what it tells, and what it cannot tell. One place for pages and documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Entry:
    """One term.

    Attributes:
        term: what it is called, as a heading.
        formula: how it is computed; empty for what is no number.
        meaning: what it tells.
        blind_spot: what it does not tell, and how it can mislead.
    """

    term: str
    formula: str
    meaning: str
    blind_spot: str


GLOSSARY: Final[Mapping[str, Entry]] = {
    "window": Entry(
        "Window W",
        "the first of these that the file has: step or capture ranges; cudaProfilerStart to cudaProfilerStop; the span "
        "the tool states; the first to the last device operation",
        "The stretch of time that is accounted for. Operations are cut at its edges, and its source stands with it.",
        "Another source gives another window and other shares: compare numbers with the same source only.",
    ),
    "gpu_compute_utilization": Entry(
        "GPU compute utilization (busy)",
        "length(union of kernels, collectives among them, within W) / length(W)",
        "The share of the window in which at least one kernel ran. Of several devices: the sum over the sum.",
        "One running thread counts as 100 %, and a collective that waits for other ranks counts as busy.",
    ),
    "ledger": Entry(
        "Idle ledger",
        "compute = X; exposed communication = N minus X; exposed copy = C minus (X or N); every gap split by its "
        "cause; the rows are integer nanoseconds that sum to W",
        "Where the window went. X are kernels that are no collectives, N collectives, C copies and sets; overlaps "
        "count once. A gap belongs to what held up the operation that ends it.",
        "Idle is this process's idle. Causes need the launch calls in the file: without them a gap is unknown, never "
        "guessed. What profiling lengthened stands under the cause that it lengthened.",
    ),
    "dur_ns": Entry(
        "Time",
        "sum of the durations of the launches",
        "How long the kernels took, each by itself.",
        "Kernels that ran at the same time are both counted in full: the sum can exceed the busy time.",
    ),
    "excl_ns": Entry(
        "Exclusive time",
        "every instant is divided evenly among the kernels that ran in it; the shares of all rows sum to the busy time",
        "What the rows of a table can be added up by.",
        "An even division does not know which of two concurrent kernels held the other up.",
    ),
    "share": Entry(
        "Share",
        "exclusive time / busy time; of the ledger: time / W; where there are no timestamps: time / sum of the times",
        "How much of the whole a row is.",
        "A share of the busy time says nothing about idle time.",
    ),
    "calls": Entry(
        "Calls",
        "number of launches",
        "How often it ran. A graph whose contents the tool hid is one launch.",
        "A summary that a tool wrote counts what that tool counted.",
    ),
    "class": Entry(
        "Class",
        "",
        "What a kernel does, told by its name: products (gemm), convolution, recurrent, normalization, elementwise, "
        "reduction, softmax, copies, communication, other.",
        "A fused kernel does several things and has one class; a name that tells nothing is other.",
    ),
    "phase": Entry(
        "Phase",
        "",
        "Part of a training step: data, h2d, forward, loss, backward, clip, optimizer. Work belongs to the innermost "
        "phase open on the launching thread, else to the one open in its process.",
        "Phases that were not recorded are derived from autograd's operators, and the notes say so.",
    ),
    "layer": Entry(
        "Layer",
        "",
        "The module whose call launched the work: recorded by the program, or as PyTorch recorded module calls.",
        "Work launched between modules (a loss, an optimizer) is outside of any.",
    ),
    "host_dur_ns": Entry(
        "Host time",
        "sum of the durations of the ranges on the host",
        "How long the program itself spent in it, while the device worked behind.",
        "The device runs behind the host: host time and device time of a row are not of the same moment.",
    ),
    "copy_dur_ns": Entry(
        "Copies",
        "sum of the durations of memory copies and sets",
        "Data movement launched in it.",
        "Copies that run beside kernels cost nothing; what they cost is exposed copy in the ledger.",
    ),
    "step_ns": Entry(
        "Step time",
        "on the device: from the end of the last operation of the step before to the end of the step's own last one; "
        "the mean step is that of the host ranges, warm-up excluded",
        "How long one iteration takes.",
        "A host range may end before its work does, which makes neighbours differ in opposite directions.",
    ),
    "interval": Entry(
        "Interval",
        "block bootstrap over the iterations that count, 95 %; fewer than 8 iterations give a range, one gives none",
        "Between which bounds the mean would lie had the same iterations run again under this run's circumstances.",
        "It knows one run. How runs differ from each other only several runs can tell.",
    ),
    "warm_up": Entry(
        "Warm-up",
        "iterations at the beginning that are slow by more than 3.5 scaled MADs and 5 %, or that load and compile",
        "Left out of means and intervals.",
        "A slow iteration behind a usual one is an outlier, not warm-up.",
    ),
    "utilization": Entry(
        "Core utilization of a pipe",
        "sum(cycles x share of peak) / sum(cycles), over the launches that have both",
        "How much of its own peak rate a pipe (fma, tensor, lsu...) reached while kernels ran.",
        "Idle time does not enter, and counters are read while launches are repeated. Pipes are not added up: each has "
        "a peak of its own, and fp16 is a part of fma on newer chips.",
    ),
    "effective_utilization": Entry(
        "Effective utilization",
        "work / (SM clock of the timeline x length of the stretch), work = share of peak x cycles",
        "How much of a pipe's peak was used in real time, idle time included.",
        "It rests on the SM clock: sampled or given, else assumed, and then stated as bounds. A sampler that reads "
        "over real time tells it directly.",
    ),
    "coverage": Entry(
        "Coverage",
        "cycles (or time) of the launches that the number is known for / all of theirs",
        "How much of the work the number beside it rests on.",
        "What is not covered may be quite different from what is.",
    ),
    "bounds": Entry(
        "At least (FLOP, DRAM)",
        "FLOP of the operators' models / dense peak; bytes that must move at least, less the last cache / bandwidth",
        "What kernels must have used of the chip, told from shapes where no counters are: lower bounds, not readings.",
        "The true figure can be far higher: padding, recomputation and what is read again are not in it.",
    ),
    "occupancy": Entry(
        "Est. SM efficiency, est. achieved occupancy",
        "grids, blocks per SM and occupancy of each launch, swept over time",
        "How much of the SMs' time and of their warps the launches could have filled.",
        "Estimates from launch shapes, not readings: a resident warp may be waiting all the time.",
    ),
    "flop": Entry(
        "FLOP",
        "counted by hardware where the file has it, else modelled from the shapes of the operator that launched it",
        "Arithmetic work, a multiplication and an addition each counting once.",
        "Modelled work is what the mathematics needs; what the kernel did may be more.",
    ),
    "intensity": Entry(
        "Arithmetic intensity",
        "FLOP / bytes moved to and from the device's memory",
        "Where a kernel stands on the roofline: to the left of the ridge memory limits it, to the right arithmetic.",
        "Modelled bytes are compulsory ones, each value moved once: what is read again is not in them.",
    ),
    "flop_per_s": Entry(
        "FLOP/s",
        "FLOP / time of the kernels themselves",
        "The rate that was reached while they ran.",
        "Under a replaying profiler times are not those of the run.",
    ),
    "roof": Entry(
        "Of roof",
        "attainable time / exclusive time, attainable = max(FLOP / peak rate, bytes / bandwidth)",
        "How near kernels came to the least time that the chip allows.",
        "A roof knows no latency: tiny kernels never reach it. Data found in a cache can let a kernel beat its roof.",
    ),
    "gain_ns": Entry(
        "Gain",
        "sum over kernels of max(exclusive time - attainable time, 0)",
        "What would be won if each of these kernels ran at its roof.",
        "An upper limit, not a promise; fusing kernels can win more, for bytes between them then need not move.",
    ),
    "throughput": Entry(
        "Throughput",
        "samples (audio seconds, padded seconds) / time between two fences, outside any profiler, warm-up excluded",
        "What the training is for: how much of the data it gets through.",
        "Padded seconds are what the device worked on, audio seconds what was worth it.",
    ),
    "mfu": Entry(
        "MFU, HFU",
        "FLOP of the network (with padding: HFU) / (dense peak x time)",
        "How much of the device's arithmetic peak the training used.",
        "Optimizer, loss and everything elementwise count as no FLOP; an unknown peak gives none.",
    ),
    "matched": Entry(
        "Matched, extrapolated",
        "busy time of launches that were paired with their own counters; with those of launches like them",
        "What a join of a timeline and counters rests on.",
        "A recurrent kernel keeps one grid for every sequence length: its like need not have done the same work.",
    ),
    "overlap": Entry(
        "Overlap",
        "communication time while a kernel computed / communication time",
        "How much of the communication was hidden.",
        "A collective that waits for a late rank is communication, too.",
    ),
    "wait_ns": Entry(
        "Waits for others",
        "time in matched collectives before the last rank arrived, beyond the error of the clocks",
        "What a rank lost to others, and who made whom wait.",
        "Needs the files of all ranks; clocks are aligned within the stated error only.",
    ),
    "batch_size": Entry(
        "Batch size",
        "",
        "Samples of one iteration on one device, as the sidecar beside a measurement or the run log tells.",
        "Measurements of different windows, presets or precisions differ by more than their batch.",
    ),
    "memory": Entry(
        "Memory",
        "what the allocator had handed out at the highest moment, by category",
        "What must fit into the device, and what of it grows with the batch.",
        "What the driver and libraries hold outside of the allocator stands under workspace, where it is known.",
    ),
    "reading": Entry(
        "Sampled reading",
        "mean, least and greatest of the readings",
        "What a sampler saw of the whole device or host: clocks, power, utilization by the driver.",
        "Other programs count, too, and utilization by the driver is no GPU compute utilization.",
    ),
}
"""Term -> its entry, in the order of reading."""


def entry(term: str) -> Entry:
    """The entry of a term; KeyError for one that has none."""
    return GLOSSARY[term]
