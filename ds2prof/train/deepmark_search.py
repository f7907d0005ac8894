"""The batch size that is fastest, and the largest that fits, found by trying. Needs no PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

_SLOWER: Final = 0.98
"""A batch size this much slower than the fastest one so far is taken for slower; less is taken for chance."""
_FIRST: Final = 8
"""The batch size that is tried first."""
_PRECISION: Final = 16
"""The largest that fits is found to a sixteenth of itself."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What came of trying a batch size.

    Attributes:
        batch_size: Utterances of one card.
        outcome: ``fits``, ``does not fit`` or ``takes too long``.
        samples_per_s: How fast it was; None where that was not measured.
        peak_bytes: The most memory it used; None where unknown.
    """

    batch_size: int
    outcome: str
    samples_per_s: float | None = None
    peak_bytes: int | None = None

    @property
    def fits(self) -> bool:
        """Whether it was computed to the end."""
        return self.outcome == FITS


FITS: Final = "fits"
DOES_NOT_FIT: Final = "does not fit"
TOO_LONG: Final = "takes too long"

Try = Callable[[int], Probe]


@dataclass
class Found:
    """A batch size that was looked for.

    Attributes:
        batch_size: The one; None where not even one utterance fits.
        probes: What was tried, in order.
        ended: Why the search ended where it did.
        fails_at: Of the largest: the smallest that was seen not to fit; None where that was never seen.
        timed_out: Whether it ended before it was through.
    """

    batch_size: int | None
    probes: list[Probe] = field(default_factory=list)
    ended: str = ""
    fails_at: int | None = None
    timed_out: bool = False

    def told(self) -> dict[str, Any]:
        """The search as JSON holds it."""
        return asdict(self)


def fastest(attempt: Try, *, largest_useful: int, time_is_up: Callable[[], bool] = lambda: False) -> Found:
    """The batch size with most samples per second.

    Tried are 8 and its doubles up to ``largest_useful``, that one last, until two in a row are slower than the best by
    more than two hundredths, one does not fit, or the time is up. Where none of them beats 8, or 8 does not fit, its
    halves are tried in the same way.
    """
    found = Found(None)
    first = min(_FIRST, largest_useful)
    _climb(found, [first, *_doubles(first, largest_useful)], attempt, time_is_up)
    if found.batch_size in (None, first) and not found.timed_out:
        _climb(found, [first >> power for power in range(1, first.bit_length())], attempt, time_is_up)
    if found.batch_size is None and found.timed_out:
        found.batch_size, found.ended = first, f"batch {first} takes too long to be timed, and is taken unmeasured"
    return found


def _climb(found: Found, sizes: Sequence[int], attempt: Try, time_is_up: Callable[[], bool]) -> None:
    """Tries the sizes in order, as long as it pays, and notes the fastest so far and why it ended."""
    best, slower = _best_rate(found), 0
    for batch_size in sizes:
        if found.probes and time_is_up():
            found.timed_out, found.ended = True, "the time for searching was up"
            return
        probe = attempt(batch_size)
        found.probes.append(probe)
        found.ended = f"batch {batch_size} was the last to try" if probe.fits else f"batch {batch_size} {probe.outcome}"
        if not probe.fits and (probe.outcome == TOO_LONG or sizes[-1] > sizes[0]):
            found.timed_out = probe.outcome == TOO_LONG
            return  # what is larger does not fit either
        rate = probe.samples_per_s or 0.0
        slower = slower + 1 if rate < _SLOWER * best else 0
        if rate > best:
            best, found.batch_size = rate, batch_size
        if slower == 2 and found.batch_size is not None:
            found.ended = "two in a row were slower"
            return


def _doubles(first: int, limit: int) -> list[int]:
    """The doubles of ``first`` below ``limit``, and ``limit`` where it is larger."""
    sizes = []
    size = 2 * first
    while size < limit:
        sizes.append(size)
        size *= 2
    return [*sizes, limit] if limit > first else []


def _best_rate(found: Found) -> float:
    """The rate of the best so far, 0 where there is none."""
    return max(
        (probe.samples_per_s or 0.0 for probe in found.probes if probe.batch_size == found.batch_size), default=0
    )


def largest(attempt: Try, *, limit: int, time_is_up: Callable[[], bool] = lambda: False) -> Found:
    """The largest batch size that fits, at most ``limit``, to a sixteenth of itself.

    Sizes are doubled until one does not fit, and the gap is halved until it is small enough. One that takes too long
    ends the search: what fits is then at least the last that did.
    """
    found, low, high = Found(None), 0, limit + 1

    def fits(batch_size: int) -> bool | None:
        probe = attempt(batch_size)
        found.probes.append(probe)
        return None if probe.outcome == TOO_LONG else probe.fits

    def next_size() -> int:
        return min(max(2 * low, 1), limit) if high > limit else (low + high) // 2

    while high - low > max(1, low // _PRECISION):
        if found.probes and time_is_up():
            found.timed_out, found.ended = True, "the time for searching was up"
            break
        size = next_size()
        answer = fits(size)
        if answer is None:
            found.timed_out, found.ended = True, f"batch {size} {TOO_LONG}"
            break
        low, high = (size, high) if answer else (low, size)
    else:
        found.ended = f"batch {high} {DOES_NOT_FIT}" if high <= limit else f"no batch is larger than {limit}"
    found.batch_size = low or None
    found.fails_at = high if high <= limit else None
    return found
