"""``ds2prof evaluate``: how well a trained network understands a corpus."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ds2prof.cli.pages import Page
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
from ds2prof.errors import UsageError

if TYPE_CHECKING:
    from ds2prof.train.decoding import Decoder
    from ds2prof.train.device import Device
    from ds2prof.train.distributed import Ranks
    from ds2prof.train.evaluation import Evaluation
    from ds2prof.train.loading import SpeechBatches
    from ds2prof.train.trained import Trained

SCHEMA: Final = "ds2prof-evaluation/1"
_MOST_PAIRS: Final = 400


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """The corpus, and how it is gone through."""

    device: Device
    manifest: Path
    ranks: Ranks
    batch_size: int
    workers: int
    precision: str


@click.command("evaluate", cls=Page)
@with_options(NETWORK_OPTIONS)
@click.option(
    "--manifest", required=True, type=click.Path(path_type=Path), help="The corpus; nothing of it is left out."
)
@with_options(DECODER_OPTIONS)
@click.option(
    "--search-alpha", help="Try these: FROM:TO:STEP, or values with commas. Best first, all on one network pass."
)
@click.option("--search-beta", help="Likewise.")
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
    search_alpha: str | None,
    search_beta: str | None,
    *,
    force: bool,
    **decoding: Any,
) -> None:
    """Say how well a trained network understands the corpus in a manifest.

    \b
    ds2prof evaluate --checkpoint checkpoints --manifest val.csv
    ds2prof evaluate --checkpoint best.pt --manifest test.csv --decoder beam --lm 3-gram.arpa --alpha 0.8 --beta 1
    ds2prof evaluate --checkpoint best.pt --manifest test.csv --format json --per-utterance heard.csv
    ds2prof evaluate --checkpoint best.pt --manifest val.csv --decoder beam --lm 3-gram.arpa --search-alpha 0:2:0.5
    torchrun --nproc-per-node 4 -m ds2prof evaluate --checkpoint best.pt --manifest test.csv

    "wer" is the errors of all utterances over all words; "mean_utterance_wer", the mean of the utterances' own rates,
    is what MLPerf's DeepSpeech2 calls WER. "cer" counts spaces; "cer_without_spaces", like the ancestors, does not.
    """
    from ds2prof.train.settings import make_ready, require_packages

    require_packages("torch", "numpy")
    from ds2prof.train.distributed import joined, ranks_of

    ranks = ranks_of(os.environ)
    if per_utterance is not None and (search_alpha or search_beta):
        raise UsageError("--per-utterance: is of one pair of weights; leave it out of a search")
    if ranks.first:
        make_ready(per_utterance, force=force)
    place = ready_device(device, precision, local_rank=ranks.local_rank if ranks.several else None)
    trained = open_network(place, checkpoint=checkpoint, weights=weights, labels=labels, pieces=pieces)
    decoder = decoder_of(trained.symbols, **decoding)
    reading = _Reading(
        device=place, manifest=manifest, ranks=ranks, batch_size=batch_size, workers=workers, precision=precision
    )
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
    }
    grid = _grid(search_alpha, search_beta, decoding)
    with joined(ranks, place), memory_guard(place, batch_size):
        if grid:
            document |= _searched(trained, reading, decoder, grid)
        else:
            found = _evaluated(trained, reading, decoder)
            document |= found.facts()
    if not ranks.first:
        return
    if per_utterance is not None:
        _write_utterances(per_utterance, found, manifest)
    if form == "json":
        click.echo(json.dumps(document, indent=1))
        return
    from ds2prof.report.speech_text import evaluation_text, search_text

    click.echo(search_text(document) if grid else evaluation_text(document))


def _grid(search_alpha: str | None, search_beta: str | None, decoding: dict[str, Any]) -> list[tuple[float, float]]:
    """The pairs of weights to try; none where that was not asked for.

    Raises:
        UsageError: there is nothing to weigh, or there are too many.
    """
    if search_alpha is None and search_beta is None:
        return []
    if decoding["lm"] is None:
        raise UsageError("--search-alpha, --search-beta: weigh a language model; give --decoder beam and --lm too")
    alphas = [decoding["alpha"]] if search_alpha is None else _values("--search-alpha", search_alpha)
    betas = [decoding["beta"]] if search_beta is None else _values("--search-beta", search_beta)
    if len(alphas) * len(betas) > _MOST_PAIRS:
        raise UsageError(
            f"--search-alpha, --search-beta: {len(alphas) * len(betas):,} pairs; take {_MOST_PAIRS} at most"
        )
    return [(alpha, beta) for alpha in alphas for beta in betas]


def _values(option: str, text: str) -> list[float]:
    try:
        if ":" not in text:
            values = [float(each) for each in text.split(",")]
            if not all(map(math.isfinite, values)):
                raise ValueError
            return values
        first, last, step = (Decimal(each) for each in text.split(":"))
        if step <= 0 or last < first or (last - first) / step >= _MOST_PAIRS:
            raise ValueError
        return [float(first + number * step) for number in range(int((last - first) / step) + 1)]
    except (ValueError, ArithmeticError):
        raise UsageError(f"{option} {text!r}: give FROM:TO:STEP, like 0:2:0.5, or values with commas") from None


def _searched(
    trained: Trained, reading: _Reading, decoder: Decoder | None, grid: list[tuple[float, float]]
) -> dict[str, Any]:
    """The error rates of each pair of weights, best first."""
    from ds2prof.cli.data_common import counted
    from ds2prof.train.beam_search import BeamSearch
    from ds2prof.train.weight_search import emissions_of, tried

    if reading.ranks.several:
        raise UsageError("--search-alpha, --search-beta: take one process; leave torchrun out")
    assert isinstance(decoder, BeamSearch)
    emissions = emissions_of(
        trained.task,
        trained.network,
        _batches(trained, reading),
        trained.symbols,
        device=reading.device,
        precision=reading.precision,
    )
    rows = []
    with counted("weights") as progress:
        for row in tried(emissions, decoder, trained.symbols, grid):
            rows.append(row)
            progress(len(rows), len(grid))
    rows.sort(key=lambda row: (row["wer"] is None, row["wer"], row["cer"]))
    audio_s = math.fsum(each.dur_s for each in emissions)
    return {"utterances": len(emissions), "audio_s": audio_s, "rows": rows}


def _batches(trained: Trained, reading: _Reading) -> SpeechBatches:
    """The corpus, of which nothing is left out, as batches of this process."""
    from ds2prof.speech.manifests import read_manifest
    from ds2prof.train.loading import SpeechBatches, SpeechSource

    source = SpeechSource(
        utterances=read_manifest(reading.manifest), features=trained.preset.features, symbols=trained.symbols
    )
    return SpeechBatches.of(
        source,
        order="evaluation",
        batch_size=reading.batch_size,
        rank=reading.ranks.rank,
        world_size=reading.ranks.world_size,
        workers=reading.workers,
        pin_memory=reading.device.pins_memory,
    )


def _evaluated(trained: Trained, reading: _Reading, decoder: Decoder | None) -> Evaluation:
    """The evaluation over all processes."""
    from ds2prof.cli.data_common import counted
    from ds2prof.train.evaluation import evaluate

    batches = _batches(trained, reading)
    utterances = sum(len(batch) for batch in batches.order.batches(0))
    with counted("utterances") as progress:
        return evaluate(
            trained.task,
            trained.network,
            batches,
            trained.symbols,
            device=reading.device,
            precision=reading.precision,
            decoder=decoder,
            ranks=reading.ranks,
            progress=lambda done: progress(done, utterances),
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
