"""The container of an Nsight Compute report, walked without its schema: is it whole, and what does it hold?

Grammar (numbers little-endian, messages in the encoding of protocol buffers)::

    file     := "NVR\\0" framed(header) block*
    header   := {1: version of the container}
    block    := framed(head) payload
    head     := {1: sources, 2: kernels, 3: session, 4: texts, 5: bytes of the payload, 6: process,
                 7: ranges, 8: command lists, 9: graphs, 10: graph definitions}       each count may be absent
    payload  := framed(source)* framed(result)* framed(definition)*                   as many as the head counts
    framed(x):= u32 length, x
    result   := {5: mangled name, 6: function, 13: metric ..., 25: clocks}            of a kernel
              | {4: metric ..., 12 or 13: clocks}                                     of a range, command list, graph
    metric   := {1: place of its name among the texts of all blocks so far, 2: value, 3: instance ...}

The same from CUDA 10.0 to 2026. Nothing is decoded here but what tells whether the file is whole, which process a
result belongs to, and which metrics it has; values are left to the tool's own library.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from ds2prof.errors import ReadError

MAGIC: Final = b"NVR\0"
KNOWN_VERSION: Final = 7
_MAX_TEXTS: Final = 1 << 20
_MAX_SETS: Final = 1 << 16

KERNEL, RANGE, COMMAND_LIST, GRAPH = "kernel", "range", "command_list", "graph"
_COUNTED: Final = ((2, KERNEL), (7, RANGE), (8, COMMAND_LIST), (9, GRAPH))
"""Field of a block's head that counts results -> their kind, in the order they stand in the payload."""

NAMES: Final = {RANGE: "range", COMMAND_LIST: "cmdlist", GRAPH: "graph"}
"""What the tool calls a result that is no kernel, in the place of a kernel's name."""


class _Fields(NamedTuple):
    """Where a result of one kind has what is read of it; -1 for what it has not."""

    metrics: int
    context: int
    stream: int
    clocks: int
    grid: int = -1
    block: int = -1


_FIELDS: Final = {
    KERNEL: _Fields(metrics=13, context=22, stream=23, clocks=25, grid=10, block=11),
    RANGE: _Fields(metrics=4, context=11, stream=-1, clocks=12),
    COMMAND_LIST: _Fields(metrics=4, context=11, stream=12, clocks=13),
    GRAPH: _Fields(metrics=4, context=11, stream=12, clocks=13),
}
Value = int | bytes


class _DamagedError(Exception):
    """A message that is none. Caught by the walk, which knows the place."""


class Result(NamedTuple):
    """One result of the report.

    Attributes:
        kind: kernel, range, command_list, graph.
        name: the function's name; see :data:`NAMES` for the others.
        metrics: which of the report's sets of metrics it has.
        process: the number of its process; None where the report does not say.
        context: and ``stream``: the tool's numbers of them; None for what a result of this kind has not.
        grid: blocks in each direction, and ``block`` threads; of kernels.
        is_locked: whether the clocks were locked to base while it ran; None where the report does not say.
    """

    kind: str
    name: str
    metrics: int
    process: int | None
    context: int | None
    stream: int | None
    grid: tuple[int, ...] | None
    block: tuple[int, ...] | None
    is_locked: bool | None


@dataclass
class Container:
    """What a walk over the report found.

    Attributes:
        version: of the container.
        size_bytes: of the file.
        results: in file order.
        sets: the names of metrics that results have; most have the same.
        processes: number -> (name, host).
        tools: provider -> version, as "CUDA Version" or "Nsight Compute Target".
        command: the command line of the tool, where the report keeps it.
        odd_names: how many metrics have names that are no text; they are in no set.
    """

    version: int = 0
    size_bytes: int = 0
    results: list[Result] = field(default_factory=list)
    sets: list[tuple[str, ...]] = field(default_factory=list)
    processes: dict[int, tuple[str, str]] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)
    command: str = ""
    odd_names: int = 0


def walk(path: Path, name: str) -> Container:
    """What the report holds.

    Raises:
        ReadError: it is cut short or damaged; the message names the byte.
    """
    try:
        with path.open("rb") as stream:
            return _Walk(stream, name, path.stat().st_size).container()
    except OSError as error:
        raise ReadError(f"{name}: cannot be read: {error.strerror}") from None


class _Walk:
    def __init__(self, stream: BinaryIO, name: str, size_bytes: int) -> None:
        self._stream = stream
        self._name = name
        self._found = Container(size_bytes=size_bytes)
        self._at = 0
        self._texts: list[str] = []
        self._set_of: dict[tuple[int, ...], int] = {}

    def container(self) -> Container:
        """Walk to the end."""
        self._read(len(MAGIC), "its first bytes")
        start, found = self._at, self._found
        try:
            found.version = _whole(_last(self._framed("its header")).get(1))
            while self._at < found.size_bytes:
                start = self._at
                self._block()
        except (_DamagedError, IndexError, UnicodeDecodeError):
            raise ReadError(
                f"{self._name}: an Nsight Compute report that is damaged at byte {start}: what stands there is no block"
            ) from None
        return found

    def _read(self, size: int, what: str) -> bytes:
        """The next bytes; the file must have them."""
        if size > self._found.size_bytes - self._at:
            raise ReadError(
                f"{self._name}: an Nsight Compute report that ends at byte {self._found.size_bytes}, within {what} "
                f"(from byte {self._at}); was the capture or the copy interrupted?"
            )
        content = self._stream.read(size)
        self._at += size
        return content

    def _length(self, what: str) -> int:
        return int.from_bytes(self._read(4, what), "little")

    def _framed(self, what: str) -> bytes:
        return self._read(self._length(what), what)

    def _skip(self, what: str) -> None:
        size = self._length(what)
        if size > self._found.size_bytes - self._at:
            self._read(size, what)
        self._stream.seek(size, 1)
        self._at += size

    def _block(self) -> None:
        head = _all(self._framed("the head of a block"))
        self._take_texts(head.get(4, []))
        for session in head.get(3, []):
            self._take_session(_message(session))
        process = self._take_process(head)
        size = _whole(head.get(5, [0])[-1])
        if size > self._found.size_bytes - self._at:
            self._read(size, "the payload of a block")
        end = self._at + size
        for _ in range(self._count(head, 1, end)):
            self._skip("the source of a kernel")
        for tag, kind in _COUNTED:
            for _ in range(self._count(head, tag, end)):
                self._found.results.append(self._result(self._framed("a result"), kind, process))
        while self._at < end:
            self._skip("a message")
        if self._at != end:
            raise _DamagedError

    def _count(self, head: dict[int, list[Value]], tag: int, end: int) -> int:
        count = _whole(head.get(tag, [0])[-1])
        if count > end - self._at:
            raise _DamagedError
        return count

    def _take_texts(self, tables: Sequence[Value]) -> None:
        for table in tables:
            for tag, value in fields(_message(table)):
                if tag == 1:
                    self._texts.append(_text(value))
        if len(self._texts) > _MAX_TEXTS:
            raise _DamagedError

    def _take_session(self, session: bytes) -> None:
        for tag, value in fields(session):
            if tag == 8:
                pair = _last(_message(value))
                self._found.tools[_text(pair.get(1, b""))] = _text(pair.get(2, b""))
            elif tag == 11:
                self._found.command = _text(value)

    def _take_process(self, head: dict[int, list[Value]]) -> int | None:
        if 6 not in head:
            return None
        process = _last(_message(head[6][-1]))
        number = _whole(process.get(1))
        program = _text(process.get(3, b"")).replace("\\", "/").rsplit("/", 1)[-1]
        self._found.processes.setdefault(number, (program, _text(process.get(2, b""))))
        return number

    def _result(self, content: bytes, kind: str, process: int | None) -> Result:
        at = _FIELDS[kind]
        codes, rest = _metrics_and_rest(content, at.metrics)
        clocks = rest.get(at.clocks)
        return Result(
            kind,
            NAMES.get(kind) or _text(rest.get(6, b"")),
            self._set(codes),
            process,
            _small(rest.get(at.context)),
            _small(rest.get(at.stream)),
            _sides(rest.get(at.grid)),
            _sides(rest.get(at.block)),
            None if clocks is None else bool(_last(_message(clocks)).get(2, 0)),
        )

    def _set(self, codes: tuple[int, ...]) -> int:
        known = self._set_of.get(codes)
        if known is not None:
            return known
        if len(self._set_of) >= _MAX_SETS:
            raise _DamagedError
        texts = self._texts
        names = dict.fromkeys(texts[code] for code in codes)
        readable = tuple(name for name in names if name.isprintable())
        self._found.odd_names += len(names) - len(readable)
        self._found.sets.append(readable)
        self._set_of[codes] = len(self._set_of)
        return self._set_of[codes]


def _metrics_and_rest(content: bytes, metrics: int) -> tuple[tuple[int, ...], dict[int, Value]]:
    """The codes of a result's metrics, and its other fields; a result has hundreds of metrics and few other fields."""
    tag_byte = metrics << 3 | 2
    codes: list[int] = []
    rest: dict[int, Value] = {}
    at, end = 0, len(content)
    while at < end:
        if content[at] != tag_byte:
            tag, value, at = _field(content, at)
            rest[tag] = value
            continue
        size = content[at + 1]
        at += 2
        if size > 127:
            second = content[at]
            if second < 128:
                size, at = size & 127 | second << 7, at + 1
            else:
                size, at = _varint(content, at - 1)
        if size > end - at or content[at] != 8:  # its first field is the code of its name
            raise _DamagedError
        code = content[at + 1]
        if code > 127:  # most take two bytes
            second = content[at + 2]
            code = code & 127 | second << 7 if second < 128 else _varint(content, at + 1)[0]
        codes.append(code)
        at += size
    return tuple(codes), rest


def fields(content: bytes) -> Iterator[tuple[int, Value]]:
    """The fields of a message in order: a number, or the bytes of what else it is."""
    at, end = 0, len(content)
    while at < end:
        tag, value, at = _field(content, at)
        yield tag, value


def _field(content: bytes, at: int) -> tuple[int, Value, int]:
    key, at = _varint(content, at)
    kind = key & 7
    if kind == 0:
        value, at = _varint(content, at)
        return key >> 3, value, at
    if kind == 2:
        size, at = _varint(content, at)
    elif kind in (1, 5):
        size = 8 if kind == 1 else 4
    else:
        raise _DamagedError
    if size > len(content) - at:
        raise _DamagedError
    return key >> 3, content[at : at + size], at + size


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
    raise _DamagedError


def _all(content: bytes) -> dict[int, list[Value]]:
    found: dict[int, list[Value]] = {}
    for tag, value in fields(content):
        found.setdefault(tag, []).append(value)
    return found


def _last(content: bytes) -> dict[int, Value]:
    return dict(fields(content))


def _whole(value: Value | None) -> int:
    if not isinstance(value, int):
        raise _DamagedError
    return value


def _small(value: Value | None) -> int | None:
    """A number of at most 32 bits; None where there is none."""
    return value if isinstance(value, int) and value < 1 << 32 else None


def _sides(value: Value | None) -> tuple[int, ...] | None:
    """Three sizes; None where one is missing, is 0 (the launch was not profiled) or beyond what a GPU has."""
    found = _last(value) if isinstance(value, bytes) else {}
    sides = tuple(side for tag in (1, 2, 3) if isinstance(side := found.get(tag), int) and 0 < side < 1 << 32)
    return sides if len(sides) == 3 else None


def _message(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise _DamagedError
    return value


def _text(value: Value) -> str:
    """A text, whose odd bytes are kept, so that the library finds a metric by it."""
    return _message(value).decode("utf-8", "surrogateescape")
