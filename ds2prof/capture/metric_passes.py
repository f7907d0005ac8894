"""How many times a launch is replayed to collect a set of metrics: the passes that it takes.

CUPTI's host API tells without a GPU (extra ``ds2prof[passes]``, or any CUDA toolkit from 12.6 on). Where it is not
installed, and for chips that the installed one does not know, the counts of the standard plans are checked in:
``metric_passes.json``, written by ``scripts/metric_passes.py``, which names the versions of CUPTI that it asked. A set
that is neither has no number.

CUPTI 12.9, 13.0 and 13.5 agree on all standard plans but ``throughput`` on GB20x (8 or 9). What Nsight Compute itself
takes is that or more: three real reports of its default sections have 10 passes for CUPTI's 9 (A100), 8 for 7 (RTX
2080 Ti) and 9 for 6 (A10G), two of its full set 33 for 26 and 35 for 25.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, NamedTuple

from ds2prof.metrics.quantities import WANTS

ENV_CUPTI: Final = "DS2PROF_CUPTI"
"""A folder with libcupti and libnvperf_host to ask, instead of those that are found."""

_PROGRAM: Final = Path(__file__).with_name("metric_passes_child.py")
_TABLE: Final = "metric_passes.json"
_WHEELS: Final = ("cu13/lib", "cuda_cupti/lib")
_TOOLKITS: Final = ("extras/CUPTI/lib64", "lib64")
_FIRST_CUDA: Final = 12
_FIRST_YEAR: Final = 2000
"""Beside the library by CUDA's version lies the same by its own, 2025.3."""
_SECONDS: Final = 60
_SECONDS_PER_QUESTION: Final = 0.2
_MEMORY_BYTES: Final = 4 << 30
_VERSIONS: Final = {28: "12.9"}
"""What CUPTI calls its API's version, before CUDA 13 -> CUDA's version. From 13 on it is CUDA's: 130500."""


STANDARD: Final = (
    *((want,) for want in WANTS),
    *(("core", want) for want in WANTS if want != "core"),
    tuple(WANTS),
)
"""The wants whose plans' passes are checked in, for each chip and for one that is not known."""


class Count(NamedTuple):
    """The passes of a set of metrics on a chip, and who says so."""

    passes: int
    source: str


class Cupti(NamedTuple):
    """What an installed CUPTI answers."""

    version: str
    chips: frozenset[str]
    answers: tuple[Mapping[str, Any], ...]
    """One for each question, as ``metric_passes_child`` says them."""


def passes_of(
    names: Sequence[str], chips: Collection[str], *, environ: Mapping[str, str] = os.environ
) -> dict[str, Count]:
    """Chip -> the passes that the metrics take there; chips for which nobody knows are left out."""
    counted: dict[str, Count] = {}
    folder = library_folder(environ)
    answered = None if folder is None else ask(folder, [{"chip": chip, "names": list(names)} for chip in chips])
    if answered is not None:
        for chip, answer in zip(chips, answered.answers, strict=True):
            if "passes" in answer:
                counted[chip] = Count(answer["passes"], f"CUPTI {answered.version}")
    held = {(entry["names"], chip): entry for entry in _table() for chip in entry["passes"]}
    for chip in chips:
        entry = held.get((digest(names), chip))
        if chip not in counted and entry is not None:
            counted[chip] = Count(entry["passes"][chip], f"a table made with CUPTI {entry['cupti']}")
    return counted


def library_folder(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The folder of a CUPTI that can be asked: named by ``DS2PROF_CUPTI``, of a Python package, of a CUDA toolkit."""
    if environ.get(ENV_CUPTI):
        places = [Path(environ[ENV_CUPTI])]
    else:
        toolkits = [Path(environ[name]) for name in ("CUDA_HOME", "CUDA_PATH") if environ.get(name)]
        toolkits += [Path("/usr/local/cuda")]
        places = [folder / wheel for folder in _nvidia_folders() for wheel in _WHEELS]
        places += [folder / inside for folder in toolkits for inside in _TOOLKITS]
    return next((place for place in places if _is_complete(place)), None)


def ask(folder: Path, asked: Sequence[Mapping[str, Any]]) -> Cupti | None:
    """What the CUPTI in the folder answers; None where it cannot be asked at all."""
    seconds = int(_SECONDS + _SECONDS_PER_QUESTION * len(asked))
    task = {"folder": str(folder.resolve()), "asked": asked, "seconds": seconds, "memory_bytes": _MEMORY_BYTES}
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(_PROGRAM)],
            input=json.dumps(task).encode(),
            capture_output=True,
            timeout=seconds,
            check=False,
        )
        head, *answers = [json.loads(line) for line in done.stdout.splitlines()]
        answered = Cupti(version_text(head["version"]), frozenset(head["chips"]), tuple(map(dict, answers)))
    except (OSError, subprocess.TimeoutExpired, ValueError, TypeError, KeyError):
        return None
    return answered if done.returncode == 0 and len(answers) == len(asked) else None


def version_text(number: int) -> str:
    """The version that ``cuptiGetVersion`` counts: 130500 is 13.5."""
    if number >= 10_000:
        return f"{number // 10_000}.{number % 10_000 // 100}"
    return _VERSIONS.get(number, f"of API version {number}")


def digest(names: Collection[str]) -> str:
    """What tells one set of metrics from another, in whatever order."""
    return hashlib.sha256("\n".join(sorted(set(names))).encode()).hexdigest()[:16]


@cache
def _table() -> tuple[Mapping[str, Any], ...]:
    return tuple(json.loads(files("ds2prof.capture").joinpath(_TABLE).read_text(encoding="utf-8"))["plans"])


def _nvidia_folders() -> list[Path]:
    """Where Python packages of NVIDIA's put their libraries."""
    try:
        spec = importlib.util.find_spec("nvidia")
    except (ImportError, ValueError):
        return []
    return [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []


def _is_complete(folder: Path) -> bool:
    """Whether both libraries are there, new enough to have the host API."""
    versions = [re.search(r"\.so\.(\d+)", path.name) for path in folder.glob("libcupti.so.*")]
    return (folder / "libnvperf_host.so").is_file() and any(
        found and _FIRST_CUDA <= int(found[1]) < _FIRST_YEAR for found in versions
    )
