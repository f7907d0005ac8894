"""What the tests that need a GPU share. Without one they are skipped before PyTorch is loaded."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ds2prof.machine import find_machine
from tests.gpu.support import ROOT, Run, ds2prof

_LIMIT_S = 300


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
