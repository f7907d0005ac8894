"""``ds2prof evaluate``: how well a trained network understands a corpus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ds2prof.cli.trained_options import (
    DECODER_OPTIONS,
    DEVICE_OPTIONS,
    NETWORK_OPTIONS,
    decoder_facts,
    decoder_of,
    memory_guard,
    open_network,
    ready_device,
    with_options,
)

if TYPE_CHECKING:
    from ds2prof.train.device import Device
    from ds2prof.train.evaluation import Evaluation
    from ds2prof.train.trained import Trained

SCHEMA = "ds2prof-evaluation/1"


@click.command("evaluate")
@with_options(NETWORK_OPTIONS)
@click.option(
    "--manifest", required=True, type=click.Path(path_type=Path), help="The corpus; nothing of it is left out."
)
@with_options(DECODER_OPTIONS)
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--workers", type=click.IntRange(min=0), default=0, show_default=True, help="Processes that read ahead.")
@with_options(DEVICE_OPTIONS)
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option(
    "--per-utterance", type=click.Path(path_type=Path), help="Each utterance beside its reference: .csv, else .jsonl."
)
@click.option("--force", is_flag=True, help="Replace that file if it exists.")
def command(
    checkpoint: Path,
    weights: str,
    labels: Path | None,
    pieces: Path | None,
    manifest: Path,
    batch_size: int,
    workers: int,
    device: str,
    precision: str,
    form: str,
    per_utterance: Path | None,
    *,
    force: bool,
    **decoding: Any,
) -> None:
    """Say how well a trained network understands the corpus in a manifest.

    \b
    ds2prof evaluate --checkpoint checkpoints --manifest val.csv
    ds2prof evaluate --checkpoint best.pt --manifest test.csv --decoder beam --lm 3-gram.arpa --alpha 0.8 --beta 1
    ds2prof evaluate --checkpoint best.pt --manifest test.csv --format json --per-utterance heard.csv

    "wer" is the errors of all utterances over all words; "mean_utterance_wer", the mean of the utterances' own rates,
    is what MLPerf's DeepSpeech2 calls WER. "cer" counts spaces; "cer_without_spaces", like the ancestors, does not.
    """
    from ds2prof.train.settings import make_ready

    make_ready(per_utterance, force=force)
    place = ready_device(device, precision)
    trained = open_network(place, checkpoint=checkpoint, weights=weights, labels=labels, pieces=pieces)
    decoder = decoder_of(trained.symbols, **decoding)
    with memory_guard(place, batch_size):
        found = _evaluated(
            trained, place, manifest, decoder=decoder, batch_size=batch_size, workers=workers, precision=precision
        )
    if per_utterance is not None:
        _write_utterances(per_utterance, found, manifest)
    document = {
        "schema": SCHEMA,
        "checkpoint": str(checkpoint),
        "manifest": str(manifest),
        "preset": trained.preset.name,
        "epoch": trained.epoch,
        "iteration": trained.iteration,
        "weights": "average" if trained.averaged else "last",
        "decoder": decoder_facts(**decoding),
        "precision": precision,
        "device": str(place),
        **found.facts(),
    }
    if form == "json":
        click.echo(json.dumps(document, indent=1))
        return
    from ds2prof.report.speech_text import evaluation_text

    click.echo(evaluation_text(document))


def _evaluated(
    trained: Trained, device: Device, manifest: Path, *, batch_size: int, workers: int, precision: str, decoder: Any
) -> Evaluation:
    from ds2prof.cli.data_common import counted
    from ds2prof.speech.manifests import read_manifest
    from ds2prof.train.evaluation import evaluate
    from ds2prof.train.loading import SpeechBatches, SpeechSource

    utterances = read_manifest(manifest)
    source = SpeechSource(utterances=utterances, features=trained.preset.features, symbols=trained.symbols)
    batches = SpeechBatches.of(
        source, order="evaluation", batch_size=batch_size, workers=workers, pin_memory=device.pins_memory
    )
    with counted("utterances") as progress:
        return evaluate(
            trained.task,
            trained.network,
            batches,
            trained.symbols,
            device=device,
            precision=precision,
            decoder=decoder,
            progress=lambda done: progress(done, len(utterances)),
        )


def _write_utterances(path: Path, found: Evaluation, manifest: Path) -> None:
    """Writes each utterance, whole or not at all."""
    import csv

    from ds2prof.measurements import written_whole
    from ds2prof.speech.manifests import read_manifest

    audio = [str(utterance.audio) for utterance in read_manifest(manifest)]
    rows = [
        {
            "number": heard.number,
            "audio": audio[heard.number],
            "dur_s": heard.dur_s,
            "reference": heard.reference,
            "hypothesis": heard.hypothesis,
            "words": heard.errors.words.reference,
            "word_errors": heard.errors.words.errors,
            "wer": heard.errors.wer,
            "cer": heard.errors.cer,
            "score": heard.score,
        }
        for heard in found.heard
    ]
    with written_whole(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
