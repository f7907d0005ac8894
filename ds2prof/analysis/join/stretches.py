"""How long the stretches are that effective utilization divides by."""

from __future__ import annotations

import numpy as np

from ds2prof.analysis.belonging import belonging
from ds2prof.analysis.intervals import FloatArray
from ds2prof.analysis.join.joined import Joined
from ds2prof.analysis.steps import device_steps
from ds2prof.analysis.totals import rows_of
from ds2prof.analysis.windows import OPERATIONS, TimeWindow, ends_ns, from_operations, time_window
from ds2prof.tables import BoolArray


def window_of(joined: Joined, device: int | None) -> TimeWindow | None:
    """The window of a device: the timeline's, or where that was taken from operations, that of its own."""
    window = time_window(joined.timeline)
    if window is None or window.source != OPERATIONS:
        return window
    kernels, copies = joined.timeline.table("kernels"), joined.timeline.table("copies")
    return from_operations(kernels.take(rows_of(kernels, device)), copies.take(rows_of(copies, device)))


def captured_ns(joined: Joined, device: int | None, captured: BoolArray) -> int | None:
    """The length of what was captured on a device: its steps, or without iterations from first start to last end.

    None where the length of one of the steps is not known (:func:`ds2prof.analysis.steps.device_steps`).
    """
    found = belonging(joined.timeline, "iteration")
    kernels = joined.timeline.table("kernels")
    if not found.keys:
        return int(ends_ns(kernels)[captured].max() - kernels.ints("start_ns")[captured].min())
    steps = device_steps(joined.timeline, found, device)
    places = np.unique(found.kernels[captured]).tolist()
    lengths = [None if place >= len(steps) or steps[place] is None else steps[place] for place in places]
    return None if None in lengths else sum(step[1] - step[0] for step in lengths if step is not None)


def steps_ns(joined: Joined) -> FloatArray:
    """The length of each iteration on all devices that were joined together, added up; NaN where one is not known."""
    found = belonging(joined.timeline, "iteration")
    total = np.zeros(len(found.keys))
    for each in joined.devices:
        steps = device_steps(joined.timeline, found, each.device)
        total += np.array([np.nan if step is None else float(step[1] - step[0]) for step in steps])
    return total
