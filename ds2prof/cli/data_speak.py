"""``ds2prof data speak``: a small corpus of real speech, spoken on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from ds2prof.cli.data_common import counted
from ds2prof.cli.pages import Page
from ds2prof.speech.spoken_plan import VOICES, SpokenConfig


@click.command("speak", cls=Page)
@click.option(
    "--target-dir", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to speak into."
)
@click.option("--utterances", type=click.IntRange(min=1), default=3000, show_default=True, help="How many to train on.")
@click.option(
    "--held-out", type=click.IntRange(min=1), default=200, show_default=True, help="How many more to evaluate on."
)
@click.option(
    "--voices",
    default=",".join(VOICES),
    show_default=True,
    help="Who speaks: names from 'espeak-ng --voices=en', with +f1 to +f5 or +m1 to +m7 for variants of them.",
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Decides all that is said.")
@click.option("--jobs", type=click.IntRange(min=1), help="Utterances at a time.  [default: one for each core]")
def command(target_dir: Path, utterances: int, held_out: int, voices: str, seed: int, jobs: int | None) -> None:
    """Speak a small corpus with eSpeak NG, for training that ends in minutes. Nothing is downloaded.

    \b
    ds2prof data speak --target-dir spoken
    ds2prof train --preset tiny --train-manifest spoken/train_manifest.csv --val-manifest spoken/val_manifest.csv \\
        --optimizer adamw --learning-rate 2e-3 --anneal 1.3 --batch-size 16 --order sortagrad --epochs 4

    Short sentences over 123 words, each different, so that no transcript of the held-out utterances occurs in
    training. The same seed makes the same files. Started again, it goes on where it stopped.
    """
    from ds2prof.speech.spoken import speak

    names = tuple(name.strip() for name in voices.split(",") if name.strip())
    config = SpokenConfig(utterances=utterances, held_out=held_out, voices=names, seed=seed)
    with counted("spoken") as progress:
        spoken = speak(target_dir, config, jobs=jobs, progress=progress)
    for part, manifest in spoken.manifests.items():
        click.echo(f"{manifest}: {spoken.counts[part]} utterances, {spoken.durations_s[part] / 60:.1f} min")
    click.echo(f"{spoken.words} different words, {len(names)} voices, no transcript in both")
