"""Counters made for launches of real captures find them again: real names, grids, streams and orders, invented work.

No file of the corpus has counters and a timeline of one program, so that the numbers themselves are tested on made
captures (``test_join.py``) and the pairing on real sequences here.
"""

from __future__ import annotations

import numpy as np
import pytest

from ds2prof.analysis.belonging import belonging
from ds2prof.analysis.join import join, totals
from ds2prof.analysis.join.sides import TABLES, timeline_side
from ds2prof.parsers import read
from ds2prof.tables import Meta, Profile, float_column, int_column, text_column
from tests.join_support import CYCLES, PIPES

FILES = (
    "kineto/AMD-AGI__TraceLens__b200_eager_trace.json.gz",
    "kineto/AMD-AGI__TraceLens__h100_timesformer.json.gz",
    "kineto/facebookresearch__HolisticTraceAnalysis__trace_diff_control.json.gz",
    "kineto/facebookresearch__HolisticTraceAnalysis__sampled_rank-0.json.gz",
    "kineto/pytorch__kineto__worker0.1623143089861.pt.trace.json.gz",
    "nsys-sqlite/hpcgroup__pipit__perlmutter-cloverleaf-cuda.sqlite",
    "nvvp/josiahdavis__profiling-lm__net.sql",
)
SHAPES = ("grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z", "device", "stream")
SHARED = ("shared_bytes", "static_shared_bytes", "dynamic_shared_bytes")


def one_iteration(made):
    """The rows of one iteration on the first device in launch order; of everything where there are no iterations."""
    kernels = made.table("kernels")
    first = np.flatnonzero(kernels.ints("device", null=-1) == kernels.ints("device", null=-1).min())
    rows = timeline_side(made, np.zeros(len(kernels), dtype=np.int64), first).rows
    found = belonging(made, "iteration")
    steps = np.unique(found.kernels[rows])
    steps = steps[steps < len(found.keys)]
    return rows[found.kernels[rows] == steps[len(steps) // 2]] if len(steps) else rows


def counters_of(made, rows, seed):
    """Counters of the launches, with work that no two of them share."""
    kernels = made.table("kernels")
    columns = {name: kernels[name].take(rows) for name in ("name", *SHAPES, *SHARED) if name in kernels}
    cycles = kernels.ints("dur_ns")[rows] * 1.4 + 1
    share = np.random.default_rng(seed).random(len(rows)) * 0.9
    launches = np.arange(len(rows))
    counters = {
        "launch": int_column(np.tile(launches, 2)),
        "metric": text_column([CYCLES] * len(rows) + [PIPES["fma"]] * len(rows)),
        "unit": text_column(["cycle"] * len(rows) + ["ratio"] * len(rows)),
        "value": float_column(np.concatenate((cycles, share))),
    }
    meta = Meta(file="made.csv", tool="test", format="test", times="replay")
    return Profile.of(meta, {"kernels": columns | {"order": int_column(launches)}, "counters": counters})


@pytest.mark.parametrize("missing", [0.0, 0.05])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.rsplit("__", 1)[-1])
def test_launches_of_real_captures_find_their_own_counters(corpus, file, missing):
    made = read(corpus / file, tables=TABLES)
    rows = one_iteration(made)
    rows = rows[np.random.default_rng(1).random(len(rows)) >= missing]
    joined = join(made, counters_of(made, rows, seed=1), sm_clock_hz=1.4e9)
    matched = np.flatnonzero(joined.counter_row >= 0)
    assert totals(joined)["counters_used"] == len(rows)
    right = rows[joined.counter_row[matched]] == matched
    assert right.mean() >= (0.98 if missing else 1.0)
