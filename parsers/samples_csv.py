"""What ``ds2prof run smi`` writes: readings of host and GPUs beside a program, in long form, one a line.

Grammar::

    file    := header row*
    header  := "start_ns,period_ns,device,entity,metric,unit,value,aggregation"
    row     := start_ns? "," period_ns? "," device? "," entity? "," metric "," unit "," value? "," aggregation?

Texts hold no commas and no quotes. Times are Unix nanoseconds, values are in base units. A row with a period is about
[start, start + period): ``mean`` is the mean of it. One without is about its moment; there ``mean`` means that the
driver made a mean of a period of its own that it does not state. Two aggregations are no readings:

``fact``   said once: a number in ``value``, a text (unit ``text``) in ``entity``. ``gpu.*`` are of the device,
           ``sampler.end`` says that the file is whole.
``mark``   ``window.open`` and ``window.closed``: when a process (``entity``: its id) of the program opened and closed
           its window, and how many optimizer steps were complete (``value``). A pair is a range of kind ``window``.
"""

from __future__ import annotations

from typing import Final

from ds2prof.parsers.sources import Source
from ds2prof.tables import Loaded, Profile

FORMAT: Final = "ds2prof-samples"
HEADER: Final = b"start_ns,period_ns,device,entity,metric,unit,value,aggregation"


def sniff(head: bytes) -> bool:
    """Whether the first line is the header of our own sampler."""
    return head.split(b"\n", 1)[0].rstrip(b"\r") == HEADER


def parse(source: Source) -> Profile:
    """The readings (``samples``), the window (``ranges``), the devices and the program (``processes``)."""
    return Profile(lambda _: _loaded(source))


def _loaded(source: Source) -> Loaded:
    from ds2prof.parsers.samples_csv_rows import load

    return load(source, FORMAT)
