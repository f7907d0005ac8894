from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="no torch, the tool that trains")

from ds2prof.errors import Ds2profError, UsageError
from ds2prof.train import device as opening
from ds2prof.train.device import Accelerator, Device, HostMoment, memory_errors, open_device, out_of_memory
from ds2prof.train.device_table import DEVICES, Abilities, abilities_of
from ds2prof.train.settings import PRECISIONS

ROOT = Path(__file__).parents[1]
HAS_HOOK = hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend")


def host() -> Device:
    return Device(torch.device("cpu"))


def accelerator(module: object, **abilities: Any) -> Accelerator:
    """A device of a made-up kind behind a module that is none, with its tensors on the host."""
    return Accelerator(torch.device("cpu"), Abilities(kind="made-up", **abilities), module)


# -- the table


def test_every_kind_computes_in_float32_and_in_nothing_unheard_of() -> None:
    for kind, abilities in DEVICES.items():
        assert abilities.kind == kind
        assert "fp32" in abilities.precisions
        assert set(abilities.precisions) <= set(PRECISIONS)


def test_an_unknown_kind_is_trusted_with_nothing_but_float32() -> None:
    abilities = abilities_of("abacus")
    assert abilities == Abilities(kind="abacus", runs_beside=False)
    assert abilities.precisions == ("fp32",)
    assert not any((abilities.events, abilities.pins_memory, abilities.memory, abilities.backend))


def test_only_nvidias_devices_signal_profilers_and_have_tf32() -> None:
    assert [kind for kind, abilities in DEVICES.items() if abilities.signals_profilers] == ["cuda"]
    assert [kind for kind, abilities in DEVICES.items() if "tf32" in abilities.precisions] == ["cuda"]


# -- the host


def test_the_hosts_moments_are_read_from_its_clock() -> None:
    device = host()
    start, end = device.moment(), device.moment()
    start.record()
    end.record()
    assert isinstance(start, HostMoment)
    assert device.elapsed_ns(start, end) >= 0


def test_the_host_has_no_memory_of_a_device_to_tell_of() -> None:
    device = host()
    device.reset_peak_memory()
    assert (device.memory_bytes(), device.peak_memory_bytes(), device.free_memory_bytes()) == (None, None, None)
    assert not device.limit_memory(1)


def test_random_numbers_go_on_from_a_state_that_is_put_back() -> None:
    device = host()
    state = device.random_state()
    assert state is not None
    first = torch.rand(3)
    device.set_random_state(state)
    assert torch.equal(first, torch.rand(3))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_the_host_applies_the_network_in_the_precision_asked_for(precision: str) -> None:
    device = host()
    device.prepare(precision)
    with device.autocast(precision):
        made = torch.nn.Linear(4, 4)(torch.ones(1, 4))
    assert made.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def test_the_host_has_no_tf32() -> None:
    with pytest.raises(UsageError, match="has no TF32; take fp32"):
        host().prepare("tf32")


# -- any accelerator


def test_a_module_that_lacks_a_call_is_done_without() -> None:
    device = accelerator(SimpleNamespace(), events=True, memory=True, free_memory=True, random=True, activity="MADE_UP")
    device.synchronize()
    device.reset_peak_memory()
    device.release_memory()
    assert isinstance(device.moment(), HostMoment)
    assert (device.memory_bytes(), device.free_memory_bytes(), device.random_state()) == (None, None, None)
    assert (device.name, device.limit_memory(1)) == (None, False)
    assert device.activities() == [torch.profiler.ProfilerActivity.CPU]


def test_what_a_kind_does_not_declare_is_not_asked_for() -> None:
    def refuse(*arguments: Any, **keywords: Any) -> None:
        raise AssertionError("asked")

    names = ("memory_allocated", "mem_get_info", "get_rng_state", "Event", "reset_peak_memory_stats")
    device = accelerator(SimpleNamespace(**dict.fromkeys(names, refuse)))
    device.reset_peak_memory()
    assert (device.memory_bytes(), device.free_memory_bytes(), device.random_state()) == (None, None, None)
    assert isinstance(device.moment(), HostMoment)


def test_a_limit_on_memory_is_a_share_of_the_devices() -> None:
    shares: list[float] = []
    module = SimpleNamespace(
        mem_get_info=lambda: (100, 400), set_per_process_memory_fraction=lambda share: shares.append(share)
    )
    device = accelerator(module, free_memory=True)
    assert device.limit_memory(100)
    assert device.limit_memory(1000)
    assert shares == [0.25, 1.0]


def test_a_host_moment_waits_for_the_device() -> None:
    waits: list[str] = []
    accelerator(SimpleNamespace(synchronize=lambda: waits.append("wait"))).moment().record()
    assert waits == ["wait"]


# -- opening


def test_auto_is_the_host_where_there_is_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(opening, "_is_available", lambda kind: False)
    assert str(open_device("auto")) == "cpu"


def test_a_kind_that_pytorch_knows_and_this_machine_lacks_is_one_line() -> None:
    with pytest.raises(Ds2profError, match=r"--device \w+: cannot be used here .*; take --device cpu") as caught:
        open_device("privateuseone")
    assert "\n" not in str(caught.value)


def test_a_plug_in_that_cannot_be_loaded_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())

    def fail(name: str) -> None:
        raise ImportError("libcnrt.so: cannot open shared object file")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(Ds2profError, match=r"torch_mlu cannot be loaded .*libcnrt"):
        open_device("mlu")
    assert not opening._is_available("mlu")


def test_a_kind_whose_plug_in_is_not_installed_is_unknown() -> None:
    with pytest.raises(UsageError, match="knows no such device"):
        open_device("mlu:3")


@pytest.mark.parametrize(
    ("error", "exhausted"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("MLU out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("std::bad_alloc"), True),
        (MemoryError(), True),
        (RuntimeError("a bug"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_exhausted_memory_is_told_from_other_errors(error: BaseException, exhausted: bool) -> None:
    assert out_of_memory(error) is exhausted


def test_python_running_out_of_memory_is_one_line_too() -> None:
    with pytest.raises(Ds2profError, match="out of memory at batch size 7"), memory_errors(host(), 7):
        raise MemoryError


# -- a plug-in device, in a process of its own


@pytest.fixture(scope="module")
def seen_on() -> dict[str, dict[str, Any]]:
    asked = ["mlu:0,fp32", "auto,bf16"]
    command = [sys.executable, "-m", "tests.stand_in_device", *asked]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(zip(asked, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.slow
@pytest.mark.skipif(not HAS_HOOK, reason="this torch, the tool that trains, takes no devices written in Python")
def test_the_training_loop_runs_on_a_plug_in_device(seen_on: dict[str, dict[str, Any]]) -> None:
    seen = seen_on["mlu:0,fp32"]
    assert seen["device"] == {"device": "mlu:0", "name": "stand-in"}
    assert seen["parameters"] == ["mlu:0"]
    assert seen["losses"] == pytest.approx(seen["host_losses"], rel=1e-5)
    assert seen["set"] == ["set_device 0"]
    assert seen["waits"] == 3  # the two fences of the window and the end
    assert seen["elapsed_ns"] == 1_000_000  # one tick of its clock, a millisecond
    assert (seen["memory"], seen["free"]) == ([12, 34, 56], [100, 400])
    assert seen["pins"] is False  # declared, but this one brings no allocator for it
    assert seen["random_state"] is None
    assert (seen["gpu"], seen["backend"], seen["activities"]) == (True, "cncl", 2)
    assert seen["autocast"] == 0


@pytest.mark.slow
@pytest.mark.skipif(not HAS_HOOK, reason="this torch, the tool that trains, takes no devices written in Python")
def test_auto_finds_a_plug_in_device_and_autocast_reaches_it(seen_on: dict[str, dict[str, Any]]) -> None:
    seen = seen_on["auto,bf16"]
    assert seen["parameters"] == ["mlu:0"]
    assert seen["autocast"] > 0
    assert seen["losses"] == pytest.approx(seen["host_losses"], rel=1e-2)


def test_a_reading_process_that_was_ended_is_told_in_a_line() -> None:
    died = "DataLoader worker (pid(s) 4711) exited unexpectedly"
    with pytest.raises(Ds2profError, match="take fewer --workers"), memory_errors(open_device("cpu"), 4):
        raise RuntimeError(died)
