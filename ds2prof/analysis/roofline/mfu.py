"""MFU and HFU: what part of the device's peak a run reached, by the FLOP of its own network.

Three counts are kept apart and never stand in for each other: ``model_flop``, of true frames, forward and exact
backward; ``hardware_flop``, of the batches as they are laid out, padding and what is computed twice included;
``executed_flop``, which hardware counters saw (:mod:`.executed`).

    MFU = model_flop / (peak x time)        HFU = hardware_flop / (peak x time)

The peak is dense, at the clock behind the published rates, of the run's precision: ``fp32`` of the cores, ``tf32``,
``bf16`` and ``fp16`` of the tensor cores. Blind spots: an optimizer, a loss, and what works on each value alone are no
FLOP here; mixed precision computes some of its products in FP32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ds2prof.analysis.answers import ratio
from ds2prof.analysis.roofline.roof import device_peaks, rate_of
from ds2prof.analysis.totals import devices_of
from ds2prof.analysis.windows import time_window
from ds2prof.peaks import DevicePeak, peak_of
from ds2prof.tables import Profile
from ds2prof.units import NS_PER_S

PRECISION_KINDS: Final = {"fp32": "fp32", "tf32": "tensor_tf32", "bf16": "tensor_bf16", "fp16": "tensor_fp16"}
"""Precision of a run -> the kind of peak that its products are held against."""
OWN_TOOL: Final = "ds2prof train"
_FLOP: Final = ("model_flop", "hardware_flop")


@dataclass(frozen=True)
class Stretch:
    """Iterations whose FLOP and time are known.

    Attributes:
        model_flop, hardware_flop: of all of them together, on one device.
        time_ns: how long they took.
        precision: of the run.
        peak: of the device; None where it is not known.
        device: what the source calls it.
    """

    model_flop: int
    hardware_flop: int
    time_ns: int
    precision: str | None
    peak: DevicePeak | None
    device: str | None

    def totals(self) -> dict[str, Any]:
        """The stretch as totals: the counts, their rates, the peak, and both ratios, None where one is not known."""
        found = None if self.peak is None else rate_of(self.peak, PRECISION_KINDS.get(self.precision or "", ""))
        kind, peak_per_s = (None, None) if found is None else found
        seconds = self.time_ns / NS_PER_S
        return {
            "model_flop": self.model_flop,
            "hardware_flop": self.hardware_flop,
            "model_flop_per_s": ratio(self.model_flop, seconds),
            "hardware_flop_per_s": ratio(self.hardware_flop, seconds),
            "peak_kind": kind,
            "peak_flop_per_s": peak_per_s,
            "peak_clock_hz": None if self.peak is None or kind is None else self.peak.clock_hz(kind),
            "mfu": None if peak_per_s is None else ratio(self.model_flop, peak_per_s * seconds),
            "hfu": None if peak_per_s is None else ratio(self.hardware_flop, peak_per_s * seconds),
        }


def totals(profile: Profile) -> dict[str, Any]:
    """MFU, HFU and what they are made of; nothing where the source has no FLOP of its iterations."""
    found = stretch(profile)
    return {} if found is None else found.totals()


def stretch(profile: Profile) -> Stretch | None:
    """The iterations whose FLOP and time are known; None where there are none.

    Of a run log the stretch between its fences, unless a profiler looked on; of a timeline the window of its step
    ranges, with the FLOP that the sidecar tells of it.
    """
    if profile.meta.tool == OWN_TOOL:
        return _of_log(profile.meta.facts)
    return _of_window(profile)


def missing(profile: Profile) -> str | None:
    """Why there is no MFU although there are FLOP; None where there is one, or where there are none."""
    found = stretch(profile)
    if found is None or found.totals()["mfu"] is not None:
        return None
    if found.peak is None:
        return f"no MFU: {found.device or 'a device without a name'} has no peak in the table of devices"
    return f"no MFU: no peak for precision {found.precision or 'unknown'} on {found.peak.name}"


def _of_log(facts: Mapping[str, Any]) -> Stretch | None:
    fenced: Mapping[str, Any] = facts.get("stretch") or {}
    flop, wall_ns = [fenced.get(name) for name in _FLOP], fenced.get("wall_ns")
    if facts.get("profiler") is not None or not all(map(_is_count, flop)) or not _is_count(wall_ns) or not wall_ns:
        return None
    device = _text(facts.get("device_name")) or _text(facts.get("device"))
    precision = _text(facts.get("precision"))
    return Stretch(int(flop[0] or 0), int(flop[1] or 0), int(wall_ns), precision, peak_of(device), device)


def _of_window(profile: Profile) -> Stretch | None:
    run = profile.meta.run or {}
    work = run.get("work")
    if not isinstance(work, Mapping) or not all(_is_count(work.get(name)) for name in _FLOP):
        return None
    window = time_window(profile)
    if window is None or window.source not in ("capture range", "step ranges", "profiler calls"):
        return None
    used = devices_of(profile.table("kernels"))
    if len(used) > 1:
        return None
    devices = profile.table("devices")
    name_of = dict(zip(devices["device"].tolist(), devices["name"].tolist(), strict=True))
    device = next(iter(used), None)
    flop = (int(work["model_flop"]), int(work["hardware_flop"]))
    precision, peak = _text(run.get("precision")), device_peaks(profile).get(device)
    return Stretch(*flop, window.length_ns, precision, peak, name_of.get(device))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
