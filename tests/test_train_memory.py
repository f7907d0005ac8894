"""The memory capture of our own training: the model's own figures, found again in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import pytest

torch = pytest.importorskip("torch", reason="no torch, the tool that trains")

from click.testing import CliRunner

import train_profiling
from ds2prof import read
from ds2prof.analysis import memory
from ds2prof.config import COUNTER_WINDOW_GPU, DEFAULTS_CPU, DEFAULTS_GPU, Window
from ds2prof.errors import CaptureError, UsageError
from ds2prof.inject import memory as injected
from ds2prof.inject import memory_recording
from ds2prof.inject.memory_names import Inventory
from ds2prof.measurements import read_sidecar
from ds2prof.train.capture import Capture, capture_for
from ds2prof.train.memory import MemoryProfiler
from ds2prof.train.settings import Options, Settings, resolve
from tests.train_support import host, nano_settings, nano_workload, train_nano

F32 = 4


def decide(*, on_gpu: bool = False, **options: Any) -> Settings:
    return resolve(Options(**options), on_gpu=on_gpu, environ={}, folder=Path("measurements"))


def capture_nano(path: Path, **changes: Any) -> tuple[Any, Any, Capture]:
    """The workload, its log and the capture of a memory capture of three iterations, the window being the last two."""
    settings = nano_settings(profiler="memory", output=path, **changes)
    work = nano_workload(settings, host())
    capture = capture_for(settings, work.device, ranges=work.ranges, layers=work.layers())
    # Other tests leave models in the same process, the largest of which would be taken for the one.
    there = Inventory([work.model], [work.optimizer])
    with mock.patch.object(memory_recording, "inventory", return_value=there):
        return work, train_nano(settings, work, capture), capture


def test_weights_gradients_and_momentum_are_those_of_the_model(tmp_path: Path) -> None:
    path = tmp_path / "memory_bs2.csv"
    work, _, _ = capture_nano(path)
    table = read(path, tables=("memory",)).table("memory").to_pandas()
    names = {name for name, _ in work.model.named_modules()}
    step = table[(table.moment == "before_step") & (table.iteration == 2) & table.layer.isin(names)]
    found = step.groupby("category", observed=True).size_bytes.sum()
    expected = work.model.parameter_count() * F32
    assert found["weights"] == found["gradients"] == found["optimizer_state"] == expected
    assert found["buffers"] == sum(buffer.numel() * buffer.element_size() for buffer in work.model.buffers())


def test_the_window_is_recorded_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "memory_bs2.csv"
    capture_nano(path)
    profile = read(path, tables=("memory",))
    assert profile.meta.facts["iterations"] == [1, 2]
    assert profile.warnings == ()
    assert [path.name for path in tmp_path.iterdir()] == ["memory_bs2.csv"]


def test_each_layer_keeps_activations_for_the_backward_pass(tmp_path: Path) -> None:
    path = tmp_path / "memory_bs2.csv"
    capture_nano(path)
    kept = {row["layer"]: row["kept_bytes"] for row in memory.layers(read(path, tables=("memory",))).rows()}
    for layer in ("conv.0.normalization", "conv.1.convolution", "rnn.0.recurrence", "rnn.1.recurrence", "head.linear"):
        assert kept[layer]


def test_losses_are_bitwise_those_of_a_run_that_nobody_watches(tmp_path: Path) -> None:
    plain_settings = nano_settings()
    plain = train_nano(plain_settings, nano_workload(plain_settings, host()), Capture())
    _, watched, _ = capture_nano(tmp_path / "memory_bs2.csv")
    assert watched.losses() == plain.losses()


def test_the_capture_says_what_it_measured_and_what_not(tmp_path: Path) -> None:
    _, _, capture = capture_nano(tmp_path / "memory_bs2.csv")
    said = capture.said()["memory"]
    assert said["iterations"] == 2
    assert said["snapshot"] is None
    assert said["snapshot_reason"]
    assert said["complete"] is True


def test_a_pytorch_that_does_not_tell_what_is_freed_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(injected, "storages_can_be_followed", lambda: False)
    profiler = MemoryProfiler(tmp_path / "memory.csv", Window(0, 1))
    with pytest.raises(CaptureError, match=r"2\.1 is needed"):
        profiler.start()


def test_on_a_gpu_a_memory_capture_looks_at_one_iteration() -> None:
    assert decide(on_gpu=True, profiler="memory").window == COUNTER_WINDOW_GPU
    assert decide(profiler="memory").window == DEFAULTS_CPU.window
    assert decide(on_gpu=True, profiler="torch").window == DEFAULTS_GPU.window
    assert decide(on_gpu=True, profiler="memory", profile_start=3, profile_stop=5).window == Window(3, 5)


def test_a_memory_capture_has_a_name_of_its_own() -> None:
    assert decide(profiler="memory", batch_size=8).output == Path("measurements") / "memory_bs8.csv"


def test_naming_layers_to_a_memory_capture_is_refused() -> None:
    with pytest.raises(UsageError, match="tells the layers apart by itself"):
        decide(profiler="memory", layers=True)


@pytest.mark.slow
def test_the_script_writes_the_file_and_its_sidecar(tmp_path: Path) -> None:
    path = tmp_path / "memory_bs2.csv"
    options = ["--device", "cpu", "--profiler", "memory", "--batch-size", "2", "--profile-start", "1"]
    result = CliRunner().invoke(train_profiling.main, [*options, "--profile-stop", "2", "--output", str(path)])
    assert result.exit_code == 0, result.output
    facts = read_sidecar(path)
    assert facts is not None
    assert (facts["tool"], facts["batch_size"]) == ("ds2prof memory", 2)
    assert facts["memory"]["operators_followed"] is True
    totals = memory.totals(_with_sidecar(path, facts))
    assert totals["activation_bytes_per_sample"] == totals["activation_bytes"] / 2


def _with_sidecar(path: Path, facts: dict[str, Any]) -> Any:
    profile = read(path, tables=("memory",))
    profile.attach_run(facts)
    return profile
