"""The presets are their ancestors': exactly as many parameters, the same hyperparameters, nothing loaded for them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError, replace

import pytest

from ds2prof.train.presets import PRESETS, ModelConfig, Preset

PARAMETERS = {
    "tbd": 86_618_400,
    "tbd-gru": 65_036_576,
    "tbd-rnn": 21_872_928,
    "tbd-lookahead": 43_475_232,
    "gru800": 38_067_968,  # what a published log of deepspeech.pytorch's training prints
    "mlperf": 103_841_568,
    "cambricon": 138_345_248,
    "deepmark": 69_456_701,
    "deepmark-torch": 66_355_581,
    "rnnt": 49_071_616,
    "tiny": 839_444,  # has no ancestor; docs/PROOF.md speaks of it
}


def parameters(preset: Preset) -> int:
    """How many the preset's network has, counted without memory for one of them."""
    torch = pytest.importorskip("torch", reason="no torch, the tool that trains")
    from ds2prof.train.tasks import build_network

    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_network(preset).parameters())


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_preset_has_exactly_the_parameters_it_is_known_by(name: str) -> None:
    assert parameters(PRESETS[name]) == PARAMETERS[name]


def test_the_count_of_every_preset_is_known() -> None:
    assert set(PRESETS) == set(PARAMETERS)


def test_the_parameters_of_gru800_are_those_of_a_sum_by_hand() -> None:
    convolutions = (41 * 11 * 32 + 32) + 2 * 32 + (21 * 11 * 32 * 32 + 32) + 2 * 32
    features = 32 * 21  # 161 bins, unpadded: (161 - 41) / 2 + 1 = 61, (61 - 21) / 2 + 1 = 21
    gates = 2 * 3 * 800  # in both directions
    recurrent = gates * (features + 800) + 4 * (gates * (800 + 800) + 2 * 800)
    head = 2 * 800 + 800 * 29
    assert parameters(PRESETS["gru800"]) == convolutions + recurrent + head


def test_the_specification_of_deepmark_has_one_layer_more_than_its_torch_code() -> None:
    without = replace(PRESETS["deepmark"], model=replace(PRESETS["deepmark"].model, fully_connected=()))
    assert parameters(without) == PARAMETERS["deepmark-torch"]
    assert PARAMETERS["deepmark"] - PARAMETERS["deepmark-torch"] == 1760 * 1760 + 2 * 1760


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_listed_under_its_name(name: str) -> None:
    assert PRESETS[name].name == name


@pytest.mark.parametrize("name", PRESETS)
def test_the_network_reads_as_many_bins_as_its_features_have(name: str) -> None:
    model = PRESETS[name].model
    bins = model.input_bins if isinstance(model, ModelConfig) else model.input_features
    assert PRESETS[name].features.bins == bins


def test_presets_can_be_read_without_torch() -> None:
    code = "import sys; import ds2prof.train.presets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_preset_cannot_be_changed_by_accident() -> None:
    with pytest.raises(FrozenInstanceError):
        PRESETS["tbd"].batch_size = 1  # type: ignore[misc]


def test_a_form_that_no_system_has_is_refused_where_it_is_declared() -> None:
    tbd = PRESETS["tbd"].model
    for changes in ({"lookahead": 20}, {"normalization": "projection"}, {"recurrent_layers": 0}):
        with pytest.raises(AssertionError):
            replace(tbd, **changes)


def test_the_optimizers_are_the_ancestors() -> None:
    tbd, mlperf, rnnt = (PRESETS[name].optimizer for name in ("tbd", "mlperf", "rnnt"))
    assert (tbd.kind, tbd.learning_rate, tbd.momentum, tbd.nesterov) == ("sgd", 3e-4, 0.9, True)
    assert (tbd.weight_decay, tbd.clip_norm) == (1e-5, 400)
    assert (mlperf.learning_rate, mlperf.weight_decay, mlperf.clip_norm) == (1e-4, 0, 400)
    assert PRESETS["cambricon"].optimizer == mlperf
    assert (rnnt.kind, rnnt.learning_rate, rnnt.weight_decay, rnnt.clip_norm) == ("lamb", 4e-3, 1e-3, 1)
    assert (rnnt.betas, rnnt.eps) == ((0.9, 0.999), 1e-9)


def test_rnnt_steps_over_the_1024_utterances_of_the_reference() -> None:
    rnnt = PRESETS["rnnt"]
    assert rnnt.batch_size * rnnt.accumulate == 1024
    assert (rnnt.buckets, rnnt.average_decay, rnnt.target_wer, rnnt.max_epochs) == (6, 0.999, 0.058, 100)
