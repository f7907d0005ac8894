"""``python ds2prof/sampling/__main__.py --output FILE.csv -- COMMAND...``: runs it, host and GPUs sampled beside it."""

from __future__ import annotations

import argparse
import os
import sys

# Run by its path, this finds the rest of ds2prof above it. This folder must not be searched: its modules are ours.
_HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - before anything else is imported
sys.path[:] = [place for place in sys.path if os.path.abspath(place or ".") != _HERE]  # noqa: PTH100
if not __package__:
    sys.path.append(os.path.dirname(os.path.dirname(_HERE)))  # noqa: PTH120

MAX_PERIOD_MS = 60_000
OLDEST_PYTHON = (3, 10)


def _period(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MAX_PERIOD_MS:
        raise ValueError(text)
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ds2prof.sampling", description=__doc__)
    parser.add_argument("--output", help="The file to write, CSV.")
    parser.add_argument("--period-ms", type=_period, default=100, help="Time between two readings [100].")
    parser.add_argument(
        "--gpu", choices=("auto", "nvml", "nvidia-smi", "none"), default="auto", help="Who is asked about GPUs [auto]."
    )
    parser.add_argument("--nvml", action="store_true", help=argparse.SUPPRESS)  # the child that reads NVML
    parser.add_argument("command", nargs=argparse.REMAINDER, help="The program and its arguments, behind --.")
    return parser


def main() -> int:
    """The program's exit code."""
    if sys.version_info < OLDEST_PYTHON:
        sys.exit(f"ds2prof: sampler: unsupported Python {sys.version.split()[0]}; 3.10 is the oldest that samples")
    parser = _parser()
    asked = parser.parse_args()
    if asked.nvml:
        from ds2prof.sampling import nvml_child

        return nvml_child.main(asked.period_ms * 1_000_000, choice=os.environ.get("CUDA_VISIBLE_DEVICES"))
    from pathlib import Path

    from ds2prof.sampling import loop

    command = tuple(asked.command[1:] if asked.command[:1] == ["--"] else asked.command)
    if not asked.output or not command:
        parser.error("give --output FILE.csv and, behind --, the command")
    return loop.run(loop.Settings(Path(asked.output), command, asked.period_ms, asked.gpu))


if __name__ == "__main__":
    sys.exit(main())
