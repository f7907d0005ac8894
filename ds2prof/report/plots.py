"""Figures. Each function draws one answer on the axes it is given and returns them; nothing is shown or saved here.

    ds2prof.plots.ledger(profile)                        a new figure, which a notebook shows by itself
    ds2prof.plots.ledger(profile, ax)                    on axes of yours
    ds2prof.plots.save(figure, "ledger.svg")             any figure, the same bytes each time

``ax`` may be axes, an empty :class:`matplotlib.figure.Figure` to fill, or None. ``theme`` is ``light`` or ``dark``.
"""

from __future__ import annotations

from ds2prof.report.figures import FIGURES, draw
from ds2prof.report.figures.canvas import description
from ds2prof.report.figures.iterations import iteration_times
from ds2prof.report.figures.kernels import core_utilization, gains, kernel_times, kernel_utilization, phase_times
from ds2prof.report.figures.ledger import ledger
from ds2prof.report.figures.roofline import roofline
from ds2prof.report.figures.saving import save
from ds2prof.report.figures.sweeps import batch_of, core_by_batch, throughput_by_batch
from ds2prof.report.figures.timeline import timeline
from ds2prof.report.style import SERIES, Theme, colour, role_of

COLOURS = tuple(shade.light for shade in SERIES)
"""Okabe and Ito's palette, which the colour-blind can tell apart."""


def class_colour(name: str, theme: Theme = "light") -> str:
    """The colour of a class of kernels in all figures."""
    return colour(role_of("class", name), theme)


__all__ = [
    "COLOURS",
    "FIGURES",
    "batch_of",
    "class_colour",
    "core_by_batch",
    "core_utilization",
    "description",
    "draw",
    "gains",
    "iteration_times",
    "kernel_times",
    "kernel_utilization",
    "ledger",
    "phase_times",
    "roofline",
    "save",
    "throughput_by_batch",
    "timeline",
]
