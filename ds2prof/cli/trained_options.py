"""What ``ds2prof evaluate``, ``transcribe`` and ``export-onnx`` share: which network, where, and how it is read."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from ds2prof.errors import UsageError

if TYPE_CHECKING:
    from ds2prof.speech.alphabet import Symbols
    from ds2prof.train.beam_search import BeamConfig
    from ds2prof.train.decoding import Decoder
    from ds2prof.train.device import Device
    from ds2prof.train.language_model import LanguageModel
    from ds2prof.train.presets import Preset
    from ds2prof.train.trained import Trained

Command = TypeVar("Command", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path)
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
_WEIGHTS = ("alpha", "beta")
_SEARCH = ("beam_width", "top_symbols", "cutoff_probability")


def finite(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """The number; a callback that refuses "nan" and "inf", which are numbers to ``float``.

    Raises:
        UsageError: it is one of these.
    """
    if value is not None and not math.isfinite(value):
        raise UsageError(f"{parameter.opts[0]} {value}: give a finite number")
    return value


CHECKPOINT_OPTIONS = (
    click.option(
        "--checkpoint", required=True, type=_FILE, help="A checkpoint, or a folder of them: its best, else its latest."
    ),
)
SYMBOL_OPTIONS = (
    click.option(
        "--weights",
        type=click.Choice(["auto", "average", "last"]),
        default="auto",
        show_default=True,
        help="Of the checkpoint: the running average, the last step's, or the average where there is one.",
    ),
    click.option("--labels", type=_FILE, help="A labels.json, where the alphabet is not in the checkpoint."),
    click.option("--pieces", type=_FILE, help="The model of pieces that a transducer was trained with."),
)
NETWORK_OPTIONS = (*CHECKPOINT_OPTIONS, *SYMBOL_OPTIONS)
DEVICE_OPTIONS = (
    click.option("--device", default="auto", show_default=True, help="auto, cuda, cuda:1, cpu or another one."),
    click.option("--precision", type=click.Choice(PRECISIONS), default="fp32", show_default=True),
)
DECODER_OPTIONS = (
    click.option("--decoder", type=click.Choice(["greedy", "beam"]), default="greedy", show_default=True),
    click.option(
        "--lm", type=_FILE, help="With beam: a language model of words or of letters, .arpa or KenLM's binary."
    ),
    click.option(
        "--lexicon", type=_FILE, help="The words of a model of words, one a line.  [default: those of the .arpa]"
    ),
    click.option(
        "--alpha",
        type=float,
        callback=finite,
        default=0.8,
        show_default=True,
        help="Weight of the model (natural logarithms).",
    ),
    click.option(
        "--beta",
        type=float,
        callback=finite,
        default=1.0,
        show_default=True,
        help="Added for each word, or letter of a model of letters.",
    ),
    click.option(
        "--beam-width", type=click.IntRange(min=1), default=10, show_default=True, help="Beginnings kept in each frame."
    ),
    click.option(
        "--top-symbols", type=click.IntRange(min=1), default=40, show_default=True, help="Tried in each frame."
    ),
    click.option(
        "--cutoff-probability",
        type=click.FloatRange(min=0, max=1, min_open=True),
        callback=finite,
        default=1.0,
        show_default=True,
        help="Of each frame, symbols are tried until they hold so much.",
    ),
)


def with_options(*groups: Sequence[Callable[[Command], Command]]) -> Callable[[Command], Command]:
    """A decorator that gives a command these options, in their order."""

    def decorate(command: Command) -> Command:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return decorate


def ready_device(name: str, precision: str, *, local_rank: int | None = None) -> Device:
    """The device that was named, made ready for a precision; of several processes, each gets its own.

    Raises:
        Ds2profError: PyTorch is missing, or there is no such device.
        UsageError: it does not compute in that precision.
    """
    from ds2prof.train.settings import require_packages

    require_packages("torch", "numpy")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    from ds2prof.train.device import open_device

    device = open_device(name, local_rank=local_rank)
    device.prepare(precision)
    return device


def open_network(
    device: Device, *, checkpoint: Path, weights: str, labels: Path | None, pieces: Path | None
) -> Trained:
    """The network in the checkpoint, on the device."""
    from ds2prof.train.trained import open_trained

    if labels is not None and pieces is not None:
        raise UsageError("--labels, --pieces: a network speaks in one of them; leave out the other")
    return open_trained(checkpoint, device, labels=labels, pieces=pieces, weights=weights)


def beam_config(**options: Any) -> BeamConfig:
    """The search that the options describe."""
    from ds2prof.train.beam_search import BeamConfig

    return BeamConfig(
        alpha=options["alpha"],
        beta=options["beta"],
        width=options["beam_width"],
        top_symbols=options["top_symbols"],
        cutoff_probability=options["cutoff_probability"],
    )


def language_model(symbols: Symbols, *, lm: Path | None, lexicon: Path | None) -> LanguageModel | None:
    """The language model that was named, None without one."""
    from ds2prof.train.language_model import read_language_model

    return None if lm is None else read_language_model(lm, letters_of(symbols), lexicon=lexicon)


def letters_of(symbols: Symbols) -> tuple[str, ...]:
    """The alphabet's characters.

    Raises:
        UsageError: the symbols are pieces of words.
    """
    from ds2prof.speech.alphabet import Alphabet

    if not isinstance(symbols, Alphabet):
        raise UsageError("--decoder beam: searches the output of CTC; a transducer is decoded greedily")
    return symbols.symbols


def decoder_of(symbols: Symbols, **options: Any) -> Decoder | None:
    """The beam search that was asked for; None for greedy decoding.

    Raises:
        UsageError: an option would have no effect.
    """
    if options["lexicon"] is not None and options["lm"] is None:
        raise UsageError("--lexicon: is the vocabulary of a language model; give --lm too")
    if options["decoder"] == "greedy":
        if options["lm"] is not None:
            raise UsageError("--lm: greedy decoding has no use for a language model; give --decoder beam")
        _refuse_given("greedy decoding takes none; give --decoder beam", *_SEARCH, *_WEIGHTS)
        return None
    if options["lm"] is None:
        _refuse_given("weighs a language model; give --lm too", *_WEIGHTS)
    from ds2prof.train.beam_search import BeamSearch

    letters = letters_of(symbols)
    model = language_model(symbols, lm=options["lm"], lexicon=options["lexicon"])
    return BeamSearch(letters, beam_config(**options), language_model=model)


def _refuse_given(why: str, *names: str) -> None:
    """Nothing, if the command was given none of these options.

    Raises:
        UsageError: it was.
    """
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"--{name.replace('_', '-')}: {why}")


def preset_named(name: str) -> Preset:
    """The preset of that name.

    Raises:
        UsageError: there is none.
    """
    from ds2prof.train.presets import PRESETS

    if name not in PRESETS:
        raise UsageError(f"--preset {name}: there is none of that name; there are {' '.join(PRESETS)}")
    return PRESETS[name]


def refuse_checkpoint_options(options: Mapping[str, Any]) -> None:
    """Nothing, if there is a checkpoint or no option that is of one.

    Raises:
        UsageError: an option would have no effect.
    """
    for name in ("labels", "pieces"):
        if options["checkpoint"] is None and options[name] is not None:
            raise UsageError(f"--{name}: is of a trained network; give --checkpoint too, or leave it out")


def decoder_facts(**options: Any) -> dict[str, Any]:
    """What a document says of the decoder."""
    if options["decoder"] == "greedy":
        return {"kind": "greedy"}
    weights = {"alpha": options["alpha"], "beta": options["beta"]} if options["lm"] is not None else {}
    return {
        "kind": "beam",
        "language_model": None if options["lm"] is None else str(options["lm"]),
        **weights,
        "width": options["beam_width"],
        "top_symbols": options["top_symbols"],
        "cutoff_probability": options["cutoff_probability"],
    }


def memory_guard(device: Device, batch_size: int) -> AbstractContextManager[None]:
    """A context that makes one line of exhausted memory."""
    from ds2prof.train.device import memory_errors

    return memory_errors(device, batch_size)
