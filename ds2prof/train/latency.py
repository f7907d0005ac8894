"""How long a batch of utterances takes to become text, and how many can be done in a second.

A batch's latency is the host's time from handing it over to having its symbols back: copy to the device, network,
greedy decoding, copy of the symbols back. A synchronization stands on both sides, so it is the device's time too, and
batches do not overlap. With ``network`` alone, decoding and the copy back are left out. Every utterance of a batch
waits for the whole batch, so a batch counts once, and so many are behind a percentile as there were batches.

A percentile is numpy's default, linear between the two nearest of the sorted times. One that fewer than one batch lies
beyond is only the largest that happened to be seen: the p-th takes 100 / (100 - p) batches, 100 for the 99th, and is
absent with fewer.

Reading sound and computing features are not in it: they are other work, done by other processors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from torch import nn

from ds2prof.train.batches import Batch
from ds2prof.train.device import Device, memory_errors
from ds2prof.train.evaluation import evaluating, recognized
from ds2prof.train.tasks import Task
from ds2prof.units import MS_PER_S, NS_PER_MS, NS_PER_S

PERCENTILES: Final = (50, 90, 99)
EXTENTS: Final = ("text", "network")


@dataclass(frozen=True)
class Timed:
    """One batch.

    Attributes:
        dur_ns: From being handed over to being done.
        samples: Its utterances.
        audio_ms: Their speech.
        padded_ms: What was computed on, padding included.
    """

    dur_ns: int
    samples: int
    audio_ms: int
    padded_ms: int


@dataclass(frozen=True)
class Latency:
    """What was measured at one batch size.

    Attributes:
        batch_size: Utterances of a batch.
        timed: The batches, in their order, warm-up left out.
    """

    batch_size: int
    timed: tuple[Timed, ...]

    def percentile_ms(self, percent: float) -> float | None:
        """That percentile of the batches' latencies; None where there are too few for it."""
        if len(self.timed) < batches_needed(percent):
            return None
        return float(np.percentile([each.dur_ns for each in self.timed], percent)) / NS_PER_MS

    def facts(self) -> dict[str, Any]:
        """What a report says of it; times in milliseconds, rates by the second."""
        dur_s = sum(each.dur_ns for each in self.timed) / NS_PER_S
        audio_s = sum(each.audio_ms for each in self.timed) / MS_PER_S
        samples = sum(each.samples for each in self.timed)
        durations_ms = [each.dur_ns / NS_PER_MS for each in self.timed]
        return {
            "batch_size": self.batch_size,
            "batches": len(self.timed),
            **{f"p{percent}_ms": self.percentile_ms(percent) for percent in PERCENTILES},
            "mean_ms": sum(durations_ms) / len(durations_ms),
            "min_ms": min(durations_ms),
            "max_ms": max(durations_ms),
            "samples_per_s": samples / dur_s,
            "audio_s_per_s": audio_s / dur_s,
            "real_time_factor": dur_s / audio_s,
            "audio_s": audio_s,
            "padded_s": sum(each.padded_ms for each in self.timed) / MS_PER_S,
        }


def batches_needed(percent: float) -> int:
    """How many batches there must be for one of them to lie beyond that percentile."""
    return int(np.ceil(round(100 / (100 - percent), 9)))


def measure(
    task: Task,
    network: nn.Module,
    batches: Iterable[Batch],
    *,
    device: Device,
    precision: str,
    extent: str = "text",
    warmup: int = 0,
    most_s: float | None = None,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
    progress: Callable[[int], object] | None = None,
) -> tuple[Timed, ...]:
    """The latency of each batch behind the warm-up.

    Args:
        task: What the network is for.
        network: On the device.
        batches: On the host, ready; waiting for them is not measured.
        device: Where it is computed.
        precision: In which the network is applied.
        extent: ``text``, or ``network`` without decoding.
        warmup: Batches at the beginning that are not measured.
        most_s: How long to go on behind the warm-up at most; at least one batch is measured.
        clock_ns: A monotonic clock.
        progress: Told how many batches are done, warm-up included.
    """
    run = _apply if extent == "network" else recognized
    timed: list[Timed] = []
    began_ns: int | None = None
    with evaluating(network):
        for number, batch in enumerate(batches):
            device.synchronize()
            start_ns = clock_ns()
            run(task, network, batch.to(device.torch_device), device=device, precision=precision)
            device.synchronize()
            stop_ns = clock_ns()
            if progress is not None:
                progress(number + 1)
            if number < warmup:
                continue
            began_ns = start_ns if began_ns is None else began_ns
            timed.append(Timed(stop_ns - start_ns, batch.samples, batch.audio_ms, batch.padded_ms))
            if most_s is not None and stop_ns - began_ns >= most_s * NS_PER_S:
                break
    return tuple(timed)


def _apply(task: Task, network: nn.Module, batch: Batch, *, device: Device, precision: str) -> None:
    """The network, or of a transducer its encoder: what comes behind depends on what is said."""
    with device.autocast(precision):
        encode = getattr(network, "encode", None)
        if encode is None:
            network(*task.inputs(batch))
        else:
            encode(batch.spect_BFT, batch.frames_B)


def spread(numbers: Sequence[int], batch_size: int, batches: int, *, seed: int) -> list[list[int]]:
    """Utterances for some batches, drawn with equal chance from ``numbers`` without repeating one in a batch.

    What arrives at a server comes in no order, so a batch mixes lengths. A batch larger than the corpus repeats.
    """
    stream = np.random.default_rng([seed, batch_size])
    return [
        [int(each) for each in stream.choice(numbers, size=batch_size, replace=batch_size > len(numbers))]
        for _ in range(batches)
    ]


@dataclass(frozen=True, kw_only=True)
class LatencyPlan:
    """What is measured at each batch size.

    Attributes:
        batch_sizes: In this order.
        batches: How many are measured at each.
        warmup: How many go before them.
        extent: ``text`` or ``network``.
        precision: In which the network is applied.
        most_s: How long each batch size may take behind its warm-up; None for as long as it takes.
        seed: Decides which utterances come together.
    """

    batch_sizes: tuple[int, ...]
    batches: int = 100
    warmup: int = 5
    extent: str = "text"
    precision: str = "fp32"
    most_s: float | None = None
    seed: int = 1


def sweep(
    task: Task,
    network: nn.Module,
    numbers: Sequence[int],
    batch_of: Callable[[list[int]], Batch],
    *,
    device: Device,
    plan: LatencyPlan,
    progress: Callable[[int, int], object] | None = None,
) -> Iterator[Latency]:
    """The latency at each batch size of the plan, each as soon as it is known.

    Args:
        task: What the network is for.
        network: On the device.
        numbers: The utterances to draw from; one alone is held in every place of every batch.
        batch_of: Makes a batch of some of them.
        device: Where it is computed.
        plan: What is measured.
        progress: Told the batch size and how many of its batches are done.

    Raises:
        Ds2profError: a batch does not fit into the device's memory.
    """
    for batch_size in plan.batch_sizes:
        drawn = spread(numbers, batch_size, plan.warmup + plan.batches, seed=plan.seed)
        with memory_errors(device, batch_size):
            timed = measure(
                task,
                network,
                map(batch_of, drawn),
                device=device,
                precision=plan.precision,
                extent=plan.extent,
                warmup=plan.warmup,
                most_s=plan.most_s,
                progress=None if progress is None else partial(progress, batch_size),
            )
        yield Latency(batch_size, timed)
