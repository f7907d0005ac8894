"""The host's side of what ``nsys stats`` printed: calls, ranges, threads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ds2prof.parsers.nsys_stats_gather import Gathered
from ds2prof.parsers.nsys_stats_layouts import STYLES
from ds2prof.parsers.nsys_stats_rows import (
    Warnings,
    averaged,
    constant,
    extremes,
    launched,
    matching,
    pairing,
    recoded,
    stacked,
    summed,
    taken,
    text_of,
    timed,
)
from ds2prof.parsers.nsys_stats_tables import Made
from ds2prof.parsers.range_names import kinds_of_ranges
from ds2prof.tables import BoolArray, Column, text_column

_LIBRARY: Final = re.compile(r"(cudnn|cublas)[A-Z]\w*\Z")
_RUNTIME: Final = re.compile(r"cuda[A-Z]\w*\Z")
_DRIVER: Final = re.compile(r"cu[A-Z]\w*\Z")
_LIBC: Final = re.compile(r"[a-z_][a-z0-9_]*\Z")
_PUSHED: Final = "PushPop"
_STARTED: Final = "StartEnd"


def domain_of(name: str) -> str | None:
    """The interface that a call of this name is of, where its name tells."""
    if _RUNTIME.match(name):
        return "runtime"
    if match := _LIBRARY.match(name):
        return match[1]
    return "driver" if _DRIVER.match(name) else None


def api_columns(made: Made) -> Mapping[str, Column]:
    """The columns of ``api``."""
    others = [each for each in made.found if each.kind == "api_sum" and not _is_cuda(each)]
    parts = [_cuda_calls(made, others)]
    seen: set[str] = set()
    for each in others:
        if each.label in seen:
            made.warnings.lines.append(f"{each.label} is printed more than once; api is of the first")
            continue
        seen.add(each.label)
        parts.append(_summed_calls(made.use("api", each), made.warnings))
    return stacked([part for part in parts if part])


def _is_cuda(gathered: Gathered) -> bool:
    """Whether a summary of calls is of CUDA's: by its name, else by theirs."""
    report = (gathered.block.report or "").lower()
    if "cuda" in report or "osrt" in report or "operating" in report:
        return "cuda" in report
    return any(domain_of(name) is not None for name in text_of(gathered, "name").categories or ())


def _cuda_calls(made: Made, others: list[Gathered]) -> Mapping[str, Column]:
    own = [each for each in made.found if each not in others]
    with_calls = [each for each in own if each.kind == "gpu_sum" and _calls_mask(each).any()]
    chosen = (
        made.pick("api", "api_trace", "api_sum", among=own)
        or made.pick("api", "gpu_sum", among=with_calls)
        or made.pick("api", "exec_trace", "exec_sum", among=own)
    )
    if chosen is None:
        return {}
    if chosen.kind == "api_trace":
        return _traced_calls(chosen, made.warnings)
    if chosen.kind == "exec_trace":
        return _launches(chosen, made)
    if chosen.kind == "exec_sum":
        columns = averaged(chosen, made.warnings, prefix="api_", name="api_name", noun="calls")
        return columns | {"domain": recoded(columns["name"], domain_of)}
    return _summed_calls(chosen, made.warnings)


def _calls_mask(gathered: Gathered) -> BoolArray:
    return matching(text_of(gathered, "category"), lambda text: "API" in text)


def _traced_calls(gathered: Gathered, warnings: Warnings) -> dict[str, Column]:
    rows = timed(gathered, warnings, noun="call")
    columns = taken(gathered, rows, ("name", "start_ns", "dur_ns", "process", "thread", "correlation", "return_code"))
    again = _around_another(columns)
    warnings.count(int(again.sum()), "call", "printed again around the same call; those are of the domain backtrace")
    columns["domain"] = _with_backtraces(recoded(columns["name"], domain_of), again)
    return columns


def _around_another(columns: Mapping[str, Column]) -> BoolArray:
    """Mask of the calls that hold another with the same name, thread and correlation id.

    Nsight Systems records a call once more when it takes a backtrace of it, and prints both.
    """
    keys = [columns[name].values.astype(np.int64) for name in ("process", "thread", "correlation", "name")]
    start, end = columns["start_ns"].values, columns["start_ns"].values + columns["dur_ns"].values
    order = np.lexsort((-end, start, *keys))
    same = np.ones(max(len(order) - 1, 0), dtype=np.bool_)
    for key in keys:
        same &= key[order[1:]] == key[order[:-1]]
    inside = same & (start[order[1:]] >= start[order[:-1]]) & (end[order[1:]] <= end[order[:-1]])
    mask = np.zeros(len(order), dtype=np.bool_)
    mask[order[:-1][inside]] = True
    return mask


def _with_backtraces(domains: Column, again: BoolArray) -> Column:
    if not again.any():
        return domains
    categories = [*(domains.categories or ()), "backtrace"]
    return Column(np.where(again, np.int32(len(categories) - 1), domains.values), None, categories)


def _launches(gathered: Gathered, made: Made) -> dict[str, Column]:
    """The calls of a trace of launches, each once, numbered as its kernels are."""
    rows = timed(gathered, made.warnings, prefix="api_", noun="call")
    number = pairing(gathered)[rows]
    first = np.sort(np.unique(number, return_index=True)[1])
    columns = taken(gathered, rows[first], ("api_name", "api_start_ns", "api_dur_ns", "process", "thread"))
    columns = {name.removeprefix("api_"): column for name, column in columns.items()}
    again = ~np.isin(number[first], pairing(gathered)[launched(gathered)])
    columns["domain"] = _with_backtraces(recoded(columns["name"], domain_of), again)
    if made.pairs:
        columns["correlation"] = Column(number[first])
    return columns


def _summed_calls(gathered: Gathered, warnings: Warnings) -> dict[str, Column]:
    among = None if gathered.kind == "api_sum" else _calls_mask(gathered)
    rows = summed(gathered, warnings, noun="calls", among=among)
    columns = taken(gathered, rows, ("name", "dur_ns", "calls")) | extremes(gathered, rows, warnings)
    if not _is_cuda(gathered) and gathered.kind == "api_sum":
        return columns | {"domain": _host_domain(gathered, columns["name"])}
    again = _named_again(columns)
    warnings.count(int(again.sum()), "name", "printed again, as calls with a backtrace are: of the domain backtrace")
    return columns | {"domain": _with_backtraces(recoded(columns["name"], domain_of), again)}


def _named_again(columns: Mapping[str, Column]) -> BoolArray:
    """Mask of the rows whose name another row has with more calls, or as many that took less time."""
    best: dict[int, tuple[Any, ...]] = {}
    codes, calls, dur = (columns[name].values.tolist() for name in ("name", "calls", "dur_ns"))
    for row, key in enumerate(zip(codes, calls, dur, strict=True)):
        mine = (-key[1], key[2], row)
        best[key[0]] = min(best.get(key[0], mine), mine)
    return np.array([best[code][2] != row for row, code in enumerate(codes)], dtype=np.bool_)


def _host_domain(gathered: Gathered, names: Column) -> Column:
    """The domain of a summary of other calls: the operating system's where its name or all of theirs tell."""
    report = (gathered.block.report or "").lower()
    texts = names.categories or ()
    is_osrt = "osrt" in report or "operating" in report or (not report and all(map(_LIBC.match, texts)))
    return constant("osrt", len(names)) if is_osrt else Column(np.full(len(names), -1, dtype=np.int32), None, ())


def range_columns(made: Made) -> Mapping[str, Column]:
    """The columns of ``ranges``."""
    parts = [part for style in (_PUSHED, _STARTED) if (part := _ranges(made, style))]
    columns = stacked(parts)
    if not columns:
        return {}
    columns |= _domains(columns["name"])
    kinds = kinds_of_ranges(columns["name"].categories or ())
    codes = columns["name"].values
    for name, at in (("kind", 0), ("value", 1)):
        texts = text_column(kind[at] for kind in kinds)
        columns[name] = Column(texts.values[codes], None, texts.categories)
    return columns


def _ranges(made: Made, style: str) -> dict[str, Column]:
    """The ranges of one style, of the report that tells most of them."""
    kinds = ("nvtx_trace",) if style == _PUSHED else ()
    for kind in (*kinds, "nvtx_sum", "nvtx_style_sum", "nvtx_projection", "nvtx_projection_sum"):
        for each in made.found:
            among = _of_style(each, style) if each.kind == kind else None
            if among is not None and among.any():
                return _ranges_in(made.use("ranges", each), among, made.warnings)
    return {}


def _of_style(gathered: Gathered, style: str) -> BoolArray:
    if gathered.text("style") is not None:
        return matching(text_of(gathered, "style"), lambda text: text == style)
    report = gathered.block.report or ""
    own = STYLES.get(report, _STARTED if "Start" in report else _PUSHED)
    return np.full(gathered.length, own == style, dtype=np.bool_)


def _ranges_in(gathered: Gathered, among: BoolArray, warnings: Warnings) -> dict[str, Column]:
    if gathered.kind in ("nvtx_trace", "nvtx_projection"):
        rows = timed(gathered, warnings, noun="range", among=among)
        return taken(gathered, rows, ("name", "start_ns", "dur_ns", "process", "thread", "depth"))
    rows = summed(gathered, warnings, noun="ranges", among=among)
    return taken(gathered, rows, ("name", "dur_ns", "calls")) | extremes(gathered, rows, warnings)


def _domains(names: Column) -> dict[str, Column]:
    """Names and domains, where the tool prints ``domain:name`` for all, the domain being empty for most.

    Older versions print a range of the default domain by its name alone, in which a colon can stand as well: there the
    domain is not known apart from the name.
    """
    if not any(text.startswith(":") for text in names.categories or ()):
        return {}
    return {
        "name": recoded(names, lambda text: text.partition(":")[2] if ":" in text else text),
        "domain": recoded(names, lambda text: text.partition(":")[0] or None),
    }


def thread_columns(made: Made) -> Mapping[str, Column]:
    """The columns of ``threads``: those that the trace of calls names."""
    named: dict[tuple[int, int], str | None] = {}
    for gathered in made.found:
        if gathered.kind == "api_trace" and gathered.text("thread_name") is not None:
            columns = taken(gathered, np.arange(gathered.length), ("process", "thread", "thread_name"))
            for process, thread, name in set(zip(*(column.tolist() for column in columns.values()), strict=True)):
                if process is not None and thread is not None:
                    named.setdefault((process, thread), name)
    if not named:
        return {}
    keys = sorted(named)
    return {
        "process": Column(np.array([key[0] for key in keys], dtype=np.int64)),
        "thread": Column(np.array([key[1] for key in keys], dtype=np.int64)),
        "name": text_column(named[key] for key in keys),
    }
