"""Operations and bytes of each kernel: counted, where the file has counters, else modelled; never both.

The modelled work of an operator goes to the kernels that it launched. Of a product (gemm, convolution, recurrent) the
kernels of those classes take all of it, in proportion to their times; the kernels that only prepare or finish it
(layouts, split-K sums, biases) have none of their own, and what they take is time that the product's roof does not
have. Of anything else all kernels take it in proportion to their times.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from ds2prof.analysis import attribution
from ds2prof.analysis.intervals import FloatArray
from ds2prof.analysis.roofline.executed import Executed, executed
from ds2prof.analysis.roofline.operators import OperatorWork, operator_work
from ds2prof.analysis.roofline.work import PRODUCTS, Work
from ds2prof.kernel_names import kernel_class
from ds2prof.tables import BoolArray, IntArray, Profile, Table

TABLES: Final = ("kernels", "copies", "counters", "devices", "api", "ops", "ranges")
HOW: Final = (
    "record shapes (torch.profiler with record_shapes; train_profiling.py --profiler torch --detail), or counters: "
    "'ds2prof metrics plan --want roofline'"
)
Source = Literal["counters", "model"]
NO_KIND: Final = -1
_MAIN_CLASSES: Final = ("gemm", "convolution", "recurrent")
_HELPER_NAMES: Final = re.compile(
    r"split_?k_?reduce|_postgsu\d|computeb?offsets|generatewinogradtiles|winograd[a-z]*(data|filter|output|delta)\d"
    r"|fft[12]d_(r2c|c2r)|flip_filter|epilogue::impl"
)
"""Kernels of a product's own classes that only prepare it or add up its parts."""
_TF32_NAMES: Final = re.compile(r"tf32|s1688(gemm|fprop|dgrad|wgrad)|nvjet_")
_DMMA_NAMES: Final = re.compile(r"d884|d16816|dmma|cijk_")
_OPAQUE: Final = re.compile(r"OpaqueType<(1|2|4|8|16)u?>")
_FUNCTOR: Final = re.compile(r"Functor<(float|double|c10::Half|c10::BFloat16)[,>]")
_FUNCTOR_BYTES: Final = {"float": 4, "double": 8, "c10::Half": 2, "c10::BFloat16": 2}
_TYPE_KINDS: Final = {
    "c10::Half": "tensor_fp16",
    "c10::BFloat16": "tensor_bf16",
    "c10::Float8_e4m3fn": "tensor_fp8",
    "c10::Float8_e5m2": "tensor_fp8",
    "c10::Float8_e4m3fnuz": "tensor_fp8",
    "c10::Float8_e5m2fnuz": "tensor_fp8",
    "signed char": "tensor_int8",
    "unsigned char": "tensor_int8",
}
"""Type of a product's factors -> the kind of peak. FP32 and FP64 depend on the kernel: its name tells."""


@dataclass(frozen=True, eq=False)
class KernelWork:
    """What each kernel did; NaN where it is not known.

    Attributes:
        source: where it is from.
        flop: operations, as floats; shared out where an operator launched several kernels.
        size_bytes: bytes: of the memory where counted, compulsory where modelled.
        kind: the place of its kind of peak in ``kinds``; -1 where unknown.
        kinds: kinds of peak, as :data:`ds2prof.peaks.KINDS` has them.
        is_helper: kernels that only prepare or finish the product of others.
        counted: what the counters say, where the source is counters.
        works: what the operators' models say, where it is the model.
    """

    source: Source
    flop: FloatArray
    size_bytes: FloatArray
    kind: IntArray
    kinds: tuple[str, ...]
    is_helper: BoolArray
    counted: Executed | None = None
    works: OperatorWork | None = None


def kernel_work(profile: Profile) -> KernelWork:
    """The work of each kernel, worked out once per profile."""
    profile.require(*TABLES)
    return profile.derived("work of kernels", lambda: _kernel_work(profile))


def _kernel_work(profile: Profile) -> KernelWork:
    counted = executed(profile)
    return _counted(profile, counted) if counted is not None else _modelled(profile)


def _counted(profile: Profile, counted: Executed) -> KernelWork:
    count = len(profile.table("kernels"))
    nothing = np.full(count, NO_KIND, dtype=np.int64)
    helpers = np.zeros(count, dtype=np.bool_)
    return KernelWork("counters", counted.total_flop, counted.size_bytes, nothing, (), helpers, counted=counted)


def _modelled(profile: Profile) -> KernelWork:
    kernels, works = profile.table("kernels"), operator_work(profile)
    operator = attribution.operators(profile, "kernels")
    claims = np.concatenate((works.claims, [-1]))[operator]
    known = claims >= 0
    known[known] = works.flop[claims[known]] >= 0
    names = kernels["name"]
    distinct = list(names.categories or ())
    classes = np.array([_computes_product(name) for name in distinct] + [False], dtype=np.bool_)
    family_is_product = np.array(
        [work is not None and work.family in PRODUCTS for work in works.works] + [False], dtype=np.bool_
    )
    rows = np.flatnonzero(known)
    place = claims[rows]
    is_product = family_is_product[works.work[place]]
    is_main = classes[names.values[rows]]
    has_main = np.bincount(place[is_product & is_main], minlength=len(works.rows)) > 0
    takes = ~(is_product & has_main[place]) | is_main
    part = _parts(kernels, rows, place, takes, len(works.rows))
    flop, size_bytes = np.full(len(kernels), np.nan), np.full(len(kernels), np.nan)
    flop[rows] = works.flop[place] * part
    kind, kinds, whole = _by_name(profile, works, rows, place)
    size_bytes[rows] = whole * part
    size_bytes[rows[~takes]] = 0.0
    helper = np.zeros(len(kernels), dtype=np.bool_)
    helper[rows[~takes]] = True
    return KernelWork("model", flop, size_bytes, kind, kinds, helper, works=works)


def _computes_product(name: str) -> bool:
    return kernel_class(name) in _MAIN_CLASSES and _HELPER_NAMES.search(name.lower()) is None


def _parts(kernels: Table, rows: IntArray, place: IntArray, takes: BoolArray, count: int) -> FloatArray:
    """Each kernel's part of its operator's work: by its time among those that take some, evenly where none took any."""
    durations = kernels.ints("dur_ns")[rows].astype(np.float64)
    weights = np.where(takes, durations, 0.0)
    whole = np.bincount(place, weights=weights, minlength=count)[place]
    takers = np.bincount(place, weights=takes, minlength=count)[place]
    even = np.where(takes, 1.0 / np.maximum(takers, 1.0), 0.0)
    return np.where(whole > 0, np.divide(weights, whole, out=np.zeros(len(rows)), where=whole > 0), even)


def _by_name(
    profile: Profile, works: OperatorWork, rows: IntArray, place: IntArray
) -> tuple[IntArray, tuple[str, ...], FloatArray]:
    """What an operator's types and a kernel's own name tell together, each pair looked at once.

    Returns:
        (for each kernel the place of its kind of peak, the kinds, for each of ``rows`` the bytes of its operator: those
        of the model, or the model's values x the bytes of one as the kernel's name has them).
    """
    names = profile.table("kernels")["name"]
    texts = list(names.categories or ())
    pairs = works.work[place] * max(len(texts), 1) + names.values[rows]
    distinct, inverse = np.unique(pairs, return_inverse=True)
    kinds: dict[str, int] = {}
    codes, sizes = [], []
    for pair in distinct.tolist():
        number, name = divmod(pair, max(len(texts), 1))
        work = works.works[number]
        assert work is not None, "only work that is known is asked for"
        kind = _kind(work.family, work.type, texts[name].lower())
        codes.append(NO_KIND if kind is None else kinds.setdefault(kind, len(kinds)))
        sizes.append(_size_bytes(work, texts[name]))
    kind_of = np.full(len(names), NO_KIND, dtype=np.int64)
    kind_of[rows] = np.array(codes, dtype=np.int64)[inverse]
    return kind_of, tuple(kinds), np.array(sizes, dtype=np.float64)[inverse]


def _size_bytes(work: Work, name: str) -> float:
    if work.size_bytes is not None:
        return float(work.size_bytes)
    each = value_bytes_of(name)
    return np.nan if work.values is None or each is None else float(work.values * each)


def value_bytes_of(name: str) -> int | None:
    """Bytes of a value that a kernel on lists of tensors moves, as its name tells; None where it does not.

    ``CatArrayBatchedCopy<OpaqueType<2u>, ...>``, ``multi_tensor_apply_kernel<..., UnaryOpFunctor<float, ...>, ...>``.
    """
    opaque = _OPAQUE.search(name)
    if opaque is not None:
        return int(opaque[1])
    functor = _FUNCTOR.search(name)
    return None if functor is None else _FUNCTOR_BYTES[functor[1]]


def _kind(family: str, type_: str, name: str) -> str | None:
    """The kind of peak: tensor cores for products of types that they have, else the cores in FP32 or FP64.

    PyTorch computes on values of 16 bits in FP32, one by one; only products run in their own type.
    """
    if family not in PRODUCTS:
        return "fp64" if type_ == "double" else "fp32"
    if type_ == "float":
        return "tensor_tf32" if _TF32_NAMES.search(name) else "tensor_fp32"
    if type_ == "double":
        return "tensor_fp64" if _DMMA_NAMES.search(name) else "fp64"
    return _TYPE_KINDS.get(type_)
