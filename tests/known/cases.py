"""The runs: each has a story, times chosen by hand, and a list of the formats that can tell it.

Where kernels run together, lengths are multiples of six, so that every share of the time is a whole nanosecond.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Final

from tests.known.truth import AUTOGRAD, Kernel, Operator, Overhead, Run, Wait

TIMELINES: Final = ("kineto", "nsys_2026", "nsys_2020", "nvvp", "nsys_stats", "rocprof_json")
"""Formats that tell kernels, copies, calls and ranges on one clock."""
KERNELS_ALONE: Final = ("nvprof_trace", "rocprof_csv")
"""Formats that tell device work alone."""
GEMM, SMALL_GEMM, CONV = "ampere_sgemm_128x64_tn", "ampere_sgemm_64x32_nn", "implicit_convolve_sgemm"
ADD = "vectorized_elementwise_kernel<AddFunctor<float>>"
ALLREDUCE = "ncclDevKernel_AllReduce_Sum_f32_RING_LL"


def host_bound(run: Run) -> None:
    """Small kernels, launched late: host code, launch call and hand-off are told apart to the nanosecond."""
    run.range("iteration", "0", 1_000, 40_000)
    run.range("iteration", "1", 40_000, 81_000)
    for step, base in enumerate((1_000, 40_000)):
        run.range("phase", "forward", base + 500, base + 20_000)
        run.range("phase", "optimizer", base + 20_000, base + 38_900)
        for number in range(6):
            call = base + 1_003 + 6_101 * number
            run.kernel(
                (GEMM, ADD, "gates<float>")[number % 3],
                call + 3_217,
                call + 4_750 + 10 * step,
                (call, call + 2_111),
            )


def queue_bound(run: Run) -> None:
    """The host is far ahead; 2.5 us pass between kernels that follow each other on one stream."""
    run.range("iteration", "0", 1_000, 99_000)
    for number in range(8):
        start = 20_003 + 9_500 * number
        call = 2_001 + 1_503 * number
        run.kernel((GEMM, "softmax_warp_forward")[number % 2], start, start + 7_000, (call, call + 1_201))


def sync_bound(run: Run) -> None:
    """A loss is read each step: the stream is waited for, a blocking copy drains, and the device stands still."""
    run.range("iteration", "0", 0, 30_007)
    run.range("iteration", "1", 30_007, 60_011)
    for base in (0, 30_007):
        run.range("phase", "forward", base + 100, base + 9_000)
        run.range("phase", "loss", base + 9_000, base + 29_000)
        run.kernel(GEMM, base + 3_500, base + 11_001, (base + 1_000, base + 2_500))
        run.call("cudaStreamSynchronize", base + 9_500, base + 13_207)
        run.kernel("reduce_kernel", base + 17_003, base + 19_500, (base + 14_001, base + 15_907))
        run.copy("DtoH", base + 21_009, base + 22_000, (base + 16_500, base + 25_303), 4, blocking=1)
        run.kernel(ADD, base + 27_511, base + 28_013, (base + 26_000, base + 27_001))


def data_bound(run: Run) -> None:
    """Batches come late: the phase that fetches them is open while the device has nothing to do."""
    for step, base in enumerate((0, 50_000, 100_000)):
        run.range("iteration", str(step), base, base + 49_999)
        run.range("phase", "data", base + 50, base + 22_001)
        run.range("phase", "h2d", base + 22_001, base + 26_000)
        run.range("phase", "forward", base + 26_000, base + 49_000)
        run.copy("HtoD", base + 26_503, base + 28_500, (base + 23_007, base + 25_001), 1 << 20)
        run.kernel(CONV, base + 30_011, base + 44_012, (base + 26_900, base + 28_103))


def allocation(run: Run) -> None:
    """Memory is taken and given back between launches."""
    run.range("iteration", "0", 0, 45_000)
    run.kernel(GEMM, 4_001, 9_000, (1_000, 3_003))
    run.call("cudaMalloc", 7_500, 13_709)
    run.kernel(ADD, 17_002, 19_005, (14_002, 15_503))
    run.call("cudaFree", 20_011, 31_013)
    run.kernel(GEMM, 35_001, 41_000, (31_517, 34_003))


def loading(run: Run) -> None:
    """The first launches load modules, and the profiler flushes its buffer on the same thread."""
    run.range("iteration", "0", 0, 90_000)
    run.kernel(GEMM, 4_001, 9_000, (1_000, 3_003))
    run.call("cuModuleLoadData", 12_007, 30_002)
    run.kernel("RNN_blockPersist_fp_LSTM", 35_003, 44_004, (31_005, 33_006))
    run.overheads.append(Overhead("Lazy Function Loading", 46_007, 52_001))
    run.overheads.append(Overhead("Buffer Flush", 50_500, 57_009))
    run.kernel(ADD, 62_001, 66_006, (58_003, 60_004))
    run.call("cudaMalloc", 67_001, 76_003)
    run.overheads.append(Overhead("Buffer Flush", 70_002, 74_005))
    run.kernel(ADD, 80_001, 83_002, (77_003, 79_004))


def copies(run: Run) -> None:
    """Copies beside kernels, and copies alone; what a kernel covers is not exposed."""
    run.range("iteration", "0", 0, 60_000)
    run.copy("HtoD", 5_000, 13_000, (1_000, 3_000), 1 << 22, stream=13)
    run.kernel(GEMM, 10_000, 22_000, (3_100, 4_200))
    run.copy("DtoH", 18_000, 25_500, (4_300, 5_400), 1 << 21, stream=14)
    run.copy("set", 26_001, 27_000, (5_500, 6_600), 1 << 16)
    run.kernel(ADD, 27_000, 40_000, (6_700, 7_800))
    run.copy("HtoD", 30_000, 35_000, (7_900, 8_900), 1 << 20, stream=13)
    run.copy("DtoH", 44_003, 52_004, (41_001, 43_002), 1 << 20, stream=14)


def communication(run: Run) -> None:
    """Gradients are reduced on a stream of their own, partly behind the backward, and copies behind both."""
    run.range("iteration", "0", 0, 90_000)
    run.range("phase", "backward", 500, 60_000)
    run.range("phase", "optimizer", 60_000, 89_000)
    run.kernel(GEMM, 4_000, 16_000, (1_000, 2_000))
    run.kernel(ALLREDUCE, 10_000, 34_000, (2_100, 3_100), stream=20)
    run.kernel(SMALL_GEMM, 22_000, 28_000, (3_200, 4_200))
    run.copy("HtoD", 32_000, 36_000, (4_300, 5_300), 4_096, stream=13)
    run.kernel(ALLREDUCE, 40_003, 61_003, (37_001, 39_002), stream=20)
    run.kernel(ADD, 64_005, 70_006, (61_501, 63_502))


def streams(run: Run) -> None:
    """Three streams at once, 24 overlaps on one stream, two kernels of the same times, and kernels of no length."""
    run.range("iteration", "0", 0, 100_000)
    for number in range(3):
        call = 1_000 + 1_000 * number
        run.kernel(GEMM, 6_000 + 600 * number, 12_000 + 1_200 * number, (call, call + 900), stream=7 + number)
    for number in range(25):
        start = 20_000 + 2_400 * number
        call = 4_000 + 500 * number
        run.kernel((ADD, CONV)[number % 2], start, start + 3_600, (call, call + 400))
    for number in range(2):
        run.kernel("softmax_warp_forward", 80_000, 84_200, (16_600 + 500 * number, 17_000 + 500 * number))
    for number, at in enumerate((8_400, 30_000, 82_400)):
        run.kernel("reduce_kernel", at, at, (17_600 + 500 * number, 18_000 + 500 * number), stream=9)


def graph(run: Run) -> None:
    """One call launches a graph of five kernels; the next graph is launched before the first is over."""
    run.range("iteration", "0", 0, 30_000)
    run.range("iteration", "1", 30_000, 62_000)
    for step, base in enumerate((0, 30_000)):
        run.range("phase", "forward", base + 100, base + 25_000)
        correlation = run.call("cudaGraphLaunch", base + 1_003, base + 6_007)
        for number in range(5):
            start = base + 8_011 + 3_600 * number
            run.kernels.append(Kernel((GEMM, ADD)[number % 2], start, start + 3_000 + 60 * step, correlation, graph=3))


def autograd(run: Run) -> None:
    """The backward is launched by a thread on which no range is open; operators share sequence numbers."""
    run.range("iteration", "0", 0, 80_000)
    run.range("phase", "forward", 500, 25_000)
    run.range("phase", "backward", 26_000, 70_000)
    run.range("phase", "optimizer", 70_500, 79_500)
    run.range("layer", "conv.0", 1_000, 9_000)
    run.range("layer", "rnn.0", 9_500, 21_000)
    run.kernel(CONV, 5_003, 11_004, (2_000, 3_001))
    run.kernel("RNN_blockPersist_fp_LSTM", 15_005, 24_006, (11_000, 13_001))
    run.kernel("RNN_blockPersist_bp_LSTM", 33_007, 47_008, (29_000, 31_001), thread=AUTOGRAD)
    run.kernel("batch_norm_backward_kernel", 52_009, 55_010, (49_000, 51_001), thread=AUTOGRAD)
    run.kernel(CONV, 59_011, 66_012, (56_000, 58_001), thread=AUTOGRAD)
    run.kernel(ADD, 75_013, 78_014, (72_000, 74_001))
    run.operators += [
        Operator("aten::conv2d", 1_500, 8_000, 11),
        Operator("aten::lstm", 10_000, 20_000, 12),
        Operator("autograd::engine::evaluate_function: LstmBackward0", 28_000, 48_000, 12, AUTOGRAD, is_backward=True),
        Operator("autograd::engine::evaluate_function: ConvBackward0", 48_500, 59_000, 11, AUTOGRAD, is_backward=True),
    ]


def two_devices(run: Run) -> None:
    """One process, two devices: busy times and gaps are each device's own."""
    run.range("iteration", "0", 0, 50_000)
    run.range("iteration", "1", 50_000, 100_000)
    for base in (0, 50_000):
        for device in (0, 1):
            at = base + 2_500 * device
            run.kernel(GEMM, at + 6_001, at + 18_002, (at + 1_000, at + 2_500), device=device)
            run.kernel(
                ALLREDUCE, at + 24_003, at + 38_004 + device, (at + 20_000, at + 22_001), device=device, stream=20
            )


def two_processes(run: Run) -> None:
    """Two processes share a device and their correlation ids are the same."""
    for process, at in ((900, 0), (901, 30_000)):
        run.range("iteration", "0", at, at + 29_000, process=process, thread=process)
        run.range(
            "phase", "forward" if process == 900 else "backward", at, at + 29_000, process=process, thread=process
        )
        for number in range(3):
            call = at + 1_003 + 8_000 * number
            run.kernel(
                (GEMM, ADD)[process - 900],
                call + 4_001,
                call + 6_002,
                (call, call + 2_005),
                correlation=100 + number,
                thread=process,
                process=process,
            )


def waits(run: Run) -> None:
    """A stream waits for another's event: a long row on a stream that is no work of the device."""
    for step in range(3):
        base = 100_000 * step
        run.range("iteration", str(step), base, base + 100_000)
        run.kernel(GEMM, base + 5_001, base + 15_002, (base + 1_000, base + 2_001))
        waiting = run.call("cudaStreamWaitEvent", base + 2_503, base + 2_909)
        run.waits.append(Wait("Stream Wait Event", base + 6_000, base + 93_000, stream=20, correlation=waiting))
        run.kernel(ADD, base + 91_003, base + 97_004, (base + 87_000, base + 89_001), stream=20)


def sub_microsecond(run: Run) -> None:
    """Kernels of about a microsecond, none of which begins or ends on a whole one."""
    for step in range(2):
        base = 200_000 * step
        run.range("iteration", str(step), base, base + 200_000)
        at = base + 3_401
        for number in range(60):
            length = 701 + 37 * (number % 24)
            run.kernel((ADD, "gates<float>")[number % 2], at, at + length, (at - 2_900, at - 1_800))
            at += length + 1_933


def many_names(run: Run) -> None:
    """Twelve kernels of different names, each four times with four lengths."""
    names = [
        *(GEMM, SMALL_GEMM, CONV, ADD, ALLREDUCE, "gates<float>", "softmax_warp_forward", "reduce_kernel"),
        *("RNN_blockPersist_fp_LSTM", "RNN_blockPersist_bp_LSTM", "batch_norm_backward_kernel"),
        "ctc_loss_log_alpha_gpu_kernel",
    ]
    for step in range(2):
        base = 400_000 * step
        run.range("iteration", str(step), base, base + 400_000)
        for number in range(24):
            at = base + 6_003 + 16_000 * number
            length = 1_000 * (1 + number % 12) + 500 * (number // 12) + 100 * step
            run.kernel(names[number % 12], at, at + length, (at - 4_500, at - 3_000))


def window(run: Run) -> None:
    """Work before the first step and after the last, and a kernel across each edge: they are cut there."""
    run.range("iteration", "4", 20_000, 50_000)
    run.range("iteration", "5", 50_000, 80_000)
    run.kernel(GEMM, 3_001, 9_002, (1_000, 2_001))
    run.kernel(CONV, 17_003, 23_004, (11_000, 12_001))
    run.kernel(GEMM, 30_005, 41_006, (25_000, 27_001))
    run.kernel(ADD, 55_007, 69_008, (51_000, 53_001))
    run.kernel(GEMM, 76_009, 84_010, (71_000, 73_001))
    run.kernel(ADD, 90_011, 95_012, (86_000, 88_001))


def no_ranges(run: Run) -> None:
    """Nothing marks the steps: the window is what the profiler says, else the device's own work."""
    for number in range(4):
        call = 20_003 + 15_000 * number
        run.kernel((GEMM, ALLREDUCE)[number % 2], call + 4_001, call + 10_002, (call, call + 2_105))
    run.copy("DtoH", 95_001, 99_002, (90_000, 92_001), 4_096)


def unlinked(run: Run) -> None:
    """Some kernels have no launch in the file: their time counts, their phase and their wait are unknown."""
    run.range("iteration", "0", 0, 60_000)
    run.range("phase", "forward", 100, 59_000)
    run.kernel(GEMM, 5_001, 12_002, (1_000, 3_001))
    run.kernel(ADD, 18_003, 25_004, None)
    run.kernel(GEMM, 33_005, 47_006, (28_000, 30_001))
    run.kernel(ADD, 52_007, 55_008, None)


def counters(run: Run) -> None:
    """Counters of three kernels in six launches; the last launch weighs most, and cycles have thousands."""
    for number in range(6):
        name = (GEMM, ADD, "gates<float>")[number % 3]
        cycles = (1_234, 56_789, 1_234_567, 4_321, 98_765, 7_654_321)[number]
        percents = {
            "fma": Fraction(("12.5", "3.25", "40.75", "13.5", "2.5", "81.0")[number]),
            "tensor": Fraction(("61.25", "0", "0.5", "70.5", "0", "1.25")[number]),
            "xu": Fraction(("0.5", "1.75", "9.25", "0.25", "2.0", "16.5")[number]),
        }
        start = 10_000 * number
        run.kernels.append(
            Kernel(name, start, start + 1_000 * (number + 1), 0, cycles=cycles, percents=tuple(percents.items()))
        )


CASES: Final[tuple[tuple[Callable[[Run], None], tuple[str, ...]], ...]] = (
    (host_bound, (*TIMELINES, *KERNELS_ALONE)),
    (queue_bound, TIMELINES),
    (sync_bound, TIMELINES),
    (data_bound, TIMELINES),
    (allocation, TIMELINES),
    (loading, ("kineto", "nsys_2026", "nsys_2020", "nvvp")),
    (copies, (*TIMELINES, "nvprof_trace")),
    (communication, (*TIMELINES, "nvprof_trace")),
    (streams, (*TIMELINES, *KERNELS_ALONE)),
    (graph, TIMELINES),
    (autograd, TIMELINES),
    (two_devices, (*TIMELINES, "nvprof_trace")),
    (two_processes, ("nsys_2026", "nsys_2020", "rocprof_json")),
    (waits, ("kineto", "nsys_2026", "nvvp")),
    (sub_microsecond, (*TIMELINES, *KERNELS_ALONE)),
    (many_names, TIMELINES),
    (window, TIMELINES),
    (no_ranges, ("kineto", "nsys_2026", "nvprof_trace")),
    (unlinked, ("kineto", "nsys_2026", "nvvp")),
    (counters, ("ncu_raw", "ncu_details", "ncu_rep")),
)
"""Case -> the formats that it is written in."""


def run_of(case: Callable[[Run], None], formats: tuple[str, ...]) -> Run:
    """The run of a case; the profiler watched from 5 us before its first host record to 5 us behind its last work."""
    run = Run(case.__name__, (case.__doc__ or "").strip(), formats)
    case(run)
    times = [each.start for each in (*run.calls, *run.ranges)] + [each.end for each in (*run.ranges, *run.kernels)]
    run.span = (min(times, default=0) - 5_000, max(times, default=0) + 5_000)
    return run


def runs() -> list[Run]:
    """All the runs."""
    return [run_of(case, formats) for case, formats in CASES]
