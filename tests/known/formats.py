"""Every format of a timeline, by name: how a truth becomes a file of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.known import write_kineto, write_ncu, write_nsys, write_nvprof, write_rocprof
from tests.known.truth import Run


def _text(make: Callable[[Run], str]) -> Callable[[Run, Path], None]:
    def write(run: Run, path: Path) -> None:
        path.write_text(make(run), encoding="utf-8")

    return write


def _bytes(make: Callable[[Run], bytes]) -> Callable[[Run, Path], None]:
    def write(run: Run, path: Path) -> None:
        path.write_bytes(make(run))

    return write


WRITERS: Final[dict[str, Callable[[Run, Path], None]]] = {
    "kineto": _text(write_kineto.document),
    "nsys_2026": _bytes(write_nsys.export_2026),
    "nsys_2020": _bytes(write_nsys.export_2020),
    "nsys_stats": _text(write_nsys.stats_csv),
    "nvvp": write_nvprof.write_nvvp,
    "nvprof_trace": _text(write_nvprof.trace_csv),
    "nvprof_summary": _text(write_nvprof.summary_csv),
    "rocprof_json": _text(write_rocprof.document),
    "rocprof_csv": _text(write_rocprof.kernels_csv),
    "ncu_raw": _text(write_ncu.raw_csv),
    "ncu_details": _text(write_ncu.details_csv),
    "ncu_rep": _bytes(write_ncu.report),
}


def written(run: Run, form: str, folder: Path) -> Path:
    """The file of a run in a format; its name tells nothing, for the format is found from the bytes."""
    path = folder / "measurement"
    path.unlink(missing_ok=True)
    WRITERS[form](run, path)
    return path
