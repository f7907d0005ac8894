"""``ds2prof data stats``: what a corpus is made of."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ds2prof.cli.data_common import counted, tell
from ds2prof.cli.pages import Page
from ds2prof.errors import MissingDataError, UsageError


@click.command("stats", cls=Page)
@click.argument("manifests", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="MANIFEST...")
@click.option("--labels", type=click.Path(path_type=Path), help="A labels.json instead of DeepSpeech2's 29 symbols.")
@click.option("--pieces", type=click.Path(path_type=Path), help="A model of pieces instead of letters.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(manifests: tuple[Path, ...], labels: Path | None, pieces: Path | None, form: str) -> None:
    """Say what the corpus of each MANIFEST together is made of: hours, lengths, words, and what has no symbol.

    \b
    ds2prof data stats train.csv
    ds2prof data stats train.csv --pieces pieces.model
    ds2prof data stats train.csv --format json

    Characters that no symbol stands for are left out in training: they are counted here, each by itself. A sound whose
    duration the manifest does not give is looked up in the file.
    """
    from ds2prof.report.corpus_text import corpus_text
    from ds2prof.speech.alphabet import GRAPHEMES, read_labels
    from ds2prof.speech.corpus_stats import stats_of
    from ds2prof.speech.manifests import measured, merged, read_manifest
    from ds2prof.speech.pieces import read_pieces

    if labels is not None and pieces is not None:
        raise UsageError("--labels, --pieces: transcripts are written in one of them; leave out the other")
    symbols = read_pieces(pieces) if pieces is not None else GRAPHEMES if labels is None else read_labels(labels)
    utterances, _ = merged(read_manifest(path) for path in manifests)
    with counted("durations") as progress:
        known, faults = measured(utterances, progress=progress)
    tell(faults)
    if not known:
        raise MissingDataError(f"{manifests[0]}: none of its sounds can be read")
    with counted("transcripts") as progress:
        stats = stats_of(known, symbols, progress=progress)
    click.echo(json.dumps(stats.document(), indent=2) if form == "json" else corpus_text(stats))
