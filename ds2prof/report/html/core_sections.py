"""How much of the pipes was used, as far as the file tells, and the time by phase and layer."""

from __future__ import annotations

from typing import Final

from ds2prof import counters
from ds2prof.analysis import estimates, phases, questions, rates
from ds2prof.analysis.summary import Summary, vendor
from ds2prof.errors import MissingDataError
from ds2prof.report.html.cells import grid, lacking, of_window, said, without_lone
from ds2prof.report.html.model import Grid, Section
from ds2prof.report.html.words import how_counters
from ds2prof.tables import Profile

TIMES: Final = ("calls", "dur_ns", "excl_ns", "share", "copy_dur_ns", "host_dur_ns")
PIPES: Final = tuple(rates.COLUMNS)
FOLDED: Final = 30
_MOST_LAYERS: Final = 400


def core(profile: Profile, found: Summary, ident: str) -> Section:
    """The section of the pipes: from counters or samples, else estimates that are called so."""
    title = "Core utilization"
    terms = ("utilization", "effective_utilization", "coverage")
    if found.pipes is not None:
        columns = (
            "device",
            "pipe",
            "utilization",
            "effective_utilization",
            "coverage",
            "launches",
            "readings",
            "metric",
        )
        shown = without_lone(found.pipes, "device")
        grids = [
            grid(
                f"{ident}-pipes",
                "Each pipe's share of its own peak rate",
                shown,
                columns=[name for name in columns if name in shown.columns],
                key="pipe",
                bars=("utilization", "effective_utilization"),
                bounded=True,
            ),
            *_throughputs(profile, ident),
        ]
        return Section(ident, title, grids=grids, notes=said(found.pipes.notes), terms=terms)
    return _estimated(profile, ident)


def _throughputs(profile: Profile, ident: str) -> list[Grid]:
    try:
        answer = without_lone(questions.answers(profile, rates.BY)[0], "device")
    except MissingDataError:
        return []
    columns = ("device", "throughput", "utilization", "coverage", "metric")
    caption = "Throughput of SM, caches and memory, and occupancy, while kernels ran"
    return [grid(f"{ident}-throughput", caption, answer, columns=columns, key="throughput", bars=("utilization",))]


def _estimated(profile: Profile, ident: str) -> Section:
    """What can be said without counters, called by its name: lower bounds and estimates."""
    how = how_counters(vendor(profile))
    lead = f"No counters of the pipes in this file: {how}. Below are estimates and lower bounds, not readings."
    grids: list[Grid] = []
    lines: list[str] = []
    for by, caption, columns in (
        (
            "occupancy",
            "Estimates from grids and times: how far SMs and warps could have been filled",
            ("device", "length_ns", "gpu_compute_utilization", "est_sm_efficiency", "est_achieved_occupancy",
             "coverage"),
        ),
        (
            "bound",
            "Lower bounds from shapes: what kernels must have used at least, the longest first",
            ("name", "class", "launches", "dur_ns", "min_tensor_utilization", "min_flop_utilization",
             "min_dram_utilization", "est_dram_utilization", "flop_coverage"),
        ),
    ):  # fmt: skip
        try:
            answer = estimates.answer(profile, by)
        except MissingDataError as error:
            lines.append(lacking(profile, error))
            continue
        if by == "occupancy":
            answer = of_window(answer)
        grids.append(grid(f"{ident}-{by}", caption, answer, columns=columns, key=columns[0], top=12))
        lines += said(answer.notes)
    title = "Core utilization: estimates" if grids else "Core utilization"
    if not grids:
        return Section(ident, title, missing=f"no pipe counters in this file; {how}", terms=("utilization",))
    return Section(ident, title, lead=lead, grids=grids, notes=lines, terms=("occupancy", "bounds", "utilization"))


# ---- phases and layers


def phases_and_layers(profile: Profile, ident: str) -> Section:
    """The section of phases and layers: their times, and their pipes where the file has counters."""
    grids: list[Grid] = []
    lines: list[str] = []
    missing: list[str] = []
    for by, plural in (("phase", "phases"), ("layer", "layers")):
        try:
            answer = phases.range_times(profile, by)
        except MissingDataError as error:
            missing.append(lacking(profile, error))
            continue
        has_pipes = [name for name in PIPES if name in answer.columns]
        caption = f"By {by}" + (": time, and each pipe's share of its own peak" if has_pipes else ": time")
        grids.append(
            grid(
                f"{ident}-{by}",
                caption,
                answer,
                columns=(by, *TIMES, *has_pipes, *(("coverage",) if has_pipes else ())),
                bars=("share", *(name for name in has_pipes if name in counters.PIPES)),
                top=_MOST_LAYERS,
                nothing=f"(outside any {by})",
                folded=FOLDED,
            )
        )
        lines += said(answer.notes)
        if not has_pipes and profile.meta.domain == "gpu":
            missing.append(f"core utilization by {plural}: {how_counters(vendor(profile))}")
    title = "By phase and layer"
    if not grids:
        return Section(ident, title, missing="; ".join(missing), terms=("phase", "layer"))
    terms = ("phase", "layer", "excl_ns", "share", "host_dur_ns", "copy_dur_ns", "utilization")
    return Section(ident, title, grids=grids, notes=[*dict.fromkeys([*lines, *missing])], terms=terms)
