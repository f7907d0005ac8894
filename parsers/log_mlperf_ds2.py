"""The training log of MLPerf's DeepSpeech2 reference (v0.5), and of Cambricon's copy of it.

The grammar is that of :mod:`ds2prof.parsers.log_epochs`, with a CTC time. ``wall_ns`` is what the log calls Time: the
host's time from one printed line to the next, wait for data included, the device being waited for at its end (on a GPU;
Cambricon's copy does not wait for an MLU). Batch size and audio length are not printed: rates are not known.
"""

from __future__ import annotations

from typing import Final

from ds2prof.parsers.sources import Source
from ds2prof.tables import Loaded, Profile

FORMAT: Final = "mlperf-ds2-log"


def sniff(head: bytes) -> bool:
    """Whether the first bytes hold a line of an iteration as MLPerf's DeepSpeech2 prints it."""
    if b"CTC Time" not in head:
        return False
    from ds2prof.parsers.log_epochs import WITH_CTC, is_log

    return is_log(head, WITH_CTC)


def parse(source: Source) -> Profile:
    """The run's iterations (table ``iterations``); epochs and parameters are ``meta.facts``."""
    return Profile(lambda _: _loaded(source))


def _loaded(source: Source) -> Loaded:
    from ds2prof.parsers.log_epochs import load

    return load(
        source,
        form=FORMAT,
        tool="MLPerf DeepSpeech2 training",
        dialect="v0.5",
        time_note="host time between two lines, the GPU waited for",
    )
