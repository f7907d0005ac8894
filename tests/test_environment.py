"""``scripts/environment.sh`` with a stand-in for Python that notes what pip is asked for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.launch_support import executable

USED = (
    *("bash", "basename", "cat", "cksum", "cp", "cut", "dirname", "env", "flock", "mkdir", "mv", "paste", "readlink"),
    *("rm", "sed", "sort", "touch", "tr", "uname"),
)
# A Python that can make environments, and whose pip writes to $CALLS what it is told to install. $OFFERS is the build
# of PyTorch that pip finds by itself, $INDEX the one that it finds when PyTorch's own index is added.
PYTHON = """#!/usr/bin/env bash
case "$*" in
    --version) echo "Python 3.99.0" ;;
    "-m venv --clear -- "*)
        rm -rf "${@: -1}"
        mkdir -p "${@: -1}/bin"
        cp "$0" "${@: -1}/bin/python"
        echo venv >>"$CALLS"
        ;;
    *"install --dry-run"*"--extra-index-url"*) echo "Would install ${INDEX:-torch-2.13.0}" ;;
    *"install --dry-run"*) echo "Would install ${OFFERS:-torch-2.13.0}" ;;
    *"install "*) echo "${@: -1} ${*:4}" | cut -c-400 >>"$CALLS"; exit "${PIP_FAILS:-0}" ;;
esac
"""


class Project:
    """A project with the real script, and a PATH that holds its tools and the stand-in alone."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder / "a project"
        (self.folder / "scripts").mkdir(parents=True)
        shutil.copy(root / "scripts" / "environment.sh", self.folder / "scripts")
        (self.folder / "pyproject.toml").write_text("one")
        (self.folder / "constraints.txt").write_text("one")
        self.venv = self.folder / ".venv"
        self.bin = folder / "bin"
        self.bin.mkdir()
        for name in USED:
            found = shutil.which(name)
            if found is not None:
                (self.bin / name).symlink_to(found)
        executable(self.bin / "python3", PYTHON)
        self._calls = folder / "calls"

    def make(self, extras: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """What the script did; ``calls`` has what it had pip do."""
        self._calls.write_text("")
        return subprocess.run(
            ["bash", str(self.folder / "scripts" / "environment.sh"), ".venv", extras],
            env={"PATH": str(self.bin), "CALLS": str(self._calls), **environ},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        """The first word of every call: ``venv``, or what was installed."""
        return [line.removeprefix(f"{self.folder}").split(" ")[0] for line in self._calls.read_text().splitlines()]

    @property
    def options(self) -> str:
        """All that pip was told."""
        return self._calls.read_text()


@pytest.fixture
def project(tmp_path: Path, root: Path) -> Project:
    return Project(tmp_path, root)


no_driver = pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="an NVIDIA driver is loaded here")


def test_an_environment_is_made_once(project: Project) -> None:
    done = project.make("test")
    assert done.returncode == 0, done.stderr
    assert project.calls == ["venv", "[test]"]
    assert project.make("test").stderr == ""
    assert project.calls == []


def test_what_is_installed_follows_the_constraints(project: Project) -> None:
    project.make("test")
    assert f"-c {project.folder}/constraints.txt -e {project.folder}[test]" in project.options


def test_progress_goes_to_standard_error(project: Project) -> None:
    done = project.make("test")
    assert done.stdout == ""
    assert "installing ds2prof[test]" in done.stderr


def test_changed_requirements_refresh_it(project: Project) -> None:
    project.make("test")
    (project.folder / "constraints.txt").write_text("two")
    project.make("test")
    assert project.calls == ["[test]"]


def test_further_extras_join_those_that_are_there(project: Project) -> None:
    project.make("test")
    project.make("lint")
    assert project.calls == ["[lint,test]"]
    project.make("test,lint")
    assert project.calls == []


def test_no_extras_at_all_are_covered_by_any(project: Project) -> None:
    project.make("test")
    project.make("")
    assert project.calls == []


def test_what_failed_never_counts_as_done_and_is_made_anew(project: Project) -> None:
    done = project.make("test", PIP_FAILS="1")
    assert done.returncode == 1
    assert done.stderr.endswith("environment.sh: the packages could not be installed; what pip says stands above\n")
    assert project.make("test").returncode == 0
    assert project.calls == ["venv", "[test]"]


def test_a_failed_refresh_never_counts_as_done(project: Project) -> None:
    project.make("test")
    (project.folder / "pyproject.toml").write_text("two")
    project.make("test", PIP_FAILS="1")
    project.make("test")
    assert project.calls == ["venv", "[test]"]


def test_an_environment_that_somebody_else_made_is_used_and_not_cleared(project: Project) -> None:
    (project.venv / "bin").mkdir(parents=True)
    executable(project.venv / "bin" / "python", PYTHON)
    (project.venv / "theirs").write_text("")
    project.make("test", PIP_FAILS="1")
    project.make("test")
    assert project.calls == ["[test]"]
    assert (project.venv / "theirs").exists()


def test_an_environment_whose_python_is_gone_is_made_anew(project: Project) -> None:
    project.make("test")
    (project.venv / "bin" / "python").unlink()
    project.make("test")
    assert project.calls == ["venv", "[test]"]


@no_driver
def test_without_a_driver_the_cpu_build_that_pip_finds_by_itself_is_taken(project: Project) -> None:
    project.make("train", OFFERS="torch-2.13.0+cpu")
    assert project.calls == ["venv", "torch", "[train]"]
    assert "--extra-index-url" not in project.options


@no_driver
def test_without_a_driver_pytorchs_own_index_is_asked_where_pip_finds_no_cpu_build(project: Project) -> None:
    project.make("train", INDEX="torch-2.13.0+cpu")
    assert project.calls == ["venv", "torch", "[train]"]
    assert "--retries 1 --timeout 15" in project.options


@no_driver
def test_where_no_cpu_build_can_be_reached_the_default_one_is_taken_and_it_is_said(project: Project) -> None:
    done = project.make("train")
    assert done.returncode == 0
    assert "CPU builds cannot be reached" in done.stderr
    assert project.calls == ["venv", "[train]"]


def test_with_a_driver_the_default_build_is_taken(project: Project) -> None:
    executable(project.bin / "nvidia-smi", "#!/bin/sh\n")
    project.make("train", OFFERS="torch-2.13.0+cpu")
    assert project.calls == ["venv", "[train]"]


def test_without_a_python_it_says_so(project: Project) -> None:
    (project.bin / "python3").unlink()
    done = project.make("test")
    assert done.returncode == 1
    assert "no Python 3.10 or newer" in done.stderr
    assert not project.venv.exists()


def test_every_direct_dependency_is_pinned(root: Path) -> None:
    text = (root / "pyproject.toml").read_text()
    block = text[text.index("\ndependencies = [") : text.index("[project.scripts]")]
    wanted = {word.split(">=")[0].strip().lower() for word in block.split('"')[1::2]}
    pinned = {line.split("==")[0].lower() for line in (root / "constraints.txt").read_text().splitlines()}
    assert {name for name in wanted if not name.startswith("ds2prof[")} - {"version"} <= pinned
