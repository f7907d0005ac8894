"""What is written down about a campaign: campaign.json for programs, summary.txt for people."""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

import ds2prof
from ds2prof.machine import Machine
from ds2prof.measurements import commit_of, written_whole
from ds2prof.units import NS_PER_S, format_bytes
from gpu_campaign.context import Context
from gpu_campaign.packing import Sizes
from gpu_campaign.plan import PartDone, counted
from gpu_campaign.schedule import Setting

SCHEMA: Final = "ds2prof-campaign/1"


def facts_before(context: Context, setting: Setting, *, machine: Machine, sizes: Sizes) -> dict[str, Any]:
    """How the campaign came to be: what was asked, and where it runs."""
    return {
        "schema": SCHEMA,
        "started_utc": datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "dur_ns": None,
        "finished": False,
        "signal": None,
        "exit_code": None,
        "command": shlex.join(sys.orig_argv),
        "ds2prof": ds2prof.__version__,
        "commit": commit_of(context.root),
        "asked": {
            "time_s": setting.total_s,
            "files": sizes.files,
            "bytes": sizes.total_bytes,
            "device": context.device,
            "preset": context.preset,
            "batch_sizes": context.batch_sizes,
        },
        "machine": {**_host(setting.work), **asdict(machine)},
        "python": {"executable": context.python, "version": platform.python_version(), **(context.probe or {})},
        "tools": {name: context.tool(name) for name in ("nsight", "nsys", "nvprof")},
    }


def _host(work: Path) -> dict[str, Any]:
    """The host as far as the standard library knows it."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": platform.platform(),
        "cpus": affinity,
        "memory_bytes": pages,
        "disk_free_bytes": shutil.disk_usage(work).free,
    }


def write(
    folder: Path,
    facts: Mapping[str, Any],
    *,
    parts: Sequence[PartDone],
    setting: Setting,
    packed: Mapping[str, Any] | None,
) -> None:
    """Puts campaign.json and summary.txt in place, each whole."""
    told = {
        **facts,
        "dur_ns": int((time.monotonic() - setting.started_s) * NS_PER_S),
        "parts": [part.facts() for part in parts],
        "files": _sizes(parts, setting.work),
        "packed": packed,
    }
    _write(folder / "campaign.json", json.dumps(told, indent=1) + "\n")
    _write(
        folder / "summary.txt", "\n".join([*heading(told), "", *table(parts), "", *details(parts), *left_out(packed)])
    )


def _write(path: Path, text: str) -> None:
    with written_whole(path) as partial:
        partial.write_text(text.rstrip("\n") + "\n", encoding="utf-8", errors="backslashreplace")


def _sizes(parts: Sequence[PartDone], work: Path) -> dict[str, int]:
    names = [name for part in parts for name in part.files]
    return {name: (work / name).stat().st_size for name in names if (work / name).exists()}


def heading(told: Mapping[str, Any]) -> list[str]:
    """What was run where, in two lines."""
    asked, machine = told["asked"], told["machine"]
    devices = ", ".join(gpu["name"] for gpu in machine["gpus"]) or machine["cpu"] or "unknown processor"
    sizes = " ".join(str(size) for size in asked["batch_sizes"])
    what = "GPU campaign" if asked["device"] == "cuda" else "rehearsal of a GPU campaign on the CPU"
    return [
        f"{what}: {asked['preset']}, batch sizes {sizes}; {devices}; {told['started_utc']}",
        f"ds2prof {told['ds2prof']}, commit {told['commit'] or 'unknown'}, driver {machine['driver'] or 'none'}",
    ]


def table(parts: Sequence[PartDone]) -> list[str]:
    """A line for each part."""
    rows = [("part", "result", "took", "steps", "")]
    rows += [
        (
            part.part.name,
            part.status,
            f"{part.dur_ns / NS_PER_S:.1f} s" if part.dur_ns else "-",
            counted(part.steps) or "-",
            said(part),
        )
        for part in parts
    ]
    widths = [max(len(row[at]) for row in rows) for at in range(4)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]).rstrip()
        for row in rows
    ]


def details(parts: Sequence[PartDone]) -> list[str]:
    """A line for each step: what came of it."""
    steps = [(done.name, done.status, done.note or done.reason or "") for part in parts for done in part.steps]
    width = max((len(name) for name, _, _ in steps), default=0)
    return [f"{name.ljust(width)}  {status:9}  {text}".rstrip() for name, status, text in steps]


def left_out(packed: Mapping[str, Any] | None) -> list[str]:
    """A line for each file that had no place."""
    dropped = packed["dropped"] if packed else []
    lines = [f"{each['file']} ({format_bytes(each['packed_bytes'])} packed): {each['reason']}" for each in dropped]
    return ["", "left out:", *lines] if lines else []


def said(part: PartDone) -> str:
    """Why a part did not deliver, or its one result in a few words."""
    if part.status != "delivered":
        return part.reason or ""
    notes = [done.note for done in part.steps if done.note]
    return notes[0] if len(notes) == 1 else ""


def line_of(part: PartDone) -> str:
    """A part that has ended, in one line."""
    text = said(part) or counted(part.steps)
    took = f" in {part.dur_ns / NS_PER_S:.1f} s" if part.dur_ns else ""
    return f"{part.part.name}: {part.status}{took}{f': {text}' if text else ''}"
