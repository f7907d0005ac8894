"""Profiles of nvprof and the Visual Profiler (``.nvvp``, ``.nvprof``): SQLite, one table per kind of CUPTI activity.

Grammar (versions 8 to 26 of the schema; later ones have more columns)::

    file      := Version(version), StringTable(_id_, value), CUPTI_ACTIVITY_KIND_*
    kernel    := CONCURRENT_KERNEL | KERNEL | CDP_KERNEL (launched by a kernel)
                     name, start, end, deviceId, contextId, streamId, correlationId, gridX, ...
    copy      := MEMCPY | MEMCPY2 (between devices) | MEMSET
    call      := RUNTIME | DRIVER                cbid: the number of the function; see nvprof_calls
    wait      := SYNCHRONIZATION                 what a call waited for
    range     := two rows of MARKER with one id, flags 2 (begin) and 4 (end)  |  one with flags 1 (a mark)
    about it  := MARKER_DATA (category, payload, by the id)
    overhead  := OVERHEAD                        what the profiler and the driver's compiler took
    value     := METRIC(id, value, correlationId)            of a launch; see nvprof_metrics
    reading   := ENVIRONMENT(data, timestamp, deviceId)      clocks, temperature, power; see nvprof_sqlite_samples
    text      := the number of a row of StringTable; 0 stands for none
    object    := blob: kind 1 (process): u32 process | kind 2 (thread): u32 process, u32 thread

All tables are there in every file. A timeline fills CONCURRENT_KERNEL. Metric mode fills KERNEL, with METRIC and EVENT
beside it: launches were then repeated, and ``meta.times`` is ``replay``. KERNEL without any of those is a timeline
recorded with ``--concurrent-kernels off``.

Times are integer nanoseconds: since the epoch on Linux, since the machine's start on Windows (``meta.clock`` tells).
The file states no span of its own: ``spans`` has one row, ``session``, from its first record of any kind to the last.
Device work does not tell its process: that is the only one that made calls, else the one whose call has its
correlation id. Kernel names are mangled in the file (``mangled_name``); ``name`` is demangled where that can be done.

Not read: unified memory counters, values of events and of single instances of metrics, OpenACC, OpenMP, source-level
results. What of them would count as work or is a measurement is warned of.
"""

from __future__ import annotations

import re
from typing import Final

from ds2prof.parsers.sources import Source
from ds2prof.tables import Loaded, Profile

FORMAT: Final = "nvprof-sqlite"
_MAGIC: Final = b"SQLite format 3\x00"
_SIGNS: Final = re.compile(
    rb"CREATE TABLE (?:StringTable ?\(\s{0,4}_id_ |CUPTI_ACTIVITY_KIND_\w{1,60} ?\(\s{0,4}_id_ INTEGER PRIMARY KEY"
    rb"|prof(?:StringTable|Index) ?\()"
)


def sniff(head: bytes) -> bool:
    """Whether a stream that begins so is an SQLite file with nvprof's tables."""
    return head.startswith(_MAGIC) and _SIGNS.search(head) is not None


def parse(source: Source) -> Profile:
    """The profile. Tables are built when they are asked for."""
    return Profile(lambda names: load(source, names))


def load(source: Source, names: frozenset[str]) -> Loaded:
    """The named tables.

    Raises:
        ReadError: the file is damaged, or holds samples of the processor alone.
    """
    from ds2prof.parsers import nvprof_sqlite_result  # it loads sqlite3, which finding the format need not

    return nvprof_sqlite_result.loaded(source, FORMAT, names)
