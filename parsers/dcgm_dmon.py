"""What ``dcgmi dmon -e FIELDS`` prints: readings of GPUs, MIG instances and CPUs once a period.

Grammar, the two headings again every so often::

    file      := (names units row*)*
    names     := "#" "Entity" SHORT_NAME*                   #Entity   GRACT        TENSO        DRAMA
    units     := ("ID" | "Id") unit*
    row       := entity cell*                               GPU 0     0.170        0.121        0.032
    entity    := ("GPU" | "GPU-I" | "GPU-CI" | "vGPU" | "CPU" | "Switch" ...) id
    cell      := numeral | "N/A" | text

A reading of a GPU has that device (DCGM's number of it); of anything else, the entity as DCGM writes it ("GPU-I 3"):
which GPU an instance is cut from, this text does not say. There are no times in it, and the period is not stated.

GRACT, SMACT, TENSO and the like are ratios of the whole device or instance, averaged over the period; GPUTL and MCUTL
are nvidia-smi's utilization, in percent, with the driver's own sample period. What a short name stands for is in
:data:`ds2prof.parsers.dcgm_fields.FIELDS`; of a name that is not there, the unit is not known.
"""

from __future__ import annotations

import re
from typing import Final

from ds2prof.parsers.sources import Source
from ds2prof.tables import Loaded, Profile

FORMAT: Final = "dcgm-dmon"
_NAMES: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*#[ \t]*Entity(?:[ \t]+[A-Z][A-Z0-9_#]{1,19})+[ \t]*\r?$", re.MULTILINE
)


def sniff(head: bytes) -> bool:
    """Whether the first line that is not blank names the columns of ``dcgmi dmon``."""
    return _NAMES.match(head) is not None


def parse(source: Source) -> Profile:
    """The readings (table ``samples``)."""
    return Profile(lambda _: _loaded(source))


def _loaded(source: Source) -> Loaded:
    from ds2prof.parsers.dcgm_rows import load

    return load(source, FORMAT)
