"""Steps on a GPU: optimizers, fp16's scaling, replayed and compiled networks, a host that goes on."""

from __future__ import annotations

import copy
import importlib.util
import math
import shutil
from dataclasses import replace
from typing import Any

import pytest

from ds2prof.train.presets import PRESETS, OptimizerConfig
from tests.gpu.support import waiting_refused
from tests.gpu.test_transducer import CONFIG

RNNT = replace(
    PRESETS["rnnt"],
    name="nano-rnnt",
    model=CONFIG,
    speech=replace(PRESETS["rnnt"].speech, length_divisor=5),
    accumulate=1,
)
TINY = PRESETS["tiny"]
ALIKE = replace(TINY, speech=replace(TINY.speech, frames=100, labels=10))


def workload(preset: Any, place: Any, *, precision: str = "fp32", batch_size: int = 4) -> Any:
    """The preset, ready for its first step."""
    from ds2prof.train.speech import synthetic_batches
    from ds2prof.train.workload import assemble

    batches = synthetic_batches(preset, batch_size, seed=1, pin_memory=place.pins_memory)
    return assemble(preset, place, batches=batches, precision=precision, seed=1)


def losses(work: Any, steps: int) -> list[float]:
    """The loss of each of the next steps."""
    from ds2prof.train.batches import endless
    from ds2prof.train.runlog import RunLog
    from ds2prof.train.steps import train_step

    log, batches = RunLog(work.device, steps), endless(work.batches)
    for _ in range(steps):
        log.begin()
        train_step(work, batches, log)
    work.device.synchronize()
    return log.losses()


@pytest.mark.parametrize("kind", ["lamb", "adamw", "sgd"])
def test_weights_and_their_average_are_those_of_the_host(place: Any, kind: str) -> None:
    import torch

    from ds2prof.train.optimizers import WeightAverage, make_optimizer

    torch.default_generator.manual_seed(0)
    start = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.BatchNorm1d(32), torch.nn.Linear(32, 8))
    config = OptimizerConfig(kind, learning_rate=1e-2, weight_decay=1e-2)  # type: ignore[arg-type]

    def trained(device: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        model, numbers = copy.deepcopy(start).to(device), torch.Generator().manual_seed(1)
        optimizer, average = make_optimizer(model, config), WeightAverage(model, 0.9)
        for _ in range(5):
            for parameter in model.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=numbers).to(device)
            optimizer.step()
            average.update(model)
        return model.state_dict(), average.state_dict()

    for there, here in zip(trained(place.torch_device), trained(torch.device("cpu")), strict=True):
        for name, values in here.items():
            assert torch.allclose(there[name].cpu(), values, rtol=1e-5, atol=1e-6), name
    assert not torch.equal(trained(place.torch_device)[0]["0.weight"].cpu(), start[0].weight)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_of_the_transducer_with_lamb_and_average_never_waits(place: Any, precision: str) -> None:
    import torch

    from ds2prof.train.batches import endless
    from ds2prof.train.optimizers import WeightAverage
    from ds2prof.train.runlog import RunLog
    from ds2prof.train.steps import train_step

    work = workload(RNNT, place, precision=precision)
    work = replace(work, average=WeightAverage(work.model, 0.999))
    assert type(work.optimizer).__name__ == "Lamb"
    batches, log = endless(work.batches), RunLog(place, 4)

    def step() -> None:
        log.begin()
        train_step(work, batches, log)

    step()  # what is set up once may wait
    step()
    place.synchronize()
    with waiting_refused(torch):
        step()
        step()
    place.synchronize()
    assert all(math.isfinite(loss) and loss > 0 for loss in log.losses())


@pytest.mark.parametrize("kind", ["sgd", "adamw", "lamb"])
def test_clipping_and_no_optimizer_make_the_host_wait(place: Any, kind: str) -> None:
    import torch

    from ds2prof.train.objective import clip_gradients
    from ds2prof.train.optimizers import make_optimizer

    model = torch.nn.Linear(64, 32).to(place.torch_device)
    config = OptimizerConfig(kind, clip_norm=1e-3)  # type: ignore[arg-type]
    optimizer = make_optimizer(model, config)

    def step() -> None:
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        clip_gradients(model, config)
        optimizer.step()

    step()
    place.synchronize()
    with waiting_refused(torch):
        step()
    assert float(torch.stack([parameter.grad.norm() for parameter in model.parameters()]).norm()) <= 1.001e-3


def test_fp16_trains_and_leaves_out_a_step_whose_gradients_overflow(place: Any) -> None:
    import torch

    if "fp16" not in place.abilities.precisions:
        pytest.skip(f"{place} has no fp16")
    held = replace(TINY, speech=replace(TINY.speech, held=70_000))
    work = workload(held, place, precision="fp16")
    found = losses(work, 20)
    # Not so the later ones: where the first scale is too large, the first steps are left out.
    assert found[0] == pytest.approx(losses(workload(held, place), 1)[0], rel=1e-2)
    assert found[-1] < 0.9 * found[0]
    assert work.scaler is not None
    assert 0 < work.scaler.get_scale() <= 2.0**16

    work.scaler.update(new_scale=2.0**126)  # beyond what float32 holds of a loss that is more than 2
    weights = [parameter.detach().clone() for parameter in work.model.parameters()]
    assert math.isfinite(losses(work, 1)[0])
    assert work.scaler.get_scale() == 2.0**125
    assert all(torch.equal(old, new) for old, new in zip(weights, work.model.parameters(), strict=True))


@pytest.mark.parametrize(("precision", "digits"), [("fp32", 1e-3), ("bf16", 2e-2), ("fp16", 2e-2)])
@pytest.mark.usefixtures("cuda")
def test_replayed_steps_have_the_losses_of_those_that_are_launched(precision: str, digits: float) -> None:
    from ds2prof.train.device import open_device
    from ds2prof.train.graphs import graphed, unpacked

    place = open_device("cuda")
    launched = losses(workload(unpacked(ALIKE), place, precision=precision), 5)
    work = graphed(workload(unpacked(ALIKE), place, precision=precision))
    assert losses(work, 5) == pytest.approx(launched, rel=digits)
    assert len(set(launched)) == 5


def test_a_capture_leaves_the_network_as_it_was(cuda: Any) -> None:
    from ds2prof.train.device import open_device
    from ds2prof.train.graphs import graphed, unpacked

    work = workload(unpacked(ALIKE), open_device("cuda"))
    before = copy.deepcopy(work.model.state_dict())
    graphed(work)
    after = work.model.state_dict()
    assert all(cuda.equal(values, after[name]) for name, values in before.items())


@pytest.mark.slow
def test_a_compiled_network_has_the_losses_of_the_plain_one(place: Any) -> None:
    from ds2prof.train.graphs import compiled

    if place.is_gpu and importlib.util.find_spec("triton") is None:
        pytest.skip("the package triton is not installed")
    if place.is_gpu and not any(shutil.which(name) for name in ("gcc", "cc", "clang")):
        pytest.skip("triton needs a C compiler, a tool that is not on this machine")
    plain = losses(workload(TINY, place), 3)
    # Compiling is a GPU's here; on the host the same network goes through all but the last stage.
    work = compiled(workload(TINY, place), backend="inductor" if place.is_gpu else "aot_eager")
    assert losses(work, 3) == pytest.approx(plain, rel=1e-3)
