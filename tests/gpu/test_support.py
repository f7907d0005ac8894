"""What the GPU tests compare with is itself held against ds2prof on files, so that it is right before a GPU is had."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from ds2prof import read
from ds2prof.analysis.core import core_utilization
from ds2prof.analysis.questions import totals_of
from tests.gpu.support import (
    INFERENCE,
    NO_COUNTERS,
    ROOT,
    TRAINING,
    Run,
    Span,
    busy_ns,
    ds2prof,
    events,
    iterations,
    launched_in,
    launches,
    memory_sums,
    program,
    utilization,
)


def test_the_union_of_overlapping_kernels_counts_each_instant_once_for_each_device() -> None:
    kernels = [Span("a", 0, 10, 0), Span("b", 5, 12, 0), Span("c", 12, 13, 0), Span("d", 0, 4, 1), Span("e", 20, 21, 0)]
    assert busy_ns(kernels) == 13 + 1 + 4


def test_the_union_of_a_real_form_of_trace_is_the_busy_time_that_is_reported(golden: Path) -> None:
    pytest.importorskip("msgspec")
    file = golden / "torch_kineto" / "cuda_2025" / "input.json"
    kernels = events(file, "kernel")
    assert len(kernels) == 3
    profile = read(file, tables=("kernels", "copies", "ranges", "spans"))
    assert busy_ns(kernels) == totals_of(profile)["busy_ns"]


def test_the_weighted_mean_of_a_table_is_the_core_utilization_that_is_reported(tmp_path: Path) -> None:
    metric = "sm__inst_executed_pipe_fma.avg.pct_of_peak_sustained_elapsed"
    heading = f'"ID","Process ID","Process Name","Kernel Name","gpc__cycles_elapsed.max","{metric}"\n'
    units = '"","","","","cycle","%"\n'
    rows = '"0","1","p","k","1000","50"\n"1","1","p","k","3000","10"\n'
    file = tmp_path / "counters.csv"
    file.write_text(f"==PROF== Connected to process 1\n{heading}{units}{rows}")
    found = core_utilization(read(file, tables=("kernels", "counters", "devices"))).columns
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


def test_a_kernel_belongs_to_the_iteration_that_launched_it_however_late_it_runs(tmp_path: Path) -> None:
    def event(category: str, name: str, start_us: float, dur_us: float, **args: int) -> dict[str, object]:
        return {
            "ph": "X",
            "cat": category,
            "name": name,
            "ts": start_us,
            "dur": dur_us,
            "pid": 1,
            "tid": 1,
            "args": args,
        }

    rows = [
        event("user_annotation", "ds2prof:iteration:1", 20.5, 10),
        event("user_annotation", "ds2prof:iteration:0", 10.5, 10),
        event("cuda_runtime", "cudaLaunchKernel", 12, 1, correlation=5),
        event("cuda_driver", "cuLaunchKernelEx", 20.5, 1, correlation=6),
        event("cuda_runtime", "cudaLaunchKernel", 40, 1, correlation=7),
        *(event("kernel", "k", 100 + number, 1, correlation=number) for number in (5, 6, 7)),
    ]
    file = tmp_path / "trace.json"
    file.write_text(json.dumps({"traceEvents": rows}))
    assert iterations(file) == [0, 1]
    assert launched_in(file) == {0: 1, 1: 1, -1: 1}


def test_only_a_failure_can_lack_counters() -> None:
    assert Run(1, "", f"ds2prof: nsight: {NO_COUNTERS[1]}").lacks_counters
    assert not Run(0, NO_COUNTERS[0], "").lacks_counters
    assert not Run(1, "", "ds2prof: nsight: the program ended with exit code 1").lacks_counters


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "window", "named"),
    [pytest.param(INFERENCE, (), [], marks=pytest.mark.long), (TRAINING, ("--window", "0:2"), [0, 1])],
)
def test_the_scripts_of_the_injection_tests_are_recorded_on_the_host_too(
    text: str, window: tuple[str, ...], named: list[int], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "torch.json.gz"
    done = subprocess.run(
        ds2prof("run", "torch", *window, "-o", str(path), "--", *program(tmp_path, text, "cpu")),
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert iterations(path) == named
    assert "aten::linear" in {span.name for span in events(path, "cpu_op")}
