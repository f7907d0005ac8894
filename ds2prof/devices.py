"""Devices: which chip a GPU is, from what a profiler says about it.

Metric names and peak rates belong to the chip, not to the product or its compute capability: an RTX 3070 and an RTX
3080 are both 8.6, and different chips. An unknown chip is None, never the nearest one.

Sources: NVIDIA's table of compute capabilities; the PCI ID database (pci.ids) and NVIDIA's gpu-admin-tools for the chip
behind each product; the Linux kernel's nouveau driver for the chip numbers. Products that were built from more than one
chip under one name are left out: RTX 2060, 3050, 3060, 3060 Ti, 3070 Ti, 4060, 4060 Ti, 4070, 4070 Ti SUPER, 5060,
5070, GTX 1650, GTX 1660 SUPER.
"""

from __future__ import annotations

import functools
import re
from typing import Final, Literal

Vendor = Literal["nvidia", "amd"]

CAPABILITY_CHIPS: Final[dict[str, tuple[str, ...]]] = {
    "7.0": ("GV100",),
    "7.5": ("TU102", "TU104", "TU106", "TU116", "TU117"),
    "8.0": ("GA100",),
    "8.6": ("GA102", "GA103", "GA104", "GA106", "GA107"),
    "8.7": ("GA10B",),
    "8.9": ("AD102", "AD103", "AD104", "AD106", "AD107"),
    "9.0": ("GH100",),
    "10.0": ("GB100",),  # B200, GB200
    "10.1": ("GB10B",),  # Thor, as CUDA 12 numbers it
    "10.3": ("GB110",),  # B300, GB300
    "11.0": ("GB10B",),  # Thor, as CUDA 13 numbers it
    "12.0": ("GB202", "GB203", "GB205", "GB206", "GB207"),
    "12.1": ("GB20B",),
}
"""Compute capability -> the chips of the products that have it."""

CHIP_PRODUCTS: Final[dict[str, tuple[str, ...]]] = {
    "GV100": ("titan v", "quadro gv100"),
    "TU102": ("rtx 2080 ti", "titan rtx", "quadro rtx 6000", "quadro rtx 8000"),
    "TU104": (
        *("rtx 2070 super", "rtx 2080", "rtx 2080 super", "quadro rtx 4000", "quadro rtx 5000", "t4", "t4g"),
        *("rtx 2080 with max-q design", "rtx 2080 super with max-q design", "rtx 2070 super with max-q design"),
    ),
    "TU106": ("rtx 2060 super", "rtx 2070", "rtx 2060 with max-q design", "rtx 2070 with max-q design"),
    "TU116": ("gtx 1650 super", "gtx 1660", "gtx 1660 ti"),
    "TU117": ("gtx 1630", "t1000", "t400", "t600", "quadro t1000", "quadro t2000"),
    "GA102": (
        *("rtx 3080", "rtx 3080 ti", "rtx 3090", "rtx 3090 ti", "a10", "a10g", "a40"),
        *("rtx a4500", "rtx a5000", "rtx a5500", "rtx a6000"),
    ),
    "GA103": ("rtx 3080 ti laptop gpu", "rtx a5500 laptop gpu"),
    "GA104": (
        *("rtx 3070", "rtx 3070 laptop gpu", "rtx 3070 ti laptop gpu", "rtx 3080 laptop gpu"),
        *("rtx a4000", "rtx a3000 laptop gpu", "rtx a4000 laptop gpu", "rtx a4500 laptop gpu", "rtx a5000 laptop gpu"),
    ),
    "GA106": ("rtx 3060 laptop gpu", "rtx a2000"),
    "GA107": ("rtx 2050", "rtx 3050 laptop gpu", "rtx a1000 laptop gpu", "rtx a2000 laptop gpu", "a2", "a16"),
    "AD102": (
        *("rtx 4090", "rtx 4090 d", "l20", "l40", "l40g", "l40s"),
        *("rtx 5000 ada generation", "rtx 6000 ada generation"),
    ),
    "AD103": ("rtx 4080", "rtx 4080 super", "rtx 4090 laptop gpu", "rtx 5000 ada generation laptop gpu"),
    "AD104": (
        *("rtx 4070 super", "rtx 4070 ti", "rtx 4080 laptop gpu", "l2", "l4"),
        *("rtx 4000 ada generation", "rtx 4000 sff ada generation", "rtx 4500 ada generation"),
        *("rtx 3500 ada generation laptop gpu", "rtx 4000 ada generation laptop gpu"),
    ),
    "AD106": ("rtx 4070 laptop gpu", "rtx 3000 ada generation laptop gpu"),
    "AD107": ("rtx 4050 laptop gpu", "rtx 4060 laptop gpu", "rtx 2000 ada generation laptop gpu"),
    "GB202": (
        *("rtx 5090", "rtx 5090 d", "rtx pro 5000 blackwell", "rtx pro 6000 blackwell server edition"),
        *("rtx pro 6000 blackwell workstation edition", "rtx pro 6000 blackwell max-q workstation edition"),
    ),
    "GB203": (
        *("rtx 5070 ti", "rtx 5080", "rtx 5080 laptop gpu", "rtx 5090 laptop gpu"),
        *("rtx pro 4000 blackwell", "rtx pro 4500 blackwell"),
    ),
    "GB205": ("rtx 5070 ti laptop gpu",),
    "GB206": ("rtx 5060 ti", "rtx 5060 laptop gpu", "rtx 5070 laptop gpu", "rtx pro 2000 blackwell"),
    "GB207": ("rtx 5050", "rtx 5050 laptop gpu"),
    "GB20B": ("gb10",),
}
"""Chip -> products, as CUDA names them less the maker, "GeForce", "Tesla", and the memory size."""

CHIP_FAMILIES: Final[dict[str, tuple[str, ...]]] = {
    "GV100": ("v100", "v100s"),
    "GA100": ("a100", "a100x", "a30", "a30x", "a800"),
    "GA10B": ("orin",),
    "GH100": ("h20", "h100", "h200", "h800", "gh200"),
    "GB100": ("b200", "gb200"),
    "GB110": ("b300", "gb300"),
    "GB10B": ("thor",),
}
"""Chip -> products whose name goes on with form factor and memory, as in "A100-SXM4-80GB": its first word is enough."""

CHIP_NUMBERS: Final[dict[int, str]] = {
    0x140: "GV100",
    0x162: "TU102",
    0x164: "TU104",
    0x166: "TU106",
    0x167: "TU117",
    0x168: "TU116",
    0x170: "GA100",
    0x172: "GA102",
    0x173: "GA103",
    0x174: "GA104",
    0x176: "GA106",
    0x177: "GA107",
    0x180: "GH100",
    0x192: "AD102",
    0x193: "AD103",
    0x194: "AD104",
    0x196: "AD106",
    0x197: "AD107",
    0x1A0: "GB100",
    0x1A2: "GB102",
    0x1B2: "GB202",
    0x1B3: "GB203",
    0x1B5: "GB205",
    0x1B6: "GB206",
    0x1B7: "GB207",
}
"""Chip number -> chip, as ``device__attribute_chip`` of Nsight Compute and the kernel driver count."""


def chip_of(compute_capability: str | None, device_name: str | None) -> str | None:
    """The chip of a device, e.g. ``chip_of("8.6", "NVIDIA A10G")`` is ``"GA102"``; None where it is not certain."""
    chips = chips_of(compute_capability, device_name)
    return chips[0] if len(chips) == 1 else None


def chips_of(compute_capability: str | None, device_name: str | None) -> tuple[str, ...]:
    """The chips that a device can be: one where its name or capability decides, none where nothing is known.

    ROCm fills the same two fields (an MI210 says "9.0" too, and may have an empty name), so a capability counts for
    something only beside an NVIDIA device or where the source names no device at all.
    """
    if device_name is not None and (not device_name.strip() or vendor_of(device_name) == "amd"):
        return ()
    capable = CAPABILITY_CHIPS.get(compute_capability or "", ())
    named = chip_named(device_name or "")
    if named is None:
        return capable
    return (named,) if not capable or named in capable else ()


def chip_named(device_name: str) -> str | None:
    """The chip of the product with this name, as CUDA or nvidia-smi writes it; None where it is not known."""
    product = " ".join(device_name.lower().split())
    product = re.sub(r"^nvidia |\bgeforce |\btesla | mig .*$", "", product)
    product = re.sub(r" \d+ ?gb$", "", product)
    return _products().get(product) or _families().get(re.split(r"[ -]", product)[0])


def chip_numbered(number: int | str) -> str | None:
    """The chip with this number, the value of ``device__attribute_chip`` (354 is TU102); None where unknown."""
    try:
        return CHIP_NUMBERS.get(int(number))
    except ValueError:
        return None


def vendor_of(device_name: str) -> Vendor | None:
    """Who made a device, by its name or its architecture's ("gfx942", "sm_90"); None where neither tells."""
    name = device_name.lower()
    if re.search(r"\bamd\b|radeon|instinct|\bgfx\d", name):
        return "amd"
    if re.search(r"nvidia|geforce|tesla|quadro|titan|\b[rg]tx\b|\bsm_\d", name) or chip_named(name):
        return "nvidia"
    return None


@functools.cache
def _products() -> dict[str, str]:
    return {product: chip for chip, products in CHIP_PRODUCTS.items() for product in products}


@functools.cache
def _families() -> dict[str, str]:
    return {family: chip for chip, families in CHIP_FAMILIES.items() for family in families}
