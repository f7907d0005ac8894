"""What several commands share: files, colour by the conventions of terminal programs, and where the output goes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ds2prof.measurements import written_whole

if TYPE_CHECKING:
    from ds2prof.report.paint import Paint

FILE: Final = click.Path()
"""The type of an argument that names a measurement: a shell completes it; what is wrong with it its reader says."""


class _OutputPath(click.Path):
    """A file to write to; ``-`` is standard output, as if the option were not there."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; None for ``-``."""
        return None if str(value) == "-" else super().convert(value, param, ctx)


OUTPUT: Final = click.option(
    "-o", "--output", type=_OutputPath(path_type=Path), help="Write to this file, not to standard output."
)
"""The option, for commands that print text; its value goes to :func:`emitted`."""
CHOICES: Final = ("auto", "always", "never")
COLOR: Final = click.option(
    "--color",
    type=click.Choice(CHOICES),
    default="auto",
    show_default=True,
    help="Colour: auto is on a terminal alone; NO_COLOR and FORCE_COLOR decide before it.",
)
"""The option, for commands that print tables."""


def wants_colour(choice: str, *, stream: Any = None, environment: Mapping[str, str] | None = None) -> bool:
    """Whether to print colour: the option, then NO_COLOR, then FORCE_COLOR, then whether it goes to a terminal."""
    if choice != "auto":
        return choice == "always"
    found = os.environ if environment is None else environment
    if found.get("NO_COLOR"):
        return False
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE"):
        if found.get(name):
            return found[name] != "0"
    stream = sys.stdout if stream is None else stream
    return bool(stream is not None and stream.isatty() and found.get("TERM") != "dumb")


def paint_of(choice: str, *, to_file: bool = False) -> Paint:
    """What paints text for standard output, or for a file, which gets colour where it is asked for outright."""
    from ds2prof.report.paint import Paint

    return Paint(choice == "always" if to_file else wants_colour(choice))


def emitted(text: str, output: Path | None) -> None:
    """Print the text, or write it to the file, whole or not at all."""
    if output is None:
        click.echo(text, color=True)  # what has colour was asked to have it
        return
    with written_whole(output) as partial:
        partial.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
