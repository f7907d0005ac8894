"""Lines that deepspeech.pytorch and what was made of it print while training: one an iteration, summaries an epoch.

Grammar, among any other output (blanks are tabs)::

    iteration  := "Epoch: [" e "][" i "/" n "]" "Time" x "(" avg ")" "Data" x "(" avg ")"
                  ("CTC Time" x "(" avg ")")? "Loss" x "(" avg ")"
    training   := "Training Summary Epoch: [" e "]" ("Time taken (s):" n)? "Average Loss" x
    validation := "Validation Summary Epoch: [" e "]" "Average WER" x "Average CER" x
    other      := "Learning rate annealed to:" x | "Number of parameters:" n
                | "Skipping grad update" | "WARNING: received an inf loss, setting loss value to 0"

Epochs and iterations are printed from 1 on; ``iteration`` counts through all epochs from 0 on. Times are seconds with
three decimals, the first value being the iteration's own. A step whose update was skipped, and one whose loss was
infinite, is printed with a loss of 0: it is not known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from ds2prof import units
from ds2prof.parsers.samples_lines import Faults, blocks
from ds2prof.parsers.sources import Source
from ds2prof.tables import Column, Loaded, Meta, Table, checked, float_column, int_column

_WEEK_NS: Final = 7 * 86_400 * units.NS_PER_S
_MAX_EPOCHS: Final = 10_000
_NUMBER: Final = rb"-?\d{1,12}(?:\.\d{1,9})?"
_PAIR: Final = rb"(%s) \(%s\)\s{1,8}" % (_NUMBER, _NUMBER)
_LOSS: Final = rb"Loss (%s|-?inf|nan) \(" % _NUMBER
_ITERATION: Final = (
    rb"Epoch: \[(\d{1,9})\]\[(\d{1,9})/(\d{1,9})\]\s{1,8}Time "
    + _PAIR
    + rb"Data "
    + _PAIR
    + rb"(?:CTC Time "
    + _PAIR
    + rb")?"
    + _LOSS
)
_TRAINING: Final = (
    rb"Training Summary Epoch: \[(\d{1,9})\]\s{1,8}(?:Time taken \(s\): (\d{1,9})\s{1,8})?Average Loss (%s)" % _NUMBER
)
_VALIDATION: Final = rb"Validation Summary Epoch: \[(\d{1,9})\]\s{1,8}Average WER (%s)\s{1,8}Average CER (%s)" % (
    _NUMBER,
    _NUMBER,
)
_LINES: Final = re.compile(
    rb"|".join(
        (
            rb"(?P<iteration>" + _ITERATION + rb")",
            rb"(?P<training>" + _TRAINING + rb")",
            rb"(?P<validation>" + _VALIDATION + rb")",
            rb"Number of parameters: (?P<parameters>\d{1,15})\b",
            rb"Learning rate annealed to: (?P<rate>%s)" % _NUMBER,
            rb"(?P<skipped>Skipping grad update)",
            rb"(?P<infinite>WARNING: received an inf loss)",
        )
    )
)
_PROFILED: Final = re.compile(
    rb"^==(?:PROF|WARNING|ERROR|\d{1,9})==|^\"ID\",\"Process ID\"|^Generating '|^\[\d+/\d+\] (?:\[|Executing)",
    re.MULTILINE,
)
"""Marks of a profiler in the output: the file is its log then, and the training's lines are its noise."""

WITHOUT_CTC: Final = re.compile(
    rb"Epoch: \[\d{1,9}\]\[\d{1,9}/\d{1,9}\]\s{1,8}Time " + _PAIR + rb"Data " + _PAIR + rb"Loss "
)
WITH_CTC: Final = re.compile(
    rb"Epoch: \[\d{1,9}\]\[\d{1,9}/\d{1,9}\]\s{1,8}Time "
    + _PAIR
    + rb"Data "
    + _PAIR
    + rb"CTC Time "
    + _PAIR
    + rb"Loss "
)


def is_log(head: bytes, line: re.Pattern[bytes]) -> bool:
    """Whether the first bytes hold such a line of an iteration, and no profiler's marks."""
    return line.search(head) is not None and _PROFILED.search(head) is None


@dataclass(eq=False)
class _Log:
    """What has been read of a log so far, a list a column."""

    iteration: list[int] = field(default_factory=list)
    wall_ns: list[int | None] = field(default_factory=list)
    data_ns: list[int | None] = field(default_factory=list)
    ctc_ns: list[int | None] = field(default_factory=list)
    loss: list[float | None] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    epochs: dict[int, dict[str, Any]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    is_skipped: bool = False
    is_lost: bool = False


def load(source: Source, *, form: str, tool: str, dialect: str, time_note: str) -> Loaded:
    """The iterations of a log; epochs, parameters and learning rates are ``meta.facts``."""
    faults = Faults(source.name)
    log = _Log()
    for line, found in _found(source, faults):
        _take(found, line, log, faults)
    seen = len(set(log.iteration))
    warnings = faults.warnings()
    if seen < len(log.iteration):
        warnings.append(
            f"{source.name}: {len(log.iteration) - seen:,} iterations are in it more than once (several ranks, or a "
            "restart?); all are kept"
        )
    facts: dict[str, Any] = {
        **log.facts,
        "epochs": [{"epoch": epoch, **found} for epoch, found in sorted(log.epochs.items())],
        "data_ns": _sum(log.data_ns),
        "ctc_ns": _sum(log.ctc_ns),
        "wall_ns_is": time_note,
    }
    meta = Meta(
        file=source.name,
        tool=tool,
        format=form,
        dialect=dialect,
        times=None,
        time_resolution_ns=units.NS_PER_MS,
        facts=facts,
    )
    return Loaded(meta, {"iterations": _table(log), "kernels": Table("kernels")}, tuple(warnings))


def _found(source: Source, faults: Faults) -> Iterator[tuple[int, re.Match[bytes]]]:
    for first, lines in blocks(source, faults):
        for at, line in enumerate(lines, start=first):
            found = _LINES.search(line)
            if found is not None:
                yield at, found


def _take(found: re.Match[bytes], line: int, log: _Log, faults: Faults) -> None:
    """Take one line."""
    if found["iteration"]:
        _iteration(found, line, log, faults)
    elif found["skipped"]:
        log.is_skipped = True
    elif found["infinite"]:
        log.is_lost = True
    elif found["parameters"]:
        log.facts["parameters"] = int(found["parameters"])
    elif found["rate"]:
        rates = log.facts.setdefault("learning_rates", [])
        rates += [float(found["rate"])] if len(rates) < _MAX_EPOCHS else []
    elif len(log.epochs) < _MAX_EPOCHS:
        _summary(found, log)


def _summary(found: re.Match[bytes], log: _Log) -> None:
    groups = found.groups()
    if found["training"]:
        epoch, time_s, loss = groups[_AT_TRAINING : _AT_TRAINING + 3]
        about = {"time_s": None if time_s is None else int(time_s), "average_loss": float(loss)}
    else:
        epoch, wer, cer = groups[_AT_VALIDATION : _AT_VALIDATION + 3]
        about = {"wer_percent": float(wer), "cer_percent": float(cer)}
    log.epochs.setdefault(int(epoch), {}).update(about)


def _iteration(found: re.Match[bytes], line: int, log: _Log, faults: Faults) -> None:
    epoch, at, whole, wall, data, ctc, loss = found.groups()[1:8]
    log.iteration.append(max((int(epoch) - 1) * int(whole) + int(at) - 1, 0))
    log.wall_ns.append(_time_ns(wall, line, faults))
    log.data_ns.append(_time_ns(data, line, faults))
    log.ctc_ns.append(None if ctc is None else _time_ns(ctc, line, faults))
    lost = log.is_skipped or log.is_lost or loss.lstrip(b"-")[:1].isalpha()
    log.loss.append(None if lost else float(loss))
    log.skipped.append(int(log.is_skipped))
    log.is_skipped = log.is_lost = False


def _time_ns(text: bytes, line: int, faults: Faults) -> int | None:
    time_ns = units.ns_from_decimal(text.decode(), ns_per_unit=units.NS_PER_S)
    if 0 <= time_ns <= _WEEK_NS:
        return time_ns
    faults.add("a time below zero or over a week; not kept", line=line)
    return None


def _sum(times_ns: list[int | None]) -> int | None:
    known = [time_ns for time_ns in times_ns if time_ns is not None]
    return sum(known) if known else None


def _table(log: _Log) -> Table:
    columns: dict[str, Column] = {
        "iteration": int_column(log.iteration),
        "wall_ns": int_column(log.wall_ns),
        "loss": float_column(log.loss),
        "skipped": int_column(log.skipped),
    }
    return checked("iterations", columns)


_AT_TRAINING: Final = _LINES.groupindex["training"]
_AT_VALIDATION: Final = _LINES.groupindex["validation"]
"""Where the groups within a summary begin, counted from 0."""
