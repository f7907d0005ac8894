"""The products that have a peak, each with the document that its figures are from.

``published`` rates are dense, in 1e12 operations a second, with the digits of the document; where it gives the sparse
one alone, half of that. FP64 of H200, GH200 and B200 is published rounded twice (34, 37) and not among them. Left out
for want of a document that agrees with itself, or of certainty: H20, B100, GB200, B300, A10G, laptop parts.

Operations of an SM in a cycle follow from the architecture: V100 64 FP32 cores, two operations each (a multiply-add),
and 8 tensor cores of 64 multiply-adds; A100 4 x 256, H100 4 x 512, B200 4 x 1,024 in FP16; GeForce halves products with
sums in FP32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ds2prof.peaks import Clocks, DevicePeak

_MHZ: Final = 1_000_000
_GB: Final = 1_000_000_000
_KIB: Final = 1 << 10
_TERA: Final = 1e12

_GP100: Final = {"fp32": 128, "fp64": 64, "fp16": 256}
_GV100: Final = {"fp32": 128, "fp64": 64, "fp16": 256, "tensor_fp16": 1024}
_TU10X: Final = {"fp32": 128, "fp64": 4, "fp16": 256, "tensor_fp16": 1024, "tensor_int8": 2048}
_TU10X_GEFORCE: Final = {**_TU10X, "tensor_fp16": 512, "tensor_fp16_sum16": 1024}
_GA100: Final = {
    "fp32": 128,
    "fp64": 64,
    "fp16": 512,
    "bf16": 256,
    "tensor_fp64": 128,
    "tensor_tf32": 1024,
    "tensor_bf16": 2048,
    "tensor_fp16": 2048,
    "tensor_int8": 4096,
}
_GA10X: Final = {
    "fp32": 256,
    "fp64": 4,
    "fp16": 256,
    "bf16": 256,
    "tensor_tf32": 512,
    "tensor_bf16": 1024,
    "tensor_fp16": 1024,
    "tensor_int8": 2048,
}
_GA10X_GEFORCE: Final = {
    **_GA10X,
    "tensor_tf32": 256,
    "tensor_bf16": 512,
    "tensor_fp16": 512,
    "tensor_fp16_sum16": 1024,
}
_AD10X: Final = {**_GA10X, "tensor_fp8": 2048}
_AD10X_GEFORCE: Final = {**_GA10X_GEFORCE, "tensor_fp8": 1024, "tensor_fp8_sum16": 2048}
_GH100: Final = {
    "fp32": 256,
    "fp64": 128,
    "fp16": 512,
    "bf16": 512,
    "tensor_fp64": 256,
    "tensor_tf32": 2048,
    "tensor_bf16": 4096,
    "tensor_fp16": 4096,
    "tensor_fp8": 8192,
    "tensor_int8": 8192,
}
_GB100: Final = {
    "fp32": 256,
    "fp64": 128,
    "tensor_tf32": 4096,
    "tensor_bf16": 8192,
    "tensor_fp16": 8192,
    "tensor_fp8": 16384,
    "tensor_int8": 16384,
    "tensor_fp4": 32768,
}
_GB20X_GEFORCE: Final = {**_AD10X_GEFORCE, "tensor_fp4": 4096}
_GB20X: Final = {**_AD10X, "tensor_fp4": 4096}
_CDNA2: Final = {
    "fp32": 128,
    "fp64": 128,
    "tensor_fp64": 256,
    "tensor_fp32": 256,
    "tensor_bf16": 1024,
    "tensor_fp16": 1024,
    "tensor_int8": 1024,
}
_CDNA3: Final = {
    "fp32": 256,
    "fp64": 128,
    "tensor_fp64": 256,
    "tensor_fp32": 256,
    "tensor_tf32": 1024,
    "tensor_bf16": 2048,
    "tensor_fp16": 2048,
    "tensor_fp8": 4096,
    "tensor_int8": 4096,
}
_DOUBLED: Final = ("tensor_tf32", "tensor_bf16", "tensor_fp16", "tensor_fp8", "tensor_int8", "tensor_fp16_sum16")


def _row(
    names: Sequence[str],
    sms: int,
    boost_mhz: float,
    *,
    per_sm: Mapping[str, int],
    published: Mapping[str, float],
    gb_per_s: float,
    l2_kib: int | None,
    source: str,
    base_mhz: int | None = None,
    tensor_mhz: float | None = None,
    clocks: Clocks = "stated",
    sparse: bool = False,
) -> tuple[tuple[str, ...], DevicePeak]:
    doubled = (*_DOUBLED, "tensor_fp8_sum16", "tensor_fp4") if sparse else ()
    peak = DevicePeak(
        name=names[0],
        sms=sms,
        boost_hz=round(boost_mhz * _MHZ),
        tensor_hz=round((tensor_mhz or boost_mhz) * _MHZ),
        clocks=clocks,
        base_hz=None if base_mhz is None else base_mhz * _MHZ,
        bandwidth_bytes_per_s=round(gb_per_s * _GB),
        l2_bytes=None if l2_kib is None else l2_kib * _KIB,
        flop_per_sm_cycle=per_sm,
        published_flop_per_s={kind: rate * _TERA for kind, rate in published.items()},
        sparse_kinds=tuple(kind for kind in per_sm if kind in doubled),
        source=source,
    )
    return tuple(names), peak


_P100: Final = "NVIDIA Tesla P100 white paper WP-08019-001 and data sheet"
_V100: Final = "NVIDIA Tesla V100 white paper WP-08608-001 and data sheet"
_TURING: Final = "NVIDIA Turing GPU architecture white paper WP-09183-001"
_T4: Final = "NVIDIA Turing GPU architecture white paper WP-09183-001, appendix on the T4"
_A100: Final = "NVIDIA A100 Tensor Core GPU architecture white paper, and data sheet of the 80 GB parts"
_A10: Final = "NVIDIA data sheet and product brief of the A10"
_A30: Final = "NVIDIA data sheet and product brief of the A30"
_A40: Final = "NVIDIA data sheet and product brief of the A40"
_GA102: Final = "NVIDIA Ampere GA102 GPU architecture white paper"
_ADA: Final = "NVIDIA Ada GPU architecture white paper"
_L4: Final = "NVIDIA data sheet and product brief of the L4"
_L40: Final = "NVIDIA data sheet and product brief of the L40"
_L40S: Final = "NVIDIA data sheet of the L40S"
_H100: Final = "NVIDIA H100 Tensor Core GPU architecture white paper"
_H100_SHEET: Final = "NVIDIA data sheet of the H100"
_H200: Final = "NVIDIA data sheet of the H200; clocks of the H100, whose rates it has; SMs and L2 as CUDA states them"
_GH200: Final = "NVIDIA data sheet of the GH200; clocks of the H100, whose rates it has"
_B200: Final = "NVIDIA data sheets of HGX B200 and DGX B200, an eighth of each figure; SMs and L2 as CUDA states them"
_RTX_BLACKWELL: Final = "NVIDIA RTX Blackwell GPU architecture white paper"
_CDNA2_SHEET: Final = (
    "AMD data sheets of the Instinct MI200 series; a device is one of the two dies of MI250 and MI250X"
)
_CDNA3_SHEET: Final = "AMD data sheets of the Instinct MI300X and MI325X; their last cache by ROCm's GPU specifications"

_A100_RATES: Final = {
    "fp32": 19.5,
    "fp64": 9.7,
    "fp16": 78,
    "bf16": 39,
    "tensor_fp64": 19.5,
    "tensor_tf32": 156,
    "tensor_bf16": 312,
    "tensor_fp16": 312,
    "tensor_int8": 624,
}
_H100_RATES: Final = {
    "fp32": 66.9,
    "fp64": 33.5,
    "fp16": 133.8,
    "bf16": 133.8,
    "tensor_fp64": 66.9,
    "tensor_tf32": 494.7,
    "tensor_bf16": 989.4,
    "tensor_fp16": 989.4,
    "tensor_fp8": 1978.9,
    "tensor_int8": 1978.9,
}
_MI300X_RATES: Final = {
    "fp32": 163.4,
    "fp64": 81.7,
    "tensor_fp64": 163.4,
    "tensor_fp32": 163.4,
    "tensor_tf32": 653.7,
    "tensor_bf16": 1307.4,
    "tensor_fp16": 1307.4,
    "tensor_fp8": 2614.9,
    "tensor_int8": 2614.9,
}

# fmt: off
PEAKS: Final[tuple[tuple[tuple[str, ...], DevicePeak], ...]] = (
    _row(["p100-sxm2-16gb"], 56, 1480, base_mhz=1328, per_sm=_GP100, gb_per_s=732, l2_kib=4096, source=_P100,
         published={"fp32": 10.6, "fp64": 5.3, "fp16": 21.2}),
    _row(["p100-pcie-16gb"], 56, 1303, per_sm=_GP100, gb_per_s=732, l2_kib=4096, source=_P100,
         published={"fp32": 9.3, "fp64": 4.7, "fp16": 18.7}),
    _row(["v100-sxm2-16gb", "v100-sxm2-32gb"], 80, 1530, per_sm=_GV100, gb_per_s=900, l2_kib=6144, source=_V100,
         published={"fp32": 15.7, "fp64": 7.8, "tensor_fp16": 125}),
    _row(["v100-pcie-16gb", "v100-pcie-32gb"], 80, 1380, per_sm=_GV100, gb_per_s=900, l2_kib=6144, source=_V100,
         published={"fp32": 14, "fp64": 7, "tensor_fp16": 112}),
    _row(["v100s-pcie-32gb"], 80, 1597, per_sm=_GV100, gb_per_s=1134, l2_kib=6144, source=_V100,
         published={"fp32": 16.4, "fp64": 8.2, "tensor_fp16": 130}),
    _row(["t4"], 40, 1590, base_mhz=585, per_sm=_TU10X, gb_per_s=320, l2_kib=4096, source=_T4,
         published={"fp32": 8.1, "fp16": 16.2, "tensor_fp16": 65, "tensor_int8": 130}),
    _row(["rtx 2080 ti"], 68, 1545, base_mhz=1350, per_sm=_TU10X_GEFORCE, gb_per_s=616, l2_kib=5632, source=_TURING,
         published={"fp32": 13.4, "fp16": 26.9, "tensor_fp16": 53.8, "tensor_fp16_sum16": 107.6,
         "tensor_int8": 215.2}),
    _row(["titan rtx"], 72, 1770, base_mhz=1350, per_sm=_TU10X, gb_per_s=672, l2_kib=6144, source=_TURING,
         published={"fp32": 16.3, "fp16": 32.6, "tensor_fp16": 130.5, "tensor_int8": 261}),
    _row(["a100-sxm4-40gb"], 108, 1410, per_sm=_GA100, gb_per_s=1555, l2_kib=40960, source=_A100, sparse=True,
         published=_A100_RATES),
    _row(["a100-pcie-40gb"], 108, 1410, base_mhz=765, per_sm=_GA100, gb_per_s=1555, l2_kib=40960, source=_A100,
         sparse=True, published=_A100_RATES),
    _row(["a100-sxm4-80gb"], 108, 1410, per_sm=_GA100, gb_per_s=2039, l2_kib=40960, source=_A100, sparse=True,
         published=_A100_RATES),
    _row(["a100 80gb pcie", "a100-pcie-80gb"], 108, 1410, base_mhz=1065, per_sm=_GA100, gb_per_s=1935, l2_kib=40960,
         source=_A100, sparse=True, published=_A100_RATES),
    _row(["a30"], 56, 1440, base_mhz=930, per_sm=_GA100, gb_per_s=933, l2_kib=24576, source=_A30, sparse=True,
         published={"fp32": 10.3, "fp64": 5.2, "tensor_fp64": 10.3, "tensor_tf32": 82, "tensor_bf16": 165,
         "tensor_fp16": 165, "tensor_int8": 330}),
    _row(["a40"], 84, 1740, base_mhz=1305, per_sm=_GA10X, gb_per_s=696, l2_kib=6144, source=_A40, sparse=True,
         published={"fp32": 37.4, "tensor_tf32": 74.8, "tensor_bf16": 149.7, "tensor_fp16": 149.7,
         "tensor_int8": 299.3}),
    _row(["a10"], 72, 1695, base_mhz=885, per_sm=_GA10X, gb_per_s=600, l2_kib=6144, source=_A10, sparse=True,
         published={"fp32": 31.2, "tensor_tf32": 62.5, "tensor_bf16": 125, "tensor_fp16": 125, "tensor_int8": 250}),
    _row(["rtx 3080"], 68, 1710, base_mhz=1440, per_sm=_GA10X_GEFORCE, gb_per_s=760, l2_kib=5120, source=_GA102,
         sparse=True, published={"fp32": 29.8, "tensor_fp16": 59.5, "tensor_fp16_sum16": 119, "tensor_tf32": 29.8,
         "tensor_bf16": 59.5, "tensor_int8": 238}),
    _row(["rtx 3090"], 82, 1695, base_mhz=1395, per_sm=_GA10X_GEFORCE, gb_per_s=936, l2_kib=6144, source=_GA102,
         sparse=True, published={"fp32": 35.6, "tensor_fp16": 71, "tensor_fp16_sum16": 142, "tensor_tf32": 35.6,
         "tensor_bf16": 71, "tensor_int8": 284}),
    _row(["rtx a6000"], 84, 1800, base_mhz=1410, per_sm=_GA10X, gb_per_s=768, l2_kib=6144, source=_GA102,
         sparse=True, published={"fp32": 38.7, "tensor_tf32": 77.4, "tensor_bf16": 154.8, "tensor_fp16": 154.8,
         "tensor_int8": 309.7}),
    _row(["l4"], 58, 2040, base_mhz=795, per_sm=_AD10X, gb_per_s=300, l2_kib=49152, source=_L4, sparse=True,
         published={"fp32": 30.3, "tensor_tf32": 60, "tensor_bf16": 121, "tensor_fp16": 121, "tensor_fp8": 242.5,
         "tensor_int8": 242.5}),
    _row(["l40"], 142, 2490, base_mhz=735, per_sm={**_AD10X, "tensor_tf32": 256, "tensor_bf16": 512,
         "tensor_fp16": 512, "tensor_fp8": 1024, "tensor_int8": 1024}, gb_per_s=864, l2_kib=98304, source=_L40,
         sparse=True, published={"fp32": 90.5, "tensor_tf32": 90.5, "tensor_bf16": 181.05, "tensor_fp16": 181.05,
         "tensor_fp8": 362, "tensor_int8": 362}),
    _row(["l40s"], 142, 2520, base_mhz=1110, per_sm=_AD10X, gb_per_s=864, l2_kib=98304, source=_L40S, sparse=True,
         published={"fp32": 91.6, "tensor_tf32": 183, "tensor_bf16": 366.5, "tensor_fp16": 366.5, "tensor_fp8": 733,
         "tensor_int8": 733}),
    _row(["rtx 4090"], 128, 2520, base_mhz=2235, per_sm=_AD10X_GEFORCE, gb_per_s=1008, l2_kib=73728, source=_ADA,
         sparse=True, published={"fp32": 82.6, "tensor_fp16": 165.2, "tensor_fp16_sum16": 330.3,
         "tensor_tf32": 82.6, "tensor_bf16": 165.2, "tensor_fp8": 330.3, "tensor_fp8_sum16": 660.6,
         "tensor_int8": 660.6}),
    _row(["h100 80gb hbm3", "h100-sxm5-80gb"], 132, 1980, tensor_mhz=1830, per_sm=_GH100, gb_per_s=3352,
         l2_kib=51200, source=_H100, sparse=True, published=_H100_RATES),
    _row(["h100 pcie", "h100-pcie-80gb"], 114, 1755, tensor_mhz=1620, base_mhz=1125, per_sm=_GH100, gb_per_s=2039,
         l2_kib=51200, source=_H100, sparse=True, published={"fp32": 51.2, "fp64": 25.6, "fp16": 102.4,
         "bf16": 102.4, "tensor_fp64": 51.2, "tensor_tf32": 378, "tensor_bf16": 756, "tensor_fp16": 756,
         "tensor_fp8": 1513, "tensor_int8": 1513}),
    _row(["h100 nvl"], 132, 1785, tensor_mhz=1545, clocks="implied", per_sm=_GH100, gb_per_s=3900, l2_kib=None,
         source=_H100_SHEET, sparse=True, published={"fp32": 60, "fp64": 30, "tensor_fp64": 60,
         "tensor_tf32": 417.5, "tensor_bf16": 835.5, "tensor_fp16": 835.5, "tensor_fp8": 1670.5,
         "tensor_int8": 1670.5}),
    _row(["h200"], 132, 1980, tensor_mhz=1830, per_sm=_GH100, gb_per_s=4800, l2_kib=61440, source=_H200,
         sparse=True, published={"fp32": 67, "tensor_fp64": 67, "tensor_tf32": 494.5, "tensor_bf16": 989.5,
         "tensor_fp16": 989.5, "tensor_fp8": 1979, "tensor_int8": 1979}),
    _row(["gh200 480gb"], 132, 1980, tensor_mhz=1830, per_sm=_GH100, gb_per_s=4000, l2_kib=None, source=_GH200,
         sparse=True, published={"fp32": 67, "tensor_fp64": 67, "tensor_tf32": 494.5, "tensor_bf16": 989.5,
         "tensor_fp16": 989.5, "tensor_fp8": 1979, "tensor_int8": 1979}),
    _row(["b200"], 148, 1980, tensor_mhz=1856, clocks="implied", per_sm=_GB100, gb_per_s=8000, l2_kib=129536,
         source=_B200, sparse=True, published={"fp32": 75, "tensor_tf32": 1125, "tensor_bf16": 2250,
         "tensor_fp16": 2250, "tensor_fp8": 4500, "tensor_int8": 4500, "tensor_fp4": 9000}),
    _row(["rtx 5080"], 84, 2617, base_mhz=2295, per_sm=_GB20X_GEFORCE, gb_per_s=960, l2_kib=65536,
         source=_RTX_BLACKWELL, sparse=True, published={"fp32": 56.3, "tensor_tf32": 56.3, "tensor_fp16": 112.6,
         "tensor_fp16_sum16": 225.1, "tensor_bf16": 112.6, "tensor_fp8": 225.1, "tensor_fp8_sum16": 450.2,
         "tensor_int8": 450.2, "tensor_fp4": 900.4}),
    _row(["rtx 5090"], 170, 2407, base_mhz=2017, per_sm=_GB20X_GEFORCE, gb_per_s=1792, l2_kib=98304,
         source=_RTX_BLACKWELL, sparse=True, published={"fp32": 104.8, "tensor_tf32": 104.8, "tensor_fp16": 209.5,
         "tensor_fp16_sum16": 419, "tensor_bf16": 209.5, "tensor_fp8": 419, "tensor_fp8_sum16": 838,
         "tensor_int8": 838, "tensor_fp4": 1676}),
    _row(["rtx pro 6000 blackwell workstation edition"], 188, 2617, per_sm=_GB20X, gb_per_s=1792, l2_kib=131072,
         source="NVIDIA RTX Blackwell PRO GPU architecture white paper", sparse=True, published={"fp32": 126,
         "tensor_bf16": 503.8, "tensor_fp16": 503.8, "tensor_fp8": 1007.6, "tensor_fp4": 2015.2}),
    _row(["mi210", "mi250"], 104, 1700, per_sm=_CDNA2, gb_per_s=1638.4, l2_kib=8192, source=_CDNA2_SHEET,
         published={"fp32": 22.6, "fp64": 22.6, "tensor_fp64": 45.3, "tensor_fp32": 45.3, "tensor_bf16": 181,
         "tensor_fp16": 181, "tensor_int8": 181}),
    _row(["mi250x"], 110, 1700, per_sm=_CDNA2, gb_per_s=1638.4, l2_kib=8192, source=_CDNA2_SHEET,
         published={"fp32": 23.95, "fp64": 23.95, "tensor_fp64": 47.85, "tensor_fp32": 47.85, "tensor_bf16": 191.5,
         "tensor_fp16": 191.5, "tensor_int8": 191.5}),
    _row(["mi300x", "mi300x vf"], 304, 2100, per_sm=_CDNA3, gb_per_s=5300, l2_kib=262144, source=_CDNA3_SHEET,
         sparse=True, published=_MI300X_RATES),
    _row(["mi325x", "mi325x vf"], 304, 2100, per_sm=_CDNA3, gb_per_s=6000, l2_kib=262144, source=_CDNA3_SHEET,
         sparse=True, published=_MI300X_RATES),
)
# fmt: on
"""Names of a product, shortened and in lower case, and its peak; the first name is the peak's own."""
