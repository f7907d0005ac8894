"""Text logs of Nsight Compute that hold its pages: what ``ncu`` prints where neither a report nor CSV is asked for.

Grammar, a line each::

    log      := (noise | process | launch)*
    noise    := what the program printed, and the tool's own "==PROF==", "==WARNING==", "==ERROR==" lines, which may be
                cut by others
    process  := "[" number "] " name "@" host
    launch   := heading (section | table | rule | noise)*
    heading  := name " (grid)x(block), Context n, Stream n, Device n, CC n"     2023 and later
              | name ", " date ", Context n, Stream n"                          before
              | name ", Block Size n, Grid Size n, Device n, n invocations"     a summary, of all launches of a kernel
    section  := "Section: " name
    table    := dashes? titles? dashes row* dashes?          dashes are as wide as the columns, which rows keep to
    row      := metric unit? value | metric unit? minimum maximum mean
    rule     := ("OPT" | "INF" | "WRN" | "ERR") text more*   a text may begin with "Est. Speedup: n%", or "Local" so
    more     := text, further in

The pages hold what the CSV does, and are read as it is: labels become metrics, scaled units base units, rounded
durations are warned of (see ``ncu_csv``). Launches have no ID here: they are counted. A rule's own name is not printed:
its section's stands in its place. A launch that was profiled but whose page never came is not there.
"""

from __future__ import annotations

import io
from dataclasses import replace
from functools import lru_cache
from typing import BinaryIO, Final, cast

from ds2prof.parsers.ncu_lines import as_utf8
from ds2prof.parsers.ncu_log_lines import is_log
from ds2prof.parsers.sources import Source
from ds2prof.tables import Loaded, Profile

FORMAT: Final = "ncu-log"


def sniff(head: bytes) -> bool:
    """Whether a launch has its heading there, and no CSV begins; else what follows the tool's messages is not known."""
    text = as_utf8(head)
    if not is_log(text):
        return False
    from ds2prof.parsers.ncu_layout import find_header

    return not any(map(find_header, text.splitlines()))


def parse(source: Source) -> Profile:
    """The profile of the launches in the log: kernels, counters, rules, devices, processes.

    Raises:
        ReadError: no launch has a row, or the locale contradicts itself.
    """
    loaded = lru_cache(maxsize=1)(lambda: load(source))
    return Profile(lambda _: loaded())


def load(source: Source) -> Loaded:
    """All tables of the log, in one pass.

    Raises:
        UnknownFormatError: no line heads a launch.
        ReadError: no launch has a row, or the locale contradicts itself.
    """
    from ds2prof.parsers import ncu_csv

    def opened() -> BinaryIO:
        from ds2prof.parsers.ncu_log_rows import Translated

        return cast(BinaryIO, io.BufferedReader(Translated(source.open())))

    pages = ncu_csv.load(Source(source.name, source.head, opened))
    said = [part for part in pages.meta.dialect.split(", ") if part != "rules" or len(pages.tables["rules"])]
    return replace(pages, meta=replace(pages.meta, format=FORMAT, dialect=", ".join(("text", *said))))
