"""The roofline: each name of kernels beneath the roofs of its device, and what there is to gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ds2prof import units
from ds2prof.analysis.answers import Answer
from ds2prof.analysis.roofline import tables as roofline
from ds2prof.analysis.roofline.kernels import kernel_work
from ds2prof.analysis.roofline.roof import device_peaks, rate_of
from ds2prof.errors import MissingDataError
from ds2prof.report.html import roofline_chart
from ds2prof.report.html.cells import grid, lacking, named, said
from ds2prof.report.html.model import Figure, Grid, Section
from ds2prof.tables import Profile

_TERMS: Final = ("roof", "gain_ns", "intensity", "flop", "flop_per_s")
_COLUMNS: Final = (
    *("name", "class", "calls", "excl_ns", "flop", "size_bytes", "intensity", "flop_per_s"),
    *("attainable_ns", "roof", "bound", "gain_ns", "step_gain_ns", "coverage"),
)
_GAINS: Final = ("name", "excl_ns", "attainable_ns", "roof", "bound", "gain_ns", "step_gain_ns", "gain_share")
_TOP: Final = 60
_FOLDED: Final = 15
_TOP_GAINS: Final = 12
_TIP_CHARACTERS: Final = 90


def section(profile: Profile, ident: str) -> Section:
    """The section of the roofline."""
    try:
        answer = roofline.roofline(profile)
    except MissingDataError as error:
        return Section(ident, "Roofline", missing=lacking(profile, error), terms=_TERMS)
    figures = [] if profile.meta.domain == "cpu" else _figures(profile, answer, ident)
    grids = _gain_grids(profile, ident)
    what = "Operators" if profile.meta.domain == "cpu" else "Kernels"
    grids.append(
        grid(f"{ident}-table", f"{what} beneath their roofs", answer, columns=_COLUMNS, top=_TOP, folded=_FOLDED)
    )
    notes = said(answer.notes)
    return Section(ident, "Roofline", figures=figures, grids=grids, notes=notes, terms=_TERMS)


def _gain_grids(profile: Profile, ident: str) -> list[Grid]:
    """What there is to gain by class and by layer, the largest first."""
    try:
        answer = roofline.gains(profile)
    except MissingDataError:
        return []
    made = []
    for group in ("class", "layer"):
        kept = [row for row, of in enumerate(answer.columns["group"]) if of == group]
        if kept:
            columns = {name: [values[row] for row in kept] for name, values in answer.columns.items()}
            if columns["step_gain_ns"] == columns["gain_ns"]:
                del columns["step_gain_ns"]  # a single step
            part = Answer(answer.by, columns)
            caption = f"What there is to gain, by {group}: exclusive time less attainable time"
            made.append(grid(f"{ident}-gain-{group}", caption, part, columns=_GAINS, bars=("roof",), top=_TOP_GAINS))
    return made


def _figures(profile: Profile, answer: Answer, ident: str) -> list[Figure]:
    rows = [row for row in answer.rows() if row["intensity"] and row["flop_per_s"]]
    if not rows:
        return []
    busy_ns = sum(row["excl_ns"] or row["dur_ns"] or 0 for row in answer.rows()) or 1
    dots = [
        roofline_chart.Dot(
            row["class"],
            row["intensity"],
            row["flop_per_s"],
            (row["excl_ns"] or row["dur_ns"] or 0) / busy_ns,
            _tip(row),
        )
        for row in rows
    ]
    ceilings, bytes_per_s = _ceilings(profile)
    alt = f"Roofline of {len(dots)} kernels by name"
    return [roofline_chart.roofline(f"{ident}-plot", dots, ceilings, bytes_per_s=bytes_per_s, alt=alt)]


def _tip(row: Mapping[str, Any]) -> str:
    roof = "" if row["roof"] is None else f", {units.format_ratio(row['roof'], digits=1)} of its roof ({row['bound']})"
    rate = f"{units.format_flop(row['flop_per_s'])}FLOP/s at {row['intensity']:.3g} FLOP/byte"
    time = units.format_ns_short(row["excl_ns"] if row["excl_ns"] is not None else row["dur_ns"])
    return f"{named(row['name'], limit=_TIP_CHARACTERS)}: {time}, {rate}{roof}"


def _ceilings(profile: Profile) -> tuple[list[roofline_chart.Ceiling], float | None]:
    """The roofs of the first device that has any, for the kinds of arithmetic that its kernels do."""
    peak = next((peak for peak in device_peaks(profile).values() if peak is not None), None)
    if peak is None:
        return [], None
    work = kernel_work(profile)
    kinds: Sequence[str] = tuple(work.counted.flop) if work.counted is not None else work.kinds
    found = dict(filter(None, (rate_of(peak, kind) for kind in kinds)))
    ceilings = [roofline_chart.Ceiling(kind.replace("_", " "), rate) for kind, rate in found.items()]
    return ceilings, float(peak.bandwidth_bytes_per_s)
