"""The check of the links: what it times, what it reports, and that a wrong sum is seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="the package torch is not installed")

from ds2prof.errors import Ds2profError, UsageError
from ds2prof.train import bandwidth
from ds2prof.train.bandwidth import Bandwidth, Trial, measure, size_of
from ds2prof.train.device import open_device
from ds2prof.train.distributed import Ranks


@pytest.mark.parametrize(
    ("ranks", "factor"),
    # nccl-tests, doc/PERFORMANCE.md: 2 (n - 1) / n for an all-reduce.
    [(2, 1.0), (4, 1.5), (8, 1.75), (16, 1.875)],
)
def test_bus_bandwidth_is_that_of_nccl_tests(ranks, factor):
    found = Bandwidth(size_bytes=1 << 30, dur_ns=10_000_000, ranks=ranks, wrong=0)
    assert found.algorithm_bytes_per_s == pytest.approx(107.3741824e9)
    assert found.bus_bytes_per_s == pytest.approx(107.3741824e9 * factor)


@pytest.mark.parametrize(
    ("text", "size"),
    [("8", 8), ("64K", 65536), ("1M", 1 << 20), ("1m", 1 << 20), ("98.1M", 102_865_306), ("2G", 1 << 31)],
)
def test_sizes_are_read_as_nccl_tests_reads_them(text, size):
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "K", "-1M", "0", "1T", "nan", "inf", "1MB", "1e400"])
def test_what_is_no_size_is_a_usage_error(text):
    with pytest.raises(UsageError):
        size_of(text)


class Two(Ranks):
    """Two ranks of which the other took this much longer."""

    def gathered(self, value):
        return [value, value * 3]

    def wait(self):
        pass


@pytest.fixture
def both(monkeypatch):
    """An all-reduce that adds what the other rank has, and counts its calls."""
    calls = []

    def all_reduce(tensor):
        calls.append(tensor.numel())
        tensor += 2 if tensor[0] == 1 else 0

    monkeypatch.setattr(bandwidth.torch.distributed, "all_reduce", all_reduce)
    return calls


def test_the_slowest_rank_decides_and_warm_up_is_not_timed(both):
    now = iter([1_000, 21_000])
    trial = Trial((4096,), warmup=3, calls=5)
    found = measure(trial, Two(0, 2, 0), open_device("cpu"), clock_ns=lambda: next(now))
    assert both == [1024] * (1 + 3 + 5)
    assert found == [Bandwidth(size_bytes=4096, dur_ns=20_000 * 3 / 5, ranks=2, wrong=0)]


def test_sizes_are_rounded_down_to_whole_elements(both):
    shown = []
    found = measure(Trial((7, 9), "half", 0, 1), Two(0, 2, 0), open_device("cpu"), show=shown.append)
    assert [each.size_bytes for each in found] == [6, 8]
    assert shown == found
    with pytest.raises(UsageError, match="holds no element"):
        measure(Trial((1,), "half", 0, 1), Two(0, 2, 0), open_device("cpu"))


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (
            RuntimeError("Connection closed by peer [10.0.0.2]\nmore"),
            r"Connection closed by peer \[10.0.0.2\]; NCCL_DEBUG",
        ),
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), "out of memory; give smaller --sizes"),
    ],
)
def test_a_link_that_fails_is_one_line_of_its_rank(monkeypatch, raised, said):
    def all_reduce(tensor):
        raise raised

    monkeypatch.setattr(bandwidth.torch.distributed, "all_reduce", all_reduce)
    with pytest.raises(Ds2profError, match=f"^rank 1: all-reduce of 4096 bytes: {said}") as caught:
        measure(Trial((4096,)), Two(1, 2, 1), open_device("cpu"))
    assert "\n" not in str(caught.value)


def test_sums_are_checked_in_every_piece(monkeypatch, both):
    monkeypatch.setattr(bandwidth, "_CHECKED_TOGETHER", 100)
    assert measure(Trial((4096,), calls=1), Two(0, 2, 0), open_device("cpu"))[0].wrong == 0
    monkeypatch.setattr(bandwidth.torch.distributed, "all_reduce", lambda tensor: None)
    assert measure(Trial((4096,), calls=1), Two(0, 2, 0), open_device("cpu"))[0].wrong == 1024 * (1 + 3)


def test_a_wrong_sum_is_counted_on_every_rank(monkeypatch):
    def all_reduce(tensor):
        tensor[:] = 3 if tensor[0] == 1 else 0
        tensor[5] = 9

    monkeypatch.setattr(bandwidth.torch.distributed, "all_reduce", all_reduce)
    assert measure(Trial((4096,), calls=1), Two(0, 2, 0), open_device("cpu"))[0].wrong == 1 + 3


@pytest.mark.parametrize("kind", bandwidth.TYPES)
@pytest.mark.parametrize("ranks", [2, 3, 64, 512])
def test_sums_of_many_ranks_are_right_in_every_type(monkeypatch, kind, ranks):
    def all_reduce(tensor):
        if tensor[0]:
            total = tensor.clone()
            for rank in range(1, ranks):
                total += rank % 3 + 1
            tensor[:] = total

    monkeypatch.setattr(bandwidth.torch.distributed, "all_reduce", all_reduce)

    class Many(Two):
        def gathered(self, value):
            return [value]

    assert measure(Trial((64,), kind, 0, 1), Many(0, ranks, 0), open_device("cpu"))[0].wrong == 0


def test_one_rank_alone_is_a_usage_error(monkeypatch, capsys):
    from ds2prof.cli import main

    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit) as caught:
        main(["bench", "allreduce", "--device", "cpu"])
    assert caught.value.code == 2
    assert "sends nothing" in capsys.readouterr().err


def both_ranks(root, port: int, *options: str) -> list[subprocess.CompletedProcess]:
    """The command on two ranks of this machine."""
    command = [sys.executable, "-m", "ds2prof", "bench", "allreduce", "--device", "cpu", *options]
    started = []
    for rank in range(2):
        environ = {**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
        environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        started.append(
            subprocess.Popen(command, cwd=root, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        )
    done = []
    for process in started:
        stdout, stderr = process.communicate(timeout=120)
        done.append(subprocess.CompletedProcess(command, process.returncode, stdout, stderr))
    return done


@pytest.fixture
def port():
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.slow
def test_two_ranks_add_up_over_gloo_and_the_gate_is_held(root, port):
    options = ("--sizes", "4K 1M", "--calls", "2", "--warmup", "1", "--format", "json", "--at-least", "1e6")
    first, second = both_ranks(root, port, *options)
    assert (first.returncode, second.returncode) == (3, 3), first.stderr + second.stderr
    said = json.loads(first.stdout)
    assert (said["ranks"], said["backend"], said["type"]) == (2, "gloo", "float")
    for row, size in zip(said["rows"], (4096, 1 << 20), strict=True):
        assert (row["size_bytes"], row["wrong"]) == (size, 0)
        assert row["bus_bytes_per_s"] == pytest.approx(size / row["dur_ns"] * 1e9)
    assert "under 1e+06 GB/s" in first.stderr
    assert second.stdout == ""


def test_the_table_has_the_columns_of_nccl_tests():
    from ds2prof.cli.bench_allreduce import _table
    from ds2prof.train.bandwidth import rows_of

    table = _table({"ranks": 8, "nccl": None}, rows_of([Bandwidth(1 << 20, 20_000.0, 8, 0)]))
    assert table.splitlines() == [
        "# ranks 8",
        "     size(B)     time(us)  algbw(GB/s)  busbw(GB/s)   #wrong",
        "     1048576         20.0        52.43        91.75        0",
    ]
