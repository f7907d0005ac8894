"""Exported models beside the networks they came from: how far apart ONNX Runtime and PyTorch are.

Both are given the same batches of random features on the host, with utterances of several lengths beside each other,
and the greatest difference of any value that counts is what is told. Lengths must agree exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from ds2prof.errors import Ds2profError
from ds2prof.train.evaluation import evaluating
from ds2prof.train.model import DeepSpeech2
from ds2prof.train.onnx_export import Exported
from ds2prof.train.transducer import Transducer

TOLERANCE: Final = 1e-4
"""How far apart they may be anywhere: in log-probabilities, logits or hidden values."""

BATCHES: Final = ((61,), (150, 97, 64), (203, 203))
"""The frames of the utterances in each batch that is tried."""

_LABELS: Final = 4

Values = NDArray[Any]


def greatest_difference(
    network: nn.Module, models: Sequence[Exported], *, batches: Sequence[Sequence[int]] = BATCHES, seed: int = 1
) -> float:
    """The greatest difference between the exported models and the network.

    Args:
        network: On the host.
        models: Exported from it.
        batches: The frames of the utterances of each batch, longest first.
        seed: Decides what is in them.

    Raises:
        Ds2profError: onnxruntime is not installed, or the two do not even agree on lengths.
    """
    sessions = {each.part: _session(each.model) for each in models}
    stream = np.random.default_rng(seed)
    with evaluating(network):
        if isinstance(network, DeepSpeech2):
            return max(_of_deepspeech2(network, sessions[""], counts, stream) for counts in batches)
        model = cast(Transducer, network)
        return max(
            *(_of_encoder(model, sessions["encoder"], counts, stream) for counts in batches),
            _of_prediction(model, sessions["prediction"], stream),
            _of_joint(model, sessions["joint"], stream),
        )


def _session(model: Any) -> Any:
    try:
        runtime = import_module("onnxruntime")
    except ImportError:
        raise Ds2profError(
            'onnxruntime: this package checks the exported file and is not installed; pip install "ds2prof[onnx]", or '
            "leave the check out"
        ) from None
    return runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def _padded(stream: np.random.Generator, bins: int, counts: Sequence[int]) -> Values:
    spect_BFT = np.zeros((len(counts), bins, max(counts)), np.float32)
    for row, count in enumerate(counts):
        spect_BFT[row, :, :count] = stream.standard_normal((bins, count), dtype=np.float32)
    return spect_BFT


def _of_deepspeech2(network: DeepSpeech2, session: Any, counts: Sequence[int], stream: np.random.Generator) -> float:
    spect_BFT = _padded(stream, network.config.input_bins, counts)
    logits_TBV, behind = network(torch.from_numpy(spect_BFT), torch.tensor(counts), counts)
    expected_BTV = functional.log_softmax(logits_TBV.float(), dim=-1).transpose(0, 1).numpy()
    found_BTV, lengths = session.run(None, {"spectrogram": spect_BFT, "frames": np.array(counts, np.int64)})
    return _farthest(found_BTV, expected_BTV, lengths, behind)


def _of_encoder(network: Transducer, session: Any, counts: Sequence[int], stream: np.random.Generator) -> float:
    spect_BFT = _padded(stream, network.config.input_features, counts)
    expected_BTH = network.encode(torch.from_numpy(spect_BFT), torch.tensor(counts)).transpose(0, 1).numpy()
    found_BTH, lengths = session.run(None, {"features": spect_BFT, "frames": np.array(counts, np.int64)})
    return _farthest(found_BTH, expected_BTH, lengths, network.output_frames(counts))


def _farthest(found_BT: Values, expected_BT: Values, lengths: Values, counts: Sequence[int]) -> float:
    """The greatest difference in the true frames."""
    if lengths.tolist() != list(counts):
        raise Ds2profError(f"the exported model says {lengths.tolist()} frames, PyTorch {list(counts)}: do not use it")
    return max(
        float(np.abs(found_BT[row, :count] - expected_BT[row, :count]).max(initial=0.0))
        for row, count in enumerate(counts)
    )


def _of_prediction(network: Transducer, session: Any, stream: np.random.Generator) -> float:
    """Some labels after each other, for two utterances."""
    config = network.config
    expected_BH, state = network.prediction.begin(2)
    zeros = np.zeros((config.prediction_layers, 2, config.prediction_hidden), np.float32)
    label_B, hidden, cell = np.array([-1, -1]), zeros, zeros
    farthest = 0.0
    for _ in range(_LABELS):
        found_BH, hidden, cell = session.run(None, {"label": label_B, "hidden": hidden, "cell": cell})
        farthest = max(farthest, float(np.abs(found_BH - expected_BH.numpy()).max()))
        label_B = stream.integers(config.pieces, size=2)
        expected_BH, state = network.prediction.advance(torch.from_numpy(label_B), state)
    return farthest


def _of_joint(network: Transducer, session: Any, stream: np.random.Generator) -> float:
    config, joint = network.config, network.joint
    encoded, predicted = (
        stream.standard_normal((5, size), dtype=np.float32)
        for size in (config.encoder_hidden, config.prediction_hidden)
    )
    expected = joint.symbols(joint.encoder(torch.from_numpy(encoded)) + joint.prediction(torch.from_numpy(predicted)))
    found = session.run(None, {"encoded": encoded, "predicted": predicted})[0]
    return float(np.abs(found - expected.numpy()).max())
