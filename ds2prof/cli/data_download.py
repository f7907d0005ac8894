"""``ds2prof data download``: a public corpus, from its mirrors to its manifests."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ds2prof.cli.pages import Page
from ds2prof.cli.progress import Progress

if TYPE_CHECKING:
    from ds2prof.speech.corpora import Corpus
    from ds2prof.speech.corpora_download import Choice, Steps, Summary
    from ds2prof.speech.fetching import Manner, Transfer

CORPUS_NAMES = ("librispeech", "an4", "tedlium", "voxforge", "common-voice")
_SHOWN_FAULTS = 5


@click.command("download", cls=Page)
@click.argument("corpus_name", type=click.Choice(CORPUS_NAMES), metavar="CORPUS")
@click.option(
    "--target-dir", type=click.Path(path_type=Path, file_okay=False), required=True, help="The corpus's folder."
)
@click.option("--subset", "subsets", multiple=True, metavar="NAME", help="A part of it; may be given several times.")
@click.option(
    "--mirror", "mirrors", multiple=True, metavar="URL", help="Try this folder first: https, http or file:///path."
)
@click.option(
    "--archive", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="An archive that you have already."
)
@click.option(
    "--sample-rate",
    "sample_rate_hz",
    type=click.IntRange(1000, 192_000),
    default=16_000,
    show_default=True,
    help="Of the WAV files, in Hz.",
)
@click.option("--keep-archives", is_flag=True, help="Leave the archives in TARGET/archives when they are laid out.")
@click.option("--limit", type=click.IntRange(min=1), help="voxforge: only the first so many of its archives.")
@click.option(
    "--min-duration",
    "min_s",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Seconds; shorter ones are not in training manifests.",
)
@click.option(
    "--max-duration",
    "max_s",
    type=click.FloatRange(min=0),
    default=15.0,
    show_default=True,
    help="Seconds; longer ones likewise.",
)
@click.option(
    "--manifest-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where manifests go.  [default: the target]",
)
@click.option(
    "--absolute", is_flag=True, help="Absolute paths in the manifests: then they may be moved, not the corpus."
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.1),
    default=30.0,
    show_default=True,
    help="Seconds in which nothing comes.",
)
@click.option(
    "--tries",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Failures of a mirror, one behind the other, before the next is asked.",
)
def command(corpus_name: str, target_dir: Path, **asked: Any) -> None:
    """Fetch, verify, unpack and lay out a public corpus: librispeech, an4, tedlium, voxforge or common-voice.

    \b
    ds2prof data download an4 --target-dir data/an4
    ds2prof data download librispeech --target-dir data/libri --subset train-clean-100 --subset dev-clean
    ds2prof data download librispeech --target-dir data/libri --mirror file:///mnt/openslr/12
    ds2prof data download common-voice --target-dir data/cv --archive cv-corpus-5.1-2020-06-22-en.tar.gz

    The result is TARGET/SPLIT/{wav,txt} and a manifest for each split. Whatever ends the command, the same one goes on
    from there. Archives are verified before they are unpacked: by their published digests, and where none is published
    by that of the first download, which is kept beside the archive.

    Exit codes: 0 all is there, 1 an archive is not, 2 usage, 130 on Ctrl-C.
    """
    from ds2prof.speech.corpora import CORPORA
    from ds2prof.speech.corpora_download import download

    corpus, choice = CORPORA[corpus_name], _choice(asked)
    progress = Progress(sys.stderr.buffer)
    manner, steps = _told(progress, asked)
    try:
        summary = download(corpus, target_dir, choice, manner=manner, steps=steps)
        progress.done()
        _report(summary)
        if summary.done or summary.before:
            _manifests(corpus, target_dir, asked, progress)
    except KeyboardInterrupt:
        progress.done()
        click.echo("ds2prof: interrupted; the same command goes on from here", err=True)
        raise click.Abort from None
    finally:
        progress.done()
    if summary.failed:
        sys.exit(1)


def _choice(asked: dict[str, Any]) -> Choice:
    from ds2prof.errors import UsageError
    from ds2prof.speech.corpora_download import Choice

    if asked["min_s"] >= asked["max_s"]:
        raise UsageError(f"--min-duration {asked['min_s']:g}: --max-duration {asked['max_s']:g} leaves nothing")
    if asked["archive"] is not None and asked["mirrors"]:
        raise UsageError("--archive: nothing is fetched then; leave --mirror out")
    return Choice(
        subsets=asked["subsets"],
        mirrors=asked["mirrors"],
        archive=asked["archive"],
        sample_rate_hz=asked["sample_rate_hz"],
        keep_archives=asked["keep_archives"],
        limit=asked["limit"],
    )


def _told(progress: Progress, asked: dict[str, Any]) -> tuple[Manner, Steps]:
    """What shows how far it is, on a terminal alone, and what went wrong, everywhere."""
    from ds2prof.speech.corpora_download import Steps
    from ds2prof.speech.fetching import Manner

    def say(line: str) -> None:
        progress.done()
        _say(line)

    if not os.isatty(2):
        return Manner(tries=asked["tries"], timeout_s=asked["timeout_s"], say=say), Steps(say=say)
    manner = Manner(
        tries=asked["tries"],
        timeout_s=asked["timeout_s"],
        say=say,
        show=lambda transfer: progress.show(lambda: transfer_line(transfer)),
    )
    steps = Steps(
        say=say,
        unpacked=lambda name, files, size_bytes: progress.show(lambda: _unpacked_line(name, files, size_bytes)),
        laid_out=lambda name, utterances: progress.show(lambda: f"{name}: {utterances:,} utterances laid out"),
    )
    return manner, steps


def transfer_line(transfer: Transfer) -> str:
    """How far a download is, in a line: bytes, rate and time to come."""
    from ds2prof.units import format_bytes

    line = f"{transfer.name}: {format_bytes(transfer.done_bytes)}"
    if transfer.total_bytes:
        share = transfer.done_bytes / transfer.total_bytes
        line += f" of {format_bytes(transfer.total_bytes)} ({100 * share:.0f} %)"
    if transfer.bytes_per_s is not None:
        line += f", {format_bytes(transfer.bytes_per_s)}/s"
    if transfer.remaining_s is not None:
        minutes, seconds = divmod(round(transfer.remaining_s), 60)
        line += f", {minutes // 60}:{minutes % 60:02d}:{seconds:02d} to go"
    return line


def _unpacked_line(name: str, files: int, size_bytes: int) -> str:
    from ds2prof.units import format_bytes

    return f"{name}: {files:,} files unpacked, {format_bytes(size_bytes)}"


def _report(summary: Summary) -> None:
    for name, laid in summary.done.items():
        splits = ", ".join(f"{count:,} in {split}" for split, count in sorted(laid.splits.items()))
        _print(f"{name}: utterances: {splits}")
        for fault in laid.faults[:_SHOWN_FAULTS]:
            _say(fault)
        if len(laid.faults) > _SHOWN_FAULTS:
            _say(f"{name}: {len(laid.faults) - _SHOWN_FAULTS} more utterances could not be read and are left out")
    if summary.before:
        some = summary.before[0] if len(summary.before) == 1 else f"{len(summary.before)} archives"
        _print(f"{some}: laid out before")
    for name, reason in summary.failed.items():
        _print(f"{name}: FAILED: {reason}")
    if summary.not_tried:
        _print(f"{summary.not_tried:,} more archives: NOT TRIED: too many in a row had failed; try again later")


def _manifests(corpus: Corpus, target: Path, asked: dict[str, Any], progress: Progress) -> None:
    from ds2prof.speech.corpora_layout import write_manifests

    folder = asked["manifest_dir"] or target
    folder.mkdir(parents=True, exist_ok=True)
    for each in write_manifests(
        corpus, target, folder=folder, min_s=asked["min_s"], max_s=asked["max_s"], absolute=asked["absolute"]
    ):
        left = f", {each.pruned:,} too short or too long left out" if each.pruned else ""
        _print(f"{each.path}: {each.utterances:,} utterances, {each.dur_s / 3600:.2f} h{left}")


def _print(line: str) -> None:
    click.echo(_cleaned(line))


def _say(line: str) -> None:
    click.echo(f"ds2prof: {_cleaned(line)}", err=True)


def _cleaned(text: str) -> str:
    """Text of strangers, such as names in archives, without what a terminal would obey."""
    from ds2prof.report.text import cleaned

    return cleaned(text)
