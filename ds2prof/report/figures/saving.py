"""Figures as files: PNG, SVG and PDF, whole or not at all, the same bytes each time, with a description inside."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from ds2prof.errors import UsageError
from ds2prof.measurements import written_whole
from ds2prof.report.figures.canvas import description
from ds2prof.report.style import Theme, drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Form = Literal["png", "svg", "pdf"]
FORMS: Final[tuple[Form, ...]] = get_args(Form)
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9.-]+")
_MOST_NAME: Final = 120
_ROOT: Final = re.compile(r"<svg\b")


def file_name(figure: str, measurement: str | None, form: Form, *, suffix: str = "") -> str:
    """``FIGURE_MEASUREMENT.FORM``, without what a file name should not hold; of a figure over all, ``FIGURE.FORM``."""
    if measurement is None:
        return f"{figure}{suffix}.{form}"
    base = _UNSAFE.sub("_", measurement.rsplit("/", 1)[-1])
    for ending in (".gz", ".json", ".csv", ".sqlite", ".nvvp", ".jsonl", ".ncu-rep", ".nsys-rep", ".txt"):
        base = base.removesuffix(ending)
    return f"{figure}_{base[:_MOST_NAME].strip('._') or 'measurement'}{suffix}.{form}"


def save(figure: Figure, path: str | Path, *, form: Form | None = None, theme: Theme = "light") -> Path:
    """The path, to which the figure was written: as its ending says, or as ``form`` does.

    The same figure gives the same bytes: no date is in them and the ids of an SVG are fixed. What the figure shows in
    words is in the file: an SVG's title and description, a PNG's and a PDF's metadata.

    Raises:
        UsageError: the ending is none of PNG, SVG and PDF.
        CaptureError: the file cannot be written.
    """
    target = Path(path)
    kind = form or target.suffix.lower().removeprefix(".")
    if kind not in FORMS:
        raise UsageError(f"{target}: a figure is written as {', '.join(FORMS)}")
    told = " ".join(description(ax) for ax in figure.axes if ax.get_label())
    title = next((ax.get_title("left") or ax.get_title() for ax in figure.axes), "")
    with written_whole(target) as partial, drawing(theme):
        if kind == "svg":
            partial.write_text(_svg(figure, title=title, told=told), encoding="utf-8")
        else:
            figure.savefig(partial, format=kind, metadata=_metadata(kind, title, told))
    return target


def _metadata(kind: str, title: str, told: str) -> dict[str, Any]:
    if kind == "png":
        return {"Title": _latin(title), "Description": _latin(told), "Software": "ds2prof"}
    return {"Title": title, "Subject": told, "Creator": "ds2prof", "Producer": None, "CreationDate": None}


def _latin(text: str) -> str:
    """The text as a PNG's metadata can hold it."""
    return text.encode("latin-1", "replace").decode("latin-1")


def _svg(figure: Figure, *, title: str, told: str) -> str:
    """The figure as an SVG whose first elements are its title and description, as screen readers want it."""
    from io import StringIO

    stream = StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": "ds2prof"})
    made = stream.getvalue()
    opening = _ROOT.search(made)
    assert opening is not None
    end = made.index(">", opening.end()) + 1
    head = made[: end - 1] + ' role="img" aria-labelledby="ds2prof-title ds2prof-description">'
    words = (
        f'\n <title id="ds2prof-title">{escape(title)}</title>\n <desc id="ds2prof-description">{escape(told)}</desc>'
    )
    return head + words + made[end:]
