"""Networks as ONNX: equal to PyTorch at any batch and any lengths, for every preset."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the package torch is not installed")
pytest.importorskip("onnx", reason="the package onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")

from click.testing import CliRunner

from ds2prof.cli import cli
from ds2prof.errors import Ds2profError, UsageError
from ds2prof.speech.alphabet import GRAPHEMES
from ds2prof.train.onnx_check import TOLERANCE, greatest_difference
from ds2prof.train.onnx_export import exported, write_exported
from ds2prof.train.presets import PRESETS, ModelConfig
from ds2prof.train.tasks import build_network


def narrow(preset):
    """The preset with few features."""
    model = preset.model
    if isinstance(model, ModelConfig):
        thin = tuple(replace(each, channels=4) for each in model.convolutions)
        return replace(
            preset,
            model=replace(model, hidden=24, convolutions=thin, fully_connected=(20,) * len(model.fully_connected)),
        )
    return replace(preset, model=replace(model, encoder_hidden=24, prediction_hidden=20, joint_hidden=16, pieces=40))


def network_of(preset, *, seed=0):
    """Its network, with statistics as if it had been trained."""
    torch.manual_seed(seed)
    network = build_network(preset)
    for module in network.modules():
        if getattr(module, "running_mean", None) is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias)
    return network


def session_of(model):
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_says_the_same_in_onnx(name):
    preset = narrow(PRESETS[name])
    network = network_of(preset)
    assert greatest_difference(network, exported(network, preset)) < TOLERANCE


def test_the_tiny_network_says_the_same_in_full():
    network = network_of(PRESETS["tiny"])
    assert greatest_difference(network, exported(network, PRESETS["tiny"])) < TOLERANCE


def test_a_difference_is_found():
    preset = narrow(PRESETS["tiny"])
    network = network_of(preset)
    models = exported(network, preset)
    with torch.no_grad():
        network.head.linear.weight[3] += 0.01
    assert greatest_difference(network, models) > TOLERANCE


def test_an_utterance_alone_and_beside_others_in_any_order_is_the_same():
    preset = narrow(PRESETS["tbd"])
    session = session_of(exported(network_of(preset), preset)[0].model)
    stream = np.random.default_rng(3)
    frames = np.array([57, 140, 90])
    spect_BFT = np.zeros((3, 161, 140), np.float32)
    for row, count in enumerate(frames):
        spect_BFT[row, :, :count] = stream.standard_normal((161, count))
    together, counts = session.run(None, {"spectrogram": spect_BFT, "frames": frames})
    for row, count in enumerate(frames):
        alone, length = session.run(
            None, {"spectrogram": spect_BFT[row : row + 1, :, :count], "frames": frames[row : row + 1]}
        )
        assert length[0] == counts[row]
        assert np.abs(alone[0] - together[row, : counts[row]]).max() < 1e-5


def test_probabilities_sum_to_one():
    preset = narrow(PRESETS["mlperf"])
    session = session_of(exported(network_of(preset), preset)[0].model)
    found, _ = session.run(
        None, {"spectrogram": np.zeros((1, 161, 80), np.float32), "frames": np.array([80], np.int64)}
    )
    assert np.exp(found).sum(axis=-1) == pytest.approx(np.ones(found.shape[:2]), abs=1e-5)


def test_what_is_too_short_has_no_frames():
    preset = narrow(PRESETS["mlperf"])
    session = session_of(exported(network_of(preset), preset)[0].model)
    spect_BFT = np.zeros((2, 161, 80), np.float32)
    _, counts = session.run(None, {"spectrogram": spect_BFT, "frames": np.array([80, 9], np.int64)})
    assert counts.tolist() == build_network(preset).output_frames([80, 9])
    assert counts[1] == 0


def test_the_parts_of_a_transducer_decode_what_the_transducer_does():
    from ds2prof.train.batches import Features, collate
    from ds2prof.train.tasks import task_for

    preset = narrow(PRESETS["rnnt"])
    network = network_of(preset, seed=2).eval()
    config = preset.model
    with torch.no_grad():
        for parameter in network.parameters():
            parameter *= 6  # with small weights it says the same all the time
        network.joint.output.bias[config.blank] += 2
    features_FT = np.random.default_rng(5).standard_normal((config.input_features, 33), dtype=np.float32)
    batch = collate([Features(0, features_FT, np.zeros(0, np.int64))], pin_memory=False)
    expected = task_for(preset).greedy(network, batch)[0]
    assert len(set(expected)) > 2

    encoder, prediction, joint = (session_of(each.model) for each in exported(network, preset))
    encoded_BTH, counts = encoder.run(None, {"features": features_FT[None], "frames": np.array([33], np.int64)})
    state = [np.zeros((config.prediction_layers, 1, config.prediction_hidden), np.float32)] * 2
    predicted, *state = prediction.run(
        None, dict(zip(("label", "hidden", "cell"), (np.array([-1]), *state), strict=True))
    )
    said = []
    for frame in range(counts[0]):
        for _ in range(config.max_symbols_per_frame):
            logits = joint.run(None, {"encoded": encoded_BTH[:, frame], "predicted": predicted})[0]
            best = int(logits.argmax())
            if best == config.blank or len(said) == config.max_symbols:
                break
            said.append(best)
            inputs = zip(("label", "hidden", "cell"), (np.array([best]), *state), strict=True)
            predicted, *state = prediction.run(None, dict(inputs))
    assert said == expected


def test_the_file_says_what_it_holds():
    preset = narrow(PRESETS["tiny"])
    metadata = session_of(exported(network_of(preset), preset, symbols=GRAPHEMES)[0].model).get_modelmeta()
    facts = metadata.custom_metadata_map
    assert json.loads(facts["ds2prof.symbols"]) == list(GRAPHEMES.symbols)
    assert json.loads(facts["ds2prof.frames"]) == {"first_ms": 0.0, "step_ms": 20}
    assert json.loads(facts["ds2prof.features"])["window"] == "hamming"


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    preset = narrow(PRESETS["tiny"])
    models = exported(network_of(preset), preset)
    monkeypatch.setattr("ds2prof.train.onnx_export._LARGEST_BYTES", 1000)
    with pytest.raises(Ds2profError, match="an ONNX file holds 2 GiB"):
        write_exported(tmp_path / "a.onnx", models)
    assert list(tmp_path.iterdir()) == []


def run(*arguments):
    return CliRunner().invoke(cli, ["export-onnx", *map(str, arguments)])


def test_the_command_writes_a_checked_file_and_replaces_none(tmp_path):
    path = tmp_path / "tiny.onnx"
    first = run("--preset", "tiny", "-o", path)
    assert first.exit_code == 0, first.output
    assert "greatest difference from PyTorch" in first.stderr
    assert session_of_file(path).get_inputs()[0].name == "spectrogram"
    assert "exists already" in str(run("--preset", "tiny", "-o", path).exception)


def session_of_file(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--preset", "tiny", "--checkpoint", "x.pt"),
        ("--preset", "no-such"),
        ("--preset", "tiny", "--labels", "labels.json"),
    ],
)
def test_contradictions_are_refused(arguments, tmp_path):
    error = run(*arguments, "-o", tmp_path / "a.onnx").exception
    assert isinstance(error, UsageError)
    assert (arguments or ("--preset",))[-2 if arguments else 0] in str(error)
