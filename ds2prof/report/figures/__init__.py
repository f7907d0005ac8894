"""The figures by name: what each shows, of which tables, and of one measurement or of all together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ds2prof.analysis import core, phases
from ds2prof.analysis import ledger as accounts
from ds2prof.analysis import sweep as rates
from ds2prof.analysis.roofline import tables as roofs
from ds2prof.analysis.uncertainty import iterations as steps
from ds2prof.report.figures import iterations, kernels, lanes, ledger, roofline, sweeps, timeline
from ds2prof.report.style import Theme
from ds2prof.tables import Profile

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawn:
    """One kind of figure.

    Attributes:
        text: what it shows, a line.
        tables: the tables that it is drawn from.
        of_one: draws it of one measurement; None for a figure over all of them.
        of_all: draws it over several measurements; None for a figure of one.
        options: further arguments of the function.
    """

    text: str
    tables: Sequence[str]
    of_one: Callable[..., Any] | None = None
    of_all: Callable[..., Any] | None = None
    options: Mapping[str, Any] | None = None


_NAMES: Final = ("kernels", "counters", "devices", "ops")

FIGURES: Final[Mapping[str, Drawn]] = {
    "kernel-times": Drawn("the longest kernels by exclusive time, coloured by class", _NAMES, kernels.kernel_times),
    "class-times": Drawn("time by class of kernels", _NAMES, kernels.kernel_times, options={"by": "class"}),
    "kernel-utilization": Drawn(
        "the busiest pipe's utilization by the longest kernels", core.TABLES, kernels.kernel_utilization
    ),
    "core-utilization": Drawn("each pipe's utilization while kernels ran", core.TABLES, kernels.core_utilization),
    "ledger": Drawn("where the window went, by device", accounts.TABLES, ledger.ledger),
    "ledger-by-phase": Drawn(
        "where the window went, by phase", accounts.TABLES, ledger.ledger, options={"per": "phase"}
    ),
    "ledger-by-iteration": Drawn(
        "where the window went, by iteration", accounts.TABLES, ledger.ledger, options={"per": "iteration"}
    ),
    "phase-times": Drawn("kernel time by phase", (*phases.TABLES, *phases.MORE["phase"]), kernels.phase_times),
    "layer-times": Drawn(
        "kernel time by layer", (*phases.TABLES, *phases.MORE["layer"]), kernels.phase_times, options={"by": "layer"}
    ),
    "roofline": Drawn("kernels by intensity and rate beneath the roofs", roofs.TABLES, roofline.roofline),
    "gains": Drawn("what there is to gain, by kernel", roofs.TABLES, kernels.gains),
    "timeline": Drawn("iterations, phases and streams over the window", lanes.TABLES, timeline.timeline),
    "iterations": Drawn("the time of each iteration, and their mean", steps.TABLES, iterations.iteration_times),
    "core-by-batch": Drawn("each pipe's utilization by batch size", core.TABLES, of_all=sweeps.core_by_batch),
    "throughput-by-batch": Drawn(
        "samples/s by batch size, with the curve of saturation and its knee",
        rates.TABLES,
        of_all=sweeps.throughput_by_batch,
    ),
}
"""Name -> figure, in the order in which they are drawn."""


def draw(name: str, profiles: Profile | Sequence[Profile], *, theme: Theme = "light") -> Figure:
    """The figure of that name, of one measurement or over several; nothing of pyplot's is touched.

    Raises:
        MissingDataError: the measurement lacks what the figure shows.
    """
    from matplotlib.figure import Figure

    kind = FIGURES[name]
    made = Figure()
    if kind.of_all is not None:
        kind.of_all(profiles, made, theme=theme, **(kind.options or {}))
        return made
    assert kind.of_one is not None
    profile = profiles if isinstance(profiles, Profile) else profiles[0]
    profile.require(*kind.tables)
    kind.of_one(profile, made, theme=theme, **(kind.options or {}))
    return made
