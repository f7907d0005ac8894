"""The numbers of a whole run that can be compared and gated: the fields of the totals, and the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Quantity = Literal["time", "ratio", "count", "rate", "bytes"]
Together = Literal["sum", "mean", "max", "ratio"]


@dataclass(frozen=True)
class Field:
    """One number.

    Attributes:
        quantity: what it is, for its unit.
        words: what it is called in sentences.
        together: how the ranks of one run make one number.
        more_is: whether more of it is better, worse, or neither.
        of_window: whether it divides by the window, whose source must then be the same on both sides.
        of_file: whether it is a sum over the whole file, which must then hold as many iterations on both sides.
    """

    quantity: Quantity
    words: str
    together: Together = "sum"
    more_is: Literal["better", "worse", ""] = ""
    of_window: bool = False
    of_file: bool = False


FIELDS: Final[Mapping[str, Field]] = {
    "step_ns": Field("time", "the step", "max", "worse"),
    "device_step_ns": Field("time", "the step on the device", "mean", "worse"),
    "samples_per_s": Field("rate", "throughput in samples", "sum", "better"),
    "audio_s_per_s": Field("rate", "throughput in seconds of audio", "sum", "better"),
    "padded_s_per_s": Field("rate", "throughput in padded seconds", "sum", "better"),
    "gpu_compute_utilization": Field("ratio", "GPU compute utilization", "ratio", "better", of_window=True),
    "mfu": Field("ratio", "MFU", "mean", "better"),
    "hfu": Field("ratio", "HFU", "mean", "better"),
    "model_flop_per_s": Field("rate", "FLOP/s of the model", "sum", "better"),
    "hardware_flop_per_s": Field("rate", "FLOP/s with padding", "sum", "better"),
    "launches": Field("count", "launches", of_file=True),
    "kernel_dur_ns": Field("time", "time of kernels", of_file=True),
    "busy_ns": Field("time", "busy time", of_file=True),
    "copies": Field("count", "copies and sets", of_file=True),
    "copy_dur_ns": Field("time", "time of copies and sets", of_file=True),
    "window_ns": Field("time", "the window", of_window=True, of_file=True),
    "window_busy_ns": Field("time", "busy time in the window", of_window=True, of_file=True),
    "iterations": Field("count", "iterations", "max"),
    "wall_ns": Field("time", "wall time of the log", "max", of_file=True),
    "peak_bytes": Field("bytes", "peak of memory", "max", "worse"),
    "reserved_bytes": Field("bytes", "memory reserved", "max", "worse"),
    "state_bytes": Field("bytes", "memory of the training state", "max", "worse"),
    "activation_bytes": Field("bytes", "memory of activations", "max", "worse"),
}
"""Name -> what it is, in the order in which they are shown."""
OF_KERNELS: Final = frozenset({"launches", "kernel_dur_ns", "busy_ns", "window_busy_ns", "gpu_compute_utilization"})
"""Those that a file in which no kernel was recorded does not tell."""
ALIASES: Final[Mapping[str, str]] = {"busy": "gpu_compute_utilization", "utilization": "gpu_compute_utilization"}
SHOWN: Final = (
    *("step_ns", "device_step_ns", "samples_per_s", "audio_s_per_s", "padded_s_per_s"),
    *("gpu_compute_utilization", "mfu", "hfu", "launches", "kernel_dur_ns"),
    *("peak_bytes", "reserved_bytes", "state_bytes", "activation_bytes"),
)
"""Those that a comparison shows; the rest can be gated."""


def combined_value(name: str, totals: Sequence[Mapping[str, float]]) -> float:
    """One number of a run, from those of its ranks."""
    together = FIELDS[name].together
    values = [each[name] for each in totals]
    if together == "ratio":
        parts, wholes = (sum(each.get(part, 0.0) for each in totals) for part in ("window_busy_ns", "window_ns"))
        return parts / wholes if wholes else sum(values) / len(values)
    return {"sum": sum(values), "mean": sum(values) / len(values), "max": max(values)}[together]
