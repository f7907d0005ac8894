"""Write a PyTorch trace of a chosen size, as libkineto indents it: the input of the benchmarks of the trace reader.

Deterministic (the same size gives the same bytes) and streamed. Each step has a ``ProfilerStep`` annotation, host
operators, launches with the kernels they started and the two flow events that join them, a few copies and sets; several
hundred kernel names, drawn unevenly. As in a real file the host operators of all steps come first, then what the GPU
did, then the metadata. The trace of ``--mb 454`` holds 1.79 million events, 350 thousand of them kernels.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

PID = 4242
TID = 4242
BACKWARD_TID = 4307
BASE_NS = 1_751_410_836_000_000_000
FIRST_TS_NS = 1_419_247_333_072_495
STEP_NS = 10_000_000
LAUNCHES_PER_STEP = 250
WRITE_BYTES = 1 << 20

HEADER = """
{
  "schemaVersion": 1,
  "deviceProperties": [
    {
      "id": 0, "name": "NVIDIA H100 80GB HBM3", "totalGlobalMem": 85045084160,
      "computeMajor": 9, "computeMinor": 0,
      "maxThreadsPerBlock": 1024, "maxThreadsPerMultiprocessor": 2048,
      "regsPerBlock": 65536, "warpSize": 32,
      "sharedMemPerBlock": 49152, "numSms": 132
    , "regsPerMultiprocessor": 65536, "sharedMemPerBlockOptin": 232448, "sharedMemPerMultiprocessor": 233472
    }
  ],
  "cupti_version": 22,
  "cuda_runtime_version": 12040,
  "distributedInfo": {"backend": "nccl", "rank": 0, "world_size": 8},
  "record_shapes": 1,
  "cuda_driver_version": 12090,
  "trace_id": "8DAB11E6838A4F0881AF82BBC8CF6A40",
  "traceEvents": ["""

FOOTER = """
  ],
  "traceName": "libkineto_activities.json",
  "displayTimeUnit": "ms",
  "baseTimeNanoseconds": %d
}
"""

ANNOTATION = """
  {
    "ph": "X", "cat": "user_annotation", "name": "ProfilerStep#%d", "pid": %d, "tid": %d,
    "ts": %s, "dur": %s,
    "args": {
      "External id": %d,"Record function id": 0, "Ev Idx": %d
    }
  }"""

OPERATOR = """
  {
    "ph": "X", "cat": "cpu_op", "name": "%s", "pid": %d, "tid": %d,
    "ts": %s, "dur": %s,
    "args": {
      "External id": %d,%s"Ev Idx": %d
    }
  }"""

RUNTIME = """
  {
    "ph": "X", "cat": "cuda_runtime", "name": "%s", "pid": %d, "tid": %d,
    "ts": %s, "dur": %s,
    "args": {
      "External id": %d,      "cbid": %d, "correlation": %d
    }
  }"""

FLOW_START = """
  {
    "ph": "s", "id": %d, "pid": %d, "tid": %d, "ts": %s,
    "cat": "ac2g", "name": "ac2g"
  }"""

FLOW_END = """
  {
    "ph": "f", "id": %d, "pid": 0, "tid": 7, "ts": %s,
    "cat": "ac2g", "name": "ac2g", "bp": "e"
  }"""

KERNEL = """
  {
    "ph": "X", "cat": "kernel", "name": "%s", "pid": 0, "tid": 7,
    "ts": %s, "dur": %s,
    "args": {
      "External id": %d,      "queued": 0, "device": 0, "context": 1,      "stream": 7, "correlation": %d,\
      "registers per thread": %d,      "shared memory": %d,      "blocks per SM": %.6f,      "warps per SM": %.6f,\
      "grid": [%d, 1, 1],      "block": [%d, 1, 1],      "est. achieved occupancy %%": %d
    }
  }"""

MEMCPY = """
  {
    "ph": "X", "cat": "gpu_memcpy", "name": "Memcpy HtoD (Pinned -> Device)", "pid": 0, "tid": 7,
    "ts": %s, "dur": %s,
    "args": {
      "External id": %d,      "device": 0, "context": 1,      "stream": 7, "correlation": %d,\
      "bytes": %d, "memory bandwidth (GB/s)": 12.25
    }
  }"""

MEMSET = """
  {
    "ph": "X", "cat": "gpu_memset", "name": "Memset (Device)", "pid": 0, "tid": 7,
    "ts": %s, "dur": %s,
    "args": {
      "External id": %d,      "device": 0, "context": 1,      "stream": 7, "correlation": %d,\
      "bytes": %d, "memory bandwidth (GB/s)": 512.5
    }
  }"""

METADATA = """
  {
    "name": "process_name", "ph": "M", "ts": %(ts)s, "pid": %(pid)d, "tid": 0,
    "args": {
      "name": "python"
    }
  },
  {
    "name": "thread_name", "ph": "M", "ts": %(ts)s, "pid": %(pid)d, "tid": %(pid)d,
    "args": {
      "name": "thread %(pid)d (python)"
    }
  },
  {
    "ph": "X", "cat": "Trace", "ts": %(ts)s, "dur": %(dur)s,
    "pid": "Spans", "tid": "PyTorch Profiler",
    "name": "PyTorch Profiler (0)",
    "args": {
      "Op count": 0
    }
  },
  {
    "name": "Record Window End", "ph": "i", "s": "g",
    "pid": "", "tid": "", "ts": %(end)s
  }"""

OPERATORS = ("conv2d", "batch_norm", "hardtanh_", "linear", "_cudnn_rnn", "add_", "mul", "copy_", "log_softmax", "sum")
FUNCTORS = ("AddFunctor", "MulFunctor", "FillFunctor", "ClampFunctor", "ThresholdFunctor")
TYPES = ("float", "double", "c10::Half", "c10::BFloat16", "long", "int", "bool")


def kernel_names() -> list[str]:
    """Some 500 kernel names, short and long, as demanglers write them."""
    elementwise = [
        f"void at::native::vectorized_elementwise_kernel<{width}, at::native::{functor}<{kind}>, "
        f"at::detail::Array<char*, {arity}> >(int, at::native::{functor}<{kind}>, at::detail::Array<char*, {arity}>)"
        for width in (1, 2, 4)
        for functor in FUNCTORS
        for kind in TYPES
        for arity in (1, 2, 3)
    ]
    gemm = [
        f"sm90_xmma_gemm_f32f32_tf32f32_f32_{layout}_n_tilesize{m}x{n}x32_warpgroupsize{group}x1x1_execute_segment_k_off"
        for layout in ("tn", "nn", "nt")
        for m in (64, 128, 256)
        for n in (64, 128, 256)
        for group in (1, 2)
    ]
    recurrent = [
        f"void LSTM_elementWise_{way}<{a}, {b}, {c}, (cudnnRNNBiasMode_t){bias}>(int, int, int, int, {a} const*)"
        for way in ("fp", "bp1")
        for a in TYPES[:4]
        for b in TYPES[:2]
        for c in TYPES[:2]
        for bias in (2, 3)
    ]
    return gemm + recurrent + elementwise


def us(time_ns: int) -> str:
    """Microseconds with three decimals, exact."""
    return f"{time_ns // 1000}.{time_ns % 1000:03d}"


def host_events(steps: int) -> Iterator[str]:
    """The annotation and the operators of each step."""
    chance = random.Random(1)
    index = 0
    for step in range(steps):
        start_ns = FIRST_TS_NS + step * STEP_NS
        external = step * (LAUNCHES_PER_STEP + 1)
        yield ANNOTATION % (step, PID, TID, us(start_ns), us(STEP_NS - 10_000), external, index)
        for launch in range(LAUNCHES_PER_STEP):
            index += 1
            at_ns = start_ns + launch * (STEP_NS // LAUNCHES_PER_STEP)
            backward = launch >= LAUNCHES_PER_STEP // 2
            name = OPERATORS[chance.randrange(len(OPERATORS))]
            dims = f"[{chance.randrange(1, 33)}, 1312, {chance.randrange(64, 512)}]"
            shapes = "" if index % 8 else f'"Input type": ["float", "float"], "Input Dims": [{dims}, []], '
            yield OPERATOR % (
                f"aten::{name}",
                PID,
                BACKWARD_TID if backward else TID,
                us(at_ns),
                us(chance.randrange(8_000, 38_000)),
                external + launch + 1,
                shapes + (f'"Sequence number": {index}, "Fwd thread id": 1, ' if backward else ""),
                index,
            )


def device_events(steps: int) -> Iterator[str]:
    """The launches of each step, what they started, and the flows between."""
    chance = random.Random(2)
    names = kernel_names()
    common = [names[int(len(names) * chance.random() ** 4)] for _ in range(4096)]
    for step in range(steps):
        for launch in range(LAUNCHES_PER_STEP):
            correlation = step * LAUNCHES_PER_STEP + launch + 100
            yield from _launch(chance, common, step * STEP_NS + launch * (STEP_NS // LAUNCHES_PER_STEP), correlation)


def _launch(chance: random.Random, names: list[str], offset_ns: int, correlation: int) -> Iterator[str]:
    call_ns = FIRST_TS_NS + offset_ns + chance.randrange(1_000, 2_000)
    start_ns = call_ns + chance.randrange(6_000, 9_000)
    dur_ns = 32 * chance.randrange(40, 900)
    tid = BACKWARD_TID if offset_ns % STEP_NS >= STEP_NS // 2 else TID
    kind = chance.randrange(64)
    call, cbid = (
        ("cudaMemcpyAsync", 41) if kind == 0 else ("cudaMemsetAsync", 51) if kind == 1 else ("cudaLaunchKernel", 211)
    )
    yield RUNTIME % (call, PID, tid, us(call_ns), us(chance.randrange(3_000, 6_000)), correlation, cbid, correlation)
    yield FLOW_START % (correlation, PID, tid, us(call_ns))
    if kind < 2:
        yield (MEMSET if kind else MEMCPY) % (
            us(start_ns),
            us(dur_ns),
            correlation,
            correlation,
            512 * chance.randrange(1, 9_000),
        )
    else:
        blocks, threads = chance.randrange(1, 3_000), 32 * chance.randrange(1, 17)
        yield KERNEL % (
            names[chance.randrange(len(names))],
            us(start_ns),
            us(dur_ns),
            correlation,
            correlation,
            chance.randrange(16, 255),
            1024 * chance.randrange(0, 100),
            blocks / 132,
            blocks / 132 * threads / 32,
            blocks,
            threads,
            chance.randrange(0, 101),
        )
    yield FLOW_END % (correlation, us(start_ns))


def events(steps: int) -> Iterator[str]:
    """Every event of the file, in order."""
    yield from host_events(steps)
    yield from device_events(steps)
    span_ns = steps * STEP_NS
    end = us(FIRST_TS_NS + span_ns)
    yield METADATA % {"ts": us(FIRST_TS_NS), "pid": PID, "dur": us(span_ns), "end": end}


def steps_of(size_bytes: int) -> int:
    """How many steps come closest to the size from below; at least one."""
    step_bytes = sum(len(event) + 1 for event in host_events(1)) + sum(len(event) + 1 for event in device_events(1))
    return max(1, size_bytes // step_bytes)


def write(path: Path, steps: int) -> int:
    """Write the trace; gives the number of events."""
    count = 0
    with path.open("w", encoding="utf-8", buffering=WRITE_BYTES) as stream:
        stream.write(HEADER)
        for event in events(steps):
            stream.write("," + event if count else event)
            count += 1
        stream.write(FOOTER % BASE_NS)
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mb", type=float, required=True, help="size of the file in megabytes (1e6 bytes)")
    parser.add_argument("--output", type=Path, required=True, help="the file to write")
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    count = write(options.output, steps_of(int(options.mb * 1e6)))
    print(f"{options.output}: {options.output.stat().st_size} bytes, {count} events")


if __name__ == "__main__":
    main()
