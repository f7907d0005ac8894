"""Events of a PyTorch trace as typed records: one type per category, with the fields that the asked tables need.

The category decides the type (a tagged union), so that an event nobody asked for costs hardly more than its bytes. The
types are strict, which is fast. An event that does not fit them (no category, or one never seen; text for a number; a
control character in a name; NaN) is read again by itself and tolerantly: a field of the wrong type is then null.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

import msgspec

from ds2prof.parsers import json_repair
from ds2prof.parsers.json_repair import Numeral
from ds2prof.parsers.json_stream import BrokenJsonError
from ds2prof.parsers.kineto_categories import (
    IDLE_CATEGORIES,
    LOOSE_COUNTERS,
    LOOSE_INSTANTS,
    PHASES,
    ROLES,
    UNREAD_DEVICE_WORK,
    Role,
)

Event = Any
"""A record of a category's type, a :class:`Metadata` or an :class:`Other`."""

Detail = Literal["full", "names", "times"]
"""What is read of a category's events: all, all but the arguments, or the times alone."""

MAX_CATEGORIES: Final = 512
_ABSENT: Final = msgspec.Raw()

_EXTERNAL_ID: Final = {"external_id": ("External id", "int"), "old_external_id": ("external id", "int")}
_PLACE: Final = {
    "device": ("device", "int"),
    "context": ("context", "int"),
    "stream": ("stream", "id"),
    "correlation": ("correlation", "int"),
    **_EXTERNAL_ID,
}

ARGUMENTS: Final[Mapping[Role, Mapping[str, tuple[str, str]]]] = {
    "kernel": {
        **_PLACE,
        "grid": ("grid", "triple"),
        "block": ("block", "triple"),
        "registers": ("registers per thread", "int"),
        "shared_bytes": ("shared memory", "int"),
        "blocks_per_sm": ("blocks per SM", "float"),
        "occupancy_percent": ("est. achieved occupancy %", "float"),
        "graph": ("graph id", "int"),
        "graph_node": ("graph node id", "int"),
    },
    "copy": {**_PLACE, "size_bytes": ("bytes", "int")},
    "api": {name: _PLACE[name] for name in ("device", "stream", "correlation", *_EXTERNAL_ID)},
    "allocation": {
        "size_bytes": ("Bytes", "int"),
        "device_type": ("Device Type", "int"),
        "device": ("Device Id", "int"),
        "address": ("Addr", "int"),
        "allocated_bytes": ("Total Allocated", "int"),
        "reserved_bytes": ("Total Reserved", "int"),
    },
    "op": {
        **_EXTERNAL_ID,
        "sequence": ("Sequence number", "int"),
        "forward_thread": ("Fwd thread id", "int"),
        "shapes": ("Input Dims", "json"),
        "dtypes": ("Input type", "json"),
        "concrete": ("Concrete Inputs", "json"),
    },
}
"""What is read of an event's arguments: attribute -> (name in the file, kind)."""

COLLECTIVE_ARGUMENTS: Final[Mapping[str, tuple[str, str]]] = {
    "collective": ("Collective name", "text"),
    "group": ("Process Group Name", "id"),
    "group_size": ("Group size", "int"),
    "group_ranks": ("Process Group Ranks", "json"),
    "collective_sequence": ("Seq", "int"),
    "in_elements": ("In msg nelems", "int"),
    "out_elements": ("Out msg nelems", "int"),
    "dtype": ("dtype", "text"),
}
"""What is read of a kernel's arguments besides, where the collectives are asked for."""

_FREE_ARGUMENTS: Final[tuple[Role, ...]] = ("profiled_range", "sample")
"""Roles whose arguments are metrics, under names of their own."""

_LOOSE: Final[Mapping[str, Role]] = {LOOSE_COUNTERS: "sample", LOOSE_INSTANTS: "allocation"}
"""Category that stands for events without one -> their role; they are known by its phase."""

_TYPES: Final[Mapping[str, Any]] = {
    "int": int | None,
    "id": int | str | None,  # HIP runtime calls have addresses for streams
    "text": str | None,
    "float": float | str | None,  # "inf" where Kineto does not know the device
    "triple": tuple[int, int, int] | None,
    "json": msgspec.Raw,
}


def _id(value: object) -> int | str | None:
    return json_repair.as_int(value) if isinstance(value, Numeral) or not isinstance(value, str) else value


def _numeral(value: object) -> msgspec.Raw:
    return msgspec.Raw(value.encode("utf-8", "replace")) if isinstance(value, str) else _ABSENT


_TOLERANT: Final[Mapping[str, Callable[[object], Any]]] = {
    "int": json_repair.as_int,
    "id": _id,
    "text": lambda value: json_repair.as_text(value) if isinstance(value, str) else None,
    "float": json_repair.as_float,
    "triple": json_repair.as_triple,
    "json": lambda value: _ABSENT if value is None else msgspec.Raw(json_repair.as_json(value)),
}


@dataclass(frozen=True)
class Metadata:
    """A name that the trace gives to a process or a thread."""

    name: str
    process: int | str | None
    thread: int | str | None
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Other:
    """An event that is counted and not read: its category and phase, as far as it has them."""

    category: str | None
    phase: str | None


@dataclass(frozen=True)
class Category:
    """A category of events, as far as it is read.

    Attributes:
        name: the category, as it stands in the file.
        role: what its events are, None where nothing is made of them.
        detail: what is read of them, None where they are only counted.
        arguments: the type of their arguments.
        no_arguments: the arguments of an event that has none.
    """

    name: str
    role: Role | None = None
    detail: Detail | None = None
    arguments: Any = None
    no_arguments: Any = None

    @property
    def phase(self) -> str:
        """The phase of the events that are read."""
        return "X" if self.role is None else PHASES.get(self.role, "X")


def _record_type(category: Category) -> Any:
    fields: list[Any] = []
    if category.detail is not None:
        fields += [("ph", Literal[category.phase]), ("ts", msgspec.Raw, _ABSENT), ("dur", msgspec.Raw, _ABSENT)]
    if category.detail in ("names", "full"):
        fields += [("name", str, ""), ("pid", _TYPES["id"], None), ("tid", _TYPES["id"], None)]
    if category.detail == "full":
        fields += [("args", category.arguments, msgspec.field(default_factory=lambda: category.no_arguments))]
    return msgspec.defstruct(f"{category.role or 'Counted'}Event", fields, gc=False, tag_field="cat", tag=category.name)


def _arguments_type(role: Role, *, collectives: bool) -> Any:
    if role in _FREE_ARGUMENTS:
        return dict[str, Any]
    wanted = {**ARGUMENTS.get(role, {}), **(COLLECTIVE_ARGUMENTS if collectives and role == "kernel" else {})}
    fields = [
        (name, _TYPES[kind], msgspec.field(name=key, default=_ABSENT if kind == "json" else None))
        for name, (key, kind) in wanted.items()
    ]
    return msgspec.defstruct(f"{role}Arguments", fields, gc=False)


class EventDecoder:
    """Decodes events of the categories with the given roles in the given detail; of all others it tells the category.

    Args:
        details: how much is read of each role's events.
        collectives: of kernels, also what they say of the collective that they are.

    Attributes:
        categories: what each type of record stands for. It grows with the categories that the file shows.
    """

    def __init__(self, details: Mapping[Role, Detail], *, collectives: bool = False) -> None:
        arguments = {role: _arguments_type(role, collectives=collectives) for role in details}
        self.categories: dict[Any, Category] = {}
        self._types: dict[str, Any] = {}
        for name, (role, _) in ROLES.items():
            kind = arguments.get(role)
            self._add(Category(name, role, details.get(role), kind, kind and kind()))
        for name in (*IDLE_CATEGORIES, *UNREAD_DEVICE_WORK):
            self._add(Category(name))
        for name, loose_role in _LOOSE.items():
            kind = arguments.get(loose_role)
            self._add(Category(name, loose_role, details.get(loose_role), kind, kind and kind()))
        self._raws = msgspec.json.Decoder(list[msgspec.Raw])
        self._many, self._one = self._decoders()

    def decode(self, data: bytes) -> list[Event]:
        """The events in a JSON array.

        Raises:
            BrokenJsonError: ``data`` is no JSON array.
        """
        try:
            return cast("list[Event]", self._many.decode(data))
        except msgspec.ValidationError:
            pass
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise BrokenJsonError from None
        try:
            return [self._single(raw) for raw in self._raws.decode(data)]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise BrokenJsonError from None

    def salvage(self, element: bytes) -> Event | None:
        """The event in one element, read tolerantly; None where nothing can be made of it."""
        found = json_repair.tolerant_object(element)
        return None if found is None else self._built(found)

    def _single(self, raw: msgspec.Raw) -> Event:
        try:
            return self._one.decode(raw)
        except msgspec.ValidationError:
            element = bytes(raw)
        event = self.salvage(element)
        if event is not None:
            return event
        if element[:1] == b"{":
            raise BrokenJsonError
        return Other(None, None)

    def _built(self, found: Mapping[str, Any]) -> Event:
        name, phase = found.get("cat"), found.get("ph")
        name, phase = (json_repair.as_text(value) if isinstance(value, str) else None for value in (name, phase))
        if phase == "M" and name not in self._types:
            return _metadata(found)
        if name is None:
            name = next((loose for loose, role in _LOOSE.items() if PHASES[role] == phase), None)
        if name is None or not self._known(name):
            return Other(name, phase)
        record = self._types[name]
        category = self.categories[record]
        if category.detail is None:
            return record()
        return self._record(record, category, found) if phase == category.phase else Other(name, phase)

    def _record(self, record: Any, category: Category, found: Mapping[str, Any]) -> Event:
        event = record(ph=category.phase, ts=_numeral(found.get("ts")), dur=_numeral(found.get("dur")))
        if category.detail != "times":
            event.name = json_repair.as_text(found.get("name"))
            event.pid, event.tid = _id(found.get("pid")), _id(found.get("tid"))
        arguments = found.get("args")
        if category.detail == "full" and isinstance(arguments, dict):
            event.args = _arguments(category, arguments)
        return event

    def _known(self, name: str) -> bool:
        """Whether there is a type for the category; there is one from now on, unless there are too many."""
        if name not in self._types and len(self._types) < MAX_CATEGORIES:
            self._add(Category(name))
            self._many, self._one = self._decoders()
        return name in self._types

    def _add(self, category: Category) -> None:
        record = _record_type(category)
        self._types[category.name] = record
        self.categories[record] = category

    def _decoders(self) -> tuple[Any, Any]:
        union: Any = functools.reduce(operator.or_, self._types.values())
        return msgspec.json.Decoder(list[union]), msgspec.json.Decoder(union)


def _metadata(found: Mapping[str, Any]) -> Metadata:
    arguments = found.get("args")
    return Metadata(
        json_repair.as_text(found.get("name")),
        _id(found.get("pid")),
        _id(found.get("tid")),
        arguments if isinstance(arguments, dict) else {},
    )


def _arguments(category: Category, found: Mapping[str, Any]) -> Any:
    if category.role in _FREE_ARGUMENTS:
        return {json_repair.as_text(key): json_repair.as_plain(value) for key, value in found.items()}
    assert category.role is not None
    known = set(category.arguments.__struct_fields__)
    fields: Iterable[tuple[str, tuple[str, str]]] = {**ARGUMENTS.get(category.role, {}), **COLLECTIVE_ARGUMENTS}.items()
    return category.arguments(
        **{name: _TOLERANT[kind](found.get(key)) for name, (key, kind) in fields if name in known}
    )
