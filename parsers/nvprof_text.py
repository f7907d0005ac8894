"""What nvprof prints: summaries, traces and metrics, as CSV or as text for reading, in every dialect since CUDA 5.

Grammar, a line each::

    file     := (noise | said | section)*
    said     := prefix (message | "Warning: ..." | "Error: ..." | "NVPROF is profiling process N, command: ...")
    prefix   := "==" process "== " | "======== "               the second where a profile was imported
    section  := prefix title (said | place | table | nothing)*
    title    := "Profiling result:" | "API calls:" | "Metric result:" | "Event result:" | "NVTX result:"
              | "Unified Memory profiling result:" | "OpenACC (excl):" | others
    place    := "Device" name | "Kernel:" name               what the next rows are of; without prefix in some tables
              | "Thread" name | "Domain" name | "Range" name of NVTX
    table    := header units? (row | noise)*
    nothing  := "No kernels were profiled." and the like
    header   := cells: names in quotes and commas, or two spaces and more between them
    units    := cells: a unit or nothing for each column; they may differ between the columns of one table
    row      := cells: in a text table, and in files edited by hand, a value has its unit itself ("12.345us")

Headers: ``Type, Time(%), Time, Calls, Avg, Min, Max, Name`` (a summary; before CUDA 9 without Type, and API calls in a
section of their own), ``Start, Duration, Grid X, ...`` (a trace), ``Device, Kernel, Invocations, Metric Name, ...``,
``Device, Context, Stream, Kernel, ...`` (metrics of each launch), ``Device, Count, Avg Size, ...`` (unified memory).
What the program itself printed may stand anywhere between lines. A stream may hold several processes.

What rows become. A summary's row stands for several calls: ``dur_ns`` is their sum. A table within an NVTX range
repeats activities, so that only its range is read. Where a process has a trace and a summary of the same, the trace
counts. Metrics of a kernel are means over its launches. Migrations of unified memory are copies, its page faults are
``meta.facts``.

Times count from the first activity of the file. They are rounded to what is printed (``1.2345ms``: steps of 100 ns),
which ``meta.time_resolution_ns`` tells of the coarsest.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from ds2prof.parsers import nvprof_text_layout as layouts
from ds2prof.parsers.nvprof_text_lines import as_text
from ds2prof.parsers.sources import Source
from ds2prof.tables import Loaded, Profile

FORMAT: Final = "nvprof-text"

_SIGN: Final = (
    r"(?:==[0-9]{1,10}== (?:NVPROF is |Profiling (?:application|result|process)|(?:Metric|Event|NVTX|Unified Memory "
    r"profiling) result|API calls:)|======== (?:Profiling result|API calls|Warning: |Error: ))"
)
_LINE: Final = re.compile(f"^{_SIGN}", re.MULTILINE)
_GLUED: Final = re.compile(f"^.{{0,200}}?{_SIGN}", re.MULTILINE)
"""The same behind what the program printed without a line end."""
_JSON: Final = re.compile(r"\s*(?:\{\s*\"|\[\s*[\[{\"0-9])")


def sniff(head: bytes) -> bool:
    """Whether there is a line of nvprof's own, or the header of one of its tables."""
    text = as_text(head)
    if _LINE.search(text) is not None or any(_is_header(line) for line in text.split("\n")):
        return True
    return _JSON.match(text) is None and _GLUED.search(text) is not None  # JSON may quote one


def _is_header(line: str) -> bool:
    found = layouts.layout_of(line)
    return found is not None and found.is_certain


def parse(source: Source) -> Profile:
    """The profile of what the file prints; read once, when a table is first asked for."""
    loaded = lru_cache(maxsize=1)(lambda: load(source))
    return Profile(lambda _: loaded())


def load(source: Source) -> Loaded:
    """All tables, in one pass.

    Raises:
        ReadError: nvprof printed nothing but that it could not profile.
    """
    from ds2prof.parsers import nvprof_text_reader  # it loads NumPy's part, which finding the format need not

    return nvprof_text_reader.loaded(source, FORMAT)
