"""What a file is that no parser here reads, told from its first bytes, and what to do instead."""

from __future__ import annotations

import re
from typing import Final

_SESSION: Final = rb"\A\s*(?:<\?xml[^>]{0,200}>)?\s*<session\b"
_SESSION_DATA: Final = re.compile(
    rb"<(\w{1,40})\b[^<>]{0,4096}?\s(?:file|path|name)=\"([^\"<>]{1,1024}\.(?:nvvp|nvprof|prof|sql))\""
)
_SESSION_PROGRAM: Final = re.compile(rb"<executable\b[^<>]{0,4096}?\sfile=\"([^\"<>]{1,1024})\"")

SIGNS: Final[tuple[tuple[bytes, str], ...]] = (
    (
        rb"\ASQLite format 3\x00.*CUPTI_ACTIVITY_KIND_",
        "an nvprof profile (SQLite) that another program made over; name the file that nvprof itself wrote",
    ),
    (
        rb"\ASQLite format 3\x00.*rocpd_(?:kernel_dispatch|info_|string|metadata)",
        "a rocpd database of AMD's rocprofv3, which is not read; collect with 'rocprofv3 --output-format json'",
    ),
    (rb"\ASQLite format 3\x00", "an SQLite database, but of no profiler that is known here"),
    (
        rb"\A\x00\xff\x00\xff.{0,64}NVIDIA Nsight Systems Stream",
        "a raw Nsight Systems stream that was never imported; run QdstrmImporter -i FILE on it",
    ),
    (rb"\A(?:\xff\xfe|\xfe\xff)", "text in UTF-16, as '>' of PowerShell writes it; save it as UTF-8 first"),
    (rb"\A\x1f\x8b", "gzip within gzip; unpack it once"),
    (rb"\A\x80[\x02-\x05]", "a Python pickle, which is never opened: that would run whatever is written in it"),
    (rb"\APK\x03\x04", "a zip archive; unpack it first"),
    (rb"\A(?:BZh|\xfd7zXZ\x00|\x28\xb5\x2f\xfd)", "compressed with bzip2, xz or zstd; unpack it first (gzip is read)"),
    (_SESSION, "a Visual Profiler session (XML): settings, no measurement"),
    (rb"\A\s*<\?xml", "an XML file, which no profiler that is known here writes its measurements to"),
    (
        rb'\A\s*\{\s*"schema"\s*:\s*"ds2prof-meta/',
        "the sidecar of a measurement, not the measurement; name the file without .meta.json",
    ),
    (
        rb'\A\s*\{\s*"schema"\s*:\s*"ds2prof-calibration/',
        "a calibration of what profilers cost, no measurement; 'ds2prof calibrate --show' prints it",
    ),
    (
        rb'\A\s*(?:<!doctype html>.{0,2000}?<meta name="generator" content="ds2prof |\{\s*"schema"\s*:\s*"ds2prof/)',
        "what ds2prof made of a measurement; name the file that it was made of",
    ),
    (
        rb'\A\s*\{\s*"schema"\s*:\s*"[0-9.]+"[^\[]{0,400}"nodes"',
        "a PyTorch execution trace (operators without times); record one with torch.profiler instead",
    ),
    (
        rb"\A\s*\[\s*\[\s*-?[0-9]+\s*,",
        "a PyTorch memory timeline (lists of numbers), not a trace; export the trace with export_chrome_trace",
    ),
    (
        rb"(?s)\A.{0,16384}?==PROF==.*",
        "a text log of Nsight Compute with neither CSV nor pages; collect with 'ncu --csv --page raw --print-units "
        "base', or export its report so",
    ),
    (
        rb"(?m)^\| NVIDIA-SMI \d|^={4,40}NVSMI LOG={4,40}|^NVIDIA-SMI has failed",
        "what nvidia-smi prints for people; collect readings with 'nvidia-smi --query-gpu=timestamp,index,"
        "utilization.gpu,memory.used,power.draw --format=csv -l 1'",
    ),
    (rb"DCGM_FI_\w{1,60}\s{0,9},", "a list of DCGM fields, as dcgm-exporter takes it; it holds no readings"),
    (
        rb'\A"?(?:Kind"?,"?(?:Operation|Agent_Id)|Node_Id"?,"?Logical_Node_Id|Name"?,"?Calls"?,"?TotalDurationNs'
        rb'|Index"?,"?KernelName"?,"?gpu-id)\b',
        "a table of AMD's rocprof that is not read; collect with 'rocprofv3 --sys-trace --output-format json'",
    ),
    (
        rb"\A[^\n]*Timestamp \(ns\),[^\n]*_matching_event",
        "a table of events exported from Pipit, which is not read; name the profile that it was made from",
    ),
    (
        rb'\A\s*\[\s*\{\s*"(?:Time \(%\)|Total \(|(?:API )?Start \()',
        "a report of 'nsys stats' as JSON, which is not read; print it with -f csv",
    ),
    (rb"\A\s*[\{\[]", "JSON, but no PyTorch trace (no trace events in it)"),
)
"""(pattern of the first bytes, what it is and what to do), asked in this order."""


def explanation(head: bytes) -> str:
    """One clause: what the stream that begins with ``head`` is, and what to do instead."""
    for pattern, text in SIGNS:
        if re.search(pattern, head, re.DOTALL):
            return f"{text}; {_of_session(head)}" if pattern == _SESSION else text
    return (
        "of no known format; ds2prof reads what nvprof, Nsight Compute, Nsight Systems, PyTorch, rocprofv3, nvidia-smi "
        "and DCGM write"
    )


def _of_session(head: bytes) -> str:
    """What to do with a session of the Visual Profiler: it names a file that was imported, or a program to run."""
    imported = next((found[2] for found in _SESSION_DATA.finditer(head) if found[1] != b"session"), None)
    if imported is not None:
        return f"name the profile that it shows, {_shown(imported)}"
    program = _SESSION_PROGRAM.search(head)
    what = f" of {_shown(program[1])}" if program else ""
    return f"record the run{what} with 'nvprof -o FILE.nvvp PROGRAM' and name that"


def _shown(raw: bytes) -> str:
    """An attribute's text."""
    import html  # a thousand names of characters, for this alone

    return " ".join(html.unescape(raw.decode("utf-8", "replace")).split())
