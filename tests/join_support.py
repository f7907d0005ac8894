"""One truth, seen twice: a timeline at one clock, and counters of the same launches replayed at another.

The truth is the work of each launch, in cycles of a pipe. The timeline has real times at the timeline's clock. The
replay has another clock, colder caches (more cycles for the same work), streams in another order, a demangler of its
own, and may lack launches; so may the timeline.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np

from ds2prof.analysis.intervals import union_ns
from ds2prof.tables import Meta, Profile, float_column, int_column, text_column
from tests.ncu_support import NEW, NVTX, PROCESS, ROW, Launch, Metric, lines, quoted, rows

PIPES = {
    "fma": "sm__inst_executed_pipe_fma.avg.pct_of_peak_sustained_elapsed",
    "tensor": "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed",
}
CYCLES = "gpc__cycles_elapsed.max"
NAMES = (
    ("ampere_sgemm_128x64_nn", "ampere_sgemm_128x64_nn"),
    (
        "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>, "
        "at::detail::Array<char*, 3> >(int, at::native::CUDAFunctor_add<float>, at::detail::Array<char*, 3>)",
        "void at::native::vectorized_elementwise_kernel<(int)4, at::native::CUDAFunctor_add<float>, "
        "at::detail::Array<char *, (int)3>>(int, T2, T3)",
    ),
    (
        "void (anonymous namespace)::softmax_warp_forward<float, float, float, 10, true, false>(float*, float const*)",
        "void <unnamed>::softmax_warp_forward<float, float, float, (int)10, (bool)1, (bool)0>(T2 *, const T1 *)",
    ),
    (
        "void at::native::reduce_kernel<128, 4, at::native::ReduceOp<float, at::native::func_wrapper_t<float, "
        "at::native::sum_functor<float>::operator()(at::TensorIterator&)::{lambda(float, float)#1}>, unsigned int> >"
        "(at::native::ReduceOp<float>)",
        "void at::native::reduce_kernel<(int)128, (int)4, at::native::ReduceOp<float, at::native::func_wrapper_t<float,"
        " at::native::sum_functor<float>::operator ()(at::TensorIterator &)::[lambda(float, float) (instance 1)]>, "
        "unsigned int>>(T3)",
    ),
    (
        "void cub::DeviceScanKernel<cub::Policy<256u>, unsigned long>(int)",
        "cub::DeviceScanKernel<cub::Policy<256>, unsigned long>",
    ),
    ("k<32>", "void k<(int)32>(float *)"),
)
"""(as binutils has it, as Nsight Compute has it)"""
RNN = ("void RNN_blockPersist_fp_GRU<float, 512>(RnnParams)", "RNN_blockPersist_fp_GRU<float, (int)512>")


@dataclass(frozen=True)
class Truth:
    """Launches in the order of the host, a column each.

    Attributes:
        iteration: its iteration.
        name: place in NAMES; -1 for the RNN.
        grid: blocks.
        stream: stream on the timeline.
        start_ns, dur_ns: on the timeline.
        work: pipe -> cycles of the pipe.
        clock_hz: the SM clock of the timeline.
    """

    iteration: np.ndarray
    name: np.ndarray
    grid: np.ndarray
    stream: np.ndarray
    start_ns: np.ndarray
    dur_ns: np.ndarray
    work: dict[str, np.ndarray]
    clock_hz: float

    def __len__(self) -> int:
        return len(self.name)

    def take(self, rows: np.ndarray) -> Truth:
        columns = ("iteration", "name", "grid", "stream", "start_ns", "dur_ns")
        work = {pipe: values[rows] for pipe, values in self.work.items()}
        return replace(self, work=work, **{name: getattr(self, name)[rows] for name in columns})

    def utilization(self, pipe: str, rows: np.ndarray | slice = slice(None)) -> float:
        """Work over clock times the union of the launches' time."""
        starts = self.start_ns[rows]
        busy_ns = union_ns(starts, starts + self.dur_ns[rows])
        return float(self.work[pipe][rows].sum() / (self.clock_hz * busy_ns / 1e9))

    def step_ns(self, iteration: int) -> tuple[int, int]:
        """When the host was in an iteration: a launch is called 5 us before it starts at the earliest."""
        rows = np.flatnonzero(self.iteration == iteration)
        first = int(self.start_ns[rows].min()) - 20_000
        following = np.flatnonzero(self.iteration == iteration + 1)
        last = (
            int(self.start_ns[following].min()) - 21_000
            if len(following)
            else int((self.start_ns + self.dur_ns).max()) + 1_000
        )
        return first, last


def truth(
    seed: int,
    *,
    iterations: int = 3,
    launches: int = 150,
    streams: int = 1,
    clock_hz: float = 1.41e9,
    kinds: int = 40,
    lengths: tuple[int, ...] | None = None,
) -> Truth:
    """A program of ``launches`` launches, run ``iterations`` times; ``lengths`` are those of an RNN's sequences.

    A launch's work depends on its key and, for the RNN, on the length of the iteration; its time varies by 5 %.
    """
    rng = np.random.default_rng(seed)
    kind_name = np.concatenate((rng.integers(0, len(NAMES), kinds), [-1]))
    kind_grid = np.concatenate((np.arange(kinds) * 7 + 1, [28]))  # no two kinds are one key
    kind_ns = np.concatenate((np.exp(rng.normal(9.5, 0.8, kinds)).astype(np.int64) + 2_000, [400_000]))
    share = {pipe: np.concatenate((rng.beta(1, 3, kinds) * 0.45, [0.3])) for pipe in PIPES}
    program = rng.integers(0, kinds, launches)
    program[rng.random(launches) < (0.04 if lengths else 0.0)] = kinds
    lane = rng.integers(0, streams, launches)
    kind, iteration = np.tile(program, iterations), np.repeat(np.arange(iterations), launches)
    scale = np.ones(len(kind))
    if lengths:
        scale[kind == kinds] = np.array(lengths)[iteration[kind == kinds]] / lengths[0]
    least_ns = kind_ns[kind] * scale
    dur_ns = np.rint(least_ns * (1 + 0.05 * rng.random(len(kind)))).astype(np.int64)
    stream = 7 + 6 * np.tile(lane, iterations)
    start_ns = _starts(rng, iteration, stream, dur_ns)
    work = {pipe: of_kind[kind] * least_ns * clock_hz / 1e9 for pipe, of_kind in share.items()}
    return Truth(iteration, kind_name[kind], kind_grid[kind], stream, start_ns, dur_ns, work, clock_hz)


def _starts(rng, iteration, stream, dur_ns) -> np.ndarray:
    """Each launch behind the one before it on its stream, each iteration behind the whole one before."""
    starts = np.zeros(len(dur_ns), dtype=np.int64)
    free: dict[int, int] = {}
    begin, gaps = 1_000_000_000, rng.integers(0, 5_000, len(dur_ns)).tolist()
    for row, (step, lane, length) in enumerate(zip(iteration.tolist(), stream.tolist(), dur_ns.tolist(), strict=True)):
        if row and step != iteration[row - 1]:
            begin, free = max(free.values()) + 50_000, {}
        starts[row] = free.get(lane, begin) + gaps[row]
        free[lane] = int(starts[row]) + length
    return starts


def timeline(
    found: Truth,
    *,
    steps: bool = True,
    calls: bool = True,
    sections: int = 0,
    chip: str = "GA100",
    device: str = "NVIDIA A100-PCIE-40GB",
) -> Profile:
    """The truth as a profiler without counters saw it; without ``calls`` it saw no launches on the host.

    With ``sections`` the launches of each iteration are called in so many phases, each of one layer.
    """
    order = np.argsort(found.start_ns, kind="stable")
    seen = found.take(order)
    tables = {"kernels": _kernels(seen, 0), "devices": _device(chip, device)}
    tables["kernels"] |= {"start_ns": int_column(seen.start_ns), "dur_ns": int_column(seen.dur_ns)}
    tables["kernels"]["correlation"] = int_column(order + 1)
    if calls:
        tables["api"] = {
            "name": text_column(["cudaLaunchKernel"] * len(found)),
            "start_ns": int_column(call_starts(found)),
            "dur_ns": int_column(np.full(len(found), 1)),
            "correlation": int_column(np.arange(len(found)) + 1),
            "process": int_column(np.full(len(found), 1)),
            "thread": int_column(np.full(len(found), 1)),
        }
    if steps:
        spans = [("iteration", str(step), *found.step_ns(step)) for step in np.unique(found.iteration).tolist()]
        spans += _sections(found, sections)
        tables["ranges"] = {
            "name": text_column([f"{kind} {value}" for kind, value, _, _ in spans]),
            "kind": text_column([kind for kind, _, _, _ in spans]),
            "value": text_column([value for _, value, _, _ in spans]),
            "process": int_column([1] * len(spans)),
            "thread": int_column([1] * len(spans)),
            "start_ns": int_column([start for _, _, start, _ in spans]),
            "dur_ns": int_column([stop - start for _, _, start, stop in spans]),
        }
    return Profile.of(Meta(file="timeline.json", tool="test", format="test"), tables)


def section_of(found: Truth, sections: int) -> np.ndarray:
    """The section of each launch: equal shares of its iteration, in the order of the calls."""
    place = np.arange(len(found)) - np.searchsorted(found.iteration, found.iteration)
    return place * sections // np.bincount(found.iteration)[found.iteration]


def _sections(found: Truth, sections: int) -> list[tuple[str, str, int, int]]:
    """(kind, value, start, end) of the phases and layers: around the calls of their launches."""
    calls, of_launch = call_starts(found), section_of(found, max(sections, 1))
    made = []
    for step in np.unique(found.iteration).tolist() if sections else ():
        for section in range(sections):
            own = calls[(found.iteration == step) & (of_launch == section)]
            made += [(kind, f"{kind}{section}", int(own.min()), int(own.max()) + 1) for kind in ("phase", "layer")]
    return made


def call_starts(found: Truth) -> np.ndarray:
    """When each launch was called: all launches of an iteration one ns apart, before the first of them runs."""
    starts = np.zeros(len(found), dtype=np.int64)
    for step in np.unique(found.iteration).tolist():
        rows = np.flatnonzero(found.iteration == step)
        starts[rows] = int(found.start_ns[rows].min()) - 19_000 + np.arange(len(rows))
    return starts


def replayed(found: Truth, *, seed: int = 0, cold: float = 0.6, mixed: bool = False, drop: float = 0.0) -> Truth:
    """The launches as the replay met them: fewer, streams in another order, times of cold caches.

    ``dur_ns`` are the replayed times at the timeline's clock; another clock changes them and no cycles.
    """
    rng = np.random.default_rng(seed + 1_000_003)
    order = np.arange(len(found))
    if mixed:  # each stream in order, chance between them
        late = found.iteration * 10.0**6 + np.arange(len(found)) + rng.integers(-20, 20, 64)[found.stream % 64]
        order = np.argsort(late, kind="stable")
    order = order[rng.random(len(order)) >= drop]
    seen = found.take(order)
    longer = np.rint(seen.dur_ns * (1 + cold * rng.random(len(seen)))).astype(np.int64)
    return replace(seen, dur_ns=longer)


def counters(
    seen: Truth, *, tells: bool = True, shared_streams: bool = True, chip: str = "GA100", clock: float = 1.0
) -> Profile:
    """The counters of replayed launches; ``clock`` is the replay's in shares of the timeline's."""
    cycles = seen.dur_ns * seen.clock_hz / 1e9
    kernels = _kernels(seen, 1) | {"order": int_column(np.arange(len(seen)))}
    kernels["dur_ns"] = int_column(np.rint(seen.dur_ns / clock).astype(np.int64))
    if tells:
        kernels["iteration"] = text_column([str(step) for step in seen.iteration.tolist()])
    if not shared_streams:
        del kernels["stream"]
    rows = [(CYCLES, "cycle", cycles), *((PIPES[pipe], "ratio", work / cycles) for pipe, work in seen.work.items())]
    launches = np.tile(np.arange(len(seen)), len(rows))
    made = {
        "launch": int_column(launches),
        "metric": text_column([metric for metric, _, _ in rows for _ in range(len(seen))]),
        "unit": text_column([unit for _, unit, _ in rows for _ in range(len(seen))]),
        "value": float_column(np.concatenate([values for _, _, values in rows])),
    }
    meta = Meta(file="counters.csv", tool="test", format="test", times="replay")
    return Profile.of(meta, {"kernels": kernels, "counters": made, "devices": _device(chip, "NVIDIA A100-PCIE-40GB")})


def _kernels(found: Truth, side: int):
    names = [(RNN if place < 0 else NAMES[place])[side] for place in found.name.tolist()]
    ones = np.full(len(found), 1)
    shape = {
        "grid_x": found.grid,
        "grid_y": ones,
        "grid_z": ones,
        "block_x": ones * 128,
        "block_y": ones,
        "block_z": ones,
    }
    return {
        "name": text_column(names),
        "process": int_column(ones),
        "device": int_column(ones * 0),
        "stream": int_column(found.stream + (100 if side else 0)),
        **{name: int_column(values) for name, values in shape.items()},
    }


def _device(chip: str, name: str):
    return {"device": int_column([0]), "chip": text_column([chip]), "name": text_column([name])}


def kineto_text(found: Truth) -> str:
    """The timeline as PyTorch's profiler writes it."""
    events = [
        {
            "ph": "X", "cat": "user_annotation", "name": f"ProfilerStep#{step}", "pid": 1, "tid": 1,
            "ts": start / 1000, "dur": (stop - start) / 1000,
        }
        for step in np.unique(found.iteration).tolist()
        for start, stop in [found.step_ns(step)]
    ]  # fmt: skip
    calls = call_starts(found)
    for row in range(len(found)):
        events.append(
            {
                "ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 1, "tid": 1,
                "ts": int(calls[row]) / 1000, "dur": 0.001, "args": {"correlation": row + 1},
            }
        )  # fmt: skip
        name = (RNN if found.name[row] < 0 else NAMES[found.name[row]])[0]
        arguments = {
            "device": 0, "context": 1, "stream": int(found.stream[row]), "correlation": row + 1,
            "grid": [int(found.grid[row]), 1, 1], "block": [128, 1, 1], "shared memory": 0,
        }  # fmt: skip
        events.append(
            {
                "ph": "X", "cat": "kernel", "name": name, "pid": 0, "tid": int(found.stream[row]),
                "ts": int(found.start_ns[row]) / 1000, "dur": int(found.dur_ns[row]) / 1000, "args": arguments,
            }
        )  # fmt: skip
    device = {"id": 0, "name": "NVIDIA A100-PCIE-40GB", "computeMajor": 8, "computeMinor": 0, "numSms": 108}
    return json.dumps({"schemaVersion": 1, "deviceProperties": [device], "traceEvents": events})


def ncu_text(seen: Truth) -> str:
    """The counters as Nsight Compute prints them: percent with two decimals, thousands separated."""
    launches = []
    for row in range(len(seen)):
        cycles = seen.dur_ns[row] * seen.clock_hz / 1e9
        metrics = [
            Metric(CYCLES, "cycle", f"{cycles:,.0f}"),
            Metric("gpu__time_duration.sum", "ns", f"{seen.dur_ns[row]:,}"),
        ]
        metrics += [Metric(metric, "%", f"{100 * seen.work[pipe][row] / cycles:.2f}") for pipe, metric in PIPES.items()]
        name = (RNN if seen.name[row] < 0 else NAMES[seen.name[row]])[1]
        more = {
            "Grid Size": f"({seen.grid[row]}, 1, 1)",
            "Block Size": "(128, 1, 1)",
            "Stream": str(seen.stream[row] + 100),
            NVTX[0]: f'1  "ds2prof:iteration:{seen.iteration[row]}:none:none:none:none:none:none"',
        }
        launches.append(Launch(row, tuple(metrics), name=name, more=more))
    names = (*PROCESS, *NVTX, "Kernel Name", *NEW, *ROW)
    return lines([quoted(names), *(line for launch in launches for line in rows(launch, names))])
