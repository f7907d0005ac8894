"""What is installed: every copy of a profiler, CUDA toolkits, and the packages of a Python, none of them loaded."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from glob import escape
from pathlib import Path
from typing import Final

from ds2prof.capture.launchers import Launcher
from ds2prof.machine.asking import ask
from ds2prof.machine.surroundings import first_match, text_of, version_key

ENV_PYTHON: Final = "DS2PROF_PYTHON"
PACKAGES: Final = ("torch", "nvtx", "msgspec", "numpy", "pandas")
TOOLKIT_PLACES: Final = ("$CUDA_HOME", "$CUDA_PATH", "/usr/local/cuda", "/usr/local/cuda-*", "/opt/cuda*")
_LIMIT_S: Final = 20.0
_SHEBANG_BYTES: Final = 256
_PROBE: Final = """
import sys
sys.path[:] = [place for place in sys.path if place]
import json, os
from importlib import metadata, util
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
spec, text = util.find_spec("torch"), ""
for folder in (spec and spec.submodule_search_locations) or ():
    try:
        with open(os.path.join(folder, "version.py"), encoding="utf-8") as lines:
            text = lines.read(4096)
    except OSError:
        pass
packages = {name: version(name) for name in sys.argv[1:]}
print(json.dumps({"version": sys.version.split()[0], "packages": packages, "torch_version_py": text}))
"""
"""What a Python is asked: metadata and the text of one file. No package is imported."""


@dataclass(frozen=True)
class Tool:
    """One copy of a profiler."""

    name: str
    path: str
    version: str | None
    on_path: bool


@dataclass(frozen=True)
class Toolkit:
    """One CUDA toolkit."""

    path: str
    version: str | None


@dataclass(frozen=True)
class Python:
    """One Python and what it has, as its package metadata says."""

    path: str
    version: str | None = None
    """None where it could not be asked."""
    packages: Mapping[str, str | None] = field(default_factory=dict)
    torch_cuda: str | None = None
    """The CUDA version that its torch was built for; None for other builds."""
    torch_rocm: str | None = None

    @property
    def torch_build(self) -> str:
        """What its torch was built for: ``CUDA 13.0``, ``ROCm 6.2`` or ``the CPU alone``."""
        if self.torch_cuda:
            return f"CUDA {self.torch_cuda}"
        return f"ROCm {self.torch_rocm}" if self.torch_rocm else "the CPU alone"


def copies(declared: Launcher, environ: Mapping[str, str] = os.environ) -> list[Tool]:
    """Every copy of a profiler: those on the PATH in its order, then those that hide, the newest folders first."""
    found: dict[str, Tool] = {}
    for name in declared.tools:
        on_path = [Path(folder) for folder in environ.get("PATH", "").split(os.pathsep) if folder]
        hiding = [folder for place in declared.hides_in for folder in folders(place, environ)]
        for at, folder in enumerate((*on_path, *hiding)):
            path = folder / name
            real = str(path.resolve())
            if real not in found and path.is_file() and os.access(path, os.X_OK):
                found[real] = Tool(name, str(path), version_of(str(path), declared.version), at < len(on_path))
    return list(found.values())


@lru_cache(maxsize=64)
def version_of(path: str, pattern: str | None) -> str | None:
    """The version that a tool says; None where it says none in time."""
    if pattern is None:
        return None
    return first_match(pattern, ask([path, "--version"], limit_s=_LIMIT_S).text)


@lru_cache(maxsize=16)
def listed_chips(tool: str) -> frozenset[str] | None:
    """The chips that this copy of Nsight Compute knows; None where it does not say."""
    text = ask([tool, "--list-chips"], limit_s=_LIMIT_S).answer.strip().upper()
    return frozenset(re.split(r",\s*", text)) if re.fullmatch(r"[A-Z0-9]+(,\s*[A-Z0-9]+)*", text) else None


def folders(place: str, environ: Mapping[str, str] = os.environ) -> list[Path]:
    """The folders that a pattern with ``$NAME`` in it stands for, the highest version first."""
    pattern = re.sub(r"\$(\w+)", lambda found: escape(environ.get(found.group(1)) or "\0"), place)
    if "\0" in pattern or not pattern.startswith("/"):
        return []
    return sorted(Path("/").glob(pattern.lstrip("/")), key=lambda folder: version_key(str(folder)), reverse=True)


def toolkits(environ: Mapping[str, str] = os.environ, *, places: Sequence[str] = TOOLKIT_PLACES) -> list[Toolkit]:
    """The CUDA toolkits in their usual places, and the one whose nvcc is on the PATH."""
    homes = [folder for place in places for folder in folders(place, environ)]
    nvcc = shutil.which("nvcc", path=environ.get("PATH"))
    if nvcc is not None and Path(nvcc).resolve().parents[1].joinpath("nvvm").is_dir():  # else a script that calls it
        homes.append(Path(nvcc).resolve().parents[1])
    found: dict[Path, Toolkit] = {}
    for home in homes:
        real = home.resolve()
        if real not in found and (real / "bin" / "nvcc").is_file():
            found[real] = Toolkit(str(home), _toolkit_version(real))
    return list(found.values())


def _toolkit_version(home: Path) -> str | None:
    try:
        said = json.loads(text_of(home / "version.json") or "{}")["cuda"]["version"]
        return str(said)
    except (ValueError, KeyError, TypeError):
        text = text_of(home / "version.txt")
        return first_match(r"CUDA Version (\d[\d.]*)", text) or _nvcc_version(home / "bin" / "nvcc")


def _nvcc_version(nvcc: Path) -> str | None:
    return first_match(r"release (\d[\d.]*)", ask([str(nvcc), "--version"], limit_s=_LIMIT_S).answer)


def active_python(environ: Mapping[str, str] = os.environ) -> str:
    """The Python that training runs on when nobody says otherwise: ``DS2PROF_PYTHON``, else this one."""
    named = environ.get(ENV_PYTHON)
    return (shutil.which(named, path=environ.get("PATH")) or named) if named else sys.executable


def python_of(program: Sequence[str], environ: Mapping[str, str] = os.environ) -> str | None:
    """The Python that a command starts, by its name or its first line; None where it starts something else."""
    path = shutil.which(program[0], path=environ.get("PATH")) if program else None
    if path is None:
        return None
    if _is_python(path):
        return path
    try:
        with Path(path).open("rb") as script:
            words = script.read(_SHEBANG_BYTES).partition(b"\n")[0].decode("utf-8", "replace").split()
    except OSError:
        return None
    if not words or not words[0].startswith("#!"):
        return None
    named = [word for word in (words[0].removeprefix("#!"), *words[1:2]) if _is_python(word)]
    return shutil.which(named[0], path=environ.get("PATH")) if named else None


def _is_python(path: str) -> bool:
    return re.fullmatch(r"python(\d+(\.\d+)?)?", Path(path).name) is not None


def python(path: str, environ: Mapping[str, str] = os.environ) -> Python:
    """That Python's version and packages; without them where it does not answer."""
    return _python(path, tuple(sorted(_plain(environ))))


def _plain(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The environment without what would have a Python load ds2prof's injection."""
    return ((name, value) for name, value in environ.items() if not name.startswith("DS2PROF_INJECT"))


@lru_cache(maxsize=16)
def _python(path: str, environ: tuple[tuple[str, str], ...]) -> Python:
    reply = ask([path, "-c", _PROBE, *PACKAGES], limit_s=_LIMIT_S, environ=dict(environ))
    try:
        said = json.loads(reply.answer.splitlines()[-1])
        built = str(said["torch_version_py"])
        return Python(
            path=path,
            version=str(said["version"]),
            packages={name: said["packages"][name] for name in PACKAGES},
            torch_cuda=first_match(r"(?m)^cuda\b[^=\n]*=\s*['\"]([\d.]+)['\"]", built),
            torch_rocm=first_match(r"(?m)^hip\b[^=\n]*=\s*['\"]([\d.]+)", built),
        )
    except (ValueError, KeyError, IndexError, TypeError):
        return Python(path)
