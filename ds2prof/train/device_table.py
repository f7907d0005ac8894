"""What each kind of device can do, stated once. Needs no PyTorch.

The training loop asks a device, the device asks this table, and nothing else in the workload names a maker. What is
said here is what the kind can do where its driver and its PyTorch are in order; where a module lacks a call that is
stated here, the device goes without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Abilities:
    """What a kind of device can do.

    Attributes:
        kind: What PyTorch calls it, or ``rocm`` for AMD's GPUs, which PyTorch calls ``cuda``.
        runs_beside: Whether it works by itself while the host goes on, as a GPU does: decides most defaults.
        pins_memory: Whether it copies by itself from pinned memory of the host.
        signals_profilers: Whether a process can tell a profiler around it where to begin and to end.
        events: Whether points in its own queue of work can be timed; without, the host's clock and a wait.
        memory: Whether its allocator says what is held, and how much that was at most.
        free_memory: Whether it says how much of its memory nobody holds.
        random: Whether its random numbers have a state that can be taken and put back.
        graphs: Whether a step can be recorded once and replayed.
        precisions: What it computes in.
        backend: What carries gradients between several of them; None where nothing does.
        activity: What torch.profiler calls the recording of it; None where it cannot.
        plugin: The package that teaches PyTorch about it; None where PyTorch knows by itself.
        automatic: Whether ``--device auto`` takes it.
    """

    kind: str
    runs_beside: bool = True
    pins_memory: bool = False
    signals_profilers: bool = False
    events: bool = False
    memory: bool = False
    free_memory: bool = False
    random: bool = False
    graphs: bool = False
    precisions: tuple[str, ...] = ("fp32",)
    backend: str | None = None
    activity: str | None = None
    plugin: str | None = None
    automatic: bool = False


DEVICES: Final = {
    "cpu": Abilities(kind="cpu", runs_beside=False, random=True, precisions=("fp32", "bf16", "fp16"), backend="gloo"),
    "cuda": Abilities(
        kind="cuda",
        pins_memory=True,
        signals_profilers=True,
        events=True,
        memory=True,
        free_memory=True,
        random=True,
        graphs=True,
        precisions=("fp32", "tf32", "bf16", "fp16"),
        backend="nccl",
        activity="CUDA",
        automatic=True,
    ),
    # HIP's profilerStart returns "not supported"; RCCL goes by NCCL's name; TF32 is NVIDIA's.
    "rocm": Abilities(
        kind="rocm",
        pins_memory=True,
        events=True,
        memory=True,
        free_memory=True,
        random=True,
        graphs=True,
        precisions=("fp32", "bf16", "fp16"),
        backend="nccl",
        activity="CUDA",
        automatic=True,
    ),
    "xpu": Abilities(
        kind="xpu",
        pins_memory=True,
        events=True,
        memory=True,
        free_memory=True,
        random=True,
        precisions=("fp32", "bf16", "fp16"),
        backend="xccl",
        activity="XPU",
        automatic=True,
    ),
    "mlu": Abilities(
        kind="mlu",
        pins_memory=True,
        events=True,
        memory=True,
        free_memory=True,
        random=True,
        precisions=("fp32", "bf16", "fp16"),
        backend="cncl",
        activity="MLU",
        plugin="torch_mlu",
        automatic=True,
    ),
    "npu": Abilities(
        kind="npu",
        pins_memory=True,
        events=True,
        memory=True,
        free_memory=True,
        random=True,
        precisions=("fp32", "bf16", "fp16"),
        backend="hccl",
        plugin="torch_npu",
        automatic=True,
    ),
    # Not taken unasked: PyTorch has no CTC loss for it.
    "mps": Abilities(kind="mps", random=True, memory=True),
}
"""What PyTorch calls a device (``rocm``: AMD's) -> what it can do."""


def abilities_of(kind: str) -> Abilities:
    """What a kind of device can do; of one that is not in the table, nothing but compute in float32."""
    return DEVICES.get(kind, Abilities(kind=kind, runs_beside=False))
