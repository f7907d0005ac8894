"""The facts about metrics and chips, and stand-ins for Nsight Compute that list metrics as the real one does."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.launch_support import executable


def read_facts(corpus: Path) -> dict[str, set[str]]:
    """Base metric -> the chips that have it, from the reference folder beside the corpus."""
    path = corpus.parent / "reference" / "metrics-by-chip.csv"
    if not path.is_file():
        pytest.skip("no metrics-by-chip.csv beside the corpus")
    with path.open(newline="") as lines:
        return {row.pop("metric"): {chip for chip, has in row.items() if has == "1"} for row in csv.DictReader(lines)}


def listing_tool(path: Path, names: Iterable[str], *, chips: str = "gh100", version: str = "2099.1") -> Path:
    """An ncu that knows some chips and lists these metrics for each of them, as ncu 2022.3 prints them."""
    rule = "-" * 75
    lines = "\n".join(f"{name:<75} Counter         inst            # of something" for name in names)
    return executable(
        path,
        f"""#!/usr/bin/env bash
if [[ $* == *--version* ]]; then echo "Version {version}"; exit; fi
if [[ $* == *--list-chips* ]]; then echo "{chips}"; exit; fi
if [[ $* != *--query-metrics* ]]; then exit 3; fi
if [[ $* == *--chips* && ! " {chips} " == *" ${{@: -1}} "* ]]; then echo "Invalid chip ${{@: -1}}"; exit; fi
cat <<'END'
Chip ${{@: -1}}
{rule} ---------------
Metric Name   Metric Type
{rule} ---------------
{lines}
                                                                            wrapped description
==PROF== Note that these metrics must be appended with a valid suffix before profiling them.
END
""",
    )
