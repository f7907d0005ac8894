"""``ds2prof transcribe``: recordings as text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ds2prof.cli.pages import Page
from ds2prof.cli.trained_options import (
    DECODER_OPTIONS,
    DEVICE_OPTIONS,
    NETWORK_OPTIONS,
    decoder_facts,
    decoder_of,
    finite,
    memory_guard,
    open_network,
    ready_device,
    with_options,
)

if TYPE_CHECKING:
    from ds2prof.train.transcribing import Transcript

SCHEMA = "ds2prof-transcripts/1"


@click.command("transcribe", cls=Page)
@with_options(NETWORK_OPTIONS)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--offsets", is_flag=True, help="With text: a line for each word, with its beginning and its end in s.")
@click.option(
    "--longest",
    type=click.FloatRange(min=1),
    callback=finite,
    default=30.0,
    show_default=True,
    help="Seconds heard at once.",
)
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True, help="Stretches done together.")
@with_options(DECODER_OPTIONS, DEVICE_OPTIONS)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "jsonl", "srt", "ctm"]),
    default="text",
    show_default=True,
    help="jsonl: a line for each FILE as soon as it is known; srt: subtitles of one FILE; ctm: NIST's, a line a word.",
)
def command(
    checkpoint: Path,
    weights: str,
    labels: Path | None,
    pieces: Path | None,
    files: tuple[Path, ...],
    longest: float,
    batch_size: int,
    device: str,
    precision: str,
    form: str,
    *,
    offsets: bool,
    **decoding: Any,
) -> None:
    """Write down what is said in sound files of any rate and length.

    \b
    ds2prof transcribe --checkpoint checkpoints hello.wav
    ds2prof transcribe --checkpoint best.pt --offsets talk.flac
    ds2prof transcribe --checkpoint best.pt --format json one.wav two.mp3

    What is longer than --longest is cut where it is quietest. An offset is the centre of the frame in which the network
    spoke a word's first, or last, letter: near the sound, but not where a phonetician would put it.
    """
    from ds2prof.errors import UsageError

    if offsets and form != "text":
        raise UsageError(f"--offsets: --format {form} has them anyway; leave it out")
    if form == "srt" and len(files) > 1:
        raise UsageError("--format srt: is for one FILE; subtitles of several would run into each other")
    place = ready_device(device, precision)
    trained = open_network(place, checkpoint=checkpoint, weights=weights, labels=labels, pieces=pieces)
    decoder = decoder_of(trained.symbols, **decoding)
    from ds2prof.cli.data_common import counted
    from ds2prof.train.transcribing import transcribe

    found: list[Transcript] = []
    with memory_guard(place, batch_size), counted("files") as progress:
        for transcript in transcribe(
            trained,
            files,
            device=place,
            precision=precision,
            decoder=decoder,
            batch_size=batch_size,
            longest_s=longest,
        ):
            found.append(transcript)
            progress(len(found), len(files))
            if form != "json":
                _say(transcript, form, offsets=offsets, several=len(files) > 1)
    if form == "json":
        rows = [_row(transcript) for transcript in found]
        click.echo(json.dumps({"schema": SCHEMA, "decoder": decoder_facts(**decoding), "files": rows}, indent=1))


def _say(transcript: Transcript, form: str, *, offsets: bool, several: bool) -> None:
    """Prints a transcript as soon as it is known."""
    from ds2prof.report.speech_text import ctm_text, srt_text, transcript_text

    if form == "jsonl":
        text = json.dumps(_row(transcript))
    elif form == "ctm":
        text = ctm_text(_row(transcript))
    elif form == "srt":
        text = srt_text(_row(transcript))
    else:
        text = transcript_text(_row(transcript), offsets=offsets, named=several)
    if text:
        click.echo(text)


def _row(transcript: Transcript) -> dict[str, Any]:
    return {
        "file": str(transcript.path),
        "dur_s": transcript.dur_s,
        "text": transcript.text,
        "words": [{"word": word.text, "start_s": word.start_s, "end_s": word.end_s} for word in transcript.words],
    }
