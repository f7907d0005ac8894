"""The NVTX ranges that were open at a launch, from an Nsight Compute page or report.

They have no times, so they are no rows of the table of ranges; they are told with the launch: all of them as a path,
and the iteration, phase and layer among them.

Grammar of the two cells of a page::

    pushed   := thread item*                       push/pop ranges of the launching thread, domain by domain
    started  := item*                              start/end ranges of the process
    item     := '"' (id ":")? domain ":" name ":" payload type ":" payload ":" color type ":" color
                ":" message type ":" message '"'   id in started alone
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np

from ds2prof.parsers.range_names import kinds_of_ranges
from ds2prof.tables import Column, IntArray, Texts

Open = tuple[tuple[str, str], ...]
"""The open ranges as (domain, name), the innermost last."""

DEFAULT_DOMAIN: Final = "<default domain>"
KINDS: Final = ("iteration", "phase", "layer")
_BETWEEN: Final = " > "
_MAX_CELL: Final = 1 << 16
_THREAD: Final = re.compile(r"\A\s*\d*\s*")
_NEXT: Final = re.compile(r'"\s{1,4}"')
_ATTRIBUTES: Final = re.compile(
    r":(?:none|[A-Z][A-Za-z]{1,15}[0-9]{0,2}):[^:]*:(?:none|A?RGB):(?:none|0x[0-9A-Fa-f]{1,16}):"
)


def of_cells(pushed: str, started: str) -> Open:
    """The open ranges that the two cells of a page tell of: those started, then those pushed."""
    return (*_items(started, leading=2), *_items(_THREAD.sub("", pushed, count=1), leading=1))


def _items(cell: str, *, leading: int) -> list[tuple[str, str]]:
    """(domain, name) of each item, of which so many fields stand before the name."""
    found = []
    text = cell[:_MAX_CELL].strip()
    if not text.startswith('"'):
        return []
    for item in _NEXT.split(text[1:-1] if text.endswith('"') else text[1:]):
        attributes = _ATTRIBUTES.search(item)
        *before, name = (item[: attributes.start()] if attributes else item).split(":", leading)
        if len(before) == leading:
            found.append((before[-1], name))
    return found


def columns_of(distinct: Sequence[Open], codes: IntArray) -> dict[str, Column]:
    """Columns of the kernels table: ``nvtx``, and the iteration, phase and layer; those without any value left out.

    Args:
        distinct: the sets of ranges that launches had open.
        codes: of each launch, its place among those; below 0 for none.
    """
    names = list(dict.fromkeys(full_name(*one) for ranges in distinct for one in ranges))
    kind_of = dict(zip(names, kinds_of_ranges(names), strict=True))
    paths = [[full_name(*one) for one in ranges] for ranges in distinct]
    found: dict[str, list[str | None]] = {"nvtx": [_BETWEEN.join(path) for path in paths]}
    for kind in KINDS:
        found[kind] = [_innermost([kind_of[name] for name in path], kind) for path in paths]
    columns = {}
    for column, texts in found.items():
        dictionary = Texts()
        table = np.append(dictionary.codes(text or None for text in texts), np.int32(-1)).astype(np.int32)
        values = table[np.where(codes < 0, len(distinct), codes)]
        if bool((values >= 0).any()):
            columns[column] = Column(values, None, dictionary.categories)
    return columns


def full_name(domain: str, name: str) -> str:
    """The range's name with its domain, as a program that has no domains would have named it."""
    return name if domain == DEFAULT_DOMAIN or not domain else f"{domain}:{name}"


def _innermost(kinds: Sequence[tuple[str, str | None]], wanted: str) -> str | None:
    return next((value for kind, value in reversed(kinds) if kind == wanted), None)
