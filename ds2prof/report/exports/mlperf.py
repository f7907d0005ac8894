"""Result lines as MLPerf's logging writes them: ``:::MLLOG {...}``, and the ``RESULT,`` line that its scripts end with.

What MLPerf has a key for is logged under it: ``run_start`` and ``run_stop`` around the run, the batch,
``tracked_stats`` of each iteration (its throughput), ``throughput``. All other totals are ``ds2prof_<total>``. These
are lines of that form, no submission: seeds, accuracies and compliance belong to the training's own log.

Times are the run's where the file tells them since the epoch (a run log's from when it was started); lines of a file
that does not are without an interval and have the time of writing, as those of any logger.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import IO, Any, Final

from ds2prof import units
from ds2prof.report.exports.sheets import Sheet

_BENCHMARKS: Final = {"rnnt": "RNN_SPEECH_RECOGNITION"}
_DEFAULT_BENCHMARK: Final = "SPEECH_RECOGNITION"
_WHO: Final = "ds2prof"


def write_mlperf(sheets: Sequence[Sheet], out: IO[str], *, now_ms: int | None = None) -> None:
    """Nothing; the lines of each profile are written: totals once, iterations where a sheet is by them."""
    written_ms = round(time.time() * 1000) if now_ms is None else now_ms
    for file in dict.fromkeys(sheet.meta.file for sheet in sheets):
        of_file = [sheet for sheet in sheets if sheet.meta.file == file]
        out.writelines(f"{line}\n" for line in _lines(of_file, written_ms))


def _lines(sheets: Sequence[Sheet], written_ms: int) -> Iterator[str]:
    first = sheets[0]
    meta, totals = first.meta, first.totals
    facts: Mapping[str, Any] = {**meta.facts, **(meta.run or {})}
    start_ms, stop_ms = _interval(facts, totals)
    at_ms = written_ms if start_ms is None else start_ms
    about = {"file": meta.file, "tool": meta.tool}
    if isinstance(facts.get("batch_size"), int):
        world = facts.get("world_size", 1)
        key = "global_batch_size" if isinstance(world, int) else "local_batch_size"
        yield _event(at_ms, key, facts["batch_size"] * (world if isinstance(world, int) else 1), about)
    for key in ("seed", "precision", "preset"):
        if isinstance(facts.get(key), (int, str)):
            yield _event(at_ms, key, facts[key], about)
    if start_ms is not None and stop_ms is not None:
        yield _event(start_ms, "run_start", None, about, kind="INTERVAL_START")
    for sheet in sheets:
        if sheet.by == "iteration":
            yield from _iterations(sheet, at_ms, about)
    end_ms = at_ms if stop_ms is None else stop_ms
    for key, value in totals.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            yield _event(end_ms, "throughput" if key == "samples_per_s" else f"ds2prof_{key}", value, about)
    if start_ms is not None and stop_ms is not None:
        status = "aborted" if facts.get("exit_code") else "success"
        yield _event(stop_ms, "run_stop", None, {**about, "status": status}, kind="INTERVAL_END")
        yield from _result(facts, start_ms, stop_ms)


def _event(time_ms: int, key: str, value: Any, metadata: Mapping[str, Any], *, kind: str = "POINT_IN_TIME") -> str:
    told = {"namespace": "", "time_ms": time_ms, "event_type": kind, "key": key, "value": value, "metadata": metadata}
    return f":::MLLOG {json.dumps(told)}"


def _interval(facts: Mapping[str, Any], totals: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """(start, stop) of the run in Unix milliseconds, from its start as stated and its length; Nones where unknown.

    A run log that was cut off has no length: neither has it come to its end.
    """
    started, dur_ns = facts.get("started_utc"), facts.get("dur_ns")
    if dur_ns is None and facts.get("stretch"):
        dur_ns = totals.get("wall_ns")
    if not isinstance(started, str) or not isinstance(dur_ns, int):
        return None, None
    try:
        began = datetime.fromisoformat(started.replace("Z", "+00:00"))
    except ValueError:
        return None, None
    if began.tzinfo is None:
        began = began.replace(tzinfo=timezone.utc)
    start_ms = round(began.timestamp() * 1000)
    return start_ms, start_ms + dur_ns // units.NS_PER_MS


def _iterations(sheet: Sheet, at_ms: int, about: Mapping[str, Any]) -> Iterator[str]:
    """The throughput of each iteration, as MLPerf's references track it; ``step`` counts as the log does."""
    if not {"iteration", "wall_ns", "samples"} <= set(sheet.columns):
        return
    done, since_ns = 0, 0
    for chunk in sheet.chunks():
        for step, wall_ns, samples in zip(chunk["iteration"], chunk["wall_ns"], chunk["samples"], strict=True):
            if not wall_ns or samples is None:
                continue
            done, since_ns = done + samples, since_ns + wall_ns
            rate = {"throughput": samples * units.NS_PER_S / wall_ns}
            known = {**about, "step": step, "samples_count": done}
            yield _event(at_ms + since_ns // units.NS_PER_MS, "tracked_stats", rate, known)


def _result(facts: Mapping[str, Any], start_ms: int, stop_ms: int) -> Iterator[str]:
    """``RESULT,<benchmark>,,<whole seconds>,<who>,<when it began>``, of runs of our own presets."""
    preset = facts.get("preset")
    if not isinstance(preset, str):
        return
    name = next((name for part, name in _BENCHMARKS.items() if part in preset), _DEFAULT_BENCHMARK)
    began = datetime.fromtimestamp(start_ms / 1000, tz=timezone.utc).strftime("%Y-%m-%d %I:%M:%S %p")
    yield f"RESULT,{name},,{round((stop_ms - start_ms) / 1000)},{_WHO},{began}"
