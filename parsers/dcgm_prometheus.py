"""What dcgm-exporter answers a scrape with (Prometheus text), one scrape or several in a file.

Grammar::

    file      := (help | type | sample | other)*
    help      := "# HELP " name " " text                    DCGM_FI_DEV_GPU_TEMP GPU temperature (in C).
    type      := "# TYPE " name " " ("gauge" | "counter" | "label")
    sample    := name "{" label ("," label)* "}" " " value (" " milliseconds)?
    label     := key "=" '"' text '"'                       gpu, UUID, modelName, pci_bus_id, GPU_I_ID, Hostname ...

A sample is a reading of the device that its ``gpu`` label numbers; with ``GPU_I_ID`` it is one of a MIG instance, which
is its entity. Its unit is that of DCGM's field list, else the one its help states; the exporter's label samples
(driver version and the like) are no readings. A scrape states times only where the exporter was asked for them.
Metrics of other exporters in the same answer are left out.
"""

from __future__ import annotations

import re
from typing import Final

from ds2prof.parsers.sources import Source
from ds2prof.tables import Loaded, Profile

FORMAT: Final = "dcgm-prometheus"
SAMPLE: Final = re.compile(
    rb"^[ \t]{0,16}(DCGM_FI_\w{1,80})\{([^\n]{0,4000}?)\} ([-+.\w]{1,40})(?: (\d{1,16}))?[ \t\r]{0,8}$", re.MULTILINE
)


def sniff(head: bytes) -> bool:
    """Whether the first bytes hold a sample of a DCGM field with labels."""
    return b"DCGM_FI_" in head and head.lstrip()[:1] in (b"#", b"D") and SAMPLE.search(head) is not None


def parse(source: Source) -> Profile:
    """The readings (table ``samples``) and the devices that their labels describe."""
    return Profile(lambda _: _loaded(source))


def _loaded(source: Source) -> Loaded:
    from ds2prof.parsers.dcgm_scrapes import load

    return load(source, FORMAT)
