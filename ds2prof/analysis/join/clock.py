"""The SM clock of the timeline: given, sampled, or assumed to lie between the device's base and boost clock."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from ds2prof import units
from ds2prof.analysis.uncertainty.clocks import clock_changes
from ds2prof.errors import MissingDataError
from ds2prof.peaks import peak_of
from ds2prof.tables import Profile


@dataclass(frozen=True)
class SmClock:
    """What is known of the SM clock while the timeline was taken.

    Attributes:
        hz: the clock, where it was given or sampled (then its mean); None where only an interval is known.
        low_hz, high_hz: between which it was; None where that is not known.
        source: given, sampled, assumed (base to boost clock of the device), unknown.
    """

    hz: float | None
    low_hz: float | None
    high_hz: float | None
    source: Literal["given", "sampled", "assumed", "unknown"]

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)

    def said(self) -> str:
        """In words."""
        if self.high_hz is None:
            return "SM clock of the timeline unknown: --sm-clock-mhz gives it, --clocks a sampler's file"
        high = f"{round(self.high_hz / units.HZ_PER_MHZ):,} MHz"
        if self.source == "given":
            return f"SM clock of the timeline: {high}, as given"
        between = high if self.low_hz is None else f"{round(self.low_hz / units.HZ_PER_MHZ):,} to {high}"
        if self.hz is not None:
            mean = f"{round(self.hz / units.HZ_PER_MHZ):,} MHz"
            return f"SM clock of the timeline: {mean} on average, {between}, as sampled"
        bounds = "at most boost" if self.low_hz is None else "between base and boost"
        return (
            f"SM clock of the timeline not sampled: assumed {bounds}, {between}, which leaves bounds alone; "
            "--sm-clock-mhz gives it, --clocks a sampler's file"
        )


def sm_clock(timeline: Profile, device: int | None, *, given_hz: float | None, sampler: Profile | None) -> SmClock:
    """The SM clock of one device of a timeline, from the best source there is.

    Args:
        timeline: the profile.
        device: its number.
        given_hz: what the user states.
        sampler: a sampler's file taken beside the timeline.

    Raises:
        MissingDataError: the sampler's file says nothing of the clock in the timeline's window.
    """
    if given_hz is not None:
        return SmClock(given_hz, given_hz, given_hz, "given")
    sampled = clock_changes(timeline, sampler)
    if sampler is not None and not sampled.devices:
        raise MissingDataError(f"{sampler.meta.file}: {sampled.reason}; give the clock with --sm-clock-mhz")
    for clock in sampled.devices:
        if clock.device in (device, None) or len(sampled.devices) == 1:
            return SmClock(clock.mean_hz, clock.low_hz, clock.high_hz, "sampled")
    return _assumed(timeline, device)


def _assumed(timeline: Profile, device: int | None) -> SmClock:
    """From the device's base clock to its boost clock, or the driver's highest where that is higher."""
    devices = timeline.table("devices")
    numbers = devices["device"].tolist()
    row = numbers.index(device) if device in numbers else 0 if len(numbers) == 1 else None
    peak = None if row is None else peak_of(devices["name"].tolist()[row])
    if row is None or peak is None:
        return SmClock(None, None, None, "unknown")
    highest = max(peak.boost_hz, peak.tensor_hz, devices["sm_clock_hz"].tolist()[row] or 0)
    lowest = None if peak.base_hz is None else float(peak.base_hz)
    return SmClock(None, lowest, float(highest), "assumed")
