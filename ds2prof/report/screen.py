"""What one profile looks like on a terminal: a heading with its totals, its tables, and what qualifies them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from os.path import commonprefix
from typing import Any, Final

from ds2prof import units
from ds2prof.analysis import questions, throughput
from ds2prof.analysis.answers import Answer
from ds2prof.report import ledger_text, text
from ds2prof.report.estimate_words import TITLES
from ds2prof.report.intervals import interval_lines
from ds2prof.tables import Meta

_TITLES = {
    "core": "Core utilization: share of each pipe's own peak while kernels ran, weighted by cycles",
    "name": "{what} by name",
    "kernel": "{what} by full name",
    "class": "{what} by class",
    "launch": "{what}, one row a launch",
    "phase": "{what} by phase",
    "layer": "{what} by layer",
    "iteration": "{what} by iteration",
    "stream": "{what} by stream",
    "device": "{what} by device",
    "copy": "Copies by name",
    "api": "Calls by name",
    "range": "Ranges by name",
    "metric": "Sampled readings by metric",
    "memory": "Memory, moment by moment",
    "rank": "Ranks of the run, each in its own window",
    "collective": "Collectives over ranks, the longest waits first",
    "straggler": "Who came last, and who waited for it",
    "ledger": "Where the window went: busy, and idle by cause",
    "wait": "Streams: busy, and what they waited for",
    "throughput": "Throughput and occupancy while kernels ran, weighted by cycles",
    "fp32": "Longest kernels {what} the average FP32 utilization",
    "roofline": "{what} and the roofs above them: work, rate, and what there is to gain",
    "gain": "What there is to gain: exclusive time less attainable time",
    "annotation": "Device work by the ranges of the host that launched it",
    **TITLES,
}
_BEFORE_UNIT: Final = re.compile(r"(?<=\d) (?=(?:ns|us|ms|s|%)(?!\w))")
_GLUE: Final = "\x00"  # text was cleaned of it before


def screen(
    meta: Meta, answers: Sequence[Answer], *, totals: Mapping[str, Any], top: int, width: int, devices: Sequence[str]
) -> str:
    """The profile as text of at most ``width`` columns, at most ``top`` rows a table."""
    parts = [heading(meta, totals, devices=devices, width=width)]
    parts += [_section(meta, answer, top=top, width=width) for answer in answers]
    return "\n\n".join(parts)


def heading(meta: Meta, totals: Mapping[str, Any], *, width: int, devices: Sequence[str] = ()) -> str:
    """File, tool and totals, a line each; all but the file's continued below where they are too long."""
    tool = " ".join(part for part in (meta.tool, meta.tool_version) if part)
    rank = "" if meta.rank is None else f", rank {meta.rank}"
    lines = [text.cleaned(f"{meta.file}: {tool}{rank}")]
    if devices:
        lines += _folded([f"  device: {text.cleaned(_alike_together(devices))}"], width)
    told = [*_total_lines(meta, totals), *_flop_lines(totals), *interval_lines(totals)]
    lines += _folded([f"  {line}" for line in told], width)
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


def _folded(lines: Iterable[str], width: int) -> list[str]:
    """The lines, those that are too long broken between words and continued further in; a number keeps its unit."""
    folded: list[str] = []
    for line in lines:
        glued = _BEFORE_UNIT.sub(_GLUE, line)
        parts = textwrap.wrap(glued, width, subsequent_indent="      ", break_long_words=False, break_on_hyphens=False)
        folded += [part.replace(_GLUE, " ") for part in parts]
    return folded


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
        return _rank_lines(totals)
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
        window = f"{_on_each(totals['window_ns'], totals['devices'])}, {totals['window_source']}"
        lines.append(f"GPU compute utilization {share} of the window ({window})")
    if totals.get("utilization_less_overhead") is not None:
        share = units.format_ratio(totals["utilization_less_overhead"])
        rest = _on_each(totals["window_less_overhead_ns"], totals["devices"])
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


def _on_each(length_ns: int, devices: Sequence[Mapping[str, Any]]) -> str:
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


def _rank_lines(totals: Mapping[str, Any]) -> list[str]:
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


def _section(meta: Meta, answer: Answer, *, top: int, width: int) -> str:
    what = "Host operators" if meta.domain == "cpu" else "Kernels"
    if answer.by == "fp32":
        what = next(iter(answer.columns["fp32"]), "on one side of")
    if answer.by in questions.RANGE_KEYS:
        what = "Host time" if meta.domain == "cpu" else "Kernels"
    if "allocated_bytes" in answer.columns or "kept_bytes" in answer.columns:
        what = "Memory at the peak" if answer.by == "layer" else "Peak of memory"
        answer = _of_one_place(answer)
    if answer.by == questions.METRIC:
        answer = _in_units(answer)
    if answer.by == "core":
        answer, top = _plain_metrics(answer), len(answer)
    is_log = answer.by == "iteration" and "wall_ns" in answer.columns
    if answer.by in ledger_text.KEYS:
        answer = ledger_text.shown(answer)
        top = len(answer) if "cause" in answer.columns else top
    if answer.by == "launch":
        answer = _since_first(answer)
    if answer.by == "rank":
        answer = _plain_ranks(answer)
    title = "Iterations" if is_log else _TITLES[answer.by].format(what=what)
    if answer.by == "launch" and "calls" in answer.columns:
        title = f"{what} as the file has them, each row the sum of its calls"
    if answer.by == "core" and "readings" in answer.columns:
        title = "Effective utilization: share of each pipe's own peak, sampled over real time"
    seen = answer.head(top)
    ratios = [*questions.pipes(seen), *ledger_text.ratios(seen)]
    lines = [
        *_folded([title], width),
        text.table(seen, width=width, ratios=ratios, weights=ledger_text.weights(seen)),
    ]
    rest = _rest(answer, top)
    if rest:
        lines.append(rest)
    lines += _folded([text.cleaned(f"note: {note}") for note in answer.notes], width)
    return "\n".join(lines)


def _of_one_place(answer: Answer) -> Answer:
    """The answer without columns that say the same in each row: one device, one iteration; the heading has them."""
    plain = {
        name: values
        for name, values in answer.columns.items()
        if name == answer.by or name not in ("device", "iteration") or len(set(values)) > 1
    }
    return Answer(answer.by, plain, answer.notes)


def _plain_ranks(answer: Answer) -> Answer:
    """The answer with its files named within the folder or archive of them all; no device that is the rank's number."""
    files = [str(file) for file in answer.columns["file"]]
    shared = commonprefix([_folder(file) for file in files])  # noqa: RUF071 - archives too; cut to a folder below
    plain = {**answer.columns, "file": [file[len(_folder(shared)) :] for file in files]}
    if list(answer.columns["device"]) == list(answer.columns["rank"]):
        del plain["device"]
    return Answer(answer.by, plain, answer.notes)


def _folder(file: str) -> str:
    """What stands before a file's own name: a folder, or an archive and the folder in it."""
    return file[: max(file.rfind("/"), file.rfind(":")) + 1]


def _since_first(answer: Answer) -> Answer:
    """The launches with their starts counted from the earliest: a clock's own count takes half the line."""
    starts = [start for start in answer.columns.get("start_ns", ()) if start is not None]
    if not starts:
        return answer
    first_ns = min(starts)
    since = [None if start is None else start - first_ns for start in answer.columns["start_ns"]]
    columns = {("since_ns" if name == "start_ns" else name): values for name, values in answer.columns.items()}
    note = "start: since the first launch; --format csv and json have the clock's own count"
    return Answer(answer.by, {**columns, "since_ns": since}, (*answer.notes, note))


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


def _in_units(answer: Answer) -> Answer:
    """The answer with its values written for reading, units in the cells; no column of units then."""
    names = answer.columns["unit"]
    plain = dict(answer.columns)
    for column in ("mean", "min", "max"):
        plain[column] = [
            None if value is None else _readable(value, unit)
            for value, unit in zip(answer.columns[column], names, strict=True)
        ]
    del plain["unit"]
    return Answer(answer.by, plain, answer.notes)


def _readable(value: float, unit: str) -> str:
    if unit in _FORMATS:
        return _FORMATS[unit](value)
    numeral = f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:,.4g}"
    return numeral if unit in ("unknown", "count") else f"{numeral} {unit}"


def _plain_metrics(answer: Answer) -> Answer:
    """The answer with the submetric that all its metrics share said once, in a note."""
    metrics = [str(metric) for metric in answer.columns["metric"]]
    ends = {metric.partition(".")[2] for metric in metrics}
    if len(ends) != 1 or ends == {""}:
        return answer
    plain = {**answer.columns, "metric": [metric.partition(".")[0] for metric in metrics]}
    return Answer(answer.by, plain, (f"each metric is the one named, .{ends.pop()}", *answer.notes))


def _rest(answer: Answer, top: int) -> str:
    """A line for the rows that were left out."""
    left = len(answer) - top
    if left <= 0:
        return ""
    together = "kept_bytes" not in answer.columns or len(set(answer.columns.get("device", ()))) < 2  # else each its own
    shares = [share for share in answer.columns.get("share", ())[top:] if share is not None and together]
    part = f", {units.format_ratio(sum(shares))}" if shares else ""
    return f"... {left:,} more{part}; --top {len(answer)} shows all"
