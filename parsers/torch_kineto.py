"""Traces of the PyTorch profiler, as libkineto writes them (``export_chrome_trace``): Chrome's trace event format.

Grammar, in JSON::

    file      := {header..., "traceEvents": [event...], header...} | [event...]
    header    := "schemaVersion": 1 | "deviceProperties": [device...] | "distributedInfo": {"rank": n, ...}
               | "baseTimeNanoseconds": n | "cupti_version": n | "roctracer_version": n | any other key
    device    := {"id": n, "name": text, "computeMajor": n, "computeMinor": n, "numSms": n, "totalGlobalMem": n, ...}
    event     := {"ph": "X", "cat": category, "name": text, "pid": process, "tid": thread,
                  "ts": us, "dur": us, "args": {...}}
               | {"ph": "M", "name": "process_name" | "thread_name" | ..., "pid": ..., "tid": ..., "args": {...}}
               | {"ph": "C", "cat": "hardware_counters", ...}    one reading of a sampled counter: see kineto_samples
               | {"ph": "i", "name": "[memory]", ...}    one allocation or release: see kineto_allocations
               | flows ("s", "t", "f"), other instants: counted, not read
    category  := what the event is, in two spellings: see kineto_categories
    process   := n | text        a device's ordinal on the device's rows
    thread    := n | text        a stream on the device's rows ("stream 7" in old traces)
    us        := decimal microseconds: whole, or with three decimals

Times. Microseconds become integer nanoseconds without passing through a double. Where the file gives
``baseTimeNanoseconds``, its times count from there, and ``start_ns`` is their sum: nanoseconds since the epoch, as in
older files, whose times count from the epoch themselves. A file with neither has a clock of its own (``meta.clock`` is
None).

What the rows are. ``cuda_sync`` rows lie on the device's streams, but tell what was waited for: they are rows of
``api`` with the domain ``sync``, no device work. ``gpu_user_annotation`` is an annotation projected on the device,
neither work nor a range of the host: counted only. ``cuda_profiler_range`` rows (CUPTI's range profiler) are launches
of kind ``range`` with counters and without times, since Kineto makes theirs up; ``meta.times`` is then ``replay``.
Operators that are annotations (``ProfilerStep#3`` before PyTorch 1.9) are ranges.

A value that cannot be is doubted. A row without a readable time, with a negative duration or one over a week is left
out, with a warning; an integer beyond 64 bits, a negative stream, an occupancy outside of 0 to 100 % is null. Calls of
one domain that share a correlation id are kept and counted in a warning; many kernels of one call (a graph) are no
such case. ROCm's traces have neither occupancy nor registers, and addresses for streams in calls: both stay null.
"""

from __future__ import annotations

import re
from typing import Final

from ds2prof.parsers.sources import Source
from ds2prof.tables import Loaded, Profile

FORMAT: Final = "torch-kineto"
CHUNK_BYTES: Final = 128 << 10
_SIGNS: Final = re.compile(
    rb'"(?:traceEvents|schemaVersion|deviceProperties|computeProperties|distributedInfo)"[ \t\r\n]*:'
    rb'|"ph"[ \t\r\n]*:[ \t\r\n]*"[XMBEisftC]"'
)
_OBJECT: Final = re.compile(rb'(?:\xef\xbb\xbf)?[ \t\r\n]*\{[ \t\r\n]*(?:"(?!schema")|\Z)')
_LIST: Final = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*\[[ \t\r\n]*\{")


def sniff(head: bytes) -> bool:
    """Whether a stream that begins so is a trace: JSON with a trace's keys, or with an event, in sight."""
    return bool((_OBJECT.match(head) or _LIST.match(head)) and _SIGNS.search(head))


def parse(source: Source) -> Profile:
    """The trace's profile. Tables are built when they are asked for, each time in one pass over the file."""
    return Profile(lambda names: load(source, names))


def load(source: Source, names: frozenset[str], *, chunk_bytes: int = CHUNK_BYTES) -> Loaded:
    """The named tables, in one pass that reads ``chunk_bytes`` at a time.

    Raises:
        ReadError: the stream holds no events of a PyTorch run, or is damaged beyond reading.
    """
    from ds2prof.parsers import kineto_collect, kineto_result  # they load msgspec, which finding the format need not

    found, events = kineto_collect.collect(source, names, chunk_bytes=chunk_bytes)
    return kineto_result.loaded(source.name, FORMAT, names, found, events)
