"""What ``nvidia-smi dmon`` prints, and ``nvidia-smi pmon`` likewise: readings of each device once a period.

Grammar, cells separated by blanks (by commas with ``--format csv``), the two headings again every so often::

    file      := (names units row*)*
    names     := "#" ("Date")? ("Time")? "gpu" NAME*       -s pucvmet: pwr gtemp mtemp sm mem enc dec mclk pclk fb ...
    units     := "#" ("YYYYMMDD")? ("HH:MM:SS")? "Idx" UNIT*        W C % MHz MB MB/s errs bool
    row       := (date)? (time)? INDEX (numeral | "-" | text)*

``sm`` and ``mem`` are shares of the driver's own sample period, as ``utilization.gpu`` of the CSV query is: never
merged with GPU compute utilization. ``MB`` of framebuffer are 2**20 bytes, ``MB/s`` of PCIe 10**6. Dates and times
(``-o DT``) are the machine's wall clock without its zone; a time without a date is no time, and is not kept. ``pmon``
has rows of processes: their ``pid`` and ``command`` become the process.
"""

from __future__ import annotations

import re
from typing import Final

from ds2prof.parsers.sources import Source
from ds2prof.tables import Loaded, Profile

FORMAT: Final = "nvidia-smi-dmon"
_NAMES: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*#[ \t]*(?:Date[ \t,]+)?(?:Time[ \t,]+)?gpu(?:[ \t,]+[a-z][a-z0-9]{1,9})+[ \t,]*\r?$",
    re.MULTILINE,
)


def sniff(head: bytes) -> bool:
    """Whether the first line that is not blank names the columns of ``dmon`` or ``pmon``."""
    return _NAMES.match(head) is not None


def parse(source: Source) -> Profile:
    """The readings (table ``samples``), and the processes where rows are of processes."""
    return Profile(lambda _: _loaded(source))


def _loaded(source: Source) -> Loaded:
    from ds2prof.parsers.smi_dmon_rows import load

    return load(source, FORMAT)
