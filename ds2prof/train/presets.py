"""What can be trained, declared: the model, its speech, its optimizer and its schedule under one name. No PyTorch.

Each preset is what the code of one of this project's ancestors does, and where that code and its documents differ, the
code. Where a published count of parameters exists, the model has exactly as many.

=============== ======================================================================================================
``tbd``         the TBD suite's PyTorch DeepSpeech2 (branch v2.0), with ``tbd-gru``, ``tbd-rnn`` and ``tbd-lookahead``,
                what its options ``--rnn-type`` and ``--no-bidirectional`` make of it
``gru800``      its forebear, deepspeech.pytorch of early 2018: five bidirectional GRUs of 800 without biases
``mlperf``      the DeepSpeech2 reference of MLPerf's speech recognition, which was never adopted
``cambricon``   Cambricon's fork of that, with LSTMs
``deepmark``    DeepMark's benchmark as specified; ``deepmark-torch`` is the Torch code's form of it
``rnnt``        the MLPerf RNN-T reference
``tiny``        the structure of ``tbd`` at a size at which two CPU cores take a step in a fraction of a second
=============== ======================================================================================================

DeepMark takes no optimizer steps, so its presets have the optimizer of ``tbd``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Literal

from ds2prof.speech.feature_config import LOG_SPECTROGRAM, STACKED_LOG_MEL, FeatureConfig
from ds2prof.speech.synthetic_config import SyntheticConfig
from ds2prof.train.transducer_config import TransducerConfig

Cell = Literal["lstm", "gru", "tanh", "relu"]
Order = Literal["bins", "ascending", "sortagrad", "shuffled", "buckets"]


@dataclass(frozen=True)
class Convolution:
    """One convolution of the front end. Pairs are (frequency, time)."""

    channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a DeepSpeech2.

    Attributes:
        convolutions: The front end, input side first.
        hidden: Features of each recurrent layer; the two directions are summed, so its output has as many.
        recurrent_layers: How many there are.
        input_bins: Frequency bins of a frame: a 20 ms window at 16 kHz has 320 / 2 + 1.
        vocabulary: Symbols: the blank of CTC (0), the apostrophe, A to Z and the space.
        cell: What recurs: an LSTM, a GRU, or a plain layer with tanh or ReLU.
        bidirectional: Whether each recurrent layer also reads from the end.
        normalization: Where batch normalization stands in the recurrent layers: at the ``input`` of all but the first,
            nowhere (``none``), or behind a linear layer without bias (``projection``), whose result the recurrence
            takes as it is: cuDNN's skip-input mode.
        recurrent_bias: Whether the recurrent layers have biases, two for each direction.
        recurrent_clip: What the output of a recurrent layer is clipped at; None where it is not.
        lookahead: Frames, its own included, that the convolution behind unidirectional layers looks at; 0 is none.
        fully_connected: Features of each layer between recurrence and head: linear, batch normalization, clipped ReLU.
        masked: Whether padding is set to zero behind each step of the front end.
        packed: Whether recurrence leaves padding out.
        convolution_bias: Whether convolutions have biases.
        head_normalized: Whether batch normalization stands before the layer to the symbols.
        head_bias: Whether that layer has biases.
    """

    convolutions: tuple[Convolution, ...]
    hidden: int
    recurrent_layers: int
    input_bins: int = 161
    vocabulary: int = 29
    cell: Cell = "lstm"
    bidirectional: bool = True
    normalization: Literal["input", "none", "projection"] = "input"
    recurrent_bias: bool = True
    recurrent_clip: float | None = None
    lookahead: int = 0
    fully_connected: tuple[int, ...] = ()
    masked: bool = True
    packed: bool = True
    convolution_bias: bool = True
    head_normalized: bool = True
    head_bias: bool = False

    def __post_init__(self) -> None:
        """Sees to it that the parts go together."""
        assert self.convolutions
        assert self.recurrent_layers > 0
        assert not (self.lookahead and self.bidirectional), "a bidirectional layer has seen what comes"
        assert not self.lookahead or self.packed, "it would look at padding"
        assert self.normalization != "projection" or self.cell in ("tanh", "relu"), "gates need input weights"

    @property
    def directions(self) -> int:
        """In how many directions a recurrent layer reads."""
        return 2 if self.bidirectional else 1


@dataclass(frozen=True)
class OptimizerConfig:
    """How weights follow from gradients. The defaults are the TBD suite's.

    Attributes:
        kind: SGD with momentum, AdamW or LAMB.
        learning_rate: Before any schedule.
        momentum: Of SGD.
        nesterov: Whether it is Nesterov's.
        weight_decay: Of SGD and LAMB added to the gradient or the update, of AdamW decoupled.
        clip_norm: The norm that all gradients together are scaled down to where theirs is larger.
        betas: How much the two running means of AdamW and LAMB keep at each step.
        eps: What keeps their division finite.
    """

    kind: Literal["sgd", "adamw", "lamb"] = "sgd"
    learning_rate: float = 3e-4
    momentum: float = 0.9
    weight_decay: float = 1e-5
    clip_norm: float = 400.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    nesterov: bool = True


@dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate goes on.

    Attributes:
        kind: ``anneal`` divides it by ``factor`` after each epoch. ``warmup-hold-decay`` raises it in a line over
            ``warmup_epochs``, holds it for ``hold_epochs`` and multiplies it by ``gamma`` in each epoch behind them.
        factor: Of ``anneal``; 1 keeps the rate.
        warmup_epochs: Of ``warmup-hold-decay``, as is all below.
        hold_epochs: How many.
        gamma: What is left of the rate after an epoch.
        minimum: What it never falls below.
    """

    kind: Literal["anneal", "warmup-hold-decay"] = "anneal"
    factor: float = 1.1
    warmup_epochs: int = 0
    hold_epochs: int = 0
    gamma: float = 1.0
    minimum: float = 0.0


@dataclass(frozen=True)
class Preset:
    """A workload: what is trained, on what, and how.

    Attributes:
        name: What it is called by.
        model: The network, of either kind.
        speech: The lengths of synthetic speech.
        optimizer: How weights follow from gradients.
        features: How real speech becomes what the network reads.
        schedule: How the learning rate goes on.
        average_decay: How much the running average of the weights, which is then evaluated, keeps at each step; None
            evaluates the weights themselves.
        order: Of a corpus: ``bins`` of neighbours in length that come in another order each epoch, ``ascending``
            length in every epoch or in the first alone (``sortagrad``), ``shuffled``, or shuffled within ``buckets``
            of similar length. Synthetic speech has its own order, which is not ascending: the first iterations, which
            a profile sees, would be the shortest.
        buckets: How many of those there are.
        batch_size: Utterances of a training step's batch on one device.
        accumulate: Batches that one step is made of.
        target_wer: The word error rate, a ratio, that training ends at; None where it has no such end.
        max_epochs: Where it ends at the latest.
    """

    name: str
    model: ModelConfig | TransducerConfig
    speech: SyntheticConfig = field(default_factory=SyntheticConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    features: FeatureConfig = LOG_SPECTROGRAM
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    average_decay: float | None = None
    order: Order = "bins"
    buckets: int = 1
    batch_size: int = 20
    accumulate: int = 1
    target_wer: float | None = None
    max_epochs: int = 70


def _front_end(
    channels: int, padding: tuple[tuple[int, int], tuple[int, int]] = ((20, 5), (10, 5))
) -> tuple[Convolution, ...]:
    """The two convolutions that deepspeech.pytorch and its descendants share, with ``channels`` each."""
    return (
        Convolution(channels, kernel=(41, 11), stride=(2, 2), padding=padding[0]),
        Convolution(channels, kernel=(21, 11), stride=(2, 1), padding=padding[1]),
    )


def _deepmark_front_end(padding: int) -> tuple[Convolution, ...]:
    """DeepMark's two convolutions; ``padding`` is the first one's in time."""
    return (
        Convolution(32, kernel=(5, 20), stride=(2, 2), padding=(0, padding)),
        Convolution(32, kernel=(5, 10), stride=(1, 2), padding=(0, 0)),
    )


_TBD: Final = ModelConfig(_front_end(32), hidden=1024, recurrent_layers=5)
_MLPERF: Final = ModelConfig(
    _front_end(32, ((0, 0), (0, 0))),
    hidden=2560,
    recurrent_layers=3,
    cell="gru",
    bidirectional=False,
    normalization="none",
    masked=False,
    packed=False,
)
_GRU800: Final = ModelConfig(
    # The first convolution is padded by 10 frames in time, although its kernel is 11 wide: as its code has it.
    _front_end(32, ((0, 10), (0, 0))),
    hidden=800,
    recurrent_layers=5,
    cell="gru",
    recurrent_bias=False,
    masked=False,
    packed=False,
)
_DEEPMARK_TORCH: Final = ModelConfig(
    _deepmark_front_end(padding=0),
    hidden=1760,
    recurrent_layers=7,
    cell="relu",
    normalization="projection",
    recurrent_clip=20.0,
    masked=False,
    packed=False,
    head_normalized=False,
    head_bias=True,
)
_DEEPMARK: Final = replace(
    _DEEPMARK_TORCH,
    convolutions=_deepmark_front_end(padding=9),  # "same" in time: half as many frames come out
    fully_connected=(1760,),
)

_MLPERF_SGD: Final = OptimizerConfig(learning_rate=1e-4, weight_decay=0.0)
_RNNT_LAMB: Final = OptimizerConfig(
    "lamb", learning_rate=4e-3, weight_decay=1e-3, clip_norm=1.0, betas=(0.9, 0.999), eps=1e-9
)
_RNNT_SCHEDULE: Final = ScheduleConfig("warmup-hold-decay", warmup_epochs=6, hold_epochs=40, gamma=0.935, minimum=1e-5)

PRESETS: Final[dict[str, Preset]] = {
    "tbd": Preset("tbd", _TBD),
    "tbd-gru": Preset("tbd-gru", replace(_TBD, cell="gru")),
    "tbd-rnn": Preset("tbd-rnn", replace(_TBD, cell="tanh")),
    "tbd-lookahead": Preset("tbd-lookahead", replace(_TBD, bidirectional=False, lookahead=20)),
    "gru800": Preset("gru800", _GRU800, order="sortagrad"),
    "mlperf": Preset(
        "mlperf",
        _MLPERF,
        optimizer=_MLPERF_SGD,
        order="ascending",
        batch_size=8,
        target_wer=0.23,
        max_epochs=10,
    ),
    "cambricon": Preset(
        "cambricon",
        replace(_MLPERF, cell="lstm"),
        optimizer=_MLPERF_SGD,
        order="shuffled",
        batch_size=8,
        max_epochs=10,
    ),
    "deepmark": Preset("deepmark", _DEEPMARK, order="ascending", batch_size=64, max_epochs=1),
    "deepmark-torch": Preset("deepmark-torch", _DEEPMARK_TORCH, order="ascending", batch_size=64, max_epochs=1),
    "rnnt": Preset(
        "rnnt",
        TransducerConfig(),
        SyntheticConfig(frame_ms=30, letters_per_label=3),
        optimizer=_RNNT_LAMB,
        features=STACKED_LOG_MEL,
        schedule=_RNNT_SCHEDULE,
        average_decay=0.999,
        order="buckets",
        buckets=6,
        batch_size=64,
        accumulate=16,
        target_wer=0.058,
        max_epochs=100,
    ),
    "tiny": Preset(
        "tiny",
        ModelConfig(_front_end(4), hidden=128, recurrent_layers=3),
        SyntheticConfig(length_divisor=5),
        batch_size=8,
    ),
}
"""Name -> workload."""
