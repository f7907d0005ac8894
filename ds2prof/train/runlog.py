"""The log of a run: how long it trained, iteration by iteration and over a fenced stretch.

Without a profiler that is how fast it trains. ``--run-log`` keeps one beside a profiler too, from which the profiler's
cost is told and nothing else: its first line names the profiler, and no throughput is read from it.

``run_bs<batch>.jsonl`` holds one JSON object a line, schema ``ds2prof-run/1``:

    {"schema": "ds2prof-run/1", "preset": ..., "batch_size": ..., ...}                                  first line
    {"iteration": 0, "wall_ns": ..., "samples": ..., "audio_s": ..., "padded_s": ..., "loss": ..., "skipped": false,
     "model_flop": ..., "hardware_flop": ...}
    ...                                                                                   one line for each iteration
    {"stretch": {"first": 5, "stop": 20, "wall_ns": ..., "samples": ..., "audio_s": ..., "padded_s": ...,
                 "model_flop": ..., "hardware_flop": ...}}                                             last line

First line: ``preset, batch_size, precision, device, device_name, parameters, seed, warmup, iterations, window,
profiler, prepare_ns, start_ns, stop_ns, tool_version, torch_version, started_utc``. ``warmup`` is how many iterations
lie before the stretch; ``window`` is null, or the ``{"start", "stop"}`` that was asked for and is then the stretch.
``profiler`` is null, or who looked on: ``torch``, or ``external`` for one outside, which knows its own name. What it
took to prepare, start and stop it lies outside of the stretch and is null without one.

An iteration: ``wall_ns`` is the host's time from its start to the start of the next one, or to the closing fence.
The device is not waited for in between, so a single value says when the host was done, not the device. ``audio_s`` is
speech, ``padded_s`` what was computed on, padding included. ``loss`` is null where it was not finite. ``skipped``
says whether a bad loss kept the optimizer from its step. ``model_flop`` are the FLOP of its true frames, forward and
backward, ``hardware_flop`` those of the batches as they are laid out (:mod:`ds2prof.train.flop`), on this rank.

The stretch, iterations ``first`` to ``stop - 1``, has a synchronization on both sides: throughput is taken from it.
Its ``wall_ns`` is the exact sum of its iterations', for the clock is read once at each border.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from ds2prof.config import Window
from ds2prof.measurements import written_whole
from ds2prof.train.batches import Batch
from ds2prof.train.device import Device
from ds2prof.train.flop import CountedNetwork, step_flop
from ds2prof.train.settings import iterations_text
from ds2prof.units import MS_PER_S, NS_PER_S

SCHEMA: Final = "ds2prof-run/1"


@dataclass
class _Row:
    """One iteration as it is known while the loop runs."""

    started_ns: int
    ended_ns: int | None = None
    samples: int = 0
    audio_ms: int = 0
    padded_ms: int = 0
    skipped: bool = False
    lengths: list[tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    """Frames and labels of the utterances of each batch."""


class RunLog:
    """Times, sizes and losses of a run, noted without waiting for the device.

    Args:
        device: Where the losses come from.
        iterations: How many there will be at most.
        clock_ns: A monotonic clock.
    """

    def __init__(self, device: Device, iterations: int, *, clock_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self._losses = device.host_buffer(iterations)
        self._clock_ns = clock_ns
        self._network: CountedNetwork | None = None
        self._rows: list[_Row] = []

    def count_flop(self, network: CountedNetwork) -> None:
        """Has the rows tell the FLOP of each iteration too; they are worked out when the rows are asked for."""
        self._network = network

    def begin(self) -> None:
        """An iteration starts, and so the one before it ends, unless a fence has ended it."""
        now_ns = self._clock_ns()
        self._end(now_ns)
        self._rows.append(_Row(now_ns))

    def end(self) -> None:
        """A fence: the device has finished, and so has the iteration."""
        self._end(self._clock_ns())

    def _end(self, now_ns: int) -> None:
        if self._rows and self._rows[-1].ended_ns is None:
            self._rows[-1].ended_ns = now_ns

    def keep(self, batch: Batch, loss: Tensor) -> None:
        """Notes the size of a batch, and has the iteration's loss copied; the value is there behind the next fence.

        Called once for each batch of the iteration, with the loss so far: the last one stays.
        """
        row = self._rows[-1]
        row.samples += batch.samples
        row.audio_ms += batch.audio_ms
        row.padded_ms += batch.padded_ms
        row.lengths.append((batch.frame_counts, batch.label_counts))
        self._losses[len(self._rows) - 1].copy_(loss.detach(), non_blocking=True)

    def skip(self) -> None:
        """Notes that the iteration's loss was bad, and the optimizer's step left out."""
        self._rows[-1].skipped = True

    def losses(self) -> list[float]:
        """The loss of each iteration; to be asked for behind a fence."""
        return [float(loss) for loss in self._losses[: len(self._rows)].tolist()]

    def rows(self) -> list[dict[str, Any]]:
        """The iterations as the file holds them."""
        return [
            {
                "iteration": number,
                "wall_ns": _wall_ns(row),
                "samples": row.samples,
                "audio_s": row.audio_ms / MS_PER_S,
                "padded_s": row.padded_ms / MS_PER_S,
                "loss": loss if math.isfinite(loss) else None,
                "skipped": row.skipped,
                **self._flop([row]),
            }
            for number, (row, loss) in enumerate(zip(self._rows, self.losses(), strict=True))
        ]

    def stretch(self, window: Window) -> dict[str, Any]:
        """The iterations of ``window``, which was fenced, as one."""
        rows = self._rows[window.start : window.stop]
        return {
            "first": window.start,
            "stop": window.stop,
            "wall_ns": sum(_wall_ns(row) for row in rows),
            "samples": sum(row.samples for row in rows),
            "audio_s": sum(row.audio_ms for row in rows) / MS_PER_S,
            "padded_s": sum(row.padded_ms for row in rows) / MS_PER_S,
            **self._flop(rows),
        }

    def _flop(self, rows: Sequence[_Row]) -> dict[str, int]:
        """The FLOP of iterations together; nothing where no network was named."""
        if self._network is None:
            return {}
        steps = [step_flop(self._network, *lengths) for row in rows for lengths in row.lengths]
        return {
            "model_flop": sum(step.model for step in steps),
            "hardware_flop": sum(step.hardware for step in steps),
        }


def _wall_ns(row: _Row) -> int:
    assert row.ended_ns is not None, "the last fence comes before the rows are read"
    return row.ended_ns - row.started_ns


def write_run_log(path: Path, header: Mapping[str, Any], *, log: RunLog, window: Window) -> None:
    """Writes the log, whole or not at all."""
    lines = [{"schema": SCHEMA, **header}, *log.rows(), {"stretch": log.stretch(window)}]
    with written_whole(path) as partial:
        partial.write_text("".join(json.dumps(line, allow_nan=False) + "\n" for line in lines), encoding="utf-8")


def throughput_lines(log: RunLog, window: Window) -> list[str]:
    """What the log says, for reading."""
    stretch, rows = log.stretch(window), log.rows()
    wall_s = stretch["wall_ns"] / NS_PER_S
    first, last = rows[0], rows[-1]
    return [
        f"{iterations_text(window)}, between two fences: {wall_s:.3f} s",
        f"  samples/s   {stretch['samples'] / wall_s:10.2f}",
        f"  audio s/s   {stretch['audio_s'] / wall_s:10.2f}",
        f"  padded s/s  {stretch['padded_s'] / wall_s:10.2f}",
        f"  loss        {_loss_text(first['loss'])} (iteration {first['iteration']})"
        f" to {_loss_text(last['loss'])} (iteration {last['iteration']})",
    ]


def _loss_text(loss: float | None) -> str:
    return "not finite" if loss is None else f"{loss:.3f}"
