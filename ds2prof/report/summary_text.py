"""A summary as the first screen of a terminal: busy share, losses, pipes, what to ask next, what qualifies it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ds2prof import units
from ds2prof.analysis import summary as summaries
from ds2prof.analysis.answers import Answer
from ds2prof.analysis.losses import Loss
from ds2prof.analysis.summary import Ask, Summary
from ds2prof.report import headings, text
from ds2prof.report.advice import advice_on
from ds2prof.report.intervals import interval_lines
from ds2prof.report.paint import PLAIN, Paint
from ds2prof.tables import Meta

LOSSES: Final = 3
_LABEL: Final = 11
_MIN_NAMED: Final = 40
_BAR: Final = 60
_MOST_PIPES: Final = 8
_MOST_READINGS: Final = 8
_ASKED_FOR: Final = (
    *("utilization.gpu", "gputl", "gract", "dcgm_fi_dev_gpu_util", "dcgm_fi_prof_gr_engine", "gpu", "sm"),
    *("tenso", "drama", "memory.used", "fb", "power", "clocks.sm", "clocks.current.sm", "cpu", "pwr"),
)
"""How the metrics begin that say how busy a device was, and what held it back."""
_PARTS: Final = (
    ("compute", "compute", "#"),
    ("communication", "exposed communication", "="),
    ("copy", "exposed copies", "+"),
    ("idle", "idle", "."),
)
"""Role, words and letter of the parts of a window, in the order of the bar."""
_PART_OF: Final = {
    "compute": "compute",
    "exposed_communication": "communication",
    "exposed_copy": "copy",
}
_CAPTURE: Final = {
    summaries.COUNTERS: ("a timeline of the same run", "nsys"),
    summaries.TIMELINE: ("hardware counters of a few iterations", "nsight"),
    summaries.SUMS: ("a timeline with the time of each launch", "nsys"),
    summaries.CALLS: ("a timeline with the window open while work is launched", "nsys"),
    summaries.HOST: ("the same on a GPU", "auto"),
    summaries.READINGS: ("a timeline, to lay these readings beside", "nsys"),
    summaries.LOG: ("a timeline of a few iterations", "auto"),
    summaries.MEMORY: ("a timeline of a few iterations", "auto"),
}
"""What a file of this kind lacks most, and the launcher that gets it."""
_NVIDIA: Final = ("nsight", "nsys")


def summary_text(
    meta: Meta,
    found: Summary,
    *,
    path: str,
    width: int,
    devices: Sequence[str] = (),
    warnings: Sequence[str] = (),
    paint: Paint = PLAIN,
) -> str:
    """The summary as lines of at most ``width`` columns, save those that hold a path; commands can be typed as is."""
    blocks = [
        [headings.heading(meta, _without_rates(found), devices=devices, width=width, paint=paint)],
        _busy(found, width, paint),
        _readings(found, width, paint),
        _losses(found, width, paint),
        _busy_time(found, width, paint),
        _pipes(found, width, paint),
        _next(found, meta, path, width, paint),
        _below(found, meta, warnings, width, paint),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _without_rates(found: Summary) -> Mapping[str, Any]:
    """The totals for the heading: the busy share and the intervals of a timeline have lines of their own below."""
    if found.kind != summaries.TIMELINE:
        return {**found.totals, "idle": ()}
    return {**found.totals, "window_ns": None, "utilization_less_overhead": None, "intervals": None, "idle": ()}


def row(label: str, words: str, width: int, paint: Paint = PLAIN, *, role: str = "") -> list[str]:
    """A labelled line, continued below its own text."""
    lines = headings.folded([words], width - _LABEL, indent="")
    head = f"{paint('key', label)}{' ' * (_LABEL - len(label))}"
    tail = [f"{' ' * _LABEL}{paint(role, line) if role else line}" for line in lines[1:]]
    first = lines[0] if lines else ""
    return [head + (paint(role, first) if role else first), *tail]


def _busy(found: Summary, width: int, paint: Paint) -> list[str]:
    totals = found.totals
    if found.kind != summaries.TIMELINE:
        return []
    share = units.format_ratio(totals["gpu_compute_utilization"])
    window = f"{headings.on_each(totals['window_ns'], totals['devices'])}, {totals['window_source']}"
    lines = row("Busy", f"GPU compute utilization {share} of the window ({window})", width, paint, role="figure")
    if totals.get("utilization_less_overhead") is not None:
        less = units.format_ratio(totals["utilization_less_overhead"])
        lines += row("", f"or {less} of it less the profiler's own overhead", width, paint)
    lines += [] if found.ledger is None else _bar(found.ledger, width, paint)
    for told in interval_lines({**totals, "idle": ()}):
        lines += row("", told, width, paint)
    return lines


def _readings(found: Summary, width: int, paint: Paint) -> list[str]:
    """The means of the readings that most is asked for, with the least and the greatest of each."""
    if found.readings is None or "sampled_gpus" in found.totals:  # the heading has those
        return []
    told: dict[str, None] = {}
    for each in found.readings.rows():
        if each["mean"] is None or not str(each["metric"]).lower().startswith(_ASKED_FOR):
            continue
        where = "" if each["device"] is None else f" of device {each['device']}"
        where += "" if each.get("entity") is None else f" ({each['entity']})"
        mean, low, high = (headings.readable(each[name], each["unit"]) for name in ("mean", "min", "max"))
        between = "" if low == high else f" ({low} to {high})"
        told[text.cleaned(f"{each['metric']}{where}: {mean}{between}")] = None
    lines: list[str] = []
    for words in list(told)[:_MOST_READINGS]:
        lines += row("" if lines else "Readings", words, width, paint)
    rest = len(told) - _MOST_READINGS
    return lines + (row("", f"... {rest} more", width, paint) if rest > 0 else [])


def _bar(ledger: Answer, width: int, paint: Paint) -> list[str]:
    """The window as one bar of letters, and its parts in words; the parts sum to the window."""
    sums = dict.fromkeys((role for role, _, _ in _PARTS), 0)
    for cause, dur_ns in zip(ledger.columns["cause"], ledger.columns["dur_ns"], strict=True):
        sums[_PART_OF.get(cause, "idle")] += dur_ns
    whole = sum(sums.values())
    if not whole:
        return []
    cells = min(_BAR, width - _LABEL - 2)
    counts = spread([sums[role] for role, _, _ in _PARTS], cells)
    bar = "".join(paint(role, letter * count) for (role, _, letter), count in zip(_PARTS, counts, strict=True) if count)
    shares = {role: round(sums[role] / whole, 4) for role, _, _ in _PARTS}
    shares["idle"] = abs(
        1 - sum(share for role, share in shares.items() if role != "idle")
    )  # so that they sum to 100 %
    told = ", ".join(
        f"{letter} {words} {units.format_ratio(shares[role])}" for role, words, letter in _PARTS if sums[role]
    )
    return [f"{' ' * _LABEL}[{bar}]", *row("", told, width, paint)]


def spread(parts: Sequence[int], cells: int) -> list[int]:
    """Whole cells for each part that sum to ``cells``: by largest remainder; of what is there at least one shows."""
    whole = sum(parts)
    exact = [part * cells / whole for part in parts]
    counts = [max(int(each), 1 if part else 0) for each, part in zip(exact, parts, strict=True)]
    order = sorted(range(len(parts)), key=lambda place: counts[place] - exact[place])
    while sum(counts) < cells:
        for place in order[: cells - sum(counts)]:
            counts[place] += 1
    while sum(counts) > cells:
        counts[counts.index(max(counts))] -= 1
    return counts


def _losses(found: Summary, width: int, paint: Paint) -> list[str]:
    title = {
        summaries.HOST: "Longest operators",
        summaries.MEMORY: "Largest at the peak",
        summaries.SUMS: "Longest kernels",
    }.get(found.kind, "Largest losses")
    if not found.losses:
        return []
    shown = found.losses[:LOSSES]
    if shown[0].kind == "kernel":
        title = "Longest kernels"
    costs = [cost_text(loss) for loss in shown]
    wide = max(map(len, costs))
    wholes = {loss.of for loss in shown}
    whole = title + _bases(found, wholes)
    lines = [whole] if len(whole) <= width else headings.folded([whole], width)
    lines[0] = paint("key", title) + lines[0][len(title) :]
    for number, (loss, cost) in enumerate(zip(shown, costs, strict=True), start=1):
        of = "" if loss.share is None or len(wholes) == 1 else f" (share of the {loss.of})"
        lines += _loss(number, loss, cost.rjust(wide), of, width=width, paint=paint)
    return lines


def _bases(found: Summary, wholes: set[str]) -> str:
    """What the shares are of, where it is one thing; and that times are sums, where they are of several devices."""
    told = [f"shares of the {whole}" for whole in wholes] if len(wholes) == 1 else []
    devices = len(found.totals.get("devices") or ())
    if found.kind == summaries.TIMELINE and devices > 1:
        told.append(f"times are sums over {devices} devices")
    return f"  ({'; '.join(told)})" if told else ""


def cost_text(loss: Loss) -> str:
    """What the loss costs: its time (or size), and its share."""
    share = "" if loss.share is None else units.format_ratio(loss.share, digits=1).rjust(7)
    size = units.format_ns_short(loss.cost_ns) if loss.cost_ns is not None else ""
    size = units.format_bytes(loss.cost_bytes) if loss.cost_bytes is not None else size
    return f"{size.rjust(9) if size else ''} {share}".strip()


def _loss(number: int, loss: Loss, cost: str, of: str, *, width: int, paint: Paint) -> list[str]:
    """The cost, what it is, and below it where it was met; of the dearest, what to look at first."""
    indent = 5 + len(cost) + 2
    plain = loss.name.replace("_", " ") if loss.kind in ("idle", "memory") else loss.name
    name = text.shortened(text.cleaned(plain), max(_MIN_NAMED, width - indent - 50))
    says = loss.words if loss.words.startswith(name) else f"{name}: {loss.words}"
    lines = headings.folded([text.cleaned(says + of)], width - indent, indent="")
    for detail in loss.details:
        lines += headings.folded([f"  {_detail(detail, width - indent - 2)}"], width - indent, indent="    ")
    if number == 1 and advice_on(loss):
        advice = advice_on(loss)
        lines += [f"  {line}" for line in headings.folded([f"look at: {advice}"], width - indent - 2, indent="  ")]
    head = f"  {number}. {paint('loss', cost)}  {paint('figure', lines[0])}"
    return [head, *(" " * indent + line for line in lines[1:])]


def _detail(detail: str, width: int) -> str:
    """A detail whose words fit the line: what is longer is a name, and is cut in its middle."""
    most = max(width - 4, 20)
    return " ".join(text.shortened(word, most) for word in text.cleaned(detail).split(" "))


def _busy_time(found: Summary, width: int, paint: Paint) -> list[str]:
    """What the busy time (of a host: the operators' time) was filled with, by class, and the longest kernel."""
    if found.classes is None or found.names is None or not len(found.classes):
        return []
    label = {summaries.TIMELINE: "Busy with", summaries.HOST: "By class"}.get(found.kind, "Kernels")
    rows = [each for each in found.classes.rows() if each.get("share") is not None]
    if not rows:
        return []
    told = [f"{text.cleaned(each['name'])} {units.format_ratio(each['share'], digits=1)}" for each in rows[:4]]
    rest = sum(each["share"] for each in rows[4:])
    told += [f"the rest {units.format_ratio(rest, digits=1)}"] if rows[4:] else []
    lines = row(label, ", ".join(told), width, paint)
    first = next(iter(found.names.rows()))
    if found.kind != summaries.HOST and first.get("share") is not None:
        most = max(width - _LABEL - 45, 20)
        name = text.shortened(text.cleaned(first["name"]), most)
        times = f"{first['calls']:,} call{'' if first['calls'] == 1 else 's'}"
        took = units.format_ns_short(first["dur_ns"])
        lines += row(
            "", f"longest: {name}, {times}, {took}, {units.format_ratio(first['share'], digits=1)}", width, paint
        )
    return lines


def _pipes(found: Summary, width: int, paint: Paint) -> list[str]:
    """The pipes by what they reached, a line for each device; what the file has instead where it has none."""
    if found.pipes is None:
        return []
    rows = found.pipes.rows()
    field = "utilization" if any(each["utilization"] is not None for each in rows) else "effective_utilization"
    how = "while kernels ran" if field == "utilization" else "over real time, sampled"
    devices = list(dict.fromkeys(each["device"] for each in rows))
    lines: list[str] = []
    for device in devices:
        own = [each for each in rows if each["device"] == device and each[field] is not None]
        own.sort(key=lambda each: -each[field])
        told = ", ".join(f"{each['pipe']} {units.format_ratio(each[field], digits=1)}" for each in own[:_MOST_PIPES])
        where = f"device {device}: " if len(devices) > 1 else ""
        lines += row("" if lines else "Pipes", f"{where}{told or 'not known'}", width, paint)
    coverage = [each["coverage"] for each in rows if each.get("coverage") is not None]
    told = f"share of each pipe's own peak, {how}"
    if coverage:
        told += f"; known for {units.format_ratio(min(coverage), digits=1)} of the "
        told += "cycles" if field == "utilization" else "window"
    return [*lines, *row("", told, width, paint, role="dim")]


def next_commands(found: Summary, path: str, *, meta: Meta | None = None) -> list[tuple[str, str]]:
    """(what it answers, the command) for each command to type next; ``meta`` tells whose run it was."""
    return [(why, " ".join(parts)) for why, parts in _commands(found, path, meta)]


def _commands(found: Summary, path: str, meta: Meta | None) -> list[tuple[str, list[str]]]:
    """(why, the command in parts that may stand on lines of their own)."""
    made = [(ask.why, _asked(ask, path)) for ask in found.asks]
    lacks_pipes = found.kind not in (summaries.TIMELINE, summaries.COUNTERS) or found.pipes is None
    if lacks_pipes or (found.kind == summaries.COUNTERS and found.totals.get("window_ns") is None):
        why, launcher = _CAPTURE[found.kind]
        then = "" if lacks_pipes else "; then 'ds2prof join'"
        made += [(f"not in this file: {why}{then}", [capture]) for capture in _captures(found, launcher, meta)]
    return made


def _captures(found: Summary, launcher: str, meta: Meta | None) -> list[str]:
    """The command that captures what is lacking: of our own training, else of any; none for another maker's device."""
    if found.vendor not in (None, "nvidia") and launcher in _NVIDIA:
        return []
    own = meta is not None and (meta.run or {}).get("preset") is not None
    return [f"bash run_profile.sh {launcher}" if own else f"ds2prof run {launcher} -- python my_training.py"]


def _next(found: Summary, meta: Meta, path: str, width: int, paint: Paint) -> list[str]:
    """Commands to type next, each with what it answers; a command is never broken but before an option."""
    lines = [paint("key", "Look next")]
    page = ("all of it on one page, for a browser", [f"ds2prof report {_named_file(path)}", "-o report.html"])
    for why, parts in [*_commands(found, path, meta), page]:
        lines += _command(why, parts, width, paint)
    return lines


def _asked(ask: Ask, path: str) -> list[str]:
    parts = [f"ds2prof parse {_named_file(path)}", f"--by {ask.by}"]
    return [*parts, f"--per {ask.per}"] if ask.per else parts


def _named_file(path: str) -> str:
    return shlex.quote(text.cleaned(path)) if path != "-" else "FILE"


def _command(why: str, parts: Sequence[str], width: int, paint: Paint) -> list[str]:
    lines = [f"  {line}" for line in headings.folded([why], width - 2, indent="")]
    whole = " ".join(parts)
    if len(whole) + 4 <= width or len(parts) == 1:
        return [*lines, f"    {paint('command', whole)}"]
    first, rest = parts[0], " ".join(parts[1:])
    return [*lines, f"    {paint('command', first)} \\", f"      {paint('command', rest)}"]


def _below(found: Summary, meta: Meta, warnings: Sequence[str], width: int, paint: Paint) -> list[str]:
    """What the file cannot tell, what qualifies the numbers, and the warnings of reading, last."""
    lines = []
    for missing in found.missing:
        lines += _hanging("missing", missing, width, paint, role="figure")
    for note in found.notes:
        lines += _hanging("note", note, width, paint, role="dim")
    for warning in warnings:
        lines += _hanging("warning", headings.without_file(warning, meta.file), width, paint, role="warning")
    return lines


def _hanging(label: str, words: str, width: int, paint: Paint, *, role: str) -> list[str]:
    lines = [
        part for line in headings.folded([f"{label}: {text.cleaned(words)}"], width) for part in _cells(line, width)
    ]
    return [f"{paint(role, label)}{lines[0][len(label) :]}", *lines[1:]] if lines else []


def _cells(line: str, width: int) -> list[str]:
    """The line, what is too long for want of a blank broken where it has to be."""
    if text.display_width(line) <= width:
        return [line]
    first = text.beginning(line, width)
    return [first, *_cells(f"      {line[len(first) :]}", width)]
