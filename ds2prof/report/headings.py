"""The head of a profile on a terminal: its file, its tool, its devices and what it comes to, a line each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from ds2prof import units
from ds2prof.analysis import throughput
from ds2prof.report import text
from ds2prof.report.intervals import interval_lines
from ds2prof.report.paint import PLAIN, Paint
from ds2prof.tables import Meta

_BEFORE_UNIT: Final = re.compile(r"(?<=\d) (?=(?:ns|us|ms|s|%)(?!\w))")
_GLUE: Final = "\x00"  # text was cleaned of it before
_FORMATS: Final[Mapping[str, Callable[[float], str]]] = {
    "ratio": units.format_ratio,
    "byte": units.format_bytes,
    "byte/s": lambda rate: f"{units.format_bytes(rate)}/s",
    "ns": units.format_ns,
    "hertz": lambda rate: f"{rate / units.HZ_PER_MHZ:,.0f} MHz",
    "watt": lambda power: f"{power:.1f} W",
    "joule": lambda energy: f"{energy:,.1f} J",
    "celsius": lambda degrees: f"{degrees:.1f} C",
    "cores": lambda cores: f"{cores:.2f} cores",
}
"""How a value in that base unit is written for reading; others stand beside their unit."""


def heading(
    meta: Meta, totals: Mapping[str, Any], *, width: int, devices: Sequence[str] = (), paint: Paint = PLAIN
) -> str:
    """File, tool and totals, a line each; all but the file's continued below where they are too long."""
    tool = " ".join(part for part in (meta.tool, meta.tool_version) if part)
    rank = "" if meta.rank is None else f", rank {meta.rank}"
    lines = [f"{paint('title', text.cleaned(meta.file))}: {text.cleaned(f'{tool}{rank}')}"]
    if devices:
        lines += folded([f"  device: {text.cleaned(_alike_together(devices))}"], width)
    told = [*_total_lines(meta, totals), *_flop_lines(totals), *interval_lines(totals)]
    lines += folded([f"  {line}" for line in told], width)
    return "\n".join(lines)


def _flop_lines(totals: Mapping[str, Any]) -> list[str]:
    """MFU and HFU with what they are made of, where the FLOP of the iterations are known."""
    if "model_flop" not in totals:
        return []
    rates = f"{units.format_flop(totals['model_flop_per_s'])}FLOP/s of the model"
    rates += f", {units.format_flop(totals['hardware_flop_per_s'])}FLOP/s with padding"
    if totals["mfu"] is None:
        return [f"{rates}; no peak is known, so no MFU"]
    shares = f"MFU {units.format_ratio(totals['mfu'])}, HFU {units.format_ratio(totals['hfu'])}"
    clock = f"{totals['peak_clock_hz'] / units.HZ_PER_MHZ:,.0f} MHz"
    peak = f"{units.format_flop(totals['peak_flop_per_s'])}FLOP/s, {totals['peak_kind']}, dense, {clock}"
    return [f"{shares} of the peak ({peak}): {rates}"]


def folded(lines: Iterable[str], width: int, *, indent: str = "      ") -> list[str]:
    """The lines, those that are too long broken between words and continued further in; a number keeps its unit."""
    found: list[str] = []
    for line in lines:
        lead = line[: len(line) - len(line.lstrip())]
        words = _BEFORE_UNIT.sub(_GLUE, line).split()
        now = lead + "".join(words[:1])
        for word in words[1:]:
            if text.display_width(now) + 1 + text.display_width(word) <= width:
                now = f"{now} {word}"
                continue
            found.append(now)
            now = indent + word
        found += [now] if words else []
    return [line.replace(_GLUE, " ") for line in found]


def _alike_together(devices: Sequence[str]) -> str:
    """Devices (number, blank, name) as one text, those of one name together."""
    numbers: dict[str, list[str]] = {}
    for device in devices:
        number, _, name = device.partition(" ")
        numbers.setdefault(name, []).append(number)
    return "; ".join(f"{', '.join(of_name)} {name}" for name, of_name in numbers.items())


def _total_lines(meta: Meta, totals: Mapping[str, Any]) -> list[str]:
    if "samples_per_s" in totals or "iterations" in totals:
        return _run_lines(meta, totals)
    if "matched_collectives" in totals:
        return rank_lines(totals)
    if "peak_bytes" in totals:
        return _memory_lines(totals)
    if "readings" in totals:
        return _reading_lines(totals)
    if meta.domain == "cpu":
        return ["CPU run: no GPU work in this file; the tables are of host operators and ranges"]
    if totals["launches"] is None:
        return ["no launches were recorded"]
    lines = ["; ".join(part for part in (_work(totals), _copies(totals)) if part)]
    if meta.times == "replay":
        lines.append("times are of replayed launches, not of the run: they say nothing about idle time")
    elif totals["window_ns"] is not None:
        share = units.format_ratio(totals["gpu_compute_utilization"])
        window = f"{on_each(totals['window_ns'], totals['devices'])}, {totals['window_source']}"
        lines.append(f"GPU compute utilization {share} of the window ({window})")
    if totals.get("utilization_less_overhead") is not None:
        share = units.format_ratio(totals["utilization_less_overhead"])
        rest = on_each(totals["window_less_overhead_ns"], totals["devices"])
        lines.append(f"  or {share} of it less the profiler's own overhead ({rest})")
    return lines


def _work(totals: Mapping[str, Any]) -> str:
    if not totals["launches"]:
        return "no launches in this file"
    work = f"{totals['launches']:,} launch{'' if totals['launches'] == 1 else 'es'}"
    if totals["kernel_dur_ns"] is not None:
        work += f", {units.format_ns(totals['kernel_dur_ns'])} of kernels"
    if totals["busy_ns"] is not None:
        among = f" on {len(totals['devices'])} devices together" if len(totals["devices"]) > 1 else ""
        work += f", {units.format_ns(totals['busy_ns'])} busy{among}"
    return work


def _copies(totals: Mapping[str, Any]) -> str:
    if not totals["copies"]:
        return ""
    time = "" if totals["copy_dur_ns"] is None else f", {units.format_ns(totals['copy_dur_ns'])}"
    return f"{totals['copies']:,} {'copy or set' if totals['copies'] == 1 else 'copies and sets'}{time}"


def on_each(length_ns: int, devices: Sequence[Mapping[str, Any]]) -> str:
    """A length that was summed over the devices, as that of each where all have the same window."""
    if len(devices) < 2:
        return units.format_ns(length_ns)
    if len({device["window_ns"] for device in devices}) > 1:
        return f"{units.format_ns(length_ns)} on {len(devices)} devices together"
    return f"{units.format_ns(length_ns / len(devices))} on each of {len(devices)} devices"


def _run_lines(meta: Meta, totals: Mapping[str, Any]) -> list[str]:
    """What a log of a run comes to: its rates, and for one of another system its iterations and their mean."""
    own = meta.tool == throughput.OWN_TOOL
    lines = []
    if "samples_per_s" in totals:
        names = (("samples_per_s", "samples/s"), ("audio_s_per_s", "audio s/s"), ("padded_s_per_s", "padded s/s"))
        known = [f"{totals[key]:.2f} {label}" for key, label in names if totals[key] is not None]
        what = "throughput, no profiler, warm-up excluded: " if own else "throughput, as it is stated there: "
        why = "the log was cut off" if meta.facts.get("profiler") is None else "a profiler looked on in this run"
        lines.append(what + (", ".join(known) or f"not known ({why})"))
    if not own and totals.get("iterations"):
        mean = "not known" if totals["wall_ns"] is None else units.format_ns(totals["wall_ns"] / totals["iterations"])
        lines.append(f"{totals['iterations']:,} iterations, mean {mean} as printed, warm-up included")
    return lines


def _reading_lines(totals: Mapping[str, Any]) -> list[str]:
    devices = totals["sampled_devices"]
    where = f" of {devices:,} device{'' if devices == 1 else 's'}" if devices else ""
    span = f" in {units.format_ns(totals['sampled_ns'])}" if totals["sampled_ns"] else ""
    metrics = f"{totals['metrics']:,} metric{'' if totals['metrics'] == 1 else 's'}"
    readings = f"{totals['readings']:,} reading{'' if totals['readings'] == 1 else 's'}"
    return [f"{readings} of {metrics}{where}{span}; no launches in this file", *_host_lines(totals)]


def _host_lines(totals: Mapping[str, Any]) -> list[str]:
    """How busy the host's cores were, where a sampler's file tells."""
    if totals.get("host_cpu_utilization") is None:
        return []
    share = units.format_ratio(totals["host_cpu_utilization"])
    within = totals["sampled_window_ns"]
    line = f"host CPU utilization {share} of {totals['host_cores']} cores"
    line += "" if within is None else f" in the window ({units.format_ns(within)})"
    if totals["allowed_cores"] not in (None, totals["host_cores"]):
        line += (
            f"; the program may use {totals['allowed_cores']}: {units.format_ratio(totals['allowed_cpu_utilization'])}"
        )
    busiest = units.format_ratio(totals["busiest_core_utilization"])
    parts = [f"core {totals['busiest_core']} was busiest, {busiest}"]
    parts.append(f"above 90 %: {totals['cores_above_90_percent']}")
    if totals["program_cores"] is not None:
        parts.append(f"the program took {totals['program_cores']:.2f} cores")
    if totals["busiest_thread_utilization"] is not None:
        parts.append(f"its busiest thread {units.format_ratio(totals['busiest_thread_utilization'])} of one")
    return [line, "; ".join(parts), *map(_gpu_line, totals["sampled_gpus"])]


def _gpu_line(gpu: Mapping[str, Any]) -> str:
    """A GPU's sampled means on one line; what was not read is left out."""
    parts = []
    if gpu["utilization"] is not None:
        parts.append(f"utilization by the driver {units.format_ratio(gpu['utilization'])}")
    if gpu["sm_clock_hz"] is not None:
        parts.append(f"SM clock {_FORMATS['hertz'](gpu['sm_clock_hz'])}")
    if gpu["power_watt"] is not None:
        parts.append(_FORMATS["watt"](gpu["power_watt"]))
    if gpu["memory_used_bytes"] is not None:
        parts.append(f"memory up to {units.format_bytes(gpu['memory_used_bytes'])}")
    if gpu["held_back_by"] is not None:
        parts.append(f"clocks held back {units.format_ratio(gpu['held_back'])} ({gpu['held_back_by']})")
    return f"GPU {gpu['device']}: {', '.join(parts) or 'no reading in the window'}"


def rank_lines(totals: Mapping[str, Any]) -> list[str]:
    """What a run of several ranks comes to."""
    of = "" if totals["world_size"] in (None, totals["ranks"]) else f" of {totals['world_size']:,}"
    several = "" if totals["ranks"] == 1 and not of else "s"
    lines = [f"{totals['ranks']:,}{of} rank{several} in {totals['files']:,} file{'' if totals['files'] == 1 else 's'}"]
    if totals["communication_ns"]:
        exposed = units.format_ns(totals["exposed_communication_ns"])
        lines[0] += f"; communication {units.format_ns(totals['communication_ns'])}, {exposed} of it exposed"
        lines[0] += f" (overlap {units.format_ratio(totals['overlap'])})"
    kernels = f"{totals['matched_kernels']:,} of {totals['communication_kernels']:,} communication kernels"
    lines.append(f"{totals['matched_collectives']:,} collectives matched over ranks ({kernels})")
    if totals["clock_error_ns"] is not None:
        error = units.format_ns(totals["clock_error_ns"])
        lines.append(f"clocks aligned within {error}")
    if totals["wait_ns"] is not None:
        lines[-1] += f"; waits beyond the error: {units.format_ns(totals['wait_ns'])}"
    return lines


def _memory_lines(totals: Mapping[str, Any]) -> list[str]:
    """How high memory stood, where, and what of it grows with the batch."""
    if totals["peak_bytes"] is None:
        return ["no iteration was recorded"]
    words = [f"iteration {totals['peak_iteration']}", totals["peak_phase"], totals["peak_layer"]]
    place = text.cleaned(", ".join(word for word in words if word))
    lines = [f"peak {units.format_bytes(totals['peak_bytes'])} on {totals['peak_device']} ({place})"]
    if totals["reserved_bytes"] is not None:
        lines[0] += f", {units.format_bytes(totals['reserved_bytes'])} reserved"
    state = f"{units.format_bytes(totals['state_bytes'])} of weights, buffers, gradients and optimizer state"
    if totals["activation_bytes"] is None:
        return [*lines, state]
    state += f"; {units.format_bytes(totals['activation_bytes'])} of activations before the backward pass"
    if totals["activation_bytes_per_sample"] is not None:
        each = units.format_bytes(totals["activation_bytes_per_sample"])
        state += f", {each} for each of {totals['batch_size']:,} samples"
    return [*lines, state]


def readable(value: float, unit: str) -> str:
    """A reading in its unit, written for reading."""
    if unit in _FORMATS:
        return _FORMATS[unit](value)
    numeral = f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:,.4g}"
    return numeral if unit in ("unknown", "count") else f"{numeral} {unit}"


def without_file(warning: str, file: str) -> str:
    """The warning without the file that it begins with, for where the heading has named it; a line's number stays."""
    if not warning.startswith(f"{file}:"):
        return warning
    rest = warning[len(file) + 1 :].lstrip()
    return f"line {rest}" if rest[:1].isdigit() else rest
