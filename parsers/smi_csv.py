"""What ``nvidia-smi --query-gpu=... --format=csv -l`` prints; ``--query-compute-apps`` and home-made loops likewise.

Grammar::

    file     := (header row*)*                       the header again before each sample where a shell loop wrote it
    header   := field (", " field)*                  field := name | name " [" unit "]"
    row      := cell (", " cell)*                    as many as the header has
    cell     := numeral | numeral " " unit | text | "N/A" | "[N/A]" | "[Not Supported]" | "[Unknown Error]" ...

Units stand in the header (``[%]``), in the cells (``22 %``), in both, or with ``nounits`` in the header alone; a
home-made header has none, and the documented unit holds. With ``noheader`` a file begins with a row: its columns are
then named by their places, because what they are is not known.

The timestamp (any column, or none) is the machine's wall clock without its zone: ``meta.clock`` says "local time". A
home-made one is often seconds since the epoch.

``utilization.gpu`` is the share of the driver's own sample period (1/6 to 1 second, depending on the product) in which
a kernel ran, not of the time between two rows: its aggregation is "mean", and it is never merged with GPU compute
utilization, which is computed from kernels.

Rows of several devices interleave. A row belongs to the device of its ``index``; without that column, to a number given
in the order in which UUIDs or bus ids appear (``meta.facts["device_numbering"]`` says so); without those, to none.
"""

from __future__ import annotations

import re
from typing import Final

from ds2prof.parsers.sources import Source
from ds2prof.tables import Loaded, Profile

FORMAT: Final = "nvidia-smi-csv"
_MAX_HEADER_BYTES: Final = 1 << 14
_WORDS: Final = (b"utilization.", b"memory.", b"power.", b"temp", b"clocks", b"fan.", b"ecc.", b"encoder.", b"used_")
"""One of these is in every header with a reading: other files are told apart before the list of fields is loaded."""
_ROW_TIME: Final = re.compile(rb"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{3}\s*,")
_ROW_UNIT: Final = re.compile(rb"(?:\A|, )\d[\d.]* (?:%|MiB|MHz|W)(?=,|\s*\Z)")


def sniff(head: bytes) -> bool:
    """Whether the first line that is not blank is a header of nvidia-smi's fields, or a row as it prints them."""
    line = head.lstrip(b"\xef\xbb\xbf\r\n\t ").split(b"\n", 1)[0]
    if len(line) > _MAX_HEADER_BYTES:
        return False
    if line[:1].isalpha():
        return any(word in line for word in _WORDS) and _is_header(line)
    return _ROW_TIME.match(line) is not None or len(_ROW_UNIT.findall(line)) > 1


def _is_header(line: bytes) -> bool:
    from ds2prof.parsers.smi_fields import header_of

    return header_of(line) is not None


def parse(source: Source) -> Profile:
    """The readings (table ``samples``) and the devices and processes that they name."""
    return Profile(lambda _: _loaded(source))


def _loaded(source: Source) -> Loaded:
    from ds2prof.parsers.smi_readings import load

    return load(source, FORMAT)
