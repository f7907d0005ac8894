"""Figures. Each function draws one answer on the axes it is given and returns them; nothing is shown or saved here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ds2prof.analysis import core, kernels, phases
from ds2prof.analysis.answers import Answer
from ds2prof.report.text import cleaned, shortened
from ds2prof.tables import Profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999", "#000000")
"""Okabe and Ito's palette, which the colour-blind can tell apart."""
_NS_PER_MS: Final = 1e6


def kernel_times(profile: Profile, ax: Axes | None = None, *, by: str = "name", top: int = 15) -> Axes:
    """Bars of the ``top`` kernels (operators of a CPU run) by exclusive time, in ms, coloured by class."""
    answer = kernels.kernel_times(profile, by).head(top)
    ax = ax or _axes(len(answer))
    times = answer.columns["excl_ns"] if any(answer.columns["excl_ns"]) else answer.columns["dur_ns"]
    classes = answer.columns.get("class", answer.columns["name"])
    colour_of = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(dict.fromkeys(classes))}
    labels = _labels(answer)
    ax.barh(labels, [(time or 0) / _NS_PER_MS for time in times], color=[colour_of[name] for name in classes])
    if "class" in answer.columns:
        _legend(ax, colour_of)
    what = "Host operators" if profile.meta.domain == "cpu" else "Kernels"
    return _finished(ax, f"{what} by {by}", "exclusive time (ms)" if any(answer.columns["excl_ns"]) else "time (ms)")


def kernel_utilization(profile: Profile, ax: Axes | None = None, *, pipe: str | None = None, top: int = 15) -> Axes:
    """Bars of the ``top`` longest kernels by utilization of one pipe, in percent; the mean of all as a line.

    ``pipe`` is the busiest of the file where none is named. Blind spot: counters are read under replay.

    Raises:
        MissingDataError: the file holds no pipe counters.
    """
    means = {row["pipe"]: row["utilization"] for row in core.core_utilization(profile).rows()}
    chosen = pipe or max(means, key=lambda name: means[name] or 0.0)
    answer = kernels.kernel_times(profile).head(top)
    ax = ax or _axes(len(answer))
    values = answer.columns[chosen]
    labels = [
        f"{label} (unknown)" if value is None else label for label, value in zip(_labels(answer), values, strict=True)
    ]
    ax.barh(labels, [100 * (value or 0.0) for value in values], color=COLOURS[0])
    mean = means[chosen]
    if mean is not None:
        ax.axvline(100 * mean, color=COLOURS[5], linestyle="--", label=f"all kernels: {100 * mean:.1f} %")
        ax.legend(loc="lower right", frameon=False)
    return _finished(ax, f"Utilization of the {chosen} pipe, longest kernels first", "share of the pipe's peak (%)")


def core_utilization(profile: Profile, ax: Axes | None = None) -> Axes:
    """Bars of each pipe's utilization while kernels ran, in percent.

    Raises:
        MissingDataError: the file holds no pipe counters.
    """
    rows = core.core_utilization(profile).rows()
    many = len({row["device"] for row in rows}) > 1
    ax = ax or _axes(len(rows))
    labels = [f"{row['pipe']} ({row['device']})" if many else row["pipe"] for row in rows]
    ax.barh(labels, [100 * (row["utilization"] or 0.0) for row in rows], color=COLOURS[0])
    return _finished(ax, "Core utilization while kernels ran", "share of each pipe's own peak (%)")


def phase_times(profile: Profile, ax: Axes | None = None, *, by: str = "phase") -> Axes:
    """Bars of the time by phase (or ``layer``, ``iteration``), in ms.

    Raises:
        MissingDataError: the file holds no such ranges.
    """
    answer = phases.range_times(profile, by)
    ax = ax or _axes(len(answer))
    labels = ["(outside)" if key is None else str(key) for key in answer.columns[by]]
    ax.barh(labels, [(time or 0) / _NS_PER_MS for time in answer.columns["excl_ns"]], color=COLOURS[0])
    what = "Host time" if profile.meta.domain == "cpu" else "Kernel time"
    return _finished(ax, f"{what} by {by}", "exclusive time (ms)")


def _axes(rows: int) -> Axes:
    import matplotlib.pyplot as plt

    _, ax = plt.subplots(figsize=(9, 1.2 + 0.32 * max(rows, 3)), layout="constrained")
    return ax


def _labels(answer: Answer) -> Sequence[str]:
    """Names short enough to stand beside a bar, told apart by a number where shortening made two equal."""
    seen: dict[str, int] = {}
    labels = []
    for name in answer.columns["name"]:
        label = shortened(cleaned(str(name)), 48).replace("$", r"\$")
        seen[label] = seen.get(label, 0) + 1
        labels.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return labels


def _legend(ax: Axes, colour_of: dict[Any, str]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, label=name) for name, colour in colour_of.items()]
    ax.legend(handles=handles, loc="lower right", frameon=False)


def _finished(ax: Axes, title: str, xlabel: str) -> Axes:
    ax.invert_yaxis()
    ax.set_title(title, loc="left")
    ax.set_xlabel(xlabel)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.set_xlim(left=0)
    return ax
