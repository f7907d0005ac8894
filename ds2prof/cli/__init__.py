"""The command line. A command is glue: read, call, echo. Each lives in its own module and is loaded when it is run."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

import click

from ds2prof import __version__
from ds2prof.errors import Ds2profError

COMMANDS: Final = {
    "parse": ("ds2prof.cli.parse", "Read profiler files: core utilization, kernels, phases, iterations."),
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
}
"""Command -> (module with ``command``, one line of help)."""


class Commands(click.Group):
    """The group of :data:`COMMANDS`, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands' names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ds2prof")
def cli() -> None:
    """Where the time of a PyTorch training run on a GPU went, and how much of the chip it used.

    \b
    bash run_profile.sh                                     capture DeepSpeech2 training and print where its time went
    ds2prof parse measurements/nsight_bs32.csv              per-core and per-kernel utilization
    ds2prof parse measurements/torch_bs4.json.gz --by phase
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
