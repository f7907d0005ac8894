"""What a GPU says of itself: the time between two moments, its memory, and DeepMark's times, which come from it."""

from __future__ import annotations

import time
from typing import Any

import pytest

_SLEEP_CYCLES = 500_000_000
_FASTEST_HZ = 4_000_000_000
"""No GPU has a faster clock."""
_MIB = 1 << 20


@pytest.fixture
def gpu(cuda: Any) -> Any:
    from ds2prof.train.device import open_device

    device = open_device("cuda")
    device.prepare("fp32")
    cuda.cuda._sleep(1)
    device.synchronize()
    return device


def test_the_time_between_two_moments_is_the_devices_and_not_the_hosts(gpu: Any, cuda: Any) -> None:
    start, middle, end = (gpu.moment() for _ in range(3))
    began_ns = time.perf_counter_ns()
    start.record()
    cuda.cuda._sleep(_SLEEP_CYCLES)
    middle.record()
    end.record()
    handed_out_ns = time.perf_counter_ns() - began_ns
    gpu.synchronize()
    wall_ns = time.perf_counter_ns() - began_ns
    slept_ns = gpu.elapsed_ns(start, middle)
    assert handed_out_ns < slept_ns <= wall_ns
    assert slept_ns >= _SLEEP_CYCLES * 1_000_000_000 // _FASTEST_HZ
    assert 0 <= gpu.elapsed_ns(middle, end) < slept_ns


def test_memory_figures_count_what_is_held_and_the_most_that_was(gpu: Any, cuda: Any) -> None:
    before = gpu.memory_bytes()
    gpu.reset_peak_memory()
    held = [cuda.empty(size * _MIB, dtype=cuda.uint8, device="cuda") for size in (32, 16)]
    assert gpu.memory_bytes() - before == 48 * _MIB
    del held[0]
    assert gpu.memory_bytes() - before == 16 * _MIB
    assert gpu.peak_memory_bytes() - before == 48 * _MIB
    assert gpu.reserved_memory_bytes() >= gpu.peak_memory_bytes()
    del held
    free_bytes, total_bytes = gpu.free_memory_bytes()
    assert 0 < free_bytes < total_bytes <= gpu.facts()["memory_bytes"] * 1.01


def test_a_limit_on_memory_is_kept_and_told_from_other_errors(gpu: Any, cuda: Any) -> None:
    from ds2prof.train.device import out_of_memory

    gpu.release_memory()
    try:
        assert gpu.limit_memory(cuda.cuda.memory_reserved() + 256 * _MIB)
        cuda.empty(64 * _MIB, dtype=cuda.uint8, device="cuda")
        with pytest.raises(RuntimeError) as raised:
            cuda.empty(1024 * _MIB, dtype=cuda.uint8, device="cuda")
    finally:
        cuda.cuda.set_per_process_memory_fraction(1.0)
        gpu.release_memory()
    assert out_of_memory(raised.value)


def test_deepmarks_minibatches_are_timed_forward_and_backward(place: Any) -> None:
    from ds2prof.train.deepmark_child import Card
    from ds2prof.train.device import HostMoment
    from ds2prof.train.distributed import Ranks

    assert isinstance(place.moment(), HostMoment) != place.is_gpu
    card = Card({"preset": "tiny", "precision": "fp32", "seed": 1}, place, ranks=Ranks())
    card.time((0, 4), together=False)
    rows = card.times([(0, 4), (127_000, 4)] * 4, [False] * 8, max_s=None, said=lambda done: None)
    for forward_ns, backward_ns, wall_ns in rows:
        assert forward_ns > 0
        assert backward_ns > 0
        assert forward_ns + backward_ns <= wall_ns
    shortest_ns, longest_ns = (min(sum(row[:2]) for row in rows[first::2]) for first in (0, 1))
    assert longest_ns > shortest_ns, "15 times as many frames take no longer"


@pytest.mark.slow
def test_the_benchmark_says_that_its_times_are_the_devices(place: Any) -> None:
    from ds2prof.train.deepmark_plan import Minibatch
    from ds2prof.train.deepmark_process import Setting, measure

    setting = Setting(preset="tiny", device=str(place), precision="fp32", seed=1, memory_limit_bytes=None)
    batch = Minibatch(20, ((0, 2),))
    timed = measure(setting, [batch], warmup=[batch])
    assert timed.facts["events"] == place.is_gpu
    assert timed.facts["parameters"] > 0
    assert (timed.peak_bytes or 0) > 0
    assert (timed.reserved_bytes is not None) == place.is_gpu
