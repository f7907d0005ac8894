"""The one style of figures and pages: roles, each with a light and a dark colour, fonts, and matplotlib's settings.

Data are told apart by the colours of Okabe and Ito, which the colour-blind can distinguish, in both themes. There are
more causes and classes than that: a violet and a brown join them, as far from the others as can be had, and a hatch
tells apart the greys. The lighter colours stand inside an outline, which has the contrast that they lack. One look
always means one thing in one figure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

Theme = Literal["light", "dark"]
THEMES: Final[tuple[Theme, ...]] = ("light", "dark")


@dataclass(frozen=True)
class Shade:
    """A colour as '#RRGGBB' in the light theme and in the dark one."""

    light: str
    dark: str

    def of(self, theme: Theme) -> str:
        """The colour in this theme."""
        return self.dark if theme == "dark" else self.light


BLUE: Final = Shade("#0072B2", "#0072B2")
VERMILION: Final = Shade("#D55E00", "#D55E00")
GREEN: Final = Shade("#009E73", "#009E73")
PURPLE: Final = Shade("#CC79A7", "#CC79A7")
ORANGE: Final = Shade("#E69F00", "#E69F00")
SKY: Final = Shade("#56B4E9", "#56B4E9")
YELLOW: Final = Shade("#F0E442", "#F0E442")
CHARCOAL: Final = Shade("#3D444B", "#DDE2E7")
VIOLET: Final = Shade("#660088", "#7722AA")
BROWN: Final = Shade("#884400", "#884400")
GREY: Final = Shade("#A8ADB3", "#7A828B")

SERIES: Final = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, YELLOW, CHARCOAL)
"""Series 1 to 8, those that stand out from the background first."""

SURFACES: Final[Mapping[str, Shade]] = {
    "background": Shade("#FFFFFF", "#14181D"),
    "surface": Shade("#F4F6F8", "#1D232A"),  # panels and table heads, a little off the background
    "ink": Shade("#16191D", "#E9EDF1"),  # text
    "ink_soft": Shade("#545C65", "#A4AEB9"),  # second-rank text, ticks, outlines
    "grid": Shade("#DDE1E5", "#343C45"),
    "outline": Shade("#5A626B", "#98A2AD"),  # around every filled shape
    "link": Shade("#005C91", "#6CB8EA"),
    "good": Shade("#00734F", "#35C79A"),
    "bad": Shade("#B23A00", "#FF8A4C"),
    "accent": Shade("#B23A01", "#FF8A4D"),  # a mean, a limit, a knee: what the eye should find
}

CAUSES: Final[Mapping[str, tuple[Shade, str]]] = {
    "compute": (BLUE, ""),
    "exposed_communication": (PURPLE, ""),
    "exposed_copy": (SKY, ""),
    "queued": (YELLOW, ""),
    "launch_call": (ORANGE, ""),
    "profiler_overhead": (GREY, "xxx"),
    "synchronize": (VERMILION, ""),
    "allocation": (BROWN, ""),
    "module_load": (VIOLET, ""),
    "data": (GREEN, ""),
    "host": (CHARCOAL, ""),
    "head": (GREY, "///"),
    "tail": (GREY, "\\\\\\"),
    "unknown": (GREY, ""),
}
"""Cause of the idle ledger -> (colour, hatch)."""

PIPES: Final[Mapping[str, tuple[Shade, str]]] = {
    "fma": (BLUE, ""),
    "fp16": (SKY, ""),
    "fp64": (PURPLE, ""),
    "tensor": (VERMILION, ""),
    "tc": (BROWN, ""),
    "xu": (GREEN, ""),
    "alu": (ORANGE, ""),
    "lsu": (YELLOW, ""),
    "tma": (CHARCOAL, ""),
}
"""Pipe -> (colour, hatch)."""

CLASSES: Final[Mapping[str, tuple[Shade, str]]] = {
    "gemm": (BLUE, ""),
    "convolution": (VERMILION, ""),
    "recurrent": (GREEN, ""),
    "normalization": (YELLOW, ""),
    "elementwise": (ORANGE, ""),
    "reduction": (CHARCOAL, ""),
    "ctc": (VIOLET, ""),
    "softmax": (BROWN, ""),
    "copy": (SKY, ""),
    "communication": (PURPLE, ""),
    "other": (GREY, ""),
}
"""Class of kernels -> (colour, hatch); copies and communication look as they do in the ledger."""

PHASES: Final[Mapping[str, tuple[Shade, str]]] = {
    "data": (GREEN, ""),
    "h2d": (SKY, ""),
    "forward": (BLUE, ""),
    "loss": (YELLOW, ""),
    "backward": (VERMILION, ""),
    "clip": (PURPLE, ""),
    "optimizer": (ORANGE, ""),
}
"""Phase of a training step -> (colour, hatch)."""

_FAMILIES: Final[Mapping[str, Mapping[str, tuple[Shade, str]]]] = {
    "cause": CAUSES,
    "pipe": PIPES,
    "class": CLASSES,
    "phase": PHASES,
}

ROLES: Final[Mapping[str, Shade]] = {
    **SURFACES,
    **{f"series_{number}": shade for number, shade in enumerate(SERIES, start=1)},
    "series_rest": GREY,
    **{f"{family}_{name}": shade for family, members in _FAMILIES.items() for name, (shade, _) in members.items()},
}
"""Role -> its colours. Roles of one light colour have one dark colour, so that a page can swap colour for colour."""

HATCHES: Final[Mapping[str, str]] = {
    f"{family}_{name}": hatch for family, members in _FAMILIES.items() for name, (_, hatch) in members.items() if hatch
}
"""Role -> matplotlib's hatch, of the roles that have one."""

FONTS: Final = ("DejaVu Sans", "Verdana", "Arial")
"""Fonts of figures: matplotlib brings the first, and the second has its widths."""
MONOSPACE: Final = ("DejaVu Sans Mono", "Menlo", "Consolas")
FONT_POINTS: Final = 9.5
DASHES: Final = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
"""Markers of series 1 to 8: lines are told apart by more than their colour."""


def colour(role: str, theme: Theme = "light") -> str:
    """The colour of a role; KeyError for a role that is none."""
    return ROLES[role].of(theme)


def role_of(family: Literal["cause", "pipe", "class", "phase"], name: str | None) -> str:
    """The role of a member of a family; ``series_rest`` for one that has no colour of its own."""
    role = f"{family}_{name}"
    return role if role in ROLES else "series_rest"


def series(index: int) -> str:
    """The role of the series with this index, from 0; they repeat after eight."""
    return f"series_{index % len(SERIES) + 1}"


def label_colour(role: str, theme: Theme = "light") -> str:
    """Black or white, whichever is read better on a surface of the role's colour."""
    light = luminance(colour(role, theme))
    return "#FFFFFF" if 1.05 / (light + 0.05) > (light + 0.05) / 0.05 else "#000000"


def luminance(hexadecimal: str) -> float:
    """The relative luminance of '#RRGGBB', 0 for black to 1 for white, as the Web's accessibility rules define it."""
    parts = [int(hexadecimal[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    """The ratio of two colours' luminances, 1 to 21."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def css_variables(theme: Theme = "light") -> dict[str, str]:
    """CSS variable -> colour, ``--ink`` and so on, for a page."""
    return {f"--{role.replace('_', '-')}": shade.of(theme) for role, shade in ROLES.items()}


def settings(theme: Theme = "light") -> dict[str, Any]:
    """Settings of matplotlib for a theme; every figure of ds2prof is drawn and saved under them."""
    ink, soft = colour("ink", theme), colour("ink_soft", theme)
    background, grid = colour("background", theme), colour("grid", theme)
    return {
        "font.family": "sans-serif",
        "font.sans-serif": list(FONTS),
        "font.monospace": list(MONOSPACE),
        "font.size": FONT_POINTS,
        "axes.titlesize": FONT_POINTS + 2.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 10.0,
        "axes.labelsize": FONT_POINTS,
        "axes.labelcolor": soft,
        "axes.titlecolor": ink,
        "axes.edgecolor": soft,
        "axes.linewidth": 0.8,
        "axes.facecolor": background,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.prop_cycle": _cycle(theme),
        "figure.facecolor": background,
        "figure.edgecolor": background,
        "figure.dpi": 100.0,
        "savefig.facecolor": background,
        "savefig.edgecolor": background,
        "savefig.dpi": 160.0,
        "text.color": ink,
        "xtick.color": soft,
        "ytick.color": soft,
        "xtick.labelcolor": ink,
        "ytick.labelcolor": ink,
        "grid.color": grid,
        "grid.linewidth": 0.8,
        "patch.edgecolor": colour("outline", theme),
        "patch.linewidth": 0.6,
        "patch.force_edgecolor": True,
        "hatch.color": colour("outline", theme),
        "hatch.linewidth": 0.7,
        "lines.linewidth": 1.6,
        "lines.markersize": 5.0,
        "legend.frameon": False,
        "legend.borderpad": 0.0,
        "legend.fontsize": FONT_POINTS - 1,
        "svg.fonttype": "none",
        "svg.hashsalt": "ds2prof",
        "pdf.fonttype": 42,
        "pdf.compression": 6,
    }


def _cycle(theme: Theme) -> Any:
    from cycler import cycler

    return cycler(color=[shade.of(theme) for shade in SERIES])


@contextmanager
def drawing(theme: Theme = "light") -> Iterator[None]:
    """Draw and save figures in the style, whatever the user's own settings are; they hold again afterwards."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()  # keeps the backend
        wanted: Any = settings(theme)  # matplotlib's own hints list every name there is
        mpl.rcParams.update(wanted)
        yield
