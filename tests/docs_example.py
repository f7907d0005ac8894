"""The measurements that the documentation speaks of, made from a story: DeepSpeech2 on an A100, told to the nanosecond.

``python -m tests.docs_example FOLDER`` writes them below FOLDER, under the names that the pages use, so that every page
can be followed without a GPU. They are made, not measured: equal calls make equal files, and their answers follow from
the numbers below.
"""

from __future__ import annotations

import gzip
import json
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.known.truth import AUTOGRAD, FULL_NAMES, MAIN, PROCESS, Operator, Run
from tests.known.write_kineto import document
from tests.known.write_nsys import export_2026
from tests.known.write_nvprof import write_nvvp
from tests.ranks_support import Made
from tests.ranks_support import trace as rank_trace

BATCH_SIZES = (4, 8, 16, 24, 32)
ITERATIONS = 10
DEVICE = "NVIDIA A100-SXM4-80GB"
STARTED_UTC = "2025-02-19T22:43:20Z"
CLOCK_HZ = 1_410_000_000
PIPES = ("fma", "tensor", "xu", "lsu")
_TENSOR_NAME = "ampere_bf16_s16816gemm_bf16_128x128_ldg8_f2f_stages_32x5_tn"


@dataclass(frozen=True)
class Work:
    """One kernel of a step.

    Attributes:
        name, phase, layer, operator: what it is, and what launched it; no layer for work between modules.
        fixed_us, sample_us: its time is fixed_us + sample_us x batch.
        percents: share of peak of fma, tensor, xu and lsu, in percent.
        columns: of a product [200 x batch, 1312] x [1312, columns]; 0 for anything else.
    """

    name: str
    phase: str
    layer: str
    operator: str
    fixed_us: float
    sample_us: float
    percents: tuple[float, float, float, float]
    columns: int = 0

    @property
    def is_product(self) -> bool:
        return self.columns > 0


_GEMM, _CONV = "ampere_sgemm_128x64_tn", "implicit_convolve_sgemm"
_OTHER_CONV = "sm80_xmma_fprop_implicit_gemm_f32f32_f32f32_f32_nhwckrsc_nhwc_tilesize64x32x64_stage3"
_ADD = "vectorized_elementwise_kernel<AddFunctor<float>>"
STEP = (
    Work(_CONV, "forward", "conv.0", "aten::cudnn_convolution", 30, 45, (62, 0, 0.5, 21)),
    Work(_GEMM, "forward", "rnn.0", "aten::mm", 12, 230, (81, 0, 0.25, 14), 7040),
    Work("RNN_blockPersist_fp_LSTM", "forward", "rnn.0", "aten::_cudnn_rnn", 900, 40, (22, 0, 6, 35)),
    Work(_GEMM, "forward", "rnn.1", "aten::mm", 12, 230, (81, 0, 0.25, 14), 7040),
    Work("RNN_blockPersist_fp_LSTM", "forward", "rnn.1", "aten::_cudnn_rnn", 900, 40, (22, 0, 6, 35)),
    Work("softmax_warp_forward", "forward", "fc", "aten::log_softmax", 6, 1.5, (4, 0, 18, 41)),
    Work("ctc_loss_log_alpha_gpu_kernel", "loss", "", "aten::_ctc_loss", 160, 6, (3, 0, 9, 12)),
    Work("RNN_blockPersist_bp_LSTM", "backward", "rnn.1", "CudnnRnnBackward0", 1300, 60, (20, 0, 5, 38)),
    Work(_GEMM, "backward", "rnn.1", "MmBackward0", 14, 235, (79, 0, 0.25, 15), 7040),
    Work("RNN_blockPersist_bp_LSTM", "backward", "rnn.0", "CudnnRnnBackward0", 1300, 60, (20, 0, 5, 38)),
    Work(_GEMM, "backward", "rnn.0", "MmBackward0", 14, 235, (79, 0, 0.25, 15), 7040),
    Work(_CONV, "backward", "conv.0", "ConvolutionBackward0", 40, 90, (58, 0, 0.5, 24)),
    Work("reduce_kernel", "clip", "", "aten::linalg_vector_norm", 55, 0, (6, 0, 0.25, 30)),
    Work(_ADD, "optimizer", "", "aten::_foreach_add_", 410, 0, (5, 0, 0, 33)),
)
"""The kernels of a step, in order."""


@dataclass(frozen=True)
class Story:
    """How a run goes.

    Attributes:
        batch_size: samples a step.
        seed: of the 0.6 % by which times differ from step to step.
        factor: on all kernel times: another device, another run.
        slower: kernel -> factor on its time.
        renamed: kernel -> the one that runs in its place.
        data_us: what the data loader takes a step, for each sample besides 1.5 ms.
        precision: ``fp32`` or ``bf16``.
    """

    batch_size: int = 4
    seed: int = 1
    factor: float = 1.0
    slower: Mapping[str, float] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    data_us: float = 150.0
    precision: str = "fp32"

    @property
    def kernels(self) -> tuple[Work, ...]:
        return tuple(_halved(work) if self.precision == "bf16" else work for work in STEP)

    def length_ns(self, work: Work) -> float:
        usual = 1000 * (work.fixed_us + work.sample_us * self.batch_size)
        return usual * self.factor * self.slower.get(work.name, 1.0)


def _halved(work: Work) -> Work:
    """The product as tensor cores compute it; other work is what it was."""
    if not work.is_product:
        return work
    told = (_TENSOR_NAME, work.phase, work.layer, work.operator, work.fixed_us, work.sample_us / 6)
    return Work(*told, (3, 52, 0.25, 27), work.columns)


def run_of(story: Story, *, iterations: int = ITERATIONS) -> Run:
    """The truth of a run: the host launches, the device follows, and the loss is waited for behind each step."""
    draw = random.Random(story.seed)
    run = Run("documentation", "", ())
    host, free = 10_000, 0
    for step in range(iterations):
        begin = host
        host += round(1_500_000 + 1000 * story.data_us * story.batch_size * draw.gauss(1, 0.006))
        run.range("phase", "data", begin, host)
        size = 161 * 4 * 200 * story.batch_size
        run.copy("HtoD", max(host + 9_000, free), max(host + 9_000, free) + size // 20, (host, host + 8_000), size)
        free = max(host + 9_000, free) + size // 20
        run.range("phase", "h2d", host, host + 10_000)
        host += 10_000
        for phase, works in _phases(story.kernels):
            entered = host
            for work in works:
                thread = AUTOGRAD if phase == "backward" else MAIN
                run.operators.append(Operator(work.operator, host, host + 38_000, thread=thread))
                if work.layer:
                    run.range("layer", work.layer, host, host + 39_000, thread=thread)
                start = max(host + 20_000, free + 1_800)
                end = start + round(story.length_ns(work) * draw.gauss(1, 0.006))
                name = story.renamed.get(work.name, work.name)
                run.kernel(name, start, end, (host + 12_000, host + 18_000), thread=thread, grid=(432, 1, 1))
                free = end
                host += 40_000
            run.range("phase", phase, entered, host)
        run.call("cudaStreamSynchronize", host, free + 4_000)
        host = max(host, free + 4_000) + 25_000
        run.range("iteration", str(100 + step), begin, host)
    run.span = (0, host + 10_000)
    return run


def _phases(works: Sequence[Work]) -> Iterator[tuple[str, list[Work]]]:
    for phase in dict.fromkeys(work.phase for work in works):
        yield phase, [work for work in works if work.phase == phase]


def trace(story: Story, *, rank: int | None = None, world_size: int = 1) -> bytes:
    """The run as PyTorch's profiler writes it, shapes of products among it, packed."""
    told = json.loads(document(run_of(story), rank=rank))
    if rank is not None:
        told["distributedInfo"]["world_size"] = world_size
    kind = "float" if story.precision == "fp32" else "c10::BFloat16"
    rows = 200 * story.batch_size
    for event in told["traceEvents"]:
        if event.get("name") == "aten::mm":
            event["args"] |= {"Input Dims": [[rows, 1312], [1312, 7040]], "Input type": [kind, kind]}
    return packed(json.dumps(told).encode())


def packed(content: bytes) -> bytes:
    """Packed by gzip, without a time: equal contents, equal bytes."""
    return gzip.compress(content, compresslevel=6, mtime=0)


def counters(story: Story) -> str:
    """What Nsight Compute's raw page says of the kernels of one step, replayed at 1,410 MHz."""
    lines = [_line([*_IDENTITY, *_COLUMNS]), _line([""] * len(_IDENTITY) + list(_COLUMNS.values()))]
    for number, work in enumerate(story.kernels):
        length_ns = round(story.length_ns(work))
        cycles = length_ns * CLOCK_HZ // 10**9
        product = 200 * story.batch_size * 1312 * work.columns
        counted = 0 if work.percents[1] else product or round(work.percents[0] / 100 * cycles * 108 * 64)
        moved = round(length_ns * 1.555 * (0.35 if work.is_product else 0.6))
        values = [str(cycles), str(length_ns), *(f"{percent:.6f}" for percent in work.percents)]
        values += [f"{work.percents[1] / 8:.6f}", "0.000000", "0", "0", str(counted), str(moved), str(CLOCK_HZ), DEVICE]
        identity = [
            str(number),
            str(PROCESS),
            "python3",
            "node-1",
            FULL_NAMES.get(work.name, work.name),
            "1",
            "7",
            "(256, 1, 1)",
            "(432, 1, 1)",
        ]
        lines.append(_line([*identity, "0", "8.0", *values]))
    return "==PROF== Connected to process 900 (/usr/bin/python3)\n" + "".join(lines)


_IDENTITY = (
    "ID", "Process ID", "Process Name", "Host Name", "Kernel Name", "Context", "Stream", "Block Size", "Grid Size",
    "Device", "CC",
)  # fmt: skip
_COLUMNS = {
    "gpc__cycles_elapsed.max": "cycle",
    "gpu__time_duration.sum": "nsecond",
    "sm__inst_executed_pipe_fma.avg.pct_of_peak_sustained_elapsed": "%",
    "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed": "%",
    "sm__inst_executed_pipe_xu.avg.pct_of_peak_sustained_elapsed": "%",
    "sm__inst_executed_pipe_lsu.avg.pct_of_peak_sustained_elapsed": "%",
    "sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_elapsed": "%",
    "sm__inst_executed_pipe_fp16.avg.pct_of_peak_sustained_elapsed": "%",
    "smsp__sass_thread_inst_executed_op_fadd_pred_on.sum": "inst",
    "smsp__sass_thread_inst_executed_op_fmul_pred_on.sum": "inst",
    "smsp__sass_thread_inst_executed_op_ffma_pred_on.sum": "inst",
    "dram__bytes.sum": "byte",
    "gpc__cycles_elapsed.avg.per_second": "hz",
    "device__attribute_display_name": "",
}
"""Column -> its unit; the first is the weight of every mean."""


def _line(cells: Sequence[str]) -> str:
    return ",".join(f'"{cell}"' for cell in cells) + "\n"


def run_log(story: Story) -> str:
    """What the training loop writes without any profiler: 20 iterations, the first five warm-up."""
    draw = random.Random(story.seed)
    step_ns = 1_500_000 + 1000 * story.data_us * story.batch_size + sum(map(story.length_ns, story.kernels)) + 200_000
    head = {
        "schema": "ds2prof-run/1", "preset": "tbd", "batch_size": story.batch_size, "precision": story.precision,
        "device": "cuda", "device_name": DEVICE, "parameters": 86_618_400, "seed": 1, "warmup": 5, "iterations": 20,
        "window": None, "tool_version": "0.1.0", "torch_version": "2.9.0", "started_utc": STARTED_UTC,
    }  # fmt: skip
    rows = [
        {
            "iteration": number, "wall_ns": round(step_ns * draw.gauss(1, 0.006) * (6 if number == 0 else 1)),
            "samples": story.batch_size, "audio_s": 1.9 * story.batch_size, "padded_s": 2.0 * story.batch_size,
            "loss": 180.0 - number, "skipped": False,
        }
        for number in range(20)
    ]  # fmt: skip
    kept = rows[5:]
    stretch: dict[str, object] = {"first": 5, "stop": 20}
    stretch |= {name: sum(row[name] for row in kept) for name in ("wall_ns", "samples", "audio_s", "padded_s")}
    return "".join(json.dumps(row) + "\n" for row in (head, *rows, {"stretch": stretch}))


def memory(story: Story) -> str:
    """Who held the device's memory before, within and behind the forward pass of one iteration."""
    weights, state = 346_473_600, 692_947_200
    lines = ["iteration,moment,phase,device,layer,category,size_bytes,operator"]
    for moment, phase, part in (("before_forward", "", 0), ("after_forward", "", 1), ("peak", "backward", 1)):
        held = {
            ("rnn.0", "weights"): weights, ("rnn.0", "gradients"): weights if moment == "peak" else 0,
            ("rnn.0", "optimizer_state"): state, ("model", "input"): 128_800 * story.batch_size,
            ("rnn.1", "activations"): 61_000_000 * story.batch_size * part, ("model", "workspace"): 8_519_680,
        }  # fmt: skip
        operator = "aten::_cudnn_rnn_backward" if moment == "peak" else ""
        kept = {place: size for place, size in held.items() if size}
        rows = {**kept, ("", "reserved"): 2 * sum(kept.values()), ("", "allocated"): sum(kept.values())}
        lines += [
            f"100,{moment},{phase},cuda:0,{layer},{category},{size},{operator}"
            for (layer, category), size in rows.items()
        ]
    return "\n".join(lines) + "\n"


def readings(story: Story) -> str:
    """What the sampler read beside the run: clock, power, memory and the driver's own utilization, ten times."""
    draw = random.Random(story.seed)
    zero = 1_740_005_000_000_000_000
    lines = ["start_ns,period_ns,device,entity,metric,unit,value,aggregation"]
    for number in range(10):
        at = f"{zero + 100_000_000 * number},"
        lines.append(f"{at},0,,clocks.sm,hertz,{CLOCK_HZ},last")
        lines.append(f"{at},0,,power.draw,watt,{round(310 + 4 * draw.gauss(0, 1), 1)},last")
        lines.append(f"{at},0,,memory.used,byte,{9_000_000_000 + 180_000_000 * story.batch_size},last")
        lines.append(f"{at},0,,utilization.gpu,ratio,0.97,mean")
    return "\n".join([*lines, f"{zero + 1_000_000_000},,,,sampler.end,count,1,fact", ""])


def ranks() -> Made:
    """Eight steps of four ranks; the third comes late to every all-reduce, and no two clocks agree."""
    late = [[0, 4_000, 180_000 + 3_000 * step, 9_000] for step in range(8)]
    return Made(late_ns=late, offset_ns=[0, 1_500, -700, 2_600])


def sidecar(story: Story, *, tool: str, window: Sequence[int]) -> str:
    """The sidecar that a capture leaves beside a measurement."""
    versions = {"python": "3.11.7", "torch": "2.9.0", "driver": "580.95.05"}
    clocks = {"sm_hz": CLOCK_HZ}
    told = {
        "schema": "ds2prof-meta/1", "tool": tool, "tool_version": None,
        "command": ["python", "train_profiling.py", "--preset", "tbd", "--batch-size", str(story.batch_size)],
        "preset": "tbd", "precision": story.precision, "batch_size": story.batch_size,
        "window": {"start": window[0], "stop": window[1]}, "devices": [{"name": DEVICE}], "versions": versions,
        "clocks": {"before": clocks, "after": clocks}, "commit": None, "started_utc": STARTED_UTC,
        "dur_ns": 40_000_000_000, "exit_code": 0, "tag": None,
    }  # fmt: skip
    return json.dumps(told, indent=1) + "\n"


@dataclass(frozen=True)
class Folder:
    """A folder that measurements are written to."""

    path: Path

    def put(self, name: str, content: str | bytes, beside: str | None = None) -> None:
        """One file, and the sidecar beside it."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        if beside is not None:
            target.with_name(target.name + ".meta.json").write_text(beside, encoding="utf-8")


def write(path: Path) -> None:
    """All measurements, below a folder that is made."""
    folder = Folder(path)
    for batch_size in BATCH_SIZES:
        story = Story(batch_size)
        timed = sidecar(story, tool="torch", window=(100, 100 + ITERATIONS))
        folder.put(f"measurements/torch_bs{batch_size}.json.gz", trace(story), timed)
        counted = sidecar(story, tool="nsight", window=(100, 101))
        folder.put(f"measurements/nsight_bs{batch_size}.csv", counters(story), counted)
        folder.put(f"measurements/run_bs{batch_size}.jsonl", run_log(story))
        folder.put(f"measurements/memory_bs{batch_size}.csv", memory(story), counted)
    story = Story(32)
    folder.put("measurements/smi_bs32.csv", readings(story), sidecar(story, tool="smi", window=(100, 110)))
    nsys = sidecar(story, tool="nsys", window=(100, 110))
    folder.put("measurements/nsys_bs32.sqlite", export_2026(run_of(story)), nsys)
    write_nvvp(run_of(Story(4)), path / "measurements/profile_1772445600_bs4.nvvp")
    _write_bf16(folder)
    made = ranks()
    for rank in range(made.ranks):
        folder.put(f"ranks/torch_bs4_rank{rank}.json.gz", packed(rank_trace(made, rank).encode()))
    for side, slower, renamed in (("baseline", {}, {}), ("candidate", {_CONV: 1.7}, {_CONV: _OTHER_CONV})):
        for number in range(5):
            told = {"seed": 10 + number + 100 * len(slower), "factor": 1 + 0.001 * (number - 2)}
            story = Story(8, slower=slower, renamed=renamed, **told)
            folder.put(f"{side}/torch_bs8_run{number}.json.gz", trace(story))
            folder.put(f"{side}/run_bs8_run{number}.jsonl", run_log(story))
    for device, factor in (("a100", 1.0), ("h100", 0.55)):
        for number in range(3):
            story = Story(8, seed=30 + number, factor=factor * (1 + 0.001 * (number - 1)))
            folder.put(f"{device}/torch_bs8_run{number}.json.gz", trace(story))


def _write_bf16(folder: Folder) -> None:
    """Batch 32 in bfloat16, whose products run on tensor cores, beside the run in single precision."""
    story = Story(32, precision="bf16")
    timed = sidecar(story, tool="torch", window=(100, 100 + ITERATIONS))
    folder.put("bf16/torch_bs32.json.gz", trace(story), timed)
    folder.put("bf16/nsight_bs32.csv", counters(story), sidecar(story, tool="nsight", window=(100, 101)))
    folder.put("bf16/run_bs32.jsonl", run_log(story))


def main(arguments: Sequence[str]) -> int:
    """Write below the folder that is named."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m tests.docs_example FOLDER", file=sys.stderr)
        return 2
    write(Path(arguments[0]))
    print(f"measurements of the documentation: {arguments[0]}/measurements and beside it", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
