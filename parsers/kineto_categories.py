"""What each category of event in a PyTorch trace is, in the spelling of every release."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

Role = Literal[
    "kernel", "copy", "api", "op", "annotation", "overhead", "span", "profiled_range", "sample", "allocation", "module"
]

ROLES: Final[Mapping[str, tuple[Role, str]]] = {
    "kernel": ("kernel", ""),
    "Kernel": ("kernel", ""),
    "gpu_memcpy": ("copy", "memcpy"),
    "Memcpy": ("copy", "memcpy"),
    "gpu_memset": ("copy", "memset"),
    "Memset": ("copy", "memset"),
    "cuda_runtime": ("api", "runtime"),
    "Runtime": ("api", "runtime"),
    "hip_runtime": ("api", "runtime"),
    "xpu_runtime": ("api", "runtime"),
    "mtia_runtime": ("api", "runtime"),
    "privateuse1_runtime": ("api", "runtime"),
    "cuda_driver": ("api", "driver"),
    "xpu_driver": ("api", "driver"),
    "privateuse1_driver": ("api", "driver"),
    "cuda_sync": ("api", "sync"),
    "xpu_sync": ("api", "sync"),
    "cpu_op": ("op", ""),
    "Operator": ("op", ""),
    "user_annotation": ("annotation", ""),
    "overhead": ("overhead", ""),
    "Trace": ("span", ""),
    "cuda_profiler_range": ("profiled_range", ""),
    "hardware_counters": ("sample", ""),
    "cpu_instant_event": ("allocation", ""),
    "python_function": ("module", ""),
}
"""Category -> what its events are, and which kind of it: of copies memcpy or memset, of calls the domain.

Before PyTorch 1.9 or so categories had capitals. ``cuda_sync`` rows stand on the device's streams, but tell what the
host or a stream waited for: they are calls, no device work.
"""

LOOSE_COUNTERS: Final = "phase C"
"""Stands for the category of counters that have none: what tools add that go over a trace."""

LOOSE_INSTANTS: Final = "phase i"
"""Stands for the category of instants that have none: allocations among them, before 2022."""

PHASES: Final[Mapping[Role, str]] = {"sample": "C", "allocation": "i"}
"""Role -> the phase of its events, where that is not ``X``."""

IDLE_CATEGORIES: Final = (
    *("ac2g", "async_cpu_to_gpu", "async", "async_gpu", "fwdbwd", "forward_backward"),
    *("gpu_user_annotation", "external_correlation", "cuda_event"),
    *("collective_comm", "glow_runtime", "mtia_insight"),
)
"""Categories that are counted and not read: flows, instants, annotations projected on the device."""

UNREAD_DEVICE_WORK: Final[Mapping[str, str]] = {
    "hpu_op": "operations of a Gaudi device",
    "mtia_ccp_events": "operations of an MTIA device",
    "xpu_scope_profiler": "counters of an XPU device",
    "mtia_counters": "counters of an MTIA device",
}
"""Categories that are counted and not read although they tell what a device did: each is worth a warning."""
