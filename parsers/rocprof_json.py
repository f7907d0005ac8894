"""Results of AMD's rocprofv3 as JSON (``rocprofv3 --output-format json``): one document of typed records.

Grammar, in JSON, as far as it is read::

    file      := {"rocprofiler-sdk-tool": [process...] | process}
    process   := {"metadata": {"pid": n, "init_time": ns, "fini_time": ns, "command": [text...], "node": {...}},
                  "agents": [agent...], "counters": [{"id": id, "name": text}...],
                  "strings": {"buffer_records": [{"kind": text, "operations": [text...]}...],
                              "marker_api": [{"key": correlation, "value": message}...]},
                  "kernel_symbols": [{"kernel_id": n, "formatted_kernel_name": text, "kernel_name": text, ...}...],
                  "callback_records": {"counter_collection": [counted...]},
                  "buffer_records": {"kernel_dispatch": [dispatch...], "memory_copy": [copy...],
                                     "hip_api" | "hsa_api" | "rccl_api" | "marker_api" | ...: [call...], ...}}
    agent     := {"id": id, "type": 1 (CPU) | 2 (GPU), "node_id": n, "logical_node_type_id": n, "cu_count": n, ...}
    call      := {"kind": n, "operation": n, "thread_id": n, "correlation_id": {"internal": n, "external": n},
                  "start_timestamp": ns, "end_timestamp": ns}
    dispatch  := call + {"dispatch_info": info, "stream_id": id}
    info      := {"agent_id": id, "kernel_id": n, "dispatch_id": n, "private_segment_size": n, "group_segment_size": n,
                  "workgroup_size": dim3, "grid_size": dim3}       a grid is counted in work-items, not in workgroups
    copy      := call + {"src_agent_id": id, "dst_agent_id": id, "bytes": n, "stream_id": id}
    counted   := {"dispatch_data": {times, "correlation_id", "dispatch_info"}, "records": [{"counter_id": id, "value"}]}
    id        := {"handle": n}
    dim3      := {"x": n, "y": n, "z": n}

A kind is an index into ``buffer_records`` of the strings, an operation one into that kind's. Times are nanoseconds of
the machine's monotonic clock. A device is the ordinal of its agent among the GPUs; a copy belongs to the GPU that it
ends on, or else begins on. ``registers`` are a work-item's vector registers without those for accumulation. A record of
``roctxRangePush`` or ``roctxRangeStart`` is the whole range. A counter's instances are added up, as rocprofv3 does in
its CSV. Where dispatches were only counted, not traced, they are the launches.

The file is mapped, not copied; records are decoded a megabyte at a time.
"""

from __future__ import annotations

import re
from typing import Final

from ds2prof.parsers.sources import Source
from ds2prof.tables import Loaded, Profile

FORMAT: Final = "rocprofv3-json"
_SIGN: Final = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"rocprofiler-sdk-tool"[ \t\r\n]*:')


def sniff(head: bytes) -> bool:
    """Whether a stream that begins so holds rocprofv3's results."""
    return _SIGN.match(head) is not None


def parse(source: Source) -> Profile:
    """The profile of all processes in the file. Tables are built when they are asked for."""
    return Profile(lambda names: load(source, names))


def load(source: Source, names: frozenset[str]) -> Loaded:
    """The named tables.

    Raises:
        ReadError: the document is damaged, or holds no process.
    """
    from ds2prof.parsers import rocprof_result  # it loads msgspec, which finding the format need not

    return rocprof_result.loaded(source, FORMAT, names)
