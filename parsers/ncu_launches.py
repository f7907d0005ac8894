"""The launches of an Nsight Compute CSV while it is read: what tells one from another, kept compactly.

A launch is (process, ID) within one run of the tool. IDs count up from 0 in each process; a second header, or an ID
that comes again with what was already given, begins another run, whose launches are never merged with the first's.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ds2prof.parsers.ncu_nvtx import Open, columns_of
from ds2prof.tables import Column, IntArray, Texts

NULL: Final = -(1 << 63)
"""Stands for null in the launches' numbers: no process, ID or device has this value."""

_TRIPLE: Final = re.compile(rb"\(\s*(\d{1,10}),\s*(\d{1,10}),\s*(\d{1,10})\s*\)")
_MAX_CODES: Final = 1 << 16
_GAP: Final = 1024
_NONE: Final = -1


class Traits(NamedTuple):
    """What the rows of one launch have in common but its ID: numbers, texts as codes, :data:`NULL` where unknown."""

    name: int
    process: int
    context: int
    stream: int
    device: int
    grid: int
    block: int
    calls: int
    nvtx: int


_WIDTH: Final = len(Traits._fields)


def number(text: bytes) -> int:
    """The integer in a cell, :data:`NULL` where there is none that fits 64 bits."""
    try:
        value = int(text)
    except ValueError:
        return NULL
    return value if -(1 << 63) < value < 1 << 63 else NULL


class Launches:
    """IDs and traits in file order, and which launch an ID of a process means now.

    Attributes:
        restarts: how often an ID came again with no header before it.
    """

    def __init__(self) -> None:
        self.restarts = 0
        self._orders = array("q")
        self._codes = array("i")
        self._traits = array("q")
        self._code_of: dict[Traits, int] = {}
        self._names: dict[bytes, int] = {}
        self._triples: dict[bytes, int] = {}
        self._open_ranges: dict[Open, int] = {}
        self._runs: dict[int, _Run] = {}

    def __len__(self) -> int:
        return len(self._orders)

    def name_code(self, name: bytes) -> int:
        """The code of a kernel name."""
        return self._names.setdefault(name, len(self._names))

    def triple_code(self, cell: bytes) -> int:
        """The code of a grid or block, as printed."""
        return self._triples.setdefault(cell, len(self._triples))

    def ranges_code(self, found: Open) -> int:
        """The code of these open NVTX ranges; :data:`NULL` for none."""
        return self._open_ranges.setdefault(found, len(self._open_ranges)) if found else NULL

    def code(self, traits: Traits) -> int:
        """The code of these traits."""
        code = self._code_of.get(traits)
        if code is None:
            if len(self._code_of) >= _MAX_CODES:
                self._code_of.clear()
            code = self._code_of[traits] = len(self._traits) // _WIDTH
            self._traits.extend(traits)
        return code

    def add(self, order: int, code: int) -> int:
        """A new launch, the one that its ID means from now on; its row."""
        launch = len(self._orders)
        self._orders.append(order)
        self._codes.append(code)
        if order != NULL:
            self._run(order, self._process(code)).append(order, launch)
        return launch

    def add_all(self, orders: list[int], met: list[tuple[int, int]]) -> int:
        """New launches of these IDs, up to one that its process has already; how many those are.

        Args:
            orders: the IDs.
            met: code and process of each launch; -1 for one whose traits make no sense.
        """
        if self._follow_on(orders, met):
            first = len(self._orders)
            self._runs[met[0][1]].dense.extend(range(first, first + len(orders)))
            self._orders.extend(orders)
            self._codes.extend([code for code, _ in met])
            return len(orders)
        runs, count = self._runs, 0
        for order, (code, process) in zip(orders, met, strict=True):
            run = runs.get(process)
            if code < 0 or (run is not None and run.launch_of(order) is not None):
                break
            if run is None:
                run = runs[process] = _Run(order)
            run.append(order, len(self._orders))
            self._orders.append(order)
            self._codes.append(code)
            count += 1
        return count

    def are_new(self, orders: list[int], met: list[tuple[int, int]]) -> bool:
        """Whether :meth:`add_all` would add all of these."""
        if self._follow_on(orders, met):
            return True
        runs = self._runs
        known = any(
            code < 0 or (process in runs and runs[process].launch_of(order) is not None)
            for order, (code, process) in zip(orders, met, strict=True)
        )
        return not known and len({(order, process) for order, (_, process) in zip(orders, met, strict=True)}) == len(
            met
        )

    def _follow_on(self, orders: list[int], met: list[tuple[int, int]]) -> bool:
        """Whether these IDs are the next of one process, one after the other."""
        process = met[0][1]
        run = self._runs.get(process)
        if run is None or run.sparse or orders[0] != run.first + len(run.dense):
            return False
        return orders == list(range(orders[0], orders[0] + len(orders))) and {other for _, other in met} == {process}

    def find(self, order: int, code: int) -> int | None:
        """The launch that this ID means now, None if it has not been met in this run of the tool, or was another."""
        run = self._runs.get(self._process(code))
        launch = None if run is None else run.launch_of(order)
        return launch if launch is not None and self.is_same(self._codes[launch], code) else None

    def find_named(self, order: int, traits: Traits) -> int | None:
        """The launch that this ID means now, if it has this name: rows of rules have another number for the stream."""
        run = self._runs.get(traits.process)
        launch = None if run is None else run.launch_of(order)
        return launch if launch is not None and self.traits(self._codes[launch]).name == traits.name else None

    def forget(self) -> None:
        """Another header: the IDs of all processes begin anew."""
        self._runs = {}

    def traits(self, code: int) -> Traits:
        """The traits of a code."""
        return Traits(*self._traits[code * _WIDTH : (code + 1) * _WIDTH])

    def is_same(self, code: int, other: int) -> bool:
        """Whether two codes stand for the same traits."""
        return code == other or self.traits(code) == self.traits(other)

    def _process(self, code: int) -> int:
        return self._traits[code * _WIDTH + 1]

    def _run(self, order: int, process: int) -> _Run:
        run = self._runs.get(process)
        if run is not None and run.launch_of(order) is not None:
            self.restarts += 1
            run = None
        if run is None:
            run = self._runs[process] = _Run(order)
        return run

    def orders(self) -> IntArray:
        """The IDs of all launches, :data:`NULL` for null."""
        return _view(self._orders)

    def column(self, field: str) -> IntArray:
        """One trait of all launches, :data:`NULL` for null."""
        traits = _view(self._traits).reshape(-1, _WIDTH)
        return traits[:, Traits._fields.index(field)][_view(self._codes)]

    def names(self, decode: Callable[[bytes], str]) -> Column:
        """The kernel names, as a column."""
        texts = Texts()  # two spellings in bytes can be one text
        codes = texts.codes(decode(name) for name in self._names)
        return Column(codes[self.column("name")], None, texts.categories)

    def open_ranges(self) -> dict[str, Column]:
        """What the launches' open NVTX ranges tell, as columns; none where none was open."""
        return columns_of(list(self._open_ranges), self.column("nvtx")) if self._open_ranges else {}

    def dimensions(self, field: str) -> tuple[IntArray, IntArray, IntArray]:
        """The three sizes of all launches' ``grid`` or ``block``, :data:`NULL` where the page does not print three."""
        sizes = np.full((len(self._triples) + 1, 3), NULL, dtype=np.int64)
        for cell, code in self._triples.items():
            match = _TRIPLE.fullmatch(cell)
            if match is not None:
                sizes[code] = [int(size) for size in match.groups()]
        codes = self.column(field)
        chosen = sizes[np.where(codes == NULL, len(self._triples), codes)]
        return chosen[:, 0].copy(), chosen[:, 1].copy(), chosen[:, 2].copy()


def _view(values: array[int]) -> npt.NDArray[np.int64]:
    dtype = np.int64 if values.typecode == "q" else np.int32
    found = np.frombuffer(values, dtype=dtype) if values else np.zeros(0, dtype=dtype)
    return found.astype(np.int64, copy=False)


class _Run:
    """ID -> launch of one process: a plain array while the IDs count up, as they do, and a dict for what does not."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.dense = array("i")
        self.sparse: dict[int, int] = {}

    def append(self, order: int, launch: int) -> None:
        gap = order - self.first - len(self.dense)
        if 0 <= gap <= _GAP:
            self.dense.extend([_NONE] * gap)
            self.dense.append(launch)
        else:
            self.sparse[order] = launch

    def launch_of(self, order: int) -> int | None:
        place = order - self.first
        if 0 <= place < len(self.dense) and self.dense[place] != _NONE:
            return self.dense[place]
        return self.sparse.get(order)
