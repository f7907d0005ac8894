"""Where the elements of a JSON array lie, told from its brackets: vectorized, for any formatting.

Nothing is decoded. A bracket counts where an even number of quotes stands before it, a quote where no odd run of
backslashes does. On damaged text the answer is a guess, which decoding the elements confirms or refutes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Positions = npt.NDArray[np.intp]
_Bytes = npt.NDArray[np.uint8]

_QUOTE, _BACKSLASH, _BRACKET = ord('"'), ord("\\"), ord("[")
_LOWERED_OPEN, _LOWERED_CLOSE = ord("{"), ord("}")  # "[" and "]" differ from them by the bit of lower case
_LOWER_CASE = 0x20
_KEY_WINDOW_BYTES = 256


@dataclass(frozen=True)
class Elements:
    """The elements that lie whole in a piece of an array: from ``starts[i]`` to before ``ends[i]``.

    ``close`` is the position of the bracket that ends the array, -1 where it is not in the piece.
    """

    starts: _Positions
    ends: _Positions
    close: int


def elements(data: bytes) -> Elements:
    """The objects and arrays in ``data``, which begins between two elements of an array."""
    where, opens, depth = _brackets(data)
    closing = np.flatnonzero(depth < 0)
    close = -1
    if len(closing):
        close = int(where[closing[0]])
        where, opens, depth = where[: closing[0]], opens[: closing[0]], depth[: closing[0]]
    ends = where[~opens & (depth == 0)] + 1
    return Elements(where[opens & (depth == 1)][: len(ends)], ends, close)


def array_start(data: bytes, key: bytes) -> int:
    """Where the elements of the array ``key`` of a JSON object begin (or of the array that ``data`` is); -1 if nowhere.

    A key is told from a text by the colon behind it, so that no value can pass for it.
    """
    where, opens, depth = _brackets(data)
    if len(where) and data[where[0]] == _BRACKET:
        return int(where[0]) + 1
    named = re.compile(rb'(?<!\\)"' + re.escape(key) + rb'"[ \t\r\n]*:[ \t\r\n]*\Z')
    codes = np.frombuffer(data, dtype=np.uint8)
    for start in where[opens & (depth == 2) & (codes[where] == _BRACKET)].tolist():
        if named.search(data[max(0, start - _KEY_WINDOW_BYTES - len(key)) : start]):
            return int(start) + 1
    return -1


def is_closed(data: bytes) -> bool:
    """Whether every bracket that ``data`` opens is closed again."""
    _, _, depth = _brackets(data)
    return bool(len(depth)) and int(depth[-1]) == 0


def _brackets(data: bytes) -> tuple[_Positions, npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Brackets outside texts: where each is, whether it opens, and the depth behind it."""
    codes = np.frombuffer(data, dtype=np.uint8)
    lowered = codes | _LOWER_CASE
    where = np.flatnonzero((lowered == _LOWERED_OPEN) | (lowered == _LOWERED_CLOSE))
    outside = np.searchsorted(_quotes(codes), where) % 2 == 0
    where = where[outside]
    opens = lowered[where] == _LOWERED_OPEN
    return where, opens, np.cumsum(np.where(opens, 1, -1), dtype=np.int64)


def _quotes(codes: _Bytes) -> _Positions:
    """Where texts begin and end: the quotes that are not escaped."""
    quotes = np.flatnonzero(codes == _QUOTE)
    backslashes = np.flatnonzero(codes == _BACKSLASH)
    if not len(backslashes):
        return quotes
    index = np.arange(len(backslashes))
    begins_run = np.diff(backslashes, prepend=-2) != 1
    in_run = index - np.maximum.accumulate(np.where(begins_run, index, 0))
    escaped = backslashes[in_run % 2 == 0] + 1
    return quotes[~np.isin(quotes, escaped, assume_unique=True)]
