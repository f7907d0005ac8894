"""``ds2prof data pieces``: a model of pieces of words."""

from __future__ import annotations

from pathlib import Path

import click

from ds2prof.cli.data_common import counted, refuse_output
from ds2prof.cli.pages import Page


@click.command("pieces", cls=Page)
@click.argument("manifests", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="MANIFEST...")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The model to write."
)
@click.option(
    "--pieces", "count", type=click.IntRange(min=2), default=1023, show_default=True, help="How many at most."
)
@click.option("--force", is_flag=True, help="Replace a model that is there.")
def command(manifests: tuple[Path, ...], output: Path, count: int, *, force: bool) -> None:
    """Train a sentencepiece model on the transcripts of each MANIFEST, for the preset rnnt.

    \b
    ds2prof data pieces train.csv -o pieces.model
    ds2prof data pieces libri.json ted.json -o pieces.model --pieces 1023

    Text is taken in lower case. Equal transcripts in equal order give equal models. A small corpus gives fewer pieces
    than asked for, which is said; the network keeps its size, for the symbols that are left over stay unused.
    """
    from ds2prof.speech.manifests import merged, read_manifest
    from ds2prof.speech.pieces import trained, write_pieces

    refuse_output(output, force=force)
    utterances, _ = merged(read_manifest(path) for path in manifests)
    texts: list[str] = []
    with counted("transcripts") as progress:
        for utterance in utterances:
            texts.append(utterance.spoken())
            progress(len(texts), len(utterances))
    pieces = trained(texts, count=count)
    write_pieces(output, pieces)
    fewer = "" if pieces.held == count else f", for the transcripts give no more of {count:,}"
    click.echo(f"{output}: {pieces.held:,} pieces{fewer}", err=True)
