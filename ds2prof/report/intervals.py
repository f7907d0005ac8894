"""What repeated iterations say of the totals, as lines for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ds2prof import units


def interval_lines(totals: Mapping[str, Any]) -> list[str]:
    """A line for each total that has an interval or a range; nothing for totals without iterations."""
    found: Mapping[str, Mapping[str, Any]] = totals.get("intervals") or {}
    lines = [_line(name, found[name]) for name in _SHOWN if name in found and found[name]["low"] is not None]
    if lines and totals.get("warm_up_iterations"):
        lines[0] += f", {totals['warm_up_iterations']} of warm-up left out"
    idle: Sequence[Mapping[str, Any]] = totals.get("idle") or ()
    return lines + [line for one in zip(idle[::2], idle[1::2], strict=True) for line in _idle_lines(*one)]


def _idle_lines(observed: Mapping[str, Any], corrected: Mapping[str, Any]) -> list[str]:
    """Idle time of one device, observed and corrected, and what qualifies that."""
    where = "" if observed["device"] is None else f" of device {observed['device']}"
    line = f"idle{where} {units.format_ns_short(observed['dur_ns'])} as observed"
    if corrected["dur_ns"] is None:
        return [f"{line}; less the profiler's cost: not known ({corrected['reason']})"]
    line += f", {units.format_ns_short(corrected['dur_ns'])} less the profiler's cost"
    if corrected["low_ns"] is not None and corrected["high_ns"] is not None:
        low, high = (units.format_ns_short(corrected[end]) for end in ("low_ns", "high_ns"))
        line += f" ({low} to {high})"
    return [line if corrected["reason"] is None else f"{line}; {corrected['reason']}"]


def _line(name: str, one: Mapping[str, Any]) -> str:
    called, unit, shown = _SHOWN[name]
    low, high = shown(one["low"]), shown(one["high"])
    if low.rpartition(" ")[2] == high.rpartition(" ")[2]:  # the unit once
        low = low.rpartition(" ")[0] or low
    count = f"{one['iterations']} iterations"
    how = f"with {one['level']:.0%}, {count}".replace("%", " %") if one["kind"] == "interval" else f"in {count}"
    return " ".join(word for word in (called, shown(one["value"]), unit, f"({low} to {high} {how})") if word)


_SHOWN: Final[Mapping[str, tuple[str, str, Callable[[float], str]]]] = {
    "step_ns": ("step", "", units.format_ns_short),
    "gpu_compute_utilization": ("GPU compute utilization over iterations", "", units.format_ratio),
    "samples_per_s": ("", "samples/s", "{:.2f}".format),
    "audio_s_per_s": ("", "audio s/s", "{:.2f}".format),
    "padded_s_per_s": ("", "padded s/s", "{:.2f}".format),
}
"""Total -> (what it is called, its unit where the value comes without, how the value is written)."""
