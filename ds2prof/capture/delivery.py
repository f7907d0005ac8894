"""What a capture delivers: files found under temporary names, put under their final ones whole, or explained."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any, Final

from ds2prof.calibration import mode_name, overhead_for
from ds2prof.capture.injection import why_nothing
from ds2prof.capture.job import STATUS_SUFFIX, Job, Plan
from ds2prof.capture.launchers import find_importer
from ds2prof.capture.outcome import Outcome, holds_data
from ds2prof.capture.provenance import merged
from ds2prof.capture.wholeness import damage, is_full
from ds2prof.config import RANGE_DOMAIN
from ds2prof.doctor.checks import warnings_for
from ds2prof.errors import CaptureError
from ds2prof.measurements import (
    LOG_SUFFIX,
    SIDECAR_SUFFIX,
    make_room,
    place,
    read_sidecar,
    refuse_existing,
    write_sidecar,
)

_IMPORT_LIMIT_S: Final = 1800
_LOST_NVTX: Final = "records no range of the nvtx package"
_NOTHING_PRINTED: Final = "[ds2prof: neither the program nor the profiler printed anything]\n"
_OURS: Final = (LOG_SUFFIX, STATUS_SUFFIX, SIDECAR_SUFFIX)


def refuse_replacing(planned: Plan, *, force: bool) -> None:
    """Nothing, if the capture replaces no measurement.

    Raises:
        ExistsError: it would replace its own, or that of a process or rank.
    """
    refuse_existing(planned.output, force=force)
    if planned.many_files:
        folder, base = planned.output.parent, escape(planned.base)
        pattern = base.replace("%p", "*")
        names = [f"{pattern}{key}.{planned.extension}" for key in ("_rank*", "_p[0-9]*")]
        for name in names if pattern == base else [f"{pattern}.{planned.extension}"]:
            for path in sorted(folder.glob(name)):
                refuse_existing(path, force=force)


@contextmanager
def whole_or_nothing(job: Job) -> Iterator[None]:
    """A folder to write to; whatever is left under the job's temporary names goes at the end.

    Raises:
        CaptureError: the folder cannot be made or written to.
    """
    folder = job.planned.output.parent
    make_room(job.planned.output)
    if is_full(folder):
        raise CaptureError(f"{folder}: the disk is full; free some of it, or name another folder by -o")
    job.log.touch()
    try:
        yield
    finally:
        for path in folder.glob(f"*{escape(job.stem)}*"):  # what the program derived from the name as well
            with suppress(OSError):
                path.unlink()


def written(job: Job, outcome: Outcome) -> dict[Path, Path]:
    """Final name -> file that holds data.

    Raises:
        CaptureError: there is none.
    """
    planned = job.planned
    if planned.launcher.importer is not None:
        _import(job, planned.launcher.importer.left)
    mark = planned.launcher.holds if planned.extension == planned.launcher.extension else None
    whole = {key: path for key, path in _candidates(job).items() if holds_data(path, mark)}
    if not whole:
        raise CaptureError(f"{planned.launcher.name}: {outcome.emptiness(_why_empty(job))}")
    damaged = next((wrong for wrong in map(damage, whole.values()) if wrong), None)
    if damaged:
        raise CaptureError(f"{planned.launcher.name}: it ended well, but the file that it wrote {damaged}")
    if len(whole) == 1 and not next(iter(whole)).startswith("rank"):
        return {_named(planned, ""): next(iter(whole.values()))}
    return {_named(planned, key): path for key, path in whole.items()}


def put_in_place(
    job: Job, found: Mapping[Path, Path], facts: Mapping[str, Any], *, force: bool = False
) -> tuple[Path, ...]:
    """The measurements under their final names, sidecars first: a measurement is never without one.

    Raises:
        CaptureError: one cannot be put there.
    """
    for path, partial in found.items():
        refuse_existing(path, force=force)  # another capture may have been quicker
        complete = merged(facts, read_sidecar(partial))
        sidecar = write_sidecar(path, {**complete, "calibrated_overhead_ns": _calibrated(job, complete)})
        try:
            for ending in job.planned.launcher.besides:
                extra = _beside(partial, job.planned, ending)
                if extra.exists():
                    extra.replace(_beside(path, job.planned, ending))
            place(partial, path, force=force)
        except OSError as error:
            sidecar.unlink(missing_ok=True)
            raise CaptureError(f"{path}: cannot be put in place: {error.strerror}") from None
    log_of(job.planned.output).unlink(missing_ok=True)
    return tuple(found)


def _calibrated(job: Job, facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """What this capture cost, as far as a calibration beside it tells."""
    planned = job.planned
    return overhead_for(
        planned.output.parent,
        mode=mode_name(planned.launcher.name, detail=planned.asked.detail),
        machine=job.machine,
        program=planned.program,
        facts=facts,
        options=planned.asked.options,
    )


def keep_what_explains(job: Job, outcome: Outcome, facts: Mapping[str, Any] | None) -> None:
    """The log with the profiler's own messages, and the sidecar unless it would replace that of a measurement."""
    output = job.planned.output
    with suppress(OSError):  # the disk may be full, which is then the reason for all this: what is no data makes room
        for path in (*_candidates(job).values(), *outcome.scratch()):
            path.unlink(missing_ok=True)
    with suppress(OSError), job.log.open("a", encoding="utf-8") as log:
        log.write(outcome.messages)
        if not log.tell():  # an empty file would leave open whether anything was lost
            log.write(_NOTHING_PRINTED)
    with suppress(OSError, CaptureError):
        job.log.replace(log_of(output))
        if facts is not None and outcome.exit_code and not output.exists():
            write_sidecar(output, {**facts, "exit_code": outcome.program_code})


def log_of(output: Path) -> Path:
    """Where the log of a failed capture lies."""
    return output.with_name(output.name + LOG_SUFFIX)


def _candidates(job: Job) -> dict[str, Path]:
    """Key of the process (``77``, ``p77``, ``rank0``; empty where there is one file) -> file that may hold data."""
    if not job.planned.many_files:
        return {"": job.partial}
    ending = f".{job.planned.extension}"
    found = sorted(job.planned.output.parent.glob(f"{escape(job.stem)}.*{escape(ending)}"))
    return {path.name.removeprefix(f"{job.stem}.").removesuffix(ending): path for path in found if _is_data(path)}


def _is_data(path: Path) -> bool:
    return not path.name.endswith(_OURS)


def _named(planned: Plan, key: str) -> Path:
    """``profile_1_bs4_p77.nvvp`` for the process 77 of ``profile_1_bs4.nvvp``; a ``%p`` in the name gives way to it."""
    key = f"p{key}" if key.isdigit() else key
    if planned.base.endswith(f"_{key}"):  # of one rank alone, whose name has it already
        key = ""
    if "%p" in planned.base:
        return planned.output.with_name(f"{planned.base.replace('%p', key or 'p0')}.{planned.extension}")
    return planned.output.with_name(f"{planned.base}{'_' if key else ''}{key}.{planned.extension}")


def _why_empty(job: Job) -> str | None:
    """Why there may be nothing in a window that was opened in this way; None: what the launcher says of it holds."""
    opening, launcher = job.opening, job.planned.launcher
    if job.planned.injects is not None:
        whole = opening is not None and opening.kind == "all"
        by_default = job.planned.injects == "memory" and not whole  # which knows no other window than one of steps
        return why_nothing(job.status, steps_asked=job.steps is not None or by_default)
    if opening is None or launcher.injects or not launcher.tools or opening.kind == "api":
        return None
    if opening.kind == "all":
        return "the program used no GPU that it could see" if launcher.needs_gpu else "there was nothing to record"
    ours = opening.kind == "steps" or opening.domain == RANGE_DOMAIN
    seen = f"the window never opened: no range {opening} was seen; is that its name, and its domain behind @?"
    if ours and job.window is not None:
        steps = f"{job.window.start}:{job.window.stop}"
        seen = f"the window {steps} never opened; does the program take so many steps of a PyTorch optimizer?"
    if opening.kind == "steps":
        return seen
    warned = warnings_for(launcher, job.machine, tool=job.tool, environ=job.environ, program=job.planned.program)
    return "; ".join([seen, *(line.split("; kernels")[0] for line in warned if _LOST_NVTX in line)])


def _beside(path: Path, planned: Plan, ending: str) -> Path:
    return path.with_name(path.name.removesuffix(f".{planned.extension}") + ending)


def _import(job: Job, left: str) -> None:
    """Nothing; a report was made of what the profiler left where its own importer could not be found by it.

    Raises:
        CaptureError: there is no importer, or it fails. What was left is kept under the measurement's name.
    """
    launcher, output = job.planned.launcher, job.planned.output
    assert launcher.importer is not None
    raw = job.partial.with_name(job.stem + left)
    if job.partial.exists() or not raw.exists():
        return
    importer = find_importer(launcher.importer, job.tool or "", job.environ)
    why = _imported(importer, raw, job.partial) if importer else "is not on this machine"
    if why is None:
        return
    kept = output.with_name(job.planned.base + left)
    raw.replace(kept)
    raise CaptureError(
        f"{kept}: is what {launcher.name} left, and its importer {why}; on a machine with the same version: "
        f"{launcher.importer.tool} -i {shlex.quote(kept.name)} -o {shlex.quote(output.name)}"
    )


def _imported(importer: str, raw: Path, report: Path) -> str | None:
    """Why the importer made no report; None where it did."""
    try:
        done = subprocess.run(
            [importer, "-i", raw, "-o", report], capture_output=True, check=False, timeout=_IMPORT_LIMIT_S
        )
    except subprocess.TimeoutExpired:
        return f"did not end within {_IMPORT_LIMIT_S // 60} minutes"
    except OSError as error:
        return f"cannot be started ({error.strerror})"
    return None if done.returncode == 0 and report.exists() else "failed"
