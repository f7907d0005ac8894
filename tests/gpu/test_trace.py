"""A trace of training on a GPU: kernels in every phase and layer, none outside the window, and times that add up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ds2prof.train.presets import PRESETS
from tests.gpu.support import Run, busy_ns, events

_CLOCK_NS = 100_000  # host and GPU have clocks of their own, which the profiler brings together
_MODEL = PRESETS["tiny"].model
_LAYERS = [
    *(f"conv.{number}" for number in range(len(_MODEL.convolutions))),
    *(f"rnn.{number}" for number in range(_MODEL.recurrent_layers)),
    "head",
]


@pytest.fixture
def parsed(gpu_run: Callable[..., Run], trace: Path) -> Callable[[str], dict[str, Any]]:
    """What ``ds2prof parse`` says of the trace."""
    pytest.importorskip("msgspec")

    def parse(by: str) -> dict[str, Any]:
        done = gpu_run("parse", str(trace), "--by", by, "--format", "json")
        assert done.code == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return parse


def test_every_phase_that_computes_has_kernels_and_none_lies_outside_of_the_phases(parsed: Any) -> None:
    rows = {row["phase"]: row for row in parsed("phase")["rows"]}
    assert {"forward", "loss", "backward", "clip", "optimizer"} <= {name for name, row in rows.items() if row["calls"]}
    assert rows["h2d"]["copy_dur_ns"] > 0
    assert None not in rows


def test_phases_share_the_busy_time_out_among_them(parsed: Any) -> None:
    found = parsed("phase")
    assert sum(row["dur_ns"] for row in found["rows"]) == found["totals"]["kernel_dur_ns"]
    assert sum(row["excl_ns"] for row in found["rows"]) == found["totals"]["busy_ns"]


def test_both_iterations_have_kernels(parsed: Any) -> None:
    assert {str(row["iteration"]) for row in parsed("iteration")["rows"] if row["calls"]} == {"3", "4"}


def test_every_layer_has_kernels_forward_and_backward(parsed: Any) -> None:
    wanted = {f"{layer}:{way}" for layer in _LAYERS for way in ("forward", "backward")}
    assert wanted <= {row["layer"] for row in parsed("layer")["rows"] if row["calls"]}


def test_busy_time_is_the_union_of_the_kernels_in_the_raw_trace(parsed: Any, trace: Path) -> None:
    kernels = events(trace, "kernel")
    totals = parsed("name")["totals"]
    assert totals["launches"] == len(kernels)
    assert totals["kernel_dur_ns"] == sum(kernel.stop_ns - kernel.start_ns for kernel in kernels)
    assert totals["busy_ns"] == busy_ns(kernels)


def test_the_fences_keep_every_kernel_inside_the_window(trace: Path) -> None:
    (window,) = (span for span in events(trace, "user_annotation") if span.name == "ds2prof:window:3-5")
    kernels = events(trace, "kernel")
    assert min(kernel.start_ns for kernel in kernels) >= window.start_ns - _CLOCK_NS
    assert max(kernel.stop_ns for kernel in kernels) <= window.stop_ns + _CLOCK_NS
