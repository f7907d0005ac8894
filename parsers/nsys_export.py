"""Running ``nsys export``: which one, bounded in time, and what is to be said when it fails.

A failed export leaves a partial SQLite file and an exit code; the file is never looked at then. Reports of later
releases than the tool's are refused by it, so that of several installed ones each is tried.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from glob import escape
from pathlib import Path
from typing import BinaryIO, Final

from ds2prof.errors import ReadError
from ds2prof.parsers.sources import HEAD_BYTES, Source

TOOL: Final = "nsys"
PLACES: Final = (
    *("$CUDA_HOME/bin", "$CUDA_PATH/bin", "/usr/local/cuda*/bin"),
    *("/opt/nvidia/nsight-systems/*/bin", "/opt/nvidia/nsight-systems-cli/*/bin"),
    *("/opt/nvidia/hpc_sdk/*/*/profilers/Nsight_Systems/bin", "/usr/lib/nsight-systems/bin"),
    "/opt/nvidia/nsight-compute/*/host/target-linux-x64",
)
"""Where NVIDIA's installers and Debian put it, when it is not on the PATH."""
MAX_TOOLS: Final = 4
LEAST_SECONDS: Final = 120
BYTES_PER_SECOND: Final = 1_000_000
"""An export that is slower, beyond the first ``LEAST_SECONDS``, is taken to hang."""
_VERSION_SECONDS: Final = 30
_MAX_TEXT: Final = 200
_VERSION: Final = re.compile(r"version ([0-9]+(?:\.[0-9]+)+)")
_REFUSED: Final = re.compile(r"(?i)version number is invalid|newer version|unsupported (?:report |file )?version")
_PROGRESS: Final = re.compile(r"\[\s*=*\s*\d+%\s*\]|^Processing")


@dataclass(frozen=True)
class Failed:
    """An export that did not succeed: the tool, and what it said."""

    tool: str
    said: str
    is_refusal: bool = False


def exported(source: Source, *, written_by: str | None) -> Source:
    """The SQLite export of a report, in a temporary folder that is there as long as the source is.

    Args:
        source: the report.
        written_by: the release that wrote it, where that is known.

    Raises:
        ReadError: there is no nsys, or it cannot export this report.
    """
    tools = list(find_tools(os.environ))[:MAX_TOOLS]
    if not tools:
        raise ReadError(
            f"{source.name}: an Nsight Systems report{_by(written_by)}, which only its own tool reads: install NVIDIA "
            "Nsight Systems (package nsight-systems-cli), or run 'nsys export --type sqlite' where it is and name what "
            "that writes"
        )
    failures = []
    with source.file() as report:
        for tool in tools:
            made = _export(tool, report)
            if isinstance(made, Failed):
                failures.append(made)
            else:
                return _source(source, made)
    raise ReadError(_message(source.name, failures[0], written_by))


def find_tools(environ: Mapping[str, str]) -> Iterator[str]:
    """Each nsys of this machine: that on the PATH, then those in the known places, the newest first."""
    seen = set()
    for found in (shutil.which(TOOL, path=environ.get("PATH")), *_hidden(environ)):
        if found is not None and os.path.realpath(found) not in seen:
            seen.add(os.path.realpath(found))
            yield found


def _hidden(environ: Mapping[str, str]) -> Iterator[str]:
    for place in PLACES:
        pattern = re.sub(r"\$(\w+)", lambda found: escape(environ.get(found[1], "\0")), place)
        if "\0" in pattern:
            continue
        folders = Path("/").glob(pattern.lstrip("/"))
        for folder in sorted(folders, key=lambda folder: _version_key(str(folder)), reverse=True):
            if (folder / TOOL).is_file() and os.access(folder / TOOL, os.X_OK):
                yield str(folder / TOOL)


def _version_key(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"[0-9]{1,9}", text))


def _export(tool: str, report: Path) -> tempfile.TemporaryDirectory[str] | Failed:
    """The folder with the export ``report.sqlite``."""
    folder = tempfile.TemporaryDirectory(prefix="ds2prof-nsys-")
    place = Path(folder.name)
    link = place / "report.nsys-rep"  # the tool writes beside what it is given
    link.symlink_to(report.absolute())
    command = [tool, "export", "--type", "sqlite", "--force-overwrite", "true"]
    command += ["--output", str(place / "report.sqlite"), str(link)]
    seconds = LEAST_SECONDS + report.stat().st_size // BYTES_PER_SECOND
    code, said = _run(command, place, seconds)
    if code == 0 and (place / "report.sqlite").is_file():
        return folder
    folder.cleanup()
    if code is None:
        return Failed(tool, said)
    return Failed(tool, f"exit code {code}{': ' if said else ''}{_last_line(said)}", bool(_REFUSED.search(said)))


def _run(command: list[str], folder: Path, seconds: int) -> tuple[int | None, str]:
    """(exit code, output); None as the code where it was stopped or could not be started."""
    environ = {**os.environ, "TMPDIR": str(folder)}
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return None, f"cannot be started: {error.strerror}"
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return None, f"not done after {seconds} seconds, and stopped"
    finally:
        _end(process)
    return process.returncode, said.decode("utf-8", "replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the tool, and what it started."""
    if process.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _source(report: Source, folder: tempfile.TemporaryDirectory[str]) -> Source:
    path = Path(folder.name) / "report.sqlite"
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    return Source(report.name, head, partial(_opened, folder), path, path.stat().st_size, is_plain=True)


def _opened(folder: tempfile.TemporaryDirectory[str]) -> BinaryIO:
    """The export's stream; whoever holds the opener holds the folder."""
    return (Path(folder.name) / "report.sqlite").open("rb")


def _last_line(said: str) -> str:
    """The last line of a tool's output that is no progress, made fit for a message."""
    lines = [" ".join(line.split()) for line in re.split(r"[\r\n]", said)]
    lines = [line for line in lines if line and not _PROGRESS.search(line)]
    text = "".join(char if char.isprintable() else "?" for char in lines[-1]) if lines else ""
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."


def _message(name: str, failure: Failed, written_by: str | None) -> str:
    version = _tool_version(failure.tool)
    here = f"the nsys here ({failure.tool}{', ' + version if version else ''})"
    elsewhere = "or run 'nsys export --type sqlite' where that one is and name what it writes"
    older = written_by is not None and version is not None and _version_key(version) < _version_key(written_by)
    if failure.is_refusal or older:
        return (
            f"{name}: an Nsight Systems report{_by(written_by)} that {here} is too old for ({failure.said}); install "
            f"the release that wrote it or a later one, {elsewhere}"
        )
    return (
        f"{name}: an Nsight Systems report{_by(written_by)} that {here} could not export ({failure.said}); is it "
        f"whole? Try the release that wrote it, {elsewhere}"
    )


def _by(written_by: str | None) -> str:
    return f" written by {written_by}" if written_by else ""


def _tool_version(tool: str) -> str | None:
    with tempfile.TemporaryDirectory(prefix="ds2prof-nsys-") as folder:
        _, said = _run([tool, "--version"], Path(folder), _VERSION_SECONDS)
    found = _VERSION.search(said)
    return found[1] if found else None
