"""The command line. A command is glue: read, call, echo. Each lives in its own module and is loaded when it is run."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Final

import click

from ds2prof import __version__
from ds2prof.cli.pages import LazyGroup
from ds2prof.errors import Ds2profError

COMMANDS: Final = {
    "parse": ("ds2prof.cli.parse", "Read profiler files: core utilization, kernels, phases, iterations."),
    "summary": ("ds2prof.cli.summary", "Say at a glance how busy the device was, what costs most, what to ask next."),
    "report": ("ds2prof.cli.report", "Make one HTML page of measurements, to be read anywhere and sent on."),
    "plot": ("ds2prof.cli.plot", "Draw figures: kernels, cores, ledger, roofline, timeline, throughput by batch."),
    "compare": ("ds2prof.cli.compare", "Say what changed between two sides, and hold it to limits."),
    "sweep": ("ds2prof.cli.sweep", "Throughput, utilization and memory by batch size, precision or another key."),
    "export": ("ds2prof.cli.export", "Write a measurement in the form of another tool: Perfetto, Parquet, xlsx..."),
    "join": ("ds2prof.cli.join", "Put the counters of a replayed capture on the launches of a timeline."),
    "run": ("ds2prof.cli.run", "Run a command under a profiler and keep the measurement."),
    "metrics": ("ds2prof.cli.metrics", "Say which hardware counters a chip has, and plan what to collect."),
    "doctor": ("ds2prof.cli.doctor", "Say what works on this machine, and what to do about the rest."),
    "calibrate": ("ds2prof.cli.calibrate", "Measure what each way to capture costs on this machine."),
    "train": ("ds2prof.cli.train", "Train a preset to a word error rate, with checkpoints, on one device or many."),
    "evaluate": ("ds2prof.cli.evaluate", "Say how well a trained network understands a corpus."),
    "transcribe": ("ds2prof.cli.transcribe", "Write down what is said in sound files."),
    "export-onnx": ("ds2prof.cli.export_onnx", "Write a network as ONNX, checked against PyTorch."),
    "data": ("ds2prof.cli.data", "Speech to train on: manifests, checks, figures, models of pieces."),
    "bench": ("ds2prof.cli.bench", "Measure the workload by a published protocol, in its columns."),
    "help": ("ds2prof.cli.help", "Show the help of a command."),
    "completion": ("ds2prof.cli.completion", "Print what makes bash, zsh or fish complete all of this."),
    "man": ("ds2prof.cli.man", "Write manual pages."),
}
"""Command -> (module with ``command``, one line of help)."""


class Commands(LazyGroup):
    """The group of :data:`COMMANDS`, each imported when it is asked for."""

    table = COMMANDS


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ds2prof")
def cli() -> None:
    """Where the time of a PyTorch training run on a GPU went, and how much of the chip it used.

    \b
    bash run_profile.sh                                      capture DeepSpeech2 training and print where its time went
    ds2prof summary measurements/torch_bs4.json.gz           the first screen: busy share, largest losses, what to ask
    ds2prof parse measurements/nsight_bs32.csv               per-core and per-kernel utilization
    ds2prof parse measurements/torch_bs4.json.gz --by phase  kernels by phase of a step
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; the project's errors become one line on standard error and their exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a kernel's name is no reason to fail on a Latin terminal
    try:
        cli.main(arguments, standalone_mode=False, prog_name="ds2prof")
        if sys.stdout is not None:  # it may be closed
            sys.stdout.flush()
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output went away (`| head`): not an error.
        _forget_output()
        sys.exit(0)
    except OSError as error:
        # A full disk, a folder without permission: the machine's fault, whoever met it.
        try:
            sys.stdout.flush()
        except OSError:
            _forget_output()
        _say(f"{error.filename or 'cannot read or write'}: {error.strerror or error}")
        sys.exit(1)
    except Ds2profError as error:
        _say(str(error))
        sys.exit(error.exit_code)


def _forget_output() -> None:
    """Keep Python from flushing, at its exit, into what cannot be written to."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(message: str) -> None:
    """One line on standard error; paths and names in it are untrusted."""
    from ds2prof.report.text import cleaned

    click.echo(f"ds2prof: {cleaned(message)}", err=True)
