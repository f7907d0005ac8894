"""The records of rocprofv3's JSON as types, and a long array of them decoded piece by piece.

The arrays stay where they are in the mapped file until a table wants them. What does not fit its type costs itself
alone, and is counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, TypeVar

import msgspec

from ds2prof.errors import ReadError
from ds2prof.parsers.json_scan import Elements, elements

CHUNK_BYTES: Final = 1 << 20
MAX_NAMES: Final = 1 << 20
MAX_REPAIRED_BYTES: Final = 256 << 20
_NO_NUMBER: Final = re.compile(rb"\b(?:nan|inf|infinity)\b", re.IGNORECASE)
_TEXT_OR_NO_NUMBER: Final = re.compile(
    rb'"[^"\\]*(?:\\.[^"\\]*)*"|(-?\b(?:nan|inf|infinity)\b)', re.IGNORECASE | re.DOTALL
)
_ABSENT: Final = msgspec.Raw()
_GAP_BYTES: Final = b" \t\r\n,"
_MAX_KEY_BYTES: Final = 256
_DAMAGE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

T = TypeVar("T")


class Record(msgspec.Struct, gc=False):
    """What all records are: types that hold no cycles."""


class Handle(msgspec.Struct, frozen=True, gc=False):
    """An opaque identifier."""

    handle: int | None = None


class Dim3(msgspec.Struct, frozen=True, gc=False):
    """Three sizes."""

    x: int | None = None
    y: int | None = None
    z: int | None = None


class Correlation(msgspec.Struct, frozen=True, gc=False):
    """What joins a launch and its work."""

    internal: int | None = None


_NO_HANDLE: Final = Handle()
_NO_SIZE: Final = Dim3()
_NO_CORRELATION: Final = Correlation()


class Info(Record):
    """What was launched, and where."""

    agent_id: Handle = _NO_HANDLE
    kernel_id: int | None = None
    dispatch_id: int | None = None
    private_segment_size: int | None = None
    group_segment_size: int | None = None
    workgroup_size: Dim3 = _NO_SIZE
    grid_size: Dim3 = _NO_SIZE


class Timed(Record):
    """What has times and a correlation."""

    start_timestamp: int | None = None
    end_timestamp: int | None = None
    correlation_id: Correlation = _NO_CORRELATION


class Call(Timed):
    """A call, or a range of the program."""

    kind: int = 0
    operation: int = 0
    thread_id: int | None = None


class Dispatch(Timed):
    """A kernel that ran."""

    dispatch_info: Info = msgspec.field(default_factory=Info)
    stream_id: Handle = _NO_HANDLE


class Copy(Timed):
    """A copy that ran."""

    kind: int = 0
    operation: int = 0
    src_agent_id: Handle = _NO_HANDLE
    dst_agent_id: Handle = _NO_HANDLE
    bytes: int | None = None
    stream_id: Handle = _NO_HANDLE


class Reading(Record):
    """One instance of one counter."""

    counter_id: Handle = _NO_HANDLE
    value: float | None = None


class Counted(Record):
    """A dispatch with its counters."""

    dispatch_data: Dispatch = msgspec.field(default_factory=Dispatch)
    records: list[Reading] = msgspec.field(default_factory=list)


class Symbol(Record):
    """A kernel in a code object."""

    kernel_id: int | None = None
    kernel_name: str = ""
    formatted_kernel_name: str = ""
    arch_vgpr_count: int | None = None


class Kind(Record):
    """A kind of record and its operations."""

    kind: str = ""
    operations: list[str] = msgspec.field(default_factory=list)


class Message(Record):
    """The text of a marker, by its correlation."""

    key: int | None = None
    value: str = ""


class CounterName(Record):
    """A counter's name, by its identifier."""

    id: Handle = _NO_HANDLE
    name: str = ""


class Strings(Record):
    """Names of kinds and messages of markers."""

    buffer_records: msgspec.Raw = _ABSENT
    marker_api: msgspec.Raw = _ABSENT


class Bank(Record):
    """Memory of an agent; heaps 1 and 2 are a GPU's own."""

    heap_type: int | None = None
    size_in_bytes: int | None = None


class Agent(Record):
    """A CPU or a GPU."""

    id: Handle = _NO_HANDLE
    type: int | None = None
    node_id: int | None = None
    logical_node_type_id: int | None = None
    product_name: str = ""
    name: str = ""
    cu_count: int | None = None
    wave_front_size: int | None = None
    max_waves_per_cu: int | None = None
    max_engine_clk_fcompute: int | None = None
    domain: int | None = None
    location_id: int | None = None
    mem_banks: list[Bank] = msgspec.field(default_factory=list)


class Node(Record):
    """The host."""

    hostname: str = ""


class Metadata(Record):
    """The process."""

    pid: int | None = None
    init_time: int | None = None
    fini_time: int | None = None
    command: list[str] = msgspec.field(default_factory=list)
    node: Node = msgspec.field(default_factory=Node)


class Process(Record):
    """One process's results, its parts where they stand in the file."""

    metadata: msgspec.Raw = _ABSENT
    agents: msgspec.Raw = _ABSENT
    counters: msgspec.Raw = _ABSENT
    strings: msgspec.Raw = _ABSENT
    kernel_symbols: msgspec.Raw = _ABSENT
    callback_records: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict)
    buffer_records: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict)


class Document(Record):
    """The file."""

    processes: list[Process] | Process = msgspec.field(name="rocprofiler-sdk-tool", default_factory=list)


def document(data: Any) -> list[Process] | None:
    """The processes in a document (bytes, or a mapped file); None where it is no whole one.

    A counter that was divided by nothing stands there as ``NaN`` or ``Infinity``, which JSON forbids: such a document
    is read again with ``null`` in its place.
    """
    with suppress(*_DAMAGE):
        return _listed(msgspec.json.decode(data, type=Document))
    if len(data) <= MAX_REPAIRED_BYTES and _NO_NUMBER.search(data):
        repaired = _TEXT_OR_NO_NUMBER.sub(lambda found: b"null" if found[1] else found[0], data)
        with suppress(*_DAMAGE):
            return _listed(msgspec.json.decode(repaired, type=Document))
    return None


def _listed(found: Document) -> list[Process]:
    return found.processes if isinstance(found.processes, list) else [found.processes]


class Damage:
    """Counts what was lost, by the part of the file that it was lost from."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.lost: Counter[str] = Counter()

    def one(self, raw: msgspec.Raw, kind: type[T], *, part: str) -> T:
        """The value in ``raw``; an empty one where there is none, or it is of another form (which is counted)."""
        if bytes(memoryview(raw)[:4]).strip() not in (b"", b"null"):
            try:
                return msgspec.json.decode(raw, type=kind)
            except _DAMAGE:
                self.lost[part] += 1
        return kind()

    def few(self, raw: msgspec.Raw, kind: type[T], *, part: str) -> list[T]:
        """All the elements of an array that is no longer than a sound file's.

        Raises:
            ReadError: it is longer.
        """
        found: list[T] = []
        for some in self.many(raw, kind, part=part):
            found += some
            if len(found) > MAX_NAMES:
                raise ReadError(f"{self._name}: more than {MAX_NAMES:,} {part}; refused")
        return found

    def many(self, raw: msgspec.Raw, kind: type[T], *, part: str) -> Iterator[list[T]]:
        """The elements of the array in ``raw``, some at a time; nothing where it is no array of objects.

        A chunk is cut where it looks like the gap between the first two elements. That is a guess, which decoding
        proves; where it fails, brackets are counted.
        """
        decoder = msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]
        array = memoryview(raw)
        position, size, gap = 1, CHUNK_BYTES, b""
        while position < len(array) and bytes(array[:1]) == b"[":
            chunk = bytes(array[position : position + size])
            cut = chunk.rfind(gap) + 1 if gap else 0
            some = _decoded(decoder, chunk[:cut]) if cut else None
            if some is not None:
                yield some
                position, size = position + cut, CHUNK_BYTES
                continue
            found = elements(chunk)
            gap = gap or _gap(chunk, found)
            if len(found.ends):
                stop = int(found.ends[-1])
                some = _decoded(decoder, chunk[:stop])
                yield list(self._one_by_one(chunk, found, kind, part)) if some is None else some
                position, size = position + stop, CHUNK_BYTES
            elif position + size < len(array):
                size *= 2
            else:
                return
            if found.close >= 0:
                return

    def _one_by_one(self, chunk: bytes, found: Elements, kind: type[T], part: str) -> Iterator[T]:
        for start, end in zip(found.starts.tolist(), found.ends.tolist(), strict=True):
            element = None
            with suppress(*_DAMAGE):
                element = msgspec.json.decode(chunk[start:end], type=kind)
            if element is None:
                self.lost[part] += 1
            else:
                yield element


def _decoded(decoder: Any, piece: bytes) -> list[Any] | None:
    """The elements in a piece of an array; None where they are none, or of another form."""
    try:
        found: list[Any] = decoder.decode(b"[" + piece.lstrip(_GAP_BYTES) + b"]")
    except _DAMAGE:
        return None
    return found


def _gap(chunk: bytes, found: Elements) -> bytes:
    """From the last bracket of the first element to the first key of the second; nothing where that is unknown."""
    if len(found.ends) < 2:
        return b""
    end, start = int(found.ends[0]), int(found.starts[1])
    key = chunk.find(b":", start, start + _MAX_KEY_BYTES)
    return chunk[end - 1 : key + 1] if key > 0 else b""
