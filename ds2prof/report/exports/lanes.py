"""Which events can stand on one row of a viewer: slices that nest, as trace viewers demand, and the rest beside them.

Viewers draw a row as a stack: of two slices that overlap, one must hold the other. Kernels of one stream may overlap
(graphs, programmatic launches), and ranges may start and end in any order; a viewer drops or misplaces those.
"""

from __future__ import annotations

import numpy as np

from ds2prof.tables import BoolArray, IntArray


def lanes(tracks: IntArray, start_ns: IntArray, end_ns: IntArray) -> IntArray:
    """The lane of each event on its track: 0 for all that nest, then 1, 2... for those that overlap without nesting.

    Args:
        tracks: codes from 0 on; events of one code would stand on one row.
        start_ns: when each begins.
        end_ns: when it ends, not before. A slice of no length nests in what is open then.
    """
    found = np.zeros(len(tracks), dtype=np.int64)
    if not len(tracks):
        return found
    order = np.lexsort((-end_ns, start_ns, tracks))
    order = order[_overlapping(tracks[order], start_ns[order], end_ns[order])]
    for track in np.unique(tracks[order][_misplaced(tracks[order], start_ns[order], end_ns[order])]).tolist():
        rows = order[tracks[order] == track]
        found[rows] = _greedy(start_ns[rows].tolist(), end_ns[rows].tolist())
    return found


def _overlapping(tracks: IntArray, start_ns: IntArray, end_ns: IntArray) -> BoolArray:
    """Events of tracks on which any begins before the one in front of it has ended: the others need no looking at."""
    early = (tracks[1:] == tracks[:-1]) & (start_ns[1:] < end_ns[:-1])
    concerned = np.zeros(int(tracks[-1]) + 1, dtype=np.bool_)
    concerned[tracks[1:][early]] = True
    return np.asarray(concerned[tracks], dtype=np.bool_)


def _misplaced(tracks: IntArray, start_ns: IntArray, end_ns: IntArray) -> BoolArray:
    """Events that do not end as a stack would end them; all False where every track nests.

    The edges in order are brackets. At one depth openings and closings take turns, so that the closing that a stack
    would give to an opening is the next one of its depth.
    """
    count = len(tracks)
    index = np.arange(count)
    empty = start_ns == end_ns
    # At one time: what ends there, the innermost first; what begins; and what has no length, opened and closed.
    rank_of_start = np.where(empty, 2, 1)
    rank_of_end = np.where(empty, 2, 0)
    ties = np.concatenate((2 * index, np.where(empty, 2 * index + 1, -index)))
    edges = np.lexsort(
        (
            ties,
            np.concatenate((rank_of_start, rank_of_end)),
            np.concatenate((start_ns, end_ns)),
            np.concatenate((tracks, tracks)),
        )
    )
    opens = edges < count
    depth = np.cumsum(np.where(opens, 1, -1))
    by_depth = np.argsort(np.where(opens, depth, depth + 1), kind="stable")
    paired = edges[by_depth].reshape(-1, 2)
    misplaced = np.zeros(count, dtype=np.bool_)
    misplaced[paired[:, 0]] = paired[:, 0] != paired[:, 1] - count
    return misplaced


def _greedy(starts: list[int], ends: list[int]) -> list[int]:
    """The first lane in which each event of a track nests; events in order of start, the longest first."""
    open_ends: list[list[int]] = []
    found = []
    for start, end in zip(starts, ends, strict=True):
        for lane, stack in enumerate(open_ends):
            while stack and stack[-1] <= start:
                stack.pop()
            if not stack or end <= stack[-1]:
                stack.append(end)
                found.append(lane)
                break
        else:
            open_ends.append([end])
            found.append(len(open_ends) - 1)
    return found
