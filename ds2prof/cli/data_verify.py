"""``ds2prof data verify``: whether a corpus is what its list says, and whether a manifest's sounds can be read."""

from __future__ import annotations

from pathlib import Path

import click

from ds2prof.cli.data_common import counted
from ds2prof.cli.pages import Page
from ds2prof.errors import Ds2profError, UsageError


@click.command("verify", cls=Page)
@click.argument("path", type=click.Path(path_type=Path), metavar="FOLDER|MANIFEST")
@click.option(
    "--hashes",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The folder's list of hashes.  [default: SHA256SUMS in it]",
)
def command(path: Path, hashes: Path | None) -> None:
    """Compare a FOLDER with its list of hashes, or decode every sound that a MANIFEST names.

    \b
    ds2prof data verify corpus
    ds2prof data verify corpus --hashes corpus.sha256
    ds2prof data verify train.csv

    Of a folder: files that are missing, changed, unreadable or extra. Of a manifest: sounds and transcripts that cannot
    be read, WAV files that are cut off, empty transcripts, and durations that are wrong.

    Differences go to standard output, one a line.

    Exit codes: 0 nothing differs, 1 something does or cannot be read, 2 wrong usage.
    """
    if path.is_dir():
        _folder(path, hashes)
    elif hashes is not None:
        raise UsageError("--hashes: belongs to a folder; give the corpus's folder with it")
    else:
        _manifest(path)


def _folder(folder: Path, named: Path | None) -> None:
    from ds2prof.report.text import cleaned
    from ds2prof.speech.verification import HASHES_NAME, compared

    path = named or folder / HASHES_NAME
    if named is None and not path.exists():
        raise UsageError(f"{folder}: has no {HASHES_NAME}; give --hashes, or write one with ds2prof data hash")
    with counted("files") as progress:
        found = compared(folder, path, progress=progress)
    for label, names in found.kinds().items():
        for name in names:
            click.echo(f"{label}  {cleaned(name)}")
    if not found.none:
        counts = ", ".join(f"{len(names):,} {label}" for label, names in found.kinds().items())
        raise Ds2profError(f"{folder}: {counts}; {found.same:,} of {found.listed:,} files are as listed")
    click.echo(f"{folder}: all {found.same:,} files are as listed in {path}", err=True)


def _manifest(path: Path) -> None:
    from ds2prof.report.text import cleaned
    from ds2prof.speech.manifests import read_manifest
    from ds2prof.speech.verification import unreadable

    utterances = read_manifest(path)
    bad = 0
    with counted("sounds") as progress:
        for fault in unreadable(utterances, progress=progress):
            bad += 1
            progress.echo(cleaned(fault))
    if bad:
        raise Ds2profError(f"{path}: {bad:,} of {len(utterances):,} utterances are not as they should be")
    click.echo(f"{path}: all {len(utterances):,} utterances can be read", err=True)
