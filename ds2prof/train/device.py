"""What a device can do for the training loop: wait, tell an attached profiler where to look, pin memory.

A build of PyTorch without CUDA raises when ``torch.cuda`` is asked for anything, and a host needs none of it. So the
loop asks these objects; only the one that stands for an NVIDIA (or, under ROCm, AMD) GPU calls ``torch.cuda``.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

import torch

from ds2prof.errors import Ds2profError, UsageError

_FIRST_BF16_TF32_CAPABILITY: Final = (8, 0)  # Ampere


class Device:
    """The host. Nothing is asynchronous here, so there is nothing to wait for, to pin or to signal."""

    is_gpu = False
    pins_memory = False
    signals_profilers = False
    distributed_backend: str | None = "gloo"

    def __init__(self, torch_device: torch.device) -> None:
        self.torch_device = torch_device

    def __str__(self) -> str:
        return str(self.torch_device)

    @property
    def name(self) -> str | None:
        """What the maker calls it; None where the system does not say."""
        return _host_name()

    def synchronize(self) -> None:
        """Returns when everything given to the device so far is done."""

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

    def prepare(self, precision: str) -> None:
        """Sets what is global to the process: how float32 is computed.

        Raises:
            UsageError: the device does not compute in ``precision``.
        """
        if precision == "tf32":
            raise UsageError(f"--precision tf32: {self} has no TF32; take fp32 or bf16")

    def autocast(self, precision: str) -> AbstractContextManager[Any]:
        """The context in which the network is applied."""
        if precision != "bf16":
            return nullcontext()
        return torch.autocast(self.torch_device.type, dtype=torch.bfloat16)

    def host_buffer(self, length: int) -> torch.Tensor:
        """``length`` float32 on the host, which the device can write into while the host goes on."""
        return torch.zeros(length, pin_memory=self.pins_memory)

    def facts(self) -> dict[str, Any]:
        """What a measurement's sidecar says of it."""
        return {"device": str(self), "name": self.name}


class CudaDevice(Device):
    """A GPU behind ``torch.cuda``."""

    is_gpu = True
    pins_memory = True
    signals_profilers = True
    distributed_backend = "nccl"

    def __init__(self, torch_device: torch.device) -> None:
        super().__init__(torch_device)
        torch.cuda.set_device(torch_device)

    @property
    def name(self) -> str | None:
        """What the maker calls it."""
        return torch.cuda.get_device_name(self.torch_device)

    def synchronize(self) -> None:
        """Returns when every stream of the device has run dry."""
        torch.cuda.synchronize(self.torch_device)

    def start_profiler(self) -> None:
        """cudaProfilerStart: nsys, ncu and nvprof begin to record where they were told to wait for it."""
        torch.cuda.profiler.start()

    def stop_profiler(self) -> None:
        """CudaProfilerStop."""
        torch.cuda.profiler.stop()

    def activities(self) -> list[torch.profiler.ProfilerActivity]:
        """The host's operators and the GPU's kernels and copies."""
        return [*super().activities(), torch.profiler.ProfilerActivity.CUDA]

    def prepare(self, precision: str) -> None:
        """Makes float32 mean float32 unless ``tf32`` is asked for, and keeps cuDNN from timing its algorithms.

        PyTorch lets cuDNN use TF32 from Ampere on unless told otherwise, so "fp32" would be half true. cuDNN's
        benchmark mode tries all algorithms for each new shape, and here almost every batch is a new shape.

        Raises:
            UsageError: the GPU does not compute in ``precision``.
        """
        capability = torch.cuda.get_device_capability(self.torch_device)
        if precision != "fp32" and torch.version.hip is None and capability < _FIRST_BF16_TF32_CAPABILITY:
            raise UsageError(f"--precision {precision}: {self.name} is older than Ampere and has none; take fp32")
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


class OtherDevice(Device):
    """An accelerator of another maker, as far as PyTorch treats all of them alike."""

    @property
    def name(self) -> str | None:
        """Unknown: PyTorch has no call for it that all of them answer."""
        return None

    def synchronize(self) -> None:
        """Returns when everything given to the device so far is done."""
        getattr(torch, self.torch_device.type).synchronize()  # torch.xpu, torch.mps


def open_device(text: str, *, local_rank: int | None = None) -> Device:
    """The device that ``--device`` names; ``auto`` is the first GPU where PyTorch sees one, else the host.

    Args:
        text: The name, or ``auto``.
        local_rank: Which of the processes of this machine asks: of a kind named without a number it gets that one.

    Raises:
        UsageError: there is no such kind of device.
        Ds2profError: there is, but not here.
    """
    if text == "auto":
        text = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch_device = torch.device(text)
    except RuntimeError:
        raise UsageError(f"--device {text}: PyTorch knows no such device; take auto, cuda, cuda:1 or cpu") from None
    if torch_device.type == "cpu":
        return Device(torch_device)
    if local_rank is not None and torch_device.index is None:
        torch_device = torch.device(torch_device.type, local_rank)
    if torch_device.type == "cuda":
        _require_gpu(torch_device)
        return CudaDevice(torch_device)
    return _other_device(torch_device)


def _require_gpu(torch_device: torch.device) -> None:
    """Nothing, if PyTorch sees this GPU."""
    if not torch.cuda.is_available():
        why = "sees no GPU" if torch.version.cuda or torch.version.hip else "is built without CUDA"
        raise Ds2profError(f"--device {torch_device}: PyTorch {torch.__version__} {why}; take --device cpu")
    if (torch_device.index or 0) >= torch.cuda.device_count():
        raise Ds2profError(f"--device {torch_device}: there are {torch.cuda.device_count()} GPUs, counted from 0")


def _other_device(torch_device: torch.device) -> Device:
    """A device of another kind, tried with one small tensor."""
    try:
        torch.zeros(1, device=torch_device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition(". ")[0].partition("\n")[0] or type(error).__name__
        raise Ds2profError(f"--device {torch_device}: cannot be used here ({reason}); take --device cpu") from None
    return OtherDevice(torch_device)


@contextmanager
def memory_errors(device: Device, batch_size: int) -> Iterator[None]:
    """Turns PyTorch's report of exhausted memory into one line.

    Raises:
        Ds2profError: the batch did not fit.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if not isinstance(error, torch.cuda.OutOfMemoryError) and "DefaultCPUAllocator" not in text:
            raise
        raise Ds2profError(f"{device}: out of memory at batch size {batch_size}; take a smaller --batch-size") from None


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
