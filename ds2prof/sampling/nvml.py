"""The few functions of NVIDIA's management library (NVML) that are needed, through ctypes.

Names and structures are those of NVML's public header, ``nvml.h``; they have not changed since driver 418 (``_v2`` of
memory: 510). What a device or a driver does not have is None. A library that hangs or crashes takes along the process
that uses it: that is a child of the sampler (:mod:`.nvml_child`).
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

_NAME_BYTES: Final = 96
_SM_CLOCK, _MEMORY_CLOCK = 1, 2
_GPU_SENSOR: Final = 0
_MIG_ON: Final = 1
_UNKNOWN_STATE: Final = 32
Handle = ctypes.c_void_p


class NvmlError(Exception):
    """NVML cannot be used here."""


class _Rates(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _Memory2(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_uint),
        ("total", ctypes.c_ulonglong),
        ("reserved", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


class Nvml:
    """The library, initialized.

    Raises:
        NvmlError: it is not here, or finds no driver.
    """

    def __init__(self, name: str = "libnvidia-ml.so.1") -> None:
        try:
            self._library = ctypes.CDLL(name)
        except OSError:
            raise NvmlError(f"{name} is not here") from None
        code = self._function("nvmlInit_v2")()
        if code:
            raise NvmlError(self._text_of(code))

    def _function(self, name: str) -> Any:
        try:
            return getattr(self._library, name)
        except AttributeError:
            raise NvmlError(f"the driver's library has no {name}") from None

    def _text_of(self, code: int) -> str:
        describe = self._function("nvmlErrorString")
        describe.restype = ctypes.c_char_p
        return (describe(code) or b"error").decode("utf-8", "replace")

    def _filled(self, name: str, result: Any, *arguments: Any) -> Any:
        """``result``, after the function has written into it; None where the function fails or is not there."""
        function = getattr(self._library, name, None)
        if function is None or function(*arguments, ctypes.byref(result)):
            return None
        return result

    def _number(self, name: str, *arguments: Any, kind: Any = ctypes.c_uint) -> int | None:
        found = self._filled(name, kind(), *arguments)
        return None if found is None else int(found.value)

    def _text(self, name: str, device: Handle) -> str | None:
        buffer = ctypes.create_string_buffer(_NAME_BYTES)
        function = getattr(self._library, name, None)
        if function is None or function(device, buffer, ctypes.c_uint(_NAME_BYTES)):
            return None
        return buffer.value.decode("utf-8", "replace")

    def count(self) -> int:
        """How many GPUs there are."""
        return self._number("nvmlDeviceGetCount_v2") or 0

    def by_index(self, index: int) -> Handle | None:
        """The GPU of that number, as nvidia-smi counts."""
        found: Handle | None = self._filled("nvmlDeviceGetHandleByIndex_v2", Handle(), ctypes.c_uint(index))
        return found

    def by_uuid(self, uuid: str) -> Handle | None:
        """The GPU or MIG slice of that UUID."""
        found: Handle | None = self._filled("nvmlDeviceGetHandleByUUID", Handle(), uuid.encode())
        return found

    def index(self, device: Handle) -> int | None:
        """The number of a GPU."""
        return self._number("nvmlDeviceGetIndex", device)

    def name(self, device: Handle) -> str | None:
        """What the maker calls it."""
        return self._text("nvmlDeviceGetName", device)

    def uuid(self, device: Handle) -> str | None:
        """Its UUID."""
        return self._text("nvmlDeviceGetUUID", device)

    def slices(self, device: Handle) -> list[Handle]:
        """The MIG slices of a GPU; none where it is not cut."""
        mode, pending = ctypes.c_uint(), ctypes.c_uint()
        switched = getattr(self._library, "nvmlDeviceGetMigMode", None)
        if switched is None or switched(device, ctypes.byref(mode), ctypes.byref(pending)) or mode.value != _MIG_ON:
            return []
        most = self._number("nvmlDeviceGetMaxMigDeviceCount", device) or 0
        found = [
            self._filled("nvmlDeviceGetMigDeviceHandleByIndex", Handle(), device, ctypes.c_uint(at))
            for at in range(most)
        ]
        return [piece for piece in found if piece is not None]

    def gpu_of(self, piece: Handle) -> Handle | None:
        """The GPU that a MIG slice is cut from; None for what is no slice."""
        found: Handle | None = self._filled("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", Handle(), piece)
        return found

    def utilization(self, device: Handle) -> tuple[int, int] | None:
        """(percent of the driver's own sample period in which a kernel ran, in which memory was read or written)."""
        found = self._filled("nvmlDeviceGetUtilizationRates", _Rates(), device)
        return None if found is None else (int(found.gpu), int(found.memory))

    def memory_bytes(self, device: Handle) -> tuple[int, int] | None:
        """(used, total); used without what the driver reserves, where the driver tells them apart."""
        newer = _Memory2(version=ctypes.sizeof(_Memory2) | 2 << 24)
        found = self._filled("nvmlDeviceGetMemoryInfo_v2", newer, device)
        if found is None:
            found = self._filled("nvmlDeviceGetMemoryInfo", _Memory(), device)
        return None if found is None else (int(found.used), int(found.total))

    def power_mw(self, device: Handle) -> int | None:
        """What it draws, milliwatts; from Ampere on (GA100 excepted) a mean over one second."""
        return self._number("nvmlDeviceGetPowerUsage", device)

    def energy_mj(self, device: Handle) -> int | None:
        """What it has drawn since the driver was loaded, millijoules; from Volta on."""
        return self._number("nvmlDeviceGetTotalEnergyConsumption", device, kind=ctypes.c_ulonglong)

    def sm_clock_mhz(self, device: Handle) -> int | None:
        """The clock of the SMs."""
        return self._number("nvmlDeviceGetClockInfo", device, ctypes.c_int(_SM_CLOCK))

    def memory_clock_mhz(self, device: Handle) -> int | None:
        """The clock of the memory."""
        return self._number("nvmlDeviceGetClockInfo", device, ctypes.c_int(_MEMORY_CLOCK))

    def celsius(self, device: Handle) -> int | None:
        """The temperature of the chip."""
        return self._number("nvmlDeviceGetTemperature", device, ctypes.c_int(_GPU_SENSOR))

    def performance_state(self, device: Handle) -> int | None:
        """0 is P0, the fastest."""
        state = self._number("nvmlDeviceGetPerformanceState", device)
        return None if state == _UNKNOWN_STATE else state

    def reasons(self, device: Handle) -> int | None:
        """The bits of the reasons that hold clocks back."""
        kind = ctypes.c_ulonglong
        found = self._number("nvmlDeviceGetCurrentClocksThrottleReasons", device, kind=kind)
        if found is not None:
            return found
        return self._number("nvmlDeviceGetCurrentClocksEventReasons", device, kind=kind)
