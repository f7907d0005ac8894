"""What a file is that no parser here reads, told from its first bytes, and what to do instead."""

from __future__ import annotations

import re
from typing import Final

SIGNS: Final[tuple[tuple[bytes, str], ...]] = (
    (
        rb"\ASQLite format 3\x00",
        "an SQLite database (Nsight Systems export or nvprof profile), which this version does not read yet; "
        "'nsys stats' or the Visual Profiler show it",
    ),
    (
        rb"\ANVR\x00",
        "an Nsight Compute report; export it: ncu --import FILE --csv --page raw --print-units base > FILE.csv",
    ),
    (rb"\ANVIDIA Tegra Profiler Report", "an Nsight Systems report (.nsys-rep), which this version does not read yet"),
    (
        rb"\A\x00\xff\x00\xff.{0,64}NVIDIA Nsight Systems Stream",
        "a raw Nsight Systems stream that was never imported; run QdstrmImporter -i FILE on it",
    ),
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
    (rb"(?m)^==[0-9]+== .*(?:NVPROF|Profiling result)", "text output of nvprof, which this version does not read yet"),
    (rb"\A[^\n]*(?:utilization\.gpu|memory\.used)", "nvidia-smi readings, which this version does not read yet"),
    (rb"\A#\s*(?:gpu|Entity)\b", "dmon readings of nvidia-smi or DCGM, which this version does not read yet"),
    (rb"\A\s*[\{\[]", "JSON, but no PyTorch trace (no trace events in it)"),
)
"""(pattern of the first bytes, what it is and what to do), asked in this order."""


def explanation(head: bytes) -> str:
    """One clause: what the stream that begins with ``head`` is, and what to do instead."""
    for pattern, text in SIGNS:
        if re.search(pattern, head, re.DOTALL):
            return text
    return "of no known format; ds2prof reads Nsight Compute CSV, PyTorch traces and its own run logs"
