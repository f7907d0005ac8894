"""What the manual pages say beyond each command's docstring and options: arguments, terms, files, environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ds2prof.cli.pages import Words

_FILE: Final = (
    "What nvprof, Nsight Compute (CSV, log, .ncu-rep), Nsight Systems (.sqlite, .nsys-rep, stats), PyTorch's profiler "
    "(.json, .json.gz), rocprofv3, nvidia-smi or DCGM wrote, or a log of a run or of memory. A folder means all "
    "measurements in it, an archive all ranks in it, '-' standard input. The format is found from the bytes."
)
_MEASURED: Final = {"FILE": _FILE}
_MANIFEST: Final = "A list of utterances: .csv, .json or .txt; its form is found from what is in it."
_SIDECAR: Final = {
    "FILE.meta.json": "What a capture leaves beside it: command, preset, batch size, window, clocks. Read where it is."
}
_PYTHON: Final = {"DS2PROF_PYTHON": "The Python to use in place of the one that is active."}
_CAPTURES: Final = {
    "DS2PROF_MEASUREMENTS": "The folder that captures write to [measurements].",
    "DS2PROF_PROFILE_START": "The first iteration of the window; DS2PROF_PROFILE_STOP: the first behind it.",
}

KEYS: Final[Mapping[str, str]] = {
    "core": "The pipes of the chip: fma, tensor, ... (counters, or samples of pipes).",
    "name": "Kernels by short name; of a CPU run, operators.",
    "kernel": "Kernels by full demangled name.",
    "launch": "One row a launch.",
    "class": "Kernels by what they do: gemm, convolution, normalization, ...",
    "phase": "Phases of a step: data, h2d, forward, loss, backward, clip, optimizer.",
    "layer": "Layers of the network (ranges, or modules).",
    "iteration": "Iterations, with their spread and outliers; of a run log, its lines.",
    "stream": "Streams of each device.",
    "device": "Devices.",
    "copy": "Copies and sets by name.",
    "api": "Calls of the runtime and the driver.",
    "range": "Ranges that the program named.",
    "metric": "Sampled readings (nvidia-smi, DCGM, the sampler of ds2prof).",
    "memory": "Memory of the GPU, moment by moment (ds2prof run memory).",
    "throughput": "SM, L2 and DRAM throughput and occupancy (counters).",
    "fp32": "The longest kernels on either side of the average FP32 utilization.",
    "annotation": "Device work by the range of the host that launched it.",
    "roofline": "Work, rate and roof of each kernel (shapes, or counters).",
    "gain": "What there is to gain below the roofs.",
    "ledger": "Where the window went: busy, and idle by cause; it sums to the window.",
    "wait": "Streams: busy, and what they waited for.",
    "rank": "Ranks of one run, of all FILEs together.",
    "collective": "Collectives over ranks, the longest waits first.",
    "straggler": "Which rank came last, and who waited for it.",
    "occupancy": "Without counters: what the launches could have filled.",
    "latency": "From the launch call to the end of the kernel.",
    "queue": "Launched and not yet started, over time.",
    "bandwidth": "Copies by where from and where to.",
    "wave": "Waves of blocks over the SMs.",
    "allocation": "How high the memory of each allocator stood.",
    "path": "The critical path of the steps.",
    "energy": "Power and energy by device.",
    "bound": "Without counters: the least that kernels used of the chip.",
}
"""Key of ``parse --by`` -> what a row is, and what the file has to hold for it."""

_WORDS: Final[Mapping[str, Words]] = {
    "ds2prof": Words(
        {}, {}, {}, {"DS2PROF_PYTHON": _PYTHON["DS2PROF_PYTHON"], "NO_COLOR": "Set and not empty: no colour."}, ()
    ),
    "ds2prof parse": Words(
        _MEASURED, {"Keys": KEYS}, _SIDECAR, {}, ("ds2prof summary", "ds2prof join", "ds2prof report", "ds2prof export")
    ),
    "ds2prof summary": Words(
        _MEASURED, {}, _SIDECAR, {}, ("ds2prof parse", "ds2prof join", "ds2prof report", "ds2prof run")
    ),
    "ds2prof join": Words(
        {
            "TIMELINE": "A measurement with the run's times: Nsight Systems, PyTorch's profiler, nvprof, rocprofv3.",
            "COUNTERS": "A capture of hardware counters of the same program: Nsight Compute.",
        },
        {},
        _SIDECAR,
        {},
        ("ds2prof parse", "ds2prof run", "ds2prof metrics"),
    ),
    "ds2prof run": Words(
        {
            "PROFILER": "Which tool looks on: auto, nsight (Nsight Compute), nsys (Nsight Systems), nvprof, torch "
            "(PyTorch's profiler), memory (what holds GPU memory), smi (clocks and power).",
            "COMMAND": "The program and its arguments, behind '--'.",
        },
        {},
        {
            "measurements/": "What is captured: nsight_*.ncu-rep or .csv, nsys_*.nsys-rep, torch_*.json.gz, "
            "profile_*.nvvp, memory_*.csv, smi_*.csv, and run_*.jsonl.",
            "*.meta.json": "The sidecar beside each: how the measurement came to be.",
        },
        {**_CAPTURES, **_PYTHON},
        ("ds2prof doctor", "ds2prof calibrate", "ds2prof parse"),
    ),
    "ds2prof metrics plan": Words({}, {}, {}, {}, ("ds2prof metrics table", "ds2prof run", "ds2prof parse")),
    "ds2prof metrics table": Words({}, {}, {}, {}, ("ds2prof metrics plan",)),
    "ds2prof metrics section": Words({}, {}, {}, {}, ("ds2prof metrics plan", "ds2prof run")),
    "ds2prof doctor": Words(
        {"PROFILER": "Which to look at [all]."}, {}, {}, _PYTHON, ("ds2prof run", "ds2prof calibrate")
    ),
    "ds2prof calibrate": Words(
        {
            "MODE": "What to measure [every mode that works here]: torch, torch-detail, nsys, nvprof, memory, smi.",
            "COMMAND": "The program, behind '--' [train_profiling.py of the default preset].",
        },
        {},
        {"measurements/calibration.json": "The result, which captures of the same workload carry."},
        {**_CAPTURES, **_PYTHON},
        ("ds2prof run", "ds2prof doctor"),
    ),
    "ds2prof compare": Words(
        {"BASE NEW": "A file, a folder, an archive of ranks, or a pattern in quotes: one or several measurements."},
        {},
        _SIDECAR,
        {},
        ("ds2prof parse", "ds2prof sweep", "ds2prof summary"),
    ),
    "ds2prof plot": Words(_MEASURED, {}, _SIDECAR, {}, ("ds2prof report", "ds2prof parse")),
    "ds2prof report": Words(_MEASURED, {}, _SIDECAR, {}, ("ds2prof summary", "ds2prof plot", "ds2prof export")),
    "ds2prof export": Words(_MEASURED, {}, _SIDECAR, {}, ("ds2prof parse", "ds2prof report")),
    "ds2prof sweep": Words(_MEASURED, {}, _SIDECAR, {}, ("ds2prof compare", "ds2prof plot")),
    "ds2prof train": Words(
        {},
        {},
        {"CHECKPOINT-DIR/": "Checkpoints, history.jsonl, and what TensorBoard and MLPerf's log are asked for."},
        _PYTHON,
        ("ds2prof data", "ds2prof evaluate", "ds2prof run"),
    ),
    "ds2prof evaluate": Words({}, {}, {}, {}, ("ds2prof train", "ds2prof transcribe")),
    "ds2prof transcribe": Words(
        {"FILE": "A sound file: .wav, .flac, .ogg or .mp3."}, {}, {}, {}, ("ds2prof evaluate", "ds2prof train")
    ),
    "ds2prof export-onnx": Words({}, {}, {}, {}, ("ds2prof train", "ds2prof bench latency")),
    "ds2prof data download": Words(
        {"CORPUS": "Which corpus to fetch."},
        {},
        {"TARGET/SPLIT/": "Sounds and transcripts, with a manifest for each split beside them."},
        {},
        ("ds2prof data verify", "ds2prof data manifest"),
    ),
    "ds2prof data manifest": Words(
        {"FOLDER": "Where sounds and their transcripts lie."}, {}, {}, {}, ("ds2prof data merge", "ds2prof data stats")
    ),
    "ds2prof data merge": Words({"MANIFEST": _MANIFEST}, {}, {}, {}, ("ds2prof data manifest", "ds2prof data stats")),
    "ds2prof data stats": Words({"MANIFEST": _MANIFEST}, {}, {}, {}, ("ds2prof data manifest", "ds2prof data pieces")),
    "ds2prof data hash": Words(
        {"FOLDER": "The corpus."},
        {},
        {"FOLDER/SHA256SUMS": "The list, in the form of sha256sum."},
        {},
        ("ds2prof data verify",),
    ),
    "ds2prof data verify": Words(
        {"FOLDER|MANIFEST": "A corpus with its list of hashes, or a list of utterances whose sounds are all decoded."},
        {},
        {"FOLDER/SHA256SUMS": "The list to compare with."},
        {},
        ("ds2prof data hash", "ds2prof data download"),
    ),
    "ds2prof data speak": Words(
        {},
        {},
        {"TARGET/": "Sounds and transcripts, train_manifest.csv and val_manifest.csv."},
        {},
        ("ds2prof train", "ds2prof data stats"),
    ),
    "ds2prof data pieces": Words({"MANIFEST": _MANIFEST}, {}, {}, {}, ("ds2prof train", "ds2prof data stats")),
    "ds2prof bench deepmark": Words(
        {},
        {},
        {},
        {"BENCHMARK_LOG": "A file that the result is added to, in the fields of Cambricon's harness."},
        ("ds2prof bench latency", "ds2prof train"),
    ),
    "ds2prof bench allreduce": Words({}, {}, {}, {}, ("ds2prof train", "ds2prof doctor")),
    "ds2prof bench latency": Words({}, {}, {}, {}, ("ds2prof bench deepmark", "ds2prof transcribe")),
    "ds2prof help": Words(
        {"COMMAND": "Which command, with its group: 'bench deepmark'."}, {}, {}, {}, ("ds2prof man",)
    ),
    "ds2prof man": Words(
        {"COMMAND": "Which command, with its group: 'bench deepmark'."}, {}, {}, {}, ("ds2prof completion",)
    ),
    "ds2prof completion": Words({"SHELL": "bash (4.4 or newer), zsh or fish."}, {}, {}, {}, ("ds2prof man",)),
}
"""Command as it is typed -> what its page says besides. What stands under see also exists: a test asks each."""


def words_of(command_path: str) -> Words:
    """What is said of a command besides, whatever the program is called; nothing for one that is not listed."""
    _, _, command = command_path.partition(" ")
    return _WORDS.get(f"ds2prof {command}" if command else command_path, Words({}, {}, {}, {}, ()))
