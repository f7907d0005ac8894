"""The device that a run asks for by name, and what it says when its memory is exhausted.

What a device does for the loop is :mod:`ds2prof.train.device_kinds`'s, what each kind can do
:mod:`ds2prof.train.device_table`'s.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch

from ds2prof.errors import Ds2profError, UsageError
from ds2prof.train.device_kinds import Accelerator, CudaDevice, Device, HostMoment, Moment
from ds2prof.train.device_table import DEVICES, abilities_of

__all__ = [
    "Accelerator",
    "CudaDevice",
    "Device",
    "HostMoment",
    "Moment",
    "memory_errors",
    "open_device",
    "out_of_memory",
]

_EXHAUSTED: Final = ("DefaultCPUAllocator", "out of memory", "bad_alloc")
"""What PyTorch, plug-ins and C++ write into the errors of exhausted memory that have no type of their own."""


def open_device(text: str, *, local_rank: int | None = None) -> Device:
    """The device that ``--device`` names; ``auto`` is the first accelerator that PyTorch sees, else the host.

    Args:
        text: The name, or ``auto``.
        local_rank: Which of the processes of this machine asks: of a kind named without a number it gets that one.

    Raises:
        UsageError: there is no such kind of device.
        Ds2profError: there is, but not here.
    """
    kind = _automatic() if text == "auto" else text
    _load_plugin(kind.partition(":")[0])
    try:
        torch_device = torch.device(kind)
    except RuntimeError:
        raise UsageError(f"--device {text}: PyTorch knows no such device; take auto, cuda, cuda:1 or cpu") from None
    if torch_device.type == "cpu":
        return Device(torch_device)
    if local_rank is not None and ":" not in kind:
        torch_device = torch.device(torch_device.type, local_rank)
    if torch_device.type == "cuda":
        _require_gpu(torch_device)
        return CudaDevice(torch_device)
    return _other_device(torch_device)


def _automatic() -> str:
    """The kind that ``auto`` stands for."""
    if torch.cuda.is_available():
        return "cuda"
    for kind, abilities in DEVICES.items():
        if abilities.automatic and _is_available(kind):
            return kind
    return "cpu"


def _is_available(kind: str) -> bool:
    """Whether PyTorch, or a plug-in that is installed, sees a device of that kind."""
    try:
        _load_plugin(kind)
    except Ds2profError:
        return False
    available: Any = getattr(getattr(torch, kind, None), "is_available", None)
    return available is not None and bool(available())


def _load_plugin(kind: str) -> None:
    """Imports the package that teaches PyTorch about a kind of device, where it is installed and needed.

    Raises:
        Ds2profError: it is there and cannot be loaded.
    """
    plugin = abilities_of(kind).plugin
    if plugin is None or hasattr(torch, kind) or importlib.util.find_spec(plugin) is None:
        return
    try:
        importlib.import_module(plugin)
    except (ImportError, OSError, RuntimeError) as error:
        raise Ds2profError(
            f"--device {kind}: {plugin} cannot be loaded ({_reason(error)}); take --device cpu"
        ) from None


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
        return Accelerator(torch_device)
    except (RuntimeError, AssertionError, ImportError, AttributeError) as error:
        raise Ds2profError(
            f"--device {torch_device}: cannot be used here ({_reason(error)}); take --device cpu"
        ) from None


def _reason(error: BaseException) -> str:
    """What an error says in its first sentence, or its type."""
    return str(error).partition(". ")[0].partition("\n")[0] or type(error).__name__


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of the host or of a device is exhausted."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _EXHAUSTED)


@contextmanager
def memory_errors(device: Device, batch_size: int) -> Iterator[None]:
    """Turns PyTorch's reports of exhausted memory into one line; a reading process that was ended is mostly that, too.

    Raises:
        Ds2profError: the batch did not fit, or a process that reads the corpus was ended from outside.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if str(error).startswith("DataLoader worker"):
            raise Ds2profError(
                "--workers: a process that reads the corpus was ended from outside, perhaps for want of memory; "
                "take fewer --workers"
            ) from None
        if not out_of_memory(error):
            raise
        raise Ds2profError(f"{device}: out of memory at batch size {batch_size}; take a smaller --batch-size") from None
