"""One call of an operator as its record tells it: what shapes, types and plain values went in."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

Shape = tuple[int, ...]

TYPE_BYTES: Final = {
    "float": 4,
    "double": 8,
    "int": 4,
    "long int": 8,
    "long": 8,
    "short int": 2,
    "short": 2,
    "bool": 1,
    "unsigned char": 1,
    "signed char": 1,
    "c10::Half": 2,
    "c10::BFloat16": 2,
    "c10::Float8_e4m3fn": 1,
    "c10::Float8_e5m2": 1,
    "c10::Float8_e4m3fnuz": 1,
    "c10::Float8_e5m2fnuz": 1,
    "c10::complex<float>": 8,
    "c10::complex<double>": 16,
}
"""Type of a tensor's values as Kineto writes it -> bytes of one. Old traces write ``Int`` and ``Bool`` for plain
values, which are not these."""
INTEGERS: Final = frozenset(
    ("int", "long int", "long", "short int", "short", "bool", "unsigned char", "signed char", "")
)
"""Types whose operations are not floating point."""

_MOST_CHARACTERS: Final = 1 << 20
_LARGEST: Final = 1 << 62


@dataclass(frozen=True)
class Call:
    """One call. An argument that is no tensor has the shape None; a list of tensors is a list of shapes.

    Attributes:
        name: the operator, without its namespace.
        dims: for each argument its shape, or the shapes of a list of tensors, or None.
        types: for each argument its type, "" where unknown.
        values: for each argument its text, "" where it is a tensor or was not recorded.
    """

    name: str
    dims: tuple[Shape | tuple[Shape, ...] | None, ...]
    types: tuple[str, ...]
    values: tuple[str, ...] = ()

    def shape(self, place: int) -> Shape | None:
        """The shape of the tensor at ``place``; None where there is none, or a list."""
        found = self.dims[place] if place < len(self.dims) else None
        return found if found is not None and not _is_list(found) else None  # type: ignore[return-value]

    def shapes(self, place: int) -> tuple[Shape, ...]:
        """The shapes of the tensors of the list at ``place``; none where there is none."""
        found = self.dims[place] if place < len(self.dims) else None
        return found if found is not None and _is_list(found) else ()  # type: ignore[return-value]

    def type(self, place: int) -> str:
        """The type of the argument at ``place``."""
        return self.types[place] if place < len(self.types) else ""

    def value_bytes(self, place: int) -> int | None:
        """Bytes of one value of the tensor at ``place``; None where its type is not known."""
        return TYPE_BYTES.get(self.type(place))

    def size_bytes(self, *places: int) -> int | None:
        """Bytes of the tensors at ``places``, those that are not there left out; None where a type is not known."""
        total = 0
        for place in places:
            shape = self.shape(place)
            if shape is None:
                continue
            each = self.value_bytes(place)
            if each is None:
                return None
            total += each * math.prod(shape)
        return total

    def list_values(self, place: int) -> int | None:
        """How many values the tensors of the list at ``place`` have; None where the list was not recorded."""
        shapes = self.shapes(place)
        return sum(map(math.prod, shapes)) if shapes else None

    def ints(self, place: int) -> list[int] | None:
        """The list of ints at ``place``; None where it was not recorded."""
        text = self.values[place] if place < len(self.values) else ""
        if not re.fullmatch(r"\[(-?\d{1,18}(, ?-?\d{1,18})*)?\]", text):
            return None
        return [int(part) for part in re.findall(r"-?\d+", text)]

    def integer(self, place: int) -> int | None:
        """The int at ``place``; None where it was not recorded."""
        text = self.values[place] if place < len(self.values) else ""
        return int(text) if re.fullmatch(r"-?\d{1,18}", text) else None

    def flag(self, place: int) -> bool | None:
        """The bool at ``place``; None where it was not recorded."""
        text = self.values[place] if place < len(self.values) else ""
        return {"True": True, "False": False}.get(text)

    def flags(self, place: int) -> list[bool] | None:
        """The list of bools at ``place``; None where it was not recorded."""
        text = self.values[place] if place < len(self.values) else ""
        if not re.fullmatch(r"\[((True|False)(, ?(True|False))*)?\]", text):
            return None
        return [part == "True" for part in re.findall(r"True|False", text)]


def call_of(name: str, shapes: str | None, dtypes: str | None, values: str | None = None) -> Call:
    """The call with this name and these texts of its record; what they do not tell is absent."""
    listed = list(_list(values))
    types = tuple(text if isinstance(text, str) else "" for text in _list(dtypes))
    dims = tuple(_dims(item, types[place] if place < len(types) else "") for place, item in enumerate(_list(shapes)))
    texts = tuple(text if isinstance(text, str) else "" for text in listed)
    return Call(name.rpartition("::")[2], dims, types, texts)


def broadcast(*shapes: Shape) -> Shape:
    """The shape that values of these shapes have together."""
    length = max((len(shape) for shape in shapes), default=0)
    padded = [(1,) * (length - len(shape)) + shape for shape in shapes]
    return tuple(0 if 0 in sizes else max(sizes) for sizes in zip(*padded, strict=True))


def _is_list(found: Shape | tuple[Shape, ...]) -> bool:
    return bool(found) and isinstance(found[0], tuple)


def _list(text: str | None) -> Sequence[Any]:
    if not text or len(text) > _MOST_CHARACTERS:
        return ()
    import json  # not before a trace has shapes: a parse of counters starts without it

    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    return found if isinstance(found, list) else ()


def _dims(item: Any, type_: str) -> Shape | tuple[Shape, ...] | None:
    """The shape of one argument: a tensor without axes and no tensor are both ``[]``, and the type tells them apart."""
    if not isinstance(item, list):
        return None
    if item and all(isinstance(each, list) for each in item):
        inner = tuple(_shape(each) for each in item)
        return inner if None not in inner else None  # type: ignore[return-value]
    if not item and type_ not in TYPE_BYTES:
        return None
    return _shape(item)


def _shape(item: list[Any]) -> Shape | None:
    if all(isinstance(size, int) and not isinstance(size, bool) and 0 <= size < _LARGEST for size in item):
        return tuple(item)
    return None
