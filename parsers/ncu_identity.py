"""What identifies the launch of a row, cut out of its cells."""

from __future__ import annotations

from typing import Final

from ds2prof.parsers import ncu_nvtx
from ds2prof.parsers.ncu_gather import Gathered
from ds2prof.parsers.ncu_launches import NULL, Traits, number
from ds2prof.parsers.ncu_layout import Layout

_INT_CACHE: Final = 4096


class Identities:
    """Cuts a row's ID and traits out of its cells, and notes the process and device they tell of."""

    def __init__(self, layout: Layout, gathered: Gathered) -> None:
        self._to = gathered
        self._at = layout.at
        self._ints: dict[bytes, int] = {}
        self._nvtx = layout.nvtx_places
        self._ranges: dict[tuple[bytes, ...], int] = {}
        self._capabilities: set[tuple[int, bytes]] = set()

    def of(self, cells: list[bytes]) -> tuple[int, Traits] | None:
        """The ID and the traits; None where a row names no kernel, or its numbers are none."""
        at, launches = self._at, self._to.launches
        name = cells[at["kernel"]]
        order = number(cells[at["id"]]) if "id" in at else NULL
        process = self._int(cells, "process")
        if not name or ("id" in at and order == NULL) or ("process" in at and process == NULL):
            return None
        if process not in self._to.processes:
            self._to.process(process, self._text(cells, "process_name"), self._text(cells, "host"))
        device, calls = self._int(cells, "device"), self._int(cells, "calls")
        if NULL in (device, calls) and "calls" in at:
            return None
        if "cc" in at and (device, cells[at["cc"]]) not in self._capabilities:
            self._capabilities.add((device, cells[at["cc"]]))
            self._to.attribute(device, "cc", cells[at["cc"]].decode("utf-8", "replace"))
        return order, Traits(
            name=launches.name_code(name),
            process=process,
            context=self._int(cells, "context"),
            stream=self._int(cells, "stream"),
            device=device,
            grid=launches.triple_code(cells[at["grid"]]) if "grid" in at else NULL,
            block=launches.triple_code(cells[at["block"]]) if "block" in at else NULL,
            calls=calls,
            nvtx=self._open_ranges(cells),
        )

    def _open_ranges(self, cells: list[bytes]) -> int:
        """The code of the NVTX ranges that the row's cells tell of."""
        if not self._nvtx:
            return NULL
        key = tuple(cells[place] for place in self._nvtx)
        code = self._ranges.get(key)
        if code is None:
            if len(self._ranges) >= _INT_CACHE:
                self._ranges.clear()
            texts = [cell.decode("utf-8", "replace") for cell in key]
            code = self._ranges[key] = self._to.launches.ranges_code(ncu_nvtx.of_cells(texts[0], texts[-1]))
        return code

    def _int(self, cells: list[bytes], column: str) -> int:
        place = self._at.get(column)
        if place is None:
            return NULL
        cell = cells[place]
        value = self._ints.get(cell)
        if value is None:
            if len(self._ints) >= _INT_CACHE:
                self._ints.clear()
            value = self._ints[cell] = number(cell)
        return value

    def _text(self, cells: list[bytes], column: str) -> bytes:
        return cells[self._at[column]] if column in self._at else b""
