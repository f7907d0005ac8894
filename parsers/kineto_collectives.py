"""Collectives of a PyTorch trace: what a communication kernel's arguments say of the call that launched it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ds2prof.parsers.kineto_columns import Ints, Step, Texts, Times
from ds2prof.parsers.kineto_events import Event, EventDecoder
from ds2prof.parsers.kineto_rows import Rows
from ds2prof.tables import Column

ELEMENT_BYTES: Final[Mapping[str, int]] = {
    **dict.fromkeys(("Byte", "Char", "Bool", "QInt8", "QUInt8", "UInt8"), 1),
    **dict.fromkeys(("Float8_e4m3fn", "Float8_e5m2", "Float8_e4m3fnuz", "Float8_e5m2fnuz", "Float8_e8m0fnu"), 1),
    **dict.fromkeys(("Short", "Half", "BFloat16", "UInt16"), 2),
    **dict.fromkeys(("Int", "Float", "UInt32", "ComplexHalf"), 4),
    **dict.fromkeys(("Long", "Double", "UInt64", "ComplexFloat"), 8),
    "ComplexDouble": 16,
}
"""PyTorch's names of element types, as its traces spell them."""


class CollectiveRows(Rows):
    """Collectives: the kernels whose arguments name one. ``launch`` counts the kernels that have usable times.

    PyTorch copies them from the operator ``record_param_comms`` to the kernel since 2024; older traces have none.
    ``sequence`` is there since 2025.
    """

    def __init__(self, decoder: EventDecoder, step: Step | None = None) -> None:
        super().__init__(decoder)  # the kernels' table tells the step, and what was left out
        self._kernels = 0
        self._groups, self._ranks, self._dtypes = Texts(), Texts(), Texts()
        self._launches = Ints()

    def add(self, events: list[Event]) -> None:
        """Append the collectives among the kernels."""
        kernels = Times().add(events)
        chosen = [(row, kernel) for row, kernel in enumerate(kernels, self._kernels) if kernel.args.collective]
        self._kernels += len(kernels)
        if chosen:
            self._launches.add([row for row, _ in chosen])
            self._names.add([kernel.args.collective for _, kernel in chosen])
            self._add([kernel for _, kernel in chosen])

    def _add(self, events: list[Event]) -> None:
        arguments = [event.args for event in events]
        self._groups.add([None if found.group is None else str(found.group) for found in arguments])
        self._ranks.add([_listed(bytes(found.group_ranks)) for found in arguments])
        self._dtypes.add([found.dtype or None for found in arguments])
        self._int("group_size", [found.group_size for found in arguments], least=1)
        self._int("sequence", [found.collective_sequence for found in arguments])
        self._int("in_bytes", [_size_bytes(found.in_elements, found.dtype) for found in arguments])
        self._int("out_bytes", [_size_bytes(found.out_elements, found.dtype) for found in arguments])

    def columns(self, base_ns: int) -> dict[str, Column]:
        """The columns in the end; none where no kernel is a collective."""
        names = self._names.column()
        assert names is not None
        if not len(names):
            return {}
        found = {
            "launch": self._launches.column(),
            "name": names,
            "group": self._groups.column(),
            "ranks": self._ranks.column(),
            "dtype": self._dtypes.column(),
            **{name: ints.column() for name, ints in self._ints.items()},
        }
        return {name: column for name, column in found.items() if column is not None}


def _size_bytes(elements: int | None, dtype: str | None) -> int | None:
    """Bytes of so many elements; None where their number or size is not known."""
    size = ELEMENT_BYTES.get(dtype or "")
    return None if elements is None or size is None else elements * size


def _listed(raw: bytes) -> str | None:
    """The ranks without blanks, of JSON text (``"[0, 1]"``) or a JSON list; None for an empty list or none."""
    try:
        found: Any = msgspec.json.decode(raw) if raw else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(found, list):
        found = ",".join(str(rank) for rank in found)
    text = found.replace(" ", "").strip("[]") if isinstance(found, str) else ""
    return text or None
