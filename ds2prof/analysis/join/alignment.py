"""Aligning two sequences of keys: the longest common subsequence, within a band, in linear memory and time.

Launches that one of two runs lacks shift everything behind them. What stands before and after a launch tells which
occurrence of its key it is; the longest common subsequence is the pairing that explains most launches in order.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from ds2prof.tables import IntArray

BAND: Final = 1024
"""How far apart in their sequences two launches of a pair may be, beyond where the alignment is already."""
_CHUNK: Final = 8192
_KEPT: Final = _CHUNK - _CHUNK // 4
"""The last quarter of a chunk is aligned again with what follows it: its end is not the sequences' end."""
_NO_KEY: Final = -(2**62)

Pairs = tuple[IntArray, IntArray]
"""(positions on the left, positions on the right), both rising."""


def aligned(left: IntArray, right: IntArray) -> Pairs:
    """The pairs of a longest common subsequence.

    Exact where neither sequence is longer than 3,072 and their pairs lie within :data:`BAND` of each other; beyond
    that in overlapping chunks, each exact. Negative keys pair with nothing.
    """
    left, right = np.where(left < 0, -1, left), np.where(right < 0, -2, right)
    head = _same(left, right)
    tail = _same(left[head:][::-1], right[head:][::-1])
    inner = _chunked(left[head : len(left) - tail], right[head : len(right) - tail])
    first, last = np.arange(head), np.arange(tail)
    return (
        np.concatenate((first, inner[0] + head, last + len(left) - tail)),
        np.concatenate((first, inner[1] + head, last + len(right) - tail)),
    )


def _same(left: IntArray, right: IntArray) -> int:
    """How many keys at the start are the same."""
    shorter = min(len(left), len(right))
    different = np.flatnonzero(left[:shorter] != right[:shorter])
    return int(different[0]) if len(different) else shorter


def _chunked(left: IntArray, right: IntArray) -> Pairs:
    """The pairs, chunk by chunk of the left."""
    found: list[Pairs] = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))]
    at_left = at_right = 0
    while at_left < len(left) and at_right < len(right):
        stop = min(at_left + _CHUNK, len(left))
        lefts, rights = _banded(
            left[at_left:stop], right[at_right : at_right + (_CHUNK if stop < len(left) else _CHUNK + BAND)]
        )
        kept = len(lefts) if stop == len(left) else int(np.searchsorted(lefts, _KEPT))
        found.append((lefts[:kept] + at_left, rights[:kept] + at_right))
        if stop == len(left):
            break
        behind_left, behind_right = (int(lefts[kept - 1]) + 1, int(rights[kept - 1]) + 1) if kept else (0, 0)
        skipped = max(0, _KEPT - BAND - behind_left)  # where nothing pairs for long: on, or this would never end
        at_left += behind_left + skipped
        at_right += behind_right + skipped
    return np.concatenate([pair[0] for pair in found]), np.concatenate([pair[1] for pair in found])


def _banded(left: IntArray, right: IntArray) -> Pairs:
    """The pairs of a longest common subsequence whose positions differ by no more than the band.

    ``lengths[i, d]`` is the length of the one of ``left[:i]`` and ``right[:i + d - band]``; of row i - 1 the cell at d
    is the one before the pair (i, d) and the cell at d + 1 the one without ``left[i - 1]``.
    """
    if not len(left) or not len(right):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    band = min(BAND, max(len(left), len(right)))
    width = 2 * band + 1
    within = right[: len(left) + band]
    padded = np.full(len(left) + width, _NO_KEY, dtype=np.int64)
    padded[band : band + len(within)] = within
    lengths = np.zeros((len(left) + 1, width + 1), dtype=np.int16)
    for row, key in enumerate(left.tolist()):
        before, here = lengths[row], lengths[row + 1]
        longest = np.maximum(before[:-1] + (padded[row : row + width] == key), before[1:])
        np.maximum.accumulate(longest, out=here[:-1])
        here[-1] = here[-2]
    at = min(max(len(within) - len(left) + band, 0), width - 1)
    return _traced(lengths, left, padded, at)


def _traced(lengths: npt.NDArray[np.int16], left: IntArray, padded: IntArray, at: int) -> Pairs:
    """The pairs on the way back from the last row at ``at`` to where nothing is left."""
    lefts: list[int] = []
    rights: list[int] = []
    keys, others = left.tolist(), padded.tolist()
    band = (lengths.shape[1] - 2) // 2
    row, length = len(keys), int(lengths[len(keys), at])
    while length:
        if keys[row - 1] == others[row - 1 + at] and lengths[row - 1, at] == length - 1:
            row, length = row - 1, length - 1
            lefts.append(row)
            rights.append(row + at - band)
        elif lengths[row - 1, at + 1] == length:
            row, at = row - 1, min(at + 1, 2 * band)
        else:
            at -= 1
    return np.array(lefts[::-1], dtype=np.int64), np.array(rights[::-1], dtype=np.int64)
