"""What the tests that need a GPU share. Without one they are skipped before PyTorch is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ds2prof.machine import find_machine
from tests.gpu.support import ROOT, Run, ds2prof

_LIMIT_S = 300
_ENV_DEVICE = "DS2PROF_GPU_TESTS_ON"
# Read when cuBLAS is first used: results that are the same each time need workspaces that are.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.fixture(scope="session")
def cuda() -> Any:
    """PyTorch, where it sees a CUDA GPU."""
    if not find_machine().gpus:
        pytest.skip("no NVIDIA GPU is visible here")
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip(f"PyTorch {torch.__version__} sees no GPU")
    return torch


@pytest.fixture(scope="session")
def _trains_on(request: pytest.FixtureRequest) -> str:
    """The device's name: a CUDA GPU, or what DS2PROF_GPU_TESTS_ON says, to rehearse the tests that only compute."""
    named = os.environ.get(_ENV_DEVICE)
    if named is None:
        request.getfixturevalue("cuda")
    return named or "cuda"


@pytest.fixture
def place(_trains_on: str) -> Any:
    """The device that is trained on, computing float32 in full."""
    pytest.importorskip("torch")
    from ds2prof.train.device import open_device

    device = open_device(_trains_on)
    device.prepare("fp32")
    return device


@pytest.fixture(scope="session")
def gpu_run(cuda: Any) -> Callable[..., Run]:
    """Runs a command of ds2prof where there is a GPU."""

    def run(*words: str) -> Run:
        done = subprocess.run(
            ds2prof(*words), cwd=ROOT, capture_output=True, text=True, check=False, timeout=_LIMIT_S, errors="replace"
        )
        return Run(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def trace(gpu_run: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trace of two iterations of training with named layers."""
    path = tmp_path_factory.mktemp("trace") / "torch_bs4.json.gz"
    window = ("--profile-start", "3", "--profile-stop", "5", "--layers")
    training = (sys.executable, str(ROOT / "train_profiling.py"), "--preset", "tiny", "--batch-size", "4")
    done = gpu_run("run", "torch", "-o", str(path), "--", *training, "--device", "cuda", *window)
    assert done.code == 0, done.stderr
    return path
