"""Runs that are stopped on a GPU and go on from their checkpoint.

What a checkpoint holds is there again bit for bit. Whether two runs from there on are the same bit for bit is up to the
operators. With ``torch.use_deterministic_algorithms(True)``, cuDNN's deterministic mode and ``CUBLAS_WORKSPACE_CONFIG``
(set for all tests here) those of the transducer have an order that is fixed. PyTorch's gradient of CTC on a GPU has
none, so there the tests ask for equal weights as far as rounding goes. Dropout between the layers of one recurrent
module is left out: cuDNN draws it from a state of its own, which PyTorch does not hand out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.gpu.test_steps import RNNT, TINY, workload
from tests.gpu.test_transducer import CONFIG

STEPS = 6
STOPPED_AFTER = 3
SINGLE = replace(
    CONFIG,
    encoder_layers_before=1,
    encoder_layers_behind=1,
    prediction_layers=1,
    encoder_dropout=0.1,
    prediction_dropout=0.3,
    joint_dropout=0.3,
)
TRANSDUCER = replace(RNNT, model=SINGLE, accumulate=2)
FIXED = {
    "tool_version": "1",
    "torch_version": "2",
    "preset": "nano",
    "preset_config": "{}",
    "symbols": {},
    "run": {},
}


@pytest.fixture
def deterministic(place: Any) -> Iterator[Any]:
    """The device while PyTorch takes operators whose results are the same each time, where it has such."""
    import torch

    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.deterministic = True
    yield place
    torch.use_deterministic_algorithms(before[0])
    torch.backends.cudnn.deterministic = before[1]


def training(preset: Any, place: Any, folder: Path, *, precision: str, steps: int) -> Any:
    """A run of so many steps that keeps its last checkpoint in ``folder``."""
    import torch

    from ds2prof.train.checkpoints import CheckpointFolder
    from ds2prof.train.observers import Observer
    from ds2prof.train.optimizers import WeightAverage
    from ds2prof.train.plan import Plan
    from ds2prof.train.stopping import StopRequest
    from ds2prof.train.trainer import RunKeeper
    from ds2prof.train.training import Training

    work = workload(preset, place, precision=precision)
    torch.manual_seed(7)
    if preset.average_decay is not None:
        work = replace(work, average=WeightAverage(work.model, preset.average_decay))
    return Training(
        replace(work, accumulate=preset.accumulate),
        Plan(max_iterations=steps, log_every=1),
        rate_of=lambda _epoch, _step: 1e-3,
        observer=Observer(),
        stop=StopRequest(),
        keeper=RunKeeper(CheckpointFolder(folder), FIXED),
    )


def trained(run: Any) -> dict[str, Any]:
    """Where the run stands when it has ended, on the host."""
    from ds2prof.train.standing import standing
    from tests.trainer_support import facts

    run.run(facts())
    return _on_host(standing(run.work, run.state, run.tally))


def resumed(run: Any, folder: Path) -> Any:
    """The run, gone on from the newest checkpoint of ``folder``, and what that holds."""
    from ds2prof.train.checkpoints import CheckpointFolder

    checkpoint = CheckpointFolder(folder).newest(pytest.fail)
    assert checkpoint is not None
    assert checkpoint["iteration"] == STOPPED_AFTER
    run.restore(checkpoint)
    return checkpoint


def _on_host(values: Any) -> Any:
    import torch

    if isinstance(values, torch.Tensor):
        return values.detach().cpu().clone()
    if isinstance(values, dict):
        return {name: _on_host(value) for name, value in values.items()}
    if isinstance(values, list):
        return [_on_host(value) for value in values]
    return values


@pytest.mark.parametrize(
    ("preset", "precision"),
    [(TRANSDUCER, "fp32"), (TRANSDUCER, "bf16"), (TINY, "fp32"), (TINY, "fp16")],
    ids=["transducer-fp32", "transducer-bf16", "tiny-fp32", "tiny-fp16"],
)
def test_a_run_stands_where_its_checkpoint_was_written_bit_for_bit(
    place: Any, tmp_path: Path, preset: Any, precision: str
) -> None:
    from ds2prof.train.standing import standing
    from tests.trainer_support import same

    written = trained(training(preset, place, tmp_path, precision=precision, steps=STOPPED_AFTER))
    again = training(preset, place, tmp_path / "other", precision=precision, steps=STEPS)
    checkpoint = resumed(again, tmp_path)
    stands = _on_host(standing(again.work, again.state, again.tally))
    for part in ("model", "optimizer", "scaler", "average", "ranks", "progress"):
        assert same(stands[part], written[part]), part
        assert same(stands[part], checkpoint[part]), part
    assert next(again.work.model.parameters()).device.type == place.torch_device.type


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_resumed_transducer_ends_with_the_same_weights_bit_for_bit(
    deterministic: Any, tmp_path: Path, precision: str
) -> None:
    from tests.trainer_support import same

    whole = trained(training(TRANSDUCER, deterministic, tmp_path / "whole", precision=precision, steps=STEPS))
    trained(training(TRANSDUCER, deterministic, tmp_path, precision=precision, steps=STOPPED_AFTER))
    again = training(TRANSDUCER, deterministic, tmp_path / "other", precision=precision, steps=STEPS)
    resumed(again, tmp_path)
    ended = trained(again)
    for part in ("model", "average", "optimizer"):
        assert same(ended[part], whole[part]), part


def test_a_resumed_network_with_ctc_ends_where_the_whole_run_does_to_rounding(
    deterministic: Any, tmp_path: Path
) -> None:
    import torch

    whole = trained(training(TINY, deterministic, tmp_path / "whole", precision="fp32", steps=STEPS))
    trained(training(TINY, deterministic, tmp_path, precision="fp32", steps=STOPPED_AFTER))
    again = training(TINY, deterministic, tmp_path / "other", precision="fp32", steps=STEPS)
    resumed(again, tmp_path)
    ended = trained(again)
    for name, values in whole["model"].items():
        assert torch.allclose(ended["model"][name].double(), values.double(), rtol=1e-3, atol=1e-3), name
