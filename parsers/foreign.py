"""What a file is that no parser here reads, told from its first bytes, and what to do instead."""

from __future__ import annotations

import re
from typing import Final

SIGNS: Final[tuple[tuple[bytes, str], ...]] = (
    (
        rb"\ASQLite format 3\x00.*(?:StringIds|TARGET_INFO_|META_DATA_EXPORT)",
        "an SQLite export of Nsight Systems, which this version does not read yet; 'nsys stats' shows it",
    ),
    (
        rb"\ASQLite format 3\x00.*CUPTI_ACTIVITY_KIND_",
        "an nvprof profile (SQLite), which this version does not read yet; nvprof -i or the Visual Profiler show it",
    ),
    (rb"\ASQLite format 3\x00", "an SQLite database, but of no profiler that is known here"),
    (
        rb"\ANVR\x00",
        "an Nsight Compute report; export it: ncu --import FILE --csv --page raw --print-units base > FILE.csv",
    ),
    (rb"\ANVIDIA Tegra Profiler Report", "an Nsight Systems report (.nsys-rep), which this version does not read yet"),
    (
        rb"\A\x00\xff\x00\xff.{0,64}NVIDIA Nsight Systems Stream",
        "a raw Nsight Systems stream that was never imported; run QdstrmImporter -i FILE on it",
    ),
    (rb"\A\x1f\x8b", "gzip within gzip; unpack it once"),
    (rb"\A\x80[\x02-\x05]", "a Python pickle, which is never opened: that would run whatever is written in it"),
    (rb"\APK\x03\x04", "a zip archive; unpack it first"),
    (rb"\A(?:BZh|\xfd7zXZ\x00|\x28\xb5\x2f\xfd)", "compressed with bzip2, xz or zstd; unpack it first (gzip is read)"),
    (rb"\A\s*<\?xml", "an XML file; a Visual Profiler session holds no measurement, only where its own lies"),
    (
        rb'\A\s*\{\s*"schema"\s*:\s*"ds2prof-meta/',
        "the sidecar of a measurement, not the measurement; name the file without .meta.json",
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
        "a text log of Nsight Compute without CSV; collect with 'ncu --csv --page raw --print-units base', or export "
        "its report so",
    ),
    (
        rb"(?m)^==[0-9=]{1,12} [^\n]*(?:NVPROF|Profiling result)",
        "output of nvprof (text or CSV), which this version does not read yet",
    ),
    (
        rb"(?m)^\W{0,3}(?:(?:API )?Start ?\([num]?s\)[^\n]*Dur|Name,Projected Start|NVTX Range)[^\n]*(?:Name|PID)"
        rb"|^\W{0,3}(?:Time ?\(%\)\W{1,5}Total Time|Total ?\([KMG]?B\)\W{1,5}Count)"
        rb"|^\[\d+/\d+\] Executing '\w+' stats report|^\[\d+/\d+\] \[[^\n]*\.(?:nsys-rep|qdrep|sqlite)\b",
        "output of 'nsys profile' or 'nsys stats' (text or CSV), which this version does not read yet",
    ),
    (rb"\A[^\n]*(?:utilization\.gpu|memory\.used)", "nvidia-smi readings, which this version does not read yet"),
    (rb"DCGM_FI_\w{1,60}\s{0,9},", "a list of DCGM fields, as dcgm-exporter takes it; it holds no readings"),
    (rb"\A#\s*(?:gpu|Entity)\b", "dmon readings of nvidia-smi or DCGM, which this version does not read yet"),
    (rb'\A\s*\{\s*"rocprofiler-sdk-tool"', "results of AMD's rocprofv3, which this version does not read yet"),
    (
        rb"\A[^\n]*Timestamp \(ns\),[^\n]*_matching_event",
        "a table of events exported from Pipit, which is not read; name the profile that it was made from",
    ),
    (rb"\A\s*[\{\[]", "JSON, but no PyTorch trace (no trace events in it)"),
)
"""(pattern of the first bytes, what it is and what to do), asked in this order."""


def explanation(head: bytes) -> str:
    """One clause: what the stream that begins with ``head`` is, and what to do instead."""
    for pattern, text in SIGNS:
        if re.search(pattern, head, re.DOTALL):
            return text
    return "of no known format; ds2prof reads Nsight Compute CSV, PyTorch traces and its own run logs"
