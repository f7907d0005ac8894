"""What the GPU tests compare with is itself held against ds2prof on files, so that it is right before a GPU is had."""

from __future__ import annotations

from pathlib import Path

import pytest

import ds2prof
from ds2prof.analysis.core import core_utilization
from ds2prof.analysis.questions import totals_of
from tests.gpu.support import Span, busy_ns, events, launches, memory_sums, utilization


def test_the_union_of_overlapping_kernels_counts_each_instant_once_for_each_device() -> None:
    kernels = [Span("a", 0, 10, 0), Span("b", 5, 12, 0), Span("c", 12, 13, 0), Span("d", 0, 4, 1), Span("e", 20, 21, 0)]
    assert busy_ns(kernels) == 13 + 1 + 4


def test_the_union_of_a_real_form_of_trace_is_the_busy_time_that_is_reported(golden: Path) -> None:
    pytest.importorskip("msgspec")
    file = golden / "torch_kineto" / "cuda_2025" / "input.json"
    kernels = events(file, "kernel")
    assert len(kernels) == 3
    profile = ds2prof.read(file, tables=("kernels", "copies", "ranges", "spans"))
    assert busy_ns(kernels) == totals_of(profile)["busy_ns"]


def test_the_weighted_mean_of_a_table_is_the_core_utilization_that_is_reported(tmp_path: Path) -> None:
    metric = "sm__inst_executed_pipe_fma.avg.pct_of_peak_sustained_elapsed"
    heading = f'"ID","Process ID","Process Name","Kernel Name","gpc__cycles_elapsed.max","{metric}"\n'
    units = '"","","","","cycle","%"\n'
    rows = '"0","1","p","k","1000","50"\n"1","1","p","k","3000","10"\n'
    file = tmp_path / "counters.csv"
    file.write_text(f"==PROF== Connected to process 1\n{heading}{units}{rows}")
    found = core_utilization(ds2prof.read(file, tables=("kernels", "counters", "devices"))).columns
    assert utilization(launches(file), metric) == pytest.approx(0.2)
    assert found["utilization"][list(found["pipe"]).index("fma")] == pytest.approx(0.2)


def test_counts_of_the_allocator_are_no_part_of_what_it_counts(tmp_path: Path) -> None:
    file = tmp_path / "memory.csv"
    file.write_text(
        "iteration,moment,phase,device,layer,category,size_bytes,operator\n"
        "1,after_step,,cuda:0,head,weights,100,\n"
        "1,after_step,,cuda:0,model,rounding,28,\n"
        "1,after_step,,cuda:0,,reserved,4096,\n"
        "1,after_step,,cuda:0,model,allocated,128,\n"
        "1,layer_forward,forward,cuda:0,head,allocated,90,\n"
    )
    parts, allocated = memory_sums(file)
    assert parts == allocated == {(1, "after_step", "cuda:0"): 128}
