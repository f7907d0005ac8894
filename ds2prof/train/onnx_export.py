"""Networks as ONNX files, for any batch and any lengths, checked against PyTorch before they are written.

DeepSpeech2 is one graph::

    spectrogram (batch, bins, frames) float32, frames (batch) int64
        -> log_probabilities (batch, output frames, symbols) float32, output_frames (batch) int64

Utterances need not be sorted by length; what is behind an utterance's ``output_frames`` means nothing. A transducer is
three, since how often each is applied depends on what it says::

    encoder     features (batch, features, frames), frames (batch) -> encoded (batch, output frames, H), output_frames
    prediction  label (batch) int64, hidden and cell (layers, batch, H) -> predicted (batch, H), next_hidden, next_cell
    joint       encoded (n, H), predicted (n, H) -> logits (n, symbols)

A label of -1 stands for the beginning, with zeros for the state. The metadata of each file says what was exported: the
preset, the features, the symbols where they are letters, the number of the blank.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from torch import nn

from ds2prof.errors import Ds2profError
from ds2prof.measurements import refuse_existing, written_whole
from ds2prof.speech.alphabet import Alphabet, Symbols
from ds2prof.train.decoding import frame_clock
from ds2prof.train.front_end import ConvolutionLayer
from ds2prof.train.model import DeepSpeech2
from ds2prof.train.objective import BLANK
from ds2prof.train.onnx_graph import (
    Graph,
    batch_norm,
    clipped,
    convolution,
    feature_norm,
    linear,
    recurrent,
)
from ds2prof.train.presets import Preset
from ds2prof.train.recurrent import Lookahead, Projection, RecurrentLayer, SequenceNorm
from ds2prof.train.transducer import Transducer
from ds2prof.train.transducer_config import TransducerConfig
from ds2prof.units import format_bytes

PARTS: Final = ("encoder", "prediction", "joint")
"""The graphs of a transducer."""

_LARGEST_BYTES: Final = 1 << 31


@dataclass(frozen=True)
class Exported:
    """A model in memory.

    Attributes:
        part: ``""`` for DeepSpeech2, else which of the three graphs.
        model: ONNX's own object.
    """

    part: str
    model: Any


def exported(network: nn.Module, preset: Preset, *, symbols: Symbols | None = None) -> list[Exported]:
    """The network in evaluation mode as ONNX models.

    Raises:
        Ds2profError: the package onnx is not installed.
    """
    facts = _facts(preset, symbols)
    if isinstance(network, DeepSpeech2):
        return [Exported("", _deepspeech2(network, facts))]
    model = cast(Transducer, network)
    return [
        Exported("encoder", _encoder(model, facts)),
        Exported("prediction", _prediction(model, facts)),
        Exported("joint", _joint(model, facts)),
    ]


def refuse_existing_parts(path: Path, network: nn.Module, *, force: bool) -> None:
    """Nothing, if the files of this network may be written.

    Raises:
        ExistsError: one exists, and ``force`` was not given.
        CaptureError: one is a folder.
    """
    for part in ("",) if isinstance(network, DeepSpeech2) else PARTS:
        refuse_existing(_of_part(path, part), force=force)


def write_exported(path: Path, models: Sequence[Exported]) -> list[Path]:
    """Where the models are now, each whole: ``path``, or for a part ``NAME.part.onnx``.

    Raises:
        Ds2profError: one is larger than an ONNX file can be.
    """
    paths = []
    for each in models:
        target = _of_part(path, each.part)
        if each.model.ByteSize() >= _LARGEST_BYTES:
            raise Ds2profError(f"{target}: would be {format_bytes(each.model.ByteSize())}; an ONNX file holds 2 GiB")
        with written_whole(target) as partial:
            partial.write_bytes(each.model.SerializeToString())
        paths.append(target)
    return paths


def _of_part(path: Path, part: str) -> Path:
    return path.with_name(f"{path.stem}.{part}{path.suffix}") if part else path


def _facts(preset: Preset, symbols: Symbols | None) -> dict[str, str]:
    model = preset.model
    clock = frame_clock(model, preset.features)
    facts = {
        "ds2prof.preset": preset.name,
        "ds2prof.features": json.dumps(asdict(preset.features)),
        "ds2prof.frames": json.dumps({"first_ms": clock.first_ms, "step_ms": clock.step_ms}),
        "ds2prof.blank": str(model.blank if isinstance(model, TransducerConfig) else BLANK),
    }
    if isinstance(symbols, Alphabet):
        facts["ds2prof.symbols"] = json.dumps(list(symbols.symbols))
    return facts


# ---- DeepSpeech2


def _deepspeech2(network: DeepSpeech2, facts: Mapping[str, str]) -> Any:
    graph = Graph()
    act = graph.add("Unsqueeze", "spectrogram", graph.whole(1))
    counts = "frames"
    for number, layer in enumerate(network.conv):
        act, counts = _convolution_layer(graph, act, counts, cast(ConvolutionLayer, layer), name=f"conv.{number}")
    act = _sequence(graph, act)
    lengths = graph.add("Cast", graph.add("Max", counts, graph.whole(1)), to=_kind(np.int32))
    for number, layer in enumerate(network.rnn):
        act = _recurrent_layer(graph, act, lengths, cast(RecurrentLayer, layer), name=f"rnn.{number}")
    if network.lookahead is not None:
        act = _lookahead(graph, act, network.lookahead)
    for number, layer in enumerate(network.fc):
        act = _projection(graph, act, cast(Projection, layer.projection), name=f"fc.{number}")
        act = _activated(graph, act, cast(nn.Hardtanh, layer.activation))
    if network.head.normalization is not None:
        act = _norm(graph, act, network.head.normalization, name="head.normalization")
    logits_BTV = graph.add("Transpose", linear(graph, act, network.head.linear, name="head.linear"), perm=[1, 0, 2])
    graph.renamed(graph.add("LogSoftmax", logits_BTV, axis=-1), "log_probabilities")
    graph.renamed(counts, "output_frames")
    config = network.config
    return graph.model(
        "deepspeech2",
        inputs={
            "spectrogram": (np.float32, ("batch", config.input_bins, "frames")),
            "frames": (np.int64, ("batch",)),
        },
        outputs={
            "log_probabilities": (np.float32, ("batch", "output_frames", config.vocabulary)),
            "output_frames": (np.int64, ("batch",)),
        },
        facts=facts,
    )


def _convolution_layer(
    graph: Graph, act_BCFT: str, frames_B: str, layer: ConvolutionLayer, *, name: str
) -> tuple[str, str]:
    """The layer's output and its lengths."""
    shape = layer.shape
    behind_B = _convolved(graph, frames_B, shape.kernel[1] - 2 * shape.padding[1], shape.stride[1])
    pads = [*shape.padding, *shape.padding]
    act = convolution(graph, act_BCFT, layer.convolution, name=f"{name}.convolution", pads=pads)
    keep = _masked(graph, act, behind_B) if layer.masked else None

    def masked(each: str) -> str:
        return each if keep is None else graph.add("Where", keep, each, graph.number(0.0))

    act = masked(batch_norm(graph, masked(act), layer.normalization, name=f"{name}.normalization"))
    return _activated(graph, act, layer.activation), behind_B  # which leaves zeros zeros


def _convolved(graph: Graph, frames_B: str, reach: int, stride: int) -> str:
    """Lengths behind a convolution: the floor of (frames - reach) / stride + 1, and no less than 0."""
    sums_B = graph.add("Add", frames_B, graph.whole(stride - reach))
    return graph.add("Div", graph.add("Max", sums_B, graph.whole(0)), graph.whole(stride))


def _masked(graph: Graph, act_BCFT: str, frames_B: str) -> str:
    """Whether a frame is true: (B, 1, 1, T)."""
    frames = graph.add("Squeeze", graph.add("Shape", act_BCFT, start=3, end=4), graph.whole(0))
    zero, one = (graph.weight(f"scalar_{value}", np.array(value, np.int64)) for value in (0, 1))
    frame_T = graph.add("Range", zero, frames, one)
    return graph.add("Less", frame_T, graph.add("Unsqueeze", frames_B, graph.whole(1, 2, 3)))


def _sequence(graph: Graph, act_BCFT: str) -> str:
    """(T, B, C F) of the front end's output."""
    act_TBCF = graph.add("Transpose", act_BCFT, perm=[3, 0, 1, 2])
    return graph.add("Reshape", act_TBCF, graph.whole(0, 0, -1))


def _recurrent_layer(graph: Graph, act_TBD: str, lengths_B: str, layer: RecurrentLayer, *, name: str) -> str:
    if isinstance(layer.normalization, Projection):
        act_TBD = _projection(graph, act_TBD, layer.normalization, name=f"{name}.normalization")
    elif layer.normalization is not None:
        act_TBD = _norm(graph, act_TBD, cast(SequenceNorm, layer.normalization), name=f"{name}.normalization")
    each_TNBH = recurrent(
        graph, act_TBD, layer.recurrence, name=f"{name}.recurrence", counts_B=lengths_B if layer.packed else None
    )
    act_TBH = graph.add("ReduceSum", each_TNBH, graph.whole(1), keepdims=0)
    return act_TBH if layer.clip is None else _activated(graph, act_TBH, layer.clip)


def _projection(graph: Graph, act: str, layer: Projection, *, name: str) -> str:
    return _norm(graph, linear(graph, act, layer.linear, name=f"{name}.linear"), layer.normalization, name=name)


def _norm(graph: Graph, act: str, layer: SequenceNorm, *, name: str) -> str:
    return feature_norm(graph, act, layer.normalization, name=name)


def _lookahead(graph: Graph, act_TBH: str, layer: Lookahead) -> str:
    act_BHT = graph.add("Transpose", act_TBH, perm=[1, 2, 0])
    ahead = convolution(graph, act_BHT, layer.convolution, name="lookahead", pads=[0, layer.context - 1])
    return graph.add("Transpose", _activated(graph, ahead, layer.activation), perm=[2, 0, 1])


def _activated(graph: Graph, act: str, activation: nn.Hardtanh) -> str:
    return clipped(graph, act, float(activation.min_val), float(activation.max_val))


def _kind(kind: type) -> int:
    helper = import_module("onnx.helper")
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(kind)))


# ---- the transducer


def _encoder(network: Transducer, facts: Mapping[str, str]) -> Any:
    config, graph = network.config, Graph()
    act = graph.add("Transpose", "features", perm=[2, 0, 1])
    act = _lstm_layers(graph, act, "frames", cast(nn.LSTM, network.encoder["before"].lstm), name="encoder.before")
    counts = _convolved(graph, "frames", 1, config.time_stack)
    act = _stacked(graph, act, config.time_stack)
    act = _lstm_layers(graph, act, counts, cast(nn.LSTM, network.encoder["behind"].lstm), name="encoder.behind")
    graph.renamed(graph.add("Transpose", act, perm=[1, 0, 2]), "encoded")
    graph.renamed(counts, "output_frames")
    return graph.model(
        "encoder",
        inputs={
            "features": (np.float32, ("batch", config.input_features, "frames")),
            "frames": (np.int64, ("batch",)),
        },
        outputs={
            "encoded": (np.float32, ("batch", "output_frames", config.encoder_hidden)),
            "output_frames": (np.int64, ("batch",)),
        },
        facts=facts,
    )


def _lstm_layers(graph: Graph, act_TBD: str, counts_B: str, module: nn.LSTM, *, name: str) -> str:
    lengths_B = graph.add("Cast", graph.add("Max", counts_B, graph.whole(1)), to=_kind(np.int32))
    for layer in range(module.num_layers):
        each_TNBH = recurrent(graph, act_TBD, module, name=name, layer=layer, counts_B=lengths_B)
        act_TBD = graph.add("Squeeze", each_TNBH, graph.whole(1))
    return act_TBD


def _stacked(graph: Graph, act_TBD: str, stack: int) -> str:
    """Neighbouring frames as one, with zeros where the last lacks some."""
    frames = graph.add("Shape", act_TBD, start=0, end=1)
    missing = graph.add("Mod", graph.add("Neg", frames), graph.whole(stack))
    pads = graph.add("Concat", graph.whole(0, 0, 0), missing, graph.whole(0, 0), axis=0)
    whole_TBD = graph.add("Pad", act_TBD, pads)
    features = graph.add("Shape", act_TBD, start=1, end=3)
    split_TSBD = graph.add(
        "Reshape", whole_TBD, graph.add("Concat", graph.whole(-1), graph.whole(stack), features, axis=0)
    )
    return graph.add("Reshape", graph.add("Transpose", split_TSBD, perm=[0, 2, 1, 3]), graph.whole(0, 0, -1))


def _prediction(network: Transducer, facts: Mapping[str, str]) -> Any:
    config, graph, part = network.config, Graph(), network.prediction
    table = graph.weight("prediction.embedding", part.embedding.weight.detach().float().cpu().numpy())
    embedded_BD = graph.add("Gather", table, graph.add("Max", "label", graph.whole(0)))
    said_B1 = graph.add("Unsqueeze", graph.add("GreaterOrEqual", "label", graph.whole(0)), graph.whole(1))
    act = graph.add("Unsqueeze", graph.add("Where", said_B1, embedded_BD, graph.number(0.0)), graph.whole(0))
    states: list[tuple[str, str]] = []
    for layer in range(config.prediction_layers):
        own = tuple(
            graph.add("Slice", state, graph.whole(layer), graph.whole(layer + 1), graph.whole(0))
            for state in ("hidden", "cell")
        )
        each = recurrent(graph, act, part.lstm, name="prediction", layer=layer, state=own)
        states.append((f"{each}_1", f"{each}_2"))
        act = graph.add("Squeeze", each, graph.whole(1))
    graph.renamed(graph.add("Squeeze", act, graph.whole(0)), "predicted")
    for place, name in enumerate(("next_hidden", "next_cell")):
        graph.renamed(graph.add("Concat", *(state[place] for state in states), axis=0), name)
    state_axes = (config.prediction_layers, "batch", config.prediction_hidden)
    return graph.model(
        "prediction",
        inputs={
            "label": (np.int64, ("batch",)),
            "hidden": (np.float32, state_axes),
            "cell": (np.float32, state_axes),
        },
        outputs={
            "predicted": (np.float32, ("batch", config.prediction_hidden)),
            "next_hidden": (np.float32, state_axes),
            "next_cell": (np.float32, state_axes),
        },
        facts=facts,
    )


def _joint(network: Transducer, facts: Mapping[str, str]) -> Any:
    config, graph, part = network.config, Graph(), network.joint
    encoded = linear(graph, "encoded", part.encoder, name="joint.encoder")
    predicted = linear(graph, "predicted", part.prediction, name="joint.prediction")
    hidden = graph.add("Relu", graph.add("Add", encoded, predicted))
    graph.renamed(linear(graph, hidden, part.output, name="joint.output"), "logits")
    return graph.model(
        "joint",
        inputs={
            "encoded": (np.float32, ("n", config.encoder_hidden)),
            "predicted": (np.float32, ("n", config.prediction_hidden)),
        },
        outputs={"logits": (np.float32, ("n", config.vocabulary))},
        facts=facts,
    )
