"""Reports of Nsight Systems (``.nsys-rep``, before 2021.4 ``.qdrep``), by way of an installed ``nsys``.

The format is NVIDIA's own and changes with each release; only the tool reads it. So the report is exported
(``nsys export --type sqlite``) into a private temporary folder, and what comes out is read as :mod:`nsys_sqlite` reads
it. The folder is there as long as the profile is. Nothing is written beside the report.

What is known of the file::

    file     := "NVIDIA Tegra Profiler Report " version sections
    version  := "1."                                      up to 2023.3.1
              | year "@" n "@" n "@" build "-" ...        the release that wrote it, later
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from ds2prof.parsers.sources import Source
from ds2prof.tables import Loaded, Profile

FORMAT: Final = "nsys-rep"
_HEAD: Final = b"NVIDIA Tegra Profiler Report "
_VERSION: Final = re.compile(rb"([0-9]{4}(?:@[0-9]{1,6}){1,3})")


def sniff(head: bytes) -> bool:
    """Whether a stream that begins so is a report."""
    return head.startswith(_HEAD)


def parse(source: Source) -> Profile:
    """The report's profile. It is exported when the first table is asked for, once."""
    exported: list[Source] = []

    def load(names: frozenset[str]) -> Loaded:
        from ds2prof.parsers import nsys_export, nsys_sqlite

        if not exported:
            exported.append(nsys_export.exported(source, written_by=written_by(source.head)))
        found = nsys_sqlite.load(exported[0], names)
        version = written_by(source.head) or found.meta.tool_version
        facts = {**found.meta.facts, "exported_by": found.meta.tool_version}
        return replace(found, meta=replace(found.meta, format=FORMAT, tool_version=version, facts=facts))

    return Profile(load, by_table=True)


def written_by(head: bytes) -> str | None:
    """The release that wrote the report; None where its first bytes do not say, as up to 2023.3.1."""
    found = _VERSION.match(head, len(_HEAD))
    return found[1].replace(b"@", b".").decode("ascii") if found else None
