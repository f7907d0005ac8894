"""SQLite exports of Nsight Systems (``nsys export --type sqlite``), schemas of 2020 to 2026.

A table of the file stands there only if it has rows (but for exports with ``--lazy=false``), and columns have come and
gone with the versions: each table and column that is read here may be absent, and then what it would give is null.
Columns that nobody knows (users add some) are not read. What is read, and the module that does it::

    CUPTI_ACTIVITY_KIND_KERNEL, ..._GRAPH_TRACE             kernels     nsys_kernels
    CUPTI_ACTIVITY_KIND_MEMCPY, ..._MEMSET                  copies      nsys_copies
    CUPTI_ACTIVITY_KIND_RUNTIME, ..._SYNCHRONIZATION,
    CUDNN_EVENTS, CUBLAS_EVENTS, OSRT_API                   api         nsys_api
    NVTX_EVENTS                                             ranges      nsys_ranges
    GPU_METRICS, TARGET_INFO_GPU_METRICS                    samples     nsys_samples
    PROFILER_OVERHEAD, CUPTI_ACTIVITY_KIND_OVERHEAD         overhead    nsys_overhead
    CUDA_GPU_MEMORY_USAGE_EVENTS                            allocations nsys_allocations
    ANALYSIS_DETAILS                                        spans       nsys_meta
    TARGET_INFO_GPU, ..._CUDA_DEVICE, ..._CUDA_GPU          devices     nsys_devices
    PROCESSES, ThreadNames                                  processes, threads   nsys_meta
    StringIds                                               the texts   nsys_strings
    EXPORT_META_DATA or META_DATA_EXPORT, META_DATA_CAPTURE,
    TARGET_INFO_SESSION_START_TIME, DIAGNOSTIC_EVENT        meta, warnings   nsys_meta

Fields::

    start, end       := ns since the session's start
    globalPid        := vm << 48 | pid << 24               globalTid := globalPid | tid
    deviceId         := CUDA's ordinal in the process      correlationId := of the call, unique within its process
    ...Id, ...Name   := id of a text in StringIds

A row whose times cannot be (end before start, over a week) is left out, with a warning; ids and sizes below zero, and
the 2**32 - 1 that stands for no stream, are null.
"""

from __future__ import annotations

import re
from typing import Final

from ds2prof.parsers.sources import Source
from ds2prof.tables import Loaded, Profile

FORMAT: Final = "nsys-sqlite"
_HEAD: Final = b"SQLite format 3\x00"
_SIGNS: Final = re.compile(
    rb"CREATE TABLE [\"'`\[]?(?:StringIds|ThreadNames|ProcessStreams|UnwindMethodType|META_DATA_(?:EXPORT|CAPTURE)|"
    rb"EXPORT_META_DATA|ANALYSIS_(?:DETAILS|FILE)|TARGET_INFO_|NVTX_EVENTS|OSRT_|SCHED_EVENTS|COMPOSITE_EVENTS|"
    rb"SAMPLING_CALLCHAINS|PROFILER_OVERHEAD|ENUM_(?:NSYS|CUDA|CUPTI)_|PROCESSES\b|DIAGNOSTIC_EVENT|GPU_METRICS)"
    rb"|\bglobal[PTV]id[\"'`\]]?\s+INTEGER|EXPORT_SCHEMA_VERSION"
)


def sniff(head: bytes) -> bool:
    """Whether an SQLite file that begins so declares tables of Nsight Systems."""
    return head.startswith(_HEAD) and _SIGNS.search(head) is not None


def parse(source: Source) -> Profile:
    """The export's profile. Tables are built when they are asked for, columns that few ask for later still."""
    return Profile(lambda names: load(source, names), by_table=True)


def load(source: Source, names: frozenset[str]) -> Loaded:
    """The named tables.

    Raises:
        ReadError: the file is damaged, or holds none of the tool's tables.
    """
    from ds2prof.parsers import nsys_load  # it loads NumPy and SQLite, which finding the format need not

    return nsys_load.loaded(source, FORMAT, names)
