"""MLPerf's log lines among any other output: ``:::MLLOG {json}``, and the older ``:::MLPv0.5.0 ...``.

Grammar::

    line   := (anything) ":::MLLOG " {"namespace": s, "time_ms": n, "event_type": t, "key": s, "value": v,
                                      "metadata": {}}
            | (anything) ":::MLPv" version " " benchmark " " seconds " (" file ":" line ") " key (": " value)?
    t      := "INTERVAL_START" | "INTERVAL_END" | "POINT_IN_TIME"

Keys that end in ``_start`` and ``_stop`` bound intervals (run, epoch, block, eval...): each becomes a range, its epoch
number being the value. A start that is repeated while its interval is open (another rank) counts once. Numbers that
belong to an epoch or a step (``eval_accuracy``, ``throughput``, ``tracked_stats``) become samples, and so do the timers
of NVIDIA's RNN-T (``<tag>_total`` with rank and seconds). All else that is stated once is ``meta.facts``. Times are
exact Unix times. A line that occurs twice word for word within a few lines (two loggers) counts once.
"""

from __future__ import annotations

from typing import Final

from ds2prof.parsers.sources import Source
from ds2prof.tables import Loaded, Profile

FORMAT: Final = "mlperf-log"


def sniff(head: bytes) -> bool:
    """Whether the first bytes hold a line of MLPerf's logging, and no profiler's marks."""
    if b":::ML" not in head:
        return False
    from ds2prof.parsers.log_epochs import is_log
    from ds2prof.parsers.log_mllog_lines import LINE

    return is_log(head, LINE)


def parse(source: Source) -> Profile:
    """The intervals (table ``ranges``), the numbers of epochs and steps (``samples``), and the settings as facts."""
    return Profile(lambda _: _loaded(source))


def _loaded(source: Source) -> Loaded:
    from ds2prof.parsers.log_mllog_lines import load

    return load(source, FORMAT)
