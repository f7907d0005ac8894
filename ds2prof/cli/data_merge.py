"""``ds2prof data merge``: several manifests as one, or one in another order, range or form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ds2prof.cli.data_common import shape, shaping
from ds2prof.cli.pages import Page


@click.command("merge", cls=Page)
@click.argument("manifests", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="MANIFEST...")
@shaping
def command(manifests: tuple[Path, ...], **asked: Any) -> None:
    """Merge each MANIFEST into one, the shortest utterance first; a single one is sorted, pruned or converted.

    \b
    ds2prof data merge libri.csv ted.csv -o train.csv --min-duration 1
    ds2prof data merge train.csv -o train.json
    ds2prof data merge libri.csv --form rnnt --max-duration 16.7 -o train.json

    The forms (csv, json, rnnt) are told apart by what is in them and may be mixed. A sound file that several name is
    taken once, from the first. Relative paths are those of each manifest's own folder, and stay right.
    """
    from ds2prof.speech.manifests import merged, read_manifest

    utterances, repeated = merged(read_manifest(path) for path in manifests)
    if repeated:
        click.echo(f"ds2prof: {repeated:,} utterances had been named before and are taken once", err=True)
    shape(utterances, **asked)
