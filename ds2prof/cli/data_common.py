"""What the commands of ``ds2prof data`` share: how far they are, and the options that shape a manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ds2prof.errors import ExistsError, MissingDataError, UsageError
from ds2prof.speech.manifests import FORMS, Utterance, by_duration, measured, pruned, write_manifest

if TYPE_CHECKING:
    from ds2prof.cli.progress import Progress

Command = TypeVar("Command", bound=Callable[..., Any])

_MOST_SAID = 10
"""Faults that are told one by one on a terminal."""


class Count:
    """Is told how many are done and how many there are, and says so on standard error."""

    def __init__(self, what: str, progress: Progress) -> None:
        self._what = what
        self._progress = progress

    def __call__(self, done: int, of: int) -> None:
        """So many are done."""
        self._progress.show(lambda: f"{self._what}: {done:,} of {of:,}")

    def echo(self, line: str) -> None:
        """A line of results, on standard output; on a terminal the progress makes way for it."""
        self._progress.done()
        click.echo(line)


@contextmanager
def counted(what: str) -> Iterator[Count]:
    """A count of what is being done, that is gone from the terminal when the block ends."""
    from ds2prof.capture.processes import standard_streams
    from ds2prof.cli.progress import Progress

    progress = Progress(standard_streams()[1])
    try:
        yield Count(what, progress)
    finally:
        progress.done()


def shaping(command: Command) -> Command:
    """The command with the options of :func:`shape`."""
    for option in reversed(
        (
            click.option(
                "-o",
                "--output",
                required=True,
                type=click.Path(path_type=Path, dir_okay=False),
                help="The manifest to write.",
            ),
            click.option(
                "--form",
                type=click.Choice(FORMS),
                help="How it is written.  [default: csv; for a name that ends in .json json, or rnnt if it must be]",
            ),
            click.option("--min-duration", type=float, metavar="SECONDS", help="Leave out what is shorter."),
            click.option("--max-duration", type=float, metavar="SECONDS", help="Leave out what is longer."),
            click.option("--unsorted", is_flag=True, help="Keep the order; else the shortest comes first."),
            click.option("--absolute", is_flag=True, help="Write absolute paths, as the ancestors need them."),
            click.option("--force", is_flag=True, help="Replace a manifest that is there."),
        )
    ):
        command = option(command)
    return command


def shape(
    utterances: Sequence[Utterance],
    *,
    output: Path,
    form: str | None,
    min_duration: float | None,
    max_duration: float | None,
    unsorted: bool,
    absolute: bool,
    force: bool,
) -> None:
    """Writes the utterances, sorted and pruned, and says on standard error what became of them."""
    refuse_output(output, force=force)
    if min_duration is not None and max_duration is not None and min_duration > max_duration:
        raise UsageError(f"--min-duration {min_duration:g}: is more than --max-duration {max_duration:g}")
    with counted("durations") as progress:
        known, faults = measured(utterances, progress=progress)
    tell(faults)
    if not known:
        raise MissingDataError(f"{output}: would be empty: none of {len(utterances):,} sounds can be read")
    kept = pruned(known, min_s=min_duration, max_s=max_duration)
    if not kept:
        raise UsageError(f"{output}: would be empty: none of {len(known):,} utterances has such a duration")
    write_manifest(output, kept if unsorted else by_duration(kept), form=form, absolute=absolute)
    total_s = sum(utterance.dur_s or 0.0 for utterance in kept)
    length = f"{total_s / 3600:.2f} h" if total_s >= 3600 else f"{total_s:.1f} s"
    left_out = f"; {len(known) - len(kept):,} too short or too long" if len(kept) < len(known) else ""
    unread = f"; {len(faults):,} could not be read" if faults else ""
    click.echo(f"{output}: {len(kept):,} utterances, {length}{left_out}{unread}", err=True)


def refuse_output(output: Path, *, force: bool) -> None:
    """Nothing, if the file may be written.

    Raises:
        ExistsError: it exists, and ``force`` was not given.
    """
    if output.exists() and not force:
        raise ExistsError(f"{output}: exists already; --force replaces it")


def tell(faults: Sequence[str]) -> None:
    """Says some faults on standard error: all of them to a file or a pipe, and the first to a terminal."""
    from ds2prof.capture.processes import standard_streams
    from ds2prof.report.text import cleaned

    most = _MOST_SAID if standard_streams()[1].isatty() else len(faults)
    for fault in faults[:most]:
        click.echo(f"ds2prof: {cleaned(fault)}", err=True)
    if len(faults) > most:
        more = f"and {len(faults) - most:,} more like these; 2> FILE keeps them all"
        click.echo(f"ds2prof: {more}", err=True)
