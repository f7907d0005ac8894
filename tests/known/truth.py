"""What happened in a run, told plainly: device work, the calls that launched it, and what else the host did.

All times are integer nanoseconds from the run's own zero; writers add what a format counts from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

PROCESS, MAIN, AUTOGRAD = 900, 900, 917
FULL_NAMES = {
    "gates<float>": "void gates<float, (int)4>(float *, const float *)",
    "vectorized_elementwise_kernel<AddFunctor<float>>": (
        "void at::native::vectorized_elementwise_kernel<4, at::native::AddFunctor<float> >"
        "(int, at::native::AddFunctor<float>)"
    ),
    "ncclDevKernel_AllReduce_Sum_f32_RING_LL": (
        "ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevKernelArgsStorage<4096ul>)"
    ),
}
"""Short name -> the name as a demangler writes it, where that is longer."""
CLASSES = {
    "gates<float>": "other",
    "vectorized_elementwise_kernel<AddFunctor<float>>": "elementwise",
    "ncclDevKernel_AllReduce_Sum_f32_RING_LL": "communication",
    "ampere_sgemm_128x64_tn": "gemm",
    "ampere_sgemm_64x32_nn": "gemm",
    "implicit_convolve_sgemm": "convolution",
    "RNN_blockPersist_fp_LSTM": "recurrent",
    "RNN_blockPersist_bp_LSTM": "recurrent",
    "batch_norm_backward_kernel": "normalization",
    "softmax_warp_forward": "softmax",
    "reduce_kernel": "reduction",
    "ctc_loss_log_alpha_gpu_kernel": "ctc",
}
"""Short name -> the class of its work."""


@dataclass(frozen=True)
class Kernel:
    """One kernel on a device; ``correlation`` is that of its launch, 0 where none was recorded."""

    name: str
    start: int
    end: int
    correlation: int
    stream: int = 7
    device: int = 0
    process: int = PROCESS
    graph: int = 0
    grid: tuple[int, int, int] = (64, 1, 1)
    block: tuple[int, int, int] = (256, 1, 1)
    cycles: int = 0
    percents: tuple[tuple[str, Fraction], ...] = ()

    @property
    def full_name(self) -> str:
        return FULL_NAMES.get(self.name, self.name)


@dataclass(frozen=True)
class Copy:
    """One copy (``HtoD``, ``DtoH``) or one set (``set``) on a device."""

    kind: str
    start: int
    end: int
    correlation: int
    size_bytes: int
    stream: int = 7
    device: int = 0
    process: int = PROCESS


@dataclass(frozen=True)
class Call:
    """One call of CUDA's interfaces on a thread of the host."""

    name: str
    start: int
    end: int
    thread: int
    correlation: int
    process: int = PROCESS


@dataclass(frozen=True)
class Wait:
    """A wait as the profiler saw it: a row on a device's stream that is no work of the device."""

    name: str
    start: int
    end: int
    stream: int = 7
    device: int = 0
    correlation: int = 0


@dataclass(frozen=True)
class Range:
    """A range of the host: iteration, phase or layer."""

    kind: str
    value: str
    start: int
    end: int
    thread: int = MAIN
    process: int = PROCESS


@dataclass(frozen=True)
class Operator:
    """An operator of PyTorch; forward and backward share a sequence number."""

    name: str
    start: int
    end: int
    sequence: int | None = None
    thread: int = MAIN
    is_backward: bool = False


@dataclass(frozen=True)
class Overhead:
    """Time that the profiler (``Buffer Flush``) or CUDA's loader (``Lazy Function Loading``) took of a thread."""

    kind: str
    start: int
    end: int
    thread: int = MAIN


@dataclass
class Run:
    """One run, filled by its case."""

    name: str
    intent: str
    formats: tuple[str, ...]
    span: tuple[int, int] = (0, 0)
    kernels: list[Kernel] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    ranges: list[Range] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    overheads: list[Overhead] = field(default_factory=list)
    next_correlation: int = 100

    def call(self, name: str, start: int, end: int, **others: int) -> int:
        """A call, with a correlation id of its own unless one is given."""
        if "correlation" not in others:
            others["correlation"] = self.next_correlation
            self.next_correlation += 1
        self.calls.append(Call(name, start, end, **{"thread": MAIN, **others}))
        return others["correlation"]

    def kernel(self, name: str, start: int, end: int, call: tuple[int, int] | None, **others: object) -> None:
        """A kernel and the call that launched it, which took from and to the times of ``call``."""
        correlation = 0
        if call is not None:
            told = {key: others.pop(key) for key in ("thread", "correlation") if key in others}
            if "process" in others:
                told["process"] = others["process"]
            correlation = self.call("cudaLaunchKernel", *call, **told)
        self.kernels.append(Kernel(name, start, end, correlation, **others))

    def copy(self, kind: str, start: int, end: int, call: tuple[int, int], size_bytes: int, **others: int) -> None:
        """A copy or set and the call that launched it; ``blocking`` calls return after it."""
        name = "cudaMemcpy" if others.pop("blocking", 0) else "cudaMemsetAsync" if kind == "set" else "cudaMemcpyAsync"
        correlation = self.call(name, *call, thread=others.pop("thread", MAIN))
        self.copies.append(Copy(kind, start, end, correlation, size_bytes, **others))

    def range(self, kind: str, value: str, start: int, end: int, **others: int) -> None:
        """A range of the host."""
        self.ranges.append(Range(kind, value, start, end, **others))
