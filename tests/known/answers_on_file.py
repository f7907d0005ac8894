"""The answers as they are checked in: a file for each run, one answer for each set of facts that a format tells."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from tests.known import reckoning, sampling
from tests.known.truth import Run

FOLDER: Final = Path(__file__).resolve().parent / "answers"
FACTS: Final[dict[str, frozenset[str]]] = {
    "kineto": frozenset({"calls", "ranges", "operators", "overheads", "span"}),
    "nsys_2026": frozenset({"calls", "ranges", "overheads", "span"}),
    "nsys_2020": frozenset({"calls", "ranges", "overheads"}),
    "nvvp": frozenset({"calls", "ranges", "overheads"}),
    "nsys_stats": frozenset({"calls", "ranges"}),
    "rocprof_json": frozenset({"calls", "ranges"}),
    "nvprof_trace": frozenset(),
    "rocprof_csv": frozenset(),
}
"""Format -> what it tells besides kernels and copies."""


def facts_told(run: Run, form: str) -> frozenset[str]:
    """The facts that a format tells and this run has."""
    there = {
        "calls": run.calls,
        "ranges": run.ranges,
        "operators": run.operators,
        "overheads": run.overheads,
        "span": not run.ranges,
    }
    return frozenset(fact for fact in FACTS[form] if there[fact])


def key_of(facts: frozenset[str]) -> str:
    """What a set of facts is called in the file."""
    return " ".join(("work", *sorted(facts)))


def reckoned(run: Run) -> dict[str, Any]:
    """All the answers to a run."""
    if run.name == "counters":
        names = sorted({kernel.name for kernel in run.kernels})
        by_name = {name: exact(reckoning.core(run, lambda kernel, name=name: kernel.name == name)) for name in names}
        answers = {"counters": {"core": exact(reckoning.core(run)), "by_name": by_name}}
    else:
        sets = dict.fromkeys(facts_told(run, form) for form in run.formats)
        answers = {key_of(facts): reckoning.answers(run, facts) for facts in sets}
    return {"intent": run.intent, "formats": list(run.formats), "answers": answers}


def exact(ratios: dict[str, Any]) -> dict[str, str]:
    """Rational numbers as texts."""
    return {name: str(ratio) for name, ratio in ratios.items()}


def written(run: Run) -> str:
    """The file's text."""
    return _text(reckoned(run))


def sampling_written() -> str:
    """The text of the file of what samplers and the training log must give."""
    return _text({"readings": sampling.readings_answer(), "log": sampling.log_answer()})


def _text(found: dict[str, Any]) -> str:
    text = json.dumps(found, indent=1, ensure_ascii=False)
    return re.sub(r"\[[^\[\]{}]*\]", lambda found: "[" + " ".join(found[0][1:-1].split()) + "]", text) + "\n"


def on_file(run: Run) -> dict[str, Any]:
    """What the file says."""
    found: dict[str, Any] = json.loads((FOLDER / f"{run.name}.json").read_text(encoding="utf-8"))
    return found
