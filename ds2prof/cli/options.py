"""Options and arguments that several commands share: files, and colour by the conventions of terminal programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from ds2prof.report.paint import Paint

FILE: Final = click.Path()
"""The type of an argument that names a measurement: a shell completes it; what is wrong with it its reader says."""
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
