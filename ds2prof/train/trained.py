"""A trained network as a checkpoint holds it: what was trained, its weights, and what its symbols stand for.

The preset is rebuilt from what the checkpoint says of it, not looked up by its name, so that a network trained with
other sizes is the same network again. Where the run kept a running average of its weights, that average is the network.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ds2prof.errors import ReadError, UsageError
from ds2prof.speech.alphabet import GRAPHEMES, Alphabet, Symbols, read_labels
from ds2prof.speech.feature_config import FeatureConfig
from ds2prof.speech.pieces import read_pieces
from ds2prof.speech.synthetic_config import SyntheticConfig
from ds2prof.train.checkpoints import Checkpoint, load_weights, read_checkpoint
from ds2prof.train.device import Device
from ds2prof.train.optimizers import WeightAverage
from ds2prof.train.presets import Convolution, ModelConfig, OptimizerConfig, Preset, ScheduleConfig
from ds2prof.train.tasks import Task, build_network, task_for
from ds2prof.train.transducer_config import TransducerConfig

Config = TypeVar("Config")


@dataclass(frozen=True)
class Trained:
    """A network with its weights, on a device, in evaluation mode.

    Attributes:
        preset: What was trained.
        network: With the weights of the checkpoint, the averaged ones where it has such.
        task: What it is for.
        spoken: What its symbols stand for, or why nobody knows: networks can be timed and exported without.
        averaged: Whether the weights are a running average.
        epoch: How many whole epochs lay behind the run.
        iteration: How many steps it had taken.
    """

    preset: Preset
    network: nn.Module
    task: Task
    spoken: Symbols | UsageError
    averaged: bool
    epoch: int
    iteration: int

    @property
    def symbols(self) -> Symbols:
        """What its symbols stand for.

        Raises:
            UsageError: it takes a file to know.
        """
        if isinstance(self.spoken, UsageError):
            raise self.spoken
        return self.spoken


def open_trained(
    path: Path, device: Device, *, labels: Path | None = None, pieces: Path | None = None, weights: str = "auto"
) -> Trained:
    """The network in a checkpoint.

    Args:
        path: The checkpoint, or the folder that a run keeps them in, whose best is taken, else the latest.
        device: Where the network goes.
        labels: The alphabet, where it is not in the checkpoint.
        pieces: The model of pieces that it was trained with.
        weights: ``auto``, ``average`` or ``last``.

    Raises:
        ReadError: it is no whole checkpoint of ours.
        UsageError: it does not hold such weights, or its symbols are not those of the files.
    """
    checkpoint = read_checkpoint(_in_folder(path))
    preset = preset_of(checkpoint)
    network = _network(preset, checkpoint)
    averaged = checkpoint["average"] is not None and weights != "last"
    if weights == "average" and not averaged:
        raise UsageError(f"{checkpoint.path}: holds no average of weights; leave out --weights average")
    if averaged:
        _take_average(network, checkpoint)
    return Trained(
        preset=preset,
        network=network.to(device.torch_device).eval(),
        task=task_for(preset),
        spoken=_symbols_of(checkpoint, preset, labels=labels, pieces=pieces),
        averaged=averaged,
        epoch=checkpoint["epoch"],
        iteration=checkpoint["iteration"],
    )


def _network(preset: Preset, checkpoint: Checkpoint) -> nn.Module:
    """The network with the checkpoint's weights.

    Its shapes are compared before it is made: what a file says of sizes must not take more memory than the file holds.

    Raises:
        ReadError: they are the weights of another network.
    """
    where = f"{checkpoint.path}: its weights are not those of the network that it tells of"
    try:
        expected = shapes_of(preset)
    except (RuntimeError, ValueError, TypeError, AssertionError, OverflowError, UsageError) as error:
        raise ReadError(
            f"{checkpoint.path}: its network cannot be made: {' '.join(str(error).split())[:200]}"
        ) from None
    held = {name: tuple(getattr(each, "shape", ())) for name, each in checkpoint["model"].items()}
    if held != expected:
        different = sorted(name for name in held.keys() | expected.keys() if held.get(name) != expected.get(name))
        raise ReadError(f"{where}: {str(different[0])[:100]}")
    network = build_network(preset)
    load_weights(network, checkpoint)
    return network


def shapes_of(preset: Preset) -> dict[str, tuple[int, ...]]:
    """The shape of each of the preset's weights by its name, found without any memory for them."""
    with torch.device("meta"), _Unfilled():
        return {name: tuple(each.shape) for name, each in build_network(preset).state_dict().items()}


class _Unfilled(TorchFunctionMode):
    """A mode that leaves out what fills weights where they have no values to be filled.

    Of tensors without values PyTorch draws normal distributions, and makes identities, in Python, and loads its whole
    compiler for that, which takes seconds.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.Tensor.normal_, nn.init.normal_):
            return args[0] if args else (kwargs or {})["tensor"]
        if func is torch.eye:
            return torch.empty(args[0], args[0])
        return func(*args, **(kwargs or {}))


def preset_of(checkpoint: Checkpoint) -> Preset:
    """The preset that a checkpoint tells of.

    Raises:
        ReadError: it tells of none that this version knows.
    """
    try:
        said = json.loads(checkpoint["preset_config"])
        return Preset(
            name=str(checkpoint["preset"]),
            model=_model(said["model"]),
            speech=_config(SyntheticConfig, said["speech"]),
            optimizer=_config(OptimizerConfig, said["optimizer"]),
            features=_config(FeatureConfig, said["features"]),
            schedule=_config(ScheduleConfig, said["schedule"]),
            **{name: said[name] for name in _PLAIN if name in said},
        )
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ReadError(
            f"{checkpoint.path}: was written for a preset that this version does not know: {reason}"
        ) from None


_PLAIN = tuple(
    field.name
    for field in fields(Preset)
    if field.name not in ("name", "model", "speech", "optimizer", "features", "schedule")
)


def _model(said: Mapping[str, Any]) -> ModelConfig | TransducerConfig:
    if "pieces" in said:
        return _config(TransducerConfig, said)
    layers = tuple(_config(Convolution, each) for each in said["convolutions"])
    return _config(ModelConfig, {**said, "convolutions": layers})


def _config(kind: type[Config], said: Mapping[str, Any]) -> Config:
    """A frozen configuration from what JSON made of it: its tuples came back as lists."""
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in said.items()})


def _in_folder(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = next((path / name for name in ("best.pt", "latest.pt") if (path / name).exists()), None)
    if found is None:
        raise ReadError(f"{path}: holds neither best.pt nor latest.pt; name a checkpoint")
    return found


def _take_average(network: nn.Module, checkpoint: Checkpoint) -> None:
    """Puts the average into the network for good.

    Raises:
        ReadError: it is of another network.
    """
    average = WeightAverage(network, decay=0.0)
    try:
        average.load_state_dict(cast("Mapping[str, torch.Tensor]", checkpoint["average"]))
    except Exception as error:
        raise ReadError(f"{checkpoint.path}: its average of weights does not fit: {str(error)[:200]}") from None
    values = average.state_dict()
    with torch.no_grad():
        for name, tensor in {**dict(network.named_parameters()), **dict(network.named_buffers())}.items():
            tensor.copy_(values[name])


def _symbols_of(
    checkpoint: Checkpoint, preset: Preset, *, labels: Path | None, pieces: Path | None
) -> Symbols | UsageError:
    """What the network's symbols stand for, held to be what it was trained with; or what it takes to know.

    Raises:
        UsageError: a file is for another network, or another than the one of the run.
        ReadError: a file cannot be read.
    """
    digest = checkpoint["symbols"].get("sha256")
    if isinstance(preset.model, TransducerConfig):
        if pieces is None:
            return UsageError(f"{checkpoint.path}: speaks in pieces of words; name their model with --pieces FILE")
        model = read_pieces(pieces, count=preset.model.pieces)
        if digest not in (None, hashlib.sha256(model.model).hexdigest()):
            raise UsageError(f"--pieces {pieces}: is not the model that {checkpoint.path} was trained with")
        return model
    if pieces is not None:
        raise UsageError(f"--pieces: {preset.name} speaks in letters; leave it out")
    alphabet = _alphabet(checkpoint) if labels is None else read_labels(labels)
    if alphabet is None:
        return UsageError(f"{checkpoint.path}: does not say what its symbols stand for; give --labels FILE")
    if alphabet.size != preset.model.vocabulary:
        where = checkpoint.path if labels is None else f"--labels {labels}"
        raise UsageError(f"{where}: has {alphabet.size} symbols, and the network {preset.model.vocabulary}")
    return alphabet


def _alphabet(checkpoint: Checkpoint) -> Alphabet | None:
    """The alphabet that the checkpoint holds; DeepSpeech2's where it was trained on synthetic speech of as many."""
    characters = checkpoint["symbols"].get("characters")
    if characters is None:
        return GRAPHEMES if checkpoint["symbols"].get("size") == GRAPHEMES.size else None
    if not isinstance(characters, str) or not 1 < len(characters) == len(set(characters)):
        return None
    return Alphabet(tuple(characters))
