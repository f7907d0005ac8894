"""Training ``tbd`` against the structure of the program it comes from: the masked front end alone, and the whole step.

    python benchmarks/ancestor_training.py                                       the host: minutes
    python benchmarks/ancestor_training.py --device cuda --precision fp32 bf16   a GPU, both precisions in one run
    python benchmarks/ancestor_training.py --frames 40 --minutes 5               the host, as much as fits
    python benchmarks/ancestor_training.py --batches 4 --frames 40 --repeat 3    a quick look

The ancestor is the TBD suite's PyTorch DeepSpeech2 (``ancestor_step.py``). It differs in:

* the mask: behind each of the six modules of the front end one of the activation's size is made on the host, copied to
  the device, and filled by a loop over the utterances, the longest left out;
* lengths: divided as floating-point numbers, cut off, and kept as a tensor on the host;
* its waits: batches come from pageable memory and the host waits for the copies; the loss is asked for between the
  forward and the backward pass, to see whether it is finite. Nothing waits behind the optimizer.

Everything else is shared, and so is not what is measured: the weights (both run the same modules, one after the
other), the recurrent layers, PyTorch's CTC in place of warp-ctc, clipping, the optimizer, one set of batches. Before
anything is timed what both front ends give, the losses and the norms of the gradients are compared.

Each measurement is fenced by synchronizations. The two take turns, the first of a turn drawn anew, so that a slow
minute of the machine hits both; a turn gives one ratio, and the table the median of the ratios and its 95 % interval,
whatever the ratios are distributed like. Fewer than six turns have no such interval: theirs is their whole range, which
holds the median less often. Utterances of a batch differ in length, the shortest by a tenth: bins of speech sorted by
length do, and where all are alike there is nothing to mask. Prints a Markdown table. Its last column is the most memory
that either took of the device. A host does not tell of each; the line below the table is of the whole process.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product, repeat
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as training sets it; OpenMP reads it when PyTorch loads

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import torch
from ancestor_step import AncestorFrontEnd, AncestorStep
from torch import Tensor, nn

from ds2prof.measurements import written_whole
from ds2prof.train.batches import Batch, Features, collate
from ds2prof.train.device import Device, open_device
from ds2prof.train.front_end import convolved
from ds2prof.train.model import DeepSpeech2
from ds2prof.train.presets import PRESETS
from ds2prof.train.steps import train_step
from ds2prof.train.workload import Workload, assemble

SCHEMA = "ds2prof-ancestor/1"
SHORTEST = 0.9
FRAMES_PER_LABEL = 8
FEWEST_TURNS = 6
"""As many have an interval of 95 %: that all six lie on one side of the median happens twice in 64 times."""
STEP_COST = 3
"""How much more of the time a whole step is given than the front end alone."""
MIB = 1 << 20
AGREE = {"fp32": 1e-3, "tf32": 1e-2, "bf16": 5e-2}
"""How far apart losses and norms of gradients may lie, relative to themselves: rounding, and on a GPU CTC's order."""


class Side(NamedTuple):
    """One of the two, ready to be timed."""

    ours: Callable[[], object]
    ancestor: Callable[[], object]


class NoLog:
    """A log of steps that keeps nothing."""

    def keep(self, batch: Batch, loss: Tensor) -> None:
        """Keeps nothing."""

    def skip(self) -> None:
        """Keeps nothing."""


class NoBatches:
    """The batches of a workload that is handed its batches."""

    def __len__(self) -> int:
        return 0

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """None."""
        return iter(())


def batch_of(size: int, frames: int, device: Device) -> Batch:
    """``size`` utterances of ``frames`` down to a tenth less, each of another length as far as that goes."""
    rng = np.random.default_rng([size, frames])
    utterances = []
    for number, length in enumerate(np.linspace(frames, SHORTEST * frames, size).astype(int)):
        spect_FT = rng.standard_normal((161, length), dtype=np.float32)
        utterances.append(Features(number, spect_FT, rng.integers(1, 29, size=max(length // FRAMES_PER_LABEL, 1))))
    return collate(utterances, pin_memory=device.pins_memory)


def our_front_end(model: DeepSpeech2, batch: Batch) -> Tensor:
    """What the front end makes of a batch that is on the device."""
    act_BCFT, frames_B = batch.spect_BFT.unsqueeze(1), batch.frames_B
    for layer in model.conv:
        frames_B = convolved(frames_B, layer.shape, axis=1)
        act_BCFT = layer(act_BCFT, frames_B)
    return act_BCFT


def front_ends(work: Workload, batch: Batch) -> Side:
    """Forward and backward pass through the convolutions alone, the batch on the device."""
    model = work.model
    assert isinstance(model, DeepSpeech2)
    ancestor = AncestorFrontEnd(model)
    on_device = batch.to(work.device.torch_device)
    count_B = torch.tensor(model.output_frames(batch.frame_counts))
    with torch.no_grad():
        gradient_BCFT = torch.ones_like(ancestor(on_device.spect_BFT, count_B))

    def both_ways(forward: Callable[[], Tensor]) -> Callable[[], None]:
        def passes() -> None:
            with work.device.autocast(work.precision):
                act_BCFT = forward()
            act_BCFT.backward(gradient_BCFT.to(act_BCFT.dtype))
            model.conv.zero_grad()

        return passes

    return Side(
        both_ways(lambda: our_front_end(model, on_device)), both_ways(lambda: ancestor(on_device.spect_BFT, count_B))
    )


def steps(work: Workload, batch: Batch) -> Side:
    """Whole optimizer steps, from the batch on the host on."""
    handed = repeat(batch)
    return Side(lambda: train_step(work, handed, NoLog()), AncestorStep(work, batch))


def compare(work: Workload, batch: Batch) -> None:
    """Stops where the two do not compute the same."""
    model = work.model
    assert isinstance(model, DeepSpeech2)

    def measured(loss: Tensor) -> tuple[float, float]:
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), float("inf"))
        work.optimizer.zero_grad()
        return loss.item(), norm.item()

    on_device = batch.to(work.device.torch_device)
    with torch.no_grad(), work.device.autocast(work.precision):
        front_BCFT = our_front_end(model, on_device)
        theirs_BCFT = AncestorFrontEnd(model)(
            on_device.spect_BFT, torch.tensor(model.output_frames(batch.frame_counts))
        )
    apart = ((front_BCFT - theirs_BCFT).abs().max() / theirs_BCFT.abs().max()).item()
    if not apart < AGREE[work.precision]:
        raise SystemExit(f"the two front ends differ: by {apart:.1e} of the largest value")
    ours = measured(work.task.loss(work.outputs(on_device), on_device))
    ancestor = measured(AncestorStep(work, batch).loss())
    if not np.allclose(ours, ancestor, rtol=AGREE[work.precision]):
        raise SystemExit(f"the two differ: loss and norm of the gradients {ours} against {ancestor}")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    part: str
    precision: str
    size: int
    ours_ms: Sequence[float]
    ancestor_ms: Sequence[float]
    peak_bytes: Mapping[str, int | None] = field(default_factory=dict)

    @property
    def ratios(self) -> list[float]:
        """The ancestor's time over ours, turn by turn."""
        return [theirs / ours for theirs, ours in zip(self.ancestor_ms, self.ours_ms, strict=True)]

    def interval(self) -> tuple[float, float]:
        """Where the median of the ratios lies in 95 of 100 cases; of fewer than six turns, their range.

        Each ratio is as likely above the true median as below it. So how many lie below is what tosses of a coin
        give, and as many ratios are left out at either end as 2.5 % allow.
        """
        ratios, left_out = sorted(self.ratios), 0
        tosses = [math.comb(len(ratios), heads) / 2 ** len(ratios) for heads in range(len(ratios))]
        while sum(tosses[: left_out + 2]) <= 0.025:
            left_out += 1
        return ratios[left_out], ratios[-1 - left_out]

    def facts(self) -> dict[str, Any]:
        """All that was measured."""
        told = {"part": self.part, "precision": self.precision, "batch_size": self.size}
        times = {"ours_ms": list(self.ours_ms), "ancestor_ms": list(self.ancestor_ms)}
        ratio = {"ratio": statistics.median(self.ratios), "interval": self.interval()}
        return {**told, **ratio, **times, "peak_bytes": dict(self.peak_bytes)}

    def markdown(self) -> str:
        """The line."""
        low, high = self.interval()
        ours, ancestor = statistics.median(self.ours_ms), statistics.median(self.ancestor_ms)
        median = statistics.median(self.ratios)
        return (
            f"| {self.part} | {self.precision} | {self.size} | {ancestor:.1f} | {ours:.1f} | {median:.3f} "
            f"| {low:.3f} to {high:.3f} | {len(self.ratios)} | {self._peaks()} |"
        )

    def _peaks(self) -> str:
        """What the ancestor took of the device's memory at the most, and what ours."""
        peaks = [self.peak_bytes.get(name) for name in ("ancestor", "ours")]
        return ", ".join("n/a" if peak is None else f"{peak / MIB:,.0f}" for peak in peaks)


def timed_ms(device: Device, run: Callable[[], object], *, times: int) -> float:
    """Milliseconds of one run, as the mean of several between two fences."""
    device.synchronize()
    started = time.perf_counter()
    for _ in range(times):
        run()
    device.synchronize()
    return (time.perf_counter() - started) * 1e3 / times


class WarmUp(NamedTuple):
    """What the first runs of both tell; the very first, in which libraries choose their kernels, is not timed."""

    run_ms: float
    peak_bytes: dict[str, int | None]


def warmed_up(device: Device, side: Side) -> WarmUp:
    """The slower one's time, and the most memory that each takes of the device."""
    run_ms, peak_bytes = 0.0, {}
    for name, run in side._asdict().items():
        run()
        device.reset_peak_memory()
        run_ms = max(run_ms, timed_ms(device, run, times=1))
        peak_bytes[name] = device.peak_memory_bytes()
    return WarmUp(run_ms, peak_bytes)


def measure(
    device: Device, side: Side, *, turns: int, times: int, seed: int = 0, until_s: float = math.inf
) -> dict[str, list[float]]:
    """Milliseconds of the two in so many turns, or fewer where the clock would pass ``until_s``, but at least six."""
    rng = random.Random(seed)
    taken: dict[str, list[float]] = {"ours_ms": [], "ancestor_ms": []}
    longest_s = 0.0
    for turn in range(turns):
        started_s = time.monotonic()
        if turn >= FEWEST_TURNS and started_s + longest_s > until_s:
            break
        for name in rng.sample(["ours", "ancestor"], 2):
            taken[f"{name}_ms"].append(timed_ms(device, getattr(side, name), times=times))
        longest_s = max(longest_s, time.monotonic() - started_s)
    return taken


class Clock:
    """Shares out the time among the rows of the table, by what they will cost.

    Args:
        minutes: How long all of them may take, from now on; None where that is not bounded.
        costs: What each row costs, in any unit, in their order.
    """

    def __init__(self, minutes: float | None, costs: Sequence[int]) -> None:
        self._end_s = math.inf if minutes is None else time.monotonic() + 60 * minutes
        self._costs = list(costs)
        self._turns_s: dict[tuple[str, str], tuple[int, float]] = {}

    def next_until_s(self) -> float:
        """When the next row should be done."""
        now_s, share = time.monotonic(), self._costs[0] / sum(self._costs)
        del self._costs[0]
        return now_s + max(self._end_s - now_s, 0) * share

    def took(self, part: str, precision: str, *, size: int, turn_s: float) -> None:
        """Notes what a turn of a row takes."""
        self._turns_s[part, precision] = size, turn_s

    def has_room(self, part: str, precision: str, *, size: int) -> bool:
        """Whether the fewest turns will fit, going by what is known of the same part, perhaps of another size."""
        known, turn_s = self._turns_s.get((part, precision), (size, 0.0))
        return time.monotonic() + FEWEST_TURNS * turn_s * size / known < self._end_s


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--precision", nargs="+", default=["fp32"], choices=sorted(AGREE))
    parser.add_argument("--batches", nargs="+", type=int, default=[4, 8, 16, 24, 32])
    parser.add_argument("--frames", type=int, help="of the longest utterance (600 on a GPU, 100 on the host)")
    parser.add_argument(
        "--repeat", type=int, default=18, help="turns of the front end alone; of the whole step a third"
    )
    parser.add_argument("--steps", type=int, help="turns of the whole step, instead of that third")
    parser.add_argument(
        "--minutes",
        type=float,
        help="for all of it: rows get fewer turns, but six at least; what then does not fit is left out",
    )
    parser.add_argument("--parts", nargs="+", default=["front end", "step"], choices=["front end", "step"])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every turn's times here, too")
    parser.add_argument("--least-ms", type=float, default=200.0, help="so long a measurement lasts, at least")
    return parser.parse_args()


def rows_of(asked: argparse.Namespace, device: Device, *, frames: int) -> Iterator[Row]:
    """What was asked for, one row of the table after another."""
    planned = list(product(asked.precision, asked.parts, asked.batches))
    clock = Clock(asked.minutes, [size * (STEP_COST if part == "step" else 1) for _, part, size in planned])
    work: Workload | None = None
    for precision, part, size in planned:
        if work is None or work.precision != precision:
            work = assemble(PRESETS["tbd"], device, batches=NoBatches(), precision=precision, seed=1)
            compare(work, batch_of(asked.batches[0], frames, device))
        row = row_of(asked, work, part, batch_of(size, frames, device), clock=clock)
        if row is None:
            print(f"{part}, {precision}, batch {size}: left out; there is no time for six turns", file=sys.stderr)
        else:
            yield row


def row_of(asked: argparse.Namespace, work: Workload, part: str, batch: Batch, *, clock: Clock) -> Row | None:
    """One row of the table; None where the clock has no room for it."""
    until_s, size = clock.next_until_s(), batch.samples
    if not clock.has_room(part, work.precision, size=size):
        return None
    side = (steps if part == "step" else front_ends)(work, batch)
    warm = warmed_up(work.device, side)
    times = max(round(asked.least_ms / warm.run_ms), 1)
    clock.took(part, work.precision, size=size, turn_s=2 * times * warm.run_ms / 1e3)
    if not clock.has_room(part, work.precision, size=size):
        return None
    turns = (asked.steps or -(-asked.repeat // 3)) if part == "step" else asked.repeat
    taken = measure(work.device, side, turns=turns, times=times, seed=size, until_s=until_s)
    return Row(part, work.precision, size, **taken, peak_bytes=warm.peak_bytes)


def peak_bytes_of_process() -> int:
    """The most memory that this process had of the host."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Print the table, line by line as they are measured."""
    asked = arguments()
    device = open_device(asked.device)
    frames = asked.frames or (100 if device.torch_device.type == "cpu" else 600)
    processor = device.name or platform.processor() or platform.machine()
    threads = f"{torch.get_num_threads()} threads of {os.cpu_count()} processors"
    about = f"{processor}, {threads}, PyTorch {torch.__version__}, Python {platform.python_version()}; {frames} frames"
    print(f"{about}\n")
    print("| part | precision | batch | ancestor ms | ours ms | ratio | 95 % interval | turns | peak MiB of both |")
    print("|---|---|---|---|---|---|---|---|---|")
    rows: list[Row] = []
    for row in rows_of(asked, device, frames=frames):
        rows.append(row)
        print(row.markdown(), flush=True)
    peak_bytes = peak_bytes_of_process()
    print(f"\nat the most {peak_bytes / MIB:,.0f} MiB of the host's memory")
    if asked.json is not None:
        document = {"schema": SCHEMA, "about": about, "frames": frames, "host_peak_bytes": peak_bytes}
        with written_whole(asked.json) as partial:
            facts = [row.facts() for row in rows]
            partial.write_text(json.dumps({**document, "rows": facts}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
