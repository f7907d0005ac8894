"""Answers as text for a terminal: aligned columns, units chosen for reading, names shortened from the middle."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ds2prof import units
from ds2prof.analysis.answers import Answer
from ds2prof.report import estimate_words
from ds2prof.report.paint import PLAIN, Paint
from ds2prof.report.shortening import all_shortened as all_shortened
from ds2prof.report.shortening import beginning as beginning
from ds2prof.report.shortening import cleaned as cleaned
from ds2prof.report.shortening import display_width as display_width
from ds2prof.report.shortening import shortened as shortened

_LABELS: Final[Mapping[str, str]] = {
    "dur_ns": "time",
    "excl_ns": "exclusive",
    "share": "share",
    "calls": "calls",
    "copy_dur_ns": "copies",
    "host_dur_ns": "host",
    "step_ns": "device step",
    "start_ns": "start (ns)",
    "since_ns": "start",
    "wall_ns": "wall",
    "utilization": "while busy",
    "utilization_low": "low",
    "utilization_high": "high",
    "effective_utilization": "effective",
    "projected_ns": "projected",
    "flop_per_s": "FLOP/s",
    "flop": "FLOP",
    "model_flop": "model FLOP",
    "hardware_flop": "hardware FLOP",
    "intensity": "FLOP/B",
    "attainable_ns": "at roof",
    "roof": "of roof",
    "gain_ns": "gain",
    "step_gain_ns": "gain a step",
    "gain_share": "of busy",
    "sm_throughput": "SM",
    "l2_throughput": "L2",
    "dram_throughput": "DRAM",
    "achieved_occupancy": "occupancy",
    "min_dur_ns": "least",
    "max_dur_ns": "greatest",
    "size_bytes": "size",
    "allocated_bytes": "allocated",
    "weights_bytes": "weights",
    "buffers_bytes": "buffers",
    "gradients_bytes": "grads",
    "optimizer_state_bytes": "optimizer",
    "activations_bytes": "activations",
    "input_bytes": "input",
    "activation_gradients_bytes": "act. grads",
    "temporaries_bytes": "temporary",
    "workspace_bytes": "workspace",
    "rounding_bytes": "rounding",
    "unattributed_bytes": "unattributed",
    "reserved_bytes": "reserved",
    "reserved_unused_bytes": "unused",
    "device_used_bytes": "on device",
    "kept_bytes": "kept",
    "forward_peak_bytes": "fwd. peak",
    "backward_peak_bytes": "bwd. peak",
    "own_workspace_bytes": "own workspace",
    "busy_ns": "busy",
    "not_launched_ns": "not launched",
    "event_wait_ns": "event wait",
    "other_stream_ns": "other stream",
    "queued_ns": "queued",
    "unknown_ns": "unknown",
    "head_ns": "head",
    "tail_ns": "tail",
    "exposed_communication": "exp. comm.",
    "exposed_copy": "exp. copy",
    "launch_call": "launch call",
    "profiler_overhead": "profiler",
    "module_load": "module load",
    "within": "mostly in",
    "ended_by": "mostly ended by",
    "window_ns": "window",
    "compute_ns": "compute",
    "communication_ns": "comm.",
    "exposed_communication_ns": "exp. comm.",
    "exposed_copy_ns": "exp. copy",
    "idle_ns": "idle",
    "wait_ns": "waits",
    "caused_wait_ns": "made wait",
    "wait_error_ns": "error",
    "clock_offset_ns": "clock",
    "clock_error_ns": "error",
    "transfer_ns": "transfer",
    "skew_ns": "skew",
    "skew_error_ns": "error",
    "longest_wait_ns": "longest",
    "longest_in": "in",
    "longest_collective": "number",
    "longest_iteration": "iteration",
    "last_rank": "last",
    "group_size": "of",
    "in_bytes": "input",
    "window_source": "window from",
    "audio_s": "audio (s)",
    "padded_s": "padded (s)",
    **estimate_words.LABELS,
}
_NAMES: Final = (
    *("name", "metric", "layer", "phase", "iteration", "operator", "annotation", "file", "during"),
    *("within", "ended_by"),
)
"""Text columns that give way when the line is too long, and are aligned to the left."""
_MEASURES: Final = ("mean", "min", "max")
"""Columns that are aligned to the right although their numbers come with units."""
_SPARE: Final = (
    *("window_source", "host", "exposed_copy_ns", "steps", "communication_ns", "wait_error_ns", "longest_iteration"),
    *("attainable_ns", "size_bytes", "intensity", "bound", "flop"),
    *("order", "excl_ns", "readings"),
    *("unknown_ns", "tail_ns", "head_ns"),
    *("rounding_bytes", "device_used_bytes", "reserved_unused_bytes", "buffers_bytes", "own_workspace_bytes"),
    *("forward_peak_bytes", "backward_peak_bytes", "unattributed_bytes", "input_bytes", "reserved_bytes"),
    *("temporaries_bytes", "activation_gradients_bytes", "workspace_bytes", "optimizer_state_bytes"),
    *("gradients_bytes", "weights_bytes", "kept_bytes"),
    *estimate_words.SPARE,
    "class",
)
"""Columns that give way, in this order, where the names did and the line is too long still; then ratios do."""
_SPARE_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "rank": ("clock_offset_ns", "file", "clock_error_ns", "window_ns", "device"),
    "collective": ("skew_error_ns", "sequence", "in_bytes", "max_dur_ns", "group_size", "group"),
    "straggler": ("longest_collective",),
    "launch": ("device", "stream", "since_ns"),
    "iteration": ("copy_dur_ns", "host_dur_ns"),
    "phase": ("copy_dur_ns", "host_dur_ns"),
    "layer": ("copy_dur_ns", "host_dur_ns"),
    "ledger": ("ended_by",),
    "throughput": ("launches",),
    "roofline": ("step_gain_ns", "class", "coverage"),
    "gain": ("calls", "gain_share", "coverage"),
    "latency": ("queued_launches", "device"),
    "bound": ("class", "launches"),
    "allocation": ("releases", "since_ns", "device"),
    "bandwidth": ("small_copies", "copies", "device"),
    "wave": ("launches",),
    "path": ("segments",),
}
"""Columns of one table alone that give way, after those."""
_RATIOS: Final = ("share", "coverage", "roof", "gain_share", "overlap")
_MIN_NAME: Final = 24


def _cell(column: str) -> Callable[[Any], str]:
    if column in ("start_ns", "launch", "calls", "launches", "readings", "ranges") or column in estimate_words.COUNTS:
        return lambda value: "-" if value is None else f"{value:,}"
    if column.endswith("_ns"):
        return units.format_ns_short
    if column in ("flop", "flop_per_s", "model_flop", "hardware_flop"):
        return units.format_flop
    if column.endswith("_bytes"):
        return units.format_bytes
    if column == "bytes_per_s":
        return lambda value: "-" if value is None else f"{units.format_bytes(value)}/s"
    if column in estimate_words.RATIOS:
        return units.format_ratio
    if column in _RATIOS or column.startswith(("utilization", "effective_utilization")):
        return units.format_ratio
    return _plain


def _plain(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return cleaned(str(value))


def table(
    answer: Answer,
    *,
    width: int,
    ratios: Sequence[str] = (),
    weights: Sequence[float] | None = None,
    footers: Sequence[Mapping[str, Any]] = (),
    right: Sequence[str] = (),
    spare: Sequence[str] = (),
    paint: Paint = PLAIN,
) -> str:
    """The rows as lines of at most ``width`` columns where that is possible, a heading and a rule above them.

    ``ratios`` names further columns that hold ratios (pipes). Where the terminal is too narrow for all columns, those
    that can be done without and then the ratios with the lowest values give way, and a last line names them: those
    whose largest is lowest, or with ``weights`` of the rows those whose sum is. Columns without any value are left
    out, save the key. ``footers`` are rows below a rule of their own (sums): blank where they lack a column.
    ``right`` names texts that are aligned to the right: numbers that come with their units; ``spare`` columns that give
    way before all others.
    """
    shown = {
        name: values
        for name, values in answer.columns.items()
        if name == answer.by or any(value is not None for value in values)
    }
    cells = {
        name: [(units.format_ratio if name in ratios else _cell(name))(value) for value in values]
        for name, values in shown.items()
    }
    heads = {name: _LABELS.get(name, name) for name in shown}
    if answer.by in heads and answer.by not in ("core", "name"):
        nothing = "(not stated)" if answer.by in ("stream", "device") else f"(outside any {answer.by})"
        cells[answer.by] = [nothing if cell == "-" else cell for cell in cells[answer.by]]
    ends = [{name: _footer(name, cells, ratios, end) for name in cells} for end in footers]
    widths = {
        name: max(map(display_width, [heads[name], *column, *(end[name] for end in ends)]))
        for name, column in cells.items()
    }
    hidden = _narrowed(widths, width, answer.by, shown=shown, ratios=ratios, spare=spare, weights=weights)
    for name in hidden:
        del cells[name], widths[name]
    texts = {name for name, values in shown.items() if any(isinstance(value, str) for value in values)}
    left = texts - set(_MEASURES) - set(right)
    cells = {name: all_shortened(column, widths[name]) for name, column in cells.items()}

    def line(row: Mapping[str, str]) -> str:
        parts = [_padded(shortened(row[name], widths[name]), widths[name], left=name in left) for name in cells]
        return "  ".join(parts).rstrip()

    rows = [dict(zip(cells, values, strict=True)) for values in zip(*cells.values(), strict=True)]
    rule = paint("dim", "  ".join("-" * widths[name] for name in cells))
    lines = [paint("title", line(heads)), rule, *map(line, rows)]
    if not rows:
        lines.append("(none)")
    if ends:
        lines += [rule, *(paint("figure", line(end)) for end in ends)]
    if hidden:
        told = f"hidden: {', '.join(heads[name] for name in hidden)} (widen the terminal, or --format csv)"
        wrapped = textwrap.wrap(told, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
        lines += [paint("dim", line) for line in wrapped]
    return "\n".join(lines)


def _footer(name: str, cells: Mapping[str, Sequence[str]], ratios: Sequence[str], end: Mapping[str, Any]) -> str:
    """The cell of a footer: blank where it has nothing to say."""
    if end.get(name) is None:
        return ""
    if isinstance(end[name], str):
        return str(end[name])
    write = units.format_ratio if name in ratios else _cell(name)
    return str(write(end[name]))


def _repeated(shown: Mapping[str, Sequence[Any]], widths: Mapping[str, int], width: int) -> list[str]:
    """A column that says what another says already, where the line is too long: it goes before names are cut."""
    same = "excl_ns" in shown and list(shown["excl_ns"]) == list(shown.get("dur_ns", ()))
    return ["excl_ns"] if same and _excess(widths, width) > 0 else []


def _narrowed(
    widths: dict[str, int],
    width: int,
    by: str,
    *,
    shown: Mapping[str, Sequence[Any]],
    ratios: Sequence[str],
    spare: Sequence[str],
    weights: Sequence[float] | None,
) -> list[str]:
    """The columns that give way so that the line fits; ``widths`` of names are narrowed for those that stay.

    What another column says already goes first; then names are cut; then what can be done without goes, then ratios,
    and where all that is not enough, columns from the right.
    """
    wanted = dict(widths)
    repeated = _repeated(shown, widths, width)
    aside = {name: widths.pop(name) for name in repeated}
    _give_way(widths, width)
    widths.update(aside)
    order = dict.fromkeys((*repeated, *spare, *_SPARE, *_SPARE_OF.get(by, ())))
    hidden = _spared(widths, _excess(widths, width), [name for name in order if name not in ratios])
    kept = {name: widths[name] for name in shown if name not in hidden}
    hidden += _hidden(kept, width, [(name, _greatest(shown[name], weights)) for name in ratios if name in kept])
    kept = {name: widths[name] for name in shown if name not in hidden}
    from_right = [name for name in reversed(kept) if name not in (by, "name", "dur_ns", *list(kept)[:1])]
    hidden += _spared(kept, _excess(kept, width), from_right)
    kept = {name: widths[name] for name in shown if name not in hidden}
    for name in (each for each in _NAMES if each in kept):  # what the columns that went have left goes to names
        widths[name] += min(max(-_excess(kept, width), 0), wanted[name] - widths[name])
        kept[name] = widths[name]
    return hidden


def _excess(widths: Mapping[str, int], width: int) -> int:
    """How many columns the line is too long."""
    return sum(widths.values()) + 2 * (len(widths) - 1) - width


def _greatest(values: Sequence[float | None], weights: Sequence[float] | None) -> float:
    """How much a column of ratios has to say: its largest value, or the sum of all of them by weight."""
    known = [value or 0.0 for value in values]
    if weights is None:
        return max(known, default=0.0)
    return sum(value * weight for value, weight in zip(known, weights, strict=True))


def _hidden(widths: Mapping[str, int], width: int, ratios: Sequence[tuple[str, float]]) -> list[str]:
    """Which ratio columns give way so that the line fits: those that have least to say, in their own order."""
    excess = _excess(widths, width)
    chosen = set()
    for name, _ in sorted(ratios, key=lambda item: item[1]):
        if excess <= 0:
            break
        excess -= widths[name] + 2
        chosen.add(name)
    return [name for name, _ in ratios if name in chosen]


def _spared(widths: Mapping[str, int], excess: int, spare: Sequence[str]) -> list[str]:
    """Which of the columns that can be done without, in their order, give way so that the line fits."""
    chosen = []
    for name in spare:
        if excess > 0 and name in widths:
            excess -= widths[name] + 2
            chosen.append(name)
    return chosen


def _give_way(widths: dict[str, int], width: int) -> None:
    """Narrow the name columns until the line fits, the widest first, none below a readable width."""
    excess = sum(widths.values()) + 2 * (len(widths) - 1) - width
    while excess > 0:
        names = [name for name in _NAMES if name in widths and widths[name] > _MIN_NAME]
        if not names:
            return
        widest = max(names, key=lambda name: widths[name])
        cut = min(excess, widths[widest] - _MIN_NAME)
        widths[widest] -= cut
        excess -= cut


def _padded(text: str, width: int, *, left: bool) -> str:
    space = " " * max(width - display_width(text), 0)
    return text + space if left else space + text


def tbd(lines: Sequence[tuple[str, float | None]]) -> str:
    """The ancestor's four lines: ``fma\\t17.50765 %``; ``n/a`` where the file cannot tell."""
    return "\n".join(f"{name}\t{'n/a' if value is None else f'{100 * value:.5f} %'}" for name, value in lines)
