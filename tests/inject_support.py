"""Programs that know nothing of ds2prof, and a way to run them with it injected."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ds2prof.measurements import read_sidecar

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "ds2prof" / "inject" / "site"

STEPS = """
import sys, torch
model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU())
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(int(sys.argv[1])):
    optimizer.zero_grad()
    model(torch.randn(4, 8)).pow(2).mean().backward()
    optimizer.step()
"""
INFERENCE = """
import torch
model = torch.nn.Linear(8, 8)
with torch.no_grad():
    for _ in range(5):
        model(torch.randn(4, 8))
"""
LOADER = """
import sys, torch
from torch.utils.data import DataLoader, TensorDataset
if __name__ == "__main__":
    model = torch.nn.Linear(8, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data = TensorDataset(torch.randn(80, 8))
    for (batch,) in DataLoader(data, batch_size=10, num_workers=2, multiprocessing_context=sys.argv[1]):
        optimizer.zero_grad()
        model(batch).pow(2).mean().backward()
        optimizer.step()
"""
RANKS = """
import os, sys, torch
import torch.distributed as dist
import torch.multiprocessing as mp

kept = []  # gloo's threads may wait for the interpreter while it, taking a model down, waits for them

def work(rank, rendezvous):
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(8, 8))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    kept.append(model)
    for _ in range(7):
        optimizer.zero_grad()
        model(torch.randn(4, 8)).pow(2).mean().backward()
        optimizer.step()
    dist.destroy_process_group()

if __name__ == "__main__":
    mp.start_processes(work, args=(sys.argv[2],), nprocs=2, start_method=sys.argv[1])
"""
FORK = """
import os, sys, torch
x = torch.randn(8, 8)
child = os.fork()
x @ x
if child == 0:
    sys.exit(5)
print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
OWN_PROFILER = """
import torch
from torch.profiler import profile
model = torch.nn.Linear(8, 8)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
def step():
    optimizer.zero_grad()
    model(torch.randn(4, 8)).pow(2).mean().backward()
    optimizer.step()
for _ in range(4):
    step()
with profile() as own:
    for _ in range(4):
        step()
print("own", len(own.events()) > 0)
"""


@dataclass(frozen=True)
class Ran:
    """A program that has ended."""

    exit_code: int
    stdout: str
    stderr: str
    folder: Path

    @property
    def traces(self) -> list[Path]:
        return sorted(self.folder.glob("*.json.gz"))

    @property
    def trace(self) -> Path:
        (only,) = self.traces
        return only

    @property
    def sidecar(self) -> dict[str, Any]:
        facts = read_sidecar(self.trace)
        assert facts is not None
        return facts

    @property
    def status(self) -> list[list[str]]:
        path = self.folder / "status"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def words(self) -> list[str]:
        return [words[0] for words in self.status]


def injected(folder: Path, *command: str, environ: Mapping[str, str] | None = None, path: str = "") -> Ran:
    """The end of ``command`` under injection; what it writes goes to ``folder``."""
    told = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("DS2PROF_", "PYTHONPATH"))},
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(SITE), path])),
        "DS2PROF_INJECT": "trace",
        "DS2PROF_INJECT_OUTPUT": str(folder / "t.{process}.json.gz"),
        "DS2PROF_STATUS": str(folder / "status"),
        **(environ or {}),
    }
    done = subprocess.run(command, env=told, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    return Ran(done.returncode, done.stdout, done.stderr, folder)


def ran(folder: Path, source: str, *arguments: str, environ: Mapping[str, str] | None = None) -> Ran:
    """The end of a Python program under injection."""
    script = folder / "program.py"
    script.write_text(source)
    return injected(folder, sys.executable, str(script), *arguments, environ=environ)
