"""``ds2prof data``: speech to train on. Each command lies in a module of its own that is loaded when it is run."""

from __future__ import annotations

from typing import Final

import click

from ds2prof.cli.pages import LazyGroup

COMMANDS: Final = {
    "download": ("ds2prof.cli.data_download", "Fetch and lay out LibriSpeech, AN4, TED-LIUM, VoxForge, Common Voice."),
    "manifest": ("ds2prof.cli.data_manifest", "List the speech in folders: sounds, transcripts, durations."),
    "merge": ("ds2prof.cli.data_merge", "Merge, sort, prune and convert manifests."),
    "stats": ("ds2prof.cli.data_stats", "Say what a corpus is made of: hours, lengths, strange characters."),
    "hash": ("ds2prof.cli.data_hash", "List the sha256 of every file of a corpus."),
    "verify": (
        "ds2prof.cli.data_verify",
        "Compare a corpus with its list of hashes, or try every sound of a manifest.",
    ),
    "speak": ("ds2prof.cli.data_speak", "Speak a small corpus with eSpeak NG: nothing is downloaded."),
    "pieces": ("ds2prof.cli.data_pieces", "Train a model of pieces of words on transcripts, for rnnt."),
}
"""Command -> (module with ``command``, one line of help)."""


class DataCommands(LazyGroup):
    """The group of :data:`COMMANDS`, each imported when it is asked for."""

    table = COMMANDS


@click.group(cls=DataCommands)
def command() -> None:
    """Speech to train on: manifests, checks, figures and models of pieces.

    \b
    ds2prof data manifest corpus/train -o train.csv --max-duration 15
    ds2prof data stats train.csv
    ds2prof data hash corpus && ds2prof data verify corpus
    ds2prof data pieces train.csv -o pieces.model
    """
