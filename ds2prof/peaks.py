"""Peak rates of devices: what a GPU could reach at most, by its name, at a clock that is always stated.

A rate is SMs x operations of one SM in a cycle x clock. The table (:mod:`ds2prof.peak_table`) keeps the three apart, so
that the rate at another clock (base, measured) and of a slice of the chip (MIG) follow from it. A device that is not in
it has no peak: nothing is guessed from its chip, since products differ in SMs, clocks and halved rates.

**Kinds** are those of :mod:`ds2prof.metrics.flop`: ``fp32``, ``fp64``, ``fp16``, ``bf16`` on the cores; ``tensor_*`` by
the type of a product's factors, sums in FP32 (FP64 for ``tensor_fp64``, INT32 for ``tensor_int8``). The faster products
with sums in FP16 that GeForce has are ``tensor_fp16_sum16`` and ``tensor_fp8_sum16``, and nobody's default.

**Dense.** 2:4 sparsity doubles some rates on paper: :attr:`DevicePeak.sparse_kinds` names them, and only
``flop_per_s(kind, sparse=True)`` counts it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

Clocks = Literal["stated", "implied"]
TENSOR: Final = "tensor_"
SPARSE_FACTOR: Final = 2
KINDS: Final = (
    *("fp32", "fp64", "fp16", "bf16"),
    *("tensor_fp64", "tensor_fp32", "tensor_tf32", "tensor_bf16", "tensor_fp16", "tensor_fp8", "tensor_int8"),
    *("tensor_fp4", "tensor_fp16_sum16", "tensor_fp8_sum16"),
)
"""What can have a peak of its own."""


@dataclass(frozen=True, kw_only=True)
class DevicePeak:
    """One product, as its maker publishes it.

    Attributes:
        name: the product, shortened as :func:`product_of` does it.
        sms: SMs (compute units of AMD) that are there.
        boost_hz: the clock behind the published rates of the cores.
        tensor_hz: the clock behind those of the tensor cores.
        clocks: ``stated`` by the maker, or ``implied``: worked out from its rates, where it states none.
        base_hz: the clock that is guaranteed; None where it is not certain.
        bandwidth_bytes_per_s: of the device's memory.
        l2_bytes: of the last cache before it that all SMs share; None where it is not certain.
        flop_per_sm_cycle: kind -> dense operations of one SM in one cycle.
        published_flop_per_s: kind -> dense rate as the maker publishes it, rounded as there: what the rest is tested
            against, never computed with.
        sparse_kinds: the kinds that 2:4 sparsity doubles.
        source: the document.
    """

    name: str
    sms: int
    boost_hz: int
    tensor_hz: int
    clocks: Clocks
    base_hz: int | None
    bandwidth_bytes_per_s: int
    l2_bytes: int | None
    flop_per_sm_cycle: Mapping[str, int]
    published_flop_per_s: Mapping[str, float]
    sparse_kinds: tuple[str, ...]
    source: str

    def clock_hz(self, kind: str) -> int:
        """The clock behind the published rate of ``kind``: tensor cores may have one of their own, but not in FP64."""
        return self.tensor_hz if kind.startswith(TENSOR) and kind != "tensor_fp64" else self.boost_hz

    def flop_per_s(self, kind: str, *, clock_hz: float | None = None, sparse: bool = False) -> float | None:
        """Peak rate of ``kind``, dense: SMs x operations of an SM in a cycle x clock; None where the device has none.

        Args:
            kind: one of :data:`KINDS`.
            clock_hz: another clock than the one behind the published rate.
            sparse: with 2:4 sparsity; None where the device does not double that kind.
        """
        per_sm = self.flop_per_sm_cycle.get(kind)
        if per_sm is None or (sparse and kind not in self.sparse_kinds):
            return None
        rate = self.sms * per_sm * float(self.clock_hz(kind) if clock_hz is None else clock_hz)
        return rate * SPARSE_FACTOR if sparse else rate

    def sliced(self, sms: int | None) -> DevicePeak:
        """The peak of so many of its SMs (a MIG slice); bandwidth and L2 go with them in proportion.

        MIG deals memory out in eighths and SMs in sevenths: the bandwidth of a slice is an estimate for that reason.
        """
        if sms is None or not 0 < sms < self.sms:
            return self
        part = sms / self.sms
        l2_bytes = None if self.l2_bytes is None else round(self.l2_bytes * part)
        return replace(self, sms=sms, bandwidth_bytes_per_s=round(self.bandwidth_bytes_per_s * part), l2_bytes=l2_bytes)


def peak_named(device_name: str | None) -> DevicePeak | None:
    """The peak of the product with this name, as CUDA, nvidia-smi or ROCm writes it; None where it is not known."""
    if not device_name:
        return None
    return _by_name().get(product_of(device_name))


def peak_of(
    device_name: str | None, *, sms: int | None = None, bandwidth_bytes_per_s: int | None = None
) -> DevicePeak | None:
    """The peak of a device by its name, with what the profile itself says of it in place of the table's.

    Args:
        device_name: as the profile has it.
        sms: how many SMs the profile says there are: fewer than the table's are a slice of it.
        bandwidth_bytes_per_s: as the driver states it.
    """
    peak = peak_named(device_name)
    if peak is None:
        return None
    peak = peak.sliced(sms)
    if bandwidth_bytes_per_s:
        peak = replace(peak, bandwidth_bytes_per_s=bandwidth_bytes_per_s)
    return peak


def product_of(device_name: str) -> str:
    """The product's name in lower case without maker, family and MIG slice: ``a100-sxm4-80gb``, ``rtx 4090``."""
    product = " ".join(device_name.lower().split())
    return re.sub(r"^nvidia |^amd |\bgeforce |\btesla |\binstinct | mig .*$", "", product).strip()


@functools.cache
def _by_name() -> Mapping[str, DevicePeak]:
    from ds2prof.peak_table import PEAKS

    return {name: peak for names, peak in PEAKS for name in names}
