"""What a device does for the training loop and the benchmarks: wait, time, pin memory, tell an attached profiler.

What each kind can do stands in :mod:`ds2prof.train.device_table`; how it is asked is the same for all of them, since
PyTorch's modules for accelerators (``torch.cuda``, ``torch.xpu``, ``torch.mlu`` and other plug-ins) share one
interface. A build of PyTorch without CUDA raises when ``torch.cuda`` is asked for anything, and a host needs none of
it: the host's device calls no such module.
"""

from __future__ import annotations

import platform
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Final, Protocol, cast

import torch

from ds2prof.errors import UsageError
from ds2prof.train.device_table import Abilities, abilities_of
from ds2prof.units import NS_PER_MS

_FIRST_BF16_TF32_CAPABILITY: Final = (8, 0)  # Ampere


class Moment(Protocol):
    """A point in a device's work that time is told from."""

    def record(self) -> None:
        """Marks the point: behind everything that was given to the device so far."""


class HostMoment:
    """A moment by the host's clock, everything given to the device waited for."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.at_ns = 0

    def record(self) -> None:
        """Waits for the device and reads the clock."""
        self._device.synchronize()
        self.at_ns = time.perf_counter_ns()


class Device:
    """The host. Nothing is asynchronous here, so there is nothing to wait for, to pin or to signal.

    Attributes:
        abilities: What its kind can do.
        is_gpu: Whether it works beside the host, as a GPU does.
        pins_memory: Whether it copies by itself from pinned memory.
        signals_profilers: Whether an attached profiler can be told where to begin and to end.
        distributed_backend: What carries gradients between several of them; None where nothing does.
    """

    def __init__(self, torch_device: torch.device, abilities: Abilities | None = None) -> None:
        self.torch_device = torch_device
        self.abilities = abilities or abilities_of(torch_device.type)
        self.is_gpu = self.abilities.runs_beside
        self.pins_memory = self.abilities.pins_memory
        self.signals_profilers = self.abilities.signals_profilers
        self.distributed_backend = self.abilities.backend

    def __str__(self) -> str:
        return str(self.torch_device)

    @property
    def name(self) -> str | None:
        """What the maker calls it; None where the system does not say."""
        return _host_name()

    def synchronize(self) -> None:
        """Returns when everything given to the device so far is done."""

    def moment(self) -> Moment:
        """A point in the device's work, to be recorded."""
        return HostMoment(self)

    def elapsed_ns(self, start: Moment, end: Moment) -> int:
        """The time between two recorded moments; to be asked for behind a fence."""
        assert isinstance(start, HostMoment)
        assert isinstance(end, HostMoment)
        return end.at_ns - start.at_ns

    def start_profiler(self) -> None:
        """Tells a profiler that this process runs under to begin; the host has no such call."""

    def stop_profiler(self) -> None:
        """Tells a profiler that this process runs under to end."""

    def activities(self) -> list[torch.profiler.ProfilerActivity]:
        """What torch.profiler can record of this device."""
        return [torch.profiler.ProfilerActivity.CPU]

    def seed(self, seed: int) -> None:
        """Makes PyTorch's random numbers follow from ``seed``; models are made on the host, so the host's suffice."""
        torch.default_generator.manual_seed(seed)

    def random_state(self) -> torch.Tensor | None:
        """The state of the device's random numbers; None where it has none that can be taken."""
        return torch.get_rng_state()

    def set_random_state(self, state: torch.Tensor) -> None:
        """Puts a state back that :meth:`random_state` gave."""
        torch.set_rng_state(state)

    def prepare(self, precision: str) -> None:
        """Sets what is global to the process: how float32 is computed.

        Raises:
            UsageError: the device does not compute in ``precision``.
        """
        if precision not in self.abilities.precisions:
            others = " or ".join(self.abilities.precisions)
            raise UsageError(f"--precision {precision}: {self} has no {precision.upper()}; take {others}")

    def autocast(self, precision: str) -> AbstractContextManager[Any]:
        """The context in which the network is applied."""
        kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
        return nullcontext() if kind is None else torch.autocast(self.torch_device.type, dtype=kind)

    def host_buffer(self, length: int) -> torch.Tensor:
        """``length`` float32 on the host, which the device can write into while the host goes on."""
        return torch.zeros(length, pin_memory=self.pins_memory)

    def memory_bytes(self) -> int | None:
        """What PyTorch's allocator has handed out of the device's memory; None where nobody keeps count."""
        return None

    def peak_memory_bytes(self) -> int | None:
        """The most it had handed out since the last reset; None where nobody keeps count."""
        return None

    def reserved_memory_bytes(self) -> int | None:
        """The most it had taken from the driver since the last reset; None where nobody keeps count."""
        return None

    def reset_peak_memory(self) -> None:
        """Counts peaks from here on."""

    def free_memory_bytes(self) -> tuple[int, int] | None:
        """(what nobody holds of the device's memory, all of it); None where it does not say."""
        return None

    def limit_memory(self, limit_bytes: int) -> bool:
        """Keeps PyTorch's allocator under ``limit_bytes``; False where that cannot be asked of it."""
        return False

    def release_memory(self) -> None:
        """Gives memory back that is only kept in store."""

    def facts(self) -> dict[str, Any]:
        """What a measurement's sidecar says of it."""
        return {"device": str(self), "name": self.name}


class Accelerator(Device):
    """A device behind a module of PyTorch's or of a plug-in's.

    Args:
        torch_device: Which one.
        abilities: What its kind can do; by its type where None.
        module: PyTorch's module for it; ``torch.<type>`` where None.
    """

    def __init__(self, torch_device: torch.device, abilities: Abilities | None = None, module: Any = None) -> None:
        super().__init__(torch_device, abilities)
        self._module: Any = getattr(torch, torch_device.type, None) if module is None else module
        if torch_device.index is not None:
            self._asked("set_device", torch_device.index)
        self.pins_memory = self.pins_memory and _pins()

    @property
    def name(self) -> str | None:
        """What the maker calls it; None where its module does not say."""
        name = self._asked("get_device_name", *self._index())
        return name if isinstance(name, str) else None

    def synchronize(self) -> None:
        """Returns when every queue of the device has run dry."""
        if hasattr(self._module, "synchronize"):
            self._module.synchronize(*self._index())
        else:  # what is copied back has been computed, and what was given before it too
            torch.zeros(1, device=self.torch_device).cpu()

    def moment(self) -> Moment:
        """A point in the device's own queue where it has such; else by the host's clock."""
        if self.abilities.events and hasattr(self._module, "Event"):
            event: Moment = self._module.Event(enable_timing=True)
            return event
        return super().moment()

    def elapsed_ns(self, start: Moment, end: Moment) -> int:
        """The time between two recorded moments; to be asked for behind a fence."""
        if isinstance(start, HostMoment):
            return super().elapsed_ns(start, end)
        elapsed_ms: float = cast("Any", start).elapsed_time(end)
        return round(elapsed_ms * NS_PER_MS)

    def activities(self) -> list[torch.profiler.ProfilerActivity]:
        """The host's operators and, where torch.profiler knows them, the device's kernels and copies."""
        own = getattr(torch.profiler.ProfilerActivity, self.abilities.activity or "", None)
        return [*super().activities(), *([] if own is None else [own])]

    def random_state(self) -> torch.Tensor | None:
        """The state of the device's random numbers; None where it has none that can be taken."""
        state = self._asked("get_rng_state", *self._index()) if self.abilities.random else None
        return state if isinstance(state, torch.Tensor) else None

    def set_random_state(self, state: torch.Tensor) -> None:
        """Puts a state back that :meth:`random_state` gave."""
        self._asked("set_rng_state", state, *self._index())

    def memory_bytes(self) -> int | None:
        """What PyTorch's allocator has handed out of the device's memory; None where nobody keeps count."""
        return self._bytes("memory_allocated")

    def peak_memory_bytes(self) -> int | None:
        """The most it had handed out since the last reset; None where nobody keeps count."""
        return self._bytes("max_memory_allocated")

    def reserved_memory_bytes(self) -> int | None:
        """The most it had taken from the driver since the last reset; None where nobody keeps count."""
        return self._bytes("max_memory_reserved")

    def reset_peak_memory(self) -> None:
        """Counts peaks from here on."""
        if self.abilities.memory:
            self._asked("reset_peak_memory_stats", *self._index())

    def free_memory_bytes(self) -> tuple[int, int] | None:
        """(what nobody holds of the device's memory, all of it); None where it does not say."""
        found = self._asked("mem_get_info", *self._index()) if self.abilities.free_memory else None
        return None if found is None else (int(found[0]), int(found[1]))

    def limit_memory(self, limit_bytes: int) -> bool:
        """Keeps PyTorch's allocator under ``limit_bytes``; False where that cannot be asked of it."""
        found = self.free_memory_bytes()
        if found is None or not hasattr(self._module, "set_per_process_memory_fraction"):
            return False
        self._module.set_per_process_memory_fraction(min(limit_bytes / found[1], 1.0), *self._index())
        return True

    def release_memory(self) -> None:
        """Gives memory back that is only kept in store."""
        self._asked("empty_cache")

    def _bytes(self, call: str) -> int | None:
        found = self._asked(call, *self._index()) if self.abilities.memory else None
        return int(found) if isinstance(found, int) else None

    def _asked(self, call: str, *arguments: Any) -> Any:
        """What the module's function of that name returns; None where it has none."""
        function = getattr(self._module, call, None)
        return None if function is None else function(*arguments)

    def _index(self) -> tuple[int, ...]:
        """The device as an argument: none for the module's current one."""
        return () if self.torch_device.index is None else (self.torch_device.index,)


class CudaDevice(Accelerator):
    """A GPU behind ``torch.cuda``: NVIDIA's, or AMD's under ROCm."""

    def __init__(self, torch_device: torch.device) -> None:
        super().__init__(torch_device, abilities_of("cuda" if torch.version.hip is None else "rocm"))

    def start_profiler(self) -> None:
        """cudaProfilerStart: nsys, ncu and nvprof begin to record where they were told to wait for it."""
        if self.signals_profilers:
            torch.cuda.profiler.start()

    def stop_profiler(self) -> None:
        """CudaProfilerStop."""
        if self.signals_profilers:
            torch.cuda.profiler.stop()

    def prepare(self, precision: str) -> None:
        """Makes float32 mean float32 unless ``tf32`` is asked for, and keeps cuDNN from timing its algorithms.

        PyTorch lets cuDNN use TF32 from Ampere on unless told otherwise, so "fp32" would be half true. cuDNN's
        benchmark mode tries all algorithms for each new shape, and here almost every batch is a new shape.

        Raises:
            UsageError: the GPU does not compute in ``precision``.
        """
        super().prepare(precision)
        if self.abilities.kind == "cuda" and precision in ("tf32", "bf16"):
            capability = torch.cuda.get_device_capability(self.torch_device)
            if capability < _FIRST_BF16_TF32_CAPABILITY:
                raise UsageError(
                    f"--precision {precision}: {self.name} is older than Ampere and has none; take fp32 or fp16"
                )
        allowed = precision == "tf32"
        torch.set_float32_matmul_precision("high" if allowed else "highest")
        torch.backends.cudnn.allow_tf32 = allowed
        torch.backends.cudnn.benchmark = False

    def facts(self) -> dict[str, Any]:
        """Name, size and identity of the GPU."""
        properties = torch.cuda.get_device_properties(self.torch_device)
        uuid = getattr(properties, "uuid", None)  # newer than the oldest PyTorch that is supported
        return {
            **super().facts(),
            "uuid": None if uuid is None else str(uuid),
            "compute_capability": f"{properties.major}.{properties.minor}",
            "sm_count": properties.multi_processor_count,
            "memory_bytes": properties.total_memory,
        }


def _pins() -> bool:
    """Whether this PyTorch pins memory here; the plug-in has to bring its own allocator for it."""
    try:
        torch.zeros(1, pin_memory=True)
    except (RuntimeError, AssertionError):
        return False
    return True


def _host_name() -> str | None:
    """The processor's name from the kernel, else what Python knows of it; None where neither says."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.processor() or None
