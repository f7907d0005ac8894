"""The training log of TBD's DeepSpeech2 for PyTorch, and of deepspeech.pytorch, of which it is a copy.

The grammar is that of :mod:`ds2prof.parsers.log_epochs`, without a CTC time. ``wall_ns`` is what the log calls Time:
the host's time from one printed line to the next, wait for data included. Nothing waits for the device at its end, only
the reading of the loss in the middle of the step, so that each line holds the forward pass of its own iteration and the
backward pass of the one before. Batch size and audio length are not printed: rates are not known.
"""

from __future__ import annotations

from typing import Final

from ds2prof.parsers.sources import Source
from ds2prof.tables import Loaded, Profile

FORMAT: Final = "tbd-log"


def sniff(head: bytes) -> bool:
    """Whether the first bytes hold a line of an iteration as TBD's DeepSpeech2 prints it."""
    if b"Epoch: [" not in head:
        return False
    from ds2prof.parsers.log_epochs import WITHOUT_CTC, is_log

    return is_log(head, WITHOUT_CTC)


def parse(source: Source) -> Profile:
    """The run's iterations (table ``iterations``); epochs and parameters are ``meta.facts``."""
    return Profile(lambda _: _loaded(source))


def _loaded(source: Source) -> Loaded:
    from ds2prof.parsers.log_epochs import load

    return load(
        source,
        form=FORMAT,
        tool="deepspeech.pytorch training",
        dialect="TBD DeepSpeech2",
        time_note="host time between two lines, not synchronized: each holds the backward pass of the step before",
    )
