"""``ds2prof export-onnx``: a network as ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ds2prof.cli.pages import Page
from ds2prof.cli.trained_options import (
    SYMBOL_OPTIONS,
    open_network,
    preset_named,
    refuse_checkpoint_options,
    with_options,
)
from ds2prof.errors import Ds2profError, UsageError

if TYPE_CHECKING:
    from ds2prof.speech.alphabet import Symbols
    from ds2prof.train.presets import Preset

_FILE = click.Path(path_type=Path)


@click.command("export-onnx", cls=Page)
@click.option("--checkpoint", type=_FILE, help="A checkpoint, or a folder of them: its best, else its latest.")
@with_options(SYMBOL_OPTIONS)
@click.option("--preset", help="A network with untrained weights instead.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of the untrained weights.")
@click.option(
    "-o", "--output", required=True, type=_FILE, help="The file to write; for a transducer NAME.encoder.onnx..."
)
@click.option("--check/--no-check", default=True, show_default=True, help="Compare with PyTorch before writing.")
@click.option("--force", is_flag=True, help="Replace what is there.")
def command(output: Path, *, check: bool, force: bool, **options: Any) -> None:
    """Write a network as ONNX, for any batch and any lengths.

    \b
    ds2prof export-onnx --checkpoint checkpoints -o speech.onnx
    ds2prof export-onnx --preset tiny -o tiny.onnx

    DeepSpeech2 is one graph: spectrograms and lengths in, log-probabilities and lengths out. A transducer is three:
    encoder, prediction, joint. ONNX Runtime and PyTorch are given the same batches first, and nothing is written
    where any value that counts differs by more than 1e-4.
    """
    from ds2prof.train.settings import require_packages

    if (options["checkpoint"] is None) == (options["preset"] is None):
        raise UsageError("--checkpoint, --preset: name one of the two")
    refuse_checkpoint_options(options)
    require_packages("torch", "numpy")
    preset, network, symbols = _network(options)
    from ds2prof.train.onnx_export import exported, refuse_existing_parts, write_exported

    refuse_existing_parts(output, network, force=force)
    models = exported(network, preset, symbols=symbols)
    if check:
        from ds2prof.train.onnx_check import TOLERANCE, greatest_difference

        difference = greatest_difference(network, models)
        if not difference <= TOLERANCE:
            raise Ds2profError(
                f"{output}: not written: ONNX Runtime is {difference:.1e} from PyTorch, over {TOLERANCE:g}"
            )
        click.echo(f"greatest difference from PyTorch: {difference:.1e}", err=True)
    for path in write_exported(output, models):
        click.echo(f"wrote {path}", err=True)


def _network(options: dict[str, Any]) -> tuple[Preset, Any, Symbols | None]:
    from ds2prof.train.device import open_device
    from ds2prof.train.workload import build_model

    host = open_device("cpu")
    if options["checkpoint"] is not None:
        named = {name: options[name] for name in ("checkpoint", "weights", "labels", "pieces")}
        trained = open_network(host, **named)
        spoken = None if isinstance(trained.spoken, UsageError) else trained.spoken
        return trained.preset, trained.network, spoken
    preset = preset_named(options["preset"])
    return preset, build_model(preset, host, seed=options["seed"]), None
