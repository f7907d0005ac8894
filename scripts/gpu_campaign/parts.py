"""What a campaign runs: a literal table of parts, each a function from the machine and workload to its steps.

Steps stand in the order of their worth, for the time may end behind any of them. Priorities say what is kept where not
all fits: 0 counters and throughput, 1 lean traces and checks, 2 what completes them, 3 and more what is large.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from gpu_campaign import lessons
from gpu_campaign.commands import NEEDS_GPU, captured, ds2prof, training
from gpu_campaign.context import EARLIEST, Context
from gpu_campaign.counters import QUICK_LAUNCHES, nsight
from gpu_campaign.plan import MEASUREMENTS, RECORDS, REPORTS, Learned, Part, Step
from gpu_campaign.workloads import allreduce, ancestor, deepmark, latency, presets

NEEDS_MSGSPEC: Final = (
    "reading traces needs the package msgspec, which this Python lacks; the files can be read elsewhere"
)
PRECISIONS: Final = {"cuda": ("fp32", "bf16", "tf32", "fp16"), "cpu": ("fp32", "bf16")}
"""Device -> the precisions that throughput is taken in; TF32 and the scaling of FP16 are a GPU's alone."""
_RUN_LENGTH: Final = {"cuda": (30, 10), "cpu": (6, 2)}
"""Device -> iterations of a throughput run, and how many of them are warm-up."""
_TRACED: Final = 4
_TRACED_IN_DETAIL: Final = 2
_CALIBRATIONS: Final = {
    "cuda": (
        ("calibration", MEASUREMENTS, ("torch",), 2, 10),
        ("calibration-full", RECORDS, ("torch", "torch-detail", "memory", "smi"), 6, 20),
    ),
    "cpu": (("calibration", MEASUREMENTS, ("torch",), 1, 3),),
}
"""Device -> calibrations: name, folder, modes, repeats, iterations. The first lies where captures look for it."""
_SAMPLED: Final = {"cuda": 60, "cpu": 8}
"""Device -> iterations that are sampled."""


def parts(context: Context, chosen: Sequence[str] | None = None) -> list[Part]:
    """The parts of a campaign in the order they are run, all or those whose names are ``chosen``."""
    return [make(context) for name, make in PARTS.items() if chosen is None or name in chosen]


def _doctor(context: Context) -> Part:
    steps = [
        Step("doctor", ds2prof(context, "doctor"), (f"{RECORDS}/doctor.txt",), 1, stdout=f"{RECORDS}/doctor.txt"),
        Step(
            "doctor-json",
            ds2prof(context, "doctor", "--format", "json"),
            (f"{RECORDS}/doctor.json",),
            1,
            stdout=f"{RECORDS}/doctor.json",
        ),
    ]
    if context.on_gpu:
        file = f"{RECORDS}/nvidia-smi.txt"
        absent = None if shutil.which("nvidia-smi", path=context.environ.get("PATH")) else "it is not on this machine"
        steps.append(Step("nvidia-smi", ("nvidia-smi", "-q"), (file,), 1, stdout=file, unless=lambda _learned: absent))
    return Part("doctor", "what works on this machine", 4, tuple(steps))


def _throughput(context: Context) -> Part:
    """Both ends of the sweep in every precision come first, then the sizes between."""
    precisions = PRECISIONS[context.device]
    ends = [context.large, context.small] if context.small != context.large else [context.small]
    between = [size for size in context.batch_sizes if size not in ends]
    steps = [_run(context, size, precision) for size in ends for precision in precisions]
    steps += [_run(context, size, precision) for precision in precisions for size in between]
    return Part("throughput", "training without a profiler", 22, tuple(steps))


def _run(context: Context, batch_size: int, precision: str) -> Step:
    name = context.measurement(f"run_bs{batch_size}_{precision}.jsonl")
    iterations, warmup = _RUN_LENGTH[context.device]
    options = ("--precision", precision, "--profiler", "none", "--iterations", str(iterations))
    command = training(
        context, batch_size, *options, "--warmup", str(warmup), "--tag", precision, "--output", str(context.work / name)
    )
    return Step(
        f"throughput-bs{batch_size}-{precision}",
        command,
        (name,),
        0,
        unless=lambda _learned: context.lacks_precision(precision),
        learn=lessons.throughput(context.work / name),
    )


def _torch(context: Context) -> Part:
    steps = [_trace(context, size) for size in context.both]
    start = context.shortest(context.small)
    name = context.measurement(f"torch_bs{context.small}_detail.json.gz")
    command = captured(
        context,
        name,
        profiler="torch",
        batch_size=context.small,
        window=(start, start + _TRACED_IN_DETAIL),
        options=("--detail",),
        layers=True,
    )
    steps.append(Step("torch-detail", command, (name,), 2))
    return Part("torch", "traces of PyTorch's profiler, lean and in detail", 12, tuple(steps))


def _trace(context: Context, batch_size: int) -> Step:
    """The window begins with the iteration whose counters are captured, so that the two can be joined."""
    start = context.shortest(batch_size)
    window = (start, start + _TRACED)
    name = context.measurement(f"torch_bs{batch_size}.json.gz")
    learn = lessons.trace(context.work / name, batch_size=batch_size, frames=context.summed_frames(batch_size, *window))
    command = captured(context, name, profiler="torch", batch_size=batch_size, window=window, layers=True)
    return Step(f"torch-bs{batch_size}", command, (name,), 1, learn=learn)


def _memory(context: Context) -> Part:
    steps = []
    for size in context.both:
        start = context.shortest(size)
        name = context.measurement(f"memory_bs{size}.csv")
        command = captured(context, name, profiler="memory", batch_size=size, window=(start, start + 1))
        besides = (context.measurement(f"memory_bs{size}.snapshot.pickle"),)
        steps.append(Step(f"memory-bs{size}", command, (name,), 1, besides=besides))
    return Part("memory", "memory by what it is used for", 5, tuple(steps))


def _smi(context: Context) -> Part:
    name = context.measurement(f"smi_bs{context.large}.csv")
    window = (EARLIEST, EARLIEST + _SAMPLED[context.device])
    command = captured(context, name, profiler="smi", batch_size=context.large, window=window)
    return Part("smi", "utilization of GPU and host, sampled", 5, (Step("smi", command, (name,), 1),))


def _tests(context: Context) -> Part:
    """The slow ones, which compile or start training, come by themselves: they may not fit.

    A rehearsal has them collected, and skipped one by one.
    """
    title = "the tests that need a GPU"
    if not context.has_module("pytest"):
        return Part("tests", title, 20, skipped="this Python lacks the package pytest")
    steps = [_tested(context, "tests", "not slow")]
    if context.on_gpu:
        steps.append(_tested(context, "tests-slow", "slow"))
    return Part("tests", title, 20, tuple(steps))


def _tested(context: Context, name: str, marked: str) -> Step:
    file = f"{RECORDS}/{name}.xml"
    options = ("-q", "-rs", "-p", "no:cacheprovider", f"--junitxml={context.work / file}")
    command = (context.python, "-m", "pytest", "tests/gpu", "-m", marked, *options)
    learn = lessons.tests(context.work / f"{RECORDS}/{name}.log")
    return Step(name, command, (file,), 1, learn=learn)


def _nsys(context: Context) -> Part:
    title = "the timeline by Nsight Systems"
    against = context.nsys_missing() if context.on_gpu else NEEDS_GPU
    if against is not None:
        return Part("nsys", title, 6, skipped=against)
    start = context.shortest(context.small)
    report = f"{REPORTS}/nsys_bs{context.small}.nsys-rep"
    table = context.measurement(f"nsys_bs{context.small}.sqlite")
    window = (start, start + _TRACED)
    export = ("export", "--type", "sqlite", "--force-overwrite", "true", "--output")
    steps = (
        Step("nsys", captured(context, report, profiler="nsys", batch_size=context.small, window=window), (report,), 3),
        Step(
            "nsys-sqlite",
            (context.tool("nsys") or "nsys", *export, str(context.work / table), str(context.work / report)),
            (table,),
            2,
            sidecar_of=report,
            unless=lambda _: None if (context.work / report).exists() else "there is no report to make it of",
            expects_s=lambda _learned: 1.0,
        ),
    )
    return Part("nsys", title, 6, steps)


def _calibrate(context: Context) -> Part:
    """A quick one of what is captured most, and where there is time one of all modes, with repeats for an interval."""
    program = training(context, context.small)
    steps = [
        _calibration(context, program, f"{folder}/{name}.json", modes=modes, repeats=repeats, iterations=iterations)
        for name, folder, modes, repeats, iterations in _CALIBRATIONS[context.device]
    ]
    return Part("calibrate", "what capturing costs", 8, tuple(steps))


def _calibration(
    context: Context, program: Sequence[str], file: str, *, modes: Sequence[str], repeats: int, iterations: int
) -> Step:
    name = Path(file).stem
    options = ("--repeats", str(repeats), "--iterations", str(iterations), "-o", str(context.work / file))
    runs = 1 + repeats * (1 + len(modes))

    def expects_s(learned: Learned) -> float | None:
        run_s = learned.startup_s.get(context.small)
        return None if run_s is None else runs * run_s

    return Step(name, ds2prof(context, "calibrate", *modes, *options, "--", *program), (file,), 2, expects_s=expects_s)


def _read(context: Context) -> Part:
    """ds2prof's own answers, so that a first look needs no other machine."""
    title = "what ds2prof reads in the measurements"
    tables = (f"bs{context.small}_first{QUICK_LAUNCHES}", *(f"bs{size}" for size in context.both))
    views = [(context.measurement(f"nsight_{name}.csv"), "core") for name in tables if context.on_gpu]
    views += [(context.measurement(f"memory_bs{size}.csv"), "memory") for size in context.both]
    views.append((context.measurement(f"smi_bs{context.large}.csv"), "metric"))
    steps = [_view(context, name, by) for name, by in views]
    against = None if context.has_module("msgspec") else NEEDS_MSGSPEC
    traces = [(context.measurement(f"torch_bs{size}.json.gz"), by) for size in context.both for by in ("phase", "name")]
    steps += [_view(context, name, by, against=against) for name, by in traces]
    return Part("read", title, 4, tuple(steps))


def _view(context: Context, name: str, by: str, *, against: str | None = None) -> Step:
    """What ds2prof says of a measurement; ``against``: why it cannot."""
    path = context.work / name
    stem = path.name.partition(".")[0]
    file = f"{RECORDS}/{stem}_by-{by}.txt"
    return Step(
        f"read-{stem}-{by}",
        ds2prof(context, "parse", str(path), "--by", by, "--top", "20"),
        (file,),
        2,
        stdout=file,
        unless=lambda _learned: against or (None if path.exists() else f"there is no {path.name}"),
        expects_s=lambda _learned: 1.0,
    )


PARTS: Final[dict[str, Callable[[Context], Part]]] = {
    "doctor": _doctor,
    "throughput": _throughput,
    "ancestor": ancestor,
    "presets": presets,
    "torch": _torch,
    "nsight": nsight,
    "memory": _memory,
    "smi": _smi,
    "tests": _tests,
    "deepmark": deepmark,
    "latency": latency,
    "allreduce": allreduce,
    "nsys": _nsys,
    "calibrate": _calibrate,
    "read": _read,
}
"""Name -> part, in the order they are run."""
