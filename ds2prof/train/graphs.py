"""Fewer launches: the network compiled, or its kernels replayed as CUDA graphs. Both are options, each with its limits.

``torch.compile`` fuses what lies between the recurrent layers. It cannot look into packing, which wants lengths on the
host, nor into cuDNN's recurrent layers: there the program leaves the compiled code and comes back. Lengths differ from
batch to batch, so shapes are compiled as variables. The first steps take minutes; a loss may differ in its last digits.

A CUDA graph replays the kernels of one shape, with the same addresses, without asking the host for anything. So it
needs batches that are all alike, which only synthetic speech of one length has (``--frames``), and a network that never
looks at a value on the host: the recurrence runs over plain tensors, which gives the same where nothing is padded. The
forward and the backward pass of the network are replayed; CTC, which copies lengths from the host, clipping and the
optimizer are launched as ever.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from ds2prof.errors import Ds2profError, UsageError
from ds2prof.train.batches import Batch
from ds2prof.train.leaving_out import KeptBuffers
from ds2prof.train.presets import ModelConfig, Preset
from ds2prof.train.workload import Workload


def compiled(work: Workload, *, backend: str = "inductor") -> Workload:
    """The workload with its network compiled, when it first sees a batch.

    Args:
        work: The workload.
        backend: What compiles, by PyTorch's name for it.

    Raises:
        Ds2profError: there is nothing to compile with.
    """
    device = work.device.torch_device
    if device.type == "cpu":
        compiler = os.environ.get("CXX") or "g++"
        if shutil.which(compiler) is None and shutil.which("clang++") is None:
            raise Ds2profError(
                f"--compile: needs a C++ compiler, and there is no {compiler}; install g++, or leave it out"
            )
    elif device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise Ds2profError("--compile: needs the package triton, which is not installed; pip install triton")
    return replace(work, network=cast(nn.Module, torch.compile(work.network, dynamic=True, backend=backend)))


def unpacked(preset: Preset) -> Preset:
    """The preset with its recurrence over plain tensors: what is padded would be different, and nothing else.

    Raises:
        UsageError: the network cannot be captured.
    """
    if not isinstance(preset.model, ModelConfig):
        raise UsageError(
            f"--cuda-graphs: {preset.name} is a transducer, whose shapes follow from the labels; leave it out"
        )
    return replace(preset, model=replace(preset.model, packed=False))


def require_graphs(work: Workload) -> None:
    """Nothing, if the workload's steps can be replayed.

    Raises:
        UsageError: they cannot.
    """
    if work.device.torch_device.type != "cuda":
        raise UsageError(f"--cuda-graphs: {work.device} has none; leave it out")
    if work.preset.speech.frames is None:
        raise UsageError(
            "--cuda-graphs: all batches have to be alike; give --frames for synthetic speech of one length"
        )
    if work.ranks.several:
        raise UsageError("--cuda-graphs: is for one process; leave it out, or start one")


def graphed(work: Workload) -> Workload:
    """The workload with its network's forward and backward pass captured; its statistics are as they were.

    Raises:
        UsageError: they cannot be captured.
    """
    require_graphs(work)
    first = next(iter(work.batches.epoch(0))).to(work.device.torch_device)
    static = StaticNetwork(work.model, first, _autocast(work))
    buffers = KeptBuffers(work.model)  # capturing takes some passes to warm up, which move running statistics
    sample = first.spect_BFT.clone()
    captured = torch.cuda.make_graphed_callables(static, (sample,))
    buffers.put_back()
    work.optimizer.zero_grad()
    return replace(work, network=Replayed(cast(nn.Module, captured), first, static.counts))


def _autocast(work: Workload) -> AbstractContextManager[Any]:
    """The context of the workload's precision, without its cache of converted weights: a replay would not fill it."""
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(work.precision)
    if kind is None:
        return nullcontext()
    return torch.autocast(work.device.torch_device.type, dtype=kind, cache_enabled=False)


class StaticNetwork(nn.Module):
    """A network for batches of one shape and one length: a spectrogram in, logits out.

    Args:
        model: The network.
        batch: One of the batches; all others are like it.
        autocast: The context in which it is applied.
    """

    def __init__(self, model: nn.Module, batch: Batch, autocast: AbstractContextManager[Any] | None = None) -> None:
        super().__init__()
        require_alike(batch)
        self.model = model
        self.register_buffer("frames_B", batch.frames_B.clone(), persistent=False)
        self._frame_counts = batch.frame_counts
        self._autocast = autocast or nullcontext()
        self.counts = cast(Any, model).output_frames(batch.frame_counts)

    def forward(self, spect_BFT: Tensor) -> Tensor:
        """``logits_TBV``."""
        with self._autocast:
            logits_TBV, _ = self.model(spect_BFT, self.frames_B, self._frame_counts)
        return cast(Tensor, logits_TBV)


class Replayed(nn.Module):
    """What stands in the network's place: it takes what the network takes, and replays.

    Args:
        captured: What takes a spectrogram and returns logits.
        batch: What was captured with.
        counts: How many frames come out of each utterance.
    """

    def __init__(self, captured: nn.Module, batch: Batch, counts: list[int]) -> None:
        super().__init__()
        self.captured = captured
        self._shape = batch.spect_BFT.shape
        self._frame_counts = batch.frame_counts
        self._counts = counts

    def forward(self, spect_BFT: Tensor, frames_B: Tensor, frame_counts: tuple[int, ...]) -> tuple[Tensor, list[int]]:
        """``logits_TBV`` and the utterances' true frames behind the network.

        Raises:
            Ds2profError: the batch is not like the one that was captured.
        """
        del frames_B  # those of the capture are the same
        if spect_BFT.shape != self._shape or tuple(frame_counts) != self._frame_counts:
            raise Ds2profError("--cuda-graphs: a batch is unlike the others; give --frames, or leave the option out")
        return cast(Tensor, self.captured(spect_BFT)), self._counts


def require_alike(batch: Batch) -> None:
    """Nothing, if all utterances of the batch have one length.

    Raises:
        UsageError: they do not.
    """
    if len(set(batch.frame_counts)) != 1 or batch.frame_counts[0] != batch.spect_BFT.shape[-1]:
        raise UsageError("--cuda-graphs: utterances of a batch have to be of one length; give --frames")
