"""Several processes train as one: a step has the gradients that one process has with all of its utterances."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from ds2prof.errors import UsageError
from ds2prof.train.distributed import Ranks, ranks_of

ROOT = Path(__file__).resolve().parents[1]

GRADIENTS = """
import os, sys
import numpy as np
import torch
from tests.train_support import NANO, StatedBatches, host
from ds2prof.train.distributed import joined, ranks_of
from ds2prof.train.steps import _gradients
from ds2prof.train.workload import assemble

class Log:
    def keep(self, batch, loss): self.loss = float(loss)

ranks, each = ranks_of(os.environ), int(sys.argv[2])
with joined(ranks, host()):
    batches = StatedBatches(8, each, ranks=ranks)
    accumulate = 8 // (each * ranks.world_size)
    work = assemble(NANO, host(), batches=batches, precision="fp32", seed=1, ranks=ranks, accumulate=accumulate)
    for module in work.model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()  # its statistics are each rank's own; frozen, nothing differs but the summation
    log = Log()
    _gradients(work, batches.epoch(0), log)
    for buffer in work.model.buffers():
        buffer.fill_(ranks.rank + 1)
    ranks.share_buffers(work.model)
    assert all((buffer == 1).all() for buffer in work.model.buffers())
    if ranks.first:
        found = {name: weight.grad.numpy() for name, weight in work.model.named_parameters()}
        np.savez(sys.argv[1], loss=log.loss, **found)
"""


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def gradients(folder: Path, *, ranks: int, each: int) -> dict[str, np.ndarray]:
    """The gradients of one step over eight utterances of one length, as rank 0 has them."""
    path, port = folder / f"{ranks}x{each}.npz", free_port()
    processes = []
    for rank in range(ranks):
        who = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)}
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", GRADIENTS, str(path), str(each)]
        processes.append(subprocess.Popen(command, cwd=ROOT, env={**os.environ, **who, **where}))
    assert [process.wait(timeout=120) for process in processes] == [0] * ranks
    with np.load(path) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Those of one process with one batch."""
    return gradients(tmp_path_factory.mktemp("whole"), ranks=1, each=8)


@pytest.mark.slow
@pytest.mark.parametrize("each", [4, pytest.param(2, marks=pytest.mark.long)])
def test_ranks_and_accumulated_batches_give_the_gradients_of_one_large_batch(each, whole, tmp_path):
    parts = gradients(tmp_path, ranks=2, each=each)
    assert whole.keys() == parts.keys()
    for name in whole.keys() - {"loss"}:
        assert np.abs(whole[name]).max() > 0, name
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-5, atol=1e-5 * np.abs(whole[name]).max())


def test_a_compiled_network_too_keeps_its_gradients_to_itself_while_they_accumulate():
    torch = pytest.importorskip("torch", reason="the package torch is a tool that this test needs")
    asked: list[str] = []

    class Averaging(torch.nn.parallel.DistributedDataParallel):
        def __init__(self):
            torch.nn.Module.__init__(self)

        def no_sync(self):
            asked.append("no_sync")
            return nullcontext()

    wrapped = torch.nn.Module()
    wrapped._orig_mod = Averaging()  # where torch.compile keeps what it was given
    for network in (wrapped, Averaging(), torch.nn.Module()):
        with Ranks(0, 2).gradients_stay(network):
            pass
    assert asked == ["no_sync", "no_sync"]


def test_a_process_without_variables_is_alone():
    assert ranks_of({}) == Ranks(0, 1, 0)
    assert not ranks_of({}).several


@pytest.mark.parametrize(
    "environ",
    [
        {"RANK": "2", "WORLD_SIZE": "2"},
        {"RANK": "-1", "WORLD_SIZE": "2"},
        {"RANK": "first", "WORLD_SIZE": "2"},
        {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "-3"},
    ],
)
def test_contradicting_variables_are_refused_in_a_line(environ):
    with pytest.raises(UsageError, match="torchrun"):
        ranks_of(environ)
