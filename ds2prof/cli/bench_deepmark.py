"""``ds2prof bench deepmark``: forward and backward by DeepMark's protocol, in its columns."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ds2prof.cli.pages import Page

if TYPE_CHECKING:
    from ds2prof.cli.progress import Progress
    from ds2prof.train.deepmark import Asked, Measured
    from ds2prof.train.deepmark_search import Probe

ENV_BENCHMARK_LOG = "BENCHMARK_LOG"
FORMATS = ("text", "json", "deepmark", "benchmark-log")
FORMAT_HELP = "json: all of it. deepmark: as its Torch code prints. benchmark-log: Cambricon's fields."
FRACTION_HELP = "How much of the 128,000 utterances; keeps the proportions of the lengths."
BATCH_HELP = "Utterances of a card, or fastest or largest to have it found."
LARGEST_HELP = "Look for the largest batch that fits, too.  [default: on accelerators, and with --memory-limit]"
LIMIT_HELP = "What a process may use, e.g. 8GiB.  [default on a CPU: half of what is free]"
SEARCH_HELP = "How long to look for a batch size.  [default: 60 on a CPU, else 900]"


def _batch_size(context: click.Context, parameter: click.Parameter, value: str) -> int | str:
    if value in ("fastest", "largest"):
        return value
    try:
        number = int(value)
    except ValueError:
        number = 0
    if number < 1:
        raise click.BadParameter(f"{value!r} is neither a number from 1 on nor fastest or largest")
    return number


@click.command(cls=Page, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--preset", default="deepmark", show_default=True, help="Workload: deepmark, deepmark-torch or any other."
)
@click.option("--fraction", type=float, default=1.0, show_default=True, help=FRACTION_HELP)
@click.option("--batch-size", default="fastest", show_default=True, callback=_batch_size, help=BATCH_HELP)
@click.option("--largest/--no-largest", "find_largest", default=None, help=LARGEST_HELP)
@click.option("--memory-limit", metavar="SIZE", help=LIMIT_HELP)
@click.option("--search-s", type=click.FloatRange(min=0), metavar="SECONDS", help=SEARCH_HELP)
@click.option(
    "--device", default="auto", show_default=True, help="auto, cuda, cuda:1, cpu or another that torch knows."
)
@click.option("--cards", type=click.IntRange(min=1), default=1, show_default=True, help="Devices that work together.")
@click.option("--precision", default="fp32", show_default=True, help="fp32, tf32, bf16 or fp16.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Decides weights and contents.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True, help=FORMAT_HELP)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@click.option("--force", is_flag=True, help="Replace that file if it exists.")
def command(form: str, output: Path | None, force: bool, **options: Any) -> None:
    """Time forward and backward through DeepMark's corpus, and find the batch size that is fastest.

    \b
    ds2prof bench deepmark                                    the whole epoch, 211.2 hours of speech
    ds2prof bench deepmark --fraction 0.001                   128 utterances of it, the epoch's time extrapolated
    ds2prof bench deepmark --batch-size 32 --cards 4          four GPUs, and the scaling from one
    ds2prof bench deepmark --preset tbd --precision bf16 --format json -o tbd.json

    Utterances come in ascending length, never mixed; there is no optimizer step. Each batch size is tried, and the pass
    made, by a process of its own, which --memory-limit bounds. With BENCHMARK_LOG=FILE in the environment the result is
    also added to that file, in the fields of Cambricon's harness.
    """
    from ds2prof.train.settings import make_ready, require_packages

    require_packages("torch", "numpy")
    make_ready(output, force=force)
    log = _benchmark_log()
    measured = _measured(_asked(**options))
    _deliver(_text(measured, form), output)
    if log is not None:
        with log.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(measured.benchmark_log(), indent=4) + "\n")


def _benchmark_log() -> Path | None:
    """The file that the environment names for Cambricon's fields; that it can be written is known before any measuring.

    Raises:
        CaptureError: it cannot be written.
    """
    from ds2prof.errors import CaptureError

    named = os.environ.get(ENV_BENCHMARK_LOG)
    if not named:
        return None
    path = Path(named)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise CaptureError(f"{ENV_BENCHMARK_LOG}={path}: cannot write this file; name one in a folder that is there")
    return path


def _asked(
    *,
    preset: str,
    fraction: float,
    batch_size: int | str,
    find_largest: bool | None,
    memory_limit: str | None,
    search_s: float | None,
    device: str,
    cards: int,
    precision: str,
    seed: int,
) -> Asked:
    """The options as a request; what is wrong with them is said before anything is computed."""
    from ds2prof.errors import UsageError
    from ds2prof.train.deepmark import HOST, Asked, default_memory_limit, size_bytes
    from ds2prof.train.deepmark_process import Setting
    from ds2prof.train.presets import PRESETS
    from ds2prof.train.settings import PRECISIONS

    if preset not in PRESETS:
        raise UsageError(f"--preset {preset}: there is no such workload; take one of {', '.join(PRESETS)}")
    if precision not in PRECISIONS:
        raise UsageError(f"--precision {precision}: take one of {', '.join(PRECISIONS)}")
    device = _opened(device, precision)
    if cards > 1 and ":" in device:
        raise UsageError(f"--device {device} --cards {cards}: that is one device; name the kind alone")
    if search_s != search_s:
        raise UsageError("--search-s nan: take a number of seconds")
    limit_bytes = None if memory_limit is None else size_bytes(memory_limit)
    if find_largest is None:
        find_largest = device != HOST or limit_bytes is not None
    if limit_bytes is None and device == HOST:
        limit_bytes = default_memory_limit()
    setting = Setting(preset=preset, device=device, precision=precision, seed=seed, memory_limit_bytes=limit_bytes)
    return Asked(
        setting=setting,
        fraction=fraction,
        batch_size=batch_size,
        find_largest=find_largest and isinstance(batch_size, str),
        cards=cards,
        search_s=search_s,
    )


def _opened(text: str, precision: str) -> str:
    """The device's name, as the processes are to open it, once it is known to be there and to compute so."""
    from ds2prof.train.device import open_device

    device = open_device(text)
    device.prepare(precision)
    return str(device)


def _measured(asked: Asked) -> Measured:
    """The measurement, its progress on standard error."""
    from ds2prof.capture.processes import standard_streams
    from ds2prof.cli.progress import Progress
    from ds2prof.train.deepmark import run

    progress = Progress(standard_streams()[1])
    try:
        return run(asked, _Telling(progress))
    finally:
        progress.done()


class _Telling:
    """Says on a terminal how far a measurement is: a line for each probe, and one that is rewritten."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def probing(self, kind: str, batch_size: int) -> None:
        """A batch size is tried."""
        self._progress.show(lambda: f"looking for the {kind} batch size: {batch_size}")

    def probed(self, kind: str, probe: Probe) -> None:
        """It has been."""
        from dataclasses import asdict

        from ds2prof.train.deepmark_text import probe_line

        if sys.stderr.isatty():
            self._progress.done()
            click.echo(f"{kind}: {probe_line(asdict(probe)).strip()}", err=True)

    def passing(self, done: int, minibatches: int) -> None:
        """So many minibatches of the pass are done."""
        self._progress.show(lambda: f"minibatch {done} of {minibatches}")


def _text(measured: Measured, form: str) -> str:
    """The result in the form that was asked for."""
    from ds2prof.train.deepmark_text import text_lines, torch_lines

    if form == "json":
        return json.dumps(measured.document, indent=2, allow_nan=False)
    if form == "benchmark-log":
        return json.dumps(measured.benchmark_log(), indent=4, allow_nan=False)
    return "\n".join((torch_lines if form == "deepmark" else text_lines)(measured.document))


def _deliver(text: str, output: Path | None) -> None:
    from ds2prof.measurements import written_whole

    if output is None:
        click.echo(text)
        return
    with written_whole(output) as partial:
        partial.write_text(text + "\n", encoding="utf-8")
