"""What can be trained, declared: the model, its speech and its optimizer under one name. Needs no PyTorch.

``tbd`` is the default DeepSpeech2 of the TBD suite's PyTorch benchmark (branch v2.0, ``model.py`` and
``train_profiling.py`` there). ``tiny`` has the same structure at a size at which two CPU cores take a step in a
fraction of a second, so that everything around the model can be tried anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True)
class Convolution:
    """One convolution of the front end. Pairs are (frequency, time)."""

    channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


def _front_end(channels: int) -> tuple[Convolution, ...]:
    """The two convolutions of TBD's DeepSpeech2 with ``channels`` each."""
    return (
        Convolution(channels, kernel=(41, 11), stride=(2, 2), padding=(20, 5)),
        Convolution(channels, kernel=(21, 11), stride=(2, 1), padding=(10, 5)),
    )


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a DeepSpeech2.

    Attributes:
        convolutions: The front end, input side first.
        hidden: Features of each recurrent layer; the two directions are summed, so its output has as many.
        recurrent_layers: Bidirectional LSTM layers.
        input_bins: Frequency bins of a frame: a 20 ms window at 16 kHz has 320 / 2 + 1.
        vocabulary: Symbols: the blank of CTC (0), the apostrophe, A to Z and the space.
    """

    convolutions: tuple[Convolution, ...]
    hidden: int
    recurrent_layers: int
    input_bins: int = 161
    vocabulary: int = 29


@dataclass(frozen=True)
class SpeechConfig:
    """The lengths of the synthetic utterances: DeepMark's distribution, divided.

    Attributes:
        length_divisor: 1 gives DeepMark's 100 to 1,500 frames with 7 to 209 labels, 5 gives 20 to 300 with 1 to 41.
    """

    length_divisor: int = 1


@dataclass(frozen=True)
class SgdConfig:
    """The optimizer of TBD's DeepSpeech2: SGD with Nesterov momentum, gradients clipped by their norm."""

    learning_rate: float = 3e-4
    momentum: float = 0.9
    weight_decay: float = 1e-5
    clip_norm: float = 400.0


@dataclass(frozen=True)
class Preset:
    """A workload: what is trained, on what, and how."""

    name: str
    model: ModelConfig
    speech: SpeechConfig = field(default_factory=SpeechConfig)
    optimizer: SgdConfig = field(default_factory=SgdConfig)


PRESETS: Final = {
    "tbd": Preset("tbd", ModelConfig(_front_end(32), hidden=1024, recurrent_layers=5)),
    "tiny": Preset(
        "tiny",
        ModelConfig(_front_end(4), hidden=128, recurrent_layers=3),
        SpeechConfig(length_divisor=5),
    ),
}
"""Name -> workload."""
