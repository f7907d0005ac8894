"""Training on a GPU: each precision, the same losses as on the host, and a host that never waits."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("cuda")
_SLEEP_CYCLES = 1_000_000_000  # about half a second: far more than it takes to hand a copy out


def _train(device_text: str, precision: str, iterations: int = 3) -> tuple[list[float], int]:
    """(the loss of each iteration, the model's parameters) of a short run of the preset tiny."""
    import train_profiling
    from ds2prof.config import Window
    from ds2prof.train.capture import Capture
    from ds2prof.train.device import open_device
    from ds2prof.train.progress import Progress
    from ds2prof.train.runlog import RunLog
    from ds2prof.train.settings import Options, resolve
    from ds2prof.train.workload import set_up

    device = open_device(device_text)
    options = Options(preset="tiny", batch_size=4, precision=precision, iterations=iterations, warmup=1)
    settings = resolve(options, on_gpu=device.is_gpu, environ={}, folder=train_profiling.HERE)
    assert settings.window == Window(1, iterations)
    work = set_up(settings, device)
    log = RunLog(device, iterations)
    train_profiling.train(work, settings, capture=Capture(), log=log, progress=Progress(io.StringIO(), iterations))
    return log.losses(), work.parameter_count()


@pytest.fixture(scope="module")
def host_losses() -> list[float]:
    return _train("cpu", "fp32")[0]


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_every_precision_trains_all_parameters_to_finite_losses(cuda: Any, precision: str) -> None:
    if precision in ("tf32", "bf16") and cuda.cuda.get_device_capability() < (8, 0):
        pytest.skip(f"this GPU has no {precision}: it is older than Ampere")
    from ds2prof.train.model import DeepSpeech2
    from ds2prof.train.presets import PRESETS

    losses, parameters = _train("cuda", precision)
    assert len(losses) == 3
    assert all(math.isfinite(loss) and loss > 0 for loss in losses)
    assert parameters == DeepSpeech2(PRESETS["tiny"].model).parameter_count()


def test_losses_in_fp32_are_those_of_the_host(host_losses: list[float]) -> None:
    # Sums are taken in another order there, and those of CTC's gradients in none that is fixed.
    assert _train("cuda", "fp32")[0] == pytest.approx(host_losses, rel=1e-3)


def test_fp32_multiplies_in_full_precision_and_tf32_does_not(cuda: Any) -> None:
    if cuda.cuda.get_device_capability() < (8, 0):
        pytest.skip("this GPU has no tf32: it is older than Ampere")
    from ds2prof.train.device import open_device

    device = open_device("cuda")
    left, right = (cuda.randn(1024, 1024, generator=cuda.Generator().manual_seed(seed)) for seed in (1, 2))
    exact = left.double() @ right.double()
    errors = {}
    for precision in ("tf32", "fp32"):  # fp32 last, which other tests rely on
        device.prepare(precision)
        product = (left.cuda() @ right.cuda()).cpu().double()
        errors[precision] = float((product - exact).norm() / exact.norm())
    assert errors["fp32"] < 1e-5
    assert errors["tf32"] > 10 * errors["fp32"]


def test_batches_are_copied_from_pinned_memory_while_the_host_goes_on(cuda: Any) -> None:
    from ds2prof.train.device import open_device
    from ds2prof.train.presets import PRESETS
    from ds2prof.train.speech import SyntheticSpeech

    device = open_device("cuda")
    speech = SyntheticSpeech(
        PRESETS["tiny"].speech, 4, input_bins=161, vocabulary=29, seed=1, pin_memory=device.pins_memory
    )
    batch = next(speech.epoch(0))
    assert batch.spect_BFT.is_pinned()
    assert batch.frames_B.is_pinned()
    assert batch.labels.is_pinned()
    batch.to(device.torch_device)  # the first time the allocator asks the driver for memory, which may wait
    cuda.cuda._sleep(1)
    device.synchronize()
    cuda.cuda._sleep(_SLEEP_CYCLES)
    moved, done = batch.to(device.torch_device), cuda.cuda.Event()
    done.record()
    assert not done.query(), "the copies were waited for"
    device.synchronize()
    assert done.query()
    assert cuda.equal(moved.spect_BFT.cpu(), batch.spect_BFT)
    assert cuda.equal(moved.labels.cpu(), batch.labels)


def test_a_loss_is_noted_without_waiting_for_it(cuda: Any) -> None:
    from ds2prof.train.device import open_device
    from ds2prof.train.presets import PRESETS
    from ds2prof.train.runlog import RunLog
    from ds2prof.train.speech import SyntheticSpeech

    device = open_device("cuda")
    batch = next(SyntheticSpeech(PRESETS["tiny"].speech, 4, input_bins=161, vocabulary=29, seed=1).epoch(0))
    log, loss = RunLog(device, 1), cuda.tensor(1.5, device="cuda")
    cuda.cuda._sleep(1)
    device.synchronize()
    log.begin()
    cuda.cuda._sleep(_SLEEP_CYCLES)
    log.keep(batch, loss)
    done = cuda.cuda.Event()
    done.record()
    assert not done.query(), "the loss was waited for"
    device.synchronize()
    assert log.losses() == [1.5]


def test_a_fence_waits_for_every_stream(cuda: Any) -> None:
    from ds2prof.train.device import open_device

    device, other, done = open_device("cuda"), cuda.cuda.Stream(), cuda.cuda.Event()
    cuda.cuda._sleep(1)
    with cuda.cuda.stream(other):
        cuda.cuda._sleep(_SLEEP_CYCLES)
        done.record(other)
    assert not done.query()
    device.synchronize()
    assert done.query()


def test_the_calls_that_open_and_close_a_profilers_window_succeed(cuda: Any) -> None:
    from ds2prof.train.device import open_device

    device = open_device("cuda")
    assert device.signals_profilers
    device.start_profiler()  # raises where the runtime refuses
    device.stop_profiler()
