from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="no torch, the tool that trains")

from ds2prof.config import PHASES, Window
from ds2prof.inject.nvtx_ranges import PackageRanges, nvtx_ranges
from ds2prof.parsers.range_names import in_domain, kind_of_range
from ds2prof.train.capture import Capture, ExternalProfiler, ProfiledCapture, capture_for, shortcomings
from ds2prof.train.device import Device
from ds2prof.train.ranges import NVTX_MISSING, Ranges
from ds2prof.train.runlog import RunLog
from ds2prof.train.settings import Settings
from ds2prof.train.workload import Workload
from tests.train_support import (
    FakeNvtx,
    RecordingBatches,
    RecordingDevice,
    host,
    nano_settings,
    nano_workload,
    train_nano,
)


def run_nano(settings: Settings, *, device: Device | None = None, nvtx: Any = None) -> tuple[Workload, RunLog]:
    device = device or host()
    workload = nano_workload(settings, device, nvtx=nvtx)
    capture = capture_for(settings, device, ranges=workload.ranges, layers=workload.layers())
    return workload, train_nano(settings, workload, capture)


def events_of(settings: Settings) -> list[str]:
    """What the loop asked of the device and of the speech, in order."""
    events: list[str] = []
    device = RecordingDevice(events)
    workload = nano_workload(settings, device)
    object.__setattr__(workload, "batches", RecordingBatches(workload.batches, events))
    capture = ProfiledCapture(ExternalProfiler(device), workload.ranges, window=settings.window, layers=None)
    train_nano(settings, workload, capture)
    return events


def test_the_window_holds_its_iterations_and_a_fence_on_either_side() -> None:
    assert events_of(nano_settings(window=Window(1, 3), iterations=3)) == [
        "batch 0",
        "fence",
        "profiler on",
        "batch 1",
        "batch 2",
        "fence",
        "profiler off",
        "fence",
    ]


def test_the_window_closes_before_the_next_batch_is_asked_for() -> None:
    events = events_of(nano_settings(window=Window(0, 1), iterations=3))
    assert events[:6] == ["fence", "profiler on", "batch 0", "fence", "profiler off", "batch 1"]


def test_ranges_are_on_in_the_window_alone() -> None:
    events: list[str] = []
    nvtx = FakeNvtx(events)
    settings = nano_settings(profiler="external", window=Window(1, 2), iterations=3)
    run_nano(settings, device=RecordingDevice(events), nvtx=nvtx)
    assert events == [
        "fence",
        "profiler on",
        "+window:1-2",
        "+iteration:1",
        *[sign + f"phase:{phase}" for phase in PHASES for sign in "+-"],
        "-iteration:1",
        "fence",
        "-window:1-2",
        "profiler off",
        "fence",
    ]


def test_nvtx_ranges_lie_in_the_domain_of_ds2prof() -> None:
    nvtx = FakeNvtx()
    run_nano(nano_settings(profiler="external"), nvtx=nvtx)
    assert {domain for _, domain in nvtx.ranges} == {"ds2prof"}


def test_layers_are_named_forward_and_backward_inside_their_phases() -> None:
    nvtx = FakeNvtx()
    run_nano(nano_settings(profiler="external", window=Window(2, 3), layers=True), nvtx=nvtx)
    layers = ["conv.0", "conv.1", "rnn.0", "rnn.1", "head"]
    forward = nvtx.events[nvtx.events.index("+phase:forward") + 1 : nvtx.events.index("-phase:forward")]
    backward = nvtx.events[nvtx.events.index("+phase:backward") + 1 : nvtx.events.index("-phase:backward")]
    assert forward == [f"{sign}layer:{layer}:forward" for layer in layers for sign in "+-"]
    assert backward == [f"{sign}layer:{layer}:backward" for layer in reversed(layers) for sign in "+-"]
    assert not nvtx.open


def test_layers_come_unasked_for_nowhere() -> None:
    nvtx = FakeNvtx()
    run_nano(nano_settings(profiler="external"), nvtx=nvtx)
    assert not [message for message, _ in nvtx.ranges if message.startswith("layer")]


def test_no_hook_is_left_behind_the_window() -> None:
    workload, _ = run_nano(nano_settings(profiler="external", layers=True), nvtx=FakeNvtx())
    hooked = [module for module in workload.model.modules() if module._forward_hooks or module._forward_pre_hooks]
    assert not hooked


def test_profilers_and_layers_change_no_bit_of_the_training(tmp_path: Path) -> None:
    losses, weights = [], []
    for profiler, layers in (("none", False), ("torch", False), ("torch", True), ("external", True)):
        output = tmp_path / f"{profiler}{layers}.json.gz" if profiler == "torch" else None
        settings = nano_settings(
            profiler=profiler, layers=layers, window=Window(1, 3), iterations=5, output=output, batch_size=3
        )
        workload, log = run_nano(settings, nvtx=FakeNvtx())
        losses.append(log.losses())
        weights.append([parameter.detach() for parameter in workload.model.parameters()])
    assert len(set(losses[0])) == 5
    assert losses.count(losses[0]) == 4
    assert all(torch.equal(*pair) for other in weights[1:] for pair in zip(weights[0], other, strict=True))


def callables_of(module: Any) -> Iterator[str]:
    for name in vars(module):
        value = getattr(module, name)
        if (
            not name.startswith("_")
            and callable(value)
            and getattr(value, "__module__", "").startswith(("torch", "nvtx"))
        ):
            yield name


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every function of torch.profiler, torch.cuda and nvtx raises, except where PyTorch itself calls it."""
    torch_folder = str(Path(torch.__file__).parent)

    def poison(original: Any, name: str) -> Any:
        def refuse(*args: Any, **kwargs: Any) -> Any:
            if sys._getframe(1).f_code.co_filename.startswith(torch_folder):
                return original(*args, **kwargs)
            raise AssertionError(f"{name} was called")

        return refuse

    modules = [torch.profiler, torch.cuda, torch.cuda.profiler, torch.cuda.nvtx, torch.autograd.profiler]
    try:
        import nvtx
    except ImportError:
        pass
    else:
        modules.append(nvtx)
    for module in modules:
        for name in callables_of(module):
            monkeypatch.setattr(module, name, poison(getattr(module, name), f"{module.__name__}.{name}"))


@pytest.mark.usefixtures("poisoned")
def test_with_everything_off_no_profiler_and_no_cuda_is_called() -> None:
    settings = nano_settings()
    device = host()
    device.prepare("fp32")
    workload = nano_workload(settings, device)
    capture = capture_for(settings, device, ranges=workload.ranges, layers=workload.layers())
    assert len(train_nano(settings, workload, capture).losses()) == 3


@pytest.mark.usefixtures("poisoned")
def test_with_something_on_the_poison_works() -> None:
    with pytest.raises(AssertionError, match=r"torch\.profiler\.record_function was called"):
        run_nano(nano_settings(profiler="external"))


def test_a_range_that_is_off_is_always_the_same_nothing() -> None:
    ranges = Ranges(PackageRanges(FakeNvtx()))
    assert ranges("phase", "data") is ranges("iteration", 3)


def test_ranges_of_a_torch_with_cuda_reach_profilers_without_the_package_nvtx(monkeypatch: Any) -> None:
    names: list[str] = []
    monkeypatch.setitem(sys.modules, "nvtx", None)
    monkeypatch.setattr(torch.version, "cuda", "12.1")
    monkeypatch.setattr(torch.cuda.nvtx, "range_start", names.append)
    monkeypatch.setattr(torch.cuda.nvtx, "range_end", lambda opened: None)
    ranges = Ranges(nvtx_ranges())
    ranges.on = True
    with ranges("phase", "forward"), ranges("iteration", 3):
        assert ranges.reach_nvtx
    assert names == ["ds2prof:phase:forward", "ds2prof:iteration:3"]
    assert [kind_of_range(in_domain(name, None)) for name in names] == [("phase", "forward"), ("iteration", "3")]
    assert kind_of_range(in_domain(names[0], "ds2prof")) == ("phase", "forward")


def test_a_profiler_outside_is_told_once_that_nvtx_is_missing() -> None:
    device = RecordingDevice([])
    device.signals_profilers = True
    assert shortcomings(nano_settings(profiler="external"), device, Ranges(None)) == [NVTX_MISSING]
    assert shortcomings(nano_settings(profiler="torch"), device, Ranges(None)) == []


def test_a_device_without_a_signal_says_so() -> None:
    [note] = shortcomings(nano_settings(profiler="external"), host(), Ranges(PackageRanges(FakeNvtx())))
    assert "cudaProfilerStart" in note


def test_a_run_without_a_profiler_has_the_capture_that_does_nothing() -> None:
    assert type(capture_for(nano_settings(), host(), ranges=Ranges(), layers={})) is Capture
