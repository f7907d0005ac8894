"""What ``nsys stats`` prints of an Nsight Systems report, as CSV, TSV, columns or boxes, one report or many in a file.

Grammar::

    file     := (other lines | note | report)*
    note     := "Processing [FILE] with [.../NAME.py]..." | "[3/7] Executing 'NAME' stats report" | "SKIPPED: ..."
    report   := heading? table
    heading  := " ** TITLE (NAME):" | "CUDA Kernel Statistics (nanoseconds)"      the latter until 2020
    table    := CSV or TSV: a line of titles, a line each, an empty line
              | titles, dashes beneath them, a line each, an empty line           cells by position
              | the same in a box                                                 +---+ or box drawing characters
    title    := NAME | NAME "(" unit ")"       ns, us, ms, sec; B, KB, KiB, MB ...; of times until 2020: nsec

Which report a table is tell its titles (``nsys_stats_layouts``); NAME, where the text has it, tells apart those with
the same ones. Other lines are the profiled program's own, and the tool's progress.

One thing is read once. Several reports tell of the same kernels, copies, calls or ranges: each table of ours is made
of the one that tells most (``nsys_stats_tables``), named in ``meta.facts``. Rows of a summary stand for ``calls``
launches; they have no times of their own.

What the text has lost is not made up. Times count from the start of the session, so that there is no clock; units
other than nanoseconds are rounded, to ``meta.time_resolution_ns``. Sizes are rounded to ``size_resolution_bytes``,
those that are printed as nothing being unknown. Names that columns cut are told of. A trace of launches has no
correlation ids: its calls and kernels are joined by numbers of our own. A table of kernels by ranges counts a kernel
once for every range around it, so that no table can be had of it.
"""

from __future__ import annotations

import re
from typing import Final

from ds2prof.parsers.sources import Source
from ds2prof.tables import Loaded, Profile

FORMAT: Final = "nsys-stats"

_SIGNS: Final = re.compile(
    rb"(?m)^[\W_]{0,9}(?:"
    rb"Time ?(?:\(%\))?[\W_]{1,40}Total Time\b"
    rb"|(?:API )?Start(?: ?\([a-z\xc2\xb5]{1,12}\))?[\W_]{1,60}(?:API )?(?:End|Dur)[^\n]{0,400}"
    rb"(?:CorrI[dD]|RangeId|Kernel Start)\b"
    rb"|Total ?\((?:[KMG]i?Bi?|B)\)[\W_]{1,40}(?:Count|Operations)\b"
    rb"|Total {2,40}Operations {2,40}Average\b"
    rb"|Name[,\t \"|]{1,40}Projected Start\b"
    rb"|NVTX Range[\W_]{1,40}Style\b|Range[\W_]{1,40}Style[\W_]{1,40}Total Proj Time\b"
    rb"|PID[\W_]{1,20}TID[\W_]{1,20}DevId\b"
    rb"|\[[0-9]{1,3}/[0-9]{1,3}\] (?:Executing '\w{1,60}' stats report|\[[^\n]{1,80}\.(?:nsys-rep|qdrep|sqlite)\b)"
    rb"|Processing \[[^\n\]]{1,400}\] with \[[^\n\]]{1,400}\.py\]"
    rb"|SKIPPED: [^\n]{1,400} does not contain [^\n]{1,80} data\."
    rb")"
)


def sniff(head: bytes) -> bool:
    """Whether the stream holds titles of a report, or notes of the tool, in its first bytes."""
    return _SIGNS.search(head) is not None


def parse(source: Source) -> Profile:
    """The profile in the reports. Tables are built when they are asked for, each time in one pass over the text."""
    return Profile(lambda names: load(source, names))


def load(source: Source, names: frozenset[str]) -> Loaded:
    """The named tables.

    Raises:
        ReadError: the text holds no report that is read.
    """
    from ds2prof.parsers import nsys_stats_result

    return nsys_stats_result.loaded(source, FORMAT, names)
