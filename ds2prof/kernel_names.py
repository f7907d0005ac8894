"""A kernel's names: the canonical form for matching, the short form for reading, and its class.

The classes are in :mod:`ds2prof.kernel_classes` and offered here too.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from ds2prof.demangled import (
    ANONYMOUS,
    Group,
    Items,
    lambda_number,
    own_name,
    parse_items,
    plain_text,
    render,
    without_parameters,
)
from ds2prof.kernel_classes import kernel_class, op_class

__all__ = ["canonical_name", "kernel_class", "op_class", "short_name"]

SHORT_LENGTH: Final = 60
"""Template arguments are dropped from a short name that is longer than this, the innermost first."""

WRAPPERS: Final = frozenset(
    {
        *("AUnaryFunctor", "BUnaryFunctor", "BinaryFunctor", "UnaryFunctor"),
        *("ReduceOp", "func_wrapper_t", "gpu_kernel_impl", "gpu_kernel_impl_nocast", "gpu_kernel_with_scalars"),
        *("gpu_index_kernel", "opmath_gpu_kernel_with_scalars", "opmath_symmetric_gpu_kernel_with_scalars"),
        *("CollectiveMma", "CollectiveBuilder", "CollectiveEpilogue"),
    }
)
"""Templates that say nothing themselves: the functor among their arguments is named instead."""

SHELLS: Final = frozenset({"Kernel", "Kernel2", "device_kernel", "kentry"})
"""Functions that say nothing themselves: the class that they run is named instead (CUTLASS, composable kernel)."""

PLUMBING: Final = frozenset(
    {
        *("Array", "array", "tuple", "pair", "TensorInfo", "OffsetInfo", "TrivialOffsetCalculator", "OffsetCalculator"),
        *("LoadWithCast", "LoadWithoutCast", "StoreWithCast", "StoreWithoutCast", "integral_constant", "identity"),
        *("TensorListMetadata", "TensorListScalarListMetadata", "FusedOptimizerTensorListMetadata"),
        *("DefaultPtrTraits", "RestrictPtrTraits", "KernelParams", "C", "Underscore", "true", "false", "decltype", ""),
        *("Policy", "AgentScanPolicy", "ScanTileState", "PtxReduceByKeyPolicy", "ReduceByKeyScanTileState"),
        *("cublasGemvParams", "cublasGemvParamsEx", "cublasGemvTensorStridedBatched", "cublasGemmSmallNParams"),
        *("cublasDotParams", "cublasSplitKParams"),
    }
)
"""Types that carry data about. They are left out."""

SCALARS: Final = frozenset(
    {
        *("float", "double", "half", "__half", "Half", "BFloat16", "__nv_bfloat16", "bfloat16", "bfloat16_t", "half_t"),
        *("tfloat32_t", "float2", "double2", "complex", "Float8_e4m3fn", "Float8_e5m2", "__nv_fp8_e4m3"),
        *("float_e4m3_t", "float_e5m2_t", "__nv_fp8_e5m2", "__hip_bfloat16"),
    }
)
"""Element types of floating point. The first among the template arguments is kept."""

INTEGERS: Final = frozenset({"bool", "char", "short", "int", "long", "signed", "unsigned", "int8_t", "uint8_t"})
"""Element types of integers, kept where no floating one stands beside them: most often they are indices."""

VAGUE: Final = frozenset({"kernel", "kernels", "run", "globalKernel", "impl", "detail", "internal"})
"""Last parts of a name that need the namespace before them."""


def canonical_name(name: str) -> str:
    """The form in which one kernel is named alike by all tools: ``void k<(int)32>(int)`` and ``k<32>`` are ``k<32>``.

    Parameters, return type and blanks are dropped; casts and suffixes of literals too (``(unsigned long)2`` and ``2ul``
    are ``2``, ``(bool)1`` is ``true``); ``const`` stands behind its type; unnamed namespaces and lambdas have one
    spelling. Mangled names, C names and text that is no C++ name stay as they are, on one line. The canonical form of a
    canonical form is itself, for any text.
    """
    text = plain_text(name)
    once = _canonical(text)
    return once if once == text or _canonical(once) == once else text


def short_name(name: str) -> str:
    """A name to read, about 60 characters: the function, its element type, and the functor that tells its work.

    ``void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>, ...>(...)`` is
    ``vectorized_elementwise_kernel<CUDAFunctor_add<float>>``; a lambda is named by the function around it, a CUTLASS
    kernel by its configuration. Parameters, namespaces, numbers and types that only carry data are left out, so several
    kernels can share a short name. Names that code generators made (nvjet, xmma, Triton, NCCL) are short forms already;
    Tensile's end with the tile. Mangled names stay as they are.
    """
    text = plain_text(name)
    if text.startswith("_Z"):
        return text
    if text.startswith("Cijk_"):
        return re.sub(r"(_MT[\dx]+(?:_MI[\dx]+)?)_.*", r"\1", text)
    head, called = without_parameters(text)
    if not called and "<" not in head:
        return head or text
    items = parse_items(head)
    if items is None:
        return _before_brackets(head)
    path = _path(own_name(items))
    short = ""
    for depth in (2, 1, 0):
        short = _function(path, depth=depth)
        if len(short) <= SHORT_LENGTH:
            break
    return short or text


def _canonical(text: str) -> str:
    """One pass over text that is on one line."""
    if text.startswith("_Z") or not ("<" in text or "(" in text or "::" in text):
        return text.removesuffix(".kd").rstrip() or text
    head, called = without_parameters(text)
    items = parse_items(head)
    if not items:
        return text
    if called or (isinstance(items[-1], Group) and items[-1].opener == "<"):
        items = own_name(items)
    return text if " " in items else render(items) or text


def _before_brackets(head: str) -> str:
    """The last part of what stands before the first bracket: for names whose brackets do not match."""
    start = re.split(r"[<(\[{]", head.removeprefix("void ").replace(ANONYMOUS + "::", ""), maxsplit=1)[0]
    return start.rstrip(": ").rpartition("::")[2] or head[:SHORT_LENGTH]


class _Component(NamedTuple):
    """What stands between two ``::``: words, template arguments, or a lambda."""

    name: str
    arguments: Group | None
    closure: Group | None


_Path = list[_Component]


def _path(items: Items) -> _Path:
    """The components of a qualified name. Parameters, ``const`` and pointers belong to none."""
    path: _Path = []
    words: list[str] = []
    arguments = closure = None
    for item in items:
        if isinstance(item, Group):
            arguments = item if item.opener == "<" else arguments
            closure = item if lambda_number(item) is not None else closure
        elif item == "::":
            path.append(_Component(" ".join(words), arguments, closure))
            words, arguments, closure = [], None, None
        elif item[0].isidentifier() and item != "const":
            words.append(item)
    path.append(_Component(" ".join(words), arguments, closure))
    return path


def _function(path: _Path, *, depth: int) -> str:
    """A function's short name; ``depth`` 2 keeps its functor with the element type, 1 without, 0 keeps neither."""
    owner = next((component for component in reversed(path) if component.name), path[-1])
    name, arguments, _ = owner
    paths = [_path(part) for part in arguments.parts] if arguments and (depth or name in SHELLS) else []
    functor = _functor(paths, depth=depth)
    if name in SHELLS and functor is not None:
        return functor
    if name in VAGUE:
        outer = [part.name for part in path[: path.index(owner)] if part.name and part.name not in VAGUE]
        name = "::".join([*outer[-1:], name])
    element = _element_type(paths)
    if functor is None:
        return f"{name}<{element}>" if element else name
    if element in SCALARS and not functor.endswith((">", ")")):
        return f"{name}<{element}, {functor}>"
    return f"{name}<{functor}>"


def _element_type(paths: list[_Path]) -> str | None:
    """The first floating point type among the arguments, else the first integer, else None."""
    integer = None
    for path in paths:
        name = path[-1].name
        if name in SCALARS:
            return name
        if integer is None and name.partition(" ")[0] in INTEGERS:
            integer = name
    return integer


def _functor(paths: list[_Path], *, depth: int) -> str | None:
    """The first of the arguments that names work to be done; None where all are numbers, element types or plumbing."""
    for path in paths:
        first = next((place for place, component in enumerate(path) if component.closure is not None), None)
        name = _class(path[-1], depth=depth) if first is None else _lambda_owner(path, first, depth=depth)
        if name:
            return name
    return None


def _class(component: _Component, *, depth: int) -> str | None:
    """A class's short name, with its element type at depth 2; None where it says nothing about the work."""
    name, arguments, _ = component
    if name in SCALARS or name.rstrip("0123456789") in PLUMBING or name.partition(" ")[0] in INTEGERS:
        return None
    if arguments is None:
        return name
    if name in WRAPPERS:
        return _functor([_path(part) for part in arguments.parts], depth=depth) or name
    element = _element_type([_path(part) for part in arguments.parts]) if depth > 1 else None
    return f"{name}<{element}>" if element else name


def _lambda_owner(path: _Path, first: int, *, depth: int) -> str | None:
    """A lambda by the function around it: ``tanh_kernel(float)``, and ``build(int)#2`` where it is not the first."""
    owner = next((part for part in reversed(path[:first]) if part.name not in ("", "operator()")), None)
    if owner is None:
        return None
    named = _class(owner, depth=depth)
    if owner.name in WRAPPERS or named is None:
        return named
    closure = next(component.closure for component in reversed(path) if component.closure is not None)
    number = lambda_number(closure) or 1
    typed = depth > 1 and named == owner.name
    parameters = next((item for item in closure.parts[0] if isinstance(item, Group) and typed), None)
    element = _element_type([_path(part) for part in parameters.parts]) if parameters else None
    return named + (f"({element})" if element else "") + (f"#{number}" if number > 1 else "")
