"""``ds2prof data hash``: the list of hashes of a corpus."""

from __future__ import annotations

from pathlib import Path

import click

from ds2prof.cli.data_common import counted, refuse_output
from ds2prof.cli.pages import Page


@click.command("hash", cls=Page)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="The list to write; - is standard output.  [default: SHA256SUMS in the folder]",
)
@click.option("--force", is_flag=True, help="Replace a list that is there.")
def command(folder: Path, output: Path | None, *, force: bool) -> None:
    """List the sha256 of every file below FOLDER, so that copies of the corpus can be compared with it.

    \b
    ds2prof data hash corpus                     writes corpus/SHA256SUMS
    ds2prof data hash corpus -o corpus.sha256
    ds2prof data verify corpus                   on another machine

    Bytes and paths below the folder count, and nothing else: no times, owners, order or archive. The list is sorted and
    in the form of sha256sum, which can check it too: cd corpus && sha256sum -c SHA256SUMS. Links are followed. The
    folder's own SHA256SUMS is left out of every list.
    """
    from ds2prof.speech.verification import HASHES_NAME, hash_lines, hashes_of, write_hashes

    to_stdout = str(output) == "-"
    listed = output or folder / HASHES_NAME
    if not to_stdout:
        refuse_output(listed, force=force)
    with counted("files") as progress:
        hashes = hashes_of(folder, leave_out=[listed], progress=progress)
    if to_stdout:
        click.echo(hash_lines(hashes), nl=False)
        return
    write_hashes(listed, hashes)
    click.echo(f"{listed}: {len(hashes):,} files", err=True)
