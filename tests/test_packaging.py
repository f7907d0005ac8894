"""The five ways to have ds2prof: bare checkout, wheel elsewhere, wheel at the checkout's root, sdist, editable."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("packaging")]

NEEDED = ("run_profile.sh", "train_profiling.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")
FOLDERS = ("ds2prof", "parsers", "profilers", "measurements", "notebooks", "scripts", "tests", "docs")
RESOURCES = (
    "import importlib.resources as r, ds2prof.parsers, ds2prof.parsers.ncu_csv, ds2prof.parsers.torch_kineto;"
    "names = sorted(p.name for p in r.files('ds2prof.profilers').iterdir());"
    "site = r.files('ds2prof').joinpath('inject', 'site', 'sitecustomize.py'); site.is_file() or names.clear();"
    "print([n for n in ('common.bash', 'nsight.sh', 'nsight.yaml', 'torch.sh', 'torch.yaml') if n not in names])"
)


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, root):
    """A copy of the checkout, so that building leaves nothing in the real one."""
    copy = tmp_path_factory.mktemp("checkout of ds2prof") / "ds2prof"
    copy.mkdir()
    for name in NEEDED:
        shutil.copy2(root / name, copy)
    for name in FOLDERS:
        shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.json.gz"))
    return copy


@pytest.fixture
def environment(tmp_path):
    """A virtual environment with the dependencies of this one, but without ds2prof.

    A path listed in a .pth file is searched for packages, while the .pth files lying in it (an editable ds2prof, say)
    are not read.
    """
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


@pytest.fixture(scope="module")
def sdist(checkout, tmp_path_factory):
    return built("--sdist", checkout, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    return built("--wheel", checkout, tmp_path_factory.mktemp("wheel"))


def built(kind: str, source: Path, target: Path) -> Path:
    run(sys.executable, "-m", "build", "--no-isolation", kind, "--outdir", target, source, cwd=target)
    (found,) = target.iterdir()
    return found


def install(environment: Path, *what: object, cwd: Path) -> None:
    pip = (sys.executable, "-m", "pip", "--python", environment, "install", "--quiet", "--no-deps", "--no-index")
    run(*pip, "--ignore-installed", "--no-build-isolation", *what, cwd=cwd)


def works(environment: Path, golden: Path, cwd: Path) -> Path:
    """Check reading and the packaged resources from ``cwd``; where ds2prof was imported from."""
    file = golden / "ncu_csv" / "three_launches" / "input.csv"
    assert "fma\t74.00000 %" in run(environment, "-m", "ds2prof", "parse", file, "--format", "tbd", cwd=cwd)
    assert run(environment, "-c", RESOURCES, cwd=cwd).strip() == "[]"
    return Path(run(environment, "-c", "import ds2prof; print(ds2prof.__file__)", cwd=cwd).strip())


def test_a_checkout_with_nothing_installed_reads_and_trains(checkout, environment, golden):
    assert works(environment, golden, checkout).is_relative_to(checkout)
    assert "parameters" in run(environment, "train_profiling.py", "--preset", "tiny", "--iterations", "0", cwd=checkout)


def test_a_wheel_works_from_another_folder(wheel, environment, golden, tmp_path):
    install(environment, wheel, cwd=tmp_path)
    assert works(environment, golden, tmp_path).is_relative_to(environment.parent.parent)
    assert "parse" in run(environment.parent / "ds2prof", "--help", cwd=tmp_path)


def test_a_wheel_works_from_the_checkouts_root(wheel, environment, golden, checkout):
    install(environment, wheel, cwd=checkout)
    works(environment, golden, checkout)
    assert "parameters" in run(environment, "train_profiling.py", "--preset", "tiny", "--iterations", "0", cwd=checkout)
    assert "parse" in run(environment.parent / "ds2prof", "--help", cwd=checkout)


def test_an_sdist_holds_what_the_checkout_does_and_builds(sdist, environment, golden, tmp_path):
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"run_profile.sh", "train_profiling.py", "profilers/nsight.sh", "parsers/ncu_csv.py", "LICENSE"} <= names
    install(environment, sdist, cwd=tmp_path)
    works(environment, golden, tmp_path)


def test_an_editable_install_follows_the_checkout(checkout, environment, golden, tmp_path):
    install(environment, "--editable", checkout, cwd=tmp_path)
    assert works(environment, golden, tmp_path).is_relative_to(checkout)
