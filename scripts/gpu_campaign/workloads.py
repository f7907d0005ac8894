"""The parts that measure training itself: every preset, the comparison with the ancestor, DeepMark, latency, links.

On the host each of them is rehearsed with the smallest workload and the fewest repetitions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from ds2prof.train.presets import PRESETS
from gpu_campaign import lessons
from gpu_campaign.commands import captured, ds2prof, training
from gpu_campaign.context import EARLIEST, Context
from gpu_campaign.plan import RECORDS, Learned, Part, Step

_TRACED: Final = 3
_PRESET_RUN: Final = {"cuda": (16, 6), "cpu": (3, 1)}
"""Device -> iterations of a preset's run without a profiler, and how many of them are warm-up."""
_ROOMY_BYTES: Final = 32 << 30
"""The memory of a GPU that each preset's own batch size fits into."""
_RATES: Final = ("1", "4", "16")
_RESERVE: Final = 0.9
"""How much of its time a step plans to use, where it is told how long it has."""


def presets(context: Context) -> Part:
    """Every preset: three iterations under PyTorch's profiler, then each one's throughput at its own batch size."""
    names = [context.preset] if not context.on_gpu else sorted(PRESETS, key=lambda name: _rank(name, context.preset))
    steps = [_traced(context, name) for name in names] + [_rated(context, name) for name in names]
    return Part("presets", "every preset: a trace of three iterations, and throughput", 20, tuple(steps))


def _rank(name: str, campaign: str) -> tuple[bool, bool]:
    """The forms of the ancestors come first, then their variants; last what other parts measure, too."""
    return name == campaign, "-" in name


def _traced(context: Context, preset: str) -> Step:
    name = context.measurement(f"torch_bs{context.small}_{preset}.json.gz")
    command = captured(
        replace(context, preset=preset),
        name,
        profiler="torch",
        batch_size=context.small,
        window=(EARLIEST, EARLIEST + _TRACED),
        layers=True,
    )
    return Step(f"preset-{preset}", command, (name,), 3, learn=lessons.kernels(context.work / name))


def _rated(context: Context, preset: str) -> Step:
    """Throughput, at the batch size that the preset trains with where the GPU has room for that."""
    batch_size = PRESETS[preset].batch_size if _roomy(context) else context.small
    name = context.measurement(f"run_bs{batch_size}_{preset}.jsonl")
    iterations, warmup = _PRESET_RUN[context.device]
    length = ("--iterations", str(iterations), "--warmup", str(warmup), "--profiler", "none", "--tag", preset)
    command = training(replace(context, preset=preset), batch_size, *length, "--output", str(context.work / name))
    return Step(f"preset-{preset}-throughput", command, (name,), 0, learn=lessons.throughput(context.work / name))


def _roomy(context: Context) -> bool:
    """Whether the smallest GPU has room; taken for granted before it was asked."""
    sizes = [device.get("memory_bytes", _ROOMY_BYTES) for device in context.devices or []]
    return context.on_gpu and min(sizes, default=_ROOMY_BYTES) >= _ROOMY_BYTES


_COMPARISON: Final = ("--precision", "fp32", "bf16", "--batches", "4", "8", "16", "24", "32")


def ancestor(context: Context) -> Part:
    """Whole steps of ``tbd``, then its front end alone; in as many turns as there is time for."""
    title = "throughput against the structure of the ancestor"
    if not context.on_gpu:
        against = "it compares tbd, of which a host takes minutes; benchmarks/ancestor_training.py does so there"
        return Part("ancestor", title, 14, skipped=against)
    steps = (
        # A turn of all sizes in both precisions takes seconds, and loading, checking and warming up many more.
        _compared(context, "ancestor-step", "step", turns=("--steps", _turns(25, 8)), least_s=75),
        _compared(context, "ancestor-front-end", "front end", turns=("--repeat", _turns(20, 5)), least_s=50),
    )
    return Part("ancestor", title, 14, steps)


def _turns(before_s: float, turn_s: float) -> Callable[[float], str]:
    """How many turns fit into so many seconds: 6, below which there is no interval, to 15."""

    def fitting(time_s: float) -> str:
        return str(min(max(int((_RESERVE * time_s - before_s) / turn_s), 6), 15))

    return fitting


def _compared(
    context: Context, name: str, part: str, *, turns: tuple[str, Callable[[float], str]], least_s: float
) -> Step:
    file = f"{RECORDS}/{name}.json"
    program = (context.python, str(context.root / "benchmarks" / "ancestor_training.py"), "--device", context.device)
    option, fitting = turns
    return Step(
        name,
        (*program, "--parts", part, *_COMPARISON, "--json", str(context.work / file)),
        (file,),
        0,
        cut=lambda time_s: (option, fitting(time_s)),
        expects_s=_least(context, least_s),
        learn=lessons.comparison(context.work / f"{RECORDS}/{name}.log"),
    )


def _least(context: Context, least_s: float) -> Callable[[Learned], float | None]:
    """What a step on a GPU takes at the least, with everything cut that can be; nothing is known of a rehearsal."""
    return lambda _learned: least_s if context.on_gpu else None


_FRACTION: Final = {"cuda": "0.005", "cpu": "0.0001"}
"""Device -> how much of the 128,000 utterances."""


def deepmark(context: Context) -> Part:
    """A batch size that is given first: it takes one process. A search takes one for each size that it tries."""
    names = ("deepmark", "deepmark-torch") if context.on_gpu else (context.preset,)
    steps = [
        _benched(context, name, ("--batch-size", "64" if context.on_gpu else "2"), tag="given", least_s=20)
        for name in names
    ]

    def cut(time_s: float) -> tuple[str, ...]:
        # The time is looked at between two sizes, each of which takes a process of some 10 s; the pass comes last.
        return ("--search-s", f"{max(_RESERVE * time_s - 35, 5):.0f}" if context.on_gpu else "1")

    for wanted, besides in (("fastest", ("--no-largest",)), ("largest", ()))[: 2 if context.on_gpu else 1]:
        found = _benched(context, names[0], ("--batch-size", wanted, *besides), tag=wanted, least_s=75)
        steps.append(replace(found, cut=cut))
    return Part("deepmark", "DeepMark's protocol, and the fastest and largest batch", 10, tuple(steps))


def _benched(context: Context, preset: str, options: tuple[str, ...], *, tag: str, least_s: float) -> Step:
    name = f"{preset if context.on_gpu else 'deepmark'}-{tag}"
    file = f"{RECORDS}/{name}.json"
    fixed = ("--preset", preset, "--device", context.device, "--fraction", _FRACTION[context.device])
    written = ("--format", "json", "-o", str(context.work / file))
    return Step(
        name,
        ds2prof(context, "bench", "deepmark", *fixed, *options, *written),
        (file,),
        0,
        expects_s=_least(context, least_s),
        learn=lessons.deepmark(context.work / file),
    )


def latency(context: Context) -> Part:
    """From batch to text, at a few batch sizes; a hundred batches each, or as many as there is time for."""
    precisions = ("fp32", "bf16") if context.on_gpu else ("fp32",)
    steps = tuple(_latency(context, precision) for precision in precisions)
    return Part("latency", "how long a batch takes to become text", 5, steps)


def _latency(context: Context, precision: str) -> Step:
    file = f"{RECORDS}/latency_{precision}.json"
    sizes, batches = (_RATES, "100") if context.on_gpu else (_RATES[:1], "3")
    fixed = ("--preset", context.preset, "--device", context.device, "--precision", precision)
    length = ("--batch-sizes", " ".join(sizes), "--batches", batches, "--warmup", "3")
    return Step(
        f"latency-{precision}",
        ds2prof(context, "bench", "latency", *fixed, *length, "--format", "json", "-o", str(context.work / file)),
        (file,),
        0,
        unless=lambda _learned: context.lacks_precision(precision),
        expects_s=_least(context, 15),
        cut=lambda time_s: ("--most-s", f"{max((_RESERVE * time_s - 12) / len(sizes), 1):.0f}"),
        learn=lessons.latency(context.work / file),
    )


def allreduce(context: Context) -> Part:
    """How fast the GPUs add up tensors; rehearsed by two processes of the host."""
    title = "how fast the ranks add up tensors"
    known = len(context.devices) if context.devices is not None else None
    if context.on_gpu and known is not None and known < 2:
        return Part("allreduce", title, 2, skipped=f"it takes two GPUs, and PyTorch sees {known}")
    file = f"{RECORDS}/allreduce.json"
    ranks = (known or 2) if context.on_gpu else 2
    started = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks))
    sizes = ("--sizes", "1M 8M 64M 256M") if context.on_gpu else ("--sizes", "64K", "--calls", "2", "--warmup", "1")
    command = (context.python, *started, "-m", "ds2prof", "bench", "allreduce", "--device", context.device, *sizes)
    step = Step(
        "allreduce",
        (*command, "--format", "json"),
        (file,),
        0,
        stdout=file,
        expects_s=_least(context, 15),
        learn=lessons.bandwidth(context.work / file),
    )
    return Part("allreduce", title, 2, (step,))
