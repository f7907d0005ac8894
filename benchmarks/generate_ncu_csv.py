"""Writes an Nsight Compute CSV of a given size, as ``ncu --csv --metrics ...`` prints one: for benchmarks.

    python benchmarks/generate_ncu_csv.py --mb 100 --output benchmarks/data/ncu_100.csv
    python benchmarks/generate_ncu_csv.py --launches 20000 --output benchmarks/data/ncu_20000.csv

The same size gives the same bytes. Names, grids and values are made up: 160 kernel names of 10 to 250 characters, five
metrics a launch, separators between thousands, and what a training loop prints before the header.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

HEADER = (
    '"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size","Grid Size","Device",'
    '"CC","Section Name","Metric Name","Metric Unit","Metric Value"'
)
SECTION = "Command line profiler metrics"
PROCESS = 41234
_SEED = 20160821
_GEMMS = ("ampere_sgemm_128x64_nn", "ampere_fp16_s16816gemm_fp16_128x128_ldg8_f2f_stages_32x5_tn", "gemv2T_kernel_val")
_OPS = ("Add", "Mul", "Clamp", "Sigmoid", "Tanh", "Fill", "Copy", "Sqrt", "Addcdiv", "MaskedFill", "Threshold")
_TYPES = ("float", "c10::Half", "at::opmath_type<float>", "long", "bool")
_SHAPES = (
    "void at::native::vectorized_elementwise_kernel<(int){n}, at::native::BinaryFunctor<{t}, {t}, {t}, at::native::"
    "binary_internal::{op}Functor<{t}>>, at::detail::Array<char *, (int){n}>>(int, T2, T3)",
    "void at::native::reduce_kernel<(int)512, (int){n}, at::native::ReduceOp<{t}, at::native::func_wrapper_t<{t}, "
    "at::native::sum_functor<{t}, {t}, {t}>::operator ()(at::TensorIterator &)::[lambda({t}, {t}) (instance 1)]>, "
    "unsigned int, {t}, (int)4>>(T3)",
    "void at::native::<unnamed>::multi_tensor_apply_kernel<at::native::<unnamed>::TensorListMetadata<(int){n}>, "
    "at::native::<unnamed>::{op}Functor<{t}, (int){n}, (int)1, (int)0>, at::native::{op}Op<{t}>, {t}>(T1, T2, T3...)",
    "void cudnn::bn_fw_tr_1C11_kernel_NCHW<{t}, {t}, (int){wide}, (bool)1, (int){n}>(cudnnTensorStruct, const T1 *, "
    "cudnnTensorStruct, T1 *, const T2 *, const T2 *, T2, T2, T2 *, T2 *, {op}Params)",
    "void cutlass::Kernel<cutlass_80_tensorop_s1688gemm_{wide}x{wide}_16x{n}_{op}_align4>(T1::Params)",
    "LSTM_elementWise_{op}<{t}, {t}, {t}, (cudnnRNNBiasMode_t){n}>(int, int, int, int, const T1 *, T1 *, bool)",
)


def kernel_names(count: int = 160) -> list[str]:
    """Distinct names as the kernels of PyTorch and NVIDIA's libraries have them, some 170 characters on average."""
    chooser = random.Random(_SEED)
    names: dict[str, None] = dict.fromkeys(_GEMMS)
    while len(names) < count:
        kind, width = chooser.choice(_TYPES), chooser.choice((2, 4, 8))
        name = chooser.choice(_SHAPES).format(op=chooser.choice(_OPS), t=kind, n=width, wide=32 * width)
        names.setdefault(name)
    return list(names)


def preamble() -> Iterator[str]:
    """What stands before the header."""
    yield f"==PROF== Connected to process {PROCESS} (/usr/bin/python3.11)"
    for epoch in range(3):
        yield f"Epoch: [1][{epoch}/128]\tTime 1.{epoch}23 (1.200)\tData 0.004 (0.004)\tLoss 7{epoch}.1234 (80.0)"
    yield '==PROF== Profiling "vectorized_elementwise_kernel" - 0: 0%....50%....100% - 2 passes'
    yield f"==PROF== Disconnected from process {PROCESS}"


def launches(names: list[str]) -> Iterator[str]:
    """The rows of one launch after the other, without end; a step of 200 launches repeats."""
    chooser = random.Random(_SEED)
    step = [(chooser.choice(names), chooser.choice((64, 128, 256, 512)), chooser.randint(1, 4096)) for _ in range(200)]
    order = 0
    while True:
        name, block, grid = step[order % len(step)]
        start = (
            f'"{order}","{PROCESS}","python3.11","127.0.0.1","{name}","1","7","({block}, 1, 1)","({grid}, 1, 1)","0",'
            f'"8.0","{SECTION}","'
        )
        cycles = chooser.randint(2_000, 4_000_000)
        rows = (
            ("gpc__cycles_elapsed.max", "cycle", f"{cycles:,}"),
            ("gpu__time_duration.sum", "nsecond", f"{round(cycles / 1.41):,}"),
            ("sm__inst_executed_pipe_fma.avg.pct_of_peak_sustained_elapsed", "%", f"{chooser.uniform(0, 90):.2f}"),
            ("sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_elapsed", "%", f"{chooser.uniform(0, 60):.2f}"),
            ("dram__bytes.sum", "byte", f"{32 * chooser.randint(1, 10_000_000):,}"),
        )
        yield "".join(f'{start}{metric}","{unit}","{value}"\n' for metric, unit, value in rows)
        order += 1


def write(path: Path, *, size_bytes: int | None = None, most: int | None = None) -> int:
    """Write a file of about ``size_bytes``, or of ``most`` launches; the number of launches."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = count = 0
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        written += stream.write("".join(f"{line}\n" for line in (*preamble(), HEADER)))
        for rows in launches(kernel_names()):
            written += stream.write(rows)
            count += 1
            if count == most or (size_bytes is not None and written >= size_bytes):
                return count
    return count


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--mb", type=float, help="size in MB (1,000,000 bytes)")
    size.add_argument("--launches", type=int, help="number of launches")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    size_bytes = None if options.mb is None else round(options.mb * 1e6)
    count = write(options.output, size_bytes=size_bytes, most=options.launches)
    print(f"{options.output}: {options.output.stat().st_size:,} bytes, {count:,} launches")


if __name__ == "__main__":
    main()
