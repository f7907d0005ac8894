"""Training ``tbd`` against the structure of the program it comes from: the masked front end alone, and the whole step.

    python benchmarks/ancestor_training.py                                       the host: minutes
    python benchmarks/ancestor_training.py --device cuda --precision fp32 bf16   a GPU, both precisions in one run
    python benchmarks/ancestor_training.py --frames 40 --minutes 5               the host, as much as fits
    python benchmarks/ancestor_training.py --batches 4 --frames 40 --repeat 3    a quick look

The ancestor is the TBD suite's PyTorch DeepSpeech2, from a description of it and in our own words. It differs in:

* the mask: behind each of the six modules of the front end one of the activation's size is made on the host, copied to
  the device, and filled by a loop over the utterances, the longest left out;
* lengths: divided as floating-point numbers, cut off, and kept as a tensor on the host;
* its waits: batches come from pageable memory and the host waits for the copies; the loss is asked for between the
  forward and the backward pass, to see whether it is finite. Nothing waits behind the optimizer.

Everything else is shared, and so is not what is measured: the weights (both run the same modules, one after the
other), the recurrent layers, PyTorch's CTC in place of warp-ctc, clipping, the optimizer, one set of batches. Before
anything is timed the losses and gradients of both are compared.

Each measurement is fenced by synchronizations. The two take turns, the first of a turn drawn anew, so that a slow
minute of the machine hits both; a turn gives one ratio, and the table the median of the ratios and its 95 % interval,
whatever the ratios are distributed like. Fewer than six turns have no such interval: theirs is their whole range, which
holds the median less often. Utterances of a batch differ in length, the shortest by a tenth: bins of speech sorted by
length do, and where all are alike there is nothing to mask. Prints a Markdown table. Its last column is the most memory
that either took of the device; of a host it is not known for each, and the line below the table has the whole process's.
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

import numpy as np
import torch
from torch import Tensor, nn

from ds2prof.measurements import written_whole
from ds2prof.train.batches import Batch, Features, collate
from ds2prof.train.device import Device, open_device
from ds2prof.train.front_end import convolved
from ds2prof.train.model import DeepSpeech2
from ds2prof.train.objective import clip_gradients
from ds2prof.train.presets import PRESETS
from ds2prof.train.steps import train_step
from ds2prof.train.workload import Workload, assemble

SCHEMA = "ds2prof-ancestor/1"
SHORTEST = 0.9
FRAMES_PER_LABEL = 8
FEWEST_TURNS = 6
"""As many have an interval of 95 %: that all six lie on one side of the median happens twice in 64 times."""
TURNS_OF_WARM_UP = 2
STEP_COST = 3
"""How much more of the time a whole step is given than the front end alone."""
MIB = 1 << 20
AGREE = {"fp32": 1e-3, "tf32": 1e-2, "bf16": 5e-2}
"""How far apart losses and norms of gradients may lie, relative to themselves: rounding, and on a GPU CTC's order."""


class Side(NamedTuple):
    """One of the two, ready to be timed."""

    ours: Callable[[], object]
    ancestor: Callable[[], object]


class AncestorFrontEnd:
    """The convolutions of a model, each of their six modules followed by the loop over the utterances."""

    def __init__(self, model: DeepSpeech2) -> None:
        self._model = model

    def __call__(self, spect_BFT: Tensor, count_B: Tensor) -> Tensor:
        """What the front end makes of the spectrograms; ``count_B`` are the lengths behind it, on the host."""
        act_BCFT = spect_BFT.unsqueeze(1)
        for layer in self._model.conv:
            for module in (layer.convolution, layer.normalization, layer.activation):
                act_BCFT = self._masked(module(act_BCFT), count_B)
        return act_BCFT

    def _masked(self, act_BCFT: Tensor, count_B: Tensor) -> Tensor:
        mask_BCFT = torch.zeros(act_BCFT.shape, dtype=torch.bool).to(act_BCFT.device)
        frames = act_BCFT.shape[-1]
        for row, count in enumerate(count_B):
            length = count.item()
            if frames > length:
                mask_BCFT[row].narrow(2, length, frames - length).fill_(True)
        return act_BCFT.masked_fill(mask_BCFT, 0)


class AncestorStep:
    """One optimizer step with the ancestor's structure, on the weights and the optimizer of a workload."""

    def __init__(self, work: Workload, batch: Batch) -> None:
        assert isinstance(work.model, DeepSpeech2)
        self._work = work
        self._model = work.model
        self._front_end = AncestorFrontEnd(work.model)
        self._spect_BFT = batch.spect_BFT.clone()  # pageable, wherever the batch itself lies
        self._share_B = torch.tensor([frames / batch.spect_BFT.shape[-1] for frames in batch.frame_counts])
        self._batch = batch

    def __call__(self) -> None:
        """Takes it."""
        loss = self.loss()
        if not math.isfinite(loss.item()):
            raise SystemExit("the loss is not finite: a step that is left out is none to compare with")
        self._work.optimizer.zero_grad()
        loss.backward()
        clip_gradients(self._model, self._work.preset.optimizer)
        self._work.optimizer.step()

    def loss(self) -> Tensor:
        """The loss of the batch, on the device."""
        work, device = self._work, self._work.device
        frames_B = (self._share_B * self._spect_BFT.shape[-1]).round().int()
        spect_BFT = self._spect_BFT.to(device.torch_device)
        count_B = ancestor_lengths(frames_B, self._model)
        with device.autocast(work.precision):
            act_BCFT = self._front_end(spect_BFT, count_B)
            hidden_TBH = act_BCFT.flatten(1, 2).permute(2, 0, 1).contiguous()
            for layer in self._model.rnn:
                hidden_TBH = layer(hidden_TBH, count_B)
            logits_TBV = self._model.head(hidden_TBH)
        labels = self._batch.labels.to(device.torch_device)
        on_device = Batch(
            spect_BFT, frames_B, labels, frame_counts=self._batch.frame_counts, label_counts=self._batch.label_counts
        )
        return work.task.loss((logits_TBV, count_B.tolist()), on_device)


def ancestor_lengths(frames_B: Tensor, model: DeepSpeech2) -> Tensor:
    """The lengths behind the front end as the ancestor has them: divided, added to, and cut off in the end."""
    for layer in model.conv:
        shape = layer.shape
        frames_B = (frames_B + 2 * shape.padding[1] - (shape.kernel[1] - 1) - 1) / shape.stride[1] + 1
    return frames_B.int()


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


def front_ends(work: Workload, batch: Batch) -> Side:
    """Forward and backward pass through the convolutions alone, the batch on the device."""
    model = work.model
    assert isinstance(model, DeepSpeech2)
    ancestor = AncestorFrontEnd(model)
    on_device = batch.to(work.device.torch_device)
    count_B = torch.tensor(model.output_frames(batch.frame_counts))
    with torch.no_grad():
        gradient_BCFT = torch.ones_like(ancestor(on_device.spect_BFT, count_B))

    def ours() -> Tensor:
        act_BCFT, frames_B = on_device.spect_BFT.unsqueeze(1), on_device.frames_B
        for layer in model.conv:
            frames_B = convolved(frames_B, layer.shape, axis=1)
            act_BCFT = layer(act_BCFT, frames_B)
        return act_BCFT

    def both_ways(forward: Callable[[], Tensor]) -> Callable[[], None]:
        def passes() -> None:
            with work.device.autocast(work.precision):
                act_BCFT = forward()
            act_BCFT.backward(gradient_BCFT.to(act_BCFT.dtype))
            model.conv.zero_grad()

        return passes

    return Side(both_ways(ours), both_ways(lambda: ancestor(on_device.spect_BFT, count_B)))


def steps(work: Workload, batch: Batch) -> Side:
    """Whole optimizer steps, from the batch on the host on."""
    handed = repeat(batch)
    return Side(lambda: train_step(work, handed, NoLog()), AncestorStep(work, batch))


def compare(work: Workload, batch: Batch) -> None:
    """Stops where the two do not compute the same."""
    model = work.model

    def measured(loss: Tensor) -> tuple[float, float]:
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), float("inf"))
        work.optimizer.zero_grad()
        return loss.item(), norm.item()

    on_device = batch.to(work.device.torch_device)
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


def measure(
    part: str, work: Workload, side: Side, *, size: int, turns: int, least_ms: float, until_s: float = math.inf
) -> Row:
    """The two in turns: so many, or fewer where the clock would pass ``until_s``, but at least six."""
    device = work.device
    warm_ms, peaks = 0.0, {}
    for name, run in side._asdict().items():
        run()  # libraries are loaded and choose their kernels
        device.reset_peak_memory()
        warm_ms = max(warm_ms, timed_ms(device, run, times=1))
        peaks[name] = device.peak_memory_bytes()
    times = max(round(least_ms / warm_ms), 1)
    rng = random.Random(size)
    taken: dict[str, list[float]] = {"ours": [], "ancestor": []}
    for turn in range(turns):
        if turn >= FEWEST_TURNS and time.monotonic() + 2 * times * warm_ms / 1e3 > until_s:
            break
        for name in rng.sample(["ours", "ancestor"], 2):
            taken[name].append(timed_ms(device, getattr(side, name), times=times))
    return Row(part, work.precision, size, taken["ours"], taken["ancestor"], peaks)


class Clock:
    """Shares out the time among the rows of the table, by what they will cost.

    Args:
        minutes: How long all of them may take, from now on; None where that is not bounded.
        costs: What each row costs, in any unit, in their order.
    """

    def __init__(self, minutes: float | None, costs: Sequence[int]) -> None:
        self._end_s = math.inf if minutes is None else time.monotonic() + 60 * minutes
        self._costs = list(costs)
        self._turn_s: dict[tuple[str, str], tuple[int, float]] = {}

    def next_until_s(self) -> float:
        """When the next row should be done."""
        now_s, share = time.monotonic(), self._costs[0] / sum(self._costs)
        del self._costs[0]
        return now_s + max(self._end_s - now_s, 0) * share

    def took(self, row: Row) -> None:
        """Notes what a turn of the row took."""
        turn_s = (statistics.median(row.ours_ms) + statistics.median(row.ancestor_ms)) / 1e3
        self._turn_s[row.part, row.precision] = row.size, turn_s

    def has_room(self, part: str, precision: str, size: int) -> bool:
        """Whether the fewest turns will fit, going by the row before, of another size."""
        before, turn_s = self._turn_s.get((part, precision), (size, 0.0))
        least_s = turn_s * size / before * (FEWEST_TURNS + TURNS_OF_WARM_UP)
        return time.monotonic() + least_s < self._end_s


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
        help="of measuring; rows get fewer turns, but six, and what then does not fit is left out",
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
        until_s = clock.next_until_s()
        if not clock.has_room(part, precision, size):
            print(f"{part}, {precision}, batch {size}: left out; there is no time for six turns", file=sys.stderr)
            continue
        if work is None or work.precision != precision:
            work = assemble(PRESETS["tbd"], device, batches=NoBatches(), precision=precision, seed=1)
            compare(work, batch_of(asked.batches[0], frames, device))
        turns = (asked.steps or -(-asked.repeat // 3)) if part == "step" else asked.repeat
        side = (steps if part == "step" else front_ends)(work, batch_of(size, frames, device))
        row = measure(part, work, side, size=size, turns=turns, least_ms=asked.least_ms, until_s=until_s)
        clock.took(row)
        yield row


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
