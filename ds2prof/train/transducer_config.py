"""The shape of an RNN transducer, declared. Needs no PyTorch.

The defaults are NVIDIA's MLPerf RNN-T (training results v2.0, configuration ``baseline_v3-1023sp``): 49,071,616
parameters. With ``input_features=240``, the reference's, which does not pad the features, there are 49,006,080.
"""

from __future__ import annotations

from dataclasses import dataclass

from ds2prof.errors import UsageError


@dataclass(frozen=True)
class TransducerConfig:
    """The shape of an RNN transducer.

    Symbols 0 to ``pieces`` - 1 are pieces of text, and each is its own row of the embedding; the blank comes last.

    Attributes:
        pieces: Symbols a label can be.
        input_features: Features of an input frame: 80 log-mel bins, three frames stacked, padded from 240 to 256.
        encoder_hidden: Features of each encoder layer.
        encoder_layers_before: LSTM layers in front of the time stacking.
        encoder_layers_behind: LSTM layers behind it.
        time_stack: How many neighbouring frames become one between the two.
        prediction_hidden: Features of the label embedding and of each prediction layer.
        prediction_layers: LSTM layers of the prediction network.
        joint_hidden: Features in which encoder and prediction are added.
        encoder_dropout: Share of the features dropped behind each encoder layer while training.
        prediction_dropout: The same behind each prediction layer.
        joint_dropout: The same behind the ReLU of the joint network.
        forget_bias: What the two biases of an LSTM's forget gate add up to before scaling.
        lstm_weight_scale: Factor on all weights and biases of the LSTMs when they are made.
        max_symbols_per_frame: Where greedy decoding leaves a frame, however much the network would still say.
        max_symbols: Where greedy decoding leaves an utterance.
    """

    pieces: int = 1023
    input_features: int = 256
    encoder_hidden: int = 1024
    encoder_layers_before: int = 2
    encoder_layers_behind: int = 3
    time_stack: int = 2
    prediction_hidden: int = 512
    prediction_layers: int = 2
    joint_hidden: int = 512
    encoder_dropout: float = 0.1
    prediction_dropout: float = 0.3
    joint_dropout: float = 0.3
    forget_bias: float = 1.0
    lstm_weight_scale: float = 0.5
    max_symbols_per_frame: int = 30
    max_symbols: int = 300

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name.endswith("_dropout"):
                if not 0 <= value < 1:
                    raise UsageError(f"{name} {value}: not a share; take 0 to less than 1")
            elif isinstance(value, int) and value < 1:
                raise UsageError(f"{name} {value}: not a size; take 1 or more")

    @property
    def blank(self) -> int:
        """The symbol that says: on to the next frame."""
        return self.pieces

    @property
    def vocabulary(self) -> int:
        """Symbols that the network chooses from: the pieces and the blank."""
        return self.pieces + 1
