"""Measurements for the notebooks: yours where there are any, else ones that are made up here.

The made-up training looks like DeepSpeech2: two convolutions, three recurrent layers whose time hardly depends on the
batch, a CTC loss, and batches that come late. Its numbers are invented, but every file is in the profiler's own format.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

ROOT = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "notebooks" / "example.py").is_file())
sys.path.insert(0, str(ROOT))

from tests.known.truth import AUTOGRAD, Run  # noqa: E402
from tests.known.write_kineto import document  # noqa: E402
from tests.known.write_ncu import raw_csv  # noqa: E402

MEASUREMENTS = Path(os.environ.get("DS2PROF_MEASUREMENTS", ROOT / "measurements"))
"""Where your own measurements lie: ``bash run_profile.sh`` puts them there."""

US = 1_000
CONV, GEMM = "implicit_convolve_sgemm", "ampere_sgemm_128x64_tn"
ADD = "vectorized_elementwise_kernel<AddFunctor<float>>"
FORWARD_RNN, BACKWARD_RNN = "RNN_blockPersist_fp_LSTM", "RNN_blockPersist_bp_LSTM"

COSTS_US = {
    CONV: (90, 72.0),
    GEMM: (60, 38.0),
    ADD: (12, 7.0),
    FORWARD_RNN: (1_900, 16.0),
    BACKWARD_RNN: (2_700, 22.0),
    "softmax_warp_forward": (9, 0.6),
    "ctc_loss_log_alpha_gpu_kernel": (700, 4.0),
    "batch_norm_backward_kernel": (25, 4.0),
}
"""Kernel -> (what a launch takes whatever the batch, what each sample adds)."""

PERCENTS = {
    CONV: (58.0, 0.0, 1.5),
    GEMM: (22.0, 61.0, 0.5),
    ADD: (4.0, 0.0, 0.0),
    FORWARD_RNN: (9.0, 6.0, 12.0),
    BACKWARD_RNN: (10.0, 7.0, 9.0),
    "softmax_warp_forward": (6.0, 0.0, 21.0),
    "ctc_loss_log_alpha_gpu_kernel": (1.0, 0.0, 3.0),
    "batch_norm_backward_kernel": (7.0, 0.0, 2.0),
}
"""Kernel -> utilization of the pipes fma, tensor and xu at batch 32, in percent."""

LAYERS = (("conv.0", (CONV, ADD)), ("conv.1", (CONV, ADD)), *((f"rnn.{n}", (GEMM, FORWARD_RNN)) for n in range(3)))
BACKWARD = (BACKWARD_RNN, GEMM) * 3 + ("batch_norm_backward_kernel", CONV) * 2


def captured(*patterns: str) -> list[Path]:
    """Your measurements whose names fit, the newest last."""
    found = [path for pattern in patterns for path in MEASUREMENTS.glob(pattern)]
    kept = [path for path in found if not path.name.endswith((".meta.json", ".log"))]
    return sorted(kept, key=lambda path: path.stat().st_mtime)


def folder() -> Path:
    """A new folder for made-up measurements."""
    return Path(tempfile.mkdtemp(prefix="ds2prof-notebook-"))


def timeline(place: Path, batch: int = 16, steps: int = 10) -> Path:
    """A trace of PyTorch's profiler: ``steps`` iterations with phases, layers, copies and late batches."""
    path = place / f"torch_bs{batch}.json"
    path.write_text(document(_training(batch, steps)), encoding="utf-8")
    return path


def counters(place: Path, batch: int = 16) -> Path:
    """A page of Nsight Compute: the pipes' utilization of one iteration's launches."""
    path = place / f"nsight_bs{batch}.csv"
    path.write_text(raw_csv(_training(batch, 1)), encoding="utf-8")
    return path


def run_log(place: Path, batch: int, iterations: int = 30) -> Path:
    """The log of a training run without a profiler: what throughput is read from."""
    draw = random.Random(batch)
    path = place / f"run_bs{batch}.jsonl"
    header = {"schema": "ds2prof-run/1", "preset": "tbd", "batch_size": batch, "precision": "fp32", "warmup": 5}
    lines, wall_ns = [], 0
    for number in range(iterations):
        step_ns = int((_step_us(batch) + 3_000) * US * draw.gauss(1.0, 0.01) * (3 if number == 0 else 1))
        wall_ns += step_ns if number >= 5 else 0
        one = {"iteration": number, "wall_ns": step_ns, "samples": batch, "audio_s": 6.0 * batch}
        lines.append({**one, "padded_s": 7.0 * batch, "loss": 300 / (1 + number), "skipped": False})
    counted = (iterations - 5) * batch
    stretch = {"first": 5, "stop": iterations, "wall_ns": wall_ns, "samples": counted}
    last = {"stretch": {**stretch, "audio_s": 6.0 * counted, "padded_s": 7.0 * counted}}
    path.write_text("".join(json.dumps(line) + "\n" for line in (header, *lines, last)), encoding="utf-8")
    return path


def _step_us(batch: int) -> float:
    names = [name for _, kernels in LAYERS for name in kernels]
    names += ["softmax_warp_forward", "ctc_loss_log_alpha_gpu_kernel", *BACKWARD, *[ADD] * 4]
    return sum(COSTS_US[name][0] + COSTS_US[name][1] * batch for name in names)


class _Step:
    """One step while it is written down: where the host is, and when the device is free."""

    def __init__(self, run: Run, batch: int, start: int, draw: random.Random) -> None:
        self.run, self.batch, self.draw = run, batch, draw
        self.host = self.free = start

    def launch(self, names: Sequence[str], *, thread: int = 900) -> None:
        for name in names:
            call = (self.host, self.host + 7 * US)
            self.host += int(self.draw.uniform(16, 30)) * US
            start = max(self.free, call[1] + 3 * US)
            fixed, each = COSTS_US[name]
            self.free = start + int((fixed + each * self.batch) * US * self.draw.gauss(1.0, 0.01))
            scale = self.batch / (self.batch + 8) * 1.25
            percents = [Fraction(round(share * scale, 2)).limit_denominator(100) for share in PERCENTS[name]]
            self.run.kernel(
                name,
                start,
                self.free,
                call,
                thread=thread,
                grid=(8 * self.batch, 1, 1),
                cycles=int((self.free - start) * 1.41),
                percents=tuple(zip(("fma", "tensor", "xu"), percents, strict=True)),
            )

    def phase(self, name: str, start: int) -> None:
        self.run.range("phase", name, start, self.host)


def _training(batch: int, steps: int) -> Run:
    run, draw = Run("training", "a made-up training", ()), random.Random(batch)
    at = 1_000 * US
    for number in range(steps):
        at = _one_step(run, batch, number, at, draw)
    times = [each.end for each in (*run.ranges, *run.kernels)]
    run.span = (0, max(times) + 100 * US)
    return run


def _one_step(run: Run, batch: int, number: int, at: int, draw: random.Random) -> int:
    """One iteration; when the next begins."""
    step = _Step(run, batch, at, draw)
    step.host += int((1_200 + 110 * batch) * US * draw.gauss(1.0, 0.05) * (3 if number == 6 else 1))
    step.phase("data", at)
    start = step.host
    run.copy("HtoD", start + 12 * US, start + (12 + 9 * batch) * US, (start, start + 8 * US), 64_000 * batch)
    step.free, step.host = start + (12 + 9 * batch) * US, start + 15 * US
    step.phase("h2d", start)
    start = step.host
    for layer, names in LAYERS:
        begin = step.host
        step.launch(names)
        run.range("layer", layer, begin, step.host)
    step.launch(["softmax_warp_forward"])
    step.phase("forward", start)
    start = step.host
    step.launch(["ctc_loss_log_alpha_gpu_kernel"])
    step.phase("loss", start)
    start = step.host
    step.launch(BACKWARD, thread=AUTOGRAD)
    step.phase("backward", start)
    start = step.host
    step.launch([ADD] * 4)
    step.phase("optimizer", start)
    run.call("cudaDeviceSynchronize", step.host, step.free + 5 * US)
    step.host = step.free + 60 * US
    run.range("iteration", str(number), at, step.host)
    return step.host
