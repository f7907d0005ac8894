"""``ds2prof data manifest``: the speech in folders as a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ds2prof.cli.data_common import shape, shaping, tell
from ds2prof.cli.pages import Page


@click.command("manifest", cls=Page)
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FOLDER...")
@shaping
def command(folders: tuple[Path, ...], **asked: Any) -> None:
    """List the speech below each FOLDER: its sound files, transcripts and durations, the shortest first.

    \b
    ds2prof data manifest corpus/train -o train.csv --max-duration 15
    ds2prof data manifest LibriSpeech/dev-clean --form rnnt -o dev.json
    ds2prof data manifest corpus --form csv-two-columns --absolute -o old.csv

    Sounds are .wav, .flac, .ogg and .mp3. The transcript of wav/NAME.wav is txt/NAME.txt; that of any NAME.flac can
    also be NAME.txt beside it, or a line of LibriSpeech's *.trans.txt there (which only the form rnnt can hold).
    Sounds without a transcript and files that cannot be read are named and left out.
    """
    from ds2prof.speech.corpus_folders import utterances_in
    from ds2prof.speech.manifests import merged

    found = [utterances_in(folder) for folder in folders]
    tell([f"{path}: has no transcript and is left out" for each in found for path in each.without_transcript])
    utterances, _ = merged(each.utterances for each in found)
    shape(utterances, **asked)
